//! Broken-down local time, for the date in script log lines.

use std::mem::MaybeUninit;

/// Local date and time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Full year, 2005 for 2005.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 60.
    pub second: i32,
}

/// The local time of a moment in seconds since 1970; `None` when the C library cannot express it.
pub fn local_time(since_1970_s: i64) -> Option<LocalTime> {
    let seconds = libc::time_t::try_from(since_1970_s).ok()?;
    let mut parts = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call; localtime_r writes the whole structure when it
    // returns something other than null and keeps neither pointer.
    let parts = unsafe {
        if libc::localtime_r(&seconds, parts.as_mut_ptr()).is_null() {
            return None;
        }
        parts.assume_init()
    };
    Some(LocalTime {
        year: parts.tm_year + 1900,
        month: parts.tm_mon + 1,
        day: parts.tm_mday,
        hour: parts.tm_hour,
        minute: parts.tm_min,
        second: parts.tm_sec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_day_whatever_the_time_zone() {
        let time = local_time(1_600_000_000).unwrap();
        assert_eq!((time.year, time.month), (2020, 9));
        assert!((12..=14).contains(&time.day));
    }

    #[test]
    fn absurd_times_do_no_harm() {
        assert_eq!(local_time(i64::MAX), None);
        let _ = local_time(i64::MIN);
        assert!(local_time(-1).is_some());
    }
}
