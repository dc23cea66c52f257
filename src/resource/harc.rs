//! `harc`: runs the administrator's script for a message (resources spec 5.1). The type is the
//! script's name and its only argument; everything else comes through the environment.
//!
//! A message type comes from the network: it is a name in `rc.d` or nothing.

use std::fs::OpenOptions;
use std::path::PathBuf;

use super::script::{is_executable_file, is_this_binary, Environment};
use super::script_log::ScriptLog;

/// Types are shorter than this (resources spec 5.1).
const TYPE_MAX_BYTES: usize = 31;
/// Exit code of a script that cannot be started, as shells have it.
const NOT_STARTED: u8 = 126;

/// The program. `words` are the arguments. Where there is a script, it takes the place of this
/// process; the value is the exit code in all other cases: 0 when there is nothing to run.
pub fn program(words: &[String]) -> u8 {
    let ha_dir = std::env::var("HA_DIR").ok().filter(|path| !path.is_empty());
    // As text: the daemon's folder ends in a slash, and the original's lines show both.
    let ha_dir = ha_dir.unwrap_or_else(|| "/etc/ha.d".to_owned());
    let Some(kind) = words.first().filter(|kind| is_plain(kind)) else { return 0 };
    let script = PathBuf::from(format!("{ha_dir}/rc.d/{kind}"));
    if !script.is_file() {
        // The original's daemon calls harc only for names that are in rc.d.
        return 0;
    }
    let log = ScriptLog::from_environment("harc", "default");
    let harc = PathBuf::from(format!("{ha_dir}/harc"));
    let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    let environment = Environment::from_process();
    let error = if is_executable_file(&harc) && !is_this_binary(&harc) {
        environment.replace_process(&harc, &arguments, None)
    } else if !is_executable_file(&script) {
        log.line(&format!("ERROR: {}: {}: not executable", harc.display(), script.display()));
        return 1;
    } else {
        log.line(&format!("info: Running {} {}", script.display(), arguments.join(" ")));
        let append = |file: &PathBuf| OpenOptions::new().append(true).create(true).open(file).ok();
        environment.replace_process(&script, &arguments, log.debug_file().and_then(append))
    };
    log.line(&format!("ERROR: {}: {}: cannot execute: {error}", harc.display(), script.display()));
    NOT_STARTED
}

/// A name that cannot lead out of the folder, nor to hidden files.
fn is_plain(kind: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !kind.is_empty() && kind.len() <= TYPE_MAX_BYTES && kind.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_names() {
        for kind in ["status", "ip-request-resp", "num_ping_nodes"] {
            assert!(is_plain(kind), "{kind}");
        }
        for kind in ["", ".", "..", "../harc", "a b", "a/b", ".hidden", "é", &"a".repeat(32)] {
            assert!(!is_plain(kind), "{kind}");
        }
    }
}
