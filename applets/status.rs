//! Show nodes, links and resources at a glance

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["status"], summary: "Show nodes, links and resources at a glance", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("status")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
