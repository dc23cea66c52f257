//! Goal: what a dead host or daemon served is served again, once, by the right node.
//! Method: power off, kill, restart at chosen moments; owners from the ground truth.

use ha_core::cluster::event::Command;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::scenario::{Scenario, A, B, HOME_A};
use crate::world::Action;

#[test]
fn the_survivor_takes_over_after_deadtime_and_not_before() {
    let mut pair = Scenario::running(|_| {});
    let (dead_time_ms, keepalive_ms) = (pair.world.config.dead_time_ms, pair.world.config.keepalive_ms);
    pair.crash(A).always(dead_time_ms - keepalive_ms - 10, "not taken before deadtime", |world| {
        world.present_on(HOME_A).is_empty()
    });
    let job_ms = pair.world.config.job_max_ms;
    pair.run_while(keepalive_ms + 30 + job_ms, "waiting for takeover", |world| {
        world.owner(HOME_A) != Some(B)
    });
    pair.rest().owners(B, B).never_two();
    pair.logged(B, "node node1: is dead").logged(B, "Resources being acquired from node1.");
}

#[test]
fn it_returns_and_gets_its_group_back_or_not() {
    for (auto_failback, home) in [(AutoFailback::On, A), (AutoFailback::Off, B), (AutoFailback::Legacy, A)] {
        let mut pair = Scenario::running(|config| config.auto_failback = auto_failback);
        pair.crash(A).rest().owners(B, B);
        pair.start(A).rest().owners(home, B).never_two();
    }
}

/// The survivor starts anew at the very moment at which the other node is back.
#[test]
fn it_gets_its_group_back_although_the_survivor_was_reloaded_meanwhile() {
    for early_ms in [0, 1, 10, 30, 50, 59, 70, 100] {
        let mut pair = Scenario::running(|_| {});
        pair.crash(A).rest().owners(B, B);
        // A daemon is there 700 ms after the power; a quick restart takes 60 ms.
        pair.act(Action::Start(A)).run_ms(700 - early_ms);
        pair.act(Action::Ask(B, Command::QuickRestart));
        pair.rest().owners(A, B).never_two();
    }
}

#[test]
fn the_loser_of_nothing_changes_nothing() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.standby(B, ResourceSet::ALL).rest().owners(A, A);
    pair.crash(B).rest().owners(A, A);
    pair.start(B).rest().owners(A, A).never_two();
}

#[test]
fn both_crash_and_return() {
    let mut pair = Scenario::running(|_| {});
    pair.crash(A).run_ms(10).crash(B).run_ms(5_000);
    pair.start(B).run_ms(123).start(A).rest().owners(A, B).never_two();
}

#[test]
fn a_host_that_reboots_within_deadtime_orphans_nothing() {
    for auto_failback in [AutoFailback::On, AutoFailback::Off] {
        for holder_of_all in [false, true] {
            let mut pair = Scenario::running(|config| {
                config.dead_time_ms = 5_000;
                config.init_dead_ms = 10_000;
                config.auto_failback = auto_failback;
            });
            if holder_of_all {
                pair.standby(B, ResourceSet::ALL).rest().owners(A, A);
            }
            pair.crash(A).start(A).rest().never_two();
        }
    }
}

#[test]
fn a_daemon_restarted_within_deadtime_orphans_nothing_and_doubles_nothing() {
    for down_ms in [1, 50, 300, 800] {
        for holder_of_all in [false, true] {
            let mut pair = Scenario::running(|_| {});
            if holder_of_all {
                pair.standby(B, ResourceSet::ALL).rest().owners(A, A);
            }
            pair.act(Action::Kill(A)).run_ms(down_ms).start(A).rest().never_two();
        }
    }
}

#[test]
fn a_daemon_that_died_leaves_its_groups_until_it_is_back() {
    let mut pair = Scenario::running(|_| {});
    pair.act(Action::Kill(A)).run_ms(4_000);
    pair.start(A).rest().owners(A, B);
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_start() {
    for down_ms in [1, 500, 3_000] {
        for at_ms in (0..60).step_by(5) {
            let mut pair = Scenario::running(|config| config.job_max_ms = 60);
            pair.crash(A).rest().start(A).run_ms(700 + at_ms);
            pair.act(Action::Kill(A)).run_ms(down_ms).start(A).rest();
        }
    }
}
