//! Beats, deaths, links, and when communication counts as up (messaging spec 4.2 to 4.5, 3.7).

use crate::types::{Generation, LinkName, LogLevel, NodeName, ResourceSet, SequenceNumber};
use crate::wire::message::Message;

use super::alarm::AlarmKind;
use super::event::Output;
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::node::{Extension, Status};
use super::Cluster;

/// A peer's announced `dt` is believed up to our own deadtime plus this, milliseconds: 3.0.6
/// itself announces 30 s more before a planned pause (messaging spec 4.4).
const DEAD_TIME_EXTRA_MAX_MS: u64 = 60_000;
/// A longer time of a peer's watchdog is not believed, milliseconds: a day.
const WATCHDOG_MAX_MS: u64 = 86_400_000;
/// Longest pause between two `reqnodes`, milliseconds (messaging spec 3.7).
const REQNODES_RETRY_MS: u64 = 1000;

/// Timers and flags of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Liveness {
    /// The start input came.
    pub started_ms: Option<u64>,
    /// The resource protocol runs; this node is `active`.
    pub communication_up: bool,
    /// Every node speaks `protocol`: acknowledgements and `reqnodes` are in use.
    pub flow_control: bool,
    /// When our last status was handed to the media.
    pub last_beat_ms: u64,
    next_beat_ms: u64,
    /// `reqnodes` was sent; when to ask again.
    pub reqnodes_retry_ms: Option<u64>,
    reqnodes_turn: usize,
    /// Before this nobody is declared dead: we were late ourselves and must first read what came.
    pub no_verdict_before_ms: u64,
    /// The sum of what is announced beyond deadtime (quick restart).
    pub extra_dead_time_ms: u64,
}

impl Liveness {
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.optional("liveness.started", &mut self.started_ms);
        form.flag("liveness.communication_up", &mut self.communication_up);
        form.flag("liveness.flow_control", &mut self.flow_control);
        form.number("liveness.last_beat", &mut self.last_beat_ms);
        form.number("liveness.next_beat", &mut self.next_beat_ms);
        form.optional("liveness.reqnodes_retry", &mut self.reqnodes_retry_ms);
        let mut turn = self.reqnodes_turn as u64;
        form.number("liveness.reqnodes_turn", &mut turn);
        self.reqnodes_turn = usize::try_from(turn).unwrap_or(0);
        form.number("liveness.no_verdict_before", &mut self.no_verdict_before_ms);
        form.number("liveness.extra_dead_time", &mut self.extra_dead_time_ms);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, cluster: &Cluster, into: &mut Fingerprint) {
        let Self {
            started_ms,
            communication_up,
            flow_control,
            last_beat_ms,
            next_beat_ms,
            reqnodes_retry_ms,
            reqnodes_turn,
            no_verdict_before_ms,
            extra_dead_time_ms,
        } = self;
        into.add((started_ms.is_some(), communication_up, flow_control, extra_dead_time_ms));
        into.add(reqnodes_turn % cluster.nodes.len().saturating_sub(1).max(1));
        // The start counts for nodes that were never heard only.
        let unheard = |node: &&super::node::Node| !node.is_dead() && node.last_status_ms.is_none();
        let waits = cluster.nodes.iter().enumerate().any(|(at, node)| at != cluster.me && unheard(&node));
        let patience_ms = 2 * cluster.settings.init_dead_ms;
        into.moment_if(started_ms.filter(|_| waits), patience_ms);
        into.moment(*last_beat_ms, 2 * cluster.settings.dead_time_ms);
        into.moment(*next_beat_ms, 0);
        into.moment_if(*reqnodes_retry_ms, 0);
        into.moment(*no_verdict_before_ms, 0);
    }
}

