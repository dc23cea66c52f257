//! Where the tools write: two streams, and the original's log line on the second.

use std::io::Write;

use crate::log::line::{file_line, Stamp};
use crate::sys::time::{local_time, syslog_time, unix_time_s, LocalTime};
use crate::types::LogLevel;

/// A tool's standard output and standard error, exchangeable in tests.
pub struct Terminal<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
}

impl Terminal<'_> {
    /// One line to standard output. A reader that went away is no error of ours.
    pub fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    /// One line to standard error.
    pub fn complain(&mut self, line: &str) {
        let _ = writeln!(self.err, "{line}");
    }

    /// `Nov 22 00:03:06 node1 cl_status: [313]: ERROR: text` to standard error.
    pub fn log_error(&mut self, program: &str, text: &str) {
        let host = host_name();
        let stamp = Stamp { time: now(), host: &host, entity: program, pid: std::process::id() };
        let _ = self.err.write_all(file_line(&stamp, true, LogLevel::Error, text).as_bytes());
    }

    /// `Nov 22 00:04:09 text`, as the original's scripts write to standard error.
    pub fn log_plain(&mut self, text: &str) {
        self.complain(&format!("{} {text}", syslog_time(&now(), '0')));
    }
}

/// `uname -n`, empty when the kernel does not say.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn now() -> LocalTime {
    local_time(unix_time_s())
}
