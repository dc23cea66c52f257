//! What is known of one node and of the links on which it is heard.

use crate::types::{
    Generation, HostRecord, LinkName, NodeName, ResourceSet, SequenceNumber, Uuid, WEIGHT_DEFAULT,
};

use super::fingerprint::Fingerprint;
use super::sequence::{HeldBack, Received};

/// Longest status text kept; the original's buffer holds 32 (messaging spec 1.6).
pub const STATUS_MAX_BYTES: usize = 31;

/// A node's status as it announces it, or as we judge it (messaging spec 4.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Status {
    /// Never heard, or its first packets.
    Init,
    /// Listening.
    Up,
    /// Communication is up.
    Active,
    /// Silent for longer than its deadtime.
    Dead,
    /// Any other text it sent: 3.0.6 takes it as it is.
    Other(String),
}

impl Status {
    /// Takes a node's own word for it; case does not matter.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "init" => Self::Init,
            "up" => Self::Up,
            "active" => Self::Active,
            "dead" => Self::Dead,
            _ => Self::Other(text.chars().filter(|c| !c.is_control()).take(STATUS_MAX_BYTES).collect()),
        }
    }

    /// The word in messages and logs.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Init => "init",
            Self::Up => "up",
            Self::Active => "active",
            Self::Dead => "dead",
            Self::Other(text) => text,
        }
    }
}

/// A node on one medium.
#[derive(Debug, Clone)]
pub struct Link {
    /// The medium.
    pub name: LinkName,
    /// Heard within its deadtime.
    pub up: bool,
    /// When a packet last came, if ever.
    pub last_packet_ms: Option<u64>,
}

/// What a node of ours says of itself in the extra fields of `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// It hears us.
    pub hears_us: bool,
    /// The newest generation of ours that it heard.
    pub hears_generation: Option<Generation>,
    /// What it claims, its viewpoint; `None` before its communication is up.
    pub holding: Option<ResourceSet>,
    /// No job of it is under way.
    pub settled: bool,
    /// Sets of which a group did not start there, its viewpoint.
    pub failed: ResourceSet,
    /// What it held when it last lost contact with us, its viewpoint.
    pub held_at_loss: Option<ResourceSet>,
    /// What an earlier life of it may have left active and it has not stopped yet, its viewpoint.
    pub leftover: ResourceSet,
    /// It was late itself and gives up whatever both claim.
    pub forfeits: bool,
    /// It asks whether its claims were taken; the number comes back in the answer.
    pub question: Option<u64>,
    /// The question of ours that it answers.
    pub answer: Option<u64>,
    /// Digest of its haresources.
    pub digest: String,
    /// How many ping nodes it reaches, where that decides (`ping_arbitration`).
    pub reaches: Option<u64>,
    /// The number of the last word about maintenance, and how long it lasts yet, milliseconds.
    pub maintenance: Option<(u64, u64)>,
    /// After so long without a beat its watchdog resets it, milliseconds.
    pub watchdog_ms: Option<u64>,
}

impl Extension {
    fn fingerprint(&self, into: &mut Fingerprint) {
        let Self {
            hears_us,
            hears_generation,
            holding,
            settled,
            failed,
            held_at_loss,
            leftover,
            forfeits,
            question,
            answer,
            digest,
            reaches,
            maintenance,
            watchdog_ms,
        } = self;
        into.own_generation(hears_generation.unwrap_or_default());
        into.add((hears_us, holding, settled, failed, held_at_loss, leftover, forfeits));
        into.add((question, answer, digest, reaches));
        into.add((maintenance.map(|(version, _)| version), watchdog_ms));
    }
}

