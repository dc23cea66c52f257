//! IPv6 neighbour discovery (RFC 4861): announcing where an address is, asking who has one.
//!
//! The advertisement is that of the original's `send_ua` (agents spec 1.2): to all nodes, from and
//! about the address itself, with the override flag alone. Whole Ethernet frames are made here, so
//! that nothing waits for an address to be usable; other links get them through the kernel.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::packet::{Framing, PacketSocket, Received};

use super::arp::{ask_in_rounds, ethernet_address, HARDWARE_ETHERNET, HARDWARE_INFINIBAND};
use super::netlink::Link;

/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Every node on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
pub(super) const NEXT_HEADER_ICMPV6: u8 = 58;
/// Receivers drop what a router may have passed on (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_TARGET_ADDRESS: u8 = 2;
const IPV6_HEADER_BYTES: usize = 40;
const ETHERNET_HEADER_BYTES: usize = 14;

/// An unsolicited advertisement as a whole Ethernet frame; `None` on other links.
pub fn advertisement_frame(link: &Link, address: Ipv6Addr) -> Option<Vec<u8>> {
    let own = own_address(link)?;
    let message = message(ADVERTISEMENT, FLAG_OVERRIDE, address, &link_option(link)?);
    Some(frame(own, address, ALL_NODES, message))
}

/// The question of duplicate address detection (RFC 4862 5.4.2) as a whole Ethernet frame: whoever
/// has the address tells all nodes. `None` on other links.
pub fn probe_frame(link: &Link, address: Ipv6Addr) -> Option<Vec<u8>> {
    let own = own_address(link)?;
    let [.., a, b] = address.segments();
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (a & 0xff), b);
    Some(frame(own, Ipv6Addr::UNSPECIFIED, solicited, message(SOLICITATION, 0, address, &[])))
}

/// Asks who has one of these addresses, from nowhere, up to three times until `end`: the first for which
/// another station answers. It also ends when `over` is set.
///
/// # Errors
/// The socket's (CAP_NET_RAW is needed, the interface must be up); `Unsupported` for interfaces that are
/// no Ethernet.
pub fn probe_any(
    addresses: &[Ipv6Addr],
    link: &Link,
    end: Instant,
    over: &AtomicBool,
) -> io::Result<Option<Ipv6Addr>> {
    if addresses.is_empty() {
        return Ok(None);
    }
    let questions: Option<Vec<_>> = addresses.iter().map(|address| probe_frame(link, *address)).collect();
    let questions = questions
        .ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, format!("{} is no Ethernet", link.name)))?;
    let socket = PacketSocket::open(Framing::Frame, link.index, ETHERTYPE_IPV6)?;
    let heard = |packet: &[u8], _: &Received| {
        let address = parse_advertisement(packet.get(ETHERNET_HEADER_BYTES..)?)?;
        addresses.contains(&address).then_some(address)
    };
    ask_in_rounds(&socket, &questions, end, over, heard)
}

/// Sends one advertisement through the kernel, on a link of any kind.
///
/// # Errors
/// The address is not here, or not usable yet; CAP_NET_RAW is missing.
pub fn advertise(link: &Link, address: Ipv6Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    let scope = if super::interface::is_link_local6(IpAddr::V6(address)) { link.index } else { 0 };
    socket.bind(&SocketAddrV6::new(address, 0, 0, scope).into())?;
    socket.set_multicast_if_v6(link.index)?;
    socket.set_multicast_hops_v6(u32::from(HOP_LIMIT))?;
    let option = link_option(link).ok_or_else(|| {
        let text = format!("{} has no hardware address that can be announced", link.name);
        io::Error::new(io::ErrorKind::Unsupported, text)
    })?;
    // The kernel fills in the checksum (RFC 3542 3.1).
    let message = message(ADVERTISEMENT, FLAG_OVERRIDE, address, &option);
    socket.send_to(&message, &SocketAddrV6::new(ALL_NODES, 0, 0, link.index).into())?;
    Ok(())
}

