//! Watching what runs: asking resources whether they work, restarting them in place, putting back
//! addresses that somebody else took away, and giving up.
//!
//! ```text
//!  monitor ─▶ works: nothing
//!     └─ failed so many times in a row ─▶ restart in place, so many times ─▶ give up
//!  an address is gone ─▶ put back, each time a little later ─▶ again and again ─▶ give up
//!  give up ─▶ the set counts as failed here: an ordinary standby (`hand_over_failed`); failed on both
//!             nodes: stopped, and down until somebody looks
//! ```
//!
//! Nothing of this while anything else is done with the set, while it is in doubt who holds it, and in
//! maintenance (design §5, rule 5). What a person stopped by hand answers as if it worked.

use crate::types::{LogLevel, ResourceSet};

use super::alarm::AlarmKind;
use super::claims::Phase;
use super::event::{Finding, Job, Output, Question, QuestionId};
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::jobs::Purpose;
use super::settings::{MonitorSettings, ServiceSettings};
use super::view::ServiceView;
use super::Cluster;

/// Children of monitors at once: those of many resources take turns.
const MONITORS_AT_ONCE: usize = 4;
/// Well for so long, what failed before is forgotten, milliseconds.
const FORGET_MS: u64 = 600_000;
/// Nobody could take it: in place again no sooner than this, milliseconds.
const ALONE_PAUSE_MS: u64 = 60_000;
/// An address is put back at once, and then no sooner than this, doubled each time, milliseconds.
const RESTORE_PAUSE_MS: u64 = 1_000;
const RESTORE_PAUSE_MAX_MS: u64 = 30_000;
/// So often in a row, each time after it was put back, and it does not help.
const RESTORES_MAX: u32 = 4;
/// Not taken away again for so long, an address starts anew, milliseconds.
const RESTORED_MS: u64 = 60_000;

/// One watched resource; in the order of [`super::settings::ClusterSettings::services`].
#[derive(Debug, Clone, Default)]
struct Service {
    /// When it is asked next; `None` before the first time.
    due_ms: Option<u64>,
    asked: Option<QuestionId>,
    /// Answers in a row that it does not work.
    failures: u32,
    /// Restarts in place since it was last well for long.
    restarts: u32,
    failed_ms: u64,
    /// Its address is not there.
    lost: bool,
    restores: u32,
    /// When it was put back last.
    restored_ms: Option<u64>,
}

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Services {
    services: Vec<Service>,
    /// Some are asked by `monitor`, or some address may be lost: without either nothing is ever due, which
    /// with thousands of addresses must not be found out anew with each input.
    monitored: bool,
    any_lost: bool,
    /// Sets that run, at least in part, and count as failed.
    pub gave_up: ResourceSet,
    /// Sets that stopped working and count as failed, to be tried again while nobody else can take them.
    again: ResourceSet,
    /// When that is, if nobody can.
    again_ms: Option<u64>,
}

impl Services {
    pub(super) fn new(settings: &[ServiceSettings]) -> Self {
        let monitored = settings.iter().any(|service| service.monitor.is_some());
        Self { services: settings.iter().map(|_| Service::default()).collect(), monitored, ..Self::default() }
    }

    /// What failed lately goes on to count. Questions are asked anew, and whose address is not there is
    /// found out anew.
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.set("services.gave_up", &mut self.gave_up);
        form.set("services.again", &mut self.again);
        form.optional("services.again_at", &mut self.again_ms);
        for (index, service) in self.services.iter_mut().enumerate() {
            let at = |field: &str| format!("service.{index}.{field}");
            let (mut restarts, mut restores) = (u64::from(service.restarts), u64::from(service.restores));
            form.number(&at("restarts"), &mut restarts);
            form.number(&at("failed"), &mut service.failed_ms);
            form.number(&at("restores"), &mut restores);
            form.optional(&at("restored"), &mut service.restored_ms);
            service.restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
            service.restores = u32::try_from(restores).unwrap_or(u32::MAX);
        }
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { services, gave_up, again, again_ms, monitored: _, any_lost: _ } = self;
        into.add((gave_up, again));
        into.moment_if(*again_ms, 0);
        for service in services {
            let Service { due_ms, asked, failures, restarts, failed_ms, lost, restores, restored_ms } =
                service;
            into.moment_if(*due_ms, 0);
            into.add((asked.is_some(), failures, restarts, lost, restores));
            into.moment(*failed_ms, FORGET_MS);
            into.moment_if(*restored_ms, RESTORED_MS);
        }
    }

    /// The set was started, stopped or given away: what was known of it is void.
    pub fn begin_anew(&mut self, settings: &[ServiceSettings], set: ResourceSet) {
        self.gave_up = self.gave_up.minus(set);
        for (service, settings) in self.services.iter_mut().zip(settings) {
            if set.contains(settings.set) {
                *service = Service { asked: service.asked, ..Service::default() };
            }
        }
    }
}

