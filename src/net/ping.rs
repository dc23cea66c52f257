//! ICMP echo (RFC 792): does an address answer?

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// Bytes behind the ICMP header, as ping(8) sends them.
const PAYLOAD_BYTES: usize = 56;

/// Sends one echo request and waits for its reply. `false` when none came in time.
///
/// # Errors
/// The socket's: CAP_NET_RAW is needed, a route must exist.
pub fn ping(address: Ipv4Addr, sequence: u16, timeout: Duration) -> io::Result<bool> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    let identifier = std::process::id() as u16;
    socket.send_to(&echo_request(identifier, sequence), &SocketAddrV4::new(address, 0).into())?;
    let end = Instant::now() + timeout;
    let mut buffer = [0; 512];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match (&socket).read(&mut buffer) {
            Ok(length) if is_reply(&buffer[..length], address, identifier, sequence) => return Ok(true),
            Ok(_) => (),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                ()
            }
            Err(error) => return Err(error),
        }
    }
}

fn echo_request(identifier: u16, sequence: u16) -> Vec<u8> {
    let mut packet = vec![ECHO_REQUEST, 0, 0, 0];
    packet.extend_from_slice(&identifier.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.resize(8 + PAYLOAD_BYTES, 0);
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// An IPv4 packet from the address that answers this very request.
fn is_reply(packet: &[u8], from: Ipv4Addr, identifier: u16, sequence: u16) -> bool {
    let header_bytes = usize::from(packet.first().copied().unwrap_or(0) & 0x0f) * 4;
    let source = packet.get(12..16).is_some_and(|source| source == from.octets());
    let Some(icmp) = packet.get(header_bytes..header_bytes + 8).filter(|_| header_bytes >= 20) else {
        return false;
    };
    source
        && icmp[0] == ECHO_REPLY
        && icmp[4..6] == identifier.to_be_bytes()
        && icmp[6..8] == sequence.to_be_bytes()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(((folded & 0xffff) + (folded >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_from_other_packets() {
        let from = Ipv4Addr::new(10, 0, 0, 1);
        let mut packet = vec![0x45; 1];
        packet.resize(20, 0);
        packet[12..16].copy_from_slice(&from.octets());
        packet.extend_from_slice(&echo_request(7, 1));
        assert!(!is_reply(&packet, from, 7, 1));
        packet[20] = ECHO_REPLY;
        assert!(is_reply(&packet, from, 7, 1));
        assert!(!is_reply(&packet, from, 7, 2));
        assert!(!is_reply(&packet, Ipv4Addr::LOCALHOST, 7, 1));
        for end in 0..28 {
            assert!(!is_reply(&packet[..end], from, 7, 1));
        }
    }

    #[test]
    fn the_checksum_of_a_request_makes_it_zero() {
        assert_eq!(checksum(&echo_request(0x1234, 5)), 0);
    }
}
