//! Pairs of our daemons through everything that happens to a pair: after each transition every
//! address is on exactly one host, both nodes say so, and the log has the lines people grep for
//! (resources spec 2.13).

mod common;

use std::time::{Duration, Instant};

use common::pairs::{group, Pair, ADDRESSES, DEAD_TIME_MS, NODES, PATIENCE};
use ha_core::demo::probe::{longest_silence, now_us};
use ha_core::demo::world::{Way, WorldError};

/// What is logged when nothing fences and contact is lost and found again.
const PARTITION: [&str; 4] = [
    "returning after partition.",
    "Late heartbeat: Node",
    "Both machines own our resources!",
    "Both machines own foreign resources!",
];

// ---- start, crash, return, stop ------------------------------------------------------------

/// Both daemons start together; the original takes ten seconds for it.
#[test]
fn cold_start_takes_less_than_a_second() {
    let Some(pair) = Pair::new(&["auto_failback on"], &[group(0), group(1)]) else { return };
    let ha_cf = pair.world.ha_cf(100, 1000, &["auto_failback on"]);
    for host in pair.world.hosts() {
        host.write_file("/etc/ha.d/ha.cf", &ha_cf).expect("write");
    }
    let began = Instant::now();
    pair.start_both();
    for (address, name) in ADDRESSES.iter().zip(NODES) {
        pair.world.wait_owner(*address, name, PATIENCE).expect("address comes up");
    }
    let took = began.elapsed();
    pair.settled("local", "local");
    for node in 0..2 {
        let lines = [
            "info: Local status now set to: 'up'",
            "info: Local status now set to: 'active'",
            "info: remote resource transition completed.",
            "info: Local Resource acquisition completed.",
        ];
        pair.logged(node, &lines);
        assert_eq!(pair.times_logged(node, "Initial resource acquisition complete ("), 1);
    }
    // Of two worlds on two busy cores; alone it is a quarter of that.
    assert!(took < Duration::from_secs(1), "cold start took {took:?}");
}

#[test]
fn crash_and_return_with_failback() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for (victim, other) in [(0, 1), (1, 0)] {
        pair.mark();
        crash(&pair, victim, other);
        pair.mark();
        pair.world.boot(NODES[victim]).expect("boot");
        pair.start(victim);
        pair.settled("local", "local");
        let name = NODES[victim];
        pair.logged(
            other,
            &[
                &format!("info: Heartbeat restart on node {name}"),
                &format!("info: Status update for node {name}: status active"),
                "info: remote resource transition completed.",
                &format!("info: {} wants to go standby [foreign]", NODES[other]),
                &format!("info: standby: {name} can take our foreign resources"),
                "info: give up foreign HA resources (standby).",
                "info: foreign HA resource release completed (standby).",
                "info: Local standby process completed [foreign].",
                "info: Other node completed standby takeover of foreign resources.",
            ],
        );
        pair.logged(
            victim,
            &[
                "info: Local Resource acquisition completed. (none)",
                &format!("info: standby: acquire [foreign] resources from {}", NODES[other]),
                "info: acquire local HA resources (standby).",
                "info: local HA resource acquisition completed (standby).",
                "info: Standby resource acquisition done [foreign].",
            ],
        );
    }
    // What a person put on one node goes home too when the other was away.
    takeover(&pair, 0, 1, "all", "all");
    pair.settled("all", "none");
    pair.world.crash("node2").expect("crash");
    pair.logged(0, &["info: Dead node node2 gave up resources."]);
    come_back(&pair, 1);
    pair.settled("local", "local");
}

#[test]
fn crash_and_return_without_failback() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    pair.mark();
    crash(&pair, 0, 1);
    pair.mark();
    come_back(&pair, 0);
    pair.settled("none", "all");
    pair.logged(
        0,
        &[
            "info: remote resource transition completed.",
            "info: Local Resource acquisition completed. (none)",
            "info: Initial resource acquisition complete (T_RESOURCES(them))",
        ],
    );
    assert_eq!(pair.times_logged(1, "wants to go standby"), 0);
    // The holder of everything dies while the other holds nothing, and the other way round.
    pair.mark();
    crash(&pair, 1, 0);
    come_back(&pair, 1);
    pair.settled("all", "none");
    pair.mark();
    pair.world.crash("node2").expect("crash");
    pair.logged(0, &["WARN: node node2: is dead", "info: Dead node node2 gave up resources."]);
    pair.settled("all", "");
    come_back(&pair, 1);
    pair.settled("all", "none");
}

