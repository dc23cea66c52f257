//! ARP (RFC 826): announcing where an address is, asking who has one.
//!
//! Announcement frames are those of the original's libnet build (agents spec 1.1): a request and a
//! reply, both broadcast, sender and target address the announced one. InfiniBand (hardware type
//! 32, addresses of 20 bytes, RFC 4391) gets the same in its own lengths.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pnet_packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet_packet::Packet;

use crate::sys::packet::{Framing, PacketSocket, Received};

use super::netlink::Link;

/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// ARPHRD_ETHER
pub const HARDWARE_ETHERNET: u16 = 1;
/// ARPHRD_INFINIBAND
pub const HARDWARE_INFINIBAND: u16 = 32;
/// ARPHRD_LOOPBACK
const HARDWARE_LOOPBACK: u16 = 772;
/// Probes sent by [`probe`] (PROBE_NUM, RFC 5227 1.1).
const PROBES: u32 = 3;
/// How often a question looks whether it is still wanted.
const ROUND_LOOK: Duration = Duration::from_millis(100);
const ETHERNET_HEADER_BYTES: usize = 14;
const ARP_BYTES: usize = 28;

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HardwareAddress(pub [u8; 6]);

impl std::fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

/// Request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// 1, who has?
    Request,
    /// 2, is at.
    Reply,
}

/// Sends announcements of one address on one interface.
#[derive(Debug)]
pub struct Announcer {
    socket: PacketSocket,
    destination: Vec<u8>,
    request: Vec<u8>,
    reply: Vec<u8>,
    question: Option<Vec<u8>>,
}

impl Announcer {
    /// Opens the socket and makes both frames. `sender` stands for the interface's own hardware
    /// address in the ARP part (never in the link layer header); Ethernet only.
    ///
    /// # Errors
    /// The socket's; `Unsupported` for an interface that has no hardware address of a known kind.
    pub fn open(link: &Link, address: Ipv4Addr, sender: Option<HardwareAddress>) -> io::Result<Self> {
        let socket = PacketSocket::open_for_sending(framing(link), link.index, ETHERTYPE_ARP)?;
        Self::with_socket(socket.into_socket(), link, address, sender)
    }

    /// As [`Announcer::open`] with a socket that another process opened for the same interface.
    pub fn with_socket(
        socket: OwnedFd,
        link: &Link,
        address: Ipv4Addr,
        sender: Option<HardwareAddress>,
    ) -> io::Result<Self> {
        let socket = PacketSocket::from_socket(socket, link.index, ETHERTYPE_ARP);
        let make = |operation| announcement(link, operation, sender, address);
        let unsupported = || {
            let text = format!("this hardware address cannot be announced on {}", link.name);
            io::Error::new(io::ErrorKind::Unsupported, text)
        };
        Ok(Self {
            socket,
            destination: link.broadcast.clone(),
            request: make(Operation::Request).ok_or_else(unsupported)?,
            reply: make(Operation::Reply).ok_or_else(unsupported)?,
            question: probe_frame(link, address),
        })
    }

    /// Sends one of the two.
    pub fn send(&self, operation: Operation) -> io::Result<()> {
        let packet = match operation {
            Operation::Request => &self.request,
            Operation::Reply => &self.reply,
        };
        self.socket.send(&self.destination, packet)
    }

    /// Asks who else has the address; on Ethernet alone. Nobody listens here: the answer is for the
    /// daemon (see [`super::conflict`]).
    pub fn ask(&self) -> io::Result<()> {
        self.question.as_ref().map_or(Ok(()), |question| self.socket.send(&self.destination, question))
    }

    /// Gives the socket away, for the process that goes on announcing.
    pub fn into_socket(self) -> OwnedFd {
        self.socket.into_socket()
    }
}

/// The packet that announces an address, in the framing of the link; `None` when the link has no
/// hardware address of a known kind.
pub(super) fn announcement(
    link: &Link,
    operation: Operation,
    sender: Option<HardwareAddress>,
    address: Ipv4Addr,
) -> Option<Vec<u8>> {
    match link.hardware_type {
        HARDWARE_INFINIBAND if sender.is_some() => None,
        HARDWARE_INFINIBAND => infiniband_announcement(operation, &link.address, address),
        _ => ethernet_announcement(operation, &link.address, sender, address),
    }
}

/// The question who has an address, from 0.0.0.0; `None` for what is no Ethernet.
pub(super) fn probe_frame(link: &Link, address: Ipv4Addr) -> Option<Vec<u8>> {
    let own = ethernet_address(&link.address).filter(|_| link.hardware_type == HARDWARE_ETHERNET)?;
    let fields = ArpFields {
        link_source: own,
        link_destination: [0xff; 6],
        sender: own,
        sender_address: Ipv4Addr::UNSPECIFIED,
        target: [0; 6],
        target_address: address,
    };
    Some(frame(Operation::Request, &fields))
}

