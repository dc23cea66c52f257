//! What the guards of a world ask: a shared disk, watchdogs, an arbiter, ping nodes, neighbours.
//!
//! A write to the disk lands at a moment of its own between question and answer, also when the host
//! stands still or loses its power meanwhile; a disk that hangs for a host keeps its requests and serves
//! them when it does not hang any more.

use ha_core::cluster::event::{ArbiterVerb, Finding, Input, Question, QuestionId};
use ha_core::cluster::settings::{
    ArbiterSettings, AskSettings, LeaseSettings, PingSettings, TakeoverSettings, WatchdogDevice,
};
use ha_core::types::lease::LeaseRecord;
use ha_core::types::NodeName;

use crate::agents::groups;
use crate::outside::Then;
use crate::world::{Event, World};

/// How often something that cannot happen now is tried again.
const AGAIN_MS: u64 = 10;

/// What a pair of this world is configured with; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Guarding {
    /// `lease`
    pub lease: Option<LeaseSettings>,
    /// `watchdog`: resets a host whose daemon stood still for so long.
    pub watchdog_ms: Option<u64>,
    /// What the device says that it does, where that is not what it was asked for.
    pub device: Option<WatchdogDevice>,
    /// `lease` in the file of the second node, where it has another time.
    pub other_lease: Option<LeaseSettings>,
    /// `arbiter`
    pub arbiter: Option<ArbiterSettings>,
    /// Ping nodes, with `ping_arbitration on`.
    pub pings: usize,
    /// `ask_before_take`
    pub ask: Option<AskSettings>,
    /// `resource_fence`
    pub resource_fence: bool,
}

impl Guarding {
    /// A lease, and a watchdog where told so, as `ha check` asks for it with this deadtime.
    pub fn lease(dead_time_ms: u64, watchdog: bool) -> Self {
        let watchdog_ms = dead_time_ms + 100;
        let time_ms = 3 * watchdog_ms;
        let lease = LeaseSettings {
            time_ms,
            interval_ms: time_ms / 10,
            margin_ms: time_ms / 10,
            watchdog_ms: if watchdog { watchdog_ms } else { 0 },
        };
        Self { lease: Some(lease), watchdog_ms: watchdog.then_some(watchdog_ms), ..Self::default() }
    }

    /// An arbiter with the times that follow from this deadtime.
    pub fn arbiter(dead_time_ms: u64) -> Self {
        let wait_ms = dead_time_ms + 200;
        let arbiter = ArbiterSettings {
            ttl_ms: 4 * wait_ms,
            interval_ms: wait_ms / 4,
            wait_ms,
            keeps_unreachable: false,
        };
        Self { arbiter: Some(arbiter), ..Self::default() }
    }

    /// Adds what daemons are configured with.
    pub fn settings(&self, host: usize, settings: &mut TakeoverSettings) {
        settings.lease = self.other_lease.filter(|_| host == 1).or(self.lease);
        settings.arbiter = self.arbiter;
        settings.ping_arbitration = self.pings > 0;
        settings.ask_before_take = self.ask;
        settings.resource_fence = self.resource_fence;
    }

    /// The ping nodes by name.
    pub fn pings(&self) -> Vec<PingSettings> {
        (0..self.pings)
            .map(|ping| PingSettings { name: ping_name(ping), info: "ping", nodes_before: 2 })
            .collect()
    }
}

fn ping_name(ping: usize) -> NodeName {
    NodeName::new(&format!("gateway{}", ping + 1)).expect("a valid name")
}

/// A fault around the guards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The disk answers nothing.
    DiskHangs,
    /// The disk answers with errors.
    DiskFails,
    /// What was on the disk is damaged: none of the words there can be read until they are written anew.
    WordsDamaged,
    /// No way to the arbiter.
    NoArbiter,
    /// No way to any ping node.
    NoPings,
    /// No way to the network of the addresses.
    NoLan,
    /// The program of resource fencing fails.
    NoFence,
}

/// One word on the disk.
#[derive(Debug, Clone, Copy)]
struct Word {
    record: LeaseRecord,
    /// The host's boot.
    boot: u64,
    began_ms: u64,
}

/// What is true of all that.
#[derive(Debug, Default)]
pub struct Surroundings {
    disk: [Option<Word>; 2],
    boots: [u64; 2],
    /// When each watchdog was fed last; `None`: disarmed.
    fed_ms: [Option<u64>; 2],
    token: Option<(usize, u64)>,
    troubles: [Vec<Trouble>; 2],
}

