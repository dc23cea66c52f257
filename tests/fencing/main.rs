//! Fencing with real daemons in namespaces: a device that takes a host's power away.
//!
//! Goal: after any partition one host serves, never two, by the client's answers and by asking both
//! kernels; a device that does not work is waited for as configured, and nothing is reset twice.
//! Method: an external plugin on each host writes a wish into a file, and the test, which holds the
//! power switch, cuts the victim's links and ends everything on it.
//! `HA_LONG=1` plays a hundred random partitions instead of a few.

#[path = "../common/mod.rs"]
mod common;

#[path = "../support/power_switch.rs"]
mod power_switch;

#[path = "../common/stranger.rs"]
mod stranger;

#[path = "../common/switches.rs"]
mod switches;

mod device;
mod partitions;
mod refusals;
mod secrets;
mod takeovers;
mod with_original;

use std::time::Duration;

/// Longest wait for something that takes a second or two on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The long tests are wanted too.
fn long() -> bool {
    std::env::var_os("HA_LONG").is_some_and(|value| value != "0")
}
