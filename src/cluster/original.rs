//! What is done only towards a 3.0.6 peer (resources spec 2.13 J, 2.14).
//!
//! Its beats do not say what it holds, whom it hears and what failed there. It is asked and told in
//! its own words: on `starting` it says what it claims, on `hb_takeover` it stops a set and gives it,
//! whether or not it claims it.

use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::claims::Phase;
use super::event::Job;
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::handover::Origin;
use super::jobs::Purpose;
use super::node::Node;
use super::Cluster;

/// Pause before a peer that came back is asked again what it holds, milliseconds.
const ASK_CLAIMS_MS: u64 = 1000;
/// So long after deadtime a peer that came back and says nothing of its claims does not hear us,
/// milliseconds.
const UNHEARD_MS: u64 = 15_000;
/// A peer that came back from a partition and restarts itself has begun so by then, milliseconds: it
/// does after 2 s (resources spec 9).
const RESTART_SHOWS_MS: u64 = 4000;
/// A set that nobody claims is left alone for this long, milliseconds: the peer may be about to say
/// something.
const ORPHAN_PATIENCE_MS: u64 = 2000;
/// The answer to a demand takes no longer, milliseconds: a script there, then a request of standby,
/// which ends after ten seconds at most.
const DEMAND_PATIENCE_MS: u64 = 15_000;

/// A set that went to the peer because it does not start here, and is back within this time, did not
/// start there either, milliseconds: a script there sends it back after 30 s (resources spec 1.7).
const SENT_BACK_MS: u64 = 120_000;

/// State of this room; all of it is void with a new life of the peer, but for `gave_failed`.
#[derive(Debug, Clone, Default)]
pub(super) struct Original {
    /// When to ask what it holds.
    ask_claims_ms: Option<u64>,
    /// Since when it is asked and does not answer.
    unanswered_ms: Option<u64>,
    /// It has not answered for so long that it counts as claiming everything.
    presumed: bool,
    /// It said after its return that it has everything: it declared us dead.
    claimed_all: bool,
    /// Since when a set is claimed by nobody.
    orphaned_ms: Option<u64>,
    /// When it was told to give a set.
    demanded_ms: Option<u64>,
    /// It was offered its own orphaned set.
    offered: bool,
    /// It agreed to a request of ours (own viewpoint) that was given up by then, and waits for the set.
    late_consent: Option<ResourceSet>,
    /// What went to it because it does not start here (own viewpoint), and when.
    gave_failed: ResourceSet,
    gave_failed_ms: u64,
}

impl Original {
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.optional("original.ask_claims", &mut self.ask_claims_ms);
        form.optional("original.unanswered", &mut self.unanswered_ms);
        form.flag("original.presumed", &mut self.presumed);
        form.flag("original.claimed_all", &mut self.claimed_all);
        form.optional("original.orphaned", &mut self.orphaned_ms);
        form.optional("original.demanded", &mut self.demanded_ms);
        form.flag("original.offered", &mut self.offered);
        form.optional_set("original.late_consent", &mut self.late_consent);
        form.set("original.gave_failed", &mut self.gave_failed);
        form.number("original.gave_failed_at", &mut self.gave_failed_ms);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, dead_time_ms: u64, into: &mut Fingerprint) {
        let Self {
            ask_claims_ms,
            unanswered_ms,
            presumed,
            claimed_all,
            orphaned_ms,
            demanded_ms,
            offered,
            late_consent,
            gave_failed,
            gave_failed_ms,
        } = self;
        into.add((presumed, claimed_all, offered, late_consent, gave_failed));
        into.moment_if(*ask_claims_ms, 0);
        into.moment_if(*unanswered_ms, dead_time_ms + UNHEARD_MS);
        into.moment_if(*orphaned_ms, ORPHAN_PATIENCE_MS);
        into.moment_if(*demanded_ms, DEMAND_PATIENCE_MS);
        into.moment_if(Some(*gave_failed_ms).filter(|_| !gave_failed.is_empty()), SENT_BACK_MS);
    }

    /// The next moment after `now_ms` at which something may be due.
    pub fn next_timeout_ms(&self, now_ms: u64, returned_ms: Option<u64>) -> Option<u64> {
        let after = |since_ms: Option<u64>, wait_ms: u64| since_ms.map(|since_ms| since_ms + wait_ms);
        [
            self.ask_claims_ms,
            after(self.orphaned_ms, ORPHAN_PATIENCE_MS),
            after(self.demanded_ms, DEMAND_PATIENCE_MS),
            after(returned_ms, RESTART_SHOWS_MS),
        ]
        .into_iter()
        .flatten()
        .filter(|due_ms| *due_ms > now_ms)
        .min()
    }
}

impl Cluster {
    fn peer_is_original(&self) -> bool {
        self.peer_is_active() && self.peer().is_some_and(|peer| !peer.is_ours())
    }

