//! Several files written together: all of them are there afterwards, or none.
//!
//! They are written into a hidden folder beside their places, down to the disk; the folder is renamed, and
//! from then on they count as written; each is renamed to its place. Whatever ends the program before that
//! leaves the old files untouched, and the folder, which the next run removes. Whatever ends it behind that
//! leaves a folder with the rest of the files, which the next run puts in their places.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::signals::Held;
use crate::sys::process::try_lock;

/// Files that are not complete yet.
const WRITING: &str = ".ha-init.writing";
/// Files that are complete, on their way to their places.
const WRITTEN: &str = ".ha-init.written";
/// Most copies of an old file that are kept beside it.
const KEPT_MAX: u32 = 1000;

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name in the directory.
    pub name: String,
    /// What it says.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
}

/// Why nothing was written. Everything is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum TogetherError {
    /// Files that nobody asked to replace.
    #[error("{} there already; nothing was written (--force replaces and keeps the old beside)", exist(.0))]
    Exist(Vec<PathBuf>),
    /// A place that is taken by something else.
    #[error("{}: {}; nothing was written", .0.display(), .1)]
    Place(PathBuf, &'static str),
    /// The system refused a step.
    #[error("cannot {what} {}: {cause}; nothing was written", .path.display())]
    Refused {
        /// What was tried.
        what: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// Another run writes at the same time.
    #[error("another program is writing to {} at this moment; nothing was written", .0.display())]
    Busy(PathBuf),
}

fn exist(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

fn refused<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> TogetherError + 'a {
    move |cause| TogetherError::Refused { what, path: path.to_owned(), cause }
}

/// Writes all files into the directory, which is made when it is not there (its parent must be). With
/// `replace` files that are there are kept as `NAME.before-1` and so on. The value: the kept ones.
///
/// # Errors
/// [`TogetherError`]: nothing changed.
pub fn write(directory: &Path, files: &[NewFile], replace: bool) -> Result<Vec<PathBuf>, TogetherError> {
    let held = Held::now();
    let made = make_directory(directory)?;
    let result = write_locked(directory, files, replace);
    if result.is_err() && made {
        // it is empty, since all was taken back
        let _ = fs::remove_dir(directory);
    }
    drop(held);
    result
}

/// What stands in the way of [`write`], without touching anything.
///
/// # Errors
/// As [`write`]; that the file system is full or read-only shows only there.
pub fn can_write(directory: &Path, names: &[&str], replace: bool) -> Result<(), TogetherError> {
    let parent = directory.parent().unwrap_or(directory);
    match fs::metadata(directory) {
        Ok(about) if !about.is_dir() => {
            return Err(TogetherError::Place(directory.to_owned(), "it is not a directory"));
        }
        Ok(_) => {}
        Err(_) if parent.is_dir() || parent.as_os_str().is_empty() => {}
        Err(error) => return Err(refused("find", parent)(error)),
    }
    let mut exist = Vec::new();
    for path in names.iter().map(|name| directory.join(name)) {
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => {
                return Err(TogetherError::Place(path, "it is a directory"));
            }
            Ok(_) => exist.push(path),
            Err(_) => {}
        }
    }
    if exist.is_empty() || replace {
        Ok(())
    } else {
        Err(TogetherError::Exist(exist))
    }
}

/// Puts right what an interrupted run left. The value says in words what was done, if anything was.
///
/// # Errors
/// The system refused a step; [`TogetherError::Busy`] when the other run goes on.
pub fn recover(directory: &Path) -> Result<Option<String>, TogetherError> {
    let _held = Held::now();
    let Ok(folder) = File::open(directory) else { return Ok(None) };
    let _lock = lock(directory, folder)?;
    recover_locked(directory)
}

/// The lock is on the directory itself, so nothing is left of it.
fn lock(directory: &Path, folder: File) -> Result<File, TogetherError> {
    match try_lock(&folder, true) {
        Ok(true) => Ok(folder),
        Ok(false) => Err(TogetherError::Busy(directory.to_owned())),
        Err(error) => Err(refused("lock", directory)(error)),
    }
}

