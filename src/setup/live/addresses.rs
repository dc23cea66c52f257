//! Virtual addresses, links and ping nodes against the addresses and routes of this host.

use std::net::IpAddr;
use std::path::Path;

use super::{Live, VirtualAddress};
use crate::config::diagnostic::Severity;
use crate::config::ha_cf::HaCfReport;
use crate::daemon::layout::Layout;
use crate::daemon::process::{running_pid, RunState};
use crate::net::netlink::{Address, Link, TABLE_MAIN};
use crate::net::snapshot::Snapshot;

/// `rp_filter`: only the interface by which the sender would be answered.
const STRICT: u8 = 1;

/// What the kernel says, of one moment.
struct Facts {
    addresses: Vec<(Link, Address)>,
    /// The interface of the default route.
    way_out: Option<String>,
    daemon_runs: bool,
}

/// All remarks about addresses.
pub(super) fn look(live: &mut Live<'_>, report: &HaCfReport) {
    let facts = gather();
    let nodes = live.node_addresses(report);
    for address in live.virtual_addresses.clone() {
        if !own_address(live, &address, &nodes, facts.as_ref()) {
            if let Some(facts) = &facts {
                place_of_address(live, &address, facts);
            }
        }
    }
    if let Some(facts) = &facts {
        links(live, report, facts);
    }
    pings(live, report, &nodes, facts.as_ref());
}

/// `None` where the kernel cannot be asked.
fn gather() -> Option<Facts> {
    let mut snapshot = Snapshot::open().ok()?;
    let links = snapshot.netlink.links().ok()?;
    let mut addresses = Vec::new();
    for family in [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])] {
        // a kernel without IPv6 has none
        for address in snapshot.addresses(family).unwrap_or_default().to_vec() {
            if let Some(link) = links.iter().find(|link| link.index == address.interface) {
                addresses.push((link.clone(), address));
            }
        }
    }
    let default = snapshot.routes(IpAddr::from([0, 0, 0, 0]), TABLE_MAIN).unwrap_or_default();
    let default = default.iter().filter(|route| route.prefix == 0).min_by_key(|route| route.metric);
    let way_out = default.and_then(|route| route.interface);
    let way_out = links.iter().find(|link| Some(link.index) == way_out).map(|link| link.name.clone());
    let pid_file = Layout::from_environment().pid_file;
    let daemon_runs = matches!(running_pid(&pid_file), RunState::Running(_));
    Some(Facts { addresses, way_out, daemon_runs })
}

/// An address that belongs to a node itself goes away with the resources. `true` when it is one.
fn own_address(
    live: &mut Live<'_>,
    address: &VirtualAddress,
    nodes: &[(IpAddr, String)],
    facts: Option<&Facts>,
) -> bool {
    let ip = address.ip;
    let help = "stopping the group takes the address away and cuts the host off; choose a free address";
    if let Some((_, whose)) = nodes.iter().find(|(known, _)| *known == ip) {
        live.resource(Severity::Error, &address.place, format!("{ip} is {whose}"), help);
        return true;
    }
    // A daemon that runs may have put it there.
    let Some(facts) = facts.filter(|facts| !facts.daemon_runs) else { return false };
    let own = facts.addresses.iter().find(|(link, own)| own.local == ip && !link.is_loopback());
    let Some((link, own)) = own else { return false };
    let name = &link.name;
    if own.secondary {
        let message = format!("{ip} is on {name} of this host already, while no heartbeat runs here");
        live.resource(Severity::Warning, &address.place, message, "something else sets it up; only one may");
    } else {
        let message = format!("{ip} is this host's own address on {name}");
        live.resource(Severity::Error, &address.place, message, help);
    }
    true
}

