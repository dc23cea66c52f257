//! Run the administrator's script for a message

use clap::{Arg, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["harc"], summary: "Run the administrator's script for a message", definition, run };

fn definition() -> Command {
    Command::new("harc")
        .about(APPLET.summary)
        .arg(Arg::new("type").value_name("type").help("Type of the message, a file in rc.d"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::resource::harc::program(&invocation.words())
}
