//! Collects log lines, a limited number per minute of each kind.

use crate::log::{LogLine, RateLimit};
use crate::types::LogLevel;

/// Lines of one kind per interval. The original, too, stops after ten failures in a row.
const LINES: u32 = 10;
const INTERVAL_MS: u64 = 60_000;

/// Lines kept until they are taken.
const EVENTS_MAX: usize = 512;

#[derive(Debug)]
pub(super) struct Reporter {
    limit: RateLimit,
    now_ms: u64,
    events: Vec<LogLine>,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self { limit: RateLimit::new(LINES, INTERVAL_MS), now_ms: 0, events: Vec::new() }
    }

    pub(super) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// One line, unless there were too many of this kind.
    pub(super) fn report(&mut self, kind: &str, level: LogLevel, text: impl FnOnce() -> String) {
        let verdict = self.limit.check(kind, self.now_ms);
        if self.events.len() < EVENTS_MAX && verdict != crate::log::Verdict::Suppress {
            self.events.extend(verdict.apply(&text()).map(|text| (level, text)));
        }
    }

    /// Lines that belong together.
    pub(super) fn report_all(&mut self, kind: &str, lines: Vec<LogLine>) {
        let passes = self.limit.check(kind, self.now_ms) != crate::log::Verdict::Suppress;
        if passes && self.events.len() < EVENTS_MAX {
            self.events.extend(lines);
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.events)
    }
}
