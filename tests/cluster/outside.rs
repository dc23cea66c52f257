//! The world outside the pair: it answers questions of daemons, and what it is asked to do happens.

use ha_core::cluster::event::{Finding, Input, Question, QuestionId};
use ha_core::cluster::settings::{MonitorSettings, TakeoverSettings, WatchdogWait};

use crate::guarded::Guarding;
use crate::host::Host;
use crate::world::{Event, World};

/// How it answers; by default nothing is configured.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// The guards of the pair.
    pub guards: Guarding,
    /// `monitor all`
    pub monitor: Option<MonitorSettings>,
    /// The watchdog of each host.
    pub watchdog_ms: Option<u64>,
    /// `watchdog_wait`
    pub watchdog_wait: Option<WatchdogWait>,
    /// The gates that daemons are configured with; devices follow from `switches`.
    pub takeover: TakeoverSettings,
    /// Power switches that each daemon has, in order.
    pub switches: Vec<Switch>,
    /// Every host that is reset from now on comes back.
    healed: bool,
}

/// A power switch. It never says that it reset a host which it did not reset: nothing could be promised
/// then.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switch {
    /// Shortest and longest time that a reset takes.
    pub takes_ms: (u64, u64),
    /// What a daemon bounds an attempt with.
    pub limit_ms: u64,
    /// How often it does nothing and says so, of a thousand.
    pub fails_permille: u64,
    /// How often it says nothing at all.
    pub hangs_permille: u64,
    /// How often it resets and says that it did not.
    pub lies_permille: u64,
    /// How often it resets and nobody hears that it did.
    pub mute_permille: u64,
    /// How often it does not know the host.
    pub stranger_permille: u64,
    /// How often the victim stays without power.
    pub off_permille: u64,
}

impl Switch {
    /// One that resets after so long.
    pub fn good(takes_ms: u64) -> Self {
        Self { takes_ms: (takes_ms, takes_ms), limit_ms: 10_000, ..Self::default() }
    }

    /// One that always says that it could not.
    pub fn broken() -> Self {
        Self { fails_permille: 1000, ..Self::good(50) }
    }
}

impl Outside {
    /// What daemons are configured with.
    pub fn settings(&self, host: usize) -> TakeoverSettings {
        let mut settings = self.takeover.clone();
        settings.watchdog = self.watchdog_wait;
        settings.fencing.devices = (0..self.switches.len()).map(|at| format!("switch {at}")).collect();
        self.guards.settings(host, &mut settings);
        settings
    }

    /// Every switch works.
    pub fn heal(&mut self) {
        self.healed = true;
        for switch in &mut self.switches {
            *switch = Switch { takes_ms: switch.takes_ms, ..Switch::good(0) };
        }
    }
}

/// What happens when the time for a question has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// The host loses its power, gets it back if so, and nothing is said; `under_way`: also when the
    /// question was withdrawn.
    Reset { victim: usize, comes_back: bool, under_way: bool },
    /// The answer comes.
    Say(Finding),
}

impl Host {
    pub(crate) fn withdraw(&mut self, question: QuestionId) {
        self.asked.remove(&question);
    }
}

impl World {
    pub(crate) fn ask_outside(&mut self, host: usize, question: QuestionId, what: &Question) {
        self.hosts[host].asked.insert(question);
        if self.ask_guards(host, question, what).is_some() {
            return;
        }
        match what {
            Question::Monitor { resource } => {
                let sick = self.hosts[host].kernel.sick[usize::from(*resource)].is_some();
                let answer = if sick { Finding::No("sick".to_owned()) } else { Finding::Yes };
                self.later(2, host, question, Then::Say(answer));
            }
            Question::FenceDevice { .. } => self.later(1, host, question, Then::Say(Finding::Yes)),
            Question::Fence { node, device } => {
                let victim = (0..self.hosts.len()).find(|other| self.config.name(*other) == *node);
                self.switch(host, question, victim.expect("a node of this world"), *device);
            }
            _ => {}
        }
    }

    fn switch(&mut self, host: usize, question: QuestionId, victim: usize, device: usize) {
        let switch = self.config.outside.switches[device];
        let takes_ms = self.random.between(switch.takes_ms.0, switch.takes_ms.1);
        let failed = |why: &str| Then::Say(Finding::Failed(why.to_owned()));
        let mut chance = |permille| self.random.chance(permille);
        let (hangs, fails) = (chance(switch.hangs_permille), chance(switch.fails_permille));
        let (stranger, lies) = (chance(switch.stranger_permille), chance(switch.lies_permille));
        let (comes_back, under_way) = (!chance(switch.off_permille), chance(300));
        let mute = chance(switch.mute_permille);
        let reset = |under_way| Then::Reset { victim, comes_back, under_way };
        if stranger {
            return self.later(takes_ms, host, question, Then::Say(Finding::No("who?".to_owned())));
        }
        if fails {
            return self.later(takes_ms, host, question, failed("it did not work"));
        }
        if hangs {
            // Half of these do it after all, when nobody waits any more.
            if lies {
                self.later(switch.limit_ms + takes_ms, host, question, reset(true));
            }
            return self.later(switch.limit_ms, host, question, failed("it took too long"));
        }
        self.later(takes_ms, host, question, reset(under_way));
        if mute {
            let unclear = Then::Say(Finding::Unclear("it hung up".to_owned()));
            return self.later(takes_ms + takes_ms / 4, host, question, unclear);
        }
        let answer = if lies { failed("it did not work") } else { Then::Say(Finding::Yes) };
        self.later(takes_ms + takes_ms / 4, host, question, answer);
    }

    fn later(&mut self, after_ms: u64, host: usize, question: QuestionId, then: Then) {
        let life = self.hosts[host].life;
        self.push(self.now_ms + after_ms, Event::Outside { host, question, life, then });
    }

    /// The time has come. An answer that nobody waits for, or that comes to a host without power, is none.
    pub(crate) fn outside(&mut self, host: usize, question: QuestionId, life: u64, then: Then) {
        match then {
            Then::Reset { victim, comes_back, under_way } => {
                let wanted = self.hosts[host].life == life && self.hosts[host].asked.contains(&question);
                if !wanted && !under_way {
                    return;
                }
                self.table
                    .row(self.now_ms, &self.hosts, || format!("** the switch resets node{}", victim + 1));
                self.hosts[victim].resets += 1;
                self.crash(victim);
                if comes_back || self.config.outside.healed {
                    self.start(victim);
                }
            }
            Then::Say(answer) => {
                if self.hosts[host].paused_since_ms.is_some() {
                    let again = Then::Say(answer);
                    return self.push(self.now_ms + 20, Event::Outside { host, question, life, then: again });
                }
                if self.hosts[host].life == life && self.hosts[host].asked.remove(&question) {
                    self.feed(host, Input::Answer { question, answer });
                }
            }
        }
    }
}
