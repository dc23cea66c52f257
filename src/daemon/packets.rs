//! Packets that were not believed: counted by kind, logged at a bounded rate.

use crate::cluster::view::ClusterView;
use crate::log::{LogLine, RateLimit};
use crate::types::{LinkName, LogLevel};
use crate::wire::DecodeError;

/// Lines of one kind within [`WINDOW_MS`].
const LINES: u32 = 5;
/// The window, milliseconds.
const WINDOW_MS: u64 = 10_000;

/// The counters.
pub struct BadPackets {
    limit: RateLimit,
    speak: bool,
    total: u64,
}

impl BadPackets {
    /// `speak` is `log_badpack`.
    pub fn new(speak: bool) -> Self {
        Self { limit: RateLimit::new(LINES, WINDOW_MS), speak, total: 0 }
    }

    /// Counts one and gives the lines to log.
    pub fn note(&mut self, link: &LinkName, error: &DecodeError, now_ms: u64) -> Vec<LogLine> {
        self.total += 1;
        if !self.speak {
            return Vec::new();
        }
        let mut lines: Vec<LogLine> = self
            .limit
            .take_suppressed(now_ms)
            .into_iter()
            .map(|(kind, count)| (LogLevel::Warning, format!("{count} more packets were dropped: {kind}")))
            .collect();
        let verdict = self.limit.check(error.kind(), now_ms);
        if let Some(text) = verdict.apply(&format!("{error} (link {link}; packet dropped)")) {
            lines.push((error.log_level(), text));
        }
        lines
    }

    /// Shows the count in the status.
    pub fn add_to(&self, view: &mut ClusterView) {
        view.dropped_packets = self.total;
    }
}
