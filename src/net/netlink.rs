//! Route netlink (rtnetlink(7)): links, IPv4 addresses and routes of this host, blocking.
//!
//! Works from 2.6.32 on: no strict checking, no filters, no attribute is sent that the kernel did
//! not show first. Several changes go in one write; the kernel carries them out in order.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

use super::netlink_message::number::*;
use super::netlink_message::{self as message, Builder, Received};

pub use super::netlink_message::{link_header, Attributes};

/// Longest wait for an answer of the kernel, which answers at once unless it is badly ill.
const ANSWER_TIMEOUT_MS: u16 = 10_000;
/// A dump's datagrams are at most 32 KiB (NLMSG_GOODSIZE of any kernel).
const BUFFER_BYTES: usize = 64 * 1024;
/// Most entries taken from one dump: far more addresses and link routes than any host of a pair.
const DUMP_ENTRIES_MAX: usize = 1_000_000;
/// Times a dump is asked for again when messages were lost because the buffer was full.
const DUMP_ATTEMPTS: usize = 3;

/// The main routing table (RT_TABLE_MAIN).
pub const TABLE_MAIN: u32 = 254;
/// The table of the host's own addresses (RT_TABLE_LOCAL).
pub const TABLE_LOCAL: u32 = 255;
/// Directly attached (RT_SCOPE_LINK).
pub const SCOPE_LINK: u8 = 253;
/// On this host (RT_SCOPE_HOST).
pub const SCOPE_HOST: u8 = 254;

/// Address flags that a new address may be given back: neither secondary (0x01), tentative (0x40)
/// nor permanent (0x80), which the kernel decides.
const KEPT_ADDRESS_FLAGS: u32 = !0xc1;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket: nothing was changed.
    #[error("cannot open a netlink socket: {0}")]
    Open(io::Error),
    /// Sending or receiving failed; whether a change was made is not known.
    #[error("netlink: {0}")]
    Transport(io::Error),
    /// The kernel did not answer in ten seconds; whether a change was made is not known.
    #[error("netlink: no answer from the kernel")]
    Timeout,
    /// The kernel refused: nothing was changed.
    #[error("{}", .0.desc())]
    Refused(Errno),
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Kernel index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// ARPHRD_* number: 1 Ethernet, 32 InfiniBand, 772 loopback.
    pub hardware_type: u16,
    /// IFF_* flags.
    pub flags: u32,
    /// Link layer address, 6 bytes on Ethernet; empty when it has none.
    pub address: Vec<u8>,
    /// Link layer broadcast address.
    pub broadcast: Vec<u8>,
}

impl Link {
    /// It is a loopback interface.
    pub fn is_loopback(&self) -> bool {
        self.flags & libc::IFF_LOOPBACK as u32 != 0
    }

    /// It is set up by the administrator (IFF_UP).
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// ARP is not spoken on it (IFF_NOARP).
    pub fn is_without_arp(&self) -> bool {
        self.flags & libc::IFF_NOARP as u32 != 0
    }
}

/// An IPv4 address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of its interface.
    pub interface: u32,
    /// The address.
    pub local: Ipv4Addr,
    /// The other end of a point-to-point link.
    pub peer: Option<Ipv4Addr>,
    /// Prefix length, 0 to 32.
    pub prefix: u8,
    /// Broadcast address.
    pub broadcast: Option<Ipv4Addr>,
    /// Label; the kernel uses the interface's name when none is given.
    pub label: Option<String>,
    /// Scope: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// It shares a network with an older address; removing that one removes this one too.
    pub secondary: bool,
    /// Preferred and valid life time in seconds, unless it lives for ever.
    pub lifetime: Option<[u32; 2]>,
    /// IFA_FLAGS as shown by the kernel (3.14 and later).
    pub extended_flags: Option<u32>,
}

impl Address {
    /// A plain address of global scope, without broadcast or label.
    pub fn new(interface: u32, local: Ipv4Addr, prefix: u8) -> Self {
        Self {
            interface,
            local,
            peer: None,
            prefix,
            broadcast: None,
            label: None,
            scope: 0,
            secondary: false,
            lifetime: None,
            extended_flags: None,
        }
    }

