//! The pid file and its lock, run folders, core dumps.
//!
//! Whether a daemon runs is decided by a lock (flock(2)) on the pid file, not by the number in
//! it: numbers are used again, all applets share one program file, and after an upgrade the
//! running one is "deleted". The number is for people and scripts.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::resource::{getrlimit, setrlimit, Resource, RLIM_INFINITY};
use thiserror::Error;

use super::layout::Layout;
use crate::sys::process::{is_alive, short_name, try_lock};

/// How long a start believes that the holder of the lock is no daemon but another program that
/// is just asking, which takes the lock for an instant.
const ASKING_PATIENCE: Duration = Duration::from_millis(100);

/// How long the number in a locked file may be that of no living process: a daemon that starts
/// has not written its own yet.
const NUMBER_PATIENCE: Duration = Duration::from_millis(500);

const PAUSE: Duration = Duration::from_millis(10);

/// What the pid file and its lock say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// A daemon runs. `None`: its number cannot be read (it is being written, or is damaged).
    Running(Option<u32>),
    /// There is a pid file, but its daemon is gone (`heartbeat -s` exits with 1).
    StalePidFile,
    /// There is no pid file (`heartbeat -s` exits with 3).
    NotRunning,
}

/// Why the pid file was not acquired.
#[derive(Debug, Error)]
pub enum PidFileError {
    /// A daemon runs. The file is untouched.
    #[error("already running [pid {}].", .pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string()))]
    Running {
        /// Its number, when it could be read.
        pid: Option<u32>,
    },
    /// The file cannot be used.
    #[error("pid file {path}: {cause}. Not started; see that its folder exists and can be written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// The lock on the pid file. It passes through fork(2), and through exec
/// only where [`PidFile::file`] is handed on; when every process
/// that has it has dropped it, the claim ends. The file stays behind, as the original's does; the
/// number in it is then stale.
#[derive(Debug)]
pub struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    /// Claims to be the one daemon: locks the file and writes this process's number. A stale file
    /// is not in the way. Of two starts at the same moment one gets the error. A missing folder is
    /// made: our file may be the only one of a root.
    ///
    /// # Errors
    /// [`PidFileError`]; nothing was changed, but the folder may have been made.
    pub fn acquire(path: &Path) -> Result<Self, PidFileError> {
        Self::acquire_for(path, "heartbeat")
    }

    /// As [`PidFile::acquire`] for another daemon, whose original's program file is `program`.
    ///
    /// # Errors
    /// As [`PidFile::acquire`].
    pub fn acquire_for(path: &Path, program: &str) -> Result<Self, PidFileError> {
        let failed = |cause| PidFileError::File { path: path.to_owned(), cause };
        let begin = Instant::now();
        if let Some(folder) = path.parent() {
            make_folder(folder, 0o755).map_err(failed)?;
        }
        loop {
            let mut file = open_for_lock(path).map_err(failed)?;
            if !try_lock(&file, true).map_err(failed)? {
                let pid = read_pid(&mut file).filter(|pid| is_alive(*pid));
                let patience = if pid.is_some() { ASKING_PATIENCE } else { NUMBER_PATIENCE };
                if begin.elapsed() >= patience {
                    return Err(PidFileError::Running { pid });
                }
                std::thread::sleep(PAUSE);
            } else if is_named(&file, path) {
                return Self::claim(file, path, program);
            }
        }
    }

    /// Takes over the claim of the program that ran in this process before: the lock was never free.
    ///
    /// # Errors
    /// The file is no longer the one of that name, or its lock is held by another process.
    pub fn adopt(file: File, path: &Path) -> Result<Self, PidFileError> {
        let failed = |cause| PidFileError::File { path: path.to_owned(), cause };
        if !is_named(&file, path) || !try_lock(&file, true).map_err(failed)? {
            return Err(PidFileError::Running { pid: None });
        }
        let mut adopted = Self { file, path: path.to_owned() };
        adopted.write_own_pid()?;
        Ok(adopted)
    }

