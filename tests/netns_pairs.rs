//! Pairs of our daemons through everything that happens to a pair: after each transition every
//! address is on exactly one host, both nodes say so, and the log has the lines people grep for
//! (resources spec 2.13).

mod common;

use std::time::{Duration, Instant};

use common::pairs::{group, Pair, ADDRESSES, NODES, PATIENCE};
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
            let state = pair.run(node, &["cl_status", "hblinkstatus", other, link]);
            assert_eq!(state, "dead\n");
            let status = pair.status(node);
            let alarm = format!("link {other}:{link} is dead");
            assert!(status["attention"].to_string().contains(&alarm), "{status:#}");
        }
        pair.settled("local", "local");
        pair.world.heal("node1", link).expect("heal");
        for (node, other) in [(0, "node2"), (1, "node1")] {
            pair.logged(node, &[&format!("info: Link {other}:{link} up.")]);
            assert_eq!(pair.run(node, &["cl_status", "hblinkstatus", other, link]), "up\n");
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
    // Of its own set; then of everything; then of the other's.
    for (own, other) in [("local", "local"), ("all", "none"), ("foreign", "foreign")] {
        match own {
            "all" => pair.command(0, "hb_takeover", "all"),
            "foreign" => pair.command(0, "hb_standby", "local"),
            _ => {}
        }
        pair.settled(own, other);
        pair.mark();
        pair.kill_daemon(0);
        pair.start(0);
        pair.logged(1, &["info: Heartbeat restart on node node1"]);
        pair.wait("two settled nodes", || {
            let words = [pair.resource_status(0), pair.resource_status(1)];
            ["all none", "none all", "local local", "foreign foreign"].contains(&&*words.join(" "))
        });
        let words = [pair.resource_status(0), pair.resource_status(1)];
        pair.settled(&words[0], &words[1]);
        assert_eq!(pair.times_logged(1, "is dead"), 0, "{}", pair.log(1));
        if words != ["local", "local"] {
            pair.command(0, "hb_takeover", "failback");
        }
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
    let held = pair.log(taker).contains("this node holds them already");
    if !held {
        pair.logged(giver, &[&format!("info: Going standby [{given}].")]);
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
