//! Show a failover on this machine

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["demo"], summary: "Show a failover on this machine", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("demo")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