fn recover_locked(directory: &Path) -> Result<Option<String>, TogetherError> {
    let (writing, written) = (directory.join(WRITING), directory.join(WRITTEN));
    let mut said = None;
    if fs::symlink_metadata(&writing).is_ok() {
        forget_second_names(directory, &writing);
        fs::remove_dir_all(&writing).map_err(refused("remove", &writing))?;
        said = Some(format!("{}: files of an interrupted run were removed", directory.display()));
    }
    if let Ok(entries) = fs::read_dir(&written) {
        for entry in entries.flatten() {
            let place = directory.join(entry.file_name());
            fs::rename(entry.path(), &place).map_err(refused("write", &place))?;
        }
        fs::remove_dir(&written).map_err(refused("remove", &written))?;
        said = Some(format!(
            "{}: an interrupted run was completed; its files are in place",
            directory.display()
        ));
    }
    Ok(said)
}

/// Second names of files that were to be replaced and still are in their places.
fn forget_second_names(directory: &Path, writing: &Path) {
    let identity = |path: &Path| fs::symlink_metadata(path).map(|about| (about.dev(), about.ino())).ok();
    for entry in fs::read_dir(writing).into_iter().flatten().flatten() {
        let Some(own) = identity(&directory.join(entry.file_name())) else { continue };
        let start = format!("{}.before-", entry.file_name().to_string_lossy());
        for beside in fs::read_dir(directory).into_iter().flatten().flatten() {
            if beside.file_name().to_string_lossy().starts_with(&start)
                && identity(&beside.path()) == Some(own)
            {
                let _ = fs::remove_file(beside.path());
            }
        }
    }
}

fn make_directory(directory: &Path) -> Result<bool, TogetherError> {
    match DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(refused("make", directory)(error)),
    }
}

fn write_locked(directory: &Path, files: &[NewFile], replace: bool) -> Result<Vec<PathBuf>, TogetherError> {
    let folder = File::open(directory).map_err(refused("open", directory))?;
    let folder = lock(directory, folder)?;
    recover_locked(directory)?;
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    can_write(directory, &names, replace)?;
    let writing = directory.join(WRITING);
    DirBuilder::new().mode(0o700).create(&writing).map_err(refused("make", &writing))?;
    let mut kept = Vec::new();
    let result = stage(&writing, files)
        .and_then(|()| keep(directory, files, &mut kept))
        .and_then(|()| commit(directory, files, &kept));
    match result {
        Ok(()) => {
            let _ = folder.sync_all();
            Ok(kept.into_iter().map(|(_, beside)| beside).collect())
        }
        Err(error) => {
            for (_, beside) in kept {
                let _ = fs::remove_file(beside);
            }
            let _ = fs::remove_dir_all(&writing);
            Err(error)
        }
    }
}

/// Down to the disk: a full one is noticed here.
fn stage(writing: &Path, files: &[NewFile]) -> Result<(), TogetherError> {
    for file in files {
        let path = writing.join(&file.name);
        let write = || -> io::Result<()> {
            let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            new.write_all(file.text.as_bytes())?;
            new.set_permissions(Permissions::from_mode(file.mode))?;
            new.sync_all()
        };
        write().map_err(refused("write", &path))?;
    }
    File::open(writing).and_then(|folder| folder.sync_all()).map_err(refused("write", writing))
}

