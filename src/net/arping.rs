//! The arping form of `send_arp`: one destination, options of the original's Linux build (agents
//! spec 1.1, "Build B"). Asks who has an address, or announces it once a second.
//!
//! Ethernet only; other links are refused.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::getopt::Options;
use crate::sys::packet::{Framing, PacketSocket};
use crate::sys::print;

use super::announce::resolve;
use super::arp::{self, ArpFields, HardwareAddress, Heard, Operation};
use super::netlink::{Link, Netlink};

/// Exit code of every error.
const ERROR: u8 = 2;
/// Time from one packet to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest `-w` in seconds, a year.
const DEADLINE_MAX_S: u64 = 31_536_000;
/// Any port: nothing is sent there, the kernel only chooses the source address.
const ROUTE_PROBE_PORT: u16 = 1025;

/// Runs it; the value is the exit code.
pub fn run(options: &Options) -> u8 {
    match Arping::from_options(options).and_then(|mut arping| arping.run()) {
        Ok(code) => code,
        Err(Failure { text, code }) => {
            print::error_line(&text);
            code
        }
    }
}

/// What is printed on standard error before it ends.
struct Failure {
    text: String,
    code: u8,
}

fn failure(text: impl Into<String>) -> Failure {
    Failure { text: text.into(), code: ERROR }
}

/// What the options ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mode {
    /// `-D`: is the address in use?
    duplicate_detection: bool,
    /// `-U`, `-A`: tell, and expect no answer.
    unsolicited: bool,
    /// `-A`: replies instead of requests.
    replies: bool,
    /// `-f`, `-D`: the first answer ends it.
    first_answer_ends: bool,
    /// `-b`: never ask one station alone.
    keep_broadcasting: bool,
    quiet: bool,
    /// `-c`; without it, for ever.
    count: Option<u64>,
    /// `-w`
    deadline: Option<Duration>,
}

struct Arping {
    mode: Mode,
    link: Link,
    own: [u8; 6],
    broadcast: [u8; 6],
    destination: Ipv4Addr,
    source: Ipv4Addr,
    answered_by: Option<[u8; 6]>,
    sent: u64,
    sent_broadcast: u64,
    received: u64,
    received_requests: u64,
    received_broadcast: u64,
}

/// Why the waiting ended.
enum Event {
    Due,
    Heard(Heard, bool),
    Interrupted,
    Terminated,
}

impl Arping {
    fn from_options(options: &Options) -> Result<Self, Failure> {
        let mode = Mode {
            duplicate_detection: options.has('D'),
            unsolicited: options.has('U') || options.has('A'),
            replies: options.has('A'),
            first_answer_ends: options.has('f') || options.has('D'),
            keep_broadcasting: options.has('b'),
            quiet: options.has('q'),
            count: number(options, 'c', u64::MAX)?,
            deadline: number(options, 'w', DEADLINE_MAX_S)?.map(Duration::from_secs),
        };
        let device = options.argument('I').unwrap_or("eth0");
        let link = Netlink::open()
            .and_then(|mut netlink| netlink.link(device))
            .map_err(|error| failure(format!("arping: {error}")))?
            .ok_or_else(|| failure(format!("arping: unknown iface {device}")))?;
        if !link.is_up() {
            return Err(failure(format!("Interface \"{device}\" is down")));
        }
        let ethernet = arp::ethernet_address(&link.address)
            .filter(|_| link.hardware_type == arp::HARDWARE_ETHERNET && !link.is_without_arp());
        let Some(own) = ethernet else {
            let code = if mode.duplicate_detection { 0 } else { ERROR };
            return Err(Failure { text: format!("Interface \"{device}\" is not ARPable"), code });
        };
        let address =
            |text: &str| resolve(text).ok_or_else(|| failure(format!("arping: unknown host {text}")));
        let destination = address(options.parameters.first().map_or("", String::as_str))?;
        let given = options.argument('s').map(address).transpose()?;
        let source = source_address(&mode, &link, destination, given)?;
        let broadcast = arp::ethernet_address(&link.broadcast).unwrap_or([0xff; 6]);
        Ok(Self {
            mode,
            link,
            own,
            broadcast,
            destination,
            source,
            answered_by: None,
            sent: 0,
            sent_broadcast: 0,
            received: 0,
            received_requests: 0,
            received_broadcast: 0,
        })
    }

