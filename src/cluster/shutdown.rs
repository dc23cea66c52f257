//! Graceful stop and restart (resources spec 2.12, 7.6).

use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::claims::Phase;
use super::event::{ExitReason, Job, Output};
use super::fingerprint::Fingerprint;
use super::jobs::Purpose;
use super::Cluster;

/// How long beats go on after `shutdone`, so that a lost one can be asked for again, milliseconds
/// (the original's processes take about as long to end).
const LINGER_MS: u64 = 2000;
/// What a quick restart adds to the announced deadtime, milliseconds (resources spec 7.6).
const QUICK_RESTART_EXTRA_MS: u64 = 30_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    None,
    /// Until what runs has ended.
    Waiting,
    Releasing,
    /// Released and said so; the peer may still ask for lost packets.
    Lingering {
        until_ms: u64,
    },
}

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Shutdown {
    stage: Stage,
    held_before: ResourceSet,
    /// SIGHUP with a changed ha.cf: as soon as nothing is in transition.
    pub quick_restart_wanted: bool,
    /// The peer knew a life before this one, and may count on what that held: it must hear that it is
    /// stopped even if this life never heard the peer.
    pub goodbye_owed: bool,
}

impl Shutdown {
    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { stage, held_before, quick_restart_wanted, goodbye_owed } = self;
        into.add((std::mem::discriminant(stage), held_before, quick_restart_wanted, goodbye_owed));
        if let Stage::Lingering { until_ms } = stage {
            into.moment(*until_ms, 0);
        }
    }

    pub fn is_under_way(&self) -> bool {
        self.stage != Stage::None
    }

    /// Everything is released and said so.
    pub fn is_lingering(&self) -> bool {
        matches!(self.stage, Stage::Lingering { .. })
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        match self.stage {
            Stage::Lingering { until_ms } => Some(until_ms),
            _ => None,
        }
    }

    /// In words for the status.
    pub fn describe(&self) -> &'static str {
        match self.stage {
            Stage::None => "",
            Stage::Waiting => "shutting down when the current work has ended",
            Stage::Releasing => "shutting down: stopping all resources",
            Stage::Lingering { .. } => "shutting down: everything is stopped",
        }
    }
}

impl Cluster {
    pub(super) fn begin_shutdown(&mut self) {
        if self.shutdown.is_under_way() {
            self.log(LogLevel::Info, "Heartbeat shutdown already underway.");
            return;
        }
        self.shutdown.stage = Stage::Waiting;
        self.takeover_we_leave();
        if !self.jobs.is_idle() {
            self.log(LogLevel::Warning, "Shutdown delayed until current resource activity finishes.");
        }
    }

    /// Goes on with a stop or restart as far as possible now.
    pub(super) fn advance_shutdown(&mut self) {
        match self.shutdown.stage {
            Stage::Waiting if self.jobs.is_idle() => self.release_everything(),
            Stage::Lingering { .. } if self.peer_needs_nothing() => self.finish(),
            Stage::None
                if self.shutdown.quick_restart_wanted && self.jobs.is_idle() && self.handover.is_idle() =>
            {
                self.quick_restart();
            }
            _ => {}
        }
    }

    fn release_everything(&mut self) {
        self.cancel_handover();
        self.shutdown.stage = Stage::Releasing;
        self.shutdown.held_before = self.claims.hold;
        let text = format!("Heartbeat shutdown in progress. ({})", self.settings.process_id);
        self.log(LogLevel::Info, &text);
        self.claims.phase = Phase::Shutdown;
        if !self.settings.manage_resources {
            self.finish();
            return;
        }
        if !self.liveness.communication_up && self.claims.hold.is_empty() {
            // Nothing was started by this life, but an earlier one may have left something.
            self.schedule(Job::ReleaseActive(ResourceSet::ALL), Purpose::Shutdown);
            return;
        }
        self.log(LogLevel::Info, "Giving up all HA resources.");
        if self.liveness.communication_up && !self.is_legacy() {
            self.send_report(None);
        }
        self.schedule(Job::Release(ResourceSet::ALL), Purpose::Shutdown);
    }

    pub(super) fn everything_released(&mut self) {
        self.claims.hold = ResourceSet::NONE;
        self.log(LogLevel::Info, "All HA resources relinquished.");
        if !self.liveness.communication_up && !self.shutdown.goodbye_owed {
            self.finish();
            return;
        }
        if !self.is_legacy() {
            self.send_report(Some("shutdown"));
        }
        self.send(Message::new("shutdone").with("st", "dead"));
        self.shutdown.stage = Stage::Lingering { until_ms: self.now.monotonic_ms + LINGER_MS };
    }

    /// Nobody is left who could miss our last words.
    fn peer_needs_nothing(&self) -> bool {
        let Some(peer) = self.peer().filter(|peer| peer.is_live()) else {
            return !self.shutdown.goodbye_owed;
        };
        let took = self.claims.peer_hold_here().contains(self.shutdown.held_before);
        self.claims.peer_left || (peer.is_ours() && self.claims.peer_known && took)
    }

    pub(super) fn tick_shutdown(&mut self) {
        if let Stage::Lingering { until_ms } = self.shutdown.stage {
            if self.now.monotonic_ms >= until_ms {
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        let text = format!("{} Heartbeat shutdown complete.", self.settings.local);
        self.log(LogLevel::Info, &text);
        self.outputs.push_back(Output::Exit(ExitReason::Stopped));
        self.ended = true;
    }

    /// The peer is told to be patient, then this process starts anew with what it holds.
    fn quick_restart(&mut self) {
        self.liveness.extra_dead_time_ms = QUICK_RESTART_EXTRA_MS;
        self.send_status();
        // A claim to what does not start here is not carried over.
        let held = self.claims.hold.minus(self.claims.failed);
        self.log(LogLevel::Info, "Heartbeat restart triggered.");
        self.log(LogLevel::Info, "Restarting heartbeat.");
        self.outputs.push_back(Output::Exit(ExitReason::QuickRestart(held)));
        self.ended = true;
    }

    /// `shutdone` of a node: it has released everything (resources spec 2.5).
    pub(super) fn receive_shutdone(&mut self, sender: usize) {
        if Some(sender) != self.peer {
            return;
        }
        let name = self.nodes[sender].name.clone();
        self.log(LogLevel::Info, &format!("Received shutdown notice from '{name}'."));
        self.claims.peer_left = true;
        self.claims.peer_known = true;
        self.claims.peer_stable = true;
        self.claims.peer_hold = ResourceSet::NONE;
        self.cancel_handover();
        if !self.liveness.communication_up || !self.settings.manage_resources {
            return;
        }
        if self.shutdown.is_under_way() {
            self.log(LogLevel::Info, "Resource takeover cancelled - shutdown in progress.");
        } else if self.maintenance_keeps(true) {
            // Afterwards.
        } else if self.is_legacy() {
            self.legacy_take_all();
        } else {
            self.acquire_from_peer();
        }
    }
}
