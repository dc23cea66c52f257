//! The processes of a web server: who they are, and their end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::net::state;
use crate::sys::process::{is_alive, short_name};

use super::Context;

/// What the original gives a server between SIGTERM and the next step.
const END_LIMIT: Duration = Duration::from_secs(10);
/// The same for what it leaves behind, before each further signal.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(1);
/// How long another start of a server is waited for before a stop looks around.
const STARTER_LIMIT: Duration = Duration::from_secs(2);
/// How often SIGKILL is sent.
const KILLS_MAX: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);
/// Longest short name of a process.
const NAME_MAX_BYTES: usize = 15;
/// Most of a command line that is looked at.
const COMMAND_LINE_MAX_BYTES: usize = 64 * 1024;

/// The process in the pid file, if it lives and is this server: numbers are used again.
pub(super) fn server_in(pid_file: &Path, program: &Path, config: &Path) -> Option<u32> {
    let pid = named_in(pid_file)?;
    let name = program.file_name()?.to_string_lossy();
    let name = &name.as_bytes()[..name.len().min(NAME_MAX_BYTES)];
    let is_server = || {
        short_name(pid).is_some_and(|short| short.as_bytes() == name)
            || fs::read_link(format!("/proc/{pid}/exe")).ok() == fs::canonicalize(program).ok()
            || runs(pid, program, config)
    };
    (is_alive(pid) && is_server()).then_some(pid)
}

/// The number in the pid file, whoever it belongs to.
pub(super) fn named_in(pid_file: &Path) -> Option<u32> {
    std::str::from_utf8(&state::read(pid_file).ok()?).ok()?.trim().parse().ok()
}

/// Some process runs this program with this configuration.
pub(super) fn any(program: &Path, config: &Path) -> bool {
    !all(program, config).is_empty()
}

/// Asks a server to end and waits for it.
pub(super) fn end(pid: u32) {
    signal(pid, Signal::SIGTERM);
    wait_for(END_LIMIT, || !is_alive(pid));
}

/// Ends what runs this program with this configuration, as the original does it. The last signal is sent
/// until nothing is left: a server makes new processes while the old ones are counted.
pub(super) fn end_leftovers(context: &Context, program: &Path, config: &Path) {
    wait_for(STARTER_LIMIT, || !is_being_started());
    let kills = (0..KILLS_MAX).map(|_| ("SIGKILL", Signal::SIGKILL));
    for (word, number) in [("SIGTERM", Signal::SIGTERM), ("SIGHUP", Signal::SIGHUP)].into_iter().chain(kills)
    {
        let left = all(program, config);
        if left.is_empty() {
            return;
        }
        left.iter().for_each(|pid| signal(*pid, number));
        context.log.info(&format!("signal {word} sent to apache children"));
        wait_for(LEFTOVER_LIMIT, || !any(program, config));
    }
}

/// A start that was killed just as it started the server has left a copy of itself, which is about to
/// become the server.
fn is_being_started() -> bool {
    let own = fs::read_link("/proc/self/exe").ok();
    pids().any(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"\0start\0")
            && line.split(|byte| *byte == 0).any(|word| word.ends_with(b"apache"))
            && own.is_some()
            && fs::read_link(format!("/proc/{pid}/exe")).ok() == own
    })
}

fn all(program: &Path, config: &Path) -> Vec<u32> {
    pids().filter(|pid| is_alive(*pid) && runs(*pid, program, config)).collect()
}

/// All processes but this one.
fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id())
}

/// Its command line is the program, and the configuration somewhere behind it. A program that only reads
/// the file, or this agent, is none of them.
fn runs(pid: u32, program: &Path, config: &Path) -> bool {
    if program.as_os_str().is_empty() || config.as_os_str().is_empty() {
        return false;
    }
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let line = &line[..line.len().min(COMMAND_LINE_MAX_BYTES)];
    let mut words = line.split(|byte| *byte == 0);
    let is = |word: &[u8], path: &Path| word == path.as_os_str().as_encoded_bytes();
    words.next().is_some_and(|word| is(word, program)) && words.any(|word| is(word, config))
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // That it is gone is what is wanted.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn wait_for(limit: Duration, done: impl Fn() -> bool) {
    let end = Instant::now() + limit;
    while !done() && Instant::now() < end {
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_the_server_itself_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        // A time that no other test sleeps for, lest that one ends it.
        let (program, config) = (Path::new("/bin/sleep"), Path::new("3571"));
        let mut child = Command::new("/bin/sleep").arg("3571").spawn().unwrap();
        fs::write(&file, format!("{}\n", child.id())).unwrap();
        assert_eq!(server_in(&file, program, config), Some(child.id()));
        assert_eq!(server_in(&file, Path::new("/usr/sbin/apache2"), Path::new("/etc/x")), None);
        assert!(all(program, config).contains(&child.id()));
        assert!(!all(program, Path::new("61")).contains(&child.id()));
        assert!(all(Path::new(""), config).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(server_in(&file, program, config), None);
        for content in ["", "x", "-1", "0", "99999999999999", "1 2", "\u{ff}"] {
            fs::write(&file, content).unwrap();
            assert_eq!(server_in(&file, program, config), None, "{content}");
        }
    }
}
