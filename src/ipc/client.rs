//! A blocking client of the socket (messaging spec 7.4). For short-lived tools: one time limit for
//! everything together, so that no tool hangs on a daemon that does not answer. For named clients
//! that stay (`ipfail`): the limit is set anew for each request, and events that come between a
//! request and its reply are kept.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::codec;
use super::frame::{encode_frame, FrameDecoder, FrameError};
use super::requests::{REQUEST, RESPONSE};
use crate::wire::message::Message;

/// Time limit of a tool for everything it asks (as the original's `cl_status`).
pub const TIMEOUT_MS: u64 = 5000;
/// Most replies to one request; more means a broken daemon.
const REPLIES_MAX: usize = 4096;
/// Most events kept for a named client while it waits for one reply.
const EVENTS_MAX: usize = 4096;
/// Pause before a full listen queue is tried again.
const CONNECT_RETRY_MS: u64 = 20;

/// Why a question has no answer. None of these changes anything in the daemon.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("heartbeat is not running on this machine, or has not finished starting (nothing listens at {})", .0.display())]
    NotRunning(PathBuf),
    /// The socket may not be used by this user.
    #[error("no permission to use {}: become root or a member of its directory's group", .0.display())]
    NoPermission(PathBuf),
    /// The daemon refused the sign-on.
    #[error("heartbeat refuses the connection: {0}")]
    Refused(String),
    /// The time limit passed.
    #[error("heartbeat did not answer in time")]
    Timeout,
    /// The daemon closed the connection.
    #[error("heartbeat closed the connection")]
    Closed,
    /// The reply is no frame.
    #[error("heartbeat sent something unreadable: {0}")]
    Frame(#[from] FrameError),
    /// The reply is no message, or lacks a field.
    #[error("heartbeat sent something unreadable: {0}")]
    Unreadable(String),
    /// Anything else.
    #[error("cannot talk to heartbeat: {0}")]
    Io(#[source] io::Error),
}

/// A signed-on connection.
pub struct Client {
    stream: UnixStream,
    decoder: FrameDecoder,
    deadline: Instant,
    destination: String,
    welcome: Message,
    /// `from_id`: the name, or the process number of a casual client.
    identity: String,
    /// Of a named client: events that arrived while a reply was waited for.
    events: Option<VecDeque<Message>>,
}

impl Client {
    /// Connects and signs on as a casual client. `timeout_ms` covers this and all later requests.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing was asked then.
    pub fn sign_on(path: &Path, timeout_ms: u64) -> Result<Self, ClientError> {
        Self::connect_as(path, None, timeout_ms)
    }

    /// Connects and signs on as the named client `name`, which `apiauth` must allow for this user.
    /// `timeout_ms` covers the sign-on; [`Client::allow_ms`] goes before each later request.
    ///
    /// # Errors
    /// Any [`ClientError`]; nothing was asked then.
    pub fn sign_on_as(path: &Path, name: &str, timeout_ms: u64) -> Result<Self, ClientError> {
        Self::connect_as(path, Some(name), timeout_ms)
    }

    fn connect_as(path: &Path, name: Option<&str>, timeout_ms: u64) -> Result<Self, ClientError> {
        let deadline = Instant::now() + Duration::from_millis(timeout_ms);
        let mut client = Self {
            stream: connect(path, deadline)?,
            decoder: FrameDecoder::new(),
            deadline,
            destination: crate::ipc::terminal::host_name().to_ascii_lowercase(),
            welcome: Message::empty(),
            identity: name.map_or_else(|| std::process::id().to_string(), str::to_owned),
            events: name.map(|_| VecDeque::new()),
        };
        let uid = nix::unistd::geteuid().to_string();
        let gid = nix::unistd::getegid().to_string();
        let welcome = client.request("signon", &[("uid", &uid), ("gid", &gid)])?;
        if welcome.text("result") != Some("OK") {
            return Err(ClientError::Refused(welcome.text("info").unwrap_or("no reason given").to_owned()));
        }
        if let Some(node) = welcome.text("node") {
            client.destination = node.to_owned();
        }
        client.welcome = welcome;
        Ok(client)
    }

    /// The reply to the sign-on: `deadtime`, `keepalive`, `node`, `hbversion`.
    pub fn welcome(&self) -> &Message {
        &self.welcome
    }

    /// Sends a request and waits for its reply, whatever its `result`; messages of other kinds in
    /// between are skipped.
    ///
    /// # Errors
    /// Any [`ClientError`] but `Refused`. The connection is of no use afterwards.
    pub fn request(&mut self, kind: &str, fields: &[(&str, &str)]) -> Result<Message, ClientError> {
        self.post(kind, fields)?;
        self.reply(kind)
    }

    /// The same for requests with several replies (`result=ok/more`).
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn request_list(&mut self, kind: &str, fields: &[(&str, &str)]) -> Result<Vec<Message>, ClientError> {
        self.post(kind, fields)?;
        let mut replies = Vec::new();
        while replies.len() < REPLIES_MAX {
            let reply = self.reply(kind)?;
            let more = reply.text("result") == Some("ok/more");
            replies.push(reply);
            if !more {
                return Ok(replies);
            }
        }
        Err(ClientError::Unreadable("a list without an end".into()))
    }

    /// Sends a request without waiting.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn post(&mut self, kind: &str, fields: &[(&str, &str)]) -> Result<(), ClientError> {
        let pid = std::process::id().to_string();
        let mut message = Message::new(REQUEST)
            .with("reqtype", kind)
            .with("dest", &self.destination)
            .with("pid", &pid)
            .with("from_id", &self.identity);
        for (name, value) in fields {
            message.push_text(name, value);
        }
        self.send(&message)
    }

    /// Sends a message as it is. From a named client one that is no request goes to its namesakes in
    /// the cluster, by way of the daemon.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        let frame = encode_frame(&codec::encode_api(message))?;
        let remaining = self.remaining()?;
        self.stream.set_write_timeout(Some(remaining)).map_err(ClientError::Io)?;
        self.stream.write_all(&frame).map_err(classify)
    }

    /// Sets the time limit for what comes next, from now.
    pub fn allow_ms(&mut self, timeout_ms: u64) {
        self.deadline = Instant::now() + Duration::from_millis(timeout_ms);
    }

    /// Takes what the socket holds right now; for a named client whose socket is readable. The
    /// messages come out of [`Client::next_event`], which must be emptied before the next call.
    ///
    /// # Errors
    /// `Closed`, `Io`. The connection is of no use afterwards.
    pub fn receive(&mut self) -> Result<(), ClientError> {
        let mut buffer = [0; 16 * 1024];
        self.stream.set_nonblocking(true).map_err(ClientError::Io)?;
        let result = self.stream.read(&mut buffer);
        self.stream.set_nonblocking(false).map_err(ClientError::Io)?;
        match result {
            Ok(0) => Err(ClientError::Closed),
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                Ok(())
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
                _ => Err(classify(error)),
            },
        }
    }

    /// The next event that is already here; `None` when the socket must be read first. A body that
    /// is no message is skipped, and so is a reply that nobody waits for.
    ///
    /// # Errors
    /// `Frame`. The connection is of no use afterwards.
    pub fn next_event(&mut self) -> Result<Option<Message>, ClientError> {
        if let Some(message) = self.events.as_mut().and_then(VecDeque::pop_front) {
            return Ok(Some(message));
        }
        while let Some(body) = self.decoder.next_frame()? {
            match codec::decode_local(&body) {
                Ok(message) if message.kind() != RESPONSE => return Ok(Some(message)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The next message of any kind, not later than `until` nor the client's own limit.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn next_message(&mut self, until: Instant) -> Result<Message, ClientError> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(body) = self.decoder.next_frame()? {
                return codec::decode_local(&body)
                    .map_err(|error| ClientError::Unreadable(error.to_string()));
            }
            let left = until.saturating_duration_since(Instant::now());
            let remaining = self.remaining()?.min(left);
            if remaining.is_zero() {
                return Err(ClientError::Timeout);
            }
            self.stream.set_read_timeout(Some(remaining)).map_err(ClientError::Io)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => self.decoder.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(classify(error)),
            }
        }
    }

    fn reply(&mut self, kind: &str) -> Result<Message, ClientError> {
        loop {
            let message = self.next_message(self.deadline)?;
            if message.kind() == RESPONSE && message.text("reqtype") == Some(kind) {
                return Ok(message);
            }
            if let Some(events) = self.events.as_mut().filter(|_| message.kind() != RESPONSE) {
                if events.len() >= EVENTS_MAX {
                    return Err(ClientError::Unreadable(format!("{EVENTS_MAX} events and no reply")));
                }
                events.push_back(message);
            }
        }
    }

    fn remaining(&self) -> Result<Duration, ClientError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ClientError::Timeout);
        }
        Ok(left)
    }
}

impl AsFd for Client {
    /// For waiting until it is readable.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Client {
    /// Says goodbye as the original's library does; nobody waits for an answer.
    fn drop(&mut self) {
        let _ = self.post("signoff", &[]);
    }
}

/// A plain connect waits without limit while the daemon's listen queue is full.
fn connect(path: &Path, deadline: Instant) -> Result<UnixStream, ClientError> {
    let address = SockAddr::unix(path).map_err(ClientError::Io)?;
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(ClientError::Io)?;
        socket.set_nonblocking(true).map_err(ClientError::Io)?;
        match socket.connect(&address) {
            Ok(()) => {
                socket.set_nonblocking(false).map_err(ClientError::Io)?;
                return Ok(UnixStream::from(socket));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(CONNECT_RETRY_MS));
                }
                io::ErrorKind::WouldBlock => return Err(ClientError::Timeout),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    return Err(ClientError::NotRunning(path.to_owned()));
                }
                io::ErrorKind::PermissionDenied => return Err(ClientError::NoPermission(path.to_owned())),
                _ => return Err(ClientError::Io(error)),
            },
        }
    }
}

fn classify(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout,
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
        _ => ClientError::Io(error),
    }
}
