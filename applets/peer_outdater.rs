//! DRBD's fence-peer helper

use ha_core::config::below_root;
use ha_core::dopd;
use ha_core::log::{targets_from_environment, Logger};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet {
    names: &["drbd-peer-outdater"],
    summary: "Ask the peer's dopd to outdate a DRBD volume",
    definition,
    run,
};

fn definition() -> clap::Command {
    use clap::Arg;
    let value = |name: &'static str, short: char| Arg::new(name).short(short).value_name(name);
    clap::Command::new("drbd-peer-outdater")
        .about("Ask the peer's dopd to outdate a DRBD volume; called by DRBD (fence-peer)")
        .arg(value("peer", 'p').help("Name of the peer; else DRBD_PEER"))
        .arg(value("resource", 'r').help("Name of the DRBD resource; else DRBD_RESOURCE"))
        .arg(value("seconds", 't').help("Longest wait, by default 60"))
}

fn run(invocation: &Invocation) -> u8 {
    let variable = |name: &str| std::env::var(name).ok();
    let logger = Logger::direct(targets_from_environment("drbd-peer-outdater", variable));
    dopd::program(&invocation.words(), variable, &below_root(dopd::SOCKET_PATH), &logger)
}
