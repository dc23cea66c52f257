//! Devices that do not work: the takeover waits and says why, nothing is reset twice, a person decides.

use std::time::Duration;

use ha_core::demo::world::SERVICE_ADDRESS;

use crate::common;
use crate::device::Fenced;
use crate::PATIENCE;

#[test]
fn the_next_device_takes_over_from_one_that_hangs_refuses_or_breaks_off() {
    let more = ["stonith_timeout 2", "stonith_delay 0"];
    let Some(pair) = Fenced::running(&["hang", "refuse", "drop", "good"], &more) else { return };
    let page = pair.world.host("node2").expect("host").run(&["/ha", "status"]).expect("status").stdout;
    assert!(page.contains("Guard: the other node is reset before it is taken over"), "{page}");
    pair.wait_log("node2", "Checking status of STONITH device [power switch of the test]");
    pair.world.crash("node1").expect("crash");
    pair.is_taken_after_the_reset();
    let calls = ["hang", "refuse", "drop", "good"].map(|mode| format!("node1 {mode}"));
    assert_eq!(pair.calls("node2"), calls, "each once, in order");
    let log = pair.log("node2");
    for line in [
        "info: Resetting node node1 with [power switch of the test]",
        "stonith external/tester took longer than 2 s",
        "access denied",
        "ERROR: Host node1 not reset!",
        "info: node node1 now reset.",
        "info: Resources being acquired from node1.",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(!log.contains("Retrying"), "{log}");
    pair.keeps_the_secret("node2");
    pair.bring_back("node1");
    common::wait_for(&pair.world, "the pair is whole", PATIENCE, || common::is_settled(&pair.world));
    assert_eq!(pair.calls("node2").len(), 4, "nothing is reset twice");
}

/// A daemon that dies in the middle of a reset leaves nothing behind that goes on with it, and the life
/// that follows gives the other node its time before it asks again.
#[test]
fn a_daemon_killed_in_the_middle_of_a_reset_does_not_repeat_it() {
    let Some(pair) = Fenced::running(&["hang"], &["stonith_delay 0", "stonith_timeout 300"]) else { return };
    let node2 = pair.world.host("node2").expect("host");
    let plugin_runs = || {
        let processes = node2.processes().expect("processes");
        processes.iter().any(|process| process.name == "sleep" || process.name == "tester")
    };
    pair.world.crash("node1").expect("crash");
    common::wait_for(&pair.world, "a reset that hangs", PATIENCE, || {
        pair.calls("node2").len() == 1 && plugin_runs()
    });
    let killed = node2.run(&["sh", "-c", "kill -9 $(cat /var/run/heartbeat.pid)"]).expect("kill");
    assert_eq!(killed.code, Some(0), "{}", killed.stderr);
    common::wait_for(&pair.world, "its child's end", PATIENCE, || !plugin_runs());
    pair.wait_log("node2", "node node1 may have been reset just before this daemon went on: it has 30 s");
    // What would follow at once.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(pair.calls("node2").len(), 1, "{}", pair.log("node2"));
    assert!(pair.world.owners(SERVICE_ADDRESS).expect("owners").is_empty());
    pair.bring_back("node1");
    common::wait_for(&pair.world, "the pair is whole", PATIENCE, || common::is_settled(&pair.world));
    assert_eq!(pair.calls("node2").len(), 1, "what came back is not reset");
}

#[test]
fn where_no_device_works_a_person_decides() {
    let Some(pair) = Fenced::running(&["refuse"], &["stonith_delay 0"]) else { return };
    let node2 = pair.world.host("node2").expect("host");
    let early = node2.run(&["/ha", "takeover", "--confirm"]).expect("ha takeover");
    assert_eq!(early.code, Some(1), "{}", early.stderr);
    assert!(early.stderr.contains("no takeover waits"), "{}", early.stderr);
    pair.world.crash("node1").expect("crash");
    pair.wait_log("node2", "STONITH of node1 failed.  Retrying...");
    common::wait_for(&pair.world, "a second attempt", PATIENCE, || pair.calls("node2").len() > 1);
    assert!(pair.world.owners(SERVICE_ADDRESS).expect("owners").is_empty());
    let status = node2.run(&["/ha", "status"]).expect("status");
    assert!(status.stdout.contains("ha takeover --confirm"), "{}", status.stdout);
    assert!(pair.log("node2").contains("take its resources over with: ha takeover --confirm"));
    let confirmed = node2.run(&["/ha", "takeover", "--confirm"]).expect("ha takeover");
    assert_eq!(confirmed.code, Some(0), "{}", confirmed.stderr);
    pair.world.wait_owner(SERVICE_ADDRESS, "node2", PATIENCE).expect("taken");
    let calls = pair.calls("node2").len();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(pair.calls("node2").len(), calls, "no attempt after that");
}

#[test]
fn a_takeover_by_hand_waits_for_a_person() {
    let Some(pair) = Fenced::running(&[], &["takeover manual"]) else { return };
    pair.world.crash("node1").expect("crash");
    pair.wait_log("node2", "its resources are taken over by hand");
    std::thread::sleep(Duration::from_secs(2));
    assert!(pair.world.owners(SERVICE_ADDRESS).expect("owners").is_empty());
    let node2 = pair.world.host("node2").expect("host");
    assert_eq!(node2.run(&["/ha", "takeover", "--confirm"]).expect("ha takeover").code, Some(0));
    pair.world.wait_owner(SERVICE_ADDRESS, "node2", PATIENCE).expect("taken");
}
