//! `ha install`: from one file to a place in the system, as a package would do it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::accounts;
use super::enable::{self, Way};
use super::manifest::{self, is_plain, Entry, Manifest};
use super::pages;
use super::root::Root;
use super::service::{self, Kind};
use super::signals::Held;
use super::steps::{Done, Step};
use super::{uninstall, DONE, FAILED};
use crate::config::places;
use crate::ipc::terminal::Terminal;

/// Where the original's programs are below.
pub const PREFIX_DEFAULT: &str = "/usr";
/// The original's folders, with the mode of each.
const DIRECTORIES: [(&str, u32); 5] = [
    ("/etc/ha.d", 0o755),
    ("/etc/ha.d/rc.d", 0o755),
    ("/etc/ha.d/resource.d", 0o755),
    ("/var/lib/heartbeat", 0o755),
    ("/var/lib/heartbeat/cores", 0o755),
];
/// Folders for core dumps, one for each user.
const CORES: &str = "/var/lib/heartbeat/cores";
/// The manual pages.
const PAGES: &str = "/usr/share/man";
/// Ends of pages that somebody packed.
const PACKED: [&str; 4] = ["", ".gz", ".bz2", ".xz"];
/// Places named in one message.
const NAMED_MAX: usize = 5;

/// What `ha install` was told.
#[derive(Debug, Clone)]
pub struct InstallOptions {
    /// The system's root, else this one's.
    pub root: PathBuf,
    /// In the place of `/usr`.
    pub prefix: String,
    /// How the boot starts it; found out when absent.
    pub service: Option<Kind>,
    /// Have the boot start it.
    pub enable: bool,
    /// Folder of the manual pages, else `man` beside this program if that is there.
    pub pages: Option<PathBuf>,
    /// Make the account.
    pub accounts: bool,
    /// Print the steps, and do none.
    pub dry_run: bool,
}

/// `ha install`; the value is the exit code. `names` are those of all applets.
pub fn install(options: &InstallOptions, names: &[&str], terminal: &mut Terminal<'_>) -> u8 {
    match carry_out(options, names, terminal) {
        Ok(()) => DONE,
        Err(reason) => {
            terminal.complain(&format!("ha install: {reason}"));
            FAILED
        }
    }
}

fn carry_out(options: &InstallOptions, names: &[&str], terminal: &mut Terminal<'_>) -> Result<(), String> {
    let prefix = plain_prefix(&options.prefix)?;
    let root = Root::new(&options.root)
        .map_err(|error| format!("{}: {error}; nothing was done", options.root.display()))?;
    let known = Manifest::read(&root).map_err(|reason| format!("{reason}; nothing was done"))?;
    if let Some(other) = known.as_ref().map(|known| &known.prefix).filter(|known| **known != prefix) {
        return Err(format!(
            "it is installed below {other} already; `ha uninstall` first, or --prefix {other}; nothing was done"
        ));
    }
    let mut planner = Planner::new(&root, &prefix, known.unwrap_or_default());
    let plan = planner.plan(options, names)?;
    for note in &plan.notes {
        terminal.say(note);
    }
    if options.dry_run {
        for step in &plan.steps {
            terminal.say(&format!("would {}", step.words()));
        }
        terminal.say(&format!("would write {} (mode 644)", manifest::PLACE));
        return Ok(());
    }
    let held = Held::now();
    let result = do_all(&root, &plan);
    drop(held);
    result?;
    summary(&plan, &root, terminal);
    Ok(())
}

fn plain_prefix(prefix: &str) -> Result<String, String> {
    let cut = prefix.trim_end_matches('/');
    if !is_plain(cut) || cut.contains("//") {
        return Err(format!(
            "`{}` cannot be a prefix: an absolute path of letters, digits and . _ - +; nothing was done",
            prefix.escape_debug()
        ));
    }
    Ok(cut.to_owned())
}

