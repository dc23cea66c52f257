//! The loop of `apphbd`: its socket, its clients, the watchdog.
//!
//! Whoever may enter the socket's folder may connect; every byte is hostile.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::watched::Watched;
use crate::daemon::watchdog::Watchdog;
use crate::ipc::frame::{encode_frame, FrameDecoder, HEADER_BYTES};
use crate::log::{LogLine, Logger, RateLimit};
use crate::sys::time::monotonic_ms;
use crate::types::LogLevel;
use crate::wire::apphb::{encode_answer, Request, BODY_MAX_BYTES};

/// Programs at once.
const CLIENTS_MAX: usize = 256;
/// Bytes read from one before the others have their turn.
const TURN_MAX_BYTES: usize = 4096;
/// Lines about programs within [`LINES_WINDOW_MS`], of each kind.
const LINES_MAX: u32 = 20;
const LINES_WINDOW_MS: u64 = 10_000;
/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(5);

struct Client {
    stream: UnixStream,
    decoder: FrameDecoder,
    watched: Watched,
    /// Unread frames are no messages of ours: nothing more is read.
    gone: bool,
}

/// Watches programs.
pub struct Watcher {
    logger: Logger,
    watchdog: Watchdog,
    feed_every_ms: u64,
    feed_due_ms: u64,
    clients: Vec<Client>,
    lines: RateLimit,
    buffer: Vec<u8>,
}

impl Watcher {
    /// Nobody is watched yet. The watchdog is fed at once, then in that interval.
    pub fn new(logger: Logger, watchdog: Watchdog, feed_every_ms: u64) -> Self {
        Self {
            logger,
            watchdog,
            feed_every_ms,
            feed_due_ms: 0,
            clients: Vec::new(),
            lines: RateLimit::new(LINES_MAX, LINES_WINDOW_MS),
            buffer: vec![0; TURN_MAX_BYTES],
        }
    }

    /// Until SIGTERM or SIGINT; the watchdog is let go then.
    ///
    /// # Errors
    /// poll(2) failed. The watchdog stays armed: nobody feeds it any more.
    pub fn serve(&mut self, listener: &UnixListener, signals: &SignalFd) -> io::Result<()> {
        loop {
            self.on_time();
            let (news, calls, readable) = self.wait(listener, signals)?;
            for (index, _) in readable.iter().enumerate().filter(|(_, readable)| **readable) {
                self.read(index);
            }
            self.clients.retain(|client| !client.gone);
            if calls {
                self.accept(listener);
            }
            if news && matches!(signals.read_signal(), Ok(Some(_))) {
                self.logger.log_all(self.watchdog.close());
                return Ok(());
            }
        }
    }

    fn wait(&self, listener: &UnixListener, signals: &SignalFd) -> io::Result<(bool, bool, Vec<bool>)> {
        let watch = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = vec![watch(signals.as_fd()), watch(listener.as_fd())];
        polled.extend(self.clients.iter().map(|client| watch(client.stream.as_fd())));
        let due = self.clients.iter().filter_map(|client| client.watched.due_ms()).min();
        let due = due.unwrap_or(u64::MAX).min(self.feed_due_ms);
        let wait_ms = due.saturating_sub(monotonic_ms()).min(60_000);
        let timeout = PollTimeout::try_from(wait_ms).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return Ok((false, false, Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|one| one.any() != Some(false)).collect();
        Ok((ready[0], ready[1], ready[2..].to_vec()))
    }

    /// Feeds the watchdog and finds out who failed.
    fn on_time(&mut self) {
        let now_ms = monotonic_ms();
        if now_ms >= self.feed_due_ms {
            self.feed_due_ms = now_ms.saturating_add(self.feed_every_ms);
            self.logger.log_all(self.watchdog.feed());
        }
        let failed: Vec<LogLine> =
            self.clients.iter_mut().filter_map(|client| client.watched.tick(now_ms)).collect();
        self.say(failed);
    }

    fn accept(&mut self, listener: &UnixListener) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                self.say([(LogLevel::Warning, format!("a connection was lost: {error}"))]);
                return std::thread::sleep(PAUSE);
            }
        };
        let credentials = getsockopt(&stream, PeerCredentials);
        let pid = credentials.map_or(0, |credentials| credentials.pid());
        if self.clients.len() >= CLIENTS_MAX {
            let text = format!("{CLIENTS_MAX} programs are watched: one more, pid {pid}, was refused");
            self.say([(LogLevel::Warning, text)]);
        } else if stream.set_nonblocking(true).is_ok() {
            let watched = Watched::new(pid, monotonic_ms());
            self.clients.push(Client { stream, decoder: FrameDecoder::new(), watched, gone: false });
        }
    }

    fn read(&mut self, index: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(client) = self.clients.get_mut(index) else { return };
        let lines = match client.stream.read(&mut buffer) {
            Ok(0) => client.hung_up(),
            Ok(length) => client.take(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Vec::new(),
            Err(_) => client.hung_up(),
        };
        self.buffer = buffer;
        self.say(lines);
    }

    /// Programs must not fill the log.
    fn say(&mut self, lines: impl IntoIterator<Item = LogLine>) {
        for (level, text) in lines {
            let kind = if level == LogLevel::Warning { "warning" } else { "other" };
            if let Some(text) = self.lines.check(kind, monotonic_ms()).apply(&text) {
                self.logger.log(level, &text);
            }
        }
    }
}