/// One node alone takes everything after initdead, also as the only one that ever was there.
#[test]
fn one_node_alone_takes_everything() {
    let Some(pair) = Pair::new(&["auto_failback off"], &[group(0), group(1)]) else { return };
    pair.start(1);
    pair.settled("", "all");
    pair.logged(
        1,
        &[
            "WARN: node node1: is dead",
            "WARN: No STONITH device configured.",
            "WARN: Shared disks are not protected.",
            "info: Resources being acquired from node1.",
            "info: mach_down takeover complete.",
        ],
    );
    pair.start(0);
    pair.settled("none", "all");
}

#[test]
fn graceful_stop_of_each_and_of_both() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for (leaver, other) in [(0, 1), (1, 0)] {
        pair.mark();
        assert_eq!(pair.host(leaver).stop_daemon().expect("stop").code, Some(0));
        pair.ended_well(leaver);
        let words = if leaver == 0 { ("", "all") } else { ("all", "") };
        pair.settled(words.0, words.1);
        pair.logged(
            leaver,
            &[
                "info: Giving up all HA resources.",
                "info: All HA resources relinquished.",
                &format!("info: {} Heartbeat shutdown complete.", NODES[leaver]),
            ],
        );
        assert_eq!(pair.times_logged(leaver, "info: Heartbeat shutdown in progress. ("), 1);
        pair.logged(
            other,
            &[
                &format!("info: Received shutdown notice from '{}'.", NODES[leaver]),
                &format!("info: Resources being acquired from {}.", NODES[leaver]),
                "info: mach_down takeover complete.",
                &format!("WARN: node {}: is dead", NODES[leaver]),
                &format!("info: Dead node {} gave up resources.", NODES[leaver]),
            ],
        );
        assert_eq!(pair.times_logged(other, "No STONITH device configured."), 0);
        pair.start(leaver);
        pair.settled("local", "local");
    }
    // Both at once: nobody takes what nobody will serve.
    for node in 0..2 {
        pair.run(node, &["sh", "-c", "kill -TERM $(cat /var/run/heartbeat.pid)"]);
    }
    (0..2).for_each(|node| pair.ended_well(node));
    for address in ADDRESSES {
        assert!(pair.world.owners(address).expect("addresses").is_empty());
    }
    pair.quiet();
}

/// The address moves at once, the slow group when it has stopped; nothing runs twice.
#[test]
fn stop_with_a_second_slow_group() {
    const SLOW: &str = "#!/bin/sh\n\
        case $1 in\n\
        start) echo $(uname -n) >/run/slow;;\n\
        stop) [ ! -e /run/slow ] || sleep 1; rm -f /run/slow;;\n\
        status) [ -e /run/slow ] && echo running || echo stopped;;\n\
        esac\n";
    let groups = [group(0), "node1 slow".to_owned(), group(1)];
    let Some(pair) = Pair::new(&["auto_failback off"], &groups) else { return };
    script(&pair, "slow", SLOW);
    pair.start_both();
    pair.settled("local", "local");
    assert_eq!(running(&pair, "/run/slow"), [true, false]);
    pair.mark();
    pair.run(0, &["sh", "-c", "kill -TERM $(cat /var/run/heartbeat.pid)"]);
    pair.wait("a stop under way", || pair.resource_status(0) == "transition");
    // A second request changes nothing.
    pair.run(0, &["sh", "-c", "kill -TERM $(cat /var/run/heartbeat.pid)"]);
    pair.logged(0, &["info: Heartbeat shutdown already underway."]);
    assert_eq!(running(&pair, "/run/slow"), [true, false]);
    pair.ended_well(0);
    pair.settled("", "all");
    assert_eq!(running(&pair, "/run/slow"), [false, true]);
    assert_eq!(pair.times_logged(0, "/etc/ha.d/resource.d/slow  stop"), 1, "{}", pair.log(0));
}

// ---- standby and takeover ------------------------------------------------------------------

