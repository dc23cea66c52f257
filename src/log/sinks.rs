//! Where lines end: log file, debug file, standard error, syslog. Everything here may wait for a
//! disk, so only the writer thread and a starting program use it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::client::{LogdClient, Outcome};
use super::line::{file_line_with, syslog_datagram_with, word_of, Stamp};
use crate::config::logd_cf::LogdSettings;
use crate::config::settings::LogConfig;
use crate::sys::syslog::{Syslog, SYSLOG_SOCKET};
use crate::sys::time::{monotonic_ms, unix_time_s, LocalClock};
use crate::types::LogLevel;
use crate::wire::logd::LOGD_SOCKET;

/// How often a file is looked at for having been renamed or deleted, and how often a file that
/// cannot be opened is tried again (agents spec 4.1: at most once a minute).
const CHECK_INTERVAL_MS: u64 = 60_000;

/// Bytes gathered for one file before they are written within a batch.
const BUFFER_MAX_BYTES: usize = 32 * 1024;

/// The user whom the original gives its log files to (messaging spec 7.3).
const OWNER: &str = "hacluster";

/// Where lines go and how they look.
#[derive(Debug, Clone)]
pub struct LogTargets {
    /// Everything but debug lines.
    pub log_file: Option<PathBuf>,
    /// Every line. When both files are the same one, each line is written once.
    pub debug_file: Option<PathBuf>,
    /// Syslog facility without the shift, 0 to 23; `None`: no syslog.
    pub facility: Option<u8>,
    /// `syslogmsgfmt`.
    pub syslog_format: bool,
    /// Program name in the line: `heartbeat`.
    pub entity: String,
    /// Node name of uname(2) in the line.
    pub host: String,
    /// Numeric user who gets the files; `None` leaves them with us.
    pub owner: Option<u32>,
    /// The syslog daemon's socket, `/dev/log`.
    pub syslog_socket: PathBuf,
    /// `syslogprefix` of logd.cf: one name for all programs in syslog.
    pub syslog_prefix: Option<String>,
    /// Permissions of new files.
    pub file_mode: u32,
    /// Files are made durable after a batch with a line at ERROR or worse.
    pub sync_errors: bool,
    /// The logging daemon: lines go there, and to all of the above only while it is not there.
    pub logd: Option<LogdTarget>,
}

/// Where the logging daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogdTarget {
    /// Its socket.
    pub socket: PathBuf,
    /// How long it is left alone after it was not there (`conn_logd_time`), milliseconds.
    pub retry_ms: u64,
}

impl LogTargets {
    /// Standard error only; for the time before the configuration is known.
    pub fn none(entity: &str) -> Self {
        Self {
            log_file: None,
            debug_file: None,
            facility: None,
            syslog_format: true,
            entity: entity.to_owned(),
            host: host_name(),
            owner: None,
            syslog_socket: PathBuf::from(SYSLOG_SOCKET),
            syslog_prefix: None,
            file_mode: 0o644,
            sync_errors: false,
            logd: None,
        }
    }

    /// As configured. Looks up the owner of log files once (reads the user database).
    pub fn from_config(config: &LogConfig, entity: &str) -> Self {
        let owner = nix::unistd::User::from_name(OWNER).ok().flatten().map(|user| user.uid.as_raw());
        Self {
            log_file: config.log_file.clone(),
            debug_file: config.debug_file.clone(),
            facility: config.facility,
            syslog_format: config.syslog_format,
            owner,
            logd: config.use_logd.then(|| LogdTarget {
                socket: crate::config::below_root(LOGD_SOCKET),
                retry_ms: config.logd_retry_ms,
            }),
            ..Self::none(entity)
        }
    }

    /// The logging daemon's own, by its logd.cf.
    pub fn of_logd(settings: &LogdSettings) -> Self {
        Self {
            log_file: settings.log_file.clone(),
            debug_file: settings.debug_file.clone(),
            facility: settings.facility,
            syslog_format: settings.syslog_format,
            syslog_prefix: settings.syslog_prefix.clone(),
            file_mode: settings.file_mode & 0o666,
            sync_errors: true,
            ..Self::none(&settings.entity)
        }
    }
}

/// The node name of uname(2), as log lines show it; `localhost` when it is not text.
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "localhost".into())
}

/// One line on its way.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) unix_s: i64,
    /// Another program's name; `None` for this one.
    pub(super) entity: Option<Box<str>>,
    pub(super) pid: u32,
    pub(super) level: LogLevel,
    /// Whether the level's word stands before the text.
    pub(super) shows_level: bool,
    pub(super) text: Box<str>,
}

impl Record {
    /// A line of this program.
    pub(super) fn own(pid: u32, level: LogLevel, text: &str) -> Self {
        let text = super::line::cut(text).into();
        Self { unix_s: unix_time_s(), entity: None, pid, level, shows_level: true, text }
    }
}

