//! What a packet is worth and where it goes (messaging spec 3.2).

use crate::types::{Generation, LinkName, LogLevel, NodeName, SequenceNumber};
use crate::wire::message::Message;

use super::event::Output;
use super::node::Status;
use super::sequence::{Arrival, Resend, REQUEST_MAX};
use super::text::escape;
use super::Cluster;

/// A message waits for older ones at least as long as these are asked for so many times.
const ORDER_REQUESTS: u64 = 4;

/// What to do with a packet after its numbers were looked at.
enum Verdict {
    /// Act on it.
    Keep,
    /// Another copy: the link is alive, nothing else.
    Duplicate,
    /// Seen before: nothing.
    Repeated,
    /// For another node: nothing.
    NotForUs,
    /// Not believed: nothing, but it is counted.
    Drop,
}

impl Cluster {
    /// Takes a verified packet. Whatever is wrong with it, nothing but counters and the log
    /// changes then.
    pub(super) fn receive(&mut self, link: &LinkName, key_index: u8, message: &Message) {
        self.believed_last = false;
        let Some(sender) = self.sender_of(link, message) else {
            self.dropped_packets += 1;
            return;
        };
        if sender == self.me {
            self.link_alive(self.me, link);
            return;
        }
        let verdict = if message.kind().starts_with("NS_") {
            self.judge_unsequenced(sender, message)
        } else {
            self.judge_sequenced(sender, message)
        };
        match verdict {
            Verdict::Keep | Verdict::Duplicate => {}
            Verdict::NotForUs => {
                self.nodes[sender].heard = true;
                self.deliver_held(sender);
                return;
            }
            Verdict::Repeated => {
                self.repeated_packets += 1;
                return;
            }
            Verdict::Drop => {
                self.dropped_packets += 1;
                return;
            }
        }
        self.believed_last = true;
        self.learn_uuid(sender, message);
        self.nodes[sender].heard = true;
        self.nodes[sender].key_index = Some(key_index);
        self.link_alive(sender, link);
        if matches!(verdict, Verdict::Keep) {
            self.in_order(sender, message);
            self.check_communication_up();
        }
    }

    // ---- order ---------------------------------------------------------------------------

    /// Acts on a message now, or when what was sent before it has come (3.0.6 acts at once, and may
    /// see the end of a handover before its result). Beats and node lists are true in any order.
    fn in_order(&mut self, sender: usize, message: &Message) {
        let any_order =
            matches!(message.kind(), "status" | "reqnodes" | "repnodes") || message.kind().starts_with("NS_");
        let number = message.hex("seq").unwrap_or(0);
        let now_ms = self.now.monotonic_ms;
        let node = &mut self.nodes[sender];
        let early = node.received.complete_up_to().is_some_and(|up_to| number > up_to);
        if any_order || !early || !node.held.hold(number, message.clone(), now_ms) {
            let name = node.name.clone();
            self.dispatch(sender, message);
            // Node lists may have changed.
            if let Some(sender) = self.nodes.iter().position(|node| node.name == name) {
                self.deliver_held(sender);
            }
        }
    }

    /// Acts on messages before which nothing is missing any more.
    fn deliver_held(&mut self, sender: usize) {
        let name = self.nodes[sender].name.clone();
        while let Some(sender) = self.nodes.iter().position(|node| node.name == name) {
            let node = &mut self.nodes[sender];
            let Some(message) = node.held.take_next(node.received.complete_up_to()) else {
                return;
            };
            self.dispatch(sender, &message);
        }
    }

    /// When messages of a node are acted on although older ones are still missing.
    pub(super) fn patience_ends_ms(&self, index: usize) -> Option<u64> {
        let node = &self.nodes[index];
        let patience_ms = node.dead_after_ms.max(ORDER_REQUESTS * self.settings.max_rexmit_delay_ms);
        node.held.since_ms().map(|since| since + patience_ms)
    }

    /// What was asked for so often will not come: better late and out of order than never.
    pub(super) fn end_of_patience(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let late = |cluster: &Self, index: usize| {
            cluster.patience_ends_ms(index).is_some_and(|end_ms| now_ms >= end_ms)
        };
        let names: Vec<NodeName> = (0..self.nodes.len())
            .filter(|index| late(self, *index))
            .map(|index| self.nodes[index].name.clone())
            .collect();
        for name in names {
            while let Some(index) = self.nodes.iter().position(|node| node.name == name) {
                let Some(message) = self.nodes[index].held.take_next(None) else {
                    break;
                };
                self.dispatch(index, &message);
            }
        }
    }

    /// A copy of a packet that was believed, or of our own.
    pub(super) fn receive_copy(&mut self, link: &LinkName, node: &NodeName) {
        let index = self.nodes.iter().position(|known| known.name == *node);
        if let Some(index) = index.filter(|index| !self.nodes[*index].is_dead()) {
            self.link_alive(index, link);
        }
    }

