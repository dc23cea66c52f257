//! Which child runs when: one at a time for each set, in the order asked for.

use std::collections::{BTreeMap, VecDeque};

use crate::types::{LogLevel, ResourceSet};

use super::alarm::AlarmKind;
use super::event::{ExitReason, Job, JobId, JobOutcome, Output};
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::Cluster;

/// Jobs waiting at once; more would mean a loop of decisions.
const QUEUE_MAX: usize = 16;

/// What a job's end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Taking what is ours.
    Acquire,
    /// Taking what the peer left.
    Takeover,
    /// Stopping leftovers of an earlier run.
    Clean,
    /// Letting go because both claimed it, or because we were late.
    Conflict,
    /// Telling the network again.
    Announce,
    /// Mending what runs here, or ending what cannot be mended.
    Repair,
    /// Giver's part of a standby.
    StandbyRelease,
    /// Taker's part of a standby.
    StandbyAcquire,
    /// Letting everything go for good.
    Shutdown,
    /// Giving groups to a peer that asks for them (legacy).
    LegacyRelease,
}

/// Running and waiting jobs.
#[derive(Debug, Clone, Default)]
pub(super) struct Jobs {
    last: u64,
    running: BTreeMap<JobId, (Job, Purpose)>,
    queue: VecDeque<(Job, Purpose)>,
}

impl Jobs {
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.number("jobs.last", &mut self.last);
    }

    /// What decides, for [`Cluster::fingerprint`]; the names of jobs do not, only their order.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { last: _, running, queue } = self;
        into.add(running.len());
        for job in running.values().chain(queue) {
            into.add(job);
        }
    }

    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &(Job, Purpose)> {
        self.running.values().chain(&self.queue)
    }

    /// The sets that a job runs or waits for.
    pub fn sets(&self) -> ResourceSet {
        self.all().fold(ResourceSet::NONE, |sets, (job, _)| sets.union(job.set()))
    }

    /// The sets of the jobs of that purpose that run or wait; `None` when there is none.
    pub fn set_of_purpose(&self, purpose: Purpose) -> Option<ResourceSet> {
        let sets = self.all().filter(|(_, why)| *why == purpose).map(|(job, _)| job.set());
        sets.reduce(ResourceSet::union)
    }

    /// What runs or waits, in words for the status.
    pub fn describe(&self) -> String {
        let words: Vec<String> =
            self.all().map(|(job, _)| super::text::job(*job).replace('-', " ")).collect();
        words.join(", ")
    }
}

impl Cluster {
    /// Queues a job. A release makes a waiting acquisition of the same set void and the other way
    /// round; what already runs is waited for.
    pub(super) fn schedule(&mut self, job: Job, purpose: Purpose) {
        let set = job.set();
        if set.is_empty() {
            return;
        }
        let opposite = |other: Job| match job {
            Job::Acquire(_) => matches!(other, Job::Release(_) | Job::ReleaseActive(_)),
            Job::Release(_) | Job::Halt(_) => {
                matches!(other, Job::Acquire(_) | Job::Restart(..) | Job::Restore(..))
            }
            Job::ReleaseActive(_) | Job::Announce(_) | Job::Restart(..) | Job::Restore(..) => false,
        };
        self.jobs.queue = std::mem::take(&mut self.jobs.queue)
            .into_iter()
            .filter_map(|(other, why)| {
                if !opposite(other) {
                    return Some((other, why));
                }
                with_set(other, other.set().minus(set)).map(|rest| (rest, why))
            })
            .collect();
        if self.jobs.queue.len() < QUEUE_MAX {
            self.jobs.queue.push_back((job, purpose));
        }
    }

    /// Sets for which a release runs or waits.
    pub(super) fn releasing(&self) -> ResourceSet {
        self.sets_of(|job| matches!(job, Job::Release(_)))
    }

    /// Sets for which an acquisition runs or waits.
    fn acquiring(&self) -> ResourceSet {
        self.sets_of(|job| matches!(job, Job::Acquire(_)))
    }

    fn sets_of(&self, wanted: impl Fn(Job) -> bool) -> ResourceSet {
        self.jobs
            .all()
            .filter(|(job, _)| wanted(*job))
            .fold(ResourceSet::NONE, |sets, (job, _)| sets.union(job.set()))
    }

    /// Starts every waiting job whose sets nobody works on.
    pub(super) fn start_jobs(&mut self) {
        let mut busy =
            self.jobs.running.values().fold(ResourceSet::NONE, |sets, (job, _)| sets.union(job.set()));
        let mut waiting = VecDeque::new();
        for (job, purpose) in std::mem::take(&mut self.jobs.queue) {
            let uncovered = matches!(job, Job::Acquire(_)) && !self.lease_covers_start();
            if busy.intersects(job.set()) || uncovered || self.waits_for_peer(job) {
                waiting.push_back((job, purpose));
            } else {
                self.start_job(job, purpose);
            }
            busy = busy.union(job.set());
        }
        self.jobs.queue = waiting;
    }

