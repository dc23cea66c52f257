//! Sequence numbers: what was received of a node, what is missing, and what we sent.
//!
//! Source: messaging spec 3.2 (receive), 3.3 (retransmission), 3.4 (history), 3.5 (acknowledgement).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::types::SequenceNumber;
use crate::wire::message::Message;

use super::fingerprint::Fingerprint;
use super::handoff::Form;

/// Most numbers remembered as missing per node (messaging spec 3.2).
pub const MISSING_MAX: usize = 500;
/// A jump larger than this is not asked for again: tracking starts anew (messaging spec 3.2).
pub const GAP_MAX: u64 = 250;
/// Sent messages kept for retransmission (messaging spec 3.4).
pub const HISTORY_MAX: usize = 500;
/// Most numbers asked for in one `NS_rexmit`, and answered to one (messaging spec 3.3).
pub const REQUEST_MAX: u64 = 50;

/// Most messages of one node that wait for older ones.
pub const HELD_MAX: usize = 250;

/// What a sequence number means for what was received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next in order, or the first ever.
    InOrder,
    /// Numbers before it have not come; they are now recorded as missing.
    AfterGap {
        /// The last number before the gap.
        last: u64,
    },
    /// A jump too large to be asked for: not taken before another number close behind it has come,
    /// or one absurd number would make everything after it look old.
    Implausible {
        /// The last number before the gap.
        last: u64,
    },
    /// So many are missing that they will not be asked for, and a second number says the same;
    /// tracking starts at the first of both, which is asked for.
    AfterTooLargeGap {
        /// The last number before the gap.
        last: u64,
    },
    /// One that was missing.
    Found {
        /// Nothing is missing any more.
        complete: bool,
    },
    /// The newest one once more: a copy from another link.
    Duplicate,
    /// Seen before, or given up.
    Old,
}

/// What was received of one node in its present generation.
#[derive(Debug, Clone, Default)]
pub struct Received {
    last: Option<u64>,
    /// Number to the time at which it is asked for (again).
    missing: BTreeMap<u64, u64>,
    /// A number that was not believed by itself.
    jump: Option<u64>,
}

impl Received {
    /// Notes a number. `first_request_ms` is when missing ones are to be asked for.
    pub fn note(&mut self, number: SequenceNumber, first_request_ms: u64) -> Arrival {
        let number = number.0;
        let Some(last) = self.last else {
            self.last = Some(number);
            return Arrival::InOrder;
        };
        if number == last {
            return Arrival::Duplicate;
        }
        if number < last {
            if self.missing.remove(&number).is_some() {
                return Arrival::Found { complete: self.missing.is_empty() };
            }
            return Arrival::Old;
        }
        let gap = number - last - 1;
        if gap > GAP_MAX {
            let first = match self.jump.replace(number) {
                Some(first) if first < number && number - first <= GAP_MAX => first,
                _ => return Arrival::Implausible { last },
            };
            self.restart_at(SequenceNumber(number));
            self.miss(first..number, first_request_ms);
            return Arrival::AfterTooLargeGap { last };
        }
        self.jump = None;
        self.last = Some(number);
        if gap == 0 {
            return Arrival::InOrder;
        }
        self.miss(last + 1..number, first_request_ms);
        Arrival::AfterGap { last }
    }

    fn miss(&mut self, numbers: std::ops::Range<u64>, first_request_ms: u64) {
        for lost in numbers {
            if self.missing.len() < MISSING_MAX {
                self.missing.insert(lost, first_request_ms);
            }
        }
    }

    /// What decides, for [`Cluster::fingerprint`](super::Cluster::fingerprint).
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { last, missing, jump } = self;
        into.add((last.is_some(), jump.is_some(), missing.len()));
        for number in last.iter().chain(jump) {
            into.peer_number(*number);
        }
        for (number, due_ms) in missing {
            into.peer_number(*number);
            into.moment(*due_ms, 0);
        }
    }

    /// Forgets everything: a new generation begins, or the node died.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Starts anew at a number: a node returned after it counted as dead.
    pub fn restart_at(&mut self, number: SequenceNumber) {
        self.missing.clear();
        self.jump = None;
        self.last = Some(number.0);
    }

    /// Gives a number up (`NS_nak_rexmit`). `false` when it was not missing: such a NAK is a
    /// replay or a mistake and changes nothing.
    pub fn forget(&mut self, number: u64) -> bool {
        self.missing.remove(&number).is_some()
    }

    /// The largest number up to which everything came.
    pub fn complete_up_to(&self) -> Option<u64> {
        match self.missing.keys().next() {
            Some(first) => first.checked_sub(1),
            None => self.last,
        }
    }

    /// When the next request is due.
    pub fn next_request_ms(&self) -> Option<u64> {
        self.missing.values().min().copied()
    }

    pub(super) fn visit(&mut self, name: &str, form: &mut Form) {
        form.optional(&format!("{name}.last"), &mut self.last);
        form.numbers(&format!("{name}.missing"), &mut self.missing, MISSING_MAX);
        form.optional(&format!("{name}.jump"), &mut self.jump);
    }

    /// The due numbers as ranges of at most [`REQUEST_MAX`], each then due again at `again_ms`.
    pub fn take_due(&mut self, now_ms: u64, again_ms: u64) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (number, due_ms) in &mut self.missing {
            if *due_ms > now_ms {
                continue;
            }
            *due_ms = again_ms;
            match ranges.last_mut() {
                Some((first, last)) if *last + 1 == *number && *number - *first < REQUEST_MAX => {
                    *last = *number
                }
                _ => ranges.push((*number, *number)),
            }
        }
        ranges
    }
}

