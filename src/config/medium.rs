//! The media directives of ha.cf (messaging spec 6). Lines of the original's plugins start with
//! `glib: `.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::apply::{Fault, Word, BAUD_DEFAULT};
use super::diagnostic::Severity;
use super::ha_cf::Reader;
use super::host::Device;
use super::settings::MediumConfig;
use super::value;
use crate::types::{LinkName, LogLevel};

/// Most media in one ha.cf (messaging spec 5.2).
pub const MEDIA_MAX: usize = 64;

pub(super) fn bcast(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    room(reader, "bcast", word)?;
    let device = word.text;
    if let Some(reason) = missing(reader, device) {
        return Err(no_interface(reader, device)
            .error(format!("glib: Get broadcast for interface {device} failed: {reason}"))
            .error(format!("glib: IP interface [{device}] does not exist"))
            .error(format!("Illegal bcast [UDP/IP broadcast] in config file [{device}]")));
    }
    add(reader, word, MediumConfig::Broadcast { device: link(device)? });
    Ok(())
}

pub(super) fn mcast(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: mcast DEVICE GROUP PORT TTL LOOP, such as mcast eth0 225.0.0.1 694 1 0";
    room(reader, "mcast", word)?;
    let parts = parts(word.text);
    let device = parts.first().map_or("", |part| part.text);
    let missing_word = |what: &str| {
        Fault::new(format!("the {what} is missing"), HELP)
            .error(format!("glib: mcast [{device}] missing {what}"))
    };
    if device.is_empty() {
        return Err(missing_word("interface"));
    }
    if let Some(reason) = missing(reader, device) {
        let mut fault = no_interface(reader, device)
            .error(format!(
                "glib: Unable to retrieve local interface address for interface [{device}] using \
                 ioctl(SIOCGIFADDR): {reason}"
            ))
            .error(format!("glib: mcast device [{device}] is invalid or not set up properly"));
        fault.part = Some((0, device.len()));
        return Err(fault);
    }
    let group = parts.get(1).ok_or_else(|| missing_word("mcast address"))?;
    let group = group.text.parse().ok().filter(Ipv4Addr::is_multicast).ok_or_else(|| {
        group
            .fault("no multicast address", "expected an address from 224.0.0.0 to 239.255.255.255")
            .error(format!("glib: mcast [{device}] bad addr [{}]", group.text))
    })?;
    let number = |index: usize, what: &str, from: i64, to: i64| {
        let part = parts.get(index).ok_or_else(|| missing_word(what))?;
        let value =
            value::integer(part.text).map_or(-1, |parsed| if parsed.exact { parsed.value } else { -1 });
        if (from..=to).contains(&value) {
            return Ok(value);
        }
        let fault = part.fault(&format!("no {what}"), &format!("expected a number from {from} to {to}"));
        Err(fault.error(format!("glib:  mcast [{device}] bad {what} [{}]", part.text)))
    };
    let port = number(2, "port", 1, 65535)? as u16;
    let ttl = number(3, "ttl", 0, 4)? as u8;
    let loop_back = number(4, "loop", 0, 1)? == 1;
    let device = link(device)?;
    ignored_rest(reader, word, &parts, 5);
    add(reader, word, MediumConfig::Multicast { device, group, port, ttl, loop_back });
    Ok(())
}

pub(super) fn ucast(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: ucast DEVICE ADDRESS, such as ucast eth0 10.0.0.2";
    room(reader, "ucast", word)?;
    let parts = parts(word.text);
    let device = parts.first().map_or("", |part| part.text);
    let Some(peer) = parts.get(1) else {
        let what = if device.is_empty() { "interface" } else { "address" };
        return Err(Fault::new(format!("the {what} is missing"), HELP)
            .error(format!("glib: ucast: [{device}] missing target IP address/hostname")));
    };
    let Some(address) = (reader.host.resolve)(peer.text) else {
        return Err(peer
            .fault("no host that could be resolved to an IPv4 address", HELP)
            .error("glib: ucast: cannot resolve hostname")
            .error(format!("glib: ucast: interface [{device}] does not exist")));
    };
    if !reader.host.interfaces.contains_key(device) {
        // the original starts and fails later; an interface may also appear later
        let place = reader.source.place(word.line, word.start, word.start + device.len());
        let message = format!("there is no interface `{device}` at the moment");
        reader.remark(Severity::Warning, place, message, known_interfaces(reader));
    }
    let peer_text = peer.text.to_owned();
    let device = link(device)?;
    ignored_rest(reader, word, &parts, 2);
    add(reader, word, MediumConfig::Unicast { device, peer: Some(address), peer_text });
    Ok(())
}

