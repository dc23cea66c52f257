//! Talking with a device that was made for people: send words, wait for words.
//!
//! Over TCP, a serial line, or a program's output. Telnet's options are refused, as a device that
//! offers some expects (RFC 854); the rest of the stream is text.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::device::{Code, Failure, Pace};

/// Bytes that a device may send before a word that is waited for, telnet's own among them.
const RECEIVED_MAX_BYTES: usize = 64 * 1024;
/// Bytes of it that are shown in a message.
const SHOWN_MAX_BYTES: usize = 500;
/// Longest wait for a connection, and for a device that takes no bytes, seconds.
const CONNECT_MAX_S: u32 = 10;
const TELNET_PORT: u16 = 23;
/// How often a login is tried, a second apart (agents spec 3.3).
pub const LOGINS_MAX: u32 = 20;
/// No login is begun later, seconds; the original knows no such limit, and a silent device would hold it
/// for ten minutes.
const LOGIN_MAX_S: u32 = 60;

/// Why a word did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Not in time.
    Timeout,
    /// The device hung up, or sent without end.
    Closed,
}

/// One end of a conversation.
pub struct Dialogue {
    line: OwnedFd,
    /// In messages.
    device: &'static str,
    pace: Pace,
    /// Received and not used.
    pending: Vec<u8>,
    /// Bytes that came since a word was waited for: also those of telnet, which leave nothing behind.
    received: usize,
    telnet: Option<Telnet>,
    /// What must not be shown even when the device repeats it.
    secrets: Vec<String>,
}

