//! The simulated world: hosts with a kernel, agents and a daemon, one virtual clock, one queue.
//!
//! ```text
//!            ┌── Event::Deliver ◀── network.route ◀── Output::Send ──┐
//!  queue ────┼── Event::Tick    ◀── next_timeout_ms ◀────────────────┤ Cluster (one per daemon)
//!  (ms,order)├── Event::JobEnd  ◀── agents ◀───────── Output::RunJob ┤
//!            └── Event::Act     ◀── scenario, swarm                  │
//!                 each event ──▶ Input ──────────────────────────────┘   then the checker looks
//! ```
//!
//! Assumptions about what surrounds the cluster value: a guard ends a dead daemon's children; a
//! daemon that asks for a restart is started again; `Exit(StopFailed)` resets the machine at once;
//! a thawed host sees the packets its socket buffers kept before its timers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ha_core::cluster::event::{Command, Input, Job, JobId, Now, Output, QuestionId, RequestId};
use ha_core::config::settings::AutoFailback;
use ha_core::types::lease::LeaseRecord;
use ha_core::types::{LinkName, LogLevel, NodeName};
use ha_core::wire::message::Message;

use crate::agents::{groups, RunningJob};
use crate::checker::Checker;
use crate::core::{ClusterSettings, Faults};
use crate::group_state::GroupState;
use crate::guarded::{DiskStep, Surroundings, Trouble};
use crate::host::Host;
use crate::network::{Network, NetworkFaults, Random};
use crate::outside::{Outside, Then};
use crate::print::Table;

/// Packets a host's socket buffers keep while it is paused; later ones are lost.
const INBOX_MAX: usize = 300;
/// Events handled at one millisecond before the run counts as a busy loop.
const EVENTS_PER_MS_MAX: u32 = 5_000;

/// What stays the same during a run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Draws everything.
    pub seed: u64,
    /// Hosts.
    pub nodes: usize,
    /// Links between each two.
    pub links: usize,
    /// As in ha.cf.
    pub keepalive_ms: u64,
    /// As in ha.cf.
    pub dead_time_ms: u64,
    /// As in ha.cf.
    pub init_dead_ms: u64,
    /// As in ha.cf.
    pub auto_failback: AutoFailback,
    /// Rules taken out of the cluster values, to see whether the checker notices.
    pub faults: Faults,
    /// Hosts hear their own broadcasts.
    pub echo: bool,
    /// Latest that a timer fires after its time.
    pub tick_late_max_ms: u64,
    /// Longest time an agent takes when it does not hang.
    pub job_max_ms: u64,
    /// How the world answers questions.
    pub outside: Outside,
    /// Keep rows for the table and lines for the replay.
    pub record: bool,
}

impl Config {
    /// A quiet pair: keepalive 100 ms, deadtime 1 s, initdead 3 s, one link.
    pub fn pair(seed: u64) -> Self {
        Self {
            seed,
            nodes: 2,
            links: 1,
            keepalive_ms: 100,
            dead_time_ms: 1_000,
            init_dead_ms: 3_000,
            auto_failback: AutoFailback::On,
            faults: Faults::default(),
            echo: false,
            tick_late_max_ms: 1,
            job_max_ms: 40,
            outside: Outside::default(),
            record: true,
        }
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> NodeName {
        NodeName::new(&format!("node{}", node + 1)).expect("a valid name")
    }
}

/// Something done to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Power on and start the daemon, or only the daemon where the power is on.
    Start(usize),
    /// Power off: kernel, agents and daemon are gone.
    Crash(usize),
    /// `kill -9` of the daemon: the kernel keeps what is active.
    Kill(usize),
    /// The host stands still.
    Pause(usize),
    /// It goes on.
    Thaw(usize),
    /// A person asks.
    Ask(usize, Command),
    /// One direction of one link: from, to, link.
    Cut(usize, usize, usize),
    /// The same, mended.
    Mend(usize, usize, usize),
    /// The wall clock of a host jumps by seconds.
    JumpClock(usize, i64),
    /// On a host the next so many starts of a group fail: host, group, count.
    FailStarts(usize, usize, u32),
    /// The same for stops.
    FailStops(usize, usize, u32),
    /// What runs of that group on that host stops working; so many restarts do not help.
    Sicken(usize, usize, u32),
    /// Something takes an address of the group away from the host.
    Lose(usize, usize),
    /// Another program file goes on in the daemon's place, if it is at rest.
    Upgrade(usize),
    /// The next jobs of a host hang until the world is healed.
    Hang(usize, u32),
    /// A fault around the guards of a host, on or off.
    Trouble(usize, Trouble, bool),
}

