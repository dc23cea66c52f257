//! `systemd:UNIT`: units through systemctl, for services that have no init script any more.

use std::io;

use super::command::{Program, RunError};
use super::script_log::ScriptLog;

/// systemctl's exit code for a unit that is not loaded (systemctl(1), "LSB").
const NOT_LOADED: u8 = 5;
/// Where systemctl is missing.
const NOT_INSTALLED: u8 = 5;

/// The unit is active, or reloads what it is active with.
///
/// # Errors
/// When systemctl cannot be run; nothing is known then.
pub fn is_active(unit: &str) -> io::Result<bool> {
    let finished = Program::new("systemctl").args(["is-active", unit]).run().map_err(to_io)?;
    Ok(finished.code == 0 || finished.stdout.trim() == "reloading")
}

/// Starts or stops the unit, and waits until systemd has done it: that takes as long as the unit's own
/// limits say. What systemctl says is logged. Stopping a unit that is not there is well.
pub fn operate(unit: &str, operation: &str, log: &ScriptLog) -> u8 {
    let program = Program::new("systemctl").args([operation, unit]).merged();
    let line = program.to_string();
    match program.run() {
        Ok(finished) => {
            let output = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            if operation == "stop" && finished.code == NOT_LOADED {
                log.warn(&format!("{line}: {output}; what is not loaded does not run"));
                return 0;
            }
            match (finished.code, output.is_empty()) {
                (0, true) => (),
                (0, false) => log.info(&output),
                (_, true) => log.error(&format!("command failed: {line}")),
                (_, false) => log.error(&format!("{line}: {output}")),
            }
            finished.code
        }
        Err(error) => {
            log.error(&format!("{error}; a unit needs a host with systemd"));
            NOT_INSTALLED
        }
    }
}

fn to_io(error: RunError) -> io::Error {
    match error {
        RunError::Io { error, .. } => error,
        RunError::NotFound(_) => io::Error::new(io::ErrorKind::NotFound, error.to_string()),
        RunError::TimedOut { .. } => io::Error::new(io::ErrorKind::TimedOut, error.to_string()),
    }
}
