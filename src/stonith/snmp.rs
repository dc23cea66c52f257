//! As much of SNMP version 1 as power switches need: GET and SET of one variable (RFC 1157), and the
//! encoding under it (X.690, definite lengths). Whatever comes from the network is hostile.

use std::net::{ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use super::device::Pace;

/// Bytes of a datagram.
const DATAGRAM_MAX_BYTES: usize = 1500;
/// Bytes of a text that are kept.
const TEXT_MAX_BYTES: usize = 255;
/// Parts of an object's name.
const PARTS_MAX: usize = 64;
/// Times that a question is asked, a second apart (agents spec 3.5).
const QUESTIONS_MAX: u32 = 6;
/// Longest wait for the answer to a command, which is sent once: a second copy could reset twice.
const COMMAND_MAX_S: u32 = 6;

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const GET: u8 = 0xa0;
const RESPONSE: u8 = 0xa2;
const SET: u8 = 0xa3;

/// Name of an object, as numbers.
pub type Oid = Vec<u32>;

/// What an object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// INTEGER.
    Integer(i64),
    /// OCTET STRING, as text.
    Text(String),
    /// Something else.
    Other,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnmpError {
    /// No address, or no route.
    #[error("error sending/receiving pdu")]
    Network,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The agent refused.
    #[error("error in response packet, reason {0}")]
    Refused(i64),
}

/// An agent.
pub struct Agent {
    socket: UdpSocket,
    community: Vec<u8>,
    request: i32,
    pace: Pace,
}

impl Agent {
    /// For the agent at this address.
    ///
    /// # Errors
    /// The address cannot be resolved or reached.
    pub fn open(address: &str, port: u16, community: &str, pace: Pace) -> Result<Self, SnmpError> {
        let place = (address, port).to_socket_addrs().ok().and_then(|mut places| places.next());
        let place = place.ok_or(SnmpError::Network)?;
        let own = if place.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(own).map_err(|_| SnmpError::Network)?;
        // Only this agent's datagrams come in.
        socket.connect(place).map_err(|_| SnmpError::Network)?;
        let now_ms = crate::sys::time::monotonic_ms();
        let request =
            i32::try_from((now_ms ^ u64::from(std::process::id()) << 13) & 0x3fff_ffff).unwrap_or(1);
        Ok(Self { socket, community: community.as_bytes().to_vec(), request, pace })
    }

    /// Asks for an object.
    ///
    /// # Errors
    /// None came, or the agent refused.
    pub fn get(&mut self, oid: &[u32]) -> Result<Value, SnmpError> {
        self.request += 1;
        let packet = encode(&self.community, GET, self.request, oid, None);
        for _ in 0..QUESTIONS_MAX {
            self.socket.send(&packet).map_err(|_| SnmpError::Network)?;
            match self.answer(oid, self.pace.seconds(1)) {
                Err(SnmpError::Timeout) => {}
                other => return other,
            }
        }
        Err(SnmpError::Timeout)
    }

    /// Sets an object to a number, once.
    ///
    /// # Errors
    /// The agent refused; or no answer came, and it is unknown whether it did.
    pub fn set(&mut self, oid: &[u32], number: i32) -> Result<(), SnmpError> {
        self.request += 1;
        let packet = encode(&self.community, SET, self.request, oid, Some(number));
        self.socket.send(&packet).map_err(|_| SnmpError::Network)?;
        self.answer(oid, self.pace.seconds(COMMAND_MAX_S)).map(|_| ())
    }

    /// The answer to the last request; what is not one does not count.
    fn answer(&self, oid: &[u32], limit: Duration) -> Result<Value, SnmpError> {
        let end = Instant::now() + limit;
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(SnmpError::Timeout);
            }
            self.socket.set_read_timeout(Some(left)).map_err(|_| SnmpError::Network)?;
            match self.socket.recv(&mut buffer) {
                Ok(count) => {
                    let Some(response) = decode(&buffer[..count]) else { continue };
                    if response.request != i64::from(self.request) || response.community != self.community {
                        continue;
                    }
                    if response.error != 0 {
                        return Err(SnmpError::Refused(response.error));
                    }
                    // An answer about another outlet is none.
                    if response.oid == oid {
                        return Ok(response.value);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    return Err(SnmpError::Network);
                }
                Err(_) => {}
            }
        }
    }
}

/// A response's contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    community: Vec<u8>,
    request: i64,
    error: i64,
    oid: Oid,
    value: Value,
}

