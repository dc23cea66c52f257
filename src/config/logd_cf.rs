//! logd.cf: where the logging daemon writes (agents spec 4.1).
//!
//! As in ha.cf there are two kinds of output: the lines that the original logs, and diagnostics
//! with their places.

use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Severity};
use super::source::{push_limited, read_file, Source, LINE_MAX_BYTES};
use super::value::{boolean, integer, syslog_facility};
use super::LogLine;
use crate::types::LogLevel;

/// Read when the command line names no other file.
pub const FILE_DEFAULT: &str = "/etc/logd.cf";

/// Longest entity in bytes; the records of other programs have no room for more.
const ENTITY_MAX_BYTES: usize = 63;

/// Facility `daemon`.
const FACILITY_DEFAULT: u8 = 3;

/// What the logging daemon does with the lines it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogdSettings {
    /// `logfile`: everything but debug lines.
    pub log_file: Option<PathBuf>,
    /// `debugfile`: everything.
    pub debug_file: Option<PathBuf>,
    /// `logfacility`, without the shift; `None` for `none`.
    pub facility: Option<u8>,
    /// `entity`: the daemon's name in its own lines.
    pub entity: String,
    /// `syslogprefix`: one name for all programs in syslog.
    pub syslog_prefix: Option<String>,
    /// `logmode`: permissions of new files; only read and write count.
    pub file_mode: u32,
    /// `syslogmsgfmt`
    pub syslog_format: bool,
}

impl Default for LogdSettings {
    fn default() -> Self {
        Self {
            log_file: None,
            debug_file: None,
            facility: Some(FACILITY_DEFAULT),
            entity: "logd".to_owned(),
            syslog_prefix: None,
            file_mode: 0o644,
            syslog_format: true,
        }
    }
}

/// Everything found out about one logd.cf.
#[derive(Debug, Clone, Default)]
pub struct LogdReport {
    /// What it says; defaults for what it does not.
    pub settings: LogdSettings,
    /// The daemon must not start with it.
    pub failed: bool,
    /// The original's line on standard error about an unknown word.
    pub complaint: Option<String>,
    /// The original's lines about it, in order.
    pub log: Vec<LogLine>,
    /// Remarks in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a file. One that cannot be opened stands for the defaults, as in the original, with a
/// warning.
pub fn load(path: &Path) -> LogdReport {
    let directory = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match read_file(directory, &name) {
        Ok(source) => read(&source, &path.display().to_string()),
        Err(error) => {
            let mut report = LogdReport::default();
            let text = format!("Cannot open config file [{}]", path.display());
            report.log.push((LogLevel::Warning, text));
            let source = Source::from_bytes(directory, &name, b"");
            let place = super::diagnostic::Place::file();
            let help = "the defaults are used: everything to syslog, facility daemon";
            let message = format!("cannot be read: {error}");
            report.diagnostics.push(source.remark(Severity::Warning, place, message, help));
            report
        }
    }
}

/// Reads the text; `shown` is the file's name in the original's lines. What stands behind the first
/// error is still checked, but no longer logged.
pub fn read(source: &Source, shown: &str) -> LogdReport {
    let mut reader = Reader { source, report: LogdReport::default() };
    for (number, line) in source.lines() {
        let outcome = reader.line(number, line);
        let first = !reader.report.failed;
        let Err(fault) = outcome else { continue };
        let (start, end) = fault.part;
        let place = source.place(number, start, end);
        let remark = source.remark(Severity::Error, place, fault.message, fault.help);
        push_limited(&mut reader.report.diagnostics, remark);
        reader.report.failed = true;
        if first {
            let unknown = fault.unknown.map(|word| format!("Illegal directive [{word}] in {shown}"));
            reader.report.complaint = unknown;
            reader.report.log.extend(fault.logged.map(|text| (LogLevel::Error, text.to_owned())));
            let text = format!("Config file [{shown}] is incorrect.");
            reader.report.log.push((LogLevel::Error, text));
        }
    }
    reader.report
}

struct Fault {
    part: (usize, usize),
    message: String,
    help: &'static str,
    unknown: Option<String>,
    logged: Option<&'static str>,
}

struct Reader<'a> {
    source: &'a Source,
    report: LogdReport,
}

/// A directive's value and where it stands; empty at the line's end when there is none.
struct Value<'a> {
    text: &'a str,
    start: usize,
}

impl Value<'_> {
    fn fault(&self, message: String, help: &'static str) -> Fault {
        let part = (self.start, self.start + self.text.len());
        Fault { part, message, help, unknown: None, logged: None }
    }

    fn path(&self) -> Option<PathBuf> {
        (!self.text.is_empty()).then(|| PathBuf::from(self.text))
    }
}