#[test]
fn each_standby_from_either_node() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    for (giver, taker) in [(0, 1), (1, 0)] {
        let settled = |own: &str, other: &str| {
            let words = if giver == 0 { (own, other) } else { (other, own) };
            pair.settled(words.0, words.1);
        };
        let steps = [
            ("local", "local", ("none", "all")),
            ("all", "all", ("none", "all")),
            ("foreign", "foreign", ("none", "all")),
        ];
        for (word, set, (own, other)) in steps {
            standby(&pair, giver, taker, word, set);
            settled(own, other);
        }
        standby(&pair, taker, giver, "all", "all");
        settled("all", "none");
        standby(&pair, giver, taker, "failback", "foreign");
        settled("local", "local");
        standby(&pair, giver, taker, "all", "all");
        settled("none", "all");
        standby(&pair, taker, giver, "local", "local");
        settled("foreign", "foreign");
        standby(&pair, giver, taker, "foreign", "foreign");
        settled("none", "all");
        standby(&pair, taker, giver, "foreign", "foreign");
        settled("local", "local");
    }
}

#[test]
fn each_takeover_from_either_node() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    for (taker, giver) in [(0, 1), (1, 0)] {
        let settled = |own: &str, other: &str| {
            let words = if taker == 0 { (own, other) } else { (other, own) };
            pair.settled(words.0, words.1);
        };
        let steps = [
            ("foreign", "local", ("all", "none")),
            ("all", "all", ("all", "none")),
            ("local", "foreign", ("all", "none")),
        ];
        for (word, given, (own, other)) in steps {
            takeover(&pair, taker, giver, word, given);
            settled(own, other);
        }
        takeover(&pair, giver, taker, "failback", "foreign");
        settled("local", "local");
        takeover(&pair, giver, taker, "all", "all");
        settled("none", "all");
        takeover(&pair, taker, giver, "foreign", "local");
        settled("foreign", "foreign");
        takeover(&pair, taker, giver, "local", "foreign");
        settled("all", "none");
        takeover(&pair, giver, taker, "local", "foreign");
        settled("local", "local");
    }
}

#[test]
fn commands_answer_clearly_when_nothing_can_move() {
    let Some(pair) = Pair::new(&["auto_failback off"], &[group(0), group(1)]) else { return };
    for name in ["hb_standby", "hb_takeover"] {
        let output = pair.host(0).command(name, &["all"]).expect("it runs");
        assert_ne!(output.code, Some(0), "{name} without a daemon: {output:?}");
        assert!(!output.stderr.is_empty(), "{name} without a daemon says nothing");
    }
    pair.start(0);
    pair.settled("all", "");
    let output = pair.host(0).command("hb_standby", &["all"]).expect("it runs");
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("node2 is dead"), "{output:?}");
    pair.settled("all", "");
}

// ---- links ---------------------------------------------------------------------------------

/// Nothing changes but a log line and the link's state.
#[test]
fn one_link_of_two_is_cut() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for link in ["eth1", "eth0"] {
        pair.mark();
        pair.world.cut_silently("node1", link).expect("cut");
        for (node, other) in [(0, "node2"), (1, "node1")] {
            pair.logged(node, &[&format!("info: Link {other}:{link} dead.")]);
            assert_eq!(pair.link_state(node, other, link), ("dead".into(), Some(1)));
            let status = pair.status(node);
            let alarm = format!("link {other}:{link} is dead");
            assert!(status["attention"].to_string().contains(&alarm), "{status:#}");
        }
        pair.settled("local", "local");
        pair.world.heal("node1", link).expect("heal");
        for (node, other) in [(0, "node2"), (1, "node1")] {
            pair.logged(node, &[&format!("info: Link {other}:{link} up.")]);
            assert_eq!(pair.link_state(node, other, link), ("up".into(), Some(0)));
            for line in ["is dead", "Acquiring", "Releasing", "transition", "lost packet", "standby"] {
                assert_eq!(pair.times_logged(node, line), 0, "{line}: {}", pair.log(node));
            }
        }
        pair.settled("local", "local");
    }
}

