//! The driver's part when another program file goes on in this one's place: the moment, and what is
//! handed over.

use std::fs::File;
use std::path::PathBuf;

use crate::cluster::event::{Command, ExitReason};
use crate::sys::time::monotonic_ms;
use crate::types::LogLevel;

use super::super::guard::record::Post;
use super::super::reload::NewProgram;
use super::super::respawn::RESTART_PATIENCE;
use super::super::upgrade::State;
use super::Driver;

/// The beat before must have left at most so long ago: the pause then falls between two beats.
const AFTER_BEAT_MS: u64 = 20;
/// After this the log tells what is waited for.
const TELL_AFTER_MS: u64 = 5_000;

/// What is known of the program that goes on.
#[derive(Debug, Default)]
pub(super) struct Successor {
    /// A file that was tried out; every later exec uses it.
    program: Option<PathBuf>,
    /// It is to go on as soon as nothing is under way, since then.
    wanted_since_ms: Option<u64>,
    told: bool,
    /// ha.cf changed: a new life begins when the programs of `respawn` have ended.
    pub(super) quick_restart_wanted: bool,
    /// When the last beat left.
    pub(super) beat_ms: u64,
    state: Option<State>,
}

/// How a run ended and what comes next.
#[derive(Debug)]
pub struct End {
    /// Why.
    pub reason: ExitReason,
    /// The program file to execute, where it is not the running one.
    pub program: Option<PathBuf>,
    /// What that program gets.
    pub state: Option<State>,
    /// Without a state: foreign sets are held because the peer is away.
    pub awaits_failback: bool,
    /// The guard goes on watching this process.
    pub post: Post,
    /// The watchdog device, where it stays armed.
    pub watchdog: Option<File>,
}

impl Driver {
    pub(super) fn end(&mut self, reason: ExitReason) -> End {
        let awaits_failback = self.cluster.awaits_failback();
        let Successor { program, state, .. } = std::mem::take(&mut self.successor);
        let (post, watchdog) = (std::mem::take(&mut self.post), self.watchdog.take_armed());
        End { reason, program, state, awaits_failback, post, watchdog }
    }

    /// A SIGHUP found this about the program file. `goes_on`: the configuration gives no other
    /// reason for a new life.
    pub(super) fn program_found(&mut self, found: NewProgram, goes_on: bool) {
        match found {
            NewProgram::Same => {}
            NewProgram::Bad(text) => {
                let text = format!("the new program file is not used: {text}: what runs goes on unchanged");
                self.logger.log(LogLevel::Error, &text);
            }
            NewProgram::Good { path, version } => {
                let text = format!("The program file {} is new: version {version}", path.display());
                self.logger.log(LogLevel::Info, &text);
                self.successor.program = Some(path);
                if goes_on {
                    self.successor.wanted_since_ms.get_or_insert(monotonic_ms());
                }
            }
        }
    }

    /// The programs end while the beats go on: what is held stays held, and a program that takes its
    /// time must not make this node look dead.
    pub(super) fn quick_restart_without_programs(&mut self) {
        if self.successor.quick_restart_wanted && self.exit.is_none() {
            self.respawn.stop(RESTART_PATIENCE);
            if self.respawn.is_stopped() {
                self.successor.quick_restart_wanted = false;
                self.command_of_ours(Command::QuickRestart);
            }
        }
    }

    /// Ends this program's run when it is to be followed by another and nothing is under way.
    pub(super) fn hand_over_at_rest(&mut self) {
        let now_ms = monotonic_ms();
        let Some(since_ms) = self.successor.wanted_since_ms else { return };
        let idle = self.exit.is_none() && self.children.is_idle() && self.requests.is_empty();
        let between_beats = now_ms.saturating_sub(self.successor.beat_ms) <= AFTER_BEAT_MS;
        if idle && between_beats {
            if let Some(cluster) = self.cluster.export() {
                // The programs of `respawn` end first; the new daemon starts its own.
                self.respawn.stop(RESTART_PATIENCE);
                if !self.respawn.is_stopped() || !self.conflicts.is_stopped() {
                    return;
                }
                let generation = self.generation;
                self.successor.state = Some(State { generation, cluster, groups: self.groups.reports() });
                self.logger.log(LogLevel::Info, "The new program file goes on in this one's place.");
                self.exit = Some(ExitReason::QuickRestart(self.cluster.holding()));
                return;
            }
        }
        if now_ms > since_ms + TELL_AFTER_MS && !std::mem::replace(&mut self.successor.told, true) {
            let text = "The new program file waits until no resource is on its way.";
            self.logger.log(LogLevel::Info, text);
        }
    }
}
