//! One machine of a demo world, seen from outside: run and start programs, read and write files.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{HostKind, MACHINE};
use super::protocol::{Answer, Output, ProcessUse, Reply, Request};

/// Where the daemon is on a host of either kind.
pub const DAEMON: &str = "/usr/libexec/heartbeat/heartbeat";
/// Where `hb_standby` and `hb_takeover` are on a host of either kind.
pub const COMMANDS: &str = "/usr/share/heartbeat";
/// The daemon's log in the configuration that [`super::world::World::configure`] writes.
pub const LOG: &str = "/var/log/ha-log";
/// What a daemon started by [`Host::start_daemon`] says outside of its log.
pub const DAEMON_OUTPUT: &str = "/var/log/daemon-output";

/// Longest run of a program asked for by [`Host::run`].
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// An agent that does not answer within this time counts as gone.
const ANSWER_LIMIT: Duration = Duration::from_secs(90);

/// Something in a world did not work.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// No host of this name.
    #[error("no host called {0}")]
    NoSuchHost(String),
    /// The host is switched off.
    #[error("{0} is switched off")]
    Off(String),
    /// The agent inside refused or failed; what it did before is left as it is.
    #[error("{host}: {reason}")]
    Failed {
        /// The host.
        host: String,
        /// In the words of the failing part.
        reason: String,
    },
    /// The agent inside is gone or speaks nonsense.
    #[error("{host}: its first process does not answer: {reason}")]
    Silent {
        /// The host.
        host: String,
        /// What was seen instead of an answer.
        reason: String,
    },
    /// A condition did not come true in time.
    #[error("{what} did not happen within {limit_ms} ms")]
    TooLate {
        /// The condition.
        what: String,
        /// The time it had.
        limit_ms: u64,
    },
}

/// The words put before our daemon's command, separated by blanks. The program is looked up among
/// the machine's own files: a host may have a private folder in its place.
fn daemon_prefix() -> Vec<String> {
    let given = std::env::var("HA_DEMO_DAEMON_PREFIX").unwrap_or_default();
    let mut words: Vec<String> = given.split_whitespace().map(str::to_owned).collect();
    if let Some(program) = words.first_mut().filter(|program| program.starts_with('/')) {
        program.insert_str(0, MACHINE);
    }
    words
}

/// The world's end of the connection to an agent.
pub(crate) struct Agent {
    child: Child,
    reader: BufReader<UnixStream>,
    name: String,
    /// Process number, within the host, of a daemon in the foreground.
    daemon: Option<u32>,
}

impl Agent {
    /// Starts `binary` as an agent with the given words behind `--inner`.
    pub(crate) fn start(binary: &Path, name: &str, words: &[String]) -> Result<Self, WorldError> {
        let silent = |error: std::io::Error| WorldError::Silent {
            host: name.to_owned(),
            reason: format!("start of {}: {error}", binary.display()),
        };
        let (near, far) = UnixStream::pair().map_err(silent)?;
        near.set_read_timeout(Some(ANSWER_LIMIT)).map_err(silent)?;
        let child = Command::new(binary)
            .args(["demo", "--inner"])
            .args(words)
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(silent)?;
        Ok(Self { child, reader: BufReader::new(near), name: name.to_owned(), daemon: None })
    }

    /// Process number as this machine counts; for a host, of a process in its network namespace.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next reply, asked for or not.
    pub(crate) fn hear(&mut self) -> Result<Reply, WorldError> {
        let mut line = String::new();
        let silent = |reason: String| WorldError::Silent { host: self.name.clone(), reason };
        match self.reader.read_line(&mut line) {
            Ok(0) => Err(silent("it has ended".into())),
            Ok(_) => serde_json::from_str(&line).map_err(|error| silent(error.to_string())),
            Err(error) => Err(silent(error.to_string())),
        }
    }

