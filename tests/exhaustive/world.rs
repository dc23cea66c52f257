//! One state of the pair, and everything that can happen next.
//!
//! Time is virtual. It moves only when a timer fires, to the moment that timer is due, in steps of
//! [`GRAIN_MS`]; timers that are due within one step of each other may fire in either order. Time does not move past the
//! longest delay of a message ([`Config::delay_max_ms`]), of a job or of a pause. A message is
//! delivered, or lost within the budget, in the order of its direction. Messages to a host without
//! a running daemon, and over a cut, are gone; those that came to a host that stood still are read
//! before anything else when it goes on.
//!
//! Acknowledgements (`NS_ackmsg`) are not carried: they only pause clients and shorten memory.

use std::collections::VecDeque;
use std::sync::Arc;

use ha_core::cluster::event::{Command, ExitReason, Input, Job, Output, RequestId};
use ha_core::cluster::fingerprint::{Fingerprint, Frame};
use ha_core::cluster::settings::ClusterSettings;
use ha_core::types::{Generation, LinkName, NodeName, Uuid};
use ha_core::wire::message::Message;

use crate::config::{Budget, Config, Kind};
use crate::daemon::Daemon;
use crate::group_state::GroupState;
use crate::host::{groups, End, Host, RunningJob};
use crate::rules::Watch;

/// `keepalive`: as long as possible beside the fixed times of the protocol, for few timers.
pub const KEEPALIVE_MS: u64 = 2_000;
/// `deadtime` and `initdead`
pub const DEAD_TIME_MS: u64 = 5_000;
pub const INIT_DEAD_MS: u64 = 6_000;
/// The clock goes in such steps: what is due between two of them happens at the later one.
pub const GRAIN_MS: u64 = 100;
/// Packets a paused host's socket keeps.
const INBOX_MAX: usize = 12;
/// Virtual time of the beginning.
const BEGIN_MS: u64 = 100_000;
/// Time a quick restart takes.
const EXEC_MS: u64 = 200;

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The oldest message on its way to the host arrives.
    Deliver(usize),
    /// It is lost.
    Lose(usize),
    /// The host's daemon looks at its timers, which are due.
    Tick(usize),
    /// The job at that place of the host's list ends.
    Finish(usize, usize, End),
    /// Power on and start the daemon, or only the daemon where the power is on.
    Start(usize),
    /// A daemon that asked for it is started again.
    Restart(usize),
    /// Power off.
    Crash(usize),
    /// `kill -9` of the daemon.
    Kill(usize),
    /// The host stands still.
    Pause(usize),
    /// It goes on.
    Thaw(usize),
    /// What the host sends does not arrive any more.
    Cut(usize),
    /// It does again.
    Mend(usize),
    /// A person asks: place in [`Config::commands`].
    Ask(usize),
}

/// A message under way.
#[derive(Debug, Clone)]
pub struct Packet {
    /// What.
    pub message: Arc<Message>,
    /// When it left.
    pub sent_ms: u64,
    /// Which groups were present at its sender then.
    pub present: [bool; 2],
}

/// Everything at one moment.
#[derive(Debug, Clone)]
pub struct World {
    /// Fixed.
    pub config: Arc<Config>,
    /// Virtual time.
    pub now_ms: u64,
    /// The pair.
    pub hosts: [Host; 2],
    /// Messages under way, by sender.
    pub wires: [VecDeque<Packet>; 2],
    /// Direction cut, by sender.
    pub cut: [bool; 2],
    /// What may still go wrong.
    pub budget: Budget,
    /// The rules' memory.
    pub watch: Watch,
    /// What is sent now was sent before.
    pub answers_request: bool,
    /// What daemons said for the first time, kept while a recording is compared.
    pub said: Option<Vec<(usize, Message)>>,
    /// What daemons wanted, for people: kept while a trace is printed.
    pub notes: Option<Vec<(usize, String)>>,
}

