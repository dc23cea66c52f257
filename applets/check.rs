//! `ha check`: check ha.cf, authkeys and haresources.

use std::io::Write;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use ha_core::config::host::HostFacts;
use ha_core::config::{Origin, DIRECTORY_DEFAULT};
use ha_core::setup::check::{check, Extent};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["check"], summary: "Check ha.cf, authkeys and haresources", definition, run };

fn definition() -> Command {
    Command::new("check")
        .about("Check ha.cf, authkeys and haresources together")
        .after_help("Exit code: 0 nothing or hints, 1 warnings, 2 errors.")
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object"))
        .arg(
            Arg::new("files-only").long("files-only").action(ArgAction::SetTrue).help(
                "Leave out what only this host can tell: addresses, boot, packet filter, the other node",
            ),
        )
        .arg(
            Arg::new("directory")
                .value_name("DIR")
                .default_value(DIRECTORY_DEFAULT)
                .help("Directory of the three files"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha check", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let directory = matches.get_one::<String>("directory").map_or(DIRECTORY_DEFAULT, String::as_str);
    let extent = if matches.get_flag("files-only") { Extent::Files } else { Extent::Host };
    let report = check(Origin::Files, Path::new(directory), &HostFacts::gather(), extent);
    let text = if matches.get_flag("json") { report.to_json() } else { report.to_text() };
    let _ = std::io::stdout().write_all(text.as_bytes());
    report.exit_code()
}
