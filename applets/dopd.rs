//! DRBD's outdate helper beside the daemon

use ha_core::config::below_root;
use ha_core::ipc::SOCKET_PATH;
use ha_core::log::{targets_from_environment, Logger};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["dopd"], summary: "Outdate DRBD volumes for the peer", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("dopd").about("Outdate DRBD volumes for the peer; started by respawn")
}

fn run(_: &Invocation) -> u8 {
    let targets = targets_from_environment("dopd", |name| std::env::var(name).ok());
    let sockets = (below_root(SOCKET_PATH), below_root(ha_core::dopd::SOCKET_PATH));
    ha_core::dopd::run(&sockets.0, &sockets.1, &Logger::direct(targets))
}
