//! dopd: one connection to the daemon, a socket for DRBD's helpers, and `drbdadm outdate` for the peer.
//! One loop, nothing in it waits: a hanging drbdadm delays its own answer alone.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::outdating::Outdating;
use super::{answer_to, directory, is_name, ANSWER, ASK, FAILED, RESULT, START, TAKEN, UNREACHABLE};
use crate::ipc::client::{Client, ClientError};
use crate::ipc::frame::{encode_frame, FrameDecoder};
use crate::log::Logger;
use crate::types::LogLevel;
use crate::wire::message::Message;
use crate::wire::{decode_local, encode_api};

/// The name that both nodes' programs sign on with.
const CLIENT: &str = "dopd";
/// Most helpers that wait at once; DRBD has one for each resource.
const HELPERS_MAX: usize = 64;
/// Most drbdadm at once; what comes above is answered with "failed".
const CHILDREN_MAX: usize = 16;
/// Longest wait for one answer of the daemon.
const ANSWER_MS: u64 = 60_000;
/// How often running children are looked at.
const CHILD_CHECK_MS: u16 = 20;
/// Longest wait for the log at the end.
const LOG_LIMIT: Duration = Duration::from_secs(2);

const EXIT_SIGN_ON: u8 = 1;
const EXIT_FILTER: u8 = 8;
const EXIT_CONNECTION_LOST: u8 = 16;
const EXIT_SYSTEM: u8 = 19;

/// Runs until a signal (SIGTERM, SIGINT) or the end of the daemon. The value is the exit code.
pub fn run(daemon_socket: &Path, own_socket: &Path, logger: &Logger) -> u8 {
    let code = match enter(daemon_socket, own_socket, logger) {
        Ok(mut running) => running.until_end(),
        Err(code) => code,
    };
    logger.flush(LOG_LIMIT);
    code
}

fn enter<'a>(daemon_socket: &Path, own_socket: &Path, logger: &'a Logger) -> Result<Running<'a>, u8> {
    let failed = |text: &str, reason: &str, code: u8| {
        logger.log(LogLevel::Error, text);
        logger.log(LogLevel::Error, &format!("REASON: {reason}"));
        code
    };
    let set: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    let signals = set
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK));
    let signals = signals.map_err(|error| failed("Cannot set message signal", error.desc(), EXIT_SYSTEM))?;
    logger.log(LogLevel::Debug, &format!("PID={}", std::process::id()));
    logger.log(LogLevel::Debug, "Signing in with heartbeat");
    let signed_on = Client::sign_on_as(daemon_socket, CLIENT, ANSWER_MS);
    let mut client = signed_on
        .map_err(|error| failed("Cannot sign on with heartbeat", &error.to_string(), EXIT_SIGN_ON))?;
    let node = client.welcome().text("node").unwrap_or_default().to_owned();
    logger.log(LogLevel::Debug, &format!("[We are {node}]"));
    logger.log(LogLevel::Debug, "Setting message filter mode");
    client.allow_ms(ANSWER_MS);
    let filtered = client.request("setfilter", &[("fmask", "1")]);
    filtered.map_err(|error| failed("Cannot set filter mode", &error.to_string(), EXIT_FILTER))?;
    let listener = listen(own_socket).map_err(|error| {
        let text = format!("Cannot listen at {}", own_socket.display());
        failed(&text, &error.to_string(), EXIT_SYSTEM)
    })?;
    logger.log(LogLevel::Debug, "Waiting for messages...");
    if let Err(error) = logger.go_to_background(false) {
        logger.log(LogLevel::Warning, &format!("Logging may delay this program: {error}"));
    }
    Ok(Running { client, node, signals, listener, helpers: Vec::new(), children: Vec::new(), logger })
}

/// Only root and the cluster's group may ask: DRBD calls its helper as root.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::DirBuilder::new().mode(0o750).create(directory(path)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => (),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One of DRBD's helpers.
struct Helper {
    stream: UnixStream,
    decoder: FrameDecoder,
    /// What it waits for: peer and resource.
    waits_for: Option<(String, String)>,
}

struct Running<'a> {
    client: Client,
    node: String,
    signals: SignalFd,
    listener: UnixListener,
    helpers: Vec<Helper>,
    children: Vec<Outdating>,
    logger: &'a Logger,
}

