//! The guard: a tiny process that outlives the daemon and acts when it dies without a word.
//!
//! ```text
//!  guard ──fork──▶ daemon ── killed ──▶ guard: by what the daemon left in the pipe ([`record`])
//!    ▲                                    ├─ at rest and in time ──▶ a new daemon that goes on
//!    └── signals are passed on            ├─ else ──▶ stop everything, then a new daemon
//!                                         ├─ again and again, or while it left, or it gave up by itself
//!                                         │     ──▶ stop everything, goodbye
//!                                         └─ after a stop that failed ──▶ silence
//! ```
//!
//! It is the daemon's parent, so the kernel tells it at once (waitpid(2), SIGCHLD), on any kernel,
//! and whatever program goes on in the daemon's process. It has one thread, opens no file and
//! resolves no name once it stands; lines for the log are written by children of its own.

pub mod record;
mod software_watchdog;
pub mod verdict;

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::reboot::{reboot, RebootMode};
use nix::sys::signal::{kill, SigSet, SigmaskHow, Signal};
use nix::unistd::Pid;

use crate::config::settings::HaCf;
use crate::log::Logger;
use crate::sys::fork::{fork, leave, next_end, wait_for_signal, ChildEnd, Fork};
use crate::sys::process::set_title;
use crate::sys::sched::{lock_memory, set_realtime};
use crate::sys::time::monotonic_ms;
use crate::types::{LogLevel, ResourceSet};

use super::children::{applet_command, parse_outcome};
use super::layout::Layout;
use super::process::PidFile;
use super::start::{add_options, StartOptions};
use super::upgrade::{identity, pass_on, Handed, Program};
use record::{Condition, Left, Pipe, Post, Record, Task};
use software_watchdog::SoftwareWatchdog;
use verdict::{Deaths, Verdict};

/// Exit code of a process that could not execute its program, as shells have it.
const EXIT_NOT_EXECUTED: i32 = 127;
/// Exit code of a guard that could not bring its daemon back.
const EXIT_LOST: u8 = 1;
/// Pause between looks at whether the dead daemon's jobs have ended.
const ORPHAN_PAUSE: Duration = Duration::from_millis(10);
/// Most that is read of what a job says.
const REPORT_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// What the kernel's killer for want of memory is told of the guard: never.
const OOM_NEVER: &str = "-1000";
const OOM_FILE: &str = "/proc/self/oom_score_adj";
/// Signals for the daemon that reach the guard: from a terminal, or from whoever counts it as the
/// daemon.
const PASSED_ON: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// A service manager that hears nothing from the daemon any more sends this to its main process, the guard
/// (systemd.service(5), `WatchdogSec=`).
const GIVE_UP: Signal = Signal::SIGABRT;
/// Exit code of a guard whose daemon hung: everything is stopped, and it may be started again
/// (sysexits(3), `EX_TEMPFAIL`). No other code of a guard may be followed by a new start.
const EXIT_HUNG: u8 = 75;

/// What a guard needs to start its daemon again.
pub struct Guarded<'a> {
    /// Paths.
    pub layout: &'a Layout,
    /// The command line.
    pub options: &'a StartOptions,
    /// ha.cf
    pub ha_cf: &'a HaCf,
    /// The daemon's program file.
    pub program: &'a Program,
    /// Its locked pid file: the lock passes from life to life.
    pub pid_file: &'a PidFile,
    /// Environment of children.
    pub environment: Vec<(String, String)>,
    /// Where to say what happened.
    pub logger: &'a Logger,
}

/// Which side of [`stand`] this is.
#[derive(Debug)]
pub enum Position {
    /// The daemon to be.
    Daemon(Post),
    /// The guard, after its end; the exit code.
    Guard(u8),
}

/// Forks: the parent becomes the guard, the child the daemon. Only while there is one thread.
///
/// # Errors
/// There is no guard, and this process is what it was.
pub fn stand(guarded: Guarded<'_>) -> io::Result<Position> {
    let pipe = Pipe::new()?;
    let mut signals: SigSet = PASSED_ON.into_iter().collect();
    signals.add(Signal::SIGCHLD);
    signals.add(GIVE_UP);
    let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let guard = std::process::id();
    match fork() {
        Ok(Fork::Child) => {
            before.thread_set_mask()?;
            Ok(Position::Daemon(Post::new(pipe, guard)))
        }
        Ok(Fork::Parent(daemon)) => {
            let oom_before = fs::read_to_string(OOM_FILE).ok();
            let watchdog_ms = guarded.ha_cf.watchdog_ms().filter(|_| guarded.ha_cf.watchdog_software);
            let guard = Guard {
                guarded,
                pipe,
                signals,
                before,
                daemon,
                oom_before,
                leaving: false,
                hung: false,
                deaths: Deaths::default(),
                former: None,
                seen: None,
                watchdog: SoftwareWatchdog::new(watchdog_ms),
            };
            Ok(Position::Guard(guard.watch()))
        }
        Err(error) => {
            before.thread_set_mask()?;
            Err(error)
        }
    }
}

