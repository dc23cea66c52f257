//! What comes before a mount: does the kernel have the type, is the file system checked?

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::net::state;
use crate::sys::process;

use super::super::command::{self, Program};
use super::super::ExitCode;
use super::settings::Check;
use super::{device, Filesystem};

/// Looks after a module was loaded, which may take its time to register.
const MODULE_LOOKS: u32 = 5;
const MODULE_PAUSE: Duration = Duration::from_secs(1);
/// How long modprobe may take.
const MODPROBE_LIMIT: Duration = Duration::from_secs(60);
/// Between looks whether another check, start or stop has ended, and when it is told of.
const CHECK_PAUSE: Duration = Duration::from_millis(10);
const TELL_AFTER: Duration = Duration::from_secs(1);
/// How long another start or stop is waited for.
const TURN_LIMIT: Duration = Duration::from_secs(10);
/// Exit codes of fsck from here on say that errors are left, or that it did not work (fsck(8)).
const FSCK_FAILED: u8 = 4;
/// Types that repair themselves from a journal, or cannot be checked (agents spec 2.6).
const UNCHECKED: &[&str] = &[
    "ext4",
    "ext4dev",
    "ext3",
    "reiserfs",
    "reiser4",
    "nss",
    "xfs",
    "jfs",
    "vfat",
    "fat",
    "nfs4",
    "nfs",
    "efs",
    "cifs",
    "smbfs",
    "ocfs2",
    "gfs2",
    "none",
    "lustre",
    "glusterfs",
    "ceph",
    "tmpfs",
    "overlay",
    "overlayfs",
    "rozofs",
    "zfs",
    "cvfs",
];

/// The kernel lists that type of file system.
pub(super) fn kernel_has(kind: &str) -> bool {
    let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().next_back() == Some(kind))
}

impl Filesystem<'_> {
    /// The kernel has the type, at the latest after its module was loaded.
    pub(super) fn require_support(&self) -> Result<(), ExitCode> {
        let kind = self.settings.kind.as_str();
        let support = match kind {
            "" => return Ok(()),
            "glusterfs" | "rozofs" | "fuse" => "fuse",
            "efs" => "nfs4",
            _ if kind.starts_with("fuse.") => "fuse",
            _ => kind,
        };
        if support != kind {
            self.context.log.info(&format!("Checking support for {kind} as \"{support}\""));
        }
        if kernel_has(support) {
            return Ok(());
        }
        let loaded = Program::new("modprobe").args(["--", support]).merged().limit(MODPROBE_LIMIT).run();
        let loaded = loaded.is_ok_and(|finished| finished.code == 0);
        for _ in 0..MODULE_LOOKS {
            if kernel_has(support) {
                return Ok(());
            }
            if !loaded {
                break;
            }
            std::thread::sleep(MODULE_PAUSE);
        }
        let more = if loaded { "" } else { " and failed to load kernel module" };
        let text = format!("Couldn't find filesystem {support} in /proc/filesystems{more}");
        self.context.exit_reason(&text);
        Err(ExitCode::NotInstalled)
    }

    /// Checks the file system on `device` where the rule asks for it. It takes as long as it takes.
    pub(super) fn check(&self, device: &Path) -> Result<(), ExitCode> {
        let needed = match self.settings.check {
            Check::Force => true,
            Check::No => false,
            Check::Auto => !UNCHECKED.contains(&self.settings.kind.as_str()),
        };
        if !needed {
            return Ok(());
        }
        let shown = self.settings.shown_device();
        self.context.log.info(&format!("Starting filesystem check on {shown}"));
        // Held by the check too, which outlives us when we are killed.
        let lock = self.wait_for_other_check()?;
        let program = self.check_program(device)?;
        if let Some(lock) = &lock {
            // Without it only a later start or stop does not know of this check.
            let _ = process::drop_at_exec(lock, false);
        }
        match program.merged().run() {
            Ok(finished) => {
                let text = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                if finished.code >= FSCK_FAILED {
                    if !text.is_empty() {
                        self.context.log.error(&text);
                    }
                    return self.fail(&format!("Couldn't successfully fsck filesystem for {shown}"));
                }
                if !text.is_empty() {
                    self.context.log.info(&text);
                }
                Ok(())
            }
            Err(error) => {
                self.context.log.error(&error.to_string());
                self.fail(&format!("Couldn't successfully fsck filesystem for {shown}"))
            }
        }
    }

    /// `fsck.TYPE`; fsck(8) itself where there is none, which knows what to do without.
    fn check_program(&self, device: &Path) -> Result<Program, ExitCode> {
        let kind = match self.settings.kind.as_str() {
            "" => device::identify(device).ok().flatten().map_or("", |identity| identity.kind),
            kind => kind,
        };
        if !kind.is_empty() {
            let name = format!("fsck.{kind}");
            if !kind.contains('/') && command::find(&name).is_some() {
                return Ok(Program::new(name).args(["-p".as_ref(), device.as_os_str()]));
            }
        }
        command::require(self.context, "fsck")?;
        let program = Program::new("fsck");
        let program = if kind.is_empty() { program } else { program.args(["-t", kind]) };
        Ok(program.args(["-p".as_ref(), device.as_os_str()]))
    }

    /// A check that a killed start left runs on and writes to the device: nobody mounts it meanwhile,
    /// here or on the other node. `None` when the lock cannot be had, which is told.
    pub(super) fn wait_for_other_check(&self) -> Result<Option<File>, ExitCode> {
        let shown = self.settings.shown_device();
        let told = format!("Waiting for the filesystem check that runs on {shown}");
        Ok(self.lock(&lock_path("Filesystem-fsck-", &self.settings.device_text), &told, None))
    }

    /// One start or stop of a mount point after the other. What a killed one was doing in the kernel ends
    /// first, but for what never ends there: that is not waited for longer than ten seconds.
    pub(super) fn take_turn(&self) -> Option<File> {
        let directory = self.shown_directory();
        let told = format!("Waiting for another start or stop of {directory}");
        self.lock(&lock_path("Filesystem-turn-", &directory), &told, Some(TURN_LIMIT))
    }

    fn lock(&self, path: &Path, told: &str, limit: Option<Duration>) -> Option<File> {
        let log = &self.context.log;
        let begin = Instant::now();
        let look = || -> std::io::Result<Option<File>> {
            let file = open_lock(path)?;
            let mut waits = false;
            while !process::try_lock(&file, true)? {
                if limit.is_some_and(|limit| begin.elapsed() >= limit) {
                    return Ok(None);
                }
                if !waits && begin.elapsed() >= TELL_AFTER {
                    log.info(told);
                    waits = true;
                }
                std::thread::sleep(CHECK_PAUSE);
            }
            Ok(Some(file))
        };
        look().unwrap_or_else(|error| {
            log.warn(&format!("Cannot lock {}: {error}", path.display()));
            None
        })
    }
}

fn lock_path(prefix: &str, text: &str) -> PathBuf {
    let name = text.replace('/', "_");
    // A name longer than the file system takes is cut where it differs least.
    let start = name.char_indices().rev().nth(199).map_or(0, |(index, _)| index);
    state::directory().join(format!("{prefix}{}", &name[start..]))
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    if let Some(directory) = path.parent() {
        match std::fs::DirBuilder::new().mode(0o755).create(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => (),
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}
