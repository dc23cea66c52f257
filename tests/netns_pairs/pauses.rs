//! Nodes that stand still, daemons that die and are back at once.

use crate::acts::*;
use crate::common::pairs::{group, Pair};

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
