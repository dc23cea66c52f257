//! The kernel's watchdog device: a machine whose heartbeat stands still is reset (messaging spec 7.3).
//!
//! It is fed by the loop itself, with each beat that left. It stays armed while resources are released,
//! as a daemon that dies in the middle of that leaves them active. The original lets go of it before;
//! ours says the magic word only when everything is released, or just before it executes itself again
//! where nobody counts on the device; where a guard does, the next life gets it armed.
//! After a stop that failed it says nothing: the machine is to be reset, by the device if need be.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::log::LogLine;
use crate::sys::watchdog::{set_timeout, timeout};
use crate::types::LogLevel;

/// Added to deadtime before it is rounded up to seconds, milliseconds.
const MARGIN_MS: u64 = 10;

/// A device that is fed, or none.
#[derive(Debug, Default)]
pub struct Watchdog {
    device: Option<(File, PathBuf)>,
    /// After so long without being fed it resets the machine, as far as its driver says.
    seconds: Option<u32>,
}

impl Watchdog {
    /// Opens and arms the device and leaves its time as it is. The lines are as for [`Watchdog::open`].
    pub fn open_as_it_is(path: &Path) -> (Self, Vec<LogLine>) {
        Self::with(path, None)
    }

    fn with(path: &Path, armed: Option<File>) -> (Self, Vec<LogLine>) {
        let shown = path.display();
        // A device never makes its opener wait; whatever else stands there must not either.
        let open = || OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
        match armed.map_or_else(open, Ok) {
            Ok(device) => {
                let line = (LogLevel::Notice, format!("Using watchdog device: {shown}"));
                (Self { device: Some((device, path.to_owned())), seconds: None }, vec![line])
            }
            Err(error) => {
                let text = format!("Cannot open watchdog device: {shown}: {error}");
                (Self::default(), vec![(LogLevel::Error, text)])
            }
        }
    }

    /// Opens and arms the device, which resets the machine when it is not fed for `dead_time_ms`
    /// rounded up to the next second. One that cannot be opened is an ERROR line, and the daemon goes
    /// on without, as the original; a driver that cannot do that time keeps its own. `armed`: it is open
    /// already ([`Watchdog::keep_or_close`]).
    pub fn open(path: &Path, armed: Option<File>, dead_time_ms: u64) -> (Self, Vec<LogLine>) {
        let (mut watchdog, mut lines) = Self::with(path, armed);
        let Some((device, _)) = &watchdog.device else { return (watchdog, lines) };
        let seconds = u32::try_from((dead_time_ms + MARGIN_MS).div_ceil(1000)).unwrap_or(u32::MAX);
        let kept = match set_timeout(device.as_fd(), seconds) {
            Ok(set) => {
                lines.push((LogLevel::Info, format!("Set watchdog timer to {set} seconds.")));
                Some(set)
            }
            Err(error) => {
                let text = "WDIOC_SETTIMEOUT: Failed to set watchdog timer to";
                lines.push((LogLevel::Error, format!("{text} {seconds} seconds.: {error}")));
                timeout(device.as_fd()).ok()
            }
        };
        if let Some(kept) = kept.filter(|kept| *kept > seconds) {
            let text = format!(
                "The watchdog device resets this machine after {kept} seconds, not {seconds}: a time of \
                 watchdog_wait or lease that counts on less guards nothing"
            );
            lines.push((LogLevel::Warning, text));
        }
        watchdog.seconds = kept;
        (watchdog, lines)
    }

    /// After so many milliseconds without being fed it resets the machine, as its driver says; `None`
    /// where there is no device or it does not say.
    pub fn time_ms(&self) -> Option<u64> {
        self.seconds.map(|seconds| u64::from(seconds) * 1000)
    }

