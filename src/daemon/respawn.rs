//! Programs beside the daemon: `respawn` and `failfast` (messaging spec 7.5, resources spec 7.7).
//!
//! ```text
//!           communication is up
//!  idle ───────────▶ running ── ends ──▶ pause, when it lived less than 30 s ──▶ running
//!                       │                   │ the 11th time in a row, or exit code 100
//!                       │ the daemon stops  ▼
//!                       └──────────▶ at rest until the daemon starts anew
//! ```
//!
//! Started in the order of the file, stopped in the opposite order, one after another.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::config::settings::Client;
use crate::log::Logger;
use crate::sys::process::{groups_of, run_as};
use crate::types::LogLevel;

/// How long programs may take to end when the daemon stops; then they are killed.
pub const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// The same before a restart, while the peer waits for our beats.
pub const RESTART_PATIENCE: Duration = Duration::from_secs(10);
/// Who lives less is short-lived.
const SHORT_LIFE: Duration = Duration::from_secs(30);
/// So many short lives in a row and it is tried no more.
const SHORT_LIVES_MAX: u32 = 10;
/// Pause before a short-lived one is started again.
const RESPAWN_PAUSE: Duration = Duration::from_secs(1);
/// Exit code of a program that wants to be started never again.
const EXIT_NEVER_AGAIN: i32 = 100;

/// News of a program.
#[derive(Debug)]
pub enum RespawnEvent {
    /// It ended.
    Ended {
        /// Its place in the file.
        index: usize,
        /// Its process.
        pid: u32,
        /// How; `None` when that could not be found out.
        status: Option<ExitStatus>,
    },
    /// The pause before its next start is over.
    Due {
        /// Its place in the file.
        index: usize,
    },
    /// The time for an orderly stop is over.
    Overdue,
}

/// What an event asks of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// A `failfast` program died: the machine must be rebooted at once.
    Reboot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not started yet, or never to be started again.
    Idle,
    /// The next start waits for its time.
    Pausing,
    Running(u32),
}

struct Managed {
    client: Client,
    groups: Vec<u32>,
    state: State,
    started: Instant,
    short_lives: u32,
}

/// Starts and stops the programs and hears of their ends.
pub struct Respawn {
    clients: Vec<Managed>,
    environment: Vec<(String, String)>,
    logger: Logger,
    sender: mpsc::UnboundedSender<RespawnEvent>,
    receiver: mpsc::UnboundedReceiver<RespawnEvent>,
    begun: bool,
    /// While stopping: the one whose end is waited for, and all below it are still to be stopped.
    stopping: Option<usize>,
    overdue: bool,
}

