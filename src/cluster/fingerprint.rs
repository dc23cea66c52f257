//! Which cluster values decide alike from now on: for the exhaustive check (`tests/exhaustive`).
//!
//! Two values of one node with the same fingerprint answer every sequence of inputs with the same
//! outputs, but for what a fingerprint leaves out on purpose: log lines and their limits, counters
//! for people, the load text, acknowledgements as far as they only pause clients, and the spread of
//! retransmission requests by chance. Moments count relative to now and in steps of
//! [`Frame::grain_ms`], sequence numbers relative to the oldest that may still travel and to the
//! newest, generations relative to the present ones.
//!
//! Each room lists its own fields without `..`, so a new field does not compile before somebody
//! decided whether it is part of the fingerprint.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::types::Generation;
use crate::wire::message::{Message, Value};

use super::Cluster;

/// What moments, numbers and generations are relative to.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Monotonic milliseconds on this node's clock.
    pub now_ms: u64,
    /// Moments less than this apart count as one; at least 1.
    pub grain_ms: u64,
    /// Of this node's messages the oldest that is on its way or may be asked for again, and the
    /// newest.
    pub own_numbers: (u64, u64),
    /// The same of the peer's messages.
    pub peer_numbers: (u64, u64),
    /// This node's present generation.
    pub own_generation: Generation,
    /// The peer's present generation; its last one while it is down.
    pub peer_generation: Generation,
    /// As `own_numbers`, of this node's generation before the present one.
    pub own_former_numbers: (u64, u64),
    /// The same of the peer's.
    pub peer_former_numbers: (u64, u64),
}

/// Collects what decides a value's future.
#[derive(Debug)]
pub struct Fingerprint {
    frame: Frame,
    /// Numbers of the peer are of this generation of it.
    peer_life: Generation,
    hasher: DefaultHasher,
}

/// Distances of sequence numbers beyond this count as this.
const WINDOW: u64 = 10;

/// Moments further ahead count as this far: an hour that nobody waits out is for ever.
const FAR_MS: u64 = 60_000;

/// Fields of a message that nothing is decided by, or that follow from others.
const DULL: [&str; 6] = ["ts", "ld", "ttl", "srcuuid", "destuuid", "ackseq"];

impl Fingerprint {
    /// Nothing collected yet.
    pub fn new(frame: Frame) -> Self {
        Self { frame, peer_life: frame.peer_generation, hasher: DefaultHasher::new() }
    }

    /// Any value as it is.
    pub fn add(&mut self, value: impl Hash) {
        value.hash(&mut self.hasher);
    }

    /// A moment; how long ago counts up to `oldest_ms`.
    pub fn moment(&mut self, at_ms: u64, oldest_ms: u64) {
        let Frame { now_ms, grain_ms, .. } = self.frame;
        // Where the clock goes in such steps, what is due between two of them is due at the later one.
        let ahead = at_ms.saturating_sub(now_ms).min(FAR_MS).div_ceil(grain_ms);
        let behind = now_ms.saturating_sub(at_ms).min(oldest_ms) / grain_ms;
        self.add((ahead, behind));
    }

    /// The same, for one that may be absent.
    pub fn moment_if(&mut self, at_ms: Option<u64>, oldest_ms: u64) {
        self.add(at_ms.is_some());
        if let Some(at_ms) = at_ms {
            self.moment(at_ms, oldest_ms);
        }
    }

    /// Sequence numbers of the peer are those of this generation of it, from now on.
    pub fn peer_numbers_of(&mut self, generation: Generation) {
        self.peer_life = generation;
    }

    /// A sequence number of this node's present generation.
    pub fn own_number(&mut self, number: u64) {
        self.number_of(true, self.frame.own_generation, number);
    }

    /// A sequence number of the peer.
    pub fn peer_number(&mut self, number: u64) {
        self.number_of(false, self.peer_life, number);
    }

    /// A sequence number of a generation of this node (`own`) or of the peer.
    pub fn number_of(&mut self, own: bool, generation: Generation, number: u64) {
        let frame = &self.frame;
        let (present, numbers, former_numbers) = match own {
            true => (frame.own_generation, frame.own_numbers, frame.own_former_numbers),
            false => (frame.peer_generation, frame.peer_numbers, frame.peer_former_numbers),
        };
        self.add(place(number, if generation < present { former_numbers } else { numbers }));
    }

    /// A generation of this node as the peer or an old message knows it.
    pub fn own_generation(&mut self, generation: Generation) {
        self.add((generation.0 > 0, self.frame.own_generation.0.saturating_sub(generation.0).min(2)));
    }

