//! Announce an IPv6 address

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["send_ua"], summary: "Announce an IPv6 address", definition, run };

fn definition() -> Command {
    Command::new("send_ua")
        .about(APPLET.summary)
        .arg(Arg::new("interval").short('i').value_name("ms").help("Time from one to the next, 1000"))
        .arg(Arg::new("count").short('c').value_name("count").help("Number of advertisements, 5"))
        .arg(
            Arg::new("words")
                .value_names(["address", "prefix", "interface"])
                .num_args(3)
                .action(ArgAction::Append)
                .help("IPv6 address, length of its prefix, interface"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::net::send_ua::program(&invocation.called_as, &invocation.words())
}