impl Respawn {
    /// For these programs, with the environment they get. Looks up the users' groups, which reads
    /// files.
    pub fn new(clients: &[Client], environment: Vec<(String, String)>, logger: Logger) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let managed = |client: &Client| Managed {
            groups: groups_of(&client.user, client.account.gid),
            client: client.clone(),
            state: State::Idle,
            started: Instant::now(),
            short_lives: 0,
        };
        let clients = clients.iter().map(managed).collect();
        Self { clients, environment, logger, sender, receiver, begun: false, stopping: None, overdue: false }
    }

    /// Starts all of them, in order; only the first call has an effect, and none after a stop.
    pub fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) || self.stopping.is_some() {
            return;
        }
        for index in 0..self.clients.len() {
            self.announce(index);
            self.start(index);
        }
    }

    /// The next news. Cancel-safe.
    pub async fn next(&mut self) -> RespawnEvent {
        match self.receiver.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Acts on news.
    pub fn handle(&mut self, event: &RespawnEvent) -> Consequence {
        match *event {
            RespawnEvent::Ended { index, pid, status } => return self.ended(index, pid, status),
            RespawnEvent::Due { index } => {
                if self.clients[index].state == State::Pausing {
                    self.start(index);
                }
            }
            RespawnEvent::Overdue => self.kill_the_rest(),
        }
        Consequence::None
    }

    /// Stops them in the opposite order, each with SIGTERM to its process group and only when the one
    /// before has ended. After `patience` what is left is killed: the original waits for an hour.
    /// Only the first call has an effect.
    pub fn stop(&mut self, patience: Duration) {
        if self.stopping.is_some() {
            return;
        }
        let sender = self.sender.clone();
        self.stopping = Some(self.clients.len());
        for client in self.clients.iter_mut().filter(|client| client.state == State::Pausing) {
            client.state = State::Idle;
        }
        if self.is_any_running() {
            tokio::spawn(async move {
                tokio::time::sleep(patience).await;
                let _ = sender.send(RespawnEvent::Overdue);
            });
        }
        self.stop_next();
    }

    /// A stop was asked for and nothing runs any more.
    pub fn is_stopped(&self) -> bool {
        self.stopping.is_some() && !self.is_any_running()
    }

    fn is_any_running(&self) -> bool {
        self.clients.iter().any(|client| matches!(client.state, State::Running(_)))
    }

    fn announce(&self, index: usize) {
        let Client { command, account, .. } = &self.clients[index].client;
        let text = format!("Starting child client \"{command}\" ({},{})", account.uid, account.gid);
        self.logger.log(LogLevel::Info, &text);
    }

    fn start(&mut self, index: usize) {
        let managed = &mut self.clients[index];
        managed.started = Instant::now();
        let (name, account) = (&managed.client.command, managed.client.account);
        let mut command = command(&managed.client, &self.environment);
        run_as(command.as_std_mut(), account.uid, account.gid, managed.groups.clone());
        let sender = self.sender.clone();
        match command.spawn() {
            Ok(mut child) => {
                let pid = child.id().unwrap_or(0);
                managed.state = State::Running(pid);
                let (uid, gid) = (account.uid, account.gid);
                let text = format!("Starting \"{name}\" as uid {uid}  gid {gid} (pid {pid})");
                self.logger.log_for(pid, LogLevel::Info, &text);
                tokio::spawn(async move {
                    let status = child.wait().await.ok();
                    let _ = sender.send(RespawnEvent::Ended { index, pid, status });
                });
            }
            Err(error) => {
                let text = format!("client \"{name}\" could not be started: {error}");
                self.logger.log(LogLevel::Error, &text);
                self.start_again(index);
            }
        }
    }

    fn ended(&mut self, index: usize, pid: u32, status: Option<ExitStatus>) -> Consequence {
        let managed = &mut self.clients[index];
        managed.state = State::Idle;
        let command = managed.client.command.clone();
        if let Some(current) = self.stopping {
            if index == current {
                self.stop_next();
            } else {
                self.logger.log(LogLevel::Info, &format!("client \"{command}\" died early during shutdown."));
            }
            return Consequence::None;
        }
        let (level, text) = obituary(&command, pid, status);
        self.logger.log(level, &text);
        if managed.client.fail_fast && !status.is_some_and(|status| status.success()) {
            self.logger.log(LogLevel::Critical, &format!("Rebooting system.  Reason: {command}"));
            return Consequence::Reboot;
        }
        if status.and_then(|status| status.code()) != Some(EXIT_NEVER_AGAIN) {
            self.start_again(index);
        }
        Consequence::None
    }

    fn start_again(&mut self, index: usize) {
        let managed = &mut self.clients[index];
        let short = managed.started.elapsed() < SHORT_LIFE;
        managed.short_lives = if short { managed.short_lives + 1 } else { 0 };
        let command = &managed.client.command;
        if managed.short_lives > SHORT_LIVES_MAX {
            managed.state = State::Idle;
            self.logger.log(LogLevel::Error, &format!("Client {command} \"respawning too fast\""));
            return;
        }
        self.logger.log(LogLevel::Error, &format!("Respawning client \"{command}\":"));
        managed.state = State::Pausing;
        self.announce(index);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            if short {
                tokio::time::sleep(RESPAWN_PAUSE).await;
            }
            let _ = sender.send(RespawnEvent::Due { index });
        });
    }

    /// Tells the next one down the list to end, and says which need not be told.
    fn stop_next(&mut self) {
        while let Some(index) = self.stopping.and_then(|index| index.checked_sub(1)) {
            self.stopping = Some(index);
            let command = &self.clients[index].client.command;
            match self.clients[index].state {
                State::Running(pid) => {
                    let text = format!("killing {command} process group {pid} with signal 15");
                    self.logger.log(LogLevel::Info, &text);
                    signal_group(pid, if self.overdue { Signal::SIGKILL } else { Signal::SIGTERM });
                    return;
                }
                State::Idle | State::Pausing => {
                    self.logger.log(LogLevel::Info, &format!("client [{command}] is not running."));
                }
            }
        }
    }

    fn kill_the_rest(&mut self) {
        self.overdue = true;
        for managed in &self.clients {
            if let State::Running(pid) = managed.state {
                let command = &managed.client.command;
                let text = format!("client \"{command}\" (pid {pid}) does not end: it is killed");
                self.logger.log(LogLevel::Warning, &text);
                signal_group(pid, Signal::SIGKILL);
            }
        }
    }
}

