//! What administrators say with signals.

use std::io;

use tokio::signal::unix::{signal, Signal, SignalKind};

use crate::cluster::event::Command;
use crate::types::LogLevel;

use super::super::reload::{Change, Found};
use super::Driver;

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    louder: Signal,
    quieter: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            louder: signal(SignalKind::user_defined1())?,
            quieter: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
            _ = self.louder.recv() => SignalKind::user_defined1(),
            _ = self.quieter.recv() => SignalKind::user_defined2(),
        }
    }
}

impl Driver {
    pub(super) fn signal(&mut self, kind: SignalKind) {
        if kind == SignalKind::terminate() || (kind == SignalKind::interrupt() && self.foreground) {
            self.command_of_ours(Command::Shutdown);
        } else if kind == SignalKind::hangup() {
            self.logger.reopen();
            self.reload.begin();
        } else if kind == SignalKind::user_defined1() {
            self.change_debug(self.debug_level.saturating_add(1));
        } else if kind == SignalKind::user_defined2() {
            self.change_debug(self.debug_level.saturating_sub(1));
        }
    }

    fn change_debug(&mut self, level: u8) {
        self.debug_level = level;
        crate::log::set_debug_level(level);
        let text = format!("debug now set to {level} [pid {}]", std::process::id());
        self.logger.log(LogLevel::Debug, &text);
    }

    /// Whatever SIGHUP found (messaging spec 7.3). The files were read elsewhere.
    pub(super) fn reloaded(&mut self, found: Found) {
        let goes_on = matches!(found.change, Change::Nothing | Change::Keys(_));
        self.program_found(found.program, goes_on);
        let (options, lines) = found.test_options;
        self.logger.log_all(self.test_options.replace(options, lines));
        match found.change {
            Change::Nothing => self.logger.log(LogLevel::Info, "Configuration unchanged."),
            Change::Keys(keys) => {
                self.logger.log(LogLevel::Info, "Rereading authentication file.");
                self.keys = keys;
                self.copies.forget_believed();
            }
            Change::Settings => self.successor.quick_restart_wanted = true,
            Change::Broken(text) => {
                self.logger.log(LogLevel::Error, &format!("{text}: what runs goes on unchanged"));
            }
        }
    }
}
