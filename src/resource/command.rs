//! External programs that agents need: run with their output captured, their messages in English, and
//! a time limit where one is asked for.
//!
//! Without a limit a program may take as long as it likes, as an administrator's script may (design 3),
//! and ends with the agent's process group. With one it leads a group of its own, which is ended whole.

use std::fmt;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use super::script_log::ScriptLog;
use super::{Context, ExitCode};

/// Kept of each stream; what comes after it is read and dropped.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// How often it is looked whether a silent program ended without closing its output, because a program
/// that it started holds it.
const HELD_OUTPUT_CHECK: Duration = Duration::from_millis(20);
/// Between SIGTERM and SIGKILL for a program that exceeded its limit.
const GRACE: Duration = Duration::from_secs(2);
/// Searched behind PATH: an agent is also called with the PATH of a user.
const MORE_DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A program to be run.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    limit: Option<Duration>,
    input: Vec<u8>,
    merged: bool,
}

/// A program that ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finished {
    /// Exit code as the shell counts it: 128 and the signal for one that was killed.
    pub code: u8,
    /// At most 64 KiB of standard output; what is no UTF-8 is replaced.
    pub stdout: String,
    /// The same of standard error; empty when it went where standard output goes.
    pub stderr: String,
}

/// Why there is no exit code.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such program. Nothing was done.
    #[error("{0}: there is no such program")]
    NotFound(String),
    /// It took longer than it was allowed to, and was ended. What it has done stays.
    #[error("{name} did not end within {} s and was killed", limit.as_secs())]
    TimedOut {
        /// The program.
        name: String,
        /// What it was allowed.
        limit: Duration,
    },
    /// It could not be run, or its output could not be read.
    #[error("{name}: {error}")]
    Io {
        /// The program.
        name: String,
        /// Why.
        error: io::Error,
    },
}

impl Program {
    /// A program by its path, or by its name in PATH and the usual folders.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let mut command = Command::new(find(&name).unwrap_or_else(|| PathBuf::from(&name)));
        command.env("LC_ALL", "C").env_remove("LANG").env_remove("LANGUAGE");
        Self { name, command, limit: None, input: Vec::new(), merged: false }
    }

    /// More arguments.
    #[must_use]
    pub fn args<T: AsRef<std::ffi::OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.command.args(arguments);
        self
    }

    /// A variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// How long it may take. Then it is asked to end, and two seconds later killed, with everything
    /// that it started.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// What it reads from standard input; nothing otherwise.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Standard error goes where standard output goes.
    #[must_use]
    pub fn merged(mut self) -> Self {
        self.merged = true;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When there is no exit code; see [`RunError`].
    pub fn run(mut self) -> Result<Finished, RunError> {
        let name = self.name.clone();
        self.run_inside().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RunError::NotFound(name),
            io::ErrorKind::TimedOut => {
                RunError::TimedOut { name, limit: self.limit.unwrap_or(Duration::ZERO) }
            }
            _ => RunError::Io { name, error },
        })
    }

    /// What the original's `ocf_run` does: runs it and logs its output, white space squeezed, as
    /// information on success and as an error otherwise. The value says whether it succeeded.
    pub fn run_logged(self, log: &ScriptLog) -> bool {
        let line = self.to_string();
        match self.merged().run() {
            Ok(finished) => {
                let output = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                match (finished.code, output.is_empty()) {
                    (0, true) => (),
                    (0, false) => log.info(&output),
                    (_, true) => log.error(&format!("command failed: {line}")),
                    (_, false) => log.error(&output),
                }
                finished.code == 0
            }
            Err(error) => {
                log.error(&error.to_string());
                false
            }
        }
    }

    fn run_inside(&mut self) -> io::Result<Finished> {
        let (output, write_end) = io::pipe()?;
        let mut streams = vec![Stream::new(output)?];
        if self.merged {
            self.command.stderr(write_end.try_clone()?);
        } else {
            let (errors, errors_end) = io::pipe()?;
            streams.push(Stream::new(errors)?);
            self.command.stderr(errors_end);
        }
        self.command.stdout(write_end);
        self.command.stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() });
        if self.limit.is_some() {
            self.command.process_group(0);
        }
        let mut child = self.command.spawn()?;
        // Our copies of the write ends go, else no stream would ever end.
        self.command = Command::new("");
        let mut input = Input { pipe: child.stdin.take().map(OwnedFd::from), rest: &self.input };
        input.set_nonblocking()?;
        let status = wait(&mut child, &mut streams, &mut input, self.limit)?;
        let text = |stream: Option<&Stream>| {
            stream.map(|stream| String::from_utf8_lossy(&stream.kept).into_owned()).unwrap_or_default()
        };
        Ok(Finished { code: exit_code(status), stdout: text(streams.first()), stderr: text(streams.get(1)) })
    }
}

/// The command line, for messages.
impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        self.command.get_args().try_for_each(|argument| write!(formatter, " {}", argument.to_string_lossy()))
    }
}

/// The file of a program: executable, in PATH or one of the usual folders. A name with a slash is a path.
pub fn find(name: &str) -> Option<PathBuf> {
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let given = std::env::split_paths(&path).filter(|directory| directory.is_absolute());
    given
        .chain(MORE_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| executable(path))
}

