//! The ioctls of a watchdog device that are needed (linux/watchdog.h).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)`.
const SET_TIMEOUT: libc::c_ulong = 0xc004_5706;
/// `WDIOC_GETTIMEOUT`: `_IOR('W', 7, int)`.
const GET_TIMEOUT: libc::c_ulong = 0x8004_5707;

/// Sets after how many seconds without a write the device resets the machine; the value is what the
/// driver really set.
///
/// # Errors
/// The driver's: ENOTTY when the file is no watchdog, EINVAL for a time it cannot do, EOPNOTSUPP. The
/// old time stays.
pub fn set_timeout(device: BorrowedFd<'_>, seconds: u32) -> io::Result<u32> {
    let mut value = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open, and this request reads and writes one int.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SET_TIMEOUT as _, &raw mut value) };
    match result {
        0.. => Ok(u32::try_from(value).unwrap_or(seconds)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// After how many seconds without a write the device resets the machine.
///
/// # Errors
/// The driver's: ENOTTY when the file is no watchdog, EOPNOTSUPP when it has no time that can be told.
pub fn timeout(device: BorrowedFd<'_>) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the descriptor is open, and this request writes one int.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), GET_TIMEOUT as _, &raw mut value) };
    match (result, u32::try_from(value)) {
        (0.., Ok(seconds)) => Ok(seconds),
        (0.., Err(_)) => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_file_is_no_watchdog() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set_timeout(file.as_fd(), 3).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(timeout(file.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
