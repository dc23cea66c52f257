//! Two of ours: within each budget, every rule holds in every state.

use ha_core::cluster::event::Command;
use ha_core::cluster::settings::Faults;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::config::{Budget, Config, Kind};
use crate::explorer::{explore, holds, long};
use crate::group_state::GroupState;
use crate::settle;
use crate::world::{Action, World};

/// A pair that runs and is at rest, each group at home.
pub fn running(config: Config) -> World {
    let mut world = cold(config);
    for host in 0..2 {
        world.apply(Action::Start(host)).expect("no rule is broken by a start");
    }
    settle::rest(&mut world).expect("a cold start comes to rest");
    world
}

/// A pair that lost contact, each with everything.
pub fn parted(config: Config) -> World {
    let mut world = running(config);
    world.cut = [true; 2];
    settle::run_while(&mut world, |world| {
        let has_all = |host: usize| world.hosts[host].groups == [GroupState::Active; 2];
        !(0..2).all(has_all)
    });
    world
}

/// What these hosts send does not arrive, from now on until it is mended.
pub fn cut(world: World, hosts: &[usize]) -> World {
    let mut world = with(world, |budget| budget.cuts = hosts.len() as u8);
    for host in hosts {
        world.apply(Action::Cut(*host)).expect("no rule is broken by a cut");
    }
    world
}

/// Two hosts without power.
pub fn cold(config: Config) -> World {
    World::new(config)
}

/// The world with a budget.
pub fn with(mut world: World, change: impl FnOnce(&mut Budget)) -> World {
    change(&mut world.budget);
    world
}

/// Both hosts may ask for everything there is.
pub fn every_command(config: &mut Config) {
    let sets = [ResourceSet::ALL, ResourceSet::LOCAL, ResourceSet::FOREIGN];
    for host in 0..2 {
        for set in sets {
            config.commands.push((host, Command::Standby(set)));
            config.commands.push((host, Command::Takeover(set)));
        }
        config.commands.push((host, Command::Shutdown));
        config.commands.push((host, Command::QuickRestart));
    }
}

/// A pair by words, such as `cold off delay=1000 commands=2 losses=1`:
///
/// | word | says |
/// |---|---|
/// | | both run, each with its group, `auto_failback on` |
/// | `off` | `auto_failback off` |
/// | `original1`, `original2` | a model of 3.0.6 on that node |
/// | `cold` | both without power |
/// | `cut`, `deaf` | no messages from now on in both directions; towards node1 |
/// | `parted` | cut for so long that both have everything |
/// | `delay=`, `job=` | longest message, longest job, milliseconds |
/// | `commands=` and other kinds | so many accidents of that kind ([`Budget`]) |
/// | `late`, `early`, ... | a rule taken out ([`Faults`]) |
pub fn described(words: &str) -> World {
    let number = |name: &str| {
        let value = words.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.map_or(0, |value| value.parse().expect("a number"))
    };
    let has = |word: &str| words.split(' ').any(|one| one == word);
    let mut config = Config::new(if has("off") { AutoFailback::Off } else { AutoFailback::On });
    if number("commands") > 0 {
        every_command(&mut config);
    }
    config.faults = Faults {
        ignore_own_lateness: has("late"),
        announce_release_early: has("early"),
        ignore_one_way: has("oneway"),
        keep_both_after_partition: has("keep"),
        accept_old_sequence: has("old"),
        take_unfenced: false,
    };
    config.delay_max_ms = number("delay");
    if number("job") > 0 {
        config.job_max_ms = number("job");
    }
    config.kinds = ["original1", "original2"].map(|word| if has(word) { Kind::Original } else { Kind::Ours });
    let world = if has("cold") {
        cold(config)
    } else if has("parted") {
        parted(config)
    } else {
        running(config)
    };
    let world = if has("deaf") { cut(world, &[1]) } else { world };
    let world = if has("cut") { cut(world, &[0, 1]) } else { world };
    with(world, |budget| {
        let count = |name| u8::try_from(number(name)).expect("a small number");
        *budget = Budget {
            losses: count("losses"),
            crashes: count("crashes"),
            kills: count("kills"),
            pauses: count("pauses"),
            cuts: count("cuts"),
            commands: count("commands"),
            start_failures: count("nostart"),
            stop_failures: count("nostop"),
        };
    })
}

/// `HA_EXHAUSTIVE='off commands=2 crashes=1' cargo test --test exhaustive asked -- --nocapture`
#[test]
fn what_is_asked_for() {
    let Ok(words) = std::env::var("HA_EXHAUSTIVE") else { return };
    holds(&words, described(&words));
}

/// Each budget to its end.
pub fn all_hold(budgets: &[&str]) {
    for words in budgets {
        holds(words, described(words));
    }
}

/// Each budget as far as the states kept allow; only in the long run.
pub fn long_ones_hold(budgets: &[&str]) {
    for words in budgets.iter().filter(|_| long()) {
        if let Err(failure) = explore(words, described(words)) {
            panic!("{words}: {}", failure.table());
        }
    }
}

#[test]
fn cold_starts() {
    all_hold(&["cold", "off cold", "cold nostart=1"]);
    long_ones_hold(&[
        "cold losses=1",
        "cold crashes=1",
        "off cold crashes=1",
        "cold pauses=1",
        "cold kills=1",
    ]);
}

#[test]
fn any_command_at_any_moment() {
    all_hold(&["commands=1", "off commands=1", "commands=1 nostart=1", "off commands=1 nostop=1"]);
    long_ones_hold(&["commands=2", "off commands=2", "off commands=1 nostart=2"]);
}

#[test]
fn any_command_and_a_lost_message() {
    all_hold(&["off commands=1 losses=1"]);
    long_ones_hold(&["commands=1 losses=1", "off commands=1 losses=2"]);
}

#[test]
fn any_command_and_slow_messages() {
    all_hold(&["commands=1 delay=1000"]);
    long_ones_hold(&["off commands=1 delay=1000", "commands=1 delay=3000", "commands=1 job=7500"]);
}

#[test]
fn lost_messages() {
    all_hold(&["losses=2", "off losses=3"]);
    long_ones_hold(&["losses=4", "losses=2 delay=1000"]);
}

#[test]
fn crashes() {
    all_hold(&["crashes=1", "off crashes=1", "nostart=2 crashes=1"]);
    long_ones_hold(&["crashes=2", "commands=1 crashes=1", "off commands=1 crashes=1", "crashes=1 losses=1"]);
}

#[test]
fn killed_daemons() {
    all_hold(&["kills=1", "off kills=1"]);
    long_ones_hold(&["kills=2", "kills=1 crashes=1", "off commands=1 kills=1"]);
}

#[test]
fn pauses() {
    all_hold(&["pauses=1", "off pauses=1"]);
    long_ones_hold(&["pauses=2", "pauses=1 crashes=1", "off commands=1 pauses=1", "cut pauses=1"]);
}

#[test]
fn one_direction_cut() {
    all_hold(&["cuts=1", "off cuts=1", "deaf"]);
    long_ones_hold(&["cuts=1 crashes=1", "deaf pauses=1", "off commands=1 cuts=1"]);
}

#[test]
fn partitions() {
    all_hold(&["parted", "off parted"]);
    long_ones_hold(&["cut", "off cut", "cut crashes=1", "off parted commands=1", "parted crashes=1"]);
}
