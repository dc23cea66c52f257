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
//! `HA_EXHAUSTIVE_COMPARE=1` checks the fingerprints on the way (`compare`).
//!
//! Found so last, each complete (states; actions to the last new one; the run it belongs to):
//!
//! | budget | states | depth | |
//! |---|---|---|---|
//! | `off losses=1` | 58 | 16 |  |
//! | `off deaf` | 1350 | 32 |  |
//! | `off cold` | 1757 | 38 |  |
//! | `off pauses=1` | 1826 | 27 |  |
//! | `deaf` | 1847 | 36 |  |
//! | `off crashes=1` | 1906 | 35 |  |
//! | `off kills=1` | 2180 | 35 |  |
//! | `losses=2` | 2209 | 37 |  |
//! | `off commands=1` | 2722 | 36 |  |
//! | `off cuts=1` | 2722 | 37 |  |
//! | `cold` | 3639 | 47 |  |
//! | `cuts=1` | 3716 | 41 |  |
//! | `crashes=1` | 3788 | 47 |  |
//! | `kills=1` | 4052 | 47 |  |
//! | `off commands=1 nostop=1` | 4956 | 37 |  |
//! | `pauses=1` | 5020 | 39 |  |
//! | `commands=1` | 5310 | 49 |  |
//! | `off parted` | 9095 | 38 |  |
//! | `parted` | 9617 | 40 |  |
//! | `commands=1 nostart=1` | 13384 | 67 |  |
//! | `nostart=2 crashes=1` | 13520 | 62 |  |
//! | `cold nostart=1` | 15631 | 63 |  |
//! | `off commands=1 losses=1` | 37302 | 47 |  |
//! | `commands=1 delay=1000` | 39778 | 65 |  |
//! | `off losses=3` | 43448 | 47 |  |
//! | `off commands=1 cuts=1` | 485457 | 114 | `HA_LONG` |
//! | `original2` | 8 | 5 |  |
//! | `original2 losses=1` | 56 | 16 |  |
//! | `original1 off crashes=1` | 682 | 33 |  |
//! | `original2 crashes=1` | 1553 | 48 |  |
//! | `original1 off cold` | 1691 | 49 |  |
//! | `original1 kills=1` | 1718 | 46 |  |
//! | `original2 kills=1` | 1718 | 48 |  |
//! | `original1 off losses=2` | 1860 | 57 |  |
//! | `original2 losses=2` | 2362 | 74 |  |
//! | `original2 cold` | 2506 | 53 |  |
//! | `original1 cold` | 2506 | 53 |  |
//! | `original1 off commands=1` | 2511 | 41 |  |
//! | `original2 cuts=1` | 2517 | 68 |  |
//! | `original2 commands=1` | 3287 | 54 |  |
//! | `original1 commands=1` | 3287 | 54 |  |
//! | `original2 off pauses=1` | 26571 | 69 |  |
//! | `original2 pauses=1` | 69060 | 108 | `HA_LONG` |
//! | `original2 commands=1 losses=1` | 78326 | 87 | `HA_LONG` |
//! | `original1 off parted` | 88273 | 92 | `HA_LONG` |
//! | `original2 off parted` | 88341 | 93 | `HA_LONG` |
//! | `original1 parted` | 234282 | 108 | `HA_LONG` |
//! | `original2 parted` | 234397 | 109 | `HA_LONG` |

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
