//! Children of the daemon: jobs on resource groups, and the administrator's `rc.d` scripts.
//!
//! A child is this program under an applet's name, in a process group of its own, with ordinary
//! scheduling and no locked memory. It reports progress in lines on its standard output; the
//! last, `outcome`, ends the job. A child that ends without one is judged by [`without_outcome`].

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::cluster::event::{Job, JobId, JobOutcome};
use crate::resource::by_hand::BY_DAEMON;
use crate::sys::time::{monotonic_ms, unix_time_s};
use crate::types::{NodeName, ResourceSet, DONE_VARIABLE};
use crate::wire::message::{Field, Message, Value};

use super::hooks::{self, Hook, Hooks, Queued};
use super::services::Watched;

/// Longest report line read; the rest of a longer one is dropped with it.
const LINE_MAX_BYTES: u64 = 16 * 1024;
/// Most message fields that become variables of a script (resources spec 9).
const HOOK_FIELDS_MAX: usize = 30;
/// How often a release is tried again when its child died without a word.
const RELEASE_TRIES: u32 = 3;

/// News of a child.
#[derive(Debug)]
pub enum ChildEvent {
    /// A progress line.
    Report {
        /// The line, without its end.
        line: String,
    },
    /// The job ended.
    Done {
        /// Which.
        job: JobId,
        /// How.
        outcome: JobOutcome,
    },
    /// A script of `rc.d` ended.
    HookDone,
    /// These scripts are in `rc.d`.
    HooksListed(BTreeSet<String>),
}

/// Starts children and hears from them.
pub struct Children {
    /// Variables every child gets; nothing else is passed on.
    environment: Vec<(String, String)>,
    sender: mpsc::UnboundedSender<ChildEvent>,
    receiver: mpsc::UnboundedReceiver<ChildEvent>,
    hooks: Hooks,
    /// How the folder of settings is shown to scripts.
    shown_etc_dir: String,
    hook_runs: bool,
    jobs: usize,
    /// In the order of `ClusterSettings::services`.
    services: Vec<Watched>,
}

impl Children {
    /// With the environment of all children.
    pub fn new(environment: Vec<(String, String)>, services: Vec<Watched>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let etc_dir = environment.iter().rev().find(|(name, _)| name == "HA_DIR");
        let shown_etc_dir = etc_dir.map(|(_, path)| path.clone()).unwrap_or_default();
        let hooks = Hooks::new(Path::new(&shown_etc_dir).join("rc.d"));
        Self { environment, sender, receiver, hooks, shown_etc_dir, hook_runs: false, jobs: 0, services }
    }

    /// No job and no script runs or waits.
    pub fn is_idle(&self) -> bool {
        self.jobs == 0 && !self.hook_runs && self.hooks.is_empty()
    }

    /// Starts a job at once; `cause` is the node whose end is the reason for it.
    pub fn run(&mut self, job: JobId, work: Job, cause: Option<NodeName>) {
        self.jobs += 1;
        let environment = self.environment.clone();
        let sender = self.sender.clone();
        let service = match work {
            Job::Restart(_, resource) | Job::Restore(_, resource) => {
                self.services.get(usize::from(resource)).cloned()
            }
            _ => None,
        };
        tokio::spawn(async move {
            let outcome = run_job(work, service, cause.as_ref(), &environment, &sender).await;
            let _ = sender.send(ChildEvent::Done { job, outcome });
        });
    }

    /// Queues a script for a message, where there is one: one at a time, and none while a job runs (resources spec
    /// 2.9). `signature` is the text of the message's `auth`. The text, if any, is for the log: too many
    /// are waiting, this one was dropped.
    pub fn hook(&mut self, kind: &str, message: &Message, signature: Option<String>) -> Option<String> {
        let mut variables = hook_variables(message);
        variables.extend(signature.map(|text| ("HA_auth".to_owned(), text)));
        variables.extend(done_already(kind, message));
        match self.hooks.push(Hook { kind: kind.to_owned(), variables }, monotonic_ms()) {
            Queued::Done => None,
            Queued::Dropped(text) => text,
            Queued::Look(folder) => {
                self.look_for_hooks(folder);
                None
            }
        }
    }

