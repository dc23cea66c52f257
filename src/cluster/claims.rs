//! Who holds which set: first acquisition, takeover, conflicts, failback (resources spec 2.3 to 2.6).
//!
//! A claim is made before anything is started and given up only after everything is stopped
//! (design §5, rule 2). What the peer claims is known from its `resource` reports and, between
//! two of ours, from every beat. All sets are from this node's viewpoint except `peer_hold`.

use crate::config::settings::AutoFailback;
use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::event::Job;
use super::fingerprint::Fingerprint;
use super::jobs::Purpose;
use super::node::{Extension, Status};
use super::Cluster;

mod visit;

/// How long two 3.0.6 rules wait for a peer that says nothing of its state, milliseconds
/// (resources spec 9, LOCAL_TMO).
const LOCAL_TIMEOUT_MS: u64 = 10_000;
/// A 3.0.6 peer back from a partition gets so long to restart itself, milliseconds (resources spec 2.13 J).
const RESTART_PATIENCE_MS: u64 = 15_000;

/// The original's state numbers appear in its error texts (resources spec 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    Waiting = 0,
    Starting = 1,
    BothStarting = 2,
    Received = 3,
    Stable = 4,
    Shutdown = 5,
}

/// Claims of both sides and what hangs on them.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    pub hold: ResourceSet,
    pub phase: Phase,
    /// The peer's claim, its viewpoint.
    pub peer_hold: ResourceSet,
    /// It said so itself in its present generation.
    pub peer_known: bool,
    pub peer_stable: bool,
    /// It announced `shutdone`.
    pub peer_left: bool,
    /// Sequence number of the newest report believed.
    pub peer_report: u64,
    local_timeout_ms: Option<u64>,
    /// The peer went away and foreign sets were taken, or are held while it comes back: they may go
    /// home by themselves.
    pub needs_failback: bool,
    /// Sets of which a group did not start here.
    pub failed: ResourceSet,
    /// Of these, offered to the peer once.
    pub failure_offered: ResourceSet,
    /// Of these, what failed on both nodes: it stays down, whether the peer starts anew or not, until a
    /// person wants it, or the peer is taken over.
    pub failed_on_both: ResourceSet,
    /// No handover of this program's own before this.
    pub retry_ms: Option<u64>,
    /// What this node held when it declared the peer dead; until the conflict is resolved.
    pub held_at_loss: Option<ResourceSet>,
    /// When the peer came back or came for the first time in this generation.
    pub contact_ms: Option<u64>,
    /// When the peer came back without a new generation.
    pub returned_ms: Option<u64>,
    /// Sets that both claimed a moment ago.
    pub contested: ResourceSet,
    /// What the last `resource` of ours said.
    announced: Option<(ResourceSet, bool)>,
    resumed: bool,
    /// What an earlier life of this daemon may have left active here.
    pub unclean: ResourceSet,
    /// Of this, what is being stopped.
    cleaning: ResourceSet,
    first_acquisition_logged: bool,
    /// Digest of our haresources.
    pub digest: String,
}

impl Claims {
    pub fn new(resume: Option<ResourceSet>) -> Self {
        Self {
            hold: resume.unwrap_or_default(),
            phase: Phase::Waiting,
            peer_hold: ResourceSet::NONE,
            peer_known: false,
            peer_stable: false,
            peer_left: false,
            peer_report: 0,
            local_timeout_ms: None,
            needs_failback: false,
            failed: ResourceSet::NONE,
            failure_offered: ResourceSet::NONE,
            failed_on_both: ResourceSet::NONE,
            retry_ms: None,
            held_at_loss: None,
            contact_ms: None,
            returned_ms: None,
            contested: ResourceSet::NONE,
            announced: None,
            resumed: resume.is_some(),
            unclean: ResourceSet::ALL.minus(resume.unwrap_or_default()),
            cleaning: ResourceSet::NONE,
            first_acquisition_logged: false,
            digest: String::new(),
        }
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, keepalive_ms: u64, into: &mut Fingerprint) {
        let Self {
            hold,
            phase,
            peer_hold,
            peer_known,
            peer_stable,
            peer_left,
            peer_report,
            local_timeout_ms,
            needs_failback,
            failed,
            failure_offered,
            failed_on_both,
            retry_ms,
            held_at_loss,
            contact_ms,
            returned_ms,
            contested,
            announced,
            resumed,
            unclean,
            cleaning,
            first_acquisition_logged: _,
            digest,
        } = self;
        into.add((hold, phase, peer_hold, peer_known, peer_stable, peer_left));
        into.peer_number(*peer_report);
        into.add((needs_failback, failed, failure_offered, failed_on_both, held_at_loss));
        into.add((contested, announced, resumed, unclean, cleaning, digest));
        into.moment_if(*local_timeout_ms, 0);
        into.moment_if(*retry_ms, 0);
        into.moment_if(*contact_ms, 3 * keepalive_ms.max(10));
        into.moment_if(*returned_ms, RESTART_PATIENCE_MS);
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        let restart = self.returned_ms.map(|returned| returned + RESTART_PATIENCE_MS);
        self.local_timeout_ms.into_iter().chain(restart).chain(self.retry_ms).min()
    }

