//! The daemon that watches programs

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["apphbd"], summary: "Watches programs that tell it they are well", definition, run };

fn definition() -> Command {
    let flag = |letter: char, name: &'static str, help: &'static str| {
        Arg::new(name).short(letter).action(ArgAction::SetTrue).help(help)
    };
    Command::new("apphbd").about(APPLET.summary).args([
        flag('s', "status", "Say whether one runs"),
        flag('k', "kill", "Stop the daemon that runs"),
        flag('r', "restart", "Stop the daemon that runs, and start"),
        Arg::new("debug").short('d').value_name("level").help("Debug level, in the place of the file's"),
        Arg::new("config").short('c').value_name("file").help("Configuration, ./apphbd.cf"),
    ])
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::daemon::apphbd::program(&invocation.called_as, &invocation.words())
}
