//! Log lines as the original's shell functions write them (agents spec 4.4): the tag names the
//! script, its instance and the process.
//!
//! Nothing here waits for a log daemon; a line that it does not take at once goes on to the next
//! destination.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config;
use crate::sys::time::{local_time, slashed_time, unix_time_s};
use crate::sys::{print, syslog};
use crate::types::LogLevel;
use crate::wire::logd::{LogRecord, LOGD_SOCKET};

/// Longest text of one record for the logging daemon.
const LOGD_TEXT_MAX_BYTES: usize = 1023;
/// Facility in its records, which has no effect.
const LOGD_FACILITY_USER: u8 = 1;

/// A script's log.
#[derive(Debug)]
pub struct ScriptLog {
    tag: String,
    muted: AtomicBool,
    targets: Arc<Targets>,
}

#[derive(Debug)]
struct Targets {
    /// `HA_LOGTAG`: stands for every tag.
    fixed_tag: Option<String>,
    terminal: bool,
    logd: bool,
    facility: Option<u8>,
    log_file: Option<PathBuf>,
    debug_file: Option<PathBuf>,
}

impl ScriptLog {
    /// Reads HA_LOGTAG, HA_LOGD, HA_LOGFACILITY, HA_LOGFILE and HA_DEBUGLOG. `instance` is what
    /// stands in parentheses behind the script's name.
    pub fn from_environment(script: &str, instance: &str) -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let targets = Targets {
            fixed_tag: variable("HA_LOGTAG"),
            terminal: io::stdin().is_terminal(),
            logd: variable("HA_LOGD").as_deref() == Some("yes"),
            facility: variable("HA_LOGFACILITY").and_then(|name| config::syslog_facility(&name)),
            log_file: variable("HA_LOGFILE").map(PathBuf::from),
            debug_file: variable("HA_DEBUGLOG").map(PathBuf::from),
        };
        Self { tag: String::new(), muted: AtomicBool::new(false), targets: Arc::new(targets) }
            .tagged(script, instance)
    }

    /// The same destinations with the tag of another script.
    #[must_use]
    pub fn tagged(&self, script: &str, instance: &str) -> Self {
        let tag = match &self.targets.fixed_tag {
            Some(tag) => tag.clone(),
            None => format!("{script}({instance})[{}]", std::process::id()),
        };
        Self { tag, muted: AtomicBool::new(false), targets: Arc::clone(&self.targets) }
    }

    /// The file that takes the output of started and stopped scripts.
    pub fn debug_file(&self) -> Option<&PathBuf> {
        self.targets.debug_file.as_ref()
    }

    /// Does something that will be done again if it fails: nothing of it is logged.
    pub fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.muted.swap(true, Ordering::Relaxed);
        let result = work();
        self.muted.store(before, Ordering::Relaxed);
        result
    }

    /// A line of level INFO, as `ocf_log info` writes it.
    pub fn info(&self, text: &str) {
        self.line(&format!("INFO: {text}"));
    }

    /// A line of level WARNING.
    pub fn warn(&self, text: &str) {
        self.line(&format!("WARNING: {text}"));
    }

    /// A line of level ERROR.
    pub fn error(&self, text: &str) {
        self.line(&format!("ERROR: {text}"));
    }

    /// A line of level DEBUG, which comes only with `HA_debug` set and not 0.
    pub fn debug(&self, text: &str) {
        if std::env::var("HA_debug").is_ok_and(|value| !matches!(value.as_str(), "" | "0")) {
            self.line(&format!("DEBUG: {text}"));
        }
    }

    /// Writes one line; the text begins with its level, as in `info: Running ...`.
    pub fn line(&self, text: &str) {
        if self.muted.load(Ordering::Relaxed) {
            return;
        }
        let text: String = text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
        let targets = &*self.targets;
        if targets.terminal {
            return match &targets.fixed_tag {
                Some(tag) => print::error_line(&format!("{tag}: {text}")),
                None => print::error_line(&text),
            };
        }
        if targets.logd && to_logd(&self.tag, &text) {
            return;
        }
        if let Some(facility) = targets.facility {
            syslog::send(facility, severity(&text), &self.tag, &text);
        }
        let line = format!("{}:\t{} {text}\n", self.tag, date());
        let mut written = targets.facility.is_some();
        if let Some(file) = &targets.log_file {
            written |= append(file, &line);
        }
        if !written {
            print::error_line(&format!("{} {text}", date()));
        }
        if let Some(file) =
            targets.debug_file.as_ref().filter(|file| Some(*file) != targets.log_file.as_ref())
        {
            append(file, &line);
        }
    }
}

/// The syslog severity that the text's level word stands for.
fn severity(text: &str) -> u8 {
    let levels = [("ERROR", 3), ("WARN", 4), ("INFO", 6)];
    levels.iter().find(|(word, _)| text.contains(word)).map_or(5, |(_, severity)| *severity)
}

fn date() -> String {
    slashed_time(&local_time(unix_time_s()))
}

/// One write, so that lines of several processes do not mix.
fn append(file: &PathBuf, line: &str) -> bool {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    opened.and_then(|mut file| file.write_all(line.as_bytes())).is_ok()
}

/// Hands a record to the logging daemon; `false` when it is not there or does not take it at once.
fn to_logd(entity: &str, text: &str) -> bool {
    let record = LogRecord {
        facility: LOGD_FACILITY_USER,
        level: LogLevel::Info,
        shows_level: false,
        pid: std::process::id(),
        entity: entity.to_owned(),
        unix_s: unix_time_s(),
        text: text.to_owned(),
    };
    let frame = record.encode(LOGD_TEXT_MAX_BYTES);
    let send = || -> io::Result<bool> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(config::below_root(LOGD_SOCKET))?)?;
        Ok(socket.send(&frame)? == frame.len())
    };
    send().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_to(log_file: Option<PathBuf>, debug_file: Option<PathBuf>) -> ScriptLog {
        let targets =
            Targets { fixed_tag: None, terminal: false, logd: false, facility: None, log_file, debug_file };
        ScriptLog { tag: String::new(), muted: AtomicBool::new(false), targets: Arc::new(targets) }
            .tagged("ResourceManager", "default")
    }

    #[test]
    fn lines_have_tag_tab_date_and_text_and_go_to_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let (log, debug) = (directory.path().join("log"), directory.path().join("debug"));
        log_to(Some(log.clone()), Some(debug.clone())).line("info: Running /x y start\nfaked line");
        let line = std::fs::read_to_string(&log).unwrap();
        let (tag, rest) = line.split_once(":\t").unwrap();
        assert_eq!(tag, format!("ResourceManager(default)[{}]", std::process::id()));
        assert_eq!(&rest[4..5], "/");
        assert_eq!(&rest[19..], " info: Running /x y start?faked line\n");
        assert_eq!(std::fs::read_to_string(&debug).unwrap(), line);
        log_to(Some(log.clone()), Some(log.clone())).line("info: once");
        assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 2);
    }

    #[test]
    fn severities_come_from_the_text() {
        assert_eq!(["ERROR: x", "WARN: x", "INFO: x", "info: x", "CRIT: x"].map(severity), [3, 4, 6, 5, 5]);
    }
}