impl Cluster {
    /// An address of this resource is no longer on this host, or its interface is down. While a job is
    /// at the set this means nothing: whoever looks must look again when the job is done. What counts as
    /// failed is not looked after, and may have been stopped because of that.
    pub(super) fn resource_lost(&mut self, resource: u16) {
        let Some(settings) = self.settings.services.get(usize::from(resource)) else { return };
        let set = settings.set;
        let busy = self.jobs.sets().union(self.claims.failed).intersects(set);
        let ours = self.claims.hold.contains(set) && (!busy || self.settings.faults.watch_always);
        if let Some(service) = self.services.services.get_mut(usize::from(resource)).filter(|_| ours) {
            service.lost = true;
            self.services.any_lost = true;
        }
    }

    /// Whether the set may be looked after now.
    fn is_watched(&self, set: ResourceSet) -> bool {
        if self.settings.faults.watch_always {
            return self.claims.hold.contains(set) && !self.is_legacy();
        }
        self.settings.manage_resources
            && self.claims.phase == Phase::Stable
            && self.claims.hold.contains(set)
            && !self.is_legacy()
            && !self.claims.failed.intersects(set)
            && !self.claims.contested.intersects(set)
            && !self.jobs.sets().intersects(set)
            && self.handover.is_idle()
            && !self.lateness.in_doubt()
            && !self.lateness.forfeits()
            && !self.shutdown.is_under_way()
            && !self.in_maintenance()
    }

    pub(super) fn next_service_timeout_ms(&self) -> Option<u64> {
        let again_ms = self.services.again_ms.filter(|_| self.may_try_again());
        if !self.services.monitored && !self.services.any_lost {
            return again_ms;
        }
        let due =
            self.services.services.iter().zip(&self.settings.services).filter_map(|(service, settings)| {
                if !self.is_watched(settings.set) {
                    return None;
                }
                let monitor =
                    service.due_ms.filter(|_| settings.monitor.is_some() && service.asked.is_none());
                let restore = service.lost.then(|| self.restore_due_ms(service));
                monitor.into_iter().chain(restore).min()
            });
        due.chain(again_ms).min()
    }

    /// What is due now; runs after every input.
    pub(super) fn advance_services(&mut self) {
        self.try_again_alone();
        if !self.services.monitored && !self.services.any_lost {
            return;
        }
        self.services.any_lost = self.services.services.iter().any(|service| service.lost);
        for index in 0..self.services.services.len() {
            let settings = &self.settings.services[index];
            let (set, monitor) = (settings.set, settings.monitor);
            if !self.is_watched(set) {
                self.stop_asking(index);
                if !self.claims.hold.contains(set) {
                    self.services.services[index] = Service::default();
                }
                continue;
            }
            let now_ms = self.now.monotonic_ms;
            let service = &self.services.services[index];
            if service.lost && now_ms >= self.restore_due_ms(service) {
                self.restore(index);
                continue;
            }
            if let Some(monitor) = monitor {
                self.ask_service(index, monitor);
            }
        }
    }

    fn stop_asking(&mut self, index: usize) {
        if let Some(question) = self.services.services[index].asked.take() {
            self.outputs.push_back(Output::Withdraw(question));
        }
    }

    // ---- monitors ------------------------------------------------------------------------

    fn ask_service(&mut self, index: usize, monitor: MonitorSettings) {
        let now_ms = self.now.monotonic_ms;
        let at_work = self.services.services.iter().filter(|service| service.asked.is_some()).count();
        let service = &mut self.services.services[index];
        let due_ms = *service.due_ms.get_or_insert(now_ms + monitor.interval_ms);
        if service.asked.is_some() || now_ms < due_ms || at_work >= MONITORS_AT_ONCE {
            return;
        }
        service.due_ms = Some(now_ms + monitor.interval_ms);
        let question = self.ask_question(Question::Monitor { resource: index as u16 });
        self.services.services[index].asked = Some(question);
    }

