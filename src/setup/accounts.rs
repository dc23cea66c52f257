//! The account `hacluster` and the group `haclient`, made without the programs that a bare host lacks.
//!
//! The files are changed as the shadow suite does it: under the lock of lckpwdf(3) and the `.lock` file of
//! each, into a new file beside that takes mode, owner and label of the old one, and then its place.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{chown, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::root::Root;
use crate::sys::label::copy_label;
use crate::sys::process::is_alive;

/// The user.
pub const USER: &str = "hacluster";
/// Its group.
pub const GROUP: &str = "haclient";
/// Their numbers in the original's packages, where they are free.
const USER_ID: u32 = 17;
const GROUP_ID: u32 = 65;
/// Else the highest free one of these, as system accounts get.
const SYSTEM_IDS: std::ops::RangeInclusive<u32> = 100..=999;
/// How long another program may hold a lock.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);
const LOCK: &str = "/etc/.pwd.lock";
const HOME: &str = "/var/lib/heartbeat/cores/hacluster";
/// In this order: the user is there when everything else is.
const FILES: [&str; 4] = ["/etc/group", "/etc/gshadow", "/etc/shadow", "/etc/passwd"];
const SECONDS_PER_DAY: u64 = 86_400;

/// What was made; the manifest keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// The user was.
    pub user: bool,
    /// The group was.
    pub group: bool,
    /// The lock file of lckpwdf(3) was, since there was none.
    pub lock: bool,
}

/// The numbers an installation works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// Of the user.
    pub user: u32,
    /// Of its group.
    pub group: u32,
}

/// What there is and what would have to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The numbers, those of present accounts where there are.
    pub ids: Ids,
    /// What is missing.
    pub missing: Made,
    shell: &'static str,
}

/// Looks at the system; `None` where it has no `/etc/passwd` or no `/etc/group` at all.
///
/// # Errors
/// A file cannot be read.
pub fn look(root: &Root) -> io::Result<Option<Accounts>> {
    if !root.has("/etc/passwd") || !root.has("/etc/group") {
        return Ok(None);
    }
    let passwd = fs::read(root.file("/etc/passwd")?)?;
    let group = fs::read(root.file("/etc/group")?)?;
    let group_id = number_of(&group, GROUP);
    let user_id = number_of(&passwd, USER);
    let free = |text: &[u8], usual: u32| {
        let taken = numbers(text);
        let mut wanted = std::iter::once(usual).chain(SYSTEM_IDS.rev());
        wanted.find(|id| !taken.contains(id)).ok_or_else(|| io::Error::other("no number below 1000 is free"))
    };
    let ids = Ids {
        group: group_id.map_or_else(|| free(&group, GROUP_ID), Ok)?,
        user: user_id.map_or_else(|| free(&passwd, USER_ID), Ok)?,
    };
    let shells = ["/sbin/nologin", "/usr/sbin/nologin"];
    let shell = shells.into_iter().find(|shell| root.has(shell)).unwrap_or("/bin/false");
    let missing = Made { user: user_id.is_none(), group: group_id.is_none(), lock: !root.has(LOCK) };
    Ok(Some(Accounts { ids, missing, shell }))
}

/// Makes what is missing. Others may have changed the files since: they are looked at again.
///
/// # Errors
/// Nothing is changed.
pub fn make(root: &Root) -> io::Result<Made> {
    let had_lock = root.has(LOCK);
    let result = make_locked(root);
    let lock = !had_lock && root.has(LOCK);
    match result {
        Ok(made) => Ok(Made { lock: lock && made.user | made.group, ..made }),
        Err(error) => {
            if lock {
                let _ = root.file(LOCK).and_then(fs::remove_file);
            }
            Err(error)
        }
    }
}

fn make_locked(root: &Root) -> io::Result<Made> {
    let Some(accounts) = look(root)? else { return Ok(Made::default()) };
    if !accounts.missing.user && !accounts.missing.group {
        return Ok(Made::default());
    }
    let _locks = Locks::take(root)?;
    // what was free before the locks may be taken now
    let Some(accounts) = look(root)? else { return Ok(Made::default()) };
    let made = accounts.missing.clone();
    let Ids { user, group } = accounts.ids;
    let today =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()) / SECONDS_PER_DAY;
    let lines = [
        (made.group, format!("{GROUP}:x:{group}:")),
        (made.group, format!("{GROUP}:!::")),
        (made.user, format!("{USER}:!!:{today}::::::")),
        (made.user, format!("{USER}:x:{user}:{group}:heartbeat user:{HOME}:{}", accounts.shell)),
    ];
    let changes = FILES.iter().zip(lines).filter(|(file, (wanted, _))| *wanted && root.has(file));
    change_all(root, changes.map(|(file, (_, line))| (*file, Change::Add(line))))?;
    Ok(made)
}

