//! Show a failover on this machine

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};
use ha_core::demo::draw::Style;
use ha_core::demo::story::{parse_time_ms, tell, DemoError, Options};
use ha_core::demo::world::HostKind;
use ha_core::demo::{agent, json};

use crate::applet::{matches_of, Applet, Invocation};

/// Table entry.
pub(crate) const APPLET: Applet =
    Applet { names: &["demo"], summary: "Show a failover on this machine", definition, run };

fn definition() -> clap::Command {
    let time = |name: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("TIME")
            .default_value(default)
            .value_parser(parse_time_ms)
            .help(help)
    };
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    clap::Command::new("demo")
        .arg(time("keepalive", "50ms", "Time between two beats"))
        .arg(time("deadtime", "250ms", "Silence after which a node counts as dead"))
        .arg(flag("json").help("Print the figures as one JSON document instead of the story"))
        .arg(flag("original").hide(true).help("Play it with this machine's Heartbeat 3.0.6"))
        .after_help(
            "Makes two hosts, a client and two networks inside this machine, as root or, where the kernel\n\
             allows user namespaces, as an ordinary user. Nothing is left behind.\n\n\
             Exit code: 0 all steps came out right, 1 one did not, 2 not possible here or wrong use.",
        )
}

fn run(invocation: &Invocation) -> u8 {
    let words = invocation.words();
    if let Some(("--inner", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return agent::run(rest);
    }
    match matches_of(definition(), "ha demo", invocation) {
        Ok(matches) => show(&matches),
        Err(code) => code,
    }
}

fn show(matches: &ArgMatches) -> u8 {
    let as_json = matches.get_flag("json");
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let options = Options {
        binary: PathBuf::from("/proc/self/exe"),
        keepalive_ms: matches.get_one("keepalive").copied().unwrap_or(50),
        dead_time_ms: matches.get_one("deadtime").copied().unwrap_or(250),
        kind: if matches.get_flag("original") { HostKind::Original } else { HostKind::Ours },
        style: if colour { Style::Colour } else { Style::Plain },
    };
    let mut output = io::stdout().lock();
    let result = if as_json {
        let result = tell(&options, &mut io::sink());
        let written = writeln!(output, "{}", json(&result)).map_err(DemoError::Output);
        written.and(result)
    } else {
        tell(&options, &mut output)
    };
    match result {
        Ok(_) => 0,
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            let _ = write!(io::stderr(), "{}", explain(&error));
            error.exit_code()
        }
    }
}

fn explain(error: &DemoError) -> String {
    match error {
        DemoError::Failed { logs, .. } => format!("ha demo: {error}\n{logs}"),
        _ => format!("ha demo: {error}\n"),
    }
}
