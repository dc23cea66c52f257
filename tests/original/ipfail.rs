//! Ping nodes, ipfail and pingd of either kind on either side.
//!
//! The client answers pings: it is the gateway. A node whose service cable is cut loses it alone; both
//! nodes lose it when the client's cable is cut.

use std::time::{Duration, Instant};

use ha_core::demo::world::HostKind;

use crate::common::pairs::{Pair, ADDRESSES, NODES};
use crate::pair::{long, pair};

const GATEWAY: &str = "client";
const GATEWAY_ADDRESS: &str = "192.0.2.200";
const THEIRS: &str = "/usr/libexec/heartbeat/ipfail";
const OURS: &str = "/ha ipfail";
const PINGD: &str = "/ha pingd -m 100 -d 2s";
/// Longer than whatever may lead to a move after a change.
const LONG_ENOUGH: Duration = Duration::from_secs(5);

/// A pair that serves, whose nodes each run a program that compares ping nodes.
struct Gateway {
    pair: Pair,
}

impl std::ops::Deref for Gateway {
    type Target = Pair;
    fn deref(&self) -> &Pair {
        &self.pair
    }
}

impl Gateway {
    /// Both nodes started, each address at home, both programs signed on. `more` are lines of ha.cf.
    /// `None`: skipped.
    fn start(kinds: [HostKind; 2], programs: [&str; 2], more: &[&str]) -> Option<Self> {
        let started = Self { pair: pair(kinds, &[])? };
        // The original calls a ping node late that was away.
        started.allow(&["CRIT: Late heartbeat: Node 192.0.2.", "CRIT: Late heartbeat: Node gate"]);
        for (node, program) in programs.into_iter().enumerate() {
            let respawn = format!("respawn hacluster {program}");
            let mut lines = vec!["deadping 1", respawn.as_str()];
            lines.extend(more);
            if !more.iter().any(|line| line.starts_with("ping")) {
                lines.push("ping 192.0.2.200");
            }
            started.host(node).write_file("/etc/ha.d/ha.cf", &started.ha_cf(&lines)).expect("ha.cf");
        }
        started.start_both();
        started.settled("local", "local");
        started.both_compare();
        (0..2).for_each(|node| started.wait("ping nodes", || started.all_pings_answer(node)));
        Some(started)
    }

    /// Waits until each node sees the other one's program and the gateway.
    #[track_caller]
    fn both_compare(&self) {
        for (node, on) in NODES.iter().enumerate() {
            for of in NODES {
                self.wait(&format!("ipfail of {of} seen by {on}"), || {
                    self.cl_status(node, &["clientstatus", of, "ipfail", "2000"]) == "online"
                });
            }
        }
    }

    fn cl_status(&self, node: usize, words: &[&str]) -> String {
        let argv: Vec<&str> = ["cl_status"].into_iter().chain(words.iter().copied()).collect();
        self.host(node).run(&argv).map(|output| output.stdout.trim_end().to_owned()).unwrap_or_default()
    }

    fn all_pings_answer(&self, node: usize) -> bool {
        let list = self.cl_status(node, &["listnodes", "-p"]);
        list.lines().all(|ping| self.cl_status(node, &["nodestatus", ping]) == "ping")
    }

    #[track_caller]
    fn sees_gateway(&self, node: usize, status: &str) {
        self.wait(&format!("gateway {status} on {}", NODES[node]), || {
            self.cl_status(node, &["nodestatus", GATEWAY_ADDRESS]) == status
        });
    }

