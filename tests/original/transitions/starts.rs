//! Starts, stops, crashes and returns.

use super::{play, Stage};
use crate::common::pairs::{ADDRESSES, NODES};

/// Alone, joined, stopped, back.
#[test]
fn one_alone_then_the_other_joins() {
    for first in [0, 1] {
        play(&["auto_failback off"], |stage| {
            stage.start(first);
            stage.settled_for(first, "all", "");
            stage.over("alone");
            stage.start(1 - first);
            stage.settled_for(first, "all", "none");
            stage.over("joined");
        });
    }
}

/// After the crash the other has everything, after the return it is as `after` says.
#[track_caller]
pub(super) fn crash_and_return(stage: &Stage, victim: usize, after: (&str, &str)) {
    stage.mark();
    stage.world.crash(NODES[victim]).expect("crash");
    stage.settled_for(victim, "", "all");
    stage.logged(1 - victim, &[&format!("WARN: node {}: is dead", NODES[victim])]);
    stage.over("crash");
    stage.boot(victim);
    stage.settled_for(victim, after.0, after.1);
    stage.over("return");
}

#[test]
fn crash_and_return_with_failback() {
    play(&["auto_failback on"], |stage| {
        stage.both_started();
        for victim in [0, 1] {
            crash_and_return(stage, victim, ("local", "local"));
        }
    });
}

#[test]
fn crash_and_return_without_failback() {
    play(&["auto_failback off"], |stage| {
        stage.both_started();
        // Of both with their own, of the holder of nothing, of the holder of everything.
        for victim in [0, 0, 1, 1, 0] {
            crash_and_return(stage, victim, ("none", "all"));
        }
    });
}

/// The peer takes everything at once and gives it back when `auto_failback on`.
#[track_caller]
pub(super) fn stop_and_restart(stage: &Stage, leaver: usize) {
    stage.mark();
    stage.tell_to_stop(leaver);
    stage.ended_well(leaver);
    stage.settled_for(leaver, "", "all");
    stage.logged(
        1 - leaver,
        &[
            &format!("info: Received shutdown notice from '{}'.", NODES[leaver]),
            &format!("info: Dead node {} gave up resources.", NODES[leaver]),
        ],
    );
    stage.over("stop");
    stage.start(leaver);
    stage.settled("local", "local");
    stage.over("restart");
}

#[test]
fn graceful_stop_and_restart() {
    play(&["auto_failback on"], |stage| {
        stage.both_started();
        for leaver in [0, 1] {
            stop_and_restart(stage, leaver);
        }
        (0..2).for_each(|node| stage.tell_to_stop(node));
        (0..2).for_each(|node| stage.ended_well(node));
        for address in ADDRESSES {
            assert!(stage.world.owners(address).expect("addresses").is_empty());
        }
        stage.quiet();
    });
}

/// The daemon dies and is back before the other has noticed; its kernel keeps what is active.
#[test]
fn killed_daemon_is_back_within_deadtime() {
    play(&["auto_failback off"], |stage| {
        stage.allow(&["No one owns our local resources!", "No one owns foreign resources!"]);
        // Each link of an original is read by a process of its own: on a busy machine one of them hands
        // in beats of the former life when the other has already told of the new one.
        stage.allow(&["attempted replay attack"]);
        stage.both_started();
        for victim in [0, 1] {
            for (command, before) in [
                (None, ("local", "local")),
                (Some("all"), ("all", "none")),
                (Some("local"), ("local", "local")),
            ] {
                if let Some(set) = command {
                    stage.command(
                        victim,
                        if set == "all" { "hb_takeover" } else { "hb_standby" },
                        if set == "all" { "all" } else { "foreign" },
                    );
                }
                stage.settled_for(victim, before.0, before.1);
                stage.over("before");
                stage.mark();
                stage.kill_daemon(victim);
                stage.start(victim);
                stage.logged(1 - victim, &[&format!("info: Heartbeat restart on node {}", NODES[victim])]);
                stage.logged(victim, &["info: Local status now set to: 'active'"]);
                stage.settled("local", "local");
                stage.over(&format!("kill of {} with {}", NODES[victim], before.0));
                assert_eq!(stage.times_logged(1 - victim, "is dead"), 0);
            }
        }
    });
}

/// Only the daemon of ours dies: its guard brings it back, and the original sees a quick restart.
#[test]
fn a_killed_daemon_of_ours_keeps_what_it_holds() {
    play(&["auto_failback off"], |stage| {
        stage.allow(&["died (signal 9)"]);
        stage.both_started();
        let ours = usize::from(!stage.is_ours(0));
        // A third death within a minute would be one too many.
        for (command, held, other) in [(None, "local", "local"), (Some("all"), "all", "none")] {
            if let Some(set) = command {
                stage.command(ours, "hb_takeover", set);
            }
            stage.settled_for(ours, held, other);
            stage.over("before");
            stage.mark();
            let daemon = stage.daemon_pid(ours);
            stage.run(ours, &["kill", "-9", &daemon]);
            stage.logged(ours, &[&format!(": it is brought back and keeps {held} resources")]);
            stage.logged(1 - ours, &[&format!("info: Heartbeat restart on node {}", NODES[ours])]);
            stage.logged(ours, &["info: Local status now set to: 'active'"]);
            stage.settled_for(ours, held, other);
            let without_ms = stage.lookout.take_longest_without_ms();
            assert!(without_ms.iter().all(|ms| *ms < 500), "{held}: {without_ms:?} ms without an address");
            assert_eq!(stage.times_logged(1 - ours, "is dead"), 0);
            assert_eq!(stage.times_logged(ours, "Releasing resource group"), 0);
        }
    });
}

