//! The kernel's TCP connections, from `/proc/net/tcp` and `/proc/net/tcp6`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most connections that are kept of one look; the rest is counted alone.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Longest line that is believed; the kernel's have some 150 bytes.
const LINE_MAX_BYTES: u64 = 1024;
/// The state column of an established connection (TCP_ESTABLISHED of the kernel).
const ESTABLISHED: &str = "01";

/// One connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

impl Connection {
    /// The same connection seen from the other end.
    #[must_use]
    pub fn swapped(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }
}

/// Established connections of one address of this host, at most [`CONNECTIONS_MAX`]; of an IPv4 address
/// also those that came in over a socket for both families (`::ffff:a.b.c.d`).
///
/// # Errors
/// `/proc/net/tcp` cannot be read. A kernel without IPv6 is no error.
pub fn established(address: IpAddr) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    collect(File::open("/proc/net/tcp")?, address, &mut connections)?;
    if let Ok(table) = File::open("/proc/net/tcp6") {
        collect(table, address, &mut connections)?;
    }
    Ok(connections)
}

fn collect(table: impl Read, address: IpAddr, found: &mut Vec<Connection>) -> io::Result<()> {
    let mut reader = BufReader::new(table);
    let mut line = Vec::new();
    while found.len() < CONNECTIONS_MAX {
        line.clear();
        if reader.by_ref().take(LINE_MAX_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let connection = std::str::from_utf8(&line).ok().and_then(established_in);
        found.extend(connection.filter(|connection| connection.local.ip() == address));
    }
    Ok(())
}

/// The connection that a line of the table shows, if it is established.
fn established_in(line: &str) -> Option<Connection> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
    if state != ESTABLISHED {
        return None;
    }
    Some(Connection { local: end_point(local)?, remote: end_point(remote)? })
}

/// `0100007F:0050`, or 32 digits for the other family: 32-bit words in this machine's byte order,
/// the port as a number.
fn end_point(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal(address) || !hexadecimal(port) || port.len() != 4 {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(&address[at..at + 8], 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0; 16];
            for (index, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(index * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(octets)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(connection: &Connection) -> String {
        format!("{} {}", connection.local, connection.remote)
    }

    // The addresses are words in the machine's byte order: these are a little-endian machine's.
    #[cfg(target_endian = "little")]
    #[test]
    fn established_connections_of_one_address_are_found_in_both_tables() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0100090A:0050 0200090A:0FA0 01 00000000:00000000 00:00000000\n\
             1: 0100090A:0050 00000000:0000 0A 00000000:00000000\n\
             2: 0300090A:0050 0200090A:0FA1 01 00000000:00000000\n\
             3: 0000000000000000FFFF00000100090A:01BB 0000000000000000FFFF00000200090A:0FA2 01 x\n\
             4: 000080FE00000000FFFF00000100090A:01BB 0000000000000000FFFF00000200090A:0FA2 01 x\n\
             5: B80D0120000000000000000001000000:0050 B80D0120000000000000000002000000:0FA3 01 x\n";
        let of = |address: &str| -> Vec<String> {
            let mut found = Vec::new();
            collect(table.as_bytes(), address.parse().unwrap(), &mut found).unwrap();
            found.iter().map(ends).collect()
        };
        assert_eq!(of("10.9.0.1"), ["10.9.0.1:80 10.9.0.2:4000", "10.9.0.1:443 10.9.0.2:4002"]);
        assert_eq!(of("2001:db8::1"), ["[2001:db8::1]:80 [2001:db8::2]:4003"]);
    }

    #[test]
    fn strange_lines_are_passed_over() {
        for line in [
            "",
            "0:",
            "0: 0100007F:0050",
            "0: 0100007F:0050 0100007F:0051",
            "0: 0100007F:+050 0100007F:0051 01",
            "0: +100007F:0050 0100007F:0051 01",
            "0: 0100007:0050 0100007F:0051 01",
            "0: é00007F:0050 0100007F:0051 01",
            "0: 0100007F:00500 0100007F:0051 01",
            "0: 0100007F 0100007F 01",
        ] {
            assert_eq!(established_in(line), None, "{line}");
        }
        let endless = vec![b'0'; 1 << 20];
        let mut found = Vec::new();
        collect(endless.as_slice(), Ipv4Addr::LOCALHOST.into(), &mut found).unwrap();
        assert!(found.is_empty());
    }

    #[test]
    fn a_real_connection_is_in_the_table() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let local = client.local_addr().unwrap().to_string();
        let all = established(Ipv4Addr::LOCALHOST.into()).unwrap();
        assert!(all.iter().any(|connection| connection.local.to_string() == local));
        assert!(all.iter().any(|connection| connection.swapped().local.to_string() == local));
    }
}
