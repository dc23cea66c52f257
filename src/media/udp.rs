//! What the UDP media share: a sender per medium, a receiver per device, address and port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::socket::{recvfrom, SockaddrStorage};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::report::Reporter;
use super::watch::Changes;
use crate::log::LogLine;
use crate::sys::interface::{Addresses, InterfaceProbe};
use crate::sys::readable::watch;
use crate::types::{LinkName, LogLevel};

/// Receive queue asked for, as the original's IPv6 media do; the kernel may give less.
const RECEIVE_QUEUE_BYTES: usize = 1024 * 1024;

/// Receive errors passed over in one go before the others get their turn.
const RECEIVE_ERRORS_MAX: usize = 16;

/// Failures in a row after which the original keeps silent.
const FAILURES_REPORTED: u64 = 10;

/// Opens a sending socket for a device with this index and these addresses.
pub(super) type Open = dyn Fn(u32, &Addresses) -> Result<Sender, Fault> + Send;

/// What a medium of one kind needs.
pub(super) struct Plan {
    pub(super) receive: ReceivePlan,
    pub(super) device: String,
    /// Whether the device's addresses matter; a change of them opens the medium anew.
    pub(super) by_address: bool,
    pub(super) open: Box<Open>,
    /// Logged when the medium has been opened.
    pub(super) started: Vec<LogLine>,
    /// Logged when it is closed at the end.
    pub(super) closed: Option<LogLine>,
    /// What is missing when the device is.
    pub(super) device_missing: String,
}

impl Plan {
    fn look_up(&self, probe: &InterfaceProbe) -> io::Result<(u32, Addresses)> {
        let index = probe.index(&self.device)?;
        let addresses = match self.by_address {
            true => probe.addresses(&self.device)?,
            false => Addresses { address: None, broadcast: None },
        };
        Ok((index, addresses))
    }
}

/// What identifies a receiving socket; media with equal plans share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceivePlan {
    pub(super) device: String,
    /// What is bound to: a multicast group, or the unspecified address of a family for everything
    /// that comes to the port.
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) reuse_port: bool,
}

/// An open sending socket.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) socket: Socket,
    pub(super) to: SocketAddr,
    /// Flags of send(2) for each packet.
    pub(super) flags: i32,
}

/// Why a medium cannot be opened now: the line to log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

impl Fault {
    pub(super) fn new(word: &str, device: &str, step: &str, cause: &io::Error) -> Self {
        Self(format!("glib: {word}: {step} on {device}: {cause}"))
    }
}

/// One medium's sending side.
pub(super) struct UdpMedium {
    word: &'static str,
    pub(super) link: LinkName,
    plan: Plan,
    sender: Option<Sender>,
    opened_for: Option<(u32, Addresses)>,
    fault: Option<Fault>,
    failures: u64,
    discarded: u64,
    /// Something failed, or nothing was tried yet: look at the device in the next round.
    suspicious: bool,
}

impl std::fmt::Debug for UdpMedium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?} {:?}", self.word, self.link, self.sender, self.fault)
    }
}

impl UdpMedium {
    pub(super) fn new(word: &'static str, link: LinkName, plan: Plan) -> Self {
        Self {
            word,
            link,
            plan,
            sender: None,
            opened_for: None,
            fault: None,
            failures: 0,
            discarded: 0,
            suspicious: true,
        }
    }

    pub(super) fn closed_line(&self) -> Option<LogLine> {
        self.sender.as_ref().and(self.plan.closed.clone())
    }

