//! Starts and stops groups: the members left to right, or right to left, one after the other, with
//! the original's lines in its order (resources spec 1.7, 1.8).

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::haresources::{Group, Resource};

use super::heartbeat_class::{self, Report};
use super::script::{says_running, Environment, Program, Script};
use super::script_log::ScriptLog;
use super::{systemd, Agent, Context, ExitCode, WrongArguments};

/// Times a failing stop is tried again, unless HA_STOPRETRYMAX says otherwise.
const STOP_RETRIES: i64 = 10;
/// Pause before each.
const STOP_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What became of one member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It is active here.
    Active,
    /// It is not.
    Inactive,
    /// It could not be started, or could not be stopped and may be active.
    Failed,
}

/// Takes each step as it is done: index in the group from 0, the word, the state.
pub type Observer<'a> = &'a mut dyn FnMut(usize, &str, MemberState);

/// How the start of a group went wrong. The whole group was stopped again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFailure {
    /// Exit code of the member that failed.
    pub code: u8,
    /// Some member could not be stopped either: the group may still be active in part.
    pub stop_failed: bool,
}

/// How stopping a group went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopResult {
    /// Exit code of the last failed stop, 0 when none failed.
    pub code: u8,
    /// Some member says that it is still active.
    pub still_active: bool,
}

/// Runs the resources of one host.
#[derive(Debug)]
pub struct Runner {
    log: ScriptLog,
    environment: Environment,
    stop_retries: i64,
    stop_retry_pause: Duration,
    for_daemon: bool,
}

impl Runner {
    /// Settings come from the environment. `for_daemon`: the caller acts on a stop that failed
    /// (by going down); the runner itself never resets the machine.
    pub fn from_environment(log: ScriptLog, for_daemon: bool) -> Self {
        let retries = std::env::var("HA_STOPRETRYMAX").ok().and_then(|text| text.trim().parse().ok());
        Self {
            log,
            environment: Environment::from_process(),
            stop_retries: retries.unwrap_or(STOP_RETRIES),
            stop_retry_pause: STOP_RETRY_PAUSE,
            for_daemon,
        }
    }

    /// The log of the runner's own lines.
    pub fn log(&self) -> &ScriptLog {
        &self.log
    }

    /// The resource is active here, by the original's status rule.
    pub fn is_active(&self, word: &str) -> bool {
        let resource = Resource::new(word);
        let Some(script) = self.locate(&resource) else { return false };
        let arguments = arguments_of(&resource);
        match script.program {
            Program::BuiltIn(agent) => self
                .run_built_in(agent, &arguments, "status")
                .is_some_and(|report| says_running(report.line.as_bytes())),
            Program::File => self.asked(&script.path, self.environment.is_active(&script.path, &arguments)),
            Program::Lsb => self.asked(
                &script.path,
                self.environment.is_active_by_code(&script.path, &arguments, self.log.debug_file()),
            ),
            Program::Ocf(ocf) => {
                let code = ocf.run(&self.environment, "monitor", self.log.debug_file());
                self.asked(&script.path, code.map(|code| code == ExitCode::Success.number()))
            }
            Program::Unit(unit) => self.asked(&script.path, systemd::is_active(&unit)),
        }
    }

    /// What cannot be asked is not active, and said to be so.
    fn asked(&self, path: &Path, answer: io::Result<bool>) -> bool {
        answer.unwrap_or_else(|error| {
            self.report_unrunnable(path, &error);
            false
        })
    }

    /// Some member of the group is active here.
    pub fn any_active(&self, group: &Group) -> bool {
        group.resources.iter().any(|resource| self.is_active(&resource.word))
    }

    /// Starts what is not active yet, left to right. When a member fails, the whole group is
    /// stopped and the failure reported.
    pub fn take_group(&self, group: &Group, observer: Observer<'_>) -> Result<(), StartFailure> {
        self.log.line(&format!("info: Acquiring resource group: {}", group.text()));
        for (index, resource) in group.resources.iter().enumerate() {
            let word = resource.word.as_str();
            if self.is_active(word) {
                observer(index, word, MemberState::Active);
                continue;
            }
            let code = self.operate(word, "start");
            if code == 0 {
                observer(index, word, MemberState::Active);
                continue;
            }
            observer(index, word, MemberState::Failed);
            self.log.line(&format!("CRIT: Giving up resources due to failure of {word}"));
            let stopped = self.give_group(group, observer);
            return Err(StartFailure { code, stop_failed: stopped.still_active });
        }
        Ok(())
    }

