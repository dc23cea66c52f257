//! Links of a demo world: bridges, virtual cables, addresses, by rtnetlink.
//!
//! Works in the namespace of the calling process. Source: rtnetlink(7) and the kernel's
//! `if_link.h`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::net::netlink::{link_header, Address, Attributes, Change, Netlink, NetlinkError};

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
pub fn apply(change: &LinkChange) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    match change {
        LinkChange::Bridge { name } => {
            netlink.request(RTM_NEWLINK, NLM_F_CREATE_EXCL, &link_header(0, 0, 0), &bridge(name))?;
            switch(&mut netlink, name, true)
        }
        LinkChange::Cable { port, bridge, peer, peer_pid, peer_mac } => {
            let cable = cable(port, index(bridge)?, peer, *peer_pid, *peer_mac);
            netlink.request(RTM_NEWLINK, NLM_F_CREATE_EXCL, &link_header(0, 0, 0), &cable)?;
            switch(&mut netlink, port, true)
        }
        LinkChange::Address { name, address, prefix } => {
            let host_bits = u32::MAX.checked_shr(u32::from(*prefix)).unwrap_or(0);
            let mut own = Address::new(index(name)?, *address, *prefix);
            own.broadcast = Some(Ipv4Addr::from(u32::from(*address) | host_bits));
            let results = netlink.apply(&[Change::AddAddress(own)])?;
            results.into_iter().try_for_each(|result| result.map_err(NetlinkError::Refused))?;
            switch(&mut netlink, name, true)
        }
        LinkChange::Switch { name, up } => switch(&mut netlink, name, *up),
        LinkChange::Delete { name } => match index(name) {
            Ok(number) => netlink.request(RTM_DELLINK, 0, &link_header(number, 0, 0), &Attributes::default()),
            Err(_) => Ok(()),
        },
        LinkChange::Port { name, from_host, to_host } => {
            let mut header = link_header(index(name)?, 0, 0);
            header[0] = libc::AF_BRIDGE as u8;
            set_port(&mut netlink, &header, &port(*from_host, *to_host))
        }
    }
}

/// A port that was just switched on has no carrier for a moment, and the kernel refuses to change
/// it until it has.
fn set_port(netlink: &mut Netlink, header: &[u8], attributes: &Attributes) -> Result<(), NetlinkError> {
    let begin = Instant::now();
    loop {
        match netlink.request(RTM_SETLINK, 0, header, attributes) {
            Err(NetlinkError::Refused(Errno::ENETDOWN)) if begin.elapsed() < CARRIER_PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            result => return result,
        }
    }
}

/// The IPv4 addresses of this namespace, loopback included.
///
/// # Errors
/// The kernel's refusal.
pub fn addresses() -> Result<Vec<Ipv4Addr>, NetlinkError> {
    let ipv4 = |address: Address| match address.local {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    Ok(Netlink::open()?.addresses()?.into_iter().filter_map(ipv4).collect())
}

/// Longest wait for the carrier of a port.
const CARRIER_PATIENCE: Duration = Duration::from_secs(2);

const RTM_NEWLINK: u16 = libc::RTM_NEWLINK;
const RTM_DELLINK: u16 = libc::RTM_DELLINK;
const RTM_SETLINK: u16 = libc::RTM_SETLINK;
const NLM_F_CREATE_EXCL: u16 = 0x600;

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

/// Bridge port states of the spanning tree (IEEE 802.1D), as `if_bridge.h` numbers them.
const STATE_DISABLED: u8 = 0;
const STATE_FORWARDING: u8 = 3;

fn bridge(name: &str) -> Attributes {
    let mut request = Attributes::default();
    request.text(IFLA_IFNAME, name);
    request.nest(IFLA_LINKINFO, &[], |info| {
        info.text(IFLA_INFO_KIND, "bridge");
        info.nest(IFLA_INFO_DATA, &[], |data| {
            data.add(IFLA_BR_FORWARD_DELAY, &0u32.to_ne_bytes());
            data.add(IFLA_BR_STP_STATE, &0u32.to_ne_bytes());
            data.add(IFLA_BR_MCAST_SNOOPING, &[0]);
        });
    });
    request
}

fn cable(port: &str, bridge: u32, peer: &str, peer_pid: u32, peer_mac: [u8; 6]) -> Attributes {
    let mut request = Attributes::default();
    request.text(IFLA_IFNAME, port);
    request.add(IFLA_MASTER, &bridge.to_ne_bytes());
    request.nest(IFLA_LINKINFO, &[], |info| {
        info.text(IFLA_INFO_KIND, "veth");
        info.nest(IFLA_INFO_DATA, &[], |data| {
            data.nest(VETH_INFO_PEER, &link_header(0, 0, 0), |far| {
                far.text(IFLA_IFNAME, peer);
                far.add(IFLA_ADDRESS, &peer_mac);
                far.add(IFLA_NET_NS_PID, &peer_pid.to_ne_bytes());
            });
        });
    });
    request
}

/// Both ways closed is the port state (any kernel); one way is made of flags: without learning and
/// flooding nothing is sent to the host, and a locked port hears nobody it has not learned.
fn port(from_host: bool, to_host: bool) -> Attributes {
    let mut request = Attributes::default();
    let open = from_host && to_host;
    let closed = !from_host && !to_host;
    request.nest(IFLA_PROTINFO, &[], |port| {
        port.add(IFLA_BRPORT_STATE, &[if closed { STATE_DISABLED } else { STATE_FORWARDING }]);
        if closed {
            return;
        }
        port.add(IFLA_BRPORT_LEARNING, &[u8::from(open)]);
        for flag in [IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD] {
            port.add(flag, &[u8::from(to_host)]);
        }
        port.add(IFLA_BRPORT_LOCKED, &[u8::from(!from_host)]);
        if !open {
            port.add(IFLA_BRPORT_FLUSH, &[]);
        }
    });
    request
}

fn switch(netlink: &mut Netlink, name: &str, up: bool) -> Result<(), NetlinkError> {
    let flag = libc::IFF_UP as u32;
    let header = link_header(index(name)?, if up { flag } else { 0 }, flag);
    netlink.request(RTM_NEWLINK, 0, &header, &Attributes::default())
}

fn index(name: &str) -> Result<u32, NetlinkError> {
    nix::net::if_::if_nametoindex(name).map_err(|_| NetlinkError::Refused(Errno::ENODEV))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_loopback_address_is_listed() {
        let found = addresses().expect("the kernel lists addresses to anybody");
        assert!(found.is_empty() || found.contains(&Ipv4Addr::LOCALHOST));
    }
}
