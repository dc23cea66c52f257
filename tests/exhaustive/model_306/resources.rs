//! Who holds what (resources spec 2.3 to 2.6, 2.10, 2.12, 2.13 J).

use ha_core::cluster::fingerprint::Fingerprint;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;
use ha_core::wire::message::Message;

use super::standby::Step;
use super::{Child, Model};

/// Wait for the peer's stable report after the first exchange.
const LOCAL_TIMEOUT_MS: u64 = 10_000;
/// Failback is looked at again.
const FAILBACK_MS: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Init,
    Starting,
    BothStarting,
    Received,
    Stable,
    Shutdown,
}

/// State of this file.
#[derive(Debug, Clone)]
pub struct Resources {
    pub state: State,
    pub hold: ResourceSet,
    /// The peer's viewpoint.
    pub peer_hold: ResourceSet,
    pub peer_stable: bool,
    takeover: bool,
    local_timeout_ms: Option<u64>,
    needs_failback: bool,
    failback_ms: Option<u64>,
    resumed: bool,
    pub shutdown_wanted: bool,
    pub shutting: bool,
    giving_up: bool,
    pub restarting: bool,
    pub restart_ms: Option<u64>,
    pub failed_start_ms: Option<u64>,
}

impl Resources {
    pub fn new(resume: Option<ResourceSet>) -> Self {
        Self {
            state: State::Init,
            hold: resume.unwrap_or_default(),
            peer_hold: ResourceSet::NONE,
            peer_stable: false,
            takeover: false,
            local_timeout_ms: None,
            needs_failback: false,
            failback_ms: None,
            resumed: resume.is_some(),
            shutdown_wanted: false,
            shutting: false,
            giving_up: false,
            restarting: false,
            restart_ms: None,
            failed_start_ms: None,
        }
    }

    pub fn timers_ms(&self) -> [Option<u64>; 4] {
        let local = self.local_timeout_ms.filter(|_| self.state == State::Received);
        [local, self.failback_ms, self.restart_ms, self.failed_start_ms]
    }

    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self {
            state,
            hold,
            peer_hold,
            peer_stable,
            takeover,
            local_timeout_ms: _,
            needs_failback,
            failback_ms: _,
            resumed,
            shutdown_wanted,
            shutting,
            giving_up,
            restarting,
            restart_ms: _,
            failed_start_ms: _,
        } = self;
        into.add((state, hold, peer_hold, peer_stable, takeover, needs_failback));
        into.add((resumed, shutdown_wanted, shutting, giving_up, restarting));
        for timer_ms in self.timers_ms() {
            into.moment_if(timer_ms, 0);
        }
    }
}

impl Model {
    /// Communication is up.
    pub(super) fn resources_begin(&mut self, peer_dead: bool) {
        if self.is_legacy() {
            if peer_dead {
                self.peer_died(false);
            } else {
                self.acquire_local(true);
            }
            return;
        }
        self.resources.state = State::Starting;
        self.send(Message::new("starting"));
        if peer_dead {
            self.peer_died(false);
        }
    }

    pub(super) fn send_report(&mut self, stable: bool, info: Option<&str>) {
        let mut report = Message::new("resource")
            .with("rsc_hold", self.resources.hold.as_str())
            .with("rtype", "full")
            .with("isstable", if stable { "1" } else { "0" });
        if let Some(info) = info {
            report.push_text("info", info);
        }
        self.send(report);
    }

    fn state_is_stable(&self) -> bool {
        self.resources.state == State::Stable
    }

    /// `starting` of the peer.
    pub(super) fn peer_starts(&mut self) {
        if self.is_legacy() {
            return;
        }
        match self.resources.state {
            State::Init | State::BothStarting => return,
            State::Starting => self.resources.state = State::BothStarting,
            _ => {}
        }
        self.force_stable();
        self.resources.peer_stable = false;
        self.send_report(self.state_is_stable(), None);
    }

    /// After a quick restart every message finds it stable.
    fn force_stable(&mut self) {
        if self.resources.resumed && self.resources.state != State::Shutdown {
            self.resources.state = State::Stable;
        }
    }

    /// `resource` of the peer, or of our own.
    pub(super) fn report(&mut self, message: &Message, own: bool) {
        let Some(word) = message.text("rsc_hold") else { return };
        if self.is_legacy() || self.resources.state == State::Init {
            return;
        }
        if matches!(self.resources.state, State::Starting | State::BothStarting) {
            self.resources.state = State::Received;
            self.resources.local_timeout_ms = Some(self.now_ms + LOCAL_TIMEOUT_MS);
        }
        self.force_stable();
        let set: ResourceSet = word.parse().unwrap_or_default();
        let replaces = message.text("rtype") == Some("full") || set.is_empty();
        let claims = |before: ResourceSet| if replaces { set } else { before.union(set) };
        if own {
            self.resources.hold = claims(self.resources.hold);
            match message.text("info") {
                Some("mach_down") => {
                    self.resources.takeover = false;
                    self.resources.needs_failback = true;
                    self.resources.peer_stable = true;
                }
                Some("shutdown") => self.resources.state = State::Shutdown,
                _ => {}
            }
            return;
        }
        self.resources.peer_hold = claims(self.resources.peer_hold);
        match message.text("isstable") {
            Some("1") if !self.resources.peer_stable => {
                self.resources.peer_stable = true;
                self.send_report(self.state_is_stable(), None);
                self.check_failback();
            }
            Some("1") | None => {}
            Some(_) => self.resources.peer_stable = false,
        }
        if self.resources.state < State::Stable && self.resources.peer_stable {
            self.acquire_local(false);
            self.resources.state = State::Stable;
            self.send_report(true, None);
            self.check_failback();
        }
    }