/// A packet on its way.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Sender.
    pub from: usize,
    /// Receiver.
    pub to: usize,
    /// Link number.
    pub link: usize,
    /// When it was sent.
    pub sent_ms: u64,
    /// Which groups were really present at the sender then.
    pub present_at_sender: Vec<bool>,
    /// The packet.
    pub message: Message,
    pub(crate) key_index: u8,
}

/// What waits in the queue.
pub(crate) enum Event {
    Deliver(Delivery),
    Tick { host: usize, epoch: u64 },
    JobEnd { host: usize, job: JobId, life: u64 },
    StartDaemon { host: usize, life: u64 },
    Act(Action),
    Outside { host: usize, question: QuestionId, life: u64, then: Then },
    Watchdog { host: usize, fed_ms: u64 },
    Pings { host: usize, life: u64 },
    Disk { host: usize, question: QuestionId, life: u64, step: DiskStep },
    DiskRead { host: usize, question: QuestionId, life: u64, step: DiskStep, wrote: Option<LeaseRecord> },
}

struct Scheduled {
    at_ms: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

/// One life of a daemon as recorded: settings, inputs as lines, outputs as lines.
pub struct Recording {
    /// What `Cluster::new` got.
    pub settings: ClusterSettings,
    /// When.
    pub born: Now,
    /// The inputs in their text form.
    pub inputs: Vec<(Now, String)>,
    /// The outputs after each input, in their text form.
    pub outputs: Vec<Vec<String>>,
    /// Which host.
    pub host: usize,
}

/// Everything.
pub struct World {
    /// Fixed for the run.
    pub config: Config,
    /// Virtual time.
    pub now_ms: u64,
    /// The hosts, by number.
    pub hosts: Vec<Host>,
    /// The wires.
    pub network: Network,
    /// Looks after each event.
    pub checker: Checker,
    /// What happened, for people.
    pub table: Table,
    /// What each daemon saw and said.
    pub recordings: Vec<Recording>,
    /// Disk, watchdogs, arbiter, ping nodes.
    pub surroundings: Surroundings,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    events_at_this_ms: u32,
    requests: u64,
    pub(crate) random: Random,
}

impl World {
    /// Hosts without power, quiet wires.
    pub fn new(config: Config) -> Self {
        let mut random = Random::new(config.seed);
        let mut network = Network::new(random.next(), config.nodes, config.links);
        network.faults = NetworkFaults { delay_ms: (0, 2), ..NetworkFaults::default() };
        let hosts = (0..config.nodes).map(|_| Host::new(&config, &mut random)).collect();
        Self {
            checker: Checker::new(&config),
            table: Table::new(config.record),
            recordings: Vec::new(),
            surroundings: Surroundings::default(),
            queue: BinaryHeap::new(),
            order: 0,
            events_at_this_ms: 0,
            requests: 0,
            now_ms: 0,
            hosts,
            network,
            random,
            config,
        }
    }

    /// Has something done at a later time.
    pub fn schedule(&mut self, at_ms: u64, action: Action) {
        self.push(at_ms, Event::Act(action));
    }

