//! What systemd wants to hear (sd_notify(3)): that the daemon serves, that it is well, that it stops.
//!
//! One datagram each to the socket that the environment names; nobody waits for an answer, and what
//! cannot be sent is not sent. The main process of the unit is the guard, its child the daemon: the unit
//! listens to all (`NotifyAccess=all`), so children must not see the socket's name.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The variables of sd_notify(3) and sd_watchdog_enabled(3).
const SOCKET: &str = "NOTIFY_SOCKET";
const INTERVAL: &str = "WATCHDOG_USEC";
const INTERVAL_PID: &str = "WATCHDOG_PID";

/// The one who started this process, when it wants to be told.
#[derive(Debug, Clone, Default)]
pub struct ServiceManager {
    socket: Option<String>,
    /// Longest silence, microseconds.
    interval_us: Option<u64>,
}

impl ServiceManager {
    /// Takes it from the environment, which no child gets to see. For the start of the program.
    pub fn take() -> Self {
        let value = |name: &str| {
            let value = std::env::var(name).ok();
            std::env::remove_var(name);
            value
        };
        Self::from_values(value(SOCKET), value(INTERVAL), value(INTERVAL_PID), std::process::id())
    }

    fn from_values(
        socket: Option<String>,
        interval: Option<String>,
        interval_pid: Option<String>,
        own_pid: u32,
    ) -> Self {
        let socket = socket.filter(|path| address(path).is_ok());
        // The interval may be another process's, who started this one.
        let is_own = interval_pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
        let interval_us = interval.and_then(|text| text.parse().ok()).filter(|us| is_own && *us > 0);
        Self { interval_us: interval_us.filter(|_| socket.is_some()), socket }
    }

    /// Adds it to the environment of a program that goes on in this one's place.
    pub fn pass_on(&self, command: &mut Command) {
        if let Some(socket) = &self.socket {
            command.env(SOCKET, socket);
        }
        if let Some(interval) = self.interval_us {
            command.env(INTERVAL, interval.to_string());
        }
    }

    /// The daemon serves.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The daemon releases what it holds, and ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// All is well. With an interval the manager must hear this at least so often.
    pub fn alive(&self) {
        if self.interval_us.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    /// Tells it from a thread, until the value is dropped: what this process does meanwhile may take its
    /// time. Without an interval no thread is made.
    pub fn keep_told(&self) -> Told {
        let Some(interval_us) = self.interval_us else { return Told(None) };
        let pause = Duration::from_micros(interval_us / 4);
        let (done, is_done) = mpsc::channel::<()>();
        let manager = self.clone();
        let thread = thread::spawn(move || loop {
            manager.alive();
            if is_done.recv_timeout(pause) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        });
        Told(Some((done, thread)))
    }

    fn tell(&self, text: &str) {
        let Some(path) = &self.socket else { return };
        // A socket for each: the daemon lives for years, the manager's may be made anew.
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), &address(path)?)
        });
        if let Err(error) = sent {
            log::debug!("{path}: {error}");
        }
    }
}

/// As long as it lives, the manager hears that all is well.
#[derive(Debug)]
pub struct Told(Option<(mpsc::Sender<()>, thread::JoinHandle<()>)>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            let _ = thread.join();
        }
    }
}

/// A path, or with `@` in front a name in the abstract namespace.
fn address(path: &str) -> io::Result<SocketAddr> {
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name.as_bytes()),
        None if path.starts_with('/') => SocketAddr::from_pathname(path),
        None => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(socket: &str, interval: Option<&str>, pid: Option<&str>) -> ServiceManager {
        let text = |value: Option<&str>| value.map(str::to_owned);
        ServiceManager::from_values(Some(socket.to_owned()), text(interval), text(pid), 7)
    }

    #[test]
    fn what_is_told_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let receiver = UnixDatagram::bind(&path).unwrap();
        let manager = manager(path.to_str().unwrap(), Some("5000000"), Some("7"));
        manager.ready();
        manager.alive();
        drop(manager.keep_told());
        manager.stopping();
        let mut buffer = [0; 64];
        for expected in ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"] {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
        let mut command = Command::new("true");
        manager.pass_on(&mut command);
        assert_eq!(command.get_envs().count(), 2);
        let name = format!("ha-test-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        super::tests::manager(&format!("@{name}"), None, None).ready();
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 7);
    }

    #[test]
    fn what_is_meant_for_others_or_senseless_is_not_used() {
        for (interval, pid) in [("5000000", "8"), ("5000000", "x"), ("0", "7"), ("-1", "7"), ("", "7")] {
            assert_eq!(manager("/run/x", Some(interval), Some(pid)).interval_us, None, "{interval} {pid}");
        }
        for path in ["", "relative", &"/long".repeat(100), &format!("@{}", "x".repeat(200)), "/a\0b"] {
            let manager = manager(path, Some("1"), None);
            assert!(manager.socket.is_none() && manager.interval_us.is_none(), "{path:?}");
        }
        // Nobody listens: nothing happens.
        manager("/nonexistent/notify", Some("1"), None).alive();
        ServiceManager::default().ready();
    }
}
