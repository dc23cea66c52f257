//! ipfail with a dampening time and the options of pingd

use ha_core::config::below_root;
use ha_core::ipc::SOCKET_PATH;
use ha_core::ipfail::pingd;
use ha_core::log::targets_from_environment;

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet {
    names: &["pingd"],
    summary: "ipfail with a dampening time, started as pingd was",
    definition,
    run,
};

fn definition() -> clap::Command {
    use clap::{Arg, ArgAction};
    let value = |name: &'static str, short: char| Arg::new(name).long(name).short(short);
    clap::Command::new("pingd")
        .about("ipfail with a dampening time, started as pingd was")
        .arg(value("value-multiplier", 'm').help("What the number of ping nodes is multiplied by in the log"))
        .arg(value("attr-dampen", 'd').help("How long a new number must last before it counts"))
        .arg(value("attr-name", 'a').help("The name shown with the number in the log"))
        .arg(value("ping-host", 'N').help("Count only this ping node").action(ArgAction::Append))
        .arg(value("pid-file", 'p').help("File for the process's number"))
        .arg(value("daemonize", 'D').help("Go to the background").action(ArgAction::SetTrue))
        .arg(value("verbose", 'V').help("Log to standard error too").action(ArgAction::SetTrue))
}

fn run(invocation: &Invocation) -> u8 {
    let targets = targets_from_environment("pingd", |name| std::env::var(name).ok());
    pingd::main(&invocation.words(), &below_root(SOCKET_PATH), targets)
}
