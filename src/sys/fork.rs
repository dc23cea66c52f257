//! fork(2) of a process with one thread, and how its children end.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};

/// Waits for one of these signals, which must be blocked, at most for `limit`; `None` when the time is
/// over or another signal interrupted.
///
/// # Errors
/// The kernel's.
pub fn wait_for_signal(signals: &SigSet, limit: Duration) -> io::Result<Option<Signal>> {
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i32::MAX.into()),
        // a `long`, which has 32 bits on some machines: below a thousand million it fits
        tv_nsec: i32::try_from(limit.subsec_nanos()).unwrap_or(0).into(),
    };
    // SAFETY: both point to whole values that live through the call; no information is asked for.
    let number = unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), &limit) };
    if number >= 0 {
        return Ok(Signal::try_from(number).ok());
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(None),
        error => Err(error),
    }
}

/// Which side of [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The process that called; the child's number.
    Parent(i32),
    /// The new process.
    Child,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildEnd {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Makes a second process of this one.
///
/// # Errors
/// More than one thread runs (the others would be missing in the child, with their locks held), or
/// the kernel's; there is no child then.
pub fn fork() -> io::Result<Fork> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(io::Error::other(format!("{threads} threads run already")));
    }
    // SAFETY: there is only this thread, so the child finds every lock free.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid if pid > 0 => Ok(Fork::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends this process at once, without running anything that the parent registered for its own end.
pub fn leave(code: i32) -> ! {
    // SAFETY: the call does not return and touches no memory of this program.
    unsafe { libc::_exit(code) }
}

/// A child that has ended, and how; `None` while none has.
pub fn next_end() -> Option<(i32, ChildEnd)> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Some((pid.as_raw(), ChildEnd::Exited(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Some((pid.as_raw(), ChildEnd::Killed(signal as i32)))
            }
            Ok(WaitStatus::StillAlive) => return None,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_threads_it_is_refused() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(fork().is_err());
        drop(release);
        assert!(other.join().unwrap().is_err());
    }
}
