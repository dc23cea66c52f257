//! Stop: nothing is mounted there any more, and the kernel has let go of the device.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{umount2, MntFlags};
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::sys::bounded::{self, Failure};

use super::super::ExitCode;
use super::mount_table::Mount;
use super::{device, process_line, users, Filesystem};

/// Between signals, as the original.
const ROUND: Duration = Duration::from_secs(1);
/// Between silent tries in a round.
const RETRY: Duration = Duration::from_millis(50);
/// How long a device may take to be opened.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// How long a removal of the status file may take.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);
/// Processes told of in each round; the others get their signal too.
const TOLD_MAX: usize = 100;
/// Layers of mounts on one directory that are taken away.
const LAYERS_MAX: usize = 64;

impl Filesystem<'_> {
    /// Unmounts what is mounted there and below, other places of the same device too.
    pub(super) fn stop(&self) -> Result<ExitCode, ExitCode> {
        // Whoever calls may stand on the file system.
        if let Err(error) = std::env::set_current_dir("/") {
            self.context.log.warn(&format!("Cannot go to /: {error}"));
        }
        let _turn = self.take_turn();
        // A check that was started before the mount, and not ended by it.
        drop(self.wait_for_other_check()?);
        let table = self.table()?;
        let Some(mount) = table.at(&self.point).cloned() else {
            let device = self.settings.device.find().ok();
            let Some(device) = device.filter(|device| device::is_block(device)) else {
                return Ok(ExitCode::Success);
            };
            // An unmount that hangs keeps a flush waiting too: first of all the device must be free.
            let released = self.wait_for_release(&device)?;
            if released == ExitCode::Success {
                self.flush(&device);
            }
            return Ok(released);
        };
        self.remove_status_file();
        let device = Some(mount.source.clone()).filter(|source| device::is_block(source));
        let mut points = table.below(&self.point);
        // Other mounts of a btrfs are other subvolumes, and have agents of their own.
        if device.is_some() && !self.settings.options.bind && mount.kind != "btrfs" {
            points.extend(table.elsewhere(&mount).into_iter().filter(|point| !self.point.starts_with(point)));
        }
        points.push(self.point.clone());
        points.dedup();
        let mut left_lazily = false;
        let mut failed = false;
        for point in points {
            match self.unmount(&point)? {
                Outcome::Gone => (),
                Outcome::Lazy => left_lazily = true,
                Outcome::Mounted => failed = true,
            }
        }
        if failed {
            return Ok(ExitCode::GenericError);
        }
        let Some(device) = device.filter(|_| !self.settings.options.bind && !left_lazily) else {
            return Ok(ExitCode::Success);
        };
        self.flush(&device);
        self.wait_for_release(&device)
    }

    /// With its rounds of signals.
    fn unmount(&self, point: &Path) -> Result<Outcome, ExitCode> {
        let shown = point.display();
        let log = &self.context.log;
        log.info(&format!("Trying to unmount {shown}"));
        for (signal, name) in [(Signal::SIGTERM, "TERM"), (Signal::SIGKILL, "KILL")] {
            for round in 0..self.settings.stop_s.div_ceil(2).max(1) {
                // Processes that wait for a dead FUSE server cannot be killed before their wait ends.
                let force = signal == Signal::SIGKILL;
                let why = match self.try_unmount(point, force)? {
                    Try::Gone => {
                        log.info(&format!("unmounted {shown} successfully"));
                        return Ok(Outcome::Gone);
                    }
                    Try::Hangs(failure) => {
                        self.context.exit_reason(&format!("umount {shown}: {failure}"));
                        return Ok(self.give_up(point));
                    }
                    Try::Busy(why) => why,
                };
                if round == 0 {
                    log.error(&format!("umount: {shown}: {why}"));
                    for text in users::other_holders(point) {
                        log.error(&text);
                    }
                }
                self.context.exit_reason(&format!("Couldn't unmount {shown}; trying cleanup with {name}"));
                self.signal_users(point, signal, name)?;
                let end = Instant::now() + ROUND;
                while Instant::now() < end {
                    std::thread::sleep(RETRY);
                    if matches!(self.try_unmount(point, force)?, Try::Gone) {
                        log.info(&format!("unmounted {shown} successfully"));
                        return Ok(Outcome::Gone);
                    }
                }
            }
        }
        Ok(self.give_up(point))
    }

    fn give_up(&self, point: &Path) -> Outcome {
        let shown = point.display();
        if self.settings.lazy_unmount {
            match call(point, MntFlags::MNT_DETACH, self.settings.unmount_limit) {
                Ok(()) => {
                    self.forget(point);
                    let text = "is out of sight and still in use: its device must not be mounted elsewhere";
                    self.context.log.warn(&format!("{shown} {text}"));
                    return Outcome::Lazy;
                }
                Err(failure) => self.context.log.error(&format!("umount -l {shown}: {failure}")),
            }
        }
        self.context.exit_reason(&format!("Couldn't unmount {shown}, giving up!"));
        Outcome::Mounted
    }

    /// Takes away everything that is mounted at that very place.
    fn try_unmount(&self, point: &Path, force: bool) -> Result<Try, ExitCode> {
        for _ in 0..LAYERS_MAX {
            let Some(mount) = self.table()?.at(point).cloned() else { return Ok(Try::Gone) };
            match call(point, force_flags(&mount, force), self.settings.unmount_limit) {
                Ok(()) => self.forget(point),
                Err(failure @ Failure::NoAnswer(_)) => return Ok(Try::Hangs(failure)),
                Err(failure) if failure.errno() == libc::EBUSY => {
                    return Ok(Try::Busy("target is busy.".to_owned()))
                }
                // Somebody else was faster.
                Err(failure) if failure.errno() == libc::EINVAL => (),
                Err(failure) => return Ok(Try::Busy(failure.to_string())),
            }
        }
        Ok(Try::Busy(format!("more than {LAYERS_MAX} mounts")))
    }

    fn signal_users(&self, point: &Path, signal: Signal, name: &str) -> Result<(), ExitCode> {
        let log = &self.context.log;
        let pids = match self.table()?.at(point) {
            Some(mount) if self.settings.kill_users => users::processes(mount),
            _ => Vec::new(),
        };
        if pids.is_empty() {
            let setting = self.context.parameters.get("force_unmount").unwrap_or("yes");
            let shown = point.display();
            log.info(&format!("No processes on {shown} were signalled. force_unmount is set to '{setting}'"));
        }
        for (index, pid) in pids.iter().enumerate() {
            let line = if index < TOLD_MAX { process_line::line(*pid) } else { None };
            if let Some(line) = line {
                log.info(&format!("sending signal {name} to: {line}"));
            }
            // One that has gone meanwhile holds nothing.
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        if let Some(more) = pids.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            log.info(&format!("sending signal {name} to {more} more processes"));
        }
        Ok(())
    }

    /// With check level 20 the status file goes; a file system that cannot be written to keeps it.
    fn remove_status_file(&self) {
        if self.context.check_level() != 20 {
            return;
        }
        let file = self.settings.status_file.clone();
        let remove = move || match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(Vec::new()),
        };
        if let Err(failure) = bounded::within(REMOVE_LIMIT, remove) {
            let file = self.settings.status_file.display();
            self.context.log.warn(&format!("Failed to remove status file {file}. ({failure})"));
        }
    }

    /// A file system that is mounted nowhere here may still be open: its last data are being written, or
    /// a process with a mount table of its own holds it. Another node must not mount it then.
    fn wait_for_release(&self, device: &Path) -> Result<ExitCode, ExitCode> {
        let end = Instant::now() + Duration::from_secs(self.settings.stop_s);
        while let Some(kept) = kept_by_kernel(device) {
            // Where this process sees it mounted, somebody else mounted it and says so.
            let table = self.table()?;
            if table.iter().any(|mount| is_mount_of(mount, device)) && table.at(&self.point).is_none() {
                return Ok(ExitCode::Success);
            }
            if Instant::now() >= end {
                let text = format!(
                    "The file system on {} is still in use by the kernel ({}): it is mounted where this process \
                     does not see it, or not written to the disk yet",
                    device.display(),
                    kept.display()
                );
                return self.fail(&text);
            }
            std::thread::sleep(RETRY);
        }
        Ok(ExitCode::Success)
    }
}

