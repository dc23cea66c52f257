//! Tickle packets: a TCP acknowledgement that is wrong on purpose. The peer of a connection that moved
//! to another host answers it, is answered with a reset, and connects again at once instead of waiting
//! for its next retransmission.
//!
//! The packet is that of the original's `tickle_tcp`: ACK alone, sequence and acknowledgement number 0,
//! window 1234, lifetime 255. So is the file between the nodes: `IP:PORT<TAB>IP:PORT` on each line, the
//! local end first.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use socket2::{Domain, Protocol, Socket, Type};

use super::tcp_table::{Connection, CONNECTIONS_MAX};

/// Longest state file that is read: room for [`CONNECTIONS_MAX`] lines of the longest ends.
pub const STATE_MAX_BYTES: u64 = 44 * CONNECTIONS_MAX as u64;
const IP_HEADER_BYTES: usize = 20;
const TCP_HEADER_BYTES: usize = 20;
const LIFETIME: u8 = 255;
const TCP: u8 = 6;
const ACK: u8 = 0x10;
const WINDOW: u16 = 1234;

/// The state file of these connections.
pub fn state_text(connections: &[Connection]) -> String {
    connections.iter().map(|it| format!("{}\t{}\n", it.local, it.remote)).collect()
}

/// The connections in a state file. Other lines are passed over: one bad line must not keep the
/// other clients waiting.
pub fn connections_in(state: &str) -> Vec<Connection> {
    let connection = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        Some(Connection { local: words.next()?.parse().ok()?, remote: words.next()?.parse().ok()? })
    };
    state.lines().filter_map(connection).take(CONNECTIONS_MAX).collect()
}

/// Sends each connection's packet from its local to its remote end, `rounds` times over. The value is
/// how many packets left.
///
/// # Errors
/// No raw socket (CAP_NET_RAW). A packet that the kernel does not take, for want of a route say, is
/// passed over.
pub fn tickle(connections: &[Connection], rounds: u32) -> io::Result<usize> {
    // IPPROTO_RAW: the packets bring their IP header, and nothing is received (raw(7)).
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    let mut sent = 0;
    for _ in 0..rounds {
        for connection in connections {
            let destination = SocketAddrV4::new(*connection.remote.ip(), 0);
            sent += usize::from(socket.send_to(&packet(*connection), &destination.into()).is_ok());
        }
    }
    Ok(sent)
}

/// The packet with its IP header; the kernel fills in the header's identification and checksum.
fn packet(connection: Connection) -> [u8; IP_HEADER_BYTES + TCP_HEADER_BYTES] {
    let Connection { local, remote } = connection;
    let mut packet = [0; IP_HEADER_BYTES + TCP_HEADER_BYTES];
    let (ip, tcp) = packet.split_at_mut(IP_HEADER_BYTES);
    ip[0] = 0x45;
    // The kernel sets the length too; raw(7) wants it in network order all the same.
    ip[2..4].copy_from_slice(&((IP_HEADER_BYTES + TCP_HEADER_BYTES) as u16).to_be_bytes());
    ip[8] = LIFETIME;
    ip[9] = TCP;
    ip[12..16].copy_from_slice(&local.ip().octets());
    ip[16..20].copy_from_slice(&remote.ip().octets());
    tcp[0..2].copy_from_slice(&local.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&remote.port().to_be_bytes());
    tcp[12] = ((TCP_HEADER_BYTES / 4) as u8) << 4;
    tcp[13] = ACK;
    tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    let checksum = checksum(*local.ip(), *remote.ip(), tcp);
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The checksum of a TCP segment of even length with its pseudo header (RFC 9293 3.1).
fn checksum(from: Ipv4Addr, to: Ipv4Addr, segment: &[u8]) -> u16 {
    let (from, to) = (from.octets(), to.octets());
    let words = from.chunks(2).chain(to.chunks(2)).chain(segment.chunks(2));
    let sum: u32 = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    let sum = sum + u32::from(TCP) + segment.len() as u32;
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(local: &str, remote: &str) -> Connection {
        Connection { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    /// Recorded from `tickle_tcp -n 2` of Debian's heartbeat 3.0.6, for the connection below.
    #[test]
    fn the_packet_is_the_originals() {
        let recorded = [
            0x45, 0x00, 0x00, 0x28, 0x1c, 0xaf, 0x00, 0x00, 0xff, 0x06, 0x8b, 0x0c, 0x0a, 0x09, 0x00, 0x01,
            0x0a, 0x09, 0x00, 0x02, 0x00, 0x50, 0x0f, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x50, 0x10, 0x04, 0xd2, 0x86, 0xfe, 0x00, 0x00,
        ];
        let mut ours = packet(connection("10.9.0.1:80", "10.9.0.2:4000"));
        // Identification and checksum of the IP header are the kernel's.
        ours[4..6].copy_from_slice(&recorded[4..6]);
        ours[10..12].copy_from_slice(&recorded[10..12]);
        assert_eq!(ours, recorded);
    }

    #[test]
    fn the_state_file_is_the_originals() {
        let connections =
            [connection("10.9.0.1:80", "10.9.0.2:4000"), connection("10.9.0.1:443", "1.2.3.4:5")];
        let text = state_text(&connections);
        assert_eq!(text, "10.9.0.1:80\t10.9.0.2:4000\n10.9.0.1:443\t1.2.3.4:5\n");
        assert_eq!(connections_in(&text), connections);
        assert!(text.len() as u64 <= STATE_MAX_BYTES);
    }

    #[test]
    fn bad_lines_of_a_state_file_are_passed_over() {
        let state = "\n\0\n10.9.0.1:80\nx y\n10.9.0.1:80 10.9.0.2:70000\n[::1]:80 [::1]:81\n\
             10.9.0.1:80 10.9.0.2:1 and more\n10.9.0.1 10.9.0.2\n";
        assert_eq!(connections_in(state), [connection("10.9.0.1:80", "10.9.0.2:1")]);
        let many = "1.1.1.1:1 2.2.2.2:2\n".repeat(CONNECTIONS_MAX + 9);
        assert_eq!(connections_in(&many).len(), CONNECTIONS_MAX);
    }
}