    /// Sends without waiting; `false` when the packet was dropped.
    pub(super) fn send(&mut self, packet: &[u8], reporter: &mut Reporter) -> bool {
        let Some(sender) = &self.sender else {
            self.discarded += 1;
            return false;
        };
        let to = sender.to.into();
        let result = loop {
            match sender.socket.send_to_with_flags(packet, &to, sender.flags) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match result {
            Ok(_) => self.note_success(reporter),
            Err(error) => self.note_failure(&error, packet.len(), reporter),
        }
        self.failures == 0
    }

    fn note_success(&mut self, reporter: &mut Reporter) {
        if self.discarded > 0 {
            let (count, word, link) = (self.discarded, self.word, &self.link);
            reporter.report(&format!("{word} {link} works"), LogLevel::Warning, || {
                format!("{count} messages discarded due to write errors on {word} {link}")
            });
        }
        self.failures = 0;
        self.discarded = 0;
    }

    fn note_failure(&mut self, error: &io::Error, length: usize, reporter: &mut Reporter) {
        self.failures += 1;
        self.discarded += 1;
        self.suspicious = true;
        let (word, link) = (self.word, &self.link);
        let kind = format!("{word} {link} fails");
        if self.failures <= FAILURES_REPORTED {
            reporter.report(&kind, LogLevel::Error, || match error.kind() {
                io::ErrorKind::WouldBlock => format!("Write timeout on {word} {link}."),
                _ => format!("glib: {word}: cannot send packet(len={length}) on {link}: {error}"),
            });
        } else if self.failures == FAILURES_REPORTED + 1 {
            reporter.report_all(
                &format!("{word} {link} silent"),
                vec![
                    (LogLevel::Warning, "Temporarily Suppressing write error messages".to_owned()),
                    (LogLevel::Warning, format!("Is a cable unplugged on {word} {link}?")),
                ],
            );
        }
    }

    /// Opens, reopens or closes, as the device demands.
    pub(super) fn maintain(&mut self, probe: &InterfaceProbe, changes: &Changes, reporter: &mut Reporter) {
        let known = self.opened_for.map(|(index, _)| index);
        let gone = known.is_some_and(|index| !probe.is_named(index, &self.plan.device));
        let retry = self.sender.is_none() && known.is_some();
        if !(gone || retry || self.suspicious || changes.concern(&self.plan.device, known)) {
            return;
        }
        self.suspicious = false;
        let found = match self.plan.look_up(probe) {
            Ok(found) => found,
            Err(_) => {
                self.sender = None;
                self.opened_for = None;
                let text = self.plan.device_missing.clone();
                self.set_fault(Fault(text), reporter);
                return;
            }
        };
        if self.sender.is_some() && self.opened_for == Some(found) {
            return;
        }
        self.opened_for = Some(found);
        match (self.plan.open)(found.0, &found.1) {
            Ok(sender) => {
                self.sender = Some(sender);
                self.fault = None;
                self.failures = 0;
                let kind = format!("{} {} started", self.word, self.link);
                reporter.report_all(&kind, self.plan.started.clone());
            }
            Err(fault) => {
                self.sender = None;
                self.set_fault(fault, reporter);
            }
        }
    }

    fn set_fault(&mut self, fault: Fault, reporter: &mut Reporter) {
        if self.fault.as_ref() != Some(&fault) {
            let kind = format!("{} {} cannot open", self.word, self.link);
            reporter.report(&kind, LogLevel::Error, || fault.0.clone());
        }
        self.fault = Some(fault);
    }
}

/// One receiving socket.
#[derive(Debug)]
pub(super) struct Receiver {
    plan: ReceivePlan,
    pub(super) link: LinkName,
    /// Registered for reading alone: that it can be written to again is no news.
    socket: Option<AsyncFd<OwnedFd>>,
    opened_for: Option<u32>,
    fault: Option<Fault>,
    /// Nothing was tried yet.
    first: bool,
}

impl Receiver {
    pub(super) fn new(plan: ReceivePlan, link: LinkName) -> Self {
        Self { plan, link, socket: None, opened_for: None, fault: None, first: true }
    }

    /// Whether a medium with this plan hears through this receiver. Plans that differ in
    /// `reuse_port` only would see the same packets twice.
    pub(super) fn serves(&self, plan: &ReceivePlan) -> bool {
        let own = &self.plan;
        (&own.device, own.address, own.port) == (&plan.device, plan.address, plan.port)
    }

    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        reporter: &mut Reporter,
    ) -> Poll<(usize, SocketAddr)> {
        for _ in 0..RECEIVE_ERRORS_MAX {
            let Some(socket) = &self.socket else {
                return Poll::Pending;
            };
            let mut guard = match socket.poll_read_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(error)) => {
                    self.note_error(&error, reporter);
                    continue;
                }
            };
            match receive(guard.get_inner(), buffer) {
                Ok(Some(received)) => return Poll::Ready(received),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(errno) => self.note_error(&errno.into(), reporter),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    pub(super) fn try_receive(
        &mut self,
        buffer: &mut [u8],
        reporter: &mut Reporter,
    ) -> Option<(usize, SocketAddr)> {
        for _ in 0..RECEIVE_ERRORS_MAX {
            let socket = self.socket.as_ref()?;
            match receive(socket.get_ref(), buffer) {
                Ok(Some(received)) => return Some(received),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(errno) => self.note_error(&errno.into(), reporter),
            }
        }
        None
    }

    /// A socket that reports an error that is not about one packet is opened anew at the next
    /// look.
    fn note_error(&mut self, error: &io::Error, reporter: &mut Reporter) {
        let about_a_packet = matches!(
            error.raw_os_error().map(Errno::from_raw),
            Some(
                Errno::EINTR
                    | Errno::ECONNREFUSED
                    | Errno::EHOSTUNREACH
                    | Errno::ENETUNREACH
                    | Errno::EMSGSIZE
            )
        );
        if !about_a_packet {
            self.socket = None;
            let link = &self.link;
            reporter.report(&format!("receive {link}"), LogLevel::Error, || {
                format!("glib: cannot receive on {link}: {error}. Opening it anew")
            });
        }
    }

    /// Opens, reopens or closes, as the device demands.
    pub(super) fn maintain(&mut self, probe: &InterfaceProbe, changes: &Changes, reporter: &mut Reporter) {
        let device = &self.plan.device;
        let gone = self.opened_for.is_some_and(|index| !probe.is_named(index, device));
        let retry = self.socket.is_none() && self.opened_for.is_some();
        if !(self.first || gone || retry || changes.concern(device, self.opened_for)) {
            return;
        }
        self.first = false;
        let Ok(index) = probe.index(device) else {
            self.socket = None;
            self.opened_for = None;
            return;
        };
        if self.socket.is_some() && self.opened_for == Some(index) {
            return;
        }
        // The old socket first: it may hold the port.
        self.socket = None;
        self.opened_for = Some(index);
        match open_receiver(&self.plan, index) {
            Ok(socket) => {
                self.socket = Some(socket);
                self.fault = None;
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    let kind = format!("cannot open receiver {}", self.link);
                    reporter.report(&kind, LogLevel::Error, || fault.0.clone());
                }
                self.fault = Some(fault);
            }
        }
    }
}

