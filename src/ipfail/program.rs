//! The program around the decisions: one connection, one loop, no threads but the log's.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::decide::Decider;
use super::event::{Effect, Event, Facts, STEADY_FIELD};
use super::start::{self, WalkError};
use crate::ipc::client::{Client, ClientError};
use crate::log::Logger;
use crate::sys::time::monotonic_ms;
use crate::types::LogLevel;
use crate::wire::message::Message;

/// The daemon starts a client that ends so never again (`respawn`, messaging spec 7.5).
pub(super) const EXIT_NEVER_AGAIN: u8 = 100;
/// The daemon is gone. The original ends so when it notices, which is with its next question.
pub(super) const EXIT_CONNECTION_LOST: u8 = 16;
/// The program cannot wait for signals.
const EXIT_SYSTEM: u8 = 19;

/// A daemon that stops closes the connection and sends SIGTERM; which of both is first is chance.
const SIGNAL_PATIENCE_MS: u16 = 500;
/// Longest wait for the log at the end.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// In which way it runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// The ping nodes that count; all when empty.
    pub hosts: Vec<String>,
    /// See [`super::Settings::dampening_ms`].
    pub dampening_ms: Option<u64>,
    /// Shown with each new number of ping nodes: a name, and what the number is multiplied by.
    pub attribute: Option<(String, u64)>,
    /// Lines go on to standard error while it runs.
    pub verbose: bool,
    /// The user to become where root is not let in.
    pub may_become: Option<&'static str>,
}

/// Runs until a signal (SIGTERM, SIGINT) or the end of the daemon. The value is the exit code: 0 after
/// a signal, 100 where there is nothing to do and a new start would not help, else why it ended
/// (ipfail(8)). The logger should be a direct one, which this takes to the background.
pub fn run(program: &Program, socket: &Path, logger: &Logger) -> u8 {
    let Ok(signals) = block_signals() else {
        logger.log(LogLevel::Error, "Cannot set signals up; ending");
        return EXIT_SYSTEM;
    };
    let code = match enter(program, socket, logger) {
        Ok(mut running) => running.until_end(&signals),
        Err(code) => code,
    };
    logger.flush(LOG_LIMIT);
    code
}

fn enter<'a>(program: &'a Program, socket: &Path, logger: &'a Logger) -> Result<Running<'a>, u8> {
    let (mut client, settings) = start::sign_on(program, socket, logger)?;
    let facts = start::first_walk(&mut client, program, &settings.node, logger)?;
    let node = settings.node.clone();
    let mut running = Running { client, decider: Decider::new(settings), program, node, logger };
    let effects = running.decider.handle(monotonic_ms(), &Event::Started, &facts);
    running.carry_out(effects).map_err(|error| start::lost(logger, WALK, &error))?;
    logger.log(LogLevel::Debug, "Waiting for messages...");
    if let Err(error) = logger.go_to_background(program.verbose) {
        logger.log(LogLevel::Warning, &format!("Logging may delay this program: {error}"));
    }
    Ok(running)
}

/// SIGTERM and SIGINT, as something to wait for.
fn block_signals() -> nix::Result<SignalFd> {
    let set: SigSet = [Signal::SIGTERM, Signal::SIGINT].into_iter().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// What the original logs when the daemon gives no list of nodes.
const WALK: &str = "Cannot start node walk";

/// The daemon is of no use any more: the original's line, and why.
struct Lost {
    text: &'static str,
    reason: String,
}

impl Lost {
    fn silent(error: ClientError) -> Self {
        Self { text: "read_hb_msg returned NULL", reason: error.to_string() }
    }
}

struct Running<'a> {
    client: Client,
    decider: Decider,
    program: &'a Program,
    node: String,
    logger: &'a Logger,
}