struct Guard<'a> {
    guarded: Guarded<'a>,
    pipe: Pipe,
    /// Blocked, and waited for.
    signals: SigSet,
    /// What was blocked before.
    before: SigSet,
    daemon: i32,
    oom_before: Option<String>,
    /// The daemon that runs is there to say goodbye.
    leaving: bool,
    /// The daemon hung and was killed for it.
    hung: bool,
    deaths: Deaths,
    /// What the life before the present one left.
    former: Option<Record>,
    /// What the present one left, as far as it was looked at.
    seen: Option<Record>,
    watchdog: SoftwareWatchdog,
}

impl Guard<'_> {
    fn watch(mut self) -> u8 {
        set_title("heartbeat", "heartbeat: guard process");
        // Without these it still does its work, only later.
        let _ = lock_memory();
        if self.guarded.ha_cf.realtime && self.guarded.options.realtime {
            let _ = set_realtime(self.guarded.ha_cf.realtime_priority);
        }
        let _ = fs::write(OOM_FILE, OOM_NEVER);
        loop {
            let signal = match self.watchdog.pause(monotonic_ms()) {
                None => self.signals.wait().map_err(std::io::Error::from).map(Some),
                Some(pause) => wait_for_signal(&self.signals, pause),
            };
            self.watch_beats();
            match signal {
                Ok(None) => {}
                Ok(Some(Signal::SIGCHLD)) => {
                    while let Some((pid, end)) = next_end() {
                        if pid == self.daemon {
                            if let Some(code) = self.ended(end) {
                                return code;
                            }
                        }
                    }
                }
                Ok(Some(GIVE_UP)) => {
                    self.hung = true;
                    let _ = kill(Pid::from_raw(self.daemon), Signal::SIGKILL);
                }
                Ok(Some(signal)) => drop(kill(Pid::from_raw(self.daemon), signal)),
                Err(_) => {}
            }
        }
    }

    /// `watchdog software`: a daemon that does not beat any more costs the machine a reset, or, where
    /// that is not possible, its own life and everything it runs.
    fn watch_beats(&mut self) {
        if self.hung || self.watchdog.pause(0).is_none() {
            return;
        }
        if let Some(record) = self.pipe.last() {
            self.watchdog.feed(&record);
            self.seen = Some(record);
        }
        if !self.watchdog.is_overdue(monotonic_ms()) {
            return;
        }
        let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
        self.hung = true;
        let _ = kill(Pid::from_raw(self.daemon), Signal::SIGKILL);
        self.say(&format!(
            "no beat for the time of the watchdog, and this machine cannot be reset ({error}): heartbeat is \
             killed and all resources are stopped"
        ));
    }

    /// The daemon ended; the value is this process's exit code when nothing is left to do.
    fn ended(&mut self, end: ChildEnd) -> Option<u8> {
        let now_ms = monotonic_ms();
        if self.leaving {
            return Some(EXIT_LOST);
        }
        // One that was brought back and ended before it left word is responsible for the former's.
        let record = self.pipe.last().or(self.seen.take()).or(self.former);
        self.watchdog.disarm();
        let (pid, how) = (self.daemon, describe(end));
        if self.hung {
            self.say(&format!(
                "heartbeat process {pid} hung and was killed ({how}): all resources are stopped"
            ));
            return Some(self.released_for_a_new_start(record.as_ref()));
        }
        let verdict = self.deaths.verdict(end, record.as_ref(), now_ms);
        if let Verdict::Leave(code) = verdict {
            return Some(code);
        }
        // Every other verdict is one on a record.
        let Some(record) = record else { return Some(EXIT_LOST) };
        self.former = Some(record);
        let age_ms = now_ms.saturating_sub(record.beat_ms);
        let died = format!("heartbeat process {pid} died ({how}), {age_ms} ms after the last beat");
        match verdict {
            Verdict::Resume(held) => {
                let brought = self.bring_back(&record, held, Task::Serve);
                self.say(&format!("{died}: it is brought back and keeps {held} resources"));
                self.followed(brought)
            }
            Verdict::ReleaseFirst => {
                self.say(&format!("{died}: resources are stopped before it is brought back"));
                // Where something does not stop, the next life finds it active and does what is done then.
                let _ = self.release();
                let brought = self.bring_back(&record, ResourceSet::NONE, Task::Serve);
                self.followed(brought)
            }
            Verdict::StopAndLeave => {
                self.say(&format!("{died}: it is not brought back, all resources are stopped"));
                self.stop_and_leave(&record)
            }
            Verdict::Leave(_) | Verdict::StaySilent => {
                self.say(&format!(
                    "{died} after a stop that failed: resources may be active here, nothing is announced; \
                     look what runs, then reboot this machine"
                ));
                Some(EXIT_LOST)
            }
        }
    }

    /// The exit code tells the service manager whether it may start a new daemon: after a stop that
    /// failed it must not.
    fn released_for_a_new_start(&self, record: Option<&Record>) -> u8 {
        let stop_failed = record.is_some_and(|record| record.condition == Condition::StopFailed);
        if !stop_failed && self.release() {
            return EXIT_HUNG;
        }
        self.say(
            "not all resources could be stopped: nothing is started again and the other node is told nothing",
        );
        EXIT_LOST
    }

    /// What is stopped may be announced, and nothing else.
    fn stop_and_leave(&mut self, record: &Record) -> Option<u8> {
        if !self.release() {
            self.say("not all resources could be stopped: the other node is told nothing");
            return Some(EXIT_LOST);
        }
        self.leaving = true;
        let brought = self.bring_back(record, ResourceSet::NONE, Task::Leave);
        brought.is_err().then_some(EXIT_LOST)
    }

    fn followed(&mut self, brought: io::Result<()>) -> Option<u8> {
        let error = brought.err()?;
        self.say(&format!("cannot start heartbeat again: {error}; all resources are stopped"));
        let _ = self.release();
        Some(EXIT_LOST)
    }

    /// Starts the daemon's program again, with what it held.
    fn bring_back(&mut self, record: &Record, held: ResourceSet, task: Task) -> io::Result<()> {
        match fork()? {
            Fork::Parent(pid) => {
                self.daemon = pid;
                self.seen = None;
                self.watchdog.disarm();
                Ok(())
            }
            Fork::Child => {
                let _ = self.before.thread_set_mask();
                self.restore_oom();
                self.execute(record, held, task);
                leave(EXIT_NOT_EXECUTED)
            }
        }
    }

    /// Returns only when no program file could be executed.
    fn execute(&self, record: &Record, held: ResourceSet, task: Task) {
        let Guarded { layout, options, program, pid_file, .. } = &self.guarded;
        let own = Path::new("/proc/self/exe");
        // After an upgrade in place the daemon ran another file than this.
        let newer = Some(program.path()).filter(|path| identity(path) == Some(record.program));
        for file in newer.into_iter().chain([own]) {
            let mut command = Command::new(file);
            command.arg0(Program::name_for_exec(Some(program.path())));
            add_options(&mut command, options, Some(held));
            let away = record.awaits_failback && !held.is_empty();
            let handed = Handed { awaits_failback: away, ..Handed::default() };
            let _ = pass_on(&mut command, handed, &layout.run_dir, pid_file.file());
            let guard = u32::try_from(nix::unistd::getppid().as_raw()).unwrap_or(0);
            let left = Left {
                beat_ms: record.beat_ms,
                task,
                maintenance: record.maintenance,
                fencing: record.fencing,
            };
            let _ = self.pipe.pass_on(&mut command, guard, left);
            let _ = command.exec();
        }
    }

    /// Stops every group, after what the dead daemon began has ended. `false`: something may be
    /// active still.
    fn release(&self) -> bool {
        // Without an end, as scripts have; the service manager must not take that for a hang.
        let _told = self.guarded.options.manager.keep_told();
        while a_job_runs() {
            std::thread::sleep(ORPHAN_PAUSE);
        }
        if !self.guarded.options.manage_resources {
            return true;
        }
        let mut command =
            applet_command("ResourceManager", &["job", "release", "all"], &self.guarded.environment);
        let Ok(mut child) = command.stdout(Stdio::piped()).spawn() else {
            return false;
        };
        let mut said = Vec::new();
        if let Some(output) = child.stdout.take() {
            let _ = output.take(REPORT_MAX_BYTES).read_to_end(&mut said);
        }
        let _ = child.wait();
        let said = String::from_utf8_lossy(&said);
        let outcome = said.lines().rev().find_map(parse_outcome);
        outcome.is_some_and(|outcome| outcome.stop_failed.is_empty())
    }

    /// Into the log, by a child: the disk may hang.
    fn say(&self, text: &str) {
        if let Ok(Fork::Child) = fork() {
            self.guarded.logger.log(LogLevel::Critical, text);
            leave(0);
        }
    }

    fn restore_oom(&self) {
        if let Some(value) = &self.oom_before {
            let _ = fs::write(OOM_FILE, value);
        }
    }
}

