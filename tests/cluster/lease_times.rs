//! Goal: the promise of lease and watchdog holds with the time that the device really takes, with another time
//! in each file, and with a disk whose words were damaged.

use ha_core::cluster::event::Command;
use ha_core::cluster::settings::{LeaseSettings, WatchdogDevice, WatchdogWait};
use ha_core::config::settings::AutoFailback;

use crate::guarded::{Guarding, Trouble};
use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::Action;

/// Deadtime of [`crate::world::Config::pair`].
const DEAD_MS: u64 = 1_000;
/// A driver that does not take the time it is asked for keeps this one.
const SLOW_MS: u64 = 6_000;

fn pair(guards: Guarding) -> Scenario {
    Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.outside.guards = guards;
    })
}

fn slow_device(device: Option<WatchdogDevice>) -> Guarding {
    Guarding { watchdog_ms: Some(SLOW_MS), device, ..Guarding::lease(DEAD_MS, true) }
}

/// The holder stands still for times around those of the lease and the watchdog.
fn two_owners_after_standing_still(guards: &Guarding) -> bool {
    (0..8).any(|step| {
        let mut pair = pair(guards.clone());
        pair.act(Action::Pause(A)).run_ms(3_500 + step * 350).act(Action::Thaw(A)).run_ms(20_000);
        !pair.world.checker.never_two_owners()
    })
}

fn guards_of(pair: &Scenario, host: usize) -> (String, String) {
    let world = &pair.world;
    let cluster = &world.hosts[host].daemon.as_ref().expect("a daemon").cluster;
    let view = cluster.view(world.hosts[host].clock(world.now_ms));
    (view.guards.join("\n"), view.alarms.join("\n"))
}

#[test]
fn a_device_slower_than_asked_makes_the_lease_longer() {
    let told = slow_device(Some(WatchdogDevice::Resets(SLOW_MS)));
    assert!(!two_owners_after_standing_still(&told));
    assert!(two_owners_after_standing_still(&slow_device(None)), "the time of the device is what matters");
    let mut pair = pair(told);
    let (guards, alarms) = guards_of(&pair, A);
    assert!(guards.contains("valid for 18000 ms; the watchdog resets a node that stands still for 6000 ms"));
    assert_eq!(alarms, "");
    // The other node waits as long as this one's word says.
    pair.logged(A, "the lease counts for 18000 ms and not 3300, here and for the other node");
    pair.crash(A).run_ms(18_000).owner(HOME_A, None).run_ms(6_000).owners(B, B).never_two();
}

#[test]
fn a_device_that_does_not_work_is_no_guard() {
    for device in [WatchdogDevice::Missing, WatchdogDevice::Unknown] {
        let mut guards = Guarding::lease(DEAD_MS, true);
        (guards.watchdog_ms, guards.device) = (None, Some(device));
        let mut pair = Scenario::running(|config| {
            config.outside.guards = guards;
            config.outside.watchdog_ms = Some(1_100);
            config.outside.watchdog_wait = Some(WatchdogWait::Announced(1_100));
        });
        pair.logged(A, "the lease has no watchdog behind it");
        let (guards, alarms) = guards_of(&pair, A);
        assert!(guards.contains("without a watchdog: one that stands still and goes on is a second owner"));
        assert!(guards.contains("node node2 has none: one that hangs is not reset"), "{guards}");
        assert!(alarms.contains("the watchdog of this node does"), "{alarms}");
    }
}

#[test]
fn a_word_counts_as_long_as_its_writer_thinks() {
    let short = Guarding::lease(DEAD_MS, true);
    let time_ms = 3 * short.lease.expect("a lease").time_ms;
    let long = LeaseSettings { time_ms, ..short.lease.expect("a lease") };
    let mut pair = pair(Guarding { lease: Some(long), other_lease: short.lease, ..short });
    // A holds until half of its time is over, which is longer than the whole time of B.
    pair.part().act(Action::Trouble(A, Trouble::DiskHangs, true));
    pair.run_while(20_000, "waiting for the taking", |world| !world.serves(B, HOME_A)).never_two();
    pair.act(Action::Trouble(A, Trouble::DiskHangs, false)).join().rest().never_two();
}

#[test]
fn a_longer_time_in_a_new_file_counts_from_the_first_word_that_says_so() {
    let guards = Guarding::lease(DEAD_MS, true);
    let lease = guards.lease.expect("a lease");
    let mut pair = pair(guards);
    pair.part().act(Action::Trouble(A, Trouble::DiskHangs, true)).run_ms(300);
    let longer = LeaseSettings { time_ms: 5 * lease.time_ms, ..lease };
    pair.world.config.outside.guards.lease = Some(longer);
    assert!(pair.world.upgrade(A));
    pair.run_while(20_000, "waiting for the taking", |world| !world.serves(B, HOME_A)).never_two();
}

// ---- damaged words -----------------------------------------------------------------------------

#[test]
fn damaged_words_of_a_node_that_is_away_cost_the_other_nothing() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.stop(B).rest().act(Action::Trouble(B, Trouble::WordsDamaged, true));
    pair.always(20_000, "it serves on", |world| world.serves(A, HOME_A) && world.serves(A, HOME_B));
    pair.start(B).rest().owners(A, A).never_two();
}

#[test]
fn a_node_whose_words_are_damaged_is_taken_over_by_a_person() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.crash(B).act(Action::Trouble(B, Trouble::WordsDamaged, true));
    pair.always(20_000, "nobody knows what it held", |world| world.present_on(HOME_B).is_empty());
    let world = &pair.world;
    let waits =
        world.hosts[A].daemon.as_ref().expect("a daemon").cluster.view(world.hosts[A].clock(world.now_ms));
    assert!(waits.transition.contains("the other node's words on the disk cannot be read"), "{waits:?}");
    assert!(pair.ask(A, Command::ConfirmTakeover));
    pair.run_ms(3_000).owners(A, A).never_two();
}

#[test]
fn a_node_whose_own_words_are_damaged_begins_anew() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.crash(B).run_ms(10_000).owners(A, A);
    pair.act(Action::Trouble(B, Trouble::WordsDamaged, true)).start(B).rest().never_two();
    let (guards, alarms) = guards_of(&pair, B);
    assert!(guards.contains("lease: held") && alarms.is_empty(), "{guards} {alarms}");
}