impl Surroundings {
    fn has(&self, host: usize, trouble: Trouble) -> bool {
        self.troubles[host].contains(&trouble)
    }

    pub(crate) fn set(&mut self, host: usize, trouble: Trouble, on: bool) {
        self.troubles[host].retain(|other| *other != trouble);
        if on {
            self.troubles[host].push(trouble);
        }
    }

    pub(crate) fn heal(&mut self) {
        self.troubles = [Vec::new(), Vec::new()];
    }

    /// The host lost its power.
    pub(crate) fn crashed(&mut self, host: usize) {
        self.boots[host] += 1;
        self.fed_ms[host] = None;
    }

    /// The daemon said the magic word.
    pub(crate) fn disarm(&mut self, host: usize) {
        self.fed_ms[host] = None;
    }
}

/// One step of a child at the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskStep {
    /// What is still to be written.
    word: Option<LeaseRecord>,
    asked_ms: u64,
    boot: u64,
}

impl World {
    pub(crate) fn beat(&mut self, host: usize) {
        let Some(watchdog_ms) = self.config.outside.guards.watchdog_ms else { return };
        self.surroundings.fed_ms[host] = Some(self.now_ms);
        self.push(self.now_ms + watchdog_ms, Event::Watchdog { host, fed_ms: self.now_ms });
    }

    /// The watchdog's time is over, unless it was fed meanwhile.
    pub(crate) fn watchdog(&mut self, host: usize, fed_ms: u64) {
        if self.surroundings.fed_ms[host] == Some(fed_ms) && self.hosts[host].powered {
            self.table.row(self.now_ms, &self.hosts, || format!("** watchdog resets node{}", host + 1));
            self.crash(host);
            self.start(host);
        }
    }

    /// Ping nodes answer, for as long as this daemon lives.
    pub(crate) fn pings_answer(&mut self, host: usize, life: u64) {
        if self.hosts[host].life != life || self.hosts[host].daemon.is_none() {
            return;
        }
        let reachable = !self.surroundings.has(host, Trouble::NoPings);
        if reachable && self.hosts[host].is_live() {
            for ping in 0..self.config.outside.guards.pings {
                self.feed(host, Input::PingAnswer { node: ping_name(ping) });
            }
        }
        if self.hosts[host].life == life {
            self.push(self.now_ms + self.config.keepalive_ms, Event::Pings { host, life });
        }
    }

    /// `None`: it is none of the guards' questions.
    pub(crate) fn ask_guards(&mut self, host: usize, question: QuestionId, what: &Question) -> Option<()> {
        let after_ms = self.random.between(1, 8);
        let life = self.hosts[host].life;
        match what {
            Question::Fence { .. } | Question::FenceDevice { .. } | Question::Monitor { .. } => return None,
            Question::Lease { word } => {
                let boot = self.surroundings.boots[host];
                let step = DiskStep { word: *word, asked_ms: self.now_ms, boot };
                self.push(self.now_ms + after_ms, Event::Disk { host, question, life, step });
                return Some(());
            }
            Question::Arbiter { verb } => {
                let answer = self.arbiter(host, *verb);
                self.push(
                    self.now_ms + after_ms,
                    Event::Outside { host, question, life, then: Then::Say(answer) },
                );
            }
            Question::Address { set } => {
                let wanted = groups(host, *set, self.config.nodes);
                let heard = |other: &usize| {
                    let apart = [host, *other].iter().any(|one| self.surroundings.has(*one, Trouble::NoLan));
                    let there = &self.hosts[*other];
                    let has = wanted.iter().any(|group| there.kernel.groups[*group].is_present());
                    *other != host && there.is_live() && has && !apart
                };
                let answer = match (0..self.hosts.len()).find(heard) {
                    Some(other) => Finding::No(format!("node{} answers", other + 1)),
                    None => Finding::Found("nobody answers".to_owned()),
                };
                self.push(
                    self.now_ms + after_ms,
                    Event::Outside { host, question, life, then: Then::Say(answer) },
                );
            }
            Question::Resource { .. } => {
                let then = match self.surroundings.has(host, Trouble::NoFence) {
                    true => Then::Say(Finding::Failed("no such port".to_owned())),
                    false => {
                        // What serves from there serves nobody any more: as good as gone.
                        let gone = Then::Reset { victim: 1 - host, comes_back: true, under_way: false };
                        self.push(
                            self.now_ms + after_ms,
                            Event::Outside { host, question, life, then: gone },
                        );
                        Then::Say(Finding::Yes)
                    }
                };
                self.push(self.now_ms + after_ms, Event::Outside { host, question, life, then });
            }
        }
        Some(())
    }

