//! Pairs of one of ours and one original, and a look-out that no address is ever on two hosts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::world::{HostKind, World};

use crate::common::pairs::{group, Pair, Times, ADDRESSES, NODES};

/// Slow enough for the original on a busy machine: each of its steps is a handful of shell scripts.
pub(crate) const TIMES: Times = Times { keepalive_ms: 200, dead_time_ms: 2000, init_dead_s: 6 };

/// One of each, both ways round.
pub(crate) const MIXED: [[HostKind; 2]; 2] =
    [[HostKind::Ours, HostKind::Original], [HostKind::Original, HostKind::Ours]];

/// What the original logs as an error whoever its peer is: the hosts of these tests have little
/// memory to lock, and its scripts write to its FIFO in pieces (resources spec 8, number 13).
const ALWAYS: [&str; 2] = ["Cannot lock ourselves into memory", "msg2string: Message with zero fields"];

/// Pause between two looks for addresses on two hosts.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Whether the long tests are wanted (`HA_LONG=1`).
pub(crate) fn long() -> bool {
    std::env::var_os("HA_LONG").is_some_and(|value| value == "1")
}

/// A configured pair of these kinds with an address at home on each node, nothing started. `more`
/// are lines of ha.cf. `None`: skipped.
pub(crate) fn pair(kinds: [HostKind; 2], more: &[&str]) -> Option<Pair> {
    pair_with(kinds, more, &[group(0), group(1)])
}

/// As [`pair`] with other lines of haresources.
pub(crate) fn pair_with(kinds: [HostKind; 2], more: &[&str], groups: &[String]) -> Option<Pair> {
    pair_of(kinds, TIMES, more, groups)
}

/// As [`pair_with`] with other times.
pub(crate) fn pair_of(kinds: [HostKind; 2], times: Times, more: &[&str], groups: &[String]) -> Option<Pair> {
    let pair = Pair::of(kinds, times, more, groups)?;
    pair.allow(&ALWAYS);
    Some(pair)
}

/// A word for messages.
pub(crate) fn kind_name(kind: HostKind) -> &'static str {
    match kind {
        HostKind::Ours => "ours",
        HostKind::Original => "original",
        HostKind::Client => "client",
    }
}

/// Looks all the time where the addresses are.
#[derive(Default)]
pub(crate) struct Lookout {
    over: AtomicBool,
    excused: AtomicBool,
    rounds: AtomicU64,
    twice: Mutex<Vec<String>>,
    /// For each address: since when nobody has it, and the longest such time.
    without: Mutex<[(Option<Instant>, Duration); 2]>,
}

impl Lookout {
    /// Plays a story under its eyes.
    ///
    /// # Panics
    /// An address was on two hosts while that was not excused.
    pub(crate) fn over<T>(pair: &Pair, story: impl FnOnce(&Lookout) -> T) -> T {
        struct End<'a>(&'a Lookout);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.over.store(true, Ordering::Relaxed);
            }
        }
        let lookout = Self::default();
        let world = &pair.world;
        let result = thread::scope(|scope| {
            let look = || lookout.look(world);
            scope.spawn(look);
            let _end = End(&lookout);
            story(&lookout)
        });
        let twice = lookout.twice.lock().expect("lock");
        assert!(twice.is_empty(), "addresses on two hosts: {twice:#?}");
        drop(twice);
        result
    }

    /// From now on two originals might have an address twice as well: a real partition, a host
    /// that stands still.
    pub(crate) fn excuse(&self, excused: bool) {
        self.excused.store(excused, Ordering::Relaxed);
    }

    /// What was seen on two hosts without excuse; forgotten by this.
    pub(crate) fn take_twice(&self) -> Vec<String> {
        std::mem::take(&mut *self.twice.lock().expect("lock"))
    }

    /// The longest time each address was nowhere since the last call, milliseconds.
    pub(crate) fn take_longest_without_ms(&self) -> [u64; 2] {
        self.look_again();
        let mut without = self.without.lock().expect("lock");
        let longest = without.map(|(since, longest)| {
            longest.max(since.map_or(Duration::ZERO, |since| since.elapsed())).as_millis() as u64
        });
        for address in &mut *without {
            *address = (address.0.map(|_| Instant::now()), Duration::ZERO);
        }
        longest
    }

    /// Waits until the hosts were asked once more: what the caller sees now is then known here.
    fn look_again(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        let end = Instant::now() + Duration::from_secs(5);
        while self.rounds.load(Ordering::Relaxed) < before + 2 && Instant::now() < end {
            thread::sleep(LOOK_EVERY);
        }
    }

    fn look(&self, world: &World) {
        while !self.over.load(Ordering::Relaxed) {
            for (home, address) in ADDRESSES.into_iter().enumerate() {
                // A host that goes down meanwhile is no owner.
                let Ok(owners) = world.owners(address) else { continue };
                self.note_without(home, owners.is_empty());
                // The hosts are asked one after the other: an address that moves may be seen twice.
                let again = || world.owners(address).is_ok_and(|owners| owners.len() > 1);
                let is_twice = owners.len() > 1 && again() && again();
                if is_twice && !self.excused.load(Ordering::Relaxed) {
                    let mut twice = self.twice.lock().expect("lock");
                    if twice.len() < 20 {
                        twice.push(format!("{address} of {}", NODES[home]));
                    }
                }
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            thread::sleep(LOOK_EVERY);
        }
    }

    fn note_without(&self, home: usize, nobody: bool) {
        let mut without = self.without.lock().expect("lock");
        let (since, longest) = without[home];
        without[home] = match (since, nobody) {
            (None, true) => (Some(Instant::now()), longest),
            (Some(since), false) => (None, longest.max(since.elapsed())),
            (since, _) => (since, longest),
        };
    }
}

/// Two children of an original wrote to its FIFO at once since the mark, and what one of them asked for
/// is lost: its own accident, after which it may leave a group down.
pub(crate) fn has_garbled_itself(pair: &Pair, node: usize) -> bool {
    pair.kinds[node] == HostKind::Original && pair.log(node).contains("NV failure (msgfromsteam)")
}