    /// In a thread of its own: the disk may hang.
    fn look_for_hooks(&mut self, folder: PathBuf) {
        let sender = self.sender.clone();
        let work = move || {
            crate::sys::sched::drop_realtime();
            let _ = sender.send(ChildEvent::HooksListed(hooks::list(&folder)));
        };
        let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(128 * 1024);
        if thread.spawn(work).is_err() {
            let names = self.hooks.names().clone();
            self.hooks.listed(names, monotonic_ms());
        }
    }

    /// A script waits and nothing else runs: [`Children::start_hook`] is due.
    pub fn is_hook_due(&self) -> bool {
        !self.hook_runs && self.jobs == 0 && !self.hooks.is_empty()
    }

    /// Starts the next waiting script, if any. `local_status` is this node's, now.
    pub fn start_hook(&mut self, local_status: &str) {
        let Some(Hook { kind, variables }) = self.hooks.pop() else {
            return;
        };
        self.hook_runs = true;
        let mut command = applet("harc", &[&kind], &self.environment);
        let etc_dir = &self.shown_etc_dir;
        // The original's folder ends in a slash, and so do the paths that scripts and log show.
        command.env("HA_DIR", format!("{etc_dir}/")).env("HA_RESOURCEDIR", format!("{etc_dir}//resource.d"));
        let functions = self.environment.iter().rev().find(|(name, _)| name == "HA_FUNCS");
        if functions.is_some_and(|(_, path)| *path == format!("{etc_dir}/shellfuncs")) {
            command.env("HA_FUNCS", format!("{etc_dir}//shellfuncs"));
        }
        command.env("HA_OSTATUS", local_status).envs(variables).stdout(Stdio::null());
        let sender = self.sender.clone();
        tokio::spawn(async move {
            if let Ok(mut child) = command.spawn() {
                let _ = child.wait().await;
            }
            let _ = sender.send(ChildEvent::HookDone);
        });
    }

    /// The next news. Cancel-safe.
    pub async fn next(&mut self) -> ChildEvent {
        let event = self.receiver.recv().await.unwrap_or(ChildEvent::HookDone);
        match &event {
            ChildEvent::Done { .. } => self.jobs = self.jobs.saturating_sub(1),
            ChildEvent::HookDone => self.hook_runs = false,
            ChildEvent::HooksListed(names) => self.hooks.listed(names.clone(), monotonic_ms()),
            ChildEvent::Report { .. } => {}
        }
        event
    }
}

/// `HA_<field>` for every text field (resources spec 5.2). Names and values come from the
/// network: only plain names are taken, and no line breaks.
fn hook_variables(message: &Message) -> Vec<(String, String)> {
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    message
        .fields()
        .iter()
        .filter(|Field { name, .. }| !name.is_empty() && plain(name))
        // What nodes of ours tell each other in a status is no part of the scripts' interface.
        .filter(|Field { name, .. }| message.kind() != "status" || !name.starts_with("ha"))
        .filter_map(|Field { name, value }| match value {
            Value::Text(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let clean: String = text.chars().filter(|c| !c.is_control()).collect();
                Some((format!("HA_{name}"), clean))
            }
            _ => None,
        })
        .take(HOOK_FIELDS_MAX)
        .collect()
}

/// What the daemon has done itself by the time the script runs, and what the original's script of that
/// name is there to start: whatever the script calls for it must do nothing. Programs of ours see the
/// variable; a request in the original's way goes nowhere.
fn done_already(kind: &str, message: &Message) -> Vec<(String, String)> {
    let ping = message.text("info").is_some_and(|info| info.contains("ping"));
    let mut variables = Vec::new();
    let request = matches!(kind, "hb_takeover" | "ip-request" | "ip-request-resp");
    if request || (kind == "status" && message.text("st") == Some("dead") && !ping) {
        variables.push((DONE_VARIABLE.to_owned(), "yes".to_owned()));
    }
    if request {
        variables.push(("HA_FIFO".to_owned(), "/dev/null".to_owned()));
    }
    variables
}

/// What scripts find of the message that caused a job: a takeover by death, a release by request
/// (resources spec 5.6, 2.10).
fn cause_variables(work: Job, cause: &NodeName) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("HA_ts", format!("{:x}", unix_time_s())),
        ("HA_src", cause.to_string()),
        // Nothing is taken over before this node is active.
        ("HA_OSTATUS", "active".to_owned()),
    ];
    variables.extend(match work {
        Job::Release(_) => vec![("HA_t", "ip-request".to_owned())],
        _ => vec![("HA_t", "status".to_owned()), ("HA_seq", "1".to_owned()), ("HA_st", "dead".to_owned())],
    });
    variables
}