pub(super) fn serial(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    room(reader, "serial", word)?;
    let device = word.text;
    let refused = |message: String, text: String| {
        Fault::new(message, "expected the full path of a serial port, such as /dev/ttyS0")
            .error(format!("glib: {text}"))
            .error(format!("Illegal serial [serial ring] in config file [{device}]"))
    };
    if !device.starts_with('/') {
        let text = format!("Serial port not full pathname [{device}] in config file");
        return Err(refused(format!("`{device}` is no full path"), text));
    }
    match (reader.host.device)(device) {
        Device::Character => {}
        Device::Missing => {
            let text = format!("Nonexistent serial port [{device}] in config file");
            return Err(refused(format!("there is no `{device}`"), text));
        }
        Device::Other => {
            let text = format!("Serial port [{device}] not a char device in config file");
            return Err(refused(format!("`{device}` is no device for characters"), text));
        }
    }
    let baud = reader.draft.baud.unwrap_or(BAUD_DEFAULT);
    add(reader, word, MediumConfig::Serial { device: link(device)?, baud });
    Ok(())
}

pub(super) fn mcast6(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: mcast6 DEVICE GROUP PORT HOPS LOOP, such as mcast6 eth0 ff12::1 694 1 0";
    room(reader, "mcast6", word)?;
    let parts = parts(word.text);
    let device = device6(reader, "mcast6", &parts, HELP)?;
    let missing_word = |what: &str| {
        Fault::new(format!("the {what} is missing"), HELP)
            .error(format!("glib: mcast6 [{device}] missing {what}"))
    };
    let group = parts.get(1).ok_or_else(|| missing_word("mcast6 address"))?;
    let group = group.text.parse().ok().filter(is_group_in_reach).ok_or_else(|| {
        let help = "expected an address of link, admin, site or organisation scope, such as ff12::1";
        group
            .fault("no such multicast address", help)
            .error(format!("glib:  mcast6 [{device}] bad addr [{}]", group.text))
    })?;
    let port = parts.get(2).ok_or_else(|| missing_word("port"))?;
    let known = port.text.parse().ok().or_else(|| reader.host.udp_port(port.text));
    let port = known.filter(|port| *port > 0).ok_or_else(|| {
        port.fault("no port", "expected a number from 1 to 65535")
            .error(format!("glib: mcast6 [{device}] bad port [{}]", port.text))
    })?;
    let number = |index: usize, what: &str, to: u8| {
        let part = parts.get(index).ok_or_else(|| missing_word(what))?;
        part.text.parse().ok().filter(|value| *value <= to).ok_or_else(|| {
            part.fault(&format!("no {what}"), &format!("expected a number from 0 to {to}"))
                .error(format!("glib:  mcast6 [{device}] bad {what} [{}]", part.text))
        })
    };
    let hops = number(3, "hops", 4)?;
    let loop_back = number(4, "loop", 1)? == 1;
    ignored_rest(reader, word, &parts, 5);
    add(reader, word, MediumConfig::Multicast6 { device, group, port, hops, loop_back });
    Ok(())
}

/// Link, admin, site or organisation scope (RFC 4291 2.7): what the original takes.
fn is_group_in_reach(address: &Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 0xff && matches!(second & 0x0f, 2 | 4 | 5 | 8)
}

