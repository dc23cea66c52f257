//! Goal: each guard does what its page says, in partitions of every shape.
//! Method: one named situation each; the random runs are in `guard_runs`.

use ha_core::cluster::alarm::AlarmKind;
use ha_core::cluster::event::Command;
use ha_core::cluster::settings::AskSettings;
use ha_core::config::settings::AutoFailback;

use crate::core::Faults;
use crate::guarded::{Guarding, Trouble};
use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::{Action, World};

/// Deadtime of [`crate::world::Config::pair`].
const DEAD_MS: u64 = 1_000;

const LEASE_LOST: &str = "the lease could not be renewed";

fn pair(guards: Guarding) -> Scenario {
    Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.outside.guards = guards;
    })
}

fn each_at_home(world: &World) -> bool {
    world.serves(A, HOME_A) && world.serves(B, HOME_B)
}

fn nothing_anywhere(world: &World) -> bool {
    world.present_on(HOME_A).is_empty() && world.present_on(HOME_B).is_empty()
}

// ---- lease -------------------------------------------------------------------------------------

#[test]
fn with_a_lease_a_partition_moves_nothing() {
    for watchdog in [false, true] {
        let mut pair = pair(Guarding::lease(DEAD_MS, watchdog));
        pair.part().always(30_000, "each keeps its own", each_at_home);
        pair.join().rest().owners(A, B).never_two();
    }
}

#[test]
fn with_a_lease_a_dead_node_is_taken_over_in_its_time() {
    let guards = Guarding::lease(DEAD_MS, true);
    let lease = guards.lease.expect("a lease");
    let mut pair = pair(guards);
    pair.crash(B);
    pair.always(lease.time_ms, "the lease still counts", |world| world.present_on(HOME_B).is_empty());
    let rest_ms = DEAD_MS + lease.margin_ms + 3 * lease.interval_ms + 200;
    pair.run_while(rest_ms, "waiting for the end of the lease", |world| !world.serves(A, HOME_B));
    pair.heal().never_two();
}

#[test]
fn with_a_lease_a_one_way_cut_moves_nothing_to_two() {
    for (from, to) in [(A, B), (B, A)] {
        let mut pair = pair(Guarding::lease(DEAD_MS, true));
        pair.cut(from, to).run_ms(20_000).mend(from, to).rest().never_two();
    }
}

#[test]
fn whoever_loses_the_disk_gives_up_first() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.part().act(Action::Trouble(A, Trouble::DiskHangs, true));
    pair.run_while(20_000, "holding without a lease", |world| !world.present_on(HOME_A).is_empty());
    pair.run_while(20_000, "waiting for the taking", |world| !world.serves(B, HOME_A));
    pair.never_two().act(Action::Trouble(A, Trouble::DiskHangs, false)).run_ms(10_000);
    pair.owners(B, B).join().rest().never_two();
}

#[test]
fn a_disk_that_fails_here_hands_over_while_the_links_work() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.act(Action::Trouble(A, Trouble::DiskFails, true));
    pair.run_while(20_000, "waiting for the other node", |world| !world.serves(B, HOME_A));
    pair.never_two().act(Action::Trouble(A, Trouble::DiskFails, false)).rest();
}

/// What a former life may have left is cleaned up when the lease is lost, but not what is held and still may
/// be (found by the random runs, seed 3417 of power and lease).
#[test]
fn a_disk_that_comes_back_in_time_costs_nothing() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.act(Action::Kill(B)).run_ms(400).start(B).rest();
    // It cannot be asked to take over what might have to be given.
    pair.cut(B, A).act(Action::Trouble(B, Trouble::DiskHangs, true));
    pair.run_while(20_000, "waiting for the end of the lease", |world| {
        !world.hosts[B].log.iter().any(|line| line.contains(LEASE_LOST))
    });
    pair.act(Action::Trouble(B, Trouble::DiskHangs, false));
    pair.always(5_000, "each keeps its own", each_at_home);
    pair.mend(B, A).rest().owners(A, B).never_two();
}

#[test]
fn two_that_start_without_links_agree_on_the_disk() {
    for (first, second) in [(A, B), (B, A)] {
        let mut pair = Scenario::with(|config| {
            config.auto_failback = AutoFailback::Off;
            config.outside.guards = Guarding::lease(DEAD_MS, true);
        });
        pair.part().start(first).run_ms(300).start(second);
        pair.run_while(40_000, "waiting for one of them", |world| {
            !(world.serves(A, HOME_A) && world.serves(A, HOME_B))
        });
        pair.run_ms(20_000).owners(A, A).never_two();
        pair.join().rest().never_two();
    }
}