/// One datagram; `None` when it tells no sender.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<(usize, SocketAddr)>, Errno> {
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), buffer)?;
    let from = from.and_then(|from| {
        let v4 = from.as_sockaddr_in().map(|from| SocketAddr::V4((*from).into()));
        v4.or_else(|| from.as_sockaddr_in6().map(|from| SocketAddr::V6((*from).into())))
    });
    Ok(from.map(|from| (length, from)))
}

/// A UDP socket that neither waits nor passes to children.
pub(super) fn new_socket() -> io::Result<Socket> {
    socket_of(Domain::IPV4)
}

/// The same for IPv6. It takes no part in IPv4, for which there are media of its own.
pub(super) fn new_socket6() -> io::Result<Socket> {
    let socket = socket_of(Domain::IPV6)?;
    socket.set_only_v6(true)?;
    Ok(socket)
}

fn socket_of(family: Domain) -> io::Result<Socket> {
    let socket = Socket::new(family, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// SO_REUSEPORT came with Linux 3.9; before, the media work without it.
pub(super) fn reuse_port_if_known(socket: &Socket) -> io::Result<()> {
    match socket.set_reuse_port(true) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOPROTOOPT as i32) => Ok(()),
        other => other,
    }
}

fn open_receiver(plan: &ReceivePlan, index: u32) -> Result<AsyncFd<OwnedFd>, Fault> {
    let failed = |step: &'static str| {
        move |cause: io::Error| Fault(format!("glib: cannot receive on {}: {step}: {cause}", plan.device))
    };
    let socket = if plan.address.is_ipv4() { new_socket() } else { new_socket6() };
    let socket = socket.map_err(failed("socket"))?;
    socket.set_reuse_address(true).map_err(failed("SO_REUSEADDR"))?;
    if plan.reuse_port {
        reuse_port_if_known(&socket).map_err(failed("SO_REUSEPORT"))?;
    }
    let _ = socket.set_recv_buffer_size(RECEIVE_QUEUE_BYTES);
    let device = Some(plan.device.as_bytes());
    let address = match plan.address {
        IpAddr::V4(address) => {
            // Else it also hears the groups that other sockets have joined (IP_MULTICAST_ALL, ip(7)).
            let _ = socket.set_multicast_all_v4(false);
            if address == Ipv4Addr::UNSPECIFIED {
                socket.bind_device(device).map_err(failed("SO_BINDTODEVICE"))?;
            } else {
                let interface = InterfaceIndexOrAddress::Index(index);
                socket.join_multicast_v4_n(&address, &interface).map_err(failed("IP_ADD_MEMBERSHIP"))?;
            }
            SocketAddr::V4(SocketAddrV4::new(address, plan.port))
        }
        IpAddr::V6(address) => {
            // Since Linux 4.20; before, a packet to a group may come twice, which harms nothing.
            let _ = socket.set_multicast_all_v6(false);
            // Without this it would hear the same group from other devices, too.
            socket.bind_device(device).map_err(failed("SO_BINDTODEVICE"))?;
            if address != Ipv6Addr::UNSPECIFIED {
                socket.join_multicast_v6(&address, index).map_err(failed("IPV6_JOIN_GROUP"))?;
            }
            let scope = if address == Ipv6Addr::UNSPECIFIED { 0 } else { index };
            SocketAddr::V6(SocketAddrV6::new(address, plan.port, 0, scope))
        }
    };
    socket.bind(&address.into()).map_err(failed("bind"))?;
    watch(socket.into()).map_err(failed("registering"))
}