/// Who served an address before keeps it; the other lets go; nothing else moves.
#[test]
fn both_links_are_cut_and_healed() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    pair.allow(&PARTITION);
    partition(&pair);
    heal(&pair);
    pair.settled("local", "local");
    for node in 0..2 {
        let other = NODES[1 - node];
        let own = format!("Releasing resource group: {}", group(node));
        assert_eq!(pair.times_logged(node, &own), 0, "{}", pair.log(node));
        assert_eq!(pair.times_logged(node, "Releasing resource group:"), 1, "{}", pair.log(node));
        pair.logged(
            node,
            &[
                &format!("WARN: node {other}: is dead"),
                &format!("CRIT: Cluster node {other} returning after partition."),
                "WARN: Deadtime value may be too small.",
            ],
        );
    }
    // Everything on node2: it keeps everything, whatever is at home where.
    takeover(&pair, 1, 0, "all", "all");
    pair.settled("none", "all");
    partition(&pair);
    heal(&pair);
    pair.settled("none", "all");
    assert_eq!(pair.times_logged(1, "Releasing resource group:"), 0, "{}", pair.log(1));
    assert_eq!(pair.times_logged(0, "Releasing resource group:"), 2, "{}", pair.log(0));
    for node in 0..2 {
        assert_eq!(pair.times_logged(node, "wants to go standby"), 0, "{}", pair.log(node));
    }
}

#[test]
fn both_links_are_cut_and_healed_with_failback() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.allow(&PARTITION);
    for _ in 0..2 {
        partition(&pair);
        heal(&pair);
        pair.settled("local", "local");
        for node in 0..2 {
            let own = format!("Releasing resource group: {}", group(node));
            assert_eq!(pair.times_logged(node, &own), 0, "{}", pair.log(node));
        }
    }
}

/// The side that is not heard lets go, so that one side serves.
#[test]
fn one_direction_is_cut() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    pair.allow(&PARTITION);
    for way in [Way::To, Way::From] {
        pair.mark();
        for link in ["eth0", "eth1"] {
            match pair.world.cut_one_way("node1", link, way) {
                Ok(_) => {}
                Err(WorldError::Failed { reason, .. }) => {
                    return common::skip::skip_without_privilege(&reason);
                }
                Err(error) => panic!("{error}"),
            }
        }
        // Who hears nothing declares death and takes; who is not heard gives.
        let (deaf, mute) = if way == Way::To { (0, 1) } else { (1, 0) };
        pair.logged(deaf, &[&format!("WARN: node {}: is dead", NODES[mute])]);
        for address in ADDRESSES {
            pair.world.wait_owner(address, NODES[deaf], PATIENCE).expect("one side serves");
        }
        assert_eq!(pair.times_logged(mute, &format!("node {}: is dead", NODES[deaf])), 0);
        let status = pair.status(mute);
        let alarm = format!("node {} does not hear this node", NODES[deaf]);
        assert!(status["attention"].to_string().contains(&alarm), "{status:#}");
        for link in ["eth0", "eth1"] {
            pair.world.heal("node1", link).expect("heal");
        }
        pair.logged(deaf, &[&format!("CRIT: Cluster node {} returning after partition.", NODES[mute])]);
        let words = if deaf == 0 { ("all", "none") } else { ("none", "all") };
        pair.settled(words.0, words.1);
        takeover(&pair, mute, deaf, "failback", "foreign");
        pair.settled("local", "local");
    }
}

// ---- pauses and quick deaths ---------------------------------------------------------------

/// The holder stands still for longer than deadtime and finds its address taken.
#[test]
fn freeze_and_thaw_of_the_holder() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    pair.allow(&PARTITION);
    freeze(&pair, 0);
    pair.settled("none", "all");
    assert_eq!(pair.times_logged(1, "Releasing resource group:"), 0, "{}", pair.log(1));
    // It holds nothing and stands still: nothing changes.
    freeze(&pair, 0);
    pair.settled("none", "all");
    // The holder of everything.
    freeze(&pair, 1);
    pair.settled("all", "none");
}

#[test]
fn freeze_and_thaw_with_failback() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.allow(&PARTITION);
    for node in [0, 1] {
        freeze(&pair, node);
        pair.settled("local", "local");
    }
}

/// The addresses are still in the kernel when the next life begins.
#[test]
fn killed_daemon_is_back_within_deadtime() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    // The original leaves the peer's set to nobody; here its home takes it.
    pair.allow(&["No one owns our local resources!"]);
    let deaths = [
        (None, ("local", "local"), ("local", "local")),
        (Some(("hb_takeover", "all")), ("all", "none"), ("local", "local")),
        (Some(("hb_standby", "local")), ("none", "all"), ("none", "all")),
        (Some(("hb_takeover", "local")), ("local", "local"), ("local", "local")),
    ];
    for (command, before, after) in deaths {
        if let Some((name, set)) = command {
            pair.command(0, name, set);
        }
        pair.settled(before.0, before.1);
        pair.mark();
        pair.kill_daemon(0);
        pair.start(0);
        pair.logged(1, &["info: Heartbeat restart on node node1"]);
        pair.logged(0, &["info: Local status now set to: 'active'"]);
        pair.settled(after.0, after.1);
        assert_eq!(pair.times_logged(1, "is dead"), 0, "{}", pair.log(1));
        // What stays was never taken down.
        let own = format!("Releasing resource group: {}", group(0));
        assert_eq!(pair.times_logged(0, &own), 0, "{}", pair.log(0));
    }
}

