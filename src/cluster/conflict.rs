//! Both claim a set, nobody claims one, or one belongs elsewhere: who lets go, who takes
//! (design §4; resources spec 2.6, 2.11, 2.14).

use crate::config::settings::AutoFailback;
use crate::types::{LogLevel, ResourceSet};

use super::claims::Phase;
use super::event::Job;
use super::handover::Origin;
use super::jobs::Purpose;
use super::node::Extension;
use super::Cluster;

/// Pause before a handover of this program's own is asked for again, milliseconds (resources spec
/// 9, auto-failback re-check).
const ASK_AGAIN_MS: u64 = 1000;

impl Cluster {
    // ---- conflicts -----------------------------------------------------------------------

    /// Both claim a set: one lets go, always the same one on both sides (design §4).
    pub(super) fn resolve_conflicts(&mut self) {
        if !self.claims.peer_known || !self.peer_is_live() || self.claims.phase != Phase::Stable {
            return;
        }
        let overlap = self.claims.hold.intersection(self.claims.peer_hold_here());
        if overlap != self.claims.contested {
            self.audit(overlap);
        }
        let cleared = self.claims.contested.minus(overlap).intersection(self.claims.hold);
        self.claims.contested = overlap;
        if !cleared.is_empty() {
            // Neighbours may still send to the node that has just let go.
            self.schedule(Job::Announce(cleared), Purpose::Announce);
        }
        if overlap.is_empty() {
            match self.peer().and_then(|peer| peer.extension.as_ref()).map(|peer| peer.hears_us) {
                Some(false) => {}
                Some(true) => (self.claims.held_at_loss, self.claims.returned_ms) = (None, None),
                // A 3.0.6 peer may yet say what it took.
                None => self.claims.held_at_loss = None,
            }
            return;
        }
        let loss = match self.peer().is_some_and(super::node::Node::is_ours) {
            true => self.conflict_loss(overlap),
            false => self.original_conflict_loss(overlap),
        };
        let give = loss.minus(self.releasing());
        if !give.is_empty() {
            let text = format!("both nodes claim {overlap} resources: releasing {give} here");
            self.log(LogLevel::Warning, &text);
            self.schedule(Job::Release(give), Purpose::Conflict);
        }
    }

    /// A daemon started anew (`-R -C SET`) holds something before communication is up. If the peer
    /// claims it too and does not hear us, communication will not come up by itself: let go, as the
    /// unheard one does at any other time.
    pub(super) fn give_way_unheard(&mut self) {
        let unheard = self.peer().and_then(|peer| peer.extension.as_ref()).is_some_and(|peer| !peer.hears_us);
        if self.claims.phase != Phase::Waiting || !unheard || !self.peer_is_live() {
            return;
        }
        let overlap = self.claims.hold.intersection(self.claims.peer_hold_here());
        let give = self.conflict_loss(overlap).minus(self.releasing());
        if self.claims.peer_known && !give.is_empty() {
            let text = format!(
                "the other node claims {give} resources and does not hear this one: releasing them here"
            );
            self.log(LogLevel::Warning, &text);
            self.schedule(Job::Release(give), Purpose::Conflict);
        }
    }

    /// Which part of the overlap this node lets go; the peer is of ours.
    fn conflict_loss(&self, overlap: ResourceSet) -> ResourceSet {
        let Some(extension) = self.peer().and_then(|peer| peer.extension.as_ref()) else {
            return ResourceSet::NONE;
        };
        let now_ms = self.now.monotonic_ms;
        if self.lateness.forfeits() {
            return overlap;
        }
        if extension.forfeits {
            return ResourceSet::NONE;
        }
        if !extension.hears_us {
            // Just back: it gets the time of a few beats to hear us before this means anything.
            let patience_ms = 3 * self.settings.keepalive_ms.max(10);
            let early = self.claims.contact_ms.is_some_and(|back| now_ms < back + patience_ms);
            return if early || self.settings.faults.ignore_one_way { ResourceSet::NONE } else { overlap };
        }
        if self.settings.faults.keep_both_after_partition {
            return ResourceSet::NONE;
        }
        let mine_before = self.claims.held_at_loss.unwrap_or(self.claims.hold);
        let theirs_before = extension.held_at_loss.or(extension.holding).unwrap_or_default().mirrored();
        // A claim to what does not start there is no service that could be kept.
        let (my_failed, their_failed) = (self.claims.failed, extension.failed.mirrored());
        let keeps = |set: ResourceSet| {
            if my_failed.contains(set) == their_failed.contains(set) {
                keeps(set, mine_before, theirs_before)
            } else {
                their_failed.intersection(set)
            }
        };
        let (keep_local, keep_foreign) = (keeps(ResourceSet::LOCAL), keeps(ResourceSet::FOREIGN));
        overlap.minus(keep_local.union(keep_foreign))
    }

