//! Resource agents and the runner of groups.
//!
//! ```text
//! config::haresources ─▶ runner ─┬─▶ script ─▶ the administrator's file (heartbeat class, LSB)
//!                                └─▶ heartbeat_class ─▶ THE TABLE of built-in agents ─▶ net
//! ```
//!
//! A new agent is one file with a constant of type [`Agent`] and one line in [`AGENTS`].

pub mod harc;
pub mod heartbeat_class;
pub mod ip_addr;
mod ip_batch;
mod ip_loopback;
mod ip_parameters;
mod ip_run;
pub mod manager;
pub mod meta_data;
pub mod runner;
pub mod script;
pub mod script_log;
pub mod takeover;

use std::collections::BTreeMap;

use script_log::ScriptLog;

/// The shell functions that scripts read, for hosts that have none (resources spec 5.4).
pub const SHELL_FUNCTIONS: &str = include_str!("shellfuncs.sh");

/// THE TABLE of built-in agents.
pub const AGENTS: &[&Agent] = &[&ip_addr::IPADDR, &ip_addr::IPADDR2];

/// The built-in agent of that name.
pub fn agent(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name).copied()
}

/// A built-in resource agent.
#[derive(Debug)]
pub struct Agent {
    /// Name of the script and of the OCF agent.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Some sentences for the meta-data.
    pub description: &'static str,
    /// The words between script and operation in the usage line of the heartbeat class.
    pub usage_words: &'static str,
    /// The exit code of the operation `usage` there; with 0 the line `INFO:  Success` follows, an
    /// accident of some wrappers that scripts may know (agents spec 2.1).
    pub usage_code: u8,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// Turns positional arguments (without the operation) into an instance name and parameters;
    /// `None` when their number is wrong.
    pub from_arguments: fn(&[&str]) -> Option<(String, Parameters)>,
    /// Does the work of one action: start, stop, status, monitor or validate-all.
    pub run: fn(&Context, Action) -> ExitCode,
    /// Tells the network where the resource is, if it is active here; the value says whether it
    /// is. `None` for agents without an address.
    pub announce: Option<fn(&Context) -> bool>,
    /// Checks the parameters of an address, which may then be started and stopped together with others.
    /// The error is what the action exits with; it is logged. `None` for what is no address.
    pub(crate) address: Option<AddressOf>,
    /// `monitor` of the heartbeat class, where it is not simply the agent's.
    pub class_monitor: Option<fn(&Context) -> u8>,
}

/// See [`Agent::address`].
pub(crate) type AddressOf = for<'a> fn(&'a Context, Action) -> Result<ip_addr::IpAddr<'a>, ExitCode>;

/// One parameter, as the meta-data show it.
#[derive(Debug)]
pub struct Parameter {
    /// Name, `OCF_RESKEY_` in front in the environment.
    pub name: &'static str,
    /// Must be given.
    pub required: bool,
    /// string, integer or boolean.
    pub kind: &'static str,
    /// Default value.
    pub default: Option<&'static str>,
    /// A few words.
    pub summary: &'static str,
    /// One or more sentences.
    pub description: &'static str,
}

/// What an agent can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make it active; success when it is already.
    Start,
    /// Make it inactive; success when it is already.
    Stop,
    /// Print and tell whether it is active.
    Status,
    /// Tell whether it is active.
    Monitor,
    /// Check the parameters.
    ValidateAll,
    /// Print the description in XML.
    MetaData,
    /// Print the usage.
    Usage,
}

impl Action {
    /// All of them with their words.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("start", Self::Start),
        ("stop", Self::Stop),
        ("status", Self::Status),
        ("monitor", Self::Monitor),
        ("validate-all", Self::ValidateAll),
        ("meta-data", Self::MetaData),
        ("usage", Self::Usage),
    ];

    /// The action of that name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, action)| *action)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

/// Exit codes of the OCF resource agent interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    /// 0
    Success = 0,
    /// 1
    GenericError = 1,
    /// 2
    WrongArguments = 2,
    /// 3
    Unimplemented = 3,
    /// 4
    NoPermission = 4,
    /// 5
    NotInstalled = 5,
    /// 6
    NotConfigured = 6,
    /// 7
    NotRunning = 7,
}

impl ExitCode {
    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Values by parameter name; those without a value are absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads `OCF_RESKEY_NAME` for each of the agent's parameters; empty ones count as absent.
    pub fn from_environment(agent: &Agent) -> Self {
        let mut parameters = Self::default();
        for parameter in agent.parameters {
            if let Ok(value) = std::env::var(format!("OCF_RESKEY_{}", parameter.name)) {
                parameters.set(parameter.name, &value);
            }
        }
        parameters
    }

    /// Sets a value; an empty one counts as absent.
    pub fn set(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A boolean by the original's rule (agents spec 2.2): everything but its words for true is
    /// false.
    pub fn boolean(&self, name: &str, default: bool) -> bool {
        const TRUE: &[&str] = &["yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"];
        self.get(name).map_or(default, |value| TRUE.contains(&value))
    }
}

/// What an agent works with.
#[derive(Debug)]
pub struct Context {
    /// Values of its parameters.
    pub parameters: Parameters,
    /// Its log, tagged with name and instance.
    pub log: ScriptLog,
    /// Somebody reads standard output: `status` may print there. The runner looks at the exit code
    /// alone.
    pub print: bool,
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

    #[test]
    fn actions_have_words() {
        for (word, action) in Action::ALL {
            assert_eq!(Action::from_word(word), Some(*action));
            assert_eq!(action.as_str(), *word);
        }
    }

    #[test]
    fn booleans_follow_the_original() {
        let mut parameters = Parameters::default();
        assert!(parameters.boolean("x", true));
        parameters.set("x", "Yes");
        assert!(!parameters.boolean("x", true));
        parameters.set("x", "ja");
        assert!(parameters.boolean("x", false));
        parameters.set("x", "");
        assert_eq!(parameters.get("x"), None);
    }
}