impl Dialogue {
    /// Connects to the telnet port of a device.
    ///
    /// # Errors
    /// The reason, for the log.
    pub fn connect(address: &str, device: &'static str, pace: Pace) -> Result<Self, String> {
        let places = (address, TELNET_PORT).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut reason = "no address".to_owned();
        for place in places {
            match TcpStream::connect_timeout(&place, pace.seconds(CONNECT_MAX_S)) {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    let mut dialogue =
                        Self::over(stream.into(), device, pace).map_err(|error| error.to_string())?;
                    dialogue.telnet = Some(Telnet::default());
                    return Ok(dialogue);
                }
                Err(error) => reason = io_text(&error),
            }
        }
        Err(reason)
    }

    /// Over anything that can be read and written.
    ///
    /// # Errors
    /// The descriptor cannot be set to not wait.
    pub fn over(line: OwnedFd, device: &'static str, pace: Pace) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(&line, FcntlArg::F_GETFL)?);
        fcntl(&line, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { line, device, pace, pending: Vec::new(), received: 0, telnet: None, secrets: Vec::new() })
    }

    /// Keeps a text out of every message.
    pub fn hide(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// S_OOPS: the device hung up, or takes nothing.
    pub fn send(&mut self, text: &str) -> Result<(), Failure> {
        log::debug!("Sending [{}]", self.shown(text.as_bytes()));
        self.write(text.as_bytes())
            .map_err(|_| Failure::report(Code::OTHER, format!("{}: write failed", self.device)))
    }

    /// Sends what makes the device switch: a failure from here on may hide that it did.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn command(&mut self, text: &str) -> Result<(), Failure> {
        super::answer::begun();
        self.send(text)
    }

    /// Waits for the first of these words to come whole; the value is its number. What came before it
    /// is gone.
    ///
    /// # Errors
    /// None came within the time.
    pub fn wait_for(&mut self, words: &[&str], seconds: u32) -> Result<usize, Trouble> {
        self.take_until(words, seconds).map(|(index, _)| index)
    }

    /// The same, and what came before the word.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn take_until(&mut self, words: &[&str], seconds: u32) -> Result<(usize, String), Trouble> {
        let end = Instant::now() + self.pace.seconds(seconds);
        let mut searched = 0;
        self.received = self.pending.len();
        loop {
            // The word that is complete first counts.
            for length in searched..=self.pending.len() {
                let complete = |word: &&str| self.pending[..length].ends_with(word.as_bytes());
                if let Some(index) = words.iter().position(complete) {
                    let before =
                        String::from_utf8_lossy(&self.pending[..length - words[index].len()]).into_owned();
                    log::debug!("Got {}", words[index].trim());
                    self.pending.drain(..length);
                    return Ok((index, before));
                }
            }
            searched = self.pending.len();
            if let Err(trouble) = self.read(end) {
                let shown = words.first().copied().unwrap_or_default().trim_end();
                log::debug!("Received [{}]", self.shown(&self.pending));
                log::warn!(target: "CRIT", "Did not find string {shown} from {}.", self.device);
                return Err(trouble);
            }
        }
    }

    /// Waits for a word as one step of a request.
    ///
    /// # Errors
    /// S_TIMEOUT, or S_OOPS when the device hung up.
    pub fn expect(&mut self, word: &str, seconds: u32) -> Result<(), Failure> {
        self.wait_for(&[word], seconds).map(|_| ()).map_err(|trouble| self.failure(trouble, Code::TIMEOUT))
    }

    /// The failure that this trouble is in a step where lateness means `late`.
    pub fn failure(&self, trouble: Trouble, late: Code) -> Failure {
        match trouble {
            Trouble::Timeout => Failure::silent(late, format!("{}: no answer in time", self.device)),
            Trouble::Closed => Failure::silent(Code::OTHER, format!("{}: connection lost", self.device)),
        }
    }

    /// Throws away what has come.
    pub fn forget(&mut self) {
        self.pending.clear();
    }

    /// Everything until the other side closes its end.
    ///
    /// # Errors
    /// It does not within the time, or sends without end.
    pub fn take_all(&mut self, seconds: u32) -> Result<String, Trouble> {
        let end = Instant::now() + self.pace.seconds(seconds);
        self.received = self.pending.len();
        loop {
            match self.read(end) {
                Ok(()) => {}
                Err(Trouble::Closed) if self.received < RECEIVED_MAX_BYTES => {
                    return Ok(String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned());
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    fn read(&mut self, end: Instant) -> Result<(), Trouble> {
        if self.received >= RECEIVED_MAX_BYTES {
            return Err(Trouble::Closed);
        }
        if !wait(&self.line, PollFlags::POLLIN, end) {
            return Err(Trouble::Timeout);
        }
        let mut buffer = [0; 4096];
        let count = match nix::unistd::read(&self.line, &mut buffer) {
            Ok(0) => return Err(Trouble::Closed),
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(_) => return Err(Trouble::Closed),
        };
        self.received += count;
        let mut answer = Vec::new();
        match &mut self.telnet {
            Some(telnet) => telnet.filter(&buffer[..count], &mut self.pending, &mut answer),
            None => self.pending.extend_from_slice(&buffer[..count]),
        }
        if answer.is_empty() {
            return Ok(());
        }
        self.write(&answer).map_err(|_| Trouble::Closed)
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let end = Instant::now() + self.pace.seconds(CONNECT_MAX_S);
        while !bytes.is_empty() {
            match nix::unistd::write(&self.line, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EAGAIN | Errno::EINTR) => {
                    if !wait(&self.line, PollFlags::POLLOUT, end) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Fit for a message: short, without secrets.
    fn shown(&self, bytes: &[u8]) -> String {
        let start = bytes.len().saturating_sub(SHOWN_MAX_BYTES);
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        for secret in &self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        text.char_indices().filter(|(index, _)| *index >= start).map(|(_, c)| c).collect()
    }
}

/// Logs in until it works, at most [`LOGINS_MAX`] times, a second apart; a device that refuses the
/// password is asked once, for it may lock the account.
///
/// # Errors
/// S_ACCESS, logged.
pub fn log_in(
    address: &str,
    device: &'static str,
    pace: Pace,
    mut enter: impl FnMut(&mut Dialogue) -> Result<(), Failure>,
) -> Result<Dialogue, Failure> {
    let end = Instant::now() + pace.seconds(LOGIN_MAX_S);
    for tries in 1..=LOGINS_MAX {
        match Dialogue::connect(address, device, pace) {
            Ok(mut dialogue) => match enter(&mut dialogue) {
                Ok(()) => {
                    log::debug!("Successful login to {device}.");
                    return Ok(dialogue);
                }
                Err(failure) if failure.code == Code::ACCESS => return Err(failure),
                Err(_) => {}
            },
            Err(reason) => crate::sys::print::error_line(&format!("connect() failed: {reason}")),
        }
        if tries == LOGINS_MAX || Instant::now() >= end {
            break;
        }
        pace.pause(1000);
    }
    Err(Failure::report(Code::ACCESS, format!("Cannot log into {device}.")))
}

/// The kernel's text for an error, as the original shows it.
pub fn io_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        // The table has an older wording; a file that is no serial line shows it.
        Some(libc::ENOTTY) => "Inappropriate ioctl for device".to_owned(),
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

fn wait(line: &OwnedFd, what: PollFlags, end: Instant) -> bool {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // A millisecond more: the poll must not end before its time and spin.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(line.as_fd(), what)];
        match poll(&mut waiting, timeout) {
            Ok(0) if Instant::now() >= end => return false,
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Takes telnet's commands out of a stream and refuses every option.
#[derive(Default)]
struct Telnet {
    state: TelnetState,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum TelnetState {
    #[default]
    Text,
    /// Behind IAC.
    Command,
    /// Behind WILL (251), WONT, DO or DONT (254).
    Option(u8),
    /// Inside a subnegotiation.
    Inside,
    /// Behind IAC inside one.
    InsideCommand,
}

const IAC: u8 = 255;
const SUBNEGOTIATION: u8 = 250;
const SUBNEGOTIATION_END: u8 = 240;
const WILL: u8 = 251;
const DO: u8 = 253;
const WONT: u8 = 252;
const DONT: u8 = 254;

impl Telnet {
    fn filter(&mut self, bytes: &[u8], text: &mut Vec<u8>, answer: &mut Vec<u8>) {
        for byte in bytes.iter().copied() {
            self.state = match (self.state, byte) {
                (TelnetState::Text, IAC) => TelnetState::Command,
                (TelnetState::Text, byte) => {
                    text.push(byte);
                    TelnetState::Text
                }
                (TelnetState::Command, IAC) => {
                    text.push(IAC);
                    TelnetState::Text
                }
                (TelnetState::Command, SUBNEGOTIATION) => TelnetState::Inside,
                (TelnetState::Command, WILL..=DONT) => TelnetState::Option(byte),
                (TelnetState::Command, _) => TelnetState::Text,
                (TelnetState::Option(verb), option) => {
                    match verb {
                        WILL => answer.extend([IAC, DONT, option]),
                        DO => answer.extend([IAC, WONT, option]),
                        _ => {}
                    }
                    TelnetState::Text
                }
                (TelnetState::Inside, IAC) => TelnetState::InsideCommand,
                (TelnetState::InsideCommand, SUBNEGOTIATION_END) => TelnetState::Text,
                (TelnetState::Inside | TelnetState::InsideCommand, _) => TelnetState::Inside,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_refused_and_text_stays() {
        let (mut telnet, mut text, mut answer) = (Telnet::default(), Vec::new(), Vec::new());
        let stream = [b'a', IAC, WILL, 1, b'b', IAC, DO, 3, IAC, IAC, IAC, SUBNEGOTIATION, 9, IAC, 240, b'c'];
        for byte in stream {
            telnet.filter(&[byte], &mut text, &mut answer);
        }
        assert_eq!(text, [b'a', b'b', IAC, b'c']);
        assert_eq!(answer, [IAC, DONT, 1, IAC, WONT, 3]);
    }

    fn with_far_end() -> (Dialogue, std::os::unix::net::UnixStream) {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let pace = crate::stonith::device::Values::default().with_pace(10).pace();
        (Dialogue::over(near.into(), "x", pace).unwrap(), far)
    }

    #[test]
    fn an_answer_without_end_is_none() {
        // Nothing of it is text: telnet's "no operation", and a subnegotiation that is never over.
        for endless in [&[IAC, 241][..], &[IAC, SUBNEGOTIATION, 1][..], &[b'y'][..], &[0xfe][..]] {
            let (mut dialogue, mut far) = with_far_end();
            dialogue.telnet = Some(Telnet::default());
            let sender = std::thread::spawn(move || while io::Write::write_all(&mut far, endless).is_ok() {});
            assert_eq!(dialogue.take_until(&["never"], 600), Err(Trouble::Closed));
            drop(dialogue);
            sender.join().unwrap();
        }
    }

    #[test]
    fn everything_until_the_end() {
        let (mut dialogue, mut far) = with_far_end();
        io::Write::write_all(&mut far, b"one\ntwo").unwrap();
        assert_eq!(dialogue.take_all(1), Err(Trouble::Timeout));
        drop(far);
        assert_eq!(dialogue.take_all(1).as_deref(), Ok("one\ntwo"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let pace = crate::stonith::device::Values::default().pace();
        let mut dialogue = Dialogue::over(near.into(), "x", pace).unwrap();
        dialogue.hide("geheim");
        assert_eq!(dialogue.shown(b"password> geheim\r"), "password> ***\r");
        assert!(dialogue.shown(&[b'y'; 5000]).len() <= SHOWN_MAX_BYTES);
    }
}
