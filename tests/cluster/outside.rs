//! The world outside the pair: it answers questions of daemons, and what it is asked to do happens.

use ha_core::cluster::event::{Finding, Input, Question, QuestionId};
use ha_core::cluster::settings::{MonitorSettings, TakeoverSettings, WatchdogWait};

use crate::host::Host;
use crate::world::{Event, World};

/// How it answers; by default nothing is configured.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Power switches that each daemon has; each resets its victim after so many milliseconds.
    pub switches_ms: Vec<u64>,
    /// `monitor all`
    pub monitor: Option<MonitorSettings>,
    /// The watchdog of each host.
    pub watchdog_ms: Option<u64>,
    /// `watchdog_wait`
    pub watchdog_wait: Option<WatchdogWait>,
}

impl Outside {
    /// What daemons are configured with.
    pub fn settings(&self) -> TakeoverSettings {
        let mut settings = TakeoverSettings::default();
        settings.watchdog = self.watchdog_wait;
        settings.fencing.devices = (0..self.switches_ms.len()).map(|at| format!("switch {at}")).collect();
        settings
    }
}

/// What happens when the time for a question has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Then {
    /// The host loses its power and gets it back, and the answer comes.
    Reset(usize),
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
        let (after_ms, then) = match what {
            Question::Monitor { resource } => {
                let sick = self.hosts[host].kernel.sick[usize::from(*resource)].is_some();
                let answer = if sick { Finding::No("sick".to_owned()) } else { Finding::Yes };
                (2, Then::Say(answer))
            }
            Question::Fence { node, device } => {
                let victim = (0..self.hosts.len()).find(|other| self.config.name(*other) == *node);
                let victim = victim.expect("a node of this world");
                (self.config.outside.switches_ms[*device], Then::Reset(victim))
            }
        };
        let life = self.hosts[host].life;
        self.push(self.now_ms + after_ms, Event::Outside { host, question, life, then });
    }

    /// The time has come; nothing happens for a question that is not wanted any more.
    pub(crate) fn outside(&mut self, host: usize, question: QuestionId, life: u64, then: Then) {
        if self.hosts[host].life != life || !self.hosts[host].asked.remove(&question) {
            return;
        }
        let answer = match then {
            Then::Reset(victim) => {
                self.crash(victim);
                self.start(victim);
                Finding::Yes
            }
            Then::Say(answer) => answer,
        };
        self.feed(host, Input::Answer { question, answer });
    }
}