/// What the original's `check_binary` does: without the program, an error and its exit code.
pub fn require(context: &Context, name: &str) -> Result<PathBuf, ExitCode> {
    find(name).ok_or_else(|| {
        context.exit_reason(&format!("Setup problem: couldn't find command: {name}"));
        ExitCode::NotInstalled
    })
}

/// Exit code as the shell counts it.
pub fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => 128_u8.saturating_add(signal as u8),
        (None, None) => 1,
    }
}

/// One stream of output.
struct Stream {
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
}

impl Stream {
    fn new(pipe: PipeReader) -> io::Result<Self> {
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { pipe: Some(pipe), kept: Vec::new() })
    }

    /// Takes what is there.
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    let room = OUTPUT_MAX_BYTES - self.kept.len();
                    self.kept.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is still to be written to the program.
struct Input<'a> {
    pipe: Option<OwnedFd>,
    rest: &'a [u8],
}

impl Input<'_> {
    fn set_nonblocking(&self) -> io::Result<()> {
        if let Some(pipe) = &self.pipe {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(())
    }

    /// Writes what goes. A program that does not want its input is no error.
    fn feed(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let mut file = std::fs::File::from(pipe);
        loop {
            match file.write(self.rest) {
                Ok(0) => return,
                Ok(length) => self.rest = &self.rest[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        self.pipe = Some(file.into());
    }
}

/// Reads and writes until the program ended; what it wrote is read then, what a program that it started
/// writes later is not waited for.
fn wait(
    child: &mut Child,
    streams: &mut [Stream],
    input: &mut Input<'_>,
    limit: Option<Duration>,
) -> io::Result<ExitStatus> {
    let start = Instant::now();
    loop {
        wait_for_any(streams, input);
        input.feed();
        streams.iter_mut().try_for_each(Stream::drain)?;
        let closed = streams.iter().all(|stream| stream.pipe.is_none());
        let status = if closed && limit.is_none() { Some(child.wait()?) } else { child.try_wait()? };
        if let Some(status) = status {
            streams.iter_mut().try_for_each(Stream::drain)?;
            return Ok(status);
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            end_group(child)?;
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

fn wait_for_any(streams: &[Stream], input: &Input<'_>) {
    let readable = streams.iter().filter_map(|stream| stream.pipe.as_ref());
    let mut waiting: Vec<PollFd<'_>> =
        readable.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)).collect();
    waiting.extend(input.pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
    let timeout = PollTimeout::try_from(HELD_OUTPUT_CHECK).unwrap_or(PollTimeout::ZERO);
    // An interruption only means an early look.
    let _ = poll(&mut waiting, timeout);
}

/// Ends a program and everything in its group.
fn end_group(child: &mut Child) -> io::Result<()> {
    let group = Pid::from_raw(child.id() as i32);
    // That the group is gone is what is wanted.
    let _ = killpg(group, Signal::SIGTERM);
    let end = Instant::now() + GRACE;
    while child.try_wait()?.is_none() && Instant::now() < end {
        std::thread::sleep(HELD_OUTPUT_CHECK);
    }
    let _ = killpg(group, Signal::SIGKILL);
    // One that hangs in the kernel dies when the kernel lets it.
    child.try_wait().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Program {
        Program::new("sh").args(["-c", text])
    }

    #[test]
    fn output_code_and_input() {
        let finished = shell("cat; echo err >&2; exit 3").input("text").run().unwrap();
        assert_eq!(finished, Finished { code: 3, stdout: "text".into(), stderr: "err\n".into() });
        let finished = shell("echo out; echo err >&2; kill -9 $$").merged().run().unwrap();
        assert_eq!(finished, Finished { code: 137, stdout: "out\nerr\n".into(), stderr: String::new() });
        assert!(matches!(Program::new("no such program").run(), Err(RunError::NotFound(_))));
    }

    #[test]
    fn much_input_and_output_do_not_block_each_other() {
        let input = vec![b'x'; 300_000];
        let finished = Program::new("cat").input(input.clone()).run().unwrap();
        assert_eq!((finished.code, finished.stdout.len()), (0, OUTPUT_MAX_BYTES));
        // What a program does not read does not matter.
        assert_eq!(Program::new("true").input(input).run().unwrap().code, 0);
    }

    #[test]
    fn a_program_that_exceeds_its_limit_ends_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let start = Instant::now();
        let text = format!("sleep 60 & echo $! >{}; wait", file.display());
        let error = shell(&text).limit(Duration::from_millis(300)).run().unwrap_err();
        assert!(matches!(error, RunError::TimedOut { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while crate::sys::process::is_alive(pid) {
            assert!(Instant::now() < end);
            std::thread::sleep(HELD_OUTPUT_CHECK);
        }
    }

    #[test]
    fn output_that_somebody_else_holds_is_not_waited_for() {
        let start = Instant::now();
        let finished = shell("sleep 5 & echo done").run().unwrap();
        assert_eq!(finished.stdout, "done\n");
        assert!(start.elapsed() < Duration::from_secs(4));
    }
}
