//! Work that the kernel may never finish, done where it can be left behind: in a forked child of a
//! process with one thread, else in a thread.
//!
//! A file system whose server or disk does not answer holds whoever touches it, often beyond the
//! reach of SIGKILL. The child is killed when its time is over and not waited for; it disappears when
//! the kernel lets go of it.

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use thiserror::Error;

/// Longest answer of a child.
const ANSWER_MAX_BYTES: u64 = 1024 * 1024;
/// How long a killed child is waited for, so that one that can end leaves no zombie.
const REAP: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Failure {
    /// The work was done and failed.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// It was not finished in time, and may still be finished later.
    #[error("no answer within {} s", .0.as_secs_f32())]
    NoAnswer(Duration),
}

impl Failure {
    /// The kernel's error number; 0 when there is none.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Failed(error) => error.raw_os_error().unwrap_or(0),
            Self::NoAnswer(_) => 0,
        }
    }
}

/// Does `work` and waits for it `limit` long. It must not print, and what it opens it must close; its
/// answer may have 1 MiB.
///
/// # Errors
/// Those of the work, and [`Failure::NoAnswer`]: then it goes on in the kernel, and what it was to do
/// may happen later.
pub fn within<F>(limit: Duration, work: F) -> Result<Vec<u8>, Failure>
where
    F: FnOnce() -> io::Result<Vec<u8>> + Send + 'static,
{
    if std::fs::read_dir("/proc/self/task").map_or(2, Iterator::count) == 1 {
        return in_child(limit, work);
    }
    let (answer, answers) = mpsc::channel();
    std::thread::Builder::new().spawn(move || drop(answer.send(work())))?;
    match answers.recv_timeout(limit) {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::NoAnswer(limit)),
    }
}

fn in_child<F>(limit: Duration, work: F) -> Result<Vec<u8>, Failure>
where
    F: FnOnce() -> io::Result<Vec<u8>>,
{
    let end = Instant::now() + limit;
    let (reader, mut writer) = io::pipe()?;
    // SAFETY: this process has one thread (the caller counted), so the child finds every lock free and
    // may do what any program may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error().into()),
        0 => {
            // SAFETY: takes numbers. What the dead parent was to do must not go on behind the back of
            // the one that is started after it.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            drop(reader);
            drop_standard_streams();
            // A parent that gave up does not read.
            let _ = writer.write_all(&encode(work()));
            // SAFETY: ends this process at once, without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        child => {
            drop(writer);
            let child = Pid::from_raw(child);
            let answer = read_until(reader, end);
            if !matches!(answer, Ok(Some(_))) {
                // Its end is all that is wanted of one that is gone already.
                let _ = kill(child, Signal::SIGKILL);
            }
            reap(child);
            match answer? {
                Some(answer) => decode(&answer).map_err(Failure::Failed),
                None => Err(Failure::NoAnswer(limit)),
            }
        }
    }
}

/// Whoever reads the agent's output to its end must not wait for a child that never ends.
fn drop_standard_streams() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        for standard in 0..=2 {
            // SAFETY: takes numbers of open descriptors; 0 to 2 are the standard ones, which no value owns.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    }
}

/// `None` when `end` comes first.
fn read_until(mut reader: PipeReader, end: Instant) -> io::Result<Option<Vec<u8>>> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait is not a busy one.
        let timeout = PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, timeout) {
            Ok(0) if Instant::now() >= end => return Ok(None),
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => (),
            Err(error) => return Err(error.into()),
        }
        match reader.read(&mut buffer)? {
            0 => return Ok(Some(answer)),
            length if answer.len() as u64 + length as u64 <= ANSWER_MAX_BYTES => {
                answer.extend_from_slice(&buffer[..length]);
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "too long an answer")),
        }
    }
}

fn reap(child: Pid) {
    let end = Instant::now() + REAP;
    while matches!(waitpid(child, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive)) {
        if Instant::now() >= end {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One byte that tells success, then the bytes or the error number.
fn encode(result: io::Result<Vec<u8>>) -> Vec<u8> {
    match result {
        Ok(bytes) => [vec![1], bytes].concat(),
        Err(error) => {
            let number = error.raw_os_error().unwrap_or(libc::EIO);
            [vec![0], number.to_ne_bytes().to_vec()].concat()
        }
    }
}

fn decode(answer: &[u8]) -> io::Result<Vec<u8>> {
    match answer.split_first() {
        Some((1, bytes)) => Ok(bytes.to_vec()),
        Some((_, bytes)) => {
            let number = bytes.try_into().map_or(libc::EIO, i32::from_ne_bytes);
            Err(io::Error::from_raw_os_error(number))
        }
        // Somebody killed it, or it panicked.
        None => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the process for it ended early")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_errors_and_silence() {
        assert_eq!(within(Duration::from_secs(20), || Ok(vec![1, 2])).unwrap(), [1, 2]);
        let error = within(Duration::from_secs(20), || std::fs::read("/no such file")).unwrap_err();
        assert_eq!(error.errno(), libc::ENOENT);
        let (release, wait) = mpsc::channel::<()>();
        let silent = move || Ok(wait.recv().map(|()| vec![]).unwrap_or_default());
        let error = within(Duration::from_millis(20), silent).unwrap_err();
        assert!(matches!(error, Failure::NoAnswer(_)), "{error}");
        drop(release);
    }

    #[test]
    fn the_form_of_answers_keeps_them() {
        assert_eq!(decode(&encode(Ok(b"text".to_vec()))).unwrap(), b"text");
        let error = decode(&encode(Err(io::Error::from_raw_os_error(libc::EROFS)))).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EROFS));
        for broken in [&[][..], &[0], &[0, 1], &[7, 7, 7, 7, 7, 7]] {
            assert!(decode(broken).is_err());
        }
    }

    #[test]
    fn a_late_answer_is_cut_off_at_the_limit() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"part").unwrap();
        assert!(matches!(read_until(reader, Instant::now() + Duration::from_millis(20)), Ok(None)));
        let (reader, mut writer) = io::pipe().unwrap();
        let much = std::thread::spawn(move || writer.write_all(&vec![0; ANSWER_MAX_BYTES as usize + 1]));
        assert!(read_until(reader, Instant::now() + Duration::from_secs(20)).is_err());
        let _ = much.join().unwrap();
    }
}
