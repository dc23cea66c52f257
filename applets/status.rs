//! Show nodes, links and resources at a glance

use std::path::Path;

use ha_core::ipc::{status, terminal::Terminal, SOCKET_PATH};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["status"], summary: "Show nodes, links and resources at a glance", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("status")
        .about("Show nodes, links and resources at a glance")
        .after_help("Exit code: 0 all is well, 1 something needs attention, 3 the daemon is not running.")
        .arg(clap::Arg::new("json").long("json").action(clap::ArgAction::SetTrue).help("Print JSON"))
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha status", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    status::run(matches.get_flag("json"), Path::new(SOCKET_PATH), &mut terminal)
}
