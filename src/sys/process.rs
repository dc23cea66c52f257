//! Process matters: detaching, titles, descriptors, whether a pid lives.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use thiserror::Error;

/// Which side of [`daemonise`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The process that was started: nothing left to do but exit.
    Parent,
    /// The detached one.
    Daemon,
}

/// Why detaching failed.
#[derive(Debug, Error)]
pub enum DetachError {
    /// More than one thread runs: the others would be missing in the child, with their locks held.
    #[error("cannot detach: {0} threads run already; detach before any is started")]
    Threads(usize),
    /// A system call failed.
    #[error("cannot detach: {step}: {cause}; nothing was started")]
    Call {
        /// Which.
        step: &'static str,
        /// The kernel's answer.
        cause: io::Error,
    },
}

/// Detaches: forks twice with a session of its own in between, goes to `/`, sets umask 022 and
/// puts standard input, output and error on `/dev/null`. To be called before any thread or
/// runtime exists. Locks of flock(2) kind and open descriptors pass to the daemon.
///
/// # Errors
/// In the parent: [`DetachError`], nothing was started.
pub fn daemonise() -> Result<Role, DetachError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(DetachError::Threads(threads));
    }
    let null = CString::new("/dev/null").unwrap_or_default();
    // SAFETY: the path ends with a NUL byte and lives through the call.
    let null = unsafe { libc::open(null.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if null < 0 {
        return Err(failed("/dev/null"));
    }
    // SAFETY: there is only this thread, so the child finds every lock free.
    let first = unsafe { libc::fork() };
    if first < 0 {
        let error = failed("fork");
        close(null);
        return Err(error);
    }
    if first > 0 {
        close(null);
        return wait_for_intermediate(first);
    }
    // SAFETY: a fresh child is no group leader; the call cannot fail and touches no memory.
    unsafe { libc::setsid() };
    // SAFETY: as for the first fork.
    let second = unsafe { libc::fork() };
    if second != 0 {
        // SAFETY: ends this process at once, without running anything of the parent's.
        unsafe { libc::_exit(i32::from(second < 0)) };
    }
    settle(null);
    Ok(Role::Daemon)
}

fn wait_for_intermediate(pid: libc::pid_t) -> Result<Role, DetachError> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live int.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            break;
        }
        let cause = io::Error::last_os_error();
        if cause.kind() != io::ErrorKind::Interrupted {
            return Err(DetachError::Call { step: "waitpid", cause });
        }
    }
    if status == 0 {
        Ok(Role::Parent)
    } else {
        Err(DetachError::Call { step: "second fork", cause: io::Error::from_raw_os_error(libc::EAGAIN) })
    }
}

fn settle(null: RawFd) {
    // SAFETY: the path is a constant that ends with NUL; umask takes a number.
    unsafe {
        libc::chdir(c"/".as_ptr());
        libc::umask(0o022);
    }
    for standard in 0..=2 {
        // SAFETY: dup2 of an open descriptor onto 0 to 2, which no value in this process owns.
        unsafe { libc::dup2(null, standard) };
    }
    if null > 2 {
        close(null);
    }
}

fn close(descriptor: RawFd) {
    // SAFETY: the callers pass a descriptor they own and use it no more.
    unsafe { libc::close(descriptor) };
}

fn failed(step: &'static str) -> DetachError {
    DetachError::Call { step, cause: io::Error::last_os_error() }
}

/// Closes what was inherited beyond standard input, output and error, except `keep`. For the
/// start of `main`, before this process has opened anything of its own that it does not name.
pub fn close_inherited(keep: &[RawFd]) {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    // The list holds the descriptor it was read through too; that one is closed by now.
    let open: Vec<RawFd> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2 && !keep.contains(descriptor))
        .collect();
    for descriptor in open {
        close(descriptor);
    }
}

/// Takes over a descriptor that the program before this one in this process left open. It is then
/// closed at exec again.
///
/// # Errors
/// There is no such descriptor, or it is one of the standard ones.
pub fn adopt_inherited(descriptor: RawFd) -> io::Result<fs::File> {
    if descriptor <= 2 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: only asks; a descriptor that is not open is an error.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nothing in this young program owns it: it was opened before the exec,
    // and the caller names each once.
    let file = unsafe { fs::File::from_raw_fd(descriptor) };
    drop_at_exec(&file, true)?;
    Ok(file)
}