    /// Handles events up to that time, or until a rule is broken.
    pub fn run_until(&mut self, end_ms: u64) {
        while self.checker.violation().is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at_ms <= end_ms => self.step(),
                _ => break,
            }
        }
        self.now_ms = self.now_ms.max(end_ms);
    }

    /// Handles the next event.
    fn step(&mut self) {
        let Some(Reverse(Scheduled { at_ms, event, .. })) = self.queue.pop() else { return };
        self.events_at_this_ms = if at_ms == self.now_ms { self.events_at_this_ms + 1 } else { 0 };
        self.now_ms = self.now_ms.max(at_ms);
        if self.events_at_this_ms > EVENTS_PER_MS_MAX {
            let what = match &event {
                Event::Deliver(delivery) => format!("packet {}", delivery.message.kind()),
                Event::Tick { host, .. } => format!("timer of node{}", host + 1),
                _ => "other".to_owned(),
            };
            self.table.row(self.now_ms, &self.hosts, || format!("without end: {what}"));
            self.checker.fail("busy loop: timers or packets without end at one moment".to_owned());
        }
        match event {
            Event::Deliver(delivery) => self.deliver(delivery),
            Event::Tick { host, epoch } => self.tick(host, epoch),
            Event::JobEnd { host, job, life } => self.end_job(host, job, life),
            Event::StartDaemon { host, life } => self.start_daemon(host, life),
            Event::Act(action) => self.act(action),
            Event::Outside { host, question, life, then } => self.outside(host, question, life, then),
            Event::Watchdog { host, fed_ms } => self.watchdog(host, fed_ms),
            Event::Pings { host, life } => self.pings_answer(host, life),
            Event::Disk { host, question, life, step } => self.disk(host, question, life, step),
            Event::DiskRead { host, question, life, step, wrote } => {
                self.disk_read(host, question, life, step, wrote);
            }
        }
        self.checker.step(self.now_ms, &self.hosts);
        if let Some(text) = self.checker.violation().map(str::to_owned) {
            self.table.row(self.now_ms, &self.hosts, || format!("!! {text}"));
        }
    }

    /// Does it now.
    pub fn act(&mut self, action: Action) {
        self.table.row(self.now_ms, &self.hosts, || format!("** {action:?}"));
        match action {
            Action::Start(host) => self.start(host),
            Action::Crash(host) => self.crash(host),
            Action::Kill(host) => self.kill(host),
            Action::Pause(host) => {
                if self.hosts[host].is_live() {
                    self.hosts[host].paused_since_ms = Some(self.now_ms);
                }
            }
            Action::Thaw(host) => self.thaw(host),
            Action::Ask(host, command) => {
                self.requests += 1;
                let request = RequestId(self.requests);
                if self.hosts[host].is_serving() {
                    self.feed(host, Input::Command { request, command });
                }
            }
            Action::Cut(from, to, link) => self.network.set_cut(from, to, link, true),
            Action::Mend(from, to, link) => self.network.set_cut(from, to, link, false),
            Action::JumpClock(host, seconds) => self.hosts[host].wall_offset_s += seconds,
            Action::FailStarts(host, group, count) => {
                self.hosts[host].kernel.faults.start_fails[group] = count;
            }
            Action::FailStops(host, group, count) => self.hosts[host].kernel.faults.stop_fails[group] = count,
            Action::Sicken(host, group, restarts) => self.hosts[host].kernel.sicken(group, restarts),
            Action::Upgrade(host) => {
                if self.hosts[host].is_serving() {
                    self.upgrade(host);
                }
            }
            Action::Lose(host, group) => {
                self.hosts[host].kernel.ever_sick[group] = true;
                if self.hosts[host].is_serving() {
                    self.feed(host, Input::ResourceLost(group as u16));
                }
            }
            Action::Hang(host, count) => self.hosts[host].kernel.faults.hangs = count,
            Action::Trouble(host, trouble, on) => self.surroundings.set(host, trouble, on),
        }
    }

    /// Takes every fault away, thaws and starts every host, lets hanging jobs end. Agents that
    /// cannot start something are repaired only if told so.
    pub fn heal(&mut self, repair_starts: bool) {
        self.table.row(self.now_ms, &self.hosts, || "** heal".to_owned());
        self.queue.retain(|Reverse(scheduled)| !matches!(scheduled.event, Event::Act(_)));
        self.network.heal();
        self.surroundings.heal();
        self.config.outside.heal();
        for host in 0..self.hosts.len() {
            let faults = &mut self.hosts[host].kernel.faults;
            faults.hangs = 0;
            faults.stop_fails.fill(0);
            if repair_starts {
                faults.start_fails.fill(0);
                self.hosts[host].kernel.sick.fill(None);
            }
            self.act(Action::Thaw(host));
            self.act(Action::Start(host));
            let ends_at_ms = self.now_ms + 10;
            let life = self.hosts[host].life;
            let hanging: Vec<JobId> = self.hosts[host]
                .jobs
                .iter_mut()
                .filter(|job| job.ends_at_ms.is_none())
                .map(|job| {
                    job.ends_at_ms = Some(ends_at_ms);
                    job.id
                })
                .collect();
            for job in hanging {
                self.push(ends_at_ms, Event::JobEnd { host, job, life });
            }
        }
    }

    pub(crate) fn push(&mut self, at_ms: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at_ms, order: self.order, event }));
    }
}

