//! Hears who else claims an address: ARP packets (RFC 826) with it as their sender, neighbour
//! advertisements (RFC 4861) about it.
//!
//! An address that answers elsewhere does not keep it from being started here: the other side may be
//! a hung host whose kernel answers for ever. So it is added and announced, and whoever announces or
//! defends it later is heard here.

use std::collections::BTreeSet;
use std::io::{self, PipeReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;

use libc::sock_filter;
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::sys::packet::{Framing, PacketSocket, Received};

use super::arp::ETHERTYPE_ARP;
use super::nd::{self, ETHERTYPE_IPV6};
use super::netlink::{Netlink, NetlinkError};

/// Most IPv4 addresses that the kernel looks for by itself (jumps of its filter language reach 255
/// instructions); with more, every ARP packet is looked at here.
const FILTERED_ADDRESSES_MAX: usize = 200;
/// Bytes kept of a packet; all that is looked at is in front.
const SNAPSHOT_BYTES: u32 = 256;
/// Sender protocol address in an ARP packet behind the link layer header, with addresses of 6 bytes.
const ARP_SENDER: u32 = 14;

/// Another station that has one of the addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which address.
    pub address: IpAddr,
    /// Hardware address of the other station, with colons.
    pub hardware: String,
    /// The interface on which it was heard.
    pub interface: String,
}

/// What somebody said, before it is known whether it is about an address of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    address: IpAddr,
    hardware: Vec<u8>,
    interface: u32,
}

/// Listens on all interfaces.
#[derive(Debug)]
pub struct Listener {
    watched: BTreeSet<IpAddr>,
    arp: PacketSocket,
    nd: PacketSocket,
}

impl Listener {
    /// Hears what is said about these addresses from now on. Needs CAP_NET_RAW.
    ///
    /// # Errors
    /// The sockets'.
    pub fn open(watched: BTreeSet<IpAddr>) -> io::Result<Self> {
        let arp = PacketSocket::open_filtered(Framing::Payload, ETHERTYPE_ARP, &arp_filter(&watched))?;
        let nd = PacketSocket::open_filtered(Framing::Payload, ETHERTYPE_IPV6, &advertisement_filter())?;
        Ok(Self { watched, arp, nd })
    }

    /// Waits for the next conflict: a claim by another station for a watched address that is on this
    /// host. `None` when the other end of `stop` was closed.
    ///
    /// # Errors
    /// The sockets' and the kernel's; an interface that goes down is none.
    pub fn next(&self, stop: &PipeReader) -> io::Result<Option<Conflict>> {
        let mut buffer = [0; SNAPSHOT_BYTES as usize];
        loop {
            let mut waiting = [
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.arp.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.nd.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                result => result?,
            };
            if waiting[0].any().unwrap_or(false) {
                return Ok(None);
            }
            for (socket, parse) in [(&self.arp, parse_arp as Parse), (&self.nd, parse_advertisement)] {
                let received = match socket.receive_waiting(&mut buffer) {
                    Ok(Some(received)) => received,
                    Ok(None) => continue,
                    Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
                    Err(error) => return Err(error),
                };
                let claim = parse(&buffer[..received.length], &received).filter(|_| !received.outgoing);
                let Some(claim) = claim.filter(|claim| self.watched.contains(&claim.address)) else {
                    continue;
                };
                if let Some(conflict) = judge(claim).map_err(io::Error::other)? {
                    return Ok(Some(conflict));
                }
            }
        }
    }
}

type Parse = fn(&[u8], &Received) -> Option<Claim>;

/// A claim is a conflict when the address is on this host and the station is none of its interfaces.
fn judge(claim: Claim) -> Result<Option<Conflict>, NetlinkError> {
    let mut netlink = Netlink::open()?;
    let addresses = if claim.address.is_ipv4() { netlink.addresses()? } else { netlink.addresses6()? };
    if !addresses.iter().any(|address| address.local == claim.address) {
        return Ok(None);
    }
    let links = netlink.links()?;
    if links.iter().any(|link| link.address == claim.hardware) {
        return Ok(None);
    }
    let interface = links.into_iter().find(|link| link.index == claim.interface);
    let digits: Vec<String> = claim.hardware.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Conflict {
        address: claim.address,
        hardware: digits.join(":"),
        interface: interface.map_or_else(|| "?".to_owned(), |link| link.name),
    }))
}

