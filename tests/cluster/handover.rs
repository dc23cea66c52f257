//! Goal: planned moves go where they should, and a death in the middle loses nothing.
//! Method: commands on a pair at rest; deaths at every few milliseconds of the transition.

use ha_core::cluster::event::Command;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::scenario::{Scenario, A, B, HOME_A, HOME_B};
use crate::world::{Action, World};

const LOCAL: ResourceSet = ResourceSet::LOCAL;
const FOREIGN: ResourceSet = ResourceSet::FOREIGN;
const ALL: ResourceSet = ResourceSet::ALL;

fn slow_agents() -> Scenario {
    Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.job_max_ms = 60;
    })
}

#[test]
fn standby_in_every_form() {
    // what node1 gives, who serves before and after
    let cases = [
        (ALL, (A, B), (B, B)),
        (LOCAL, (A, B), (B, B)),
        (FOREIGN, (A, B), (A, B)),
        (ALL, (A, A), (B, B)),
        (LOCAL, (A, A), (B, A)),
        (FOREIGN, (A, A), (A, B)),
    ];
    for (set, before, after) in cases {
        let mut pair = slow_agents();
        if before == (A, A) {
            pair.standby(B, ALL).rest();
        }
        pair.owners(before.0, before.1).standby(A, set).rest();
        pair.owners(after.0, after.1).never_two();
    }
}

#[test]
fn takeover_in_every_form() {
    // what node1 wants, who serves before and after
    let cases = [
        (ALL, (A, B), (A, A)),
        (LOCAL, (A, B), (A, B)),
        (FOREIGN, (A, B), (A, A)),
        (ALL, (B, B), (A, A)),
        (LOCAL, (B, B), (A, B)),
        (FOREIGN, (B, B), (B, A)),
    ];
    for (set, before, after) in cases {
        let mut pair = slow_agents();
        if before == (B, B) {
            pair.standby(A, ALL).rest();
        }
        pair.owners(before.0, before.1).takeover(A, set).rest();
        pair.owners(after.0, after.1).never_two();
    }
}

#[test]
fn a_switch_takes_no_longer_than_its_agents() {
    let mut pair = slow_agents();
    pair.standby(A, LOCAL);
    pair.run_while(60 + 60 + 20, "switching", |world| world.owner(HOME_A) != Some(B));
    pair.rest().never_two();
}

#[test]
fn crossed_requests() {
    let commands = [Command::Standby(ALL), Command::Takeover(ALL), Command::Standby(LOCAL)];
    for first in commands {
        for second in commands {
            for gap_ms in [0, 1, 2, 5, 40] {
                let mut pair = slow_agents();
                pair.ask(A, first);
                pair.run_ms(gap_ms).ask(B, second);
                pair.rest().never_two();
            }
        }
    }
}

#[test]
fn refused_where_it_cannot_be_done() {
    let mut pair = slow_agents();
    pair.crash(B).rest();
    assert!(!pair.ask(A, Command::Standby(ALL)), "nobody to give to");
    pair.start(B).run_ms(710);
    assert!(!pair.ask(B, Command::Standby(ALL)), "just started");
    pair.rest().owners(A, A).never_two();
}

#[test]
fn a_second_request_while_one_runs_is_refused() {
    let mut pair = slow_agents();
    pair.standby(A, ALL).run_ms(10);
    assert!(!pair.ask(A, Command::Standby(ALL)));
    pair.rest().owners(B, B).never_two();
}

#[test]
fn giver_or_acquirer_dies_in_every_phase() {
    for set in [LOCAL, ALL] {
        for (victim, survivor) in [(A, B), (B, A)] {
            for at_ms in (0..130).step_by(3) {
                let mut pair = slow_agents();
                pair.standby(A, set).run_ms(at_ms).crash(victim).rest();
                pair.owners(survivor, survivor).never_two();
                pair.start(victim).rest().never_two();
            }
        }
    }
}

#[test]
fn giver_or_acquirer_daemon_restarts_in_every_phase() {
    for victim in [A, B] {
        for at_ms in (0..130).step_by(3) {
            let mut pair = slow_agents();
            pair.standby(A, LOCAL).run_ms(at_ms).act(Action::Kill(victim));
            pair.run_ms(100).start(victim).rest().never_two();
        }
    }
}

#[test]
fn giver_or_acquirer_freezes_in_every_phase() {
    for victim in [A, B] {
        for frozen_ms in [300, 3_000] {
            for at_ms in (0..130).step_by(5) {
                let mut pair = slow_agents();
                pair.standby(A, ALL).run_ms(at_ms).act(Action::Pause(victim));
                pair.run_ms(frozen_ms).act(Action::Thaw(victim)).rest();
            }
        }
    }
}

#[test]
fn the_pair_is_parted_in_every_phase() {
    for at_ms in (0..130).step_by(5) {
        for parted_ms in [300, 3_000] {
            let mut pair = slow_agents();
            pair.standby(A, ALL).run_ms(at_ms).part().run_ms(parted_ms).join().rest();
        }
    }
}

#[test]
fn a_graceful_stop_moves_everything_at_once() {
    let mut pair = slow_agents();
    let limit_ms = pair.world.config.dead_time_ms / 2;
    pair.ask(A, Command::Shutdown);
    pair.run_while(limit_ms, "moving", |world| world.owner(HOME_A) != Some(B));
    pair.run_while(10_000, "stopping", |world| world.hosts[A].daemon.is_some());
    pair.rest().owners(B, B).never_two();
    pair.logged(A, "Giving up all HA resources.").logged(B, "Received shutdown notice from 'node1'.");
    pair.start(A).rest().owners(B, B).never_two();
}

#[test]
fn both_stop_one_after_the_other_and_at_once() {
    for gap_ms in [0, 1, 30, 5_000] {
        let mut pair = slow_agents();
        pair.ask(A, Command::Shutdown);
        pair.run_ms(gap_ms).ask(B, Command::Shutdown);
        let running = |world: &World| world.hosts.iter().any(|host| host.daemon.is_some());
        pair.run_while(60_000, "stopping", running);
        pair.owner(HOME_A, None).owner(HOME_B, None).never_two();
    }
}

#[test]
fn a_stop_in_the_middle_of_a_standby_waits_for_its_end() {
    for host in [A, B] {
        for at_ms in (0..130).step_by(10) {
            let mut pair = slow_agents();
            pair.standby(A, ALL).run_ms(at_ms).stop(host).rest();
            pair.owners(1 - host, 1 - host).never_two();
        }
    }
}

#[test]
fn a_quick_restart_keeps_serving() {
    let mut pair = slow_agents();
    pair.ask(A, Command::QuickRestart);
    pair.always(20_000, "both groups stay where they are", |world| {
        world.serves(A, HOME_A) && world.serves(B, HOME_B)
    });
    pair.rest().owners(A, B).never_two();
}

#[test]
fn the_stopping_host_dies_while_it_stops() {
    for at_ms in (0..150).step_by(5) {
        let mut pair = slow_agents();
        pair.ask(A, Command::Shutdown);
        pair.run_ms(at_ms).crash(A).rest().owners(B, B).never_two();
    }
}