/// One node of the configuration.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name.
    pub name: NodeName,
    /// Identity, once heard.
    pub uuid: Option<Uuid>,
    /// Status.
    pub status: Status,
    /// Its links in configuration order.
    pub links: Vec<Link>,
    /// Its generation; 0 before the first packet.
    pub generation: Generation,
    /// Sequence tracking in this generation.
    pub received: Received,
    /// Its messages that wait for older ones.
    pub held: HeldBack,
    /// Sequence number of its newest status.
    pub status_sequence: SequenceNumber,
    /// `ts` of its newest status.
    pub status_ts: u64,
    /// When its newest status came; `None` when none came since it last died.
    pub last_status_ms: Option<u64>,
    /// When it became a member after the start of this node; `None` for one of the configuration.
    pub added_ms: Option<u64>,
    /// How long it may be silent (`dt`, bounded).
    pub dead_after_ms: u64,
    /// The keepalive residue on which we acknowledge it, 0 to 9.
    pub ack_trigger: u64,
    /// How far it acknowledged our messages.
    pub acknowledged: u64,
    /// Some verified packet came since it last died.
    pub heard: bool,
    /// The authkeys number it last signed with.
    pub key_index: Option<u8>,
    /// Our extra fields, if it sends them.
    pub extension: Option<Extension>,
    /// `weight`
    pub weight: u64,
    /// `site`
    pub site: String,
}

impl Node {
    /// A node nothing was heard of.
    pub fn new(name: NodeName, links: &[LinkName], dead_after_ms: u64, ack_trigger: u64) -> Self {
        let links =
            links.iter().map(|name| Link { name: name.clone(), up: false, last_packet_ms: None }).collect();
        Self {
            name,
            uuid: None,
            status: Status::Init,
            links,
            generation: Generation::default(),
            received: Received::default(),
            held: HeldBack::default(),
            status_sequence: SequenceNumber::default(),
            status_ts: 0,
            last_status_ms: None,
            added_ms: None,
            dead_after_ms,
            ack_trigger,
            acknowledged: 0,
            heard: false,
            key_index: None,
            extension: None,
            weight: WEIGHT_DEFAULT,
            site: String::new(),
        }
    }

    /// What decides, for [`Cluster::fingerprint`](super::Cluster::fingerprint).
    pub(super) fn fingerprint(&self, into: &mut Fingerprint) {
        let Self {
            name: _,
            uuid,
            status,
            links,
            generation,
            received,
            status_sequence,
            status_ts: _,
            last_status_ms,
            dead_after_ms,
            ack_trigger: _,
            acknowledged: _,
            heard,
            key_index,
            extension,
            weight: _,
            site: _,
            held,
            added_ms,
        } = self;
        into.add((uuid.is_some(), status, dead_after_ms, heard, key_index));
        for Link { name: _, up, last_packet_ms } in links {
            into.add(up);
            into.moment_if(last_packet_ms.filter(|_| *up), *dead_after_ms);
        }
        into.peer_generation(*generation);
        received.fingerprint(into);
        held.fingerprint(into);
        into.moment_if(*added_ms, 2 * *dead_after_ms);
        into.peer_number(status_sequence.0);
        into.moment_if(*last_status_ms, 2 * *dead_after_ms);
        into.add(extension.is_some());
        if let Some(extension) = extension {
            extension.fingerprint(into);
        }
    }

    /// What outlives a run of it.
    pub fn record(&self) -> HostRecord {
        let (name, uuid, weight, site) = (self.name.clone(), self.uuid, self.weight, self.site.clone());
        HostRecord { name, uuid, weight, site }
    }

    /// It counts as a live member: up or active.
    pub fn is_live(&self) -> bool {
        matches!(self.status, Status::Up | Status::Active)
    }

    /// It was declared dead.
    pub fn is_dead(&self) -> bool {
        self.status == Status::Dead
    }

    /// It speaks our extensions.
    pub fn is_ours(&self) -> bool {
        self.extension.is_some()
    }

    /// The earliest moment at which a silent link of it counts as dead.
    pub fn next_link_death_ms(&self) -> Option<u64> {
        self.links
            .iter()
            .filter(|link| link.up)
            .filter_map(|link| link.last_packet_ms)
            .map(|last| last + self.dead_after_ms)
            .min()
    }
}
