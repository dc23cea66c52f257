//! Which interface an address belongs to: findif (agents spec 1.3), as IPaddr2 3.9.3 to 3.9.5 does
//! it, over netlink.
//!
//! What differs, on purpose: dotted-quad netmasks are converted (later versions do so too, with a
//! warning); of several routes the most specific counts, not the one that happens to be printed
//! first; when interface and netmask are given, the broadcast address comes from the interface's
//! own address in that network without asking the routing table.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::netlink::{
    same_network, Link, NetlinkError, Route, SCOPE_HOST, SCOPE_LINK, TABLE_LOCAL, TABLE_MAIN,
};
use super::snapshot::Snapshot;

/// What was asked for; empty parameters count as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The address as written.
    pub ip: String,
    /// `cidr_netmask`: bits or dotted quad.
    pub netmask: Option<String>,
    /// Interface name, without label.
    pub nic: Option<String>,
    /// Broadcast address.
    pub broadcast: Option<String>,
}

/// The checked parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// The address.
    pub ip: IpAddr,
    /// Prefix length, 1 to 32 or 128.
    pub prefix: Option<u8>,
    /// Broadcast address.
    pub broadcast: Option<Ipv4Addr>,
}

/// Where the address goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The interface.
    pub link: Link,
    /// Prefix length.
    pub prefix: u8,
    /// Broadcast address, when one was given or is known from the network.
    pub broadcast: Option<Ipv4Addr>,
}

/// Why no place was found. The texts are the original's.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The interface does not exist.
    #[error("Unknown interface [{0}] No such device.")]
    UnknownInterface(String),
    /// Not an address.
    #[error("IP address [{0}] not valid.")]
    InvalidAddress(String),
    /// Neither a number of bits from 1 to 32 (IPv6: 128) nor a contiguous dotted quad.
    #[error("Invalid netmask specification [{0}].")]
    InvalidNetmask(String),
    /// Not an IPv4 address.
    #[error("Invalid broadcast address [{0}].")]
    InvalidBroadcast(String),
    /// Every interface has the network of such addresses.
    #[error("'nic' parameter is mandatory for a link local address [{0}].")]
    LinkLocal(String),
    /// No route leads there.
    #[error("Unable to find nic or netmask.")]
    NoRoute,
    /// Only a default or host route leads there, and no netmask was given.
    #[error("Unable to find cidr_netmask.")]
    NoNetmask,
    /// The kernel could not be asked.
    #[error("{0}")]
    Netlink(#[from] NetlinkError),
}

impl FindError {
    /// The agent's exit code: 6 for parameters, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownInterface(_)
            | Self::InvalidAddress(_)
            | Self::InvalidNetmask(_)
            | Self::InvalidBroadcast(_)
            | Self::LinkLocal(_) => 6,
            Self::NoRoute | Self::NoNetmask | Self::Netlink(_) => 1,
        }
    }
}

impl Wanted {
    /// Checks the syntax, without asking the kernel.
    pub fn check(&self) -> Result<Checked, FindError> {
        let ip = IpAddr::from_str(&self.ip).map_err(|_| FindError::InvalidAddress(self.ip.clone()))?;
        let parse_netmask = if ip.is_ipv4() { parse_netmask } else { parse_prefix6 };
        let prefix = match self.netmask.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => {
                Some(parse_netmask(text).ok_or_else(|| FindError::InvalidNetmask(text.to_owned()))?)
            }
        };
        let broadcast = match self.broadcast.as_deref().filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| FindError::InvalidBroadcast(text.to_owned()))?),
        };
        if is_link_local6(ip) && self.nic().is_none() {
            return Err(FindError::LinkLocal(self.ip.clone()));
        }
        Ok(Checked { ip, prefix, broadcast: broadcast.filter(|_| ip.is_ipv4()) })
    }

    /// The interface's name, when one is given.
    pub fn nic(&self) -> Option<&str> {
        self.nic.as_deref().filter(|nic| !nic.is_empty())
    }
}

/// Bits (1 to 32) or a contiguous dotted quad.
pub fn parse_netmask(text: &str) -> Option<u8> {
    if text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|bits| (1..=32).contains(bits));
    }
    let mask = u32::from(Ipv4Addr::from_str(text).ok()?);
    let bits = mask.leading_ones();
    (bits > 0 && mask.checked_shl(bits).unwrap_or(0) == 0).then_some(bits as u8)
}

/// Bits, 1 to 128.
fn parse_prefix6(text: &str) -> Option<u8> {
    let digits = text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|bits| digits && (1..=128).contains(bits))
}

/// fe80::/10
pub fn is_link_local6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] & 0xffc0 == 0xfe80)
}

/// Finds interface, prefix length and broadcast address for a new address.
pub fn find(snapshot: &mut Snapshot, wanted: &Wanted) -> Result<Found, FindError> {
    let checked = wanted.check()?;
    let nic = match wanted.nic() {
        None => None,
        Some(name) => Some(snapshot.link(name)?.ok_or_else(|| FindError::UnknownInterface(name.to_owned()))?),
    };
    let (link, prefix) = match (nic, checked.prefix) {
        (Some(link), Some(prefix)) => (link, prefix),
        (nic, prefix) => {
            let candidates = candidate_routes(snapshot, checked.ip, prefix, nic.as_ref())?;
            let (index, prefix) = choose(&candidates, prefix, nic.as_ref())?;
            let link = match nic {
                Some(link) => link,
                None => snapshot.link_at(index)?.ok_or(FindError::NoRoute)?,
            };
            (link, prefix)
        }
    };
    let broadcast = match checked.broadcast {
        None => snapshot.known_broadcast(link.index, checked.ip, prefix)?,
        given => given,
    };
    Ok(Found { link, prefix, broadcast })
}

