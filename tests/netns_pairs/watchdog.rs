//! The watchdog device. A plain file stands for it: what would feed it is appended.

use crate::common::pairs::{group, Pair};

const DEVICE: &str = "/var/log/watchdog";

/// It is fed with every beat, and disarmed when everything is released, not before.
#[test]
fn it_is_fed_until_everything_is_released() {
    let Some(pair) = Pair::new(&["auto_failback on", &format!("watchdog {DEVICE}")], &[group(0), group(1)])
    else {
        return;
    };
    for node in 0..2 {
        pair.host(node).write_file(DEVICE, "").expect("file");
    }
    pair.allow(&["WDIOC_SETTIMEOUT: Failed to set watchdog timer to"]);
    pair.start_both();
    pair.settled("local", "local");
    let fed = |node: usize| pair.host(node).read_file(DEVICE).expect("file");
    let before = fed(0).len();
    pair.wait("more beats", || fed(0).len() > before + 3);
    assert!(fed(0).bytes().all(|byte| byte == 0), "{:?}", fed(0));
    let line = format!("notice: Using watchdog device: {DEVICE}");
    assert_eq!(pair.times_logged(0, &line), 1, "{}", pair.log(0));

    pair.tell_to_stop(0);
    pair.ended_well(0);
    assert!(fed(0).ends_with("\0V"), "{:?}", fed(0));
    pair.settled("", "all");

    // A quick restart lets go of it and takes it again.
    pair.mark();
    pair.host(1)
        .write_file(
            "/etc/ha.d/ha.cf",
            &pair.ha_cf(&["auto_failback on", &format!("watchdog {DEVICE}"), "debug 1"]),
        )
        .expect("w");
    pair.run(1, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
    pair.wait("the device in use again", || pair.times_logged(1, &line) == 1);
    assert_eq!(fed(1).matches('V').count(), 1, "{:?}", fed(1));
}

/// Where the other node counts on it, it stays armed on the way from one life to the next.
#[test]
fn a_guard_keeps_it_armed_through_a_quick_restart() {
    let watchdog = format!("watchdog {DEVICE}");
    let lines = ["auto_failback on", watchdog.as_str(), "watchdog_wait on"];
    let Some(pair) = Pair::new(&lines, &[group(0), group(1)]) else { return };
    for node in 0..2 {
        pair.host(node).write_file(DEVICE, "").expect("file");
    }
    pair.allow(&["WDIOC_SETTIMEOUT: Failed to set watchdog timer to"]);
    pair.start_both();
    pair.settled("local", "local");
    let fed = || pair.host(1).read_file(DEVICE).expect("file");
    let restart = |lines: &[&str]| {
        pair.mark();
        pair.host(1).write_file("/etc/ha.d/ha.cf", &pair.ha_cf(lines)).expect("ha.cf");
        pair.run(1, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
        pair.wait("the next life", || pair.times_logged(1, "Local status now set to: 'active'") == 1);
        pair.settled("local", "local");
    };
    // A file that is opened again is written over from its beginning.
    pair.run(1, &["sh", "-c", &format!("printf x | dd of={DEVICE} conv=notrunc")]);
    restart(&["auto_failback on", &watchdog, "watchdog_wait on", "debug 1"]);
    let line = format!("notice: Using watchdog device: {DEVICE}");
    assert_eq!(pair.times_logged(1, &line), 1, "{}", pair.log(1));
    let before = fed().len();
    pair.wait("more beats", || fed().len() > before + 3);
    assert!(fed().starts_with("x\0") && !fed().contains('V'), "{:?}", fed());
    // A life that has no watchdog any more lets go of it.
    restart(&["auto_failback on"]);
    assert!(fed().ends_with("\0V"), "{:?}", fed());
}

/// A daemon that is killed leaves it armed.
#[test]
fn a_killed_daemon_leaves_it_armed() {
    let Some(pair) = Pair::new(&["auto_failback on", &format!("watchdog {DEVICE}")], &[group(0), group(1)])
    else {
        return;
    };
    pair.host(0).write_file(DEVICE, "").expect("file");
    pair.allow(&["WDIOC_SETTIMEOUT: Failed to set watchdog timer to", "Cannot open watchdog device"]);
    pair.start_both();
    pair.settled("local", "local");
    pair.kill_daemon(0);
    assert!(!pair.host(0).read_file(DEVICE).expect("file").contains('V'));
}
