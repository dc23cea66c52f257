//! The `log` crate's macros: into a [`Logger`], or to standard error for short-lived tools.

use std::io::{self, Write};

use ::log::{Level, LevelFilter, Record};
use env_logger::{Builder, Target, WriteStyle};

use super::line::{file_line, Stamp};
use super::sinks::host_name;
use super::writer::Logger;
use crate::sys::time::{local_time, unix_time_s};
use crate::types::LogLevel;

impl Logger {
    /// Makes `log::info!` and the like end here, `debug!` only from `debug_level` 1. Works once
    /// per process; `false` when there was a back end already (nothing changes then).
    ///
    /// `error!`, `warn!`, `info!` and `debug!` become `ERROR`, `WARN`, `info` and `debug`; the two
    /// levels the crate lacks are said by target: `warn!(target: "notice", …)`, `target: "CRIT"`.
    pub fn install_backend(&self, debug_level: u8) -> bool {
        let installed = Builder::new()
            .filter_level(LevelFilter::Trace)
            .write_style(WriteStyle::Never)
            .target(Target::Pipe(Box::new(Pipe(self.clone()))))
            .format(|buffer, record| {
                buffer.write_all(&[level_of(record).syslog_priority()])?;
                write!(buffer, "{}", record.args())
            })
            .try_init()
            .is_ok();
        if installed {
            set_debug_level(debug_level);
        }
        installed
    }
}

/// Log lines of a short-lived tool: `Mon DD HH:MM:SS HOST ENTITY: [PID]: prio: TEXT` on standard
/// error. `false` when there was a back end already.
pub fn stderr_logger(entity: &str) -> bool {
    let (entity, host) = (entity.to_owned(), host_name());
    let installed = Builder::new()
        .filter_level(LevelFilter::Trace)
        .write_style(WriteStyle::Never)
        .target(Target::Stderr)
        .format(move |buffer, record| {
            let time = local_time(unix_time_s());
            let stamp = Stamp { time, host: &host, entity: &entity, pid: std::process::id() };
            let line = file_line(&stamp, true, level_of(record), &record.args().to_string());
            buffer.write_all(line.as_bytes())
        })
        .try_init()
        .is_ok();
    if installed {
        set_debug_level(0);
    }
    installed
}

/// Follows `debug` and the signals that change it: debug lines pass from 1 on.
pub fn set_debug_level(debug_level: u8) {
    ::log::set_max_level(if debug_level == 0 { LevelFilter::Info } else { LevelFilter::Debug });
}

fn level_of(record: &Record<'_>) -> LogLevel {
    match record.target() {
        "notice" => return LogLevel::Notice,
        "CRIT" => return LogLevel::Critical,
        _ => {}
    }
    match record.level() {
        Level::Error => LogLevel::Error,
        Level::Warn => LogLevel::Warning,
        Level::Info => LogLevel::Info,
        Level::Debug | Level::Trace => LogLevel::Debug,
    }
}

/// env_logger hands over each record with one call; the first byte is its priority.
struct Pipe(Logger);

impl Write for Pipe {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if let Some((priority, text)) = record.split_first() {
            self.0.log(level_from(*priority), &String::from_utf8_lossy(text));
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn level_from(priority: u8) -> LogLevel {
    [LogLevel::Critical, LogLevel::Error, LogLevel::Warning, LogLevel::Notice, LogLevel::Info]
        .into_iter()
        .find(|level| level.syslog_priority() == priority)
        .unwrap_or(LogLevel::Debug)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogTargets;

    #[test]
    fn macros_end_in_the_logger() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha-debug");
        let targets = LogTargets { debug_file: Some(path.clone()), ..LogTargets::none("heartbeat") };
        let logger = Logger::start(targets).unwrap();
        assert!(logger.install_backend(0));
        assert!(!stderr_logger("cl_status"), "only one back end");
        ::log::debug!("not yet");
        ::log::error!("{} lines", 2);
        ::log::warn!(target: "CRIT", "worst");
        set_debug_level(1);
        ::log::debug!("now");
        assert!(logger.flush(std::time::Duration::from_secs(20)));
        let text = std::fs::read_to_string(path).unwrap();
        let ours: Vec<_> =
            text.lines().filter_map(|line| line.split_once("]: ")).map(|(_, rest)| rest).collect();
        assert_eq!(ours, ["ERROR: 2 lines", "CRIT: worst", "debug: now"]);
    }
}
