//! A host's kernel and its agents: what is really active there, and the children at work.
//!
//! Groups have canonical numbers: group `n` is the one whose home is node `n`. The cluster values
//! speak of local and foreign sets from their own viewpoint; [`groups`] translates.

use ha_core::cluster::event::{Job, JobId, JobOutcome};
use ha_core::types::ResourceSet;

use crate::group_state::GroupState;

/// A fault that lasts for ever, for the counters of [`AgentFaults`].
pub const ALWAYS: u32 = u32::MAX;

/// How the agents of one host behave.
#[derive(Debug, Clone)]
pub struct AgentFaults {
    /// Per group: how many of the next starts fail.
    pub start_fails: Vec<u32>,
    /// Per group: how many of the next stops fail.
    pub stop_fails: Vec<u32>,
    /// How many of the next jobs hang until the world is healed.
    pub hangs: u32,
    /// Shortest and longest time a job takes.
    pub duration_ms: (u64, u64),
}

impl AgentFaults {
    /// Agents that work, for that many groups.
    pub fn none(groups: usize) -> Self {
        Self { start_fails: vec![0; groups], stop_fails: vec![0; groups], hangs: 0, duration_ms: (1, 40) }
    }
}

/// A child at work.
#[derive(Debug, Clone)]
pub struct RunningJob {
    /// Its name towards the cluster value.
    pub id: JobId,
    /// What it does.
    pub work: Job,
    /// Canonical numbers of its groups.
    pub groups: Vec<usize>,
    /// When it ends; `None` while it hangs.
    pub ends_at_ms: Option<u64>,
}

impl RunningJob {
    /// It stops something.
    pub fn is_release(&self) -> bool {
        matches!(self.work, Job::Release(_) | Job::ReleaseActive(_) | Job::Halt(_))
    }
}

/// The canonical group numbers of a set, seen from that node.
pub fn groups(node: usize, set: ResourceSet, count: usize) -> Vec<usize> {
    let wanted =
        |group: &usize| set.contains(if *group == node { ResourceSet::LOCAL } else { ResourceSet::FOREIGN });
    (0..count).filter(wanted).collect()
}

/// The set of one group, seen from that node.
pub fn set_of(node: usize, group: usize) -> ResourceSet {
    if group == node {
        ResourceSet::LOCAL
    } else {
        ResourceSet::FOREIGN
    }
}

/// Ground truth of one host: survives the daemon, not the host.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Per group.
    pub groups: Vec<GroupState>,
    /// How the agents behave.
    pub faults: AgentFaults,
    /// Starts that failed here since the last boot, per group.
    pub failed_starts: Vec<u32>,
    /// Per group: what runs there does not work; how many restarts do not help.
    pub sick: Vec<Option<u32>>,
    /// Per group: it did not work at some time since the last boot.
    pub ever_sick: Vec<bool>,
    /// Per group: restarts in place since the last boot.
    pub restarts: Vec<u32>,
    /// Per group: addresses put back since the last boot.
    pub restored: Vec<u32>,
}

impl Kernel {
    /// A freshly booted host.
    pub fn new(groups: usize) -> Self {
        Self {
            groups: vec![GroupState::Idle; groups],
            faults: AgentFaults::none(groups),
            failed_starts: vec![0; groups],
            sick: vec![None; groups],
            ever_sick: vec![false; groups],
            restarts: vec![0; groups],
            restored: vec![0; groups],
        }
    }

    /// The power went: nothing is active any more.
    pub fn reset(&mut self) {
        self.groups.fill(GroupState::Idle);
        self.failed_starts.fill(0);
        for (ever, now) in self.ever_sick.iter_mut().zip(&self.sick) {
            *ever = now.is_some();
        }
    }

    /// What runs there stops working; so many restarts do not help.
    pub fn sicken(&mut self, group: usize, restarts: u32) {
        self.sick[group] = Some(restarts);
        self.ever_sick[group] = true;
    }

