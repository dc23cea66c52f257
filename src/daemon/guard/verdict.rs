//! What becomes of a daemon that ended. Pure: how it ended, what it left, the time.

use crate::sys::fork::ChildEnd;
use crate::types::ResourceSet;

use super::record::{Condition, Record};

/// From the death of a daemon to the first beat of the next, milliseconds.
const START_MS: u64 = 20;
/// So many deaths within [`DEATHS_WITHIN_MS`] and it cannot be brought back.
const DEATHS_MAX: usize = 3;
const DEATHS_WITHIN_MS: u64 = 60_000;
/// Exit code of a guard whose daemon was killed.
const EXIT_KILLED: u8 = 1;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It ended as it wanted to, or before it held anything: the guard ends with this code.
    Leave(u8),
    /// Bring it back with what it holds.
    Resume(ResourceSet),
    /// Stop everything, then bring it back with nothing.
    ReleaseFirst,
    /// Stop everything, and only if all of that succeeds say goodbye.
    StopAndLeave,
    /// Do and say nothing: silence, deadtime and fencing decide.
    StaySilent,
}

/// Deaths of late.
#[derive(Debug, Default)]
pub struct Deaths {
    at_ms: Vec<u64>,
}

impl Deaths {
    /// Decides, and remembers this death. `record` is what it left, or, where it ended before it left
    /// anything, what the life before it left.
    pub fn verdict(&mut self, end: ChildEnd, record: Option<&Record>, now_ms: u64) -> Verdict {
        let code = match end {
            ChildEnd::Exited(code) => u8::try_from(code).unwrap_or(EXIT_KILLED),
            ChildEnd::Killed(_) => EXIT_KILLED,
        };
        // Nothing is held before there is a record, and nothing after a proper end.
        let Some(record) = record.filter(|_| code != 0) else {
            return Verdict::Leave(code);
        };
        if let ChildEnd::Exited(_) = end {
            // It gave up by itself, and would do so again: files that it refuses now, no program to go on with.
            return match record.condition {
                Condition::StopFailed => Verdict::Leave(code),
                _ => Verdict::StopAndLeave,
            };
        }
        self.at_ms.retain(|at_ms| at_ms + DEATHS_WITHIN_MS > now_ms);
        self.at_ms.push(now_ms);
        match record.condition {
            Condition::StopFailed => Verdict::StaySilent,
            Condition::Leaving => Verdict::StopAndLeave,
            _ if self.at_ms.len() >= DEATHS_MAX => Verdict::StopAndLeave,
            Condition::AtRest if now_ms + START_MS <= record.beat_ms + record.limit_ms => {
                Verdict::Resume(record.held)
            }
            Condition::AtRest | Condition::Busy => Verdict::ReleaseFirst,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: ChildEnd = ChildEnd::Killed(9);

    fn record(condition: Condition) -> Record {
        Record {
            beat_ms: 1000,
            limit_ms: 100,
            program: (1, 1),
            held: ResourceSet::ALL,
            condition,
            awaits_failback: false,
            maintenance: (0, 0),
            fencing: Default::default(),
        }
    }

    fn verdict(condition: Condition, now_ms: u64) -> Verdict {
        Deaths::default().verdict(KILLED, Some(&record(condition)), now_ms)
    }

    #[test]
    fn by_condition_and_time() {
        assert_eq!(verdict(Condition::AtRest, 1080), Verdict::Resume(ResourceSet::ALL));
        assert_eq!(verdict(Condition::AtRest, 1081), Verdict::ReleaseFirst);
        assert_eq!(verdict(Condition::Busy, 1001), Verdict::ReleaseFirst);
        assert_eq!(verdict(Condition::Leaving, 1001), Verdict::StopAndLeave);
        assert_eq!(verdict(Condition::StopFailed, 1001), Verdict::StaySilent);
    }

    #[test]
    fn who_ends_by_itself_is_let_go() {
        let mut deaths = Deaths::default();
        let rest = record(Condition::AtRest);
        assert_eq!(deaths.verdict(ChildEnd::Exited(0), Some(&rest), 1001), Verdict::Leave(0));
        assert_eq!(deaths.verdict(ChildEnd::Exited(6), None, 1001), Verdict::Leave(6), "refused to start");
        assert_eq!(deaths.verdict(KILLED, None, 1001), Verdict::Leave(1), "died in its start");
    }

    #[test]
    fn who_gives_up_leaves_nothing_active() {
        for (condition, verdict) in [
            (Condition::AtRest, Verdict::StopAndLeave),
            (Condition::Busy, Verdict::StopAndLeave),
            (Condition::Leaving, Verdict::StopAndLeave),
            (Condition::StopFailed, Verdict::Leave(1)),
        ] {
            let given_up = Deaths::default().verdict(ChildEnd::Exited(1), Some(&record(condition)), 1001);
            assert_eq!(given_up, verdict, "{condition:?}");
        }
    }

    #[test]
    fn who_dies_again_and_again_is_not_brought_back() {
        let mut deaths = Deaths::default();
        let rest = |beat_ms| Record { beat_ms, ..record(Condition::AtRest) };
        let mut die = |now_ms| deaths.verdict(KILLED, Some(&rest(now_ms)), now_ms);
        assert_eq!(die(1000), Verdict::Resume(ResourceSet::ALL));
        assert_eq!(die(30_000), Verdict::Resume(ResourceSet::ALL));
        assert_eq!(die(59_000), Verdict::StopAndLeave);
        assert_eq!(die(200_000), Verdict::Resume(ResourceSet::ALL));
    }
}
