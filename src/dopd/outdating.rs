//! `drbdadm outdate`, repeated until it has had an effect.
//!
//! As long as this node's DRBD has not noticed that its link is gone, which may take ten seconds longer here
//! than there, `drbdadm outdate` ends well and changes nothing. To tell the peer then that these data are
//! outdated would be wrong: minutes later they could become primary.
//!
//! ```text
//!   outdate ──0──▶ dstate ──all outdated, or not told──▶ over
//!      ▲              └──still good── pause ──┐
//!      └──────────────────────────────────────┘
//! ```

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{fcntl, FcntlArg, OFlag};

/// Longest time for all of it. DRBD's helper waits a minute.
const LIMIT: Duration = Duration::from_secs(55);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// Most bytes of an answer that are looked at: a line for each volume.
const ANSWER_MAX_BYTES: u64 = 16 * 1024;

/// One resource on its way.
pub(super) struct Outdating {
    /// Which.
    pub(super) resource: String,
    /// The node that wants to know how it ends.
    pub(super) asker: String,
    step: Step,
    end: Instant,
}

enum Step {
    Outdate(Child),
    Look(Child),
    Pause(Instant),
}

impl Outdating {
    /// Begins.
    ///
    /// # Errors
    /// drbdadm cannot be run.
    pub(super) fn start(resource: String, asker: String) -> io::Result<Self> {
        let step = Step::Outdate(drbdadm("outdate", &resource, Stdio::null())?);
        Ok(Self { resource, asker, step, end: Instant::now() + LIMIT })
    }

    /// Goes on as far as it can without waiting. `Some` when it is over: the exit code of drbdadm, or
    /// none when it gave none or the data are not outdated in time.
    pub(super) fn poll(&mut self) -> Option<Option<i32>> {
        if Instant::now() >= self.end {
            // It may have done its work, or not: nothing is known.
            if let Step::Outdate(child) | Step::Look(child) = &mut self.step {
                let _ = child.kill();
                let _ = child.try_wait();
            }
            return Some(None);
        }
        let next = match &mut self.step {
            Step::Outdate(child) => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(status)) if status.success() => {
                    drbdadm("dstate", &self.resource, Stdio::piped()).map(Step::Look)
                }
                Ok(Some(status)) => return Some(status.code()),
                Err(_) => return Some(None),
            },
            Step::Look(child) => match child.try_wait() {
                Ok(None) => return None,
                Ok(Some(_)) if is_still_good(&answer_of(child)) => Ok(Step::Pause(Instant::now() + PAUSE)),
                // Who does not tell is believed, as the original does it.
                _ => return Some(Some(0)),
            },
            Step::Pause(end) if Instant::now() < *end => return None,
            Step::Pause(_) => drbdadm("outdate", &self.resource, Stdio::null()).map(Step::Outdate),
        };
        match next {
            Ok(step) => {
                self.step = step;
                None
            }
            Err(_) => Some(None),
        }
    }
}

/// What it says on standard error belongs into no socket of ours; its exit code tells all.
fn drbdadm(word: &str, resource: &str, output: Stdio) -> io::Result<Child> {
    let mut command = Command::new("drbdadm");
    command.args([word, resource]).stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn()
}

/// Of a child that has ended; a pipe holds more than is taken.
fn answer_of(child: &mut Child) -> String {
    let mut bytes = Vec::new();
    if let Some(output) = child.stdout.take() {
        // Whoever else may hold the other end is not waited for; a part is read as far as it goes.
        let _ = fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK));
        let _ = output.take(ANSWER_MAX_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A volume could still become primary here: its own state, before the `/`, is one of the good ones.
fn is_still_good(states: &str) -> bool {
    let own = |line: &str| line.split('/').next().unwrap_or_default().trim().to_owned();
    states.lines().map(own).any(|state| state == "UpToDate" || state == "Consistent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_become_primary() {
        for (states, good) in [
            ("UpToDate/DUnknown\n", true),
            ("Outdated/DUnknown\n", false),
            ("Outdated/DUnknown\nUpToDate/UpToDate\n", true),
            ("Consistent/DUnknown\n", true),
            ("Inconsistent/DUnknown\nDiskless/UpToDate\n", false),
            ("", false),
            ("/\n\0", false),
        ] {
            assert_eq!(is_still_good(states), good, "{states}");
        }
    }
}