fn describe(end: ChildEnd) -> String {
    match end {
        ChildEnd::Exited(code) => format!("exit code {code}"),
        ChildEnd::Killed(signal) => format!("signal {signal}"),
    }
}

/// Some job on resources runs that a dead daemon began: this program under the name of the applet.
fn a_job_runs() -> bool {
    let own_space = pid_space(Path::new("/proc/self"));
    let is_job = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let is_process = name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        let words = is_process.then(|| fs::read(entry.path().join("cmdline")).ok()).flatten();
        // Those of a container are its own daemon's matter.
        words.is_some_and(|words| words.starts_with(b"ResourceManager\0job\0"))
            && pid_space(&entry.path()) == own_space
    };
    fs::read_dir("/proc").is_ok_and(|processes| processes.filter_map(Result::ok).any(is_job))
}

/// Which PID namespace a process is in (Linux 3.8).
fn pid_space(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/pid")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_a_dead_daemon_are_found() {
        let mut command = Command::new("cat");
        command.arg0("ResourceManager").args(["job", "-"]).stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        while !a_job_runs() {
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn ends_in_words() {
        assert_eq!(describe(ChildEnd::Killed(9)), "signal 9");
        assert_eq!(describe(ChildEnd::Exited(3)), "exit code 3");
    }
}
