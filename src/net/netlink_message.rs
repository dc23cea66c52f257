//! The bytes of route netlink: building requests, taking answers apart. No system calls.
//!
//! Layouts: linux/netlink.h, linux/rtnetlink.h (rtnetlink(7)), as they are since 2.6. Numbers are
//! in the machine's byte order, addresses in network order. Unknown attributes are passed
//! over; lengths that do not fit end the reading of a message, never anything worse.

use std::net::{IpAddr, Ipv4Addr};

use super::netlink::{Address, Link, Route};

/// Message types and flags (linux/netlink.h, linux/rtnetlink.h).
pub(super) mod number {
    pub(crate) const NLMSG_ERROR: u16 = 2;
    pub(crate) const NLMSG_DONE: u16 = 3;
    pub(crate) const RTM_NEWLINK: u16 = 16;
    pub(crate) const RTM_GETLINK: u16 = 18;
    pub(crate) const RTM_NEWADDR: u16 = 20;
    pub(crate) const RTM_DELADDR: u16 = 21;
    pub(crate) const RTM_GETADDR: u16 = 22;
    pub(crate) const RTM_NEWROUTE: u16 = 24;
    pub(crate) const RTM_DELROUTE: u16 = 25;
    pub(crate) const RTM_GETROUTE: u16 = 26;
    pub(crate) const RTM_NEWADDRLABEL: u16 = 72;
    pub(crate) const RTM_DELADDRLABEL: u16 = 73;

    pub(crate) const NLM_F_REQUEST: u16 = 0x1;
    pub(crate) const NLM_F_ACK: u16 = 0x4;
    pub(crate) const NLM_F_DUMP: u16 = 0x300;
    pub(crate) const NLM_F_REPLACE: u16 = 0x100;
    pub(crate) const NLM_F_EXCL: u16 = 0x200;
    pub(crate) const NLM_F_CREATE: u16 = 0x400;

    pub(crate) const IFLA_ADDRESS: u16 = 1;
    pub(crate) const IFLA_BROADCAST: u16 = 2;
    pub(crate) const IFLA_IFNAME: u16 = 3;

    pub(crate) const IFA_ADDRESS: u16 = 1;
    pub(crate) const IFA_LOCAL: u16 = 2;
    pub(crate) const IFA_LABEL: u16 = 3;
    pub(crate) const IFA_BROADCAST: u16 = 4;
    pub(crate) const IFA_CACHEINFO: u16 = 6;
    pub(crate) const IFA_FLAGS: u16 = 8;

    pub(crate) const RTA_DST: u16 = 1;
    pub(crate) const RTA_OIF: u16 = 4;
    pub(crate) const RTA_GATEWAY: u16 = 5;
    pub(crate) const RTA_PRIORITY: u16 = 6;
    pub(crate) const RTA_PREFSRC: u16 = 7;
    pub(crate) const RTA_CACHEINFO: u16 = 12;
    pub(crate) const RTA_TABLE: u16 = 15;

    pub(crate) const IFAL_ADDRESS: u16 = 1;
    pub(crate) const IFAL_LABEL: u16 = 2;

    pub(crate) const RT_SCOPE_NOWHERE: u8 = 255;
}
use number::*;

/// Bytes of `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `NLA_TYPE_MASK`: the two upper bits of an attribute's type are flags.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
/// Marks an attribute that holds others.
const NLA_F_NESTED: u16 = 0x8000;
pub(super) const AF_INET: u8 = libc::AF_INET as u8;
pub(super) const AF_INET6: u8 = libc::AF_INET6 as u8;

/// A request under construction, or several behind each other: the kernel takes them in order.
#[derive(Debug, Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    start: usize,
}

impl Builder {
    /// Begins a message; `fixed` is the structure behind the header.
    pub(super) fn message(&mut self, kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> &mut Self {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0_u32.to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        self.finish()
    }

    /// Adds an attribute to the last message. Values are short (names, addresses).
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        push_attribute(&mut self.bytes, kind, value);
        self.finish()
    }

    /// Adds attributes to the last message.
    pub(super) fn attributes(&mut self, attributes: &Attributes) -> &mut Self {
        self.bytes.extend_from_slice(&attributes.bytes);
        self.finish()
    }

