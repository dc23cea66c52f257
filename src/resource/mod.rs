//! Resource agents and the runner of groups.
//!
//! ```text
//! config::haresources ─▶ runner ─┬─▶ script ─▶ the administrator's file (heartbeat class, LSB)
//!                                └─▶ heartbeat_class ─▶ THE TABLE of built-in agents ─▶ net
//! ```
//!
//! A new agent is one file with a constant of type [`Agent`], which tells how, and one line in [`AGENTS`].

pub mod agent;
pub mod audible_alarm;
pub mod command;
pub mod delay;
pub mod harc;
pub mod heartbeat_class;
pub mod ip_addr;
mod ip_parameters;
pub mod mail_to;
pub mod manager;
pub mod meta_data;
pub mod ocf;
pub mod pseudo;
pub mod runner;
pub mod script;
pub mod script_log;
pub mod systemd;
pub mod takeover;
pub mod vendor;
pub mod win_popup;
pub mod xinetd;

pub use agent::{
    is_true, Action, Agent, Call, Context, ExitCode, Parameter, Parameters, Timeouts, WrongArguments,
};

/// The shell functions that scripts read, for hosts that have none (resources spec 5.4).
pub const SHELL_FUNCTIONS: &str = include_str!("shellfuncs.sh");

/// THE TABLE of built-in agents.
#[rustfmt::skip]
pub const AGENTS: &[&Agent] = &[
    &ip_addr::IPADDR,
    &ip_addr::IPADDR2,
    &audible_alarm::AUDIBLE_ALARM,
    &delay::DELAY,
    &mail_to::MAIL_TO,
    &ocf::OCF,
    &vendor::DB2,
    &vendor::ICP,
    &vendor::IDS,
    &vendor::SERVE_RAID,
    &vendor::WAS,
    &win_popup::WIN_POPUP,
    &xinetd::XINETD,
];

/// Their names, in the same order.
pub const AGENT_NAMES: [&str; AGENTS.len()] = {
    let mut names = [""; AGENTS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = AGENTS[index].name;
        index += 1;
    }
    names
};

/// Where agents note what they left running: `HA_VARRUN`, else `/var/run`.
fn run_directory() -> std::path::PathBuf {
    let given = std::env::var_os("HA_VARRUN").filter(|directory| !directory.is_empty());
    given.map_or_else(|| "/var/run".into(), std::path::PathBuf::from)
}

/// The built-in agent of that name.
pub fn agent(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_each_name_once_and_every_parameter_is_described() {
        for (index, entry) in AGENTS.iter().enumerate() {
            assert!(AGENTS[..index].iter().all(|other| other.name != entry.name));
            for parameter in entry.parameters {
                assert!(!parameter.summary.is_empty() && !parameter.description.is_empty());
            }
        }
    }
}
