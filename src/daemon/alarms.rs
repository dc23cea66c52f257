//! Tells people what the cluster finds worth waking somebody for (`alarm` in ha.cf).
//!
//! ```text
//!  Output::Alarm ──▶ queue of each target ──▶ one child at a time ──▶ the administrator's program
//!  threads (Bell) ─▶ (bounded; what does not fit           └──▶ this program, which sends a mail
//!                     is counted and said)
//! ```
//!
//! Nothing here waits: the loop puts an alarm into the queues and goes on. A target gets its alarms in
//! order. A child is ended with everything it started when it takes too long.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::cluster::alarm::Alarm;
use crate::config::settings::AlarmTarget;
use crate::log::{Logger, RateLimit};
use crate::sys::time::{monotonic_ms, unix_time_s};
use crate::types::{LogLevel, NodeName};

use super::children::applet_command;

/// Alarms that may wait for one target; more are dropped and counted.
const WAITING_MAX: usize = 64;
/// How long a program or a mail may take.
const CHILD_LIMIT: Duration = Duration::from_secs(60);
/// Lines about dropped alarms: one of a kind within this time, milliseconds.
const DROPPED_WINDOW_MS: u64 = 60_000;
/// Longest wait at the end for the last alarms to be on their way.
pub const LAST_PATIENCE: Duration = Duration::from_millis(200);

/// One alarm on its way.
#[derive(Debug, Clone)]
struct Notice {
    alarm: Alarm,
    unix_s: i64,
}

struct Target {
    /// As the log names it.
    name: String,
    sender: mpsc::Sender<Notice>,
    /// Alarms that did not fit since the last that did.
    dropped: Arc<AtomicU64>,
    /// Alarms that wait for their child to be started.
    waiting: Arc<AtomicU64>,
}

/// Lets threads of the daemon raise alarms.
#[derive(Debug, Clone)]
pub struct Bell(mpsc::Sender<Alarm>);

impl Bell {
    /// Raises an alarm; without effect when too many wait.
    pub fn ring(&self, alarm: Alarm) {
        let _ = self.0.try_send(alarm);
    }
}

/// All targets.
pub struct Alarms {
    targets: Vec<Target>,
    logger: Logger,
    drop_limit: RateLimit,
    bell: Bell,
    from_threads: mpsc::Receiver<Alarm>,
}

impl Alarms {
    /// For the targets of ha.cf. Must be called inside a tokio runtime.
    pub fn new(
        targets: &[AlarmTarget],
        local: &NodeName,
        environment: &[(String, String)],
        logger: &Logger,
    ) -> Self {
        let begin = |target: &AlarmTarget| {
            let (sender, receiver) = mpsc::channel(WAITING_MAX);
            let (dropped, waiting) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let messenger = Messenger {
                target: target.clone(),
                local: local.to_string(),
                environment: environment.to_vec(),
                dropped: dropped.clone(),
                waiting: waiting.clone(),
                logger: logger.clone(),
                failures: RateLimit::new(1, DROPPED_WINDOW_MS),
            };
            tokio::spawn(messenger.serve(receiver));
            Target { name: target.to_string(), sender, dropped, waiting }
        };
        let (sender, from_threads) = mpsc::channel(WAITING_MAX);
        Self {
            targets: targets.iter().map(begin).collect(),
            logger: logger.clone(),
            drop_limit: RateLimit::new(1, DROPPED_WINDOW_MS),
            bell: Bell(sender),
            from_threads,
        }
    }

    /// For threads.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// The next alarm of a thread. Cancel-safe.
    pub async fn next(&mut self) -> Alarm {
        match self.from_threads.recv().await {
            Some(alarm) => alarm,
            // Not while `bell` is here.
            None => std::future::pending().await,
        }
    }

    /// Tells all targets, and the log what is told.
    pub fn raise(&mut self, alarm: &Alarm) {
        if self.targets.is_empty() {
            return;
        }
        let text = format!(
            "alarm: {} {} {}: {}",
            alarm.kind.name(),
            alarm.state.as_str(),
            alarm.subject,
            alarm.text
        );
        self.logger.log(LogLevel::Info, &text);
        for target in &self.targets {
            let notice = Notice { alarm: alarm.clone(), unix_s: unix_time_s() };
            target.waiting.fetch_add(1, Ordering::Relaxed);
            if target.sender.try_send(notice).is_ok() {
                continue;
            }
            target.waiting.fetch_sub(1, Ordering::Relaxed);
            let count = target.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            let text = format!(
                "{count} alarms for {} were dropped: {WAITING_MAX} wait already; they are in this log",
                target.name
            );
            if let Some(text) = self.drop_limit.check("alarm", monotonic_ms()).apply(&text) {
                self.logger.log(LogLevel::Error, &text);
            }
        }
    }