impl Client {
    fn hung_up(&mut self) -> Vec<LogLine> {
        self.gone = true;
        self.watched.hung_up()
    }

    fn take(&mut self, bytes: &[u8]) -> Vec<LogLine> {
        self.decoder.push(bytes);
        let mut lines = Vec::new();
        loop {
            match self.decoder.next_frame() {
                Ok(Some(body)) => {
                    let reaction = self.watched.take(Request::decode(&body), monotonic_ms());
                    lines.extend(reaction.lines);
                    let sent = reaction.answer.is_none_or(|errno| self.answer(errno));
                    if reaction.ends || !sent {
                        self.gone = true;
                        return lines;
                    }
                }
                // No program sends more than a registration at once.
                Ok(None) if self.decoder.waiting_for() > HEADER_BYTES + BODY_MAX_BYTES => {
                    lines.extend(self.hung_up());
                    return lines;
                }
                Ok(None) => return lines,
                Err(error) => {
                    lines.push((LogLevel::Error, format!("a program sent nonsense: {error}")));
                    lines.extend(self.hung_up());
                    return lines;
                }
            }
        }
    }

    /// Four bytes have room, or the program reads nothing and is given up.
    fn answer(&mut self, errno: i32) -> bool {
        let frame = encode_frame(&encode_answer(errno)).unwrap_or_default();
        matches!(self.stream.write(&frame), Ok(length) if length == frame.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::LogTargets;

    fn client() -> (Client, UnixStream) {
        let (stream, far) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let decoder = FrameDecoder::new();
        (Client { stream, decoder, watched: Watched::new(7, 0), gone: false }, far)
    }

    #[test]
    fn nonsense_ends_the_connection_and_nothing_else() {
        for bytes in [&b"junkjunkjunkjunk"[..], &encode_frame(&[0; 5000]).unwrap()[..12]] {
            let (mut client, _far) = client();
            client.take(bytes);
            assert!(client.gone, "{bytes:?}");
        }
        let (mut client, mut far) = client();
        for byte in encode_frame(b"nonsense").unwrap() {
            assert!(client.take(&[byte]).is_empty());
        }
        let mut answer = [0; 64];
        let length = far.read(&mut answer).unwrap();
        assert_eq!(answer[..length], encode_frame(&encode_answer(22)).unwrap());
        assert!(!client.gone);
    }

    #[test]
    fn one_that_reads_no_answers_is_given_up() {
        let (mut client, _far) = client();
        let frame = encode_frame(b"nonsense").unwrap();
        let given_up = (0..1_000_000).any(|_| {
            client.take(&frame);
            client.gone
        });
        assert!(given_up);
    }

    #[test]
    fn lines_of_programs_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let log_file = Some(folder.path().join("log"));
        let targets = LogTargets { log_file, ..LogTargets::none("apphbd") };
        let logger = Logger::direct(targets);
        let mut watcher = Watcher::new(logger, Watchdog::default(), 1000);
        for _ in 0..1000 {
            watcher.say([(LogLevel::Warning, "hangup".to_owned())]);
        }
        let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
        assert!(text.lines().count() <= LINES_MAX as usize, "{}", text.lines().count());
    }
}
