//! Log lines as the original's shell functions write them (agents spec 4.4): the tag names the
//! script, its instance and the process.
//!
//! Nothing here waits for a log daemon; a line that it does not take at once goes on to the next
//! destination.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::rc::Rc;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::config;
use crate::sys::time::{local_time, slashed_time, unix_time_s};
use crate::sys::{print, syslog};

/// Socket of the logging daemon (agents spec 4.2).
const LOGD_SOCKET: &str = "/var/lib/heartbeat/log_daemon";
/// Frame mark of the logging daemon's protocol.
const LOGD_MAGIC: u32 = 0xabcd;
/// Longest entity there, with its end mark.
const LOGD_ENTITY_BYTES: usize = 64;
/// Longest text of one record there.
const LOGD_TEXT_MAX_BYTES: usize = 1023;

/// A script's log.
#[derive(Debug, Clone)]
pub struct ScriptLog {
    tag: String,
    targets: Rc<Targets>,
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
        Self { tag: String::new(), targets: Rc::new(targets) }.tagged(script, instance)
    }

    /// The same destinations with the tag of another script.
    #[must_use]
    pub fn tagged(&self, script: &str, instance: &str) -> Self {
        let tag = match &self.targets.fixed_tag {
            Some(tag) => tag.clone(),
            None => format!("{script}({instance})[{}]", std::process::id()),
        };
        Self { tag, targets: Rc::clone(&self.targets) }
    }

    /// The file that takes the output of started and stopped scripts.
    pub fn debug_file(&self) -> Option<&PathBuf> {
        self.targets.debug_file.as_ref()
    }

    /// Writes one line; the text begins with its level, as in `info: Running ...`.
    pub fn line(&self, text: &str) {
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
    let frame = logd_frame(entity, text, unix_time_s());
    let send = || -> io::Result<bool> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(LOGD_SOCKET)?)?;
        Ok(socket.send(&frame)? == frame.len())
    };
    send().unwrap_or(false)
}

/// The daemon's message: a frame header of two words, a header of fixed length, the text.
fn logd_frame(entity: &str, text: &str, time_s: i64) -> Vec<u8> {
    let mut end = text.len().min(LOGD_TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let (message_kind, facility_user, priority_info, with_priority_word) = (2_i32, 8_i32, 6_i32, 0_i32);
    let text_bytes = end as i32 + 1;
    let pid = std::process::id() as i32;
    let mut body = Vec::new();
    for word in [message_kind, facility_user, priority_info, text_bytes, with_priority_word, pid] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    let mut name = [0; LOGD_ENTITY_BYTES];
    let length = entity.len().min(LOGD_ENTITY_BYTES - 1);
    name[..length].copy_from_slice(&entity.as_bytes()[..length]);
    body.extend_from_slice(&name);
    body.extend_from_slice(&(time_s as libc::c_ulong).to_ne_bytes());
    body.extend_from_slice(&text.as_bytes()[..end]);
    body.push(0);
    let mut frame = (body.len() as i32).to_ne_bytes().to_vec();
    frame.extend_from_slice(&LOGD_MAGIC.to_ne_bytes());
    frame.extend_from_slice(&body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_to(log_file: Option<PathBuf>, debug_file: Option<PathBuf>) -> ScriptLog {
        let targets =
            Targets { fixed_tag: None, terminal: false, logd: false, facility: None, log_file, debug_file };
        ScriptLog { tag: String::new(), targets: Rc::new(targets) }.tagged("ResourceManager", "default")
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
    fn the_logging_daemons_frame() {
        let frame = logd_frame("tag", "hello", 5);
        let header = 24 + 64 + size_of::<libc::c_ulong>();
        assert_eq!(frame.len(), 8 + header + 6);
        assert_eq!(frame[..4], (header as i32 + 6).to_ne_bytes());
        assert_eq!(frame[8 + header..], *b"hello\0");
        assert_eq!(logd_frame("é".repeat(99).as_str(), &"é".repeat(9999), 5).len(), 8 + header + 1023);
    }

    #[test]
    fn severities_come_from_the_text() {
        assert_eq!(["ERROR: x", "WARN: x", "INFO: x", "info: x", "CRIT: x"].map(severity), [3, 4, 6, 5, 5]);
    }
}