impl Cluster {
    /// First input: announces this node.
    pub(super) fn start(&mut self) {
        if self.liveness.started_ms.is_some() {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        self.liveness.started_ms = Some(now_ms);
        self.liveness.flow_control = true;
        self.nodes[self.me].generation = self.settings.generation;
        self.nodes[self.me].uuid = Some(self.settings.uuid);
        self.nodes[self.me].heard = true;
        if self.liveness.last_beat_ms > 0 {
            self.notice_own_lateness();
        }
        self.send_status();
        self.set_local_status(Status::Up);
        self.check_communication_up();
    }

    /// When a life before this one sent its last beat.
    pub(super) fn note_former_beat(&mut self, at_ms: u64) {
        if self.liveness.started_ms.is_none() {
            self.liveness.last_beat_ms = at_ms.min(self.now.monotonic_ms);
            self.shutdown.goodbye_owed = true;
        }
    }

    pub(super) fn next_liveness_timeout_ms(&self) -> Option<u64> {
        self.liveness.started_ms?;
        let deaths = (0..self.nodes.len()).filter_map(|index| self.death_ms(index));
        let links = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != self.me)
            .filter_map(|(_, node)| node.next_link_death_ms())
            .map(|due| (due + 1).max(self.liveness.no_verdict_before_ms));
        // Only of nodes that `ask_for_missing` asks: a timer nobody acts on would never move.
        let live = self.nodes.iter().filter(|node| node.is_live());
        let requests = live.filter_map(|node| node.received.next_request_ms());
        deaths
            .chain(links)
            .chain(requests)
            .chain((0..self.nodes.len()).filter_map(|index| self.patience_ends_ms(index)))
            .chain(self.liveness.reqnodes_retry_ms)
            .chain(self.joining_ends_ms())
            .chain([self.liveness.next_beat_ms])
            .chain(self.next_ping_timeout_ms())
            .min()
    }

    pub(super) fn tick_liveness(&mut self) {
        if self.liveness.started_ms.is_none() {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        if now_ms >= self.liveness.next_beat_ms {
            self.send_status();
        }
        for index in 0..self.nodes.len() {
            if index != self.me {
                self.age_links(index);
                self.ask_for_missing(index);
            }
        }
        self.end_of_patience();
        for index in 0..self.nodes.len() {
            if self.death_ms(index).is_some_and(|due| now_ms >= due) {
                self.mark_dead(index);
            }
        }
        self.tick_pings();
        if self.liveness.reqnodes_retry_ms.is_some_and(|due| now_ms >= due) {
            self.send_reqnodes();
        }
        self.check_communication_up();
    }

    // ---- our own beat --------------------------------------------------------------------

    /// Sends a status now and sets the time of the next. Our own copy is what feeds the watchdog.
    pub(super) fn send_status(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let interval_ms = now_ms - self.liveness.last_beat_ms;
        let first = self.liveness.last_beat_ms == 0;
        if !first && interval_ms > self.settings.warn_time_ms {
            let text = format!("Late heartbeat: Node {}: interval {interval_ms} ms", self.settings.local);
            self.log_limited("own-late", LogLevel::Warning, &text);
        }
        let message = self.status_message();
        self.send(message);
        self.liveness.last_beat_ms = now_ms;
        self.liveness.next_beat_ms = now_ms + self.settings.keepalive_ms;
        if !self.lease_starves_watchdog() {
            self.outputs.push_back(Output::Beat);
        }
    }

    fn status_message(&self) -> Message {
        let status = self.nodes[self.me].status.as_str();
        let dead_time_ms = self.settings.dead_time_ms + self.liveness.extra_dead_time_ms;
        let mut message = Message::new("status").with("st", status).with("dt", &format!("{dead_time_ms:x}"));
        if self.liveness.flow_control {
            message.push_text("protocol", "1");
        }
        self.add_extension(&mut message);
        message
    }

    /// Our extra fields; a 3.0.6 node ignores them (messaging spec 2.2: unknown fields).
    fn add_extension(&self, message: &mut Message) {
        message.push_text("ha", "1");
        let heard: Vec<&str> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(index, node)| {
                *index != self.me && node.is_live() && node.links.iter().any(|link| link.up)
            })
            .map(|(_, node)| node.name.as_str())
            .collect();
        message.push_text("hahear", &heard.join(" "));
        if let Some(peer) = self.peer().filter(|peer| peer.generation.0 > 0) {
            message.push_text("hahg", &format!("{:x}", peer.generation.0));
        }
        if let Some(count) = self.reachable_to_tell() {
            message.push_text("haping", &count.to_string());
        }
        if self.liveness.communication_up && self.settings.manage_resources {
            self.add_claims(message);
        }
    }

