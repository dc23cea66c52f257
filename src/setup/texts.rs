//! The three files of a new pair, from what was wished.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use crate::config::diagnostic::Severity;
use crate::config::host::HostFacts;
use crate::config::source::Source;
use crate::config::{ha_cf, milliseconds, Texts, HA_CF};
use crate::types::NodeName;

/// Beats in a second are enough for a pair that waits ten for the other.
const KEEPALIVE_DEFAULT: &str = "1";
/// Shorter ones are for people who know their network.
const DEAD_TIME_DEFAULT: &str = "10";
/// After a boot, switches and links need their time.
const INIT_DEAD_LEAST_MS: u64 = 60_000;
/// Longest answer or option in bytes; a line of ha.cf may be longer.
const WORD_MAX_BYTES: usize = 512;
/// Most links, addresses, services or ping nodes.
const WORDS_MAX: usize = 32;
/// Directives that make a link.
const LINK_DIRECTIVES: [&str; 6] = ["bcast", "ucast", "mcast", "serial", "ucast6", "mcast6"];
/// `mcast DEV` is completed with what is usual: group, port, hops, no loop.
const MULTICAST_USUAL: &str = "225.0.0.1 694 1 0";

/// What a pair shall be, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Both nodes' names.
    pub nodes: Vec<String>,
    /// `bcast eth1`, `ucast eth0 10.0.0.1 10.0.0.2`, `mcast eth0`, `serial /dev/ttyS0`.
    pub links: Vec<String>,
    /// `ADDRESS[/BITS[/INTERFACE]]`
    pub addresses: Vec<String>,
    /// Resources that start behind the addresses, as in haresources.
    pub services: Vec<String>,
    /// The node that has the resources when both are there; the first when absent.
    pub preferred: Option<String>,
    /// `keepalive`
    pub keepalive: Option<String>,
    /// `deadtime`
    pub dead_time: Option<String>,
    /// `ping`
    pub pings: Vec<String>,
    /// `udpport`
    pub port: Option<String>,
}