/// Nobody restarts it: the other takes over although the kernel still answers.
#[test]
fn killed_daemon_is_back_after_its_death_was_declared() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.mark();
    pair.kill_daemon(0);
    pair.logged(1, &["WARN: node node1: is dead", "info: mach_down takeover complete."]);
    pair.start(0);
    pair.settled("local", "local");
}

// ---- failed starts -------------------------------------------------------------------------

/// A script that does not start where /run/broken is.
const FICKLE: &str = "#!/bin/sh\n\
    case $1 in\n\
    start) [ ! -e /run/broken ] || exit 1; : >/run/fickle;;\n\
    stop) rm -f /run/fickle;;\n\
    status) [ -e /run/fickle ] && echo running || echo stopped;;\n\
    esac\n";
/// Logged where something does not start.
const FAILED_START: [&str; 4] = [
    "ERROR: Return code 1 from /etc/ha.d/resource.d/fickle",
    "CRIT: Giving up resources due to failure of fickle",
    "resources failed to start here: giving them to the other node",
    "resources failed to start on both nodes: they stay down until somebody looks",
];

fn fickle_pair(broken: &[usize]) -> Option<Pair> {
    let pair = Pair::new(&["auto_failback off"], &[format!("{} fickle", group(0)), group(1)])?;
    pair.allow(&FAILED_START);
    script(&pair, "fickle", FICKLE);
    for node in broken {
        pair.host(*node).write_file("/run/broken", "").expect("write");
    }
    pair.start_both();
    Some(pair)
}

/// The right set moves, once; the other stays.
#[test]
fn start_that_fails_on_one_node() {
    let Some(pair) = fickle_pair(&[0]) else { return };
    pair.settled("none", "all");
    pair.logged(
        0,
        &[
            "CRIT: Giving up resources due to failure of fickle",
            "ERROR: local resources failed to start here: giving them to the other node",
            "info: Local standby process completed [local].",
        ],
    );
    assert_eq!(running(&pair, "/run/fickle"), [false, true]);
    assert_eq!(pair.times_logged(0, "resource.d/fickle  start"), 1, "{}", pair.log(0));
    assert_eq!(pair.times_logged(1, "resource.d/fickle  start"), 1, "{}", pair.log(1));
    let own = format!("Releasing resource group: {}", group(1));
    assert_eq!(pair.times_logged(1, &own), 0, "{}", pair.log(1));
    // Repaired, and asked for.
    pair.run(0, &["rm", "/run/broken"]);
    takeover(&pair, 0, 1, "failback", "foreign");
    pair.settled("local", "local");
    assert_eq!(running(&pair, "/run/fickle"), [true, false]);
}

/// It stays down, a person is told, and nothing goes back and forth.
#[test]
fn start_that_fails_on_both_nodes() {
    let Some(pair) = fickle_pair(&[0, 1]) else { return };
    pair.logged(1, &["resources failed to start on both nodes: they stay down until somebody looks"]);
    let told = |node: usize| {
        let output = pair.host(node).run(&["/ha", "status"]).expect("it runs");
        output.code == Some(1) && output.stdout.contains("resources failed to start")
    };
    pair.wait("alarm in ha status", || told(0) || told(1));
    pair.wait("both settled", || (0..2).all(|node| pair.resource_status(node) != "transition"));
    let starts = || [0, 1].map(|node| pair.times_logged(node, "resource.d/fickle  start"));
    assert_eq!(starts(), [1, 1]);
    // Long enough for several rounds of a transfer, which takes a few milliseconds.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(starts(), [1, 1], "it goes back and forth");
    assert!(pair.world.owners(ADDRESSES[0]).expect("addresses").is_empty());
    pair.owned_by(1, "node2");
    assert_eq!(running(&pair, "/run/fickle"), [false, false]);
    pair.quiet();
    // Repaired, and asked for.
    (0..2).for_each(|node| drop(pair.run(node, &["rm", "/run/broken"])));
    pair.command(0, "hb_takeover", "local");
    pair.settled("local", "local");
    assert_eq!(running(&pair, "/run/fickle"), [true, false]);
    assert!(!told(0) && !told(1), "the alarm stays");
}

