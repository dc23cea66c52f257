//! What a built-in agent is, and what it works with.

use std::collections::BTreeMap;

use crate::sys::print;

use super::heartbeat_class;
use super::ip_addr::IpAddr;
use super::script_log::ScriptLog;

/// A built-in resource agent. One constant of this type and one line in [`AGENTS`](super::AGENTS) are all that a new
/// agent needs: it is then an applet of its name, an OCF agent with its meta-data, and what haresources
/// finds by that name.
///
/// ```text
/// pub const EXAMPLE: Agent = Agent {
///     name: "Example",
///     summary: "One line",
///     description: "Some sentences.",
///     usage: "usage: $0 <thing> $ACTIONS",
///     parameters: &[Parameter::string("thing", "Thing", "Which thing.").required()],
///     from_arguments: |arguments| match arguments {
///         [thing] => Ok(Call::new("Example_THING").with("thing", thing)),
///         _ => Err(WrongArguments::silent()),
///     },
///     run: |context, action| match action { .. },
///     ..Agent::BASE
/// };
/// ```
///
/// `run` gets start, stop, status, monitor, validate-all and the agent's own actions; restart (stop,
/// then start), meta-data and usage are done for it. It may be killed at any moment: start and stop
/// begin by looking at what is there. It reads [`Context::value`], tells through [`Context::say`] and
/// [`Context::log`], runs programs through [`command`](super::command), and notes what only a file can tell in
/// [`pseudo`](super::pseudo). It comes with a page man/NAME.7 and a comparison with Debian's in tests/agents.
#[derive(Debug, Clone, Copy)]
pub struct Agent {
    /// Name of the script, of the OCF agent and of the applet.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Some sentences for the meta-data.
    pub description: &'static str,
    /// The usage text of the heartbeat class, in the original's words. `$0` stands for the name it was
    /// called by, `$ACTIONS` for [`heartbeat_class::OPERATIONS`].
    pub usage: &'static str,
    /// It goes to standard error.
    pub usage_to_stderr: bool,
    /// The exit code of the operation `usage` there; with 0 the line `INFO:  Success` follows, an
    /// accident of some wrappers that scripts may know (agents spec 2.1).
    pub usage_code: u8,
    /// The usage text of the OCF form, with `$0`.
    pub ocf_usage: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    /// Actions that only this agent has; `run` gets them as [`Action::Own`].
    pub own_actions: &'static [&'static str],
    /// Levels of `monitor` in the meta-data, as asked for by `OCF_CHECK_LEVEL`.
    pub check_levels: &'static [u8],
    /// Seconds for start, stop and monitor in the meta-data: advice to cluster managers of the OCF
    /// kind, nothing here is ended by them.
    pub timeouts_s: Timeouts,
    /// Turns positional arguments (without the operation) into an instance name and parameters.
    pub from_arguments: fn(&[&str]) -> Result<Call, WrongArguments>,
    /// Does the work of one action: start, stop, status, monitor, validate-all or an own one.
    pub run: fn(&Context, Action) -> ExitCode,
    /// Tells the network where the resource is, if it is active here; the value says whether it
    /// is. `None` for agents without an address.
    pub announce: Option<fn(&Context) -> bool>,
    /// Checks the parameters of an address, which may then be started and stopped together with others.
    /// The error is what the action exits with; it is logged. `None` for what is no address.
    pub(crate) address: Option<AddressOf>,
    /// `monitor` of the heartbeat class, where it is not simply the agent's.
    pub class_monitor: Option<fn(&Context) -> u8>,
    /// For a script whose lines and exit codes are its own instead of the common wrapper's
    /// (drbddisk, OCF): every operation but meta-data, unknown ones too. It logs what the script logs.
    pub class_operate: Option<fn(&Context, &str) -> heartbeat_class::Report>,
}

