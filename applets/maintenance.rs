//! Leave resources alone for a while

use std::path::Path;

use ha_core::ipc::{maintenance, terminal::Terminal, SOCKET_PATH};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["maintenance"], summary: "Leave resources alone for a while", definition, run };

fn definition() -> clap::Command {
    clap::Command::new("maintenance")
        .about("Leave resources alone for a while: nobody watches, restarts or takes them over")
        .after_help("Exit code: 0 done, 1 refused or no daemon; then nothing was changed.")
        .arg(clap::Arg::new("switch").value_parser(["on", "off"]).required(true).help("Begin or end it"))
        .arg(
            clap::Arg::new("for")
                .long("for")
                .value_name("TIME")
                .value_parser(maintenance::time)
                .help("How long, such as 30m or 2h [default: 1h]"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha maintenance", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let time_ms = matches.get_one::<u64>("for").copied().unwrap_or(maintenance::DEFAULT_MS);
    let on = matches.get_one::<String>("switch").is_some_and(|word| word == "on");
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    maintenance::run(on.then_some(time_ms), Path::new(SOCKET_PATH), &mut terminal)
}
