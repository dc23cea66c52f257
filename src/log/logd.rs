//! The logging daemon's work: clients' records into the log (agents spec 4.1, 4.2).
//!
//! One thread reads all clients and never waits for a disk; the log's writer thread does. Whoever
//! is a user of this machine may connect, so every byte is hostile, and one user's connections
//! must not use up all there are.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::limit::RateLimit;
use super::line::clean;
use super::sinks::Record;
use super::writer::Logger;
use crate::sys::time::monotonic_ms;
use crate::types::LogLevel;
use crate::wire::logd::{LogRecord, LogRecordStream};

/// Connections at once.
const CLIENTS_MAX: usize = 512;
/// Connections at once of one user other than root.
const CLIENTS_PER_USER_MAX: usize = 64;
/// Bytes read from one client before the others have their turn.
const TURN_MAX_BYTES: usize = 64 * 1024;
/// Lines that one record may become; what is beyond stays in the last one.
const LINES_PER_RECORD_MAX: usize = 64;
/// How long a full queue holds the clients up before lines are dropped: a burst loses nothing, a
/// hung disk stops nobody.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(5);
/// Lines about clients that send nonsense, per minute and kind.
const COMPLAINTS_PER_MINUTE: u32 = 5;

/// Makes the socket in place of one that a daemon before left behind, for all users to connect to.
///
/// # Errors
/// The folder is missing or cannot be written; there is no socket then.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Blocks these signals and makes them readable. Before any thread is started: threads inherit what is
/// blocked.
///
/// # Errors
/// The kernel's (it is older than 2.6.27).
pub fn take_signals(signals: &[Signal]) -> io::Result<SignalFd> {
    let signals: SigSet = signals.iter().copied().collect();
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Reads clients until SIGTERM or SIGINT; then what they have sent by that time is still taken.
/// SIGHUP reopens the log files.
///
/// # Errors
/// poll(2) failed, or the daemon cannot accept any more.
pub fn serve(listener: &UnixListener, signals: &SignalFd, logger: &Logger) -> io::Result<()> {
    let mut server = Server {
        logger: logger.clone(),
        clients: Vec::new(),
        complaints: RateLimit::new(COMPLAINTS_PER_MINUTE, 60_000),
        stuck: false,
        buffer: vec![0; TURN_MAX_BYTES],
    };
    loop {
        let (news, calls, readable) = server.wait(listener, signals)?;
        server.read_clients(&readable);
        if calls {
            server.accept(listener);
        }
        if news && !server.signals(signals) {
            return Ok(());
        }
    }
}

struct Client {
    stream: UnixStream,
    user: u32,
    records: LogRecordStream,
    gone: bool,
}

struct Server {
    logger: Logger,
    clients: Vec<Client>,
    complaints: RateLimit,
    /// The writer takes nothing: lines are dropped at once until it does again.
    stuck: bool,
    buffer: Vec<u8>,
}

impl Server {
    /// Whether there are signals, connections, and which clients can be read.
    fn wait(&self, listener: &UnixListener, signals: &SignalFd) -> io::Result<(bool, bool, Vec<bool>)> {
        let watch = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut watched = vec![watch(signals.as_fd()), watch(listener.as_fd())];
        watched.extend(self.clients.iter().map(|client| watch(client.stream.as_fd())));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok((false, false, vec![false; self.clients.len()])),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = watched.iter().map(|one| one.any() != Some(false)).collect();
        Ok((ready[0], ready[1], ready[2..].to_vec()))
    }

    /// `false`: it is time to end.
    fn signals(&mut self, signals: &SignalFd) -> bool {
        let mut goes_on = true;
        while let Ok(Some(signal)) = signals.read_signal() {
            if signal.ssi_signo == Signal::SIGHUP as u32 {
                self.logger.reopen();
                self.logger.log(LogLevel::Info, "SIGHUP received, re-opened log files");
            } else {
                self.logger.log(LogLevel::Debug, "logd_term_action: received SIGTERM");
                goes_on = false;
            }
        }
        if !goes_on {
            self.read_clients(&vec![true; self.clients.len()]);
        }
        goes_on
    }

    fn accept(&mut self, listener: &UnixListener) {
        // What does not fit into a turn is still there for the next.
        for _ in 0..CLIENTS_PER_USER_MAX {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.complain("accept", &format!("a connection was lost: {error}"));
                    // No descriptors left, perhaps: others need a moment to give some back.
                    return std::thread::sleep(PAUSE);
                }
            };
            let credentials = getsockopt(&stream, PeerCredentials);
            let user = credentials.map_or(u32::MAX, |credentials| credentials.uid());
            let of_user = self.clients.iter().filter(|client| client.user == user).count();
            if self.clients.len() >= CLIENTS_MAX || (user != 0 && of_user >= CLIENTS_PER_USER_MAX) {
                let text = format!(
                    "user {user} has {of_user} connections, there are {} in all: one more was refused",
                    self.clients.len()
                );
                self.complain("connections", &text);
            } else if stream.set_nonblocking(true).is_ok() {
                let records = LogRecordStream::default();
                self.clients.push(Client { stream, user, records, gone: false });
            }
        }
    }

    fn read_clients(&mut self, readable: &[bool]) {
        let mut clients = std::mem::take(&mut self.clients);
        for (client, _) in clients.iter_mut().zip(readable).filter(|(_, readable)| **readable) {
            self.read_client(client);
        }
        clients.retain(|client| !client.gone);
        self.clients = clients;
    }

    fn read_client(&mut self, client: &mut Client) {
        let mut buffer = std::mem::take(&mut self.buffer);
        match client.stream.read(&mut buffer) {
            Ok(0) => client.gone = true,
            Ok(length) => {
                let outcome = client.records.read(&buffer[..length], |record| self.take(record));
                let user = client.user;
                match outcome {
                    Ok(0) => {}
                    Ok(odd) => {
                        self.complain(
                            "records",
                            &format!("{odd} messages of user {user} are no log records"),
                        );
                    }
                    Err(error) => {
                        client.gone = true;
                        let text = format!("user {user} sent {error}: the connection was closed");
                        self.complain("frames", &text);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => client.gone = true,
        }
        self.buffer = buffer;
    }

    fn complain(&mut self, kind: &str, text: &str) {
        if let Some(text) = self.complaints.check(kind, monotonic_ms()).apply(text) {
            self.logger.log(LogLevel::Warning, &text);
        }
    }

    /// One line in the log for each line of a record, so that none can pass for another's.
    fn take(&mut self, record: LogRecord) {
        let entity = clean(&record.entity).into_owned();
        let text = record.text.trim_end_matches('\n');
        for line in text.splitn(LINES_PER_RECORD_MAX, '\n') {
            self.hand_over(Record {
                unix_s: record.unix_s,
                entity: Some(entity.as_str().into()),
                pid: record.pid,
                level: record.level,
                shows_level: record.shows_level,
                text: super::line::cut(line).into(),
            });
        }
    }

    fn hand_over(&mut self, mut record: Record) {
        let begin = Instant::now();
        loop {
            match self.logger.offer(record) {
                Ok(()) => {
                    self.stuck = false;
                    return;
                }
                Err(back) => record = back,
            }
            if self.stuck || begin.elapsed() >= PATIENCE {
                self.stuck = true;
                return self.logger.count_dropped();
            }
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogTargets;
    use std::io::Write;
    use std::path::PathBuf;

    struct World {
        folder: tempfile::TempDir,
        logger: Logger,
        listener: UnixListener,
    }

    impl World {
        fn new(log_file: Option<PathBuf>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let log_file = log_file.or_else(|| Some(folder.path().join("log")));
            let targets = LogTargets { log_file, host: "node1".into(), ..LogTargets::none("logd") };
            let logger = Logger::start(targets).unwrap();
            let listener = bind(&folder.path().join("log_daemon")).unwrap();
            Self { folder, logger, listener }
        }

        fn server(&self) -> Server {
            Server {
                logger: self.logger.clone(),
                clients: Vec::new(),
                complaints: RateLimit::new(COMPLAINTS_PER_MINUTE, 60_000),
                stuck: false,
                buffer: vec![0; TURN_MAX_BYTES],
            }
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(self.folder.path().join("log_daemon")).unwrap()
        }

        fn text(&self) -> String {
            assert!(self.logger.flush(Duration::from_secs(20)));
            std::fs::read_to_string(self.folder.path().join("log")).unwrap()
        }

        fn turn(&self, server: &mut Server) {
            server.accept(&self.listener);
            for _ in 0..100 {
                server.read_clients(&vec![true; server.clients.len()]);
            }
        }
    }

    fn frame(entity: &str, text: &str) -> Vec<u8> {
        let (pid, unix_s, level) = (7, 0, LogLevel::Info);
        let (entity, text) = (entity.to_owned(), text.to_owned());
        LogRecord { facility: 1, level, shows_level: true, pid, entity, unix_s, text }.encode(9999)
    }

    #[test]
    fn records_end_in_the_log_and_none_passes_for_another() {
        let world = World::new(None);
        let mut server = world.server();
        let mut client = world.connect();
        client.write_all(&frame("tool", "one")).unwrap();
        client.write_all(&frame("a\nb", "two\nJan 01 forged\r\n")).unwrap();
        client.write_all(&frame("tool", "")).unwrap();
        world.turn(&mut server);
        let text = world.text();
        let lines: Vec<_> = text.lines().map(|line| line.split_once(" node1 ").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "tool: [7]: info: one",
                "a\\nb: [7]: info: two",
                "a\\nb: [7]: info: Jan 01 forged",
                "tool: [7]: info: "
            ]
        );
    }

    #[test]
    fn nonsense_ends_its_own_connection_only() {
        let world = World::new(None);
        let mut server = world.server();
        let mut good = world.connect();
        for nonsense in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 4000], &[0; 8]] {
            world.connect().write_all(nonsense).unwrap();
            let mut cut_off = world.connect();
            cut_off.write_all(&frame("tool", "half a frame")[..50]).unwrap();
            world.turn(&mut server);
        }
        good.write_all(&frame("tool", "still here")).unwrap();
        world.turn(&mut server);
        assert_eq!(server.clients.len(), 1);
        let text = world.text();
        assert!(text.contains("still here") && !text.contains("half a frame"), "{text}");
        assert!(text.contains("the connection was closed"), "{text}");
    }

    #[test]
    fn connections_are_bounded() {
        let world = World::new(None);
        let mut server = world.server();
        let mut open = Vec::new();
        for _ in 0..CLIENTS_MAX + 8 {
            open.push(world.connect());
            server.accept(&world.listener);
        }
        assert!(server.clients.len() <= CLIENTS_MAX);
        assert!(world.text().contains("one more was refused"));
        open.clear();
        world.turn(&mut server);
        assert!(server.clients.is_empty());
    }

    #[test]
    fn a_hung_disk_costs_clients_a_moment_and_lost_lines_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let world = World::new(Some(fifo.clone()));
        let mut server = world.server();
        let record = || LogRecord {
            facility: 1,
            level: LogLevel::Info,
            shows_level: true,
            pid: 7,
            entity: "tool".into(),
            unix_s: 0,
            text: "line".into(),
        };
        let begin = Instant::now();
        for _ in 0..3 * super::super::writer::QUEUE_MAX_LINES {
            server.take(record());
        }
        assert!(server.stuck && begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        let reader = std::thread::spawn(move || {
            use std::io::BufRead;
            let lines = io::BufReader::new(std::fs::File::open(fifo).unwrap()).lines();
            lines.map(Result::unwrap).find(|line| line.contains("messages were dropped"))
        });
        let report = reader.join().unwrap().unwrap();
        assert!(report.contains("logd: [") && report.contains("ERROR: cl_log: "), "{report}");
    }
}
