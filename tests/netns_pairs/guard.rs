//! The daemon dies without a word and its guard acts.

use std::time::Duration;

use ha_core::demo::probe::{longest_silence, now_us};

use crate::acts::*;
use crate::common::pairs::{group, Pair, ADDRESSES, DEAD_TIME_MS, PATIENCE};

/// A resource that takes a second to stop.
const SLOW: &str = "#!/bin/sh\n\
    case $1 in\n\
    start) touch /run/slow;;\n\
    stop) sleep 1; rm -f /run/slow;;\n\
    status) [ -e /run/slow ] && echo running || echo stopped;;\n\
    esac\n";

/// Only the daemon, not its guard.
fn kill(pair: &Pair, node: usize) -> String {
    let pid = pair.daemon_pid(node);
    pair.run(node, &["kill", "-9", &pid]);
    pid
}

fn pair_with_slow() -> Option<Pair> {
    let groups = [format!("{} slow", group(0)), group(1)];
    let pair = Pair::new(&["auto_failback off"], &groups)?;
    for host in pair.world.hosts() {
        host.write_file_with_mode("/etc/ha.d/resource.d/slow", SLOW, 0o755).expect("write");
    }
    pair.allow(&["died (signal 9)"]);
    pair.start_both();
    pair.settled("local", "local");
    Some(pair)
}

fn runs_slow(pair: &Pair, node: usize) -> bool {
    pair.host(node).run(&["test", "-e", "/run/slow"]).is_ok_and(|output| output.code == Some(0))
}

/// The client misses nothing, the peer takes nothing.
#[test]
fn a_killed_daemon_comes_back_with_what_it_held() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.allow(&["died (signal 9)"]);
    for (node, set) in [(0, "local"), (1, "local")] {
        pair.mark();
        let probe = pair.world.probe(ADDRESSES[node], Duration::from_millis(1)).expect("client asks");
        let host = pair.host(node);
        probe.wait_answer(host, 0, Duration::from_millis(20), PATIENCE).expect("an answer");
        let began_us = now_us();
        let before = kill(&pair, node);
        pair.logged(node, &[&format!(": it is brought back and keeps {set} resources")]);
        pair.logged(node, &["info: Local status now set to: 'active'"]);
        pair.settled("local", "local");
        assert_ne!(pair.daemon_pid(node), before);
        assert_eq!(pair.times_logged(1 - node, "is dead"), 0, "{}", pair.log(1 - node));
        assert_eq!(pair.times_logged(node, "Releasing resource group"), 0, "{}", pair.log(node));
        let answers = probe.answers().expect("answers");
        let silence = longest_silence(&answers, began_us).expect("answers");
        assert_eq!((silence.host_before, silence.host_after), (host.index(), host.index()));
        assert!(silence.length_us() < DEAD_TIME_MS * 1000, "{silence:?}");
        println!("a killed daemon: {} us without an answer", silence.length_us());
    }
    // It is a working member afterwards.
    takeover(&pair, 0, 1, "all", "all");
    pair.settled("all", "none");
    pair.world.crash("node1").expect("crash");
    pair.settled("", "all");
}

/// What is active is not known: everything is stopped, then it comes back.
#[test]
fn a_daemon_that_dies_in_a_transition_comes_back_with_nothing() {
    let Some(pair) = pair_with_slow() else { return };
    pair.allow(&PARTITION);
    pair.mark();
    pair.command(0, "hb_standby", "local");
    pair.wait("the release", || pair.log(0).contains("slow  stop"));
    kill(&pair, 0);
    pair.logged(0, &[": resources are stopped before it is brought back"]);
    pair.logged(0, &["info: Local status now set to: 'active'"]);
    pair.wait("one owner", || {
        ["none", "local"].contains(&&*pair.resource_status(0)) && runs_slow(&pair, 0) != runs_slow(&pair, 1)
    });
    let words = [pair.resource_status(0), pair.resource_status(1)];
    pair.settled(&words[0], &words[1]);
}

/// It would die for ever: everything is stopped, and the peer is told.
#[test]
fn a_daemon_that_dies_again_and_again_is_not_brought_back() {
    let Some(pair) = pair_with_slow() else { return };
    for _ in 0..2 {
        pair.mark();
        kill(&pair, 0);
        pair.logged(0, &[": it is brought back and keeps local resources"]);
        pair.logged(0, &["info: Local status now set to: 'active'"]);
        pair.settled("local", "local");
    }
    pair.mark();
    pair.allow(&PARTITION);
    kill(&pair, 0);
    pair.logged(0, &[": it is not brought back, all resources are stopped"]);
    pair.logged(1, &["info: Received shutdown notice from 'node1'."]);
    pair.settled("", "all");
    assert!(!runs_slow(&pair, 0) && runs_slow(&pair, 1));
    pair.wait("end of the guard", || pair.host(0).daemon_ended().expect("state").is_some());
}

/// Killed while it leaves: the guard does what is left to do.
#[test]
fn a_daemon_that_dies_while_it_stops_is_not_brought_back() {
    let Some(pair) = pair_with_slow() else { return };
    pair.allow(&PARTITION);
    pair.mark();
    pair.tell_to_stop(0);
    pair.wait("the release", || pair.log(0).contains("slow  stop"));
    kill(&pair, 0);
    pair.logged(0, &[": it is not brought back, all resources are stopped"]);
    // The stop takes longer than deadtime: until it ends the address is on both.
    pair.wait("one owner", || pair.is_owned_as(["", "all"]) && !runs_slow(&pair, 0) && runs_slow(&pair, 1));
    pair.settled("", "all");
}

/// It does not start any more: files that it refuses. Nothing stays active without a daemon.
#[test]
fn a_daemon_that_refuses_to_come_back_leaves_nothing_active() {
    let Some(pair) = pair_with_slow() else { return };
    pair.mark();
    pair.allow(&PARTITION);
    pair.allow(&["died (exit code", "nonsense", "Configuration error"]);
    pair.run(0, &["sh", "-c", "echo nonsense 1 >>/etc/ha.d/ha.cf"]);
    kill(&pair, 0);
    pair.logged(0, &[": it is not brought back, all resources are stopped"]);
    pair.wait("one owner", || pair.is_owned_as(["", "all"]) && !runs_slow(&pair, 0) && runs_slow(&pair, 1));
    pair.wait("end of the guard", || pair.host(0).daemon_ended().expect("state").is_some());
}

/// The guard dies: the daemon serves on and says so.
#[test]
fn a_killed_guard_is_missed() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.mark();
    let daemon = pair.daemon_pid(0);
    pair.run(0, &["sh", "-c", &format!("kill -9 $(cut -d' ' -f4 /proc/{daemon}/stat)")]);
    pair.wait("a warning", || pair.log(0).contains("WARN: The guard process is gone"));
    assert_eq!(pair.daemon_pid(0), daemon);
    pair.command(0, "hb_standby", "all");
    pair.wait("the switch", || pair.is_owned_as(["none", "all"]));
}
