//! Show a failover on this machine

use crate::applet::{Applet, Invocation};

/// Table entry.
pub(crate) const APPLET: Applet =
    Applet { names: &["demo"], summary: "Show a failover on this machine", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("demo")
}

fn run(invocation: &Invocation) -> u8 {
    let words = invocation.words();
    match words.split_first() {
        Some((first, rest)) if first == "--inner" => ha_core::demo::agent::run(rest),
        _ => 1,
    }
}
