//! The daemon's side of the client socket (messaging spec 7.3, 7.4).
//!
//! One value, no tasks of its own, one thread: [`Server::next`] polls the listener and all clients.
//! Nothing here waits for a client: what a client does not read is queued up to a limit, and a
//! client above it is removed.
//!
//! ```text
//! Server::next ─▶ Request ─▶ Server::handle(view) ─▶ replies, or a Demand the daemon settles
//! Server::deliver ─▶ every client whose filter takes the message
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::future::Future as _;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::signal::{kill, Signal};
use nix::sys::stat::{umask, Mode};
use nix::unistd::Pid;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, Sleep};

use super::codec;
use super::frame::encode_frame;
use super::requests::{self, Answer, Caller, CommandRequest, Credentials, Effect, Parameters};
use crate::cluster::view::ClusterView;
use crate::wire::message::Message;

mod connection;
use connection::{Connection, Progress};

/// Bounds of the socket; each says what it is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub clients_max: usize,
    /// How many of them only root gets, so that an administrator always gets through.
    pub reserved_for_root: usize,
    /// A connection that did not sign on by then is closed.
    pub sign_on_ms: u64,
    /// A frame must be complete by then.
    pub half_frame_ms: u64,
    /// A client with a full queue that reads nothing for so long is removed.
    pub stall_ms: u64,
    /// Messages queued per client unless it asks for more (the original's default).
    pub queue_messages: usize,
    /// The most it may ask for.
    pub queue_messages_max: usize,
    /// Bytes queued per client, a single longer message excepted.
    pub queue_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_max: 128,
            reserved_for_root: 8,
            sign_on_ms: 10_000,
            half_frame_ms: 10_000,
            stall_ms: 30_000,
            queue_messages: 64,
            queue_messages_max: 1024,
            queue_bytes_max: 1024 * 1024,
        }
    }
}

/// Names a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What the daemon hears from the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientEvent {
    /// A message to be given to [`Server::handle`].
    Request {
        /// Who.
        client: ClientId,
        /// What, as sent.
        message: Message,
    },
    /// A connection ended, by either side. Requests still open for it need no answer.
    Gone {
        /// Who.
        client: ClientId,
        /// Who it was, when it is a named client that had signed on: the cluster is told
        /// (`hbapi-clstat` `leave`).
        member: Option<Member>,
        /// Process, 0 when unknown.
        pid: i32,
        /// Why: `signoff`, `EOF`, or a sentence, which is in the log already.
        reason: String,
    },
}

/// A named client that signed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Which sign-on since the start of the daemon, from 0: tells two lives of one client apart
    /// (`client_gen`).
    pub generation: u64,
}

impl Member {
    /// What the cluster and the client hear when it joins or leaves, in the original's order of
    /// fields; `state` is `join` or `leave`.
    pub fn announcement(&self, state: &str, node: &str, reason: &str) -> Message {
        Message::new("hbapi-clstat")
            .with("st", state)
            .with("from_id", &self.name)
            .with("to_id", &self.name)
            .with("src", node)
            .with("info", reason)
            .with("client_gen", &self.generation.to_string())
    }
}

/// What [`Server::handle`] cannot settle itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// A person's command; answer it with [`Server::finish_command`].
    Command(CommandRequest),
    /// A named client joined: `hbapi-clstat` `join` is due, then [`Server::send`] of its welcome, as
    /// the original does it in that order.
    Joined {
        /// Who.
        client: ClientId,
        /// Its name and life.
        member: Member,
        /// The reply to its sign-on.
        welcome: Vec<Message>,
    },
    /// A named client's message, `from_id`, `to_id` and `client_gen` already forced; control fields
    /// are due.
    ClusterMessage(Message),
    /// A peer's client is asked for (`query-cstatus`), in the name of the client `from`.
    AskPeer {
        /// The node.
        node: String,
        /// The client's name there.
        client: String,
        /// Who asks.
        from: String,
    },
}

/// The listening socket and all connections.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    directory_gid: u32,
    limits: Limits,
    clients: BTreeMap<ClientId, Connection>,
    next_id: u64,
    /// Where the round of clients goes on, so that a busy one cannot starve the others.
    round: u64,
    gone: VecDeque<ClientEvent>,
    alarm: Pin<Box<Sleep>>,
    accept_paused_until: Option<Instant>,
    /// Sign-ons so far, refused and casual ones too, as the original counts.
    sign_ons: u64,
    /// No message is taken from named clients.
    paused: bool,
}

