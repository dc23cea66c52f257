//! SIGHUP: what changed in the files, found out away from the deciding thread (messaging spec 7.3).

use std::path::PathBuf;
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::config::{self, host::HostFacts};
use crate::types::AuthKeys;

use super::layout::Layout;

/// What SIGHUP found.
#[derive(Debug)]
pub enum Change {
    /// Neither file changed.
    Nothing,
    /// Only the keys changed; these are the new ones.
    Keys(AuthKeys),
    /// ha.cf changed and is good.
    Settings,
    /// A changed file has errors. What runs stays as it is.
    Broken(String),
}

/// Remembers the files' times and looks at them on request.
pub struct Reload {
    directory: PathBuf,
    with_resources: bool,
    settings_file: PathBuf,
    keys_file: PathBuf,
    seen: Times,
    sender: mpsc::UnboundedSender<(Times, Change)>,
    receiver: mpsc::UnboundedReceiver<(Times, Change)>,
    busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    settings: Option<SystemTime>,
    keys: Option<SystemTime>,
}

impl Reload {
    /// Takes the present times as known. `with_resources` is `false` with `-M`: haresources is then
    /// not looked at.
    pub fn new(layout: &Layout, with_resources: bool) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (settings_file, keys_file) = (layout.ha_cf(), layout.authkeys());
        let seen = times(&settings_file, &keys_file);
        Self {
            directory: layout.etc_dir.clone(),
            with_resources,
            settings_file,
            keys_file,
            seen,
            sender,
            receiver,
            busy: false,
        }
    }

    /// Looks at the files in a thread of its own; the result comes out of [`Reload::next`]. A
    /// second call while one is under way has no effect.
    pub fn begin(&mut self) {
        if std::mem::replace(&mut self.busy, true) {
            return;
        }
        let (directory, seen, sender) = (self.directory.clone(), self.seen, self.sender.clone());
        let with_resources = self.with_resources;
        let (settings_file, keys_file) = (self.settings_file.clone(), self.keys_file.clone());
        let work = move || {
            crate::sys::sched::drop_realtime();
            let found = times(&settings_file, &keys_file);
            let change = examine(&directory, with_resources, seen, found);
            let _ = sender.send((found, change));
        };
        let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(256 * 1024);
        if let Err(error) = thread.spawn(work) {
            let broken = Change::Broken(format!("cannot read the configuration again: {error}"));
            let _ = self.sender.send((self.seen, broken));
        }
    }

    /// The next result; cancel-safe.
    pub async fn next(&mut self) -> Change {
        match self.receiver.recv().await {
            Some((found, change)) => {
                self.busy = false;
                if !matches!(change, Change::Broken(_)) {
                    self.seen = found;
                }
                change
            }
            None => std::future::pending().await,
        }
    }
}

fn times(settings_file: &std::path::Path, keys_file: &std::path::Path) -> Times {
    let modified = |path: &std::path::Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    Times { settings: modified(settings_file), keys: modified(keys_file) }
}

fn examine(directory: &std::path::Path, with_resources: bool, seen: Times, found: Times) -> Change {
    if seen == found {
        return Change::Nothing;
    }
    let load = if with_resources { config::load } else { config::load_without_resources };
    match load(directory, &HostFacts::gather()) {
        Err(failure) => Change::Broken(failure.to_string()),
        Ok(_) if seen.settings != found.settings => Change::Settings,
        Ok(loaded) => Change::Keys(loaded.configuration.auth_keys),
    }
}
