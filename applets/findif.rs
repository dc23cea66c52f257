//! Find the interface of an address

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["findif"], summary: "Find the interface of an address", definition, run };

fn definition() -> Command {
    Command::new("findif").about(APPLET.summary).arg(
        Arg::new("cidr").short('C').action(ArgAction::SetTrue).help("Print the netmask as a number of bits"),
    )
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::net::findif::program(&invocation.called_as, &invocation.words())
}