/// The open targets.
#[derive(Debug)]
pub(super) struct Sinks {
    targets: LogTargets,
    pub(super) stderr: bool,
    clock: LocalClock,
    log: Option<LogFile>,
    debug: Option<LogFile>,
    syslog: Option<Syslog>,
    logd: Option<LogdClient>,
    sync_due: bool,
}

impl Sinks {
    pub(super) fn new(targets: LogTargets, stderr: bool) -> Self {
        let mut log_file = targets.log_file.clone();
        if log_file == targets.debug_file {
            log_file = None;
        }
        let open = |path: PathBuf| LogFile::new(path, targets.file_mode, targets.owner);
        Self {
            log: log_file.map(open),
            debug: targets.debug_file.clone().map(open),
            syslog: targets.facility.map(|_| Syslog::at(&targets.syslog_socket)),
            logd: targets.logd.as_ref().map(|logd| LogdClient::new(&logd.socket, logd.retry_ms)),
            clock: LocalClock::new(),
            sync_due: false,
            stderr,
            targets,
        }
    }

    /// Puts a line into the files' buffers and sends it to standard error and syslog; or to the
    /// logging daemon in place of files and syslog, where one is wanted and takes it.
    pub(super) fn put(&mut self, record: &Record) {
        let outcome = match &mut self.logd {
            Some(logd) => logd.send(record, &self.targets.entity),
            None => Outcome::Elsewhere,
        };
        if outcome == Outcome::Unreachable {
            let text = "Initializing connection to logging daemon failed. Logging daemon may not be running";
            self.put_here(&Record::own(std::process::id(), LogLevel::Warning, text), false);
        }
        self.put_here(record, outcome == Outcome::Taken);
    }

    /// `taken`: the logging daemon has it, so only standard error gets it.
    fn put_here(&mut self, record: &Record, taken: bool) {
        let time = self.clock.local_time(record.unix_s);
        let LogTargets { host, syslog_format, facility, .. } = &self.targets;
        let entity = record.entity.as_deref().unwrap_or(&self.targets.entity);
        let stamp = Stamp { time, host, entity, pid: record.pid };
        let word = if record.shows_level { word_of(record.level) } else { String::new() };
        let line = file_line_with(&stamp, *syslog_format, &word, &record.text);
        if self.stderr {
            let _ = io::stderr().write_all(line.as_bytes());
        }
        if taken {
            return;
        }
        if let (Some(syslog), Some(facility)) = (&mut self.syslog, facility) {
            let prefix = self.targets.syslog_prefix.as_deref();
            let priority = (*facility, record.level);
            syslog.send(&syslog_datagram_with(&stamp, prefix, priority, &word, &record.text));
        }
        if let Some(debug) = &mut self.debug {
            debug.put(&line);
        }
        if let Some(log) = self.log.as_mut().filter(|_| record.level != LogLevel::Debug) {
            log.put(&line);
        }
        self.sync_due |= self.targets.sync_errors && record.level <= LogLevel::Error;
    }

    /// Writes what the files' buffers hold. A file that cannot be written is reported once in
    /// the other places; when it works again it is told how many lines it lacks.
    pub(super) fn flush(&mut self) {
        let problems = [&mut self.debug, &mut self.log].map(|file| file.as_mut().and_then(LogFile::flush));
        for text in problems.into_iter().flatten() {
            self.put_here(&Record::own(std::process::id(), LogLevel::Error, &text), false);
        }
        if std::mem::take(&mut self.sync_due) {
            for file in [&self.log, &self.debug].into_iter().flatten() {
                file.sync();
            }
        }
    }

    /// Opens the files anew with the next line.
    pub(super) fn reopen(&mut self) {
        for file in [&mut self.log, &mut self.debug].into_iter().flatten() {
            file.close();
        }
    }
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    mode: u32,
    owner: Option<u32>,
    file: Option<File>,
    buffer: Vec<u8>,
    checked_ms: Option<u64>,
    broken: bool,
    lost: u64,
    problem: Option<String>,
}

impl LogFile {
    fn new(path: PathBuf, mode: u32, owner: Option<u32>) -> Self {
        let (file, buffer, checked_ms) = (None, Vec::new(), None);
        Self { path, mode, owner, file, buffer, checked_ms, broken: false, lost: 0, problem: None }
    }

    fn close(&mut self) {
        self.file = None;
        self.checked_ms = None;
    }

    fn sync(&self) {
        if let Some(file) = &self.file {
            let _ = file.sync_data();
        }
    }

    fn put(&mut self, line: &str) {
        if self.buffer.len() + line.len() > BUFFER_MAX_BYTES {
            self.write_out();
        }
        self.buffer.extend_from_slice(line.as_bytes());
    }

    /// Writes the buffer; the text of a new problem, or of the end of one, comes back once.
    fn flush(&mut self) -> Option<String> {
        if !self.buffer.is_empty() {
            self.write_out();
        }
        self.problem.take()
    }

