//! What an installation made, so that the removal takes that and nothing else.
//!
//! ```text
//! ha-install 1
//! prefix /usr
//! directory /usr/lib/heartbeat
//! program /usr/sbin/ha
//! link /usr/sbin/ha /usr/sbin/heartbeat
//! file 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12 /etc/init.d/heartbeat
//! keep /var/lib/heartbeat/hb_uuid
//! user
//! ```
//!
//! It is written before the first step, with everything that the steps will make: an installation that was
//! cut off can be removed, or done again.

use std::fs;
use std::io;
use std::path::Path;

use sha1::{Digest, Sha1};

use super::accounts::Made;
use super::root::Root;

/// Where it is, below the root.
pub const PLACE: &str = "/var/lib/heartbeat/installed";
const HEADING: &str = "ha-install 1";
/// Longest manifest that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

/// One thing that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A folder.
    Directory(String),
    /// The program file; an upgrade may have replaced it since.
    Program(String),
    /// A link.
    Link {
        /// Where it leads.
        target: String,
        /// Where it is.
        path: String,
    },
    /// A file with a text of ours.
    File {
        /// SHA-1 of the text: a changed file is the administrator's.
        digest: String,
        /// Where it is.
        path: String,
    },
}

impl Entry {
    /// Where it is.
    pub fn path(&self) -> &str {
        match self {
            Self::Directory(path)
            | Self::Program(path)
            | Self::Link { path, .. }
            | Self::File { path, .. } => path,
        }
    }
}

/// Everything that was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// In the place of `/usr`.
    pub prefix: String,
    /// In the order in which they were made.
    pub entries: Vec<Entry>,
    /// What the daemon writes and was there before.
    pub keep: Vec<String>,
    /// The account.
    pub accounts: Made,
}

impl Manifest {
    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is none of ours.
    pub fn read(root: &Root) -> Result<Option<Self>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot read {PLACE}: {error}");
        let path = root.place(PLACE).map_err(|error| failed(&error))?;
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
            Ok(about) if !about.is_file() || about.len() > MAX_BYTES => {
                return Err(failed(&"it is not what an installation writes"));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
        Self::parse(&text).map(Some).ok_or_else(|| failed(&"it is not what this version writes"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut manifest = Self::default();
        if lines.next()? != HEADING {
            return None;
        }
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let path = |path: &str| is_plain(path).then(|| path.to_owned());
            match word {
                "prefix" => manifest.prefix = path(rest)?,
                "directory" => manifest.entries.push(Entry::Directory(path(rest)?)),
                "program" => manifest.entries.push(Entry::Program(path(rest)?)),
                "link" => {
                    let (target, place) = rest.split_once(' ')?;
                    let target = path(target)?;
                    manifest.entries.push(Entry::Link { target, path: path(place)? });
                }
                "file" => {
                    let (digest, place) = rest.split_once(' ')?;
                    manifest.entries.push(Entry::File { digest: digest.to_owned(), path: path(place)? });
                }
                "keep" => manifest.keep.push(path(rest)?),
                "user" => manifest.accounts.user = true,
                "group" => manifest.accounts.group = true,
                "lock" => manifest.accounts.lock = true,
                _ => return None,
            }
        }
        Some(manifest)
    }

    /// Its text.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADING}\nprefix {}\n", self.prefix);
        for entry in &self.entries {
            text.push_str(&match entry {
                Entry::Directory(path) => format!("directory {path}\n"),
                Entry::Program(path) => format!("program {path}\n"),
                Entry::Link { target, path } => format!("link {target} {path}\n"),
                Entry::File { digest, path } => format!("file {digest} {path}\n"),
            });
        }
        for path in &self.keep {
            text.push_str(&format!("keep {path}\n"));
        }
        let accounts =
            [("user", self.accounts.user), ("group", self.accounts.group), ("lock", self.accounts.lock)];
        for (word, _) in accounts.iter().filter(|(_, made)| *made) {
            text.push_str(&format!("{word}\n"));
        }
        text
    }

    /// Whether an earlier installation made what is at this path.
    pub fn made(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| entry.path() == path)
    }
}

/// An absolute path without blanks, control characters or steps up: what stands in a manifest, a unit, a
/// script.
pub fn is_plain(path: &str) -> bool {
    let clean = path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    path.starts_with('/') && clean && !path.split('/').any(|part| part == "..")
}

/// SHA-1 of a text, to know it again.
pub fn digest(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the file still says what was written.
pub fn is_unchanged(path: &Path, wanted: &str) -> bool {
    let plain = fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.len() <= MAX_BYTES);
    plain && fs::read(path).is_ok_and(|text| digest(&text) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let manifest = Manifest {
            prefix: "/usr".into(),
            entries: vec![
                Entry::Directory("/usr/lib/heartbeat".into()),
                Entry::Program("/usr/sbin/ha".into()),
                Entry::Link { target: "/usr/sbin/ha".into(), path: "/usr/sbin/heartbeat".into() },
                Entry::File { digest: digest(b"x"), path: "/etc/init.d/heartbeat".into() },
            ],
            keep: vec!["/var/run/heartbeat".into()],
            accounts: Made { user: true, group: false, lock: true },
        };
        assert_eq!(Manifest::parse(&manifest.text()), Some(manifest));
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "x",
            "ha-install 2\n",
            "ha-install 1\nlink /a\n",
            "ha-install 1\ndirectory ../x\n",
            "ha-install 1\ndirectory /a/../../etc\n",
            "ha-install 1\nfile x\n",
            "ha-install 1\nprogram relative\n",
        ] {
            assert_eq!(Manifest::parse(text), None, "{text:?}");
        }
    }
}
