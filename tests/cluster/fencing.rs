//! Goal: where fencing is configured nothing is taken over from a node that was not reset, by any
//! combination of partitions, crashes, pauses and devices that fail, hang or answer wrongly; and nothing
//! is reset that need not be.
//! Method: named tests, and random runs in which not even an excused moment of two owners is allowed.
//! `HA_SIM_FENCING_SEEDS=100000` makes the random runs longer, `HA_SIM_FENCING_SEED=17` repeats one,
//! `HA_SIM_FENCING_FIRST=1000` begins elsewhere.

use ha_core::cluster::event::Command;
use ha_core::config::settings::{AutoFailback, TakeoverMode};
use ha_core::types::ResourceSet;

use crate::core::Faults;
use crate::network::Random;
use crate::outside::{Outside, Switch};
use crate::scenario::{Scenario, A, B, HOME_A};
use crate::swarm::{self, Failure};
use crate::world::{Action, Config, World};

/// Seeds of an ordinary test run; `HA_SIM_FENCING_SEEDS` changes it.
const SEEDS: u64 = 300;
/// Seeds tried before the mutation counts as unnoticed.
const MUTATION_SEEDS_MAX: u64 = 3_000;

fn with_switches(switches: Vec<Switch>) -> impl FnOnce(&mut Config) {
    move |config| {
        config.auto_failback = AutoFailback::Off;
        config.outside.switches = switches;
    }
}

fn resets(pair: &Scenario, host: usize) -> u32 {
    pair.world.hosts[host].resets
}

#[test]
fn the_reset_comes_before_the_takeover() {
    let mut pair = Scenario::running(|config| {
        with_switches(vec![Switch::good(2_000)])(config);
        config.outside.takeover.fencing.delay_ms = 5_000;
    });
    pair.part();
    pair.run_while(5_000, "waiting for the reset", |world| {
        world.hosts[A].resets + world.hosts[B].resets == 0
    });
    pair.logged(A, "Resetting node node2 with [switch 0]").never_two();
    pair.join().rest().never_two().logged(A, "node node2 now reset.");
    assert_eq!((resets(&pair, A), resets(&pair, B)), (0, 1), "the earlier name is faster");
}

#[test]
fn a_dead_node_is_reset_once() {
    let mut pair = Scenario::running(|config| {
        config.outside.switches = vec![Switch { off_permille: 1000, ..Switch::good(500) }];
    });
    pair.crash(A).rest().owners(B, B).run_ms(60_000);
    assert_eq!(resets(&pair, A), 1, "and not again");
    pair.start(A).rest().owners(A, B);
    assert_eq!(resets(&pair, A), 1);
}

#[test]
fn a_goodbye_needs_no_reset() {
    let mut pair = Scenario::running(with_switches(vec![Switch::good(50)]));
    pair.stop(A).rest().owners(B, B).run_ms(20_000);
    assert_eq!(resets(&pair, A), 0);
    pair.logged(B, "Dead node node1 gave up resources.");
}

#[test]
fn a_node_that_dies_while_it_releases_is_reset() {
    let mut pair = Scenario::running(|config| {
        with_switches(vec![Switch { off_permille: 1000, ..Switch::good(50) }])(config);
        config.job_max_ms = 3_000;
    });
    pair.act(Action::Hang(A, 1)).ask(A, Command::Shutdown);
    pair.run_ms(300).crash(A).rest().owners(B, B);
    assert_eq!(resets(&pair, A), 1);
}

#[test]
fn devices_are_tried_in_order() {
    let mut pair = Scenario::running(with_switches(vec![
        Switch::broken(),
        Switch { stranger_permille: 1000, ..Switch::good(50) },
        Switch::good(50),
    ]));
    pair.crash(A).run_ms(10_000).rest();
    pair.logged(B, "Host node1 not reset!").logged(B, "Device switch 1 cannot reset host node1.");
    pair.logged(B, "Resetting node node1 with [switch 2]").logged(B, "node node1 now reset.");
    assert!(!pair.world.hosts[B].log.iter().any(|line| line.contains("Retrying")));
}