    /// Nothing is decided by the end of the wait for the peer's first report.
    pub fn stop_waiting_for_report(&mut self) {
        self.local_timeout_ms = None;
    }

    /// What the peer claims, from our viewpoint.
    pub fn peer_hold_here(&self) -> ResourceSet {
        self.peer_hold.mirrored()
    }
}

impl Cluster {
    // ---- first acquisition ---------------------------------------------------------------

    /// Communication is up: ask what the peer holds, or take everything if there is no peer.
    pub(super) fn resources_begin(&mut self) {
        if self.settings.auto_failback == AutoFailback::Legacy {
            self.legacy_begin();
            return;
        }
        if self.shutdown.is_under_way() {
            return; // nothing is begun that would have to be ended at once
        }
        self.claims.phase = Phase::Starting;
        self.send(Message::new("starting"));
        if self.claims.resumed {
            let held = self.claims.hold;
            self.claims.phase = Phase::Stable;
            self.log(LogLevel::Info, &format!("Current resources: -R -C {held}"));
            self.clean_up(held);
            // What a person stopped in maintenance stays as it is.
            if !self.maintenance_keeps_resumed() {
                self.schedule(Job::Acquire(held), Purpose::Acquire);
            }
        }
        match self.peer() {
            None => self.take_everything(),
            Some(peer) if peer.is_dead() => self.take_over(false),
            Some(_) => {}
        }
    }

    /// `starting`: tell the newcomer what we hold.
    pub(super) fn receive_starting(&mut self, sender: usize) {
        if Some(sender) != self.peer || self.settings.auto_failback == AutoFailback::Legacy {
            return;
        }
        let ours = self.nodes[sender].is_ours();
        match self.claims.phase {
            Phase::Waiting => {
                self.log_limited("starting", LogLevel::Error, "Received 'starting' message in state 0");
                return;
            }
            Phase::Starting => self.claims.phase = Phase::BothStarting,
            Phase::BothStarting if !ours => {
                self.log_limited("starting", LogLevel::Error, "Received 'starting' message in state 2");
                return;
            }
            _ => {}
        }
        if !ours {
            self.claims.peer_stable = false;
        }
        self.report_was_exchanged();
        self.send_report(None);
    }

    /// Either side reported: the ten seconds of a 3.0.6 pair begin.
    fn report_was_exchanged(&mut self) {
        if matches!(self.claims.phase, Phase::Starting | Phase::BothStarting) {
            self.claims.phase = Phase::Received;
            self.claims.local_timeout_ms = Some(self.now.monotonic_ms + LOCAL_TIMEOUT_MS);
        }
    }

    /// Two of ours decide as soon as each has the other's claims. With a 3.0.6 peer: when it says
    /// it is stable, or after ten seconds (resources spec 2.3).
    pub(super) fn decide_first_acquisition(&mut self) {
        let undecided = matches!(self.claims.phase, Phase::Starting | Phase::BothStarting | Phase::Received);
        if !undecided || !self.lease_allows() {
            return;
        }
        let Some(peer) = self.peer() else {
            return;
        };
        // A beat must have come too, sent after the peer heard this life of ours: it says what the
        // peer has not cleaned up yet, and cannot be an old one that somebody sends again.
        let ours = self.settings.generation;
        let fresh = |peer: &Extension| peer.holding.is_some() && peer.hears_generation == Some(ours);
        let beat_came = peer.extension.as_ref().is_none_or(fresh);
        let claims_known = self.claims.peer_known && peer.status == Status::Active && beat_came;
        let ready = if peer.is_ours() {
            claims_known
        } else {
            self.claims.phase == Phase::Received && self.claims.peer_known && self.claims.peer_stable
        };
        let peer_leftover = peer.extension.as_ref().map(|peer| peer.leftover.mirrored()).unwrap_or_default();
        if !ready {
            return;
        }
        let mine = ResourceSet::LOCAL.minus(self.claims.peer_hold_here());
        self.clean_up(mine);
        // What an earlier life of the peer left active there must be stopped before it starts here.
        if !peer_leftover.intersects(mine) {
            self.log(LogLevel::Info, "remote resource transition completed.");
            self.first_acquisition();
        }
    }

