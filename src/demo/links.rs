//! Links of a demo world: bridges, virtual cables, addresses, by rtnetlink.
//!
//! Works in the namespace of the calling process. The codec writes requests and reads answers of
//! the kernel only; source: netlink(7), rtnetlink(7) and the kernel's `if_link.h`.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    bind, recv, send, socket, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};
use serde::{Deserialize, Serialize};

/// One change to the links of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkChange {
    /// Makes a bridge that forwards at once (no spanning tree, no snooping) and switches it on.
    Bridge {
        /// Interface name, at most 15 bytes.
        name: String,
    },
    /// Lays a cable: a port on `bridge` here, its other end in the namespace of process `peer_pid`.
    Cable {
        /// Name of the end that becomes a port of the bridge.
        port: String,
        /// The bridge.
        bridge: String,
        /// Name of the far end.
        peer: String,
        /// A process in the namespace of the far end.
        peer_pid: u32,
        /// Hardware address of the far end.
        peer_mac: [u8; 6],
    },
    /// Gives an interface an address and switches it on.
    Address {
        /// Interface name.
        name: String,
        /// Address.
        address: Ipv4Addr,
        /// Length of the network part in bits.
        prefix: u8,
    },
    /// Switches an interface on or off. Off takes the carrier from the other end of a cable.
    Switch {
        /// Interface name.
        name: String,
        /// On or off.
        up: bool,
    },
    /// Removes an interface; none of that name is no error.
    Delete {
        /// Interface name.
        name: String,
    },
    /// What a bridge port lets through, with its carrier untouched.
    Port {
        /// The port's interface name.
        name: String,
        /// Frames from the host are let in.
        from_host: bool,
        /// Frames for the host are let out.
        to_host: bool,
    },
}

/// Carries out one change.
///
/// # Errors
/// The kernel's refusal; what the change did before it is left as it is.
pub fn apply(change: &LinkChange) -> io::Result<()> {
    let mut route = Route::open()?;
    match change {
        LinkChange::Bridge { name } => {
            route.ask(&bridge_request(name))?;
            route.switch(name, true)
        }
        LinkChange::Cable { port, bridge, peer, peer_pid, peer_mac } => {
            route.ask(&cable_request(port, index(bridge)?, peer, *peer_pid, *peer_mac))?;
            route.switch(port, true)
        }
        LinkChange::Address { name, address, prefix } => {
            route.ask(&address_request(index(name)?, *address, *prefix))?;
            route.switch(name, true)
        }
        LinkChange::Switch { name, up } => route.switch(name, *up),
        LinkChange::Delete { name } => match index(name) {
            Ok(number) => route.ask(&Request::link(RTM_DELLINK, 0, number, 0, 0)),
            Err(_) => Ok(()),
        },
        LinkChange::Port { name, from_host, to_host } => {
            route.ask(&port_request(index(name)?, *from_host, *to_host))
        }
    }
}

/// The IPv4 addresses of this namespace, loopback included.
///
/// # Errors
/// The kernel's refusal.
pub fn addresses() -> io::Result<Vec<Ipv4Addr>> {
    let mut route = Route::open()?;
    let mut request = Request::new(RTM_GETADDR, NLM_F_DUMP);
    request.bytes.extend([libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0]);
    let mut found = Vec::new();
    route.dump(&request, |payload| found.extend(address_of(payload)))?;
    Ok(found)
}

const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_DELLINK: u16 = libc::RTM_DELLINK;
const RTM_SETLINK: u16 = libc::RTM_SETLINK;
const RTM_NEWADDR: u16 = libc::RTM_NEWADDR;
const RTM_GETADDR: u16 = libc::RTM_GETADDR;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_EXCL: u16 = 0x600;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// An answer larger than this is cut by the kernel at a message boundary into several.
const ANSWER_BYTES: usize = 64 * 1024;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_FLUSH: u16 = 24;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
/// A locked port admits learned senders only; with learning off, nobody. Linux 5.18.
const IFLA_BRPORT_LOCKED: u16 = 39;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const NLA_F_NESTED: u16 = 0x8000;

/// Bridge port states of the spanning tree (IEEE 802.1D), as `if_bridge.h` numbers them.
const STATE_DISABLED: u8 = 0;
const STATE_FORWARDING: u8 = 3;

fn bridge_request(name: &str) -> Request {
    let mut request = Request::link(RTM_NEWLINK, NLM_F_CREATE_EXCL, 0, 0, 0);
    request.text(IFLA_IFNAME, name);
    request.nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, "bridge");
        info.nest(IFLA_INFO_DATA, |data| {
            data.attribute(IFLA_BR_FORWARD_DELAY, &0u32.to_ne_bytes());
            data.attribute(IFLA_BR_STP_STATE, &0u32.to_ne_bytes());
            data.attribute(IFLA_BR_MCAST_SNOOPING, &[0]);
        });
    });
    request
}

fn cable_request(port: &str, bridge: u32, peer: &str, peer_pid: u32, peer_mac: [u8; 6]) -> Request {
    let mut request = Request::link(RTM_NEWLINK, NLM_F_CREATE_EXCL, 0, 0, 0);
    request.text(IFLA_IFNAME, port);
    request.attribute(IFLA_MASTER, &bridge.to_ne_bytes());
    request.nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, "veth");
        info.nest(IFLA_INFO_DATA, |data| {
            data.nest(VETH_INFO_PEER, |far| {
                far.bytes.extend([0; 16]);
                far.text(IFLA_IFNAME, peer);
                far.attribute(IFLA_ADDRESS, &peer_mac);
                far.attribute(IFLA_NET_NS_PID, &peer_pid.to_ne_bytes());
            });
        });
    });
    request
}

