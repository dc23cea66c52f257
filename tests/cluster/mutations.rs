//! Goal: each safety rule is needed, and the checker would notice its loss.
//! Method: the rule is taken out of the cluster values; some seed of the random runs must break.

use crate::core::Faults;
use crate::swarm;

/// Seeds tried before a mutation counts as unnoticed.
const SEEDS_MAX: u64 = 3_000;

fn is_caught(rule: &str, change: impl Fn(&mut Faults)) {
    let mut faults = Faults::default();
    change(&mut faults);
    let caught = (0..SEEDS_MAX).find_map(|seed| {
        let failure = swarm::run(seed, faults, false).err()?;
        let sound = swarm::run(seed, Faults::default(), false).is_ok();
        sound.then_some((seed, failure.why))
    });
    match caught {
        Some((seed, why)) => println!("without '{rule}', seed {seed}: {why}"),
        None => panic!("nothing happens without '{rule}' in {SEEDS_MAX} runs"),
    }
}

#[test]
fn a_late_node_that_goes_on_is_caught() {
    is_caught("a late node gives way", |faults| faults.ignore_own_lateness = true);
}

#[test]
fn a_release_announced_before_it_succeeded_is_caught() {
    is_caught("words follow deeds", |faults| faults.announce_release_early = true);
}

#[test]
fn an_unheard_node_that_stays_is_caught() {
    is_caught("the unheard node gives way", |faults| faults.ignore_one_way = true);
}

#[test]
fn two_keepers_after_a_partition_are_caught() {
    is_caught("one keeper after a partition", |faults| faults.keep_both_after_partition = true);
}
