//! A serial line with a device on it: locked as programs for modems lock it, then opened.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::config::below_root;
use crate::sys::process::is_alive;
use crate::sys::serial;

/// How often a stale lock is taken away before this gives up.
const LOCK_TRIES: usize = 3;

/// An open line. The lock ends with it.
pub struct SerialLine {
    /// To read and write.
    pub line: OwnedFd,
    _lock: Lock,
}

impl SerialLine {
    /// Locks and opens a device: raw, 8 data bits, no parity, 1 stop bit, no flow control. What waited in
    /// it is gone.
    ///
    /// # Errors
    /// Another program that lives has locked it (EBUSY); the kernel's.
    pub fn open(path: &str, baud: u32) -> io::Result<Self> {
        // Asked first, for the plain reason.
        fs::metadata(path)?;
        let lock = Lock::take(path)?;
        let line = serial::open_without_flow_control(path, baud)?;
        Ok(Self { line, _lock: lock })
    }
}

/// `/var/lock/LCK..NAME`: the pid in ten columns (agents spec 3.3).
struct Lock {
    path: PathBuf,
}

static ATTEMPTS: AtomicU32 = AtomicU32::new(0);

impl Lock {
    fn take(device: &str) -> io::Result<Self> {
        let path = lock_path(device);
        let folder = path.parent().unwrap_or(Path::new("/"));
        // Each attempt has its own: several threads may lock several devices.
        let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
        let own = folder.join(format!("LTMP..stonith.{}.{number}", std::process::id()));
        let written = write_pid(&own);
        let result = written.and_then(|()| {
            for _ in 0..LOCK_TRIES {
                // A link is made whole or not at all.
                match fs::hard_link(&own, &path) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        if holder(&path).is_some_and(is_alive) {
                            return Err(io::Error::from_raw_os_error(libc::EBUSY));
                        }
                        let _ = fs::remove_file(&path);
                    }
                    other => return other.map(|()| Self { path: path.clone() }),
                }
            }
            Err(io::Error::from_raw_os_error(libc::EBUSY))
        });
        let _ = fs::remove_file(&own);
        result
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if holder(&self.path) == Some(std::process::id()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock_path(device: &str) -> PathBuf {
    let name: String =
        device.trim_start_matches("/dev/").chars().filter(char::is_ascii_alphanumeric).collect();
    below_root(&format!("/var/lock/LCK..{name}"))
}

fn write_pid(path: &Path) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    writeln!(file, "{:>10}", std::process::id())
}

/// The process in a lock; a file that names none is stale.
fn holder(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_lock_devices_of_their_own() {
        let pid = std::process::id();
        let lock_often = |number: usize| {
            let device = format!("/dev/lock{pid}x{number}");
            (0..200).try_for_each(|_| Lock::take(&device).map(drop))
        };
        let results: Vec<io::Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || lock_often(number))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
        });
        for result in results {
            match result {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return crate::skip::skip_without_privilege("/var/lock may not be written");
                }
                other => other.expect("a lock of its own"),
            }
        }
    }

    #[test]
    fn names_of_locks() {
        assert!(lock_path("/dev/ttyS0").ends_with("LCK..ttyS0"));
        assert!(lock_path("/dev/pts/7").ends_with("LCK..pts7"));
        assert!(lock_path("/dev/../etc/x").ends_with("LCK..etcx"));
    }
}
