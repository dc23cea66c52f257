//! Goal: a pair that starts decides as soon as it knows enough, and not before.
//! Method: hosts get power at chosen times; who serves when is read from the ground truth.

use ha_core::config::settings::AutoFailback;

use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::World;

/// Power to daemon, as the world does it.
const BOOT_MS: u64 = 700;

fn not_both_home(world: &World) -> bool {
    world.owner(HOME_A) != Some(A) || world.owner(HOME_B) != Some(B)
}

#[test]
fn both_at_once_serve_within_a_second() {
    let mut pair = Scenario::pair();
    pair.start(A).start(B).run_while(BOOT_MS + 1_000, "waiting for both groups", not_both_home);
    pair.rest().owners(A, B).never_two();
}

#[test]
fn decided_as_soon_as_the_later_one_is_there() {
    let mut pair = Scenario::pair();
    pair.start(A).run_ms(1_500);
    pair.start(B).run_while(BOOT_MS + 1_000, "waiting for both groups", not_both_home);
    pair.rest().owners(A, B).never_two();
}

#[test]
fn one_alone_takes_everything_after_initdead_and_not_before() {
    let mut pair = Scenario::pair();
    let init_dead_ms = pair.world.config.init_dead_ms;
    pair.start(A).always(BOOT_MS + init_dead_ms - 10, "nothing taken before initdead", |world| {
        world.present_on(HOME_A).is_empty() && world.present_on(HOME_B).is_empty()
    });
    pair.run_while(1_000, "waiting for all", |world| world.owner(HOME_A).or(world.owner(HOME_B)).is_none());
    pair.rest().owners(A, A);
}

#[test]
fn the_second_comes_hours_later() {
    for (auto_failback, of_home_b) in [(AutoFailback::On, B), (AutoFailback::Off, A)] {
        let mut pair = Scenario::with(|config| config.auto_failback = auto_failback);
        pair.start(A).run_ms(7_200_000).owners(A, A);
        pair.start(B).rest().owners(A, of_home_b).never_two();
    }
}

#[test]
fn the_other_host_dies_while_both_start() {
    for crash_ms in (0..2_000).step_by(37) {
        let mut pair = Scenario::pair();
        pair.start(A).start(B).run_ms(BOOT_MS + crash_ms).crash(B).rest().owners(A, A).never_two();
        pair.start(B).rest().owners(A, B).never_two();
    }
}

#[test]
fn started_while_parted_then_joined() {
    let mut pair = Scenario::pair();
    pair.part().start(A).start(B).run_ms(6_000);
    pair.join().rest();
    pair.owners(A, B);
}

#[test]
fn started_with_one_direction_dead() {
    for (from, to) in [(A, B), (B, A)] {
        let mut pair = Scenario::pair();
        pair.cut(from, to).start(A).start(B).run_ms(20_000);
        pair.join().rest().owners(A, B);
    }
}

#[test]
fn legacy_starts_each_at_home() {
    let mut pair = Scenario::with(|config| config.auto_failback = AutoFailback::Legacy);
    pair.start(A).start(B).rest().owners(A, B).never_two();
}
