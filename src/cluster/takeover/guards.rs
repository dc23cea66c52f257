//! What the guards have in common: those that watch all the time, not only while a takeover waits.

use super::super::event::{Finding, Job, QuestionId};
use super::super::fingerprint::Fingerprint;
use super::super::handoff::Form;
use super::super::jobs::Purpose;
use super::super::node::Node;
use super::super::Cluster;
use super::arbiter::Arbiter;
use super::lease::Lease;
use super::reachable::Reachable;

/// State of the guards that watch all the time.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Guards {
    pub(super) lease: Lease,
    pub(super) arbiter: Arbiter,
    pub(super) reachable: Reachable,
}

impl Guards {
    pub fn visit(&mut self, form: &mut Form) {
        self.lease.visit(form);
        self.arbiter.visit(form);
        self.reachable.visit(form);
    }

    /// What decides.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { lease, arbiter, reachable } = self;
        lease.fingerprint(into);
        arbiter.fingerprint(into);
        reachable.fingerprint(into);
    }
}

impl Cluster {
    /// After every input: lets go of what may not be held, asks what is to be known.
    pub(in crate::cluster) fn advance_guards(&mut self) {
        self.advance_lease();
        if !self.ended {
            self.advance_arbiter();
            self.advance_reachable();
        }
    }

    pub(in crate::cluster) fn next_guards_timeout_ms(&self) -> Option<u64> {
        let lease = self.next_lease_timeout_ms();
        lease.into_iter().chain(self.next_arbiter_timeout_ms()).chain(self.next_reachable_timeout_ms()).min()
    }

    /// `true` when the answer belongs to one of them.
    pub(super) fn guards_answered(&mut self, question: QuestionId, answer: &Finding) -> bool {
        self.lease_answered(question, answer) || self.arbiter_answered(question, answer)
    }

    /// Everything held here is released, once.
    pub(super) fn give_up_everything(&mut self) {
        let give = self.claims.hold.minus(self.releasing());
        if !give.is_empty() && !self.shutdown.is_under_way() {
            if self.handover.is_acquiring() {
                // What the other node gave is not started any more, or is stopped again.
                self.cancel_handover();
            }
            self.schedule(Job::Release(give), Purpose::Conflict);
        }
    }

    /// What was given up may be held again: taken as after the peer's death, through all gates.
    pub(super) fn take_again(&mut self) {
        let alone = self.peer().is_some_and(Node::is_dead) && !self.takeover.is_pending();
        if alone && self.liveness.communication_up && self.settings.manage_resources {
            self.take_over(true);
        }
    }
}
