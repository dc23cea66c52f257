//! The steps of an installation: each is done, or refused and everything before it is taken back.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{chown, symlink, DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::accounts::{self, Made};
use super::enable::Tool;
use super::manifest;
use super::root::Root;

/// This program's own file.
const OWN_FILE: &str = "/proc/self/exe";

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes a folder.
    Directory {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
        /// User and group, else root's.
        owner: Option<(u32, u32)>,
    },
    /// Copies this program.
    Program {
        /// Where.
        path: String,
    },
    /// Writes a text.
    File {
        /// Where.
        path: String,
        /// What.
        text: String,
        /// Permission bits.
        mode: u32,
    },
    /// Makes a symbolic link.
    Link {
        /// Where.
        path: String,
        /// To what.
        target: String,
    },
    /// Makes account and group.
    Accounts {
        /// Those that are missing.
        missing: Made,
        /// With which numbers.
        ids: accounts::Ids,
    },
    /// Has the boot start it.
    Boot {
        /// By this program of the system.
        tool: &'static Tool,
    },
}

impl Step {
    /// As the manifest keeps it; `None` for accounts, which it keeps in its own way, and for the
    /// boot, which is found again by its links.
    pub fn entry(&self) -> Option<manifest::Entry> {
        Some(match self.clone() {
            Self::Directory { path, .. } => manifest::Entry::Directory(path),
            Self::Program { path } => manifest::Entry::Program(path),
            Self::File { path, text, .. } => {
                manifest::Entry::File { digest: manifest::digest(text.as_bytes()), path }
            }
            Self::Link { path, target } => manifest::Entry::Link { target, path },
            Self::Accounts { .. } | Self::Boot { .. } => return None,
        })
    }

    /// In words, behind "would".
    pub fn words(&self) -> String {
        match self {
            Self::Directory { path, mode, owner } => {
                let owner = owner.map_or_else(String::new, |(user, group)| format!(", owner {user}:{group}"));
                format!("make the directory {path} (mode {mode:o}{owner})")
            }
            Self::Program { path } => format!("copy this program to {path} (mode 755)"),
            Self::File { path, mode, .. } => format!("write {path} (mode {mode:o})"),
            Self::Link { path, target } => format!("link {path} -> {target}"),
            Self::Accounts { missing, ids } => {
                let mut made = Vec::new();
                if missing.group {
                    made.push(format!("the group {} ({})", accounts::GROUP, ids.group));
                }
                if missing.user {
                    made.push(format!("the account {} ({})", accounts::USER, ids.user));
                }
                format!("make {}", made.join(" and "))
            }
            Self::Boot { tool } => format!("run {}", tool.words()),
        }
    }
}

/// How a step is taken back.
enum Undo {
    RemoveFile(PathBuf),
    RemoveDirectory(PathBuf),
    /// The former file has this second name.
    Restore {
        former: PathBuf,
        path: PathBuf,
    },
    Accounts(Made),
    Boot(&'static Tool),
}

/// Steps that were done and can be taken back.
pub struct Done<'r> {
    root: &'r Root,
    undo: Vec<Undo>,
}

impl<'r> Done<'r> {
    /// Nothing yet.
    pub fn new(root: &'r Root) -> Self {
        Self { root, undo: Vec::new() }
    }

    /// Does one step.
    ///
    /// # Errors
    /// What the system said; the step left nothing, the steps before it are still done.
    pub fn step(&mut self, step: &Step) -> Result<(), String> {
        self.carry_out(step).map_err(|error| format!("cannot {}: {error}", step.words()))
    }

    fn carry_out(&mut self, step: &Step) -> io::Result<()> {
        match step {
            Step::Directory { path, mode, owner } => {
                let place = self.root.place(path)?;
                DirBuilder::new().mode(0o700).create(&place)?;
                self.undo.push(Undo::RemoveDirectory(place.clone()));
                if let Some((user, group)) = owner {
                    chown(&place, Some(*user), Some(*group))?;
                }
                fs::set_permissions(&place, Permissions::from_mode(*mode))
            }
            Step::Program { path } => self.put(&self.root.place(path)?, 0o755, |file| {
                io::copy(&mut File::open(OWN_FILE)?, file).map(drop)
            }),
            Step::File { path, text, mode } => {
                self.put(&self.root.place(path)?, *mode, |file| file.write_all(text.as_bytes()))
            }
            Step::Link { path, target } => {
                let place = self.root.place(path)?;
                match fs::read_link(&place) {
                    Ok(known) if known == Path::new(target) => return Ok(()),
                    _ => symlink(target, &place)?,
                }
                self.undo.push(Undo::RemoveFile(place));
                Ok(())
            }
            Step::Accounts { .. } => {
                let made = accounts::make(self.root)?;
                self.undo.push(Undo::Accounts(made));
                Ok(())
            }
            Step::Boot { tool } => {
                tool.add().map_err(io::Error::other)?;
                self.undo.push(Undo::Boot(tool));
                Ok(())
            }
        }
    }

    /// A new file takes the place of the old one, which keeps a second name until the end.
    fn put(
        &mut self,
        place: &Path,
        mode: u32,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let (new, former) = (hidden(place, "new"), hidden(place, "former"));
        for left in leftovers(place) {
            let _ = fs::remove_file(left);
        }
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            fill(&mut file)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()
        };
        let written = write().and_then(|()| match fs::symlink_metadata(place) {
            Ok(_) => fs::hard_link(place, &former).map(|()| true),
            Err(_) => Ok(false),
        });
        let result = written.and_then(|replaces| fs::rename(&new, place).map(|()| replaces));
        match result {
            Ok(true) => self.undo.push(Undo::Restore { former, path: place.to_owned() }),
            Ok(false) => self.undo.push(Undo::RemoveFile(place.to_owned())),
            Err(error) => {
                for left in [&new, &former] {
                    let _ = fs::remove_file(left);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// All is done: there is no way back any more.
    pub fn keep(self) {
        for undo in &self.undo {
            if let Undo::Restore { former, .. } = undo {
                let _ = fs::remove_file(former);
            }
        }
    }

    /// Takes everything back, the last step first. The value says what could not be.
    pub fn take_back(self) -> Vec<String> {
        let mut failed = Vec::new();
        for undo in self.undo.into_iter().rev() {
            let (result, what) = match undo {
                Undo::RemoveFile(path) => (fs::remove_file(&path), path.display().to_string()),
                Undo::RemoveDirectory(path) => (fs::remove_dir(&path), path.display().to_string()),
                Undo::Restore { former, path } => (fs::rename(&former, &path), path.display().to_string()),
                Undo::Accounts(made) => {
                    (accounts::remove(self.root, &made), "the account hacluster".to_owned())
                }
                Undo::Boot(tool) => (tool.remove().map_err(io::Error::other), "the start at boot".to_owned()),
            };
            if let Err(error) = result {
                failed.push(format!("{what} could not be taken back: {error}"));
            }
        }
        failed
    }
}

/// What a run that was killed may leave beside a file.
pub(super) fn leftovers(place: &Path) -> [PathBuf; 2] {
    [hidden(place, "new"), hidden(place, "former")]
}

fn hidden(place: &Path, end: &str) -> PathBuf {
    let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    place.with_file_name(format!(".{name}.{end}"))
}