/// Messages that came before older ones of the same node: they wait for these, since what a node says
/// of its resources is only true in the order in which it said it.
#[derive(Debug, Clone, Default)]
pub struct HeldBack {
    messages: BTreeMap<u64, Message>,
    since_ms: u64,
}

impl HeldBack {
    /// What decides, for [`Cluster::fingerprint`](super::Cluster::fingerprint).
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { messages, since_ms } = self;
        into.moment_if(Some(*since_ms).filter(|_| !messages.is_empty()), u64::MAX);
        for (number, message) in messages {
            into.peer_number(*number);
            into.message(message, false);
        }
    }

    /// Keeps one. `false` when [`HELD_MAX`] wait already: nothing was changed.
    pub fn hold(&mut self, number: u64, message: Message, now_ms: u64) -> bool {
        if self.messages.is_empty() {
            self.since_ms = now_ms;
        }
        let room = self.messages.len() < HELD_MAX;
        if room {
            self.messages.insert(number, message);
        }
        room
    }

    /// The oldest, if nothing before it is missing: everything up to `complete_up_to` came.
    pub fn take_next(&mut self, complete_up_to: Option<u64>) -> Option<Message> {
        let first = *self.messages.keys().next()?;
        let ready = complete_up_to.is_none_or(|up_to| first <= up_to);
        if ready {
            self.messages.remove(&first)
        } else {
            None
        }
    }

    /// Since when one waits; `None` when none does.
    pub fn since_ms(&self) -> Option<u64> {
        (!self.messages.is_empty()).then_some(self.since_ms)
    }

    /// Forgets all: a new life of the node begins, or it died.
    pub fn clear(&mut self) {
        self.messages.clear();
    }
}

/// One message as it was sent.
#[derive(Debug, Clone)]
struct Sent {
    number: u64,
    message: Message,
    last_sent_ms: u64,
}

/// What a retransmission request gets for one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resend {
    /// This message again, same fields.
    Message(Message),
    /// Asked for again too soon, or acknowledged long ago: nothing.
    Nothing,
    /// It is gone; the text is the NAK's `info`.
    Gone(&'static str),
    /// Never sent.
    NeverSent,
}

/// Our own sent messages, newest last, and how far others acknowledged them.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Shared by clones of the value: messages are never changed.
    sent: VecDeque<Arc<Sent>>,
    highest: u64,
    /// Everything up to here is acknowledged by all live nodes.
    acknowledged: u64,
}

impl History {
    /// What decides, for [`Cluster::fingerprint`](super::Cluster::fingerprint): what somebody may
    /// still ask for.
    pub fn fingerprint(&self, pause_ms: u64, into: &mut Fingerprint) {
        let Self { sent, highest, acknowledged: _ } = self;
        into.own_number(*highest);
        for Sent { number, message, last_sent_ms } in sent.iter().map(Arc::as_ref) {
            if into.may_be_asked_for(*number) {
                into.message(message, true);
                into.moment(*last_sent_ms, pause_ms);
            }
        }
    }

    /// The number for the next message.
    pub fn next_number(&mut self) -> SequenceNumber {
        self.highest += 1;
        SequenceNumber(self.highest)
    }

