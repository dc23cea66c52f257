//! What the ping media share: ICMP echo requests out, our own answers in (RFC 792, RFC 4443).
//!
//! One raw socket per protocol serves all ping nodes. The kernel filters by type and identifier, so
//! that the answers to other programs wake nobody; an answer counts when it comes from a host that
//! was asked and carries back, byte for byte, one of the last payloads sent there. A payload is a
//! signed message (`NS_st`), so nobody without the key can make one up.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::socket::{recvfrom, SockaddrStorage};
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::report::Reporter;
use crate::log::LogLine;
use crate::sys::readable::watch;
use crate::types::{LogLevel, NodeName};

/// Requests per node whose answers still count: with the shortest keepalive of use, 50 ms, that is
/// an answer that took a second and a half.
const OUTSTANDING_MAX: usize = 32;

/// The largest payload; the original reads no more into its buffer (messaging spec 1.6).
const PAYLOAD_MAX_BYTES: usize = 5120 - HEADER_BYTES;

/// Type, code, checksum, identifier, sequence number.
const HEADER_BYTES: usize = 8;

/// Answers passed over in one go before the others get their turn.
const RECEIVE_MAX: usize = 32;

/// Failures in a row after which there is silence about a node.
const FAILURES_REPORTED: u64 = 10;

/// The two versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Icmp,
    Icmp6,
}

impl Protocol {
    fn request_type(self) -> u8 {
        match self {
            Self::Icmp => 8,
            Self::Icmp6 => 128,
        }
    }

    fn reply_type(self) -> u8 {
        match self {
            Self::Icmp => 0,
            Self::Icmp6 => 129,
        }
    }
}

/// What a ping medium needs.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) protocol: Protocol,
    pub(super) node: NodeName,
    pub(super) hosts: Vec<SocketAddr>,
    /// Logged when its socket is open.
    pub(super) started: LogLine,
}

/// One ping node.
#[derive(Debug)]
struct Target {
    word: &'static str,
    plan: Plan,
    /// The newest requests: sequence number and payload.
    outstanding: VecDeque<(u16, Vec<u8>)>,
    next_sequence: u16,
    failures: u64,
    announced: bool,
}

/// All ping nodes and their sockets.
#[derive(Debug)]
pub(super) struct Echo {
    identifier: u16,
    targets: Vec<Target>,
    icmp: EchoSocket,
    icmp6: EchoSocket,
}

impl Echo {
    pub(super) fn new() -> Self {
        // As the original: the process number, cut to the field.
        let identifier = (std::process::id() & 0xffff) as u16;
        let socket = |protocol| EchoSocket { protocol, identifier, socket: None, fault: None, wanted: false };
        Self { identifier, targets: Vec::new(), icmp: socket(Protocol::Icmp), icmp6: socket(Protocol::Icmp6) }
    }

    pub(super) fn add(&mut self, word: &'static str, plan: Plan) {
        self.socket(plan.protocol).wanted = true;
        self.targets.push(Target {
            word,
            plan,
            outstanding: VecDeque::new(),
            next_sequence: 0,
            failures: 0,
            announced: false,
        });
    }

    /// Asks every node once; `payload` makes the signed message for a node (directive, name).
    pub(super) fn send(
        &mut self,
        mut payload: impl FnMut(&'static str, &NodeName) -> Option<Vec<u8>>,
        reporter: &mut Reporter,
    ) {
        for target in &mut self.targets {
            let Some(payload) = payload(target.word, &target.plan.node) else { continue };
            if payload.len() > PAYLOAD_MAX_BYTES {
                continue;
            }
            let socket = match target.plan.protocol {
                Protocol::Icmp => &self.icmp,
                Protocol::Icmp6 => &self.icmp6,
            };
            target.send(socket, self.identifier, payload, reporter);
        }
    }

    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        reporter: &mut Reporter,
    ) -> Poll<NodeName> {
        for socket in [&mut self.icmp, &mut self.icmp6] {
            let mut looked = 0;
            while let Poll::Ready(received) = socket.poll_receive(context, buffer, reporter) {
                let found = received.and_then(|(length, from)| {
                    answered(&mut self.targets, socket.protocol, self.identifier, &buffer[..length], from)
                });
                if let Some(node) = found {
                    return Poll::Ready(node);
                }
                looked += 1;
                if looked == RECEIVE_MAX {
                    context.waker().wake_by_ref();
                    break;
                }
            }
        }
        Poll::Pending
    }

