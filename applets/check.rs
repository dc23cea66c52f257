//! Check ha.cf, authkeys and haresources

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["check"], summary: "Check ha.cf, authkeys and haresources", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("check")
}

fn run(_invocation: &Invocation) -> u8 {
    1
}
