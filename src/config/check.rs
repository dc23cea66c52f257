//! `ha check`: the three files together, and everything a person would rather hear before the
//! night it matters.
//!
//! What stops a start is found by [`super::examine`]; this adds what starts but probably does not
//! do what was meant. Levels: an error stops the start or a resource, a warning is probably wrong,
//! a hint is good to know.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::diagnostic::{Diagnostic, Place, Severity};
use super::ha_cf::HaCfReport;
use super::haresources::{HaResourcesReport, Resource};
use super::host::HostFacts;
use super::script_class::{unit_file, ScriptClass};
use super::settings::{AutoFailback, Client, MediumConfig};
use super::source::{cited_path, push_limited, Source, Span};
use super::{authkeys, examine_from, haresources, watching, Examination, Origin, HA_CF};
use crate::types::{AuthKeys, SigningMethod};

/// Where LSB scripts are.
pub const INIT_DIRECTORY: &str = "/etc/init.d";

/// Keys shorter than this get a hint.
const SECRET_SHORT_BYTES: usize = 16;

/// About what a beat takes on a serial line.
const BEAT_BYTES: u64 = 320;

/// What resource words may name besides the scripts in `resource.d` of the directory.
#[derive(Debug, Clone, Copy)]
pub struct Scripts<'a> {
    /// Agents that are part of this program.
    pub built_in: &'a [&'a str],
    /// Usually [`INIT_DIRECTORY`].
    pub init_directory: &'a Path,
    /// The folder of OCF agents' providers.
    pub ocf_directory: &'a Path,
}

/// The result of a check.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// The directory that was looked at.
    pub directory: String,
    /// This node's name.
    pub node: String,
    /// Fingerprint of haresources, to be the same on both nodes; absent when it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub haresources_digest: Option<String>,
    /// How many errors.
    pub errors: usize,
    /// How many warnings.
    pub warnings: usize,
    /// How many hints.
    pub hints: usize,
    /// In the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
}

impl CheckReport {
    /// 2 with errors, 1 with warnings, else 0.
    pub fn exit_code(&self) -> u8 {
        match (self.errors, self.warnings) {
            (0, 0) => 0,
            (0, _) => 1,
            _ => 2,
        }
    }

    /// For people: the remarks with the lines they are about, then the counts.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&format!("{diagnostic}\n"));
        }
        if let Some(digest) = &self.haresources_digest {
            text.push_str(&format!("haresources {digest} (the same on both nodes when the files agree)\n"));
        }
        let counts: Vec<String> = [(self.errors, "error"), (self.warnings, "warning"), (self.hints, "hint")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        let counts = if counts.is_empty() { "nothing to remark".to_owned() } else { counts.join(", ") };
        text.push_str(&format!("{} as node {}: {counts}\n", self.directory, self.node));
        text
    }

    /// For programs: one object on several lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Checks the files in `directory`. Changes nothing; may ask a name server for `ucast` hosts.
pub fn check(directory: &Path, host: &HostFacts, scripts: Scripts<'_>) -> CheckReport {
    check_from(Origin::Files, directory, host, scripts, |_| Vec::new())
}

/// As [`check`], also for texts that are not written yet, with the remarks of `more`: it is given what
/// was read, and may look at the host where this room may not.
pub fn check_from(
    origin: Origin<'_>,
    directory: &Path,
    host: &HostFacts,
    scripts: Scripts<'_>,
    more: impl FnOnce(&Examination) -> Vec<Diagnostic>,
) -> CheckReport {
    let examination = examine_from(origin, directory, host, true);
    let mut checker = Checker { directory, host, scripts, found: examination.diagnostics.clone() };
    if let Some(report) = &examination.ha_cf {
        checker.nodes(report);
        checker.times(report);
        checker.failback(report);
        checker.watchdog(report);
        checker.monitors(report, examination.resources.as_ref());
        checker.links(report);
        checker.lines_and_pings(report);
        checker.guards(report);
        checker.fencing(report);
    }
    if let Some(keys) = &examination.auth_keys.keys {
        checker.keys(keys);
    }
    if let (Some(report), Some(source)) = (&examination.resources, &examination.resources_source) {
        checker.groups(report, source);
        checker.addresses(report, source);
        checker.scripts(report, source);
    }
    checker.found.extend(more(&examination));
    report(directory, &examination, checker.found)
}

