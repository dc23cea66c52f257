//! Packets that were not believed: counted, logged at a bounded rate.

use crate::cluster::view::ClusterView;
use crate::log::{LogLine, RateLimit};
use crate::types::{LinkName, LogLevel};
use crate::wire::DecodeError;

/// Packets of one kind that are spoken of within [`WINDOW_MS`].
const PACKETS: u32 = 5;
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
        Self { limit: RateLimit::new(PACKETS, WINDOW_MS), speak, total: 0 }
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
            .map(|(kind, count)| (LogLevel::Warning, format!("{count} more packets were dropped ({kind})")))
            .collect();
        let verdict = self.limit.check(kind(error), now_ms);
        if let Some(text) = verdict.apply(&format!("packet on link {link}: {error}")) {
            lines.extend(error.log_lines());
            lines.push((LogLevel::Warning, text));
        }
        lines
    }

    /// Adds the count to those that the cluster dropped itself.
    pub fn add_to(&self, view: &mut ClusterView) {
        view.dropped_packets += self.total;
    }
}

fn kind(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::NotAMessage => "no message",
        DecodeError::Malformed { .. } => "malformed",
        DecodeError::Unsigned { .. } => "not signed",
        DecodeError::UnknownKey { .. } => "unknown key",
        DecodeError::BadDigest { .. } => "wrong signature",
        DecodeError::TooLarge { .. } => "too long",
        DecodeError::BadCompression(_) => "bad compression",
    }
}
