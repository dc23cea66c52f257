//! Maintenance: resources stay where they are, nobody watches, restarts or takes them (design §5,
//! rule 5), until a person says so or the time is over.
//!
//! It is of the pair: a node of ours tells it with each beat, the newest word counts. A 3.0.6 node does
//! not understand it, so with one there it does not begin. What is about safety goes on: two owners are
//! parted, a late node gives way.

use crate::types::{LogLevel, MAINTENANCE_MAX_MS};
use crate::wire::message::Message;

use super::alarm::AlarmKind;
use super::event::Job;
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::jobs::Purpose;
use super::node::Extension;
use super::Cluster;

/// How often it is said again that it lasts, milliseconds.
const REMINDER_MS: u64 = 900_000;
/// The subject of its alarm.
const SUBJECT: &str = "pair";

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Maintenance {
    until_ms: Option<u64>,
    reminder_ms: u64,
    /// Grows with each word of a person, here or there.
    version: u64,
    /// The peer died or left meanwhile, and would have been taken over (whether it was ever heard).
    owed: Option<bool>,
    /// This life began in it and has not looked whether what it holds is active.
    unseen: bool,
}

impl Maintenance {
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.optional("maintenance.until", &mut self.until_ms);
        form.number("maintenance.reminder", &mut self.reminder_ms);
        form.number("maintenance.version", &mut self.version);
        form.flag("maintenance.unseen", &mut self.unseen);
        let mut owed = self.owed.map(u64::from);
        form.optional("maintenance.owed", &mut owed);
        self.owed = owed.map(|heard| heard > 0);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { until_ms, reminder_ms, version, owed, unseen } = self;
        into.moment_if(*until_ms, 0);
        into.moment_if(self.until_ms.map(|_| *reminder_ms), 0);
        into.add((version, owed, unseen));
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.until_ms.map(|until_ms| until_ms.min(self.reminder_ms))
    }
}

impl Cluster {
    /// It lasts.
    pub fn in_maintenance(&self) -> bool {
        self.maintenance.until_ms.is_some()
    }

    /// Until when it lasts, monotonic milliseconds (0: it does not), and the number of the word of a person
    /// that began or ended it last; for the next life of this daemon ([`super::event::Input::FormerMaintenance`]).
    pub fn maintenance_word(&self) -> (u64, u64) {
        (self.maintenance.until_ms.unwrap_or(0), self.maintenance.version)
    }

    /// `ha maintenance on`. An error says why nothing was changed.
    pub(super) fn begin_maintenance(&mut self, for_ms: u64) -> Result<(), String> {
        if !self.settings.manage_resources {
            return Err("resource management is off (-M)".to_owned());
        }
        let left = self.claims.peer_left;
        if let Some(peer) = self.peer().filter(|peer| peer.is_live() && !left && !peer.is_ours()) {
            return Err(format!(
                "node {} runs Heartbeat 3.0.6, which knows no maintenance and would take over all the same; \
                 stop it first, or leave resources alone with `monitor` and `own_addresses` off",
                peer.name
            ));
        }
        if for_ms == 0 || for_ms > MAINTENANCE_MAX_MS {
            return Err("the time must be more than nothing and at most a week".to_owned());
        }
        if !self.in_maintenance() && !self.is_settled() {
            return Err(format!(
                "resources are in transition here ({}); try again in a moment",
                self.transition()
            ));
        }
        if self.takeover.is_pending() {
            return Err("a takeover waits; confirm or end it first".to_owned());
        }
        self.maintenance.version += 1;
        self.set_maintenance(for_ms);
        self.send_status();
        Ok(())
    }

    /// `ha maintenance off`
    pub(super) fn end_maintenance(&mut self) -> Result<(), String> {
        if !self.in_maintenance() {
            return Err("there is no maintenance; nothing was changed".to_owned());
        }
        self.maintenance.version += 1;
        self.maintenance_is_over("a person ended it");
        self.send_status();
        Ok(())
    }

    fn set_maintenance(&mut self, for_ms: u64) {
        let now_ms = self.now.monotonic_ms;
        self.maintenance.until_ms = Some(now_ms + for_ms.min(MAINTENANCE_MAX_MS));
        self.maintenance.reminder_ms = now_ms + REMINDER_MS;
        let text = self.maintenance_text();
        self.log(LogLevel::Warning, &text);
        self.alarm(AlarmKind::Maintenance, SUBJECT, &text);
    }

    /// For the log, the alarm and the status.
    pub(super) fn maintenance_text(&self) -> String {
        let left_ms = self.maintenance.until_ms.unwrap_or(0).saturating_sub(self.now.monotonic_ms);
        let minutes = left_ms.div_ceil(60_000);
        let original = self.peer().filter(|peer| peer.is_live() && !self.claims.peer_left && !peer.is_ours());
        let but = original.map_or(String::new(), |peer| {
            format!(" (but node {}, a Heartbeat 3.0.6, would take over all the same)", peer.name)
        });
        format!(
            "MAINTENANCE for {minutes} more minutes: nobody watches, restarts or takes over resources{but}; \
             `ha maintenance off` ends it"
        )
    }