    fn run(&mut self) -> Result<u8, Failure> {
        let refused = |error: io::Error| failure(format!("arping: {error}"));
        let socket =
            PacketSocket::open(Framing::Frame, self.link.index, arp::ETHERTYPE_ARP).map_err(refused)?;
        let signals = blocked_signals().map_err(|error| refused(error.into()))?;
        self.say(&format!("ARPING {} from {} {}", self.destination, self.source, self.link.name));
        let start = Instant::now();
        let mut last_sent = start;
        let mut due = start;
        loop {
            match self.wait(&socket, &signals, due).map_err(refused)? {
                Event::Due => {
                    if self.finished(start) {
                        break;
                    }
                    last_sent = Instant::now();
                    self.send(&socket).map_err(refused)?;
                    if self.mode.unsolicited && self.mode.count == Some(self.sent) {
                        break;
                    }
                    due += INTERVAL;
                }
                Event::Heard(heard, unicast) => {
                    self.take_answer(&heard, unicast, last_sent.elapsed());
                    if self.mode.first_answer_ends {
                        break;
                    }
                }
                Event::Interrupted => break,
                Event::Terminated => return Ok(0),
            }
        }
        self.summary();
        let answered = self.received > 0;
        Ok(match self.mode {
            Mode { duplicate_detection: true, .. } => u8::from(answered),
            Mode { unsolicited: true, .. } => 0,
            _ => u8::from(!answered),
        })
    }

    fn finished(&self, start: Instant) -> bool {
        let late = |deadline: Duration| start.elapsed() > deadline + INTERVAL / 2;
        self.mode.count.is_some_and(|count| self.sent >= count) || self.mode.deadline.is_some_and(late)
    }

    fn send(&mut self, socket: &PacketSocket) -> io::Result<()> {
        let alone = self.answered_by.filter(|_| !self.mode.keep_broadcasting && !self.mode.unsolicited);
        let link_destination = alone.unwrap_or(self.broadcast);
        let operation = if self.mode.replies { Operation::Reply } else { Operation::Request };
        let frame = arp::frame(
            operation,
            &ArpFields {
                link_source: self.own,
                link_destination,
                sender: self.own,
                sender_address: self.source,
                target: if self.mode.replies { self.own } else { link_destination },
                target_address: self.destination,
            },
        );
        socket.send(&[], &frame)?;
        self.sent += 1;
        self.sent_broadcast += u64::from(alone.is_none());
        Ok(())
    }

    /// Until something was heard that concerns us, a signal came, or it is time to send.
    fn wait(&self, socket: &PacketSocket, signals: &SignalFd, due: Instant) -> io::Result<Event> {
        let mut buffer = [0; 256];
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let left_ms = left.as_micros().div_ceil(1000) as i32;
            let mut waiting = [
                PollFd::new(socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            let ready = poll(&mut waiting, PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::ZERO))?;
            if ready == 0 {
                return Ok(Event::Due);
            }
            if let Some(signal) = signals.read_signal()? {
                let interrupted = signal.ssi_signo == Signal::SIGINT as u32;
                return Ok(if interrupted { Event::Interrupted } else { Event::Terminated });
            }
            let Some(received) = socket.receive(&mut buffer, Duration::ZERO)? else { continue };
            let heard = arp::parse(&buffer[..received.length]).filter(|_| !received.outgoing);
            if let Some(heard) = heard.filter(|heard| self.concerns_us(heard)) {
                return Ok(Event::Heard(heard, received.unicast));
            }
        }
    }