    /// Everything built so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Pads to four bytes and writes the last message's length.
    fn finish(&mut self) -> &mut Self {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// Attributes, nested ones among them, to go behind a message's fixed part.
#[derive(Debug, Default)]
pub struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// Adds one. Values are short (names, addresses).
    pub fn add(&mut self, kind: u16, value: &[u8]) {
        push_attribute(&mut self.bytes, kind, value);
    }

    /// Adds a text with its end mark.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.add(kind, &[value.as_bytes(), b"\0"].concat());
    }

    /// Adds one whose value are attributes, behind a fixed part that may be empty.
    pub fn nest(&mut self, kind: u16, fixed: &[u8], fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.add(kind | NLA_F_NESTED, fixed);
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
}

/// Appends an attribute, padded to four bytes.
fn push_attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (4 + value.len()) as u16;
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// `struct ifaddrmsg`.
pub(super) fn address_header(family: u8, prefix: u8, flags: u8, scope: u8, interface: u32) -> [u8; 8] {
    let index = interface.to_ne_bytes();
    [family, prefix, flags, scope, index[0], index[1], index[2], index[3]]
}

/// `struct ifinfomsg`.
pub fn link_header(interface: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&interface.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// `struct rtmsg`.
pub(super) fn route_header(family: u8, prefix: u8, table: u8, scope: u8) -> [u8; 12] {
    [family, prefix, 0, 0, table, 0, scope, 0, 0, 0, 0, 0]
}

/// One received message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

/// The messages in a datagram; ends at the first length that does not fit.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = number_u32(bytes, 0)? as usize;
        if length < HEADER_BYTES || length > bytes.len() {
            return None;
        }
        let message = Received {
            kind: number_u16(bytes, 4)?,
            sequence: number_u32(bytes, 8)?,
            body: &bytes[HEADER_BYTES..length],
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The error number in an NLMSG_ERROR (0 is an acknowledgement) or NLMSG_DONE; absent counts as 0.
pub(super) fn error_number(body: &[u8]) -> i32 {
    number_u32(body, 0).map_or(0, |value| (value as i32).checked_neg().unwrap_or(i32::MAX))
}

/// Reads an RTM_NEWLINK. `None` when it has no name or is cut short.
pub(super) fn parse_link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: number_u32(body, 4)?,
        hardware_type: number_u16(body, 2)?,
        flags: number_u32(body, 8)?,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_BROADCAST => link.broadcast = value.to_vec(),
            _ => (),
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// Reads an RTM_NEWADDR. `None` when it is no IP address or is cut short.
pub(super) fn parse_address(body: &[u8]) -> Option<Address> {
    let family = *body.first()?;
    let (mut local, mut peer) = (None, None);
    let flags = *body.get(2)?;
    let mut address = Address {
        prefix: checked_prefix(family, *body.get(1)?)?,
        scope: *body.get(3)?,
        interface: number_u32(body, 4)?,
        // For IPv6 the same bit means a temporary address.
        secondary: family == AF_INET && u32::from(flags) & libc::IFA_F_SECONDARY != 0,
        flags: u32::from(flags),
        ..Address::new(0, Ipv4Addr::UNSPECIFIED, 0)
    };
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            IFA_LOCAL => local = ip(family, value),
            IFA_ADDRESS => peer = ip(family, value),
            IFA_BROADCAST => address.broadcast = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
            IFA_LABEL => address.label = Some(text(value)).filter(|label| !label.is_empty()),
            IFA_FLAGS => address.flags = number_u32(value, 0).unwrap_or(address.flags),
            IFA_CACHEINFO => address.lifetime = lifetime(value),
            _ => (),
        }
    }
    address.local = local.or(peer)?;
    address.peer = peer.filter(|peer| *peer != address.local);
    Some(address)
}

/// Reads an RTM_NEWROUTE. `None` when it is no IP route or is cut short.
pub(super) fn parse_route(body: &[u8]) -> Option<Route> {
    let family = *body.first()?;
    let anywhere = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    let mut route = Route {
        destination: anywhere,
        prefix: checked_prefix(family, *body.get(1)?)?,
        table: u32::from(*body.get(4)?),
        scope: *body.get(6)?,
        kind: *body.get(7)?,
        protocol: *body.get(5)?,
        service: *body.get(3)?,
        interface: None,
        gateway: None,
        source: None,
        metric: 0,
        attributes: Vec::new(),
    };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            RTA_DST => route.destination = ip(family, value)?,
            RTA_OIF => route.interface = number_u32(value, 0),
            RTA_GATEWAY => route.gateway = ip(family, value),
            RTA_PREFSRC => route.source = ip(family, value),
            RTA_PRIORITY => route.metric = number_u32(value, 0).unwrap_or(0),
            RTA_TABLE => route.table = number_u32(value, 0).unwrap_or(route.table),
            _ => (),
        }
        route.attributes.push((kind, value.to_vec()));
    }
    Some(route)
}

