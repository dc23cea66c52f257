//! What must hold in every state, judged from the ground truth alone.
//!
//! **One owner.** No group is present (starting, active, stopping) on two hosts with power. The
//! only excuse is a *broken world*: a direction counts as broken while a running receiver has had
//! no fresh `status` of a sender that should run for deadtime (initdead when it never had one in
//! its life); this is what lost messages, cuts, pauses and killed daemons end in. The world counts
//! as broken from then on until no direction is broken, both daemons are settled, their claims fit
//! each other, and nothing is present twice. It is broken too while an original starts what a former
//! life of its peer gave it, for it does not claim that before it is done. That two owners do not last is the matter of `settle`.
//!
//! **A late node.** After a pause in which its beats stayed out for deadtime, a host begins to
//! release what it has within [`LATE_MS`] when the other one has it too, unless a packet sent after
//! the pause began shows that the other one did not take it, or the host thought itself alone
//! before the pause.
//!
//! **Words follow deeds.** No message says that a group is given away while it is present here, and
//! no daemon ends by its own decision with something active.
//!
//! **One job at a time** works on a group.

use ha_core::cluster::event::Job;
use ha_core::cluster::fingerprint::Fingerprint;
use ha_core::types::{Generation, ResourceSet};
use ha_core::wire::message::Message;

use crate::daemon::Daemon;
use crate::host::{groups, Host, RunningJob};
use crate::world::{Packet, World, DEAD_TIME_MS, GRAIN_MS, INIT_DEAD_MS, KEEPALIVE_MS};

/// Time a late node has to begin its release.
const LATE_MS: u64 = 2 * KEEPALIVE_MS + 2 * GRAIN_MS;

/// One direction of the heartbeat, by sender.
#[derive(Debug, Clone, Copy, Default)]
struct Direction {
    /// Last fresh status that the receiver handled, or when waiting began.
    heard_ms: u64,
    /// The receiver had one in its present life.
    ever: bool,
    /// Newest generation and number of a status.
    newest: (u64, u64),
}

impl Direction {
    fn limit_ms(self) -> u64 {
        if self.ever {
            DEAD_TIME_MS
        } else {
            INIT_DEAD_MS
        }
    }
}

/// What the rules remember.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    directions: [Direction; 2],
    /// The world counts as broken.
    pub broken: bool,
    /// Per host and group: no longer served after this moment; and the pause's begin.
    late: [[Option<(u64, u64)>; 2]; 2],
}

impl Watch {
    /// Nothing happened yet.
    pub fn new(now_ms: u64) -> Self {
        let quiet = Direction { heard_ms: now_ms, ..Direction::default() };
        Self { directions: [quiet; 2], broken: false, late: [[None; 2]; 2] }
    }

    /// A daemon begins: it has heard nobody, nobody can have missed it yet.
    pub fn daemon_started(&mut self, now_ms: u64, host: usize) {
        let to_us = &mut self.directions[1 - host];
        *to_us = Direction { heard_ms: now_ms, ever: false, newest: to_us.newest };
        let from_us = &mut self.directions[host];
        if now_ms - from_us.heard_ms >= from_us.limit_ms() {
            from_us.heard_ms = now_ms;
        }
        self.late[host] = [None; 2];
    }

    /// A daemon is gone.
    pub fn daemon_ended(&mut self, host: usize) {
        self.late[host] = [None; 2];
    }

    /// A daemon is about to handle a packet.
    pub fn heard(&mut self, now_ms: u64, host: usize, packet: &Packet) {
        let proof = self.proof(host, packet);
        for (late, proved) in self.late[host].iter_mut().zip(proof) {
            if proved {
                *late = None;
            }
        }
        let direction = &mut self.directions[1 - host];
        let number = |name| packet.message.hex(name).unwrap_or(0);
        let newest = (number("hg"), number("seq"));
        if packet.message.kind() == "status" && newest > direction.newest {
            *direction = Direction { heard_ms: now_ms, ever: true, newest };
        }
    }

    /// A host goes on after a pause, and has not yet handled anything.
    pub fn thawed(&mut self, now_ms: u64, host: usize, since_ms: u64, hosts: &[Host; 2]) {
        let this = &hosts[host];
        let heard_ms = self.directions[1 - host].heard_ms;
        let alone = since_ms.saturating_sub(heard_ms) >= DEAD_TIME_MS;
        if this.daemon.is_none() || now_ms - this.beat_ms < DEAD_TIME_MS || alone {
            return;
        }
        for group in 0..2 {
            if this.has(group) {
                self.late[host][group] = Some((now_ms + LATE_MS, since_ms));
            }
        }
    }

    /// What a packet would prove to a host that has to let go unless it need not; per group.
    pub fn proof(&self, host: usize, packet: &Packet) -> [bool; 2] {
        [0, 1].map(|group: usize| {
            let late = self.late[host][group];
            !packet.present[group] && late.is_some_and(|(_, since_ms)| packet.sent_ms > since_ms)
        })
    }