/// The manifest is the first file: what the steps behind it make is known whatever ends them.
fn do_all(root: &Root, plan: &Plan) -> Result<(), String> {
    let mut done = Done::new(root);
    let before = |step: &&Step| matches!(step, Step::Directory { path, .. } if manifest::PLACE.starts_with(&format!("{path}/")));
    let list = Step::File { path: manifest::PLACE.into(), text: plan.manifest.text(), mode: 0o644 };
    let first = plan.steps.iter().filter(before).chain([&list]);
    let rest = plan.steps.iter().filter(|step| !before(step));
    for step in first.chain(rest) {
        if let Err(reason) = done.step(step) {
            let failed = done.take_back();
            let end =
                if failed.is_empty() { "everything was taken back".to_owned() } else { failed.join("; ") };
            return Err(format!("{reason}; {end}"));
        }
    }
    done.keep();
    Ok(())
}

fn summary(plan: &Plan, root: &Root, terminal: &mut Terminal<'_>) {
    let links = plan.steps.iter().filter(|step| matches!(step, Step::Link { .. })).count();
    if plan.steps.is_empty() {
        terminal.say("Everything was in its place already.");
    } else {
        terminal.say(&format!(
            "Installed {} with {links} new links; `ha uninstall` takes it away again.",
            plan.binary
        ));
    }
    match (&plan.pages, plan.prefix.as_str()) {
        (None, _) => {
            terminal.say("The manual pages are not in this file: `ha install --pages DIR` installs them.");
        }
        (Some(_), PREFIX_DEFAULT) => terminal.say("The manual pages are in their place: man ha-intro"),
        (Some(folder), _) => terminal.say(&format!("The manual pages: man -M {folder} ha-intro")),
    }
    for line in service::next_steps(plan.service, root, plan.enabled) {
        terminal.say(&line);
    }
}

/// What is to be done.
struct Plan {
    steps: Vec<Step>,
    manifest: Manifest,
    binary: String,
    prefix: String,
    service: Kind,
    enabled: bool,
    /// Their folder; `None` where there are none.
    pages: Option<String>,
    notes: Vec<String>,
}

struct Planner<'r> {
    root: &'r Root,
    prefix: String,
    known: Manifest,
    steps: Vec<Step>,
    /// Places that other steps make: two names of one folder are one place.
    planned: BTreeSet<PathBuf>,
    taken: Vec<String>,
    notes: Vec<String>,
}

impl<'r> Planner<'r> {
    fn new(root: &'r Root, prefix: &str, known: Manifest) -> Self {
        let prefix = prefix.to_owned();
        let (steps, taken, notes) = (Vec::new(), Vec::new(), Vec::new());
        Self { root, prefix, known, steps, planned: BTreeSet::new(), taken, notes }
    }

    /// Looks at everything before anything is done.
    fn plan(&mut self, options: &InstallOptions, names: &[&str]) -> Result<Plan, String> {
        let failed = |error: io::Error| format!("{error}; nothing was done");
        let binary = self.below_prefix(places::BINARY);
        let accounts = if options.accounts { accounts::look(self.root).map_err(failed)? } else { None };
        if options.accounts && accounts.is_none() {
            self.notes
                .push("There is no /etc/passwd: no account was made for programs of `respawn`.".to_owned());
        }
        self.program(&binary).map_err(failed)?;
        for (path, mode) in DIRECTORIES {
            self.directory(path, mode, None).map_err(failed)?;
        }
        let owner = accounts.as_ref().map(|accounts| (accounts.ids.user, 0));
        for (user, owner) in [("root", None), ("hacluster", owner)] {
            if user == "root" || owner.is_some() {
                self.directory(&format!("{CORES}/{user}"), 0o700, owner).map_err(failed)?;
            }
        }
        for link in places::links(names.iter().copied(), &crate::resource::AGENT_NAMES) {
            let path = self.below_prefix(&link.path);
            self.link(&path, &binary, link.shared).map_err(failed)?;
        }
        let service = options.service.unwrap_or_else(|| service::found(self.root));
        for (path, text, mode) in service::files(service, self.root, &self.prefix) {
            self.text(path, text, mode).map_err(failed)?;
        }
        let pages = self.pages(options.pages.as_deref(), names)?;
        if options.enable {
            self.boot(service)?;
        }
        if let Some(accounts) = accounts.filter(|accounts| accounts.missing.user || accounts.missing.group) {
            let at =
                self.steps.iter().position(|step| matches!(step, Step::Directory { owner: Some(_), .. }));
            let step = Step::Accounts { missing: accounts.missing, ids: accounts.ids };
            self.steps.insert(at.unwrap_or(self.steps.len()), step);
        }
        self.refuse_taken()?;
        let manifest = self.manifest();
        let (steps, notes) = (std::mem::take(&mut self.steps), std::mem::take(&mut self.notes));
        let (prefix, enabled) = (self.prefix.clone(), options.enable);
        Ok(Plan { steps, manifest, binary, prefix, service, enabled, pages, notes })
    }