    pub(super) fn try_receive(&mut self, buffer: &mut [u8], reporter: &mut Reporter) -> Option<NodeName> {
        for socket in [&mut self.icmp, &mut self.icmp6] {
            for _ in 0..RECEIVE_MAX {
                let Some((length, from)) = socket.try_receive(buffer, reporter) else { break };
                let protocol = socket.protocol;
                let found = answered(&mut self.targets, protocol, self.identifier, &buffer[..length], from);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// Opens what is needed and not open.
    pub(super) fn maintain(&mut self, reporter: &mut Reporter) {
        for socket in [&mut self.icmp, &mut self.icmp6] {
            socket.maintain(reporter);
        }
        for target in self.targets.iter_mut().filter(|target| !target.announced) {
            let socket = match target.plan.protocol {
                Protocol::Icmp => &self.icmp,
                Protocol::Icmp6 => &self.icmp6,
            };
            target.announced = socket.socket.is_some();
            if target.announced {
                let kind = format!("{} {} started", target.word, target.plan.node);
                reporter.report_all(&kind, vec![target.plan.started.clone()]);
            }
        }
    }

    fn socket(&mut self, protocol: Protocol) -> &mut EchoSocket {
        match protocol {
            Protocol::Icmp => &mut self.icmp,
            Protocol::Icmp6 => &mut self.icmp6,
        }
    }
}

impl Target {
    fn send(&mut self, socket: &EchoSocket, identifier: u16, payload: Vec<u8>, reporter: &mut Reporter) {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        let packet = request(self.plan.protocol, identifier, sequence, &payload);
        // An answer may be there before the call returns.
        if self.outstanding.len() == OUTSTANDING_MAX {
            self.outstanding.pop_front();
        }
        self.outstanding.push_back((sequence, payload));
        let mut error = None;
        let mut sent = false;
        for host in &self.plan.hosts {
            match socket.send(&packet, *host) {
                Ok(()) => sent = true,
                Err(cause) => error = Some(cause),
            }
        }
        match error {
            // A member of a group that cannot be reached is no failure of the group.
            Some(error) if !sent => self.note_failure(&error, reporter),
            _ => self.failures = 0,
        }
    }

    fn note_failure(&mut self, error: &io::Error, reporter: &mut Reporter) {
        self.failures += 1;
        if self.failures <= FAILURES_REPORTED {
            let (word, node) = (self.word, &self.plan.node);
            reporter.report(&format!("{word} {node} fails"), LogLevel::Error, || {
                format!("write_child: write failure on {word} {node}.: {error}")
            });
        }
    }
}

/// The node that a packet shows to be reachable, if it answers a request of ours. An answer counts
/// once; of a group the first.
fn answered(
    targets: &mut [Target],
    protocol: Protocol,
    identifier: u16,
    packet: &[u8],
    from: IpAddr,
) -> Option<NodeName> {
    let (sequence, payload) = parse_reply(protocol, identifier, packet)?;
    targets.iter_mut().find_map(|target| {
        let asked =
            target.plan.protocol == protocol && target.plan.hosts.iter().any(|host| host.ip() == from);
        let answers = |(number, sent): &(u16, Vec<u8>)| *number == sequence && sent == payload;
        let position = target.outstanding.iter().position(answers).filter(|_| asked)?;
        target.outstanding.remove(position);
        Some(target.plan.node.clone())
    })
}

/// An echo request. The kernel fills in the checksum of ICMPv6 (RFC 3542 3.1).
fn request(protocol: Protocol, identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(HEADER_BYTES + payload.len());
    packet.extend([protocol.request_type(), 0, 0, 0]);
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend(payload);
    if protocol == Protocol::Icmp {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Sequence number and payload of an echo reply with our identifier. An IPv4 socket sees the IP
/// header in front of it (raw(7)).
fn parse_reply(protocol: Protocol, identifier: u16, packet: &[u8]) -> Option<(u16, &[u8])> {
    let message = match protocol {
        Protocol::Icmp => {
            let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
            let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            if header_bytes < 20 || fragment != 0 {
                return None;
            }
            packet.get(header_bytes..)?
        }
        Protocol::Icmp6 => packet,
    };
    let (header, payload) = message.split_at_checked(HEADER_BYTES)?;
    let is_ours = header[..2] == [protocol.reply_type(), 0] && header[4..6] == identifier.to_be_bytes();
    is_ours.then(|| (u16::from_be_bytes([header[6], header[7]]), payload))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The raw socket of one protocol.
#[derive(Debug)]
struct EchoSocket {
    protocol: Protocol,
    identifier: u16,
    socket: Option<AsyncFd<OwnedFd>>,
    fault: Option<String>,
    /// Some node needs it.
    wanted: bool,
}

impl EchoSocket {
    fn send(&self, packet: &[u8], to: SocketAddr) -> io::Result<()> {
        let Some(socket) = &self.socket else {
            return Err(io::Error::from(io::ErrorKind::NotConnected));
        };
        let socket = socket2::SockRef::from(socket.get_ref());
        loop {
            match socket.send_to(packet, &to.into()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    /// `None`: nothing of use, but there may be more.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        reporter: &mut Reporter,
    ) -> Poll<Option<(usize, IpAddr)>> {
        let Some(socket) = &self.socket else { return Poll::Pending };
        let mut guard = match socket.poll_read_ready(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(guard)) => guard,
            Poll::Ready(Err(error)) => {
                self.close(&error, reporter);
                return Poll::Pending;
            }
        };
        match receive(guard.get_inner(), buffer) {
            Ok(received) => Poll::Ready(received),
            Err(Errno::EAGAIN) => {
                guard.clear_ready();
                // Asked again, so that the waker is registered.
                Poll::Ready(None)
            }
            Err(errno) => {
                self.close(&errno.into(), reporter);
                Poll::Pending
            }
        }
    }

    fn try_receive(&mut self, buffer: &mut [u8], reporter: &mut Reporter) -> Option<(usize, IpAddr)> {
        for _ in 0..RECEIVE_MAX {
            match receive(self.socket.as_ref()?.get_ref(), buffer) {
                Ok(Some(received)) => return Some(received),
                Ok(None) => {}
                Err(Errno::EAGAIN) => return None,
                Err(errno) => self.close(&errno.into(), reporter),
            }
        }
        None
    }

    /// It is opened anew at the next look.
    fn close(&mut self, error: &io::Error, reporter: &mut Reporter) {
        self.socket = None;
        let protocol = self.protocol;
        reporter.report(&format!("receive {protocol:?}"), LogLevel::Error, || {
            format!("glib: Error receiving from socket: {error}")
        });
    }

    fn maintain(&mut self, reporter: &mut Reporter) {
        if !self.wanted || self.socket.is_some() {
            return;
        }
        match open(self.protocol, self.identifier) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.fault = None;
            }
            Err(error) => {
                let text = format!("glib: Can't open RAW socket.: {error}");
                if self.fault.as_ref() != Some(&text) {
                    let kind = format!("open {:?}", self.protocol);
                    reporter.report(&kind, LogLevel::Error, || text.clone());
                }
                self.fault = Some(text);
            }
        }
    }
}

/// `None`: interrupted, or from no address. Errors that are about one packet sent earlier
/// (ECONNREFUSED and the like) are passed over.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<(usize, IpAddr)>, Errno> {
    match recvfrom::<SockaddrStorage>(socket.as_raw_fd(), buffer) {
        Ok((length, from)) => Ok(from.and_then(|from| address(&from)).map(|from| (length, from))),
        Err(
            Errno::EINTR
            | Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EMSGSIZE
            | Errno::ENOPROTOOPT
            | Errno::EPROTO
            | Errno::EACCES
            | Errno::ENETDOWN,
        ) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn address(from: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
    v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())))
}

fn open(protocol: Protocol, identifier: u16) -> io::Result<AsyncFd<OwnedFd>> {
    let socket = match protocol {
        Protocol::Icmp => Socket::new(Domain::IPV4, Type::RAW, Some(socket2::Protocol::ICMPV4)),
        Protocol::Icmp6 => Socket::new(Domain::IPV6, Type::RAW, Some(socket2::Protocol::ICMPV6)),
    }?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&filter(protocol, identifier))?;
    watch(socket.into())
}

/// Passes echo replies with our identifier. What came before it was attached is judged again in
/// [`parse_reply`].
fn filter(protocol: Protocol, identifier: u16) -> [SockFilter; 7] {
    use libc::{
        BPF_ABS, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
    };
    let instruction = |code: u32, jump_true: u8, jump_false: u8, k: u32| {
        SockFilter::new(code as u16, jump_true, jump_false, k)
    };
    // Where the message begins, in the index register: behind the IP header, or at once.
    let (start, mode) = match protocol {
        Protocol::Icmp => (instruction(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0), BPF_IND),
        Protocol::Icmp6 => (instruction(BPF_LDX | BPF_IMM, 0, 0, 0), BPF_ABS),
    };
    [
        start,
        instruction(BPF_LD | BPF_B | mode, 0, 0, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 3, u32::from(protocol.reply_type())),
        instruction(BPF_LD | BPF_H | mode, 0, 0, 4),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, u32::from(identifier)),
        instruction(BPF_RET | BPF_K, 0, 0, u32::MAX),
        instruction(BPF_RET | BPF_K, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str) -> Target {
        Target {
            word: "ping",
            plan: Plan {
                protocol: Protocol::Icmp,
                node: NodeName::new("gateway").unwrap(),
                hosts: vec![SocketAddr::new(host.parse().unwrap(), 0)],
                started: (LogLevel::Info, String::new()),
            },
            outstanding: VecDeque::from([(7, b"signed".to_vec())]),
            next_sequence: 8,
            failures: 0,
            announced: true,
        }
    }

    /// An answer as a raw socket hands it over.
    fn answer(identifier: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45; 1];
        packet.resize(20, 0);
        packet.extend(request(Protocol::Icmp, identifier, sequence, payload));
        packet[20] = 0;
        packet
    }

    #[test]
    fn only_our_own_answers_count() {
        let mut targets = [target("10.0.0.9")];
        let from: IpAddr = "10.0.0.9".parse().unwrap();
        let mut node = |packet: &[u8], from| {
            answered(&mut targets, Protocol::Icmp, 42, packet, from).map(|n| n.to_string())
        };
        assert_eq!(node(&answer(41, 7, b"signed"), from), None, "another program's identifier");
        assert_eq!(node(&answer(42, 6, b"signed"), from), None, "never asked with this number");
        assert_eq!(node(&answer(42, 7, b"forged"), from), None);
        assert_eq!(node(&answer(42, 7, b"signed!"), from), None);
        assert_eq!(node(&answer(42, 7, b""), from), None);
        assert_eq!(node(&answer(42, 7, b"signed"), "10.0.0.8".parse().unwrap()), None, "a stranger");
        let mut echoed = answer(42, 7, b"signed");
        echoed[20] = 8;
        assert_eq!(node(&echoed, from), None, "a request to us is no answer");
        let mut fragment = answer(42, 7, b"signed");
        fragment[7] = 1;
        assert_eq!(node(&fragment, from), None);
        assert_eq!(node(&answer(42, 7, b"signed"), from), Some("gateway".to_owned()));
        assert_eq!(node(&answer(42, 7, b"signed"), from), None, "a second time");
    }

    #[test]
    fn hostile_bytes_do_not_panic() {
        let mut targets = [target("10.0.0.9")];
        let from: IpAddr = "10.0.0.9".parse().unwrap();
        let good = answer(42, 7, b"signed");
        for protocol in [Protocol::Icmp, Protocol::Icmp6] {
            for length in 0..=good.len() {
                answered(&mut targets, protocol, 42, &good[..length], from);
                for position in 0..length {
                    for value in [0, 0x0f, 0x40, 0x4f, 0xff] {
                        let mut packet = good[..length].to_vec();
                        packet[position] = value;
                        answered(&mut targets, protocol, 42, &packet, from);
                    }
                }
            }
        }
    }

    #[test]
    fn checksum_of_a_request_is_right() {
        let packet = request(Protocol::Icmp, 1, 2, b"odd");
        assert_eq!(checksum(&packet), 0, "the sum over everything");
    }

    #[test]
    fn requests_that_were_forgotten_are_not_answered_any_more() {
        let socket =
            EchoSocket { protocol: Protocol::Icmp, identifier: 42, socket: None, fault: None, wanted: true };
        let mut target = target("10.0.0.9");
        let mut reporter = Reporter::new();
        for _ in 0..OUTSTANDING_MAX {
            target.send(&socket, 42, b"newer".to_vec(), &mut reporter);
        }
        assert_eq!(target.outstanding.len(), OUTSTANDING_MAX);
        let from: IpAddr = "10.0.0.9".parse().unwrap();
        assert_eq!(answered(&mut [target], Protocol::Icmp, 42, &answer(42, 7, b"signed"), from), None);
        assert_eq!(reporter.take_events().len() as u64, FAILURES_REPORTED, "and then silence");
    }
}