impl Wishes {
    /// What must be known and is not, in words; empty when nothing is missing.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.nodes.len() < 2 {
            missing.push("two nodes (--node NAME, twice)");
        }
        if self.links.is_empty() {
            missing.push("a link (--link \"bcast eth1\")");
        }
        if self.addresses.is_empty() {
            missing.push("the address (--address 192.0.2.10/24/eth0)");
        }
        missing
    }

    /// The texts, with this key. Whether they are a configuration that starts, `config::check` says.
    ///
    /// # Errors
    /// A word that cannot stand in a file, in one sentence.
    pub fn texts(&self, key: &str) -> Result<Texts, String> {
        let nodes = self.node_names()?;
        let lists = [&self.links, &self.addresses, &self.services, &self.pings];
        if lists.iter().any(|list| list.len() > WORDS_MAX) {
            return Err(format!("more than {WORDS_MAX} links, addresses, services or ping nodes"));
        }
        for ping in &self.pings {
            plain_word(ping)?;
        }
        Ok(Texts {
            ha_cf: self.ha_cf(&nodes)?,
            authkeys: authkeys(1, "sha1", key),
            haresources: self.haresources(&nodes)?,
        })
    }

    fn node_names(&self) -> Result<Vec<NodeName>, String> {
        let names: Vec<NodeName> = self.nodes.iter().map(|name| node_name(name)).collect::<Result<_, _>>()?;
        match names.as_slice() {
            [one, other] if one == other => Err(format!("both nodes are called `{one}`")),
            [_, _] => Ok(names),
            _ => Err(format!("a pair has two nodes, and not {}", names.len())),
        }
    }

    fn times(&self) -> Result<String, String> {
        let keepalive = self.keepalive.as_deref().unwrap_or(KEEPALIVE_DEFAULT);
        let dead_time = self.dead_time.as_deref().unwrap_or(DEAD_TIME_DEFAULT);
        plain_word(keepalive)?;
        plain_word(dead_time)?;
        let dead_time_ms = milliseconds(dead_time)
            .filter(|ms| *ms > 0)
            .ok_or_else(|| format!("`{dead_time}` is no time for deadtime: seconds (`10`) or `1500ms`"))?;
        milliseconds(keepalive)
            .filter(|ms| *ms > 0)
            .ok_or_else(|| format!("`{keepalive}` is no time for keepalive: seconds (`1`) or `200ms`"))?;
        let warn_time = written(dead_time_ms / 2);
        let init_dead = written(dead_time_ms.saturating_mul(2).max(INIT_DEAD_LEAST_MS));
        Ok(format!(
            "# A beat every {}. One that is {} late is worth a line in the log; a node that was\n\
             # not heard for {} counts as dead, and its resources are taken.\n\
             keepalive {keepalive}\nwarntime {warn_time}\ndeadtime {dead_time}\n\
             # After a boot the network may need longer before the first beat comes through.\n\
             initdead {init_dead}\n",
            spoken(keepalive),
            spoken(&warn_time),
            spoken(dead_time)
        ))
    }

    fn ha_cf(&self, nodes: &[NodeName]) -> Result<String, String> {
        let mut text = String::from(
            "# ha.cf of this pair, written by `ha init`. The same on both nodes; ha.cf(5) explains every line.\n\
             # After a change: `ha check`, the same file to the other node, `heartbeat -r` on both.\n\n\
             # Where the daemon reports to.\nlogfile /var/log/ha-log\nlogfacility local0\n\n",
        );
        text.push_str(&self.times()?);
        text.push_str("\n# The links by which the nodes hear each other. The more do not share a cable or a\n# switch, the less can make each node believe that the other is dead.\n");
        if let Some(port) = &self.port {
            plain_word(port)?;
            let _ = writeln!(text, "udpport {port}");
        }
        for link in &self.links {
            for line in link_lines(link)? {
                let _ = writeln!(text, "{line}");
            }
        }
        if !self.pings.is_empty() {
            text.push_str("\n# Addresses that both nodes should reach, and the program that moves the resources to the\n# node that does.\n");
            for ping in &self.pings {
                let _ = writeln!(text, "ping {ping}");
            }
            text.push_str("respawn hacluster /usr/lib/heartbeat/ipfail\n");
        }
        text.push_str(
            "\n# A node that comes back does not fetch its resources: each move is an interruption.\n",
        );
        text.push_str("# `on` sends them home by themselves, hb_standby and hb_takeover when you say so.\n");
        text.push_str("auto_failback off\n\n# The names as `uname -n` prints them.\n");
        for node in nodes {
            let _ = writeln!(text, "node {node}");
        }
        Ok(text)
    }

    fn haresources(&self, nodes: &[NodeName]) -> Result<String, String> {
        let preferred = match &self.preferred {
            None => nodes[0].clone(),
            Some(name) => node_name(name)?,
        };
        if !nodes.contains(&preferred) {
            return Err(format!("`{preferred}` is to have the resources, but is none of the two nodes"));
        }
        let mut words = vec![preferred.to_string()];
        for address in &self.addresses {
            words.push(address_word(address)?);
        }
        for service in &self.services {
            plain_word(service)?;
            words.push(service.clone());
        }
        Ok(format!(
            "# haresources of this pair, written by `ha init`. The same on both nodes, to the letter.\n\
             # One line is one group: the node that has it when both are there, then its resources in the\n\
             # order in which they start. Nothing that stands here may be started at boot by anybody else.\n\
             {}\n",
            words.join(" ")
        ))
    }
}

/// The text of authkeys. `number` is the key's, `secret` goes in as it is.
pub fn authkeys(number: u8, method: &str, secret: &str) -> String {
    format!(
        "# The key that packets are signed with. The same on both nodes, readable by root alone.\n\
         # How to exchange it without interruption: authkeys(5).\n\
         auth {number}\n{number} {method} {secret}\n"
    )
}

/// A node's name, in lower case.
///
/// # Errors
/// What is wrong with it.
pub fn node_name(text: &str) -> Result<NodeName, String> {
    plain_word(text)?;
    NodeName::new(&text.to_ascii_lowercase())
        .ok_or_else(|| format!("`{text}` is no name of a node: it is what `uname -n` prints there"))
}

