//! Move resources to the node that reaches more ping nodes

use ha_core::config::below_root;
use ha_core::ipc::SOCKET_PATH;
use ha_core::ipfail::{self, Program};
use ha_core::log::{targets_from_environment, Logger};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet {
    names: &["ipfail"],
    summary: "Move resources to the node that reaches more ping nodes",
    definition,
    run,
};

fn definition() -> clap::Command {
    clap::Command::new("ipfail").about("Move resources to the node that reaches more ping nodes")
}

fn run(_: &Invocation) -> u8 {
    let targets = targets_from_environment("ipfail", |name| std::env::var(name).ok());
    ipfail::run(&Program::default(), &below_root(SOCKET_PATH), &Logger::direct(targets))
}