    /// An answer about a resource; `false` when it is none.
    pub(super) fn service_answered(&mut self, question: QuestionId, answer: &Finding) -> bool {
        let place = self.services.services.iter().position(|service| service.asked == Some(question));
        let Some(index) = place else { return false };
        self.services.services[index].asked = None;
        let settings = self.settings.services[index].clone();
        let Some(monitor) = settings.monitor.filter(|_| self.is_watched(settings.set)) else { return true };
        let now_ms = self.now.monotonic_ms;
        let service = &mut self.services.services[index];
        let why = match answer {
            Finding::Yes => {
                service.failures = 0;
                if now_ms >= service.failed_ms + FORGET_MS {
                    service.restarts = 0;
                }
                return true;
            }
            Finding::No(why) | Finding::Failed(why) | Finding::Unclear(why) | Finding::Found(why) => why,
        };
        service.failures += 1;
        service.failed_ms = now_ms;
        let failures = service.failures;
        let text = format!("{} does not work ({failures} of {}): {why}", settings.word, monitor.failures);
        self.log_limited("monitor", LogLevel::Warning, &text);
        if failures >= monitor.failures {
            self.service_failed(index, monitor, why);
        }
        true
    }

    /// It did not work so many times in a row.
    fn service_failed(&mut self, index: usize, monitor: MonitorSettings, why: &str) {
        let ServiceSettings { set, word, .. } = self.settings.services[index].clone();
        let service = &mut self.services.services[index];
        service.failures = 0;
        service.restarts = service.restarts.saturating_add(1);
        let restarts = service.restarts;
        if restarts > monitor.restarts && self.somebody_can_take() {
            let text = format!("{word} does not work after {} restarts here: {why}", monitor.restarts);
            self.alarm(AlarmKind::ServiceFailed, &word, &text);
            return self.give_up(set, &text);
        }
        let text = if restarts > monitor.restarts {
            // Nobody else has it either: in place again, but not all the time.
            self.services.services[index].due_ms =
                Some(self.now.monotonic_ms + monitor.interval_ms.max(ALONE_PAUSE_MS));
            format!("{word} does not work ({why}) and no other node can take it: it is restarted here")
        } else {
            let most = monitor.restarts;
            format!("{word} does not work ({why}): restart {restarts} of {most}, with what comes after it in its group")
        };
        self.log(LogLevel::Error, &text);
        if restarts <= monitor.restarts.saturating_add(1) {
            self.alarm(AlarmKind::ServiceFailed, &word, &text);
        }
        self.schedule(Job::Restart(set, index as u16), Purpose::Repair);
    }

    // ---- addresses -----------------------------------------------------------------------

    fn restore(&mut self, index: usize) {
        let ServiceSettings { set, word, .. } = self.settings.services[index].clone();
        let now_ms = self.now.monotonic_ms;
        let service = &mut self.services.services[index];
        if service.restored_ms.is_none_or(|last_ms| now_ms >= last_ms + RESTORED_MS) {
            service.restores = 0;
        }
        service.lost = false;
        service.restores = service.restores.saturating_add(1);
        service.restored_ms = Some(now_ms);
        let restores = service.restores;
        if restores > RESTORES_MAX && self.somebody_can_take() {
            let text = format!("{word} is taken away from this node again and again");
            self.alarm(AlarmKind::AddressLost, &word, &format!("{text}: given to the other node"));
            return self.give_up(set, &text);
        }
        let text =
            format!("{word} was taken away or its interface went down, and not by heartbeat: it is put back");
        self.log_limited("restore", LogLevel::Warning, &text);
        if restores == 1 {
            self.alarm(AlarmKind::AddressLost, &word, &text);
        }
        self.schedule(Job::Restore(set, index as u16), Purpose::Repair);
    }

    /// When a lost address may be put back. One that is to be given away is not waited for.
    fn restore_due_ms(&self, service: &Service) -> u64 {
        if self.settings.faults.restore_without_pause {
            return 0;
        }
        let Some(last_ms) = service.restored_ms else { return 0 };
        if service.restores >= RESTORES_MAX && self.somebody_can_take() {
            return last_ms;
        }
        let doublings = service.restores.saturating_sub(1).min(10);
        last_ms + (RESTORE_PAUSE_MS << doublings).min(RESTORE_PAUSE_MAX_MS)
    }

    /// It could not be put back: tried again, later.
    pub(super) fn restored(&mut self, resource: u16, failed: bool) {
        if let Some(service) = self.services.services.get_mut(usize::from(resource)) {
            service.lost |= failed;
            self.services.any_lost |= failed;
        }
    }

    // ---- the picture ----------------------------------------------------------------------

    /// Monitored resources of what is held, and addresses that were lately taken away.
    pub(super) fn service_views(&self) -> Vec<ServiceView> {
        let all = self.services.services.iter().zip(&self.settings.services);
        all.filter_map(|(service, settings)| self.service_view(service, settings)).collect()
    }