/// Removes what [`make`] made.
///
/// # Errors
/// Nothing is changed.
pub fn remove(root: &Root, made: &Made) -> io::Result<()> {
    if made.user || made.group {
        let locks = Locks::take(root)?;
        let changes = FILES.iter().rev().filter(|file| root.has(file)).filter_map(|file| {
            let (wanted, name) = if file.contains("group") || file.contains("gshadow") {
                (made.group, GROUP)
            } else {
                (made.user, USER)
            };
            wanted.then_some((*file, Change::Remove(name)))
        });
        change_all(root, changes)?;
        drop(locks);
    }
    if made.lock {
        match fs::remove_file(root.file(LOCK)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

enum Change {
    /// A line at the end.
    Add(String),
    /// The line of that name.
    Remove(&'static str),
}

/// All or none: what was changed is changed back when a later file cannot be.
fn change_all(root: &Root, changes: impl Iterator<Item = (&'static str, Change)>) -> io::Result<()> {
    let mut done: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for (file, change) in changes {
        let path = root.file(file)?;
        let result = fs::read(&path).and_then(|old| replace(&path, &changed(&old, &change)).map(|()| old));
        match result {
            Ok(old) => done.push((path, old)),
            Err(error) => {
                for (path, old) in done.into_iter().rev() {
                    let _ = replace(&path, &old);
                }
                return Err(io::Error::new(error.kind(), format!("{file}: {error}")));
            }
        }
    }
    Ok(())
}

/// The old text with one line more or less; everything else stays, to the byte.
fn changed(old: &[u8], change: &Change) -> Vec<u8> {
    match change {
        Change::Add(line) => {
            let mut new = old.to_vec();
            if !new.is_empty() && !new.ends_with(b"\n") {
                new.push(b'\n');
            }
            // An entry of NIS ends the local part: ours belongs before it.
            let at = nis_entry(&new).unwrap_or(new.len());
            let mut text = line.clone().into_bytes();
            text.push(b'\n');
            new.splice(at..at, text);
            new
        }
        Change::Remove(name) => {
            let start = format!("{name}:").into_bytes();
            old.split_inclusive(|byte| *byte == b'\n')
                .filter(|line| !line.starts_with(&start))
                .flatten()
                .copied()
                .collect()
        }
    }
}

fn nis_entry(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"+") {
            return Some(at);
        }
        at += line.len();
    }
    None
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let about = fs::metadata(path)?;
    let new = beside(path, "+");
    let _ = fs::remove_file(&new);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        chown(&new, Some(about.uid()), Some(about.gid()))?;
        file.set_permissions(Permissions::from_mode(about.mode() & 0o7777))?;
        copy_label(path, &new)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!("{name}{end}"))
}

/// The number behind a name, the third field.
fn number_of(text: &[u8], name: &str) -> Option<u32> {
    entries(text).find(|(known, _)| known == name).map(|(_, number)| number)
}

fn numbers(text: &[u8]) -> Vec<u32> {
    entries(text).map(|(_, number)| number).collect()
}

fn entries(text: &[u8]) -> impl Iterator<Item = (String, u32)> + '_ {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?))
    })
}

/// Both kinds of locks, held until this is dropped.
struct Locks {
    /// Closing it ends the lock of lckpwdf(3).
    _all: File,
    each: Vec<PathBuf>,
}

impl Locks {
    fn take(root: &Root) -> io::Result<Self> {
        let path = root.file(LOCK)?;
        let all = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let mut locks = Self { _all: all, each: Vec::new() };
        within_patience(&path, || locks.lock_all())?;
        for file in FILES.iter().filter(|file| root.has(file)) {
            let path = root.file(file)?;
            let lock = beside(&path, ".lock");
            within_patience(&lock, || lock_one(&path, &lock))?;
            locks.each.push(lock);
        }
        Ok(locks)
    }

    fn lock_all(&self) -> io::Result<bool> {
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match nix::fcntl::fcntl(self._all.as_fd(), nix::fcntl::FcntlArg::F_SETLK(&whole)) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        for lock in &self.each {
            let _ = fs::remove_file(lock);
        }
    }
}