    /// Writes the buffer or loses it.
    fn write_out(&mut self) {
        let result = self.open_if_due().and_then(|()| match &mut self.file {
            Some(file) => file.write_all(&self.buffer).map(|()| true),
            None => Ok(false),
        });
        let path = self.path.display();
        let lines = self.buffer.iter().filter(|byte| **byte == b'\n').count() as u64;
        match result {
            Ok(true) => {
                self.broken = false;
                if self.lost > 0 {
                    let lost = std::mem::take(&mut self.lost);
                    self.problem = Some(format!("cl_log: {lost} messages were dropped for {path}"));
                }
            }
            Ok(false) => self.lost += lines,
            Err(error) => {
                self.file = None;
                self.lost += lines;
                if !self.broken {
                    self.problem = Some(format!(
                        "Cannot write to {path}: {error}. Lines for it are lost until it works again; tried anew each minute"
                    ));
                }
                self.broken = true;
            }
        }
        self.buffer.clear();
    }

    /// Opens the file when it is closed or no longer the one of that name; looks at most once a
    /// minute.
    fn open_if_due(&mut self) -> io::Result<()> {
        let now_ms = monotonic_ms();
        let due = self.checked_ms.is_none_or(|checked| now_ms.saturating_sub(checked) >= CHECK_INTERVAL_MS);
        if !due {
            return Ok(());
        }
        self.checked_ms = Some(now_ms);
        if self.file.as_ref().is_some_and(|file| is_file_at(file, &self.path)) {
            return Ok(());
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(self.mode)
            .custom_flags(nix::libc::O_NOCTTY)
            .open(&self.path)?;
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            if let Some(owner) = self.owner {
                let _ = std::os::unix::fs::fchown(&file, Some(owner), None);
            }
        }
        self.file = Some(file);
        Ok(())
    }
}

/// Whether the open file still bears this name.
fn is_file_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: LogLevel, text: &str) -> Record {
        Record { unix_s: 0, entity: None, pid: 7, level, shows_level: true, text: text.into() }
    }

    fn targets(folder: &Path) -> LogTargets {
        LogTargets {
            log_file: Some(folder.join("ha-log")),
            debug_file: Some(folder.join("ha-debug")),
            host: "node1".into(),
            ..LogTargets::none("heartbeat")
        }
    }

    #[test]
    fn debug_lines_go_to_the_debug_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut sinks = Sinks::new(targets(folder.path()), false);
        sinks.put(&record(LogLevel::Debug, "detail"));
        sinks.put(&record(LogLevel::Info, "fact"));
        sinks.flush();
        let log = std::fs::read_to_string(folder.path().join("ha-log")).unwrap();
        let debug = std::fs::read_to_string(folder.path().join("ha-debug")).unwrap();
        assert!(log.ends_with(" node1 heartbeat: [7]: info: fact\n") && !log.contains("detail"), "{log}");
        assert_eq!(debug.lines().count(), 2);
    }

    #[test]
    fn one_file_for_both_gets_each_line_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha-log");
        let targets = LogTargets { debug_file: Some(path.clone()), ..targets(folder.path()) };
        let mut sinks = Sinks::new(targets, false);
        sinks.put(&record(LogLevel::Info, "fact"));
        sinks.flush();
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
    }

    #[test]
    fn renamed_file_is_left_at_reopen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha-log");
        let mut sinks = Sinks::new(targets(folder.path()), false);
        sinks.put(&record(LogLevel::Info, "one"));
        sinks.flush();
        std::fs::rename(&path, folder.path().join("ha-log.1")).unwrap();
        sinks.put(&record(LogLevel::Info, "two"));
        sinks.flush();
        assert!(!path.exists(), "looked at once a minute at most");
        sinks.reopen();
        sinks.put(&record(LogLevel::Info, "three"));
        sinks.flush();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("three\n"));
    }

    #[test]
    fn file_that_cannot_be_opened_is_reported_once_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/ha-log");
        let shown = missing.display().to_string();
        let mut sinks =
            Sinks::new(LogTargets { log_file: Some(missing.clone()), ..targets(folder.path()) }, false);
        for _ in 0..3 {
            sinks.put(&record(LogLevel::Info, "fact"));
            sinks.flush();
        }
        sinks.flush();
        let debug = std::fs::read_to_string(folder.path().join("ha-debug")).unwrap();
        assert_eq!(debug.matches("ERROR: Cannot write to").count(), 1, "{debug}");
        std::fs::create_dir(missing.parent().unwrap()).unwrap();
        sinks.reopen();
        sinks.put(&record(LogLevel::Info, "works"));
        sinks.flush();
        let text = std::fs::read_to_string(&missing).unwrap();
        assert!(text.ends_with("works\n"), "{text}");
        sinks.flush();
        let text = std::fs::read_to_string(missing).unwrap();
        assert!(text.ends_with(&format!("ERROR: cl_log: 4 messages were dropped for {}\n", shown)), "{text}");
    }
}
