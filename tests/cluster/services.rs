//! Goal: what stops working is restarted in place, given away once, and left alone where nobody may
//! touch it. Method: sick services and lost addresses, counted in the ground truth.

use ha_core::cluster::settings::MonitorSettings;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::agents::ALWAYS;
use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::{Action, Config};

const MONITOR: MonitorSettings = MonitorSettings { interval_ms: 1_000, failures: 3, restarts: 2 };

fn watched(config: &mut Config) {
    config.outside.monitor = Some(MONITOR);
    config.auto_failback = AutoFailback::On;
}

fn restarts(pair: &Scenario, host: usize) -> u32 {
    pair.world.hosts[host].kernel.restarts[HOME_A]
}

#[test]
fn a_healthy_service_is_left_alone() {
    let mut pair = Scenario::running(watched);
    let moves = pair.moves(HOME_A, |pair| {
        pair.run_ms(600_000);
    });
    assert_eq!((moves, restarts(&pair, A)), (0, 0));
    assert!(pair.world.hosts[A].alarms.is_empty());
}

#[test]
fn it_is_restarted_in_place() {
    let mut pair = Scenario::running(watched);
    pair.act(Action::Sicken(A, HOME_A, 0)).run_ms(60_000).owners(A, B).never_two();
    assert_eq!(restarts(&pair, A), 1);
    pair.act(Action::Sicken(A, HOME_A, 0)).run_ms(60_000).owners(A, B);
    assert_eq!(restarts(&pair, A), 2);
}

#[test]
fn it_moves_once_when_restarts_do_not_help_and_comes_back_by_hand() {
    let mut pair = Scenario::running(watched);
    let moves = pair.moves(HOME_A, |pair| {
        pair.act(Action::Sicken(A, HOME_A, ALWAYS)).run_ms(600_000);
    });
    pair.owners(B, B).never_two().logged(A, "giving up local resources here");
    assert_eq!((moves, restarts(&pair, A), restarts(&pair, B)), (1, 2, 0));
    pair.world.hosts[A].kernel.sick[HOME_A] = None;
    pair.takeover(A, ResourceSet::LOCAL).rest().owners(A, B);
}

#[test]
fn sick_on_both_it_stays_down() {
    let mut pair = Scenario::running(watched);
    pair.act(Action::Sicken(A, HOME_A, ALWAYS)).act(Action::Sicken(B, HOME_A, ALWAYS)).run_ms(120_000);
    pair.owner(HOME_A, None).owner(HOME_B, Some(B)).never_two();
    let moves = pair.moves(HOME_A, |pair| {
        pair.run_ms(600_000);
    });
    assert_eq!((moves, restarts(&pair, A), restarts(&pair, B)), (0, 2, 2));
    pair.world.hosts[A].kernel.sick[HOME_A] = None;
    pair.world.hosts[B].kernel.sick[HOME_A] = None;
    pair.takeover(B, ResourceSet::FOREIGN).rest();
    assert!(pair.world.owner(HOME_A).is_some());
}

/// Whichever daemon begins anew, it does not go back and forth; a person who has looked tries it again.
#[test]
fn sick_on_both_it_stays_down_when_a_node_starts_anew() {
    let mut pair = Scenario::running(watched);
    pair.act(Action::Sicken(A, HOME_A, ALWAYS)).act(Action::Sicken(B, HOME_A, ALWAYS)).run_ms(120_000);
    pair.owner(HOME_A, None).logged(B, "resources failed to start on both nodes");
    let moves = pair.moves(HOME_A, |pair| {
        pair.act(Action::Kill(A)).act(Action::Start(A)).run_ms(120_000);
        assert!(pair.world.upgrade(B));
        pair.run_ms(120_000).crash(A).run_ms(120_000).start(A).run_ms(120_000);
    });
    pair.owner(HOME_A, None).owner(HOME_B, Some(B)).never_two();
    assert_eq!((moves, restarts(&pair, A), restarts(&pair, B)), (0, 2, 2));
    pair.world.hosts[A].kernel.sick[HOME_A] = None;
    pair.world.hosts[B].kernel.sick[HOME_A] = None;
    pair.takeover(A, ResourceSet::LOCAL).rest().owners(A, B);
}

#[test]
fn alone_it_is_restarted_now_and_then_and_given_away_when_somebody_comes() {
    let mut pair = Scenario::running(watched);
    pair.crash(B).rest().act(Action::Sicken(A, HOME_A, ALWAYS)).run_ms(600_000);
    pair.owner(HOME_A, Some(A));
    let count = restarts(&pair, A);
    assert!((4..=14).contains(&count), "{count}");
    pair.start(B).run_ms(180_000).owner(HOME_A, Some(B));
}

