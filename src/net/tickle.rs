//! Tickle packets: a TCP acknowledgement that is wrong on purpose. The peer of a connection that moved
//! to another host answers it, is answered with a reset, and connects again at once instead of waiting
//! for its next retransmission.
//!
//! The packet is that of the original's `tickle_tcp`: ACK alone, sequence and acknowledgement number 0,
//! window 1234, lifetime 255 (IPv6: 64). So is the file between the nodes: `IP:PORT<TAB>IP:PORT` on each
//! line, the local end first. An IPv6 address stands there without brackets, as the original reads it;
//! with them it is understood too.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::tcp_table::{Connection, CONNECTIONS_MAX};

/// Longest state file that is read: room for [`CONNECTIONS_MAX`] lines of the longest ends.
pub const STATE_MAX_BYTES: u64 = 92 * CONNECTIONS_MAX as u64;
const IP_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const TCP_HEADER_BYTES: usize = 20;
const LIFETIME: u8 = 255;
const HOP_LIMIT: u8 = 64;
const TCP: u8 = 6;
const ACK: u8 = 0x10;
const WINDOW: u16 = 1234;

/// The state file of these connections.
pub fn state_text(connections: &[Connection]) -> String {
    let end = |it: SocketAddr| format!("{}:{}", it.ip(), it.port());
    connections.iter().map(|it| format!("{}\t{}\n", end(it.local), end(it.remote))).collect()
}

/// The connections in a state file. Other lines are passed over: one bad line must not keep the
/// other clients waiting.
pub fn connections_in(state: &str) -> Vec<Connection> {
    let connection = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let connection = Connection { local: end_point(words.next()?)?, remote: end_point(words.next()?)? };
        (connection.local.is_ipv4() == connection.remote.is_ipv4()).then_some(connection)
    };
    state.lines().filter_map(connection).take(CONNECTIONS_MAX).collect()
}

fn end_point(text: &str) -> Option<SocketAddr> {
    let plain = || {
        let (address, port) = text.rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        Some(SocketAddr::new(address.parse().ok()?, port.parse().ok().filter(|_| digits)?))
    };
    plain().or_else(|| text.parse().ok())
}

/// Sends each connection's packet from its local to its remote end, `rounds` times over. The value is
/// how many packets left.
///
/// # Errors
/// No raw socket (CAP_NET_RAW). A packet that the kernel does not take, for want of a route say, is
/// passed over.
pub fn tickle(connections: &[Connection], rounds: u32) -> io::Result<usize> {
    // IPPROTO_RAW: the packets bring their IP header, and nothing is received (raw(7)).
    let open = |domain| Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)));
    let of = |v6: bool| connections.iter().filter(move |it| it.remote.is_ipv6() == v6);
    let mut sent = 0;
    for (v6, domain) in [(false, Domain::IPV4), (true, Domain::IPV6)] {
        if of(v6).next().is_none() {
            continue;
        }
        let socket = open(domain)?;
        for connection in (0..rounds).flat_map(|_| of(v6)) {
            let destination = SocketAddr::new(connection.remote.ip(), 0);
            let packet = packet(*connection);
            sent += usize::from(packet.is_some_and(|it| socket.send_to(&it, &destination.into()).is_ok()));
        }
    }
    Ok(sent)
}

/// The packet with its IP header; the kernel fills in an IPv4 header's identification and checksum.
/// `None` when the ends are not of one family.
fn packet(connection: Connection) -> Option<Vec<u8>> {
    let Connection { local, remote } = connection;
    let mut packet = match (local.ip(), remote.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => header(from, to).to_vec(),
        (IpAddr::V6(from), IpAddr::V6(to)) => header6(from, to).to_vec(),
        _ => return None,
    };
    let mut tcp = [0; TCP_HEADER_BYTES];
    tcp[0..2].copy_from_slice(&local.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&remote.port().to_be_bytes());
    tcp[12] = ((TCP_HEADER_BYTES / 4) as u8) << 4;
    tcp[13] = ACK;
    tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    let checksum = checksum(local.ip(), remote.ip(), &tcp);
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(&tcp);
    Some(packet)
}