/// The whole host is back before the other has noticed.
#[test]
fn crashed_host_is_back_within_deadtime() {
    play(&["auto_failback off"], |stage| {
        stage.allow(&["No one owns our local resources!", "No one owns foreign resources!"]);
        // Each link of an original is read by a process of its own: on a busy machine one of them hands
        // in beats of the former life when the other has already told of the new one.
        stage.allow(&["attempted replay attack"]);
        stage.both_started();
        for victim in [0, 1] {
            for all in [false, true] {
                if all {
                    stage.command(victim, "hb_takeover", "all");
                    stage.settled_for(victim, "all", "none");
                }
                stage.mark();
                stage.world.crash(NODES[victim]).expect("crash");
                stage.boot(victim);
                stage.logged(1 - victim, &[&format!("info: Heartbeat restart on node {}", NODES[victim])]);
                stage.logged(victim, &["info: Local status now set to: 'active'"]);
                stage.settled("local", "local");
                stage.over(&format!("fast reboot of {} all={all}", NODES[victim]));
            }
        }
    });
}

#[test]
fn legacy_pair() {
    play(&["auto_failback legacy"], |stage| {
        let owned = |owners: [&str; 2], what: &str| {
            stage.wait(what, || {
                (0..2).all(|home| stage.world.owners(ADDRESSES[home]).expect("addresses") == [owners[home]])
            });
            for node in (0..2).filter(|node| stage.host(*node).is_on()) {
                stage.wait("a settled node", || ["none", ""].contains(&&*stage.resource_status(node)));
            }
            stage.quiet();
            stage.over(what);
        };
        stage.start_both();
        owned(NODES, "cold start");
        for victim in [0, 1] {
            let other = NODES[1 - victim];
            stage.world.crash(NODES[victim]).expect("crash");
            owned([other, other], "crash");
            stage.boot(victim);
            owned(NODES, "return");
            stage.tell_to_stop(victim);
            stage.ended_well(victim);
            owned([other, other], "stop");
            stage.start(victim);
            owned(NODES, "start");
        }
    });
}

/// `heartbeat -r` after ha.cf was changed: nothing moves and nobody dies.
#[test]
fn reload_of_either() {
    play(&["auto_failback on"], |stage| {
        stage.both_started();
        let all = |node: usize| {
            stage.command(node, "hb_takeover", "all");
            stage.settled_for(node, "all", "none");
        };
        for (node, holder) in [(0, None), (1, None), (0, Some(0)), (1, Some(0)), (0, Some(1)), (1, Some(1))] {
            if let Some(holder) = holder {
                all(holder);
            }
            let before = [stage.resource_status(0), stage.resource_status(1)];
            stage.lookout.take_longest_without_ms();
            stage.mark();
            let ha_cf = stage.ha_cf(&["auto_failback on", "warntime 1500ms"]);
            stage.host(node).write_file("/etc/ha.d/ha.cf", &(ha_cf + "# once more\n")).expect("write");
            stage.run(node, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
            stage.logged(1 - node, &[&format!("info: Heartbeat restart on node {}", NODES[node])]);
            stage.settled(&before[0], &before[1]);
            for node in 0..2 {
                for line in ["is dead", "Releasing resource group", "wants to go standby"] {
                    assert_eq!(stage.times_logged(node, line), 0, "{line}: {}", stage.log(node));
                }
            }
            assert_eq!(stage.lookout.take_longest_without_ms(), [0, 0]);
            // The file's time counts in seconds.
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
    });
}

/// One says legacy, the other does not. As with two originals, which do not speak with each other then,
/// only the groups of the one with legacy run, each on one host, and all do again once both agree.
#[test]
fn settings_of_failback_differ() {
    for legacy in [0, 1] {
        play(&["auto_failback on"], |stage| {
            let ha_cf = stage.ha_cf(&["auto_failback legacy"]);
            stage.host(legacy).write_file("/etc/ha.d/ha.cf", &ha_cf).expect("write");
            stage.start_both();
            std::thread::sleep(std::time::Duration::from_secs(25));
            let owners = || ADDRESSES.map(|address| stage.world.owners(address).unwrap_or_default());
            println!(
                "legacy on {}: {:?} {:?}, {:?}",
                NODES[legacy],
                stage.resource_status(0),
                stage.resource_status(1),
                owners()
            );
            assert!(owners().iter().all(|owners| owners.len() <= 1));
            stage.world.crash(NODES[legacy]).expect("crash");
            let other = NODES[1 - legacy];
            stage.wait("everything on the other", || owners().iter().all(|owners| *owners == [other]));
            let ha_cf = stage.ha_cf(&["auto_failback on"]);
            stage.world.boot(NODES[legacy]).expect("boot");
            stage.host(legacy).write_file("/etc/ha.d/ha.cf", &ha_cf).expect("write");
            stage.start(legacy);
            stage.settled("local", "local");
            stage.over("agreed");
        });
    }
}

/// On one side failback is on and on the other off: the holder's own setting counts.
#[test]
fn failback_on_one_side_only() {
    for willing in [0, 1] {
        play(&["auto_failback off"], |stage| {
            let ha_cf = stage.ha_cf(&["auto_failback on"]);
            stage.host(willing).write_file("/etc/ha.d/ha.cf", &ha_cf).expect("write");
            stage.both_started();
            crash_and_return(stage, 1 - willing, ("local", "local"));
            crash_and_return(stage, willing, ("none", "all"));
        });
    }
}