    /// The manual pages, where their folder is at hand; the value is where they go. What another package
    /// has there stays.
    fn pages(&mut self, given: Option<&Path>, names: &[&str]) -> Result<Option<String>, String> {
        let failed = |error: io::Error| format!("{error}; nothing was done");
        let pages = pages::find(given).map_err(|reason| format!("{reason}; nothing was done"))?;
        if pages.is_empty() {
            return Ok(None);
        }
        let folder = self.below_prefix(PAGES);
        let links = places::links(names.iter().copied(), &crate::resource::AGENT_NAMES);
        let programs: Vec<&str> = links.iter().filter_map(|link| link.path.rsplit('/').next()).collect();
        let mut others = 0;
        for other in pages::other_names(&pages, &programs) {
            let path = format!("{folder}/{}", other.place);
            if !self.others_page(&path) {
                self.link(&path, &format!("{folder}/{}", other.page), true).map_err(failed)?;
            }
        }
        for page in pages {
            let Some(place) = pages::place(&page.file) else { continue };
            let path = format!("{folder}/{place}");
            if self.others_page(&path) {
                others += 1;
            } else {
                self.text(&path, page.text, 0o644).map_err(failed)?;
            }
        }
        if others > 0 {
            self.notes.push(format!("{others} manual pages of another package stay as they are."));
        }
        Ok(Some(folder))
    }

    /// Whether a page stands there, packed or not, that no installation made.
    fn others_page(&self, path: &str) -> bool {
        let mut forms = PACKED.iter().map(|end| format!("{path}{end}"));
        forms.any(|form| self.root.has(&form) && !self.known.made(&form))
    }

    /// The start at boot.
    fn boot(&mut self, service: Kind) -> Result<(), String> {
        match enable::way(service, self.root).map_err(|reason| format!("{reason}; nothing was done"))? {
            Way::Links(links) => {
                for (path, target) in links {
                    let linked = self.link(&path, target, true);
                    linked.map_err(|error| format!("{error}; nothing was done"))?;
                }
            }
            Way::Tool(tool) => self.steps.push(Step::Boot { tool }),
        }
        Ok(())
    }

    fn below_prefix(&self, path: &str) -> String {
        match path.strip_prefix("/usr/") {
            Some(rest) => format!("{}/{rest}", self.prefix),
            None => path.to_owned(),
        }
    }

