//! One client's connection: what came in and is not a whole frame yet, what waits to go out.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::super::codec;
use super::super::frame::FrameDecoder;
use super::super::requests::{Caller, Credentials, FILTER_KEPT};
use super::{Limits, Member};
use crate::wire::message::Message;

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads per poll before other clients get their turn.
const READS_PER_POLL: usize = 4;

/// Lines about one client's wrong requests.
const GRUMBLES_MAX: u32 = 10;

/// What one poll of a connection gave.
pub(super) enum Progress {
    /// Nothing yet.
    Waiting,
    /// A whole message.
    Message(Message),
    /// The connection is over; why.
    Over(String),
}

/// One client.
pub(super) struct Connection {
    stream: UnixStream,
    /// Who it is.
    pub(super) caller: Caller,
    /// Which messages it wants (`setfilter`).
    pub(super) filter: u32,
    /// Sent with each message; 0 for none.
    pub(super) signal: i32,
    /// Which sign-on it was (`client_gen`).
    pub(super) generation: u64,
    /// How many messages its queue may hold.
    pub(super) queue_messages: usize,
    decoder: FrameDecoder,
    queue: VecDeque<Vec<u8>>,
    queue_bytes: usize,
    /// Bytes of the queue's first frame that are out already.
    written: usize,
    since: Instant,
    partial_since: Option<Instant>,
    stalled_since: Option<Instant>,
    closing: Option<String>,
    /// Lines logged about what it did wrong.
    grumbles: u32,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, credentials: Credentials, limits: &Limits) -> Self {
        Self {
            stream,
            caller: Caller { credentials, identity: None },
            filter: FILTER_KEPT,
            signal: 0,
            generation: 0,
            grumbles: 0,
            queue_messages: limits.queue_messages,
            decoder: FrameDecoder::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            written: 0,
            since: Instant::now(),
            partial_since: None,
            stalled_since: None,
            closing: None,
        }
    }

    /// The name it signed on with.
    pub(super) fn id(&self) -> Option<&str> {
        self.caller.identity.as_ref().map(|identity| identity.id.as_str())
    }

    fn is_named(&self) -> bool {
        self.caller.identity.as_ref().is_some_and(|identity| !identity.casual)
    }

    /// For the log.
    pub(super) fn describe(&self) -> String {
        let Credentials { pid, uid, .. } = self.caller.credentials;
        format!("{} (pid {}, uid {uid})", self.id().unwrap_or("not signed on"), pid.unwrap_or(0))
    }

    /// Its name and life, when it is a named client that signed on.
    pub(super) fn member(&self) -> Option<Member> {
        let identity = self.caller.identity.as_ref().filter(|identity| !identity.casual)?;
        Some(Member { name: identity.id.clone(), generation: self.generation })
    }

    /// Logs what it did wrong, the first few times.
    pub(super) fn grumble(&mut self, reason: &str) {
        self.grumbles = self.grumbles.saturating_add(1);
        match self.grumbles.cmp(&GRUMBLES_MAX) {
            Ordering::Less => log::warn!("client {}: {reason}", self.describe()),
            Ordering::Equal => {
                log::warn!("client {}: {reason}; no more lines about this client", self.describe());
            }
            Ordering::Greater => {}
        }
    }

    /// Takes no more requests; over as soon as the queue is out.
    pub(super) fn close_after_queue(&mut self, reason: String) {
        self.closing = Some(reason);
    }

    /// It was told to close.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Why it is over, once it was told to close and nothing waits to go out.
    pub(super) fn closed_reason(&self) -> Option<&str> {
        self.closing.as_deref().filter(|_| self.queue.is_empty())
    }

    /// The other end is closed, whether or not all it sent was read.
    pub(super) fn peer_closed(&self) -> bool {
        let mut descriptors = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut descriptors, PollTimeout::ZERO);
        let seen = descriptors[0].revents().unwrap_or(PollFlags::empty());
        polled.is_ok_and(|count| count > 0) && seen.contains(PollFlags::POLLHUP)
    }

    /// When it has to have got on; `None` when nothing is due.
    pub(super) fn deadline(&self, limits: &Limits, paused: bool) -> Option<Instant> {
        let after = |since: Instant, ms: u64| since + Duration::from_millis(ms);
        let sign_on = self.id().is_none().then(|| after(self.since, limits.sign_on_ms));
        // While it is paused the rest of its frame waits for us, not we for it.
        let frame = self
            .partial_since
            .filter(|_| !paused || !self.is_named())
            .map(|since| after(since, limits.half_frame_ms));
        let stall = self.stalled_since.map(|since| after(since, limits.stall_ms));
        [sign_on, frame, stall].into_iter().flatten().min()
    }

    /// Writes at once what the socket takes and queues the rest. The error is the reason to remove
    /// the client.
    pub(super) fn send(&mut self, frame: &[u8], limits: &Limits) -> Result<(), String> {
        let full = self.queue.len() >= self.queue_messages
            || (!self.queue.is_empty() && self.queue_bytes + frame.len() > limits.queue_bytes_max);
        if full {
            let pid = self.caller.credentials.pid.unwrap_or(0);
            let (length, max) = (self.queue.len(), self.queue_messages);
            return Err(format!("send failed,farside_pid={pid}, sendq length={length}(max is {max})"));
        }
        self.queue_bytes += frame.len();
        self.queue.push_back(frame.to_vec());
        self.write_some().map_err(|error| ended("write", &error))
    }

    /// Writes, then reads up to the next whole message. While something waits to go out no request
    /// is read: who does not take answers gets no more of them. `paused`: nor is one of a named
    /// client.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, paused: bool) -> Progress {
        if let Err(error) = self.poll_write(context) {
            return Progress::Over(ended("write", &error));
        }
        if let Some(reason) = self.closed_reason() {
            return Progress::Over(reason.to_owned());
        }
        if !self.queue.is_empty() || (paused && self.is_named()) {
            return Progress::Waiting;
        }
        self.poll_read(context)
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while !self.queue.is_empty() {
            match self.stream.poll_write_ready(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ready) => ready?,
            }
            self.write_some()?;
        }
        Ok(())
    }

    fn write_some(&mut self) -> io::Result<()> {
        while let Some(frame) = self.queue.front() {
            match self.stream.try_write(&frame[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.stalled_since = None;
                    if self.written >= frame.len() {
                        self.queue_bytes -= frame.len();
                        self.written = 0;
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Progress {
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_PER_POLL {
            match self.decoder.next_frame() {
                Ok(Some(body)) => return self.message(&body),
                Ok(None) => {}
                Err(error) => return Progress::Over(error.to_string()),
            }
            self.note_partial();
            match self.stream.poll_read_ready(context) {
                Poll::Pending => return Progress::Waiting,
                Poll::Ready(Err(error)) => return Progress::Over(ended("read", &error)),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Progress::Over("EOF".into()),
                Ok(count) => self.decoder.push(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Progress::Over(ended("read", &error)),
            }
        }
        context.waker().wake_by_ref();
        Progress::Waiting
    }

    fn message(&mut self, body: &[u8]) -> Progress {
        self.partial_since = None;
        match codec::decode_local(body) {
            Ok(message) => Progress::Message(message),
            Err(error) => Progress::Over(format!("not a message: {error}")),
        }
    }

    fn note_partial(&mut self) {
        if self.decoder.is_partial() {
            self.partial_since.get_or_insert_with(Instant::now);
        } else {
            self.partial_since = None;
        }
    }
}

/// A client that went without reading everything is an ordinary end, too.
fn ended(doing: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "EOF".into(),
        _ => format!("{doing} failed: {error}"),
    }
}