    /// A generation of the peer.
    pub fn peer_generation(&mut self, generation: Generation) {
        self.add((generation.0 > 0, self.frame.peer_generation.0.saturating_sub(generation.0).min(2)));
    }

    /// A message of this node (`own`) or of the peer.
    pub fn message(&mut self, message: &Message, own: bool) {
        let life = Generation(message.hex("hg").unwrap_or(0));
        let other_life = if own { self.frame.peer_generation } else { self.frame.own_generation };
        for field in message.fields() {
            if DULL.contains(&field.name.as_str()) {
                continue;
            }
            self.add(field.name.as_str());
            match (field.name.as_str(), &field.value) {
                ("seq" | "firstseq", _) if message.kind() != "NS_rexmit" => {
                    self.number_of(own, life, message.hex(&field.name).unwrap_or(0));
                }
                ("firstseq" | "lastseq", _) => {
                    self.number_of(!own, other_life, message.decimal(&field.name).unwrap_or(0));
                }
                ("hg", _) => self.generation_of(own, life),
                ("hahg", _) => self.generation_of(!own, Generation(message.hex("hahg").unwrap_or(0))),
                (_, Value::Text(bytes)) => self.add(bytes),
                (_, value) => self.add(format!("{value:?}")),
            }
        }
    }

    /// A generation of this node (`own`) or of the peer.
    pub fn generation_of(&mut self, own: bool, generation: Generation) {
        if own {
            self.own_generation(generation);
        } else {
            self.peer_generation(generation);
        }
    }

    /// The result.
    pub fn finish(&self) -> u64 {
        self.hasher.finish()
    }

    /// Somebody may still ask for this message of this node. Of a long row that nobody got, the
    /// first and the last [`WINDOW`] stand for all.
    pub fn may_be_asked_for(&self, number: u64) -> bool {
        let (oldest, newest) = self.frame.own_numbers;
        let near_end = number < oldest.saturating_add(WINDOW) || number.saturating_add(WINDOW) > newest;
        number >= oldest && near_end
    }
}

/// How far a number is behind the oldest that matters and before the newest.
fn place(number: u64, (oldest, newest): (u64, u64)) -> (u64, u64) {
    let behind = (number + 1).saturating_sub(oldest).min(WINDOW);
    let before = if behind == 0 { 0 } else { newest.saturating_sub(number).min(WINDOW) };
    (behind, before)
}

impl Cluster {
    /// Adds everything that this value's decisions can depend on from now on.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self {
            settings,
            now: _,
            outputs,
            nodes,
            me,
            peer,
            pings,
            history,
            load: _,
            random: _,
            liveness,
            members,
            claims,
            takeover,
            original,
            lateness,
            handover,
            shutdown,
            jobs,
            legacy,
            services,
            maintenance,
            alarms: _,
            log_counts: _,
            dropped_packets: _,
            repeated_packets: _,
            clients_paused: _,
            believed_last: _,
            ended,
        } = self;
        into.add((me, peer, ended, outputs.len()));
        into.moment_if(self.next_timeout_ms(), 0);
        into.peer_numbers_of(self.known_peer_generation());
        for (index, node) in nodes.iter().enumerate() {
            if index != *me {
                node.fingerprint(into);
            }
        }
        into.add(nodes.get(*me).map(|node| &node.status));
        for ping in pings {
            ping.fingerprint(settings.dead_ping_ms, into);
        }
        history.fingerprint(settings.max_rexmit_delay_ms, into);
        liveness.fingerprint(self, into);
        claims.fingerprint(settings.keepalive_ms, into);
        takeover.fingerprint(into);
        members.fingerprint(into);
        original.fingerprint(settings.dead_time_ms, into);
        lateness.fingerprint(into);
        services.fingerprint(into);
        maintenance.fingerprint(into);
        handover.fingerprint(into);
        shutdown.fingerprint(into);
        jobs.fingerprint(into);
        legacy.fingerprint(into);
    }

    /// The oldest number of the peer's messages that may still be news here: one that is missing,
    /// else the next. `None` while nothing of the peer's present life came.
    pub fn oldest_awaited_number(&self) -> Option<u64> {
        let peer = self.peer.map(|index| &self.nodes[index])?;
        peer.received.complete_up_to().map(|number| number + 1)
    }

    /// The generation of the peer that this node knows.
    pub fn known_peer_generation(&self) -> Generation {
        self.peer().map(|peer| peer.generation).unwrap_or_default()
    }
}
