//! The watchdog behind a lease: what is promised of a host that stands still hangs on its true time.

use crate::types::LogLevel;

use super::super::super::settings::LeaseSettings;
use super::super::super::Cluster;

impl Cluster {
    /// What stands behind the lease where a host stands still.
    pub(super) fn lease_watchdog(&self, settings: LeaseSettings) -> String {
        const SECOND_OWNER: &str = "one that stands still and goes on is a second owner for a moment";
        match (settings.watchdog_ms, self.peer_without_watchdog()) {
            (0, _) => format!("without a watchdog: {SECOND_OWNER}"),
            (time_ms, _) if !settings.is_guarded() => {
                format!("shorter than three times the watchdog's {time_ms} ms: {SECOND_OWNER}")
            }
            (_, Some(peer)) => format!("node {} has no watchdog: {SECOND_OWNER}", peer.name),
            (time_ms, None) => format!("the watchdog resets a node that stands still for {time_ms} ms"),
        }
    }

    /// What the watchdog device really does, where that is not what it was asked for.
    pub(in crate::cluster::takeover) fn lease_watchdog_is(
        &mut self,
        lease: LeaseSettings,
        time_ms: Option<u64>,
    ) -> LeaseSettings {
        let found = lease.with_watchdog(time_ms);
        let text = if !found.is_guarded() {
            "the lease has no watchdog behind it that resets this node before it ends: see ha-guards(7)"
                .to_owned()
        } else if found.time_ms != lease.time_ms {
            let LeaseSettings { time_ms, watchdog_ms, .. } = found;
            format!(
                "the watchdog takes {watchdog_ms} ms and not {}: the lease counts for {time_ms} ms and not {}, \
                 here and for the other node",
                lease.watchdog_ms, lease.time_ms
            )
        } else {
            return found;
        };
        self.log(if found.is_guarded() { LogLevel::Warning } else { LogLevel::Error }, &text);
        found
    }
}
