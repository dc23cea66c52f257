//! Say that a host has been reset by hand

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["meatclient"], summary: "Say that a host has been reset by hand", definition, run };

fn definition() -> Command {
    Command::new("meatclient")
        .about(APPLET.summary)
        .arg(Arg::new("node").short('c').value_name("node").required(true).help("The host"))
        .arg(Arg::new("wait").short('w').action(ArgAction::SetTrue).help("Wait until a device waits for it"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::stonith::meatclient::program(&invocation.called_as, &invocation.words())
}
