//! `ha uninstall`: takes away what the manifest names and what the daemon wrote, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::accounts;
use super::enable;
use super::manifest::{self, is_unchanged, Entry, Manifest};
use super::root::Root;
use super::service::{INIT_PLACE, UNIT_PLACE};
use super::signals::Held;
use super::steps::leftovers;
use super::{DONE, FAILED};
use crate::daemon::layout::Layout;
use crate::daemon::process::{running_pid, RunState};
use crate::ipc::terminal::Terminal;
use crate::resource::{MAPPING_FUNCTIONS, SHELL_FUNCTIONS};

/// What the daemon writes; what was there before an installation is not taken away.
pub const WRITTEN: [&str; 12] = [
    "/var/lib/heartbeat/hb_uuid",
    "/var/lib/heartbeat/hb_generation",
    "/var/lib/heartbeat/hostcache",
    "/var/lib/heartbeat/delhostcache",
    "/var/lib/heartbeat/fifo",
    "/var/lib/heartbeat/programs",
    "/var/run/heartbeat",
    "/var/run/heartbeat.pid",
    "/var/run/logd.pid",
    "/var/run/apphbd.pid",
    "/var/lock/subsys/heartbeat",
    "/var/run/resource-agents",
];
const CORES: &str = "/var/lib/heartbeat/cores";
const WANTS_FOLDER: &str = "/etc/systemd/system";

/// What `ha uninstall` was told.
#[derive(Debug, Clone)]
pub struct UninstallOptions {
    /// The system's root, else this one's.
    pub root: PathBuf,
    /// Print what would be removed, and remove nothing.
    pub dry_run: bool,
}

/// `ha uninstall`; the value is the exit code.
pub fn uninstall(options: &UninstallOptions, terminal: &mut Terminal<'_>) -> u8 {
    match carry_out(options, terminal) {
        Ok(()) => DONE,
        Err(reason) => {
            terminal.complain(&format!("ha uninstall: {reason}"));
            FAILED
        }
    }
}

fn carry_out(options: &UninstallOptions, terminal: &mut Terminal<'_>) -> Result<(), String> {
    let nothing = |reason: String| format!("{reason}; nothing was removed");
    let root =
        Root::new(&options.root).map_err(|error| nothing(format!("{}: {error}", options.root.display())))?;
    let manifest = Manifest::read(&root).map_err(nothing)?.ok_or_else(|| {
        nothing(format!("there is no {}: `ha install` did not install this one", manifest::PLACE))
    })?;
    let layout = Layout::below(&options.root);
    if let RunState::Running(_) = running_pid(&layout.pid_file) {
        return Err(nothing("heartbeat is running; stop it first (heartbeat -k)".to_owned()));
    }
    let _held = Held::now();
    let mut removal =
        Removal { root: &root, dry_run: options.dry_run, terminal, kept: Vec::new(), told: BTreeSet::new() };
    removal.all(&manifest).map_err(|error| {
        format!("{error}; what was removed stays removed, the rest is there: run it again")
    })?;
    let kept = removal.kept;
    for path in &kept {
        terminal.say(&format!("{path} stays: it is not as it was installed, or holds files of yours"));
    }
    if !options.dry_run {
        terminal.say("Removed. Your configuration and logs are where they were.");
        if manifest.made(UNIT_PLACE) {
            terminal.say("systemd forgets the service with: systemctl daemon-reload");
        }
    }
    Ok(())
}

struct Removal<'a, 't> {
    root: &'a Root,
    dry_run: bool,
    terminal: &'a mut Terminal<'t>,
    kept: Vec<String>,
    /// What a dry run has named: a link of the boot may be in the list too.
    told: BTreeSet<String>,
}

impl Removal<'_, '_> {
    fn all(&mut self, manifest: &Manifest) -> io::Result<()> {
        self.boot_links(manifest)?;
        self.what_the_daemon_wrote(manifest)?;
        for entry in manifest.entries.iter().rev() {
            match entry {
                Entry::Directory(_) => {}
                Entry::Program(path) => self.written(path, |place| place.is_file())?,
                Entry::Link { target, path } => {
                    self.file(path, |place| {
                        fs::read_link(place).is_ok_and(|known| known == Path::new(target))
                    })?;
                }
                Entry::File { digest, path } => self.written(path, |place| is_unchanged(place, digest))?,
            }
        }
        if manifest.accounts != accounts::Made::default() {
            if self.dry_run {
                self.terminal
                    .say("would remove the account hacluster and its group, as far as they were made");
            } else {
                accounts::remove(self.root, &manifest.accounts)?;
            }
        }
        // Until here, it can be run again with the same knowledge.
        self.written(manifest::PLACE, |_| true)?;
        for entry in manifest.entries.iter().rev() {
            if let Entry::Directory(path) = entry {
                if path == CORES {
                    // one for each user whose programs the daemon ran
                    for name in self.names(CORES)? {
                        self.directory(&format!("{CORES}/{name}"))?;
                    }
                }
                self.directory(path)?;
            }
        }
        Ok(())
    }

