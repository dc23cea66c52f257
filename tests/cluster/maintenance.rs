//! Goal: in maintenance resources stay, whatever happens to nodes and services; it ends by itself.

use ha_core::cluster::event::Command;
use ha_core::cluster::settings::MonitorSettings;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::agents::ALWAYS;
use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::Action;

const FOR_MS: u64 = 1_800_000;

fn maintained() -> Scenario {
    let mut pair = Scenario::running(|config| {
        config.outside.monitor = Some(MonitorSettings { interval_ms: 1_000, failures: 3, restarts: 2 });
        config.auto_failback = AutoFailback::On;
    });
    assert!(pair.ask(A, Command::MaintenanceOn(FOR_MS)));
    pair.run_ms(2_000);
    pair
}

fn alarms(pair: &Scenario, host: usize, state: &str) -> usize {
    let alarms = &pair.world.hosts[host].alarms;
    alarms.iter().filter(|alarm| alarm.kind.name() == "maintenance" && alarm.state.as_str() == state).count()
}

#[test]
fn nothing_is_restarted_moved_or_put_back() {
    let mut pair = maintained();
    pair.act(Action::Sicken(A, HOME_A, ALWAYS)).act(Action::Lose(A, HOME_A)).run_ms(600_000).owners(A, B);
    assert!(!pair.ask(B, Command::Standby(ResourceSet::ALL)), "refused on the other node too");
    let kernel = &pair.world.hosts[A].kernel;
    assert_eq!((kernel.restarts[HOME_A], kernel.restored[HOME_A]), (0, 0));
    pair.run_ms(FOR_MS).owners(B, B).never_two().logged(A, "maintenance is over: its time is up");
    for host in [A, B] {
        assert_eq!((alarms(&pair, host, "begin"), alarms(&pair, host, "over")), (1, 1));
        assert!(alarms(&pair, host, "reminder") >= 1);
    }
}

#[test]
fn a_dead_node_is_taken_over_afterwards() {
    let mut pair = maintained();
    pair.crash(A).run_ms(600_000).owner(HOME_A, None);
    assert!(pair.ask(B, Command::MaintenanceOff));
    pair.rest().owners(B, B).never_two();
}

#[test]
fn a_node_that_comes_back_has_its_own_and_knows_of_it() {
    let mut pair = maintained();
    pair.crash(A).run_ms(60_000).start(A).rest().owners(A, B);
    assert!(!pair.ask(A, Command::Standby(ResourceSet::ALL)), "it heard of maintenance");
    assert!(pair.ask(A, Command::MaintenanceOff));
    pair.run_ms(2_000);
    assert!(pair.ask(B, Command::Standby(ResourceSet::ALL)), "and of its end");
    pair.rest().owners(A, A).never_two();
}

#[test]
fn a_node_that_stops_is_not_taken_over_before_the_end() {
    let mut pair = maintained();
    pair.stop(A).run_ms(60_000).owner(HOME_A, None).run_ms(FOR_MS).owners(B, B).never_two();
}

#[test]
fn it_does_not_begin_in_the_middle_of_something_or_for_nothing() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    assert!(!pair.ask(A, Command::MaintenanceOff));
    assert!(!pair.ask(A, Command::MaintenanceOn(0)));
    pair.act(Action::Hang(A, 1)).standby(A, ResourceSet::LOCAL).run_ms(100);
    assert!(!pair.ask(A, Command::MaintenanceOn(FOR_MS)));
    pair.heal();
}

/// `heartbeat -r` after the program file was replaced: the mode, its end and its reminders go on.
#[test]
fn it_lasts_through_new_program_files_as_long_as_it_was_to() {
    let mut pair = maintained();
    let began_ms = pair.world.now_ms - 2_000;
    pair.act(Action::Sicken(A, HOME_A, ALWAYS)).act(Action::Lose(B, HOME_A));
    for host in [A, B, A] {
        pair.run_ms(100_000);
        assert!(pair.world.upgrade(host), "it keeps no new program out");
        assert!(!pair.ask(host, Command::Standby(ResourceSet::ALL)), "the new program knows of it");
    }
    pair.crash(B).run_ms(60_000).owner(HOME_B, None);
    assert!(pair.world.upgrade(A), "nor does what is taken over afterwards");
    pair.run_ms(began_ms + FOR_MS - pair.world.now_ms - 1_000).owner(HOME_B, None).owner(HOME_A, Some(A));
    let kernel = &pair.world.hosts[A].kernel;
    assert_eq!((kernel.restarts[HOME_A], kernel.restored[HOME_A]), (0, 0));
    assert_eq!((alarms(&pair, A, "begin"), alarms(&pair, A, "over")), (1, 0), "said once");
    assert_eq!(alarms(&pair, A, "reminder"), 1, "as if nothing had happened");
    pair.run_ms(3_000).owner(HOME_B, Some(A)).logged(A, "maintenance is over: its time is up");
}

#[test]
fn a_new_program_file_ends_it_when_told_to() {
    let mut pair = maintained();
    assert!(pair.world.upgrade(A) && pair.world.upgrade(B));
    pair.run_ms(2_000);
    assert!(pair.ask(A, Command::MaintenanceOff));
    pair.run_ms(2_000);
    assert!(pair.ask(B, Command::Standby(ResourceSet::ALL)), "the other one heard of it");
    pair.rest().owners(A, A).never_two();
}

/// A quick restart has no state but what the guard keeps of it.
#[test]
fn a_quick_restart_goes_on_in_it() {
    let mut pair = maintained();
    pair.crash(B).run_ms(10_000);
    assert!(pair.ask(A, Command::QuickRestart));
    pair.run_ms(FOR_MS - 60_000).owner(HOME_B, None).owner(HOME_A, Some(A));
    assert!(!pair.ask(A, Command::Standby(ResourceSet::ALL)));
    pair.run_ms(120_000).owners(A, A);
}

/// Not by a person's wish for what failed, and not by the other node's, which has not heard of it.
#[test]
fn what_failed_is_not_tried_again_in_it() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.act(Action::FailStarts(A, HOME_A, ALWAYS)).act(Action::FailStarts(B, HOME_A, ALWAYS));
    pair.standby(A, ResourceSet::LOCAL).run_ms(30_000).owner(HOME_A, None);
    assert!(pair.ask(A, Command::MaintenanceOn(FOR_MS)));
    pair.run_ms(2_000);
    for host in [A, B] {
        assert!(!pair.ask(host, Command::Takeover(ResourceSet::ALL)));
    }
    pair.run_ms(10_000).owner(HOME_A, None);
}

/// The word crosses a wish to give: who knows of it takes nothing.
#[test]
fn a_wish_that_crosses_its_word_is_refused() {
    for after_ms in 0..6 {
        let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
        assert!(pair.ask(B, Command::MaintenanceOn(FOR_MS)));
        pair.run_ms(after_ms);
        let accepted = pair.ask(A, Command::Standby(ResourceSet::LOCAL));
        pair.run_ms(60_000).owners(A, B).never_two();
        assert!(!accepted || after_ms < 3, "the word takes two milliseconds");
    }
}
