//! One message into the FIFO of a daemon, without ever waiting for it.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

/// Writes of at most this many bytes are not mixed with those of others (PIPE_BUF).
pub const WHOLE_MAX_BYTES: usize = 4096;

/// Writes a message in one piece. Nothing of it was written when this fails.
///
/// # Errors
/// In words: no daemon reads the FIFO or it does not keep up, there is none, it may not be written,
/// the message is longer than [`WHOLE_MAX_BYTES`].
pub fn write_whole(path: &Path, message: &[u8]) -> Result<(), String> {
    if message.len() > WHOLE_MAX_BYTES {
        return Err(format!("the message is longer than {WHOLE_MAX_BYTES} bytes"));
    }
    // O_NONBLOCK: without it the open would wait for a daemon, and the write for an idle moment.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let mut fifo =
        OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).map_err(|error| match error
            .raw_os_error()
        {
            Some(libc::ENXIO) => "no daemon reads it".to_owned(),
            Some(libc::ENOENT) => "No such file: no daemon runs here".to_owned(),
            _ if error.kind() == io::ErrorKind::PermissionDenied => {
                "no permission to write, become root".to_owned()
            }
            _ => error.to_string(),
        })?;
    if !fifo.metadata().is_ok_and(|found| found.file_type().is_fifo()) {
        return Err("is no FIFO".to_owned());
    }
    match fifo.write(message) {
        Ok(length) if length == message.len() => Ok(()),
        Ok(_) => Err("was written in part".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err("it is full: the daemon does not read it".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn nobody_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        assert!(write_whole(&path, b"x").unwrap_err().contains("No such file"));
        std::fs::write(&path, "").unwrap();
        assert_eq!(write_whole(&path, b"x"), Err("is no FIFO".to_owned()));
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert_eq!(write_whole(&path, b"x"), Err("no daemon reads it".to_owned()));
        let _reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        while let Ok(()) = write_whole(&path, &[b'x'; WHOLE_MAX_BYTES]) {}
        let full = write_whole(&path, &[b'x'; WHOLE_MAX_BYTES]).unwrap_err();
        assert!(full.starts_with("it is full"), "{full}");
        assert!(write_whole(&path, &[b'x'; WHOLE_MAX_BYTES + 1]).unwrap_err().contains("longer"));
    }
}