    /// Both addresses stay where they are for this long.
    #[track_caller]
    fn nothing_moves(&self, time: Duration) {
        let owners = || ADDRESSES.map(|address| self.world.owners(address).expect("owners"));
        let (before, end) = (owners(), Instant::now() + time);
        while Instant::now() < end {
            assert_eq!(owners(), before);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The node loses the gateway, the other one takes all, the gateway comes back, nothing moves.
    fn loses_all(&self, node: usize) {
        self.mark();
        self.world.cut_silently(NODES[node], "eth0").expect("cut");
        match node {
            0 => self.settled("none", "all"),
            _ => self.settled("all", "none"),
        }
        self.logged(node, &["info: giveup() called (timeout worked)", "wants to go standby [all]"]);
        self.logged(1 - node, &["info: Telling other node that we have more visible ping nodes."]);
        self.world.heal(NODES[node], "eth0").expect("heal");
        self.sees_gateway(node, "ping");
        self.logged(node, &["info: A ping node just came up."]);
    }

    /// The gateway itself goes away: nobody moves.
    fn common_loss(&self) {
        self.mark();
        self.world.cut_silently(GATEWAY, "eth0").expect("cut");
        (0..2).for_each(|node| self.sees_gateway(node, "dead"));
        self.nothing_moves(LONG_ENOUGH);
        self.world.heal(GATEWAY, "eth0").expect("heal");
        (0..2).for_each(|node| self.sees_gateway(node, "ping"));
        self.nothing_moves(LONG_ENOUGH / 2);
    }

    /// Process numbers of the `ipfail` or `pingd` of a node.
    fn programs(&self, node: usize) -> Vec<u32> {
        let of_all = self.host(node).processes().expect("process list");
        let wanted = |name: &str| ["ipfail", "pingd", "ha"].contains(&name);
        of_all.iter().filter(|process| wanted(&process.name)).map(|process| process.pid).collect()
    }

    /// Kills the node's program without a word and waits for its successor.
    fn kill_program(&self, node: usize) {
        let before = self.programs(node);
        assert_eq!(before.len(), 1, "programs of {}", NODES[node]);
        self.run(node, &["kill", "-9", &before[0].to_string()]);
        self.wait("successor", || {
            let now = self.programs(node);
            now.len() == 1 && now != before
        });
        self.both_compare();
    }
}

/// Daemons of the original.
const ORIGINAL: [HostKind; 2] = [HostKind::Original; 2];

/// Both roles on both sides: who loses the gateway gives all to the other, whichever program it runs.
#[test]
fn our_ipfail_and_theirs_understand_each_other() {
    if !long() {
        return;
    }
    let Some(pair) = Gateway::start(ORIGINAL, [OURS, THEIRS], &["auto_failback off"]) else { return };
    pair.loses_all(0);
    pair.loses_all(1);
    pair.common_loss();
    // what the original would have said
    pair.mark();
    pair.world.cut_silently("node1", "eth0").expect("cut");
    let us = [
        format!("info: Status update: Node {GATEWAY_ADDRESS} now has status dead"),
        "info: NS: We are dead. :<".to_owned(),
        format!("info: Link Status update: Link {GATEWAY_ADDRESS}/{GATEWAY_ADDRESS} now has status dead"),
        "info: We are dead. :<".to_owned(),
        "info: Asking other side for ping node count.".to_owned(),
        "info: Giving up because we were told that we have less ping nodes.".to_owned(),
        "info: Delayed giveup in 2 seconds.".to_owned(),
    ];
    pair.logged(0, &us.iter().map(String::as_str).collect::<Vec<_>>());
    pair.settled("none", "all");
}

/// With `auto_failback on` a gateway that comes and goes moves the address once, and back when it stays.
#[test]
fn flapping_gateway_does_not_flap_the_address() {
    if !long() {
        return;
    }
    let Some(pair) = Gateway::start(ORIGINAL, [OURS, OURS], &["auto_failback on"]) else { return };
    flap(&pair);
}

fn flap(pair: &Gateway) {
    pair.world.cut_silently("node1", "eth0").expect("cut");
    pair.settled("none", "all");
    for _ in 0..3 {
        pair.world.heal("node1", "eth0").expect("heal");
        pair.sees_gateway(0, "ping");
        pair.nothing_moves(Duration::from_secs(2));
        pair.world.cut_silently("node1", "eth0").expect("cut");
        pair.sees_gateway(0, "dead");
        pair.nothing_moves(Duration::from_secs(2));
    }
    pair.world.heal("node1", "eth0").expect("heal");
    pair.settled("local", "local");
}

/// What ours holds back, the original's on the other node cannot do either: neither as the node that
/// loses the gateway nor as the one that holds the addresses meanwhile.
#[test]
fn flapping_gateway_does_not_flap_the_address_with_theirs_on_the_other_node() {
    if !long() {
        return;
    }
    for programs in [[OURS, THEIRS], [THEIRS, OURS]] {
        let Some(pair) = Gateway::start(ORIGINAL, programs, &["auto_failback on"]) else { return };
        flap(&pair);
    }
}

/// A program that is killed comes back and goes on; one whose daemon is killed ends, and so does one whose
/// daemon stops, without a complaint.
#[test]
fn ends_and_beginnings() {
    if !long() {
        return;
    }
    let Some(pair) = Gateway::start(ORIGINAL, [OURS, OURS], &["auto_failback off"]) else { return };
    pair.allow(&["ERROR: Respawning client"]);
    pair.kill_program(0);
    pair.kill_program(1);
    pair.loses_all(0);
    pair.tell_to_stop(0);
    pair.ended_well(0);
    pair.wait("end of ipfail", || pair.programs(0).is_empty());
    let complaint = pair.log(0).lines().any(|line| line.contains("ipfail: [") && line.contains(" ERROR: "));
    assert!(!complaint, "{}", pair.log(0));
    pair.start(0);
    pair.both_compare();
    pair.loses_all(1);
    pair.kill_daemon(1);
    pair.wait("end of ipfail", || pair.programs(1).is_empty());
}

/// Two of three are fewer than three; a group counts as one and answers while one of its hosts does.
#[test]
fn several_ping_nodes_and_a_group() {
    if !long() {
        return;
    }
    let pings =
        ["ping 198.51.100.1 198.51.100.2", "ping_group gate 192.0.2.200 192.0.2.201", "auto_failback off"];
    let started = Gateway::start(ORIGINAL, [OURS, THEIRS], &pings);
    let Some(pair) = started else { return };
    pair.world.cut_silently("node1", "eth0").expect("cut");
    pair.settled("none", "all");
    pair.world.heal("node1", "eth0").expect("heal");
    pair.wait("the group on node1", || pair.cl_status(0, &["nodestatus", "gate"]) == "ping");
    pair.world.cut_silently("node2", "eth0").expect("cut");
    pair.settled("all", "none");
}

/// `pingd` against the original's ipfail, and against itself: a short loss is none.
#[test]
fn pingd_waits_until_a_number_has_lasted() {
    if !long() {
        return;
    }
    for other in [THEIRS, PINGD] {
        let Some(pair) = Gateway::start(ORIGINAL, [PINGD, other], &["auto_failback off"]) else { return };
        pair.logged(0, &["pingd = 100"]);
        pair.mark();
        pair.world.cut_silently("node1", "eth0").expect("cut");
        pair.sees_gateway(0, "dead");
        pair.world.heal("node1", "eth0").expect("heal");
        pair.sees_gateway(0, "ping");
        pair.nothing_moves(LONG_ENOUGH);
        pair.world.cut_silently("node1", "eth0").expect("cut");
        pair.settled("none", "all");
        pair.logged(0, &["pingd = 0"]);
    }
}

/// A neighbour without a program: nothing moves, nobody complains.
#[test]
fn node_alone_with_its_program_moves_nothing() {
    if !long() {
        return;
    }
    let plain = ["deadping 1", "ping 192.0.2.200", "auto_failback off"];
    let Some(pair) = pair(ORIGINAL, &plain) else { return };
    let started = Gateway { pair };
    let lines = [&plain[..], &["respawn hacluster /ha ipfail"]].concat();
    started.host(0).write_file("/etc/ha.d/ha.cf", &started.ha_cf(&lines)).expect("ha.cf");
    started.start_both();
    started.settled("local", "local");
    started.world.cut_silently("node1", "eth0").expect("cut");
    started.sees_gateway(0, "dead");
    started.nothing_moves(LONG_ENOUGH);
    started.settled("local", "local");
}

/// Our daemon's host sees Debian's program here.
const THEIRS_ON_OURS: &str = "/.machine/usr/libexec/heartbeat/ipfail";
/// A path of another distribution: the built-in runs.
const ELSEWHERE: &str = "/usr/lib64/heartbeat/ipfail";

/// A pair of one of ours and one original, each with its own ipfail, through the whole story.
#[test]
fn mixed_pair_follows_its_gateway() {
    let [first, second] = crate::pair::MIXED;
    let started = Gateway::start(first, [ELSEWHERE, THEIRS], &["auto_failback off"]);
    let Some(pair) = started else { return };
    pair.loses_all(0);
    pair.loses_all(1);
    pair.common_loss();
    drop(pair);
    if long() {
        let Some(pair) = Gateway::start(second, [THEIRS, ELSEWHERE], &["auto_failback off"]) else { return };
        pair.loses_all(0);
        pair.loses_all(1);
        let Some(pair) = Gateway::start(first, [THEIRS_ON_OURS, OURS], &["auto_failback off"]) else {
            return;
        };
        pair.loses_all(0);
        pair.loses_all(1);
        pair.common_loss();
    }
}

/// Two of ours with the built-in, one with Debian's program.
#[test]
fn our_pair_follows_its_gateway() {
    let kinds = [HostKind::Ours; 2];
    let Some(pair) = Gateway::start(kinds, [ELSEWHERE, THEIRS_ON_OURS], &["auto_failback off"]) else {
        return;
    };
    pair.loses_all(0);
    pair.loses_all(1);
    pair.common_loss();
    drop(pair);
    if !long() {
        return;
    }
    let Some(pair) = Gateway::start(kinds, [ELSEWHERE, OURS], &["auto_failback on"]) else { return };
    flap(&pair);
}
