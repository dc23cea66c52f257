//! Claims as text (see `handoff`).

use super::super::handoff::Form;
use super::{Claims, Phase};

impl Claims {
    /// Nothing is under way that a successor would have to know of.
    pub(in super::super) fn is_at_rest(&self) -> bool {
        self.local_timeout_ms.is_none() && self.contested.is_empty() && self.cleaning.is_empty()
    }

    pub(in super::super) fn visit(&mut self, form: &mut Form) {
        form.set("claims.hold", &mut self.hold);
        let mut stable = self.phase == Phase::Stable;
        form.flag("claims.stable", &mut stable);
        if stable {
            self.phase = Phase::Stable;
        }
        form.set("claims.peer_hold", &mut self.peer_hold);
        form.flag("claims.peer_known", &mut self.peer_known);
        form.flag("claims.peer_stable", &mut self.peer_stable);
        form.flag("claims.peer_left", &mut self.peer_left);
        form.number("claims.peer_report", &mut self.peer_report);
        form.flag("claims.needs_failback", &mut self.needs_failback);
        form.set("claims.failed", &mut self.failed);
        form.set("claims.failure_offered", &mut self.failure_offered);
        form.set("claims.down", &mut self.failed_on_both);
        form.optional("claims.retry", &mut self.retry_ms);
        form.optional_set("claims.held_at_loss", &mut self.held_at_loss);
        form.optional("claims.contact", &mut self.contact_ms);
        form.optional("claims.returned", &mut self.returned_ms);
        let (mut announced, mut announced_stable) = (None, false);
        if let Some((set, stable)) = self.announced {
            (announced, announced_stable) = (Some(set), stable);
        }
        form.optional_set("claims.announced", &mut announced);
        form.flag("claims.announced_stable", &mut announced_stable);
        self.announced = announced.map(|set| (set, announced_stable));
        form.flag("claims.resumed", &mut self.resumed);
        form.set("claims.unclean", &mut self.unclean);
        form.flag("claims.first_acquisition_logged", &mut self.first_acquisition_logged);
        form.text("claims.digest", &mut self.digest);
    }
}
