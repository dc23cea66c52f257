//! Ask for a resource group

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["req_resource"], summary: "Ask for a resource group", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("req_resource")
        .about(APPLET.summary)
        .arg(clap::Arg::new("key").help("First resource of the group"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::resource::takeover::req_resource(&invocation.called_as, &invocation.words())
}
