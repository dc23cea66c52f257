//! `harc`: runs the administrator's script for a message (resources spec 5.1). The type is the
//! script's name and its only argument; everything else comes through the environment.
//!
//! A message type comes from the network: it is a name in `rc.d` or nothing.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::script::{is_executable_file, is_this_binary, read_text, Environment};
use super::script_log::ScriptLog;

/// Types are shorter than this (resources spec 5.1).
const TYPE_MAX_BYTES: usize = 31;
/// A script longer than this is no shipped one; it is run unseen.
const SCRIPT_MAX_BYTES: u64 = 64 * 1024;
/// The program of the original that takes the groups of a dead node.
const TAKEOVER_PROGRAM: &str = "mach_down";
/// Exit code of a script that cannot be started, as shells have it.
const NOT_STARTED: u8 = 126;

/// The program. `words` are the arguments. Where there is a script, it takes the place of this
/// process; the value is the exit code in all other cases: 0 when there is nothing to run.
pub fn program(words: &[String]) -> u8 {
    let ha_dir = std::env::var("HA_DIR").ok().filter(|path| !path.is_empty());
    let ha_dir = PathBuf::from(ha_dir.unwrap_or_else(|| "/etc/ha.d".to_owned()));
    let Some(kind) = words.first().filter(|kind| is_plain(kind)) else { return 0 };
    let script = ha_dir.join("rc.d").join(kind);
    if !script.is_file() {
        // The original's daemon calls harc only for names that are in rc.d.
        return 0;
    }
    let log = ScriptLog::from_environment("harc", "default");
    let harc = ha_dir.join("harc");
    let dead = std::env::var("HA_st").is_ok_and(|status| status == "dead");
    if dead && takes_over(&script) {
        let path = script.display();
        log.line(&format!(
            "info: {path} calls {TAKEOVER_PROGRAM} and was not run: the daemon itself takes over. \
             Remove that line from it"
        ));
        return 0;
    }
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

/// The script starts the original's takeover, as its shipped `rc.d/status` does. Beside our own
/// that would start groups a second time, or again after they were given away.
fn takes_over(script: &Path) -> bool {
    let Ok(text) = read_text(script, SCRIPT_MAX_BYTES) else { return false };
    text.lines().any(|line| line.split('#').next().is_some_and(|code| code.contains(TAKEOVER_PROGRAM)))
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

    #[test]
    fn scripts_that_take_over_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("status");
        for (text, expected) in [
            ("#!/bin/sh\ncase $HA_st in dead) $HA_NOARCHBIN/mach_down $HA_src;; esac\n", true),
            ("#!/bin/sh\n# mach_down is not called\nexit 0\n", false),
            ("", false),
        ] {
            std::fs::write(&script, text).unwrap();
            assert_eq!(takes_over(&script), expected, "{text}");
        }
        assert!(!takes_over(&folder.path().join("none")));
    }
}
