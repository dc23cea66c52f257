//! The arping form of `send_arp`: one destination, options of the original's Linux build (agents
//! spec 1.1, "Build B").

use super::options::Parsed;

/// Runs it; the value is the exit code.
pub fn run(_options: &Parsed) -> u8 {
    2
}