/// Routes of scope link that lead to the address (or hold its whole network, when that is given);
/// for 127.x without one, those of the local table. Of IPv6, which knows no such scope, routes without
/// a next hop.
fn candidate_routes(
    snapshot: &mut Snapshot,
    ip: IpAddr,
    prefix: Option<u8>,
    nic: Option<&Link>,
) -> Result<Vec<Route>, NetlinkError> {
    let fits = |route: &&Route| {
        route.interface.is_some_and(|index| nic.is_none_or(|nic| nic.index == index))
            && prefix.is_none_or(|prefix| route.prefix <= prefix)
            && same_network(route.destination, ip, route.prefix)
    };
    let direct = |route: &&Route| match ip {
        IpAddr::V4(_) => route.scope == SCOPE_LINK,
        IpAddr::V6(_) => route.gateway.is_none(),
    };
    let routes = snapshot.routes(ip, TABLE_MAIN)?.iter();
    let mut found: Vec<Route> = routes.filter(|route| direct(route) && fits(route)).cloned().collect();
    if found.is_empty() && ip.is_ipv4() && ip.is_loopback() {
        let routes = snapshot.routes(ip, TABLE_LOCAL)?.iter();
        found = routes.filter(|route| route.scope == SCOPE_HOST && fits(route)).cloned().collect();
    }
    Ok(found)
}

/// The first candidate that says what is missing; they come most specific first.
fn choose(candidates: &[Route], prefix: Option<u8>, nic: Option<&Link>) -> Result<(u32, u8), FindError> {
    let index = |route: &Route| route.interface.or(nic.map(|nic| nic.index)).ok_or(FindError::NoRoute);
    if candidates.is_empty() {
        return Err(FindError::NoRoute);
    }
    match prefix {
        Some(prefix) => Ok((index(&candidates[0])?, prefix)),
        None => {
            let longest = |route: &Route| if route.destination.is_ipv4() { 32 } else { 128 };
            let network = candidates.iter().find(|route| (1..longest(route)).contains(&route.prefix));
            let network = network.ok_or(FindError::NoNetmask)?;
            Ok((index(network)?, network.prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str, interface: u32) -> Route {
        let (destination, prefix) = text.split_once('/').unwrap();
        Route {
            destination: destination.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            table: TABLE_MAIN,
            scope: SCOPE_LINK,
            kind: 1,
            protocol: 2,
            service: 0,
            interface: Some(interface),
            gateway: None,
            source: None,
            metric: 0,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn netmasks_as_bits_and_as_quads() {
        assert_eq!(parse_netmask("24"), Some(24));
        assert_eq!(parse_netmask("255.255.255.0"), Some(24));
        assert_eq!(parse_netmask("255.255.255.255"), Some(32));
        for bad in
            ["", "0", "33", "99", "v0", "+4", "-1", "024", "255.0.255.0", "0.0.0.0", "0.0.0.255", " 24"]
        {
            assert_eq!(parse_netmask(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_network_route_says_the_netmask_and_others_do_not() {
        let candidates = [route("10.1.2.3/32", 4), route("10.1.0.0/16", 3), route("0.0.0.0/0", 2)];
        assert_eq!(choose(&candidates, None, None).unwrap(), (3, 16));
        assert_eq!(choose(&candidates, Some(24), None).unwrap(), (4, 24));
        assert!(matches!(choose(&candidates[2..], None, None), Err(FindError::NoNetmask)));
        assert!(matches!(choose(&[], Some(24), None), Err(FindError::NoRoute)));
    }

    #[test]
    fn ipv6_has_longer_prefixes_and_its_link_local_addresses_need_an_interface() {
        let check = |ip: &str, netmask: &str, nic: &str| {
            let text = |text: &str| Some(text.to_owned());
            let wanted = Wanted { ip: ip.into(), netmask: text(netmask), nic: text(nic), broadcast: None };
            wanted.check().map(|checked| checked.prefix).map_err(|error| error.to_string())
        };
        assert_eq!(check("2001:db8::1", "128", ""), Ok(Some(128)));
        assert_eq!(check("2001:db8::1", "129", ""), Err("Invalid netmask specification [129].".into()));
        assert_eq!(check("2001:db8::1", "+64", ""), Err("Invalid netmask specification [+64].".into()));
        assert_eq!(check("fe80::1", "64", "eth0"), Ok(Some(64)));
        assert!(check("fe80::1", "64", "").is_err());
    }

    #[test]
    fn parameters_are_checked_with_the_original_texts() {
        let check = |ip: &str, netmask: &str, broadcast: &str| {
            let wanted = Wanted {
                ip: ip.into(),
                netmask: Some(netmask.into()),
                nic: None,
                broadcast: Some(broadcast.into()),
            };
            wanted.check().map_err(|error| (error.to_string(), error.exit_code()))
        };
        assert_eq!(check("a", "", ""), Err(("IP address [a] not valid.".into(), 6)));
        assert_eq!(check("1.2.3.4", "v0", ""), Err(("Invalid netmask specification [v0].".into(), 6)));
        assert_eq!(check("1.2.3.4", "8", "x"), Err(("Invalid broadcast address [x].".into(), 6)));
        assert!(check("1.2.3.4", "", "").is_ok());
        for hostile in ["1.2.3.4.5", "1.2.3", "1.2.3.4 ", "256.1.1.1", "::g", "1.2.3.4\n", "", "１.2.3.4"] {
            assert!(check(hostile, "", "").is_err(), "{hostile}");
        }
    }
}
