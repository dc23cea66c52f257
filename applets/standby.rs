//! Give resources to the other node

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["hb_standby"], summary: "Give resources to the other node", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("hb_standby")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