    fn read_extension(&self, message: &Message) -> Option<Extension> {
        message.text("ha")?;
        let set = |name: &str| message.text(name).and_then(|word| word.parse::<ResourceSet>().ok());
        let local = self.settings.local.as_str();
        Some(Extension {
            hears_us: message.text("hahear").is_some_and(|names| names.split(' ').any(|name| name == local)),
            hears_generation: message.hex("hahg").map(Generation),
            holding: set("hahold"),
            settled: message.text("hastable") == Some("1"),
            failed: set("hafail").unwrap_or_default(),
            held_at_loss: set("halost"),
            leftover: set("haleft").unwrap_or_default(),
            forfeits: message.text("halate") == Some("1"),
            question: message.decimal("haask"),
            answer: message.decimal("haanswer"),
            digest: message.text("hadigest").unwrap_or("").chars().take(64).collect(),
            reaches: message.decimal("haping"),
            maintenance: message.text("hamaint").and_then(super::maintenance::read),
            watchdog_ms: message.decimal("hawdog").filter(|time_ms| *time_ms <= WATCHDOG_MAX_MS),
        })
    }

    pub(super) fn set_local_status(&mut self, status: Status) {
        let text = format!("Local status now set to: '{}'", status.as_str());
        self.nodes[self.me].status = status;
        self.log(LogLevel::Info, &text);
        self.send_status();
    }

    // ---- the others' beats ---------------------------------------------------------------

    /// `status` of another node (messaging spec 4.2).
    pub(super) fn receive_status(&mut self, sender: usize, message: &Message) {
        let Some(status) = message.text("st").map(Status::parse) else {
            self.log_limited("no-st", LogLevel::Error, "HBDoMsg_T_STATUS: status update without st field");
            return;
        };
        let number = SequenceNumber(message.hex("seq").unwrap_or(0));
        let ts = message.hex("ts").unwrap_or(0);
        if ts < self.nodes[sender].status_ts && number < self.nodes[sender].status_sequence {
            return;
        }
        let newest = number >= self.nodes[sender].status_sequence;
        self.note_interval(sender);
        if let Some(dt) = message.hex("dt") {
            self.nodes[sender].dead_after_ms = self.believable_dead_time_ms(dt);
        }
        let now_ms = self.now.monotonic_ms;
        let extension = self.read_extension(message);
        let node = &mut self.nodes[sender];
        node.status_sequence = node.status_sequence.max(number);
        node.status_ts = ts;
        node.last_status_ms = Some(now_ms);
        if newest {
            node.extension = extension;
        }
        if message.text("protocol").is_none() {
            self.flow_control_off();
        }
        self.change_status(sender, status, message);
        if newest && Some(sender) == self.peer {
            self.peer_status_came(number);
        }
    }

    fn change_status(&mut self, sender: usize, status: Status, message: &Message) {
        let changed = self.nodes[sender].status != status;
        if changed {
            let text =
                format!("Status update for node {}: status {}", self.nodes[sender].name, status.as_str());
            self.log(LogLevel::Info, &text);
            self.nodes[sender].status = status;
            self.hook(message.clone());
        }
        self.outputs.push_back(Output::Deliver { message: message.clone(), unchanged: !changed });
    }

    fn note_interval(&mut self, sender: usize) {
        let Some(last) = self.nodes[sender].last_status_ms else {
            return;
        };
        let interval_ms = self.now.monotonic_ms - last;
        if Some(sender) == self.peer {
            self.original_was_silent(interval_ms);
        }
        let name = self.nodes[sender].name.clone();
        if interval_ms > self.nodes[sender].dead_after_ms {
            let text = format!("Late heartbeat: Node {name}: interval {interval_ms} ms (> deadtime)");
            self.log_limited("late-dead", LogLevel::Critical, &text);
        } else if interval_ms > self.settings.warn_time_ms {
            let text = format!("Late heartbeat: Node {name}: interval {interval_ms} ms");
            self.log_limited("late", LogLevel::Warning, &text);
        }
    }