/// The process group has the number of its first process, which is not reaped before its end is known
/// here.
fn signal_group(pid: u32, signal: Signal) {
    if let Some(group) = i32::try_from(pid).ok().filter(|group| *group > 1) {
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

/// What starts it: a shell, as the original does it, or this program under an applet's name.
fn command(client: &Client, environment: &[(String, String)]) -> Command {
    let mut command = match client.built_in {
        Some(applet) => {
            let mut command = Command::new(PathBuf::from("/proc/self/exe"));
            command.arg0(applet).args(words(&client.command).into_iter().skip(1));
            command
        }
        None => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(format!("exec {}", client.command));
            command
        }
    };
    command
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    command
}

/// Cuts a command line at blanks, as a shell does with quotes and backslashes; nothing is expanded.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(end), letter) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, blank) if blank.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// How it ended, in the original's words.
fn obituary(command: &str, pid: u32, status: Option<ExitStatus>) -> (LogLevel, String) {
    let head = format!("Managed {command} process {pid}");
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(0), _)) => (LogLevel::Info, format!("{head} exited with return code 0.")),
        Some((Some(code), _)) => (LogLevel::Warning, format!("{head} exited with return code {code}.")),
        Some((None, Some(signal))) => match SIGNALS.iter().find(|(number, ..)| *number == signal) {
            Some((_, name, meaning)) => {
                (LogLevel::Warning, format!("{head} killed by signal {signal} [{name} - {meaning}]."))
            }
            None => (LogLevel::Warning, format!("{head} killed by signal {signal}.")),
        },
        _ => (LogLevel::Error, format!("{head} went away strangely (!)")),
    }
}

