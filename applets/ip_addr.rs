//! Resource agent for IPv4 addresses

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["IPaddr", "IPaddr2"], summary: "Resource agent for IPv4 addresses", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("IPaddr")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
