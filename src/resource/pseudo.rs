//! Resources that are but a file in the directory for agents' state: what the original calls a pseudo
//! resource (agents spec 2.2). The directory is emptied at boot.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::net::state;

/// The file of that name is there.
pub fn is_active(name: &str) -> bool {
    file(name).is_ok_and(|path| fs::symlink_metadata(path).is_ok_and(|about| about.is_file()))
}

/// Makes the file; one that is there stays.
///
/// # Errors
/// Those of mkdir(2) and open(2), `InvalidInput` for a name that is no file's. Nothing has changed then.
pub fn start(name: &str) -> io::Result<()> {
    let path = file(name)?;
    match fs::DirBuilder::new().mode(0o755).create(state::directory()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => (),
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).map(drop)
}

/// Takes the file away; that none is there is well.
///
/// # Errors
/// Those of unlink(2), `InvalidInput` for a name that is no file's. Nothing has changed then.
pub fn stop(name: &str) -> io::Result<()> {
    match fs::remove_file(file(name)?) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Its path. Names hold instances, which hold anything.
fn file(name: &str) -> io::Result<PathBuf> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a file")));
    }
    Ok(state::directory().join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", ".", "..", "../x", "Delay_/etc/passwd", "a\0b"] {
            assert!(start(name).is_err() && stop(name).is_err() && !is_active(name), "{name:?}");
        }
    }
}
