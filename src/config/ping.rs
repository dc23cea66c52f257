//! The directives of ha.cf that make ping nodes (messaging spec 6).

use std::net::{SocketAddr, SocketAddrV4};

use super::apply::{Fault, Word};
use super::diagnostic::Severity;
use super::ha_cf::Reader;
use super::medium::{add, parts, room, Part};
use super::settings::{MediumConfig, PingConfig, PingKind};
use crate::types::{LinkName, LogLevel, NodeName};

/// Most hosts of one `ping_group`; each costs a packet with every beat.
const GROUP_HOSTS_MAX: usize = 32;

const PING_HELP: &str = "expected an address, such as ping 10.0.0.254; names are resolved once, at the start";
const PING6_HELP: &str = "expected an IPv6 address, such as ping6 fd00::1 or ping6 fe80::1%eth0";
const GROUP_HELP: &str = "expected: ping_group NAME HOST..., such as ping_group gateways 10.0.0.1 10.0.0.2";

pub(super) fn ping(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let host = word.text;
    room(reader, "ping", word)?;
    let Some(address) = resolve(reader, host) else {
        return Err(Fault::new(
            format!("`{host}` is no host that could be resolved to an IPv4 address"),
            PING_HELP,
        )
        .error(unknown_host(host))
        .error(format!("Illegal ping [ping membership] in config file [{host}]")));
    };
    add_node(reader, word, PingKind::Host, host, vec![address])
}

pub(super) fn ping6(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let host = word.text;
    room(reader, "ping6", word)?;
    let Some(address) = (reader.host.resolve6)(host) else {
        return Err(Fault::new(
            format!("`{host}` is no host that could be resolved to an IPv6 address"),
            PING6_HELP,
        )
        .error(format!("Illegal ping6 [ping6 membership] in config file [{host}]")));
    };
    add_node(reader, word, PingKind::Host6, host, vec![SocketAddr::V6(address)])
}

/// Members that cannot be resolved are left out with a message, as the original does; it takes at
/// least one.
pub(super) fn ping_group(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    room(reader, "ping_group", word)?;
    let parts = parts(word.text);
    let Some((name, members)) = parts.split_first().filter(|(_, members)| !members.is_empty()) else {
        return Err(Fault::new("a group needs a name and hosts", GROUP_HELP));
    };
    if members.len() > GROUP_HOSTS_MAX {
        return Err(Fault::new(format!("more than {GROUP_HOSTS_MAX} hosts in one group"), GROUP_HELP));
    }
    let mut hosts = Vec::new();
    for member in members {
        match resolve(reader, member.text) {
            Some(address) if hosts.contains(&address) => {}
            Some(address) => hosts.push(address),
            None => leave_out(reader, word, member),
        }
    }
    if hosts.is_empty() {
        return Err(Fault::new("none of the group's hosts could be resolved to an IPv4 address", GROUP_HELP));
    }
    add_node(reader, word, PingKind::Group, name.text, hosts)
}

fn leave_out(reader: &mut Reader<'_>, word: &Word<'_>, member: &Part<'_>) {
    reader.log(LogLevel::Error, unknown_host(member.text));
    let start = word.start + member.start;
    let place = reader.source.place(word.line, start, start + member.text.len());
    let message = format!("`{}` is no host that could be resolved to an IPv4 address", member.text);
    reader.remark(Severity::Warning, place, message, "it is left out of the group".to_owned());
}

fn resolve(reader: &Reader<'_>, host: &str) -> Option<SocketAddr> {
    (reader.host.resolve)(host).map(|address| SocketAddr::V4(SocketAddrV4::new(address, 0)))
}

fn unknown_host(host: &str) -> String {
    format!("glib: unknown host: {host}: Name does not resolve")
}

fn add_node(
    reader: &mut Reader<'_>,
    word: &Word<'_>,
    kind: PingKind,
    name: &str,
    hosts: Vec<SocketAddr>,
) -> Result<(), Fault> {
    let node = NodeName::new(name).filter(|name| LinkName::new(name.as_str()).is_some());
    let Some(name) = node else {
        return Err(Fault::new(
            "this is no name for a ping node",
            "expected at most 64 printable characters",
        ));
    };
    if reader.draft.settings.media.iter().filter_map(MediumConfig::ping).any(|known| known.name == name) {
        let message = format!("the ping node `{name}` is named a second time: this one is ignored");
        reader.remark(Severity::Warning, reader.place(word), message, String::new());
        return Ok(());
    }
    let nodes_before = reader.draft.settings.nodes.len();
    add(reader, word, MediumConfig::Ping(PingConfig { kind, name, hosts, nodes_before }));
    Ok(())
}

/// A ping node must not be called like a cluster node, else one would stand for the other.
pub(super) fn check_names(reader: &mut Reader<'_>) {
    let settings = &reader.draft.settings;
    let taken: Vec<_> = settings
        .media
        .iter()
        .zip(&reader.draft.media_places)
        .filter_map(|(medium, place)| Some((medium.ping()?.name.clone(), place.clone())))
        .filter(|(name, _)| settings.nodes.contains(name))
        .collect();
    for (name, place) in taken {
        let message = format!("the ping node `{name}` is called like a node of the cluster");
        let help = "give the group another name, or the host by its address".to_owned();
        reader.log(LogLevel::Error, format!("Ping node [{name}] has the name of a cluster node"));
        reader.remark(Severity::Error, place, message, help);
    }
}