pub(super) fn ucast6(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: ucast6 DEVICE ADDRESS, such as ucast6 eth0 fd00::2 or ucast6 eth0 fe80::2";
    room(reader, "ucast6", word)?;
    let parts = parts(word.text);
    let device = device6(reader, "ucast6", &parts, HELP)?;
    let peer = parts.get(1).ok_or_else(|| {
        Fault::new("the address is missing", HELP)
            .error(format!("glib: ucast6 [{device}] missing ucast6 address"))
    })?;
    let (text, scope) = peer.text.split_once('%').unwrap_or((peer.text, &device));
    let address = text
        .parse()
        .ok()
        .filter(|address: &Ipv6Addr| scope == device && !address.is_multicast() && !address.is_unspecified());
    let Some(address) = address else {
        let what = if scope == device { "no IPv6 address of a host" } else { "an address on another device" };
        return Err(peer
            .fault(what, HELP)
            .error(format!("glib: ucast6 [{device}] bad addr [{}]", peer.text)));
    };
    ignored_rest(reader, word, &parts, 2);
    add(reader, word, MediumConfig::Unicast6 { device, peer: address });
    Ok(())
}

/// The interface of an IPv6 medium. It needs no address: one of link scope comes by itself.
fn device6(reader: &Reader<'_>, name: &str, parts: &[Part<'_>], help: &str) -> Result<String, Fault> {
    let Some(device) = parts.first().filter(|part| !part.text.is_empty()) else {
        return Err(Fault::new("the interface is missing", help)
            .error(format!("glib: {name} statement without device")));
    };
    if !reader.host.interfaces.contains_key(device.text) {
        let mut fault = no_interface(reader, device.text)
            .error(format!("glib: {name} device [{}] is invalid or not set up properly", device.text));
        fault.part = Some((0, device.text.len()));
        return Err(fault);
    }
    link(device.text)
}

pub(super) fn add(reader: &mut Reader<'_>, word: &Word<'_>, medium: MediumConfig) {
    let place = reader.place(word);
    reader.draft.media_places.push(place);
    reader.draft.settings.media.push(medium);
}

pub(super) fn room(reader: &Reader<'_>, name: &str, word: &Word<'_>) -> Result<(), Fault> {
    if reader.draft.settings.media.len() < MEDIA_MAX {
        return Ok(());
    }
    Err(Fault::new(format!("more than {MEDIA_MAX} media"), "")
        .error(format!("Too many media specified (> {MEDIA_MAX})"))
        .line(LogLevel::Info, format!("Offending command: {name} {}", word.text)))
}

/// Why an interface cannot be used, in the system's words; `None` when it can.
fn missing(reader: &Reader<'_>, device: &str) -> Option<&'static str> {
    match reader.host.interfaces.get(device) {
        None => Some("No such device"),
        Some(interface) if interface.address.is_none() => Some("Cannot assign requested address"),
        Some(_) => None,
    }
}

fn no_interface(reader: &Reader<'_>, device: &str) -> Fault {
    if reader.host.interfaces.contains_key(device) {
        return Fault::new(format!("the interface `{device}` has no IPv4 address"), "give it one first");
    }
    Fault::new(format!("there is no interface `{device}`"), known_interfaces(reader))
}

fn known_interfaces(reader: &Reader<'_>) -> String {
    let names: Vec<&str> = reader.host.interfaces.keys().map(String::as_str).take(20).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("this host has {}", names.join(", "))
}

fn link(device: &str) -> Result<String, Fault> {
    if LinkName::new(device).is_some() {
        return Ok(device.to_owned());
    }
    Err(Fault::new("this is no interface name", "expected at most 64 printable characters"))
}

fn ignored_rest(reader: &mut Reader<'_>, word: &Word<'_>, parts: &[Part<'_>], used: usize) {
    let (Some(first), Some(last)) = (parts.get(used), parts.last()) else { return };
    let place =
        reader.source.place(word.line, word.start + first.start, word.start + last.start + last.text.len());
    reader.remark(Severity::Warning, place, "this is ignored".into(), String::new());
}

/// A word of a whole-line argument.
pub(super) struct Part<'t> {
    pub(super) text: &'t str,
    pub(super) start: usize,
}

impl Part<'_> {
    pub(super) fn fault(&self, what: &str, help: &str) -> Fault {
        let mut fault = Fault::new(format!("`{}` is {what}", self.text), help);
        fault.part = Some((self.start, self.start + self.text.len()));
        fault
    }
}

pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = 0;
    for word in text.split_whitespace() {
        let start = rest + text[rest..].find(word).unwrap_or(0);
        rest = start + word.len();
        parts.push(Part { text: word, start });
    }
    parts
}
