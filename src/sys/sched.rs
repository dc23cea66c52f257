//! Realtime scheduling and locked memory (messaging spec 7.1; `realtime`, `rtprio`).
//!
//! Nothing here is fatal: a daemon without realtime or locked memory still does its work, so each
//! failure is a value whose text is the line to log.

use std::io;

use thiserror::Error;

/// Linux 2.6.32; children and new threads start with normal scheduling.
const SCHED_RESET_ON_FORK: libc::c_int = 0x4000_0000;

/// Stack pages touched by [`touch_stack`].
const STACK_RESERVE_BYTES: usize = 64 * 1024;

/// What did not work. Nothing has changed for the process when one of these comes back.
#[derive(Debug, Error)]
pub enum SchedError {
    /// The kernel refused the realtime class.
    #[error("Unable to set realtime scheduling with priority {priority}: {cause}. Going on with normal scheduling")]
    Realtime {
        /// The priority asked for.
        priority: u8,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// RLIMIT_MEMLOCK is too small and may not be raised; the original's words.
    #[error("Cannot lock ourselves into memory:  System limits on locked-in memory are too small.")]
    MemoryLimit,
    /// Locking failed for another reason.
    #[error("Cannot lock ourselves into memory: {0}")]
    Memory(io::Error),
}

/// Puts the calling thread into the round robin class at `priority` (1 to 99), so that children
/// and threads started later do not inherit it. musl's wrapper always fails, hence the raw call.
///
/// # Errors
/// [`SchedError::Realtime`]; scheduling is unchanged.
pub fn set_realtime(priority: u8) -> Result<(), SchedError> {
    set_scheduler(libc::SCHED_RR | SCHED_RESET_ON_FORK, priority)
        .or_else(|_| set_scheduler(libc::SCHED_RR, priority))
        .map_err(|cause| SchedError::Realtime { priority, cause })
}

/// Puts the calling thread back to normal scheduling; for children and helper threads on kernels
/// without the reset-on-fork flag. Harmless when nothing is to be reset. A failure leaves the
/// thread as it is.
pub fn drop_realtime() {
    let _ = set_scheduler(libc::SCHED_OTHER, 0);
}

/// Whether the calling thread is in the round robin class.
pub fn is_realtime() -> bool {
    // SAFETY: takes a number (0: the calling thread) and touches no memory.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    policy & !libc::c_long::from(SCHED_RESET_ON_FORK) == libc::c_long::from(libc::SCHED_RR)
}

fn set_scheduler(policy: libc::c_int, priority: u8) -> io::Result<()> {
    let parameter = [libc::c_int::from(priority)];
    // SAFETY: the kernel reads one int (struct sched_param) through the pointer, which lives
    // longer than the call; pid 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, parameter.as_ptr()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks all pages, present and future, and tells glibc's allocator (musl's needs no telling) to
/// use one arena: with future pages locked, every mapping is resident at once, thread stacks
/// too. Start threads with small stacks. Raises RLIMIT_MEMLOCK first where that is allowed.
///
/// # Errors
/// [`SchedError::MemoryLimit`] or [`SchedError::Memory`]; no page stays locked.
pub fn lock_memory() -> Result<(), SchedError> {
    use_one_arena();
    raise_memlock_limit();
    // SAFETY: takes flags only.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } == 0 {
        touch_stack();
        return Ok(());
    }
    let cause = io::Error::last_os_error();
    unlock_memory();
    match cause.raw_os_error() {
        Some(libc::ENOMEM | libc::EPERM | libc::EAGAIN) => Err(SchedError::MemoryLimit),
        _ => Err(SchedError::Memory(cause)),
    }
}

/// Unlocks all pages. Locks are not inherited through fork(2), so this is for a process that
/// goes on without them, or before an exec in place.
pub fn unlock_memory() {
    // SAFETY: takes no argument and touches no memory of ours.
    unsafe { libc::munlockall() };
}

/// Asks for unlimited locked memory, else for as much as the hard limit allows.
fn raise_memlock_limit() {
    use nix::sys::resource::{getrlimit, setrlimit, Resource, RLIM_INFINITY};
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return;
    }
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}

#[cfg(target_env = "gnu")]
fn use_one_arena() {
    // SAFETY: sets a number inside the allocator; documented in mallopt(3).
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(target_env = "gnu"))]
fn use_one_arena() {}

/// Touches the stack ahead of need, so that growing it never waits for a page.
#[inline(never)]
fn touch_stack() {
    let reserve = [1u8; STACK_RESERVE_BYTES];
    std::hint::black_box(&reserve);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realtime_comes_and_goes() {
        std::thread::spawn(|| {
            match set_realtime(1) {
                Ok(()) => assert!(is_realtime()),
                Err(error) => {
                    return crate::skip::skip_without_privilege(&error.to_string());
                }
            }
            let child_policy = std::thread::spawn(is_realtime).join().unwrap();
            assert!(!child_policy, "threads start with normal scheduling");
            drop_realtime();
            assert!(!is_realtime());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn absurd_priority_is_an_error_and_changes_nothing() {
        std::thread::spawn(|| {
            let error = set_realtime(200).unwrap_err();
            assert!(error.to_string().contains("200"));
            assert!(!is_realtime());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn limit_text_is_the_originals() {
        assert_eq!(
            SchedError::MemoryLimit.to_string(),
            "Cannot lock ourselves into memory:  System limits on locked-in memory are too small."
        );
    }
}
