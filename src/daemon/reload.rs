//! SIGHUP: what changed in the files, found out away from the deciding thread (messaging spec 7.3).

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::config::{self, host::HostFacts};
use crate::types::{AuthKeys, LogLevel};

use super::layout::Layout;
use super::test_options::TestOptions;
use super::upgrade::{try_out, Program};

/// What SIGHUP found.
#[derive(Debug)]
pub enum Change {
    /// Neither file changed.
    Nothing,
    /// Only the keys changed; these are the new ones.
    Keys(AuthKeys),
    /// ha.cf or haresources changed and all files are good. 3.0.6 takes no notice of haresources here,
    /// its scripts read it each time; what is watched and compared between the nodes follows from it.
    Settings,
    /// A changed file has errors. What runs stays as it is.
    Broken(String),
}

/// What SIGHUP found about the program file.
#[derive(Debug)]
pub enum NewProgram {
    /// It is the one that runs, or there is none.
    Same,
    /// Another one, which can take over.
    Good {
        /// Where.
        path: PathBuf,
        /// What it says of itself.
        version: String,
    },
    /// Another one, which cannot; why.
    Bad(String),
}

/// Everything SIGHUP found.
#[derive(Debug)]
pub struct Found {
    /// About the configuration.
    pub change: Change,
    /// About the program file. Not looked at while the configuration is broken, which would stop it.
    pub program: NewProgram,
    /// What is lost on purpose from now on, with lines for the log.
    pub test_options: (TestOptions, Vec<(LogLevel, String)>),
}

/// Remembers the files' times and looks at them on request.
pub struct Reload {
    directory: PathBuf,
    with_resources: bool,
    settings_file: PathBuf,
    keys_file: PathBuf,
    /// `None` with `-M`.
    resources_file: Option<PathBuf>,
    program: Program,
    seen: Times,
    sender: mpsc::UnboundedSender<(Times, Found)>,
    receiver: mpsc::UnboundedReceiver<(Times, Found)>,
    busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    settings: Option<SystemTime>,
    keys: Option<SystemTime>,
    resources: Option<SystemTime>,
}

impl Reload {
    /// Takes the present times as known. `program` is the file that runs; `with_resources` is `false`
    /// with `-M`: haresources is then not looked at.
    pub fn new(layout: &Layout, program: Program, with_resources: bool) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (settings_file, keys_file) = (layout.ha_cf(), layout.authkeys());
        let resources_file = with_resources.then(|| layout.haresources());
        let seen = times(&settings_file, &keys_file, resources_file.as_deref());
        Self {
            directory: layout.etc_dir.clone(),
            with_resources,
            settings_file,
            keys_file,
            resources_file,
            program,
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
        let (program, resources_file) = (self.program.clone(), self.resources_file.clone());
        let work = move || {
            crate::sys::sched::drop_realtime();
            let found = times(&settings_file, &keys_file, resources_file.as_deref());
            let change = examine(&directory, with_resources, seen, found);
            let program = match change {
                Change::Broken(_) => NewProgram::Same,
                _ => examine_program(&program, &directory, with_resources),
            };
            let test_options = TestOptions::read(&directory);
            let _ = sender.send((found, Found { change, program, test_options }));
        };
        let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(256 * 1024);
        if let Err(error) = thread.spawn(work) {
            let change = Change::Broken(format!("cannot read the configuration again: {error}"));
            let test_options = TestOptions::read(&self.directory);
            let _ = self.sender.send((self.seen, Found { change, program: NewProgram::Same, test_options }));
        }
    }

    /// The next result; cancel-safe.
    pub async fn next(&mut self) -> Found {
        match self.receiver.recv().await {
            Some((times, found)) => {
                self.busy = false;
                if !matches!(found.change, Change::Broken(_)) {
                    self.seen = times;
                }
                found
            }
            None => std::future::pending().await,
        }
    }
}

fn examine_program(program: &Program, directory: &Path, with_resources: bool) -> NewProgram {
    let Some(path) = program.replaced() else {
        return NewProgram::Same;
    };
    let checked = with_resources.then_some(directory);
    match try_out(&path, checked) {
        Ok(version) => NewProgram::Good { path, version },
        Err(text) => NewProgram::Bad(text),
    }
}

fn times(settings_file: &Path, keys_file: &Path, resources_file: Option<&Path>) -> Times {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    Times {
        settings: modified(settings_file),
        keys: modified(keys_file),
        resources: resources_file.and_then(modified),
    }
}

fn examine(directory: &Path, with_resources: bool, seen: Times, found: Times) -> Change {
    if seen == found {
        return Change::Nothing;
    }
    let load = if with_resources { config::load } else { config::load_without_resources };
    match load(directory, &HostFacts::gather()) {
        Err(failure) => Change::Broken(failure.to_string()),
        Ok(_) if (seen.settings, seen.resources) != (found.settings, found.resources) => Change::Settings,
        Ok(loaded) => Change::Keys(loaded.configuration.auth_keys),
    }
}