/// Asks who has an IPv4 address, with a sender address of 0.0.0.0 so that no cache learns from the
/// question (RFC 5227 2.1.1). Up to three questions are spread over `timeout`.
///
/// The value is the hardware address that the first answer names: a reply, or any other ARP packet
/// that another station sends with this address as its own. A simultaneous probe by another
/// station is no answer: it does not have the address yet. `None` when nobody answered in time.
///
/// # Errors
/// The socket's (CAP_NET_RAW is needed, the interface must be up); `Unsupported` for interfaces
/// that are no Ethernet.
pub fn probe(address: Ipv4Addr, link: &Link, timeout: Duration) -> io::Result<Option<HardwareAddress>> {
    let found = probe_any(&[address], link, Instant::now() + timeout, &AtomicBool::new(false))?;
    Ok(found.map(|(_, who)| who))
}

/// The same for many addresses at once: the first of them for which somebody answers. It also ends when
/// `over` is set.
///
/// # Errors
/// As [`probe`].
pub fn probe_any(
    addresses: &[Ipv4Addr],
    link: &Link,
    end: Instant,
    over: &AtomicBool,
) -> io::Result<Option<(Ipv4Addr, HardwareAddress)>> {
    if addresses.is_empty() {
        return Ok(None);
    }
    let unsupported = || io::Error::new(io::ErrorKind::Unsupported, format!("{} is no Ethernet", link.name));
    let questions: Option<Vec<_>> = addresses.iter().map(|address| probe_frame(link, *address)).collect();
    let questions = questions.ok_or_else(unsupported)?;
    let own = ethernet_address(&link.address).ok_or_else(unsupported)?;
    let socket = PacketSocket::open(Framing::Frame, link.index, ETHERTYPE_ARP)?;
    let heard = |packet: &[u8], _: &Received| {
        let heard = parse(packet).filter(|heard| heard.sender != own)?;
        let asked = addresses.contains(&heard.sender_address);
        asked.then_some((heard.sender_address, HardwareAddress(heard.sender)))
    };
    ask_in_rounds(&socket, &questions, end, over, heard)
}

/// Sends all questions up to three times, spread over the time, and hands every packet of others to
/// `heard` until that has an answer.
pub(super) fn ask_in_rounds<T>(
    socket: &PacketSocket,
    questions: &[Vec<u8>],
    end: Instant,
    over: &AtomicBool,
    heard: impl Fn(&[u8], &Received) -> Option<T>,
) -> io::Result<Option<T>> {
    let start = Instant::now();
    let timeout = end.saturating_duration_since(start);
    let mut buffer = [0; 256];
    for round in 1..=PROBES {
        for question in questions {
            socket.send(&[], question)?;
        }
        let round_end = start + timeout * round / PROBES;
        while !over.load(Ordering::Relaxed) {
            let left = round_end.saturating_duration_since(Instant::now());
            let Some(received) = socket.receive(&mut buffer, left.min(ROUND_LOOK))? else {
                if Instant::now() >= round_end {
                    break;
                }
                continue;
            };
            let packet = &buffer[..received.length];
            if let Some(answer) =
                Some(received).filter(|received| !received.outgoing).and_then(|it| heard(packet, &it))
            {
                return Ok(Some(answer));
            }
        }
    }
    Ok(None)
}

/// What varies in an Ethernet ARP frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArpFields {
    /// Sender in the link layer header.
    pub link_source: [u8; 6],
    /// Destination in the link layer header.
    pub link_destination: [u8; 6],
    /// Sender hardware address.
    pub sender: [u8; 6],
    /// Sender protocol address.
    pub sender_address: Ipv4Addr,
    /// Target hardware address.
    pub target: [u8; 6],
    /// Target protocol address.
    pub target_address: Ipv4Addr,
}

/// A whole Ethernet frame of 42 bytes.
pub fn frame(operation: Operation, fields: &ArpFields) -> Vec<u8> {
    let mut bytes = vec![0; ETHERNET_HEADER_BYTES + ARP_BYTES];
    if let Some(mut ethernet) = MutableEthernetPacket::new(&mut bytes) {
        ethernet.set_destination(fields.link_destination.into());
        ethernet.set_source(fields.link_source.into());
        ethernet.set_ethertype(EtherTypes::Arp);
    }
    if let Some(mut arp) = MutableArpPacket::new(&mut bytes[ETHERNET_HEADER_BYTES..]) {
        arp.set_hardware_type(ArpHardwareTypes::Ethernet);
        arp.set_protocol_type(EtherTypes::Ipv4);
        arp.set_hw_addr_len(6);
        arp.set_proto_addr_len(4);
        arp.set_operation(match operation {
            Operation::Request => ArpOperations::Request,
            Operation::Reply => ArpOperations::Reply,
        });
        arp.set_sender_hw_addr(fields.sender.into());
        arp.set_sender_proto_addr(fields.sender_address.octets().into());
        arp.set_target_hw_addr(fields.target.into());
        arp.set_target_proto_addr(fields.target_address.octets().into());
    }
    bytes
}

