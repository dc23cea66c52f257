//! Resource agent for IPv4 addresses

use clap::{Arg, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["IPaddr", "IPaddr2"], summary: "Resource agent for IPv4 addresses", definition, run };

fn definition() -> Command {
    Command::new("IPaddr")
        .about(APPLET.summary)
        .arg(
            Arg::new("address")
                .value_name("ip[/bits[/nic[:label][/broadcast]]]")
                .help("The address and its place"),
        )
        .arg(
            Arg::new("operation")
                .value_name("operation")
                .help("start, stop, status, monitor, usage or meta-data"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    let name = invocation.called_as.rsplit('/').next().unwrap_or("");
    match ha_core::resource::agent(name) {
        Some(agent) => {
            ha_core::resource::heartbeat_class::program(agent, &invocation.called_as, &invocation.words())
        }
        None => 127,
    }
}
