//! What a person stopped by hand: nobody may put it back or restart it (design §5, rule 5).
//!
//! `ResourceManager givegroup` and `IPaddr … stop` by hand leave a mark before they stop anything;
//! whoever starts the same takes it away. A mark is a file in a folder that does not outlive the boot.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::haresources::Resource;

use super::{address_of, run_directory, Action};

/// In the environment of what the daemon runs: not by hand.
pub const BY_DAEMON: &str = "RUN_BY_HEARTBEAT";
/// The folder, in that of process numbers.
const FOLDER: &str = "ha-by-hand";
/// Longest name of a mark, bytes.
const NAME_MAX_BYTES: usize = 200;

/// Called by a person or an administrator's script, not by the daemon.
pub fn applies() -> bool {
    std::env::var_os(BY_DAEMON).is_none()
}

/// Notes what a person does to an address with an agent; without effect for the daemon's children.
pub fn note(address: &str, action: Action) {
    match action {
        Action::Stop => stops(address),
        Action::Start => starts(address),
        _ => {}
    }
}

/// Notes that a person stops this word of haresources; without effect for the daemon's children.
pub fn stops(word: &str) {
    if applies() {
        let _ = fs::create_dir_all(folder());
        let _ = fs::write(folder().join(name(word)), "");
    }
}

/// Notes that a person works on this word as long as this process runs.
pub fn is_at_work(word: &str) {
    if applies() {
        let _ = fs::create_dir_all(folder());
        let _ = fs::write(folder().join(name(word)), std::process::id().to_string());
    }
}

/// It is started, by whomever.
pub fn starts(word: &str) {
    let _ = fs::remove_file(folder().join(name(word)));
}

/// A person stopped it and nobody has started it since, or a person's program is at work on it.
pub fn is_stopped(word: &str) -> bool {
    let worker = fs::read_to_string(folder().join(name(word)));
    worker.is_ok_and(|worker| match worker.parse::<u32>() {
        Ok(process) => Path::new("/proc").join(process.to_string()).exists(),
        Err(_) => true,
    })
}

fn folder() -> PathBuf {
    run_directory().join(FOLDER)
}

/// One name for an address, however it is written; else the word, as far as it is plain.
fn name(word: &str) -> String {
    let word =
        address_of(&Resource::new(word)).map_or_else(|| word.to_owned(), |address| address.to_string());
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':') { c } else { '_' };
    let name: String = word.chars().map(plain).take(NAME_MAX_BYTES).collect();
    format!("at-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_name_and_no_name_leaves_the_folder() {
        assert_eq!(name("IPaddr2::10.0.0.1/24/eth0"), name("10.0.0.1"));
        assert_eq!(name("../../etc/passwd"), "at-.._.._etc_passwd");
    }
}