impl Running<'_> {
    fn until_end(&mut self, signals: &SignalFd) -> u8 {
        loop {
            let timeout_ms = match self.decider.next_ms() {
                Some(due_ms) => i32::try_from(due_ms.saturating_sub(monotonic_ms())).unwrap_or(i32::MAX),
                None => -1,
            };
            let (signalled, readable) = match wait(&self.client, signals, timeout_ms) {
                Ok(seen) => seen,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    self.logger.log(LogLevel::Error, &format!("Cannot wait for messages: {error}"));
                    return EXIT_SYSTEM;
                }
            };
            if signalled {
                return 0;
            }
            let result = if readable { self.client.receive().map_err(Lost::silent) } else { Ok(()) };
            let result = result.and_then(|()| self.read()).and_then(|()| self.tick());
            if let Err(Lost { text, reason }) = result {
                if stopped(signals) {
                    return 0;
                }
                self.logger.log(LogLevel::Error, text);
                self.logger.log(LogLevel::Error, &format!("REASON: {reason}"));
                return EXIT_CONNECTION_LOST;
            }
        }
    }

    /// Handles what has been received, and what was heard while an answer was waited for.
    fn read(&mut self) -> Result<(), Lost> {
        while let Some(message) = self.client.next_event().map_err(Lost::silent)? {
            if let Some(event) = Event::from_message(&message) {
                self.happened(&event)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Lost> {
        match self.decider.next_ms() {
            Some(due_ms) if due_ms <= monotonic_ms() => {
                self.happened(&Event::Tick).and_then(|()| self.read())
            }
            _ => Ok(()),
        }
    }

    fn happened(&mut self, event: &Event) -> Result<(), Lost> {
        let now_ms = monotonic_ms();
        let needs = self.decider.needs(now_ms, event);
        let mut facts = Facts::default();
        if needs.nodes {
            let list = start::node_list(&mut self.client).map_err(|error| match error {
                WalkError::Lost(error) => Lost { text: WALK, reason: error.to_string() },
                WalkError::Refused(reason) => Lost { text: WALK, reason },
            })?;
            facts = start::facts_of(&list, self.program, &self.node);
        }
        if needs.holding {
            facts.holding = start::holding(&mut self.client).map_err(Lost::silent)?;
        }
        let effects = self.decider.handle(now_ms, event, &facts);
        self.carry_out(effects).map_err(Lost::silent)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), ClientError> {
        for effect in effects {
            match effect {
                Effect::Log(level, text) => self.logger.log(level, &text),
                Effect::Steady(count) => self.show_count(count),
                Effect::SendCount { count, steady_ms } => {
                    let message = Message::new("num_ping_nodes").with("src", &self.node);
                    let mut message = message.with("num_ping", &count.to_string());
                    if steady_ms > 0 {
                        message.push_text(STEADY_FIELD, &steady_ms.to_string());
                    }
                    self.send_to_peer(message)?;
                }
                Effect::SendMore => self.send_to_peer(Message::new("you_are_dead"))?,
                Effect::SendBalanced => {
                    self.send_to_peer(Message::new("abort_giveup").with("src", &self.node))?
                }
                Effect::Standby(set) => {
                    let message = Message::new("ask_resources").with("rsc_hold", set.as_str());
                    self.send(&message.with("src", &self.node).with("info", "me"))?;
                }
            }
        }
        Ok(())
    }

    /// While there is no other node nothing is sent, as with the original.
    fn send_to_peer(&mut self, message: Message) -> Result<(), ClientError> {
        match self.decider.peer().map(str::to_owned) {
            Some(peer) => self.send(&message.with("dest", &peer)),
            None => Ok(()),
        }
    }

    fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        self.client.allow_ms(start::ANSWER_MS);
        self.client.send(message)
    }

    /// The original's line, and the value that it would have published.
    fn show_count(&self, count: usize) {
        self.logger.log(LogLevel::Info, &format!("{count} active ping nodes"));
        if let Some((name, multiplier)) = &self.program.attribute {
            let value = (count as u64).saturating_mul(*multiplier);
            self.logger.log(LogLevel::Info, &format!("{name} = {value}"));
        }
    }
}

/// Waits; tells whether a signal came, and whether the socket is readable or gone.
fn wait(client: &Client, signals: &SignalFd, timeout_ms: i32) -> nix::Result<(bool, bool)> {
    let timeout = PollTimeout::try_from(timeout_ms.max(-1)).unwrap_or(PollTimeout::MAX);
    let mut watched =
        [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(client.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, timeout)?;
    let [signalled, readable] = watched.map(|one| one.any().unwrap_or(false));
    Ok((signalled, readable))
}

/// Whether a signal comes within a moment.
fn stopped(signals: &SignalFd) -> bool {
    let mut watched = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, SIGNAL_PATIENCE_MS).is_ok_and(|count| count > 0)
}