// ---- the old protocol ----------------------------------------------------------------------

#[test]
fn legacy_pair_through_crash_and_return() {
    let Some(pair) = Pair::new(&["auto_failback legacy"], &[group(0), group(1)]) else { return };
    let owned = |owners: [&str; 2]| {
        for (address, name) in ADDRESSES.iter().zip(owners) {
            pair.world.wait_owner(*address, name, PATIENCE).expect("address on one host");
        }
        for node in (0..2).filter(|node| pair.host(*node).is_on()) {
            pair.wait("a settled node", || pair.resource_status(node) == "none");
        }
        (0..2).for_each(|home| pair.owned_by(home, owners[home]));
        pair.quiet();
    };
    pair.start_both();
    owned(NODES);
    for victim in [0, 1] {
        let (name, other) = (NODES[victim], NODES[1 - victim]);
        pair.mark();
        pair.world.crash(name).expect("crash");
        pair.logged(1 - victim, &[&format!("info: Resources being acquired from {name}.")]);
        owned([other, other]);
        come_back(&pair, victim);
        owned(NODES);
    }
    let output = pair.host(0).command("hb_standby", &["all"]).expect("it runs");
    assert_ne!(output.code, Some(0), "{output:?}");
    assert_eq!(pair.host(0).stop_daemon().expect("stop").code, Some(0));
    pair.ended_well(0);
    for address in ADDRESSES {
        pair.world.wait_owner(address, "node2", PATIENCE).expect("taken over");
    }
    pair.start(0);
    owned(NODES);
}

// ---- reload --------------------------------------------------------------------------------

