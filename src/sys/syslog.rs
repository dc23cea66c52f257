//! One datagram to the system log, never waiting for it: a log daemon that hangs must not hold up
//! the start of a resource.

use std::os::unix::net::UnixDatagram;
use std::time::{SystemTime, UNIX_EPOCH};

use super::local_time::local_time;

/// Where log daemons listen.
const SOCKET: &str = "/dev/log";
/// Longest message; longer ones are cut (RFC 3164 asks for 1024, daemons take 8 KiB).
const MESSAGE_MAX_BYTES: usize = 8000;

/// Facility names as in ha.cf and their numbers (syslog(3)).
const FACILITIES: &[(&str, u8)] = &[
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The number of a facility's name; `None` when there is none of that name.
pub fn facility_number(name: &str) -> Option<u8> {
    FACILITIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Sends `<priority>Mon DD HH:MM:SS IDENT: TEXT`. What the log daemon does not take at once is
/// dropped; the value says whether it was taken.
pub fn send(facility: u8, severity: u8, ident: &str, text: &str) -> bool {
    let priority = u16::from(facility) * 8 + u16::from(severity.min(7));
    let mut message = format!("<{priority}>{} {ident}: {text}", traditional_date(now_s()));
    let mut end = message.len().min(MESSAGE_MAX_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    let send = || -> std::io::Result<usize> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(message.as_bytes(), SOCKET)
    };
    send().is_ok()
}

/// `Mon DD HH:MM:SS`, the day with a leading zero.
pub fn traditional_date(since_1970_s: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Some(time) = local_time(since_1970_s) else { return "Jan 01 00:00:00".to_owned() };
    let month = usize::try_from(time.month - 1).ok().and_then(|index| MONTHS.get(index)).unwrap_or(&"Jan");
    format!("{month} {:02} {:02}:{:02}:{:02}", time.day, time.hour, time.minute, time.second)
}

/// Seconds since 1970.
pub fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(facility_number("local0"), Some(16));
        assert_eq!(facility_number("none"), None);
    }

    #[test]
    fn dates_have_a_fixed_width() {
        assert_eq!(traditional_date(1_600_000_000).len(), 15);
        assert_eq!(traditional_date(i64::MAX).len(), 15);
    }
}
