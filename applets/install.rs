//! `ha install` and `ha uninstall`: from the bare file to its places, and back.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};
use ha_core::setup::install::{InstallOptions, PREFIX_DEFAULT};
use ha_core::setup::service::Kind;
use ha_core::setup::uninstall::UninstallOptions;
use ha_core::setup::{self, Task};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry of `install`.
pub const APPLET: Applet =
    Applet { names: &["install"], summary: "Install this file on a bare host", definition, run };
/// Table entry of `uninstall`.
pub const REMOVAL: Applet = Applet {
    names: &["uninstall"],
    summary: "Take away what install made",
    definition: removal_definition,
    run: run_removal,
};

const EXIT_CODES: &str = "Exit code: 0 done, 1 refused and nothing changed (or all taken back), 2 wrong use.";

fn root() -> Arg {
    Arg::new("root").long("root").value_name("DIR").help("The root of the system (default /)")
}

fn dry_run() -> Arg {
    Arg::new("dry-run").long("dry-run").action(ArgAction::SetTrue).help("Print what would be done")
}

fn definition() -> Command {
    Command::new("install")
        .about("Copy this program to its place, with links of all legacy names, directories, service and account")
        .after_help(EXIT_CODES)
        .arg(
            Arg::new("prefix")
                .long("prefix")
                .value_name("DIR")
                .default_value(PREFIX_DEFAULT)
                .help("In the place of /usr, as /usr/local/heartbeat"),
        )
        .arg(root())
        .arg(
            Arg::new("service")
                .long("service")
                .value_parser(["systemd", "sysv", "none"])
                .help("What the boot starts it by; found out when not given"),
        )
        .arg(
            Arg::new("enable")
                .long("enable")
                .action(ArgAction::SetTrue)
                .help("Have the boot start it; it is not started now"),
        )
        .arg(
            Arg::new("pages")
                .long("pages")
                .value_name("DIR")
                .help("Where the manual pages are; else `man` beside this file, if it is there"),
        )
        .arg(
            Arg::new("no-account")
                .long("no-account")
                .action(ArgAction::SetTrue)
                .help("Do not make hacluster and haclient"),
        )
        .arg(dry_run())
}

fn removal_definition() -> Command {
    Command::new("uninstall")
        .about("Take away what `ha install` made; files of yours stay")
        .after_help(EXIT_CODES)
        .arg(root())
        .arg(dry_run())
}

fn run(invocation: &Invocation) -> u8 {
    let matches = match matches_of(definition(), "ha install", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    setup::run(&Task::Install(InstallOptions {
        root: text("root").map_or_else(|| PathBuf::from("/"), Into::into),
        prefix: text("prefix").unwrap_or_default(),
        service: text("service").as_deref().and_then(Kind::of),
        enable: matches.get_flag("enable"),
        pages: text("pages").map(Into::into),
        accounts: !matches.get_flag("no-account"),
        dry_run: matches.get_flag("dry-run"),
    }))
}

fn run_removal(invocation: &Invocation) -> u8 {
    let matches = match matches_of(removal_definition(), "ha uninstall", invocation) {
        Ok(matches) => matches,
        Err(code) => return code,
    };
    let root = matches.get_one::<String>("root").map_or_else(|| PathBuf::from("/"), Into::into);
    setup::run(&Task::Uninstall(UninstallOptions { root, dry_run: matches.get_flag("dry-run") }))
}
