//! `meatware`: a person resets the host, and says so with `meatclient` (agents spec 3.7).

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::stat::Mode;

use super::device::{common, Action, Code, Device, DeviceType, Failure, Pace, Values};
use crate::config::below_root;

/// Row of the table.
pub const TYPE: DeviceType = DeviceType {
    name: "meatware",
    parameters: &[common::HOSTLIST],
    id: "A person resets the host",
    description:
        "Asks a person, by the log, to reset the host, and waits until meatclient says that it was done.",
    url: "",
    configure,
};

/// Bytes of an answer.
pub(super) const ANSWER_BYTES: usize = 256;
/// How long a client that opened the FIFO may take to write, seconds (as the original).
const WRITE_MAX_S: u32 = 600;

fn configure(values: &Values) -> Result<Box<dyn Device>, Failure> {
    let text = values.need("hostlist")?;
    log::info!("parse config info info={text}");
    Ok(Box::new(Meatware { hosts: values.host_list("hostlist")?, pace: values.pace() }))
}

/// The FIFO through which a person says that a host is reset. A name with a slash leads nowhere else.
pub(super) fn fifo_of(host: &str) -> Option<PathBuf> {
    let plain = !host.is_empty() && !host.contains('/') && !host.contains('\0');
    if !plain {
        return None;
    }
    let folder = below_root("/var/run");
    // Where it is a link, Debian's programs show what it leads to.
    let folder = folder.canonicalize().unwrap_or(folder);
    Some(folder.join(format!("meatware.{host}")))
}

struct Meatware {
    hosts: Vec<String>,
    pace: Pace,
}

impl Device for Meatware {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(self.hosts.clone())
    }

    fn status(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Whatever the action and the host; waits without limit, because people have none.
    fn request(&mut self, _: Action, host: &str) -> Result<(), Failure> {
        let create = "cannot create FIFO for Meatware_reset_host";
        let path = fifo_of(host).ok_or_else(|| Failure::report(Code::OTHER, create))?;
        let fifo = Fifo::create(path).map_err(|_| Failure::report(Code::OTHER, create))?;
        log::warn!(target: "CRIT", "OPERATOR INTERVENTION REQUIRED to reset {host}.");
        log::warn!(target: "CRIT", "Run \"meatclient -c {host}\" AFTER power-cycling the machine.");
        let answer = fifo
            .read_answer(self.pace.seconds(WRITE_MAX_S))
            .map_err(|_| Failure::report(Code::OTHER, "read error on FIFO for Meatware_reset_host"))?;
        match confirmed_host(&answer) {
            None => {
                let text = format!("Format error - failed to Meatware-reset node {host}");
                Err(Failure::report(Code::RESET_FAILED, text))
            }
            Some(named) if named.eq_ignore_ascii_case(host) => {
                log::info!("node Meatware-reset: {host}");
                Ok(())
            }
            Some(_) => {
                Err(Failure::report(Code::RESET_FAILED, format!("failed to Meatware-reset node {host}")))
            }
        }
    }
}

/// Takes its file away when it goes.
struct Fifo {
    path: PathBuf,
}

impl Fifo {
    fn create(path: PathBuf) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Self { path })
    }

    fn read_answer(&self, write_limit: Duration) -> io::Result<Vec<u8>> {
        let mut file = open_for_reading(&self.path)?;
        let end = Instant::now() + write_limit;
        let mut answer = vec![0; ANSWER_BYTES];
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, timeout)? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let count = file.read(&mut answer)?;
        answer.truncate(count);
        Ok(answer)
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Waits until somebody opens the other end.
fn open_for_reading(path: &Path) -> io::Result<std::fs::File> {
    loop {
        match OpenOptions::new().read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The host in `meatware reply HOST`; the rest after a NUL is padding.
fn confirmed_host(answer: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(answer.split(|byte| *byte == 0).next()?).ok()?;
    let mut words = text.split_ascii_whitespace();
    match (words.next()?, words.next()?, words.next()) {
        ("meatware", "reply", host) => host,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_counts() {
        assert_eq!(confirmed_host(b"meatware reply node1\0\0junk"), Some("node1"));
        assert_eq!(confirmed_host(b"meatware reply "), None);
        assert_eq!(confirmed_host(b"meatware no node1"), None);
        assert_eq!(confirmed_host(b""), None);
        assert_eq!(confirmed_host(&[0xff; 256]), None);
    }

    #[test]
    fn a_name_leads_to_no_other_folder() {
        assert_eq!(fifo_of("../x"), None);
        assert_eq!(fifo_of(""), None);
        assert!(fifo_of("node1").is_some());
    }
}
