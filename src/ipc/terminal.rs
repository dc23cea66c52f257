//! Where the tools write: two streams, and the original's log line on the second.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

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
        let (time, host, pid) = (local_time(), host_name(), std::process::id());
        self.complain(&format!("{time} {host} {program}: [{pid}]: ERROR: {text}"));
    }

    /// `Nov 22 00:04:09 text`, as the original's scripts write to standard error.
    pub fn log_plain(&mut self, text: &str) {
        self.complain(&format!("{} {text}", local_time()));
    }
}

/// `uname -n`, empty when the kernel does not say.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// `Nov 22 00:03:06`, in UTC until the shared formatter is there.
fn local_time() -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // days to civil date, with years that begin in March
    let shifted = days + 719_468;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = MONTHS[((march_month + 2) % 12) as usize];
    format!("{month} {day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}
