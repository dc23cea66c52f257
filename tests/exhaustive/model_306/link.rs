//! Beats, deaths, sequence numbers, when communication is up (messaging spec 3.2, 3.3, 4).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ha_core::cluster::fingerprint::Fingerprint;
use ha_core::types::Generation;
use ha_core::wire::message::Message;

use super::Model;

/// First and every later request for a lost message; the first is drawn from 50 to 250 ms.
const REQUEST_MS: u64 = 250;
/// Between two `reqnodes`.
const REQNODES_MS: u64 = 1_000;
/// Messages kept for retransmission.
const HISTORY_MAX: usize = 500;

/// What a node knows of its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Status {
    Init,
    Up,
    Active,
    Dead,
}

/// State of this file.
#[derive(Debug, Clone)]
pub struct Link {
    pub communication_up: bool,
    started_ms: u64,
    next_beat_ms: u64,
    reqnodes_ms: Option<u64>,
    newest: u64,
    history: VecDeque<Arc<(u64, Message)>>,
    peer: Status,
    /// Some packet came since the peer last died.
    pub heard: bool,
    pub peer_generation: Generation,
    last: Option<u64>,
    missing: BTreeMap<u64, u64>,
    status_number: u64,
    last_status_ms: Option<u64>,
    dead_after_ms: u64,
}

impl Link {
    pub fn new(dead_time_ms: u64, now_ms: u64) -> Self {
        Self {
            communication_up: false,
            started_ms: now_ms,
            next_beat_ms: now_ms,
            reqnodes_ms: None,
            newest: 0,
            history: VecDeque::new(),
            peer: Status::Init,
            heard: false,
            peer_generation: Generation(0),
            last: None,
            missing: BTreeMap::new(),
            status_number: 0,
            last_status_ms: None,
            dead_after_ms: dead_time_ms,
        }
    }

    pub fn next_number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    pub fn keep(&mut self, message: &Message) {
        if let Some(number) = message.hex("seq") {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(Arc::new((number, message.clone())));
        }
    }

    pub fn is_peer_active(&self) -> bool {
        self.peer == Status::Active
    }

    pub fn awaits(&self) -> (Generation, Option<u64>) {
        let oldest = self.missing.keys().next().copied().or(self.last.map(|last| last + 1));
        (self.peer_generation, oldest)
    }

    pub fn fingerprint(&self, into: &mut Fingerprint, dead_time_ms: u64, init_dead_ms: u64) {
        let Self {
            communication_up,
            started_ms,
            next_beat_ms,
            reqnodes_ms,
            newest,
            history,
            peer,
            heard,
            peer_generation,
            last,
            missing,
            status_number,
            last_status_ms,
            dead_after_ms,
        } = self;
        into.add((communication_up, peer, heard, dead_after_ms, last.is_some(), missing.len()));
        if *peer != Status::Dead && last_status_ms.is_none() {
            into.moment(*started_ms, 2 * init_dead_ms);
        }
        into.moment(*next_beat_ms, 0);
        into.moment_if(*reqnodes_ms, 0);
        into.own_number(*newest);
        for (number, message) in history.iter().map(Arc::as_ref) {
            if into.may_be_asked_for(*number) {
                into.message(message, true);
            }
        }
        into.peer_generation(*peer_generation);
        into.peer_numbers_of(*peer_generation);
        into.peer_number(last.unwrap_or(0));
        into.peer_number(*status_number);
        for (number, due_ms) in missing {
            into.peer_number(*number);
            into.moment(*due_ms, 0);
        }
        into.moment_if(*last_status_ms, 2 * dead_time_ms);
    }
}

impl Model {
    /// First input.
    pub(super) fn begin(&mut self) {
        self.send_status("init");
        self.send_status("up");
        self.check_communication_up();
    }

    fn send_status(&mut self, status: &str) {
        let dt = format!("{:x}", self.dead_time_ms);
        let beat = Message::new("status").with("st", status).with("dt", &dt).with("protocol", "1");
        self.send(beat);
        self.link.next_beat_ms = self.now_ms + self.keepalive_ms;
    }

    fn beat(&mut self) {
        self.send_status(if self.link.communication_up { "active" } else { "up" });
    }

    pub(super) fn link_timers_ms(&self) -> Vec<Option<u64>> {
        let asks = matches!(self.link.peer, Status::Up | Status::Active);
        let request_ms = self.link.missing.values().min().copied().filter(|_| asks);
        vec![Some(self.link.next_beat_ms), self.link.reqnodes_ms, request_ms, self.death_ms()]
    }

    fn death_ms(&self) -> Option<u64> {
        if self.link.peer == Status::Dead {
            return None;
        }
        let since_ms = self.link.last_status_ms.unwrap_or(self.link.started_ms);
        let patience_ms = if self.link.communication_up && self.link.last_status_ms.is_some() {
            self.link.dead_after_ms
        } else {
            self.init_dead_ms
        };
        Some(since_ms + patience_ms + 1)
    }

