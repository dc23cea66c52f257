//! Take the groups of a dead node

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["mach_down"], summary: "Take the groups of a dead node", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("mach_down").about(APPLET.summary).arg(clap::Arg::new("node").help("The node"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::resource::takeover::mach_down(&invocation.called_as, &invocation.words())
}
