//! Who holds a mount, found in /proc without fuser(1): processes by working directory, root, program,
//! open and mapped files; swap files, loop devices and exports of the NFS server.
//!
//! Nothing here touches a file on the mount: links are read, not followed, so a file system that does
//! not answer cannot hold the search. Still /proc itself can (a map whose lock is held): the caller sets
//! a limit.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::{block, bounded};

use super::mount_table::Mount;

/// How long the search may take.
const SEARCH_LIMIT: Duration = Duration::from_secs(10);
/// As much of one /proc file as is read.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is looked for.
#[derive(Debug, Clone)]
struct Place {
    point: PathBuf,
    id: Option<u64>,
}

/// Numbers of the processes that hold the mount, this one and init left out; empty when the search
/// found nothing or did not end.
pub fn processes(mount: &Mount) -> Vec<i32> {
    search(Place { point: mount.point.clone(), id: mount.id })
}

/// The same for a file or device, by its path.
pub fn of_file(path: &Path) -> Vec<i32> {
    search(Place { point: path.to_owned(), id: None })
}

fn search(place: Place) -> Vec<i32> {
    let agent = std::process::id() as i32;
    let search = move || {
        // The search may run in a child.
        let own = std::process::id() as i32;
        let others = process_numbers()?.into_iter().filter(|pid| ![1, own, agent].contains(pid));
        let found: Vec<u8> =
            others.filter(|pid| holds(*pid, &place)).flat_map(|pid| pid.to_ne_bytes()).collect();
        Ok(found)
    };
    let found = bounded::within(SEARCH_LIMIT, search).unwrap_or_default();
    found.chunks_exact(4).filter_map(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?))).collect()
}

fn process_numbers() -> io::Result<Vec<i32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn holds(pid: i32, place: &Place) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    ["cwd", "root", "exe"].iter().any(|name| leads_to(&process.join(name), &place.point))
        || holds_open(&process, place)
        || maps(&process.join("maps"), &place.point)
}

/// A link whose text is the directory or something below it; a deleted file keeps its place.
fn leads_to(link: &Path, point: &Path) -> bool {
    fs::read_link(link).is_ok_and(|target| is_below(&target, point))
}

fn is_below(target: &Path, point: &Path) -> bool {
    let bytes = target.as_os_str().as_bytes();
    let whole = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    target.starts_with(point) || Path::new(OsStr::from_bytes(whole)).starts_with(point)
}

fn holds_open(process: &Path, place: &Place) -> bool {
    let Ok(entries) = fs::read_dir(process.join("fd")) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        if !leads_to(&entry.path(), &place.point) {
            return false;
        }
        // What is mounted over or below it has another number; kernels before 3.15 show none.
        let shown = mount_id(&process.join("fdinfo").join(entry.file_name()));
        place.id.is_none() || shown.is_none() || shown == place.id
    })
}

fn mount_id(file: &Path) -> Option<u64> {
    let text = read(file)?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}

fn maps(file: &Path, point: &Path) -> bool {
    let Some(text) = read(file) else { return false };
    text.split(|byte| *byte == b'\n').any(|line| {
        // Address, rights, offset, device, inode, then the path with white space before it.
        let path = line.iter().position(|byte| *byte == b'/').map(|at| &line[at..]);
        path.is_some_and(|path| is_below(Path::new(&unescape_newlines(path)), point))
    })
}

/// /proc/PID/maps writes a line feed in octal and everything else as it is.
fn unescape_newlines(path: &[u8]) -> OsString {
    let mut bytes = path.to_vec();
    while let Some(at) = bytes.windows(4).position(|part| part == b"\\012") {
        bytes.splice(at..at + 4, [b'\n']);
    }
    OsString::from_vec(bytes)
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(file).ok()?.take(FILE_MAX_BYTES).read_to_end(&mut text).ok()?;
    Some(text)
}

/// What else keeps the file system: sentences for the log.
pub fn other_holders(point: &Path) -> Vec<String> {
    let on_it = |path: &Path| is_below(path, point);
    let mut told = BTreeSet::new();
    for path in swap_files(&read(Path::new("/proc/swaps")).unwrap_or_default()) {
        if on_it(&path) {
            told.insert(format!("{} is in use for swapping; swapoff it", path.display()));
        }
    }
    for (device, file) in block::loop_files() {
        if on_it(&file) {
            told.insert(format!(
                "{} is in use as {}; unmount and detach it",
                file.display(),
                device.display()
            ));
        }
    }
    for list in ["/proc/fs/nfsd/exports", "/proc/fs/nfs/exports"] {
        for path in exports(&read(Path::new(list)).unwrap_or_default()) {
            if on_it(&path) {
                told.insert(format!(
                    "{} is exported by the NFS server; stop it or unexport it",
                    path.display()
                ));
            }
        }
    }
    told.into_iter().collect()
}

/// The first word of each line behind the heading; white space is in octal.
fn swap_files(text: &[u8]) -> Vec<PathBuf> {
    first_words(text).into_iter().filter(|path| path.is_absolute()).collect()
}

fn exports(text: &[u8]) -> Vec<PathBuf> {
    first_words(text).into_iter().filter(|path| path.is_absolute()).collect()
}

fn first_words(text: &[u8]) -> Vec<PathBuf> {
    let words = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let word = line.split(|byte| matches!(byte, b' ' | b'\t')).next()?;
        (!word.is_empty()).then(|| super::mount_table::path(word))
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_below_a_mount() {
        let data = Path::new("/data");
        for inside in ["/data", "/data/x", "/data (deleted)", "/data/x (deleted)", "/data/a b"] {
            assert!(is_below(Path::new(inside), data), "{inside}");
        }
        for outside in ["/", "/datax", "/datax (deleted)", "socket:[1]", "data", ""] {
            assert!(!is_below(Path::new(outside), data), "{outside}");
        }
    }

    #[test]
    fn this_process_holds_what_it_has_open() {
        let directory = tempfile::tempdir().unwrap();
        let point = directory.path().canonicalize().unwrap();
        let file = fs::File::create(point.join("file")).unwrap();
        let place = Place { point: point.clone(), id: None };
        let own = std::process::id() as i32;
        assert!(holds(own, &place));
        // Another mount with the same path is another mount.
        let shown = mount_id(Path::new("/proc/self/fdinfo/0")).is_some();
        assert!(!shown || !holds(own, &Place { id: Some(u64::MAX), ..place.clone() }));
        drop(file);
        assert!(!holds(own, &place));
        let exe = std::env::current_exe().unwrap().canonicalize().unwrap();
        assert!(maps(Path::new("/proc/self/maps"), exe.parent().unwrap()));
        assert!(!holds(i32::MAX, &place));
    }

    #[test]
    fn lists_of_the_kernel() {
        let swaps = b"Filename\tType\tSize\tUsed\tPriority\n/data/swap\\040file   file  1 0 -2\n\n \n";
        assert_eq!(swap_files(swaps), [PathBuf::from("/data/swap file")]);
        let text = b"# Version 1.1\n# Path Client(Flags) # IPs\n/data/x\t*(ro,root_squash)\n";
        assert_eq!(exports(text), [PathBuf::from("/data/x")]);
        assert_eq!(unescape_newlines(b"/a\\012b\\012"), OsString::from("/a\nb\n"));
    }
}