    /// Tells the device that all is well. A device that does not take it is closed, with a line; it
    /// then resets the machine in its time, unless its driver cannot stay armed.
    pub fn feed(&mut self) -> Option<LogLine> {
        let (device, _) = self.device.as_mut()?;
        match device.write(&[0]) {
            Ok(1) => return None,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return None
            }
            _ => {}
        }
        let (_, path) = self.device.take()?;
        Some((LogLevel::Critical, format!("Watchdog write failure: closing {}!", path.display())))
    }

    /// What the life before this one left armed ([`Watchdog::take_armed`]), where `path` is still that
    /// device; else it is disarmed and closed, as nobody would feed it any more.
    pub fn keep_or_close(armed: Option<File>, path: Option<&Path>) -> (Option<File>, Vec<LogLine>) {
        let Some(device) = armed else { return (None, Vec::new()) };
        let identity = |data: std::fs::Metadata| (data.dev(), data.ino(), data.rdev());
        let wanted = path.and_then(|path| std::fs::metadata(path).ok()).map(identity);
        if wanted.is_some() && device.metadata().ok().map(identity) == wanted {
            return (Some(device), Vec::new());
        }
        let mut former = Self { device: Some((device, "of the life before".into())), seconds: None };
        (None, former.close())
    }

    /// The device, armed, for the program that goes on in this process; `None` where there is none. It is
    /// not fed any more.
    pub fn take_armed(&mut self) -> Option<File> {
        self.device.take().map(|(device, _)| device)
    }

    /// Disarms and closes the device: all is released, or this process begins anew.
    pub fn close(&mut self) -> Vec<LogLine> {
        let Some((mut device, path)) = self.device.take() else {
            return Vec::new();
        };
        let said = match device.write(b"V") {
            Ok(1) => (LogLevel::Debug, "Successful watchdog 'V' write".to_owned()),
            _ => {
                let text = format!("Watchdog write magic character failure: closing {}!", path.display());
                (LogLevel::Critical, text)
            }
        };
        drop(device);
        vec![said, (LogLevel::Debug, "Successful watchdog close".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_fed_and_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let (mut watchdog, lines) = Watchdog::open(&path, None, 2000);
        let texts: Vec<&str> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[0], format!("Using watchdog device: {}", path.display()));
        // A plain file has no timer: the original's line with the time it would have had.
        assert!(texts[1].starts_with("WDIOC_SETTIMEOUT: Failed to set watchdog timer to 3 seconds."));
        assert_eq!((watchdog.feed(), watchdog.feed()), (None, None));
        watchdog.close();
        assert_eq!(std::fs::read(&path).unwrap(), b"\0\0V");
        assert!(watchdog.close().is_empty() && watchdog.feed().is_none());
    }

    #[test]
    fn the_next_life_gets_it_armed_or_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("watchdog"), folder.path().join("other"));
        std::fs::write(&path, "").unwrap();
        std::fs::write(&other, "").unwrap();
        let armed = || Watchdog::open(&path, None, 2000).0.take_armed();
        let (kept, lines) = Watchdog::keep_or_close(armed(), Some(&path));
        assert!(lines.is_empty());
        let mut next = Watchdog::open(Path::new("/nonexistent/watchdog"), kept, 2000).0;
        assert_eq!(next.feed(), None, "it is not opened again");
        assert_eq!(std::fs::read(&path).unwrap(), b"\0");
        for wanted in [None, Some(other.as_path()), Some(Path::new("/nonexistent/watchdog"))] {
            std::fs::write(&path, "").unwrap();
            let (kept, lines) = Watchdog::keep_or_close(armed(), wanted);
            assert!(kept.is_none() && !lines.is_empty());
            assert_eq!(std::fs::read(&path).unwrap(), b"V");
        }
        assert!(Watchdog::keep_or_close(None, Some(&path)).0.is_none());
    }

    #[test]
    fn a_device_that_is_missing_or_fails_is_told_once() {
        let (mut watchdog, lines) = Watchdog::open(Path::new("/nonexistent/watchdog"), None, 2000);
        assert!(lines[0].1.starts_with("Cannot open watchdog device: /nonexistent/watchdog"), "{lines:?}");
        assert_eq!(watchdog.feed(), None);
        let (mut watchdog, _) = Watchdog::open(Path::new("/dev/full"), None, 2000);
        let line = watchdog.feed().unwrap();
        assert_eq!(line, (LogLevel::Critical, "Watchdog write failure: closing /dev/full!".to_owned()));
        assert_eq!(watchdog.feed(), None);
    }
}
