//! Route netlink (rtnetlink(7)): links, addresses and routes of this host, blocking.
//!
//! Works from 2.6.32 on: no strict checking, no filters, no attribute is sent that the kernel did
//! not show first. Several changes go in one write; the kernel carries them out in order.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};

use super::netlink_change::build_change;
use super::netlink_message::number::*;
use super::netlink_message::{self as message, Builder, Received, AF_INET, AF_INET6};

pub use super::netlink_change::Change;
pub use super::netlink_message::{link_header, Attributes};

/// Longest wait for an answer of the kernel, which answers at once unless it is badly ill.
const ANSWER_TIMEOUT_MS: u16 = 10_000;
/// A dump's datagrams are at most 32 KiB (NLMSG_GOODSIZE of any kernel).
const BUFFER_BYTES: usize = 64 * 1024;
/// Most entries taken from one dump: far more addresses and link routes than any host of a pair.
const DUMP_ENTRIES_MAX: usize = 1_000_000;
/// Most changes handed over in one write: each may be answered, and all answers must fit into the
/// smallest receive buffer of any kernel (about 100 KiB, of which each takes less than 1 KiB).
const BATCH_CHANGES: usize = 100;
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

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Index of its interface.
    pub interface: u32,
    /// The address.
    pub local: IpAddr,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Prefix length, 0 to 32 or 128.
    pub prefix: u8,
    /// Broadcast address; IPv4 alone.
    pub broadcast: Option<Ipv4Addr>,
    /// Label; the kernel uses the interface's name when none is given. IPv4 alone.
    pub label: Option<String>,
    /// Scope: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// It shares a network with an older address; removing that one removes this one too. IPv4 alone.
    pub secondary: bool,
    /// Preferred and valid life time in seconds, unless it lives for ever.
    pub lifetime: Option<[u32; 2]>,
    /// `IFA_F_*`; those above the lowest byte are known to kernels from 3.14 on.
    pub flags: u32,
}

impl Address {
    /// A plain address of global scope, without broadcast or label.
    pub fn new(interface: u32, local: impl Into<IpAddr>, prefix: u8) -> Self {
        Self {
            interface,
            local: local.into(),
            peer: None,
            prefix,
            broadcast: None,
            label: None,
            scope: 0,
            secondary: false,
            lifetime: None,
            flags: 0,
        }
    }

    /// `address` is in this address's network.
    pub fn network_contains(&self, address: impl Into<IpAddr>) -> bool {
        same_network(self.peer.unwrap_or(self.local), address.into(), self.prefix)
    }

    /// The kernel did not let it be used yet, or never will (duplicate address detection, RFC 4862 5.4).
    pub fn is_tentative(&self) -> bool {
        self.flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Network; with prefix 0 it is the default route.
    pub destination: IpAddr,
    /// Prefix length, 0 to 32 or 128.
    pub prefix: u8,
    /// Table number.
    pub table: u32,
    /// Scope: 0 through a gateway, [`SCOPE_LINK`], [`SCOPE_HOST`]. Always 0 for IPv6.
    pub scope: u8,
    /// RTN_* type: 1 unicast.
    pub kind: u8,
    /// RTPROT_*: who made it, 2 the kernel.
    pub protocol: u8,
    /// Type of service.
    pub service: u8,
    /// Index of the interface; `None` for blackholes and several next hops.
    pub interface: Option<u32>,
    /// Next hop.
    pub gateway: Option<IpAddr>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Priority, lower is better.
    pub metric: u32,
    /// Every attribute as the kernel showed it, to give the route back changed in one of them.
    pub attributes: Vec<(u16, Vec<u8>)>,
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
        self.addresses_of(AF_INET)
    }

    /// All IPv6 addresses.
    pub fn addresses6(&mut self) -> Result<Vec<Address>, NetlinkError> {
        self.addresses_of(AF_INET6)
    }

    /// All IPv4 routes of one table, most specific first, then by metric.
    pub fn routes(&mut self, table: u32) -> Result<Vec<Route>, NetlinkError> {
        self.routes_of(AF_INET, table)
    }

