//! Goal: each rule of watching, of maintenance and of the wait for a watchdog is needed, and so is each
//! assumption about what surrounds them.
//! Method: the rule is taken out of the cluster values, or the assumption out of the world; some seed of
//! `watch_runs`, or a named accident, must go wrong that goes well with it.

use ha_core::cluster::event::Command;
use ha_core::cluster::settings::{MonitorSettings, WatchdogWait};
use ha_core::config::settings::AutoFailback;

use crate::agents::ALWAYS;
use crate::core::Faults;
use crate::scenario::{Scenario, A, B, HOME_A};
use crate::watch_runs::{run, run_hanging, Run};
use crate::world::{Action, Config};

/// Seeds tried before a mutation counts as unnoticed.
const SEEDS_MAX: u64 = 2_000;
const FOR_MS: u64 = 600_000;

/// Some seed goes wrong without the rule, in that way, and well with it.
fn is_caught(rule: &str, how: &str, without: impl Fn(u64) -> Run, with: impl Fn(u64) -> Run) {
    let caught = (0..SEEDS_MAX).find_map(|seed| {
        let (why, _) = without(seed).err().filter(|(why, _)| why.contains(how))?;
        with(seed).is_ok().then_some((seed, why))
    });
    match caught {
        Some((seed, why)) => println!("without '{rule}', seed {seed}: {why}"),
        None => panic!("nothing happens without '{rule}' in {SEEDS_MAX} runs"),
    }
}

fn run_shows(rule: &str, how: &str, change: impl Fn(&mut Faults)) {
    let mut faults = Faults::default();
    change(&mut faults);
    is_caught(rule, how, |seed| run(seed, faults, false), |seed| run(seed, Faults::default(), false));
}

/// The accident ends well with the rule, and not without it.
fn accident_shows(change: impl Fn(&mut Faults), ends_well: impl Fn(&mut Scenario) -> bool) {
    let mut without = Faults::default();
    change(&mut without);
    for (faults, well) in [(Faults::default(), true), (without, false)] {
        let mut pair = Scenario::running(|config| {
            config.auto_failback = AutoFailback::Off;
            config.outside.monitor = Some(MonitorSettings { interval_ms: 1_000, failures: 2, restarts: 1 });
            config.faults = faults;
        });
        assert_eq!(ends_well(&mut pair), well, "{faults:?}");
    }
}

// ---- watching ----------------------------------------------------------------------------------

#[test]
fn who_mends_in_the_middle_of_something_is_caught() {
    run_shows("not while anything else is done", "while its group is", |faults| faults.watch_always = true);
    run_shows("nor in maintenance", "Restore(ResourceSet(1), 0) began in maintenance", |faults| {
        faults.watch_always = true;
    });
}

#[test]
fn who_restarts_for_ever_is_caught() {
    run_shows("restarts that do not help end", "the other has not failed", |faults| {
        faults.restart_for_ever = true
    });
}

#[test]
fn who_puts_back_without_a_pause_is_caught() {
    run_shows("each time a little later", "again too soon", |faults| faults.restore_without_pause = true);
}

#[test]
fn what_is_left_half_alive_on_both_is_caught() {
    accident_shows(
        |faults| faults.keep_what_failed_on_both = true,
        |pair| {
            for host in [A, B] {
                pair.act(Action::Sicken(host, HOME_A, ALWAYS));
            }
            pair.run_ms(120_000);
            pair.world.present_on(HOME_A).is_empty()
        },
    );
}

// ---- maintenance -------------------------------------------------------------------------------

#[test]
fn who_moves_in_maintenance_is_caught() {
    run_shows("resources stay in maintenance", "began in maintenance", |faults| {
        faults.move_in_maintenance = true
    });
}

#[test]
fn maintenance_without_an_end_is_caught() {
    run_shows("maintenance ends by itself", "does not end", |faults| faults.endless_maintenance = true);
}

#[test]
fn a_takeover_that_is_forgotten_in_maintenance_is_caught() {
    accident_shows(
        |faults| faults.forget_owed_takeover = true,
        |pair| {
            assert!(pair.ask(A, Command::MaintenanceOn(FOR_MS)));
            pair.run_ms(2_000).crash(A).run_ms(FOR_MS + 30_000);
            pair.world.serves(B, HOME_A)
        },
    );
}

#[test]
fn who_believes_an_old_word_about_maintenance_is_caught() {
    accident_shows(
        |faults| faults.believe_old_maintenance = true,
        |pair| {
            assert!(pair.ask(A, Command::MaintenanceOn(FOR_MS)));
            pair.run_ms(2_000);
            assert!(pair.ask(B, Command::MaintenanceOff));
            // A beat that left before the word came in.
            pair.run_ms(5_000);
            let lasts = |host: usize| {
                pair.world.hosts[host].daemon.as_ref().is_some_and(|daemon| daemon.cluster.in_maintenance())
            };
            !lasts(A) && !lasts(B)
        },
    );
}

// ---- the wait for a watchdog -------------------------------------------------------------------

/// Without the rule, or without what it counts on.
fn hanging_shows(rule: &str, change: impl Fn(&mut Config)) {
    is_caught(
        rule,
        "two owners without a partition",
        |seed| run_hanging(seed, Faults::default(), false, &change),
        |seed| run_hanging(seed, Faults::default(), false, |_| {}),
    );
}

#[test]
fn who_takes_before_the_watchdog_had_its_time_is_caught() {
    hanging_shows("the watchdog has its time", |config| config.faults.take_before_watchdog = true);
}

#[test]
fn a_pair_without_the_wait_is_caught() {
    hanging_shows("watchdog_wait", |config| config.outside.watchdog_wait = None);
}

#[test]
fn a_watchdog_that_is_missing_or_slower_than_it_said_is_caught() {
    hanging_shows("a watchdog", |config| config.outside.guards.watchdog_ms = None);
    hanging_shows("the time that was announced", |config| {
        config.outside.guards.watchdog_ms = config.outside.guards.watchdog_ms.map(|time_ms| time_ms + 2_000);
    });
    hanging_shows("a wait as long as the watchdog", |config| {
        (config.outside.watchdog_ms, config.outside.watchdog_wait) = (None, Some(WatchdogWait::Fixed(1)));
    });
}
