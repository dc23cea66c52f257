//! Whether the packet filter of this host lets heartbeats in.

use std::time::Duration;

use super::ruleset::{Packet, Ruleset, Verdict};
use super::Live;
use crate::config::diagnostic::{Place, Severity};
use crate::config::ha_cf::HaCfReport;
use crate::config::settings::MediumConfig;
use crate::resource::command::{find, Program};

/// A tool that hangs is not waited for.
const LIMIT: Duration = Duration::from_secs(5);

/// All remarks about the packet filter.
pub(super) fn look(live: &mut Live<'_>, report: &HaCfReport) {
    let packets: Vec<(Packet, &Place)> = report
        .settings
        .media
        .iter()
        .zip(&report.media_places)
        .filter_map(|(medium, place)| packet(medium, report.settings.udp_port).map(|packet| (packet, place)))
        .collect();
    if packets.is_empty() {
        return;
    }
    let rulesets = match rules() {
        Ok(rulesets) => rulesets,
        Err(reason) => {
            let (packet, place) = &packets[0];
            let message = format!(
                "whether a packet filter closes udp port {} could not be told: {reason}",
                packet.port
            );
            let help = "both nodes must let it in on the interfaces of the links";
            live.ha_cf(Severity::Hint, place, message, help);
            return;
        }
    };
    let mut said: Vec<Packet> = Vec::new();
    for (packet, place) in packets {
        if said.contains(&packet) {
            continue;
        }
        let worst = rulesets.iter().map(|ruleset| ruleset.verdict(&packet)).max().unwrap_or(Verdict::Open);
        let (device, port) = (&packet.device, packet.port);
        let help = format!(
            "let it in on both nodes: iptables -I INPUT -i {device} -p udp --dport {port} -j ACCEPT, or \
             firewall-cmd --add-port={port}/udp --permanent"
        );
        match worst {
            Verdict::Open => continue,
            Verdict::Unsure => {
                let message = format!("the packet filter may keep udp port {port} closed on {device}: its rules decide by more than that");
                live.ha_cf(Severity::Hint, place, message, &help);
            }
            Verdict::Closed => {
                let message =
                    format!("the packet filter of this host keeps udp port {port} closed on {device}");
                live.ha_cf(Severity::Error, place, message, &help);
            }
        }
        said.push(packet);
    }
}

/// The packets by which the other node is heard.
fn packet(medium: &MediumConfig, udp_port: u16) -> Option<Packet> {
    let (device, port, ipv6) = match medium {
        MediumConfig::Broadcast { device } | MediumConfig::Unicast { device, .. } => {
            (device, udp_port, false)
        }
        MediumConfig::Multicast { device, port, .. } => (device, *port, false),
        MediumConfig::Unicast6 { device, .. } => (device, udp_port, true),
        MediumConfig::Multicast6 { device, port, .. } => (device, *port, true),
        _ => return None,
    };
    Some(Packet { device: device.clone(), port, ipv6 })
}

/// The rules of both kinds of tables; empty where the kernel filters nothing.
fn rules() -> Result<Vec<Ruleset>, String> {
    let mut rulesets = Vec::new();
    if uses_nftables() {
        let text = said(&["nft", "-j", "list", "ruleset"])?;
        let ruleset = Ruleset::from_nft(&text).ok_or("the answer of nft is not understood, or too long")?;
        for ipv6 in ruleset.of_iptables.clone() {
            let programs = if ipv6 {
                ["ip6tables-nft-save", "ip6tables-save"]
            } else {
                ["iptables-nft-save", "iptables-save"]
            };
            rulesets.push(of_iptables(programs, ipv6)?);
        }
        rulesets.push(ruleset);
    }
    for (tables, programs, ipv6) in [
        ("/proc/net/ip_tables_names", ["iptables-legacy-save", "iptables-save"], false),
        ("/proc/net/ip6_tables_names", ["ip6tables-legacy-save", "ip6tables-save"], true),
    ] {
        let tables = std::fs::read_to_string(tables).unwrap_or_default();
        if tables.lines().any(|name| name == "filter") {
            rulesets.push(of_iptables(programs, ipv6)?);
        }
    }
    Ok(rulesets)
}

/// By the first of these programs that is there.
fn of_iptables(programs: [&str; 2], ipv6: bool) -> Result<Ruleset, String> {
    let program = programs.into_iter().find(|program| find(program).is_some()).unwrap_or(programs[1]);
    said(&[program, "-t", "filter"]).map(|text| Ruleset::from_iptables(&text, ipv6))
}

/// Where the kernel has no nf_tables at all, nobody can have made rules in them. Built in, it is not in
/// the list of modules: then the program is asked where there is one.
fn uses_nftables() -> bool {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    modules.lines().any(|line| line.starts_with("nf_tables ")) || find("nft").is_some()
}

fn said(words: &[&str]) -> Result<String, String> {
    let program = Program::new(words[0]).args(&words[1..]).limit(LIMIT);
    let ended = program.run().map_err(|error| error.to_string())?;
    match ended.code {
        0 => Ok(ended.stdout),
        _ => {
            let why = ended.stderr.lines().next().unwrap_or("it gave no reason").trim().to_owned();
            Err(format!("{}: {why}", words.join(" ")))
        }
    }
}