#[test]
fn a_rebooted_node_without_links_waits_for_the_one_that_serves() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.part().crash(A).run_ms(15_000).owners(B, B);
    pair.start(A).run_ms(30_000).owners(B, B);
    pair.stop(B).run_while(15_000, "waiting for what was left", |world| !world.serves(A, HOME_A));
    pair.join().start(B).rest().never_two();
}

#[test]
fn a_stop_that_hangs_ends_in_a_reset() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.act(Action::Hang(A, 1)).part().act(Action::Trouble(A, Trouble::DiskFails, true));
    pair.run_while(20_000, "waiting for the other node", |world| !world.serves(B, HOME_A));
    pair.heal().never_two();
}

#[test]
fn a_frozen_holder_is_reset_before_its_lease_ends() {
    for frozen_ms in [800, 1_500, 3_000, 8_000] {
        let mut pair = pair(Guarding::lease(DEAD_MS, true));
        pair.act(Action::Pause(A)).run_ms(frozen_ms).act(Action::Thaw(A)).run_ms(20_000);
        pair.heal().never_two();
    }
}

#[test]
fn without_a_watchdog_a_frozen_holder_may_be_the_second_owner() {
    let mut pair = pair(Guarding::lease(DEAD_MS, false));
    pair.act(Action::Pause(A)).run_ms(15_000).act(Action::Thaw(A)).run_ms(5_000);
    assert!(!pair.world.checker.never_two_owners(), "the table of ha-guards(7) says so");
    pair.heal();
}

// ---- arbiter -----------------------------------------------------------------------------------

#[test]
fn with_an_arbiter_one_side_of_a_partition_serves_everything() {
    let mut pair = pair(Guarding::arbiter(DEAD_MS));
    pair.part().run_ms(15_000);
    let winner = if pair.world.serves(A, HOME_A) { A } else { B };
    pair.owners(winner, winner).never_two();
    pair.join().rest().never_two();
}

#[test]
fn without_its_arbiter_a_parted_pair_serves_nothing() {
    let mut pair = pair(Guarding::arbiter(DEAD_MS));
    pair.act(Action::Trouble(A, Trouble::NoArbiter, true)).act(Action::Trouble(B, Trouble::NoArbiter, true));
    pair.always(20_000, "an arbiter that is away harms nobody while both hear", each_at_home);
    pair.part().run_ms(10_000);
    assert!(nothing_anywhere(&pair.world));
    pair.act(Action::Trouble(B, Trouble::NoArbiter, false)).run_ms(10_000).owners(B, B).never_two();
    pair.heal();
}

#[test]
fn an_arbiter_that_may_be_unreachable_keeps_what_is_held() {
    let mut guards = Guarding::arbiter(DEAD_MS);
    if let Some(arbiter) = &mut guards.arbiter {
        arbiter.keeps_unreachable = true;
    }
    let mut pair = pair(guards);
    pair.act(Action::Trouble(A, Trouble::NoArbiter, true)).act(Action::Trouble(B, Trouble::NoArbiter, true));
    pair.part().always(20_000, "each keeps its own", each_at_home);
    pair.heal().never_two();
}

#[test]
fn a_token_that_cannot_be_renewed_is_given_up_before_it_ends() {
    let mut pair = pair(Guarding::arbiter(DEAD_MS));
    pair.crash(B).run_ms(10_000).owners(A, A);
    pair.part().start(B).run_ms(10_000).owners(A, A);
    pair.act(Action::Trouble(A, Trouble::NoArbiter, true)).run_ms(20_000).owners(B, B).never_two();
    pair.heal();
}

#[test]
fn nobody_listening_to_the_arbiter_is_caught() {
    let faults = Faults { ignore_arbiter: true, ..Faults::default() };
    let mut pair = Scenario::running(|config| {
        (config.auto_failback, config.faults) = (AutoFailback::Off, faults);
        config.outside.guards = Guarding::arbiter(DEAD_MS);
    });
    pair.part().run_ms(15_000);
    assert!(!pair.world.checker.never_two_owners());
}

// ---- ping nodes --------------------------------------------------------------------------------

fn pings() -> Guarding {
    Guarding { pings: 2, ..Guarding::default() }
}