    /// A child is about to begin.
    pub fn job_started(&self, host: usize, job: &RunningJob, this: &Host) -> Result<(), String> {
        let announces = |job: &RunningJob| matches!(job.work, Job::Announce(_));
        let overlaps = |other: &&RunningJob| {
            !announces(other) && !announces(job) && other.work.set().intersects(job.work.set())
        };
        match this.jobs.iter().find(overlaps) {
            Some(other) => Err(format!("node{}: {:?} began during {:?}", host + 1, job.work, other.work)),
            None => Ok(()),
        }
    }

    /// A daemon says something for the first time.
    pub fn check_words(host: usize, message: &Message, this: &mut Host) -> Result<(), String> {
        let info = message.text("info").unwrap_or("");
        let set = || message.text("rsc_hold").and_then(|word| word.parse::<ResourceSet>().ok());
        let given_away = match message.kind() {
            "shutdone" => ResourceSet::ALL,
            "resource" if message.text("rtype") == Some("full") => {
                let last_word = message.text("isstable") == Some("1");
                let claimed = set().unwrap_or_default();
                if last_word {
                    ResourceSet::ALL.minus(claimed)
                } else {
                    ResourceSet::NONE
                }
            }
            "ask_resources" => {
                match info {
                    "me" => this.giving = true,
                    "other" => this.giving = false,
                    _ => {}
                }
                let released = info == "done" && this.giving;
                if released {
                    set().unwrap_or(ResourceSet::ALL)
                } else {
                    ResourceSet::NONE
                }
            }
            _ => return Ok(()),
        };
        match groups(host, given_away).find(|group| this.has(*group)) {
            None => Ok(()),
            Some(group) => Err(format!(
                "node{} says '{} {} {info}' while group {} is {:?} there",
                host + 1,
                message.kind(),
                message.text("rsc_hold").unwrap_or(""),
                group + 1,
                this.groups[group]
            )),
        }
    }

    fn is_silent(&self, now_ms: u64, from: usize, hosts: &[Host; 2]) -> bool {
        let counts = |host: &Host| host.powered && (host.daemon.is_some() || host.killed);
        let direction = self.directions[from];
        let silent = now_ms.saturating_sub(direction.heard_ms) >= direction.limit_ms();
        counts(&hosts[from]) && counts(&hosts[1 - from]) && silent
    }

    /// What of this memory decides the future.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        into.add(self.broken);
        for (from, direction) in self.directions.iter().enumerate() {
            let Direction { heard_ms, ever, newest: (generation, number) } = *direction;
            into.add(ever);
            into.moment(heard_ms, direction.limit_ms());
            into.generation_of(from == 0, Generation(generation));
            into.number_of(from == 0, Generation(generation), number);
        }
        for (until_ms, _) in self.late.iter().flatten().flatten() {
            into.moment(*until_ms, 0);
        }
        into.add(self.late.map(|host| host.map(|late| late.is_some())));
    }
}

impl World {
    /// After every action.
    pub fn check(&mut self) -> Result<(), String> {
        let silent = (0..2).any(|from| self.watch.is_silent(self.now_ms, from, &self.hosts));
        let doubled = |group: &usize| self.hosts.iter().all(|host| host.has(*group));
        let double = (0..2).find(doubled);
        let from_former =
            self.hosts.iter().filter_map(|host| host.daemon.as_ref()).any(Daemon::takes_from_former_peer);
        if silent || from_former {
            self.watch.broken = true;
        } else if self.watch.broken && double.is_none() && self.is_settled() {
            self.watch.broken = false;
        }
        self.update_late();
        if let Some(group) = double {
            let states = [0, 1].map(|host| self.hosts[host].groups[group]);
            if !self.watch.broken {
                let [first, second] = states;
                return Err(format!("group {} has two owners: node1 {first:?}, node2 {second:?}", group + 1));
            }
            for host in 0..2 {
                let late = self.watch.late[host][group];
                if late.is_some_and(|(until_ms, _)| self.now_ms > until_ms) {
                    return Err(format!(
                        "node{} serves on after a pause that cost it group {}",
                        host + 1,
                        group + 1
                    ));
                }
            }
        }
        Ok(())
    }

    fn update_late(&mut self) {
        for host in 0..2 {
            let this = &self.hosts[host];
            for group in 0..2 {
                let late = &mut self.watch.late[host][group];
                if this.daemon.is_none() || !this.has(group) || this.is_releasing(host, group) {
                    *late = None;
                } else if let (Some((until_ms, _)), true) = (late, !this.jobs.is_empty()) {
                    *until_ms = self.now_ms + LATE_MS;
                }
            }
        }
    }
}
