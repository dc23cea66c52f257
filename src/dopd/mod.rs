//! DRBD's outdate helpers: `dopd` beside the daemon on each node, and `drbd-peer-outdater`, which DRBD
//! calls when it lost its peer (`fence-peer`).
//!
//! ```text
//! DRBD ─▶ drbd-peer-outdater ─▶ dopd ═ heartbeat's links ═▶ dopd of the peer ─▶ drbdadm outdate
//!   4: outdated   ◀──────────────── outdate_rc ◀═══════════════════╯
//! ```
//!
//! Message types, fields and exit codes are the original's, with which either end works. DRBD takes them
//! so (drbd.conf(5)): 3 the peer's data were inconsistent anyway, 4 they are outdated now, 5 the peer does
//! not answer, 6 it refuses, being primary; others mean that nothing is known.

mod daemon;
mod outdater;
mod outdating;

pub use daemon::run;
pub use outdater::program;

use std::path::Path;

/// Where dopd listens, below the daemon's run folder.
pub const SOCKET_PATH: &str = "/var/run/heartbeat/dopd/outdater";

/// From DRBD's helper to dopd.
const ASK: &str = "outdater";
/// The answer to it.
const ANSWER: &str = "outdater_rc";
/// From dopd to the peer's.
const START: &str = "start_outdate";
/// The peer's answer.
const RESULT: &str = "outdate_rc";

/// Exit code: the peer cannot be reached, or nothing is known.
const UNREACHABLE: u8 = 5;

/// Exit code: reached, but not outdated ("officially undefined").
const FAILED: u8 = 20;
/// Exit code: another helper asks for the same resource already.
const TAKEN: u8 = 21;

/// Longest name of a DRBD resource (SHARED_SECRET_MAX and the like are shorter; drbd.conf has no limit).
const NAME_MAX_BYTES: usize = 128;

/// A word that may be the name of a resource, and become an argument of a program.
fn is_name(text: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'+');
    !text.is_empty() && text.len() <= NAME_MAX_BYTES && !text.starts_with('-') && text.bytes().all(plain)
}

/// What the peer's `drbdadm outdate` ended with, as DRBD wants to know it.
fn answer_to(exit_code: Option<i32>) -> u8 {
    match exit_code {
        Some(0) => 4,
        Some(5) => 3,
        Some(17) => 6,
        // It was reached, so this is not 5.
        _ => FAILED,
    }
}

/// The directory of a path.
fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_of_drbdadm_become_those_of_the_helper() {
        let answers = [Some(0), Some(5), Some(17), Some(1), Some(255), None].map(answer_to);
        assert_eq!(answers, [4, 3, 6, 20, 20, 20]);
    }

    #[test]
    fn only_names_become_arguments() {
        assert!(["r0", "data.1", "a_b-c", "all"].iter().all(|name| is_name(name)));
        let long = "x".repeat(NAME_MAX_BYTES + 1);
        for text in ["", "-d", "r0;reboot", "a b", "$(x)", "r0\n", "\0", "é", long.as_str()] {
            assert!(!is_name(text), "{text}");
        }
    }
}
