//! The dialogue of `ask_resources` (resources spec 2.7, 2.8). Sets are the giver's viewpoint.

use ha_core::cluster::fingerprint::Fingerprint;
use ha_core::types::{Generation, ResourceSet};
use ha_core::wire::message::Message;

use super::resources::State;
use super::{Child, Model};

/// Wait for consent.
const CONSENT_MS: u64 = 10_000;
/// Wait for the other side's release or acquisition.
const TRANSFER_MS: u64 = 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Step {
    #[default]
    Not,
    Me,
    Other,
    Done,
}

/// State of this file.
#[derive(Debug, Clone, Copy)]
pub struct Standby {
    pub step: Step,
    /// Of the present dialogue, or of the last one: it is named in the end of every child.
    pub set: ResourceSet,
    pub timer_ms: Option<u64>,
    /// The life of the peer that the present dialogue is with.
    peer: Generation,
}

impl Standby {
    pub fn new() -> Self {
        Self { step: Step::Not, set: ResourceSet::ALL, timer_ms: None, peer: Generation(0) }
    }

    fn end(&mut self) {
        (self.step, self.timer_ms, self.peer) = (Step::Not, None, Generation(0));
    }

    pub fn fingerprint(&self, into: &mut Fingerprint) {
        into.add((self.step, self.set));
        into.moment_if(self.timer_ms, 0);
        into.peer_generation(self.peer);
    }
}

impl Model {
    pub(super) fn ask(&mut self, set: ResourceSet, info: &str) {
        self.send(Message::new("ask_resources").with("rsc_hold", set.as_str()).with("info", info));
    }

    pub(super) fn dialogue(&mut self, message: &Message, own: bool) {
        let (Some(info), false) = (message.text("info"), self.is_legacy()) else { return };
        if self.resources.state == State::Shutdown {
            return;
        }
        let set = message.text("rsc_hold").and_then(|word| word.parse().ok()).unwrap_or(ResourceSet::ALL);
        let pending = self.standby.timer_ms.is_some_and(|until_ms| self.now_ms < until_ms);
        if pending && info == "me" {
            return;
        }
        if self.standby.step == Step::Not {
            let ready = self.resources.peer_stable && self.resources.state == State::Stable;
            if ready && info == "me" {
                self.requested(set, own);
            }
            return;
        }
        match (self.standby.step, info, own) {
            (Step::Me, "other", false) => self.release(set),
            (Step::Me, "done", true) => {
                self.resources.hold = self.resources.hold.minus(set);
                self.go(Step::Done, set, TRANSFER_MS);
            }
            (Step::Other, "done", false) => {
                self.go(Step::Done, set, TRANSFER_MS);
                self.start_child(Child::Take(set, set));
            }
            (Step::Done, "done", _) => {
                self.standby.set = set;
                self.standby.end();
                if own {
                    self.resources.hold = self.resources.hold.union(set.mirrored());
                }
                self.send_report(true, None);
            }
            // anything else is an error in its log, and overwrites the set
            (Step::Me, _, false) => self.go(Step::Me, set, TRANSFER_MS),
            (Step::Other | Step::Done, ..) => self.standby.set = set,
            _ => {}
        }
    }

    fn requested(&mut self, set: ResourceSet, own: bool) {
        self.resources.peer_stable = false;
        if own {
            self.go(Step::Me, set, CONSENT_MS);
        } else {
            self.go(Step::Other, set, TRANSFER_MS);
            self.ask(set, "other");
        }
    }

    fn release(&mut self, set: ResourceSet) {
        self.go(Step::Me, set, TRANSFER_MS);
        self.resources.peer_stable = false;
        self.resources.hold = self.resources.hold.minus(set);
        self.send_report(false, Some("standby"));
        self.start_child(Child::Give(set));
    }

    fn go(&mut self, step: Step, set: ResourceSet, patience_ms: u64) {
        let peer = match self.standby.step {
            Step::Not => self.link.peer_generation,
            _ => self.standby.peer,
        };
        self.standby = Standby { step, set, timer_ms: Some(self.now_ms + patience_ms), peer };
    }

    pub(super) fn tick_standby(&mut self) {
        if self.standby.timer_ms.is_some_and(|until_ms| self.now_ms >= until_ms) {
            self.standby.end();
            self.resources.peer_stable = true;
        }
    }

    pub(super) fn cancel_standby(&mut self) {
        if self.standby.step != Step::Not {
            self.standby.end();
            if self.resources.hold == ResourceSet::ALL {
                self.resources.peer_stable = true;
            }
        }
    }

    /// It waits an hour for a word of a life of the peer that has ended: nothing tells it so.
    pub(super) fn waits_for_former_peer(&self) -> bool {
        let far = self.standby.timer_ms.is_some_and(|until_ms| until_ms > self.now_ms + TRANSFER_MS / 2);
        far && self.children.is_empty() && self.standby.peer < self.link.peer_generation
    }

    /// It starts what a life of the peer gave that has ended, and does not claim it before it runs:
    /// the next life is told that nobody has it.
    pub fn takes_from_former_peer(&self) -> bool {
        let takes = self.children.iter().any(|(_, child)| matches!(child, Child::Take(..)));
        takes && self.standby.step == Step::Done && self.standby.peer < self.link.peer_generation
    }

    /// The script `hb_takeover`: standby of what the other one wants, from here.
    pub(super) fn takeover_wanted(&mut self, message: &Message) {
        let set = match message.text("rsc_hold") {
            Some("local") => ResourceSet::FOREIGN,
            Some("foreign") => ResourceSet::LOCAL,
            _ => ResourceSet::ALL,
        };
        self.ask(set, "me");
    }
}
