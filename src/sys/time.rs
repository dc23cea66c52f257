//! Local time for log lines, and the monotonic clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point of local time, to the second: the six numbers of a log stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Four digits usually; what the C library says for times far away.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const EPOCH: LocalTime = LocalTime { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0 };

/// Converts seconds since 1970 to local time (localtime_r(3)). The first call reads the time zone
/// file; call it once before memory is locked or the disk may hang. A time the C library cannot
/// express comes back as 1970-01-01 00:00:00.
pub fn local_time(unix_s: i64) -> LocalTime {
    let Some(seconds) = c_time(unix_s) else { return EPOCH };
    // SAFETY: `tm` is plain numbers and a pointer, for which all zero bytes are a valid value.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types for the whole call.
    let result = unsafe { libc::localtime_r(&raw const seconds, &raw mut broken_down) };
    if result.is_null() {
        return EPOCH;
    }
    let small = |number: i32| u8::try_from(number).unwrap_or(0);
    LocalTime {
        year: i64::from(broken_down.tm_year) + 1900,
        month: small(broken_down.tm_mon) + 1,
        day: small(broken_down.tm_mday),
        hour: small(broken_down.tm_hour),
        minute: small(broken_down.tm_min),
        second: small(broken_down.tm_sec),
    }
}

/// Local time in a format of strftime(3), in English; at most 127 bytes, else the empty text. A time the
/// C library cannot express is the empty text too.
pub fn formatted(unix_s: i64, format: &std::ffi::CStr) -> String {
    let Some(seconds) = c_time(unix_s) else { return String::new() };
    // SAFETY: as in `local_time`.
    let mut broken_down: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types for the whole call.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut broken_down) }.is_null() {
        return String::new();
    }
    let mut buffer = [0_u8; 128];
    // SAFETY: the buffer has the length that is given; the format ends with a zero byte; `tm` was filled
    // by localtime_r, whose time zone name lives as long as the program.
    let length = unsafe {
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &raw const broken_down)
    };
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// `time_t` has 32 bits on i686, which end in January 2038.
#[allow(clippy::useless_conversion)] // it is one where it has 64
fn c_time(unix_s: i64) -> Option<libc::time_t> {
    libc::time_t::try_from(unix_s).ok()
}

/// `YYYY/MM/DD_HH:MM:SS`, as scripts write it too (agents spec 4.4).
pub fn slashed_time(time: &LocalTime) -> String {
    let LocalTime { year, month, day, hour, minute, second } = time;
    format!("{year:04}/{month:02}/{day:02}_{hour:02}:{minute:02}:{second:02}")
}

/// `Mon DD HH:MM:SS`; a day of one digit is padded with `pad`.
pub fn syslog_time(time: &LocalTime, pad: char) -> String {
    let month = usize::from(time.month).checked_sub(1).and_then(|index| MONTHS.get(index)).unwrap_or(&"???");
    let tens = if time.day < 10 { pad } else { char::from(b'0' + (time.day / 10) % 10) };
    let (units, hour, minute, second) = (time.day % 10, time.hour, time.minute, time.second);
    format!("{month} {tens}{units} {hour:02}:{minute:02}:{second:02}")
}

/// Remembers the last second it converted: a burst of log lines costs one conversion.
#[derive(Debug, Clone)]
pub struct LocalClock {
    unix_s: i64,
    local: LocalTime,
}

impl LocalClock {
    /// A clock that has read the time zone file.
    pub fn new() -> Self {
        let unix_s = unix_time_s();
        Self { unix_s, local: local_time(unix_s) }
    }

    /// As [`local_time`].
    pub fn local_time(&mut self, unix_s: i64) -> LocalTime {
        if unix_s != self.unix_s {
            self.local = local_time(unix_s);
            self.unix_s = unix_s;
        }
        self.local
    }
}

impl Default for LocalClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Seconds since 1970 by the wall clock; 0 when the clock stands before 1970.
pub fn unix_time_s() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}

/// Milliseconds of CLOCK_MONOTONIC: never steps back, and not moved by setting the wall clock.
pub fn monotonic_ms() -> u64 {
    // SAFETY: `timespec` is two numbers; all zero bytes are a valid value.
    let mut now: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timespec. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_is_plausible() {
        let time = local_time(86_400 * 200);
        assert_eq!((time.year, time.month), (1970, 7));
        assert!((18..=21).contains(&time.day));
        assert_eq!(local_time(i64::MAX), EPOCH);
    }

    #[test]
    fn cache_follows_the_clock() {
        let mut clock = LocalClock::new();
        for unix_s in [0, 0, 1_000_000_000, 1_000_000_001, 5] {
            assert_eq!(clock.local_time(unix_s), local_time(unix_s));
        }
    }

    #[test]
    fn monotonic_clock_does_not_step_back() {
        let first = monotonic_ms();
        assert!(monotonic_ms() >= first);
    }
}