#[test]
fn the_side_that_is_cut_off_gives_up_and_the_other_takes() {
    for (cut_off, other) in [(A, B), (B, A)] {
        let mut pair = pair(pings());
        pair.run_ms(2_000).act(Action::Trouble(cut_off, Trouble::NoPings, true)).part().run_ms(10_000);
        pair.owners(other, other);
        pair.act(Action::Trouble(cut_off, Trouble::NoPings, false)).join().rest();
    }
}

#[test]
fn a_dead_gateway_is_no_outage_while_both_hear() {
    let mut pair = pair(pings());
    pair.run_ms(2_000);
    pair.act(Action::Trouble(A, Trouble::NoPings, true)).act(Action::Trouble(B, Trouble::NoPings, true));
    pair.always(20_000, "equal counts move nothing", each_at_home);
    pair.heal().never_two();
}

#[test]
fn who_reaches_fewer_gives_while_both_hear() {
    let mut pair = pair(pings());
    pair.run_ms(2_000).act(Action::Trouble(A, Trouble::NoPings, true));
    pair.run_while(20_000, "waiting for the better connected node", |world| !world.serves(B, HOME_A));
    pair.owners(B, B).never_two();
    pair.act(Action::Trouble(A, Trouble::NoPings, false)).rest().owners(B, B);
}

#[test]
fn who_is_cut_off_and_alone_serves_again_when_the_gateway_is_back() {
    let mut pair = pair(pings());
    pair.run_ms(2_000).crash(B).run_ms(5_000).owners(A, A);
    pair.act(Action::Trouble(A, Trouble::NoPings, true)).run_ms(5_000);
    assert!(nothing_anywhere(&pair.world));
    pair.act(Action::Trouble(A, Trouble::NoPings, false)).run_ms(5_000).owners(A, A).never_two();
}

#[test]
fn who_takes_cut_off_is_caught() {
    let faults = Faults { hold_cut_off: true, ..Faults::default() };
    let mut pair = Scenario::running(|config| {
        (config.auto_failback, config.faults) = (AutoFailback::Off, faults);
        config.outside.guards = pings();
    });
    pair.run_ms(2_000).act(Action::Trouble(A, Trouble::NoPings, true)).part().run_ms(5_000);
    assert!(pair.world.serves(A, HOME_A) && pair.world.serves(B, HOME_A));
}

/// Seed 50023 of the random runs: what was certain at the goodbye is not when the disk is back.
#[test]
fn a_goodbye_of_long_ago_opens_no_lease() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.stop(B).rest().owners(A, A);
    pair.part().start(B).act(Action::Trouble(A, Trouble::DiskFails, true));
    pair.run_while(60_000, "waiting for the takeover", |world| !world.serves(B, HOME_A));
    pair.act(Action::Trouble(A, Trouble::DiskFails, false));
    pair.always(30_000, "the one that lives keeps them", |world| world.serves(B, HOME_A)).never_two();
    pair.heal().never_two();
    // Where nobody else is on the disk it is taken again.
    let mut pair = self::pair(Guarding::lease(DEAD_MS, true));
    pair.stop(B).rest().act(Action::Trouble(A, Trouble::DiskFails, true)).run_ms(20_000);
    assert!(nothing_anywhere(&pair.world));
    pair.act(Action::Trouble(A, Trouble::DiskFails, false)).run_ms(1_000).owners(A, A).never_two();
}

/// Seed 55935 of the random runs: the way from one program to the next is no time without a watchdog.
#[test]
fn a_restart_that_stands_still_is_reset() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.part().run_ms(DEAD_MS + 500);
    assert!(pair.ask(B, Command::QuickRestart));
    pair.run_ms(5).act(Action::Pause(B)).run_ms(20_000).act(Action::Thaw(B)).run_ms(20_000).never_two();
    pair.heal().never_two();
    // Without a guard that counts on it the device is let go of, as by the original.
    let watchdog_ms = Some(DEAD_MS + 100);
    let mut pair = self::pair(Guarding { watchdog_ms, ..Guarding::default() });
    assert!(pair.ask(B, Command::QuickRestart));
    pair.run_ms(5).act(Action::Pause(B)).run_ms(3_000).act(Action::Thaw(B)).run_ms(5_000);
    assert!(!pair.world.hosts[B].log.is_empty() && pair.world.hosts[B].is_serving());
    pair.heal();
}

// ---- addresses ---------------------------------------------------------------------------------