impl Agent {
    /// What is the same for most: `..Agent::BASE` ends the constant of an agent. Without a
    /// `from_arguments` of its own an agent takes none, and its instance is `default`.
    pub const BASE: Self = Self {
        name: "",
        summary: "",
        description: "",
        usage: "usage: $0 $ACTIONS",
        usage_to_stderr: false,
        usage_code: 1,
        ocf_usage: "usage: $0 {start|stop|restart|status|monitor|validate-all|meta-data|usage}",
        parameters: &[],
        own_actions: &[],
        check_levels: &[0],
        timeouts_s: Timeouts { start: 20, stop: 20, monitor: 20 },
        from_arguments: |arguments| match arguments {
            [] => Ok(Call::new("default")),
            _ => Err(WrongArguments::silent()),
        },
        run: |_, _| ExitCode::Unimplemented,
        announce: None,
        address: None,
        class_monitor: None,
        class_operate: None,
    };

    /// The action of that name, the agent's own among them.
    pub fn action(&self, word: &str) -> Option<Action> {
        let own = || self.own_actions.iter().find(|name| **name == word).map(|name| Action::Own(name));
        Action::from_word(word).or_else(own)
    }

    /// The usage text of the heartbeat class.
    pub fn usage_text(&self, called_as: &str) -> String {
        self.usage.replace("$ACTIONS", heartbeat_class::OPERATIONS).replace("$0", called_as)
    }
}

/// See [`Agent::address`].
pub(crate) type AddressOf = for<'a> fn(&'a Context, Action) -> Result<IpAddr<'a>, ExitCode>;

/// Seconds that a cluster manager of the OCF kind should give the actions.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For start.
    pub start: u32,
    /// For stop.
    pub stop: u32,
    /// For monitor and status.
    pub monitor: u32,
}

/// What positional arguments mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The instance: what `OCF_RESOURCE_INSTANCE` is in the original's wrapper.
    pub instance: String,
    /// Values by parameter name.
    pub parameters: Parameters,
}

impl Call {
    /// A call of that instance without parameters.
    pub fn new(instance: impl Into<String>) -> Self {
        Self { instance: instance.into(), parameters: Parameters::default() }
    }

    /// With one more parameter; an empty value counts as absent.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.parameters.set(name, value);
        self
    }
}

/// Positional arguments that a script does not take: the usage text follows, and exit code 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrongArguments {
    /// Said before the usage text; nothing when empty.
    pub said: String,
}

impl WrongArguments {
    /// Nothing but the usage text.
    pub fn silent() -> Self {
        Self::default()
    }

    /// With a line before it.
    pub fn saying(text: impl Into<String>) -> Self {
        Self { said: text.into() }
    }
}

/// One parameter, as the meta-data show it.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Name, `OCF_RESKEY_` in front in the environment.
    pub name: &'static str,
    /// Must be given.
    pub required: bool,
    /// No two resources may have the same value.
    pub unique: bool,
    /// string, integer or boolean.
    pub kind: &'static str,
    /// Default value.
    pub default: Option<&'static str>,
    /// A few words.
    pub summary: &'static str,
    /// One or more sentences.
    pub description: &'static str,
}

impl Parameter {
    /// A text that may be absent and has no default.
    pub const fn string(name: &'static str, summary: &'static str, description: &'static str) -> Self {
        Self { name, required: false, unique: false, kind: "string", default: None, summary, description }
    }

    /// A whole number.
    pub const fn integer(name: &'static str, summary: &'static str, description: &'static str) -> Self {
        Self { kind: "integer", ..Self::string(name, summary, description) }
    }

    /// Yes or no.
    pub const fn boolean(name: &'static str, summary: &'static str, description: &'static str) -> Self {
        Self { kind: "boolean", ..Self::string(name, summary, description) }
    }

    /// The same, which must be given.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, different for each resource.
    #[must_use]
    pub const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    /// The same with a default.
    #[must_use]
    pub const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }
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
    /// Stop, then start.
    Restart,
    /// Check the parameters.
    ValidateAll,
    /// Print the description in XML.
    MetaData,
    /// Print the usage.
    Usage,
    /// One of [`Agent::own_actions`].
    Own(&'static str),
}

