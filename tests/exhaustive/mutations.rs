//! Goal: each safety rule is needed, and the rules of this test would notice its loss.
//! Method: the rule is taken out of the code under test; the smallest budget that needs it must
//! fail, and hold with the rule.

use crate::explorer::{explore, holds};
use crate::pair_of_ours::described;

fn is_caught(rule: &str, budget: &str, without: &str) {
    holds(budget, described(budget));
    let words = format!("{without} {budget}");
    match explore(&words, described(&words)) {
        Err(failure) => println!("without '{rule}': {}, after {} actions", failure.why, failure.path.len()),
        Ok(report) => panic!("nothing happens without '{rule}' in {report:?}"),
    }
}

#[test]
fn a_late_node_that_goes_on_is_caught() {
    // the sound pair has more states than an ordinary run has time for: see `pauses`
    match explore("late cut pauses=1", described("late cut pauses=1")) {
        Err(failure) => assert!(failure.why.contains("serves on after a pause"), "{}", failure.table()),
        Ok(report) => panic!("nothing happens without 'a late node gives way' in {report:?}"),
    }
}

#[test]
fn a_release_announced_before_it_succeeded_is_caught() {
    is_caught("words follow deeds", "off commands=1 nostop=1", "early");
}

#[test]
fn an_unheard_node_that_stays_is_caught() {
    is_caught("the unheard node gives way", "off deaf", "oneway");
}

#[test]
fn two_keepers_after_a_partition_are_caught() {
    is_caught("one keeper after a partition", "off parted", "keep");
}
