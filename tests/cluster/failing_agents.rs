//! Goal: an agent that fails or hangs costs as little as possible and never a double owner.
//! Method: agents told to fail; what was tried is counted in the ground truth.

use ha_core::cluster::event::Command;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::agents::ALWAYS;
use crate::network::NetworkFaults;
use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::Action;

#[test]
fn a_group_that_does_not_start_at_home_goes_to_the_other_once() {
    for auto_failback in [AutoFailback::On, AutoFailback::Off] {
        let mut pair = Scenario::with(|config| config.auto_failback = auto_failback);
        pair.act(Action::FailStarts(A, HOME_A, ALWAYS)).start(A).start(B);
        pair.rest().owners(B, B).never_two();
        assert_eq!(pair.world.hosts[A].kernel.failed_starts[HOME_A], 1, "tried once");
        assert_eq!(
            pair.moves(HOME_A, |pair| {
                pair.run_ms(600_000);
            }),
            0,
            "no bouncing"
        );
        pair.owners(B, B);
    }
}

#[test]
fn a_group_that_starts_nowhere_stays_down_with_an_alarm() {
    let mut pair = Scenario::pair();
    pair.act(Action::FailStarts(A, HOME_A, ALWAYS)).act(Action::FailStarts(B, HOME_A, ALWAYS));
    pair.start(A).start(B).rest().owner(HOME_A, None).owner(HOME_B, Some(B)).never_two();
    pair.run_ms(600_000).owner(HOME_A, None);
    for host in [A, B] {
        assert!(pair.world.hosts[host].kernel.failed_starts[HOME_A] <= 1, "tried once");
    }
}

#[test]
fn a_failed_takeover_ends_when_the_home_node_returns() {
    let mut pair = Scenario::running(|_| {});
    pair.act(Action::FailStarts(B, HOME_A, ALWAYS)).crash(A).run_ms(5_000).owner(HOME_A, None);
    pair.start(A).rest().owners(A, B).never_two();
}

#[test]
fn a_standby_to_a_node_that_cannot_start_it() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.act(Action::FailStarts(B, HOME_A, ALWAYS)).standby(A, ResourceSet::LOCAL);
    pair.rest().owners(A, B).never_two();
}

#[test]
fn a_group_that_does_not_stop_is_never_given_away_in_words() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.act(Action::FailStops(A, HOME_A, ALWAYS)).ask(A, Command::Standby(ResourceSet::LOCAL));
    let dead_time_ms = pair.world.config.dead_time_ms;
    pair.run_while(2_000, "waiting for the reset", |world| world.hosts[A].daemon.is_some());
    pair.always(dead_time_ms / 2, "taken only after deadtime", |world| world.present_on(HOME_A).is_empty());
    pair.heal().never_two();
}

#[test]
fn a_stop_that_fails_in_a_shutdown_resets_the_machine() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.act(Action::FailStops(A, HOME_A, ALWAYS)).ask(A, Command::Shutdown);
    pair.run_ms(5_000).rest().never_two();
}

#[test]
fn a_hanging_stop_keeps_the_beats_going_and_the_group_here() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.act(Action::Hang(A, 1)).standby(A, ResourceSet::LOCAL);
    pair.always(60_000, "the group stays here", |world| world.present_on(HOME_A) == [A]);
    pair.heal().never_two();
}

#[test]
fn a_hanging_start_does_not_keep_the_peer_from_taking_over() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.act(Action::Hang(B, 1)).standby(A, ResourceSet::LOCAL).run_ms(5_000);
    pair.crash(B).run_ms(3_000).owner(HOME_A, Some(A));
    pair.heal().never_two();
}

#[test]
fn a_takeover_by_hand_tries_again_what_did_not_start() {
    let mut pair = Scenario::pair();
    pair.act(Action::FailStarts(A, HOME_A, 1)).act(Action::FailStarts(B, HOME_A, 1));
    pair.start(A).start(B).rest().owner(HOME_A, None);
    let claimant = if pair.world.hosts[A].kernel.failed_starts[HOME_A] == 1 { B } else { A };
    pair.takeover(claimant, ResourceSet::ALL).rest();
    assert!(pair.world.owner(HOME_A).is_some());
}

/// Seed 58940 of the random runs: nobody has anything, the home of one set takes a person's word that it
/// starts there again, and the other node still believes that it does not.
#[test]
fn a_failure_that_counts_no_more_lets_nobody_start_it_twice() {
    let fail = |pair: &mut Scenario, count| {
        for (host, group) in [(A, HOME_A), (A, HOME_B), (B, HOME_A), (B, HOME_B)] {
            pair.act(Action::FailStarts(host, group, count));
        }
    };
    for moment_ms in (0..300).step_by(3) {
        let mut pair = Scenario::pair();
        fail(&mut pair, ALWAYS);
        pair.start(A).start(B).rest().owner(HOME_A, None).owner(HOME_B, None);
        fail(&mut pair, 0);
        pair.wires(NetworkFaults { delay_ms: (10, 30), ..NetworkFaults::default() });
        // Its next life does not know what failed there.
        assert!(pair.ask(B, Command::QuickRestart));
        pair.run_ms(moment_ms).ask(A, Command::Takeover(ResourceSet::ALL));
        pair.rest().never_two();
        assert!(pair.world.owner(HOME_A).is_some());
    }
}