    /// The locked file, to be passed on through exec.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn claim(mut file: File, path: &Path, program: &str) -> Result<Self, PidFileError> {
        if let Some(pid) = read_pid(&mut file).filter(|pid| is_original_daemon(*pid, program)) {
            return Err(PidFileError::Running { pid: Some(pid) });
        }
        let mut claimed = Self { file, path: path.to_owned() };
        claimed.write_own_pid()?;
        Ok(claimed)
    }

    /// Writes this process's number, after a fork: `%10lu` and a line end.
    ///
    /// # Errors
    /// [`PidFileError::File`]; the lock is still held.
    pub fn write_own_pid(&mut self) -> Result<(), PidFileError> {
        let content = format!("{:>10}\n", std::process::id());
        // Written over in place: the file never is empty, and its length never changes.
        let result = self.file.rewind().and_then(|()| self.file.write_all(content.as_bytes()));
        result
            .and_then(|()| self.file.set_len(content.len() as u64))
            .map_err(|cause| PidFileError::File { path: self.path.clone(), cause })
    }
}

/// What runs, for any program at any time; the daemon itself is not disturbed.
///
/// A file that cannot be opened for reading counts as [`RunState::NotRunning`].
pub fn running_pid(path: &Path) -> RunState {
    running_pid_of(path, "heartbeat")
}

/// As [`running_pid`] for another daemon, whose original's program file is `program`.
pub fn running_pid_of(path: &Path, program: &str) -> RunState {
    let begin = Instant::now();
    loop {
        let Ok(mut file) = File::open(path) else {
            return RunState::NotRunning;
        };
        let pid = read_pid(&mut file);
        if matches!(try_lock(&file, false), Ok(true)) {
            return match pid.filter(|pid| is_original_daemon(*pid, program)) {
                Some(pid) => RunState::Running(Some(pid)),
                None => RunState::StalePidFile,
            };
        }
        let pid = pid.filter(|pid| is_alive(*pid));
        if pid.is_some() || begin.elapsed() >= NUMBER_PATIENCE {
            return RunState::Running(pid);
        }
        std::thread::sleep(PAUSE);
    }
}

fn open_for_lock(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Errno::EINVAL.into())
    }
}

/// Whether the locked file still bears the name: a lock on a deleted file keeps nobody out.
fn is_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// The number in the file; hostile content is `None`.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(64).read_to_end(&mut bytes).ok()?;
    let number: u32 = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
    (number > 0 && i32::try_from(number).is_ok()).then_some(number)
}

/// Whether this is a daemon of the original (`program` is its file's name), which holds no lock: a living process of that
/// name whose program is not ours (ours would hold the lock) and not this process.
fn is_original_daemon(pid: u32, program: &str) -> bool {
    if pid == std::process::id() || !is_alive(pid) {
        return false;
    }
    let ours = fs::metadata("/proc/self/exe").map(|file| (file.dev(), file.ino()));
    let theirs = fs::metadata(format!("/proc/{pid}/exe")).map(|file| (file.dev(), file.ino()));
    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
        if ours == theirs {
            return false;
        }
    }
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.strip_suffix(" (deleted)").unwrap_or(&name) == program
        }
        Err(_) => short_name(pid).as_deref() == Some(program),
    }
}