/// Gives each file that is there a second name, under which it stays.
fn keep(
    directory: &Path,
    files: &[NewFile],
    kept: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<(), TogetherError> {
    for file in files {
        let path = directory.join(&file.name);
        if fs::symlink_metadata(&path).is_err() {
            continue;
        }
        let beside = free_name(directory, &file.name)
            .ok_or_else(|| TogetherError::Place(path.clone(), "too many old copies are beside it"))?;
        fs::hard_link(&path, &beside).map_err(refused("keep", &path))?;
        kept.push((path, beside));
    }
    Ok(())
}

fn free_name(directory: &Path, name: &str) -> Option<PathBuf> {
    let names = (1..=KEPT_MAX).map(|number| directory.join(format!("{name}.before-{number}")));
    names.into_iter().find(|path| fs::symlink_metadata(path).is_err())
}

fn commit(directory: &Path, files: &[NewFile], kept: &[(PathBuf, PathBuf)]) -> Result<(), TogetherError> {
    let (writing, written) = (directory.join(WRITING), directory.join(WRITTEN));
    fs::rename(&writing, &written).map_err(refused("write", &written))?;
    let mut placed = Vec::new();
    for file in files {
        let place = directory.join(&file.name);
        if let Err(error) = fs::rename(written.join(&file.name), &place) {
            take_back(&placed, kept);
            let _ = fs::remove_dir_all(&written);
            return Err(refused("write", &place)(error));
        }
        placed.push(place);
    }
    // empty by now; if it stays, the next run removes it
    let _ = fs::remove_dir(&written);
    Ok(())
}

fn take_back(placed: &[PathBuf], kept: &[(PathBuf, PathBuf)]) {
    for place in placed {
        let _ = match kept.iter().find(|(path, _)| path == place) {
            Some((_, beside)) => fs::rename(beside, place),
            None => fs::remove_file(place),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> [NewFile; 2] {
        [("one", 0o600), ("two", 0o644)].map(|(name, mode)| NewFile {
            name: name.to_owned(),
            text: text.to_owned(),
            mode,
        })
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn old_files_are_kept_and_only_when_asked() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("ha.d");
        assert_eq!(write(&directory, &files("a"), false).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::metadata(directory.join("one")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(
            matches!(write(&directory, &files("b"), false), Err(TogetherError::Exist(paths)) if paths.len() == 2)
        );
        assert_eq!(names(&directory), ["one", "two"]);
        assert_eq!(write(&directory, &files("b"), true).unwrap().len(), 2);
        write(&directory, &files("c"), true).unwrap();
        assert_eq!(
            names(&directory),
            ["one", "one.before-1", "one.before-2", "two", "two.before-1", "two.before-2"]
        );
        assert_eq!(fs::read_to_string(directory.join("one.before-2")).unwrap(), "b");
        assert_eq!(fs::read_to_string(directory.join("one")).unwrap(), "c");
    }

    #[test]
    fn a_directory_in_the_way_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("ha.d");
        fs::create_dir_all(directory.join("two")).unwrap();
        assert!(matches!(write(&directory, &files("a"), true), Err(TogetherError::Place(..))));
        assert_eq!(names(&directory), ["two"]);
        let deep = parent.path().join("no/such");
        assert!(write(&deep, &files("a"), false).is_err());
        assert_eq!(names(parent.path()), ["ha.d"]);
    }

    #[test]
    fn what_an_interrupted_run_left_is_put_right() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path();
        assert_eq!(recover(place).unwrap(), None);
        fs::create_dir(place.join(WRITING)).unwrap();
        fs::write(place.join(WRITING).join("one"), "half").unwrap();
        fs::write(place.join("one"), "old").unwrap();
        fs::hard_link(place.join("one"), place.join("one.before-1")).unwrap();
        fs::write(place.join("one.before-2"), "of another day").unwrap();
        assert!(recover(place).unwrap().unwrap().contains("removed"));
        assert_eq!(names(place), ["one", "one.before-2"]);
        fs::remove_file(place.join("one.before-2")).unwrap();
        fs::create_dir(place.join(WRITTEN)).unwrap();
        fs::write(place.join(WRITTEN).join("two"), "whole").unwrap();
        fs::write(place.join("one"), "whole").unwrap();
        assert!(recover(place).unwrap().unwrap().contains("completed"));
        assert_eq!(names(place), ["one", "two"]);
    }
}