/// New connections taken per poll; more wait for the next one.
const ACCEPTS_PER_POLL: usize = 64;
/// How long nothing is accepted after accept failed (no descriptors left).
const ACCEPT_PAUSE_MS: u64 = 250;

impl Server {
    /// Listens at `path` with mode 0777 (its directory protects it). A socket file left behind is
    /// replaced: the lock on the pid file says that no other daemon runs. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// When something that is no socket is there (it is left alone), or binding fails.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Self::bind_with(path, Limits::default())
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with(path: &Path, limits: Limits) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
            Ok(_) => {
                let text = format!("{} is no socket and was left untouched; move it away", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let directory_gid = std::fs::metadata(directory)?.gid();
        let listener = bind_for_all(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: path.to_owned(),
            directory_gid,
            limits,
            clients: BTreeMap::new(),
            next_id: 1,
            round: 0,
            gone: VecDeque::new(),
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            accept_paused_until: None,
            sign_ons: 0,
            paused: false,
        })
    }

    /// The group of the socket's directory: what [`Parameters::command_gid`] wants.
    pub fn directory_gid(&self) -> u32 {
        self.directory_gid
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// The names of all clients that signed on.
    pub fn online(&self) -> Vec<&str> {
        self.clients.values().filter_map(Connection::id).collect()
    }

    /// The next thing clients want. Cancel-safe: everything half done is kept in the server. Must
    /// be polled whenever the daemon waits, because it also writes what is queued.
    pub async fn next(&mut self) -> ClientEvent {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Whether messages of clients are held back ([`Server::set_paused`]).
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes no message from named clients until `false` comes: too many of ours are on their way
    /// already (messaging spec 3.5). What they send waits in their sockets.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Answers a request, or says what the daemon has to settle.
    pub fn handle(
        &mut self,
        client: ClientId,
        request: &Message,
        view: &ClusterView,
        parameters: &Parameters,
    ) -> Option<Demand> {
        let caller = self.clients.get(&client)?.caller.clone();
        if caller.identity.is_none() {
            self.forget_namesakes(client, request.text("from_id").unwrap_or(""));
        }
        self.show_requests(client, request);
        let answer = requests::answer(&caller, &self.online(), view, parameters, request);
        if caller.identity.is_none() {
            self.note_sign_on(&caller, request, &answer);
        }
        self.carry_out(client, &caller, &view.local, answer)
    }

    /// Counts a sign-on, and says in the original's words why it was refused.
    fn note_sign_on(&mut self, caller: &Caller, request: &Message, answer: &Answer) {
        if !answer.replies.is_empty() {
            self.sign_ons += 1;
        }
        let Effect::Remove(reason) = &answer.effect else { return };
        let pid = caller.credentials.pid.unwrap_or(0);
        let name = request.text("from_id").unwrap_or("");
        let name: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
        match reason.as_str() {
            "duplicate add request" => log::warn!("duplicate client add request [{name}] [{pid}]"),
            reason if reason.contains("auth") => {
                log::warn!("Client [{name}] pid {pid} failed authorization [{reason}]");
            }
            _ => {}
        }
        log::error!("api_process_registration_msg: cannot add client({name})");
    }

    /// Requests of others, for clients that watch them (treatment `APICALL`).
    fn show_requests(&mut self, from: ClientId, request: &Message) {
        let watchers: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(id, connection)| **id != from && connection.filter & requests::FILTER_API_CALL != 0)
            .map(|(id, _)| *id)
            .collect();
        for client in watchers {
            self.send(client, std::slice::from_ref(request));
        }
    }

    /// Sends the result of a [`Demand::Command`]; a client that left meanwhile is no matter.
    pub fn finish_command(&mut self, client: ClientId, result: Result<(), &str>) {
        self.send(client, &[requests::command_reply(result)]);
    }

    /// Queues messages for one client. An overflow removes it.
    pub fn send(&mut self, client: ClientId, messages: &[Message]) {
        for message in messages {
            match encode_frame(&codec::encode_api(message)) {
                Ok(frame) => self.send_frame(client, &frame),
                Err(error) => log::error!("message to a client not sent: {error}"),
            }
        }
    }

    /// Hands a message to every client whose filter takes it; with `to_id` only to the client of
    /// that name. `unchanged` marks a state report that says nothing new.
    pub fn deliver(&mut self, message: &Message, unchanged: bool) {
        let bit = match message.kind() {
            _ if unchanged => requests::FILTER_UNCHANGED,
            "NS_st" => requests::FILTER_KEPT,
            kind if kind.starts_with("NS_") => requests::FILTER_PROTOCOL,
            _ => requests::FILTER_KEPT,
        };
        self.deliver_for(message, bit);
    }

    /// Some client's filter has this bit.
    pub fn is_wanted(&self, bit: u32) -> bool {
        self.clients.values().any(|connection| connection.filter & bit != 0)
    }

    /// Hands a message to every client whose filter has this bit; with `to_id` only to the client of
    /// that name.
    pub fn deliver_for(&mut self, message: &Message, bit: u32) {
        let to_id = message.text("to_id");
        let takers: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, connection)| connection.filter & bit != 0)
            .filter(|(_, connection)| connection.id().is_some_and(|id| to_id.is_none_or(|to_id| to_id == id)))
            .map(|(id, _)| *id)
            .collect();
        if takers.is_empty() {
            return;
        }
        match encode_frame(&codec::encode_api(message)) {
            Ok(frame) => {
                for client in takers {
                    self.send_frame(client, &frame);
                    self.signal(client);
                }
            }
            Err(error) => log::error!("message not delivered to clients: {error}"),
        }
    }

    fn carry_out(
        &mut self,
        client: ClientId,
        caller: &Caller,
        local: &str,
        answer: Answer,
    ) -> Option<Demand> {
        let from = caller.identity.as_ref().map(|identity| identity.id.clone()).unwrap_or_default();
        let limits = self.limits.clone();
        let sign_ons = self.sign_ons;
        let connection = self.clients.get_mut(&client)?;
        let mut replies = answer.replies;
        let mut demand = None;
        match answer.effect {
            Effect::None => {}
            Effect::SignOn(identity) => {
                connection.generation = sign_ons.saturating_sub(1);
                connection.caller.identity = Some(identity);
                demand = connection.member().map(|member| {
                    let welcome = std::mem::take(&mut replies);
                    Demand::Joined { client, member, welcome }
                });
            }
            Effect::SignOff => {
                let farewell = connection.member().map(|it| it.announcement("leave", local, "signoff"));
                self.send(client, farewell.as_slice());
                self.remove(client, "signoff");
            }
            Effect::Filter(mask) => connection.filter = mask,
            Effect::Signal(signal) => connection.signal = signal,
            Effect::QueueLength(length) => {
                connection.queue_messages = length.clamp(1, limits.queue_messages_max);
                let length = connection.queue_messages;
                log::info!("the send queue length from heartbeat to client {from} is set to {length}");
            }
            Effect::Command(command) => demand = Some(Demand::Command(command)),
            Effect::AskPeer { node, client } => demand = Some(Demand::AskPeer { node, client, from }),
            Effect::ClusterMessage(mut message) => {
                message.set_text("client_gen", &connection.generation.to_string());
                demand = Some(Demand::ClusterMessage(message));
            }
            Effect::Ignored(reason) => connection.grumble(&reason),
            Effect::Remove(reason) => {
                if reason == "badclient" {
                    log::info!("api_process_request: general message from casual client!");
                }
                connection.close_after_queue(reason);
            }
        }
        self.send(client, &replies);
        self.close_if_done(client);
        demand
    }

    /// A program that left and at once signs on again must not find its old connection in the way.
    fn forget_namesakes(&mut self, newcomer: ClientId, id: &str) {
        let left = |(other, connection): (&ClientId, &Connection)| {
            (*other != newcomer && connection.id() == Some(id) && connection.peer_closed()).then_some(*other)
        };
        if let Some(other) = self.clients.iter().find_map(left) {
            self.remove(other, "EOF");
        }
    }

    fn send_frame(&mut self, client: ClientId, frame: &[u8]) {
        let Some(connection) = self.clients.get_mut(&client) else { return };
        if let Err(reason) = connection.send(frame, &self.limits) {
            self.remove(client, &reason);
        }
    }

    /// The signal a client wanted with every message. Only while its process still belongs to the
    /// same user: the number may be another process's by now.
    fn signal(&self, client: ClientId) {
        let Some(connection) = self.clients.get(&client) else { return };
        let Credentials { pid: Some(pid), uid, .. } = connection.caller.credentials else { return };
        let Ok(signal) = Signal::try_from(connection.signal) else { return };
        let same = std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|process| process.uid() == uid);
        if pid > 1 && same {
            // a process that just ended is found at the next read
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn remove(&mut self, client: ClientId, reason: &str) {
        let Some(connection) = self.clients.remove(&client) else { return };
        let ordinary = matches!(reason, "EOF" | "signoff") || connection.is_closing();
        if !ordinary {
            log::error!("client {} is disconnected: {reason}", connection.describe());
        }
        let member = connection.member();
        let pid = connection.caller.credentials.pid.unwrap_or(0);
        self.gone.push_back(ClientEvent::Gone { client, member, pid, reason: reason.to_owned() });
    }

    fn close_if_done(&mut self, client: ClientId) {
        let done = self.clients.get(&client).and_then(Connection::closed_reason).map(str::to_owned);
        if let Some(reason) = done {
            self.remove(client, &reason);
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<ClientEvent> {
        loop {
            if let Some(event) = self.gone.pop_front() {
                return Poll::Ready(event);
            }
            self.poll_accept(context);
            if let Some(event) = self.poll_clients(context) {
                return Poll::Ready(event);
            }
            if self.gone.is_empty() && self.poll_deadlines(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) {
        if self.accept_paused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.accept_paused_until = None;
        for _ in 0..ACCEPTS_PER_POLL {
            match self.listener.poll_accept(context) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, _))) => self.admit(stream),
                Poll::Ready(Err(error)) => {
                    log::error!("cannot accept a client: {error}; trying again in {ACCEPT_PAUSE_MS} ms");
                    self.accept_paused_until = Some(Instant::now() + Duration::from_millis(ACCEPT_PAUSE_MS));
                    return;
                }
            }
        }
        context.waker().wake_by_ref();
    }

    /// Takes a connection, or closes it when all places are taken. A new one drives out the oldest
    /// that has not signed on yet.
    fn admit(&mut self, stream: UnixStream) {
        // a peer that is gone already
        let Ok(peer) = stream.peer_cred() else { return };
        let credentials = Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() };
        let reserved = if credentials.uid == 0 { 0 } else { self.limits.reserved_for_root };
        if self.clients.len() >= self.limits.clients_max.saturating_sub(reserved) {
            let stranger = self.clients.iter().find(|(_, connection)| connection.id().is_none());
            let Some((oldest, _)) = stranger else {
                log::warn!("too many clients: connection of uid {} refused", credentials.uid);
                return;
            };
            let oldest = *oldest;
            self.remove(oldest, "made room for another client");
        }
        let id = ClientId(self.next_id);
        self.next_id += 1;
        self.clients.insert(id, Connection::new(stream, credentials, &self.limits));
    }

    fn poll_clients(&mut self, context: &mut Context<'_>) -> Option<ClientEvent> {
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        let first = ids.partition_point(|id| id.0 <= self.round);
        for id in ids[first..].iter().chain(&ids[..first]) {
            let Some(connection) = self.clients.get_mut(id) else { continue };
            match connection.poll(context, self.paused) {
                Progress::Waiting => {}
                Progress::Message(message) => {
                    self.round = id.0;
                    return Some(ClientEvent::Request { client: *id, message });
                }
                Progress::Over(reason) => self.remove(*id, &reason),
            }
        }
        None
    }

    /// Removes who is late; ready when somebody was, or when accepting may go on.
    fn poll_deadlines(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (limits, paused) = (&self.limits, self.paused);
        let late = self.clients.iter().filter_map(|(id, c)| Some((c.deadline(limits, paused)?, *id))).min();
        let next = late.map(|(at, _)| at).into_iter().chain(self.accept_paused_until).min();
        let Some(next) = next else { return Poll::Pending };
        if self.alarm.deadline() != next {
            self.alarm.as_mut().reset(next);
        }
        std::task::ready!(self.alarm.as_mut().poll(context));
        if let Some((at, id)) = late {
            if at <= Instant::now() {
                self.remove(id, "noinput: too slow");
            }
        }
        Poll::Ready(())
    }
}

/// A socket that everybody may connect to. The mode comes with the bind: a later chmod by name could be led
/// elsewhere by a link. The umask is one for the whole process, so that two binds must not meet.
fn bind_for_all(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    static UMASK: Mutex<()> = Mutex::new(());
    let _alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = umask(Mode::empty());
    let bound = std::os::unix::net::UnixListener::bind(path);
    umask(before);
    bound
}

#[cfg(test)]
mod tests;