#[test]
fn without_a_reset_only_a_person_can_have_it_taken() {
    let hangs = Switch { hangs_permille: 1000, ..Switch::good(50) };
    let mut pair = Scenario::running(with_switches(vec![Switch::broken(), hangs]));
    pair.crash(A).run_ms(3_000);
    assert!(!pair.ask(B, Command::ConfirmTakeover), "the first round is not over");
    pair.always(100_000, "nothing is taken", |world| world.present_on(HOME_A).is_empty());
    pair.logged(B, "STONITH of node1 failed.  Retrying...").logged(B, "ha takeover --confirm");
    assert!(pair.ask(B, Command::ConfirmTakeover));
    pair.run_ms(1_000).owners(B, B).logged(B, "a person confirmed that node node1 is down");
    assert!(!pair.ask(B, Command::ConfirmTakeover), "nothing waits any more");
}

/// Or it would be reset again and again while it boots.
#[test]
fn what_may_have_been_reset_has_time_to_come_back() {
    let mute = Switch { mute_permille: 1000, off_permille: 1000, ..Switch::good(500) };
    let mut pair = Scenario::running(with_switches(vec![mute]));
    pair.crash(A).run_ms(25_000).owner(HOME_A, None);
    assert_eq!(resets(&pair, A), 1);
    pair.logged(B, "switch 0: it hung up; whether it was reset is not known");
    pair.run_ms(40_000);
    assert_eq!(resets(&pair, A), 2, "half a minute later");
    pair.run_ms(20_000);
    assert_eq!(resets(&pair, A), 2, "and then a minute");
    pair.start(A).rest().owners(A, B);
    assert_eq!(resets(&pair, A), 2, "what came back is not reset");
}

/// A daemon that is killed or begins anew knows what became of the reset.
#[test]
fn the_next_life_does_not_reset_again_what_was_reset() {
    let kill = |pair: &mut Scenario| {
        pair.act(Action::Kill(B)).start(B);
    };
    for what in ["restart", "kill"] {
        // Nobody knows whether it was: it has its time to come back.
        let mute = Switch { mute_permille: 1000, off_permille: 1000, ..Switch::good(500) };
        let mut pair = Scenario::running(with_switches(vec![mute]));
        pair.crash(A).run_ms(5_000);
        match what {
            "restart" => assert!(pair.ask(B, Command::QuickRestart)),
            _ => kill(&mut pair),
        }
        pair.run_ms(25_000);
        assert_eq!(resets(&pair, A), 1, "{what}");
        pair.logged(B, "node node1 may have been reset just before this daemon went on: it has 30 s");
        pair.run_ms(30_000);
        assert_eq!(resets(&pair, A), 2, "{what}");
        // In the middle of it.
        let slow = Switch { off_permille: 1000, ..Switch::good(4_000) };
        let mut pair = Scenario::running(with_switches(vec![slow]));
        pair.crash(A);
        pair.run_while(20_000, "waiting for the reset", |world| world.hosts[A].resets == 0);
        kill(&mut pair);
        pair.run_ms(25_000);
        assert_eq!(resets(&pair, A), 1, "{what}");
        // It was, and what it had is on its way here.
        let good = Switch { off_permille: 1000, ..Switch::good(50) };
        let mut pair = Scenario::running(|config| {
            with_switches(vec![good])(config);
            config.job_max_ms = 3_000;
        });
        pair.crash(A);
        pair.run_while(20_000, "waiting for the reset", |world| {
            !world.hosts[B].log.iter().any(|line| line.contains("now reset"))
        });
        kill(&mut pair);
        pair.run_ms(60_000).rest().owners(B, B);
        assert_eq!(resets(&pair, A), 1, "{what}");
        pair.start(A).rest().never_two();
    }
}

#[test]
fn the_retries_end_when_the_node_is_back() {
    let mut pair = Scenario::running(with_switches(vec![Switch::broken()]));
    pair.crash(A).run_ms(20_000).start(A).rest().owners(A, B);
    pair.world.config.outside.heal();
    pair.run_ms(60_000);
    assert_eq!(resets(&pair, A), 0, "what came back is not reset");
}

#[test]
fn a_node_never_heard_is_reset_or_waited_for() {
    for waits in [false, true] {
        let mut pair = Scenario::with(|config| {
            with_switches(vec![Switch { off_permille: 1000, ..Switch::good(50) }])(config);
            config.outside.takeover.fencing.waits_for_unheard = waits;
        });
        pair.start(A).run_ms(30_000);
        assert_eq!(resets(&pair, B), u32::from(!waits));
        if waits {
            pair.owner(HOME_A, None);
            assert!(pair.ask(A, Command::ConfirmTakeover));
            pair.run_ms(2_000);
        }
        pair.owners(A, A);
    }
}