/// Whether the interface has a network for it, and lets its clients in.
fn place_of_address(live: &mut Live<'_>, address: &VirtualAddress, facts: &Facts) {
    let ip = address.ip;
    let own = |known: &&(Link, Address)| known.1.local != ip && known.1.local.is_ipv4() == ip.is_ipv4();
    let fits = |known: &&(Link, Address)| known.1.network_contains(ip);
    let device = match &address.device {
        Some(device) => {
            let mut there =
                facts.addresses.iter().filter(own).filter(|known| known.0.name == *device).peekable();
            if there.peek().is_some() && !there.clone().any(|known| fits(&known)) {
                let networks: Vec<String> =
                    there.map(|(_, own)| format!("{}/{}", own.local, own.prefix)).collect();
                let message = format!("{ip} is outside the networks of {device} ({})", networks.join(", "));
                let help =
                    "hosts of those networks would not look for it there; another address or interface?";
                live.resource(Severity::Warning, &address.place, message, help);
            }
            device.clone()
        }
        None => {
            let best = facts.addresses.iter().filter(own).filter(fits).max_by_key(|known| known.1.prefix);
            let Some((link, _)) = best else {
                let message = format!("no interface of this host has a network with {ip} in it");
                let help = "write netmask and interface behind it: ADDRESS/BITS/INTERFACE";
                live.resource(Severity::Warning, &address.place, message, help);
                return;
            };
            link.name.clone()
        }
    };
    if ip.is_ipv4() && source_check(&device) == Some(STRICT) {
        strict(live, address, &device, facts);
    }
}

fn strict(live: &mut Live<'_>, address: &VirtualAddress, device: &str, facts: &Facts) {
    let ip = address.ip;
    let help = format!("echo 2 > /proc/sys/net/ipv4/conf/{device}/rp_filter (sysctl.conf keeps it)");
    match facts.way_out.as_ref().filter(|way| *way != device) {
        Some(way) => {
            let message = format!(
                "rp_filter is strict on {device}, and the way out is {way}: clients beyond the router cannot reach {ip}"
            );
            live.resource(Severity::Warning, &address.place, message, &help);
        }
        None => {
            let message =
                format!("rp_filter is strict on {device}: clients whose answers leave by another interface cannot reach {ip}");
            live.resource(Severity::Hint, &address.place, message, &help);
        }
    }
}

/// The kernel takes the higher of the two (ip-sysctl.txt).
fn source_check(device: &str) -> Option<u8> {
    let value = |name: &str| {
        let path = Path::new("/proc/sys/net/ipv4/conf").join(name).join("rp_filter");
        std::fs::read_to_string(path).ok()?.trim().parse::<u8>().ok()
    };
    value(device).map(|own| own.max(value("all").unwrap_or(0)))
}

/// Links that are in the network which they are to watch over.
fn links(live: &mut Live<'_>, report: &HaCfReport, facts: &Facts) {
    let addresses = live.virtual_addresses.clone();
    let mut seen: Vec<String> = Vec::new();
    for (medium, place) in report.settings.media.iter().zip(&report.media_places) {
        let Some(link) = medium.link().map(|link| link.to_string()) else { continue };
        if seen.contains(&link) {
            continue;
        }
        seen.push(link.clone());
        let own = facts.addresses.iter().filter(|(known, _)| known.name == link);
        let serves = own.clone().find_map(|(_, own)| {
            addresses.iter().find(|address| own.local != address.ip && own.network_contains(address.ip))
        });
        let Some(served) = serves else { continue };
        let elsewhere = served.device.as_ref().filter(|device| **device != link);
        let (severity, message) = match elsewhere {
            Some(device) => (
                Severity::Warning,
                format!("`{link}` carries heartbeats in the network of {} on {device}", served.ip),
            ),
            None => (
                Severity::Hint,
                format!("`{link}` carries heartbeats in the network that {} serves", served.ip),
            ),
        };
        let help = "a fault of that network takes both away: have another link beside it";
        live.ha_cf(severity, place, message, help);
    }
}

/// Ping nodes that are part of what they are to judge.
fn pings(live: &mut Live<'_>, report: &HaCfReport, nodes: &[(IpAddr, String)], facts: Option<&Facts>) {
    for (medium, place) in report.settings.media.iter().zip(&report.media_places) {
        let Some(ping) = medium.ping() else { continue };
        for host in ping.hosts.iter().map(|host| host.ip()) {
            let own = || {
                let known = facts.into_iter().flat_map(|facts| &facts.addresses);
                known.into_iter().any(|(_, address)| address.local == host)
            };
            let help = "ping what stands outside of the cluster and always answers: the router";
            if live.virtual_addresses.iter().any(|address| address.ip == host) {
                let message =
                    format!("the ping node {host} is the address that moves: its holder always reaches it");
                live.ha_cf(Severity::Error, place, message, help);
            } else if let Some((_, whose)) = nodes.iter().find(|(known, _)| *known == host) {
                live.ha_cf(Severity::Warning, place, format!("the ping node {host} is {whose}"), help);
            } else if own() {
                let message = format!("the ping node {host} is an address of this host");
                live.ha_cf(Severity::Warning, place, message, help);
            }
        }
    }
}