    pub(super) fn tick_link(&mut self) {
        if self.now_ms >= self.link.next_beat_ms {
            self.beat();
        }
        if self.death_ms().is_some_and(|due_ms| self.now_ms >= due_ms) {
            self.mark_dead();
        }
        if self.link.reqnodes_ms.is_some_and(|due_ms| self.now_ms >= due_ms) {
            self.ask_for_nodes();
        }
        if matches!(self.link.peer, Status::Up | Status::Active) {
            let now_ms = self.now_ms;
            let due = self.link.missing.iter_mut().filter(|(_, due_ms)| **due_ms <= now_ms);
            let numbers: Vec<u64> = due
                .map(|(number, due_ms)| {
                    *due_ms = now_ms + REQUEST_MS;
                    *number
                })
                .collect();
            for number in numbers {
                let request = Message::new("NS_rexmit").with("dest", &self.remote.clone());
                let number = number.to_string();
                self.send(request.with("firstseq", &number).with("lastseq", &number));
            }
        }
        self.check_communication_up();
    }

    fn mark_dead(&mut self) {
        self.link.peer = Status::Dead;
        let heard = std::mem::take(&mut self.link.heard);
        self.link.last = None;
        self.link.missing.clear();
        if self.link.communication_up {
            self.peer_died(heard);
        }
    }

    // ---- communication up ----------------------------------------------------------------

    fn check_communication_up(&mut self) {
        let dead = self.link.peer == Status::Dead;
        if self.link.communication_up || !(dead || self.link.last_status_ms.is_some()) {
            return;
        }
        if dead {
            self.communication_is_up();
        } else if self.link.reqnodes_ms.is_none() {
            self.ask_for_nodes();
        }
    }

    fn ask_for_nodes(&mut self) {
        self.link.reqnodes_ms = Some(self.now_ms + REQNODES_MS);
        self.send(Message::new("reqnodes").with("dest", &self.remote.clone()));
    }

    fn communication_is_up(&mut self) {
        self.link.communication_up = true;
        self.link.reqnodes_ms = None;
        self.beat();
        let peer_dead = self.link.peer == Status::Dead;
        self.resources_begin(peer_dead);
    }

    // ---- packets -------------------------------------------------------------------------

    pub(super) fn receive(&mut self, message: &Message) {
        let to_me = message.text("dest").is_none_or(|dest| dest == self.local);
        self.link.heard = true;
        if message.kind().starts_with("NS_") {
            if to_me && message.kind() == "NS_rexmit" {
                self.send_again(message);
            }
            return;
        }
        let number = message.hex("seq").unwrap_or(0);
        let generation = Generation(message.hex("hg").unwrap_or(0));
        if number == 0 || generation < self.link.peer_generation {
            return;
        }
        let mut fresh = false;
        if message.kind() == "status" {
            if generation > self.link.peer_generation {
                self.link.peer_generation = generation;
                (self.link.last, self.link.status_number) = (None, 0);
                self.link.missing.clear();
                self.link.last_status_ms = None;
                fresh = true;
            } else if self.link.peer == Status::Dead {
                if number <= self.link.status_number {
                    return;
                }
                self.came_back();
                fresh = true;
            }
        }
        if !self.is_news(number, fresh) || !to_me {
            return;
        }
        match message.kind() {
            "status" => self.peer_status(message, number),
            "reqnodes" => {
                let answer = Message::empty().with("dest", &self.remote.clone()).with("t", "repnodes");
                self.send(answer.with("nodelist", "node1 node2 ").with("delnodelist", " "));
            }
            "repnodes" if self.link.reqnodes_ms.is_some() && !self.link.communication_up => {
                self.communication_is_up();
            }
            _ => self.handle_message(message, false),
        }
        self.check_communication_up();
    }

    fn is_news(&mut self, number: u64, fresh: bool) -> bool {
        match self.link.last {
            Some(last) if number <= last && !fresh => self.link.missing.remove(&number).is_some(),
            Some(last) if !fresh => {
                let due_ms = self.now_ms + REQUEST_MS;
                self.link.missing.extend((last + 1..number).map(|lost| (lost, due_ms)));
                self.link.last = Some(number);
                true
            }
            _ => {
                self.link.missing.clear();
                self.link.last = Some(number);
                true
            }
        }
    }

    fn send_again(&mut self, message: &Message) {
        let (first, last) = (message.decimal("firstseq"), message.decimal("lastseq"));
        let wanted = first.unwrap_or(1)..=last.unwrap_or(0);
        let kept = self.link.history.iter().filter(|kept| wanted.contains(&kept.0));
        let again: Vec<Message> = kept.map(|kept| kept.1.clone()).collect();
        for message in again {
            self.outputs.push(ha_core::cluster::event::Output::Send { message, key_index: None });
        }
    }

    /// A node that counted as dead, with the same generation: everything goes down in a moment.
    fn came_back(&mut self) {
        self.beat();
        self.resources.restart_ms = Some(self.now_ms + super::RESTART_MS);
        if self.is_legacy() {
            self.resources.restart_ms = None;
        }
    }

    fn peer_status(&mut self, message: &Message, number: u64) {
        let silent_ms = self.link.last_status_ms.map(|last_ms| self.now_ms - last_ms);
        if silent_ms.is_some_and(|silent_ms| silent_ms > self.link.dead_after_ms) {
            // late: treated as one more death before it counts as alive (messaging spec 4.2)
            let last = self.link.last;
            self.mark_dead();
            self.link.last = last;
        }
        self.link.heard = true;
        self.link.peer = match message.text("st") {
            Some("active") => Status::Active,
            Some("up") => Status::Up,
            _ => Status::Init,
        };
        self.link.dead_after_ms = message.hex("dt").unwrap_or(self.dead_time_ms);
        self.link.status_number = self.link.status_number.max(number);
        self.link.last_status_ms = Some(self.now_ms);
    }
}