/// `passwd.lock` holds the number of the process that has it; one that is gone has it no more.
fn lock_one(path: &Path, lock: &Path) -> io::Result<bool> {
    // One name for all: whoever writes it has the lock of all files.
    let own = beside(path, ".ha-lock");
    // What a killed run left may be the lock itself, by a second name.
    let _ = fs::remove_file(&own);
    fs::write(&own, format!("{}\0", std::process::id()))?;
    let result = fs::hard_link(&own, lock);
    let _ = fs::remove_file(&own);
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let holder = fs::read_to_string(lock).unwrap_or_default();
            let holder: Option<u32> = holder.trim_end_matches(['\0', '\n']).parse().ok();
            if holder.is_some_and(|pid| !is_alive(pid)) {
                let _ = fs::remove_file(lock);
            }
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn within_patience(path: &Path, mut attempt: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        if attempt().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))? {
            return Ok(());
        }
        if std::time::Instant::now() >= end {
            let text = format!("{}: another program has held this lock for {PATIENCE:?}", path.display());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(passwd: &str, group: &str) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("passwd"), passwd).unwrap();
        fs::write(etc.join("group"), group).unwrap();
        fs::write(etc.join("shadow"), "root:*:1::::::\n").unwrap();
        fs::set_permissions(etc.join("shadow"), Permissions::from_mode(0o640)).unwrap();
        let root = Root::new(folder.path()).unwrap();
        (folder, root)
    }

    fn read(root: &Root, file: &str) -> String {
        fs::read_to_string(root.file(file).unwrap()).unwrap()
    }

    #[test]
    fn an_account_comes_and_goes_without_a_trace() {
        let (_folder, root) = system("root:x:0:0::/:/bin/sh\n+\n", "root:x:0:\nbin:x:65:");
        let made = make(&root).unwrap();
        assert_eq!(made, Made { user: true, group: true, lock: true });
        assert_eq!(
            read(&root, "/etc/passwd"),
            format!("root:x:0:0::/:/bin/sh\nhacluster:x:17:999:heartbeat user:{HOME}:/bin/false\n+\n")
        );
        assert_eq!(read(&root, "/etc/group"), "root:x:0:\nbin:x:65:\nhaclient:x:999:\n");
        assert!(read(&root, "/etc/shadow").contains("\nhacluster:!!:"));
        let mode = fs::metadata(root.file("/etc/shadow").unwrap()).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert_eq!(make(&root).unwrap(), Made::default());
        remove(&root, &made).unwrap();
        assert_eq!(read(&root, "/etc/passwd"), "root:x:0:0::/:/bin/sh\n+\n");
        assert_eq!(read(&root, "/etc/shadow"), "root:*:1::::::\n");
        let mut left: Vec<_> =
            fs::read_dir(root.file("/etc").unwrap()).unwrap().flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!(left, ["group", "passwd", "shadow"]);
    }

    #[test]
    fn a_group_that_is_there_is_used_and_stays() {
        let (_folder, root) = system("ntp:x:17:1::/:/bin/sh\n", "haclient:x:77:\n");
        let made = make(&root).unwrap();
        assert_eq!((made.user, made.group), (true, false));
        assert!(read(&root, "/etc/passwd").contains("\nhacluster:x:999:77:"));
        remove(&root, &made).unwrap();
        assert_eq!(read(&root, "/etc/group"), "haclient:x:77:\n");
    }

    #[test]
    fn a_file_that_cannot_be_changed_leaves_the_others() {
        let (folder, root) = system("root:x:0:0::/:/bin/sh\n", "root:x:0:\n");
        // in the way of the new file, and not removable as a file
        fs::create_dir_all(folder.path().join("etc/passwd+/x")).unwrap();
        assert!(make(&root).is_err());
        assert_eq!(read(&root, "/etc/group"), "root:x:0:\n");
        assert_eq!(read(&root, "/etc/shadow"), "root:*:1::::::\n");
        assert!(!root.has("/etc/passwd.lock") && !root.has("/etc/group+"));
    }

    #[test]
    fn a_lock_of_a_dead_program_is_none() {
        let (folder, root) = system("root:x:0:0::/:/bin/sh\n", "root:x:0:\n");
        fs::write(folder.path().join("etc/passwd.lock"), "4194303").unwrap();
        assert!(make(&root).unwrap().user);
        assert!(!root.has("/etc/passwd.lock"));
    }

    #[test]
    fn odd_files_do_no_harm() {
        for text in ["", "::::\n", "hacluster\n", "\u{0}\u{0}", "hacluster:x:99999999999:1\n"] {
            let (_folder, root) = system(text, text);
            make(&root).unwrap();
        }
    }
}
