//! The exhaustive check: a pair of nodes, every order of events within stated budgets.
//!
//! ```text
//!   World ── actions() ──▶ every action possible now      explorer: breadth first, a state seen
//!     ▲                          │                        before (World::fingerprint) is not
//!     └──────── apply() ◀────────┘                        looked at again
//!        the rules look after each action                 settle: from every state rest is in reach
//! ```
//!
//! Where the simulator (`tests/cluster`) draws long runs, this test enumerates short ones: messages
//! of both directions in any order (first in, first out per direction), lost messages, timers, jobs
//! that end at any time or fail, crashes, killed and paused daemons, cut directions, commands at any
//! moment. An exploration has a *budget* of each kind of accident and runs until no new state
//! appears; then the result holds for every run within the budget, however long. It prints the
//! number of states and the depth at which the last new one was found.
//!
//! `HA_LONG=1` adds the large budgets, for an hour; what has more than three million states is cut off
//! there, after every run up to the printed depth was seen. `HA_EXHAUSTIVE_STATES=N` changes that
//! number, `HA_EXHAUSTIVE='off commands=2'` explores one budget (`pair_of_ours::described`).

#![allow(unreachable_pub)] // a test program has no outside: its modules only see each other

mod compare;
mod config;
mod daemon;
mod explorer;
#[path = "../support/group_state.rs"]
mod group_state;
mod host;
mod model_306;
mod rules;
mod settle;
mod trace;
mod world;

// promises, one file per behaviour
mod found;
mod mixed;
mod mutations;
mod pair_of_ours;
mod replay;
