//! Confirm that the other node is down

use std::path::Path;

use clap::{Arg, ArgAction, Command};
use ha_core::ipc::{command, terminal::Terminal, SOCKET_PATH};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["takeover"], summary: "Confirm that the other node is down", definition, run };

fn definition() -> Command {
    Command::new("takeover")
        .about("Have a takeover that waits for a person go on")
        .after_help(
            "Only when you are sure that the other node is down or serves nothing: two nodes that serve \
             the same resources destroy data. To move resources between two nodes that run, use \
             hb_takeover.\n\nExit code: 0 it goes on, 1 nothing was changed, 2 wrong use.",
        )
        .arg(
            Arg::new("confirm")
                .long("confirm")
                .action(ArgAction::SetTrue)
                .required(true)
                .help("The other node is certainly down"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    if let Err(code) = matches_of(definition(), "ha takeover", invocation) {
        return code;
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    command::confirm_takeover(Path::new(SOCKET_PATH), &mut terminal)
}