/// Inputs and outputs.
impl World {
    pub(crate) fn feed(&mut self, host: usize, input: Input) {
        let now = self.hosts[host].clock(self.now_ms);
        let Some(daemon) = &mut self.hosts[host].daemon else { return };
        let line = self.config.record.then(|| input.to_string());
        daemon.cluster.handle(now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| daemon.cluster.poll_output()).collect();
        if let Some(line) = line {
            let recording = self.recordings.iter_mut().rev().find(|recording| recording.host == host);
            let recording = recording.expect("every life has a recording");
            recording.inputs.push((now, line));
            recording.outputs.push(outputs.iter().map(ToString::to_string).collect());
        }
        for output in outputs {
            if self.hosts[host].daemon.is_some() {
                self.carry_out(host, output);
            }
        }
        self.plan_tick(host);
    }

    fn carry_out(&mut self, host: usize, output: Output) {
        self.table.output(self.now_ms, host, &self.hosts, &output);
        match output {
            Output::Send { message, key_index } => self.send(host, message, key_index.unwrap_or(1)),
            Output::RunJob { job, work, .. } => self.start_job(host, job, work),
            Output::Exit(reason) => self.exit(host, reason),
            Output::Ask { question, what } => self.ask_outside(host, question, &what),
            Output::Withdraw(question) => self.hosts[host].withdraw(question),
            Output::Alarm(alarm) => self.hosts[host].alarms.push(alarm),
            Output::Reply { request, answer } => self.hosts[host].replies.push((request, answer)),
            Output::Log { level, text } => {
                if level <= LogLevel::Info {
                    self.hosts[host].log.push(text);
                }
            }
            Output::Beat => self.beat(host),
            Output::Hook { .. }
            | Output::Deliver { .. }
            | Output::KeepHosts { .. }
            | Output::ClientsPaused(_) => {}
        }
    }

