//! `ha keygen`: a random key for authkeys.

use clap::{value_parser, Arg, ArgAction, Command};
use ha_core::setup::keygen::KeygenOptions;
use ha_core::setup::{self, Task};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["keygen"], summary: "Make a random key for authkeys", definition, run };

fn definition() -> Command {
    Command::new("keygen")
        .about("Make an authkeys with a random key")
        .after_help("Exit code: 0 done, 1 nothing was written, 2 wrong use.")
        .arg(
            Arg::new("method")
                .long("method")
                .value_parser(["sha1", "md5"])
                .default_value("sha1")
                .help("How packets are signed"),
        )
        .arg(
            Arg::new("number")
                .long("number")
                .value_parser(value_parser!(u8).range(1..=15))
                .default_value("1")
                .help("The key's number"),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FILE")
                .help("Write to this file with mode 600, and not to standard output"),
        )
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Replace the file; the old one is kept beside"),
        )
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha keygen", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    setup::run(&Task::Keygen(KeygenOptions {
        method: matches.get_one::<String>("method").cloned().unwrap_or_default(),
        number: matches.get_one::<u8>("number").copied().unwrap_or(1),
        output: matches.get_one::<String>("output").cloned(),
        force: matches.get_flag("force"),
    }))
}