/// The lines of ha.cf for one link. `ucast DEV HOST HOST` gives a line for each host, `mcast DEV` is
/// completed.
///
/// # Errors
/// What is wrong with it, as far as its form goes.
pub fn link_lines(link: &str) -> Result<Vec<String>, String> {
    plain_line(link)?;
    let words: Vec<&str> = link.split_whitespace().collect();
    match words.as_slice() {
        ["ucast" | "ucast6", _] => Err(format!(
            "`{link}` names no host: both nodes' addresses on that interface (`ucast eth0 10.0.0.1 10.0.0.2`)"
        )),
        [word @ ("ucast" | "ucast6"), device, hosts @ ..] => {
            Ok(hosts.iter().map(|host| format!("{word} {device} {host}")).collect())
        }
        ["mcast", device] => Ok(vec![format!("mcast {device} {MULTICAST_USUAL}")]),
        [word, _, ..] if LINK_DIRECTIVES.contains(word) => Ok(vec![words.join(" ")]),
        [word] if LINK_DIRECTIVES.contains(word) => {
            Err(format!("`{word}` alone is no link: which interface or line? (`bcast eth1`)"))
        }
        _ => Err(format!(
            "`{link}` is no link: one of {} and what belongs to it (`bcast eth1`)",
            LINK_DIRECTIVES.join(", ")
        )),
    }
}

/// What the daemon would say of such a link on this host; `None` when it would take it.
pub fn link_error(link: &str, directory: &Path, host: &HostFacts) -> Option<String> {
    let lines = match link_lines(link) {
        Ok(lines) => lines,
        Err(reason) => return Some(reason),
    };
    let node = host.node_name.to_ascii_lowercase();
    let source = Source::from_bytes(directory, HA_CF, (lines.join("\n") + "\n").as_bytes());
    let report = ha_cf::read(&source, &node, host);
    let about_lines = |line: usize| (1..=lines.len()).contains(&line);
    let error = report
        .diagnostics
        .iter()
        .find(|one| one.severity == Severity::Error && about_lines(one.place.line))?;
    Some(if error.help.is_empty() {
        error.message.clone()
    } else {
        format!("{} ({})", error.message, error.help.replace('\n', "; "))
    })
}

/// The resource of an address.
///
/// # Errors
/// What is wrong with it.
pub fn address_word(text: &str) -> Result<String, String> {
    plain_word(text)?;
    let mut parts = text.split('/');
    let address = parts.next().unwrap_or_default();
    let bits = parts.next();
    let expected = "expected ADDRESS/BITS/INTERFACE, as 192.0.2.10/24/eth0";
    let ip: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an address; {expected}"))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let mask = |bits: &str| ip.is_ipv4() && crate::net::interface::parse_netmask(bits).is_some();
    match bits {
        Some(bits) if !mask(bits) && !bits.parse::<u8>().is_ok_and(|bits| (1..=most).contains(&bits)) => {
            Err(format!("`{bits}` is no length of a netmask; {expected}"))
        }
        _ if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() => {
            Err(format!("`{address}` cannot be the address of a service"))
        }
        _ if ip.is_ipv4() => Ok(format!("IPaddr2::{text}")),
        _ => Ok(format!("IPv6addr::{text}")),
    }
}

/// A word that stays one word in a file.
///
/// # Errors
/// What is wrong with it.
pub fn plain_word(text: &str) -> Result<(), String> {
    plain_line(text)?;
    if text.contains(char::is_whitespace) {
        return Err(format!("`{text}` is more than one word"));
    }
    Ok(())
}

/// What stays in its line and is no comment.
fn plain_line(text: &str) -> Result<(), String> {
    let bad = |c: char| c.is_control() || matches!(c, '#' | '"' | '\'' | '\\' | '`' | '$' | ';' | '&' | '|');
    match text {
        _ if text.trim().is_empty() => Err("an empty word".to_owned()),
        _ if text.len() > WORD_MAX_BYTES => Err(format!("more than {WORD_MAX_BYTES} bytes")),
        _ => match text.chars().find(|c| bad(*c)) {
            Some(c) => Err(format!("the character {c:?} has no place in `{}`", text.escape_debug())),
            None => Ok(()),
        },
    }
}