impl World {
    /// Two hosts without power.
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            now_ms: BEGIN_MS,
            hosts: [Host::new(), Host::new()],
            wires: [VecDeque::new(), VecDeque::new()],
            cut: [false; 2],
            budget: Budget::default(),
            watch: Watch::new(BEGIN_MS),
            answers_request: false,
            said: None,
            notes: None,
        }
    }

    // ---- what can happen -----------------------------------------------------------------

    /// Everything possible now, harmless things first.
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = self.fair_actions();
        for host in 0..2 {
            self.add_accidents(host, &mut actions);
        }
        if self.budget.commands > 0 {
            let asks = self.config.commands.iter().enumerate();
            let serving = asks.filter(|(_, (host, command))| self.may_be_asked(*host, *command));
            actions.extend(serving.map(|(at, _)| Action::Ask(at)));
        }
        actions
    }

    /// What happens without accidents: messages, jobs, timers, and the end of accidents.
    pub fn fair_actions(&self) -> Vec<Action> {
        let mut actions = Vec::with_capacity(16);
        for host in 0..2 {
            let this = &self.hosts[host];
            if this.is_serving() && !self.wires[1 - host].is_empty() {
                actions.push(Action::Deliver(host));
            }
            if this.paused_since_ms.is_some() {
                actions.push(Action::Thaw(host));
            } else {
                let ends = (0..this.jobs.len()).filter(|job| !self.outlasts(host, *job));
                actions.extend(ends.map(|job| Action::Finish(host, job, End::Well)));
            }
            if self.cut[host] {
                actions.push(Action::Mend(host));
            }
        }
        actions.extend((0..2).filter_map(|host| self.timer_action(host)));
        actions
    }

    fn add_accidents(&self, host: usize, actions: &mut Vec<Action>) {
        let (this, budget) = (&self.hosts[host], &self.budget);
        if this.is_serving() {
            if budget.losses > 0 && !self.wires[1 - host].is_empty() {
                actions.push(Action::Lose(host));
            }
            if budget.kills > 0 {
                actions.push(Action::Kill(host));
            }
            if budget.pauses > 0 {
                actions.push(Action::Pause(host));
            }
            for (at, job) in this.jobs.iter().enumerate().filter(|(at, _)| !self.outlasts(host, *at)) {
                for group in groups(host, job.work.set()) {
                    match this.groups[group] {
                        GroupState::Starting if budget.start_failures > 0 => {
                            actions.push(Action::Finish(host, at, End::NoStart(group)));
                        }
                        GroupState::Stopping if budget.stop_failures > 0 => {
                            actions.push(Action::Finish(host, at, End::NoStop(group)));
                        }
                        _ => {}
                    }
                }
            }
        }
        if this.powered && budget.crashes > 0 {
            actions.push(Action::Crash(host));
        }
        if this.daemon.is_none() && this.restart_ms.is_none() {
            actions.push(Action::Start(host));
        }
        if budget.cuts > 0 && !self.cut[host] {
            actions.push(Action::Cut(host));
        }
    }

    /// The host's earliest timer, if it may fire before everybody else's.
    fn timer_action(&self, host: usize) -> Option<Action> {
        let due_ms = self.timer_ms(host)?.max(self.now_ms);
        let other_ms = self.timer_ms(1 - host).unwrap_or(u64::MAX);
        if due_ms > other_ms.max(self.now_ms).saturating_add(GRAIN_MS) || due_ms > self.patience_ms() {
            return None;
        }
        Some(if self.hosts[host].daemon.is_some() { Action::Tick(host) } else { Action::Restart(host) })
    }

    fn timer_ms(&self, host: usize) -> Option<u64> {
        let this = &self.hosts[host];
        if this.paused_since_ms.is_some() {
            return None;
        }
        let due_ms = match &this.daemon {
            Some(daemon) => daemon.next_timeout_ms(),
            None => this.restart_ms,
        };
        due_ms.map(|due_ms| due_ms.next_multiple_of(GRAIN_MS))
    }

    /// The latest moment at which nothing has lasted too long.
    fn patience_ms(&self) -> u64 {
        let config = &self.config;
        let mut latest_ms = u64::MAX;
        for host in 0..2 {
            let this = &self.hosts[host];
            if let Some(since_ms) = this.paused_since_ms {
                latest_ms = latest_ms.min(since_ms + config.pause_max_ms);
                continue;
            }
            for job in &this.jobs {
                let job_max_ms = if self.looks(host, job) { 0 } else { config.job_max_ms };
                latest_ms = latest_ms.min((job.began_ms + job_max_ms).max(self.now_ms));
            }
            if let Some(packet) = self.wires[1 - host].front() {
                latest_ms = latest_ms.min((packet.sent_ms + config.delay_max_ms).max(self.now_ms));
            }
        }
        latest_ms
    }

    /// An original that is reloaded in the middle of a child's work claims what it has not started, and
    /// one that is asked (by a command of ours too) while a child looks starts what it gives away.
    fn may_be_asked(&self, host: usize, command: Command) -> bool {
        let this = &self.hosts[host];
        let reload = self.config.kinds[host] == Kind::Original && command == Command::QuickRestart;
        let looking = (0..2).any(|host| self.hosts[host].jobs.iter().any(|job| self.looks(host, job)));
        this.is_serving() && !looking && (this.jobs.is_empty() || !reload)
    }

    /// The original's child that only looks what is there takes no time to speak of.
    fn looks(&self, host: usize, job: &RunningJob) -> bool {
        self.config.kinds[host] == Kind::Original && matches!(job.work, Job::Announce(_))
    }

    /// One that only looks ends before any that begins later.
    fn outlasts(&self, host: usize, job: usize) -> bool {
        self.hosts[host].jobs[..job].iter().any(|earlier| self.looks(host, earlier))
    }

    // ---- what it does --------------------------------------------------------------------

    /// Lets it happen. The error is the rule that was broken.
    pub fn apply(&mut self, action: Action) -> Result<(), String> {
        match action {
            Action::Deliver(host) => self.deliver(host)?,
            Action::Lose(host) => {
                self.budget.losses -= 1;
                self.wires[1 - host].pop_front();
            }
            Action::Tick(host) => {
                self.now_ms = self.timer_ms(host).unwrap_or(0).max(self.now_ms);
                self.feed(host, Input::Tick)?;
            }
            Action::Finish(host, job, end) => self.finish(host, job, end)?,
            Action::Start(host) => self.start(host)?,
            Action::Restart(host) => {
                self.now_ms = self.timer_ms(host).unwrap_or(0).max(self.now_ms);
                self.start(host)?;
            }
            Action::Crash(host) => {
                self.budget.crashes -= 1;
                self.crash(host);
            }
            Action::Kill(host) => {
                self.budget.kills -= 1;
                self.end_daemon(host);
                self.hosts[host].killed = true;
                self.hosts[host].abort_jobs();
            }
            Action::Pause(host) => {
                self.budget.pauses -= 1;
                self.hosts[host].paused_since_ms = Some(self.now_ms);
            }
            Action::Thaw(host) => self.thaw(host)?,
            Action::Cut(host) => {
                self.budget.cuts -= 1;
                self.cut[host] = true;
            }
            Action::Mend(host) => self.cut[host] = false,
            Action::Ask(at) => {
                self.budget.commands -= 1;
                let (host, command) = self.config.commands[at];
                self.feed(host, Input::Command { request: RequestId(1), command })?;
            }
        }
        self.check()
    }

    fn deliver(&mut self, host: usize) -> Result<(), String> {
        let Some(packet) = self.wires[1 - host].pop_front() else { return Ok(()) };
        self.watch.heard(self.now_ms, host, &packet);
        let link = LinkName::new("eth1").expect("a name");
        let message = (*packet.message).clone();
        self.answers_request = message.kind() == "NS_rexmit";
        let result = self.feed(host, Input::Packet { link, key_index: 1, message });
        self.answers_request = false;
        result
    }

    fn finish(&mut self, host: usize, at: usize, end: End) -> Result<(), String> {
        match end {
            End::Well => {}
            End::NoStart(_) => self.budget.start_failures -= 1,
            End::NoStop(_) => self.budget.stop_failures -= 1,
        }
        let job = self.hosts[host].jobs.remove(at);
        let outcome = self.hosts[host].finish(host, &job, end);
        self.feed(host, Input::JobDone { job: job.id, outcome })
    }

    fn start(&mut self, host: usize) -> Result<(), String> {
        let settings = self.settings(host);
        let this = &mut self.hosts[host];
        this.powered = true;
        this.killed = false;
        this.restart_ms = None;
        this.generation = settings.generation;
        this.former_newest = std::mem::take(&mut this.newest_number);
        this.beat_ms = self.now_ms;
        this.giving = false;
        this.daemon = Some(match self.config.kinds[host] {
            Kind::Ours => Daemon::ours(settings, self.now_ms),
            Kind::Original => Daemon::original(&settings, self.config.groups[host], self.now_ms),
        });
        self.watch.daemon_started(self.now_ms, host);
        self.feed(host, Input::Start)
    }

    fn settings(&mut self, host: usize) -> ClusterSettings {
        let this = &mut self.hosts[host];
        let name = |node: usize| NodeName::new(&format!("node{}", node + 1)).expect("a name");
        ClusterSettings {
            local: name(host),
            uuid: Uuid([host as u8 + 1; 16]),
            generation: Generation(this.generation.0 + 1),
            process_id: 1,
            nodes: vec![name(0), name(1)],
            links: vec![LinkName::new("eth1").expect("a name")],
            keepalive_ms: KEEPALIVE_MS,
            dead_time_ms: DEAD_TIME_MS,
            warn_time_ms: DEAD_TIME_MS / 2,
            init_dead_ms: INIT_DEAD_MS,
            pings: Vec::new(),
            dead_ping_ms: 1000,
            hop_fudge: 1,
            auto_failback: self.config.auto_failback[host],
            max_rexmit_delay_ms: 1_000,
            manage_resources: true,
            local_keys: vec![format!("10.0.0.{}", host + 1)],
            resume: this.resume.take(),
            takeover: Default::default(),
            services: Vec::new(),
            watchdog_ms: None,
            random_seed: 7,
            faults: self.config.faults,
            membership: Default::default(),
        }
    }

    fn crash(&mut self, host: usize) {
        self.end_daemon(host);
        let generation = self.hosts[host].generation;
        let Host { newest_number, former_newest, .. } = self.hosts[host];
        self.hosts[host] = Host { generation, newest_number, former_newest, ..Host::new() };
    }

    fn end_daemon(&mut self, host: usize) {
        self.hosts[host].daemon = None;
        self.wires[1 - host].clear();
        self.watch.daemon_ended(host);
    }

    fn thaw(&mut self, host: usize) -> Result<(), String> {
        let Some(since_ms) = self.hosts[host].paused_since_ms.take() else { return Ok(()) };
        let paused_ms = self.now_ms - since_ms;
        for job in &mut self.hosts[host].jobs {
            job.began_ms += paused_ms;
        }
        self.watch.thawed(self.now_ms, host, since_ms, &self.hosts);
        // an original looks at timers and packets in any order
        let read_first = self.config.kinds[host] == Kind::Ours;
        for _ in 0..self.wires[1 - host].len() * usize::from(read_first) {
            self.deliver(host)?;
            self.check()?;
        }
        Ok(())
    }

    /// Hands an input to a daemon and carries out what it wants.
    pub fn feed(&mut self, host: usize, input: Input) -> Result<(), String> {
        let now_ms = self.now_ms;
        let Some(daemon) = &mut self.hosts[host].daemon else { return Ok(()) };
        for output in daemon.handle(now_ms, input) {
            if let Some(notes) = &mut self.notes {
                notes.extend(crate::trace::note(&output).map(|text| (host, text)));
            }
            match output {
                Output::Send { message, .. } => self.send(host, message)?,
                Output::RunJob { job, work, .. } => {
                    let job = RunningJob { id: job, work, began_ms: now_ms };
                    if self.config.kinds[host] == Kind::Ours {
                        self.watch.job_started(host, &job, &self.hosts[host])?;
                    }
                    self.hosts[host].begin(host, job);
                }
                Output::Exit(reason) => return self.exit(host, reason),
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&mut self, host: usize, message: Message) -> Result<(), String> {
        if message.kind() == "NS_ackmsg" {
            return Ok(());
        }
        let number = message.hex("seq").unwrap_or(0);
        let this = &mut self.hosts[host];
        // the original's numbers are not in order on the wire (resources spec 2.2)
        let again = match self.config.kinds[host] {
            Kind::Ours => number != 0 && number <= this.newest_number,
            Kind::Original => self.answers_request,
        };
        if !again {
            this.newest_number = this.newest_number.max(number);
            if message.kind() == "status" {
                this.beat_ms = self.now_ms;
            }
            if self.config.kinds[host] == Kind::Ours {
                Watch::check_words(host, &message, this)?;
            }
            if let Some(said) = &mut self.said {
                said.push((host, message.clone()));
            }
        }
        let present = [this.has(0), this.has(1)];
        let other = &self.hosts[1 - host];
        let full = other.paused_since_ms.is_some() && self.wires[host].len() >= INBOX_MAX;
        if other.daemon.is_some() && !self.cut[host] && !full {
            let packet = Packet { message: Arc::new(message), sent_ms: self.now_ms, present };
            self.wires[host].push_back(packet);
        }
        Ok(())
    }

    fn exit(&mut self, host: usize, reason: ExitReason) -> Result<(), String> {
        let this = &self.hosts[host];
        let busy = this.has(0) || this.has(1) || !this.jobs.is_empty();
        if busy && matches!(reason, ExitReason::Stopped | ExitReason::Restart) {
            return Err(format!("node{} ended ({reason:?}) with something active", host + 1));
        }
        self.end_daemon(host);
        let this = &mut self.hosts[host];
        match reason {
            ExitReason::Stopped => this.abort_jobs(),
            ExitReason::StopFailed => self.crash(host),
            ExitReason::Restart => {
                this.abort_jobs();
                this.restart_ms = Some(self.now_ms + DEAD_TIME_MS + 1_000);
            }
            ExitReason::QuickRestart(held) => {
                this.abort_jobs();
                this.killed = true;
                this.resume = Some(held);
                this.restart_ms = Some(self.now_ms + EXEC_MS);
            }
        }
        Ok(())
    }

    // ---- which worlds are the same -------------------------------------------------------

    /// Two worlds with the same fingerprint have the same future.
    pub fn fingerprint(&self) -> u64 {
        let frame = self.frame(0);
        let mut print = Fingerprint::new(frame);
        print.add((self.cut, self.budget));
        for host in 0..2 {
            let this = &self.hosts[host];
            let mut own = Fingerprint::new(self.frame(host));
            own.add((this.powered, this.killed, this.resume, this.groups, this.failed_starts, this.giving));
            own.moment_if(this.paused_since_ms, u64::MAX);
            own.moment_if(this.restart_ms, 0);
            own.add((this.jobs.len(), this.daemon.is_some()));
            for job in &this.jobs {
                own.add(job.work);
                own.moment(job.began_ms, u64::MAX);
            }
            if this.paused_since_ms.is_some() {
                own.moment(this.beat_ms, DEAD_TIME_MS);
            }
            if let Some(daemon) = &this.daemon {
                daemon.fingerprint(&mut own);
            }
            for packet in &self.wires[host] {
                own.message(&packet.message, true);
                if self.config.delay_max_ms > 0 {
                    own.moment(packet.sent_ms, self.config.delay_max_ms);
                }
                let paused_ms = self.hosts[1 - host].paused_since_ms;
                own.add(paused_ms.map(|since_ms| (packet.present, packet.sent_ms > since_ms)));
                own.add(self.watch.proof(1 - host, packet));
            }
            print.add(own.finish());
        }
        self.watch.fingerprint(&mut print);
        print.finish()
    }

    fn frame(&self, host: usize) -> Frame {
        let (own, peer) = (&self.hosts[host], &self.hosts[1 - host]);
        let former = |present: Generation| Generation(present.0.saturating_sub(1));
        Frame {
            now_ms: self.now_ms,
            grain_ms: GRAIN_MS,
            own_numbers: self.numbers(host, own.generation, own.newest_number),
            peer_numbers: self.numbers(1 - host, peer.generation, peer.newest_number),
            own_generation: own.generation,
            peer_generation: peer.generation,
            own_former_numbers: self.numbers(host, former(own.generation), own.former_newest),
            peer_former_numbers: self.numbers(1 - host, former(peer.generation), peer.former_newest),
        }
    }

    /// The oldest number of a life of the host that can still reach the other one, and the newest.
    fn numbers(&self, host: usize, life: Generation, newest: u64) -> (u64, u64) {
        let of_life = |message: &Message| message.hex("hg") == Some(life.0);
        let wire = self.wires[host].iter().filter(|packet| of_life(&packet.message));
        let oldest = wire.filter_map(|packet| packet.message.hex("seq")).min();
        let awaited = self.hosts[1 - host].daemon.as_ref().map(Daemon::awaits);
        let awaited = awaited.filter(|(known, _)| *known == life).and_then(|(_, number)| number);
        let next = newest + 1;
        (next.min(oldest.unwrap_or(next)).min(awaited.unwrap_or(next)), newest)
    }
}
