//! `ha_logger`: hands a script's lines to the logging daemon (agents spec 4.5).

use std::io::{self, BufRead, Write};
use std::time::Duration;

use super::client::Connection;
use crate::sys::getopt::Options;
use crate::sys::time::unix_time_s;
use crate::types::LogLevel;
use crate::wire::logd::{LogRecord, LOGD_SOCKET};

/// Longest text of one record; a longer argument or line becomes several.
const PIECE_MAX_BYTES: usize = 1023;

/// How long a script waits for a daemon that takes nothing; then it writes its lines itself.
const PATIENCE: Duration = Duration::from_secs(1);

const USAGE: &str = "usage: ha_logger [-t tag] [-D <ha-log/ha-debug>] [message]";
const FACILITY_USER: u8 = 1;

/// Runs the program with these words; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let options = Options::parse(called_as, words, "t:D:h");
    if !options.errors.is_empty() || options.has('h') {
        for error in &options.errors {
            crate::sys::print::error_line(error);
        }
        return usage();
    }
    let Ok(connection) = Connection::open(&crate::config::below_root(LOGD_SOCKET)) else {
        let _ = io::stderr().write_all(b"logd is not running");
        return 1;
    };
    let level = match options.argument('D') {
        None | Some("ha-log") => LogLevel::Info,
        Some("ha-debug") => LogLevel::Debug,
        Some(_) => return usage(),
    };
    let logger = Logger { connection, entity: options.argument('t').unwrap_or("cluster").to_owned(), level };
    let sent = if options.parameters.is_empty() {
        logger.send_input()
    } else {
        options.parameters.iter().try_for_each(|text| logger.send_text(text.as_bytes()))
    };
    u8::from(sent.is_err())
}

fn usage() -> u8 {
    crate::sys::print::line(USAGE);
    1
}

struct Logger {
    connection: Connection,
    entity: String,
    level: LogLevel,
}

impl Logger {
    /// One record, or as many as it needs.
    fn send_text(&self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return self.send_piece(text);
        }
        text.chunks(PIECE_MAX_BYTES).try_for_each(|piece| self.send_piece(piece))
    }

    /// Every line of standard input; at most a piece of it is held at a time.
    fn send_input(&self) -> io::Result<()> {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = PIECE_MAX_BYTES as u64;
            if io::Read::take(&mut input, limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.send_piece(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
    }

    fn send_piece(&self, piece: &[u8]) -> io::Result<()> {
        let record = LogRecord {
            facility: FACILITY_USER,
            level: self.level,
            shows_level: false,
            pid: std::process::id(),
            entity: self.entity.clone(),
            unix_s: unix_time_s(),
            text: String::from_utf8_lossy(piece).into_owned(),
        };
        // What is not UTF-8 became longer.
        self.connection.send(&record.encode(3 * PIECE_MAX_BYTES), PATIENCE)
    }
}