/// Reads a datagram: a response of version 1 about one object. `None` for everything else.
pub fn decode(datagram: &[u8]) -> Option<Response> {
    let mut message = Reader(Reader(datagram).take(SEQUENCE)?);
    if integer(message.take(INTEGER)?)? != 0 {
        return None;
    }
    let community = message.take(OCTETS)?.to_vec();
    let mut body = Reader(message.take(RESPONSE)?);
    let request = integer(body.take(INTEGER)?)?;
    let error = integer(body.take(INTEGER)?)?;
    integer(body.take(INTEGER)?)?;
    let mut list = Reader(body.take(SEQUENCE)?);
    let mut pair = Reader(list.take(SEQUENCE)?);
    let oid = object(pair.take(OBJECT)?)?;
    let (tag, bytes) = pair.next()?;
    let value = match tag {
        INTEGER => Value::Integer(integer(bytes)?),
        OCTETS => {
            let bytes = &bytes[..bytes.len().min(TEXT_MAX_BYTES)];
            let text = String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next()?).into_owned();
            Value::Text(text)
        }
        _ => Value::Other,
    };
    Some(Response { community, request, error, oid, value })
}

/// Elements one after another.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // More than two bytes of length do not fit into a datagram.
            0x81 | 0x82 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 3))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn take(&mut self, expected: u8) -> Option<&'b [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }
}

fn integer(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first().filter(|_| bytes.len() <= 8)?;
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(start, |sum, byte| sum << 8 | i64::from(*byte)))
}

fn object(bytes: &[u8]) -> Option<Oid> {
    let (first, rest) = bytes.split_first()?;
    let mut oid = vec![u32::from(first / 40), u32::from(first % 40)];
    let mut part: u32 = 0;
    for byte in rest {
        part = part.checked_mul(128)?.checked_add(u32::from(byte & 0x7f))?;
        if byte & 0x80 == 0 {
            if oid.len() >= PARTS_MAX {
                return None;
            }
            oid.push(std::mem::take(&mut part));
        }
    }
    rest.last().is_none_or(|byte| byte & 0x80 == 0).then_some(oid)
}

fn encode(community: &[u8], kind: u8, request: i32, oid: &[u32], number: Option<i32>) -> Vec<u8> {
    let value = match number {
        Some(number) => element(INTEGER, &number_bytes(number)),
        None => element(NULL, &[]),
    };
    let pair = element(SEQUENCE, &[element(OBJECT, &object_bytes(oid)), value].concat());
    let zero = element(INTEGER, &[0]);
    let list = element(SEQUENCE, &pair);
    let body = [element(INTEGER, &number_bytes(request)), zero.clone(), zero.clone(), list].concat();
    element(SEQUENCE, &[zero, element(OCTETS, community), element(kind, &body)].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => bytes.push(short),
        Ok(long) => bytes.extend([0x81, long]),
        Err(_) => {
            bytes.push(0x82);
            bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// As few bytes as keep the sign.
fn number_bytes(number: i32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let redundant =
        |pair: &[u8]| (pair[0] == 0 && pair[1] & 0x80 == 0) || (pair[0] == 0xff && pair[1] & 0x80 != 0);
    let start = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    bytes[start..].to_vec()
}

fn object_bytes(oid: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = oid.first().copied().unwrap_or(0) * 40 + oid.get(1).copied().unwrap_or(0);
    for part in std::iter::once(head).chain(oid.iter().skip(2).copied()) {
        let groups = (1..5).rev().filter(|group| part >> (7 * group) != 0);
        bytes.extend(groups.map(|group| 0x80 | (part >> (7 * group) & 0x7f) as u8));
        bytes.push((part & 0x7f) as u8);
    }
    bytes
}

/// The numbers of a dotted name, and one more behind.
pub fn oid(dotted: &str, last: u32) -> Oid {
    dotted.split('.').filter_map(|part| part.parse().ok()).chain([last]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> Vec<u8> {
        encode(b"private", RESPONSE, 70_000, &[1, 3, 6, 1, 4, 1, 318, 200_000], Some(-3))
    }

    #[test]
    fn what_is_written_is_read() {
        let read = decode(&response()).unwrap();
        assert_eq!((read.request, read.error, read.value), (70_000, 0, Value::Integer(-3)));
        assert_eq!(read.oid, [1, 3, 6, 1, 4, 1, 318, 200_000]);
        for number in [0, 1, -1, 127, 128, -128, -129, 255, 256, 65_535, i32::MAX, i32::MIN] {
            assert_eq!(integer(&number_bytes(number)), Some(i64::from(number)));
        }
        let long = element(OCTETS, &[7; 300]);
        assert_eq!(Reader(&long).take(OCTETS).map(<[u8]>::len), Some(300));
    }

    #[test]
    fn hostile_datagrams_are_no_answer() {
        let good = response();
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), None, "{length}");
        }
        for place in 0..good.len() {
            for value in [0, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff] {
                let mut bad = good.clone();
                bad[place] = value;
                let _ = decode(&bad);
            }
        }
        assert_eq!(decode(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(object(&[0xff; 40]), None);
        assert_eq!(object(&[0x2b; 200]), None);
        assert_eq!(integer(&[]), None);
        assert_eq!(integer(&[1; 9]), None);
    }
}
