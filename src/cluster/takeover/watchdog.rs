//! The peer's watchdog gets its time: a hung peer is reset before its resources are taken
//! (`watchdog_wait`).
//!
//! A watchdog is fed with each beat that leaves. One whose peer stopped beating resets it so long after
//! its last beat, so who waits for that and a margin after the last beat that was heard takes from nobody
//! who hangs. It says nothing of a peer that is cut off and beats on.

use crate::types::LogLevel;

use super::super::node::{Extension, Node};
use super::super::settings::WatchdogWait;
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// What the reset may be late: clocks of devices count seconds. Milliseconds.
const MARGIN_MS: u64 = 1000;
/// So many of its last beats may have been lost on the way: its watchdog was fed with them all the same.
const LOST_BEATS: u64 = 2;

impl Cluster {
    /// See the file's head.
    pub(super) fn look_at_watchdog(&mut self, pending: &mut Pending) -> Verdict {
        let wait = self.settings.takeover.watchdog.filter(|_| !self.settings.faults.take_before_watchdog);
        let (Some(wait), Some(peer)) = (wait, self.peer()) else {
            return Verdict::Open;
        };
        let announced_ms = peer.extension.as_ref().and_then(|peer| peer.watchdog_ms);
        let time_ms = match wait {
            WatchdogWait::Announced(else_ms) => announced_ms.unwrap_or(else_ms),
            // A time that was written down binds nobody who needs longer and says so.
            WatchdogWait::Fixed(time_ms) => time_ms.max(announced_ms.unwrap_or(0)),
        };
        // It was declared dead so long after its last beat, where there was one.
        let silent_ms = if pending.ever_heard { peer.dead_after_ms } else { 0 };
        let margin_ms = MARGIN_MS + LOST_BEATS * self.settings.keepalive_ms;
        let due_ms = pending.gate_since_ms.saturating_sub(silent_ms) + time_ms + margin_ms;
        let now_ms = self.now.monotonic_ms;
        if now_ms >= due_ms {
            return Verdict::Open;
        }
        let why = format!("the watchdog of node {} gets its {time_ms} ms and {margin_ms} ms more", peer.name);
        if pending.step == 0 {
            pending.step = 1;
            let left_ms = due_ms - now_ms;
            self.log(LogLevel::Info, &format!("Resource takeover in {left_ms} ms: {why}"));
        }
        pending.due_ms = Some(due_ms);
        Verdict::Wait { why, confirm: Confirm::Opens }
    }

    pub(super) fn describe_watchdog(&self) -> Option<String> {
        let time = match self.settings.takeover.watchdog? {
            WatchdogWait::Announced(_) => "as long as it said".to_owned(),
            WatchdogWait::Fixed(time_ms) => format!("{time_ms} ms"),
        };
        let does = match self.peer_without_watchdog() {
            Some(peer) => format!("node {} has none: one that hangs is not reset", peer.name),
            None => "it resets a node that hangs".to_owned(),
        };
        Some(format!("a takeover waits for the other node's watchdog ({time}): {does}"))
    }

    /// The other node, where it is one of ours that says what it holds and of no watchdog.
    pub(super) fn peer_without_watchdog(&self) -> Option<&Node> {
        let silent = |peer: &Extension| peer.holding.is_some() && peer.watchdog_ms.is_none();
        self.peer().filter(|peer| peer.extension.as_ref().is_some_and(silent))
    }
}