    /// Nothing is started while a live peer claims it: who lets go first is decided, and has to be
    /// done, before the other side begins (seed 1307 of the simulator). What a dead one claimed is
    /// started with the takeover.
    fn waits_for_peer(&self, job: Job) -> bool {
        let counts = self.peer_is_live() || self.takeover.is_pending();
        let claimed = self.claims.peer_known && counts && !self.claims.peer_left;
        matches!(job, Job::Acquire(_)) && claimed && self.claims.peer_hold_here().intersects(job.set())
    }

    fn start_job(&mut self, work: Job, purpose: Purpose) {
        if matches!(work, Job::Acquire(_) | Job::Release(_) | Job::ReleaseActive(_)) {
            self.services.begin_anew(&self.settings.services, work.set());
        }
        self.jobs.last += 1;
        let job = JobId(self.jobs.last);
        self.jobs.running.insert(job, (work, purpose));
        if self.settings.faults.announce_release_early && matches!(work, Job::Release(_)) {
            self.claims.hold = self.claims.hold.minus(work.set());
        }
        let for_peer = matches!(purpose, Purpose::Takeover | Purpose::LegacyRelease);
        let cause = for_peer.then(|| self.peer_name()).flatten();
        self.outputs.push_back(Output::RunJob { job, work, cause });
    }

    /// A child ended.
    pub(super) fn job_done(&mut self, job: JobId, outcome: JobOutcome) {
        let Some((work, purpose)) = self.jobs.running.remove(&job) else {
            return;
        };
        if !outcome.stop_failed.is_empty() {
            self.stop_failed(outcome.stop_failed);
            return;
        }
        match work {
            Job::Acquire(set) => self.note_start(set, outcome.start_failed),
            Job::Release(set) => self.released(set),
            Job::ReleaseActive(set) => self.cleaned(set),
            Job::Restart(set, _) if !outcome.start_failed.is_empty() => {
                self.restart_failed(set.intersection(outcome.start_failed))
            }
            Job::Restore(_, resource) => self.restored(resource, !outcome.start_failed.is_empty()),
            Job::Announce(_) | Job::Restart(..) | Job::Halt(_) => {}
        }
        self.finish_job(work.set(), purpose);
    }

    /// The set is stopped: the claim falls, unless it was made anew meanwhile.
    fn released(&mut self, set: ResourceSet) {
        let wanted_again = self.acquiring();
        self.claims.hold = self.claims.hold.minus(set.minus(wanted_again));
        self.claims.unclean = self.claims.unclean.minus(set);
        self.failure_is_history(set);
    }

    fn finish_job(&mut self, set: ResourceSet, purpose: Purpose) {
        match purpose {
            Purpose::Acquire => {
                self.log(LogLevel::Info, "Local Resource acquisition completed.");
                let reason = match (self.is_legacy(), self.peer_is_live()) {
                    (false, _) => "T_RESOURCES(us)",
                    (true, false) => "req_our_resources",
                    (true, true) => "ip-request-resp",
                };
                self.initial_acquisition_complete(reason);
            }
            Purpose::Takeover => {
                self.log(LogLevel::Info, "mach_down takeover complete.");
                self.initial_acquisition_complete("mach_down");
            }
            Purpose::StandbyRelease => self.giver_released(),
            Purpose::StandbyAcquire => self.taker_acquired(),
            Purpose::Shutdown => self.everything_released(),
            Purpose::LegacyRelease => self.legacy_released(set),
            Purpose::Clean | Purpose::Conflict | Purpose::Announce | Purpose::Repair => {}
        }
    }

    /// Rule 2: a stop that failed is never followed by a word that sounds like a release. The
    /// daemon goes down in silence and the machine with it; the peer's deadtime decides.
    fn stop_failed(&mut self, set: ResourceSet) {
        if self.settings.faults.announce_release_early {
            self.claims.hold = self.claims.hold.minus(set);
            return;
        }
        self.log(LogLevel::Critical, "Resource STOP failure. Reboot required!");
        self.log(LogLevel::Critical, "Killing heartbeat ungracefully!");
        let text = format!("{set} resources did not stop on this node: it goes down without a word");
        self.alarm(AlarmKind::StopFailed, set.as_str(), &text);
        self.outputs.push_back(Output::Exit(ExitReason::StopFailed));
        self.ended = true;
    }
}

fn with_set(job: Job, set: ResourceSet) -> Option<Job> {
    if set.is_empty() {
        return None;
    }
    Some(match job {
        Job::Acquire(_) => Job::Acquire(set),
        Job::Release(_) => Job::Release(set),
        Job::ReleaseActive(_) => Job::ReleaseActive(set),
        Job::Announce(_) => Job::Announce(set),
        Job::Restart(_, resource) => Job::Restart(set, resource),
        Job::Restore(_, resource) => Job::Restore(set, resource),
        Job::Halt(_) => Job::Halt(set),
    })
}