fn asking(then_take: bool) -> Guarding {
    let ask = AskSettings { most_ms: 8_000, then_take };
    Guarding { ask: Some(ask), ..Guarding::default() }
}

#[test]
fn whose_address_answers_is_not_taken_over_until_the_bound() {
    let mut pair = pair(asking(true));
    pair.part().always(8_000, "each keeps its own", each_at_home);
    pair.run_ms(3_000);
    assert!(pair.world.serves(A, HOME_B), "after the bound it is taken all the same");
    pair.heal();
    let mut pair = self::pair(asking(false));
    pair.part().always(30_000, "each keeps its own", each_at_home);
    pair.heal().never_two();
}

#[test]
fn whose_address_is_silent_is_taken_over_at_once() {
    let mut pair = pair(asking(false));
    pair.crash(B).run_ms(DEAD_MS + 300).owners(A, A).never_two();
}

#[test]
fn who_does_not_ask_is_caught() {
    let mut pair = Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.faults.take_unasked = true;
        config.outside.guards = asking(false);
    });
    pair.part().run_ms(5_000);
    assert!(!pair.world.checker.never_two_owners());
}

// ---- resource fencing --------------------------------------------------------------------------

#[test]
fn what_is_cut_off_is_taken_and_what_is_not_is_left() {
    let guards = || Guarding { resource_fence: true, ..Guarding::default() };
    let mut pair = pair(guards());
    pair.crash(B).run_ms(DEAD_MS + 300).owners(A, A).never_two();
    let mut pair = self::pair(guards());
    pair.act(Action::Trouble(A, Trouble::NoFence, true)).act(Action::Trouble(B, Trouble::NoFence, true));
    pair.part().always(20_000, "nothing is taken while the program fails", each_at_home);
    pair.act(Action::Trouble(A, Trouble::NoFence, false)).run_ms(10_000).owners(A, A);
}

#[test]
fn who_takes_what_is_not_cut_off_is_caught() {
    let mut pair = Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.faults.take_unfenced_resource = true;
        config.outside.guards = Guarding { resource_fence: true, ..Guarding::default() };
    });
    pair.act(Action::Trouble(A, Trouble::NoFence, true)).act(Action::Trouble(B, Trouble::NoFence, true));
    pair.part().run_ms(5_000);
    assert!(!pair.world.checker.never_two_owners());
}

// ---- all of them -------------------------------------------------------------------------------

#[test]
fn a_person_overrules_what_only_guesses() {
    let away =
        |trouble| [(A, trouble), (B, trouble)].map(|(host, trouble)| Action::Trouble(host, trouble, true));
    for (guards, trouble) in [(Guarding::arbiter(DEAD_MS), Trouble::NoArbiter), (pings(), Trouble::NoPings)] {
        let mut pair = pair(guards);
        pair.run_ms(2_000).crash(B);
        away(trouble).into_iter().for_each(|action| pair.world.act(action));
        pair.run_ms(10_000);
        assert!(nothing_anywhere(&pair.world), "{trouble:?}");
        for kind in [AlarmKind::GaveUp, AlarmKind::TakeoverRefused] {
            assert!(
                pair.world.hosts[A].alarms.iter().any(|alarm| alarm.kind == kind),
                "{trouble:?} {kind:?}"
            );
        }
        assert!(pair.ask(A, Command::ConfirmTakeover));
        pair.run_ms(200).owners(A, A).always(20_000, "it stays", |world| world.serves(A, HOME_B));
        pair.heal();
    }
}

#[test]
fn nobody_overrules_a_node_that_writes() {
    let mut pair = pair(Guarding::lease(DEAD_MS, true));
    pair.part().crash(A).start(A).run_ms(30_000).owners(B, B);
    assert!(!pair.ask(A, Command::ConfirmTakeover), "the other one lives, the disk says");
    pair.heal().never_two();
}

#[test]
fn guards_do_not_stand_in_the_way_of_a_handover() {
    let all = Guarding {
        pings: 1,
        ask: asking(false).ask,
        resource_fence: true,
        arbiter: Guarding::arbiter(DEAD_MS).arbiter,
        ..Guarding::lease(DEAD_MS, true)
    };
    let mut pair = pair(all);
    pair.run_ms(2_000);
    assert!(pair.ask(A, Command::Standby(ha_core::types::ResourceSet::ALL)));
    pair.rest().owners(B, B).stop(B);
    pair.run_while(5_000, "waiting after a clean stop", |world| !world.serves(A, HOME_B));
    pair.owners(A, A).never_two();
}
