//! Check the state of the cluster

use std::path::Path;

use ha_core::ipc::{cl_status, terminal::Terminal, SOCKET_PATH};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["cl_status"], summary: "Check the state of the cluster", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("cl_status")
        .about("Check the state of the cluster")
        .arg(clap::Arg::new("sub-command").help("hbstatus, listnodes, nodestatus, …; none prints the list"))
        .arg(clap::Arg::new("arguments").num_args(0..).help("Options and parameters of the sub-command"))
}

fn run(invocation: &Invocation) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    cl_status::run(&invocation.words(), Path::new(SOCKET_PATH), &mut terminal)
}
