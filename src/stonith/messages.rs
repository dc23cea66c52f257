//! Where the messages of `stonith` go: to a person at a terminal, else to the cluster's log
//! (agents spec 3.1).

use std::io::{self, IsTerminal, Write};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::log::{targets_from_environment, Logger};

/// Directs the macros of crate `log` of this process, once. With `debug` their debug lines are shown,
/// and all lines on standard error too.
pub fn install(debug: bool) {
    if io::stdin().is_terminal() {
        log::set_max_level(if debug { LevelFilter::Debug } else { LevelFilter::Info });
        let _ = log::set_logger(&Terminal);
        return;
    }
    let targets = targets_from_environment("stonith", |name| std::env::var(name).ok());
    Logger::direct_to(targets, debug).install_backend(u8::from(debug));
}

/// Lines of the form `PRIO: text` on standard error.
struct Terminal;

impl Log for Terminal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() > log::max_level() {
            return;
        }
        let word = match (record.target(), record.level()) {
            ("CRIT", _) => "CRIT",
            ("notice", _) => "notice",
            (_, Level::Error) => "ERROR",
            (_, Level::Warn) => "WARN",
            (_, Level::Info) => "info",
            (_, Level::Debug | Level::Trace) => "debug",
        };
        let text = record.args().to_string();
        // What a device sent must not move the cursor.
        let clean: String = text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect();
        let _ = writeln!(io::stderr(), "{word}: {clean}");
    }

    fn flush(&self) {}
}