    /// `address` is in this address's network.
    pub fn network_contains(&self, address: Ipv4Addr) -> bool {
        same_network(self.peer.unwrap_or(self.local), address, self.prefix)
    }
}

/// An IPv4 route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Network; 0.0.0.0 with prefix 0 is the default route.
    pub destination: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix: u8,
    /// Table number.
    pub table: u32,
    /// Scope: 0 through a gateway, [`SCOPE_LINK`], [`SCOPE_HOST`].
    pub scope: u8,
    /// RTN_* type: 1 unicast.
    pub kind: u8,
    /// Index of the interface; `None` for blackholes and several next hops.
    pub interface: Option<u32>,
    /// Preferred source address.
    pub source: Option<Ipv4Addr>,
    /// Priority, lower is better.
    pub metric: u32,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds an address; EEXIST when it is there already.
    AddAddress(Address),
    /// Removes an address (local, prefix and interface decide); EADDRNOTAVAIL when it is not there.
    DeleteAddress(Address),
    /// Sets the interface up.
    LinkUp(u32),
    /// Removes the main table's host route to the address through the interface; ESRCH when there
    /// is none.
    DeleteHostRoute(Ipv4Addr, u32),
}

/// A blocking route netlink socket.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket; needs no privilege for reading.
    pub fn open() -> Result<Self, NetlinkError> {
        let open = || -> Result<OwnedFd, Errno> {
            let socket = socket::socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::NetlinkRoute,
            )?;
            socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| NetlinkError::Open(error.into()))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER_BYTES] })
    }

    /// The interface of that name; `None` when there is none.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        match nix::net::if_::if_nametoindex(name) {
            Ok(index) => self.link_at(index),
            Err(_) => Ok(None),
        }
    }

    /// The interface with that index; `None` when there is none.
    pub fn link_at(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let sequence = self.next_sequence();
        let mut request = Builder::default();
        request.message(RTM_GETLINK, 0, sequence, &message::link_header(index, 0, 0));
        self.send(&request)?;
        let mut found = None;
        let answer = self.receive(sequence, |received| {
            found = message::parse_link(received.body);
            true
        });
        match answer {
            Ok(()) => Ok(found),
            Err(NetlinkError::Refused(Errno::ENODEV)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All interfaces.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let header = message::link_header(0, 0, 0);
        self.dump(RTM_GETLINK, RTM_NEWLINK, &header, message::parse_link)
    }

    /// All IPv4 addresses, in the kernel's order: of each network, the primary one first.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let header = message::address_header(0, 0, 0, 0);
        self.dump(RTM_GETADDR, RTM_NEWADDR, &header, message::parse_address)
    }

    /// All IPv4 routes of one table, most specific first, then by metric.
    pub fn routes(&mut self, table: u32) -> Result<Vec<Route>, NetlinkError> {
        let header = message::route_header(0, 0, 0);
        let wanted = |body: &[u8]| message::parse_route(body).filter(|route| route.table == table);
        let mut routes = self.dump(RTM_GETROUTE, RTM_NEWROUTE, &header, wanted)?;
        routes.sort_by_key(|route| (32 - route.prefix, route.metric));
        Ok(routes)
    }

    /// Carries out changes in order, in one write. One result for each; a refused change does not
    /// keep the later ones from being tried.
    ///
    /// # Errors
    /// When the requests could not be handed over or answered: some may have been carried out.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Vec<Result<(), Errno>>, NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut request = Builder::default();
        for change in changes {
            let sequence = self.next_sequence();
            build_change(&mut request, change, sequence);
        }
        self.send(&request)?;
        let mut results = Vec::with_capacity(changes.len());
        for offset in 0..changes.len() as u32 {
            match self.receive(first.wrapping_add(offset), |_| false) {
                Ok(()) => results.push(Ok(())),
                Err(NetlinkError::Refused(error)) => results.push(Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(results)
    }

    /// Carries out a change that is none of [`Change`]: message type, flags beyond request and
    /// acknowledgement, the fixed part, attributes.
    ///
    /// # Errors
    /// As the kernel answers.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        attributes: &Attributes,
    ) -> Result<(), NetlinkError> {
        let sequence = self.next_sequence();
        let mut request = Builder::default();
        request.message(kind, flags | NLM_F_ACK, sequence, fixed).attributes(attributes);
        self.send(&request)?;
        self.receive(sequence, |_| false)
    }

    /// Removes an address and puts its secondaries back with all they had, in the same write: the
    /// kernel drops them with their primary unless promote_secondaries is set (then putting them
    /// back finds them there). `all` is the list of [`Netlink::addresses`].
    ///
    /// The value lists what could not be put back.
    ///
    /// # Errors
    /// When the address could not be removed; EADDRNOTAVAIL when it was not there.
    pub fn delete_address(
        &mut self,
        address: &Address,
        all: &[Address],
    ) -> Result<Vec<(Address, Errno)>, NetlinkError> {
        let mut changes = vec![Change::DeleteAddress(address.clone())];
        changes.extend(secondaries_of(address, all).cloned().map(Change::AddAddress));
        let results = self.apply(&changes)?;
        let mut lost = Vec::new();
        for (change, result) in changes.into_iter().zip(results) {
            match (change, result) {
                (Change::DeleteAddress(_), Err(error)) => return Err(NetlinkError::Refused(error)),
                (Change::AddAddress(address), Err(error)) if error != Errno::EEXIST => {
                    lost.push((address, error));
                }
                _ => (),
            }
        }
        Ok(lost)
    }

    fn dump<T>(
        &mut self,
        request_kind: u16,
        answer_kind: u16,
        header: &[u8],
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut attempts = DUMP_ATTEMPTS;
        loop {
            attempts -= 1;
            let sequence = self.next_sequence();
            let mut request = Builder::default();
            request.message(request_kind, NLM_F_DUMP, sequence, header);
            self.send(&request)?;
            let mut found = Vec::new();
            let answer = self.receive(sequence, |received| {
                if received.kind == answer_kind && found.len() < DUMP_ENTRIES_MAX {
                    found.extend(parse(received.body));
                }
                false
            });
            match answer {
                Ok(()) => return Ok(found),
                Err(NetlinkError::Transport(error))
                    if attempts > 0 && error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, request: &Builder) -> Result<(), NetlinkError> {
        let kernel = NetlinkAddr::new(0, 0);
        socket::sendto(self.socket.as_raw_fd(), request.bytes(), &kernel, MsgFlags::empty())
            .map(|_| ())
            .map_err(|error| NetlinkError::Transport(error.into()))
    }

    /// Reads until the request's end: an acknowledgement, an error, the end of a dump, or `each`
    /// saying that it has what it wants. Answers to other requests are passed over.
    fn receive(
        &mut self,
        sequence: u32,
        mut each: impl FnMut(Received<'_>) -> bool,
    ) -> Result<(), NetlinkError> {
        loop {
            let length = self.receive_datagram()?;
            let mut end = None;
            for received in message::messages(&self.buffer[..length]) {
                if received.sequence != sequence {
                    continue;
                }
                match received.kind {
                    NLMSG_ERROR | NLMSG_DONE => end = Some(message::error_number(received.body)),
                    _ if each(received) => end = Some(0),
                    _ => (),
                }
            }
            match end {
                None => (),
                Some(number) if number > 0 => return Err(NetlinkError::Refused(Errno::from_raw(number))),
                Some(_) => return Ok(()),
            }
        }
    }

    /// One datagram of the kernel itself (port 0); what other processes send is dropped.
    fn receive_datagram(&mut self) -> Result<usize, NetlinkError> {
        loop {
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match nix::poll::poll(&mut waiting, PollTimeout::from(ANSWER_TIMEOUT_MS)) {
                Ok(0) => return Err(NetlinkError::Timeout),
                Ok(_) => (),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(NetlinkError::Transport(error.into())),
            }
            match socket::recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                Ok((length, Some(sender))) if sender.pid() == 0 => return Ok(length),
                Ok(_) | Err(Errno::EINTR) => (),
                Err(error) => return Err(NetlinkError::Transport(error.into())),
            }
        }
    }
}

/// The addresses that the kernel drops together with `address`.
pub fn secondaries_of<'a>(address: &'a Address, all: &'a [Address]) -> impl Iterator<Item = &'a Address> {
    let is_primary = !address.secondary;
    all.iter().filter(move |other| {
        is_primary
            && other.secondary
            && other.interface == address.interface
            && other.prefix == address.prefix
            && address.network_contains(other.peer.unwrap_or(other.local))
    })
}

/// Both are in one network of that prefix length.
pub fn same_network(a: Ipv4Addr, b: Ipv4Addr, prefix: u8) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
    (u32::from(a) ^ u32::from(b)) & mask == 0
}

fn build_change(request: &mut Builder, change: &Change, sequence: u32) {
    match change {
        Change::AddAddress(address) => {
            let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
            build_address(request, RTM_NEWADDR, flags, sequence, address);
            if let Some(broadcast) = address.broadcast {
                request.attribute(IFA_BROADCAST, &broadcast.octets());
            }
            if let Some([preferred, valid]) = address.lifetime {
                let words = [preferred, valid, 0, 0].map(u32::to_ne_bytes);
                request.attribute(IFA_CACHEINFO, words.as_flattened());
            }
            let kept = address.extended_flags.unwrap_or(0) & KEPT_ADDRESS_FLAGS;
            if kept != 0 {
                request.attribute(IFA_FLAGS, &kept.to_ne_bytes());
            }
        }
        Change::DeleteAddress(address) => {
            build_address(request, RTM_DELADDR, NLM_F_ACK, sequence, address);
        }
        Change::LinkUp(index) => {
            let up = libc::IFF_UP as u32;
            request.message(RTM_NEWLINK, NLM_F_ACK, sequence, &message::link_header(*index, up, up));
        }
        Change::DeleteHostRoute(destination, interface) => {
            let header = message::route_header(32, TABLE_MAIN as u8, RT_SCOPE_NOWHERE);
            request
                .message(RTM_DELROUTE, NLM_F_ACK, sequence, &header)
                .attribute(RTA_DST, &destination.octets())
                .attribute(RTA_OIF, &interface.to_ne_bytes());
        }
    }
}

fn build_address(request: &mut Builder, kind: u16, flags: u16, sequence: u32, address: &Address) {
    let header = message::address_header(address.prefix, 0, address.scope, address.interface);
    request
        .message(kind, flags, sequence, &header)
        .attribute(IFA_LOCAL, &address.local.octets())
        .attribute(IFA_ADDRESS, &address.peer.unwrap_or(address.local).octets());
    if let Some(label) = &address.label {
        let mut text = label.clone().into_bytes();
        text.push(0);
        request.attribute(IFA_LABEL, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_compare_by_prefix() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 1, 1));
        assert!(same_network(a, b, 23) && !same_network(a, b, 24));
        assert!(same_network(a, b, 0) && !same_network(a, b, 32));
    }

    #[test]
    fn only_secondaries_of_the_same_network_go_with_a_primary() {
        let primary = Address::new(2, Ipv4Addr::new(10, 0, 0, 1), 24);
        let with = |interface, last, prefix, secondary| Address {
            secondary,
            ..Address::new(interface, Ipv4Addr::new(10, 0, 0, last), prefix)
        };
        let all = [
            primary.clone(),
            with(2, 2, 24, true),
            with(3, 3, 24, true),
            with(2, 4, 25, true),
            with(2, 5, 24, false),
            with(2, 6, 24, true),
        ];
        let found: Vec<_> = secondaries_of(&primary, &all).map(|found| found.local.octets()[3]).collect();
        assert_eq!(found, [2, 6]);
        assert_eq!(secondaries_of(&all[1], &all).count(), 0);
    }

    #[test]
    fn the_loopback_interface_is_read() {
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link("lo").unwrap().unwrap();
        assert!(link.is_loopback());
        assert!(netlink.links().unwrap().contains(&netlink.link_at(link.index).unwrap().unwrap()));
        assert_eq!(netlink.link("no such interface").unwrap(), None);
        assert_eq!(netlink.link_at(0x7fff_fff0).unwrap(), None);
        netlink.addresses().unwrap();
        netlink.routes(TABLE_MAIN).unwrap();
    }
}
