//! Scripts of `rc.d` that wait for their turn, and which scripts there are.
//!
//! Every message of a type that the daemon does not know may have a script: messages without one must
//! not push out those that have one, nor cost a process each.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use crate::log::RateLimit;

/// Script runs that may wait; more are dropped with a line in the log.
const WAITING_MAX: usize = 256;
/// Messages that may wait until it is known whether there is a script; more are dropped.
const UNSURE_MAX: usize = 32;
/// Most names taken from the folder.
const NAMES_MAX: usize = 1000;
/// The folder is looked at no sooner after the last look, milliseconds.
const LOOK_AGAIN_MS: u64 = 100;
/// Dropped ones are spoken of once within this time, milliseconds.
const DROP_WINDOW_MS: u64 = 10_000;

/// A script that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its name, the type of the message.
    pub kind: String,
    /// What it finds in its environment of the message.
    pub variables: Vec<(String, String)>,
}

/// What became of a script that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Queued {
    /// It waits, or there is none.
    Done,
    /// Look into the folder ([`list`]), away from this thread, and tell [`Hooks::listed`].
    Look(PathBuf),
    /// Too many wait: it was dropped; a text for the log where one is due.
    Dropped(Option<String>),
}

/// The queue.
pub struct Hooks {
    folder: PathBuf,
    names: BTreeSet<String>,
    looked_ms: u64,
    looking: bool,
    waiting: VecDeque<Hook>,
    unsure: VecDeque<Hook>,
    drop_limit: RateLimit,
}

impl Hooks {
    /// For the scripts of that folder, which is looked at once, now.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            names: list(&folder),
            folder,
            looked_ms: 0,
            looking: false,
            waiting: VecDeque::new(),
            unsure: VecDeque::new(),
            drop_limit: RateLimit::new(1, DROP_WINDOW_MS),
        }
    }

    /// Asks for a script. A name that is not in the folder as it was 100 ms ago has none.
    pub fn push(&mut self, hook: Hook, now_ms: u64) -> Queued {
        if self.names.contains(&hook.kind) {
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(hook);
                return Queued::Done;
            }
            let text = format!("too many scripts are waiting: {} was not run", hook.kind);
            return Queued::Dropped(self.drop_limit.check("dropped", now_ms).apply(&text));
        }
        let known = !self.looking && self.looked_ms > 0 && now_ms < self.looked_ms + LOOK_AGAIN_MS;
        if known || self.unsure.len() >= UNSURE_MAX {
            return Queued::Done;
        }
        self.unsure.push_back(hook);
        if std::mem::replace(&mut self.looking, true) {
            return Queued::Done;
        }
        Queued::Look(self.folder.clone())
    }

    /// What is in the folder now; those that waited for this get their turn or are forgotten.
    pub fn listed(&mut self, names: BTreeSet<String>, now_ms: u64) {
        self.names = names;
        (self.looking, self.looked_ms) = (false, now_ms.max(1));
        for hook in std::mem::take(&mut self.unsure) {
            if self.names.contains(&hook.kind) && self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(hook);
            }
        }
    }

    /// The scripts there are, as far as known.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// None waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next one.
    pub fn pop(&mut self) -> Option<Hook> {
        self.waiting.pop_front()
    }
}

/// The names in a folder; none where it cannot be read.
pub fn list(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.take(NAMES_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(kind: &str) -> Hook {
        Hook { kind: kind.to_owned(), variables: Vec::new() }
    }

    #[test]
    fn messages_without_a_script_do_not_push_out_others() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("status"), "").unwrap();
        let mut hooks = Hooks::new(folder.path().to_owned());
        let look = Queued::Look(folder.path().to_owned());
        assert_eq!(hooks.push(hook("nothing"), 1000), look);
        for _ in 0..5000 {
            assert_eq!(hooks.push(hook("nothing"), 1000), Queued::Done);
        }
        assert_eq!(hooks.push(hook("status"), 1000), Queued::Done);
        assert_eq!(hooks.unsure.len(), UNSURE_MAX);
        hooks.listed(list(folder.path()), 1001);
        assert_eq!((hooks.pop(), hooks.pop()), (Some(hook("status")), None));
        assert_eq!(hooks.push(hook("nothing"), 1050), Queued::Done);
        // A script that is made while the daemon runs.
        std::fs::write(folder.path().join("nothing"), "").unwrap();
        assert_eq!(hooks.push(hook("nothing"), 1200), look);
        hooks.listed(list(folder.path()), 1201);
        assert_eq!(hooks.pop(), Some(hook("nothing")));
        assert_eq!(hooks.push(hook("nothing"), 1202), Queued::Done);
        assert!(!hooks.is_empty());
    }

    #[test]
    fn the_queue_is_bounded_and_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("status"), "").unwrap();
        let mut hooks = Hooks::new(folder.path().to_owned());
        for _ in 0..WAITING_MAX {
            assert_eq!(hooks.push(hook("status"), 5), Queued::Done);
        }
        let text = "too many scripts are waiting: status was not run".to_owned();
        assert_eq!(hooks.push(hook("status"), 5), Queued::Dropped(Some(text)));
        assert_eq!(hooks.push(hook("status"), 6), Queued::Dropped(None));
        assert!(list(&folder.path().join("none")).is_empty());
    }
}
