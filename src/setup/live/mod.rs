//! What only a live host can tell of a configuration: its addresses and routes, what its boot starts, what
//! its packet filter lets through, what the other node says. Nothing is changed and nothing is sent to the
//! network, except that names may be resolved.
//!
//! ```text
//! addresses   virtual addresses against the host's own, its networks, rp_filter, links, ping nodes
//! boot        managed services that the boot starts too
//! firewall    udp port against the rules of nftables and iptables (ruleset: what a rule list does)
//! peer        what the running daemon knows of the other node's files
//! ```

mod addresses;
mod boot;
mod firewall;
mod peer;
mod ruleset;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::config::diagnostic::{Diagnostic, Place, Severity};
use crate::config::ha_cf::HaCfReport;
use crate::config::haresources::Resource;
use crate::config::host::HostFacts;
use crate::config::source::{cited_path, REMARKS_MAX};
use crate::config::{haresources, Examination, HA_CF};
use crate::types::NodeName;

/// For the names of all nodes together.
const NAMES_LIMIT: Duration = Duration::from_secs(2);

/// Everything this host says about what was read. What cannot be found out is left out, except where a
/// person would count on it.
pub fn remarks(directory: &Path, read: &Examination, host: &HostFacts) -> Vec<Diagnostic> {
    let mut live =
        Live { directory, read, host, virtual_addresses: virtual_addresses(read), found: Vec::new() };
    if let Some(report) = &read.ha_cf {
        addresses::look(&mut live, report);
        firewall::look(&mut live, report);
    }
    boot::look(&mut live);
    peer::look(&mut live);
    live.found
}

/// A virtual address and where it stands.
#[derive(Debug, Clone)]
struct VirtualAddress {
    ip: IpAddr,
    /// Interface, without its label.
    device: Option<String>,
    place: Place,
}

struct Live<'a> {
    directory: &'a Path,
    read: &'a Examination,
    host: &'a HostFacts,
    virtual_addresses: Vec<VirtualAddress>,
    found: Vec<Diagnostic>,
}

impl Live<'_> {
    fn add(&mut self, severity: Severity, file: &str, place: &Place, message: String, help: &str) {
        if self.found.len() < REMARKS_MAX {
            let path = cited_path(self.directory, file);
            self.found.push(Diagnostic::new(severity, &path, place.clone(), message, help.to_owned()));
        }
    }

    fn resource(&mut self, severity: Severity, place: &Place, message: String, help: &str) {
        self.add(severity, haresources::FILE_NAME, place, message, help);
    }

    fn ha_cf(&mut self, severity: Severity, place: &Place, message: String, help: &str) {
        self.add(severity, HA_CF, place, message, help);
    }

    /// The addresses that names and `ucast` lines give the nodes: address and node or line, in words.
    fn node_addresses(&self, report: &HaCfReport) -> Vec<(IpAddr, String)> {
        let mut found = Vec::new();
        for (node, address) in resolved(&report.settings.nodes, self.host.resolve) {
            found.push((IpAddr::from(address), format!("the address of node {node}")));
        }
        for medium in &report.settings.media {
            match medium {
                crate::config::settings::MediumConfig::Unicast { device, peer: Some(peer), .. } => {
                    found.push((
                        IpAddr::from(*peer),
                        format!("the address of a node (ucast {device} {peer})"),
                    ));
                }
                crate::config::settings::MediumConfig::Unicast6 { device, peer } => {
                    found.push((
                        IpAddr::from(*peer),
                        format!("the address of a node (ucast6 {device} {peer})"),
                    ));
                }
                _ => {}
            }
        }
        found
    }
}

/// The nodes' addresses as far as they are known in time: the daemon does not need them, so nobody waits
/// long for a name server that is not there.
fn resolved(nodes: &[NodeName], resolve: fn(&str) -> Option<Ipv4Addr>) -> Vec<(NodeName, Ipv4Addr)> {
    let (sender, receiver) = mpsc::channel();
    let asked = nodes.to_vec();
    std::thread::spawn(move || {
        for node in asked {
            if let Some(address) = resolve(node.as_str()) {
                // Nobody waits any more when this fails.
                let _ = sender.send((node, address));
            }
        }
    });
    let end = Instant::now() + NAMES_LIMIT;
    let next = || receiver.recv_timeout(end.saturating_duration_since(Instant::now())).ok();
    std::iter::from_fn(next).collect()
}

/// Every resource with its place.
fn resources(read: &Examination) -> impl Iterator<Item = (&Resource, Place)> {
    let both = read.resources.as_ref().zip(read.resources_source.as_ref());
    both.into_iter().flat_map(|(report, source)| {
        report.resources.groups.iter().zip(&report.places).flat_map(move |(group, spans)| {
            group.resources.iter().enumerate().map(move |(index, resource)| {
                (resource, source.place_of(spans.get(index + 1).copied().unwrap_or_default()))
            })
        })
    })
}

fn virtual_addresses(read: &Examination) -> Vec<VirtualAddress> {
    let address = |(resource, place): (&Resource, Place)| {
        let ip = crate::resource::address_of(resource)?;
        let agent = crate::resource::agent(&resource.script)?;
        let arguments: Vec<&str> = resource.arguments.iter().map(String::as_str).collect();
        let parameters = (agent.from_arguments)(&arguments).ok()?.parameters;
        let device = parameters.get("nic").map(|nic| nic.split(':').next().unwrap_or(nic).to_owned());
        Some(VirtualAddress { ip, device: device.filter(|device| !device.is_empty()), place })
    };
    resources(read).filter_map(address).collect()
}
