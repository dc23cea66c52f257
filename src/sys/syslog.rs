//! One datagram per line to the local syslog socket. Never waits, never fails its caller: a log
//! daemon that hangs must not hold up the start of a resource.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::time::{local_time, syslog_time, unix_time_s};

/// Where syslog listens.
pub const SYSLOG_SOCKET: &str = "/dev/log";

/// Longest text handed over; older syslog daemons cut at 1 to 8 KiB themselves.
pub const DATAGRAM_MAX_BYTES: usize = 8192;

/// A connection that is made when needed and made anew when it breaks.
#[derive(Debug)]
pub struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// For the usual socket; nothing is opened yet.
    pub fn new() -> Self {
        Self::at(Path::new(SYSLOG_SOCKET))
    }

    /// For a socket elsewhere.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    /// Sends one datagram. A broken connection is made anew once. `false`: the line is lost,
    /// because nobody listens or the listener's queue is full.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        let datagram = &datagram[..datagram.len().min(DATAGRAM_MAX_BYTES)];
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = self.connect();
            }
            let Some(socket) = &self.socket else {
                return false;
            };
            match socket.send(datagram) {
                Ok(_) => return true,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(_) => self.socket = None,
            }
        }
        false
    }

    fn connect(&self) -> Option<UnixDatagram> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(&self.path).ok()?;
        Some(socket)
    }
}

impl Default for Syslog {
    fn default() -> Self {
        Self::new()
    }
}

/// Sends one line, `<priority>Mon DD HH:MM:SS IDENT: TEXT`. What the log daemon does not take at
/// once is dropped; the value says whether it was taken.
pub fn send(facility: u8, severity: u8, ident: &str, text: &str) -> bool {
    let priority = u16::from(facility) * 8 + u16::from(severity.min(7));
    let line = format!("<{priority}>{} {ident}: {text}", syslog_time(&local_time(unix_time_s()), '0'));
    Syslog::new().send(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_restart_of_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = Syslog::at(&path);
        assert!(!syslog.send(b"nobody listens"));
        let mut received = [0; 16];
        for round in [b"one", b"two"] {
            let listener = UnixDatagram::bind(&path).unwrap();
            assert!(syslog.send(round));
            let length = listener.recv(&mut received).unwrap();
            assert_eq!(&received[..length], round);
            drop(listener);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn full_listener_loses_lines_and_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::at(&path);
        let sent = (0..100_000).take_while(|_| syslog.send(b"line")).count();
        assert!((1..100_000).contains(&sent));
    }
}
