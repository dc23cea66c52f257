//! How long the counts must have been equal before resources go back: without it a gateway that comes
//! and goes takes the address along each time, as with the original's ipfail and `auto_failback on`.

/// The least time, in milliseconds.
pub(super) const HOLD_MS: u64 = 10_000;
/// The most, however often it was disturbed.
pub(super) const HOLD_MAX_MS: u64 = 600_000;
/// A disturbance within this many times the present time of calm is a repetition.
const REPEATED_WITHIN: u64 = 10;

/// Says how long to wait; doubles that with each disturbance soon after a return.
#[derive(Debug)]
pub(super) struct Calm {
    least_ms: u64,
    hold_ms: u64,
    troubled: bool,
    returned_ms: Option<u64>,
}

impl Calm {
    pub(super) fn new(least_ms: u64) -> Self {
        let least_ms = least_ms.clamp(HOLD_MS, HOLD_MAX_MS);
        Self { least_ms, hold_ms: least_ms, troubled: false, returned_ms: None }
    }

    /// The counts were found to differ.
    pub(super) fn trouble(&mut self, now_ms: u64) {
        self.troubled = true;
        if let Some(returned_ms) = self.returned_ms.take() {
            let again = now_ms.saturating_sub(returned_ms) < self.hold_ms.saturating_mul(REPEATED_WITHIN);
            self.hold_ms = if again { (self.hold_ms * 2).min(HOLD_MAX_MS) } else { self.least_ms };
        }
    }

    /// Resources went back, or the other node was told that they may.
    pub(super) fn returned(&mut self, now_ms: u64) {
        self.troubled = false;
        self.returned_ms = Some(now_ms);
    }

    /// The time of calm to wait for; nothing where the counts have not differed since the last return.
    pub(super) fn wait_ms(&self) -> Option<u64> {
        self.troubled.then_some(self.hold_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_double_the_time_and_a_long_calm_forgets_them() {
        let mut calm = Calm::new(0);
        assert_eq!(calm.wait_ms(), None);
        calm.trouble(0);
        calm.trouble(1);
        assert_eq!(calm.wait_ms(), Some(10_000));
        calm.returned(20_000);
        assert_eq!(calm.wait_ms(), None);
        calm.trouble(30_000);
        calm.trouble(30_001);
        assert_eq!(calm.wait_ms(), Some(20_000));
        let mut now_ms = 60_000;
        for _ in 0..20 {
            calm.returned(now_ms);
            now_ms += 1;
            calm.trouble(now_ms);
        }
        assert_eq!(calm.wait_ms(), Some(HOLD_MAX_MS));
        calm.returned(now_ms);
        calm.trouble(now_ms + HOLD_MAX_MS * REPEATED_WITHIN);
        assert_eq!(calm.wait_ms(), Some(10_000));
    }

    #[test]
    fn absurd_times_do_no_harm() {
        let mut calm = Calm::new(u64::MAX);
        calm.returned(u64::MAX);
        calm.trouble(0);
        assert_eq!(calm.wait_ms(), Some(HOLD_MAX_MS));
    }
}
