//! Is a fingerprint fine enough? Two worlds that it takes for the same must go on in the same way.
//!
//! The explorer looks at the first world of each fingerprint only. Were something left out that
//! decides later, every state behind the others would be missed, and nobody would see that. With
//! `HA_EXHAUSTIVE_COMPARE=1`, and always for a few small budgets, each further world is held against
//! the first one: every action now, and a walk of [`WALK`] actions, must lead to equal fingerprints.

use std::path::PathBuf;

use crate::explorer::{compare, long};
use crate::pair_of_ours::described;
use crate::settle;
use crate::world::{Action, World};

/// Actions looked ahead: longer than the protocol's timers, at one beat of each side per keepalive.
const WALK: usize = 48;

/// What comes out differently after the same actions; `None` when nothing does.
pub fn difference(first: &World, second: &World) -> Option<String> {
    let mut pair = [first.clone(), second.clone()];
    for action in actions(&pair).ok()? {
        if let Err(why) = step(&mut pair.clone(), action) {
            return Some(told(&pair, &[], &why));
        }
    }
    let mut path = Vec::new();
    let mut chance = first.fingerprint();
    while path.len() < WALK {
        let result = actions(&pair).and_then(|possible| {
            let Some(action) = chosen(&pair[0], &possible, &mut chance) else { return Ok(false) };
            path.push(action);
            step(&mut pair, action).map(|()| true)
        });
        match result {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) => return Some(told(&[first.clone(), second.clone()], &path, &why)),
        }
    }
    None
}

/// What both can do, if it is the same.
fn actions(pair: &[World; 2]) -> Result<Vec<Action>, String> {
    let [first, second] = [0, 1].map(|at: usize| pair[at].actions());
    if first == second {
        Ok(first)
    } else {
        Err(format!("{first:?} can happen, or {second:?}"))
    }
}

/// The plain next thing on every other walk, else any.
fn chosen(world: &World, possible: &[Action], chance: &mut u64) -> Option<Action> {
    *chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let any = possible.get((*chance >> 33) as usize % possible.len().max(1)).copied();
    if *chance >> 63 == 0 {
        settle::plain_course(world)
    } else {
        any
    }
}

fn step(pair: &mut [World; 2], action: Action) -> Result<(), String> {
    let [first, second] = pair;
    let ends = (first.apply(action), second.apply(action));
    if ends.0 != ends.1 {
        return Err(format!("{action:?} ends in {:?} or in {:?}", ends.0, ends.1));
    }
    match first.fingerprint() == second.fingerprint() {
        true => Ok(()),
        false => Err(format!("{action:?} leads to different worlds")),
    }
}

/// The difference in words; both worlds in full go into files.
fn told(pair: &[World; 2], path: &[Action], why: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let files = ["first-world", "second-world"].map(|name| folder.join(name));
    for (file, world) in files.iter().zip(pair) {
        if let Err(error) = std::fs::write(file, format!("{world:#?}\n")) {
            println!("{}: {error}", file.display());
        }
    }
    format!("after {path:?}: {why}; see {} and {}", files[0].display(), files[1].display())
}

#[test]
fn worlds_that_count_as_the_same_go_on_in_the_same_way() {
    let small = ["off losses=1", "original2 losses=1", "original1 off crashes=1"];
    let large =
        ["off deaf", "off crashes=1", "losses=2", "original2 commands=1 losses=1", "original2 off parted"];
    for words in small.iter().chain(large.iter().filter(|_| long())) {
        if let Err(failure) = compare(words, described(words)) {
            panic!("{words}: {}", failure.table());
        }
    }
}
