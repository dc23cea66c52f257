//! A file tree that may be another system's: links in it never lead out of it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Links followed in one path, as the kernel's own limit.
const LINKS_MAX: usize = 40;

/// The root of a system, `/` for this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// `path` must be a directory.
    ///
    /// # Errors
    /// It is none, or cannot be reached.
    pub fn new(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        if fs::metadata(&path)?.is_dir() {
            Ok(Self(path))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// It is this system.
    pub fn is_own(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where a path of that system lies here. Links in its folders are followed within the root; the last
    /// part is taken as it is. What does not exist is taken by its name.
    ///
    /// # Errors
    /// Too many links.
    pub fn place(&self, path: &str) -> io::Result<PathBuf> {
        let mut todo: Vec<OsString> = parts(Path::new(path));
        todo.reverse();
        let mut done: Vec<OsString> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let here = self.0.join(done.iter().collect::<PathBuf>()).join(&part);
            match fs::read_link(&here) {
                Ok(target) if !todo.is_empty() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(io::Error::other("too many symbolic links"));
                    }
                    if target.is_absolute() {
                        done.clear();
                    }
                    todo.extend(parts(&target).into_iter().rev());
                }
                _ => done.push(part),
            }
        }
        Ok(self.0.join(done.iter().collect::<PathBuf>()))
    }

    /// As [`Root::place`] with the last part followed too.
    ///
    /// # Errors
    /// Too many links.
    pub fn file(&self, path: &str) -> io::Result<PathBuf> {
        self.place(&format!("{path}/.")).map(|place| place.components().collect())
    }

    /// Whether anything stands there, a link that leads nowhere too.
    pub fn has(&self, path: &str) -> bool {
        self.place(path).is_ok_and(|place| fs::symlink_metadata(place).is_ok())
    }

    /// Whether a directory is there, through links.
    pub fn has_directory(&self, path: &str) -> bool {
        self.file(path).is_ok_and(|place| place.is_dir())
    }
}

/// The names of a path and its steps up; `.` counts only at the end, where it stands for "through links".
fn parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    if path.to_string_lossy().ends_with("/.") {
        parts.push(".".into());
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        let root = Root::new(&top).unwrap();
        fs::create_dir_all(top.join("usr/lib")).unwrap();
        symlink("/usr/lib", top.join("lib")).unwrap();
        symlink("../../../..", top.join("usr/up")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        assert_eq!(root.place("/lib/x").unwrap(), top.join("usr/lib/x"));
        assert_eq!(root.place("/lib").unwrap(), top.join("lib"));
        assert_eq!(root.file("/lib").unwrap(), top.join("usr/lib"));
        assert_eq!(root.place("/usr/up/etc/passwd").unwrap(), top.join("etc/passwd"));
        assert_eq!(root.place("/../../etc/passwd").unwrap(), top.join("etc/passwd"));
        assert!(root.place("/loop/x").is_err());
        assert!(root.has("/lib") && root.has_directory("/lib") && !root.has("/nothing"));
        assert!(Root::new(&top.join("nothing")).is_err());
    }
}