/// What became of a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Gone,
    Lazy,
    Mounted,
}

/// What became of one try.
#[derive(Debug)]
enum Try {
    Gone,
    Busy(String),
    Hangs(Failure),
}

fn call(point: &Path, flags: MntFlags, limit: Duration) -> Result<(), Failure> {
    let point = point.to_owned();
    let work = move || {
        umount2(&point, flags)?;
        Ok(Vec::new())
    };
    bounded::within(limit, work).map(drop)
}

/// MNT_FORCE ends what waits for a server: from the start where the original does it, for FUSE together
/// with SIGKILL.
fn force_flags(mount: &Mount, killing: bool) -> MntFlags {
    let kind = mount.kind.as_str();
    let remote = matches!(kind, "nfs" | "nfs4" | "efs" | "cifs" | "smb3" | "smbfs");
    let fuse = kind.starts_with("fuse");
    if remote || fuse && killing {
        MntFlags::MNT_FORCE
    } else {
        MntFlags::empty()
    }
}

fn is_mount_of(mount: &Mount, device: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = std::fs::metadata(device).ok().map(|about| about.rdev());
    let same = number.map(|number| (libc::major(number), libc::minor(number))) == mount.device;
    // btrfs has numbers of its own.
    same && number.is_some() || mount.source == device
}

