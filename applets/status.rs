//! Show nodes, links and resources at a glance

use std::path::Path;

use ha_core::ipc::{status, terminal::Terminal, SOCKET_PATH};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["status"], summary: "Show nodes, links and resources at a glance", definition, run };

/// Exit code of wrong use.
const USAGE_ERROR: u8 = 2;

fn definition() -> clap::Command {
    clap::Command::new("status")
        .about("Show nodes, links and resources at a glance")
        .after_help("Exit code: 0 all is well, 1 something needs attention, 3 the daemon is not running.")
        .arg(clap::Arg::new("json").long("json").action(clap::ArgAction::SetTrue).help("Print JSON"))
}

fn run(invocation: &Invocation) -> u8 {
    let words = std::iter::once("ha status".into()).chain(invocation.arguments.iter().cloned());
    let matches = match definition().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            // nothing can be done about a closed terminal
            let _ = error.print();
            return if error.use_stderr() { USAGE_ERROR } else { 0 };
        }
    };
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    status::run(matches.get_flag("json"), Path::new(SOCKET_PATH), &mut terminal)
}
