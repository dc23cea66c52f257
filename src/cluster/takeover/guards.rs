//! What the guards have in common: those that watch all the time, not only while a takeover waits.

use crate::types::LogLevel;

use super::super::alarm::AlarmKind;
use super::super::event::{ExitReason, Finding, Job, QuestionId};
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
    /// A person confirmed that the other node is down; until it is heard.
    confirmed: bool,
    /// It was told that the takeover under way is refused.
    refused: bool,
}

impl Guards {
    pub fn visit(&mut self, form: &mut Form) {
        self.lease.visit(form);
        self.arbiter.visit(form);
        self.reachable.visit(form);
        form.flag("guards.confirmed", &mut self.confirmed);
    }

    /// What decides.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { lease, arbiter, reachable, confirmed, refused: _ } = self;
        into.add(confirmed);
        lease.fingerprint(into);
        arbiter.fingerprint(into);
        reachable.fingerprint(into);
    }
}

impl Cluster {
    /// After every input: lets go of what may not be held, asks what is to be known.
    pub(in crate::cluster) fn advance_guards(&mut self) {
        if self.peer().is_none_or(|peer| !peer.is_dead()) {
            self.takeover.guards.confirmed = false;
        }
        self.takeover.guards.refused &= self.takeover.is_pending();
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

    /// A person said that the other node is down: what only guesses at that holds nothing back.
    pub(super) fn guards_confirmed(&mut self) {
        self.takeover.guards.confirmed = true;
    }

    /// Whether a guard that can be overruled may make this node give up what it holds.
    pub(super) fn guards_rule(&self) -> bool {
        !self.takeover.guards.confirmed
    }

    /// Tells once for a takeover that a guard stands in its way.
    pub(super) fn say_refused(&mut self, why: &str) {
        let Some(name) = self.peer_name() else {
            return;
        };
        if !std::mem::replace(&mut self.takeover.guards.refused, true) {
            let text = format!("node {name} is dead and is not taken over: {why}");
            self.log(LogLevel::Warning, &text);
            self.alarm(AlarmKind::TakeoverRefused, name.as_str(), &text);
        }
    }

    /// What is wrong with the guards, for the status.
    pub(super) fn guards_alarms(&self) -> Vec<String> {
        let Guards { lease, arbiter, reachable, .. } = &self.takeover.guards;
        let lost = [
            (lease.is_lost(), "the lease could not be renewed: this node may hold nothing"),
            (arbiter.is_lost(), "the arbiter has not given its token: this node may hold nothing"),
            (reachable.is_lost(), "no ping node and no other node is heard: this node may hold nothing"),
        ];
        lost.into_iter().filter(|(lost, _)| *lost).map(|(_, text)| text.to_owned()).collect()
    }

    /// Whether the watchdog stays armed when this life ends so. A life that goes on with what it holds must
    /// be able to stand still on its way no longer than any other, where another node counts on that.
    pub fn needs_watchdog_beyond(&self, reason: ExitReason) -> bool {
        let takeover = &self.settings.takeover;
        let counts = takeover.lease.is_some() || takeover.watchdog.is_some();
        match reason {
            ExitReason::StopFailed => true,
            ExitReason::QuickRestart(_) => counts,
            ExitReason::Stopped | ExitReason::Restart => false,
        }
    }

    /// What was given up may be held again: taken as after the peer's death, through all gates.
    pub(super) fn take_again(&mut self) {
        let alone = self.peer().is_some_and(Node::is_dead) && !self.takeover.is_pending();
        if alone && self.liveness.communication_up && self.settings.manage_resources {
            self.take_over_later(true);
        }
    }
}
