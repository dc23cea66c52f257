//! Small files in the directory for agents' state. The original leaves that directory open to
//! every user (mode 1777), so what is found there is believed little: no links, no pipes that
//! block, no long files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest content that is read.
const CONTENT_MAX_BYTES: u64 = 4096;

/// The directory: `HA_RSCTMP`, else `/var/run/resource-agents`.
pub fn directory() -> PathBuf {
    match std::env::var_os("HA_RSCTMP") {
        Some(directory) if !directory.is_empty() => PathBuf::from(directory),
        _ => PathBuf::from("/var/run/resource-agents"),
    }
}

/// Makes the directory, one level, as the original's tools do; that it is there already is no error.
///
/// # Errors
/// Those of mkdir(2).
pub fn create_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o750).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The content of a regular file, at most 4096 bytes of it.
///
/// # Errors
/// Those of open(2), ELOOP for a symbolic link; `InvalidData` for anything but a regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut content = Vec::new();
    file.take(CONTENT_MAX_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// Creates a file with mode 0600; fails when something of that name exists.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)
}

/// Replaces whatever has that name by a new file.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    create(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_are_not_followed_nor_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, link) = (directory.path().join("victim"), directory.path().join("link"));
        create(&victim, b"precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(read(&link).is_err());
        assert!(create(&link, b"x").is_err());
        replace(&link, b"new").unwrap();
        assert_eq!(read(&link).unwrap(), b"new");
        assert_eq!(read(&victim).unwrap(), b"precious");
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read(&pipe).is_err());
        fs::write(&victim, vec![b'x'; 10_000]).unwrap();
        assert_eq!(read(&victim).unwrap().len() as u64, CONTENT_MAX_BYTES);
    }
}
