//! Gate: arbitration by ping nodes (`ping_arbitration on` in ha.cf, ha-guards(7); design §5).
//!
//! While the other node is lost, whoever reaches no ping node takes nothing and gives up what it
//! holds. An answer counts for the taking only when it came after the loss: what was reachable before
//! says nothing. While the other node is heard, both compare how many ping nodes answer, as ipfail does:
//! the one that reaches fewer, for a while and with nothing under way, gives what it has; equal counts
//! move nothing, however small, so that a dead gateway is no outage.

use crate::types::LogLevel;

use super::super::alarm::AlarmKind;
use super::super::fingerprint::Fingerprint;
use super::super::handoff::Form;
use super::super::handover::Origin;
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// State of this gate.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Reachable {
    /// The other reaches more since.
    worse_ms: Option<u64>,
    /// Given up for want of ping nodes.
    lost: bool,
    /// When last no ping node had answered for [`SILENT_KEEPALIVES`].
    silent_ms: Option<u64>,
}

/// A ping node is asked once per keepalive; so many answers may be lost.
const SILENT_KEEPALIVES: u64 = 3;

impl Reachable {
    /// Nothing may be held.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// A comparison begins anew.
    pub fn visit(&mut self, form: &mut Form) {
        form.flag("reachable.lost", &mut self.lost);
    }

    /// What decides.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { worse_ms, lost, silent_ms } = self;
        into.add(lost);
        into.moment_if(*worse_ms, u64::MAX);
        into.moment_if(*silent_ms, u64::MAX);
    }
}

impl Cluster {
    fn arbitrates_by_ping(&self) -> bool {
        self.settings.takeover.ping_arbitration && !self.pings.is_empty()
    }

    /// After every input.
    pub(in crate::cluster) fn advance_reachable(&mut self) {
        if !self.arbitrates_by_ping() || !self.liveness.communication_up || !self.settings.manage_resources {
            return;
        }
        let (now_ms, silent_ms) = (self.now.monotonic_ms, SILENT_KEEPALIVES * self.settings.keepalive_ms);
        if !self.pings.iter().any(|ping| ping.answered_since(now_ms.saturating_sub(silent_ms))) {
            self.takeover.guards.reachable.silent_ms = Some(now_ms);
        }
        if self.peer().is_some_and(|peer| peer.is_dead()) {
            self.takeover.guards.reachable.worse_ms = None;
            self.reachable_alone();
        } else {
            self.reachable_again();
            self.reachable_compare();
        }
    }

    fn reachable_alone(&mut self) {
        let cut_off = self.pings.iter().all(super::super::ping::PingNode::is_dead);
        if !cut_off {
            if self.reachable_count() > 0 && self.reachable_again() {
                self.take_again();
            }
            return;
        }
        if self.claims.hold.is_empty() || self.settings.faults.hold_cut_off || !self.guards_rule() {
            return;
        }
        if !std::mem::replace(&mut self.takeover.guards.reachable.lost, true) {
            let text = "neither the other node nor any ping node is heard: this node is cut off and gives \
                        up everything";
            self.log(LogLevel::Critical, text);
            self.alarm(AlarmKind::GaveUp, "ping_arbitration", text);
        }
        self.give_up_everything();
    }

    /// `true` when it was not so before.
    fn reachable_again(&mut self) -> bool {
        let was_lost = std::mem::take(&mut self.takeover.guards.reachable.lost);
        if was_lost {
            self.alarm_over(AlarmKind::GaveUp, "ping_arbitration", None);
        }
        was_lost
    }

    fn reachable_count(&self) -> u64 {
        self.pings.iter().filter(|ping| ping.answers()).count() as u64
    }

    /// For our beats; `None`: not to be compared.
    pub(in crate::cluster) fn reachable_to_tell(&self) -> Option<u64> {
        self.arbitrates_by_ping().then(|| self.reachable_count())
    }

    fn reachable_compare(&mut self) {
        let theirs = self.peer().and_then(|peer| peer.extension.as_ref()).and_then(|peer| peer.reaches);
        let worse = theirs.is_some_and(|theirs| theirs > self.reachable_count());
        let now_ms = self.now.monotonic_ms;
        if !worse || self.claims.hold.is_empty() {
            self.takeover.guards.reachable.worse_ms = None;
            return;
        }
        let since_ms = *self.takeover.guards.reachable.worse_ms.get_or_insert(now_ms);
        let ready = self.is_settled() && self.peer_is_ready() && !self.shutdown.is_under_way();
        if now_ms < since_ms + self.reachable_patience_ms() || !ready {
            return;
        }
        self.takeover.guards.reachable.worse_ms = Some(now_ms);
        self.log(LogLevel::Warning, "the other node reaches more ping nodes: it gets what is held here");
        self.request_standby_for(self.claims.hold, Origin::Person);
    }

    /// The other one gets the time to notice the same loss.
    fn reachable_patience_ms(&self) -> u64 {
        self.settings.dead_ping_ms + 3 * self.settings.keepalive_ms
    }

    pub(in crate::cluster) fn next_reachable_timeout_ms(&self) -> Option<u64> {
        let due_ms = self.takeover.guards.reachable.worse_ms? + self.reachable_patience_ms();
        // Past it something else is waited for, which comes as an input.
        (due_ms > self.now.monotonic_ms).then_some(due_ms)
    }

    pub(super) fn look_at_reachable(&mut self, pending: &mut Pending) -> Verdict {
        if !self.arbitrates_by_ping() || self.settings.faults.hold_cut_off {
            return Verdict::Open;
        }
        let (now_ms, since_ms) = (self.now.monotonic_ms, pending.since_ms);
        // Where the way to the ping nodes has just come back, the way to the other node has too: it gets
        // a deadtime to be heard.
        let silent_ms = self.takeover.guards.reachable.silent_ms;
        let fresh_ms =
            silent_ms.map(|at_ms| at_ms + self.settings.dead_time_ms).filter(|at_ms| *at_ms > now_ms);
        if self.pings.iter().any(|ping| ping.answers() && ping.answered_since(since_ms)) {
            let Some(fresh_ms) = fresh_ms else { return Verdict::Open };
            pending.due_ms = Some(fresh_ms);
            let why = "the ping nodes have only just answered again, and the other node may be heard too";
            return Verdict::Wait { why: why.to_owned(), confirm: Confirm::Opens };
        }
        if self.pings.iter().all(super::super::ping::PingNode::is_dead) {
            self.say_refused("no ping node answers here");
        }
        let why = "no ping node has answered since the other node was lost".to_owned();
        Verdict::Wait { why, confirm: Confirm::Opens }
    }

    /// For the status; `None` without arbitration.
    pub(in crate::cluster) fn reachable_describe(&self) -> Option<String> {
        self.arbitrates_by_ping().then(|| {
            format!("ping arbitration: {} of {} ping nodes answer", self.reachable_count(), self.pings.len())
        })
    }
}
