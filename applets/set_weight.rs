//! Set the weight of a node

use std::path::Path;

use ha_core::ipc::attribute::{self, Attribute};
use ha_core::ipc::command::FIFO_PATH;
use ha_core::ipc::terminal::Terminal;

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["hb_setweight"], summary: "Set the weight of a node", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("hb_setweight")
        .about(APPLET.summary)
        .arg(clap::Arg::new("node"))
        .arg(clap::Arg::new("weight"))
}

fn run(invocation: &Invocation) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    attribute::run(Attribute::Weight, &invocation.words(), Path::new(FIFO_PATH), &mut terminal)
}
