//! A host: power, daemon, and what is really active there. Group `n` is the one whose home is
//! host `n`.

use ha_core::cluster::event::{Job, JobId, JobOutcome};
use ha_core::types::{Generation, ResourceSet};

use crate::daemon::Daemon;
use crate::group_state::GroupState;

/// A child at work.
#[derive(Debug, Clone)]
pub struct RunningJob {
    /// Its name towards the daemon.
    pub id: JobId,
    /// What it does.
    pub work: Job,
    /// Since when.
    pub began_ms: u64,
}

impl RunningJob {
    /// It stops something.
    pub fn is_release(&self) -> bool {
        matches!(self.work, Job::Release(_) | Job::ReleaseActive(_))
    }
}

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything worked.
    Well,
    /// This group did not start, and was stopped again.
    NoStart(usize),
    /// This group did not stop.
    NoStop(usize),
}

/// One host.
#[derive(Debug, Clone)]
pub struct Host {
    /// It has power.
    pub powered: bool,
    /// Standing still since.
    pub paused_since_ms: Option<u64>,
    /// Its daemon.
    pub daemon: Option<Daemon>,
    /// The daemon died without the host, and not by its own decision.
    pub killed: bool,
    /// When a daemon that asked for it is started again.
    pub restart_ms: Option<u64>,
    /// What a quick restart carries over.
    pub resume: Option<ResourceSet>,
    /// Ground truth per group.
    pub groups: [GroupState; 2],
    /// Groups that did not start here since the last boot.
    pub failed_starts: [bool; 2],
    /// Children at work, oldest first.
    pub jobs: Vec<RunningJob>,
    /// Generation of the present or last daemon.
    pub generation: Generation,
    /// Newest number the present or last daemon sent.
    pub newest_number: u64,
    /// Newest number of the daemon before that.
    pub former_newest: u64,
    /// Its last own status on the wire.
    pub beat_ms: u64,
    /// It asked for the standby that is under way.
    pub giving: bool,
}

impl Host {
    /// A host without power.
    pub fn new() -> Self {
        Self {
            powered: false,
            paused_since_ms: None,
            daemon: None,
            killed: false,
            restart_ms: None,
            resume: None,
            groups: [GroupState::Idle; 2],
            failed_starts: [false; 2],
            jobs: Vec::new(),
            generation: Generation(10),
            newest_number: 0,
            former_newest: 0,
            beat_ms: 0,
            giving: false,
        }
    }

    /// A daemon runs and can run.
    pub fn is_serving(&self) -> bool {
        self.powered && self.paused_since_ms.is_none() && self.daemon.is_some()
    }

    /// Something of the group is here.
    pub fn has(&self, group: usize) -> bool {
        self.powered && self.groups[group].is_present()
    }

    /// A child stops the group.
    pub fn is_releasing(&self, host: usize, group: usize) -> bool {
        self.jobs.iter().any(|job| job.is_release() && groups(host, job.work.set()).any(|one| one == group))
    }

    /// A child begins.
    pub fn begin(&mut self, host: usize, job: RunningJob) {
        for group in groups(host, job.work.set()) {
            let state = &mut self.groups[group];
            match job.work {
                Job::Acquire(_) if *state == GroupState::Idle => *state = GroupState::Starting,
                Job::Release(_) | Job::ReleaseActive(_) if state.is_present() => {
                    *state = GroupState::Stopping
                }
                _ => {}
            }
        }
        self.jobs.push(job);
    }

    /// A child ends: what it achieved.
    pub fn finish(&mut self, host: usize, job: &RunningJob, end: End) -> JobOutcome {
        let mut outcome = JobOutcome::default();
        let starts = matches!(job.work, Job::Acquire(_));
        let stops = job.is_release();
        for group in groups(host, job.work.set()) {
            self.groups[group] = match self.groups[group] {
                GroupState::Starting if !starts => GroupState::Starting,
                GroupState::Stopping if !stops => GroupState::Stopping,
                GroupState::Starting if end == End::NoStart(group) => {
                    outcome.start_failed = outcome.start_failed.union(set_of(host, group));
                    self.failed_starts[group] = true;
                    GroupState::Idle
                }
                GroupState::Starting => GroupState::Active,
                GroupState::Stopping if end == End::NoStop(group) => {
                    outcome.stop_failed = outcome.stop_failed.union(set_of(host, group));
                    GroupState::Active
                }
                GroupState::Stopping => GroupState::Idle,
                state => state,
            };
        }
        outcome
    }

    /// The children are killed: what they touched stays, half-started or half-stopped.
    pub fn abort_jobs(&mut self) {
        self.jobs.clear();
        for state in &mut self.groups {
            if state.is_present() {
                *state = GroupState::Active;
            }
        }
    }
}

/// The groups of a set, seen from that host.
pub fn groups(host: usize, set: ResourceSet) -> impl Iterator<Item = usize> {
    (0..2).filter(move |group| set.contains(set_of(host, *group)))
}

/// The set of one group, seen from that host.
pub fn set_of(host: usize, group: usize) -> ResourceSet {
    if group == host {
        ResourceSet::LOCAL
    } else {
        ResourceSet::FOREIGN
    }
}