    /// Stops what an earlier life of this daemon left active and is not ours to keep: before we
    /// call ourselves stable, so that the peer may take it (design §4, fast restart).
    pub(super) fn clean_up(&mut self, keep: ResourceSet) {
        let set = self.claims.unclean.minus(keep).minus(self.claims.cleaning);
        self.claims.cleaning = self.claims.cleaning.union(set);
        self.schedule(Job::ReleaseActive(set), Purpose::Clean);
    }

    /// It is stopped, and the peer may be waiting to hear that.
    pub(super) fn cleaned(&mut self, set: ResourceSet) {
        self.claims.unclean = self.claims.unclean.minus(set);
        self.claims.cleaning = self.claims.cleaning.minus(set);
        self.send_status();
    }

    fn first_acquisition(&mut self) {
        self.claims.phase = Phase::Stable;
        self.claims.local_timeout_ms = None;
        let mine = ResourceSet::LOCAL.minus(self.claims.peer_hold_here());
        self.clean_up(mine);
        if mine.is_empty() {
            self.log(LogLevel::Info, "Local Resource acquisition completed. (none)");
            self.initial_acquisition_complete("T_RESOURCES(them)");
        } else {
            self.claims.hold = self.claims.hold.union(mine);
            self.own_groups_granted(mine);
            self.schedule(Job::Acquire(mine), Purpose::Acquire);
        }
    }

    pub(super) fn initial_acquisition_complete(&mut self, reason: &str) {
        if !self.claims.first_acquisition_logged {
            self.claims.first_acquisition_logged = true;
            self.log(LogLevel::Info, &format!("Initial resource acquisition complete ({reason})"));
        }
    }

    pub(super) fn tick_claims(&mut self) {
        let now_ms = self.now.monotonic_ms;
        if self.claims.retry_ms.is_some_and(|due| now_ms >= due) {
            self.claims.retry_ms = None;
        }
        if self.claims.local_timeout_ms.is_some_and(|due| now_ms >= due) {
            self.claims.local_timeout_ms = None;
            // One of ours says all there is to know, or dies: no guess after a while.
            let guess = self.peer().is_none_or(|peer| !peer.is_ours());
            if self.claims.phase == Phase::Received && self.original_is_asked_again() {
                self.claims.local_timeout_ms = Some(now_ms + LOCAL_TIMEOUT_MS);
            } else if self.claims.phase == Phase::Received && guess {
                self.first_acquisition();
                self.log(LogLevel::Info, "local resource transition completed.");
            }
        }
        let patience_over = self.claims.returned_ms.is_some_and(|back| now_ms >= back + RESTART_PATIENCE_MS);
        if patience_over {
            self.claims.returned_ms = None;
        }
    }

    // ---- reports -------------------------------------------------------------------------

    /// `resource` of the peer (resources spec 2.2, 2.3).
    pub(super) fn receive_resource(&mut self, sender: usize, message: &Message) {
        if Some(sender) != self.peer || self.settings.auto_failback == AutoFailback::Legacy {
            return;
        }
        let Some(word) = message.text("rsc_hold") else {
            self.log_limited("rsc", LogLevel::Error, "resource message without rsc_hold field.");
            return;
        };
        if self.claims.phase == Phase::Waiting {
            self.log_limited("rsc", LogLevel::Error, "resource message received in state 0");
            return;
        }
        let set = word.parse().unwrap_or_else(|()| {
            self.log_bad_set(word);
            ResourceSet::NONE
        });
        let full = message.text("rtype") == Some("full");
        let number = message.hex("seq").unwrap_or(0);
        let stale = number < self.claims.peer_report;
        if stale && !self.settings.faults.accept_old_sequence {
            return;
        }
        self.report_was_exchanged();
        let hold = match (full, set.is_empty()) {
            (true, _) | (false, true) => set,
            (false, false) => self.claims.peer_hold.union(set),
        };
        self.peer_claims(hold, number);
        match message.text("isstable") {
            Some("1") => self.peer_is_stable(true),
            Some(_) => {
                self.peer_is_stable(false);
                self.peer_is_releasing();
            }
            None => {}
        }
        if self.peer().is_some_and(|peer| !peer.is_ours()) {
            self.original_reported();
        }
    }

