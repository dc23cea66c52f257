//! The cluster daemon

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet { names: &["heartbeat"], summary: "The cluster daemon", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("heartbeat")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