async fn run_job(
    work: Job,
    service: Option<Watched>,
    cause: Option<&NodeName>,
    environment: &[(String, String)],
    sender: &mpsc::UnboundedSender<ChildEvent>,
) -> JobOutcome {
    let verb = match work {
        Job::Acquire(_) => "acquire",
        Job::Release(_) => "release",
        Job::ReleaseActive(_) => "release-active",
        Job::Announce(_) => "announce",
        Job::Restart(..) => "restart",
        Job::Restore(..) => "restore",
        Job::Halt(_) => "release",
    };
    let mut tries = 0;
    loop {
        tries += 1;
        let index = service.as_ref().map(|service| service.index.to_string()).unwrap_or_default();
        let arguments = match &service {
            Some(service) => vec!["service", verb, &service.key, &index],
            None => vec!["job", verb, work.set().as_str()],
        };
        let mut command = applet("ResourceManager", &arguments, environment);
        command.args(cause.map(NodeName::as_str)).stdout(Stdio::piped());
        command.envs(cause.map(|node| cause_variables(work, node)).into_iter().flatten());
        if let Ok(mut child) = command.spawn() {
            if let Some(outcome) = follow(&mut child, sender).await {
                // The word is said; the process itself is reaped when it ends.
                tokio::spawn(async move {
                    let _ = child.wait().await;
                });
                return outcome;
            }
        }
        let release = matches!(work, Job::Release(_) | Job::ReleaseActive(_) | Job::Halt(_));
        if !release || tries >= RELEASE_TRIES {
            return without_outcome(work);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A child that died without a word: what it should have started counts as failed, what it should
/// have stopped may still be active.
fn without_outcome(work: Job) -> JobOutcome {
    match work {
        Job::Acquire(set) | Job::Restart(set, _) | Job::Restore(set, _) => {
            JobOutcome { start_failed: set, stop_failed: ResourceSet::NONE }
        }
        Job::Release(set) | Job::ReleaseActive(set) | Job::Halt(set) => {
            JobOutcome { start_failed: ResourceSet::NONE, stop_failed: set }
        }
        Job::Announce(_) => JobOutcome::default(),
    }
}

/// Passes report lines on until the outcome; `None` when the child ended without one.
async fn follow(child: &mut Child, sender: &mpsc::UnboundedSender<ChildEvent>) -> Option<JobOutcome> {
    let mut reader = BufReader::new(child.stdout.take()?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) {
            let _ = child.wait().await;
            return None;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if let Some(outcome) = parse_outcome(&text) {
            return Some(outcome);
        }
        let _ = sender.send(ChildEvent::Report { line: text });
    }
}

/// The last line of a job.
pub(super) fn parse_outcome(line: &str) -> Option<JobOutcome> {
    let mut words = line.strip_prefix("outcome ")?.split(' ');
    let mut set = |name: &str| words.next()?.strip_prefix(name)?.parse::<ResourceSet>().ok();
    let start_failed = set("start-failed=")?;
    let stop_failed = set("stop-failed=")?;
    Some(JobOutcome { start_failed, stop_failed })
}

/// This program under an applet's name. `/proc/self/exe` is still right after an upgrade replaced
/// the file.
fn applet(name: &str, arguments: &[&str], environment: &[(String, String)]) -> Command {
    applet_command(name, arguments, environment).into()
}

/// The same for who has no runtime.
pub(super) fn applet_command(
    name: &str,
    arguments: &[&str],
    environment: &[(String, String)],
) -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env(BY_DAEMON, "yes")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_read_strictly() {
        let good = parse_outcome("outcome start-failed=local stop-failed=none");
        assert_eq!(
            good,
            Some(JobOutcome { start_failed: ResourceSet::LOCAL, stop_failed: ResourceSet::NONE })
        );
        for bad in [
            "outcome",
            "outcome start-failed=x stop-failed=none",
            "outcome stop-failed=none",
            "group a begin",
        ] {
            assert_eq!(parse_outcome(bad), None, "{bad}");
        }
    }

    #[test]
    fn variables_come_only_from_plain_names() {
        let message = Message::new("status").with("st", "dead\nX=1").with("LD PRELOAD", "x").with("a-b", "y");
        let variables = hook_variables(&message);
        let expected = [("HA_t", "status"), ("HA_st", "deadX=1")];
        assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