fn header(from: Ipv4Addr, to: Ipv4Addr) -> [u8; IP_HEADER_BYTES] {
    let mut ip = [0; IP_HEADER_BYTES];
    ip[0] = 0x45;
    // The kernel sets the length too; raw(7) wants it in network order all the same.
    ip[2..4].copy_from_slice(&((IP_HEADER_BYTES + TCP_HEADER_BYTES) as u16).to_be_bytes());
    ip[8] = LIFETIME;
    ip[9] = TCP;
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&to.octets());
    ip
}

fn header6(from: Ipv6Addr, to: Ipv6Addr) -> [u8; IPV6_HEADER_BYTES] {
    let mut ip = [0; IPV6_HEADER_BYTES];
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&(TCP_HEADER_BYTES as u16).to_be_bytes());
    ip[6] = TCP;
    ip[7] = HOP_LIMIT;
    ip[8..24].copy_from_slice(&from.octets());
    ip[24..40].copy_from_slice(&to.octets());
    ip
}

/// The checksum of a TCP segment with its pseudo header (RFC 9293 3.1, RFC 8200 8.1).
fn checksum(from: IpAddr, to: IpAddr, segment: &[u8; TCP_HEADER_BYTES]) -> u16 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let all = [octets(from), octets(to), segment.to_vec()].concat();
    let sum: u32 = all.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
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
        let mut ours = packet(connection("10.9.0.1:80", "10.9.0.2:4000")).unwrap();
        // Identification and checksum of the IP header are the kernel's.
        ours[4..6].copy_from_slice(&recorded[4..6]);
        ours[10..12].copy_from_slice(&recorded[10..12]);
        assert_eq!(ours, recorded);
        // Over IPv6 its checksum (3fb8) leaves out length and protocol of the pseudo header: no host takes
        // such a segment. Ours has the checksum of RFC 8200 8.1.
        let expected = "600000000014064020010db800000000000000000000000120010db80000000000000000000000020050\
             0fa00000000000000000501004d23f9e0000";
        let ours = packet(connection("[2001:db8::1]:80", "[2001:db8::2]:4000")).unwrap();
        let digits: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, expected);
    }

    #[test]
    fn the_state_file_is_the_originals() {
        let connections =
            [connection("10.9.0.1:80", "10.9.0.2:4000"), connection("10.9.0.1:443", "1.2.3.4:5")];
        let text = state_text(&connections);
        assert_eq!(text, "10.9.0.1:80\t10.9.0.2:4000\n10.9.0.1:443\t1.2.3.4:5\n");
        assert_eq!(connections_in(&text), connections);
        assert!(text.len() as u64 <= STATE_MAX_BYTES);
        let connections = [connection("[2001:db8::1]:80", "[2001:db8::2]:4000")];
        let text = state_text(&connections);
        assert_eq!(text, "2001:db8::1:80\t2001:db8::2:4000\n");
        assert_eq!(connections_in(&text), connections);
        assert_eq!(connections_in("[2001:db8::1]:80\t[2001:db8::2]:4000\n"), connections);
    }

    #[test]
    fn bad_lines_of_a_state_file_are_passed_over() {
        let state = "\n\0\n10.9.0.1:80\nx y\n10.9.0.1:80 10.9.0.2:70000\n[::1]:80 1.2.3.4:81\n10.9.0.1:+80 10.9.0.2:1\n\
             10.9.0.1:80 10.9.0.2:1 and more\n10.9.0.1 10.9.0.2\n";
        assert_eq!(connections_in(state), [connection("10.9.0.1:80", "10.9.0.2:1")]);
        let many = "1.1.1.1:1 2.2.2.2:2\n".repeat(CONNECTIONS_MAX + 9);
        assert_eq!(connections_in(&many).len(), CONNECTIONS_MAX);
    }
}