fn report(directory: &Path, examination: &Examination, mut found: Vec<Diagnostic>) -> CheckReport {
    let order = [HA_CF, authkeys::FILE_NAME, haresources::FILE_NAME].map(|name| cited_path(directory, name));
    let file = |path: &str| order.iter().position(|known| known == path);
    found.sort_by_key(|one| (file(&one.path), one.place.line == 0, one.place.line, one.place.column));
    found.dedup();
    let count = |severity| found.iter().filter(|one| one.severity == severity).count();
    CheckReport {
        directory: directory.display().to_string(),
        node: examination.node_name.clone(),
        haresources_digest: examination.resources.as_ref().map(|report| report.resources.digest()),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        hints: count(Severity::Hint),
        diagnostics: found,
    }
}

struct Checker<'a> {
    directory: &'a Path,
    host: &'a HostFacts,
    scripts: Scripts<'a>,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn add(&mut self, severity: Severity, file: &str, place: Place, message: String, help: &str) {
        let path = cited_path(self.directory, file);
        push_limited(&mut self.found, Diagnostic::new(severity, &path, place, message, help.to_owned()));
    }

    fn nodes(&mut self, report: &HaCfReport) {
        let place = place_of(report, "node");
        if report.settings.nodes.len() == 1 {
            let message = "there is only one node: nobody can take over".to_owned();
            self.add(Severity::Warning, HA_CF, place, message, "name both nodes");
        }
    }

    fn times(&mut self, report: &HaCfReport) {
        let settings = &report.settings;
        let (keepalive, warn) = (settings.keepalive_ms, settings.warn_time_ms);
        let (dead, init) = (settings.dead_time_ms, settings.init_dead_ms);
        if !report.is_good() || keepalive == 0 {
            return;
        }
        let warn_given = report.given.contains_key("warntime");
        if warn >= dead {
            let message = format!("warntime ({warn} ms) is not below deadtime ({dead} ms)");
            let help = "a late beat would never be warned of; half of deadtime is usual";
            self.add(Severity::Warning, HA_CF, place_of(report, "warntime"), message, help);
        } else if warn <= keepalive && warn_given {
            let message = format!("warntime ({warn} ms) is not above keepalive ({keepalive} ms)");
            let help = "every beat would count as late";
            self.add(Severity::Warning, HA_CF, place_of(report, "warntime"), message, help);
        }
        if init < 2 * dead {
            let given = report.given.contains_key("initdead");
            let severity = if given { Severity::Warning } else { Severity::Hint };
            let place = place_of(report, if given { "initdead" } else { "deadtime" });
            let message = format!("initdead ({init} ms) is less than twice deadtime ({dead} ms)");
            let help = "networks are slow at boot: a peer that is not heard in time is declared dead";
            self.add(severity, HA_CF, place, message, help);
        }
    }

    /// Whether the watchdog is a guard against two owners.
    fn watchdog(&mut self, report: &HaCfReport) {
        let settings = &report.settings;
        let place = |name: &str| place_of(report, name);
        let device = settings.watchdog.as_deref().zip(settings.watchdog_ms());
        let remark = device.and_then(|(path, time_ms)| watching::device_remark(path, time_ms));
        if let Some((message, help)) = remark {
            self.add(Severity::Warning, HA_CF, place("watchdog"), message, help);
        }
        match (settings.watchdog_ms(), settings.watchdog_wait) {
            // It resets the node before a lease ends.
            (Some(_), None) if settings.guards.lease.is_some() => {}
            (Some(time_ms), None) => {
                let message = format!(
                    "the watchdog is no guard against two owners: it resets a hung node {time_ms} ms after its \
                     last beat, and the other node takes over after {} ms",
                    settings.dead_time_ms
                );
                self.add(
                    Severity::Hint,
                    HA_CF,
                    place("watchdog"),
                    message,
                    "add watchdog_wait on, on both nodes",
                );
            }
            (None, Some(_)) => {
                let message = "watchdog_wait waits for a watchdog, and this node has none".to_owned();
                let help = "add watchdog /dev/watchdog, or watchdog software; the files should be the same";
                self.add(Severity::Warning, HA_CF, place("watchdog_wait"), message, help);
            }
            (Some(time_ms), Some(Some(wait_ms))) if wait_ms < time_ms => {
                let message = format!(
                    "watchdog_wait ({wait_ms} ms) is shorter than the watchdog's time ({time_ms} ms)"
                );
                let help = "the other node takes over before this one is reset; write watchdog_wait on";
                self.add(Severity::Warning, HA_CF, place("watchdog_wait"), message, help);
            }
            _ => {}
        }
    }

    /// Lines that watch nothing.
    fn monitors(&mut self, report: &HaCfReport, resources: Option<&HaResourcesReport>) {
        let settings = &report.settings;
        if settings.auto_failback == AutoFailback::Legacy && !settings.monitors.is_empty() {
            let place = place_of(report, "monitor");
            let message = "monitor has no effect with auto_failback legacy".to_owned();
            return self.add(Severity::Warning, HA_CF, place, message, "write auto_failback on or off");
        }
        let Some(resources) = resources else { return };
        let known: Vec<&Resource> =
            resources.resources.groups.iter().flat_map(|group| &group.resources).collect();
        for (monitor, place) in settings.monitors.iter().zip(&report.monitor_places) {
            let name = monitor.resource.as_str();
            let named = known.iter().find(|resource| resource.word == name || resource.script == name);
            let (message, help) = match named {
                None if name == "all" => continue,
                None => (
                    format!("monitor {name}: haresources has no such resource"),
                    "name a word of haresources, its script, or all",
                ),
                Some(resource) if resource.ends_by_itself() => (
                    format!("monitor {name} has no effect: it does not go on running"),
                    "take the line out; there is nothing to watch",
                ),
                Some(_) => continue,
            };
            self.add(Severity::Warning, HA_CF, place.clone(), message, help);
        }
    }

    fn failback(&mut self, report: &HaCfReport) {
        if report.given.contains_key("auto_failback") || report.given.contains_key("nice_failback") {
            return;
        }
        let message = "auto_failback is missing: the old `legacy` protocol is used".to_owned();
        let help = "add auto_failback on (groups go home when their node returns) or auto_failback off";
        self.add(Severity::Warning, HA_CF, Place::file(), message, help);
    }

    fn links(&mut self, report: &HaCfReport) {
        let mut devices: Vec<String> = Vec::new();
        let mut first = None;
        for (medium, place) in report.settings.media.iter().zip(&report.media_places) {
            let Some(link) = medium.link() else { continue };
            first.get_or_insert_with(|| place.clone());
            if devices.iter().any(|device| device == link.as_str()) {
                let message = format!("`{link}` carries heartbeats already");
                let help = "a second medium on one device is no second link";
                self.add(Severity::Hint, HA_CF, place.clone(), message, help);
            } else {
                devices.push(link.to_string());
            }
        }
        if devices.len() == 1 {
            let place = first.unwrap_or_default();
            let message = "this is the only link: a split brain is one cable away".to_owned();
            let help = "add a second medium over another cable, switch or serial line";
            self.add(Severity::Warning, HA_CF, place, message, help);
        }
    }

    /// What the beats ask of a serial line, and whether anybody looks at ping nodes.
    fn lines_and_pings(&mut self, report: &HaCfReport) {
        let keepalive_ms = report.settings.keepalive_ms;
        for (medium, place) in report.settings.media.iter().zip(&report.media_places) {
            let MediumConfig::Serial { baud, .. } = medium else { continue };
            let per_second = u64::from(*baud) / 10;
            if BEAT_BYTES * 1000 > per_second * keepalive_ms / 2 {
                let message = format!(
                    "at {baud} baud the beats of every {keepalive_ms} ms fill more than half of the line"
                );
                let help = "raise baud before this line, or keepalive";
                self.add(Severity::Warning, HA_CF, place.clone(), message, help);
            }
        }
        let pings = report.settings.media.iter().zip(&report.media_places);
        let first = pings.clone().find(|(medium, _)| medium.ping().is_some());
        let looks = |client: &Client| ["ipfail", "pingd"].iter().any(|name| client.command.contains(name));
        let arbitrates = report.settings.guards.ping_arbitration;
        let acts = arbitrates || report.settings.clients.iter().any(looks);
        if let Some((_, place)) = first.filter(|_| !acts) {
            let message = "ping nodes are shown, but no program acts on them".to_owned();
            let help = "to move resources to the better connected host: respawn hacluster .../ipfail";
            self.add(Severity::Hint, HA_CF, place.clone(), message, help);
        }
    }

    /// What the guards against two owners leave open.
    fn guards(&mut self, report: &HaCfReport) {
        let fences = ["stonith", "stonith_host"].iter().any(|name| report.given.contains_key(*name));
        if !report.is_good() || report.settings.nodes.len() < 2 {
            return;
        }
        let remarks = super::split_brain::remarks(&report.settings, fences, self.host.is_executable);
        for (severity, directive, message, help) in remarks {
            self.add(severity, HA_CF, place_of(report, directive), message, &help);
        }
    }

    /// Fencing that would not work, or that both nodes begin at the same moment.
    fn fencing(&mut self, report: &HaCfReport) {
        let fencing = &report.settings.fencing;
        if fencing.devices.is_empty() && report.given.contains_key("stonith_host") {
            let message = "no fencing device can be used on this node".to_owned();
            let help = "the name behind stonith_host is the node that resets, not the one that is reset";
            self.add(Severity::Warning, HA_CF, place_of(report, "stonith_host"), message, help);
        }
        if !fencing.devices.is_empty() && fencing.delay_ms + fencing.delay_random_ms == 0 {
            let message = "both nodes reset at once: a cut between them may take both down".to_owned();
            let help = "leave stonith_delay out, or give it a time that a reset takes";
            self.add(Severity::Warning, HA_CF, place_of(report, "stonith_delay"), message, help);
        }
    }

    fn keys(&mut self, keys: &AuthKeys) {
        let file = authkeys::FILE_NAME;
        let Some(active) = keys.keys.get(&keys.active) else { return };
        match active.method {
            SigningMethod::Crc => {
                let message = "packets are signed with crc: anyone on the network can forge them".to_owned();
                let help = "use sha1 and a long key, unless the link is a cable between the two hosts";
                self.add(Severity::Warning, file, Place::file(), message, help);
            }
            // `openssl md5 </dev/urandom` prints a word before the digest, and the key is one word.
            _ if active.secret.ends_with(b"=") && active.secret.contains(&b'(') => {
                let message =
                    "the key is the word that openssl prints before a digest, the same for everybody";
                let help = "ha keygen -o FILE, or openssl rand -hex 20: the digits alone behind the method";
                self.add(Severity::Warning, file, Place::file(), message.to_owned(), help);
            }
            _ if active.secret.len() < SECRET_SHORT_BYTES => {
                let message = format!("the key has fewer than {SECRET_SHORT_BYTES} characters");
                self.add(Severity::Hint, file, Place::file(), message, "a long random word is better");
            }
            _ => {}
        }
    }

    fn groups(&mut self, report: &HaResourcesReport, source: &Source) {
        let file = haresources::FILE_NAME;
        let groups = &report.resources.groups;
        if groups.is_empty() && !report.failed {
            let message = "there are no resource groups: nothing will be taken over".to_owned();
            self.add(Severity::Hint, file, Place::file(), message, "see haresources(5)");
        }
        let mut words: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for (group, spans) in groups.iter().zip(&report.places) {
            for (index, resource) in group.resources.iter().enumerate() {
                let span = spans.get(index + 1).copied().unwrap_or_default();
                let is_key = index == 0;
                let Some((line, was_key)) = words.insert(&resource.word, (span.line, is_key)) else {
                    continue;
                };
                let place = source.place_of(span);
                let word = &resource.word;
                if is_key && was_key {
                    let message = format!("`{word}` is the first resource of line {line} too");
                    let help = "the first resource names the group, so it must differ";
                    self.add(Severity::Error, file, place, message, help);
                } else if address(resource).is_none() {
                    let message = format!("`{word}` is in line {line} too");
                    let help = "releasing one group stops it for the other";
                    self.add(Severity::Warning, file, place, message, help);
                }
            }
        }
    }

    /// The same address twice, however it is written, and addresses that are none.
    fn addresses(&mut self, report: &HaResourcesReport, source: &Source) {
        let file = haresources::FILE_NAME;
        let mut seen: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        for (resource, span) in resources(report) {
            match address(resource) {
                None => {}
                Some(Err(reason)) => {
                    let help = "expected ADDRESS[/BITS[/INTERFACE[:LABEL][/BROADCAST]]]";
                    self.add(Severity::Error, file, source.place_of(span), reason, help);
                }
                Some(Ok(address)) => {
                    if let Some(line) = seen.insert(address, span.line) {
                        let message = format!("the address {address} is in line {line} too");
                        let help = "two groups would fight for it";
                        self.add(Severity::Error, file, source.place_of(span), message, help);
                    }
                }
            }
        }
    }

    /// Resources that no script answers to (resources spec 1.5), and interfaces that are not there.
    fn scripts(&mut self, report: &HaResourcesReport, source: &Source) {
        let file = haresources::FILE_NAME;
        for (resource, span) in resources(report) {
            if let Some((severity, message, help)) = self.missing_script(&resource.script) {
                self.add(severity, file, source.place_of(span), message, &help);
            }
        }
        for (resource, span) in resources(report) {
            if let Some(interface) =
                interface(resource).filter(|name| !self.host.interfaces.contains_key(*name))
            {
                let message = format!("there is no interface `{interface}` at the moment");
                let place = source.place_of(span);
                self.add(Severity::Warning, file, place, message, "the address could not be set up");
            }
        }
    }

    /// Why nothing answers to that script's name, and where it was looked for.
    fn missing_script(&self, script: &str) -> Option<(Severity, String, String)> {
        let own = self.directory.join("resource.d");
        let init = self.scripts.init_directory.to_owned();
        let class = match ScriptClass::of(script) {
            Ok(class) => class,
            Err(reason) => return Some((Severity::Error, reason, "see haresources(5)".to_owned())),
        };
        if !matches!(class, ScriptClass::Any(_)) && is_executable(&own.join(script)) == Some(true) {
            return None;
        }
        let (name, folders, built_in) = match class {
            ScriptClass::Any(name) => (name, vec![own, init], true),
            ScriptClass::Heartbeat(name) => (name, vec![own], true),
            ScriptClass::Lsb(name) => (name, vec![init], false),
            ScriptClass::Ocf { provider, kind } => {
                (kind, vec![self.scripts.ocf_directory.join(provider)], provider == "heartbeat")
            }
            ScriptClass::Systemd(unit) => {
                let message = format!("there is no file of the unit `{unit}`");
                let missing = unit_file(unit).is_none();
                let help = "it must be installed on both nodes".to_owned();
                return missing.then_some((Severity::Warning, message, help));
            }
        };
        let plain = folders.iter().filter(|_| !name.contains('/'));
        let found: Vec<bool> = plain.filter_map(|folder| is_executable(&folder.join(name))).collect();
        let known = built_in && self.scripts.built_in.contains(&name)
            || matches!(class, ScriptClass::Any(_)) && unit_file(name).is_some();
        if known || found.contains(&true) {
            return None;
        }
        let message = if found.is_empty() {
            format!("there is no resource script `{name}`")
        } else {
            format!("the resource script `{name}` is not executable")
        };
        let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        Some((Severity::Error, message, format!("looked in {}", folders.join(" and "))))
    }
}