/// What is of interest in a received ARP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Request or reply; other operations are not heard.
    pub operation: Operation,
    /// Sender hardware address.
    pub sender: [u8; 6],
    /// Sender protocol address.
    pub sender_address: Ipv4Addr,
    /// Target hardware address.
    pub target: [u8; 6],
    /// Target protocol address.
    pub target_address: Ipv4Addr,
}

/// Takes a received Ethernet frame apart; `None` for everything but IPv4 over Ethernet ARP.
pub fn parse(bytes: &[u8]) -> Option<Heard> {
    let arp = ArpPacket::new(bytes.get(ETHERNET_HEADER_BYTES..)?)?;
    let known = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && arp.get_hw_addr_len() == 6
        && arp.get_proto_addr_len() == 4
        && arp.packet().len() >= ARP_BYTES;
    let operation = match arp.get_operation() {
        ArpOperations::Request => Operation::Request,
        ArpOperations::Reply => Operation::Reply,
        _ => return None,
    };
    known.then(|| Heard {
        operation,
        sender: arp.get_sender_hw_addr().octets(),
        sender_address: arp.get_sender_proto_addr().octets().into(),
        target: arp.get_target_hw_addr().octets(),
        target_address: arp.get_target_proto_addr().octets().into(),
    })
}

/// Ethernet's six bytes, when it is that long.
pub fn ethernet_address(bytes: &[u8]) -> Option<[u8; 6]> {
    bytes.try_into().ok()
}

/// Ethernet and loopback frames are made here as a whole, others by the kernel.
pub(super) fn framing(link: &Link) -> Framing {
    match link.hardware_type {
        HARDWARE_ETHERNET | HARDWARE_LOOPBACK => Framing::Frame,
        _ => Framing::Payload,
    }
}

fn ethernet_announcement(
    operation: Operation,
    device: &[u8],
    sender: Option<HardwareAddress>,
    address: Ipv4Addr,
) -> Option<Vec<u8>> {
    let device = ethernet_address(device)?;
    let sender = sender.map_or(device, |sender| sender.0);
    Some(frame(
        operation,
        &ArpFields {
            link_source: device,
            link_destination: [0xff; 6],
            sender,
            sender_address: address,
            target: if operation == Operation::Request { [0; 6] } else { sender },
            target_address: address,
        },
    ))
}

/// Only the ARP part: 8 + 2 x (20 + 4) bytes.
fn infiniband_announcement(operation: Operation, device: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    if device.len() != 20 {
        return None;
    }
    let code = if operation == Operation::Request { 1 } else { 2 };
    let mut bytes = vec![0, HARDWARE_INFINIBAND as u8, 0x08, 0x00, 20, 4, 0, code];
    bytes.extend_from_slice(device);
    bytes.extend_from_slice(&address.octets());
    match operation {
        Operation::Request => bytes.extend_from_slice(&[0; 20]),
        Operation::Reply => bytes.extend_from_slice(device),
    }
    bytes.extend_from_slice(&address.octets());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEVICE: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 5);

    #[test]
    fn request_and_reply_are_those_of_the_original() {
        let request = ethernet_announcement(Operation::Request, &DEVICE, None, ADDRESS).unwrap();
        let expected = [
            255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
            192, 168, 77, 5, 0, 0, 0, 0, 0, 0, 192, 168, 77, 5,
        ];
        assert_eq!(request, expected);
        let other = HardwareAddress([1, 2, 3, 4, 5, 6]);
        let reply = ethernet_announcement(Operation::Reply, &DEVICE, Some(other), ADDRESS).unwrap();
        assert_eq!(reply[6..12], DEVICE);
        assert_eq!(reply[20..22], [0, 2]);
        assert_eq!(reply[22..28], other.0);
        assert_eq!(reply[32..38], other.0);
        assert_eq!(parse(&reply).unwrap().sender_address, ADDRESS);
    }

    #[test]
    fn infiniband_has_its_own_lengths() {
        let reply = infiniband_announcement(Operation::Reply, &[9; 20], ADDRESS).unwrap();
        assert_eq!(reply.len(), 56);
        assert_eq!(reply[..8], [0, 32, 8, 0, 20, 4, 0, 2]);
        assert_eq!(infiniband_announcement(Operation::Reply, &[9; 6], ADDRESS), None);
        assert_eq!(ethernet_announcement(Operation::Reply, &[9; 20], None, ADDRESS), None);
    }

    proptest! {
        #[test]
        fn random_frames_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&bytes);
        }
    }
}
