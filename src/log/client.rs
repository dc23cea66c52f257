//! The way to the logging daemon (agents spec 4.2). It may be stopped, hung or gone: a line waits
//! for it only for a moment, and then goes where lines go without it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{connect, send, socket, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};

use super::line::TEXT_MAX_BYTES;
use super::sinks::Record;
use crate::sys::time::monotonic_ms;
use crate::wire::logd::LogRecord;

/// How long the daemon may take to make room for a line. The writer's queue takes what comes in the
/// meantime.
const PATIENCE: Duration = Duration::from_millis(300);

/// Facility in the records; the daemon uses its own.
const FACILITY_DAEMON: u8 = 3;

/// A connection to the daemon's socket that never waits in a system call.
#[derive(Debug)]
pub(super) struct Connection(OwnedFd);

impl Connection {
    /// Connects. A daemon that takes no more connections for now counts as not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let descriptor = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(descriptor.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self(descriptor))
    }

    /// Sends a whole frame, waiting for room at most `patience`. After an error the connection is of
    /// no use: part of the frame may be on its way.
    pub(super) fn send(&self, frame: &[u8], patience: Duration) -> io::Result<()> {
        let end = Instant::now() + patience;
        let mut rest = frame;
        while !rest.is_empty() {
            match send(self.0.as_raw_fd(), rest, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => self.wait(end)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn wait(&self, end: Instant) -> io::Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let left_ms = u16::try_from(left.as_millis()).unwrap_or(u16::MAX).max(1);
        let mut watched = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut watched, PollTimeout::from(left_ms)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The daemon has it.
    Taken,
    /// The daemon is not asked for now.
    Elsewhere,
    /// It was asked and is not there; it is left alone for `conn_logd_time`.
    Unreachable,
}

/// Hands over lines and remembers when the daemon was last missed.
#[derive(Debug)]
pub(super) struct LogdClient {
    path: PathBuf,
    retry_ms: u64,
    connection: Option<Connection>,
    next_try_ms: u64,
}

impl LogdClient {
    pub(super) fn new(path: &Path, retry_ms: u64) -> Self {
        Self { path: path.to_owned(), retry_ms, connection: None, next_try_ms: 0 }
    }

    /// Sends a line of the program `entity`. A daemon that went away may be back under the same
    /// name, so a connection that broke is made anew once.
    pub(super) fn send(&mut self, record: &Record, entity: &str) -> Outcome {
        if self.connection.is_none() && monotonic_ms() < self.next_try_ms {
            return Outcome::Elsewhere;
        }
        let frame = LogRecord {
            facility: FACILITY_DAEMON,
            level: record.level,
            shows_level: record.shows_level,
            pid: record.pid,
            entity: record.entity.as_deref().unwrap_or(entity).to_owned(),
            unix_s: record.unix_s,
            text: record.text.to_string(),
        }
        .encode(TEXT_MAX_BYTES);
        if let Some(connection) = self.connection.take() {
            match connection.send(&frame, PATIENCE) {
                Ok(()) => {
                    self.connection = Some(connection);
                    return Outcome::Taken;
                }
                // It is there but takes nothing: asking again now would be for nothing.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return self.missed(),
                Err(_) => {}
            }
        }
        let fresh = Connection::open(&self.path);
        match fresh.and_then(|connection| connection.send(&frame, PATIENCE).map(|()| connection)) {
            Ok(connection) => {
                self.connection = Some(connection);
                Outcome::Taken
            }
            Err(_) => self.missed(),
        }
    }

    fn missed(&mut self) -> Outcome {
        self.next_try_ms = monotonic_ms().saturating_add(self.retry_ms);
        Outcome::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::LogLevel;
    use crate::wire::logd::LogRecordStream;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    fn record(text: &str) -> Record {
        Record::own(7, LogLevel::Info, text)
    }

    fn next_text(listener: &UnixListener) -> String {
        let (mut client, _) = listener.accept().unwrap();
        let (mut bytes, mut texts) = ([0; 4096], Vec::new());
        let length = client.read(&mut bytes).unwrap();
        LogRecordStream::default().read(&bytes[..length], |record| texts.push(record.text)).unwrap();
        texts.concat()
    }

    #[test]
    fn it_finds_a_daemon_that_came_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log_daemon");
        let mut client = LogdClient::new(&path, 3_600_000);
        assert_eq!(client.send(&record("nobody"), "heartbeat"), Outcome::Unreachable);
        assert_eq!(client.send(&record("nobody"), "heartbeat"), Outcome::Elsewhere);
        client.next_try_ms = 0;
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(client.send(&record("one"), "heartbeat"), Outcome::Taken);
        assert_eq!(next_text(&listener), "one");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(client.send(&record("two"), "heartbeat"), Outcome::Taken);
        assert_eq!(next_text(&listener), "two");
    }

    #[test]
    fn a_stopped_daemon_costs_a_moment_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log_daemon");
        let _listener = UnixListener::bind(&path).unwrap();
        let mut client = LogdClient::new(&path, 3_600_000);
        let text = "x".repeat(5000);
        let taken = (0..10_000).take_while(|_| client.send(&record(&text), "heartbeat") == Outcome::Taken);
        assert!((1..9_999).contains(&taken.count()));
        let begin = Instant::now();
        for _ in 0..1000 {
            assert_eq!(client.send(&record(&text), "heartbeat"), Outcome::Elsewhere);
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
