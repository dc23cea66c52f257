//! What an exploration may do: who runs what, which accidents may happen and how often.

use ha_core::cluster::event::Command;
use ha_core::cluster::settings::Faults;
use ha_core::config::settings::AutoFailback;

use crate::world::KEEPALIVE_MS;

/// How many accidents of each kind may still happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Messages lost.
    pub losses: u8,
    /// Power failures.
    pub crashes: u8,
    /// `kill -9` of a daemon.
    pub kills: u8,
    /// Hosts that stand still for a while.
    pub pauses: u8,
    /// Directions cut.
    pub cuts: u8,
    /// Commands of people.
    pub commands: u8,
    /// Starts that fail.
    pub start_failures: u8,
    /// Stops that fail.
    pub stop_failures: u8,
}

/// Whose program runs on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This project's.
    Ours,
    /// A model of 3.0.6.
    Original,
}

/// What stays the same during an exploration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What runs where.
    pub kinds: [Kind; 2],
    /// Hosts for which the originals' haresources has a group.
    pub groups: [bool; 2],
    /// `auto_failback` per host.
    pub auto_failback: [AutoFailback; 2],
    /// Rules taken out of the code under test.
    pub faults: Faults,
    /// What people may ask, and where.
    pub commands: Vec<(usize, Command)>,
    /// Longest time a message is under way; 0: no timer fires while one is.
    pub delay_max_ms: u64,
    /// Longest time a job takes.
    pub job_max_ms: u64,
    /// Longest time a host stands still.
    pub pause_max_ms: u64,
}

impl Config {
    /// Prompt messages, jobs shorter than deadtime, no commands.
    pub fn new(auto_failback: AutoFailback) -> Self {
        Self {
            kinds: [Kind::Ours; 2],
            groups: [true; 2],
            auto_failback: [auto_failback; 2],
            faults: Faults::default(),
            commands: Vec::new(),
            delay_max_ms: 0,
            job_max_ms: 2_500,
            pause_max_ms: 3 * KEEPALIVE_MS + 1_500,
        }
    }
}