    /// A new life of the peer, or its death.
    pub(super) fn original_forget(&mut self) {
        let Original { gave_failed, gave_failed_ms, .. } = self.original;
        self.original = Original { gave_failed, gave_failed_ms, ..Original::default() };
    }

    // ---- back after a loss of contact ----------------------------------------------------

    /// Contact is back. It may not have noticed that it was lost, and then says nothing by itself.
    pub(super) fn original_returned(&mut self) {
        self.original_forget();
        self.original.ask_claims_ms = Some(self.now.monotonic_ms);
    }

    /// A beat came after a silence. It may have declared us dead although we waited longer for it: for
    /// a while after its start it asks for more time than it gives.
    pub(super) fn original_was_silent(&mut self, interval_ms: u64) {
        let limit_ms = self.settings.dead_time_ms.saturating_sub(2 * self.settings.keepalive_ms);
        if interval_ms > limit_ms.max(2 * self.settings.keepalive_ms) && self.peer_is_original() {
            self.claims.returned_ms = Some(self.now.monotonic_ms);
            self.original.claimed_all = false;
        }
    }

    pub(super) fn ask_returned_peer(&mut self) {
        let due = self.original.ask_claims_ms.is_some_and(|due_ms| self.now.monotonic_ms >= due_ms);
        if !due || !self.peer_is_original() {
            return;
        }
        let known = self.claims.peer_known && !self.original.presumed;
        let done = known || self.claims.phase != Phase::Stable || self.is_legacy();
        self.original.ask_claims_ms = (!done).then_some(self.now.monotonic_ms + ASK_CLAIMS_MS);
        if !done {
            let since_ms = *self.original.unanswered_ms.get_or_insert(self.now.monotonic_ms);
            self.send(Message::new("starting"));
            // The question makes it think that we are not stable.
            self.send_report(None);
            if self.now.monotonic_ms >= since_ms + self.settings.dead_time_ms + UNHEARD_MS {
                self.presume_claims();
            }
        }
    }

    /// The wait for its first report is over. One that was reloaded meanwhile never got our question and
    /// holds what it held: it is asked once more before anything is taken that it did not say it has not.
    pub(super) fn original_is_asked_again(&mut self) -> bool {
        let asks =
            !self.claims.peer_known && self.peer_is_original() && self.original.unanswered_ms.is_none();
        if asks {
            self.original.unanswered_ms = Some(self.now.monotonic_ms);
            self.send(Message::new("starting"));
        }
        asks
    }

    /// Its beats arrive and it answers none of our questions: it does not hear us, so it has declared
    /// us dead and taken everything. It is asked on, and believed when it answers.
    fn presume_claims(&mut self) {
        if std::mem::replace(&mut self.original.presumed, true) {
            return;
        }
        let Some(name) = self.peer_name() else {
            return;
        };
        self.log(
            LogLevel::Warning,
            &format!("node {name} is heard and does not hear this one: it counts as holding all resources"),
        );
        self.claims.peer_hold = ResourceSet::ALL;
        self.claims.peer_known = true;
        self.claims.peer_stable = false;
        self.claims.returned_ms = None;
    }

    /// A report of it came.
    pub(super) fn original_reported(&mut self) {
        self.original.presumed = false;
        self.original.unanswered_ms = None;
        self.lateness_report();
    }

    /// Which part of the overlap this node lets go.
    ///
    /// A peer that declared us dead claims everything and restarts itself when contact is back, so
    /// everything is kept (resources spec 2.13 J). One that stood still may have missed its cue and
    /// is told to give. One that claims less did not notice the loss; whoever claims what we hold
    /// without that does not hear us: let go.
    pub(super) fn original_conflict_loss(&mut self, overlap: ResourceSet) -> ResourceSet {
        // One that took over from a third node says so in the same words as one that took over from us,
        // but has started nothing of ours.
        if self.settings.faults.ignore_one_way || self.members.peer_took_for_another {
            return ResourceSet::NONE;
        }
        self.original.claimed_all |= self.claims.peer_hold == ResourceSet::ALL;
        let restarts = self.claims.returned_ms.filter(|_| self.original.claimed_all);
        let Some(returned_ms) = restarts.filter(|_| !self.lateness.forfeits()) else {
            return overlap;
        };
        let shown = self.now.monotonic_ms >= returned_ms + RESTART_SHOWS_MS;
        if shown && self.is_settled() && self.peer_is_ready() && self.original.demanded_ms.is_none() {
            self.demand(overlap);
        }
        ResourceSet::NONE
    }

    /// Contact came back a moment ago: nothing is given to a peer that may be about to restart.
    pub(super) fn peer_may_restart_itself(&self) -> bool {
        self.claims.returned_ms.is_some() && self.peer_is_original()
    }

