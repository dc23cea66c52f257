//! `ResourceManager`: what administrators call by hand (resources spec 5.5), and the jobs that the
//! daemon runs as children.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::config::diagnostic::Severity;
use crate::config::haresources::{self, Group, FILE_NAME};
use crate::config::source::{read_file, ReadError};
use crate::config::value;
use crate::sys::print;
use crate::types::{ResourceSet, DONE_VARIABLE};

use super::by_hand;
use super::ip_run::{any_active_of_each, start_together, stop_together, Run, StartedAddress, StoppedAddress};
use super::mail_to;
use super::runner::{MemberState, Runner};
use super::script::{current_host, is_executable_file};
use super::script_log::ScriptLog;

mod service;

/// Pause before the set of a group that failed to start is given to the other node.
const STANDBY_DELAY: Duration = Duration::from_secs(30);
/// Groups that are worked on at a time with `parallel_groups on`.
const GROUPS_AT_ONCE: usize = 16;
/// Internal word of the process that waits for that.
const DELAYED_STANDBY: &str = "delayed-standby";
/// Internal word of the process that mails an alarm.
const ALARM_MAIL: &str = "alarm-mail";
/// The original's script for a takeover, as its log lines name it.
const MACH_DOWN: &str = "/usr/share/heartbeat/mach_down";
/// Exit code of `status` for what is not active.
const NOT_ACTIVE: u8 = 3;

/// The program. `words` are the arguments; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let log = ScriptLog::from_environment("ResourceManager", "default");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let manager = match words.first() {
        Some(&ALARM_MAIL) => return mail_to::alarm(&words[1..], &log),
        Some(&DELAYED_STANDBY) => return delayed_standby(words.get(1).copied().unwrap_or("")),
        _ => Manager::new(log, matches!(words.first(), Some(&("job" | "service")))),
    };
    match words.as_slice() {
        ["job", work, set, gone @ ..] if gone.len() <= 1 => match (Work::from_word(work), set.parse()) {
            (Some(work), Ok(set)) => manager.job(work, set, gone.first().copied()),
            _ => usage(called_as),
        },
        ["service", verb, key, index] => manager.service(verb, key, index),
        ["listkeys", node, ..] => {
            manager.print(|group| manager.node_matches(group, node).then(|| group.key().to_owned()))
        }
        ["allkeys", ..] => manager.print(|group| Some(group.key().to_owned())),
        ["ourkeys", ..] => manager.print(|group| manager.is_local(group).then(|| words_of(group))),
        ["otherkeys", ..] => manager.print(|group| (!manager.is_local(group)).then(|| words_of(group))),
        ["status", resource, ..] => {
            if manager.is_active(resource) {
                0
            } else {
                NOT_ACTIVE
            }
        }
        ["takegroup", key, ..] => manager.take_by_hand(key),
        ["givegroup", key, ..] => manager.give_by_hand(key),
        ["statgroup", key, ..] => manager.print_group_state(key),
        ["verifyallidle", ..] => manager.verify_all_idle(called_as),
        _ => usage(called_as),
    }
}

/// What a job does with each group of its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Acquire,
    Release,
    ReleaseActive,
    Announce,
}

impl Work {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "acquire" => Some(Self::Acquire),
            "release" => Some(Self::Release),
            "release-active" => Some(Self::ReleaseActive),
            "announce" => Some(Self::Announce),
            _ => None,
        }
    }
}

/// What a job did with one group.
#[derive(Debug, Clone, Copy, Default)]
struct GroupResult {
    start_failed: bool,
    stop_failed: bool,
}