    /// Keeps a message that was just sent.
    pub fn keep(&mut self, number: SequenceNumber, message: Message, now_ms: u64) {
        if self.sent.len() == HISTORY_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Arc::new(Sent { number: number.0, message, last_sent_ms: now_ms }));
    }

    /// A message of this type was sent after that number.
    pub fn has_later(&self, number: u64, kind: &str) -> bool {
        self.sent.iter().rev().take_while(|sent| sent.number > number).any(|sent| sent.message.kind() == kind)
    }

    /// The newest number sent.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Notes how far every live node acknowledged; never goes back.
    pub fn acknowledge(&mut self, up_to: u64) {
        self.acknowledged = self.acknowledged.max(up_to.min(self.highest));
    }

    /// Messages sent and not acknowledged.
    pub fn outstanding(&self) -> u64 {
        self.highest - self.acknowledged
    }

    pub(super) fn visit(&mut self, form: &mut Form) {
        form.number("history.highest", &mut self.highest);
        form.number("history.acknowledged", &mut self.acknowledged);
        let mut sent: VecDeque<_> =
            self.sent.iter().map(|sent| (sent.number, sent.last_sent_ms, sent.message.clone())).collect();
        form.messages("history.sent", &mut sent, HISTORY_MAX);
        let back = |(number, last_sent_ms, message)| Arc::new(Sent { number, message, last_sent_ms });
        self.sent = sent.into_iter().map(back).collect();
        self.acknowledged = self.acknowledged.min(self.highest);
    }

    /// Answers a request for one number of a node that acknowledged up to `requester_acknowledged`.
    pub fn resend(&mut self, number: u64, requester_acknowledged: u64, now_ms: u64, pause_ms: u64) -> Resend {
        if number <= requester_acknowledged {
            return Resend::Nothing;
        }
        if number > self.highest {
            return Resend::NeverSent;
        }
        let oldest = self.sent.front().map_or(self.highest + 1, |sent| sent.number);
        if number < oldest {
            return Resend::Gone("seqno too low");
        }
        match self.sent.iter_mut().find(|sent| sent.number == number) {
            None => Resend::Gone("seqno not found"),
            Some(sent) if now_ms < sent.last_sent_ms + pause_ms => Resend::Nothing,
            Some(sent) => {
                Arc::make_mut(sent).last_sent_ms = now_ms;
                Resend::Message(sent.message.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(received: &mut Received, number: u64) -> Arrival {
        received.note(SequenceNumber(number), 10)
    }

    #[test]
    fn gaps_are_recorded_and_filled() {
        let mut received = Received::default();
        assert_eq!(note(&mut received, 5), Arrival::InOrder);
        assert_eq!(note(&mut received, 6), Arrival::InOrder);
        assert_eq!(note(&mut received, 9), Arrival::AfterGap { last: 6 });
        assert_eq!(received.complete_up_to(), Some(6));
        assert_eq!(received.take_due(9, 20), vec![]);
        assert_eq!(received.take_due(10, 20), vec![(7, 8)]);
        assert_eq!(received.next_request_ms(), Some(20));
        assert_eq!(note(&mut received, 8), Arrival::Found { complete: false });
        assert_eq!(note(&mut received, 8), Arrival::Old);
        assert_eq!(note(&mut received, 9), Arrival::Duplicate);
        assert!(received.forget(7));
        assert!(!received.forget(7));
        assert_eq!(received.complete_up_to(), Some(9));
    }

    #[test]
    fn a_jump_too_large_starts_anew_when_a_second_number_confirms_it() {
        let mut received = Received::default();
        note(&mut received, 5);
        assert_eq!(note(&mut received, 306), Arrival::Implausible { last: 5 });
        assert_eq!(note(&mut received, 306), Arrival::Implausible { last: 5 });
        assert_eq!(note(&mut received, 307), Arrival::AfterTooLargeGap { last: 5 });
        assert_eq!(received.take_due(10, 20), vec![(306, 306)]);
        assert_eq!(note(&mut received, 306), Arrival::Found { complete: true });
        assert_eq!(note(&mut received, 308), Arrival::InOrder);
    }

    #[test]
    fn messages_wait_for_older_ones() {
        let mut held = HeldBack::default();
        assert_eq!(held.since_ms(), None);
        assert!(held.hold(8, Message::new("b"), 50) && held.hold(7, Message::new("a"), 60));
        assert_eq!(held.since_ms(), Some(50));
        assert_eq!(held.take_next(Some(6)), None);
        assert_eq!(held.take_next(Some(7)).map(|message| message.kind().to_owned()), Some("a".to_owned()));
        assert_eq!(held.take_next(Some(7)), None);
        assert_eq!(held.take_next(None).map(|message| message.kind().to_owned()), Some("b".to_owned()));
        for number in 0..HELD_MAX as u64 {
            assert!(held.hold(number, Message::new("x"), 0));
        }
        assert!(!held.hold(1000, Message::new("x"), 0));
        held.clear();
        assert_eq!(held.since_ms(), None);
    }

    #[test]
    fn an_absurd_number_changes_nothing() {
        let mut received = Received::default();
        note(&mut received, 5);
        for absurd in [u64::MAX, 1 << 40, 1000] {
            assert_eq!(note(&mut received, absurd), Arrival::Implausible { last: 5 });
        }
        assert_eq!(note(&mut received, 6), Arrival::InOrder);
        assert_eq!(note(&mut received, 1001), Arrival::Implausible { last: 6 });
        assert_eq!(note(&mut received, 7), Arrival::InOrder);
    }

    #[test]
    fn history_answers_or_refuses() {
        let mut history = History::default();
        for _ in 0..HISTORY_MAX + 10 {
            let number = history.next_number();
            history.keep(number, Message::new("status"), 0);
        }
        assert_eq!(history.resend(5, 0, 1000, 240), Resend::Gone("seqno too low"));
        assert!(matches!(history.resend(20, 0, 1000, 240), Resend::Message(_)));
        assert_eq!(history.resend(20, 0, 1100, 240), Resend::Nothing);
        assert_eq!(history.resend(20, 30, 9000, 240), Resend::Nothing);
        assert_eq!(history.resend(9999, 0, 1000, 240), Resend::NeverSent);
        history.acknowledge(600);
        assert_eq!(history.outstanding(), 0);
    }
}
