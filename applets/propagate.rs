//! Copy the configuration to the other nodes

use ha_core::daemon::layout::Layout;

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet {
    names: &["ha_propagate"],
    summary: "Copy the configuration to the other nodes",
    definition,
    run,
};

fn definition() -> clap::Command {
    clap::Command::new("ha_propagate").about(APPLET.summary)
}

fn run(_invocation: &Invocation) -> u8 {
    ha_core::daemon::propagate::program(&Layout::from_environment())
}
