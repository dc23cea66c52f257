//! `ha init`: the files of a new pair.

use clap::{Arg, ArgAction, ArgMatches, Command};
use ha_core::config::{below_root, DIRECTORY_DEFAULT};
use ha_core::setup::init::InitOptions;
use ha_core::setup::texts::Wishes;
use ha_core::setup::{self, Task};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["init"], summary: "Write the files of a new pair", definition, run };

fn definition() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    Command::new("init")
        .about("Write ha.cf, authkeys and haresources of a new pair")
        .after_help(
            "What is not given is asked for. Everything is checked before anything is written, and all \
             three files are written or none.\nExit code: 0 done, 1 nothing was written, 2 wrong use.",
        )
        .arg(list("node", "NAME").help("A node, as `uname -n` prints it there; give it twice"))
        .arg(list("link", "LINE").help(
            "A link: \"bcast eth1\", \"ucast eth0 OWN PEER\", \"mcast eth0\", \"serial /dev/ttyS0\"; \
             better two",
        ))
        .arg(list("address", "ADDR").help("The address that moves: 192.0.2.10/24/eth0"))
        .arg(list("service", "NAME").help("A resource that starts behind it: nginx"))
        .arg(word("preferred", "NAME").help("The node that has it when both are there; else the first"))
        .arg(list("ping", "HOST").help("An address that both should reach; adds ipfail"))
        .arg(word("keepalive", "TIME").help("Between two beats (default 1)"))
        .arg(word("deadtime", "TIME").help("Without a beat until a node counts as dead (default 10)"))
        .arg(word("port", "PORT").help("UDP port (default 694)"))
        .arg(word("directory", "DIR").help("Directory of the files (default /etc/ha.d)"))
        .arg(flag("force", "Replace files that are there; the old ones are kept beside"))
        .arg(flag("dry-run", "Print the files and write nothing"))
        .arg(flag("batch", "Ask nothing; what is missing is an error"))
        .arg(
            Arg::new("copy")
                .long("copy")
                .value_name("USER@HOST")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("")
                .help("Bring the files to the other node by ssh (default root there)"),
        )
        .arg(flag("send", "Write the files of the directory to standard output, for --receive"))
        .arg(
            flag("receive", "Read the files from standard input, check and write them")
                .conflicts_with_all(["send", "copy", "dry-run"]),
        )
}

fn word(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn list(name: &'static str, value: &'static str) -> Arg {
    word(name, value).action(ArgAction::Append)
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha init", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    setup::run(&task(&matches))
}

fn task(matches: &ArgMatches) -> Task {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let texts = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let directory = text("directory").map_or_else(|| below_root(DIRECTORY_DEFAULT), Into::into);
    let force = matches.get_flag("force");
    if matches.get_flag("send") {
        return Task::Send { directory };
    }
    if matches.get_flag("receive") {
        return Task::Receive { directory, force };
    }
    let wishes = Wishes {
        nodes: texts("node"),
        links: texts("link"),
        addresses: texts("address"),
        services: texts("service"),
        preferred: text("preferred"),
        keepalive: text("keepalive"),
        dead_time: text("deadtime"),
        pings: texts("ping"),
        port: text("port"),
    };
    let (dry_run, batch) = (matches.get_flag("dry-run"), matches.get_flag("batch"));
    Task::Init(InitOptions { wishes, directory, force, dry_run, batch, copy: text("copy") })
}