/// Whether exec(2) closes the file (FD_CLOEXEC).
///
/// # Errors
/// The kernel's.
pub fn drop_at_exec(file: &fs::File, closed: bool) -> io::Result<()> {
    let flags = if closed { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: the descriptor is open as long as `file` lives.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Takes a flock(2) lock without waiting; `false` when another open file holds it. The lock ends
/// when the last copy of the descriptor is closed, so it passes to forked children, and a parent
/// that closes its copy does not end it.
///
/// # Errors
/// What the kernel says, except "held by another" and interruption, which is tried again.
pub fn try_lock(file: &fs::File, exclusive: bool) -> io::Result<bool> {
    let kind = if exclusive { libc::LOCK_EX } else { libc::LOCK_SH };
    loop {
        // SAFETY: the descriptor is open as long as `file` lives.
        if unsafe { libc::flock(file.as_raw_fd(), kind | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock => return Ok(false),
            io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

/// Makes `ps` show this process as `name` (at most 15 bytes of it: PR_SET_NAME) and, where the
/// kernel tells us where the arguments are kept (Linux 3.5), its command line as `title`, or as
/// `name` when the place is too small for the title. `std::env::args` is of no use afterwards.
/// Call it while there is one thread. What does not work is left as it was.
pub fn set_title(name: &str, title: &str) {
    set_short_name(name);
    let Some((start, length)) = argument_area() else {
        return;
    };
    let text = if title.len() < length { title } else { name };
    let used = text.len().min(length - 1);
    // SAFETY: the kernel says that the strings of argv lie at `start`, `length` bytes, in this
    // process; that part of the stack is writable, stays mapped for the life of the process, and
    // nothing borrows from it (std copies on each call of `args`).
    unsafe {
        let place = start as *mut u8;
        std::ptr::write_bytes(place, 0, length);
        std::ptr::copy_nonoverlapping(text.as_ptr(), place, used);
    }
}

/// Sets the name of this thread that `ps` and `top` show; for the first thread that of the process.
/// At most 15 bytes of it count (PR_SET_NAME).
pub fn set_short_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: the kernel copies at most 16 bytes of the NUL-ended string.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    }
}

/// Start and length of the argument strings: fields 48 and 49 of /proc/self/stat.
fn argument_area() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split_ascii_whitespace().skip(45);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    let length = end.checked_sub(start)?;
    (start != 0 && (2..=128 * 1024).contains(&length)).then_some((start, length))
}

/// Whether a process of this number lives. A zombie does not: nothing will make it answer.
pub fn is_alive(pid: u32) -> bool {
    let Some(number) = i32::try_from(pid).ok().filter(|number| *number > 0) else {
        return false;
    };
    // SAFETY: signal 0 only asks.
    let there = unsafe { libc::kill(number, 0) } == 0
        || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM);
    there && !is_zombie(pid)
}

fn is_zombie(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.iter().rposition(|byte| *byte == b')').and_then(|end| stat.get(end + 2));
    matches!(state, Some(b'Z' | b'X'))
}

/// The kernel's short name of a process (`/proc/PID/comm`, or `stat` before Linux 2.6.33); `None`
/// when there is no such process.
pub fn short_name(pid: u32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let start = stat.iter().position(|byte| *byte == b'(')? + 1;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(String::from_utf8_lossy(stat.get(start..end)?).into_owned())
}

/// Makes the program that `command` starts run as this user with these groups, with normal
/// scheduling, default signals and no signal blocked. `groups` is set only when this process is
/// root's. What cannot be had makes the start fail; the program is not run with more rights than
/// asked for. It gets SIGTERM when the thread that starts it ends without a word.
pub fn run_as(command: &mut Command, uid: u32, gid: u32, groups: Vec<u32>) {
    // SAFETY: geteuid touches no memory.
    let root = unsafe { libc::geteuid() } == 0;
    let in_child = move || {
        super::sched::drop_realtime();
        for signal in 1..=31 {
            // SAFETY: takes numbers; SIGKILL and SIGSTOP are refused without harm.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        let refused =
            |number: libc::c_int| if number == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        if root {
            // SAFETY: the kernel reads as many numbers as the vector holds, which lives in this closure.
            refused(unsafe { libc::setgroups(groups.len() as _, groups.as_ptr()) })?;
        }
        // SAFETY: take numbers; the group first, because afterwards it is no longer allowed.
        refused(unsafe { libc::setgid(gid) })?;
        // SAFETY: as above.
        refused(unsafe { libc::setuid(uid) })?;
        // After the change of user, which would clear it.
        // SAFETY: takes numbers.
        refused(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) })
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(in_child) };
}

/// Makes the program that `command` starts get SIGHUP when the thread that starts it ends without a word
/// (prctl(2), `PR_SET_PDEATHSIG`).
pub fn hang_up_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let in_child = move || {
        // SAFETY: take numbers.
        let (refused, now) = unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGHUP), libc::getppid()) };
        match refused == 0 && u32::try_from(now) == Ok(parent) {
            true => Ok(()),
            false => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec the closure makes system calls only: no allocation, no lock.
    unsafe { command.pre_exec(in_child) };
}

/// All groups of a user, `gid` among them; only `gid` when the user is not known.
pub fn groups_of(user: &str, gid: u32) -> Vec<u32> {
    let known = CString::new(user).ok();
    let groups =
        known.and_then(|name| nix::unistd::getgrouplist(&name, nix::unistd::Gid::from_raw(gid)).ok());
    groups.map_or_else(|| vec![gid], |groups| groups.into_iter().map(nix::unistd::Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0));
        assert!(!is_alive(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while !is_zombie(pid) {
            std::thread::yield_now();
        }
        assert!(!is_alive(pid), "a zombie is not alive");
        child.wait().unwrap();
        assert!(!is_alive(pid));
        assert_eq!(short_name(pid), None);
    }

    #[test]
    fn another_user_without_a_trace_of_root() {
        // SAFETY: geteuid touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            return crate::skip::skip_without_privilege("only root may become somebody else");
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "id -u; id -g; id -G; grep SigIgn /proc/self/status"]);
        run_as(&mut command, 65_534, 65_533, vec![65_533, 7]);
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => return crate::skip::skip_without_privilege(&error.to_string()),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text.lines().take(3).collect::<Vec<_>>(), ["65534", "65533", "65533 7"]);
        let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).expect(&text);
        assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & 0x7fff_ffff, 0, "{text}");
    }

    #[test]
    fn groups_of_an_unknown_user_are_what_is_given() {
        assert_eq!(groups_of("no such user", 5), [5]);
        assert_eq!(groups_of("nul\0byte", 5), [5]);
        assert!(groups_of("root", 0).contains(&0));
    }

    #[test]
    fn detaching_beside_threads_is_refused() {
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(matches!(daemonise(), Err(DetachError::Threads(_))));
        drop(release);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn argument_area_holds_our_arguments() {
        let (start, length) = argument_area().unwrap();
        assert!(start > 0 && length > 1);
    }
}
