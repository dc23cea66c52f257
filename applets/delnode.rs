//! Forget dead nodes

use std::path::Path;

use ha_core::ipc::command::FIFO_PATH;
use ha_core::ipc::members::{self, Verb};
use ha_core::ipc::terminal::Terminal;

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet { names: &["hb_delnode"], summary: "Forget dead nodes", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("hb_delnode")
        .about(APPLET.summary)
        .arg(clap::Arg::new("node").num_args(1..).help("Names of nodes"))
}

fn run(invocation: &Invocation) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    members::run(Verb::Delete, &invocation.words(), Path::new(FIFO_PATH), &mut terminal)
}