/// A changed ha.cf: a new life of the daemon, the addresses stay, nobody dies.
#[test]
fn reload_with_a_changed_ha_cf() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for node in [0, 1] {
        pair.mark();
        let other = 1 - node;
        let changed = pair.ha_cf(&["auto_failback on", "debug 1"]);
        pair.host(node).write_file("/etc/ha.d/ha.cf", &changed).expect("write");
        let probe = pair.world.probe(ADDRESSES[node], Duration::from_millis(1)).expect("client asks");
        let host = pair.host(node);
        probe.wait_answer(host, 0, Duration::from_millis(20), PATIENCE).expect("an answer");
        let began_us = now_us();
        pair.run(node, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
        pair.logged(
            node,
            &[
                "info: Heartbeat restart triggered.",
                "info: Restarting heartbeat.",
                "info: Performing heartbeat restart exec.",
                "info: Local status now set to: 'active'",
            ],
        );
        pair.logged(other, &[&format!("info: Heartbeat restart on node {}", NODES[node])]);
        pair.settled("local", "local");
        let answers = probe.answers().expect("answers");
        let silence = longest_silence(&answers, began_us).expect("answers");
        assert_eq!((silence.host_before, silence.host_after), (host.index(), host.index()));
        assert!(silence.length_us() < DEAD_TIME_MS * 1000, "{silence:?}");
        for one in 0..2 {
            for line in ["is dead", "Releasing resource group", "wants to go standby"] {
                assert_eq!(pair.times_logged(one, line), 0, "{line}: {}", pair.log(one));
            }
        }
        assert_eq!(pair.run(node, &["cl_status", "hbparameter", "-p", "debug"]), "1\n");
    }
    // Everything on one node, so that the resumed set is not just its own.
    takeover(&pair, 0, 1, "all", "all");
    pair.settled("all", "none");
    pair.mark();
    let changed = pair.ha_cf(&["auto_failback on", "debug 0"]);
    pair.host(0).write_file("/etc/ha.d/ha.cf", &changed).expect("write");
    pair.run(0, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
    pair.logged(0, &["info: Local status now set to: 'active'"]);
    pair.logged(1, &["info: Heartbeat restart on node node1"]);
    pair.settled("all", "none");
    for line in ["is dead", "Releasing resource group"] {
        assert_eq!(pair.times_logged(0, line) + pair.times_logged(1, line), 0, "{line}: {}", pair.log(0));
    }
}

/// Keys change on one node after the other without a lost beat; bad files change nothing.
#[test]
fn reload_with_other_files() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.mark();
    let reload = |node: usize| pair.run(node, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"]);
    reload(0);
    pair.logged(0, &["info: Configuration unchanged."]);
    let both = "1 sha1 demonstration\n2 sha1 another\n";
    for text in [format!("auth 1\n{both}"), format!("auth 2\n{both}"), "auth 2\n2 sha1 another\n".to_owned()]
    {
        for node in 0..2 {
            let host = pair.host(node);
            host.write_file_with_mode("/etc/ha.d/authkeys", &text, 0o600).expect("write");
            let before = pair.times_logged(node, "info: Rereading authentication file.");
            reload(node);
            pair.wait("new keys", || {
                pair.times_logged(node, "info: Rereading authentication file.") > before
            });
        }
    }
    // A file with an error is named, and what runs goes on.
    pair.allow(&["/etc/ha.d/authkeys", "/etc/ha.d/ha.cf", "what runs goes on unchanged"]);
    pair.host(0).write_file_with_mode("/etc/ha.d/authkeys", "auth 7\n", 0o600).expect("write");
    reload(0);
    pair.logged(0, &["what runs goes on unchanged"]);
    pair.settled("local", "local");
    for node in 0..2 {
        for line in ["is dead", "Releasing resource group", "lost packet", "failed authentication"] {
            assert_eq!(pair.times_logged(node, line), 0, "{line}: {}", pair.log(node));
        }
    }
    let status = pair.status(1);
    assert_eq!(status["report"]["view"]["dropped_packets"], 0, "{status:#}");
}

// ---- what people ask -----------------------------------------------------------------------

/// Every question of `cl_status` in each state of a pair.
#[test]
fn cl_status_in_each_state() {
    let Some(pair) = Pair::new(&["auto_failback off"], &[group(0), group(1)]) else { return };
    let ask = |words: &[&str]| {
        let argv: Vec<&str> = ["cl_status"].iter().chain(words).copied().collect();
        let output = pair.host(0).run(&argv).expect("it runs");
        (output.stdout, output.code)
    };
    let answers = |text: &str, code: i32| (format!("{text}\n"), Some(code));
    assert_eq!(ask(&["hbstatus"]).1, Some(1));
    assert_eq!(ask(&["rscstatus"]).1, Some(1));
    pair.start(0);
    pair.wait("an open socket", || ask(&["hbstatus"]).1 == Some(0));
    // The peer may be anywhere: nothing is held before initdead.
    assert_eq!(ask(&["rscstatus"]), answers("transition", 0));
    assert_eq!(ask(&["nodestatus", "node1"]), answers("up", 0));
    pair.settled("all", "");
    assert_eq!(ask(&["nodestatus", "node2"]), answers("dead", 1));
    pair.start(1);
    pair.settled("all", "none");
    assert_eq!(ask(&["listnodes"]), ("node2\nnode1\n".to_owned(), Some(0)));
    assert_eq!(ask(&["listnodes", "-p"]).0.trim(), "");
    assert_eq!(ask(&["nodestatus", "node2"]), answers("active", 0));
    assert_eq!(ask(&["nodetype", "node2"]), answers("normal", 0));
    assert_eq!(ask(&["nodeweight", "node2"]), answers("100", 0));
    assert_eq!(ask(&["listhblinks", "node2"]), ("\teth1\n\teth0\n".to_owned(), Some(0)));
    assert_eq!(ask(&["hblinkstatus", "node2", "eth1"]), answers("up", 0));
    assert_eq!(ask(&["hbparameter", "-p", "deadtime"]), answers("300ms", 0));
    assert_ne!(ask(&["nodestatus", "stranger"]).1, Some(0));
    pair.world.crash("node2").expect("crash");
    pair.wait("death", || ask(&["nodestatus", "node2"]) == answers("dead", 1));
    assert_eq!(ask(&["hblinkstatus", "node2", "eth0"]), answers("dead", 1));
    pair.settled("all", "");
    let status = pair.status(0);
    assert!(status["attention"].to_string().contains("node node2 is dead"), "{status:#}");
    for home in 0..2 {
        let group = &status["report"]["view"]["groups"][home];
        assert_eq!(group["holder"], "node1", "{status:#}");
        assert_eq!(group["resources"][0]["state"], "running", "{status:#}");
    }
}

// ---- helpers -------------------------------------------------------------------------------

fn crash(pair: &Pair, victim: usize, other: usize) {
    let name = NODES[victim];
    pair.world.crash(name).expect("crash");
    let words = if victim == 0 { ("", "all") } else { ("all", "") };
    pair.settled(words.0, words.1);
    pair.logged(
        other,
        &[
            &format!("WARN: node {name}: is dead"),
            "WARN: No STONITH device configured.",
            "WARN: Shared disks are not protected.",
            &format!("info: Resources being acquired from {name}."),
            &format!("info: Taking over resource group IPaddr2::{}/24/eth0", ADDRESSES[victim]),
            &format!("info: mach_down takeover complete for node {name}."),
            "info: mach_down takeover complete.",
        ],
    );
}

fn come_back(pair: &Pair, node: usize) {
    pair.world.boot(NODES[node]).expect("boot");
    pair.start(node);
}

/// `word` is what a person says, `set` what is on the wire and in the log.
fn standby(pair: &Pair, giver: usize, taker: usize, word: &str, set: &str) {
    pair.mark();
    pair.command(giver, "hb_standby", word);
    handover_logged(pair, giver, taker, set);
}

/// `given` is the same set as the giver sees it.
fn takeover(pair: &Pair, taker: usize, giver: usize, word: &str, given: &str) {
    pair.mark();
    pair.command(taker, "hb_takeover", word);
    let held = || pair.log(taker).contains("this node holds them already");
    let going = || pair.log(giver).contains(&format!("info: Going standby [{given}]."));
    pair.wait("takeover", || held() || going());
    if !held() {
        handover_logged(pair, giver, taker, given);
    }
}

fn handover_logged(pair: &Pair, giver: usize, taker: usize, set: &str) {
    let (from, to) = (NODES[giver], NODES[taker]);
    let seen = match set {
        "local" => "foreign",
        "foreign" => "local",
        other => other,
    };
    pair.logged(
        giver,
        &[
            &format!("info: {from} wants to go standby [{set}]"),
            &format!("info: standby: {to} can take our {set} resources"),
            &format!("info: give up {set} HA resources (standby)."),
            &format!("info: {set} HA resource release completed (standby)."),
            &format!("info: Local standby process completed [{set}]."),
            &format!("info: Other node completed standby takeover of {set} resources."),
        ],
    );
    pair.logged(
        taker,
        &[
            &format!("info: {from} wants to go standby [{set}]"),
            &format!("info: standby: acquire [{set}] resources from {from}"),
            &format!("info: acquire {seen} HA resources (standby)."),
            &format!("info: {seen} HA resource acquisition completed (standby)."),
            &format!("info: Standby resource acquisition done [{set}]."),
        ],
    );
}

/// Both links of node1 go; each side has everything.
fn partition(pair: &Pair) {
    pair.mark();
    for link in ["eth0", "eth1"] {
        pair.world.cut_silently("node1", link).expect("cut");
    }
    for node in 0..2 {
        pair.wait("all resources on each side", || pair.resource_status(node) == "all");
    }
    for address in ADDRESSES {
        assert_eq!(pair.world.owners(address).expect("addresses"), NODES);
    }
}

fn heal(pair: &Pair) {
    for link in ["eth0", "eth1"] {
        pair.world.heal("node1", link).expect("heal");
    }
}

fn freeze(pair: &Pair, node: usize) {
    pair.mark();
    let other = 1 - node;
    pair.world.freeze(NODES[node]).expect("freeze");
    pair.logged(other, &[&format!("WARN: node {}: is dead", NODES[node])]);
    pair.wait("everything on the other node", || pair.resource_status(other) == "all");
    pair.world.thaw(NODES[node]).expect("thaw");
    pair.logged(other, &[&format!("CRIT: Cluster node {} returning after partition.", NODES[node])]);
}

fn script(pair: &Pair, name: &str, text: &str) {
    for host in pair.world.hosts() {
        host.write_file_with_mode(&format!("/etc/ha.d/resource.d/{name}"), text, 0o755).expect("write");
    }
}

/// On which nodes the file is that stands for a running resource.
fn running(pair: &Pair, file: &str) -> [bool; 2] {
    [0, 1].map(|node| pair.host(node).run(&["test", "-e", file]).expect("it runs").code == Some(0))
}