    /// Bounds what a peer may dictate: not below twice our keepalive, not beyond our own deadtime
    /// plus a planned pause.
    fn believable_dead_time_ms(&self, announced_ms: u64) -> u64 {
        let lowest = 2 * self.settings.keepalive_ms;
        let highest = self.settings.dead_time_ms + DEAD_TIME_EXTRA_MAX_MS;
        announced_ms.clamp(lowest, highest.max(lowest))
    }

    fn flow_control_off(&mut self) {
        if self.liveness.flow_control {
            self.liveness.flow_control = false;
            self.log(LogLevel::Info, "flow control disabled due to different version heartbeat");
        }
    }

    // ---- death and return ----------------------------------------------------------------

    /// When this node will count as dead if nothing more is heard of it.
    fn death_ms(&self, index: usize) -> Option<u64> {
        let node = &self.nodes[index];
        if index == self.me || node.is_dead() {
            return None;
        }
        let since = node.last_status_ms.or(node.added_ms).or(self.liveness.started_ms)?;
        let expected = node.last_status_ms.is_some() || node.added_ms.is_some();
        let patience_ms = if self.liveness.communication_up && expected {
            node.dead_after_ms
        } else {
            self.settings.init_dead_ms.max(node.dead_after_ms)
        };
        Some((since + patience_ms + 1).max(self.liveness.no_verdict_before_ms))
    }

    fn mark_dead(&mut self, index: usize) {
        let name = self.nodes[index].name.clone();
        self.log(LogLevel::Warning, &format!("node {name}: is dead"));
        let node = &mut self.nodes[index];
        node.status = Status::Dead;
        node.last_status_ms = None;
        node.received.reset();
        node.held.clear();
        node.acknowledged = 0;
        let ever_heard = std::mem::take(&mut node.heard);
        for position in 0..self.nodes[index].links.len() {
            self.set_link(index, position, false);
        }
        let death = self.death_message(&name);
        self.outputs.push_back(Output::Deliver { message: death, unchanged: false });
        if Some(index) == self.peer {
            self.peer_died(ever_heard);
        }
    }

    /// What clients and scripts hear of a dead node, in the original's form (messaging spec 4.5).
    pub(super) fn death_message(&self, name: &NodeName) -> Message {
        let ts = format!("{:x}", self.now.wall_s);
        Message::new("status").with("seq", "1").with("ts", &ts).with("src", name.as_str()).with("st", "dead")
    }

    /// A packet of a node that counted as dead, without a new generation: contact was lost and is
    /// back. The original now restarts itself; ours stays up (design §4).
    pub(super) fn node_returned(&mut self, index: usize) {
        let name = self.nodes[index].name.clone();
        self.log(LogLevel::Critical, &format!("Cluster node {name} returning after partition."));
        self.log(
            LogLevel::Info,
            "For information on cluster partitions, See URL: http://linux-ha.org/wiki/Split_Brain",
        );
        let text = format!("node {name} is heard again and never was down: each node thought the other dead");
        self.alarm(AlarmKind::PartitionHealed, name.as_str(), &text);
        self.log(LogLevel::Warning, "Deadtime value may be too small.");
        self.log(LogLevel::Info, "See FAQ for information on tuning deadtime.");
        self.log(LogLevel::Info, "URL: http://linux-ha.org/wiki/FAQ#Heavy_Load");
        if Some(index) == self.peer {
            self.peer_returned();
        }
    }

    // ---- links ---------------------------------------------------------------------------

    pub(super) fn link_alive(&mut self, index: usize, link: &LinkName) {
        let now_ms = self.now.monotonic_ms;
        let Some(position) = self.nodes[index].links.iter().position(|known| known.name == *link) else {
            return;
        };
        self.nodes[index].links[position].last_packet_ms = Some(now_ms);
        if !self.nodes[index].links[position].up {
            self.set_link(index, position, true);
        }
    }

    fn age_links(&mut self, index: usize) {
        let now_ms = self.now.monotonic_ms;
        if now_ms < self.liveness.no_verdict_before_ms {
            return;
        }
        let patience_ms = self.nodes[index].dead_after_ms;
        for position in 0..self.nodes[index].links.len() {
            let link = &self.nodes[index].links[position];
            if link.up && link.last_packet_ms.is_none_or(|last| now_ms > last + patience_ms) {
                self.set_link(index, position, false);
            }
        }
    }