fn address_request(index: u32, address: Ipv4Addr, prefix: u8) -> Request {
    let mut request = Request::new(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE_EXCL);
    request.bytes.extend([libc::AF_INET as u8, prefix, 0, 0]);
    request.bytes.extend(index.to_ne_bytes());
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    let broadcast = u32::from(address) | host_bits;
    request.attribute(IFA_LOCAL, &address.octets());
    request.attribute(IFA_ADDRESS, &address.octets());
    request.attribute(IFA_BROADCAST, &broadcast.to_be_bytes());
    request
}

/// Both ways closed is the port state (any kernel); one way is made of flags: without learning and
/// flooding nothing is sent to the host, and a locked port hears nobody it has not learned.
fn port_request(index: u32, from_host: bool, to_host: bool) -> Request {
    let mut request = Request::link(RTM_SETLINK, 0, index, 0, 0);
    request.bytes[16] = libc::AF_BRIDGE as u8;
    let open = from_host && to_host;
    let closed = !from_host && !to_host;
    request.nest(IFLA_PROTINFO, |port| {
        port.attribute(IFLA_BRPORT_STATE, &[if closed { STATE_DISABLED } else { STATE_FORWARDING }]);
        if closed {
            return;
        }
        port.attribute(IFLA_BRPORT_LEARNING, &[u8::from(open)]);
        for flag in [IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD] {
            port.attribute(flag, &[u8::from(to_host)]);
        }
        port.attribute(IFLA_BRPORT_LOCKED, &[u8::from(!from_host)]);
        if !open {
            port.attribute(IFLA_BRPORT_FLUSH, &[]);
        }
    });
    request
}

fn index(name: &str) -> io::Result<u32> {
    Ok(if_nametoindex(name)?)
}

/// The address in an `ifaddrmsg` with its attributes; `IFA_LOCAL` where both are there.
fn address_of(payload: &[u8]) -> Option<Ipv4Addr> {
    let mut found = None;
    let mut rest = payload.get(8..)?;
    while let Some(head) = rest.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = rest.get(4..length)?;
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && found.is_none()) {
            found = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

/// A request under construction: netlink header, then what is appended.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        Self { bytes }
    }

    /// A request about a link: `ifinfomsg` follows the header.
    fn link(kind: u16, flags: u16, index: u32, set: u32, mask: u32) -> Self {
        let mut request = Self::new(kind, NLM_F_ACK | flags);
        request.bytes.extend([0; 4]);
        request.bytes.extend(index.to_ne_bytes());
        request.bytes.extend(set.to_ne_bytes());
        request.bytes.extend(mask.to_ne_bytes());
        request
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), b"\0"].concat());
    }

    fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.attribute(kind | NLA_F_NESTED, &[]);
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// A routing socket of this namespace.
struct Route {
    socket: OwnedFd,
    sequence: u32,
}

impl Route {
    fn open() -> io::Result<Self> {
        let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(kind.0, kind.1, kind.2, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn switch(&mut self, name: &str, up: bool) -> io::Result<()> {
        let flag = libc::IFF_UP as u32;
        self.ask(&Request::link(RTM_NEWLINK, 0, index(name)?, if up { flag } else { 0 }, flag))
    }

    /// Sends and waits for the acknowledgement.
    fn ask(&mut self, request: &Request) -> io::Result<()> {
        self.dump(request, |_| {})
    }

    /// Sends, hands each answer's payload on, returns at the end mark or acknowledgement.
    fn dump(&mut self, request: &Request, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence += 1;
        let mut bytes = request.bytes.clone();
        let length = bytes.len() as u32;
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.sequence.to_ne_bytes());
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut answer = vec![0; ANSWER_BYTES];
        loop {
            let count = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
            if self.read_answers(&answer[..count], &mut each)? {
                return Ok(());
            }
        }
    }

    /// True when the last answer was among these.
    fn read_answers(&self, mut rest: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        while let Some(head) = rest.get(..16) {
            let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let length = word(0) as usize;
            let kind = u16::from_ne_bytes([head[4], head[5]]);
            let payload = rest.get(16..length).ok_or_else(|| io::Error::from(Errno::EBADMSG))?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            if word(8) != self.sequence {
                continue;
            }
            match (kind, payload.get(..4)) {
                (NLMSG_DONE, _) => return Ok(true),
                (NLMSG_ERROR, Some(code)) => {
                    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
                    return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(payload),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_carry_their_length() {
        let mut request = Request::new(RTM_NEWLINK, 0);
        request.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "veth"));
        assert_eq!(request.bytes.len(), 16 + 4 + 12);
        assert_eq!(request.bytes[16..18], 16u16.to_ne_bytes());
        assert_eq!(request.bytes[20..22], 9u16.to_ne_bytes());
        assert_eq!(&request.bytes[24..29], b"veth\0");
    }

    #[test]
    fn own_loopback_address_is_listed() {
        match addresses() {
            Ok(found) => assert!(found.is_empty() || found.contains(&Ipv4Addr::LOCALHOST)),
            Err(error) => println!("skipped: no routing socket: {error}"),
        }
    }

    #[test]
    fn broken_attributes_are_no_address() {
        assert_eq!(address_of(&[]), None);
        assert_eq!(address_of(&[0; 8]), None);
        assert_eq!(address_of(&[0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 1, 0, 1, 2]), None);
        assert_eq!(address_of(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), None);
    }
}
