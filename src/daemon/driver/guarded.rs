//! What the driver leaves for the guard.

use crate::cluster::alarm::{Alarm, AlarmKind, AlarmState};
use crate::cluster::event::{Command, ExitReason, FencingWord, Input};
use crate::types::LogLevel;

use super::super::guard::record::{Condition, Record};
use super::super::upgrade::own_identity;
use super::Driver;

impl Driver {
    /// Before [`Input::Start`]: a life that goes on must know how old its last beat is.
    pub(super) fn former_life(&mut self) {
        if let Some(at_ms) = self.post.former_beat_ms() {
            self.feed(Input::FormerBeat(at_ms));
        }
        // One that goes on with a whole state knows of maintenance.
        let former = self.post.former_maintenance().filter(|_| !self.cluster.in_maintenance());
        if let Some((until_ms, version)) = former {
            self.feed(Input::FormerMaintenance { until_ms, version });
        }
        let fencing = self.post.former_fencing();
        if fencing != FencingWord::NotReset {
            self.feed(Input::FormerFencing(fencing));
        }
    }

    /// After [`Input::Start`]: the guard stopped everything and wants the peer to know.
    pub(super) fn last_words(&mut self) {
        if self.post.leaves() {
            self.command_of_ours(Command::Shutdown);
        }
    }

    /// What a guard must know if this process is killed in the next moment.
    pub(super) fn leave_word(&mut self) {
        if !self.post.is_guarded() || self.successor.beat_ms == 0 {
            return;
        }
        let condition = match self.exit {
            Some(ExitReason::StopFailed) => Condition::StopFailed,
            Some(ExitReason::Stopped) => Condition::Leaving,
            _ if self.cluster.is_leaving() => Condition::Leaving,
            _ if self.children.is_idle() && self.cluster.is_at_rest() => Condition::AtRest,
            _ => Condition::Busy,
        };
        self.post.note(Record {
            beat_ms: self.successor.beat_ms,
            limit_ms: self.cluster.lateness_limit_ms(),
            program: self.program_identity,
            held: self.cluster.holding(),
            condition,
            awaits_failback: self.cluster.awaits_failback(),
            maintenance: self.cluster.maintenance_word(),
            fencing: self.cluster.fencing_word(),
        });
    }

    /// Before the first input: the other node waits for what the device does, and not for what it was asked
    /// to do.
    pub(super) fn tell_watchdog_time(&mut self) {
        if let Some(time_ms) = self.watchdog.time_ms() {
            self.cluster.watchdog_is(time_ms);
        }
    }

    /// With each beat.
    pub(super) fn feed_watchdog(&mut self) {
        let Some((level, text)) = self.watchdog.feed() else { return };
        self.logger.log(level, &text);
        self.alarms.raise(&Alarm {
            kind: AlarmKind::WatchdogFailed,
            state: AlarmState::Once,
            subject: self.local.to_string(),
            text,
        });
    }

    /// Looked at now and then.
    pub(super) fn miss_guard(&mut self) {
        if self.post.lost_guard() {
            let text = "The guard process is gone: nothing brings this daemon back if it is killed. \
                        Restart heartbeat at a convenient time";
            self.logger.log(LogLevel::Warning, text);
        }
    }
}

/// Device and inode of the running program file, as [`Record::program`] has them.
pub(super) fn program_identity() -> (u64, u64) {
    own_identity().unwrap_or_default()
}