    /// Asks and waits for the reply.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Reply, WorldError> {
        let silent = |reason: String| WorldError::Silent { host: self.name.clone(), reason };
        let mut line = serde_json::to_vec(request).map_err(|error| silent(error.to_string()))?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line).map_err(|error| silent(error.to_string()))?;
        match self.hear()? {
            Reply::Failed(reason) => Err(WorldError::Failed { host: self.name.clone(), reason }),
            reply => Ok(reply),
        }
    }
}

impl Drop for Agent {
    /// Power off: the first process dies, the kernel kills all others of the host with it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One host. Methods take `&self` and may be called from several threads; the host does one thing
/// at a time.
pub struct Host {
    pub(crate) name: String,
    pub(crate) kind: HostKind,
    /// Its place in the world: last byte of its addresses, and what its answering service says.
    pub(crate) index: u8,
    agent: Mutex<Option<Agent>>,
}

impl Host {
    pub(crate) fn new(name: &str, kind: HostKind, index: u8) -> Self {
        Self { name: name.to_owned(), kind, index, agent: Mutex::new(None) }
    }

    pub(crate) fn agent(&self) -> MutexGuard<'_, Option<Agent>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its name, which is also what `uname -n` says in it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What runs on it.
    pub fn kind(&self) -> HostKind {
        self.kind
    }

    /// The number its answering service gives ([`Answer::host`]).
    pub fn index(&self) -> u8 {
        self.index
    }

    /// Whether it is switched on.
    pub fn is_on(&self) -> bool {
        self.agent().is_some()
    }

    pub(crate) fn ask(&self, request: &Request) -> Result<Reply, WorldError> {
        match self.agent().as_mut() {
            Some(agent) => agent.ask(request),
            None => Err(WorldError::Off(self.name.clone())),
        }
    }

    fn odd(&self, reply: &Reply) -> WorldError {
        WorldError::Silent { host: self.name.clone(), reason: format!("unexpected reply {reply:?}") }
    }

    /// Runs a program of the host and waits for its end, at most a minute; not for daemons that it
    /// leaves behind. Whatever its exit code, this is a success.
    ///
    /// # Errors
    /// It cannot be started, or the host is off.
    pub fn run(&self, argv: &[&str]) -> Result<Output, WorldError> {
        self.run_with_input(argv, "", RUN_LIMIT)
    }

    /// As [`Host::run`], with standard input and a limit; when that has passed the program is
    /// killed and the exit code is `None`.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn run_with_input(&self, argv: &[&str], input: &str, limit: Duration) -> Result<Output, WorldError> {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let limit_ms = limit.as_millis() as u64;
        match self.ask(&Request::Run { argv, input: input.to_owned(), limit_ms })? {
            Reply::Ran(output) => Ok(output),
            other => Err(self.odd(&other)),
        }
    }

