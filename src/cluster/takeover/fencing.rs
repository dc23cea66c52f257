//! Gate: the peer is reset before anything of it is taken (resources spec 3).

use crate::types::{LogLevel, NodeName};

use super::super::event::{Finding, Question};
use super::super::fingerprint::Fingerprint;
use super::super::handoff::Form;
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// Pause before the devices are tried again, milliseconds (resources spec 3.2).
const RETRY_MS: u64 = 5_000;

/// What outlives a pending takeover.
#[derive(Debug, Clone, Default)]
pub(super) struct Fencing {
    /// The peer was reset since it was last heard.
    is_reset: bool,
}

impl Fencing {
    pub fn visit(&mut self, form: &mut Form) {
        form.flag("takeover.is_reset", &mut self.is_reset);
    }

    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { is_reset } = self;
        into.add(is_reset);
    }

    pub fn peer_is_back(&mut self) {
        self.is_reset = false;
    }
}

impl Cluster {
    pub(super) fn look_at_fencing(&mut self, pending: &mut Pending) -> Verdict {
        let Some(name) = self.peer_name() else {
            return Verdict::Open;
        };
        if self.settings.takeover.fencing.devices.is_empty() {
            self.fencing_without_device(pending, &name);
            return Verdict::Open;
        }
        if self.takeover.fencing.is_reset {
            return Verdict::Open;
        }
        if let Some(answer) = pending.answer.take() {
            if self.fencing_ended(pending, &name, &answer) {
                return Verdict::Open;
            }
        }
        let rests = pending.due_ms.is_some_and(|due_ms| self.now.monotonic_ms < due_ms);
        if pending.question.is_none() && !rests {
            let device = pending.step as usize % self.settings.takeover.fencing.devices.len();
            let text =
                format!("Resetting node {name} with [{}]", self.settings.takeover.fencing.devices[device]);
            self.log(LogLevel::Info, &text);
            self.ask_outside(pending, Question::Fence { node: name.clone(), device });
        }
        let tried_all = pending.step as usize >= self.settings.takeover.fencing.devices.len();
        let confirm = match tried_all {
            true => Confirm::Opens,
            false => Confirm::Refused("the other node is being reset at this moment: wait for the result"),
        };
        Verdict::Wait { why: format!("node {name} is to be reset first"), confirm }
    }

    /// An attempt ended; whether the node is reset.
    fn fencing_ended(&mut self, pending: &mut Pending, name: &NodeName, answer: &Finding) -> bool {
        let device = pending.step as usize % self.settings.takeover.fencing.devices.len();
        let device_name = self.settings.takeover.fencing.devices[device].clone();
        let (result, level, text) = match answer {
            Finding::Yes | Finding::Found(_) => ("OK", LogLevel::Info, format!("node {name} now reset.")),
            Finding::No(_) => {
                ("badhost", LogLevel::Error, format!("Device {device_name} cannot reset host {name}."))
            }
            Finding::Failed(why) => {
                self.log(LogLevel::Error, &format!("device {device_name}: {why}"));
                ("bad", LogLevel::Error, format!("Host {name} not reset!"))
            }
        };
        self.log(level, &text);
        self.tell_fencing(name, result);
        if *answer == Finding::Yes {
            self.takeover.fencing.is_reset = true;
            return true;
        }
        pending.step += 1;
        if pending.step as usize % self.settings.takeover.fencing.devices.len() == 0 {
            self.log(LogLevel::Error, &format!("STONITH of {name} failed.  Retrying..."));
            pending.due_ms = Some(self.now.monotonic_ms + RETRY_MS);
        }
        false
    }

    /// As the original: said, and taken all the same.
    fn fencing_without_device(&mut self, pending: &Pending, name: &NodeName) {
        if self.peer_gave_up(pending.ever_heard) {
            self.log(LogLevel::Info, &format!("Dead node {name} gave up resources."));
            self.tell_fencing(name, "unneeded");
        } else {
            self.log(LogLevel::Warning, "No STONITH device configured.");
            self.log(LogLevel::Warning, "Shared disks are not protected.");
            self.tell_fencing(name, "n_stnth");
        }
    }
}
