//! Gate: the peer is cut off from what it could damage by a program, a switch port or a reservation of
//! a disk (`resource_fence` in ha.cf, ha-guards(7)): instead of its power, with the same rules.

use crate::types::LogLevel;

use super::super::alarm::AlarmKind;
use super::super::event::{Finding, Question};
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// Pause before the program is tried again, milliseconds (resources spec 3.2).
const RETRY_MS: u64 = 5_000;

impl Cluster {
    /// For the status.
    pub(super) fn describe_resource_fence(&self) -> Option<String> {
        self.settings
            .takeover
            .resource_fence
            .then(|| "a program cuts the other node off before a takeover".to_owned())
    }

    pub(super) fn look_at_resource_fence(&mut self, pending: &mut Pending) -> Verdict {
        let Some(node) = self.peer_name().filter(|_| self.settings.takeover.resource_fence) else {
            return Verdict::Open;
        };
        let now_ms = self.now.monotonic_ms;
        match pending.answer.take() {
            Some(Finding::Yes | Finding::Found(_)) => {
                self.log(LogLevel::Info, &format!("resource fencing: node {node} is cut off"));
                return Verdict::Open;
            }
            Some(Finding::No(why) | Finding::Failed(why) | Finding::Unclear(why)) => {
                let text = format!("resource fencing of node {node} failed: {why}; nothing is taken");
                self.log(LogLevel::Error, &text);
                self.alarm(AlarmKind::FencingFailed, node.as_str(), &text);
                pending.due_ms = Some(now_ms + RETRY_MS);
            }
            None => {}
        }
        if self.settings.faults.take_unfenced_resource {
            return Verdict::Open;
        }
        if pending.question.is_none() && pending.due_ms.is_none_or(|due_ms| now_ms >= due_ms) {
            self.ask_outside(pending, Question::Resource { node });
        }
        let why = "the other node is not cut off yet (resource_fence)".to_owned();
        Verdict::Wait { why, confirm: Confirm::Opens }
    }
}
