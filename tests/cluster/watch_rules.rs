//! What must hold of watching and of maintenance, judged from the ground truth as everything in
//! [`crate::checker`].
//!
//! **Only what is there is mended.** A restart in place and the putting back of an address begin only where
//! the group is active.
//!
//! **Hands off in maintenance.** A daemon that came to rest in maintenance starts, restarts, puts back and
//! ends nothing on its own before it is over.
//!
//! **Not all the time.** An address is put back at once, and then no sooner than [`RESTORE_PAUSE_MS`] later.

use ha_core::cluster::event::Job;

use crate::agents::RunningJob;
use crate::group_state::GroupState;
use crate::host::Host;

/// As `cluster::service` has it.
const RESTORE_PAUSE_MS: u64 = 1_000;

/// What the rules need to remember.
#[derive(Debug)]
pub struct WatchRules {
    /// Per host: its daemon came to rest in the maintenance that lasts.
    kept: Vec<bool>,
    /// Per host and group: when its address was put back last, since it was started here.
    restored_ms: Vec<Vec<Option<u64>>>,
}

impl WatchRules {
    /// For that many hosts, with a group each.
    pub fn new(nodes: usize) -> Self {
        Self { kept: vec![false; nodes], restored_ms: vec![vec![None; nodes]; nodes] }
    }

    /// After every event.
    pub fn step(&mut self, hosts: &[Host]) {
        for (kept, host) in self.kept.iter_mut().zip(hosts) {
            let cluster = host.daemon.as_ref().map(|daemon| &daemon.cluster);
            let lasts = cluster.is_some_and(|cluster| cluster.in_maintenance());
            let rests = cluster.is_some_and(|cluster| cluster.is_at_rest()) && host.jobs.is_empty();
            *kept = lasts && (*kept || rests);
        }
    }

    /// A daemon knows no more what was put back when.
    pub fn begin_anew(&mut self, host: usize) {
        self.restored_ms[host].fill(None);
    }

    /// A child is about to begin on that host; the text says which rule that breaks.
    pub fn begins(&mut self, now_ms: u64, host: usize, job: &RunningJob, this: &Host) -> Option<String> {
        let node = host + 1;
        let mends = matches!(job.work, Job::Restart(..) | Job::Restore(..));
        let lasts = this.daemon.as_ref().is_some_and(|daemon| daemon.cluster.in_maintenance());
        let starts = mends || matches!(job.work, Job::Acquire(_) | Job::Halt(_));
        if lasts && self.kept[host] && starts {
            return Some(format!("node{node}: {:?} began in maintenance", job.work));
        }
        for &group in &job.groups {
            if mends && this.kernel.groups[group] != GroupState::Active {
                let state = this.kernel.groups[group];
                return Some(format!("node{node}: {:?} began while its group is {state:?}", job.work));
            }
            let restored_ms = &mut self.restored_ms[host][group];
            match job.work {
                Job::Restore(..) => {
                    if restored_ms.is_some_and(|last_ms| now_ms < last_ms + RESTORE_PAUSE_MS) {
                        return Some(format!("node{node}: {:?} began again too soon", job.work));
                    }
                    *restored_ms = Some(now_ms);
                }
                Job::Acquire(_) | Job::Release(_) | Job::ReleaseActive(_) => *restored_ms = None,
                Job::Announce(_) | Job::Restart(..) | Job::Halt(_) => {}
            }
        }
        None
    }
}
