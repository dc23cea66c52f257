//! What must hold after every event, judged from the ground truth alone.
//!
//! **One owner.** No group is present (starting, active, stopping) on two hosts at once. The
//! only excuse is that the world broke what the configuration relies on: a *direction* (sender to
//! receiver) counts as broken while a running receiver has had no fresh `status` of the sender for
//! deadtime (initdead when it never had one in its life). Loss, cuts, delay, pauses and dead
//! daemons all end in that; a host that is off breaks nothing. Two owners may *begin* only while a
//! direction is broken or [`settle_ms`](Checker) after, and must *end* within `settle_ms` after
//! the beginning, the last moment with both directions broken, or the last break: as long as one
//! direction works, whoever hears the other's claim has to give way. Time does not count while one
//! of the two is paused or has a child that hangs.
//!
//! **A late node.** After a pause in which its beats stayed out for deadtime, a host must begin to
//! release what it has within [`late_ms`](Checker), partition or not, unless a packet sent after
//! the pause began shows that the peer did not take it, or the host thought itself alone before.
//!
//! **Words follow deeds.** No message says that a group is given away while it is present here.
//!
//! **Beats.** A running daemon sends `status` in time; so silence is always the world's fault.

use ha_core::cluster::event::{ExitReason, Job, JobOutcome};
use ha_core::types::ResourceSet;
use ha_core::wire::message::Message;

use crate::agents::{groups, RunningJob};
use crate::group_state::GroupState;
use crate::host::Host;
use crate::watch_rules::WatchRules;
use crate::world::{Config, Delivery};

/// One direction of the heartbeat between two hosts.
#[derive(Debug, Clone, Copy, Default)]
struct Direction {
    /// Last fresh status that the receiver handled, or when waiting began.
    heard_ms: u64,
    /// The receiver had one in its present life.
    ever: bool,
    /// Newest generation and sequence number of a status.
    newest: (u64, u64),
    /// It was broken when the receiver's life began, and nothing has come since.
    deaf: bool,
    /// As found at the last step.
    broken: bool,
    /// Last step at which it was broken.
    broken_last_ms: Option<u64>,
    /// Last step at which it became broken.
    broke_ms: Option<u64>,
}

/// Two owners of one group, excused for a while.
#[derive(Debug, Clone, Copy)]
struct Episode {
    until_ms: u64,
}

/// The rules and what they need to remember.
#[derive(Debug)]
pub struct Checker {
    nodes: usize,
    dead_time_ms: u64,
    init_dead_ms: u64,
    beat_max_ms: u64,
    settle_ms: u64,
    late_ms: u64,
    directions: Vec<Direction>,
    episodes: Vec<Option<Episode>>,
    /// Per host and group: from when on the group may no longer be served, and the pause's begin.
    late: Vec<Option<(u64, u64)>>,
    /// Per host: from when on a missing beat counts.
    awake_ms: Vec<u64>,
    /// Per host: it asked for the standby under way.
    giving: Vec<bool>,
    /// Per host: newest generation and sequence number it sent; lower ones are repetitions.
    sent: Vec<(u64, u64)>,
    /// Per host: what it could not stop in this life.
    stop_failed: Vec<ResourceSet>,
    /// Per group: changes of its one owner.
    owner: Vec<Option<usize>>,
    moves: Vec<u32>,
    /// How often two owners were excused.
    pub episodes_seen: u32,
    watch: WatchRules,
    violation: Option<String>,
}

impl Checker {
    /// Bounds from the configuration of a run.
    pub fn new(config: &Config) -> Self {
        let (nodes, dead_time_ms) = (config.nodes, config.dead_time_ms);
        Self {
            nodes,
            dead_time_ms,
            init_dead_ms: config.init_dead_ms,
            beat_max_ms: config.keepalive_ms * 3 / 2 + config.tick_late_max_ms * 2 + 10,
            // the other's death or return is noticed (deadtime, and 2 s that a starting node adds
            // to it), said, repeated when lost, and carried out behind a job already at work
            settle_ms: 3 * dead_time_ms + 3_000 + 10 * config.keepalive_ms + 6 * config.job_max_ms,
            late_ms: 2 * config.keepalive_ms + 2 * config.tick_late_max_ms + 20,
            directions: vec![Direction::default(); nodes * nodes],
            episodes: vec![None; nodes],
            late: vec![None; nodes * nodes],
            awake_ms: vec![0; nodes],
            giving: vec![false; nodes],
            sent: vec![(0, 0); nodes],
            stop_failed: vec![ResourceSet::NONE; nodes],
            owner: vec![None; nodes],
            moves: vec![0; nodes],
            episodes_seen: 0,
            watch: WatchRules::new(nodes),
            violation: None,
        }
    }

