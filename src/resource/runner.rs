//! Starts and stops groups: the members left to right, or right to left, one after the other, with
//! the original's lines in its order (resources spec 1.7, 1.8).

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::haresources::{Group, Resource};

use super::heartbeat_class::{self, Report};
use super::ip_batch::{Started, Stopped};
use super::ip_run::{Address, Run, StartedAddress, StoppedAddress};
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

    /// Runs an administrator's script for the group of that key and waits for it; its only argument is
    /// the type of the message that it is for. The value is its exit code.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run_hook(&self, script: &Path, kind: &str, key: &str) -> io::Result<u8> {
        let environment = self.environment.with([("HA_ipaddr".to_owned(), key.to_owned())]);
        environment.run(script, &[], kind, self.log.debug_file())
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
        let mut rest = group.resources.as_slice();
        while let Some(first) = rest.first() {
            let run = self.addresses_from(rest.iter());
            let active = if run.len() > 1 { run.any_active() } else { self.is_active(&first.word) };
            if active {
                return true;
            }
            rest = &rest[run.len().max(1)..];
        }
        false
    }

    /// The members of a group of built-in addresses alone; `None` for other groups.
    pub fn addresses_of(&self, group: &Group) -> Option<Run> {
        let run = self.addresses_from(group.resources.iter());
        (run.len() > 0 && run.len() == group.resources.len()).then_some(run)
    }

    /// Starts what is not active yet, left to right; addresses behind each other all at once. When a
    /// member fails, the whole group is stopped and the failure reported. `begun` are the first members,
    /// where they were started together with those of other groups.
    pub fn take_group(
        &self,
        group: &Group,
        begun: Vec<StartedAddress<'_>>,
        observer: Observer<'_>,
    ) -> Result<(), StartFailure> {
        self.log.line(&format!("info: Acquiring resource group: {}", group.text()));
        let mut at = self.report_started(group, 0, begun, observer);
        while let Some(resource) = group.resources.get(at) {
            let run = self.addresses_from(group.resources[at..].iter());
            let before = at;
            if run.len() > 1 {
                at = self.report_started(group, at, run.start(), observer);
            }
            if at > before {
                continue;
            }
            let word = resource.word.as_str();
            if !self.is_active(word) {
                let code = self.operate(word, "start");
                if code != 0 {
                    observer(at, word, MemberState::Failed);
                    self.log.line(&format!("CRIT: Giving up resources due to failure of {word}"));
                    let stopped = self.give_group(group, Vec::new(), observer);
                    return Err(StartFailure { code, stop_failed: stopped.still_active });
                }
            }
            observer(at, word, MemberState::Active);
            at += 1;
        }
        Ok(())
    }

    /// Logs and reports members that began at `from`; the index behind the last that is active.
    fn report_started(
        &self,
        group: &Group,
        from: usize,
        started: Vec<StartedAddress<'_>>,
        observer: Observer<'_>,
    ) -> usize {
        let mut at = from;
        for StartedAddress { address, started } in started {
            match started {
                Started::Alone => break,
                Started::Active => address.log_result(0, true),
                Started::Now(new) => {
                    address.log_result(7, true);
                    self.log_running(address, "start");
                    new.log();
                    address.log_result(0, false);
                }
            }
            observer(at, &group.resources[at].word, MemberState::Active);
            at += 1;
        }
        at
    }

    /// Stops every member, active or not, right to left; addresses behind each other all at once. Goes
    /// on after a failure. `begun` are the last members, where they were stopped together with those of
    /// other groups.
    pub fn give_group(
        &self,
        group: &Group,
        begun: Vec<StoppedAddress<'_>>,
        observer: Observer<'_>,
    ) -> StopResult {
        self.log.line(&format!("info: Releasing resource group: {}", group.text()));
        let mut result = StopResult::default();
        let mut left = group.resources.len();
        self.report_stopped(group, &mut left, begun, &mut result, observer);
        while left > 0 {
            let run = self.addresses_from(group.resources[..left].iter().rev());
            let stopped = if run.len() > 1 { run.stop() } else { Vec::new() };
            if stopped.is_empty() {
                left -= 1;
                self.give_member(group, left, &mut result, observer);
            }
            self.report_stopped(group, &mut left, stopped, &mut result, observer);
        }
        result
    }

    /// Logs and reports members that were stopped, from the one before `left` on; stops those by
    /// themselves that must be.
    fn report_stopped(
        &self,
        group: &Group,
        left: &mut usize,
        stopped: Vec<StoppedAddress<'_>>,
        result: &mut StopResult,
        observer: Observer<'_>,
    ) {
        for StoppedAddress { address, stopped } in stopped {
            *left -= 1;
            match stopped {
                Stopped::Alone => self.give_member(group, *left, result, observer),
                Stopped::Done(old) => {
                    self.log_running(address, "stop");
                    old.log();
                    address.log_result(0, false);
                    observer(*left, &group.resources[*left].word, MemberState::Inactive);
                }
            }
        }
    }

    fn give_member(&self, group: &Group, index: usize, result: &mut StopResult, observer: Observer<'_>) {
        let word = group.resources[index].word.as_str();
        let code = self.stop_with_retries(word);
        if code == 0 {
            return observer(index, word, MemberState::Inactive);
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

    /// The built-in addresses with which these resources begin.
    fn addresses_from<'g>(&self, resources: impl Iterator<Item = &'g Resource>) -> Run {
        // Most have the same script: it is looked for once.
        let mut scripts: HashMap<String, Option<Script>> = HashMap::new();
        let mut run = Run::default();
        for resource in resources {
            if super::agent(&resource.script).is_none_or(|agent| agent.address.is_none()) {
                break;
            }
            let resolve = || self.environment.resolve(&resource.script, &arguments_of(resource));
            let script = scripts.entry(resource.script.clone()).or_insert_with(resolve);
            let Some(Script { program: Program::BuiltIn(agent), path }) = script else { break };
            let Ok(call) = (agent.from_arguments)(&arguments_of(resource)) else {
                break;
            };
            run.push(Address {
                path: path.clone(),
                words: resource.arguments.join(" "),
                context: Context::silent(agent, call, &self.log),
            });
        }
        run
    }

    fn log_running(&self, address: &Address, operation: &str) {
        self.log.line(&format!("info: Running {} {} {operation}", address.path.display(), address.words));
    }

    /// Starts one resource; `false` when that failed.
    pub(super) fn start_alone(&self, word: &str) -> bool {
        self.operate(word, "start") == 0
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
            Ok(call) => Some(Context::silent(agent, call, &self.log)),
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