    fn send(&mut self, from: usize, message: Message, key_index: u8) {
        let new = self.checker.sent(from, &message, &self.hosts);
        if new && message.kind() == "status" {
            if let Some(daemon) = &mut self.hosts[from].daemon {
                daemon.last_beat_ms = self.now_ms;
            }
        }
        let present: Vec<bool> =
            self.hosts[from].kernel.groups.iter().map(|state| state.is_present()).collect();
        for to in 0..self.hosts.len() {
            if to == from && !self.config.echo {
                continue;
            }
            for link in 0..self.network.links() {
                for delay_ms in self.network.route(self.now_ms, from, to, link) {
                    let delivery = Delivery {
                        from,
                        to,
                        link,
                        sent_ms: self.now_ms,
                        present_at_sender: present.clone(),
                        message: message.clone(),
                        key_index,
                    };
                    self.push(self.now_ms + delay_ms, Event::Deliver(delivery));
                }
            }
        }
    }

    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        let this = &mut self.hosts[delivery.to];
        if this.paused_since_ms.is_some() {
            if this.inbox.len() < INBOX_MAX {
                this.inbox.push_back(delivery);
            }
            return;
        }
        if this.daemon.is_none() {
            return;
        }
        self.checker.heard(self.now_ms, &delivery);
        let Delivery { to, link, key_index, message, .. } = delivery;
        self.feed(to, Input::Packet { link: link_name(link), key_index, message });
    }

    pub(crate) fn plan_tick(&mut self, host: usize) {
        let late_ms = self.random.between(0, self.config.tick_late_max_ms);
        let this = &mut self.hosts[host];
        let Some(daemon) = this.daemon.as_ref().filter(|_| this.paused_since_ms.is_none()) else { return };
        let Some(timeout_ms) = daemon.cluster.next_timeout_ms() else { return };
        let due_ms = timeout_ms.saturating_sub(this.clock_offset_ms).max(self.now_ms) + late_ms;
        if this.tick_at_ms.is_some_and(|planned_ms| planned_ms <= due_ms && planned_ms >= self.now_ms) {
            return;
        }
        this.tick_at_ms = Some(due_ms);
        this.tick_epoch += 1;
        let epoch = this.tick_epoch;
        self.push(due_ms, Event::Tick { host, epoch });
    }

    fn tick(&mut self, host: usize, epoch: u64) {
        let this = &mut self.hosts[host];
        if this.tick_epoch != epoch || this.paused_since_ms.is_some() {
            return;
        }
        this.tick_at_ms = None;
        let due = this.daemon.as_ref().and_then(|daemon| daemon.cluster.next_timeout_ms());
        if due.is_some_and(|timeout_ms| timeout_ms <= self.now_ms + this.clock_offset_ms) {
            self.feed(host, Input::Tick);
        } else {
            self.plan_tick(host);
        }
    }

    fn start_job(&mut self, host: usize, id: JobId, work: Job) {
        let random = &mut self.random;
        let this = &mut self.hosts[host];
        let hangs = this.kernel.faults.hangs > 0 && !matches!(work, Job::Announce(_));
        this.kernel.faults.hangs -= u32::from(hangs);
        let (low_ms, high_ms) = this.kernel.faults.duration_ms;
        let ends_at_ms = (!hangs).then(|| self.now_ms + random.between(low_ms, high_ms));
        let job = RunningJob { id, work, groups: groups(host, work.set(), self.config.nodes), ends_at_ms };
        self.checker.job_started(host, &job, &this.jobs);
        self.checker.watching(self.now_ms, host, &job, this);
        this.kernel.begin(&job);
        this.jobs.push(job);
        let life = this.life;
        if let Some(at_ms) = ends_at_ms {
            self.push(at_ms, Event::JobEnd { host, job: id, life });
        }
    }

    fn end_job(&mut self, host: usize, id: JobId, life: u64) {
        let this = &mut self.hosts[host];
        if this.life != life || this.paused_since_ms.is_some() {
            return;
        }
        let due = |job: &RunningJob| job.id == id && job.ends_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
        let Some(at) = this.jobs.iter().position(due) else { return };
        let job = this.jobs.remove(at);
        let outcome = this.kernel.finish(host, &job);
        self.checker.job_ended(host, outcome);
        self.table.row(self.now_ms, &self.hosts, || {
            let failed = (outcome.start_failed, outcome.stop_failed);
            format!(
                "{} job {} ended: {:?} failed start {}, stop {}",
                host + 1,
                id.0,
                job.work,
                failed.0,
                failed.1
            )
        });
        self.feed(host, Input::JobDone { job: id, outcome });
    }
}

/// What people and tests ask about the world.
impl World {
    /// Which live hosts have something of the group.
    pub fn present_on(&self, group: usize) -> Vec<usize> {
        let present =
            |host: &usize| self.hosts[*host].is_live() && self.hosts[*host].kernel.groups[group].is_present();
        (0..self.hosts.len()).filter(present).collect()
    }

    /// The group serves on that live host, whatever else is so elsewhere.
    pub fn serves(&self, host: usize, group: usize) -> bool {
        self.hosts[host].is_live() && self.hosts[host].kernel.groups[group] == GroupState::Active
    }

    /// The one live host on which the group serves, when nobody else has anything of it.
    pub fn owner(&self, group: usize) -> Option<usize> {
        match self.present_on(group)[..] {
            [host] if self.hosts[host].kernel.groups[group] == GroupState::Active => Some(host),
            _ => None,
        }
    }
}

/// The name of a link by number.
pub fn link_name(link: usize) -> LinkName {
    LinkName::new(&format!("eth{link}")).expect("a valid name")
}
