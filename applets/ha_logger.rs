//! Hand lines to the logging daemon

use clap::{Arg, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["ha_logger"], summary: "Hand lines to the logging daemon", definition, run };

fn definition() -> Command {
    Command::new("ha_logger")
        .about(APPLET.summary)
        .arg(Arg::new("tag").short('t').value_name("tag").help("Name in the line, cluster"))
        .arg(Arg::new("target").short('D').value_name("ha-log|ha-debug").help("Which log, ha-log"))
        .arg(Arg::new("message").num_args(0..).help("One line each; else those of standard input"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::log::ha_logger::program(&invocation.called_as, &invocation.words())
}
