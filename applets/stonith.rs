//! Reset a host by a device

use clap::{Arg, ArgAction, Command};

use crate::applet::{Applet, Invocation};

/// Table entry.
pub const APPLET: Applet =
    Applet { names: &["stonith"], summary: "Reset a host by a device", definition, run };

fn definition() -> Command {
    let flag = |name: &'static str, letter, help: &'static str| {
        Arg::new(name).short(letter).action(ArgAction::SetTrue).help(help)
    };
    let value = |name: &'static str, letter, value: &'static str, help: &'static str| {
        Arg::new(name).short(letter).value_name(value).help(help)
    };
    Command::new("stonith")
        .about(APPLET.summary)
        .arg(flag("types", 'L', "List the types of devices"))
        .arg(value("type", 't', "type", "Type of the device"))
        .arg(flag("names", 'n', "List the names of its parameters"))
        .arg(flag("meta", 'm', "Show its meta-data"))
        .arg(flag("hosts", 'l', "List the hosts that it controls"))
        .arg(flag("status", 'S', "Ask whether it can be reached"))
        .arg(value("action", 'T', "reset|on|off", "What to do with the host, reset"))
        .arg(value("values", 'p', "values", "Values of the parameters in order"))
        .arg(value("file", 'F', "file", "File with these values in a line"))
        .arg(flag("environment", 'E', "Values from the environment"))
        .arg(value("count", 'c', "count", "How often, 1"))
        .arg(flag("silent", 's', "Do not say whether it can be reached"))
        .arg(flag("verbose", 'v', "Has no effect"))
        .arg(flag("debug", 'd', "Show debug messages"))
        .arg(flag("version", 'V', "Show the version"))
        .arg(flag("help", 'h', "Explain the devices"))
        .disable_help_flag(true)
        .arg(Arg::new("words").value_name("name=value|node").num_args(0..).help("Values, and the host"))
}

fn run(invocation: &Invocation) -> u8 {
    ha_core::stonith::program::program(&invocation.called_as, &invocation.words())
}
