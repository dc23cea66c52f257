//! Start and stop resource groups

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["ResourceManager"], summary: "Start and stop resource groups", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("ResourceManager")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
