//! Decisions about nodes, links, packets and resources. Pure: time, randomness and results are
//! arguments, effects are data.
//!
//! | file | decides |
//! |---|---|
//! | `receive` | what a packet is worth, where it goes |
//! | `members` | who belongs to the cluster: node lists, adding, deleting, weights, sites |
//! | `sequence` | order, gaps, retransmission |
//! | `liveness` | beats, deaths, links, when communication is up |
//! | `ping` | whether ping nodes answer |
//! | `claims` | who holds which set, first acquisition, takeover |
//! | `takeover` | what stands between a peer's death and the taking: fencing, delay, confirmation |
//! | `conflict` | both claim, nobody claims, failback, failed starts |
//! | `original` | what only a 3.0.6 peer needs |
//! | `lateness` | what a node does that was paused |
//! | `handover` | standby, takeover on request |
//! | `shutdown` | graceful stop, restart |
//! | `jobs` | which child runs when |
//! | `handoff` | everything as text, for another program file to go on with |
//! | `local` | messages of local programs |
//! | `legacy` | `auto_failback legacy` |
//! | `service` | what runs and does not work, or was taken away |
//! | `maintenance` | when nothing is done on one's own |
//! | `alarm` | what is worth waking somebody for |
//! | `status` | the picture for clients |
//! | `fingerprint` | nothing: which values decide alike, for the exhaustive check |

pub mod alarm;
pub mod event;
pub mod fingerprint;
pub mod settings;
pub mod view;

mod claims;
mod conflict;
pub mod handoff;
mod handover;
mod jobs;
mod lateness;
mod legacy;
mod liveness;
mod local;
mod maintenance;
mod members;
mod node;
mod original;
mod ping;
mod receive;
mod sequence;
mod service;
mod shutdown;
mod status;
mod takeover;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::types::{LogLevel, NodeName, ResourceSet, SequenceNumber};
use crate::wire::message::{Message, Value};

use alarm::Alarms;
use claims::Claims;
use event::{Answer, Input, Now, Output, RequestId};
use handover::Handover;
use jobs::Jobs;
use lateness::Lateness;
use legacy::Legacy;
use liveness::Liveness;
use maintenance::Maintenance;
use members::Members;
use node::{Node, Status};
use original::Original;
use ping::PingNode;
use sequence::History;
use service::Services;
use settings::ClusterSettings;
use shutdown::Shutdown;
use takeover::Takeover;

pub use text::ParseError;

/// Lines of one kind that may be logged within [`LOG_WINDOW_MS`].
const LOG_BURST: u32 = 5;
/// The window of [`LOG_BURST`], milliseconds.
const LOG_WINDOW_MS: u64 = 10_000;
/// Messages of ours not yet acknowledged at which clients must wait (messaging spec 3.5).
const FLOW_WINDOW: u64 = 250;

/// One node's whole knowledge and all its decisions.
///
/// Feed it with [`Cluster::handle`], carry out what [`Cluster::poll_output`] hands out, and tick
/// it at [`Cluster::next_timeout_ms`].
#[derive(Debug, Clone)]
pub struct Cluster {
    settings: Arc<ClusterSettings>,
    now: Now,
    outputs: VecDeque<Output>,
    /// In configuration order, this node included.
    nodes: Vec<Node>,
    /// Index of this node in `nodes`.
    me: usize,
    /// Index of the one other node; `None` in a cluster of one.
    peer: Option<usize>,
    pings: Vec<PingNode>,
    history: History,
    load: String,
    random: u64,
    liveness: Liveness,
    members: Members,
    claims: Claims,
    takeover: Takeover,
    original: Original,
    lateness: Lateness,
    handover: Handover,
    shutdown: Shutdown,
    jobs: Jobs,
    legacy: Legacy,
    services: Services,
    maintenance: Maintenance,
    alarms: Alarms,
    log_counts: BTreeMap<&'static str, (u64, u32)>,
    /// Verified packets that were not believed.
    dropped_packets: u64,
    /// Verified packets whose number had come before.
    repeated_packets: u64,
    clients_paused: bool,
    believed_last: bool,
    ended: bool,
}

