//! Goal: with `watchdog_wait` a hung node has been reset before its groups are started elsewhere.

use ha_core::cluster::settings::WatchdogWait;
use ha_core::config::settings::AutoFailback;

use crate::scenario::{Scenario, A, B, HOME_A};
use crate::world::Action;

const WATCHDOG_MS: u64 = 9_000;

fn pair(wait: Option<WatchdogWait>) -> Scenario {
    Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.outside.watchdog_ms = Some(WATCHDOG_MS);
        config.outside.watchdog_wait = wait;
    })
}

#[test]
fn a_hung_node_is_reset_first() {
    for wait in [WatchdogWait::Announced(1), WatchdogWait::Fixed(WATCHDOG_MS)] {
        let mut pair = pair(Some(wait));
        // Its watchdog fires so long after its last beat, which left within the last keepalive.
        pair.act(Action::Pause(A)).run_ms(WATCHDOG_MS).owner(HOME_A, None);
        pair.crash(A).run_ms(5_000).owners(B, B).never_two();
    }
}

#[test]
fn without_it_both_have_it() {
    let mut pair = pair(None);
    pair.act(Action::Pause(A)).run_ms(WATCHDOG_MS - 1_000);
    let dead = pair.world.hosts[B].kernel.groups[HOME_A].is_present();
    assert!(dead, "deadtime is shorter than that");
}

#[test]
fn a_node_that_comes_back_in_time_keeps_its_own() {
    let mut pair = pair(Some(WatchdogWait::Announced(1)));
    let moves = pair.moves(HOME_A, |pair| {
        pair.act(Action::Pause(A)).run_ms(7_000).act(Action::Thaw(A)).rest();
    });
    assert_eq!(moves, 0);
    pair.owners(A, B).never_two();
}

/// The time that the other node announced goes on to count where a new program waits for it.
#[test]
fn a_new_program_file_waits_as_long() {
    let mut pair = pair(Some(WatchdogWait::Announced(1)));
    pair.act(Action::Pause(A)).run_ms(3_000);
    assert!(pair.world.upgrade(B), "a takeover that waits keeps no upgrade waiting");
    pair.run_ms(WATCHDOG_MS - 3_000).owner(HOME_A, None);
    pair.crash(A).run_ms(10_000).owners(B, B).never_two();
}

/// Beats that were lost right before it hung fed its watchdog too.
#[test]
fn a_node_whose_last_beats_were_lost_is_reset_first() {
    for lost_ms in [1_000, 1_500, 1_900] {
        let mut pair = Scenario::running(|config| {
            (config.keepalive_ms, config.dead_time_ms, config.init_dead_ms) = (1_000, 5_000, 10_000);
            config.auto_failback = AutoFailback::Off;
            config.outside.watchdog_ms = Some(6_000);
            config.outside.watchdog_wait = Some(WatchdogWait::Announced(1));
        });
        pair.cut(A, B).run_ms(lost_ms).act(Action::Pause(A)).mend(A, B).run_ms(6_000).owner(HOME_A, None);
        pair.crash(A).run_ms(10_000).owners(B, B).never_two();
    }
}