#[test]
fn a_takeover_by_hand_waits_for_a_person_or_for_its_time() {
    let mut pair = Scenario::running(|config| config.outside.takeover.mode = TakeoverMode::Manual);
    assert!(!pair.ask(B, Command::ConfirmTakeover), "nothing waits");
    pair.crash(A).always(50_000, "nothing is taken", |world| world.present_on(HOME_A).is_empty());
    pair.logged(B, "take its resources over with: ha takeover --confirm");
    assert!(pair.ask(B, Command::ConfirmTakeover));
    pair.run_ms(1_000).owners(B, B);

    let mut pair =
        Scenario::running(|config| config.outside.takeover.mode = TakeoverMode::Delay { ms: 20_000 });
    pair.crash(A).always(20_000, "nothing is taken", |world| world.present_on(HOME_A).is_empty());
    pair.run_ms(5_000).owners(B, B);

    let mut pair = Scenario::running(|config| config.outside.takeover.mode = TakeoverMode::Manual);
    pair.crash(A).run_ms(20_000).start(A).rest().owners(A, B);
    pair.logged(B, "Resource takeover cancelled - node node1 is heard again.");
}

#[test]
fn a_node_that_leaves_takes_nothing() {
    let mut pair = Scenario::running(with_switches(vec![Switch::broken()]));
    pair.crash(A).run_ms(5_000).stop(B);
    pair.logged(B, "Resource takeover cancelled - shutdown in progress.");
    assert!(pair.world.present_on(HOME_A).is_empty());
}

/// A giver that let go and lost contact before it heard who has it now: what the peer said last is not
/// what is so.
#[test]
fn a_peer_that_claimed_nothing_is_reset_before_anything_is_taken() {
    let mut pair = Scenario::running(with_switches(vec![Switch::good(100)]));
    pair.standby(B, ResourceSet::ALL).run_ms(40).part().run_ms(15_000).never_two();
    pair.join().rest().never_two();
}

#[test]
fn a_waiting_takeover_survives_an_upgrade_and_a_reset_is_not_repeated() {
    let off = Switch { off_permille: 1000, ..Switch::good(500) };
    let mut pair = Scenario::running(|config| {
        with_switches(vec![off])(config);
        config.outside.takeover.mode = TakeoverMode::Manual;
    });
    pair.crash(A).run_ms(5_000);
    assert!(pair.world.upgrade(B), "a takeover that waits keeps no upgrade waiting");
    pair.run_ms(5_000).owner(HOME_A, None);
    assert!(pair.ask(B, Command::ConfirmTakeover));
    pair.run_ms(300);
    assert!(!pair.world.upgrade(B), "in the middle of a reset");
    pair.run_ms(3_000).owners(B, B);
    assert!(pair.world.upgrade(B));
    pair.run_ms(60_000).owners(B, B);
    assert_eq!(resets(&pair, A), 1);
}

#[test]
fn a_new_life_does_not_reset_again_what_the_one_before_took_over() {
    let mut pair = Scenario::running(with_switches(vec![Switch { off_permille: 1000, ..Switch::good(500) }]));
    pair.crash(A).rest().owners(B, B);
    assert!(pair.ask(B, Command::QuickRestart));
    pair.run_ms(30_000).owners(B, B);
    assert_eq!(resets(&pair, A), 1);
}

#[test]
fn the_old_protocol_resets_too() {
    let mut pair = Scenario::with(|config| {
        with_switches(vec![Switch { off_permille: 1000, ..Switch::good(2_000) }])(config);
        config.auto_failback = AutoFailback::Legacy;
    });
    pair.start(A).start(B).run_ms(20_000).owners(A, B);
    pair.crash(A).run_ms(2_500).owner(HOME_A, None);
    pair.run_ms(5_000).owners(B, B);
    assert_eq!(resets(&pair, A), 1);
    let mut pair = Scenario::with(|config| {
        with_switches(vec![Switch::good(50)])(config);
        config.auto_failback = AutoFailback::Legacy;
    });
    pair.start(A).start(B).run_ms(20_000).stop(A).run_ms(20_000).owners(B, B);
    assert_eq!(resets(&pair, A), 0, "it said goodbye");
}