    /// A folder and those above it that are missing.
    fn directory(&mut self, path: &str, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
        if path.is_empty() || path == "/" || self.root.has_directory(path) {
            return Ok(());
        }
        let place = self.root.file(path)?;
        if self.planned.contains(&place) {
            return Ok(());
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above, 0o755, None)?;
        }
        if self.root.has(path) {
            self.taken.push(path.to_owned());
            return Ok(());
        }
        self.planned.insert(place);
        self.steps.push(Step::Directory { path: path.to_owned(), mode, owner });
        Ok(())
    }

    fn folder_of(&mut self, path: &str) -> io::Result<()> {
        self.directory(path.rsplit_once('/').map_or("/", |(folder, _)| folder), 0o755, None)
    }

    fn program(&mut self, path: &str) -> io::Result<()> {
        let place = self.root.place(path)?;
        let same = same_content(Path::new("/proc/self/exe"), &place)?;
        if same {
            return Ok(());
        }
        if self.root.has(path) && !self.known.made(path) {
            self.taken.push(path.to_owned());
            return Ok(());
        }
        self.folder_of(path)?;
        self.steps.push(Step::Program { path: path.to_owned() });
        Ok(())
    }

    fn link(&mut self, path: &str, binary: &str, shared: bool) -> io::Result<()> {
        let place = self.root.place(path)?;
        match fs::symlink_metadata(&place) {
            Err(_) if !self.planned.insert(place.clone()) => {}
            Err(_) => {
                self.folder_of(path)?;
                self.steps.push(Step::Link { path: path.to_owned(), target: binary.to_owned() });
            }
            Ok(_) if fs::read_link(&place).is_ok_and(|target| target == Path::new(binary)) => {}
            Ok(_) if shared => self.notes.push(format!("{path} is there already and stays as it is.")),
            Ok(_) => self.taken.push(path.to_owned()),
        }
        Ok(())
    }

    fn text(&mut self, path: &str, text: String, mode: u32) -> io::Result<()> {
        let place = self.root.place(path)?;
        let old = fs::symlink_metadata(&place).ok().map(|_| fs::read(&place).unwrap_or_default());
        let recorded = self.known.entries.iter().find_map(|entry| match entry {
            Entry::File { digest, path: known } if known == path => Some(digest.clone()),
            _ => None,
        });
        match old {
            Some(old) if old == text.as_bytes() => return Ok(()),
            Some(old) if recorded.as_deref() == Some(&manifest::digest(&old)) => {}
            Some(_) if recorded.is_some() => {
                self.notes.push(format!("{path} was changed since and stays as it is."));
                return Ok(());
            }
            Some(_) => {
                self.taken.push(path.to_owned());
                return Ok(());
            }
            None => {}
        }
        self.folder_of(path)?;
        self.steps.push(Step::File { path: path.to_owned(), text, mode });
        Ok(())
    }

    fn refuse_taken(&self) -> Result<(), String> {
        if self.taken.is_empty() {
            return Ok(());
        }
        let named: Vec<&str> = self.taken.iter().take(NAMED_MAX).map(String::as_str).collect();
        let more = self.taken.len() - named.len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        Err(format!(
            "there is something else at {}{more}: remove the package it belongs to (heartbeat, cluster-glue), \
             or install beside it (--prefix /usr/local/heartbeat --service none); nothing was done",
            named.join(", ")
        ))
    }

    /// What earlier installations made, and what this one will.
    fn manifest(&self) -> Manifest {
        let mut manifest = self.known.clone();
        if manifest.prefix.is_empty() {
            let there = uninstall::WRITTEN.iter().filter(|path| self.root.has(path));
            manifest.keep = there.map(|&path| path.to_owned()).collect();
        }
        manifest.prefix.clone_from(&self.prefix);
        for step in &self.steps {
            if let Step::Accounts { missing, .. } = step {
                manifest.accounts.user |= missing.user;
                manifest.accounts.group |= missing.group;
                manifest.accounts.lock |= missing.lock;
            }
            let Some(entry) = step.entry() else { continue };
            manifest.entries.retain(|known| known.path() != entry.path());
            manifest.entries.push(entry);
        }
        manifest
    }
}

fn same_content(one: &Path, other: &Path) -> io::Result<bool> {
    let (Ok(first), Ok(second)) = (fs::metadata(one), fs::symlink_metadata(other)) else {
        // without /proc the copy would fail: say so before anything is done
        return fs::metadata(one).map(|_| false);
    };
    Ok(second.is_file() && first.len() == second.len() && fs::read(one)? == fs::read(other)?)
}
