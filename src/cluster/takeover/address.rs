//! Gate: nobody answers for the addresses that are to be taken (`ask_before_take` in ha.cf,
//! ha-guards(7)). The kernel of a host whose daemon hangs may answer for ever, so there is an end to it.

use crate::types::{LogLevel, ResourceSet};

use super::super::event::{Finding, Question};
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// Pause before asking again, milliseconds.
const AGAIN_MS: u64 = 1_000;

impl Cluster {
    /// For the status.
    pub(super) fn describe_address(&self) -> Option<String> {
        let settings = self.settings.takeover.ask_before_take?;
        let end = if settings.then_take { "then taken" } else { "never taken while it answers" };
        Some(format!("an address that answers is left alone for {} s, {end}", settings.most_ms / 1000))
    }

    pub(super) fn look_at_address(&mut self, pending: &mut Pending) -> Verdict {
        let asks = self.settings.takeover.ask_before_take.filter(|_| !self.settings.faults.take_unasked);
        let Some(settings) = asks else {
            return Verdict::Open;
        };
        let now_ms = self.now.monotonic_ms;
        // The old protocol knows no sets.
        let held = if self.is_legacy() { ResourceSet::LOCAL } else { self.claims.hold };
        let set = ResourceSet::ALL.minus(held);
        let why = match pending.answer.take() {
            _ if set.is_empty() => return Verdict::Open,
            Some(Finding::Yes | Finding::Found(_)) => return Verdict::Open,
            Some(Finding::No(why) | Finding::Failed(why) | Finding::Unclear(why)) => {
                self.log_limited("ask-before-take", LogLevel::Warning, &format!("not taken yet: {why}"));
                self.say_refused(&why);
                (pending.due_ms, pending.step) = (Some(now_ms + AGAIN_MS), 1);
                why
            }
            None if pending.step == 0 => "whether somebody answers for the addresses".to_owned(),
            None => pending.why.clone(),
        };
        let end_ms = pending.gate_since_ms + settings.most_ms;
        if now_ms >= end_ms && settings.then_take {
            let seconds = settings.most_ms / 1000;
            let text = format!("{why}; taken all the same after {seconds} s (ask_before_take)");
            self.log(LogLevel::Critical, &text);
            return Verdict::Open;
        }
        let due = pending.due_ms.is_none_or(|due_ms| now_ms >= due_ms);
        if pending.question.is_none() && due && pending.gate_since_ms != end_ms {
            self.ask_outside(pending, Question::Address { set });
            pending.due_ms = None;
        }
        if settings.then_take {
            pending.due_ms = Some(pending.due_ms.map_or(end_ms, |due_ms| due_ms.min(end_ms)));
        }
        Verdict::Wait { why, confirm: Confirm::Opens }
    }
}