    fn set_link(&mut self, index: usize, position: usize, up: bool) {
        if self.nodes[index].links[position].up == up {
            return;
        }
        self.nodes[index].links[position].up = up;
        let node = self.nodes[index].name.clone();
        let link = self.nodes[index].links[position].name.clone();
        self.tell_link(&node, &link, up);
    }

    /// The log line, the clients' event and the script of a link that went up or down.
    pub(super) fn tell_link(&mut self, node: &NodeName, link: &LinkName, up: bool) {
        let state = if up { "up" } else { "dead" };
        self.log(LogLevel::Info, &format!("Link {node}:{link} {state}."));
        let event = Message::new("ifstat")
            .with("node", node.as_str())
            .with("ifname", link.as_str())
            .with("st", state);
        self.outputs.push_back(Output::Deliver { message: event.clone(), unchanged: false });
        self.hook(event);
    }

    fn ask_for_missing(&mut self, index: usize) {
        let now_ms = self.now.monotonic_ms;
        if !self.nodes[index].is_live() {
            return;
        }
        let again_ms = now_ms + self.settings.max_rexmit_delay_ms.max(1);
        let dest = self.nodes[index].name.clone();
        for (first, last) in self.nodes[index].received.take_due(now_ms, again_ms) {
            let request = Message::new("NS_rexmit")
                .with("dest", dest.as_str())
                .with("firstseq", &first.to_string())
                .with("lastseq", &last.to_string());
            self.send(request);
        }
    }

    // ---- communication up ----------------------------------------------------------------

    /// All other nodes were heard or are dead: ask one for its node list; with the answer, or with
    /// nobody to ask, communication is up.
    pub(super) fn check_communication_up(&mut self) {
        if self.liveness.communication_up || self.liveness.started_ms.is_none() {
            return;
        }
        let me = self.me;
        let accounted = self.nodes.iter().enumerate().all(|(index, node)| {
            index == me || node.is_dead() || (node.heard && node.last_status_ms.is_some())
        });
        if !accounted || self.joining_ends_ms().is_some() {
            return;
        }
        let nobody = !self.nodes.iter().enumerate().any(|(index, node)| index != me && !node.is_dead());
        if nobody || !self.liveness.flow_control {
            self.communication_is_up();
        } else if self.liveness.reqnodes_retry_ms.is_none() {
            self.send_reqnodes();
        }
    }

    /// Where nodes join by themselves those that are there get the time of a first start to be heard,
    /// before this node asks for their lists (messaging spec 4.4).
    fn joining_ends_ms(&self) -> Option<u64> {
        let waits = self.settings.membership.auto_join && !self.liveness.communication_up;
        let end_ms = self.liveness.started_ms.filter(|_| waits)? + self.settings.init_dead_ms;
        (self.now.monotonic_ms < end_ms).then_some(end_ms)
    }

    fn send_reqnodes(&mut self) {
        let pause_ms = (4 * self.settings.keepalive_ms).clamp(50, REQNODES_RETRY_MS);
        self.liveness.reqnodes_retry_ms = Some(self.now.monotonic_ms + pause_ms);
        let me = self.me;
        let candidates: Vec<usize> =
            (0..self.nodes.len()).filter(|index| *index != me && !self.nodes[*index].is_dead()).collect();
        if candidates.is_empty() {
            return;
        }
        let index = candidates[self.liveness.reqnodes_turn % candidates.len()];
        self.liveness.reqnodes_turn += 1;
        let dest = self.nodes[index].name.clone();
        // It may have opened its sockets after our last beat, and believes nothing else of a
        // generation it has not heard of.
        self.send_status();
        self.send(Message::new("reqnodes").with("dest", dest.as_str()));
    }

    pub(super) fn communication_is_up(&mut self) {
        self.liveness.communication_up = true;
        self.liveness.reqnodes_retry_ms = None;
        self.log(LogLevel::Info, "Comm_now_up(): updating status to active");
        self.set_local_status(Status::Active);
        if self.settings.manage_resources {
            self.fencing_begins();
            self.resources_begin();
        }
    }
}
