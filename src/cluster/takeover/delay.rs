//! Gate: a delay, or a person's word (`takeover`). The alarm comes at once.

use crate::config::settings::TakeoverMode;
use crate::types::LogLevel;

use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

impl Cluster {
    pub(super) fn look_at_delay(&mut self, pending: &mut Pending) -> Verdict {
        let Some(name) = self.peer_name() else {
            return Verdict::Open;
        };
        let until_ms = match self.settings.takeover.mode {
            TakeoverMode::Auto => return Verdict::Open,
            TakeoverMode::Manual => None,
            TakeoverMode::Delay { ms } => Some(pending.gate_since_ms + ms),
        };
        if until_ms.is_some_and(|until_ms| self.now.monotonic_ms >= until_ms) {
            self.log(LogLevel::Warning, "nobody objected: the takeover goes on");
            return Verdict::Open;
        }
        if pending.step == 0 {
            pending.step = 1;
            match self.settings.takeover.mode {
                TakeoverMode::Delay { ms } => {
                    let wait = format!("its resources are taken over in {} s", ms.div_ceil(1000));
                    self.ask_a_person(&name, &wait);
                }
                _ => self.ask_a_person(&name, "its resources are taken over by hand"),
            }
        }
        pending.due_ms = until_ms;
        let why = match until_ms {
            Some(until_ms) => {
                let left_s = until_ms.saturating_sub(self.now.monotonic_ms).div_ceil(1000);
                format!("{left_s} s are left until node {name} is taken over")
            }
            None => format!("a person has to confirm that node {name} is down"),
        };
        Verdict::Wait { why, confirm: Confirm::Opens }
    }

    pub(super) fn describe_delay(&self) -> Option<String> {
        match self.settings.takeover.mode {
            TakeoverMode::Auto => None,
            TakeoverMode::Manual => Some("a dead node is taken over when a person confirms".to_owned()),
            TakeoverMode::Delay { ms } => Some(format!(
                "a dead node is taken over after {} s, or when a person confirms",
                ms.div_ceil(1000)
            )),
        }
    }
}
