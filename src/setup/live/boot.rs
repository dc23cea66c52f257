//! Services that heartbeat manages and the boot starts too: after a boot they run on both nodes.

use std::collections::BTreeSet;
use std::fs;

use super::{resources, Live};
use crate::config::below_root;
use crate::config::diagnostic::Severity;
use crate::config::script_class::{unit_file, ScriptClass};

/// Folders of start links, by run level.
const RUN_LEVELS: [&str; 10] = [
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc4.d",
    "/etc/rc5.d",
    "/etc/rcS.d",
    "/etc/rc.d/rc2.d",
    "/etc/rc.d/rc3.d",
    "/etc/rc.d/rc4.d",
    "/etc/rc.d/rc5.d",
    "/etc/init.d/rc3.d",
];
/// Where `systemctl enable` makes links.
const UNITS: &str = "/etc/systemd/system";
/// Agents that start what has a service of its own.
const SERVICES_OF_AGENTS: [(&str, &[&str]); 1] = [("apache", &["httpd", "apache2"])];

/// All remarks about the boot.
pub(super) fn look(live: &mut Live<'_>) {
    let mut seen = BTreeSet::new();
    let all: Vec<_> =
        resources(live.read).map(|(resource, place)| (resource.script.clone(), place)).collect();
    for (script, place) in all {
        for service in services(&script) {
            if !seen.insert(service.clone()) {
                continue;
            }
            if let Some(link) = starts_at_boot(&service) {
                let plain = service.trim_end_matches(".service");
                let message = format!("`{plain}` is started at boot too ({link})");
                let help = format!(
                    "after a boot it would run on both nodes: chkconfig {plain} off, systemctl disable {plain}, \
                     or update-rc.d {plain} disable"
                );
                live.resource(Severity::Warning, &place, message, &help);
            }
        }
    }
}

/// What the boot might call the resource.
fn services(script: &str) -> Vec<String> {
    let name = match ScriptClass::of(script) {
        Ok(ScriptClass::Any(name) | ScriptClass::Lsb(name) | ScriptClass::Systemd(name)) => name,
        Ok(ScriptClass::Heartbeat(name) | ScriptClass::Ocf { kind: name, .. }) => name,
        Err(_) => return Vec::new(),
    };
    match SERVICES_OF_AGENTS.iter().find(|(agent, _)| *agent == name) {
        Some((_, services)) => services.iter().map(|&service| service.to_owned()).collect(),
        None if crate::resource::AGENT_NAMES.contains(&name) || name.contains('/') => Vec::new(),
        None => vec![name.to_owned()],
    }
}

/// The link by which the boot finds it.
fn starts_at_boot(service: &str) -> Option<String> {
    let unit = if service.contains('.') { service.to_owned() } else { format!("{service}.service") };
    if let Some(link) = wanted_unit(&unit) {
        return Some(link);
    }
    // Where systemd has a unit of that name, it looks at no script.
    let systemd = below_root("/run/systemd/system").is_dir();
    if systemd && unit_file(service).is_some() {
        return None;
    }
    RUN_LEVELS.iter().find_map(|folder| {
        let names = names(folder);
        let starts = |name: &String| {
            name.strip_prefix('S').is_some_and(|rest| {
                rest.trim_start_matches(|c: char| c.is_ascii_digit()) == service && rest.len() > service.len()
            })
        };
        names.iter().find(|name| starts(name)).map(|name| format!("{folder}/{name}"))
    })
}

fn wanted_unit(unit: &str) -> Option<String> {
    let folders =
        names(UNITS).into_iter().filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
    let mut links = folders.map(|folder| format!("{UNITS}/{folder}/{unit}"));
    links.find(|link| fs::symlink_metadata(below_root(link)).is_ok())
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(below_root(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_no_services_but_what_they_start_may_be() {
        assert_eq!(services("nginx"), ["nginx"]);
        assert_eq!(services("lsb:mysql"), ["mysql"]);
        assert_eq!(services("systemd:nginx.service"), ["nginx.service"]);
        assert_eq!(services("apache"), ["httpd", "apache2"]);
        assert!(services("IPaddr2").is_empty() && services("ocf:x").is_empty());
    }
}
