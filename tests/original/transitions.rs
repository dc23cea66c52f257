//! Every transition of a mixed pair (resources spec 2.13, and its checklist, section 10).
//!
//! After each step the addresses are where both nodes say they are, each on one host, and neither
//! log has an ERROR or CRIT that a pair of originals would not have.
//!
//! [`main_transitions`] runs always; the others with `HA_LONG=1`, each with ours on node1 and with ours
//! on node2. `HA_REFERENCE=1` plays them with two originals as well, to see what they make of it;
//! `HA_KINDS=0`, `1` or `2` plays one of the three only.

mod accidents;
mod failures;
mod handover;
mod starts;

use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::world::HostKind;

use crate::common::pairs::{group, Pair, NODES};
use crate::pair::{kind_name, long, pair, pair_with, Lookout, MIXED};

/// What two nodes say of themselves when each set has one owner.
const SETTLED: [[&str; 2]; 4] =
    [["local", "local"], ["all", "none"], ["none", "all"], ["foreign", "foreign"]];
/// A pair that has not moved for so long is at rest: an original that restarts itself is away for
/// longer than that.
const REST: Duration = Duration::from_secs(4);

/// A pair in the middle of a story.
struct Stage<'a> {
    pair: &'a Pair,
    lookout: &'a Lookout,
}

impl std::ops::Deref for Stage<'_> {
    type Target = Pair;
    fn deref(&self) -> &Pair {
        self.pair
    }
}

impl Stage<'_> {
    fn is_ours(&self, node: usize) -> bool {
        self.kinds[node] == HostKind::Ours
    }

    /// As [`Pair::settled`], with the word of `node` first.
    #[track_caller]
    fn settled_for(&self, node: usize, own: &str, other: &str) {
        match node {
            0 => self.settled(own, other),
            _ => self.settled(other, own),
        }
    }

    /// Says what is over and how long addresses were nowhere meanwhile.
    fn over(&self, what: &str) {
        let [first, second] = self.lookout.take_longest_without_ms();
        let kinds = self.kinds.map(kind_name);
        println!("{} {}: {what}: without address {first} ms, {second} ms", kinds[0], kinds[1]);
    }

    /// Waits until the pair has come to rest, in whatever state, and finds everything in order.
    #[track_caller]
    fn settled_somehow(&self) -> [&'static str; 2] {
        let rest = || {
            let words = [self.resource_status(0), self.resource_status(1)];
            SETTLED.into_iter().find(|known| words == *known).filter(|known| self.is_owned_as(*known))
        };
        let end = Instant::now() + self.patience;
        let mut since: Option<([&str; 2], Instant)> = None;
        loop {
            match (rest(), since) {
                (Some(words), Some((known, began))) if words == known => {
                    if began.elapsed() >= REST {
                        self.settled(words[0], words[1]);
                        return words;
                    }
                }
                (Some(words), _) => since = Some((words, Instant::now())),
                (None, _) => since = None,
            }
            let words = [self.resource_status(0), self.resource_status(1)];
            assert!(Instant::now() < end, "no rest: {words:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn both_started(&self) {
        self.start_both();
        self.settled("local", "local");
        self.over("cold start");
    }

    /// Power on and the daemon started.
    fn boot(&self, node: usize) {
        self.world.boot(NODES[node]).expect("boot");
        self.start(node);
    }
}

/// Start, both kinds of handover from each side, a crash of each, a stop of each.
fn main_transitions(kinds: [HostKind; 2]) {
    let Some(pair) = pair(kinds, &["auto_failback on"]) else { return };
    Lookout::over(&pair, |lookout| {
        let stage = Stage { pair: &pair, lookout };
        stage.both_started();
        for node in [0, 1] {
            handover::moved(&stage, node, "hb_standby", "all", "none", "all");
            handover::moved(&stage, node, "hb_takeover", "local", "local", "local");
        }
        for node in [0, 1] {
            starts::crash_and_return(&stage, node, ("local", "local"));
            starts::stop_and_restart(&stage, node);
        }
    });
}

#[test]
fn main_transitions_with_ours_first() {
    main_transitions(MIXED[0]);
}

#[test]
fn main_transitions_with_the_original_first() {
    main_transitions(MIXED[1]);
}

/// Plays a long story with each kind of pair.
fn play(more: &[&str], story: impl Fn(&Stage)) {
    play_with(more, &[group(0), group(1)], story);
}

fn play_with(more: &[&str], groups: &[String], story: impl Fn(&Stage)) {
    if !long() {
        println!("left out: HA_LONG=1 runs it");
        return;
    }
    let reference = std::env::var_os("HA_REFERENCE").is_some();
    let only = std::env::var("HA_KINDS").ok().and_then(|text| text.parse::<usize>().ok());
    let all = MIXED.into_iter().chain(reference.then_some([HostKind::Original; 2]));
    for (number, kinds) in all.enumerate() {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        let Some(pair) = pair_with(kinds, more, groups) else { return };
        Lookout::over(&pair, |lookout| story(&Stage { pair: &pair, lookout }));
    }
}