/// What shows that a file system on that device is open: the kernel's folder for an ext4, xfs or btrfs;
/// else the device itself, when somebody has it for himself alone.
fn kept_by_kernel(device: &Path) -> Option<PathBuf> {
    let path = std::fs::canonicalize(device).ok()?;
    let below = path.strip_prefix("/dev").ok()?;
    let name = below.to_str()?.replace('/', "!");
    let direct = ["ext4", "xfs"].iter().map(|kind| Path::new("/sys/fs").join(kind).join(&name));
    let volumes = std::fs::read_dir("/sys/fs/btrfs").into_iter().flatten().filter_map(Result::ok);
    let btrfs = volumes.map(|volume| volume.path().join("devices").join(&name));
    let folder = direct.chain(btrfs).find(|path| path.exists());
    folder.or_else(|| is_taken(&path).then_some(path))
}

/// Only file systems, arrays and checks take a block device for themselves (open(2), O_EXCL).
fn is_taken(device: &Path) -> bool {
    let path = device.to_owned();
    let open = move || {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_EXCL | libc::O_NONBLOCK).open(path)?;
        Ok(Vec::new())
    };
    let result = device::is_block(device).then(|| bounded::within(OPEN_LIMIT, open));
    result.is_some_and(|result| result.is_err_and(|failure| failure.errno() == libc::EBUSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn force_is_for_servers() {
        let table = super::super::MountTable::from_mounts(
            b"h:/x /a nfs rw 0 0\n/dev/x /b ext4 rw 0 0\ns /c fuse.sshfs rw 0 0\n",
        );
        let flags = |point: &str, killing| force_flags(table.at(Path::new(point)).unwrap(), killing);
        assert_eq!(flags("/a", false), MntFlags::MNT_FORCE);
        assert_eq!((flags("/b", true), flags("/c", false)), (MntFlags::empty(), MntFlags::empty()));
        assert_eq!(flags("/c", true), MntFlags::MNT_FORCE);
    }

    #[test]
    fn devices_that_nothing_uses() {
        assert_eq!(kept_by_kernel(Path::new("/dev/null")), None);
        assert_eq!(kept_by_kernel(Path::new("/no such device")), None);
    }
}
