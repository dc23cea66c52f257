//! Which messages of a dialogue are news, and which a retransmission brings when all is over.

use crate::types::SequenceNumber;
use crate::wire::message::Message;

use super::super::node::Extension;
use super::super::Cluster;

impl Cluster {
    /// The peer sent it after everything that we know of the dialogue.
    pub(super) fn is_news_of_dialogue(&mut self, message: &Message) -> bool {
        let number = message.hex("seq").unwrap_or(0);
        let news = number > self.handover.peer_newest;
        self.handover.peer_newest = self.handover.peer_newest.max(number);
        news
    }

    /// The peer is settled by what it said after the last word of the dialogue that came; what it said before
    /// that says nothing of what it has begun since.
    pub(super) fn peer_forgot_dialogue(&self) -> bool {
        self.claims.peer_report > self.handover.peer_newest && self.peer_is_ready()
    }

    /// A request that nothing follows on: it crosses a consent that was lost, or may be one to the life
    /// before this. What followed on that would be taken for the end of another when the first beat comes that
    /// names this life (seed 19804 of the runs with watching).
    pub(super) fn is_not_considered(&mut self, sender: usize, message: &Message) -> bool {
        let old = self.nodes[sender].is_ours() && !self.handover.peer_knows_us;
        if old {
            self.refuse("this node has only just started");
        }
        old || self.consent_may_be_missing(sender, message)
    }

    /// A new life of the peer numbers its messages anew.
    pub(in super::super) fn handover_peer_restarted(&mut self) {
        self.handover.peer_newest = 0;
        self.handover.peer_knows_us = false;
    }

    /// The first beat that a peer of ours sent after it had heard this life: what it said in a dialogue
    /// before that, it said to the life before. A gap in its numbers, asked for at our start, brings it
    /// again.
    pub(in super::super) fn note_who_is_known(&mut self, extension: &Extension, number: SequenceNumber) {
        let known = extension.hears_generation == Some(self.settings.generation);
        if known && !self.handover.peer_knows_us {
            self.handover.peer_knows_us = true;
            self.handover.peer_newest = self.handover.peer_newest.max(number.0);
        }
    }
}
