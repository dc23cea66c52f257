//! Pairs of our daemons through everything that happens to a pair: after each transition every
//! address is on exactly one host, both nodes say so, and the log has the lines people grep for
//! (resources spec 2.13).

#[path = "../common/mod.rs"]
mod common;

mod acts;
mod addresses;
mod failed_starts;
mod fifo;
mod filesystem;
mod guard;
mod handover;
mod links;
mod pauses;
mod reload;
mod serial;
mod upgrade;
mod watchdog;
mod watching;

use std::time::{Duration, Instant};

use acts::*;
use common::pairs::{group, Pair, ADDRESSES, NODES, PATIENCE};

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
    assert!(status["attention"].to_string().contains("node2 is dead"), "{status:#}");
    for home in 0..2 {
        let group = &status["report"]["view"]["groups"][home];
        assert_eq!(group["holder"], "node1", "{status:#}");
        assert_eq!(group["resources"][0]["state"], "running", "{status:#}");
    }
}
