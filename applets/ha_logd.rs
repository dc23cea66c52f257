//! The logging daemon

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet { names: &["ha_logd"], summary: "The logging daemon", definition, run };

fn definition() -> Command {
    let flag = |letter: char, name: &'static str, help: &'static str| {
        Arg::new(name).short(letter).action(ArgAction::SetTrue).help(help)
    };
    Command::new("ha_logd").about(APPLET.summary).args([
        flag('d', "daemon", "Run in the background"),
        flag('k', "kill", "Stop the daemon that runs"),
        flag('s', "status", "Say whether one runs"),
        flag('v', "verbose", "Show its own lines on standard error, in the foreground"),
        Arg::new("config").short('c').value_name("file").help("Configuration, /etc/logd.cf"),
    ])
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::daemon::logd::program(&invocation.called_as, &invocation.words())
}