    /// "req_our_resources"
    fn acquire_local(&mut self, forced: bool) {
        if self.resources.shutting {
            return;
        }
        let taken = self.resources.peer_hold.contains(ResourceSet::FOREIGN);
        let held = self.resources.hold.contains(ResourceSet::LOCAL);
        if !forced && (taken || held) && self.standby.step == Step::Not {
            return;
        }
        self.resources.hold = self.resources.hold.union(ResourceSet::LOCAL);
        self.start_child(Child::OwnResources(self.resources.hold));
    }

    /// Its child has asked for what is not active; the claims are those it was forked with.
    pub(super) fn own_resources_asked(&mut self, claims: ResourceSet) {
        let key = format!("group{}", self.index + 1);
        if self.has_group && !self.active.contains(ResourceSet::LOCAL) {
            if self.is_legacy() && self.link.is_peer_active() {
                self.send(Message::new("ip-request").with("ipaddr", &key));
            } else {
                let own = Message::new("ip-request-resp").with("dest", &self.local.clone());
                self.send(own.with("ipaddr", &key).with("weown", "yes").with("ok", "OK"));
            }
        }
        if !self.is_legacy() {
            let report = Message::new("resource")
                .with("rsc_hold", claims.as_str())
                .with("rtype", "full")
                .with("isstable", "1")
                .with("info", "req_our_resources()");
            self.send(report);
        }
    }

    // ---- the peer goes -------------------------------------------------------------------

    pub(super) fn peer_died(&mut self, heard: bool) {
        self.cancel_standby();
        if self.resources.shutting {
            return;
        }
        self.resources.needs_failback = true;
        let gave_up = heard && self.resources.peer_hold.is_empty();
        let result = if gave_up { "unneeded" } else { "n_stnth" };
        let remote = self.remote.clone();
        self.send(Message::new("stonith").with("node", &remote).with("result", result));
        if !gave_up {
            self.take_over();
        } else if self.resources.hold == ResourceSet::ALL {
            self.resources.peer_stable = true;
        } else {
            if !self.resources.hold.contains(ResourceSet::LOCAL) {
                self.acquire_local(true);
            }
            if !self.resources.hold.contains(ResourceSet::FOREIGN) {
                self.take_over();
            }
        }
    }

    fn take_over(&mut self) {
        if self.resources.shutting {
            return;
        }
        self.queue.push_back(Child::MachDown);
        self.run_queue();
        self.resources.hold = self.resources.hold.union(ResourceSet::FOREIGN);
        self.resources.peer_hold = ResourceSet::NONE;
        self.resources.peer_stable = true;
        self.resources.takeover = !self.is_legacy();
        self.acquire_local(true);
    }

    /// `shutdone` of the peer.
    pub(super) fn peer_left(&mut self) {
        if self.link.communication_up && !self.is_legacy() {
            let hold = self.resources.hold;
            if hold != ResourceSet::ALL && !self.resources.shutting {
                let set = if hold.is_empty() { ResourceSet::ALL } else { hold.mirrored() };
                self.standby.step = Step::Done;
                self.start_child(Child::Take(set, self.standby.set));
            }
        }
        self.resources.peer_hold = ResourceSet::NONE;
        self.resources.peer_stable = false;
        if self.link.communication_up {
            self.take_over();
        }
    }

    // ---- failback, time ------------------------------------------------------------------

    fn check_failback(&mut self) {
        self.resources.failback_ms = None;
        let wanted = self.resources.needs_failback
            && !self.resources.shutting
            && self.resources.hold.contains(ResourceSet::FOREIGN)
            && self.auto_failback == AutoFailback::On;
        if !wanted {
            self.resources.needs_failback = false;
        } else if self.standby.step != Step::Not || !self.resources.peer_stable || !self.state_is_stable() {
            self.resources.failback_ms = Some(self.now_ms + FAILBACK_MS);
        } else {
            self.ask(ResourceSet::FOREIGN, "me");
            self.resources.needs_failback = false;
        }
    }

    pub(super) fn tick_resources(&mut self) {
        let due = |timer_ms: Option<u64>| timer_ms.is_some_and(|due_ms| self.now_ms >= due_ms);
        let [local, failback, restart, failed_start] = self.resources.timers_ms().map(due);
        if local {
            self.resources.state = State::Stable;
            self.acquire_local(false);
            self.send_report(true, None);
        }
        if failback {
            self.check_failback();
        }
        if restart {
            self.resources.restart_ms = None;
            self.resources.restarting = true;
            self.resources.shutdown_wanted = true;
        }
        if failed_start {
            self.resources.failed_start_ms = None;
            self.ask(ResourceSet::FOREIGN, "me");
        }
    }

    // ---- shutdown ------------------------------------------------------------------------

    pub(super) fn is_stable(&self) -> bool {
        if self.is_legacy() {
            return self.children.is_empty();
        }
        let state = &self.resources;
        let at_end = matches!(state.state, State::Stable | State::Shutdown | State::Init);
        let alone = state.shutting && state.state == State::Init;
        let quiet = state.peer_stable
            && !state.takeover
            && self.standby.step == Step::Not
            && self.standby.timer_ms.is_none()
            && self.children.is_empty();
        alone || (quiet && at_end)
    }

    /// A shutdown waits until nothing is in transition.
    pub(super) fn pending_shutdown(&mut self) {
        if !self.resources.shutdown_wanted || !self.link.communication_up {
            return;
        }
        self.resources.shutting = true;
        if self.resources.giving_up || !self.is_stable() {
            return;
        }
        self.resources.giving_up = true;
        self.resources.hold = ResourceSet::NONE;
        if !self.is_legacy() {
            self.resources.state = State::Shutdown;
            self.send_report(false, Some("shutdown"));
        }
        self.start_child(Child::GiveUp);
    }
}
