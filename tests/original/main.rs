//! The proof against Debian's Heartbeat 3.0.6 and the programs around it: the real ones, never our
//! idea of them.
//!
//! A representative set runs always; with `HA_LONG=1` all of it does. Where the original is not
//! installed each test says what it skipped.

#[path = "../common/mod.rs"]
mod common;

#[path = "../common/stranger.rs"]
mod stranger;

#[path = "../common/switches.rs"]
mod switches;

#[path = "../support/power_switch.rs"]
mod power_switch;

mod apphb;
mod clients;
mod differences;
mod dopd;
mod fencing;
mod filters;
mod gaps;
mod guards;
mod ipfail;
mod logging;
mod loss;
mod media;
mod messages;
mod pair;
mod random;
mod requests;
mod scripts;
mod status_tool;
mod stonith;
mod transitions;
mod upgrade;
mod watching;