    /// Starts a program in the background; what it writes is appended to the host's file `output`.
    /// The value is its process number within the host.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn spawn(&self, argv: &[&str], output: &str) -> Result<u32, WorldError> {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        match self.ask(&Request::Spawn { argv, output: output.to_owned() })? {
            Reply::Started { pid } => Ok(pid),
            other => Err(self.odd(&other)),
        }
    }

    /// Exit code of a program started by [`Host::spawn`], `None` while it runs.
    ///
    /// # Errors
    /// The host is off.
    pub fn ended(&self, pid: u32) -> Result<Option<i32>, WorldError> {
        match self.ask(&Request::Ended { pid })? {
            Reply::Ended(code) => Ok(code),
            other => Err(self.odd(&other)),
        }
    }

    /// Starts the cluster daemon. Ours stays in the foreground (`-f`), so that its end is seen
    /// ([`Host::daemon_ended`]); the original goes to the background. The words of
    /// `HA_DEMO_DAEMON_PREFIX`, a command of this machine that becomes what follows it, are put
    /// before ours.
    ///
    /// # Errors
    /// It did not start; the text holds what it said.
    pub fn start_daemon(&self) -> Result<(), WorldError> {
        if self.kind == HostKind::Ours {
            let prefix = daemon_prefix();
            let words: Vec<&str> = prefix.iter().map(String::as_str).chain([DAEMON, "-f"]).collect();
            let pid = self.spawn(&words, DAEMON_OUTPUT)?;
            if let Some(agent) = self.agent().as_mut() {
                agent.daemon = Some(pid);
            }
            return Ok(());
        }
        let output = self.run(&[DAEMON])?;
        match output.code {
            Some(0) => Ok(()),
            code => Err(WorldError::Failed {
                host: self.name.clone(),
                reason: format!("{DAEMON} ended with {code:?}: {}{}", output.stdout, output.stderr),
            }),
        }
    }

    /// Exit code of the daemon that [`Host::start_daemon`] started last since the host's boot;
    /// `None` while it runs, and always for the original.
    ///
    /// # Errors
    /// The host is off.
    pub fn daemon_ended(&self) -> Result<Option<i32>, WorldError> {
        let daemon = self.agent().as_ref().and_then(|agent| agent.daemon);
        daemon.map_or(Ok(None), |pid| self.ended(pid))
    }

    /// Stops the daemon as an administrator does (`heartbeat -k`).
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn stop_daemon(&self) -> Result<Output, WorldError> {
        self.run(&[DAEMON, "-k"])
    }

    /// Runs `hb_standby` or `hb_takeover` with its arguments.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn command(&self, name: &str, arguments: &[&str]) -> Result<Output, WorldError> {
        let program = format!("{COMMANDS}/{name}");
        let argv: Vec<&str> = [program.as_str()].into_iter().chain(arguments.iter().copied()).collect();
        self.run(&argv)
    }

    /// Writes a file with mode 644, making its folder where needed.
    ///
    /// # Errors
    /// The file cannot be written, or the host is off.
    pub fn write_file(&self, path: &str, text: &str) -> Result<(), WorldError> {
        self.write_file_with_mode(path, text, 0o644)
    }

    /// As [`Host::write_file`] with permission bits.
    ///
    /// # Errors
    /// As [`Host::write_file`].
    pub fn write_file_with_mode(&self, path: &str, text: &str, mode: u32) -> Result<(), WorldError> {
        self.ask(&Request::Write { path: path.to_owned(), text: text.to_owned(), mode }).map(drop)
    }

    /// A file's text; empty when there is no such file.
    ///
    /// # Errors
    /// The file cannot be read, or the host is off.
    pub fn read_file(&self, path: &str) -> Result<String, WorldError> {
        match self.ask(&Request::Read { path: path.to_owned() })? {
            Reply::Text(text) => Ok(text.unwrap_or_default()),
            other => Err(self.odd(&other)),
        }
    }

    /// The IPv4 addresses of the host.
    ///
    /// # Errors
    /// The host is off.
    pub fn addresses(&self) -> Result<Vec<Ipv4Addr>, WorldError> {
        match self.ask(&Request::Addresses)? {
            Reply::Addresses(addresses) => Ok(addresses),
            other => Err(self.odd(&other)),
        }
    }

    /// Sends a signal to every process of the host except its first.
    ///
    /// # Errors
    /// The host is off.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<(), WorldError> {
        self.ask(&Request::Signal { number: signal as i32 }).map(drop)
    }

    /// The processes of the host except its first, with what they use.
    ///
    /// # Errors
    /// The host is off.
    pub fn processes(&self) -> Result<Vec<ProcessUse>, WorldError> {
        match self.ask(&Request::Processes)? {
            Reply::Processes(processes) => Ok(processes),
            other => Err(self.odd(&other)),
        }
    }

    pub(crate) fn answers(&self, from: usize) -> Result<Vec<Answer>, WorldError> {
        match self.ask(&Request::Answers { from })? {
            Reply::Answers(answers) => Ok(answers),
            other => Err(self.odd(&other)),
        }
    }
}
