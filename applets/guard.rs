//! `ha guard`: the disk of a lease, and the children that ask for the daemon (ha-guards(7)).

use std::path::Path;
use std::time::Duration;

use clap::{value_parser, Arg, ArgAction, ArgMatches, Command};
use ha_core::guards::program;

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet = Applet {
    names: &["guard"],
    summary: "Guards against split brain: prepare and show the disk of a lease",
    definition,
    run,
};

fn definition() -> Command {
    let path =
        || Arg::new("path").value_name("PATH").required(true).help("File or block device of the lease");
    let node = |name: &'static str| Arg::new(name).value_name("NODE").required(true).help("A node's name");
    let force = Arg::new("force").long("force").action(ArgAction::SetTrue);
    let wait = Arg::new("wait").long("wait").value_name("MS").value_parser(value_parser!(u64));
    let tcp = Arg::new("tcp").long("tcp").value_name("PORT").value_parser(value_parser!(u16));
    Command::new("guard")
        .about("Guards against split brain: prepare and show the disk of a lease")
        .subcommand_required(true)
        .subcommand(
            Command::new("lease-init")
                .about("Make a lease of a new file or an empty block device")
                .arg(force.help("Write over whatever is there"))
                .args([path(), node("node"), node("other")]),
        )
        .subcommand(Command::new("lease-show").about("What both nodes wrote last").arg(path()))
        .subcommand(
            Command::new("lease")
                .about("Write this node's word, if one is given, and say both (the daemon's child)")
                .args([path(), node("node"), node("other")])
                .arg(Arg::new("record").value_name("WORD").help("The word, seven parts in one argument")),
        )
        .subcommand(
            Command::new("ask")
                .about("Ask who has the addresses of words of haresources (the daemon's child)")
                .arg(wait.default_value("1000").help("How long answers are waited for, milliseconds"))
                .arg(tcp.help("Also try to connect to this TCP port"))
                .arg(Arg::new("words").value_name("WORD").num_args(1..).required(true)),
        )
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha guard", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let Some((verb, given)) = matches.subcommand() else { return 2 };
    let word = |name: &str| given.get_one::<String>(name).map_or("", String::as_str);
    match verb {
        "lease-init" => {
            let nodes = [word("node"), word("other")];
            program::lease_init(Path::new(word("path")), nodes, given.get_flag("force"))
        }
        "lease-show" => program::lease_show(Path::new(word("path"))),
        "lease" => lease(given),
        _ => {
            let words: Vec<String> = given.get_many("words").into_iter().flatten().cloned().collect();
            let wait = Duration::from_millis(given.get_one::<u64>("wait").copied().unwrap_or(1000));
            program::ask_addresses(&words, wait, given.get_one("tcp").copied())
        }
    }
}

fn lease(given: &ArgMatches) -> u8 {
    let word = |name: &str| given.get_one::<String>(name).map_or("", String::as_str);
    let record = match given.get_one::<String>("record").map(|text| text.parse()) {
        None => None,
        Some(Ok(record)) => Some(record),
        Some(Err(_)) => return 2,
    };
    program::lease(Path::new(word("path")), word("node"), word("other"), record)
}