    fn concerns_us(&self, heard: &Heard) -> bool {
        let from_there = heard.sender_address == self.destination && heard.sender != self.own;
        let to_us = heard.target_address == self.source && heard.target == self.own;
        let any_target = self.source.is_unspecified() || heard.target_address == self.source;
        from_there && if self.mode.duplicate_detection { any_target } else { to_us }
    }

    fn take_answer(&mut self, heard: &Heard, unicast: bool, since: Duration) {
        self.received += 1;
        self.received_requests += u64::from(heard.operation == Operation::Request);
        self.received_broadcast += u64::from(!unicast);
        self.answered_by = Some(heard.sender);
        let way = if unicast { "Unicast" } else { "Broadcast" };
        let kind = if heard.operation == Operation::Reply { "reply" } else { "request" };
        let mut line =
            format!("{way} {kind} from {} [{}] ", heard.sender_address, HardwareAddress(heard.sender));
        if heard.target_address != self.source {
            line.push_str(&format!("for {} ", heard.target_address));
        }
        let micros = since.as_micros();
        self.say(&format!("{line} {}.{:03}ms", micros / 1000, micros % 1000));
    }

    fn summary(&self) {
        self.say(&format!("Sent {} probes ({} broadcast(s))", self.sent, self.sent_broadcast));
        let mut details = Vec::new();
        if self.received_requests > 0 {
            details.push(format!("{} request(s)", self.received_requests));
        }
        if self.received_broadcast > 0 {
            details.push(format!("{} broadcast(s)", self.received_broadcast));
        }
        let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        self.say(&format!("Received {} response(s){details}", self.received));
    }

    fn say(&self, line: &str) {
        if !self.mode.quiet {
            print::line(line);
        }
    }
}

/// The sender address: given, the destination itself when announcing, none when looking for
/// duplicates, else what the kernel would use towards the destination.
fn source_address(
    mode: &Mode,
    link: &Link,
    destination: Ipv4Addr,
    given: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, Failure> {
    let given = given.or(mode.unsolicited.then_some(destination));
    if mode.duplicate_detection && given.is_none() {
        return Ok(Ipv4Addr::UNSPECIFIED);
    }
    let step = |name: &'static str| move |error: io::Error| failure(format!("{name}: {}", plain(&error)));
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).map_err(step("socket"))?;
    socket.bind_device(Some(link.name.as_bytes())).map_err(step("bind"))?;
    match given {
        Some(source) => {
            socket.bind(&SocketAddr::from((source, 0)).into()).map_err(step("bind"))?;
            Ok(source)
        }
        None => {
            let there = SocketAddrV4::new(destination, ROUTE_PROBE_PORT);
            socket.connect(&there.into()).map_err(step("connect"))?;
            let local = socket.local_addr().map_err(step("getsockname"))?;
            local.as_socket_ipv4().map(|local| *local.ip()).ok_or_else(|| failure("getsockname: no address"))
        }
    }
}

/// The system's text without Rust's addition.
fn plain(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.to_string(), |number| nix::errno::Errno::from_raw(number).desc().to_owned())
}

/// SIGINT ends with the summary; SIGTERM and SIGPIPE end at once.
fn blocked_signals() -> nix::Result<SignalFd> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGPIPE].into_iter().collect();
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

fn number(options: &Options, letter: char, most: u64) -> Result<Option<u64>, Failure> {
    match options.argument(letter) {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(value) if value > 0 && value <= most => Ok(Some(value)),
            _ => Err(failure(format!("arping: -{letter} [{text}] is no number from 1 to {most}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_and_interfaces_are_refused() {
        let run_words = |text: &str| {
            let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
            run(&Options::parse("send_arp", &words, "bfDUAqc:w:s:I:"))
        };
        assert_eq!(run_words("-c 0 10.0.0.1"), ERROR);
        assert_eq!(run_words("-c x 10.0.0.1"), ERROR);
        assert_eq!(run_words("-I no_such_if 10.0.0.1"), ERROR);
        assert!(matches!(run_words("-D -I lo 10.0.0.1"), 0 | ERROR));
    }
}
