//! Groups that do not start or stop, nodes that die in the middle of a handover.

use super::accidents::PARTITION;
use super::{play_with, Stage};
use crate::common::pairs::{group, ADDRESSES, NODES};

/// A resource that takes as long as `/run/pause` says for each step, does not start where
/// `/run/broken` is, and does not stop where `/run/stuck` is.
const FICKLE: &str = "#!/bin/sh\n\
    case $1 in\n\
    start) sleep $(cat /run/pause 2>/dev/null || echo 0); [ -e /run/broken ] && exit 1; touch /run/fickle;;\n\
    stop) sleep $(cat /run/pause 2>/dev/null || echo 0); [ -e /run/stuck ] && exit 1; rm -f /run/fickle;;\n\
    status) [ -e /run/fickle ] && echo running || echo stopped;;\n\
    esac\n";

/// The group of node1 with that resource behind its address, and node2's address.
fn groups(home: usize) -> Vec<String> {
    let mut groups = vec![group(0), group(1)];
    groups[home].push_str(" fickle");
    groups
}

fn prepare(stage: &Stage) {
    for host in stage.world.hosts() {
        host.write_file_with_mode("/etc/ha.d/resource.d/fickle", FICKLE, 0o755).expect("write");
    }
}

fn runs_on(stage: &Stage) -> Vec<usize> {
    let runs = |node: &usize| {
        stage.host(*node).run(&["test", "-e", "/run/fickle"]).is_ok_and(|output| output.code == Some(0))
    };
    (0..2).filter(runs).collect()
}

/// What two originals log of it as well; theirs gives the wrong set away, half a minute later.
const FAILED_START: [&str; 6] = [
    "Return code 1 from",
    "Giving up resources due to failure of fickle",
    "resources failed to start here: giving them to the other node",
    "resources failed to start on both nodes",
    "returned 1",
    "return code",
];

/// The set goes to ours, or from ours to the original; the address with it.
#[test]
fn a_start_fails_at_home() {
    for home in [0, 1] {
        play_with(&["auto_failback off"], &groups(home), |stage| {
            stage.allow(&FAILED_START);
            prepare(stage);
            stage.run(home, &["touch", "/run/broken"]);
            stage.start_both();
            if stage.is_ours(home) {
                stage.settled_for(home, "none", "all");
                assert_eq!(runs_on(stage), [1 - home]);
            } else {
                // The original claims what it could not start; a person has to move it.
                stage.logged(home, &["CRIT: Giving up resources due to failure of fickle"]);
                stage.wait("rest", || {
                    (0..2).all(|node| !["", "transition"].contains(&&*stage.resource_status(node)))
                });
                assert!(runs_on(stage).is_empty());
                stage.command(1 - home, "hb_takeover", "foreign");
                stage.settled_for(home, "none", "all");
                assert_eq!(runs_on(stage), [1 - home]);
            }
            stage.over("start failed at home");
            // Mended, and asked back.
            stage.run(home, &["rm", "/run/broken"]);
            super::handover::moved(stage, home, "hb_takeover", "local", "local", "local");
            assert_eq!(runs_on(stage), [home]);
        });
    }
}

/// It fails where it was moved to.
#[test]
fn a_start_fails_where_it_was_moved() {
    for home in [0, 1] {
        play_with(&["auto_failback off"], &groups(home), |stage| {
            stage.allow(&FAILED_START);
            prepare(stage);
            stage.both_started();
            stage.run(1 - home, &["touch", "/run/broken"]);
            stage.mark();
            stage.command(home, "hb_standby", "local");
            stage.logged(1 - home, &["CRIT: Giving up resources due to failure of fickle"]);
            if stage.is_ours(1 - home) {
                stage.settled("local", "local");
            } else {
                // Its script gives back half a minute later: what is foreign to it, this time the right set.
                stage.logged(1 - home, &["HA resource release completed (standby)."]);
                stage.settled_somehow();
            }
            assert_eq!(runs_on(stage), [home]);
            stage.over("start failed where it was moved");
        });
    }
}