/// The address that a neighbour advertisement is about. The packet starts at the IPv6 header; `None`
/// for everything but an advertisement that a receiver may believe (RFC 4861 7.1.2; the checksum is
/// the kernel's affair).
pub fn parse_advertisement(packet: &[u8]) -> Option<Ipv6Addr> {
    let valid = packet.first()? >> 4 == 6
        && *packet.get(6)? == NEXT_HEADER_ICMPV6
        && *packet.get(7)? == HOP_LIMIT
        && *packet.get(IPV6_HEADER_BYTES)? == ADVERTISEMENT
        && *packet.get(IPV6_HEADER_BYTES + 1)? == 0;
    let start = IPV6_HEADER_BYTES + 8;
    let target = <[u8; 16]>::try_from(packet.get(start..start + 16)?).ok()?;
    valid.then(|| target.into())
}

fn own_address(link: &Link) -> Option<[u8; 6]> {
    ethernet_address(&link.address).filter(|_| link.hardware_type == HARDWARE_ETHERNET)
}

/// Target link layer address, in units of eight bytes; InfiniBand's 20 bytes have two of padding in
/// front (RFC 4391 9.3).
fn link_option(link: &Link) -> Option<Vec<u8>> {
    let padding: &[u8] = match (link.hardware_type, link.address.len()) {
        (HARDWARE_INFINIBAND, 20) => &[0, 0],
        (_, 6) => &[],
        _ => return None,
    };
    let mut option = vec![OPTION_TARGET_ADDRESS, 0];
    option.extend_from_slice(padding);
    option.extend_from_slice(&link.address);
    option[1] = (option.len() / 8) as u8;
    Some(option)
}

fn message(kind: u8, flags: u8, target: Ipv6Addr, option: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(option);
    message
}

fn frame(own: [u8; 6], source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(source, destination, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let group = destination.octets();
    let mut frame = vec![0x33, 0x33, group[12], group[13], group[14], group[15]];
    frame.extend_from_slice(&own);
    frame.extend_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    frame.extend_from_slice(&[0x60, 0, 0, 0]);
    frame.extend_from_slice(&(message.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[NEXT_HEADER_ICMPV6, HOP_LIMIT]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&group);
    frame.extend_from_slice(&message);
    frame
}

/// Over the pseudo header and the message (RFC 8200 8.1).
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let mut sum = words(&source.octets()) + words(&destination.octets()) + words(message);
    sum += message.len() as u32 + u32::from(NEXT_HEADER_ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Type, code, checksum, flags, target.
    const MESSAGE_BYTES: usize = 24;

    fn link() -> Link {
        Link { hardware_type: HARDWARE_ETHERNET, address: vec![2, 0, 0, 0, 0, 1], ..Link::default() }
    }

    #[test]
    fn an_advertisement_is_to_all_nodes_with_the_override_flag_alone() {
        let address: Ipv6Addr = "2001:db8::5".parse().unwrap();
        let frame = advertisement_frame(&link(), address).unwrap();
        assert_eq!(frame.len(), ETHERNET_HEADER_BYTES + IPV6_HEADER_BYTES + MESSAGE_BYTES + 8);
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd]);
        assert_eq!(frame[54..56], [136, 0]);
        assert_eq!(frame[58..62], [0x20, 0, 0, 0]);
        assert_eq!(frame[78..], [2, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(parse_advertisement(&frame[ETHERNET_HEADER_BYTES..]), Some(address));
        // With its checksum in place the sum over everything is zero.
        assert_eq!(checksum(address, ALL_NODES, &frame[54..]), 0);
    }

    #[test]
    fn a_probe_asks_the_solicited_node_group_from_nowhere() {
        let frame = probe_frame(&link(), "2001:db8::12:3456".parse().unwrap()).unwrap();
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(frame[22..38], [0; 16]);
        assert_eq!(frame[54], 135);
        assert_eq!(parse_advertisement(&frame[ETHERNET_HEADER_BYTES..]), None);
    }

    #[test]
    fn infiniband_addresses_are_padded() {
        let link = Link { hardware_type: HARDWARE_INFINIBAND, address: vec![9; 20], ..Link::default() };
        let option = link_option(&link).unwrap();
        assert_eq!((option.len(), option[..4].to_vec()), (24, vec![2, 3, 0, 0]));
        assert_eq!(advertisement_frame(&link, Ipv6Addr::LOCALHOST), None);
        assert_eq!(link_option(&Link::default()), None);
    }

    proptest! {
        #[test]
        fn random_frames_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse_advertisement(&bytes);
        }
    }
}