    fn audit(&mut self, overlap: ResourceSet) {
        if overlap.contains(ResourceSet::LOCAL) {
            self.log_limited("audit-local", LogLevel::Error, "Both machines own our resources!");
        }
        if overlap.contains(ResourceSet::FOREIGN) {
            self.log_limited("audit-foreign", LogLevel::Error, "Both machines own foreign resources!");
        }
    }

    /// Nobody claims our own set although both are settled: it is ours to take (resources spec
    /// 2.14, the holder that restarted faster than deadtime).
    pub(super) fn adopt_orphans(&mut self) {
        let claimed = self.claims.hold.union(self.claims.peer_hold_here()).union(self.claims.failed);
        let free = ResourceSet::ALL.minus(claimed);
        if free.is_empty() {
            return self.nothing_is_orphaned();
        }
        let may =
            self.peer_is_ready() && self.peer_hears_us() && self.lease_allows() && !self.is_rechecking();
        if !self.is_settled() || !may {
            return self.no_orphans();
        }
        if self.peer().is_some_and(|peer| !peer.is_ours()) {
            return self.recover_orphans(free);
        }
        // The peer takes its own, unless that does not start there.
        let peer_failed =
            self.peer().and_then(|peer| peer.extension.as_ref()).map(|peer| peer.failed.mirrored());
        let mine = free.intersection(ResourceSet::LOCAL.union(peer_failed.unwrap_or_default()));
        if mine.contains(ResourceSet::LOCAL) {
            self.log(LogLevel::Error, "No one owns our local resources!");
        }
        if mine.contains(ResourceSet::FOREIGN) {
            self.log(LogLevel::Error, "No one owns foreign resources!");
        }
        if !mine.is_empty() {
            self.claims.hold = self.claims.hold.union(mine);
            self.schedule(Job::Acquire(mine), Purpose::Acquire);
        }
    }

    /// This life of ours, that is: a beat that names another one is an old one that somebody sends again.
    fn peer_hears_us(&self) -> bool {
        let ours = Some(self.settings.generation);
        let hears = |peer: &Extension| peer.hears_us && peer.hears_generation == ours;
        self.peer().and_then(|peer| peer.extension.as_ref()).is_none_or(hears)
    }

    // ---- failback and failed starts ------------------------------------------------------

    /// `auto_failback on`: what was taken because the peer went away goes home (resources spec 2.6).
    pub(super) fn fail_back(&mut self) {
        if !self.claims.needs_failback {
            return;
        }
        let wanted = self.claims.hold.contains(ResourceSet::FOREIGN)
            && self.settings.auto_failback == AutoFailback::On
            && !self.shutdown.is_under_way();
        if !wanted {
            // Not before the takeover is done: the claim comes first, so this is no early exit.
            self.claims.needs_failback = false;
            return;
        }
        let peer_failed = self.peer().and_then(|peer| peer.extension.as_ref()).map(|peer| peer.failed);
        let down = peer_failed.unwrap_or_default().mirrored().union(self.claims.failed_on_both);
        let can_start = !down.contains(ResourceSet::FOREIGN);
        let ready = self.is_settled()
            && self.peer_is_ready()
            && self.peer_hears_us()
            && !self.peer_may_restart_itself();
        if can_start && ready && self.claims.retry_ms.is_none() {
            self.claims.needs_failback = false;
            self.request_standby_for(ResourceSet::FOREIGN, Origin::Failback);
        }
    }