    /// The extra fields of a beat say the same as a report, and heal a lost one.
    pub(super) fn peer_status_came(&mut self, number: crate::types::SequenceNumber) {
        let Some(extension) = self.peer().and_then(|peer| peer.extension.clone()) else {
            return;
        };
        self.note_who_is_known(&extension, number);
        if self.settings.auto_failback == AutoFailback::Legacy || self.claims.peer_left {
            return;
        }
        if let Some(holding) = extension.holding {
            if number.0 >= self.claims.peer_report {
                self.peer_claims(holding, number.0);
                self.peer_is_stable(extension.settled);
                self.leave_to_peer(self.claims.peer_hold_here());
            }
        }
        self.compare_digest(&extension);
        self.maintenance_of_peer(&extension);
        self.lateness_answer(&extension);
    }

    fn peer_claims(&mut self, hold: ResourceSet, number: u64) {
        self.claims.peer_hold = hold;
        self.claims.peer_known = true;
        if !self.settings.faults.accept_old_sequence {
            self.claims.peer_report = self.claims.peer_report.max(number);
        }
    }

    fn peer_is_stable(&mut self, stable: bool) {
        let became = stable && !self.claims.peer_stable;
        self.claims.peer_stable = stable;
        if !became || self.claims.phase < Phase::Stable {
            return;
        }
        self.log(LogLevel::Info, "remote resource transition completed.");
        // A 3.0.6 node that has just become stable waits for our word.
        if self.peer().is_some_and(|peer| !peer.is_ours()) {
            self.send_report(None);
        }
    }

    /// The peer's haresources is known and is not ours.
    pub(super) fn digests_differ(&self, extension: &Extension) -> bool {
        let (theirs, ours) = (&extension.digest, &self.claims.digest);
        !theirs.is_empty() && !ours.is_empty() && theirs != ours
    }

    fn compare_digest(&mut self, extension: &Extension) {
        if self.digests_differ(extension) {
            let name = self.peer_name().map_or(String::new(), |name| name.to_string());
            let text = format!(
                "haresources differs from the file on node {name}: make both the same, or groups start on no node or on both"
            );
            self.log_limited("digest", LogLevel::Error, &text);
        }
    }

    /// Sends `resource` with what is true now.
    pub(super) fn send_report(&mut self, info: Option<&str>) {
        let settled = self.appears_settled();
        let mut report = Message::new("resource")
            .with("rsc_hold", self.claims.hold.as_str())
            .with("rtype", "full")
            .with("isstable", if settled { "1" } else { "0" });
        if let Some(info) = info {
            report.push_text("info", info);
        }
        self.claims.announced = Some((self.claims.hold, settled));
        self.send(report);
    }

    /// The present report with a new number.
    pub(super) fn report_again(&mut self) {
        if self.settings.manage_resources && !self.is_legacy() && self.claims.phase == Phase::Stable {
            self.send_report(None);
        }
    }

    /// A report goes out whenever it would say something new.
    pub(super) fn publish(&mut self) {
        let legacy = self.settings.auto_failback == AutoFailback::Legacy;
        if legacy || !self.settings.manage_resources || self.claims.phase != Phase::Stable {
            return;
        }
        let (hold, settled) = (self.claims.hold, self.appears_settled());
        if self.claims.announced != Some((hold, settled)) {
            self.send_report(None);
            // The beat that carries the same to a node of ours does not wait for its turn.
            self.send_status();
        }
    }

    pub(super) fn add_claims(&self, message: &mut Message) {
        message.push_text("hahold", self.claims.hold.as_str());
        message.push_text("hastable", if self.is_settled() { "1" } else { "0" });
        let leftover = self.claims.unclean.minus(self.claims.hold);
        if !leftover.is_empty() {
            message.push_text("haleft", leftover.as_str());
        }
        if !self.claims.failed.is_empty() {
            message.push_text("hafail", self.claims.failed.as_str());
        }
        if let Some(held) = self.claims.held_at_loss {
            message.push_text("halost", held.as_str());
        }
        self.add_lateness(message);
        self.add_maintenance(message);
        if let Some(time_ms) = self.settings.watchdog_ms {
            message.push_text("hawdog", &time_ms.to_string());
        }
        if !self.claims.digest.is_empty() {
            message.push_text("hadigest", &self.claims.digest);
        }
    }