    fn arbiter(&mut self, host: usize, verb: ArbiterVerb) -> Finding {
        let Some(settings) = self.config.outside.guards.arbiter else { return Finding::Yes };
        if self.surroundings.has(host, Trouble::NoArbiter) {
            return Finding::Failed("no answer".to_owned());
        }
        let token = self.surroundings.token.filter(|(_, at_ms)| self.now_ms < at_ms + settings.ttl_ms);
        let mine = token.is_some_and(|(holder, _)| holder == host);
        let yes = match verb {
            ArbiterVerb::Acquire => token.is_none() || mine,
            ArbiterVerb::Renew => mine,
            ArbiterVerb::Release => {
                if mine {
                    self.surroundings.token = None;
                }
                return Finding::Yes;
            }
        };
        if yes {
            self.surroundings.token = Some((host, self.now_ms));
            return Finding::Yes;
        }
        Finding::No("the other one has it".to_owned())
    }

    /// A child at the disk: first its word lands, then it reads, then it says what it found.
    pub(crate) fn disk(&mut self, host: usize, question: QuestionId, life: u64, step: DiskStep) {
        let hangs = self.surroundings.has(host, Trouble::DiskHangs);
        // In the controller already: it lands whatever becomes of the host, or is lost with it.
        let alive = self.surroundings.boots[host] == step.boot;
        if hangs && alive {
            return self.push(self.now_ms + AGAIN_MS, Event::Disk { host, question, life, step });
        }
        let fails = self.surroundings.has(host, Trouble::DiskFails);
        if let Some(record) = step.word.filter(|_| !fails) {
            if alive || self.random.chance(500) {
                self.surroundings.set(host, Trouble::WordsDamaged, false);
                self.surroundings.disk[host] =
                    Some(Word { record, boot: step.boot, began_ms: step.asked_ms });
            }
        }
        if !alive || self.hosts[host].life != life {
            return;
        }
        if let (Some(_), false) = (step.word, fails) {
            let read = DiskStep { word: None, ..step };
            let after_ms = self.random.between(0, 6);
            let event = Event::DiskRead { host, question, life, step: read, wrote: step.word };
            return self.push(self.now_ms + after_ms, event);
        }
        self.disk_read(host, question, life, step, None);
    }

    pub(crate) fn disk_read(
        &mut self,
        host: usize,
        question: QuestionId,
        life: u64,
        step: DiskStep,
        wrote: Option<LeaseRecord>,
    ) {
        if self.surroundings.boots[host] != step.boot || self.hosts[host].life != life {
            return;
        }
        let stands = self.hosts[host].paused_since_ms.is_some();
        if stands || self.surroundings.has(host, Trouble::DiskHangs) {
            let again = Event::DiskRead { host, question, life, step, wrote };
            return self.push(self.now_ms + AGAIN_MS, again);
        }
        let answer = if self.surroundings.has(host, Trouble::DiskFails) {
            Finding::Failed("input/output error".to_owned())
        } else {
            Finding::Found(self.words(host, wrote))
        };
        let after_ms = self.random.between(0, 6);
        self.push(self.now_ms + after_ms, Event::Outside { host, question, life, then: Then::Say(answer) });
    }

    fn words(&self, host: usize, wrote: Option<LeaseRecord>) -> String {
        let own = match (wrote, self.surroundings.disk[host]) {
            (Some(record), _) => format!("{record} 0"),
            (None, None) => "none".to_owned(),
            (None, Some(word)) if word.boot == self.surroundings.boots[host] => {
                format!("{} {}", word.record, self.now_ms - word.began_ms)
            }
            (None, Some(word)) => format!("{} -", word.record),
        };
        let peer = self.surroundings.disk[1 - host].map_or("none".to_owned(), |word| word.record.to_string());
        let damaged = |of: usize| self.surroundings.has(of, Trouble::WordsDamaged);
        let own = if wrote.is_none() && damaged(host) { "unreadable".to_owned() } else { own };
        let peer = if damaged(1 - host) { "unreadable".to_owned() } else { peer };
        format!("own {own} peer {peer}")
    }
}
