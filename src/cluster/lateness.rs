//! What a node does that was paused itself (design §5, rule 1).
//!
//! If our own last beat left longer ago than deadtime - 2 x keepalive, the peer may have declared
//! us dead and taken over. The claims are forfeit until the peer's own state proves that nobody
//! took them; without an answer from a peer that was alive, they are released.
//!
//! The same question serves where a failure counts no more that the peer may still act on: its answer comes
//! after everything that it did before it knew.

use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::alarm::AlarmKind;
use super::claims::Phase;
use super::event::Job;
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::jobs::Purpose;
use super::node::Extension;
use super::Cluster;

#[derive(Debug, Clone, Copy)]
struct Doubt {
    until_ms: u64,
    peer_was_live: bool,
    question: u64,
}

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Lateness {
    doubt: Option<Doubt>,
    forfeits: bool,
    last_question: u64,
    /// A question of the peer that our next beat answers.
    answer: Option<u64>,
    /// The question whose answer says that the peer knows of a failure here which counts no more.
    recheck: Option<u64>,
}

impl Lateness {
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.number("lateness.last_question", &mut self.last_question);
        form.optional("lateness.answer", &mut self.answer);
        form.optional("lateness.recheck", &mut self.recheck);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { doubt, forfeits, last_question, answer, recheck } = self;
        into.add((doubt.is_some(), forfeits, last_question, answer, recheck));
        if let Some(Doubt { until_ms, peer_was_live, question }) = doubt {
            into.moment(*until_ms, 0);
            into.add((peer_was_live, question));
        }
    }

    pub fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    pub fn forfeits(&self) -> bool {
        self.forfeits
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.doubt.map(|doubt| doubt.until_ms)
    }
}