impl Cluster {
    /// A node that knows nothing yet. The first input must be [`Input::Start`].
    ///
    /// `settings.local` must be among `settings.nodes`; if it is not it is added at the end.
    pub fn new(mut settings: ClusterSettings, now: Now) -> Self {
        if !settings.nodes.contains(&settings.local) {
            settings.nodes.push(settings.local.clone());
        }
        let mut random = settings.random_seed | 1;
        let nodes: Vec<Node> = settings
            .nodes
            .iter()
            .map(|name| {
                let trigger = next_random(&mut random) % 10;
                Node::new(name.clone(), &settings.links, settings.init_dead_ms, trigger)
            })
            .collect();
        let me = settings.nodes.iter().position(|name| *name == settings.local).unwrap_or(0);
        let peer = (0..nodes.len()).rev().find(|index| *index != me);
        let pings = settings.pings.iter().cloned().filter_map(PingNode::new).collect();
        let claims = Claims::new(settings.resume);
        let mut cluster = Self {
            now,
            outputs: VecDeque::new(),
            nodes,
            me,
            peer,
            pings,
            history: History::default(),
            load: "n/a".to_owned(),
            random,
            liveness: Liveness::default(),
            members: Members::default(),
            claims,
            takeover: Takeover::default(),
            original: Original::default(),
            lateness: Lateness::default(),
            handover: Handover::default(),
            shutdown: Shutdown::default(),
            jobs: Jobs::default(),
            legacy: Legacy::default(),
            services: Services::new(&settings.services),
            maintenance: Maintenance::default(),
            alarms: Alarms::default(),
            log_counts: BTreeMap::new(),
            dropped_packets: 0,
            repeated_packets: 0,
            clients_paused: false,
            believed_last: false,
            ended: false,
            settings: Arc::new(settings),
        };
        cluster.recall_hosts();
        cluster
    }

    /// Before the first input: after so long without a beat a watchdog resets this host, milliseconds, where
    /// that is not what the settings say.
    pub fn watchdog_is(&mut self, time_ms: u64) {
        Arc::make_mut(&mut self.settings).watchdog_ms = Some(time_ms);
    }

