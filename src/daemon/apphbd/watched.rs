//! One program that is watched: what it told, and when it failed. Pure.

use crate::log::LogLine;
use crate::types::LogLevel;
use crate::wire::apphb::{Malformed, Registration, Request};

/// It is registered already.
const EEXIST: i32 = 17;
/// What it says is not true, or nonsense.
const EINVAL: i32 = 22;
/// It is not registered.
const ESRCH: i32 = 3;

/// What is to be done after a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// To be sent back; `None`: nothing.
    pub answer: Option<i32>,
    /// For the log.
    pub lines: Vec<LogLine>,
    /// The connection is to be closed.
    pub ends: bool,
}

/// A connection, registered or not.
#[derive(Debug)]
pub struct Watched {
    /// The process at the other end, as the kernel says.
    pid: i32,
    registration: Option<Registration>,
    interval_ms: u64,
    warning_ms: u64,
    last_ms: u64,
    failed: bool,
}

impl Watched {
    /// A connection of that process.
    pub fn new(pid: i32, now_ms: u64) -> Self {
        Self { pid, registration: None, interval_ms: 0, warning_ms: 0, last_ms: now_ms, failed: false }
    }

    /// A message came.
    pub fn take(&mut self, request: Result<Request, Malformed>, now_ms: u64) -> Reaction {
        let answer = |errno: i32| Reaction { answer: Some(errno), ..Reaction::default() };
        match request {
            Err(Malformed::TooShort) => Reaction::default(),
            Err(Malformed::Invalid) => answer(EINVAL),
            Ok(Request::Register(_)) if self.registration.is_some() => answer(EEXIST),
            Ok(Request::Register(one)) if one.pid != self.pid => answer(EINVAL),
            Ok(Request::Register(one)) => {
                self.registration = Some(*one);
                self.last_ms = now_ms;
                answer(0)
            }
            Ok(Request::Beat) if self.registration.is_none() => Reaction::default(),
            Ok(_) if self.registration.is_none() => answer(ESRCH),
            Ok(Request::Unregister) => Reaction { answer: Some(0), lines: vec![self.removed()], ends: true },
            Ok(Request::SetInterval(ms)) => {
                self.interval_ms = ms;
                self.last_ms = now_ms;
                answer(0)
            }
            Ok(Request::SetWarning(ms)) => {
                self.warning_ms = ms;
                answer(0)
            }
            Ok(Request::Beat) => Reaction { lines: self.beat(now_ms), ..Reaction::default() },
        }
    }

    fn beat(&mut self, now_ms: u64) -> Vec<LogLine> {
        let mut lines = Vec::new();
        if std::mem::take(&mut self.failed) {
            lines.push((LogLevel::Info, format!("{} resumed heartbeats", self.shown())));
        }
        let since_ms = now_ms.saturating_sub(self.last_ms);
        if self.warning_ms > 0 && since_ms > self.warning_ms {
            lines.push((LogLevel::Info, format!("{} late heartbeat: {since_ms} ms", self.shown())));
        }
        self.last_ms = now_ms;
        lines
    }

    /// When it fails unless it beats; `None` while it need not, or has failed.
    pub fn due_ms(&self) -> Option<u64> {
        let watched = self.registration.is_some() && self.interval_ms > 0 && !self.failed;
        watched.then(|| self.last_ms.saturating_add(self.interval_ms))
    }

    /// Time passed: a line when it has failed.
    pub fn tick(&mut self, now_ms: u64) -> Option<LogLine> {
        let failed = self.due_ms().is_some_and(|due| now_ms >= due);
        self.failed |= failed;
        failed.then(|| (LogLevel::Warning, format!("{} failed to heartbeat", self.shown())))
    }

    /// The connection ended without a word.
    pub fn hung_up(&self) -> Vec<LogLine> {
        vec![(LogLevel::Warning, format!("{} hangup", self.shown())), self.removed()]
    }

    fn removed(&self) -> LogLine {
        (LogLevel::Info, format!("apphb_client_remove: client: {}", self.shown_pid()))
    }

    fn shown_pid(&self) -> i32 {
        self.registration.as_ref().map_or(0, |one| one.pid)
    }

    /// In the original's words.
    fn shown(&self) -> String {
        let (name, instance) = match &self.registration {
            Some(one) => (one.name.as_str(), one.instance.as_str()),
            None => ("(null)", "(null)"),
        };
        format!("apphb client '{name}' / '{instance}' (pid {})", self.shown_pid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(pid: i32) -> Result<Request, Malformed> {
        let (name, instance, folder) = ("app".into(), "one".into(), "/".into());
        Ok(Request::Register(Box::new(Registration { name, instance, folder, pid, uid: 0, gid: 0 })))
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn a_program_that_misses_its_beat_has_failed_until_the_next() {
        let mut watched = Watched::new(7, 0);
        assert_eq!(watched.take(registration(7), 10).answer, Some(0));
        assert_eq!(watched.due_ms(), None, "no interval yet");
        assert_eq!(watched.take(Ok(Request::SetInterval(400)), 20).answer, Some(0));
        assert_eq!(watched.take(Ok(Request::SetWarning(200)), 20).answer, Some(0));
        assert_eq!(watched.take(Ok(Request::Beat), 100), Reaction::default());
        let late = watched.take(Ok(Request::Beat), 400);
        assert_eq!(texts(&late.lines), ["apphb client 'app' / 'one' (pid 7) late heartbeat: 300 ms"]);
        assert_eq!((watched.due_ms(), watched.tick(799)), (Some(800), None));
        let line = watched.tick(800).unwrap();
        assert_eq!(
            line,
            (LogLevel::Warning, "apphb client 'app' / 'one' (pid 7) failed to heartbeat".into())
        );
        assert_eq!((watched.due_ms(), watched.tick(5000)), (None, None));
        let back = watched.take(Ok(Request::Beat), 1900);
        assert_eq!(
            texts(&back.lines),
            [
                "apphb client 'app' / 'one' (pid 7) resumed heartbeats",
                "apphb client 'app' / 'one' (pid 7) late heartbeat: 1500 ms"
            ]
        );
        assert_eq!(watched.due_ms(), Some(2300));
        let end = watched.take(Ok(Request::Unregister), 1950);
        assert_eq!((end.answer, end.ends), (Some(0), true));
        assert_eq!(texts(&end.lines), ["apphb_client_remove: client: 7"]);
    }

    #[test]
    fn answers_are_the_originals() {
        let mut watched = Watched::new(7, 0);
        assert_eq!(watched.take(Ok(Request::Beat), 0).answer, None);
        assert_eq!(watched.take(Ok(Request::SetInterval(5)), 0).answer, Some(3));
        assert_eq!(watched.take(Ok(Request::Unregister), 0).answer, Some(3));
        assert_eq!(watched.take(registration(1), 0).answer, Some(22));
        assert_eq!(texts(&watched.hung_up())[0], "apphb client '(null)' / '(null)' (pid 0) hangup");
        assert_eq!(watched.take(registration(7), 0).answer, Some(0));
        assert_eq!(watched.take(registration(7), 0).answer, Some(17));
        assert_eq!(watched.take(Err(Malformed::Invalid), 0).answer, Some(22));
        assert_eq!(watched.take(Err(Malformed::TooShort), 0), Reaction::default());
        assert_eq!(watched.take(Ok(Request::SetInterval(u64::MAX)), u64::MAX).answer, Some(0));
        assert_eq!(watched.due_ms(), Some(u64::MAX));
    }
}
