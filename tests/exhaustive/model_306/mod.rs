//! A model of Heartbeat 3.0.6 as a peer in a pair: liveness, sequence numbers, the resource
//! protocol and its children, with its faults. Written from the resources spec (section 2), the
//! messaging spec (3, 4) and the recordings; `replay` holds it against the recordings.
//!
//! | file | models |
//! |---|---|
//! | `mod` | state, time, children |
//! | `link` | beats, deaths, sequence numbers, when communication is up |
//! | `resources` | who holds what: `starting`, `resource`, takeover, failback, shutdown |
//! | `standby` | the dialogue of `ask_resources` |
//!
//! What a node sends is handled by itself before it goes out: a message sent from within a handler
//! is on the wire before the one that caused it (resources spec 2.2).

mod link;
mod resources;
mod standby;

use std::collections::VecDeque;

use ha_core::cluster::event::{Answer, Command, ExitReason, Input, Job, JobId, JobOutcome, Output};
use ha_core::cluster::fingerprint::Fingerprint;
use ha_core::cluster::settings::ClusterSettings;
use ha_core::config::settings::AutoFailback;
use ha_core::types::{Generation, ResourceSet};
use ha_core::wire::message::{Message, Value};

use crate::daemon::View;
use link::Link;
use resources::Resources;
use standby::Standby;

/// From `shutdone` to the end of the process.
const LINGER_MS: u64 = 2_000;
/// From the return after a partition to the release of everything.
const RESTART_MS: u64 = 2_000;
/// From a failed start to the request for standby.
const FAILED_START_MS: u64 = 30_000;

/// A process of its own, and what it says at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Child {
    /// `req_our_resources`, forked with these claims: asks for groups that are not active.
    OwnResources(ResourceSet),
    /// The `status` script: `mach_down`.
    MachDown,
    /// The `ip-request-resp` script: takes the own group.
    TakeGroup,
    /// The `ip-request` script of the old protocol: gives the peer's group.
    GiveGroup,
    /// `go_standby`, giver; the giver's viewpoint.
    Give(ResourceSet),
    /// `go_standby`, taker; what it takes and what it says in the end, the giver's viewpoint.
    Take(ResourceSet, ResourceSet),
    /// Release of everything.
    GiveUp,
}

impl Child {
    fn work(&self) -> Job {
        match self {
            Child::OwnResources(_) => Job::Announce(ResourceSet::LOCAL),
            Child::MachDown => Job::Acquire(ResourceSet::FOREIGN),
            Child::TakeGroup => Job::Acquire(ResourceSet::LOCAL),
            Child::GiveGroup => Job::Release(ResourceSet::FOREIGN),
            Child::Give(set) => Job::Release(*set),
            Child::Take(set, _) => Job::Acquire(set.mirrored()),
            Child::GiveUp => Job::Release(ResourceSet::ALL),
        }
    }
}

/// One daemon's life.
#[derive(Debug, Clone)]
pub struct Model {
    local: String,
    remote: String,
    index: usize,
    uuid: [u8; 16],
    generation: Generation,
    auto_failback: AutoFailback,
    keepalive_ms: u64,
    dead_time_ms: u64,
    init_dead_ms: u64,
    /// haresources has a group of this node.
    has_group: bool,
    now_ms: u64,
    link: Link,
    resources: Resources,
    standby: Standby,
    /// Those without a number wait for one before them.
    children: Vec<(Option<JobId>, Child)>,
    /// Notifications that wait for a child to end (resources spec 2.9).
    queue: VecDeque<Child>,
    jobs: u64,
    /// Own groups that a child of this life started, own viewpoint.
    active: ResourceSet,
    exit_ms: Option<u64>,
    outputs: Vec<Output>,
}

impl Model {
    /// A daemon before its first input.
    pub fn new(settings: &ClusterSettings, has_group: bool, now_ms: u64) -> Self {
        let local = settings.local.to_string();
        let remote = settings.nodes.iter().find(|name| **name != settings.local);
        let index = settings.nodes.iter().position(|name| *name == settings.local).unwrap_or(0);
        Self {
            local,
            remote: remote.map(ToString::to_string).unwrap_or_default(),
            index,
            uuid: settings.uuid.0,
            generation: settings.generation,
            auto_failback: settings.auto_failback,
            keepalive_ms: settings.keepalive_ms,
            dead_time_ms: settings.dead_time_ms,
            init_dead_ms: settings.init_dead_ms,
            has_group,
            now_ms,
            link: Link::new(settings.dead_time_ms, now_ms),
            resources: Resources::new(settings.resume),
            standby: Standby::new(),
            children: Vec::new(),
            queue: VecDeque::new(),
            jobs: 0,
            active: settings.resume.unwrap_or_default(),
            exit_ms: None,
            outputs: Vec::new(),
        }
    }