    /// The sender's index, if the mandatory fields are there and the node is configured.
    fn sender_of(&mut self, link: &LinkName, message: &Message) -> Option<usize> {
        let src = message.text("src").and_then(NodeName::exact);
        let ts = message.hex("ts").filter(|ts| *ts > 0);
        let complete = src.is_some() && ts.is_some() && !message.kind().is_empty();
        let Some(src) = src.filter(|_| complete) else {
            let src = message.text("src").map_or("<?>".to_owned(), escape);
            let text = format!("process_clustermsg: missing from/ts/type: iface {link}, from {src}");
            self.log_limited("missing-field", LogLevel::Error, &text);
            return None;
        };
        if !message.kind().starts_with("NS_") && message.text("seq").is_none() {
            let text = format!("process_clustermsg: missing seqno: iface {link}, from {src}");
            self.log_limited("missing-seq", LogLevel::Error, &text);
            return None;
        }
        let uuid = message.uuid("srcuuid");
        let by_uuid = uuid.and_then(|uuid| self.nodes.iter().position(|node| node.uuid == Some(uuid)));
        let found = by_uuid
            .filter(|index| self.nodes[*index].name == src)
            .or_else(|| self.nodes.iter().position(|node| node.name == src))
            .or_else(|| self.admit(&src, uuid));
        if found.is_none() {
            let text = format!("process_status_message: bad node [{}] in message", escape(src.as_str()));
            self.log_limited("bad-node", LogLevel::Error, &text);
        }
        found
    }

    /// A known name with another uuid is believed: a disk may have been replaced.
    fn learn_uuid(&mut self, sender: usize, message: &Message) {
        let Some(uuid) = message.uuid("srcuuid") else {
            return;
        };
        let known = self.nodes[sender].uuid.replace(uuid);
        if known.is_some_and(|known| known != uuid) {
            let text = format!("node {} changed its uuid to {uuid}", self.nodes[sender].name);
            self.log_limited("uuid", LogLevel::Info, &text);
        }
        if known != Some(uuid) {
            self.hosts_changed();
        }
    }

    /// `NS_*` carry no sequence number. Ours additionally refuses other generations, since
    /// recorded ones could be replayed for ever (messaging spec 8, "replay").
    fn judge_unsequenced(&mut self, sender: usize, message: &Message) -> Verdict {
        let generation = message.hex("hg").map(Generation);
        let known = self.nodes[sender].generation;
        if known.0 > 0 && generation.is_some_and(|generation| generation != known) {
            return Verdict::Drop;
        }
        match (self.nodes[sender].is_dead(), self.is_to_us(message)) {
            (true, _) => Verdict::Drop,
            (false, true) => Verdict::Keep,
            (false, false) => Verdict::NotForUs,
        }
    }

    fn judge_sequenced(&mut self, sender: usize, message: &Message) -> Verdict {
        let Some(number) = message.hex("seq").filter(|number| *number > 0).map(SequenceNumber) else {
            self.log_limited("bad-seq", LogLevel::Error, "should_drop_message: bad sequence number");
            return Verdict::Drop;
        };
        let generation = match message.text("hg") {
            None => Generation(0),
            Some(_) => match message.hex("hg") {
                Some(generation) => Generation(generation),
                None => {
                    self.log_limited("bad-hg", LogLevel::Error, "should_drop_message: bad generation number");
                    return Verdict::Drop;
                }
            },
        };
        let known = self.nodes[sender].generation;
        if generation < known {
            let text = format!(
                "should_drop_message: attempted replay attack [{}]? [gen = {}, curgen = {}]",
                self.nodes[sender].name, generation.0, known.0
            );
            self.log_limited("replay", LogLevel::Error, &text);
            return Verdict::Drop;
        }
        if message.kind() == "status" {
            if generation > known {
                self.node_restarted(sender, generation);
            } else if self.nodes[sender].is_dead() {
                if number <= self.nodes[sender].status_sequence {
                    return Verdict::Repeated;
                }
                self.nodes[sender].received.restart_at(SequenceNumber(number.0 - 1));
                self.node_returned(sender);
            }
        } else if generation > known || self.nodes[sender].is_dead() {
            // The status that tells of the restart or return comes first or is asked for; anything
            // else of a life we do not know yet cannot be ordered (messaging spec 3.2, step 8).
            return Verdict::Drop;
        }
        self.judge_order(sender, number, message)
    }