impl Cluster {
    /// Runs before every input is looked at, so that nothing is done on the strength of claims
    /// that may be gone.
    pub(super) fn notice_own_lateness(&mut self) {
        if self.liveness.started_ms.is_none() || self.settings.faults.ignore_own_lateness {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        let silent_ms = now_ms - self.liveness.last_beat_ms;
        if silent_ms <= self.lateness_limit_ms() || self.lateness.in_doubt() {
            return;
        }
        // What came meanwhile waits in the sockets: read it before anybody is declared dead.
        let grace_ms = (3 * self.settings.keepalive_ms).clamp(50, 3000);
        self.liveness.no_verdict_before_ms = now_ms + grace_ms;
        let text = format!(
            "Late heartbeat: Node {}: interval {silent_ms} ms (> deadtime - 2 keepalive): \
             this node was paused or overloaded and asks whether its resources were taken over",
            self.settings.local
        );
        // Before communication is up this is so after a quick restart only.
        let holds = self.settings.manage_resources
            && self.claims.phase != Phase::Shutdown
            && !self.claims.hold.is_empty()
            && self.peer.is_some();
        if !holds {
            self.leave_to_peer(ResourceSet::ALL);
            self.send_status();
            return;
        }
        self.log_limited("own-pause", LogLevel::Critical, &text);
        let local = self.settings.local.clone();
        self.alarm(AlarmKind::NodePaused, local.as_str(), &text);
        self.lateness.last_question += 1;
        self.lateness.forfeits = true;
        self.lateness.doubt = Some(Doubt {
            until_ms: now_ms + (2 * self.settings.keepalive_ms).clamp(20, 2000),
            // One not heard yet in this life may be alive and have taken over.
            peer_was_live: self.peer().is_some_and(|peer| !peer.is_dead()),
            question: self.lateness.last_question,
        });
        self.send_status();
        if self.peer_is_live() && self.peer().is_some_and(|peer| !peer.is_ours()) {
            // A 3.0.6 node answers this with what it holds (resources spec 2.3).
            self.send(Message::new("starting"));
        }
    }

    /// What an earlier life left active here is served without a claim. It is stopped as soon as it may be
    /// the other's, and not only when both hear each other: `theirs` of it (own viewpoint).
    pub(super) fn leave_to_peer(&mut self, theirs: ResourceSet) {
        let begins = self.claims.phase == Phase::Waiting && self.claims.hold.is_empty();
        if self.settings.manage_resources && self.peer.is_some() && begins {
            self.clean_up(ResourceSet::ALL.minus(theirs));
        }
    }

    /// Deadtime - 2 x keepalive, but never so short that an ordinary beat would be late: with a
    /// deadtime below four keepalives the rule leaves no room, and `ha check` says so.
    pub fn lateness_limit_ms(&self) -> u64 {
        let room_ms = self.settings.dead_time_ms.saturating_sub(2 * self.settings.keepalive_ms);
        room_ms.max(self.settings.keepalive_ms + self.settings.keepalive_ms / 2)
    }

    pub(super) fn add_lateness(&self, message: &mut Message) {
        if self.lateness.forfeits {
            message.push_text("halate", "1");
        }
        let doubt = self.lateness.doubt.map(|doubt| doubt.question);
        if let Some(question) = doubt.max(self.lateness.recheck) {
            message.push_text("haask", &question.to_string());
        }
        if let Some(question) = self.lateness.answer {
            message.push_text("haanswer", &question.to_string());
        }
    }

    /// A beat of the peer: it may ask, and it may answer.
    pub(super) fn lateness_answer(&mut self, extension: &Extension) {
        if let Some(question) = extension.question {
            if self.lateness.answer != Some(question) {
                self.lateness.answer = Some(question);
                self.send_status();
            }
        } else {
            self.lateness.answer = None;
        }
        // Questions are numbered in each life anew.
        let to_us = extension.hears_generation == Some(self.settings.generation);
        let answered = |question| to_us && extension.answer >= Some(question);
        self.lateness.recheck = self.lateness.recheck.filter(|question| !answered(*question));
        if self.lateness.doubt.is_some_and(|doubt| answered(doubt.question)) {
            self.doubt_is_over();
        }
    }

    /// This node's own set counts as failed here no more. While nobody claims it the peer may be taking it
    /// for that failure, so this node asks before it takes it itself.
    pub(super) fn own_failure_is_over(&mut self) {
        if self.peer_is_live() && self.peer().is_some_and(super::node::Node::is_ours) {
            self.lateness.last_question += 1;
            self.lateness.recheck = Some(self.lateness.last_question);
            self.send_status();
        }
    }

    /// The peer may still act on a failure here that counts no more.
    pub(super) fn is_rechecking(&self) -> bool {
        self.lateness.recheck.is_some()
    }

    /// A report of a 3.0.6 peer after our question.
    pub(super) fn lateness_report(&mut self) {
        if self.lateness.in_doubt() {
            self.doubt_is_over();
        }
    }

    /// The peer's claims are known as of now: what it took is released as a conflict.
    fn doubt_is_over(&mut self) {
        self.lateness.doubt = None;
        self.restore_claims_if_clear();
    }

    fn restore_claims_if_clear(&mut self) {
        let overlap = self.claims.hold.intersection(self.claims.peer_hold_here());
        // A peer that lives and has not spoken of its claims yet may have taken ours.
        let peer_silent = self.peer_is_live() && !self.claims.peer_known;
        let waiting = peer_silent || !self.liveness.communication_up;
        if self.lateness.forfeits && !self.lateness.in_doubt() && overlap.is_empty() && !waiting {
            self.lateness.forfeits = false;
            self.send_status();
        }
    }

    pub(super) fn tick_lateness(&mut self) {
        let Some(doubt) = self.lateness.doubt else {
            self.restore_claims_if_clear();
            return;
        };
        if self.now.monotonic_ms < doubt.until_ms {
            return;
        }
        self.lateness.doubt = None;
        if doubt.peer_was_live {
            // What is being released already needs no second job, which would outlive a shutdown.
            let held = self.claims.hold.minus(self.releasing());
            if held.is_empty() {
                return;
            }
            let text = format!("no word from the other node after our pause: releasing {held} resources");
            self.log(LogLevel::Critical, &text);
            self.schedule(Job::Release(held), Purpose::Conflict);
        } else {
            // It was dead before the pause and says nothing now: nobody took anything.
            self.restore_claims_if_clear();
        }
    }

    pub(super) fn lateness_peer_died(&mut self) {
        (self.lateness.doubt, self.lateness.recheck) = (None, None);
        self.lateness.forfeits = false;
    }
}