    /// The first rule that was broken.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// A rule was broken; only the first is kept.
    pub fn fail(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// How often a group came to a new single owner.
    pub fn moves(&self, group: usize) -> u32 {
        self.moves[group]
    }

    /// Nothing of a group had two owners since the beginning.
    pub fn never_two_owners(&self) -> bool {
        self.episodes_seen == 0
    }

    /// A daemon's loop begins: it has heard nobody, nobody can have missed it yet.
    pub fn daemon_started(&mut self, now_ms: u64, host: usize) {
        for other in 0..self.nodes {
            let to_us = self.direction(other, host);
            let deaf = to_us.broken || to_us.deaf;
            // A life that heard nobody and is begun anew has waited since then.
            let never = !to_us.ever && to_us.heard_ms > 0;
            let heard_ms = if never { to_us.heard_ms } else { now_ms };
            *to_us = Direction { newest: to_us.newest, heard_ms, deaf, ..Direction::default() };
            // The other one's patience goes on, unless it ended while this host was off.
            let (dead_time_ms, init_dead_ms) = (self.dead_time_ms, self.init_dead_ms);
            let from_us = self.direction(host, other);
            let limit_ms = if from_us.ever { dead_time_ms } else { init_dead_ms };
            if !from_us.broken && now_ms - from_us.heard_ms >= limit_ms {
                from_us.heard_ms = now_ms;
            }
        }
        self.awake_ms[host] = now_ms;
        self.giving[host] = false;
        self.stop_failed[host] = ResourceSet::NONE;
        self.watch.begin_anew(host);
    }

    /// A running daemon is about to handle a packet.
    pub fn heard(&mut self, now_ms: u64, delivery: &Delivery) {
        for (group, present) in delivery.present_at_sender.iter().enumerate() {
            let late = &mut self.late[delivery.to * self.nodes + group];
            if !present && late.is_some_and(|(_, since_ms)| delivery.sent_ms > since_ms) {
                *late = None;
            }
        }
        if delivery.message.kind() != "status" {
            return;
        }
        let newest = numbers(&delivery.message);
        let direction = self.direction(delivery.from, delivery.to);
        // What a life hears first it cannot tell from a repetition.
        if newest > direction.newest || !direction.ever {
            let newest = newest.max(direction.newest);
            *direction = Direction { heard_ms: now_ms, ever: true, deaf: false, newest, ..*direction };
        }
    }

    /// A host goes on after a pause, and has not yet handled anything.
    pub fn thawed(&mut self, now_ms: u64, host: usize, since_ms: u64, hosts: &[Host]) {
        self.awake_ms[host] = now_ms;
        let Some(daemon) = &hosts[host].daemon else { return };
        if now_ms - daemon.last_beat_ms < self.dead_time_ms {
            return;
        }
        // Who thought itself alone before the pause may go on: a partition or a dead peer, and no
        // release would change what the checker excuses anyway.
        let dead_time_ms = self.dead_time_ms;
        // A life that has just begun claims nothing of what the one before left running: it looks after that
        // when it has heard somebody.
        let claims = |group: usize| {
            let set = if group == host { ResourceSet::LOCAL } else { ResourceSet::FOREIGN };
            daemon.cluster.holding().contains(set)
        };
        let alone = (0..self.nodes)
            .filter(|other| *other != host)
            .all(|other| since_ms.saturating_sub(self.direction(other, host).heard_ms) >= dead_time_ms);
        for group in 0..self.nodes {
            if hosts[host].kernel.groups[group].is_present() && claims(group) && !alone {
                self.late[host * self.nodes + group] = Some((now_ms + self.late_ms, since_ms));
            }
        }
    }

    /// A child is about to begin beside those already at work.
    pub fn job_started(&mut self, host: usize, job: &RunningJob, at_work: &[RunningJob]) {
        let overlaps = |other: &&RunningJob| {
            !matches!(other.work, Job::Announce(_))
                && other.groups.iter().any(|group| job.groups.contains(group))
        };
        if matches!(job.work, Job::Announce(_)) {
            return;
        }
        if let Some(other) = at_work.iter().find(overlaps) {
            let text = format!("node{}: {:?} began while {:?} was at work", host + 1, job.work, other.work);
            self.fail(text);
        }
    }

    /// The same, for the rules of [`crate::watch_rules`].
    pub fn watching(&mut self, now_ms: u64, host: usize, job: &RunningJob, this: &Host) {
        if let Some(text) = self.watch.begins(now_ms, host, job, this) {
            self.fail(text);
        }
    }

    /// A child's result is about to reach the daemon.
    pub fn job_ended(&mut self, host: usize, outcome: JobOutcome) {
        self.stop_failed[host] = self.stop_failed[host].union(outcome.stop_failed);
    }

    /// A daemon hands a message to the wires; `false` when it repeats an old one.
    pub fn sent(&mut self, host: usize, message: &Message, hosts: &[Host]) -> bool {
        let number = numbers(message);
        if number.1 != 0 && number <= self.sent[host] {
            return false;
        }
        self.sent[host] = self.sent[host].max(number);
        self.check_words(host, message, hosts);
        true
    }

    fn check_words(&mut self, host: usize, message: &Message, hosts: &[Host]) {
        let present: Vec<usize> =
            (0..self.nodes).filter(|group| hosts[host].kernel.groups[*group].is_present()).collect();
        let set = || message.text("rsc_hold").and_then(|word| word.parse::<ResourceSet>().ok());
        let info = message.text("info").unwrap_or("");
        let given_away: Vec<usize> = match message.kind() {
            "shutdone" => (0..self.nodes).collect(),
            "resource" if message.text("rtype") == Some("full") => {
                let claimed = groups(host, set().unwrap_or_default(), self.nodes);
                let final_word = message.text("isstable") == Some("1") || info == "shutdown";
                let after_failure = !self.stop_failed[host].is_empty();
                let lacking = (0..self.nodes).filter(|group| !claimed.contains(group));
                if final_word || after_failure {
                    lacking.collect()
                } else {
                    Vec::new()
                }
            }
            "ask_resources" => {
                match info {
                    "me" => self.giving[host] = true,
                    "other" => self.giving[host] = false,
                    _ => {}
                }
                let released = info == "done" && self.giving[host];
                if released {
                    groups(host, set().unwrap_or(ResourceSet::ALL), self.nodes)
                } else {
                    Vec::new()
                }
            }
            _ => return,
        };
        if let Some(group) = given_away.iter().find(|group| present.contains(group)) {
            let words = format!("{} {} {info}", message.kind(), message.text("rsc_hold").unwrap_or(""));
            self.fail(format!(
                "node{} says '{}' while group {} is {:?} there",
                host + 1,
                words.trim(),
                group + 1,
                hosts[host].kernel.groups[*group]
            ));
        }
    }

    /// A daemon ends by its own decision.
    pub fn exited(&mut self, host: usize, reason: ExitReason, hosts: &[Host]) {
        let present = hosts[host].kernel.groups.iter().any(|state| state.is_present());
        let must_be_clean = matches!(reason, ExitReason::Stopped | ExitReason::Restart);
        if must_be_clean && (present || !hosts[host].jobs.is_empty()) {
            self.fail(format!("node{} ended ({reason:?}) with something active or at work", host + 1));
        }
    }

    /// After every event.
    pub fn step(&mut self, now_ms: u64, hosts: &[Host]) {
        self.update_directions(now_ms, hosts);
        self.update_late(now_ms, hosts);
        self.watch.step(hosts);
        for group in 0..self.nodes {
            self.check_owner(now_ms, group, hosts);
        }
        self.check_beats(now_ms, hosts);
    }

    fn update_directions(&mut self, now_ms: u64, hosts: &[Host]) {
        let (dead_time_ms, init_dead_ms) = (self.dead_time_ms, self.init_dead_ms);
        for from in 0..self.nodes {
            for to in 0..self.nodes {
                let sender_counts =
                    hosts[from].powered && (hosts[from].daemon.is_some() || hosts[from].killed);
                let receiver_counts = hosts[to].powered && (hosts[to].daemon.is_some() || hosts[to].killed);
                let direction = self.direction(from, to);
                let limit_ms = if direction.ever { dead_time_ms } else { init_dead_ms };
                let silent = now_ms.saturating_sub(direction.heard_ms) >= limit_ms;
                let broken = from != to && sender_counts && receiver_counts && (silent || direction.deaf);
                if broken {
                    direction.broken_last_ms = Some(now_ms);
                    if !direction.broken {
                        direction.broke_ms = Some(now_ms);
                    }
                }
                direction.broken = broken;
            }
        }
    }

    fn update_late(&mut self, now_ms: u64, hosts: &[Host]) {
        for (host, this) in hosts.iter().enumerate() {
            for group in 0..self.nodes {
                let job = this.jobs.iter().find(|job| job.groups.contains(&group));
                let limit_ms = now_ms + self.late_ms;
                let late = &mut self.late[host * self.nodes + group];
                let begun = job.is_some_and(RunningJob::is_release);
                if !this.powered || this.daemon.is_none() || !this.kernel.groups[group].is_present() || begun
                {
                    *late = None;
                } else if let (Some((until_ms, _)), true) = (late, !this.jobs.is_empty() || !this.is_live()) {
                    // A release of everything waits for what is at work on the other group, and nobody does
                    // anything while the host stands still once more.
                    *until_ms = limit_ms;
                }
            }
        }
    }

    fn check_owner(&mut self, now_ms: u64, group: usize, hosts: &[Host]) {
        let owners: Vec<usize> = (0..self.nodes)
            .filter(|host| hosts[*host].powered && hosts[*host].kernel.groups[group].is_present())
            .collect();
        let [a, b] = match owners[..] {
            [a, b, ..] => [a, b],
            [one] if hosts[one].kernel.groups[group] == GroupState::Active => {
                if self.owner[group] != Some(one) {
                    self.owner[group] = Some(one);
                    self.moves[group] += 1;
                }
                self.episodes[group] = None;
                return;
            }
            _ => {
                self.episodes[group] = None;
                return;
            }
        };
        let there = *self.direction(a, b);
        let back = *self.direction(b, a);
        let recent =
            |at_ms: Option<u64>, within_ms: u64| at_ms.is_some_and(|at_ms| now_ms - at_ms <= within_ms);
        let excused = [there, back].iter().any(|one| recent(one.broken_last_ms, self.settle_ms));
        let state = (hosts[a].kernel.groups[group], hosts[b].kernel.groups[group]);
        if self.episodes[group].is_none() {
            if !excused {
                return self.fail(format!(
                    "group {} has two owners: node{} {:?}, node{} {:?}; beats {} and {} ms ago",
                    group + 1,
                    a + 1,
                    state.0,
                    b + 1,
                    state.1,
                    now_ms - there.heard_ms,
                    now_ms - back.heard_ms
                ));
            }
            self.episodes_seen += 1;
        }
        let mut episode = self.episodes[group].unwrap_or(Episode { until_ms: now_ms + self.settle_ms });
        let cut_off = there.broken && back.broken;
        let just_broke = recent(there.broke_ms, 0) || recent(back.broke_ms, 0);
        let covers = |job: &&RunningJob| job.is_release() && job.groups.contains(&group);
        let releasing = [a, b].iter().any(|host| hosts[*host].jobs.iter().any(|job| covers(&job)));
        let hanging = [a, b].iter().any(|host| hosts[*host].jobs.iter().any(|job| job.ends_at_ms.is_none()));
        let paused = [a, b].iter().any(|host| !hosts[*host].is_live());
        if cut_off || just_broke || hanging || paused {
            episode.until_ms = now_ms + self.settle_ms;
        }
        self.episodes[group] = Some(episode);
        if now_ms > episode.until_ms && !releasing {
            self.fail(format!(
                "group {} still has two owners after the excuse ended: node{} {:?}, node{} {:?}",
                group + 1,
                a + 1,
                state.0,
                b + 1,
                state.1
            ));
        }
        self.check_late(now_ms, group, [a, b]);
    }

    /// Rule 1: a node that was paused for too long has let go by now.
    fn check_late(&mut self, now_ms: u64, group: usize, owners: [usize; 2]) {
        for host in owners {
            if self.late[host * self.nodes + group].is_some_and(|(until_ms, _)| now_ms > until_ms) {
                self.fail(format!(
                    "node{} serves on after a pause that cost it group {}",
                    host + 1,
                    group + 1
                ));
            }
        }
    }

    fn check_beats(&mut self, now_ms: u64, hosts: &[Host]) {
        for (host, this) in hosts.iter().enumerate() {
            let Some(daemon) = this.daemon.as_ref().filter(|_| this.is_live()) else { continue };
            let silent_ms = now_ms - daemon.last_beat_ms.max(self.awake_ms[host]);
            if silent_ms > self.beat_max_ms {
                self.fail(format!("node{} runs but sent no beat for {silent_ms} ms", host + 1));
            }
        }
    }

    fn direction(&mut self, from: usize, to: usize) -> &mut Direction {
        &mut self.directions[from * self.nodes + to]
    }
}

/// Generation and sequence number, 0 where there is none.
fn numbers(message: &Message) -> (u64, u64) {
    (message.hex("hg").unwrap_or(0), message.hex("seq").unwrap_or(0))
}