    /// At the end: waits a little until the children of the last alarms are started.
    pub async fn finish(&self) {
        let end_ms = monotonic_ms() + u64::try_from(LAST_PATIENCE.as_millis()).unwrap_or(0);
        let waits = |target: &Target| target.waiting.load(Ordering::Relaxed) > 0;
        while self.targets.iter().any(waits) && monotonic_ms() < end_ms {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Works off the queue of one target.
struct Messenger {
    target: AlarmTarget,
    local: String,
    environment: Vec<(String, String)>,
    dropped: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
    logger: Logger,
    failures: RateLimit,
}

impl Messenger {
    async fn serve(mut self, mut receiver: mpsc::Receiver<Notice>) {
        while let Some(notice) = receiver.recv().await {
            if let Err(why) = self.tell(&notice).await {
                let kind = notice.alarm.kind.name();
                let text = format!("the alarm {kind} did not reach {}: {why}", self.target);
                if let Some(text) = self.failures.check("failed", monotonic_ms()).apply(&text) {
                    self.logger.log(LogLevel::Error, &text);
                }
            }
        }
    }

    async fn tell(&self, notice: &Notice) -> Result<(), String> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let (mut command, input) = self.command(notice, dropped);
        let started = command.stdin(Stdio::piped()).spawn();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let mut child = started.map_err(|error| format!("it cannot be started: {error}"))?;
        let group = child.id().and_then(|pid| i32::try_from(pid).ok());
        let stdin = child.stdin.take();
        let work = async {
            if let Some(mut stdin) = stdin {
                // A program need not read it.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait().await
        };
        match tokio::time::timeout(CHILD_LIMIT, work).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("it ended with {status}")),
            Ok(Err(error)) => Err(format!("it was lost: {error}")),
            Err(_) => {
                if let Some(group) = group {
                    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
                }
                let _ = child.wait().await;
                Err(format!("it did not end within {} s and was killed", CHILD_LIMIT.as_secs()))
            }
        }
    }

    /// The child, and what it reads.
    fn command(&self, notice: &Notice, dropped: u64) -> (Command, String) {
        let Notice { alarm, unix_s } = notice;
        let cluster = |name: &str| self.environment.iter().rev().find(|(known, _)| known == name);
        let cluster = cluster("HA_cluster").map(|(_, value)| value.clone()).unwrap_or_default();
        match &self.target {
            AlarmTarget::Program { path, arguments } => {
                let mut command = std::process::Command::new(path);
                command
                    .args(arguments)
                    .env_clear()
                    .envs(self.environment.iter().map(|(name, value)| (name, value)))
                    .env("HA_ALARM_KIND", alarm.kind.name())
                    .env("HA_ALARM_STATE", alarm.state.as_str())
                    .env("HA_ALARM_SUBJECT", &alarm.subject)
                    .env("HA_ALARM_TEXT", &alarm.text)
                    .env("HA_ALARM_NODE", &self.local)
                    .env("HA_ALARM_TIME", unix_s.to_string())
                    .env("HA_ALARM_DROPPED", dropped.to_string())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                std::os::unix::process::CommandExt::process_group(&mut command, 0);
                let value = json!({
                    "kind": alarm.kind.name(),
                    "state": alarm.state.as_str(),
                    "subject": alarm.subject,
                    "text": alarm.text,
                    "node": self.local,
                    "cluster": cluster,
                    "time": unix_s,
                    "dropped": dropped,
                });
                (command.into(), format!("{value}\n"))
            }
            AlarmTarget::Mail { addresses, server } => {
                let mut arguments = vec!["alarm-mail", addresses.as_str()];
                arguments.extend(server.as_deref());
                let mut command = applet_command("ResourceManager", &arguments, &self.environment);
                command.stdout(Stdio::null());
                let (kind, state) = (alarm.kind.name(), alarm.state.as_str());
                let subject = format!("[{}] {kind} {state}: {}", self.local, alarm.subject);
                let mut text = format!(
                    "{}\n\nNode: {}\nAlarm: {kind} {state}\nAbout: {}\n",
                    alarm.text, self.local, alarm.subject
                );
                if dropped > 0 {
                    text.push_str(&format!(
                        "\n{dropped} alarms before this one were dropped; they are in the log.\n"
                    ));
                }
                (command.into(), format!("{subject}\n{text}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::alarm::{AlarmKind, AlarmState};
    use crate::log::LogTargets;

    fn alarm(number: usize) -> Alarm {
        Alarm {
            kind: AlarmKind::DeadNode,
            state: AlarmState::Begin,
            subject: format!("node{number}"),
            text: "a \"text\"".to_owned(),
        }
    }

    fn in_runtime(work: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    }

    fn alarms(arguments: &[&str]) -> Alarms {
        let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
        let targets = [AlarmTarget::Program { path: "/bin/sh".into(), arguments }];
        let local = NodeName::new("node1").unwrap();
        let environment = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        Alarms::new(&targets, &local, &environment, &Logger::direct(LogTargets::none("x")))
    }

    #[test]
    fn a_program_gets_variables_and_an_object_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out").display().to_string();
        let script = format!(
            "{{ echo \"$HA_ALARM_KIND $HA_ALARM_STATE $HA_ALARM_SUBJECT $HA_ALARM_NODE\"; cat; }} >> {out}"
        );
        in_runtime(async || {
            let mut alarms = alarms(&["-c", &script]);
            alarms.raise(&alarm(2));
            alarms.raise(&alarm(3));
            let end_ms = monotonic_ms() + 30_000;
            let read = || std::fs::read_to_string(&out).unwrap_or_default();
            while read().lines().count() < 4 && monotonic_ms() < end_ms {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let text = read();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines[0], "dead-node begin node2 node1", "{text}");
            assert_eq!(lines[2], "dead-node begin node3 node1", "{text}");
            let value: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
            assert_eq!((&value["subject"], &value["text"]), (&json!("node2"), &json!("a \"text\"")));
        });
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        in_runtime(async || {
            let mut alarms = alarms(&["-c", "exec sleep 600"]);
            for number in 0..WAITING_MAX + 5 {
                alarms.raise(&alarm(number));
            }
            assert_eq!(alarms.targets[0].dropped.load(Ordering::Relaxed), 5);
            alarms.finish().await;
        });
    }
}
