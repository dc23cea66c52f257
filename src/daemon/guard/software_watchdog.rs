//! `watchdog software`: a daemon that stopped beating costs the machine a reset, as with a device, where
//! there is no device. It is fed by what the daemon leaves for its guard with each beat ([`super::record`]).
//!
//! What it cannot do and a device can: a kernel that hangs, or a guard that is stopped, resets nothing.

use std::time::Duration;

use super::record::{Condition, Record};

/// How often the guard looks, at most, milliseconds.
const LOOK_MS: u64 = 250;

/// When the daemon must have beaten.
#[derive(Debug, Clone, Default)]
pub struct SoftwareWatchdog {
    /// `None`: not asked for.
    limit_ms: Option<u64>,
    /// Armed: fed last.
    fed_ms: Option<u64>,
    looked_ms: u64,
    /// It was overdue at the last look.
    suspect: bool,
}

impl SoftwareWatchdog {
    /// Not armed; `limit_ms` after a beat without another one the machine is to be reset.
    pub fn new(limit_ms: Option<u64>) -> Self {
        Self { limit_ms, ..Self::default() }
    }

    /// How long the guard may sleep; `None`: for ever. It looks in the moment in which a beat is overdue:
    /// the other node counts from the same one.
    pub fn pause(&self, now_ms: u64) -> Option<Duration> {
        let limit_ms = self.limit_ms?;
        let most_ms = (limit_ms / 8).clamp(10, LOOK_MS);
        let left_ms = self.fed_ms.map_or(0, |fed_ms| (fed_ms + limit_ms + 1).saturating_sub(now_ms));
        Some(Duration::from_millis(if left_ms == 0 { most_ms } else { left_ms.min(most_ms) }))
    }

    /// The daemon's last word. It arms, and disarms when everything is released for good.
    pub fn feed(&mut self, record: &Record) {
        let released = record.condition == Condition::Leaving && record.held.is_empty();
        self.fed_ms = (!released).then(|| record.beat_ms.max(self.fed_ms.unwrap_or(0)));
    }

    /// The daemon is dead: the next one arms it with its first beat.
    pub fn disarm(&mut self) {
        (self.fed_ms, self.suspect) = (None, false);
    }

    /// The machine is to be reset. Overdue at two looks in a row, neither late: a machine that stood
    /// still as a whole gets the time of a look to beat.
    pub fn is_overdue(&mut self, now_ms: u64) -> bool {
        let (Some(limit_ms), Some(fed_ms)) = (self.limit_ms, self.fed_ms) else { return false };
        let in_time = now_ms.saturating_sub(self.looked_ms) <= 4 * LOOK_MS;
        self.looked_ms = now_ms;
        let overdue = now_ms > fed_ms + limit_ms;
        let sure = overdue && in_time && self.suspect;
        self.suspect = overdue && in_time;
        sure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ResourceSet;

    fn record(beat_ms: u64, condition: Condition, held: ResourceSet) -> Record {
        Record {
            beat_ms,
            limit_ms: 700,
            program: (1, 1),
            held,
            condition,
            awaits_failback: false,
            maintenance: (0, 0),
            fencing: Default::default(),
        }
    }

    fn resets_at(watchdog: &mut SoftwareWatchdog, from_ms: u64, to_ms: u64) -> Option<u64> {
        (from_ms..to_ms).step_by(250).find(|now_ms| watchdog.is_overdue(*now_ms))
    }

    #[test]
    fn it_is_armed_by_the_first_beat_and_through_a_release() {
        let mut watchdog = SoftwareWatchdog::new(Some(2000));
        assert_eq!(resets_at(&mut watchdog, 0, 10_000), None);
        watchdog.feed(&record(10_000, Condition::Leaving, ResourceSet::LOCAL));
        assert_eq!(resets_at(&mut watchdog, 10_000, 20_000), Some(12_500));
        watchdog.feed(&record(20_000, Condition::Leaving, ResourceSet::NONE));
        assert_eq!(resets_at(&mut watchdog, 20_000, 60_000), None);
        assert!(SoftwareWatchdog::new(None).pause(0).is_none());
    }

    #[test]
    fn it_looks_in_the_moment_in_which_a_beat_is_overdue() {
        let mut watchdog = SoftwareWatchdog::new(Some(2000));
        let pause_ms = |watchdog: &SoftwareWatchdog, now_ms| watchdog.pause(now_ms).unwrap().as_millis();
        assert_eq!(pause_ms(&watchdog, 7), 250, "not armed");
        watchdog.feed(&record(1000, Condition::AtRest, ResourceSet::ALL));
        assert_eq!((pause_ms(&watchdog, 1000), pause_ms(&watchdog, 2900)), (250, 101));
        assert!(!watchdog.is_overdue(2900) && !watchdog.is_overdue(3001), "once is not enough");
        assert_eq!(pause_ms(&watchdog, 3001), 250);
        assert!(watchdog.is_overdue(3251));
    }

    #[test]
    fn a_machine_that_stood_still_may_beat_first() {
        let mut watchdog = SoftwareWatchdog::new(Some(2000));
        watchdog.feed(&record(1000, Condition::AtRest, ResourceSet::ALL));
        assert!(!watchdog.is_overdue(1250));
        assert!(!watchdog.is_overdue(100_000) && !watchdog.is_overdue(100_250));
        watchdog.feed(&record(100_300, Condition::AtRest, ResourceSet::ALL));
        assert_eq!(resets_at(&mut watchdog, 100_500, 102_250), None);
        assert!(resets_at(&mut watchdog, 102_250, 104_000).is_some());
    }
}