    /// Links that the boot follows to what is going away.
    fn boot_links(&mut self, manifest: &Manifest) -> io::Result<()> {
        if manifest.made(INIT_PLACE) {
            self.boot_tool();
            for folder in enable::LEVEL_FOLDERS {
                for level in enable::LEVELS {
                    self.links_below(&format!("{folder}/rc{level}.d"), enable::is_link_name)?;
                }
            }
        }
        if manifest.made(UNIT_PLACE) {
            for name in self.names(WANTS_FOLDER)? {
                if name.ends_with(".wants") || name.ends_with(".requires") {
                    self.links_below(&format!("{WANTS_FOLDER}/{name}"), |name| name == "heartbeat.service")?;
                }
            }
        }
        Ok(())
    }

    /// The tool that keeps the links, if there are any: it may keep more than links. What it leaves is
    /// taken away behind it.
    fn boot_tool(&mut self) {
        match enable::tool(self.root).filter(|_| enable::has_links(self.root)) {
            Some(tool) if self.dry_run => {
                self.terminal.say(&format!("would run {}", tool.removal_words()));
            }
            Some(tool) => {
                if let Err(reason) = tool.remove() {
                    self.terminal.say(&format!("{reason}; the links are taken away without it"));
                }
            }
            None => {}
        }
    }

    fn links_below(&mut self, folder: &str, ours: impl Fn(&str) -> bool) -> io::Result<()> {
        for name in self.names(folder)?.into_iter().filter(|name| ours(name)) {
            let is_link = |place: &Path| fs::symlink_metadata(place).is_ok_and(|about| about.is_symlink());
            self.file(&format!("{folder}/{name}"), is_link)?;
        }
        Ok(())
    }

    fn names(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.file(folder)?) {
            Ok(entries) => entries,
            Err(_) => return Ok(Vec::new()),
        };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn what_the_daemon_wrote(&mut self, manifest: &Manifest) -> io::Result<()> {
        for path in WRITTEN.iter().filter(|path| !manifest.keep.iter().any(|kept| kept == *path)) {
            self.tree(path)?;
        }
        for (path, text) in [
            ("/etc/ha.d/shellfuncs", SHELL_FUNCTIONS),
            ("/etc/ha.d/resource.d/hto-mapfuncs", MAPPING_FUNCTIONS),
        ] {
            let ours = |place: &Path| fs::read(place).is_ok_and(|known| known == text.as_bytes());
            if self.root.place(path).is_ok_and(|place| ours(&place)) {
                self.file(path, ours)?;
            }
        }
        Ok(())
    }

    /// A file, and what a killed run left beside it.
    fn written(&mut self, path: &str, ours: impl Fn(&Path) -> bool) -> io::Result<()> {
        if !self.dry_run {
            for left in leftovers(&self.root.place(path)?) {
                let _ = fs::remove_file(left);
            }
        }
        self.file(path, ours)
    }

    /// One file or link, if it still is what it was; else it is kept.
    fn file(&mut self, path: &str, ours: impl Fn(&Path) -> bool) -> io::Result<()> {
        let place = self.root.place(path)?;
        if fs::symlink_metadata(&place).is_err() {
            return Ok(());
        }
        if !ours(&place) {
            self.kept.push(path.to_owned());
            return Ok(());
        }
        self.remove(path, || fs::remove_file(&place))
    }

    fn directory(&mut self, path: &str) -> io::Result<()> {
        let place = self.root.place(path)?;
        if !place.is_dir() || self.dry_run {
            return Ok(());
        }
        match fs::remove_dir(&place) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) =>
            {
                self.kept.push(path.to_owned());
                Ok(())
            }
            other => other,
        }
    }

    /// What only the daemon writes into. Links are removed, not followed; nothing that is mounted there is
    /// touched.
    fn tree(&mut self, path: &str) -> io::Result<()> {
        let place = self.root.place(path)?;
        match fs::symlink_metadata(&place) {
            Err(_) => Ok(()),
            Ok(about) if about.is_dir() => {
                if is_mount(&place) {
                    self.kept.push(path.to_owned());
                    return Ok(());
                }
                self.remove(path, || fs::remove_dir_all(&place))
            }
            Ok(_) => self.remove(path, || fs::remove_file(&place)),
        }
    }

    fn remove(&mut self, path: &str, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.dry_run {
            if self.told.insert(path.to_owned()) {
                self.terminal.say(&format!("would remove {path}"));
            }
            return Ok(());
        }
        act().map_err(|error| io::Error::new(error.kind(), format!("cannot remove {path}: {error}")))
    }
}

fn is_mount(place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|about| about.dev()).ok();
    place.parent().is_some_and(|parent| device(parent) != device(place))
}