/// As ha.cf has times: whole seconds where it can be.
fn written(time_ms: u64) -> String {
    if time_ms.is_multiple_of(1000) {
        (time_ms / 1000).to_string()
    } else {
        format!("{time_ms}ms")
    }
}

fn spoken(time: &str) -> String {
    match time {
        "1" => "second".to_owned(),
        _ if time.bytes().all(|byte| byte.is_ascii_digit()) => format!("{time} seconds"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            nodes: vec!["Alpha".into(), "beta".into()],
            links: vec!["bcast eth1".into(), "ucast eth0 10.0.0.1 10.0.0.2".into(), "mcast eth2".into()],
            addresses: vec!["192.0.2.10/24/eth0".into()],
            services: vec!["nginx".into()],
            ..Wishes::default()
        }
    }

    #[test]
    fn a_pair_is_written() {
        let texts = wishes().texts("secret").unwrap();
        for line in [
            "keepalive 1",
            "warntime 5",
            "deadtime 10",
            "initdead 60",
            "auto_failback off",
            "node alpha",
            "node beta",
            "bcast eth1",
            "ucast eth0 10.0.0.1",
            "ucast eth0 10.0.0.2",
            "mcast eth2 225.0.0.1 694 1 0",
        ] {
            assert!(texts.ha_cf.lines().any(|known| known == line), "{line}: {}", texts.ha_cf);
        }
        assert!(texts.authkeys.ends_with("\nauth 1\n1 sha1 secret\n"));
        assert!(texts.haresources.ends_with("\nalpha IPaddr2::192.0.2.10/24/eth0 nginx\n"));
        assert!(texts.ha_cf.lines().all(|line| line.len() <= 110), "{}", texts.ha_cf);
    }

    #[test]
    fn times_follow_deadtime() {
        let told = Wishes { dead_time: Some("1500ms".into()), keepalive: Some("200ms".into()), ..wishes() };
        let text = told.texts("x").unwrap().ha_cf;
        assert!(
            text.contains("warntime 750ms\ndeadtime 1500ms\n") && text.contains("\ninitdead 60\n"),
            "{text}"
        );
        let long = Wishes { dead_time: Some("45".into()), ..wishes() };
        assert!(long.texts("x").unwrap().ha_cf.contains("\ninitdead 90\n"));
    }

    #[test]
    fn nothing_gets_out_of_its_place() {
        let spoils: [(&str, fn(&mut Wishes)); 14] = [
            ("one node", |w| {
                w.nodes.pop();
            }),
            ("three nodes", |w| w.nodes.push("gamma".into())),
            ("twice the same", |w| w.nodes[1] = "ALPHA".into()),
            ("a line end", |w| w.nodes[1] = "beta\nrespawn root /bin/sh".into()),
            ("a comment", |w| w.links[0] = "bcast eth1 # x".into()),
            ("a line end in a link", |w| w.links[0] = "bcast eth1\nrespawn root /bin/sh".into()),
            ("no link", |w| w.links[0] = "respawn root /bin/sh".into()),
            ("half a link", |w| w.links[0] = "ucast eth0".into()),
            ("no address", |w| w.addresses[0] = "192.0.2.300/24".into()),
            ("an odd mask", |w| w.addresses[0] = "192.0.2.10/33/eth0".into()),
            ("loopback", |w| w.addresses[0] = "127.0.0.1/8/lo".into()),
            ("two words", |w| w.services[0] = "nginx beta".into()),
            ("an unknown home", |w| w.preferred = Some("gamma".into())),
            ("no time", |w| w.dead_time = Some("soon".into())),
        ];
        for (what, spoil) in spoils {
            let mut wishes = wishes();
            spoil(&mut wishes);
            assert!(wishes.texts("x").is_err(), "{what}");
        }
    }
}