/// The prefix length, when the family is known and can have it.
fn checked_prefix(family: u8, prefix: u8) -> Option<u8> {
    match family {
        AF_INET => Some(prefix).filter(|prefix| *prefix <= 32),
        AF_INET6 => Some(prefix).filter(|prefix| *prefix <= 128),
        _ => None,
    }
}

/// Preferred and valid life time in seconds, when the address does not live for ever.
fn lifetime(cache_info: &[u8]) -> Option<[u32; 2]> {
    let lifetime = [number_u32(cache_info, 0)?, number_u32(cache_info, 4)?];
    (lifetime != [u32::MAX, u32::MAX]).then_some(lifetime)
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(number_u16(bytes, 0)?);
        let kind = number_u16(bytes, 2)? & ATTRIBUTE_TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
    }
}

fn number_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn number_u32(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address_message() -> Vec<u8> {
        let mut builder = Builder::default();
        builder
            .message(RTM_NEWADDR, 0, 7, &address_header(AF_INET, 24, 0, 0, 3))
            .attribute(IFA_LOCAL, &[10, 0, 0, 1])
            .attribute(IFA_ADDRESS, &[10, 0, 0, 1])
            .attribute(999, b"of a later kernel")
            .attribute(IFA_LABEL, b"eth0:0\0")
            .attribute(IFA_BROADCAST, &[10, 0, 0, 255]);
        builder.bytes().to_vec()
    }

    #[test]
    fn what_is_built_is_read_again_and_unknown_attributes_are_passed_over() {
        let bytes = address_message();
        let message = messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.sequence), (RTM_NEWADDR, 7));
        let address = parse_address(message.body).unwrap();
        assert_eq!(address.local, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((address.prefix, address.interface), (24, 3));
        assert_eq!(address.label.as_deref(), Some("eth0:0"));
        assert_eq!(address.broadcast, Some(Ipv4Addr::new(10, 0, 0, 255)));
        assert_eq!(address.peer, None);
    }

    #[test]
    fn nested_attributes_carry_their_length() {
        let mut attributes = Attributes::default();
        attributes.nest(18, &[], |info| info.text(1, "veth"));
        let mut builder = Builder::default();
        builder.message(RTM_NEWLINK, 0, 1, &[]).attributes(&attributes);
        let bytes = builder.bytes();
        assert_eq!(bytes.len(), 16 + 4 + 12);
        assert_eq!(bytes[..4], 32u32.to_ne_bytes());
        assert_eq!(bytes[16..18], 16u16.to_ne_bytes());
        assert_eq!(bytes[20..22], 9u16.to_ne_bytes());
        assert_eq!(&bytes[24..29], b"veth\0");
    }

    #[test]
    fn messages_cut_anywhere_do_no_harm() {
        let bytes = address_message();
        for end in 0..bytes.len() {
            assert_eq!(messages(&bytes[..end]).count(), 0);
            let _ = parse_address(bytes.get(16..end).unwrap_or_default());
        }
        let mut zero_length = bytes.clone();
        zero_length[..4].fill(0);
        assert_eq!(messages(&zero_length).count(), 0);
    }

    #[test]
    fn prefixes_out_of_range_are_refused() {
        let mut bytes = address_message();
        bytes[17] = 33;
        assert_eq!(parse_address(&bytes[16..]), None);
        assert_eq!(parse_route(&bytes[16..]), None);
    }

    proptest! {
        #[test]
        fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).chain([Received { kind: 0, sequence: 0, body: &bytes }]) {
                let _ = (parse_link(message.body), parse_address(message.body), parse_route(message.body));
                let _ = error_number(message.body);
            }
        }
    }
}