/// A restart that does not start leaves the group down; nobody else being there, it is tried again.
#[test]
fn alone_what_did_not_start_again_is_started_later() {
    let mut pair = Scenario::running(watched);
    pair.crash(B).rest().act(Action::FailStarts(A, HOME_A, 2)).act(Action::Sicken(A, HOME_A, 0));
    pair.run_ms(30_000).owner(HOME_A, None).run_ms(60_000).owner(HOME_A, None);
    pair.run_ms(60_000).owner(HOME_A, Some(A)).owner(HOME_B, Some(A)).never_two();
    pair.logged(A, "and no other node can take them: they are started again");
    // Given up, and nobody takes it any more.
    pair.start(B).rest().act(Action::Sicken(A, HOME_A, ALWAYS)).act(Action::Hang(B, 1));
    pair.run_while(120_000, "waiting for the end of the restarts", |world| {
        !world.hosts[A].log.iter().any(|line| line.contains("giving up local resources here"))
    });
    pair.world.hosts[A].kernel.sick[HOME_A] = None;
    pair.crash(B).run_ms(200_000).owner(HOME_A, Some(A));
}

#[test]
fn nothing_is_asked_or_mended_while_it_moves() {
    let mut pair = Scenario::running(watched);
    pair.act(Action::Sicken(A, HOME_A, ALWAYS)).run_ms(2_500);
    pair.act(Action::Hang(A, 1)).standby(A, ResourceSet::LOCAL).act(Action::Lose(A, HOME_A)).run_ms(60_000);
    assert_eq!((restarts(&pair, A), pair.world.hosts[A].kernel.restored[HOME_A]), (0, 0));
    pair.heal().never_two();
}

#[test]
fn a_lost_address_is_put_back_at_once_and_then_slower() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    let restored = |pair: &Scenario| pair.world.hosts[A].kernel.restored[HOME_A];
    pair.act(Action::Lose(A, HOME_A)).run_ms(100);
    assert_eq!(restored(&pair), 1);
    pair.act(Action::Lose(A, HOME_A)).run_ms(100);
    assert_eq!(restored(&pair), 1, "not twice in a second");
    pair.run_ms(1_000);
    assert_eq!(restored(&pair), 2);
    let moves = pair.moves(HOME_A, |pair| {
        for _ in 0..1_000 {
            pair.act(Action::Lose(A, HOME_A)).run_ms(100);
        }
    });
    pair.owners(B, B).never_two();
    assert_eq!((restored(&pair), moves), (4, 1), "it does not help: the other node has it");
}

#[test]
fn what_it_does_not_help_to_put_back_is_given_away_at_once() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    // Put back at once and after 1, 2 and 4 seconds: then nobody is to be without it for another 8.
    for _ in 0..90 {
        pair.act(Action::Lose(A, HOME_A)).run_ms(100);
    }
    pair.owners(B, B).never_two();
}

#[test]
fn what_is_lost_in_a_stop_is_not_put_back() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.standby(A, ResourceSet::LOCAL);
    for _ in 0..100 {
        pair.act(Action::Lose(A, HOME_A)).run_ms(5);
    }
    pair.rest().owners(B, B).never_two();
    assert_eq!(pair.world.hosts[A].kernel.restored[HOME_A], 0);
}

/// A new program file goes on counting: restarts that did not help, and the pauses of what is put back.
#[test]
fn a_new_program_file_counts_on() {
    let mut pair = Scenario::running(watched);
    pair.act(Action::Sicken(A, HOME_A, ALWAYS));
    pair.run_while(60_000, "waiting for two restarts", |world| world.hosts[A].kernel.restarts[HOME_A] < 2);
    pair.run_ms(500);
    assert!(pair.world.upgrade(A));
    pair.run_ms(20_000).owners(B, B).never_two();
    assert_eq!(restarts(&pair, A), 2);
    let restored = |pair: &Scenario| pair.world.hosts[B].kernel.restored[HOME_B];
    pair.act(Action::Lose(B, HOME_B)).run_ms(500);
    assert!(pair.world.upgrade(B));
    pair.act(Action::Lose(B, HOME_B)).run_ms(200);
    assert_eq!(restored(&pair), 1, "not twice in a second");
    pair.run_ms(1_000);
    assert_eq!(restored(&pair), 2);
}
