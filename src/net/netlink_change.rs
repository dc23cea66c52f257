//! Changes of addresses, links and routes as route netlink requests.
//!
//! Nothing is sent that 2.6.32 does not know: `IFA_FLAGS` (3.14) only for flags that have no place in
//! the older header, which a kernel that lacks it passes over.

use std::net::{IpAddr, Ipv6Addr};

use super::netlink::{Address, Route, TABLE_MAIN};
use super::netlink_message::number::*;
use super::netlink_message::{self as message, Builder, AF_INET, AF_INET6};

/// Address flags that a new address may have: neither secondary (0x01), failed or pending duplicate
/// detection (0x08, 0x40), deprecated (0x20) nor permanent (0x80), which the kernel decides.
const KEPT_ADDRESS_FLAGS: u32 = !0xe9;
/// Of a route, what the kernel only reports.
const REPORTED_ROUTE_ATTRIBUTES: &[u16] = &[RTA_CACHEINFO];

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds an address; EEXIST when it is there already.
    AddAddress(Address),
    /// Removes an address (local, prefix and interface decide); EADDRNOTAVAIL when it is not there.
    DeleteAddress(Address),
    /// Sets the interface up.
    LinkUp(u32),
    /// Removes the main table's host route to the address through the interface; ESRCH when there
    /// is none.
    DeleteHostRoute(IpAddr, u32),
    /// Puts a route in the place of the one that has the same destination, service and metric; without
    /// such a one it is added.
    ReplaceRoute(Route),
    /// Removes exactly this route; ESRCH when there is none.
    DeleteRoute(Route),
    /// Gives an IPv6 address a label for the choice of source addresses (RFC 6724); EEXIST when it has
    /// one.
    AddAddressLabel(Ipv6Addr, u32),
    /// Takes that label away; ESRCH when there is none.
    DeleteAddressLabel(Ipv6Addr, u32),
}

/// Adds one change to a request. `answer` is NLM_F_ACK when it is to be answered in any case.
pub(super) fn build_change(request: &mut Builder, change: &Change, answer: u16, sequence: u32) {
    match change {
        Change::AddAddress(address) => {
            let flags = answer | NLM_F_CREATE | NLM_F_EXCL;
            let kept = address.flags & KEPT_ADDRESS_FLAGS;
            build_address(request, RTM_NEWADDR, flags, sequence, address, kept as u8);
            if let Some(broadcast) = address.broadcast {
                request.attribute(IFA_BROADCAST, &broadcast.octets());
            }
            if let Some([preferred, valid]) = address.lifetime {
                let words = [preferred, valid, 0, 0].map(u32::to_ne_bytes);
                request.attribute(IFA_CACHEINFO, words.as_flattened());
            }
            if kept > 0xff {
                request.attribute(IFA_FLAGS, &kept.to_ne_bytes());
            }
        }
        Change::DeleteAddress(address) => {
            build_address(request, RTM_DELADDR, answer, sequence, address, 0);
        }
        Change::LinkUp(index) => {
            let up = libc::IFF_UP as u32;
            request.message(RTM_NEWLINK, answer, sequence, &message::link_header(*index, up, up));
        }
        Change::DeleteHostRoute(destination, interface) => {
            let bits = if destination.is_ipv4() { 32 } else { 128 };
            let table = TABLE_MAIN as u8;
            let header = message::route_header(family_of(*destination), bits, table, RT_SCOPE_NOWHERE);
            request
                .message(RTM_DELROUTE, answer, sequence, &header)
                .attribute(RTA_DST, octets(*destination).as_ref())
                .attribute(RTA_OIF, &interface.to_ne_bytes());
        }
        Change::ReplaceRoute(route) => {
            build_route(request, RTM_NEWROUTE, answer | NLM_F_CREATE | NLM_F_REPLACE, sequence, route);
        }
        Change::DeleteRoute(route) => build_route(request, RTM_DELROUTE, answer, sequence, route),
        Change::AddAddressLabel(address, label) => {
            let flags = answer | NLM_F_CREATE | NLM_F_EXCL;
            build_label(request, RTM_NEWADDRLABEL, flags, sequence, *address, *label);
        }
        Change::DeleteAddressLabel(address, label) => {
            build_label(request, RTM_DELADDRLABEL, answer, sequence, *address, *label);
        }
    }
}

fn build_address(
    request: &mut Builder,
    kind: u16,
    flags: u16,
    sequence: u32,
    address: &Address,
    address_flags: u8,
) {
    let family = family_of(address.local);
    let header =
        message::address_header(family, address.prefix, address_flags, address.scope, address.interface);
    request
        .message(kind, flags, sequence, &header)
        .attribute(IFA_LOCAL, octets(address.local).as_ref())
        .attribute(IFA_ADDRESS, octets(address.peer.unwrap_or(address.local)).as_ref());
    if let Some(label) = address.label.as_ref().filter(|_| family == AF_INET) {
        let mut text = label.clone().into_bytes();
        text.push(0);
        request.attribute(IFA_LABEL, &text);
    }
}

/// The route as it was read, but for the source address.
fn build_route(request: &mut Builder, kind: u16, flags: u16, sequence: u32, route: &Route) {
    let table = u8::try_from(route.table).unwrap_or(0);
    let mut header = message::route_header(family_of(route.destination), route.prefix, table, route.scope);
    header[3] = route.service;
    header[5] = route.protocol;
    header[7] = route.kind;
    request.message(kind, flags, sequence, &header);
    for (attribute, value) in &route.attributes {
        if *attribute != RTA_PREFSRC && !REPORTED_ROUTE_ATTRIBUTES.contains(attribute) {
            request.attribute(*attribute, value);
        }
    }
    if let Some(source) = route.source {
        request.attribute(RTA_PREFSRC, octets(source).as_ref());
    }
}

/// `struct ifaddrlblmsg` and its attributes (linux/if_addrlabel.h).
fn build_label(request: &mut Builder, kind: u16, flags: u16, sequence: u32, address: Ipv6Addr, label: u32) {
    let header = [AF_INET6, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    request
        .message(kind, flags, sequence, &header)
        .attribute(IFAL_ADDRESS, &address.octets())
        .attribute(IFAL_LABEL, &label.to_ne_bytes());
}

fn family_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// In network order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