    fn judge_order(&mut self, sender: usize, number: SequenceNumber, message: &Message) -> Verdict {
        let first_request_ms = self.first_request_ms();
        let to_us = self.is_to_us(message);
        let name = self.nodes[sender].name.clone();
        let keep = if to_us { Verdict::Keep } else { Verdict::NotForUs };
        match self.nodes[sender].received.note(number, first_request_ms) {
            Arrival::InOrder => {
                self.acknowledge(sender, number.0);
                keep
            }
            Arrival::AfterGap { last } => {
                let lost = number.0 - last - 1;
                let text = format!("{lost} lost packet(s) for [{name}] [{last}:{}]", number.0);
                self.log_limited("lost", LogLevel::Warning, &text);
                keep
            }
            Arrival::AfterTooLargeGap { last } => {
                let lost = number.0 - last - 1;
                let text = format!("{lost} lost packet(s) for [{name}] [{last}:{}]", number.0);
                self.log_limited("lost", LogLevel::Warning, &text);
                self.log_limited("lost-many", LogLevel::Error, "lost a lot of packets!");
                keep
            }
            Arrival::Found { complete } => {
                if complete {
                    self.log_limited("found", LogLevel::Info, &format!("No pkts missing from {name}!"));
                }
                if let Some(up_to) = self.nodes[sender].received.complete_up_to() {
                    self.acknowledge_up_to(sender, up_to);
                }
                keep
            }
            Arrival::Duplicate => Verdict::Duplicate,
            Arrival::Old => Verdict::Repeated,
            Arrival::Implausible { last } => {
                let text =
                    format!("packet of {name} with number {} after {last} is not believed yet", number.0);
                self.log_limited("jump", LogLevel::Warning, &text);
                Verdict::Drop
            }
        }
    }

    /// When a missing number is first asked for: soon, but not in step with other nodes.
    fn first_request_ms(&mut self) -> u64 {
        let longest = self.settings.max_rexmit_delay_ms.clamp(6, 50);
        self.now.monotonic_ms + 5 + self.next_random() % (longest - 5)
    }

    /// `destuuid` decides, else `dest`, else it is for everybody (messaging spec 3.2, step 6).
    pub(super) fn is_to_us(&self, message: &Message) -> bool {
        match (message.uuid("destuuid"), message.text("dest")) {
            (Some(uuid), _) => uuid == self.settings.uuid,
            (None, Some(dest)) => dest == self.settings.local.as_str(),
            (None, None) => true,
        }
    }

    /// Every tenth number is acknowledged (messaging spec 3.5).
    fn acknowledge(&mut self, sender: usize, number: u64) {
        let node = &self.nodes[sender];
        let complete = node.received.complete_up_to().is_some_and(|up_to| up_to >= number);
        if complete && number % 10 == node.ack_trigger {
            self.send_acknowledgement(sender, number);
        }
    }

    /// After a gap closed: the largest number of the right residue up to which all came.
    fn acknowledge_up_to(&mut self, sender: usize, up_to: u64) {
        let trigger = self.nodes[sender].ack_trigger;
        let number = up_to.saturating_sub((up_to % 10 + 10 - trigger) % 10);
        if number > 0 {
            self.send_acknowledgement(sender, number);
        }
    }

    fn send_acknowledgement(&mut self, sender: usize, number: u64) {
        if !self.liveness.flow_control {
            return;
        }
        let dest = self.nodes[sender].name.clone();
        self.send(
            Message::new("NS_ackmsg").with("dest", dest.as_str()).with("ackseq", &format!("{number:x}")),
        );
    }

    fn dispatch(&mut self, sender: usize, message: &Message) {
        match message.kind() {
            "status" => self.receive_status(sender, message),
            "NS_rexmit" => self.receive_rexmit(sender, message),
            "NS_nak_rexmit" => self.receive_nak(sender, message),
            "NS_ackmsg" => self.receive_acknowledgement(sender, message),
            "NS_st" => {}
            "reqnodes" => self.receive_reqnodes(sender),
            "repnodes" => self.receive_repnodes(message),
            "addnode" | "delnode" | "setweight" | "setsite" => self.administer(message),
            "stonith" => self.receive_fencing_result(sender, message),
            "shutdone" => self.receive_shutdone(sender),
            _ if !self.liveness.communication_up => {}
            _ if !self.settings.manage_resources => self.receive_without_resources(message),
            "starting" => self.receive_starting(sender),
            "resource" => self.receive_resource(sender, message),
            "ask_resources" => self.receive_ask_resources(sender, message),
            "harefuse" => self.receive_refusal(sender, message),
            "hb_takeover" => {
                self.receive_takeover_request(sender, message);
                self.hook(message.clone());
            }
            "ip-request" => self.receive_ip_request(sender, message),
            "ip-request-resp" => self.receive_ip_request_response(sender, message),
            // From client to client: nothing for scripts.
            "hbapi-clstat" | "query-cstatus" | "respond-cstatus" => {}
            _ if message.text("to_id").is_some() => {}
            _ => self.hook(message.clone()),
        }
        if !matches!(message.kind(), "status") && !message.kind().starts_with("NS_") {
            self.outputs.push_back(Output::Deliver { message: message.clone(), unchanged: false });
        }
    }