impl Reader<'_> {
    fn line(&mut self, number: usize, line: &str) -> Result<(), Fault> {
        let line = line.split('#').next().unwrap_or_default();
        let word = line.split_whitespace().next().unwrap_or_default();
        if word.is_empty() {
            return Ok(());
        }
        let start = line.len() - line.trim_start().len();
        let end = start + word.len();
        let fault = |message: String, help, unknown| {
            Err(Fault { part: (start, end), message, help, unknown, logged: None })
        };
        if line.len() > LINE_MAX_BYTES {
            return fault("this line is too long".to_owned(), "", None);
        }
        let separator = |c: char| c.is_whitespace() || c == ',';
        let rest = line[end..].trim_start_matches(separator);
        let value =
            Value { text: rest.split(separator).next().unwrap_or_default(), start: line.len() - rest.len() };
        if value.text.is_empty() {
            let place = self.source.place(number, start, end);
            let message = format!("`{word}` has no value");
            let remark = self.source.remark(Severity::Warning, place, message, "");
            push_limited(&mut self.report.diagnostics, remark);
        }
        match word.to_ascii_lowercase().as_str() {
            "logfile" => self.log_file(&value),
            "debugfile" => self.debug_file(&value),
            "logfacility" => self.facility(&value),
            "entity" => self.entity(&value),
            "syslogprefix" => self.syslog_prefix(&value),
            "logmode" => self.mode(&value),
            "syslogmsgfmt" => self.syslog_format(&value),
            "sendqlen" => self.queue(&value, "send", "negative send queue length"),
            "recvqlen" => self.queue(&value, "recv", "negative recv queue length"),
            "useapphbd" => fault(
                "there is no apphbd to watch the daemon".to_owned(),
                "take the line away",
                Some(word.to_owned()),
            ),
            _ => fault(
                format!("there is no `{word}`"),
                "expected: logfile, debugfile, logfacility, entity, syslogprefix, logmode, syslogmsgfmt, \
                 sendqlen or recvqlen",
                Some(word.to_owned()),
            ),
        }
    }

    /// Says what was taken, unless an error came before.
    fn taken(&mut self, text: String) -> Result<(), Fault> {
        if !self.report.failed {
            push_limited(&mut self.report.log, (LogLevel::Info, text));
        }
        Ok(())
    }

    fn log_file(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        self.report.settings.log_file = value.path();
        self.taken(format!("setting log file to {}", value.text))
    }

    fn debug_file(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        self.report.settings.debug_file = value.path();
        self.taken(format!("setting debug file to {}", value.text))
    }

    fn facility(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        self.report.settings.facility = match (value.text, syslog_facility(value.text)) {
            ("none", _) => None,
            (_, Some(facility)) => Some(facility),
            (text, None) => {
                let help = "expected none, daemon, local0 to local7 or another name of syslog(3)";
                return Err(value.fault(format!("there is no facility `{text}`"), help));
            }
        };
        self.taken(format!("setting log facility to {}", value.text))
    }

    fn entity(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        if !value.text.is_empty() {
            let mut end = value.text.len().min(ENTITY_MAX_BYTES);
            while !value.text.is_char_boundary(end) {
                end -= 1;
            }
            self.report.settings.entity = value.text[..end].to_owned();
        }
        self.taken(format!("setting entity to {}", self.report.settings.entity))
    }

    fn syslog_prefix(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        self.report.settings.syslog_prefix = (!value.text.is_empty()).then(|| value.text.to_owned());
        self.taken(format!("setting syslogprefix to {}", value.text))
    }

    fn mode(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        let mode = u32::from_str_radix(value.text, 8).ok().filter(|mode| (1..=0o777).contains(mode));
        let help = "expected up to three octal digits, such as 0640";
        let mode = mode.ok_or_else(|| value.fault(format!("`{}` is no file mode", value.text), help))?;
        self.report.settings.file_mode = mode;
        Ok(())
    }

    fn syslog_format(&mut self, value: &Value<'_>) -> Result<(), Fault> {
        let format = boolean(value.text);
        self.report.settings.syslog_format = format.ok_or_else(|| {
            value.fault(format!("`{}` is neither true nor false", value.text), "expected true or false")
        })?;
        Ok(())
    }

    /// Checked for the original's sake: the queue of this daemon has a length of its own.
    fn queue(&mut self, value: &Value<'_>, which: &str, negative: &'static str) -> Result<(), Fault> {
        let length = integer(value.text).map_or(0, |number| number.value);
        if length < 0 {
            let fault = value.fault(format!("`{}` is negative", value.text), "expected a number of lines");
            return Err(Fault { logged: Some(negative), ..fault });
        }
        self.taken(format!("setting {which} queue length to {length}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &[u8]) -> LogdReport {
        read(&Source::from_bytes(Path::new("/etc"), "logd.cf", text), "/etc/logd.cf")
    }

    fn lines(report: &LogdReport) -> Vec<String> {
        report.log.iter().map(|(level, text)| format!("{}: {text}", level.as_str())).collect()
    }

    #[test]
    fn every_directive_counts() {
        let report = parse(
            b"# comment\n LogFile /var/log/ha-log # comment\ndebugfile\t/var/log/ha-debug,\n\
              logfacility local1\nentity gate keeper\nsyslogprefix linux-ha\nlogmode 0640\n\
              syslogmsgfmt off\nsendqlen 5x\nrecvqlen x\n",
        );
        let expected = LogdSettings {
            log_file: Some("/var/log/ha-log".into()),
            debug_file: Some("/var/log/ha-debug".into()),
            facility: Some(17),
            entity: "gate".into(),
            syslog_prefix: Some("linux-ha".into()),
            file_mode: 0o640,
            syslog_format: false,
        };
        assert_eq!(
            (report.settings.clone(), report.failed, report.complaint.clone()),
            (expected, false, None)
        );
        assert_eq!(
            lines(&report),
            [
                "info: setting log file to /var/log/ha-log",
                "info: setting debug file to /var/log/ha-debug",
                "info: setting log facility to local1",
                "info: setting entity to gate",
                "info: setting syslogprefix to linux-ha",
                "info: setting send queue length to 5",
                "info: setting recv queue length to 0",
            ]
        );
        assert_eq!(parse(b"logfacility none\n").settings.facility, None);
        assert_eq!(parse(b"").settings, LogdSettings::default());
    }

    #[test]
    fn errors_are_cited_and_stop_the_start() {
        let report = parse(b"logfile /x\nbogus x\nlogfile /y\nlogmode 8888\n");
        assert!(report.failed);
        assert_eq!(report.complaint.as_deref(), Some("Illegal directive [bogus] in /etc/logd.cf"));
        let incorrect = "ERROR: Config file [/etc/logd.cf] is incorrect.";
        assert_eq!(lines(&report), ["info: setting log file to /x", incorrect]);
        let places: Vec<_> =
            report.diagnostics.iter().map(|one| (one.place.line, one.place.column)).collect();
        assert_eq!(places, [(2, 1), (4, 9)]);
        assert_eq!(lines(&parse(b"sendqlen -3")), ["ERROR: negative send queue length", incorrect]);
        for bad in ["logfacility nope", "logmode", "logmode abc", "syslogmsgfmt maybe", "useapphbd yes"] {
            let report = parse(bad.as_bytes());
            assert!(
                report.failed && report.log.last().is_some_and(|(_, text)| text.contains("incorrect")),
                "{bad}"
            );
        }
        assert_eq!(
            parse(b"entity,x").complaint.as_deref(),
            Some("Illegal directive [entity,x] in /etc/logd.cf")
        );
    }

    #[test]
    fn a_file_that_is_missing_stands_for_the_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logd.cf");
        for _ in 0..2 {
            let report = load(&path);
            assert!(!report.failed && report.settings == LogdSettings::default());
            assert_eq!(lines(&report), [format!("WARN: Cannot open config file [{}]", path.display())]);
            assert_eq!(report.diagnostics.len(), 1);
            let _ = nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU);
        }
    }

    #[test]
    fn hostile_files() {
        let long = [b"entity ".as_slice(), &[b'x'; 20_000]].concat();
        for text in
            [&long[..], b"\xff\xfe\0\0", b"entity \0\n", b",,,\n", b"\r\n\r", &[b'#'; 9999], b"logfile\n"]
        {
            let _ = parse(text);
        }
        let wide = parse(format!("entity {}\n", "\u{e9}".repeat(60)).as_bytes());
        assert_eq!(wide.settings.entity.len(), 62);
        let many = parse("bogus\n".repeat(100_000).as_bytes());
        assert!(many.failed && many.diagnostics.len() <= super::super::source::REMARKS_MAX);
        assert_eq!(many.log.len(), 1);
        let many = parse("logfile /x\n".repeat(100_000).as_bytes());
        assert!(many.log.len() <= super::super::source::REMARKS_MAX);
    }
}