    /// Takes one input at a time. Afterwards outputs may be waiting. `now` must not go back; if it
    /// does, the last known moment is used. After [`Output::Exit`] nothing has an effect any more.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.ended {
            return;
        }
        let monotonic_ms = now.monotonic_ms.max(self.now.monotonic_ms);
        self.now = Now { monotonic_ms, wall_s: now.wall_s };
        self.notice_own_lateness();
        match input {
            Input::Start => self.start(),
            Input::Packet { link, key_index, message } => self.receive(&link, key_index, &message),
            Input::Copy { link, node } => self.receive_copy(&link, &node),
            Input::PingAnswer { node } => self.ping_answered(&node),
            Input::Tick => self.tick(),
            Input::LoadAverage(text) => {
                self.load = text.chars().filter(|c| !c.is_control()).take(64).collect()
            }
            Input::JobDone { job, outcome } => self.job_done(job, outcome),
            Input::Command { request, command } => self.command(request, command),
            Input::Answer { question, answer } => self.answered(question, answer),
            Input::LocalMessage(message) => self.local_message(message),
            Input::ResourcesDigest(digest) => self.claims.digest = digest,
            Input::ResourceLost(resource) => self.resource_lost(resource),
            Input::FormerMaintenance { until_ms, version } => self.former_maintenance(until_ms, version),
            Input::FormerFencing(word) => self.former_fencing(word),
            Input::PeerWasAway => {
                self.claims.needs_failback = true;
                self.takeover_was_before();
            }
            Input::FormerBeat(at_ms) => self.note_former_beat(at_ms),
        }
        self.settle();
    }

    /// The last [`Input::Packet`] was believed: a byte-for-byte copy of it that comes next may be
    /// handed in as [`Input::Copy`].
    pub fn believed_last_packet(&self) -> bool {
        self.believed_last
    }

    /// Communication is up: the resource protocol runs, and programs beside the daemon may start.
    pub fn communication_up(&self) -> bool {
        self.liveness.communication_up
    }

    /// The next effect to carry out, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// It is going down, on somebody's wish or because of a stop that failed.
    pub fn is_leaving(&self) -> bool {
        self.ended || self.shutdown.is_under_way()
    }

    /// What this node claims at the moment, its own viewpoint.
    pub fn holding(&self) -> ResourceSet {
        self.claims.hold
    }

    /// Foreign sets are held because the peer went away, and may go home by themselves: for the next
    /// life after a quick restart ([`Input::PeerWasAway`]).
    pub fn awaits_failback(&self) -> bool {
        let away = self.claims.peer_left || self.peer().is_some_and(Node::is_dead);
        self.claims.hold.contains(ResourceSet::FOREIGN) && (away || self.claims.needs_failback)
    }

    /// Monotonic milliseconds at which [`Input::Tick`] is due; `None` before the start and after
    /// the end.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        if self.ended {
            return None;
        }
        [
            self.next_liveness_timeout_ms(),
            self.claims.next_timeout_ms(),
            self.takeover.next_timeout_ms(),
            self.next_guards_timeout_ms(),
            self.original.next_timeout_ms(self.now.monotonic_ms, self.claims.returned_ms),
            self.handover.next_timeout_ms(),
            self.lateness.next_timeout_ms(),
            self.maintenance.next_timeout_ms(),
            self.next_service_timeout_ms(),
            self.shutdown.next_timeout_ms(),
            self.legacy.next_timeout_ms(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Everything that may follow from any change, in a fixed order.
    fn settle(&mut self) {
        if self.ended {
            return;
        }
        if self.settings.manage_resources && self.liveness.communication_up {
            self.advance_takeover();
            self.check_devices();
            self.decide_first_acquisition();
            self.ask_returned_peer();
            self.follow_late_consent();
            self.resolve_conflicts();
            if !self.stays_put() {
                self.adopt_orphans();
                self.hand_over_failed();
                self.fail_back();
            }
            self.advance_services();
        } else if self.settings.manage_resources {
            self.give_way_unheard();
        }
        self.advance_guards();
        if self.ended {
            return;
        }
        self.advance_shutdown();
        self.start_jobs();
        self.watch_alarms();
        self.keep_hosts();
        if self.liveness.communication_up {
            self.publish();
        }
    }

    fn tick(&mut self) {
        self.tick_liveness();
        if self.ended {
            return;
        }
        self.tick_claims();
        self.tick_handover();
        self.tick_lateness();
        self.tick_maintenance();
        self.tick_shutdown();
        self.tick_legacy();
    }

    // ---- sending -------------------------------------------------------------------------

    /// Adds the control fields (messaging spec 2.1) and hands the message to the media; sequenced
    /// messages are kept for retransmission.
    fn send(&mut self, mut message: Message) {
        let sequenced = !message.kind().starts_with("NS_");
        if let Some(dest) = message.text("dest").map(str::to_owned) {
            let uuid = self.nodes.iter().find(|node| node.name.as_str() == dest).and_then(|node| node.uuid);
            message.set("destuuid", Value::Binary(uuid.unwrap_or_default().0.to_vec()));
        }
        message.set_text("src", self.settings.local.as_str());
        message.set("srcuuid", Value::Binary(self.settings.uuid.0.to_vec()));
        let number = sequenced.then(|| self.history.next_number());
        if let Some(SequenceNumber(number)) = number {
            message.set_text("seq", &format!("{number:x}"));
        }
        message.set_text("hg", &format!("{:x}", self.settings.generation.0));
        message.set_text("ts", &format!("{:x}", self.now.wall_s.max(1)));
        if sequenced {
            message.set_text("ld", &self.load);
        }
        let ttl = usize::from(self.settings.hop_fudge) + self.nodes.len() + self.pings.len();
        message.set_text("ttl", &ttl.to_string());
        if let Some(number) = number {
            self.history.keep(number, message.clone(), self.now.monotonic_ms);
        }
        let own_copy = sequenced && self.is_to_us(&message);
        if own_copy {
            // What this node says of its own status it has acted on already (messaging spec 7.4).
            let unchanged = message.kind() == "status";
            self.outputs.push_back(Output::Deliver { message: message.clone(), unchanged });
        }
        self.hand_to_media(message);
        self.watch_flow();
    }

    /// Sends a complete message, once for each key that it must be signed with.
    fn hand_to_media(&mut self, message: Message) {
        let mut keys = self.signing_keys();
        let last = keys.pop().unwrap_or(None);
        for key_index in keys {
            self.outputs.push_back(Output::Send { message: message.clone(), key_index });
        }
        self.outputs.push_back(Output::Send { message, key_index: last });
    }

    /// Towards a 3.0.6 node: the key number it last used, because its receiver takes the key of its
    /// own `auth` line whatever the packet says (messaging spec 1.5). Several such nodes that are in
    /// the middle of a change of keys need a copy each. Else `None`, our own.
    fn signing_keys(&self) -> Vec<Option<u8>> {
        let mut keys = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let original = index != self.me && node.generation.0 > 0 && !node.is_dead() && !node.is_ours();
            if original && node.key_index.is_some() && !keys.contains(&node.key_index) {
                keys.push(node.key_index);
            }
        }
        if keys.is_empty() {
            keys.push(None);
        }
        keys
    }

    /// Stops and resumes reading from clients by how much is unacknowledged (messaging spec 3.5).
    fn watch_flow(&mut self) {
        let live = self.nodes.iter().filter(|node| node.is_live()).count();
        let full = live >= 2 && self.liveness.flow_control && self.history.outstanding() > FLOW_WINDOW;
        if full != self.clients_paused {
            self.clients_paused = full;
            let text = if full { "all clients are now paused" } else { "all clients are now resumed" };
            self.log(LogLevel::Debug, text);
            self.outputs.push_back(Output::ClientsPaused(full));
        }
    }

    fn log_bad_set(&mut self, word: &str) {
        let text = format!("encode_resources: bad resource type [{}]", text::escape(word));
        self.log_limited("bad-set", LogLevel::Error, &text);
    }

    // ---- small helpers -------------------------------------------------------------------

    fn log(&mut self, level: LogLevel, text: &str) {
        self.outputs.push_back(Output::Log { level, text: text.to_owned() });
    }

    /// Logs at most [`LOG_BURST`] lines of a kind within [`LOG_WINDOW_MS`]: for everything that
    /// packets can provoke.
    fn log_limited(&mut self, kind: &'static str, level: LogLevel, text: &str) {
        let now_ms = self.now.monotonic_ms;
        let (began_ms, count) = self.log_counts.entry(kind).or_insert((now_ms, 0));
        let mut suppressed = 0;
        if now_ms >= *began_ms + LOG_WINDOW_MS {
            suppressed = count.saturating_sub(LOG_BURST);
            (*began_ms, *count) = (now_ms, 0);
        }
        *count += 1;
        let speak = *count <= LOG_BURST;
        if suppressed > 0 {
            self.log(level, &format!("{suppressed} more lines of kind {kind} were suppressed"));
        }
        if speak {
            self.log(level, text);
        }
    }

    fn reply(&mut self, request: RequestId, answer: Answer) {
        self.outputs.push_back(Output::Reply { request, answer });
    }

    fn peer(&self) -> Option<&Node> {
        self.peer.map(|index| &self.nodes[index])
    }

    fn peer_name(&self) -> Option<NodeName> {
        self.peer().map(|node| node.name.clone())
    }

    /// The peer is up or active.
    fn peer_is_live(&self) -> bool {
        self.peer().is_some_and(Node::is_live)
    }

    /// The peer takes part in the resource protocol.
    fn peer_is_active(&self) -> bool {
        self.peer().is_some_and(|node| node.status == Status::Active)
    }

    fn next_random(&mut self) -> u64 {
        next_random(&mut self.random)
    }
}

/// xorshift64*: enough to spread requests in time, and the same for ever.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
}

#[cfg(test)]
mod tests;