/// It starts nowhere: it stays down, and nothing goes back and forth for ever.
#[test]
fn a_start_fails_on_both() {
    for home in [0, 1] {
        play_with(&["auto_failback off"], &groups(home), |stage| {
            stage.allow(&FAILED_START);
            prepare(stage);
            (0..2).for_each(|node| drop(stage.run(node, &["touch", "/run/broken"])));
            stage.start_both();
            stage.wait("an attempt", || {
                (0..2).any(|node| stage.log(node).contains("Giving up resources due to failure of fickle"))
            });
            // The original's script comes half a minute after each failure; later nothing moves.
            std::thread::sleep(std::time::Duration::from_secs(75));
            let attempts = || [0, 1].map(|node| stage.times_logged(node, "failure of fickle"));
            let before = attempts();
            std::thread::sleep(std::time::Duration::from_secs(40));
            let after = attempts();
            println!("{:?} attempts {before:?} then {after:?}", stage.kinds);
            assert_eq!(before, after, "it goes on");
            assert!(stage.world.owners(ADDRESSES[home]).expect("addresses").is_empty());
            stage.owned_by(1 - home, NODES[1 - home]);
            (0..2).for_each(|node| drop(stage.run(node, &["rm", "/run/broken"])));
            stage.command(home, "hb_standby", "local");
            stage.wait("it runs", || runs_on(stage).len() == 1);
            stage.settled_somehow();
        });
    }
}

/// The node that cannot stop it goes down; the other takes over. Ours has said nothing that sounded
/// like a release before.
#[test]
fn a_stop_fails() {
    for home in [0, 1] {
        play_with(&["auto_failback off"], &groups(home), |stage| {
            stage.allow(&FAILED_START);
            stage.allow(&[
                "Resource STOP failure. Reboot required!",
                "Killing heartbeat ungracefully!",
                "Unable to force reboot",
            ]);
            prepare(stage);
            for host in stage.world.hosts() {
                host.write_file("/etc/ha.d/shellfuncs.local", "").expect("write");
            }
            stage.both_started();
            stage.run(home, &["touch", "/run/stuck"]);
            stage.mark();
            stage.command(home, "hb_standby", "local");
            let gone = || !stage.host(home).is_on() || stage.resource_status(home).is_empty();
            stage.wait("the end of the node", gone);
            stage.over("stop failed");
            stage.lookout.excuse(true);
            if stage.host(home).is_on() {
                let _ = stage.world.crash(NODES[home]);
            }
            stage.lookout.excuse(false);
            stage.settled_for(home, "", "all");
            assert_eq!(runs_on(stage), [1 - home]);
            stage.boot(home);
            stage.settled_for(home, "none", "all");
            stage.over("node gone and back");
        });
    }
}

/// Either of the two dies while the giver stops or the taker starts.
#[test]
fn a_node_dies_in_the_middle_of_a_handover() {
    for home in [0, 1] {
        play_with(&["auto_failback off"], &groups(home), |stage| {
            stage.allow(&PARTITION);
            // Its own child says it after the dialogue was cancelled.
            stage.allow(&["Ignored standby message 'done' from"]);
            prepare(stage);
            stage.both_started();
            for giver in [0, 1] {
                for (victim, phase) in [
                    (giver, "stopping"),
                    (1 - giver, "stopping"),
                    (giver, "starting"),
                    (1 - giver, "starting"),
                ] {
                    let taker = 1 - giver;
                    if victim == taker && phase == "stopping" && !stage.is_ours(giver) {
                        // The original starts again what is not stopped yet, and then stops it.
                        continue;
                    }
                    let held = stage.resource_status(giver);
                    if held != "all" {
                        stage.command(giver, "hb_takeover", "all");
                        stage.settled_for(giver, "all", "none");
                    }
                    for node in 0..2 {
                        stage.run(node, &["sh", "-c", "echo 3 >/run/pause"]);
                    }
                    stage.mark();
                    stage.command(giver, "hb_standby", "all");
                    match phase {
                        "stopping" => stage.wait("the release", || stage.log(giver).contains("fickle  stop")),
                        _ => stage.wait("the start", || stage.log(taker).contains("fickle  start")),
                    }
                    stage.world.crash(NODES[victim]).expect("crash");
                    stage.settled_for(victim, "", "all");
                    stage.wait("it runs", || runs_on(stage) == [1 - victim]);
                    stage.over(&format!(
                        "{} dies while {} gives and it is {phase}",
                        NODES[victim], NODES[giver]
                    ));
                    stage.boot(victim);
                    stage.settled_for(victim, "none", "all");
                    (0..2).for_each(|node| drop(stage.run(node, &["rm", "-f", "/run/pause"])));
                }
            }
        });
    }
}