/// Names and meanings of signals in the original's log lines.
const SIGNALS: &[(i32, &str, &str)] = &[
    (libc::SIGHUP, "SIGHUP", "Hangup"),
    (libc::SIGINT, "SIGINT", "Interrupt"),
    (libc::SIGQUIT, "SIGQUIT", "Quit"),
    (libc::SIGILL, "SIGILL", "Illegal instruction"),
    (libc::SIGTRAP, "SIGTRAP", "Trace"),
    (libc::SIGABRT, "SIGABRT", "Abort"),
    (libc::SIGBUS, "SIGBUS", "BUS error"),
    (libc::SIGFPE, "SIGFPE", "Floating-point exception"),
    (libc::SIGKILL, "SIGKILL", "Kill, unblockable"),
    (libc::SIGUSR1, "SIGUSR1", "User-defined signal 1"),
    (libc::SIGSEGV, "SIGSEGV", "Segmentation violation"),
    (libc::SIGUSR2, "SIGUSR2", "User-defined signal 2"),
    (libc::SIGPIPE, "SIGPIPE", "Broken pipe (POSIX)"),
    (libc::SIGALRM, "SIGALRM", "Alarm clock (POSIX)"),
    (libc::SIGTERM, "SIGTERM", "Termination (ANSI)"),
    (libc::SIGXCPU, "SIGXCPU", "CPU limit exceeded"),
    (libc::SIGXFSZ, "SIGXFSZ", "File size limit exceeded"),
    (libc::SIGVTALRM, "SIGVTALRM", "Virtual alarm clock"),
    (libc::SIGPROF, "SIGPROF", "Profiling alarm clock"),
    (libc::SIGIO, "SIGPOLL", "Pollable event occurred"),
    (libc::SIGPWR, "SIGPWR", "Power failure restart"),
    (libc::SIGSYS, "SIGSYS", "Bad system call"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Account;
    use crate::log::LogTargets;

    fn client(command: &str, fail_fast: bool) -> Client {
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        Client {
            command: command.into(),
            user: "root".into(),
            account: Account { uid, gid },
            fail_fast,
            built_in: None,
        }
    }

    fn with_clients<F: AsyncFnOnce(Respawn)>(clients: &[Client], test: F) {
        let environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let logger = Logger::start(LogTargets::none("test")).unwrap();
            test(Respawn::new(clients, environment, logger)).await;
        });
    }

    async fn next(respawn: &mut Respawn) -> (Consequence, RespawnEvent) {
        let event = tokio::time::timeout(Duration::from_secs(20), respawn.next()).await.expect("no event");
        (respawn.handle(&event), event)
    }

    #[test]
    fn lines_are_cut_as_by_a_shell() {
        assert_eq!(words("/usr/lib/x/pingd -m 100  -d 5s"), ["/usr/lib/x/pingd", "-m", "100", "-d", "5s"]);
        assert_eq!(words(r#"a 'b c' "d \" e"f\ g '' "#), ["a", "b c", "d \" ef g", ""]);
        assert_eq!(words("  "), [""; 0]);
        assert_eq!(words(r"a 'open \"), ["a", r"open \"]);
    }

    #[test]
    fn ends_are_told_in_the_originals_words() {
        let told = |status: i32| obituary("/x y", 7, Some(ExitStatus::from_raw(status))).1;
        assert_eq!(told(0), "Managed /x y process 7 exited with return code 0.");
        assert_eq!(told(100 << 8), "Managed /x y process 7 exited with return code 100.");
        assert_eq!(told(9), "Managed /x y process 7 killed by signal 9 [SIGKILL - Kill, unblockable].");
        assert_eq!(told(64), "Managed /x y process 7 killed by signal 64.");
        assert_eq!(obituary("/x", 7, None).1, "Managed /x process 7 went away strangely (!)");
    }

    #[test]
    fn exit_code_100_is_for_ever_and_others_come_back() {
        with_clients(&[client("/bin/sh -c 'exit 100'", false)], async |mut respawn| {
            respawn.begin();
            let (_, event) = next(&mut respawn).await;
            assert!(matches!(event, RespawnEvent::Ended { .. }));
            assert_eq!(respawn.clients[0].state, State::Idle);
        });
        with_clients(&[client("/bin/sh -c 'exit 3'", false)], async |mut respawn| {
            respawn.begin();
            next(&mut respawn).await;
            assert_eq!((respawn.clients[0].state, respawn.clients[0].short_lives), (State::Pausing, 1));
            let (_, event) = next(&mut respawn).await;
            assert!(matches!(event, RespawnEvent::Due { .. }));
            assert!(matches!(respawn.clients[0].state, State::Running(_)));
        });
    }

    #[test]
    fn the_eleventh_short_life_is_the_last() {
        with_clients(&[client("/bin/true", false)], async |mut respawn| {
            respawn.begin();
            for life in 1..=11 {
                loop {
                    if let (_, RespawnEvent::Ended { .. }) = next(&mut respawn).await {
                        break;
                    }
                }
                let expected = if life == 11 { State::Idle } else { State::Pausing };
                assert_eq!(respawn.clients[0].state, expected, "after {life} lives");
                if life < 11 {
                    // not waiting for the pause
                    respawn.handle(&RespawnEvent::Due { index: 0 });
                }
            }
        });
    }

    #[test]
    fn a_fail_fast_program_takes_the_machine_with_it() {
        for (command, expected) in [
            ("/bin/sh -c 'exit 1'", Consequence::Reboot),
            ("/bin/sh -c 'kill -9 $$'", Consequence::Reboot),
            ("/bin/sh -c 'exit 100'", Consequence::Reboot),
            ("/bin/true", Consequence::None),
        ] {
            with_clients(&[client(command, true)], async |mut respawn| {
                respawn.begin();
                assert_eq!(next(&mut respawn).await.0, expected, "{command}");
            });
        }
        with_clients(&[client("/bin/sleep 1000", true)], async |mut respawn| {
            respawn.begin();
            respawn.stop(STOP_PATIENCE);
            assert_eq!(next(&mut respawn).await.0, Consequence::None, "killed by our own signal");
            assert!(respawn.is_stopped());
        });
    }

    #[test]
    fn they_are_stopped_last_first_one_after_another_and_at_last_by_force() {
        let stubborn = "/bin/sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'";
        let clients =
            [client(stubborn, false), client("/bin/sleep 1000", false), client("/bin/sleep 1", false)];
        with_clients(&clients, async |mut respawn| {
            respawn.begin();
            // its trap must be set before the signal comes
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!respawn.is_stopped());
            respawn.stop(Duration::from_millis(600));
            let mut ended = Vec::new();
            while !respawn.is_stopped() {
                if let (_, RespawnEvent::Ended { index, .. }) = next(&mut respawn).await {
                    ended.push(index);
                }
            }
            assert_eq!(ended, [2, 1, 0]);
            respawn.begin();
            assert!(respawn.is_stopped(), "nothing starts after a stop");
        });
    }

    #[test]
    fn what_cannot_be_started_is_tried_again_and_given_up() {
        with_clients(&[Client { built_in: Some("x"), ..client("/x", false) }], async |mut respawn| {
            // this test's own program under another name, as a user that may not be
            respawn.clients[0].client.account.uid = u32::MAX;
            respawn.begin();
            assert_eq!(respawn.clients[0].state, State::Pausing);
            for _ in 0..10 {
                respawn.handle(&RespawnEvent::Due { index: 0 });
            }
            assert_eq!(respawn.clients[0].state, State::Idle);
        });
    }
}