/// Makes the run folders: `run_dir` with mode 0750 for hacluster:haclient when there are such a
/// user and group, and an empty `rsctmp` in it with mode 1777 (messaging spec 7.3). A `run_dir`
/// that exists keeps its owner and mode. Makes `var_lib_dir` too where no package has made it.
///
/// # Errors
/// The folder and what the system said; earlier steps stay done.
pub fn prepare_run_folders(layout: &Layout) -> Result<(), FolderError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |cause| FolderError { path, cause }
    };
    let run_dir = &layout.run_dir;
    if !run_dir.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(run_dir).map_err(failed(run_dir))?;
        let owner = nix::unistd::User::from_name("hacluster").ok().flatten().map(|user| user.uid);
        let group = nix::unistd::Group::from_name("haclient").ok().flatten().map(|group| group.gid);
        if owner.is_some() || group.is_some() {
            nix::unistd::chown(run_dir, owner, group).map_err(io::Error::from).map_err(failed(run_dir))?;
        }
    }
    make_folder(&layout.var_lib_dir, 0o755).map_err(failed(&layout.var_lib_dir))?;
    let scratch = layout.resource_scratch();
    remove_tree(&scratch).map_err(failed(&scratch))?;
    fs::create_dir(&scratch).map_err(failed(&scratch))?;
    // The mode apart from the creation, because umask would take bits away there.
    fs::set_permissions(&scratch, Permissions::from_mode(0o1777)).map_err(failed(&scratch))
}