    /// A set that did not start here is offered to the peer, once, unless it failed there too
    /// (design §4: the right set, no bouncing).
    pub(super) fn hand_over_failed(&mut self) {
        let wanted = self.claims.failed.intersection(self.claims.hold).minus(self.claims.failure_offered);
        let ready = self.is_settled() && self.peer_is_ready() && self.peer_hears_us();
        if wanted.is_empty() || !ready || self.claims.retry_ms.is_some() {
            return;
        }
        let peer_failed =
            self.peer().and_then(|peer| peer.extension.as_ref()).map(|peer| peer.failed.mirrored());
        let offer = wanted.minus(peer_failed.unwrap_or_default()).minus(self.sent_back_failed());
        self.claims.failure_offered = self.claims.failure_offered.union(offer);
        if !offer.is_empty() {
            self.log(
                LogLevel::Error,
                &format!(
                    "{offer} resources failed {} here: giving them to the other node",
                    if self.services.gave_up.intersects(offer) { "to run" } else { "to start" }
                ),
            );
            self.request_standby_for(offer, Origin::Failure);
            return;
        }
        self.claims.failure_offered = self.claims.failure_offered.union(wanted);
        self.halt_what_failed();
        let said = !self.claims.failed_on_both.is_empty();
        self.claims.failed_on_both = self.claims.failed_on_both.union(wanted);
        if !said {
            self.log(
                LogLevel::Error,
                "resources failed to start on both nodes: they stay down until somebody looks",
            );
        }
    }

    /// A handover that this program wanted did not come about: the wish stands, for a little later
    /// (resources spec 9, auto-failback re-check).
    pub(super) fn ask_again_later(&mut self, set: ResourceSet, origin: Origin) {
        match origin {
            Origin::Person => return,
            Origin::Orphan => {}
            Origin::Failback => self.claims.needs_failback = true,
            Origin::Failure => self.claims.failure_offered = self.claims.failure_offered.minus(set),
        }
        self.claims.retry_ms = Some(self.now.monotonic_ms + ASK_AGAIN_MS);
    }

    /// Notes how starting went; a person's request or a success clears a failure.
    pub(super) fn note_start(&mut self, set: ResourceSet, failed: ResourceSet) {
        let failed = self.claims.failed.minus(set).union(failed.intersection(set));
        let news = failed != self.claims.failed;
        self.claims.failed = failed;
        self.claims.failure_offered = self.claims.failure_offered.minus(set.minus(failed));
        self.failure_is_mended(set.minus(failed));
        self.claims.failed_on_both = self.claims.failed_on_both.intersection(failed);
        if news {
            // Before the set is offered: the peer must know of it when its own start fails.
            self.send_status();
        }
    }

    /// A person wants here what is claimed here and did not start: tried again. `false` when there
    /// is nothing of that kind.
    pub(super) fn try_failed_again(&mut self, set: ResourceSet) -> bool {
        let again = self.claims.failed.intersection(self.claims.hold).intersection(set);
        let free = self.is_settled() && !again.is_empty();
        if free {
            self.claims.failure_offered = self.claims.failure_offered.minus(again);
            self.claims.failed_on_both = self.claims.failed_on_both.minus(again);
            self.schedule(Job::Acquire(again), Purpose::Acquire);
        }
        free
    }

    /// The set went away after a failed start here: should it come back and fail again, the peer
    /// may be asked again.
    pub(super) fn failure_is_history(&mut self, set: ResourceSet) {
        self.claims.failure_offered = self.claims.failure_offered.minus(set);
        self.claims.failed_on_both = self.claims.failed_on_both.minus(set);
    }

    /// A person asked for a set to move: earlier failures do not stand in the way.
    /// What is claimed here and did not start stays known until it starts or is given away.
    pub(super) fn forget_failures(&mut self, set: ResourceSet) {
        self.failure_is_mended(set);
        let set = set.minus(self.claims.hold);
        let own = self.claims.failed.intersection(set).contains(ResourceSet::LOCAL);
        self.claims.failed = self.claims.failed.minus(set);
        self.claims.failure_offered = self.claims.failure_offered.minus(set);
        if own {
            self.own_failure_is_over();
        }
    }
}

/// Whether this node keeps `set`: who held it when contact was lost, else its home.
fn keeps(set: ResourceSet, mine_before: ResourceSet, theirs_before: ResourceSet) -> ResourceSet {
    let home = set == ResourceSet::LOCAL;
    let mine = match (mine_before.contains(set), theirs_before.contains(set)) {
        (true, false) => true,
        (false, true) => false,
        _ => home,
    };
    if mine {
        set
    } else {
        ResourceSet::NONE
    }
}