/// An ARP packet about IPv4, whatever the length of its hardware addresses.
fn parse_arp(packet: &[u8], received: &Received) -> Option<Claim> {
    let hardware_bytes = usize::from(*packet.get(4)?);
    if packet.get(2..4)? != [0x08, 0x00] || *packet.get(5)? != 4 {
        return None;
    }
    let hardware = packet.get(8..8 + hardware_bytes)?.to_vec();
    let start = 8 + hardware_bytes;
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(start..start + 4)?).ok()?);
    Some(Claim { address: address.into(), hardware, interface: received.interface })
}

fn parse_advertisement(packet: &[u8], received: &Received) -> Option<Claim> {
    let target = nd::parse_advertisement(packet)?;
    let hardware = received.sender.get(..received.sender_bytes)?.to_vec();
    Some(Claim { address: target.into(), hardware, interface: received.interface })
}

/// Lets pass ARP packets whose sender is one of the addresses.
fn arp_filter(watched: &BTreeSet<IpAddr>) -> Vec<sock_filter> {
    let addresses: Vec<Ipv4Addr> = watched
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
        .collect();
    if addresses.len() > FILTERED_ADDRESSES_MAX {
        return vec![accept()];
    }
    // Hardware addresses of another length than 6 are rare enough to be looked at here.
    let count = addresses.len() as u8;
    let mut program = vec![load_byte(4), jump_if_equal(6, 0, count + 2), load_word(ARP_SENDER)];
    for (index, address) in addresses.into_iter().enumerate() {
        program.push(jump_if_equal(u32::from(address), count - index as u8, 0));
    }
    program.extend([reject(), accept()]);
    program
}

/// Lets pass neighbour advertisements.
fn advertisement_filter() -> Vec<sock_filter> {
    vec![
        load_byte(6),
        jump_if_equal(u32::from(nd::NEXT_HEADER_ICMPV6), 0, 3),
        load_byte(40),
        jump_if_equal(u32::from(nd::ADVERTISEMENT), 0, 1),
        accept(),
        reject(),
    ]
}

fn load_byte(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

fn load_word(offset: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// Passes over that many instructions.
fn jump_if_equal(value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: if_so,
        jf: if_not,
        k: value,
    }
}

fn accept() -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: SNAPSHOT_BYTES }
}

fn reject() -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn received() -> Received {
        Received { interface: 3, sender: [2; 32], sender_bytes: 6, ..Received::default() }
    }

    #[test]
    fn claims_name_sender_and_address() {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1];
        packet.resize(28, 0);
        let claim = parse_arp(&packet, &received()).unwrap();
        assert_eq!(claim.address, IpAddr::from([10, 0, 0, 1]));
        assert_eq!((claim.hardware, claim.interface), (vec![2, 0, 0, 0, 0, 9], 3));
        for end in 0..18 {
            assert_eq!(parse_arp(&packet[..end], &received()), None);
        }
        packet[4] = 255;
        assert_eq!(parse_arp(&packet, &received()), None);
    }

    #[test]
    fn the_filter_jumps_to_its_last_instruction() {
        for count in [0, 1, 2, FILTERED_ADDRESSES_MAX] {
            let watched: BTreeSet<IpAddr> =
                (0..count).map(|last| IpAddr::from([10, 0, 0, last as u8])).collect();
            assert_eq!(arp_filter(&watched).len(), 3 + count + 2);
        }
        let many = (0..=FILTERED_ADDRESSES_MAX as u32).map(|it| IpAddr::from(Ipv4Addr::from(it)));
        assert_eq!(arp_filter(&many.collect()).len(), 1);
    }

    proptest! {
        #[test]
        fn random_packets_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (parse_arp(&bytes, &received()), parse_advertisement(&bytes, &received()));
        }
    }
}