    /// A child begins.
    pub fn begin(&mut self, job: &RunningJob) {
        for &group in &job.groups {
            let state = &mut self.groups[group];
            match job.work {
                Job::Acquire(_) if *state == GroupState::Idle => *state = GroupState::Starting,
                Job::Release(_) | Job::ReleaseActive(_) | Job::Halt(_) if state.is_present() => {
                    *state = GroupState::Stopping
                }
                _ => {}
            }
        }
    }

    /// A child ends: what it achieved, from that node's viewpoint.
    pub fn finish(&mut self, node: usize, job: &RunningJob) -> JobOutcome {
        let mut outcome = JobOutcome::default();
        let restarts = matches!(job.work, Job::Restart(..));
        for &group in &job.groups {
            self.mend(group, job.work);
        }
        for &group in &job.groups {
            let set = set_of(node, group);
            match self.groups[group] {
                GroupState::Starting if take(&mut self.faults.start_fails[group]) => {
                    outcome.start_failed = outcome.start_failed.union(set);
                    self.failed_starts[group] += 1;
                    self.stop(group, set, &mut outcome);
                }
                GroupState::Starting => self.groups[group] = GroupState::Active,
                // What of it was stopped did not start again: all of it is stopped.
                GroupState::Active if restarts && take(&mut self.faults.start_fails[group]) => {
                    outcome.start_failed = outcome.start_failed.union(set);
                    self.failed_starts[group] += 1;
                    self.stop(group, set, &mut outcome);
                }
                GroupState::Stopping => self.stop(group, set, &mut outcome),
                GroupState::Idle | GroupState::Active => {}
            }
        }
        outcome
    }

    fn mend(&mut self, group: usize, work: Job) {
        match work {
            Job::Restart(..) => {
                self.restarts[group] += 1;
                self.sick[group] = self.sick[group].and_then(|left| left.checked_sub(1));
            }
            Job::Restore(..) => self.restored[group] += 1,
            _ => {}
        }
    }

    /// A child was killed in the middle: what it touched stays, as a half-started or half-stopped
    /// group is still on the network.
    pub fn abort(&mut self, job: &RunningJob) {
        for &group in &job.groups {
            if self.groups[group].is_present() {
                self.groups[group] = GroupState::Active;
            }
        }
    }

    fn stop(&mut self, group: usize, set: ResourceSet, outcome: &mut JobOutcome) {
        if take(&mut self.faults.stop_fails[group]) {
            outcome.stop_failed = outcome.stop_failed.union(set);
            self.groups[group] = GroupState::Active;
        } else {
            self.groups[group] = GroupState::Idle;
        }
    }
}

fn take(counter: &mut u32) -> bool {
    let fails = *counter > 0;
    if *counter != ALWAYS {
        *counter = counter.saturating_sub(1);
    }
    fails
}

#[test]
fn sets_become_groups_by_viewpoint() {
    assert_eq!(groups(0, ResourceSet::LOCAL, 2), [0]);
    assert_eq!(groups(1, ResourceSet::LOCAL, 2), [1]);
    assert_eq!(groups(1, ResourceSet::FOREIGN, 2), [0]);
    assert_eq!(groups(1, ResourceSet::ALL, 2), [0, 1]);
    assert!(groups(0, ResourceSet::NONE, 2).is_empty());
}

#[test]
fn a_failed_start_leaves_nothing_and_a_failed_stop_everything() {
    let mut kernel = Kernel::new(2);
    let job =
        |work: Job| RunningJob { id: JobId(1), work, groups: groups(0, work.set(), 2), ends_at_ms: None };
    kernel.faults.start_fails[1] = 1;
    let start = job(Job::Acquire(ResourceSet::ALL));
    kernel.begin(&start);
    assert_eq!(kernel.groups, [GroupState::Starting; 2]);
    assert_eq!(kernel.finish(0, &start).start_failed, ResourceSet::FOREIGN);
    assert_eq!(kernel.groups, [GroupState::Active, GroupState::Idle]);
    kernel.faults.stop_fails[0] = ALWAYS;
    let stop = job(Job::Release(ResourceSet::ALL));
    kernel.begin(&stop);
    assert_eq!(kernel.finish(0, &stop).stop_failed, ResourceSet::LOCAL);
    assert_eq!(kernel.groups, [GroupState::Active, GroupState::Idle]);
}
