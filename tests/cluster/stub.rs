//! A stand-in with the cluster's interface and none of its sense: it beats, takes its own group at
//! once, and the other's when it heard nothing for deadtime. Until the real one is there.

use std::collections::VecDeque;

use ha_core::cluster::event::{Answer, Command, ExitReason, Input, Job, JobId, Now, Output};
use ha_core::cluster::view::{ClusterView, NodeView};
use ha_core::config::settings::AutoFailback;
use ha_core::types::{Generation, LinkName, NodeName, ResourceSet, Uuid};
use ha_core::wire::message::Message;

#[derive(Debug, Clone, Default)]
pub struct Faults {
    pub ignore_own_lateness: bool,
    pub announce_release_early: bool,
    pub ignore_one_way: bool,
    pub keep_both_after_partition: bool,
    pub accept_old_sequence: bool,
}

pub struct ClusterSettings {
    pub local: NodeName,
    pub uuid: Uuid,
    pub generation: Generation,
    pub nodes: Vec<NodeName>,
    pub links: Vec<LinkName>,
    pub keepalive_ms: u64,
    pub dead_time_ms: u64,
    pub warn_time_ms: u64,
    pub init_dead_ms: u64,
    pub hop_fudge: u8,
    pub auto_failback: AutoFailback,
    pub max_rexmit_delay_ms: u64,
    pub resume: Option<ResourceSet>,
    pub random_seed: u64,
    pub faults: Faults,
}

pub struct Cluster {
    settings: ClusterSettings,
    outputs: VecDeque<Output>,
    beat_at: u64,
    heard_at: u64,
    seq: u64,
    jobs: u64,
    running: Option<JobId>,
    hold: ResourceSet,
    stopping: bool,
}

impl Cluster {
    pub fn new(settings: ClusterSettings, now: Now) -> Self {
        Self {
            settings,
            outputs: VecDeque::new(),
            beat_at: now.monotonic_ms,
            heard_at: now.monotonic_ms,
            seq: 0,
            jobs: 0,
            running: None,
            hold: ResourceSet::NONE,
            stopping: false,
        }
    }

    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Start => self.run(Job::Acquire(ResourceSet::LOCAL)),
            Input::Packet { message, .. } if message.text("src") != Some(self.settings.local.as_str()) => {
                self.heard_at = now.monotonic_ms;
            }
            Input::JobDone { .. } => {
                self.running = None;
                if self.stopping {
                    self.outputs.push_back(Output::Exit(ExitReason::Stopped));
                }
            }
            Input::Command { request, command } => {
                self.outputs.push_back(Output::Reply { request, answer: Answer::Accepted });
                if command == Command::Shutdown {
                    self.stopping = true;
                    self.run(Job::Release(ResourceSet::ALL));
                }
            }
            _ => {}
        }
        if now.monotonic_ms >= self.beat_at {
            self.beat_at = now.monotonic_ms + self.settings.keepalive_ms;
            self.seq += 1;
            let message = Message::new("status")
                .with("src", self.settings.local.as_str())
                .with("seq", &format!("{:x}", self.seq))
                .with("hg", &format!("{:x}", self.settings.generation.0))
                .with("ts", &format!("{:x}", now.wall_s));
            self.outputs.push_back(Output::Send { message, key_index: None });
        }
        if now.monotonic_ms >= self.heard_at + self.settings.dead_time_ms
            && self.hold != ResourceSet::ALL
            && self.running.is_none()
        {
            self.run(Job::Acquire(ResourceSet::FOREIGN));
        }
    }

    fn run(&mut self, work: Job) {
        if self.running.is_some() {
            return;
        }
        self.jobs += 1;
        self.running = Some(JobId(self.jobs));
        self.hold = match work {
            Job::Acquire(set) => self.hold.union(set),
            _ => self.hold.minus(work.set()),
        };
        self.outputs.push_back(Output::RunJob { job: JobId(self.jobs), work, cause: None });
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        Some(self.beat_at)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn view(&self, _now: Now) -> ClusterView {
        let node = |name: &NodeName| NodeView { name: name.to_string(), ..NodeView::default() };
        ClusterView {
            local: self.settings.local.to_string(),
            resource_status: self.hold.to_string(),
            holding: self.hold.to_string(),
            nodes: self.settings.nodes.iter().map(node).collect(),
            ..ClusterView::default()
        }
    }

    pub fn holding(&self) -> ResourceSet {
        self.hold
    }
}
