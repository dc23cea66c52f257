//! `ipfail` and `pingd`: the node that reaches fewer ping nodes gives its resources to the other one
//! (resources spec 4). Client programs of either daemon's socket.
//!
//! ```text
//! daemon ──event──▶ Event ─▶ needs ─▶ (node list, holding) ─▶ Decider::handle ─▶ Effects ──▶ daemon, log
//!          program                        program                (pure)              program
//! ```
//!
//! The comparison goes by messages between the two nodes' programs, each sent when something changes:
//!
//! ```text
//! A ── num_ping_nodes 0 ──▶ B      B sees 1:  ── you_are_dead ──▶ A waits a little, gives up all
//! A ── num_ping_nodes 1 ──▶ B      B sees 1:  ── abort_giveup ──▶ A waits no longer
//! A ── num_ping_nodes 1 ──▶ B      B sees 0:  B waits a little, gives up all
//! ```

mod calm;
mod decide;
mod event;
pub mod pingd;
mod program;
mod start;

pub use decide::{Decider, Settings};
pub use event::{Effect, Event, Facts, Holding, Needs, Set, COUNT_MAX};
pub use program::{run, Program};
