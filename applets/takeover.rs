//! Take resources from the other node

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["hb_takeover"], summary: "Take resources from the other node", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("hb_takeover")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