    /// Handles an input; what it wants done.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        self.now_ms = now_ms;
        match input {
            Input::Start => self.begin(),
            Input::Packet { message, .. } => self.receive(&message),
            Input::Tick => self.tick(),
            Input::JobDone { job, outcome } => self.child_ended(job, outcome),
            Input::LocalMessage(message) => self.send(message),
            Input::Command { request, command } => {
                self.command(command);
                self.outputs.push(Output::Reply { request, answer: Answer::Accepted });
            }
            _ => {}
        }
        self.settle();
        std::mem::take(&mut self.outputs)
    }

    /// What follows from any event.
    fn settle(&mut self) {
        self.run_queue();
        self.pending_shutdown();
    }

    fn tick(&mut self) {
        self.tick_link();
        self.tick_standby();
        self.tick_resources();
        if self.exit_ms.is_some_and(|due_ms| self.now_ms >= due_ms) {
            self.exit_ms = None;
            let again = self.resources.restarting;
            let reason = if again { ExitReason::Restart } else { ExitReason::Stopped };
            self.outputs.push(Output::Exit(reason));
        }
    }

    /// When its next timer is due.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        let own = [self.exit_ms, self.standby.timer_ms];
        own.into_iter().chain(self.resources.timers_ms()).chain(self.link_timers_ms()).flatten().min()
    }

    fn command(&mut self, command: Command) {
        match command {
            // the tools write to the FIFO: sent like anything else
            Command::Standby(set) => self.ask(set, "me"),
            Command::Takeover(set) => self.send(Message::new("hb_takeover").with("rsc_hold", set.as_str())),
            Command::Shutdown => self.resources.shutdown_wanted = true,
            Command::QuickRestart => {
                self.outputs.push(Output::Exit(ExitReason::QuickRestart(self.resources.hold)));
            }
            // it has no such requests
            Command::ConfirmTakeover | Command::MaintenanceOn(_) | Command::MaintenanceOff => {}
        }
    }

    // ---- sending -------------------------------------------------------------------------

    /// Adds the control fields, handles the message here, then hands it to the media.
    fn send(&mut self, message: Message) {
        let message = self.sealed(message);
        self.handle_message(&message, true);
        self.outputs.push(Output::Send { message, key_index: None });
    }

    fn sealed(&mut self, mut message: Message) -> Message {
        if message.text("dest").is_some() {
            let peer = if self.index == 0 { 2 } else { 1 };
            let to_me = message.text("dest") == Some(&self.local);
            let uuid = if to_me { self.uuid } else { [peer; 16] };
            message.set("destuuid", Value::Binary(uuid.to_vec()));
        }
        message.set_text("src", &self.local);
        message.set("srcuuid", Value::Binary(self.uuid.to_vec()));
        if !message.kind().starts_with("NS_") {
            let number = self.link.next_number();
            message.set_text("seq", &format!("{number:x}"));
        }
        message.set_text("hg", &format!("{:x}", self.generation.0));
        message.set_text("ts", "1");
        message.set_text("ttl", "3");
        self.link.keep(&message);
        message
    }

    /// A message of the peer, or of our own.
    fn handle_message(&mut self, message: &Message, own: bool) {
        if !self.link.communication_up && message.kind() != "shutdone" {
            return;
        }
        match message.kind() {
            "starting" if !own => self.peer_starts(),
            "resource" => self.report(message, own),
            "ask_resources" => self.dialogue(message, own),
            "shutdone" if own => self.exit_ms = Some(self.now_ms + LINGER_MS),
            "shutdone" => self.peer_left(),
            "hb_takeover" if !own => self.takeover_wanted(message),
            "ip-request" if !own && self.is_legacy() => self.queue.push_back(Child::GiveGroup),
            "ip-request-resp" if !self.resources.shutting => {
                let to_me = message.text("dest") == Some(&self.local);
                if to_me && message.text("ok") == Some("OK") {
                    self.queue.push_back(Child::TakeGroup);
                }
            }
            _ => {}
        }
    }

    fn is_legacy(&self) -> bool {
        self.auto_failback == AutoFailback::Legacy
    }

    // ---- children ------------------------------------------------------------------------

    /// One child of the queue at a time, and none beside another child.
    fn run_queue(&mut self) {
        self.run_waiting();
        if self.children.is_empty() {
            if let Some(child) = self.queue.pop_front() {
                self.start_child(child);
            }
        }
    }

    /// Starts a child. The real ones work on a group at the same time if it comes to that, and
    /// what is left then is anybody's guess; here the later one waits.
    fn start_child(&mut self, child: Child) {
        let sets = |work: Job| if matches!(work, Job::Announce(_)) { ResourceSet::NONE } else { work.set() };
        let wanted = sets(child.work());
        let busy = |other: &(Option<JobId>, Child)| sets(other.1.work()).intersects(wanted);
        let waits = self.children.iter().any(busy);
        self.children.push((None, child));
        if !waits {
            self.run_child(self.children.len() - 1);
        }
    }

    fn run_child(&mut self, at: usize) {
        self.jobs += 1;
        let job = JobId(self.jobs);
        self.children[at].0 = Some(job);
        self.outputs.push(Output::RunJob { job, work: self.children[at].1.work(), cause: None });
    }

    /// The first child that waits, when those before it have ended.
    fn run_waiting(&mut self) {
        let waits = self.children.iter().position(|(job, _)| job.is_none());
        if let Some(at) = waits {
            let wanted = self.children[at].1.work().set();
            let busy = |other: &(Option<JobId>, Child)| {
                let work = other.1.work();
                !matches!(work, Job::Announce(_)) && work.set().intersects(wanted)
            };
            if !self.children[..at].iter().any(busy) {
                self.run_child(at);
            }
        }
    }

    fn child_ended(&mut self, job: JobId, outcome: JobOutcome) {
        let Some(at) = self.children.iter().position(|(id, _)| *id == Some(job)) else { return };
        let (_, child) = self.children.remove(at);
        if !outcome.stop_failed.is_empty() {
            self.outputs.push(Output::Exit(ExitReason::StopFailed));
            return;
        }
        if !outcome.start_failed.is_empty() {
            self.resources.failed_start_ms = Some(self.now_ms + FAILED_START_MS);
        }
        self.note_active(&child, outcome);
        match child {
            Child::OwnResources(claims) => self.own_resources_asked(claims),
            Child::MachDown if !self.is_legacy() => {
                let report = Message::new("resource").with("rsc_hold", "foreign").with("info", "mach_down");
                self.send(report);
            }
            Child::MachDown | Child::TakeGroup => {}
            Child::GiveGroup => {
                let answer = Message::new("ip-request-resp").with("dest", &self.remote.clone());
                let key = format!("group{}", 2 - self.index);
                self.send(answer.with("ipaddr", &key).with("weown", "yes").with("ok", "OK"));
            }
            Child::Give(set) | Child::Take(_, set) => self.ask(set, "done"),
            Child::GiveUp => self.send(Message::new("shutdone").with("st", "dead")),
        }
    }

    fn note_active(&mut self, child: &Child, outcome: JobOutcome) {
        let (started, stopped) = match child {
            Child::OwnResources(_) => (ResourceSet::NONE, ResourceSet::NONE),
            Child::MachDown => (ResourceSet::FOREIGN, ResourceSet::NONE),
            Child::TakeGroup => (ResourceSet::LOCAL, ResourceSet::NONE),
            Child::Take(set, _) => (set.mirrored(), ResourceSet::NONE),
            Child::GiveGroup => (ResourceSet::NONE, ResourceSet::FOREIGN),
            Child::Give(set) => (ResourceSet::NONE, *set),
            Child::GiveUp => (ResourceSet::NONE, ResourceSet::ALL),
        };
        self.active = self.active.union(started.minus(outcome.start_failed)).minus(stopped);
    }

    // ---- looking in ----------------------------------------------------------------------

    /// What it claims.
    pub fn holding(&self) -> ResourceSet {
        self.resources.hold
    }

    /// Generation of the peer it knows, and the oldest number of it that would still be news.
    pub fn awaits(&self) -> (Generation, Option<u64>) {
        self.link.awaits()
    }

    /// What clients would be told.
    pub fn view(&self) -> View {
        View {
            communication_up: self.link.communication_up,
            status: if self.is_stable() { self.resources.hold.as_str() } else { "transition" }.to_owned(),
            holding: self.resources.hold,
            peer_holding: Some(self.resources.peer_hold),
            alarm: false,
            waits_for_former_peer: self.waits_for_former_peer(),
        }
    }

    /// What decides its future.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self {
            local: _,
            remote: _,
            index: _,
            uuid: _,
            generation: _,
            auto_failback: _,
            keepalive_ms: _,
            dead_time_ms: _,
            init_dead_ms: _,
            has_group: _,
            now_ms: _,
            link,
            resources,
            standby,
            children,
            queue,
            jobs: _,
            active,
            exit_ms,
            outputs: _,
        } = self;
        link.fingerprint(into, self.dead_time_ms, self.init_dead_ms);
        resources.fingerprint(into);
        standby.fingerprint(into);
        into.add(children.iter().map(|(job, child)| (job.is_some(), child)).collect::<Vec<_>>());
        into.add((queue, active));
        into.moment_if(*exit_ms, 0);
    }
}
