//! How often a kind of line may appear: a flood of bad packets must not become a flood of lines.

use std::collections::BTreeMap;

/// Kinds remembered at once; further ones share one allowance.
const KINDS_MAX: usize = 64;

/// Longest remembered part of a kind's name in bytes.
const KIND_NAME_MAX_BYTES: usize = 64;

/// What to do with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Log it.
    Pass,
    /// Log it, and say that so many like it were left out before.
    PassAfter(u64),
    /// Leave it out.
    Suppress,
}

impl Verdict {
    /// The line to log, with `… N more suppressed` behind it where that is due.
    pub fn apply(self, text: &str) -> Option<String> {
        match self {
            Self::Pass => Some(text.to_owned()),
            Self::PassAfter(count) => Some(format!("{text} … {count} more suppressed")),
            Self::Suppress => None,
        }
    }
}

/// At most so many lines per interval and kind.
#[derive(Debug, Clone)]
pub struct RateLimit {
    lines: u32,
    interval_ms: u64,
    kinds: BTreeMap<String, Window>,
    others: Window,
}

#[derive(Debug, Clone, Default)]
struct Window {
    start_ms: u64,
    passed: u32,
    suppressed: u64,
}

impl RateLimit {
    /// At most `lines` (at least one) per `interval_ms` for each kind.
    pub fn new(lines: u32, interval_ms: u64) -> Self {
        Self { lines: lines.max(1), interval_ms, kinds: BTreeMap::new(), others: Window::default() }
    }

    /// Decides about one line of this kind at `now_ms` (monotonic). At most 64 kinds are told
    /// apart at once, by their first 64 bytes; what is beyond shares one allowance.
    pub fn check(&mut self, kind: &str, now_ms: u64) -> Verdict {
        let kind = kind.get(..KIND_NAME_MAX_BYTES).unwrap_or(kind);
        let (lines, interval_ms) = (self.lines, self.interval_ms);
        if let Some(window) = self.kinds.get_mut(kind) {
            return window.check(lines, interval_ms, now_ms);
        }
        if self.kinds.len() >= KINDS_MAX {
            let over = |window: &Window| window.suppressed == 0 && window.is_over(interval_ms, now_ms);
            self.kinds.retain(|_, window| !over(window));
        }
        if self.kinds.len() >= KINDS_MAX || kind.len() > KIND_NAME_MAX_BYTES {
            return self.others.check(lines, interval_ms, now_ms);
        }
        let window = Window { start_ms: now_ms, ..Window::default() };
        self.kinds.entry(kind.to_owned()).or_insert(window).check(lines, interval_ms, now_ms)
    }

    /// Kinds whose interval has ended with lines left out, and how many: for a periodic
    /// `kind: … N more suppressed`, when nothing of the kind comes any more. Each is told once.
    pub fn take_suppressed(&mut self, now_ms: u64) -> Vec<(String, u64)> {
        let interval_ms = self.interval_ms;
        let mut told = Vec::new();
        self.kinds.retain(|kind, window| {
            let over = window.is_over(interval_ms, now_ms);
            if over && window.suppressed > 0 {
                told.push((kind.clone(), window.suppressed));
            }
            !over
        });
        if self.others.suppressed > 0 && self.others.is_over(interval_ms, now_ms) {
            told.push(("others".to_owned(), self.others.suppressed));
            self.others = Window::default();
        }
        told
    }
}

impl Window {
    fn is_over(&self, interval_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.start_ms) >= interval_ms
    }

    fn check(&mut self, lines: u32, interval_ms: u64, now_ms: u64) -> Verdict {
        let mut left_out = 0;
        if self.is_over(interval_ms, now_ms) {
            left_out = self.suppressed;
            *self = Self { start_ms: now_ms, ..Self::default() };
        }
        if self.passed >= lines {
            self.suppressed = self.suppressed.saturating_add(1);
            return Verdict::Suppress;
        }
        self.passed += 1;
        if left_out > 0 {
            Verdict::PassAfter(left_out)
        } else {
            Verdict::Pass
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_suppresses_and_says_so() {
        let mut limit = RateLimit::new(2, 1000);
        let verdicts: Vec<_> = (0..5).map(|now_ms| limit.check("bad packet", now_ms)).collect();
        assert_eq!(verdicts[..2], [Verdict::Pass; 2]);
        assert_eq!(verdicts[2..], [Verdict::Suppress; 3]);
        assert_eq!(limit.check("other kind", 5), Verdict::Pass);
        let verdict = limit.check("bad packet", 1000);
        assert_eq!(verdict.apply("bad").as_deref(), Some("bad … 3 more suppressed"));
        assert_eq!(limit.check("bad packet", 1001), Verdict::Pass);
        assert_eq!(limit.check("bad packet", 1002), Verdict::Suppress);
        assert_eq!(limit.take_suppressed(1500), []);
        assert_eq!(limit.take_suppressed(2000), [("bad packet".to_owned(), 1)]);
        assert_eq!(limit.take_suppressed(9000), []);
    }

    #[test]
    fn many_kinds_are_bounded() {
        let mut limit = RateLimit::new(1, 1000);
        let passed = (0..10_000).filter(|n| limit.check(&format!("kind {n}"), 1) == Verdict::Pass).count();
        assert!(passed <= KINDS_MAX + 1, "{passed}");
        assert!(limit.kinds.len() <= KINDS_MAX);
        assert_eq!(limit.check("new one", 5000), Verdict::Pass);
        let text = "\u{e9}".repeat(1000);
        assert_ne!(limit.check("", 5000), Verdict::Suppress);
        limit.check(&format!("x{text}"), 5000);
    }

    #[test]
    fn clock_that_steps_back_does_not_panic() {
        let mut limit = RateLimit::new(1, 1000);
        assert_eq!(limit.check("a", u64::MAX), Verdict::Pass);
        assert_eq!(limit.check("a", 0), Verdict::Suppress);
    }
}
