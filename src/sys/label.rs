//! The security label of files (SELinux): a file that takes another's place takes its label too.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The attribute that holds it.
const NAME: &std::ffi::CStr = c"security.selinux";
/// Labels are shorter.
const LABEL_MAX_BYTES: usize = 4096;

/// Gives `to` the label of `from`. A system without labels is no error.
///
/// # Errors
/// The kernel does not let `to` have it.
pub fn copy_label(from: &Path, to: &Path) -> io::Result<()> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let (from, to) = (path(from)?, path(to)?);
    let mut label = [0u8; LABEL_MAX_BYTES];
    // SAFETY: both texts end in a zero byte, and the buffer is as long as said.
    let length =
        unsafe { libc::getxattr(from.as_ptr(), NAME.as_ptr(), label.as_mut_ptr().cast(), label.len()) };
    let Some(label) = usize::try_from(length).ok().and_then(|length| label.get(..length)) else {
        return Ok(());
    };
    // SAFETY: as above; the buffer is read only.
    match unsafe { libc::setxattr(to.as_ptr(), NAME.as_ptr(), label.as_ptr().cast(), label.len(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_labels_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "").unwrap();
        std::fs::write(&other, "").unwrap();
        copy_label(&one, &other).unwrap();
        copy_label(&folder.path().join("nothing"), &other).unwrap();
    }
}
