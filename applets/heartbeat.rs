//! `heartbeat`: the cluster daemon and its control options.

use ha_core::daemon::command_line;

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet { names: &["heartbeat"], summary: "The cluster daemon", definition, run };

fn definition() -> clap::Command {
    let flag = |name: &'static str, help: &'static str| {
        clap::Arg::new(name).short(name.chars().next()).action(clap::ArgAction::Count).help(help)
    };
    clap::Command::new("heartbeat")
        .about("Start, stop and ask the cluster daemon")
        .disable_version_flag(true)
        .arg(flag("s", "Say whether the daemon runs"))
        .arg(flag("k", "Stop the daemon and wait until it is gone"))
        .arg(flag("r", "Check the configuration and make the daemon read it again"))
        .arg(flag("f", "Stay in the foreground"))
        .arg(flag("d", "More debugging, once for each level"))
        .arg(flag("D", "Print the directives with their defaults (with -W in wiki format)"))
        .arg(flag("M", "Manage no resources"))
        .arg(flag("l", "No realtime priority"))
        .arg(flag("v", "Print the configuration, then start"))
        .arg(flag("W", "With -D: wiki format"))
        .arg(flag("V", "Print the version of heartbeat that this is compatible with"))
        .arg(flag("R", "Internal: start again, keeping resources"))
        .arg(clap::Arg::new("C").short('C').value_name("SET").help("Internal, with -R: what is held"))
}

fn run(invocation: &Invocation) -> u8 {
    command_line::run(&invocation.called_as, &invocation.words())
}