    /// Nothing is under way here.
    pub(super) fn is_settled(&self) -> bool {
        self.claims.phase == Phase::Stable
            && self.jobs.is_idle()
            && self.handover.is_idle()
            && !self.lateness.in_doubt()
            && !self.shutdown.is_under_way()
    }

    /// What the peer is told of that. To a 3.0.6 node a request that waits for its consent is nothing
    /// under way: it refuses one of a node in transition, and may hear of the transition first where the
    /// request itself is lost and comes later.
    fn appears_settled(&self) -> bool {
        let only_asks = self.handover.awaits_consent()
            && self.claims.phase == Phase::Stable
            && self.jobs.is_idle()
            && !self.lateness.in_doubt()
            && !self.shutdown.is_under_way();
        self.is_settled() || (only_asks && self.peer().is_some_and(|peer| !peer.is_ours()))
    }

    /// The peer is there, told us its claims, and nothing is under way there.
    pub(super) fn peer_is_ready(&self) -> bool {
        self.peer_is_active() && self.claims.peer_known && self.claims.peer_stable && !self.claims.peer_left
    }

    // ---- takeover ------------------------------------------------------------------------

    /// A cluster of one: everything is ours.
    fn take_everything(&mut self) {
        self.claims.phase = Phase::Stable;
        let missing = ResourceSet::ALL.minus(self.claims.hold);
        self.claims.hold = ResourceSet::ALL;
        if !missing.is_empty() {
            self.own_groups_granted(missing);
            self.schedule(Job::Acquire(missing), Purpose::Acquire);
        }
    }

    /// The peer was declared dead (resources spec 2.5).
    pub(super) fn peer_died(&mut self, ever_heard: bool) {
        self.cancel_handover();
        self.lateness_peer_died();
        self.alarm_peer_died(ever_heard && !self.claims.peer_left);
        if !self.liveness.communication_up || !self.settings.manage_resources {
            return;
        }
        if self.is_legacy() {
            return self.take_over(ever_heard);
        }
        if !self.claims.peer_left {
            self.claims.held_at_loss = Some(self.claims.hold);
        }
        self.claims.returned_ms = None;
        self.original_forget();
        self.take_over(ever_heard);
    }

    /// Claims everything and starts what is missing; also after `shutdone`.
    pub(super) fn acquire_from_peer(&mut self) {
        let Some(name) = self.peer_name() else {
            return;
        };
        self.log(LogLevel::Info, &format!("Resources being acquired from {name}."));
        let death = self.death_message(&name);
        self.hook(death);
        let missing = ResourceSet::ALL.minus(self.claims.hold).union(self.releasing());
        self.claims.phase = Phase::Stable;
        self.claims.local_timeout_ms = None;
        self.claims.needs_failback |= missing.contains(ResourceSet::FOREIGN);
        self.claims.hold = ResourceSet::ALL;
        self.claims.peer_hold = ResourceSet::NONE;
        self.claims.peer_stable = true;
        if !missing.is_empty() {
            self.own_groups_granted(missing);
            self.schedule(Job::Acquire(missing), Purpose::Takeover);
        }
    }

    /// A new generation of the peer: whatever it said before is void.
    pub(super) fn peer_restarted(&mut self) {
        self.takeover_peer_is_back();
        self.maintenance_peer_is_back();
        self.cancel_handover();
        // A daemon that is just started anew (reload) gets nothing by that.
        let was_away = self.claims.peer_left || self.peer().is_some_and(super::node::Node::is_dead);
        self.claims.needs_failback |= was_away;
        self.handover_peer_restarted();
        self.claims.peer_known = false;
        self.claims.peer_stable = false;
        self.claims.peer_left = false;
        self.claims.peer_report = 0;
        self.claims.held_at_loss = None;
        // What starts and then does not work stays down, whoever starts anew; what did not start is tried.
        self.claims.failure_offered = self.claims.failed_on_both.intersection(self.watched_sets());
        self.claims.contact_ms = Some(self.now.monotonic_ms);
        self.claims.returned_ms = None;
        self.original_forget();
        self.legacy_peer_restarted();
    }

    /// The peer is back without a new generation: both say what they held when contact was lost.
    pub(super) fn peer_returned(&mut self) {
        self.takeover_peer_is_back();
        self.maintenance_peer_is_back();
        self.claims.peer_known = false;
        self.claims.peer_left = false;
        self.claims.contact_ms = Some(self.now.monotonic_ms);
        self.claims.returned_ms = Some(self.now.monotonic_ms);
        self.original_returned();
        self.send_status();
    }
}