    /// As [`Netlink::routes`], for IPv6.
    pub fn routes6(&mut self, table: u32) -> Result<Vec<Route>, NetlinkError> {
        self.routes_of(AF_INET6, table)
    }

    fn addresses_of(&mut self, family: u8) -> Result<Vec<Address>, NetlinkError> {
        let header = message::address_header(family, 0, 0, 0, 0);
        // A kernel without IPv6 answers with the addresses of the families that it has.
        let wanted = |body: &[u8]| message::parse_address(body).filter(|_| body.first() == Some(&family));
        self.dump(RTM_GETADDR, RTM_NEWADDR, &header, wanted)
    }

    fn routes_of(&mut self, family: u8, table: u32) -> Result<Vec<Route>, NetlinkError> {
        let header = message::route_header(family, 0, 0, 0);
        let wanted = |body: &[u8]| {
            let ours = body.first() == Some(&family);
            message::parse_route(body).filter(|route| ours && route.table == table)
        };
        let mut routes = self.dump(RTM_GETROUTE, RTM_NEWROUTE, &header, wanted)?;
        routes.sort_by_key(|route| (u8::MAX - route.prefix, route.metric));
        Ok(routes)
    }

    /// Carries out changes in order, [`BATCH_CHANGES`] to a write. One result for each; a refused
    /// change does not keep the later ones from being tried.
    ///
    /// # Errors
    /// When the requests could not be handed over or answered: some may have been carried out.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Vec<Result<(), Errno>>, NetlinkError> {
        let mut results = Vec::with_capacity(changes.len());
        for part in changes.chunks(BATCH_CHANGES) {
            self.apply_part(part, &mut results)?;
        }
        Ok(results)
    }

    /// The kernel answers what it refuses, and the last change in any case: it takes them in order, so
    /// that answer says that all others were carried out.
    fn apply_part(
        &mut self,
        part: &[Change],
        results: &mut Vec<Result<(), Errno>>,
    ) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut request = Builder::default();
        for (index, change) in part.iter().enumerate() {
            let sequence = self.next_sequence();
            let answer = if index + 1 == part.len() { NLM_F_ACK } else { 0 };
            build_change(&mut request, change, answer, sequence);
        }
        self.send(&request)?;
        let start = results.len();
        results.resize(start + part.len(), Ok(()));
        loop {
            let length = self.receive_datagram()?;
            for received in message::messages(&self.buffer[..length]) {
                let index = received.sequence.wrapping_sub(first) as usize;
                if received.kind != NLMSG_ERROR || index >= part.len() {
                    continue;
                }
                let number = message::error_number(received.body);
                if number > 0 {
                    results[start + index] = Err(Errno::from_raw(number));
                }
                if index + 1 == part.len() {
                    return Ok(());
                }
            }
        }
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

/// Both are of one family and in one network of that prefix length.
pub fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let prefix = u32::from(prefix);
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
            (u32::from(a) ^ u32::from(b)) & mask == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
            (u128::from(a) ^ u128::from(b)) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_compare_by_prefix() {
        let both = |a: &str, b: &str, prefix| same_network(a.parse().unwrap(), b.parse().unwrap(), prefix);
        assert!(both("10.0.0.1", "10.0.1.1", 23) && !both("10.0.0.1", "10.0.1.1", 24));
        assert!(both("10.0.0.1", "10.0.1.1", 0) && !both("10.0.0.1", "10.0.1.1", 32));
        assert!(both("2001:db8::1", "2001:db8::2", 126) && !both("2001:db8::1", "2001:db8::2", 127));
        assert!(both("::", "ffff::", 0) && !both("::1", "::2", 128) && !both("0.0.0.1", "::1", 0));
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
        let found: Vec<_> = secondaries_of(&primary, &all).map(|found| found.local.to_string()).collect();
        assert_eq!(found, ["10.0.0.2", "10.0.0.6"]);
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