/// Removes a folder with its content, or a link or file in its place; links are not followed.
fn remove_tree(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A folder that could not be prepared.
#[derive(Debug, Error)]
#[error("cannot prepare {path}: {cause}")]
pub struct FolderError {
    /// Which.
    pub path: PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

/// Core dumps as configured: limit raised (`coredumps true`) or set to none, and the working
/// directory changed to `root` of [`Layout::core_root`] or `coreroot`, which is made when it is
/// missing. Resource scripts start in that directory (resources spec 5.3).
///
/// # Errors
/// The directory; the process then works in `/`.
pub fn set_up_core_dumps(
    layout: &Layout,
    enabled: bool,
    core_root: Option<&Path>,
) -> Result<(), FolderError> {
    let hard = getrlimit(Resource::RLIMIT_CORE).map_or(0, |(_, hard)| hard);
    if !enabled {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    } else if setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        let _ = setrlimit(Resource::RLIMIT_CORE, hard, hard);
    }
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten();
    let user = user.map_or_else(|| "root".to_owned(), |user| user.name);
    let root = core_root.map_or_else(|| layout.core_root(), Path::to_owned);
    let path = root.join(user);
    let result = make_folder(&root, 0o755).and_then(|()| make_folder(&path, 0o700));
    result.and_then(|()| std::env::set_current_dir(&path)).map_err(|cause| {
        let _ = std::env::set_current_dir("/");
        FolderError { path, cause }
    })
}

/// Makes for each of these users a folder of its own below `coreroot`, as the original's packages do:
/// its client library changes to it at once. What is there stays as it is.
///
/// # Errors
/// The first folder that could not be made; the user's programs run without it.
pub fn make_core_folders<'c>(
    layout: &Layout,
    core_root: Option<&Path>,
    users: impl Iterator<Item = (&'c str, u32)>,
) -> Result<(), FolderError> {
    let root = core_root.map_or_else(|| layout.core_root(), Path::to_owned);
    for (user, uid) in users.filter(|(user, _)| !user.contains('/')) {
        let path = root.join(user);
        let failed = |cause| FolderError { path: path.clone(), cause };
        if fs::symlink_metadata(&path).is_err() {
            make_folder(&path, 0o700).map_err(failed)?;
            nix::unistd::chown(&path, Some(uid.into()), None).map_err(io::Error::from).map_err(failed)?;
        }
    }
    Ok(())
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if fs::metadata(path).is_ok() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    // Whatever the umask is: programs of other users go through it to their own.
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn pid_file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("heartbeat.pid");
        (folder, path)
    }

    fn own() -> u32 {
        std::process::id()
    }

    #[test]
    fn acquired_file_has_the_originals_form() {
        let (_folder, path) = pid_file();
        assert_eq!(running_pid(&path), RunState::NotRunning);
        fs::write(&path, "stale content that is longer\n").unwrap();
        assert_eq!(running_pid(&path), RunState::StalePidFile);
        let held = PidFile::acquire(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{:>10}\n", own()));
        assert_eq!(running_pid(&path), RunState::Running(Some(own())));
        let error = PidFile::acquire(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("already running [pid {}].", own()));
        drop(held);
        // A test beside this one may be forking and hold a copy for a moment.
        while running_pid(&path) != RunState::StalePidFile {
            std::thread::yield_now();
        }
        PidFile::acquire(&path).unwrap();
    }

    #[test]
    fn missing_folder_of_the_pid_file_is_made() {
        let (folder, _) = pid_file();
        let path = folder.path().join("var/run/heartbeat.pid");
        PidFile::acquire(&path).unwrap();
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        // A link that leads nowhere, as /var/run where /run is missing, is told of.
        let dangling = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let error = PidFile::acquire(&dangling.join("heartbeat.pid")).unwrap_err();
        assert!(matches!(error, PidFileError::File { .. }), "{error}");
    }

    #[test]
    fn new_file_is_readable_for_all() {
        let (_folder, path) = pid_file();
        let _held = PidFile::acquire(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn of_many_starts_one_wins_while_others_ask() {
        let (_folder, path) = pid_file();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    running_pid(&path);
                }
            });
            for _ in 0..20 {
                let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| PidFile::acquire(&path).ok())).collect();
                let held: Vec<_> = starts.into_iter().filter_map(|start| start.join().unwrap()).collect();
                assert_eq!(held.len(), 1);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            asking.join().unwrap();
        });
    }

    #[test]
    fn number_of_a_stranger_is_stale() {
        let (_folder, path) = pid_file();
        let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(&path, format!("{:>10}\n", stranger.id())).unwrap();
        assert_eq!(running_pid(&path), RunState::StalePidFile);
        assert!(PidFile::acquire(&path).is_ok());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn original_daemon_counts_as_running() {
        let (folder, path) = pid_file();
        let program = folder.path().join("heartbeat");
        let Ok(sleep) = fs::canonicalize("/bin/sleep") else {
            return crate::skip::skip("no /bin/sleep");
        };
        fs::copy(sleep, &program).unwrap();
        let Ok(mut daemon) = Command::new(&program).arg("1000").spawn() else {
            return crate::skip::skip("sleep does not run under another name");
        };
        while short_name(daemon.id()).as_deref() != Some("heartbeat") {
            std::thread::yield_now();
        }
        fs::write(&path, format!("{:>10}\n", daemon.id())).unwrap();
        assert_eq!(running_pid(&path), RunState::Running(Some(daemon.id())));
        assert!(matches!(PidFile::acquire(&path), Err(PidFileError::Running { pid: Some(_) })));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert_eq!(running_pid(&path), RunState::StalePidFile);
    }

    #[test]
    fn hostile_content_is_stale() {
        let (_folder, path) = pid_file();
        for content in [&b""[..], b"0\n", b"-1\n", b"4294967295\n", b"\xff\xff", &[b'9'; 10_000], b"1 2\n"] {
            fs::write(&path, content).unwrap();
            assert_eq!(running_pid(&path), RunState::StalePidFile, "{content:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(PidFile::acquire(folder.path()), Err(PidFileError::File { .. })));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(PidFile::acquire(&file.join("heartbeat.pid")).is_err());
    }

    #[test]
    fn run_folders_are_made_and_scratch_is_emptied() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::below(root.path());
        prepare_run_folders(&layout).unwrap();
        assert_eq!(fs::metadata(&layout.run_dir).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(&layout.var_lib_dir).unwrap().mode() & 0o7777, 0o755);
        let scratch = layout.resource_scratch();
        let kept = root.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        fs::write(scratch.join("old"), "").unwrap();
        std::os::unix::fs::symlink(&kept, scratch.join("link")).unwrap();
        prepare_run_folders(&layout).unwrap();
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
        assert_eq!(fs::metadata(&scratch).unwrap().mode() & 0o7777, 0o1777);
        assert!(kept.join("file").exists(), "links are not followed");
    }
}
