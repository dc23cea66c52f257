//! The formats of log lines (agents spec 4.3; the datagram as the installed original sends it).

use std::borrow::Cow;
use std::fmt::Write;

use crate::sys::time::{slashed_time, syslog_time, LocalTime};
use crate::types::LogLevel;

/// Longest text of one line in bytes; the rest is cut off (the original's buffer has 5 KiB).
pub const TEXT_MAX_BYTES: usize = 5119;

/// Who says something, and when.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// Local time.
    pub time: LocalTime,
    /// The node name of uname(2).
    pub host: &'a str,
    /// Program: `heartbeat`, `cl_status`.
    pub entity: &'a str,
    /// Process.
    pub pid: u32,
}

/// One line for a file or for standard error, with its line end.
///
/// `syslog_format` (`syslogmsgfmt`) chooses `Mon DD HH:MM:SS HOST ENTITY: [PID]: prio: TEXT`, with
/// two digits for the day, instead of `ENTITY[PID]: YYYY/MM/DD_HH:MM:SS prio: TEXT`.
pub fn file_line(stamp: &Stamp<'_>, syslog_format: bool, level: LogLevel, text: &str) -> String {
    file_line_with(stamp, syslog_format, &word_of(level), text)
}

/// As [`file_line`]; `word` stands in the place of `prio: ` and may be empty.
pub(super) fn file_line_with(stamp: &Stamp<'_>, syslog_format: bool, word: &str, text: &str) -> String {
    let Stamp { time, host, entity, pid } = stamp;
    let text = clean(text);
    if syslog_format {
        let at = syslog_time(time, '0');
        format!("{at} {host} {entity}: [{pid}]: {word}{text}\n")
    } else {
        format!("{entity}[{pid}]: {} {word}{text}\n", slashed_time(time))
    }
}

/// `prio: `
pub(super) fn word_of(level: LogLevel) -> String {
    format!("{}: ", level.as_str())
}

/// One datagram for `/dev/log`: `<PRI>Mon DD HH:MM:SS ENTITY: [PID]: prio: TEXT` and a NUL byte;
/// the day is padded with a blank, as syslog(3) does. `facility` is the number without the shift.
pub fn syslog_datagram(stamp: &Stamp<'_>, facility: u8, level: LogLevel, text: &str) -> Vec<u8> {
    syslog_datagram_with(stamp, None, (facility, level), &word_of(level), text)
}

/// As [`syslog_datagram`]; `word` stands in the place of `prio: ` and may be empty. With a `prefix`
/// (`syslogprefix`) the head is `PREFIX: ENTITY[PID]: ` instead.
pub(super) fn syslog_datagram_with(
    stamp: &Stamp<'_>,
    prefix: Option<&str>,
    (facility, level): (u8, LogLevel),
    word: &str,
    text: &str,
) -> Vec<u8> {
    let priority = u16::from(facility) * 8 + u16::from(level.syslog_priority());
    let at = syslog_time(&stamp.time, ' ');
    let Stamp { entity, pid, .. } = stamp;
    let head = match prefix {
        Some(prefix) => format!("{prefix}: {entity}[{pid}]: "),
        None => format!("{entity}: [{pid}]: "),
    };
    let mut datagram = format!("<{priority}>{at} {head}{word}{}", clean(text)).into_bytes();
    datagram.push(0);
    datagram
}

/// Makes text from outside fit for one line: cut to [`TEXT_MAX_BYTES`], line ends at the end taken
/// off, other control characters written as escapes. Without this a peer's node name could forge
/// lines or drive the terminal of whoever reads the log. Tabs stay.
pub fn clean(text: &str) -> Cow<'_, str> {
    let text = cut(text).trim_end_matches(['\n', '\r']);
    let harmful = |c: char| c.is_control() && c != '\t';
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            c if harmful(c) => {
                let _ = write!(safe, "\\x{:02x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// At most [`TEXT_MAX_BYTES`] of the text, at a character's edge.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(day: u8) -> Stamp<'static> {
        let time = LocalTime { year: 2026, month: 11, day, hour: 0, minute: 3, second: 6 };
        Stamp { time, host: "node1", entity: "cl_status", pid: 313 }
    }

    #[test]
    fn lines_are_the_originals() {
        let text = "--help: invalid sub-command.";
        assert_eq!(
            file_line(&stamp(22), true, LogLevel::Error, text),
            "Nov 22 00:03:06 node1 cl_status: [313]: ERROR: --help: invalid sub-command.\n"
        );
        assert_eq!(
            file_line(&stamp(2), true, LogLevel::Info, "x"),
            "Nov 02 00:03:06 node1 cl_status: [313]: info: x\n"
        );
        assert_eq!(
            file_line(&stamp(2), false, LogLevel::Warning, "x"),
            "cl_status[313]: 2026/11/02_00:03:06 WARN: x\n"
        );
    }

    #[test]
    fn datagram_is_the_originals() {
        assert_eq!(
            syslog_datagram(&stamp(2), 3, LogLevel::Debug, "add_option(debug,1)"),
            b"<31>Nov  2 00:03:06 cl_status: [313]: debug: add_option(debug,1)\0"
        );
    }

    #[test]
    fn lines_of_other_programs() {
        let info = LogLevel::Info;
        assert_eq!(
            file_line_with(&stamp(22), true, "", "hello"),
            "Nov 22 00:03:06 node1 cl_status: [313]: hello\n"
        );
        assert_eq!(
            syslog_datagram_with(&stamp(22), Some("pre"), (3, info), &word_of(info), "x"),
            b"<30>Nov 22 00:03:06 pre: cl_status[313]: info: x\0"
        );
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        assert_eq!(clean("a\nNov 22 forged\u{1b}[2J\0\u{9b}"), "a\\nNov 22 forged\\x1b[2J\\x00\\x9b");
        assert_eq!(clean("ends\r\n"), "ends");
        assert_eq!(clean("tab\tand \u{e9}"), "tab\tand \u{e9}");
        let long = "\u{e9}".repeat(TEXT_MAX_BYTES);
        assert_eq!(clean(&long).len(), TEXT_MAX_BYTES - 1);
    }

    #[test]
    fn impossible_times_do_not_panic() {
        let time = LocalTime { year: -5, month: 0, day: 255, hour: 255, minute: 255, second: 255 };
        let stamp = Stamp { time, host: "", entity: "", pid: 0 };
        assert!(file_line(&stamp, true, LogLevel::Info, "").starts_with("???"));
        assert!(!syslog_datagram(&stamp, 255, LogLevel::Info, "").is_empty());
    }
}