/// Whether the file there is executable; `None` when there is none.
fn is_executable(path: &Path) -> Option<bool> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some(metadata.permissions().mode() & 0o111 != 0)
}

/// All resources with their places.
fn resources(report: &HaResourcesReport) -> impl Iterator<Item = (&Resource, Span)> {
    report.resources.groups.iter().zip(&report.places).flat_map(|(group, spans)| {
        let span = |index: usize| spans.get(index + 1).copied().unwrap_or_default();
        group.resources.iter().enumerate().map(move |(index, resource)| (resource, span(index)))
    })
}

/// The IPv4 address a resource stands for: `None` when it is another kind of resource.
fn address(resource: &Resource) -> Option<Result<Ipv4Addr, String>> {
    if !matches!(resource.script.as_str(), "IPaddr" | "IPaddr2") {
        return None;
    }
    let Some(argument) = resource.arguments.first() else {
        return Some(Err(format!("`{}` without an address", resource.word)));
    };
    let mut parts = argument.split('/');
    let text = parts.next().unwrap_or("");
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return None;
    }
    let bits = parts.next().filter(|bits| !bits.is_empty());
    let bits_wrong = |bits: &str| {
        let mask = bits.parse::<Ipv4Addr>().is_ok();
        !mask && !bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
    };
    Some(match (text.parse(), bits) {
        (Err(_), _) => Err(format!("`{text}` is not an address")),
        (Ok(_), Some(bits)) if bits_wrong(bits) => Err(format!("`{bits}` is no length of a netmask")),
        (Ok(address), _) => Ok(address),
    })
}

/// The interface an address resource names, without its label.
fn interface(resource: &Resource) -> Option<&str> {
    if !matches!(resource.script.as_str(), "IPaddr" | "IPaddr2") {
        return None;
    }
    let part = resource.arguments.first()?.split('/').nth(2)?;
    // three forms: address/bits/interface, and without bits or interface a broadcast address
    let name = part.split(':').next().filter(|name| !name.is_empty())?;
    name.parse::<Ipv4Addr>().is_err().then_some(name)
}

fn place_of(report: &HaCfReport, directive: &str) -> Place {
    report.given.get(directive).cloned().unwrap_or_else(Place::file)
}