    /// Runs the administrator's script for a message, if there is one (resources spec 5.1).
    pub(super) fn hook(&mut self, message: Message) {
        let kind = message.kind();
        let plain = kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !kind.is_empty() && kind.len() < 32 && plain {
            self.outputs.push_back(Output::Hook { kind: kind.to_owned(), message });
        }
    }

    /// `NS_rexmit` (numbers in decimal): sends again what is still kept, says what is gone.
    fn receive_rexmit(&mut self, sender: usize, message: &Message) {
        let (Some(first), Some(last)) = (message.decimal("firstseq"), message.decimal("lastseq")) else {
            self.log_limited("rexmit", LogLevel::Error, "Invalid rexmit seqnos");
            return;
        };
        if first == 0 || first > last {
            self.log_limited("rexmit", LogLevel::Error, "Invalid rexmit seqnos");
            return;
        }
        let last = last.min(first.saturating_add(REQUEST_MAX - 1));
        let acknowledged = self.nodes[sender].acknowledged;
        let pause_ms = self.settings.max_rexmit_delay_ms.saturating_sub(10);
        let mut stale_report = false;
        for number in first..=last {
            match self.history.resend(number, acknowledged, self.now.monotonic_ms, pause_ms) {
                Resend::Message(message) => {
                    stale_report |= message.kind() == "starting"
                        || message.kind() == "resource" && self.history.has_later(number, "resource");
                    self.hand_to_media(message);
                }
                Resend::Nothing => {}
                Resend::Gone(reason) => self.send_nak(sender, number, reason),
                Resend::NeverSent => {
                    let highest = self.history.highest();
                    let text = format!("Rexmit of seq {number} requested. {highest} is max.");
                    self.log_limited("rexmit-max", LogLevel::Warning, &text);
                    break;
                }
            }
        }
        // A 3.0.6 node takes a report that comes late for the newest, and waits for one after `starting`:
        // what is true is said once more.
        if stale_report && !self.nodes[sender].is_ours() {
            self.report_again();
        }
    }

    /// `NS_nak_rexmit` (number in hexadecimal).
    fn send_nak(&mut self, sender: usize, number: u64, reason: &str) {
        let dest = self.nodes[sender].name.clone();
        let text = format!("Cannot rexmit pkt {number} for {dest}: {reason}");
        self.log_limited("nak", LogLevel::Error, &text);
        let nak = Message::new("NS_nak_rexmit")
            .with("firstseq", &format!("{number:x}"))
            .with("dest", dest.as_str())
            .with("info", reason);
        self.send(nak);
    }

    fn receive_nak(&mut self, sender: usize, message: &Message) {
        let Some(number) = message.hex("firstseq") else {
            return;
        };
        if self.nodes[sender].received.forget(number) {
            let text = format!("Irretrievably lost packet: node {} seq {number}", self.nodes[sender].name);
            self.log_limited("nak-received", LogLevel::Error, &text);
        }
    }

    fn receive_acknowledgement(&mut self, sender: usize, message: &Message) {
        let Some(number) = message.hex("ackseq") else {
            return;
        };
        let highest = self.history.highest();
        if number > highest {
            let text = format!(
                "HBDoMsg_T_ACK: corrupted ackseq current hiseq = {highest} ackseq ={number} in this message"
            );
            self.log_limited("ack", LogLevel::Error, &text);
            return;
        }
        let node = &mut self.nodes[sender];
        node.acknowledged = node.acknowledged.max(number);
        let me = self.me;
        let lowest = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, node)| *index != me && node.is_live())
            .map(|(_, node)| node.acknowledged)
            .min();
        if let Some(lowest) = lowest {
            self.history.acknowledge(lowest);
        }
        self.watch_flow();
    }

    /// A status with a higher generation: the node's daemon started anew.
    fn node_restarted(&mut self, sender: usize, generation: Generation) {
        if self.nodes[sender].generation.0 > 0 {
            let text = format!("Heartbeat restart on node {}", self.nodes[sender].name);
            self.log(LogLevel::Info, &text);
        }
        let node = &mut self.nodes[sender];
        node.generation = generation;
        node.received.reset();
        node.held.clear();
        node.status_sequence = SequenceNumber(0);
        node.status_ts = 0;
        node.acknowledged = 0;
        node.extension = None;
        if node.status != Status::Dead {
            node.status = Status::Init;
        }
        node.last_status_ms = None;
        if Some(sender) == self.peer {
            self.members.peer_took_for_another = false;
            self.peer_restarted();
        }
    }
}
