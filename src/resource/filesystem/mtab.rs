//! /etc/mtab of old systems, where it is a file that mount(8) keeps: df(1) and others read it.
//!
//! Where it is a link to the kernel's table, or missing, nothing is done. The lock is mount(8)'s: the
//! file `/etc/mtab~`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mount_table::{escape, MountTable};

/// How long another program may hold the lock; one that is older was left by a process that was killed.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A file that is longer is left alone.
const MTAB_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// One line of it.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Device.
    pub source: &'a str,
    /// Mount point.
    pub point: &'a Path,
    /// Type of file system.
    pub kind: &'a str,
    /// Options.
    pub options: &'a str,
}

/// Adds a line, in the place of one for the same mount point.
///
/// # Errors
/// Those of the file system. The file is as before.
pub fn add(mtab: &Path, line: &Line<'_>) -> io::Result<()> {
    rewrite(mtab, line.point, Some(line))
}

/// Takes the last line for a mount point away.
///
/// # Errors
/// As [`add`].
pub fn remove(mtab: &Path, point: &Path) -> io::Result<()> {
    rewrite(mtab, point, None)
}

fn rewrite(mtab: &Path, point: &Path, line: Option<&Line<'_>>) -> io::Result<()> {
    match fs::symlink_metadata(mtab) {
        Ok(about) if about.is_file() && about.len() <= MTAB_MAX_BYTES => (),
        _ => return Ok(()),
    }
    let _lock = Lock::take(&with_suffix(mtab, "~"))?;
    let text = fs::read(mtab)?;
    let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let is_it = |line: &&[u8]| MountTable::from_mounts(line).at(point).is_some();
    if let Some(index) = lines.iter().rposition(is_it) {
        lines.remove(index);
    } else if line.is_none() {
        return Ok(());
    }
    let mut new = lines.concat();
    if let Some(line) = line {
        if !new.is_empty() && !new.ends_with(b"\n") {
            new.push(b'\n');
        }
        let options = if line.options.is_empty() { "rw" } else { line.options };
        let fields = [line.source, &line.point.to_string_lossy(), line.kind, options];
        for (index, field) in fields.into_iter().enumerate() {
            // The path as bytes: it need not be text.
            new.extend(if index == 1 { escape(line.point) } else { escape(Path::new(field)) });
            new.push(b' ');
        }
        new.extend_from_slice(b"0 0\n");
    }
    let temporary = with_suffix(mtab, ".tmp");
    let mode = fs::metadata(mtab)?.permissions().mode();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
    file.write_all(&new)?;
    file.set_permissions(PermissionsExt::from_mode(mode & 0o777))?;
    fs::rename(temporary, mtab)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The lock file; whoever made it has the lock, and it goes with him.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> io::Result<Self> {
        let end = Instant::now() + LOCK_LIMIT;
        loop {
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                Ok(_) => return Ok(Self(path.to_owned())),
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Err(_) if Instant::now() < end => std::thread::sleep(LOCK_PAUSE),
                // Gone already is as good.
                Err(_) => drop(fs::remove_file(path)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that stays is taken over by the next caller.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(options: &str) -> Line<'_> {
        Line { source: "/dev/x y", point: Path::new("/data"), kind: "ext4", options }
    }

    #[test]
    fn lines_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let mtab = directory.path().join("mtab");
        fs::write(&mtab, "/dev/sda1 / ext3 rw 0 0\n# comment without an end").unwrap();
        add(&mtab, &line("")).unwrap();
        add(&mtab, &line("ro,noatime")).unwrap();
        let text = fs::read_to_string(&mtab).unwrap();
        assert_eq!(
            text,
            "/dev/sda1 / ext3 rw 0 0\n# comment without an end\n/dev/x\\040y /data ext4 ro,noatime 0 0\n"
        );
        remove(&mtab, Path::new("/data")).unwrap();
        remove(&mtab, Path::new("/data")).unwrap();
        assert_eq!(fs::read_to_string(&mtab).unwrap(), "/dev/sda1 / ext3 rw 0 0\n# comment without an end\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_and_missing_files_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (mtab, other) = (directory.path().join("mtab"), directory.path().join("other"));
        add(&mtab, &line("")).unwrap();
        assert!(!mtab.exists());
        fs::write(&other, "kept\n").unwrap();
        std::os::unix::fs::symlink(&other, &mtab).unwrap();
        add(&mtab, &line("")).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "kept\n");
    }

    #[test]
    fn a_lock_that_a_dead_process_left_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let mtab = directory.path().join("mtab");
        fs::write(&mtab, "").unwrap();
        fs::write(directory.path().join("mtab~"), "").unwrap();
        add(&mtab, &line("")).unwrap();
        assert!(fs::read_to_string(&mtab).unwrap().starts_with("/dev/x"));
        assert!(!directory.path().join("mtab~").exists());
    }
}
