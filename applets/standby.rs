//! Give resources to the other node

use std::path::Path;

use ha_core::ipc::command::{self, Verb, FIFO_PATH};
use ha_core::ipc::{terminal::Terminal, SOCKET_PATH};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["hb_standby"], summary: "Give resources to the other node", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("hb_standby")
        .about("Give resources to the other node")
        .arg(clap::Arg::new("set").value_parser(["all", "foreign", "local", "failback"]).default_value("all"))
}

fn run(invocation: &Invocation) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    let (socket, fifo) = (Path::new(SOCKET_PATH), Path::new(FIFO_PATH));
    command::run(Verb::Standby, &invocation.called_as, &invocation.words(), socket, fifo, &mut terminal)
}
