//! Resource agents: each agent of the library's table is an applet by its name.

use clap::{Arg, Command};
use ha_core::resource::{heartbeat_class, Agent, AGENTS};

use crate::applet::{Applet, Invocation};

/// One applet for each agent.
pub const APPLETS: [Applet; AGENTS.len()] = {
    let mut applets = [Applet { names: &[], summary: "", definition: empty, run }; AGENTS.len()];
    let mut index = 0;
    while index < applets.len() {
        let agent = AGENTS[index];
        applets[index].names = std::slice::from_ref(&agent.name);
        applets[index].summary = agent.summary;
        index += 1;
    }
    applets
};

/// The definition of an agent's arguments, for help and completion.
pub fn definition(agent: &'static Agent) -> Command {
    let parameters: Vec<String> = agent
        .parameters
        .iter()
        .map(|parameter| format!("  {}: {}\n", parameter.name, parameter.summary))
        .collect();
    let heading = "Parameters of the OCF form, with OCF_RESKEY_ in front in the environment:\n";
    let mut command = Command::new(agent.name)
        .long_about(format!("{}\n\n{}", agent.description, agent.usage_text(agent.name)))
        .arg(Arg::new("word").value_name("word").num_args(1..).required(true).help(
            "What stands behind :: in haresources, then start, stop, restart, status, monitor, validate-all, \
             usage or meta-data",
        ));
    if !parameters.is_empty() {
        command = command.after_long_help(format!("{heading}{}", parameters.concat()));
    }
    command
}

fn empty() -> Command {
    Command::new("agent")
}

fn run(invocation: &Invocation) -> u8 {
    let name = invocation.called_as.rsplit('/').next().unwrap_or("");
    match ha_core::resource::agent(name) {
        Some(agent) => heartbeat_class::program(agent, &invocation.called_as, &invocation.words()),
        None => 127,
    }
}