    fn maintenance_is_over(&mut self, why: &str) {
        self.maintenance.until_ms = None;
        let text = format!("maintenance is over: {why}");
        self.log(LogLevel::Warning, &text);
        self.alarm_over(AlarmKind::Maintenance, SUBJECT, Some(&text));
        // What is on its way out is not started again behind that.
        let unseen = std::mem::take(&mut self.maintenance.unseen) && !self.shutdown.is_under_way();
        if unseen && self.liveness.communication_up {
            self.schedule(Job::Acquire(self.claims.hold.minus(self.releasing())), Purpose::Acquire);
        }
        let owed = self.maintenance.owed.take().filter(|_| !self.settings.faults.forget_owed_takeover);
        if let Some(ever_heard) = owed {
            let gone = self.peer().is_some_and(super::node::Node::is_dead) || self.claims.peer_left;
            if gone && self.liveness.communication_up {
                self.take_over_later(ever_heard);
            }
        }
    }

    /// A daemon that goes on after its sudden death starts what it holds and is not active: `true` when
    /// that has to wait for the end of maintenance.
    pub(super) fn maintenance_keeps_resumed(&mut self) -> bool {
        self.maintenance.unseen = self.in_maintenance();
        self.maintenance.unseen
    }

    /// A takeover is due: `true` when it has to wait for the end of maintenance.
    pub(super) fn maintenance_keeps(&mut self, ever_heard: bool) -> bool {
        if self.stays_put() {
            self.maintenance.owed = Some(ever_heard);
            let text = "maintenance: the other node's resources are not taken over before it is over";
            self.log(LogLevel::Warning, text);
        }
        self.stays_put()
    }

    /// Resources stay where they are.
    pub(super) fn stays_put(&self) -> bool {
        self.in_maintenance() && !self.settings.faults.move_in_maintenance
    }

    /// It is heard again, and looks after its own.
    pub(super) fn maintenance_peer_is_back(&mut self) {
        self.maintenance.owed = None;
    }

    pub(super) fn tick_maintenance(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let Some(until_ms) = self.maintenance.until_ms else { return };
        if now_ms >= until_ms && self.settings.faults.endless_maintenance {
            self.maintenance.until_ms = Some(u64::MAX);
        } else if now_ms >= until_ms {
            self.maintenance_is_over("its time is up");
        } else if now_ms >= self.maintenance.reminder_ms {
            self.maintenance.reminder_ms = now_ms + REMINDER_MS;
            let text = self.maintenance_text();
            self.log(LogLevel::Warning, &text);
            self.alarm_again(AlarmKind::Maintenance, SUBJECT, &text);
        }
    }

    /// What the life before this one knew.
    pub(super) fn former_maintenance(&mut self, until_ms: u64, version: u64) {
        let now_ms = self.now.monotonic_ms;
        self.maintenance.version = version;
        if until_ms > now_ms {
            self.maintenance.until_ms = Some(until_ms.min(now_ms + MAINTENANCE_MAX_MS));
            self.maintenance.reminder_ms = now_ms + REMINDER_MS;
            let text = self.maintenance_text();
            self.log(LogLevel::Warning, &text);
            self.alarm_stands(AlarmKind::Maintenance, SUBJECT, &text);
        }
    }

    pub(super) fn add_maintenance(&self, message: &mut Message) {
        if self.maintenance.version > 0 {
            let left_ms = self.maintenance.until_ms.unwrap_or(0).saturating_sub(self.now.monotonic_ms);
            message.push_text("hamaint", &format!("{} {left_ms}", self.maintenance.version));
        }
    }

    /// A beat of the peer: its word counts when it is newer.
    pub(super) fn maintenance_of_peer(&mut self, extension: &Extension) {
        let Some((version, left_ms)) = extension.maintenance else { return };
        if version <= self.maintenance.version && !self.settings.faults.believe_old_maintenance {
            return;
        }
        self.maintenance.version = version;
        match (left_ms, self.in_maintenance()) {
            (0, true) => self.maintenance_is_over("a person ended it on the other node"),
            (0, false) => {}
            (left_ms, _) => self.set_maintenance(left_ms),
        }
        self.send_status();
    }
}

/// `VERSION MILLISECONDS` of a beat; a version that leaves no room for a newer one is none.
pub(super) fn read(text: &str) -> Option<(u64, u64)> {
    let (version, left_ms) = text.split_once(' ')?;
    let version = version.parse().ok().filter(|version| *version < u64::MAX / 2)?;
    Some((version, left_ms.parse::<u64>().ok()?.min(MAINTENANCE_MAX_MS)))
}