    /// Stops every member, active or not, right to left; goes on after a failure.
    pub fn give_group(&self, group: &Group, observer: Observer<'_>) -> StopResult {
        self.log.line(&format!("info: Releasing resource group: {}", group.text()));
        let mut result = StopResult::default();
        for (index, resource) in group.resources.iter().enumerate().rev() {
            let word = resource.word.as_str();
            let code = self.stop_with_retries(word);
            if code == 0 {
                observer(index, word, MemberState::Inactive);
                continue;
            }
            result.code = code;
            let resource = Resource::new(word);
            let missing = self.environment.resolve(&resource.script, &arguments_of(&resource)).is_none();
            let active = !missing && self.is_active(word);
            if active {
                result.still_active = true;
                self.log.line("CRIT: Resource STOP failure. Reboot required!");
                if self.for_daemon {
                    self.log.line("CRIT: Killing heartbeat ungracefully!");
                }
            } else {
                self.log.line(&format!("ERROR: Resource script for {word} probably not LSB-compliant."));
                self.log.line(&format!("WARN: it ({word}) MUST succeed on a stop when already stopped"));
                self.log.line("WARN: Machine reboot narrowly avoided!");
            }
            observer(index, word, if active { MemberState::Failed } else { MemberState::Inactive });
        }
        result
    }

    /// Tells the network again where an address is. `None` for what is no built-in address, else
    /// whether it is active here.
    pub fn announce(&self, word: &str) -> Option<bool> {
        let resource = Resource::new(word);
        let Some(Script { program: Program::BuiltIn(agent), .. }) = self.locate(&resource) else {
            return None;
        };
        let announce = agent.announce?;
        let context = self.context(agent, &arguments_of(&resource))?;
        Some(announce(&context))
    }

    /// A script that is not there is not waited for: it cannot succeed a second later.
    fn stop_with_retries(&self, word: &str) -> u8 {
        if self.locate(&Resource::new(word)).is_none() {
            return 1;
        }
        let mut left = self.stop_retries;
        loop {
            let code = self.operate(word, "stop");
            // Zero or less from the start on means: for ever.
            if code == 0 || (self.stop_retries > 0 && left == 0) {
                return code;
            }
            left -= i64::from(self.stop_retries > 0);
            std::thread::sleep(self.stop_retry_pause);
            self.log.line(&format!("info: Retrying failed stop operation [{word}]"));
        }
    }

    /// Runs start or stop with the lines around it; the value is the exit code.
    fn operate(&self, word: &str, operation: &str) -> u8 {
        let resource = Resource::new(word);
        let Some(script) = self.locate(&resource) else { return 1 };
        let path = script.path.display();
        let words = resource.arguments.join(" ");
        self.log.line(&format!("info: Running {path} {words} {operation}"));
        let (arguments, output) = (arguments_of(&resource), self.log.debug_file());
        let code = match script.program {
            Program::BuiltIn(agent) => {
                self.run_built_in(agent, &arguments, operation).map_or(1, |report| report.code)
            }
            Program::Unit(unit) => systemd::operate(&unit, operation, &self.log),
            Program::Ocf(ocf) => self.ran(&script.path, ocf.run(&self.environment, operation, output)),
            Program::File | Program::Lsb => {
                let code = self.environment.run(&script.path, &arguments, operation, output);
                self.ran(&script.path, code)
            }
        };
        if code != 0 {
            self.log.line(&format!("ERROR: Return code {code} from {path}"));
        }
        code
    }

    /// What cannot be run has failed, with the shell's exit code for that.
    fn ran(&self, path: &Path, code: io::Result<u8>) -> u8 {
        code.unwrap_or_else(|error| {
            self.report_unrunnable(path, &error);
            126
        })
    }

    fn locate(&self, resource: &Resource) -> Option<Script> {
        let script = self.environment.resolve(&resource.script, &arguments_of(resource));
        if script.is_none() {
            self.log.line(&format!("ERROR: Cannot locate resource script {}", resource.script));
        }
        script
    }

    /// In this process; `None` when the arguments are wrong.
    fn run_built_in(&self, agent: &'static Agent, arguments: &[&str], operation: &str) -> Option<Report> {
        Some(heartbeat_class::operate(&self.context(agent, arguments)?, operation))
    }

    fn context(&self, agent: &'static Agent, arguments: &[&str]) -> Option<Context> {
        match (agent.from_arguments)(arguments) {
            Ok(call) => {
                let log = self.log.tagged(agent.name, &call.instance);
                Some(Context { log, print: false, ..Context::new(agent, call) })
            }
            Err(WrongArguments { said }) => {
                let (name, usage) = (agent.name, agent.usage_text(agent.name));
                let text = format!("ERROR: {name} takes other arguments than {arguments:?}: {said} {usage}");
                self.log.line(&text.split_whitespace().collect::<Vec<_>>().join(" "));
                None
            }
        }
    }

    fn report_unrunnable(&self, path: &Path, error: &io::Error) {
        self.log.line(&format!("ERROR: Cannot run {}: {error}", path.display()));
    }
}

fn arguments_of(resource: &Resource) -> Vec<&str> {
    resource.arguments.iter().map(String::as_str).collect()
}