    /// Tells the peer to stop a set (own viewpoint) and to give it.
    fn demand(&mut self, set: ResourceSet) {
        let Some(name) = self.peer_name() else {
            return;
        };
        self.log(
            LogLevel::Warning,
            &format!("asking node {name} to stop {set} resources and give them here"),
        );
        self.original.demanded_ms = Some(self.now.monotonic_ms);
        self.send(Message::new("hb_takeover").with("rsc_hold", set.as_str()));
    }

    // ---- dialogues -----------------------------------------------------------------------

    /// It agreed to a request that was given up: it did not run for a while, or its answer was lost for
    /// longer than we wait. It would wait for the set for an hour, and take part in nothing meanwhile.
    pub(super) fn original_agreed_late(&mut self, own: ResourceSet) {
        let Some(name) = self.peer_name() else {
            return;
        };
        let text = format!(
            "standby: {name} can take our {own} resources only now: they are given as soon as nothing is under way"
        );
        self.log(LogLevel::Info, &text);
        self.original.late_consent = Some(own);
    }

    /// It waits for a set because of that: what it is told afterwards it would not follow.
    pub(super) fn original_awaits_set(&self) -> bool {
        self.original.late_consent.is_some()
    }

    /// Gives what it waits for. A restart of its own would end its waiting, and the set would be
    /// nowhere meanwhile.
    pub(super) fn follow_late_consent(&mut self) {
        let Some(own) = self.original.late_consent else {
            return;
        };
        let shows_ms = self.claims.returned_ms.map(|returned_ms| returned_ms + RESTART_SHOWS_MS);
        let may_restart = shows_ms.is_some_and(|shows_ms| self.now.monotonic_ms < shows_ms);
        if self.peer_is_original() && self.is_settled() && !may_restart {
            self.original.late_consent = None;
            self.consent_to(own, Origin::Orphan);
        }
    }

    // ---- orphans -------------------------------------------------------------------------

    /// Both are settled and nobody claims `free`: a holder restarted faster than deadtime (resources
    /// spec 2.14), or a handover broke off. What an earlier life of the peer left active there is
    /// not stopped by its next one, so the peer is made to stop it.
    pub(super) fn recover_orphans(&mut self, free: ResourceSet) {
        let now_ms = self.now.monotonic_ms;
        let since_ms = *self.original.orphaned_ms.get_or_insert(now_ms);
        if now_ms < since_ms + ORPHAN_PATIENCE_MS || self.claims.retry_ms.is_some() {
            return;
        }
        if free.contains(ResourceSet::LOCAL) {
            match self.original.demanded_ms {
                None => {
                    self.log(LogLevel::Error, "No one owns our local resources!");
                    self.demand(ResourceSet::LOCAL);
                }
                Some(demanded_ms) if now_ms < demanded_ms + DEMAND_PATIENCE_MS => {}
                Some(_) => self.take_orphan(ResourceSet::LOCAL),
            }
        } else if !std::mem::replace(&mut self.original.offered, true) {
            self.log(LogLevel::Error, "No one owns foreign resources!");
            self.request_standby_for(ResourceSet::FOREIGN, Origin::Orphan);
        } else {
            self.claims.needs_failback = true;
            self.take_orphan(ResourceSet::FOREIGN);
        }
    }

    fn take_orphan(&mut self, set: ResourceSet) {
        self.no_orphans();
        self.claims.hold = self.claims.hold.union(set);
        self.schedule(Job::Acquire(set), Purpose::Acquire);
    }

    /// Everything is claimed, or something is under way.
    pub(super) fn no_orphans(&mut self) {
        if self.original.orphaned_ms.take().is_some() {
            self.original.demanded_ms = None;
        }
    }

    /// Every set has an owner.
    pub(super) fn nothing_is_orphaned(&mut self) {
        self.no_orphans();
        self.original.offered = false;
        if self.claims.returned_ms.is_none() {
            self.original.demanded_ms = None;
        }
    }

    // ---- failed starts -------------------------------------------------------------------

    /// What does not start here goes to the peer. It cannot say whether it starts there; if it does
    /// not, a script of it sends it back half a minute later, and so on for ever.
    pub(super) fn note_given_failure(&mut self, set: ResourceSet) {
        if self.peer().is_some_and(|peer: &Node| !peer.is_ours()) {
            self.original.gave_failed = self.original.gave_failed.union(set);
            self.original.gave_failed_ms = self.now.monotonic_ms;
        }
    }

    /// What the peer was given lately because it had failed here: when it is here, it failed there.
    pub(super) fn sent_back_failed(&self) -> ResourceSet {
        let lately = self.now.monotonic_ms < self.original.gave_failed_ms + SENT_BACK_MS;
        if lately {
            self.original.gave_failed
        } else {
            ResourceSet::NONE
        }
    }

    /// It started, or a person looked after it.
    pub(super) fn failure_is_mended(&mut self, set: ResourceSet) {
        self.original.gave_failed = self.original.gave_failed.minus(set);
    }
}
