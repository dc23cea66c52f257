//! What `stonith` tells the daemon that started it, beside its exit code: why a request failed, and
//! whether the device may have carried it out all the same.
//!
//! Lines on standard output, and only where the daemon asks for them with [`VARIABLE`]: a person at a
//! terminal and programs made for the original see nothing of it.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{killpg, SigSet, Signal};
use nix::unistd::Pid;

use super::device::Failure;
use crate::sys::print;

/// The variable of the environment that asks for the lines; its value does not count.
pub const VARIABLE: &str = "HA_stonith_answer";

/// The daemon that asked may be killed, and the next one ask again: this process and everything in its
/// group then ends at once (the daemon has the kernel send SIGHUP at its end). Without [`VARIABLE`]
/// nothing changes.
pub fn end_with_asker() {
    let mut hang_up = SigSet::empty();
    hang_up.add(Signal::SIGHUP);
    if std::env::var_os(VARIABLE).is_none() || hang_up.thread_block().is_err() {
        return;
    }
    std::thread::spawn(move || {
        if hang_up.wait().is_ok() {
            let _ = killpg(Pid::from_raw(0), Signal::SIGKILL);
        }
    });
}

const BEGUN: &str = "answer: begun";
const NOT_DONE: &str = "answer: not done";
const FAILED: &str = "answer: failed ";

static IS_BEGUN: AtomicBool = AtomicBool::new(false);

/// To be called just before a device is told to switch: from here on a failure, or the end of this
/// process, may hide that it was done.
pub fn begun() {
    if !IS_BEGUN.swap(true, Ordering::Relaxed) {
        say(BEGUN);
    }
}

/// The device itself says that it was not done.
pub fn not_done() {
    if IS_BEGUN.swap(false, Ordering::Relaxed) {
        say(NOT_DONE);
    }
}

/// Why it failed.
pub fn failed(failure: &Failure) {
    say(&format!("{FAILED}{}", failure.text.replace('\n', " ")));
}

fn say(line: &str) {
    if std::env::var_os(VARIABLE).is_some() {
        print::line(line);
    }
}

/// What the daemon has heard of a child.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heard {
    /// The device was told to switch, and did not say that it refused.
    pub may_be_done: bool,
    /// Why the request failed, in the last words of the child.
    pub reason: Option<String>,
    /// Everything else that it said.
    pub rest: String,
}

/// Sorts out what a child said. Lines of other programs that look like an answer cost a pause at most.
pub fn hear(text: &str) -> Heard {
    let mut heard = Heard::default();
    for line in text.lines() {
        match line {
            BEGUN => heard.may_be_done = true,
            NOT_DONE => heard.may_be_done = false,
            _ => match line.strip_prefix(FAILED) {
                Some(reason) => {
                    let clean = |c: char| if c.is_control() { ' ' } else { c };
                    heard.reason = Some(reason.chars().map(clean).collect::<String>().trim().to_owned());
                }
                None => {
                    heard.rest.push_str(line);
                    heard.rest.push('\n');
                }
            },
        }
    }
    heard.reason = heard.reason.filter(|reason| !reason.is_empty());
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let heard = hear("one\nanswer: begun\nanswer: failed connection\x1b[2J lost\ntwo\n");
        assert!(heard.may_be_done);
        assert_eq!(heard.reason.as_deref(), Some("connection [2J lost"));
        assert_eq!(heard.rest, "one\ntwo\n");
        let heard = hear("answer: begun\nanswer: not done\nanswer: failed first\nanswer: failed second");
        assert_eq!((heard.may_be_done, heard.reason.as_deref()), (false, Some("second")));
        for nothing in ["", "answer: failed \n", "answer: failed  \t", "xanswer: begun"] {
            let heard = hear(nothing);
            assert_eq!((heard.may_be_done, heard.reason), (false, None), "{nothing:?}");
        }
    }
}