impl Action {
    /// Those that every agent has, with their words.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("start", Self::Start),
        ("stop", Self::Stop),
        ("status", Self::Status),
        ("monitor", Self::Monitor),
        ("restart", Self::Restart),
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
        match self {
            Self::Own(name) => name,
            _ => Self::ALL.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name),
        }
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

    /// The code of that number, if it is one of the interface.
    pub fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Success,
            Self::GenericError,
            Self::WrongArguments,
            Self::Unimplemented,
            Self::NoPermission,
            Self::NotInstalled,
            Self::NotConfigured,
            Self::NotRunning,
        ];
        all.get(usize::from(number)).copied()
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

    /// Takes over the values that are absent here.
    pub fn complete(&mut self, others: Self) {
        for (name, value) in others.0 {
            self.0.entry(name).or_insert(value);
        }
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A boolean by the original's rule (agents spec 2.2): everything but its words for true is
    /// false.
    pub fn boolean(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, is_true)
    }
}

/// What an agent works with.
#[derive(Debug)]
pub struct Context {
    /// The agent.
    pub agent: &'static Agent,
    /// Its instance, `OCF_RESOURCE_INSTANCE` in the original's scripts.
    pub instance: String,
    /// What the original's script has as its own name, `$0`.
    pub called_as: String,
    /// Values of its parameters.
    pub parameters: Parameters,
    /// Its log, tagged with name and instance.
    pub log: ScriptLog,
    /// Somebody reads standard output: see [`Self::say`]. The runner looks at the exit code alone.
    pub print: bool,
}

impl Context {
    /// For a person or a program that reads standard output.
    pub fn new(agent: &'static Agent, call: Call) -> Self {
        let log = ScriptLog::from_environment(agent.name, &call.instance);
        Self { print: true, ..Self::silent(agent, call, &log) }
    }

    /// For the runner, which has a log and looks at exit codes.
    pub fn silent(agent: &'static Agent, call: Call, log: &ScriptLog) -> Self {
        let log = log.tagged(agent.name, &call.instance);
        let called_as = format!("{}{}", heartbeat_class::AGENT_DIRECTORY, agent.name);
        Self { agent, instance: call.instance, called_as, parameters: call.parameters, log, print: false }
    }

    /// The value of a parameter, else its default, else the empty text.
    pub fn value(&self, name: &str) -> &str {
        let default = || self.agent.parameters.iter().find(|parameter| parameter.name == name)?.default;
        self.parameters.get(name).or_else(default).unwrap_or("")
    }

    /// The boolean of that name, by the original's rule; its default when absent.
    pub fn boolean(&self, name: &str) -> bool {
        is_true(self.value(name))
    }

    /// Prints a line where somebody reads it.
    pub fn say(&self, text: &str) {
        if self.print {
            print::line(text);
        }
    }

    /// What the original's `ocf_exit_reason` does: an error for the log, and for whoever reads standard
    /// error.
    pub fn exit_reason(&self, text: &str) {
        let prefix = std::env::var("OCF_EXIT_REASON_PREFIX").unwrap_or("ocf-exit-reason:".to_owned());
        if self.print {
            print::error_line(&format!("{prefix}{text}"));
        }
        self.log.error(text);
    }

    /// How deep `monitor` shall look: `OCF_CHECK_LEVEL`, else 0.
    pub fn check_level(&self) -> u32 {
        let variable = |name: &str| std::env::var(name).ok()?.trim().parse().ok();
        variable("OCF_CHECK_LEVEL").or_else(|| variable("OCF_RESKEY_OCF_CHECK_LEVEL")).unwrap_or(0)
    }

    /// This is a look whether something runs that nobody has started here yet, as every status of
    /// the heartbeat class is: `OCF_RESKEY_CRM_meta_interval` is absent or 0.
    pub fn is_probe(&self) -> bool {
        let interval = std::env::var("OCF_RESKEY_CRM_meta_interval").unwrap_or_default();
        interval.is_empty() || interval == "0"
    }
}

/// The original's words for true (agents spec 2.2); everything else is false.
pub fn is_true(value: &str) -> bool {
    matches!(value, "yes" | "true" | "1" | "YES" | "TRUE" | "True" | "ja" | "on" | "ON")
}

#[cfg(test)]
mod tests {
    use super::*;

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