impl Running<'_> {
    fn until_end(&mut self) -> u8 {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    self.log(LogLevel::Error, &format!("Cannot wait for messages: {}", error.desc()));
                    return EXIT_SYSTEM;
                }
            };
            if ready[0] {
                return 0;
            }
            let worked = if ready[1] { self.heard() } else { Ok(()) }.and_then(|()| self.serve(&ready[3..]));
            if let Err(error) = worked.and_then(|()| self.reap()) {
                self.log(LogLevel::Error, "read_hb_msg returned NULL");
                self.log(LogLevel::Error, &format!("REASON: {error}"));
                return EXIT_CONNECTION_LOST;
            }
            if ready[2] {
                self.accept();
            }
        }
    }

    /// Which of these has something: signals, daemon, listener, each helper.
    fn wait(&self) -> nix::Result<Vec<bool>> {
        let mut sources: Vec<BorrowedFd<'_>> =
            vec![self.signals.as_fd(), self.client.as_fd(), self.listener.as_fd()];
        sources.extend(self.helpers.iter().map(|helper| helper.stream.as_fd()));
        let mut waiting: Vec<PollFd<'_>> =
            sources.into_iter().map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        let timeout =
            if self.children.is_empty() { PollTimeout::NONE } else { PollTimeout::from(CHILD_CHECK_MS) };
        poll(&mut waiting, timeout)?;
        Ok(waiting.iter().map(|source| source.any().unwrap_or(true)).collect())
    }

    fn log(&self, level: LogLevel, text: &str) {
        self.logger.log(level, text);
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else { return };
        if self.helpers.len() >= HELPERS_MAX || stream.set_nonblocking(true).is_err() {
            // Closed: the helper says that nobody answered.
            return self.log(LogLevel::Warning, "Too many DRBD helpers wait; one was sent away");
        }
        self.helpers.push(Helper { stream, decoder: FrameDecoder::new(), waits_for: None });
    }

    /// Reads what helpers have sent; `ready` says which were there at the last look.
    fn serve(&mut self, ready: &[bool]) -> Result<(), ClientError> {
        for index in (0..ready.len().min(self.helpers.len())).rev().filter(|index| ready[*index]) {
            let mut buffer = [0; 4096];
            let helper = &mut self.helpers[index];
            let question = match helper.stream.read(&mut buffer) {
                Ok(0) => None,
                Ok(count) => {
                    helper.decoder.push(&buffer[..count]);
                    match helper.decoder.next_frame() {
                        Ok(None) => continue,
                        Ok(Some(body)) => decode_local(&body).ok(),
                        Err(_) => None,
                    }
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(_) => None,
            };
            // It hung up, sent nonsense, or asks twice.
            match question.filter(|_| self.helpers[index].waits_for.is_none()) {
                Some(question) => self.asked(index, &question)?,
                None => drop(self.helpers.remove(index)),
            }
        }
        Ok(())
    }

    fn asked(&mut self, index: usize, question: &Message) -> Result<(), ClientError> {
        let field = |name: &str| question.text(name).unwrap_or_default().to_owned();
        let (peer, resource) = (field("outdater_peer"), field("outdater_res"));
        self.log(
            LogLevel::Debug,
            &format!("Got message from ({}). (peer: {peer}, res :{resource})", field("src")),
        );
        if question.kind() != ASK || !is_name(&resource) {
            self.log(LogLevel::Warning, "A DRBD helper asked for something that is no resource");
            self.helpers.remove(index);
            return Ok(());
        }
        let same = |helper: &Helper| helper.waits_for.as_ref().is_some_and(|(_, other)| *other == resource);
        if self.helpers.iter().any(same) {
            self.log(LogLevel::Debug, &format!("one client with {resource} already connected"));
            self.answer(index, TAKEN);
            return Ok(());
        }
        if !self.is_peer(&peer)? {
            self.answer(index, UNREACHABLE);
            return Ok(());
        }
        self.helpers[index].waits_for = Some((peer.clone(), resource.clone()));
        let text = format!("sending start_outdate message to the other node {} -> {peer}", self.node);
        self.log(LogLevel::Info, &text);
        let message = Message::new(START).with("src", &self.node).with("dop_res", &resource);
        self.send(&message.with("dest", &peer))
    }

    /// A node of the cluster that is not this one and is not dead: a dead one never answers.
    fn is_peer(&mut self, peer: &str) -> Result<bool, ClientError> {
        if peer.eq_ignore_ascii_case(&self.node) {
            self.log(LogLevel::Warning, &format!("drbd peer node {peer} is me!"));
            return Ok(false);
        }
        self.client.allow_ms(ANSWER_MS);
        let nodes = self.client.request_list("nodelist", &[])?;
        let of_peer = |entry: &&Message| {
            entry.text("node").is_some_and(|node| node.eq_ignore_ascii_case(peer))
                && entry.text("nodetype") == Some("normal")
        };
        let Some(entry) = nodes.iter().find(of_peer) else {
            self.log(LogLevel::Warning, &format!("drbd peer {peer} was not found"));
            return Ok(false);
        };
        let status = entry.text("st").unwrap_or_default();
        self.log(LogLevel::Debug, &format!("node {peer} found with status {status}"));
        if status == "dead" {
            self.log(LogLevel::Warning, &format!("Cluster node: {peer}: status: dead is not a normal node"));
            return Ok(false);
        }
        Ok(true)
    }

    /// What the daemon has for us.
    fn heard(&mut self) -> Result<(), ClientError> {
        self.client.receive()?;
        self.handle_events()
    }

    fn handle_events(&mut self) -> Result<(), ClientError> {
        while let Some(message) = self.client.next_event()? {
            match message.kind() {
                START => self.outdate(&message)?,
                RESULT => self.ended(&message),
                _ => (),
            }
        }
        Ok(())
    }

    /// The peer wants this node's data to be outdated.
    fn outdate(&mut self, message: &Message) -> Result<(), ClientError> {
        let (Some(asker), Some(resource)) = (message.text("src"), message.text("dop_res")) else {
            return Ok(());
        };
        let (asker, resource) = (asker.to_owned(), resource.to_owned());
        if !is_name(&resource) || self.children.len() >= CHILDREN_MAX {
            self.log(LogLevel::Warning, &format!("{asker} asks to outdate {resource:?}: not done"));
            return self.report(&asker, &resource, FAILED);
        }
        self.log(LogLevel::Debug, &format!("msg_start_outdate: command: drbdadm outdate {resource}"));
        match Outdating::start(resource.clone(), asker.clone()) {
            Ok(outdating) => {
                self.children.push(outdating);
                Ok(())
            }
            Err(error) => {
                self.log(LogLevel::Error, &format!("Cannot run drbdadm outdate {resource}: {error}"));
                self.report(&asker, &resource, FAILED)
            }
        }
    }

    /// Reports those that have ended, or should have.
    fn reap(&mut self) -> Result<(), ClientError> {
        let mut over = Vec::new();
        self.children.retain_mut(|running| match running.poll() {
            None => true,
            Some(exit_code) => {
                over.push((running.asker.clone(), running.resource.clone(), exit_code));
                false
            }
        });
        for (asker, resource, exit_code) in over {
            let code = answer_to(exit_code);
            if code == FAILED {
                let shown = exit_code.map_or("none".to_owned(), |code| code.to_string());
                self.log(
                    LogLevel::Info,
                    &format!("unknown exit code from drbdadm outdate {resource}: {shown}"),
                );
            }
            self.report(&asker, &resource, code)?;
        }
        // Events that came while an answer of the daemon was waited for make no socket readable.
        self.handle_events()
    }

    fn report(&mut self, asker: &str, resource: &str, code: u8) -> Result<(), ClientError> {
        self.log(LogLevel::Info, &format!("sending return code: {code}, {} -> {asker}", self.node));
        let message = Message::new(RESULT)
            .with("dop_value", &code.to_string())
            .with("dop_res", resource)
            .with("src", &self.node);
        self.send(&message.with("dest", asker))
    }

    /// The peer's answer goes to the helper of that resource. An old peer does not name it: then to the
    /// one that has waited longest for that peer.
    fn ended(&mut self, message: &Message) {
        let code = message.text("dop_value").and_then(|value| value.parse().ok()).unwrap_or(UNREACHABLE);
        let (from, resource) = (message.text("src").unwrap_or_default(), message.text("dop_res"));
        self.log(LogLevel::Debug, &format!("msg_outdate_rc: {} {code}", resource.unwrap_or_default()));
        let is_meant = |helper: &Helper| {
            helper.waits_for.as_ref().is_some_and(|(peer, wanted)| {
                peer.eq_ignore_ascii_case(from) && resource.is_none_or(|resource| resource == wanted)
            })
        };
        if let Some(index) = self.helpers.iter().position(is_meant) {
            self.answer(index, code);
        }
    }

    /// Tells a helper and is done with it.
    fn answer(&mut self, index: usize, code: u8) {
        let mut helper = self.helpers.remove(index);
        let message = Message::new(ANSWER).with("src", &self.node).with("dop_value", &code.to_string());
        let frame = encode_api(&message).ok().and_then(|body| encode_frame(&body).ok());
        let sent = frame.is_some_and(|frame| helper.stream.write_all(&frame).is_ok());
        if !sent {
            self.log(LogLevel::Error, "Could not send message to the client");
        }
    }

    fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        self.client.allow_ms(ANSWER_MS);
        self.client.send(message)
    }
}