    fn service_view(&self, service: &Service, settings: &ServiceSettings) -> Option<ServiceView> {
        if !self.claims.hold.contains(settings.set) {
            return None;
        }
        let lately = |last_ms: u64| self.now.monotonic_ms < last_ms + RESTORED_MS;
        let restores = service.restored_ms.filter(|last_ms| lately(*last_ms)).map_or(0, |_| service.restores);
        let watch = match settings.monitor {
            None if !service.lost && restores == 0 => return None,
            None => String::new(),
            Some(_) if !self.is_watched(settings.set) => "not watched now".to_owned(),
            Some(MonitorSettings { interval_ms, .. }) if interval_ms % 1000 == 0 => {
                format!("asked every {} s", interval_ms / 1000)
            }
            Some(monitor) => format!("asked every {} ms", monitor.interval_ms),
        };
        let mut trouble = Vec::new();
        if let Some(monitor) = settings.monitor {
            if service.failures > 0 {
                trouble.push(format!("does not work ({} of {})", service.failures, monitor.failures));
            }
            if service.restarts > monitor.restarts {
                trouble.push(format!("does not work after {} restarts", monitor.restarts));
            } else if service.restarts > 0 {
                trouble.push(format!("restarted ({} of {})", service.restarts, monitor.restarts));
            }
        }
        if service.lost {
            trouble.push("its address was taken away".to_owned());
        } else if restores > 0 {
            trouble.push(format!("its address was taken away and put back ({restores})"));
        }
        let (word, set) = (settings.word.clone(), settings.set.to_string());
        Some(ServiceView { word, set, watch, trouble: trouble.join(", ") })
    }

    // ---- giving up -----------------------------------------------------------------------

    /// The other node is there. Should it have failed there too, giving up is what ends it.
    fn somebody_can_take(&self) -> bool {
        !self.settings.faults.restart_for_ever && self.peer_is_active() && !self.claims.peer_left
    }

    /// The sets of which something is watched by a line of `monitor`.
    pub(super) fn watched_sets(&self) -> ResourceSet {
        let watched = self.settings.services.iter().filter(|service| service.monitor.is_some());
        watched.fold(ResourceSet::NONE, |sets, service| sets.union(service.set))
    }

    /// The set counts as failed here, as after a start that failed.
    fn give_up(&mut self, set: ResourceSet, why: &str) {
        self.log(LogLevel::Error, &format!("{why}: giving up {set} resources here"));
        self.services.gave_up = self.services.gave_up.union(set);
        self.services.again = self.services.again.union(set);
        let failed = self.claims.failed.union(set);
        self.note_start(failed, failed);
    }

    /// What was restarted in place did not start: all of its set is stopped.
    pub(super) fn restart_failed(&mut self, set: ResourceSet) {
        self.services.again = self.services.again.union(set);
        self.note_start(set, set);
    }

    /// What stopped working and counts as failed is started again now and then, as long as no other node
    /// is there to take it.
    fn try_again_alone(&mut self) {
        let down = self.claims.failed_on_both;
        let again =
            self.services.again.intersection(self.claims.failed).intersection(self.claims.hold).minus(down);
        self.services.again = again;
        if again.is_empty() || self.somebody_can_take() || self.settings.faults.restart_for_ever {
            self.services.again_ms = None;
            return;
        }
        let now_ms = self.now.monotonic_ms;
        let due_ms = *self.services.again_ms.get_or_insert(now_ms + ALONE_PAUSE_MS);
        if now_ms >= due_ms && self.may_try_again() {
            self.services.again_ms = Some(now_ms + ALONE_PAUSE_MS);
            let text = format!(
                "{again} resources failed here and no other node can take them: they are started again"
            );
            self.log(LogLevel::Error, &text);
            self.schedule(Job::Acquire(again), Purpose::Acquire);
        }
    }

    fn may_try_again(&self) -> bool {
        self.is_settled()
            && !self.lateness.forfeits()
            && !self.claims.contested.intersects(self.services.again)
            && !self.stays_put()
            && self.lease_allows()
    }

    /// It failed on both nodes: nothing of it is left half alive here.
    pub(super) fn halt_what_failed(&mut self) {
        let set = self.services.gave_up.intersection(self.claims.failed).intersection(self.claims.hold);
        if !set.is_empty() && !self.settings.faults.keep_what_failed_on_both {
            self.services.gave_up = self.services.gave_up.minus(set);
            self.schedule(Job::Halt(set), Purpose::Repair);
        }
    }
}
