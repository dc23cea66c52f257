//! Start and stop resource groups

use clap::{Arg, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["ResourceManager"], summary: "Start and stop resource groups", definition, run };

fn definition() -> Command {
    Command::new("ResourceManager")
        .about(APPLET.summary)
        .arg(Arg::new("command").value_name("command").help(
            "listkeys, allkeys, ourkeys, otherkeys, status, takegroup, givegroup, statgroup or verifyallidle",
        ))
        .arg(Arg::new("word").value_name("node|resource|key").num_args(0..).help("What it is about"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::resource::manager::program(&invocation.called_as, &invocation.words())
}