/// What was done for a group of addresses together with others.
enum Begun<'a> {
    /// Nothing.
    Nothing,
    /// It was found inactive, and stays so.
    Idle,
    Started(Vec<StartedAddress<'a>>),
    Stopped(Vec<StoppedAddress<'a>>),
}

/// The groups of haresources and what runs them.
pub(super) struct Manager {
    runner: Runner,
    directory: PathBuf,
    host: String,
    groups: Result<Vec<Group>, ReadError>,
}

impl Manager {
    /// For a person or a script.
    pub(super) fn by_hand() -> Self {
        Self::new(ScriptLog::from_environment("ResourceManager", "default"), false)
    }

    /// The keys of a node's groups.
    pub(super) fn keys_of(&self, node: &str) -> Vec<String> {
        let of_node = self.groups().filter(|group| self.node_matches(group, node));
        of_node.map(|group| group.key().to_owned()).collect()
    }

    /// The resource is active here, by the original's status rule.
    pub(super) fn is_active(&self, word: &str) -> bool {
        self.runner.is_active(word)
    }

    fn new(log: ScriptLog, for_daemon: bool) -> Self {
        let ha_dir = std::env::var("HA_DIR").ok().filter(|path| !path.is_empty());
        let directory = PathBuf::from(ha_dir.unwrap_or("/etc/ha.d".to_owned()));
        let groups = read_file(&directory, FILE_NAME)
            .map(|source| {
                let report = haresources::read(&source);
                // A group that runs must be found whatever became of the rest of the file.
                for fault in report.diagnostics.iter().filter(|fault| fault.severity == Severity::Error) {
                    log.line(&format!("ERROR: {}", fault.one_line()));
                }
                report.resources.groups
            })
            .inspect_err(|error| {
                let file = directory.join(FILE_NAME);
                log.line(&format!("ERROR: Cannot read {}: {error}", file.display()));
            });
        Self { runner: Runner::from_environment(log, for_daemon), directory, host: current_host(), groups }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().flatten()
    }

    /// Processes every group of the set in file order and ends with the outcome line. Exit code 0
    /// when that line was printed. `gone` is a node that died or left: its groups are taken over, with
    /// the lines of the original's `mach_down` in the log; for a release, the node that asks for them.
    fn job(&self, work: Work, set: ResourceSet, gone: Option<&str>) -> u8 {
        if self.groups.is_err() {
            return 1;
        }
        let (mut start_failed, mut stop_failed) = (ResourceSet::NONE, ResourceSet::NONE);
        let groups: Vec<&Group> = self.groups().filter(|group| set.contains(self.set_of(group))).collect();
        let asked_for = gone.is_some() && work == Work::Release;
        if asked_for {
            let active = groups.iter().filter(|group| self.runner.is_active(group.key()));
            active.for_each(|group| self.local_giveip(group.key()));
        }
        for (group, result) in self.job_groups(work, &groups, gone.filter(|_| !asked_for)) {
            let group_set = self.set_of(group);
            if result.start_failed {
                start_failed = start_failed.union(group_set);
            }
            if result.stop_failed {
                stop_failed = stop_failed.union(group_set);
            }
        }
        if let Some(node) = gone.filter(|_| work != Work::Release) {
            let log = mach_down_log();
            if std::env::var("HA_NICEFAILBACK").is_ok_and(|value| value == "yes") {
                log.line(&format!("info: {MACH_DOWN}: nice_failback: foreign resources acquired"));
            }
            log.line(&format!("info: mach_down takeover complete for node {node}."));
        }
        u8::from(!progress(&format!("outcome start-failed={start_failed} stop-failed={stop_failed}")))
    }

    /// The administrator's script that runs before a group is given to the node that asked for it
    /// (resources spec 2.10). Whatever becomes of it, the group is given.
    fn local_giveip(&self, key: &str) {
        let script = self.directory.join("rc.d/local_giveip");
        if is_executable_file(&script) {
            if let Err(error) = self.runner.run_hook(&script, "ip-request", key) {
                self.runner.log().line(&format!("ERROR: Cannot run {}: {error}", script.display()));
            }
        }
    }

    /// Processes groups: those of built-in addresses alone first and at once, the others in file order or,
    /// with `parallel_groups on`, several at a time.
    fn job_groups<'g>(
        &self,
        work: Work,
        groups: &[&'g Group],
        gone: Option<&str>,
    ) -> Vec<(&'g Group, GroupResult)> {
        let (mut of_addresses, mut runs, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for group in groups {
            match self.runner.addresses_of(group) {
                Some(run) => {
                    of_addresses.push(*group);
                    runs.push(run);
                }
                None => others.push(*group),
            }
        }
        let mut results = self.job_addresses(work, of_addresses, runs, gone);
        let at_once = if is_parallel() { GROUPS_AT_ONCE } else { 1 };
        let next = Mutex::new(others.into_iter());
        let done = Mutex::new(Vec::new());
        let work_off = || {
            let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some(group) = take() {
                let result = self.job_group(work, group, Begun::Nothing, gone);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((group, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..at_once {
                // Without a thread the others do its share.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work_off);
            }
            work_off();
        });
        results.extend(done.into_inner().unwrap_or_else(PoisonError::into_inner));
        results
    }

    /// All at once in the kernel; then the lines of each.
    fn job_addresses<'g>(
        &self,
        work: Work,
        mut groups: Vec<&'g Group>,
        mut runs: Vec<Run>,
        gone: Option<&str>,
    ) -> Vec<(&'g Group, GroupResult)> {
        let mut results = Vec::with_capacity(groups.len());
        if work == Work::ReleaseActive {
            let mut active = any_active_of_each(&runs).into_iter();
            let mut remaining = Vec::new();
            for (group, run) in groups.drain(..).zip(runs.drain(..)) {
                if active.next() == Some(true) {
                    remaining.push((group, run));
                } else {
                    results.push((group, self.job_group(work, group, Begun::Idle, gone)));
                }
            }
            (groups, runs) = remaining.into_iter().unzip();
        }
        let begun: Vec<Begun<'_>> = match work {
            Work::Acquire => start_together(&runs).into_iter().map(Begun::Started).collect(),
            Work::Announce => runs.iter().map(|_| Begun::Nothing).collect(),
            Work::Release | Work::ReleaseActive => {
                stop_together(&runs).into_iter().map(Begun::Stopped).collect()
            }
        };
        for (group, begun) in groups.into_iter().zip(begun) {
            results.push((group, self.job_group(work, group, begun, gone)));
        }
        results
    }

    fn job_group(&self, work: Work, group: &Group, begun: Begun<'_>, gone: Option<&str>) -> GroupResult {
        if gone.is_some_and(|node| self.node_matches(group, node)) {
            mach_down_log().line(&format!("info: Taking over resource group {}", group.key()));
        }
        let name = escape(group.key());
        progress(&format!("group {name} begin"));
        let mut observer = |index: usize, word: &str, state: MemberState| {
            let state = match state {
                MemberState::Active => "active",
                MemberState::Inactive => "inactive",
                MemberState::Failed => "failed",
            };
            progress(&format!("resource {name} {index} {} {state}", escape(word)));
        };
        let mut result = GroupResult::default();
        match (work, begun) {
            (_, Begun::Idle) => (),
            (Work::Acquire, begun) => {
                group.resources.iter().for_each(|resource| by_hand::starts(&resource.word));
                let started = if let Begun::Started(started) = begun { started } else { Vec::new() };
                if let Err(failure) = self.runner.take_group(group, started, &mut observer) {
                    result = GroupResult { start_failed: true, stop_failed: failure.stop_failed };
                }
            }
            (Work::ReleaseActive, Begun::Nothing) if !self.runner.any_active(group) => (),
            (Work::Release | Work::ReleaseActive, begun) => {
                let stopped = if let Begun::Stopped(stopped) = begun { stopped } else { Vec::new() };
                result.stop_failed = self.runner.give_group(group, stopped, &mut observer).still_active;
            }
            (Work::Announce, _) => {
                for (index, resource) in group.resources.iter().enumerate() {
                    let word = resource.word.as_str();
                    if let Some(active) = self.runner.announce(word) {
                        let state = if active { MemberState::Active } else { MemberState::Inactive };
                        observer(index, word, state);
                    }
                }
            }
        }
        let end = match result {
            GroupResult { stop_failed: true, .. } => "stop-failed",
            GroupResult { start_failed: true, .. } => "start-failed",
            _ => "done",
        };
        progress(&format!("group {name} {end}"));
        result
    }

    fn set_of(&self, group: &Group) -> ResourceSet {
        if self.is_local(group) {
            ResourceSet::LOCAL
        } else {
            ResourceSet::FOREIGN
        }
    }

    fn is_local(&self, group: &Group) -> bool {
        group.node.as_str() == self.host
    }

    /// The node's name whatever its case, or `.*` for every node.
    fn node_matches(&self, group: &Group, node: &str) -> bool {
        node == ".*" || group.node.as_str().eq_ignore_ascii_case(node)
    }

    fn print(&self, line_of: impl Fn(&Group) -> Option<String>) -> u8 {
        for line in self.groups().filter_map(line_of) {
            print::line(&line);
        }
        u8::from(self.groups.is_err())
    }

    /// Starts the group of that key; the value is the exit code.
    pub(super) fn take_by_hand(&self, key: &str) -> u8 {
        if std::env::var(DONE_VARIABLE).is_ok_and(|value| value == "yes") {
            self.runner.log().line(&format!("info: the daemon itself takes over: {key} is left to it"));
            return 0;
        }
        let group = match self.find(key) {
            Ok(Some(group)) => group,
            Ok(None) => return 0,
            Err(code) => return code,
        };
        // Not watched before all of it runs.
        group.resources.iter().for_each(|resource| by_hand::is_at_work(&resource.word));
        let taken = self.runner.take_group(group, Vec::new(), &mut |_, _, _| ());
        group.resources.iter().for_each(|resource| by_hand::starts(&resource.word));
        match taken {
            Ok(()) => 0,
            Err(failure) => {
                self.request_standby(self.set_of(group));
                failure.code
            }
        }
    }

    fn give_by_hand(&self, key: &str) -> u8 {
        match self.find(key) {
            Ok(Some(group)) => {
                group.resources.iter().for_each(|resource| by_hand::stops(&resource.word));
                self.runner.give_group(group, Vec::new(), &mut |_, _, _| ()).code
            }
            Ok(None) => 0,
            Err(code) => code,
        }
    }

    /// `NONE`, `SOME` or `ALL` of the group are active: to the debug file, else to standard output.
    fn print_group_state(&self, key: &str) -> u8 {
        let group = match self.find(key) {
            Ok(Some(group)) => group,
            Ok(None) => return 0,
            Err(code) => return code,
        };
        let active = group.resources.iter().filter(|resource| self.runner.is_active(&resource.word)).count();
        let state = match active {
            0 => "NONE",
            all if all == group.resources.len() => "ALL",
            _ => "SOME",
        };
        let append = |file: &PathBuf| OpenOptions::new().append(true).create(true).open(file).ok();
        match self.runner.log().debug_file().and_then(append) {
            Some(mut file) => u8::from(writeln!(file, "{state}").is_err()),
            None => {
                print::line(state);
                0
            }
        }
    }

    /// Warns about each group whose first resource is active; the value is their number.
    fn verify_all_idle(&self, called_as: &str) -> u8 {
        let log = |text: &str| self.runner.log().line(text);
        let say = |text: &str| {
            log(text);
            print::error_line(text);
        };
        let mut active = 0_u8;
        for word in self.groups().map(Group::key) {
            if self.runner.is_active(word) {
                active = active.saturating_add(1);
                say(&format!("CRITICAL: Resource {word} is active, and should not be!"));
                say("CRITICAL: Non-idle resources can affect data integrity!");
                say("info: If you don't know what this means, then get help!");
                log(&format!("info: Read the docs and/or source to {called_as} for more details."));
                print::error_line(&format!(
                    "info: Read the docs and/or the source to {called_as} for more details."
                ));
            }
        }
        if active > 0 {
            log("CRITICAL: Non-idle resources will affect resource takeback!");
            log("CRITICAL: Non-idle resources may affect data integrity!");
        }
        active
    }

    /// The group of that key, else the one with that word in it. The error is an exit code.
    fn find(&self, wanted: &str) -> Result<Option<&Group>, u8> {
        if self.groups.is_err() {
            return Err(1);
        }
        let by_key: Vec<_> = self.groups().filter(|group| group.key() == wanted).collect();
        let found = match by_key.len() {
            0 => self
                .groups()
                .filter(|group| group.resources.iter().any(|resource| resource.word == wanted))
                .collect(),
            _ => by_key,
        };
        match found.as_slice() {
            [] => {
                self.runner.log().line(&format!("WARN: No resource group {wanted} in haresources"));
                Ok(None)
            }
            [group] => Ok(Some(group)),
            several => {
                let count = several.len();
                self.runner.log().line(&format!(
                    "ERROR: {count} resource groups in haresources match {wanted}; nothing was done"
                ));
                Err(1)
            }
        }
    }

    /// Leaves a process behind that gives the set away a little later, as the original does.
    fn request_standby(&self, set: ResourceSet) {
        let started = Command::new("/proc/self/exe")
            .arg0("ResourceManager")
            .args([DELAYED_STANDBY, set.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if let Err(error) = started {
            self.runner.log().line(&format!("ERROR: Cannot request standby of {set}: {error}"));
        }
    }
}

/// `parallel_groups on` in ha.cf, as the daemon tells its children.
fn is_parallel() -> bool {
    std::env::var("HA_parallel_groups").is_ok_and(|value| value::boolean(&value) == Some(true))
}

/// The takeover logs under the name of the script that does it in the original.
fn mach_down_log() -> ScriptLog {
    ScriptLog::from_environment("mach_down", "default")
}

fn delayed_standby(set: &str) -> u8 {
    let Ok(set) = set.parse::<ResourceSet>() else { return 1 };
    // A failure only means that it leads a session already.
    let _ = nix::unistd::setsid();
    std::thread::sleep(STANDBY_DELAY);
    let error = Command::new("/proc/self/exe").arg0("hb_standby").arg(set.as_str()).exec();
    ScriptLog::from_environment("ResourceManager", "default")
        .line(&format!("ERROR: Cannot request standby of {set}: {error}"));
    1
}

/// A blank behind each word, as the original prints them.
fn words_of(group: &Group) -> String {
    group.resources.iter().map(|resource| format!("{} ", resource.word)).collect()
}

/// One line to whoever reads the job; `false` when nobody does any more. The work goes on then.
fn progress(line: &str) -> bool {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).is_ok()
}

/// Blanks, control characters and the percent sign as `%XX`.
fn escape(word: &str) -> String {
    let mut text = String::new();
    for c in word.chars() {
        if c == '%' || c.is_whitespace() || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

fn usage(called_as: &str) -> u8 {
    print::error_line(&format!(
        "usage: {called_as} listkeys machine | takegroup key | givegroup key|status resource\n"
    ));
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_progress_lines_hold_no_blank() {
        assert_eq!(escape("IPaddr::10.0.0.1/24"), "IPaddr::10.0.0.1/24");
        assert_eq!(escape("a b%\n\u{85}"), "a%20b%25%0A%C2%85");
    }

    #[test]
    fn job_words() {
        assert_eq!(Work::from_word("release-active"), Some(Work::ReleaseActive));
        assert_eq!(Work::from_word("x"), None);
    }
}