#[test]
fn who_looks_after_the_cluster_is_told() {
    let mut pair = Scenario::running(with_switches(vec![Switch::broken()]));
    pair.crash(A).run_ms(20_000);
    let said = |pair: &Scenario| -> Vec<String> {
        let words = |alarm: &ha_core::cluster::alarm::Alarm| {
            format!("{} {}", alarm.kind.name(), alarm.state.as_str())
        };
        pair.world.hosts[B].alarms.iter().map(words).collect()
    };
    for word in ["fencing begin", "fencing-failed begin", "takeover-waits begin"] {
        assert_eq!(
            said(&pair).iter().filter(|known| *known == word).count(),
            1,
            "{word} in {:?}",
            said(&pair)
        );
    }
    assert!(pair.ask(B, Command::ConfirmTakeover));
    pair.run_ms(2_000);
    let why = |alarm: &ha_core::cluster::alarm::Alarm| alarm.text.contains("switch 0: it did not work");
    assert!(pair.world.hosts[B].alarms.iter().any(why), "the alarm says why");
    for word in ["fencing-failed over", "takeover-waits over", "partition-suspected over"] {
        assert!(said(&pair).contains(&word.to_owned()), "{word} in {:?}", said(&pair));
    }
}

#[test]
fn random_runs_never_have_two_owners() {
    let seeds = swarm::seeds("HA_SIM_FENCING", SEEDS);
    let count = seeds.end - seeds.start;
    let mut resets = 0;
    for seed in seeds {
        match run(seed, Faults::default(), false) {
            Ok(world) => resets += world.hosts.iter().map(|host| u64::from(host.resets)).sum::<u64>(),
            Err(_) => match run(seed, Faults::default(), true) {
                Ok(_) => panic!("seed {seed} fails only without a table"),
                Err(failure) => panic!(
                    "seed {seed}: {}\nrepeat with HA_SIM_FENCING_SEED={seed}\n{:?}\n{}",
                    failure.why,
                    failure.world.config,
                    failure.world.table.print(swarm::number("HA_SIM_ROWS", 160) as usize)
                ),
            },
        }
    }
    println!("{count} runs, {resets} resets");
    assert!(count == 1 || resets > count / 10, "hardly anything was reset");
}

#[test]
fn a_takeover_without_a_reset_is_caught() {
    let faults = Faults { take_unfenced: true, ..Faults::default() };
    let caught = (0..MUTATION_SEEDS_MAX).find_map(|seed| Some((seed, run(seed, faults, false).err()?.why)));
    let (seed, why) = caught.expect("nothing happens without 'fence before take'");
    println!("without 'fence before take', seed {seed}: {why}");
}

/// A random run of the pair with fencing; two owners are a failure whatever the excuse.
fn run(seed: u64, faults: Faults, record: bool) -> Result<World, Box<Failure>> {
    let result = swarm::run_with(seed, faults, record, |random, config| draw(random, &mut config.outside));
    let world = match result {
        Err(failure) if waits_for_a_person(&failure.world) => failure.world,
        other => other?,
    };
    match world.checker.never_two_owners() {
        true => Ok(world),
        false => Err(Box::new(Failure { why: "two owners, which fencing rules out".to_owned(), world })),
    }
}

/// One that was stopped on purpose has not been heard by the other one's new life, which was told to wait
/// for it: rest comes with a person (seed 8092).
fn waits_for_a_person(world: &World) -> bool {
    let stopped = world.hosts.iter().any(|host| host.powered && host.daemon.is_none() && !host.killed);
    world.config.outside.takeover.fencing.waits_for_unheard && stopped && world.checker.violation().is_none()
}

fn draw(random: &mut Random, outside: &mut Outside) {
    let mut permille = |of: u64, low: u64, high: u64| match random.chance(of) {
        true => random.between(low, high),
        false => 0,
    };
    let switches = 1 + permille(400, 0, 2);
    outside.switches = (0..switches)
        .map(|_| Switch {
            takes_ms: (permille(500, 0, 500), 500 + permille(500, 0, 5_000)),
            limit_ms: 2_000 + permille(500, 0, 8_000),
            fails_permille: permille(300, 100, 1000),
            hangs_permille: permille(300, 100, 900),
            lies_permille: permille(300, 100, 900),
            mute_permille: permille(200, 100, 900),
            stranger_permille: permille(200, 100, 1000),
            off_permille: permille(300, 100, 1000),
        })
        .collect();
    let fencing = &mut outside.takeover.fencing;
    fencing.delay_ms = permille(500, 0, 3_000);
    fencing.delay_random_ms = permille(500, 0, 1_000);
    fencing.waits_for_unheard = permille(300, 1, 1) == 1;
    outside.takeover.mode = match permille(200, 1, 2) {
        0 => TakeoverMode::Auto,
        _ => TakeoverMode::Delay { ms: permille(1000, 100, 10_000) },
    };
}
