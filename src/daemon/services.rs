//! Which resources are looked after while they run: by `monitor` of ha.cf, and every address of a
//! built-in agent with `own_addresses`.

use std::net::IpAddr;
use std::time::Duration;

use crate::cluster::settings::{MonitorSettings, ServiceSettings};
use crate::config::haresources::{HaResources, Resource};
use crate::config::settings::{AutoFailback, HaCf, Monitor};
use crate::resource;
use crate::types::{NodeName, ResourceSet};

/// More resources than this are not watched: their numbers are short.
const SERVICES_MAX: usize = u16::MAX as usize;

/// One of them; its number is its place.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What the cluster decides by.
    pub settings: ServiceSettings,
    /// The key of its group.
    pub key: String,
    /// Its place in the group, from 0.
    pub index: usize,
    /// Its address, if it is to be put back when it is taken away.
    pub address: Option<IpAddr>,
    /// How long one question to its agent may take.
    pub limit: Duration,
}

/// All of them, in the order of haresources. The old protocol has no room for any.
pub fn watched(ha_cf: &HaCf, resources: &HaResources, local: &NodeName) -> Vec<Watched> {
    let mut found = Vec::new();
    if ha_cf.auto_failback == AutoFailback::Legacy {
        return found;
    }
    for group in &resources.groups {
        let set = if group.node == *local { ResourceSet::LOCAL } else { ResourceSet::FOREIGN };
        for (index, resource) in group.resources.iter().enumerate() {
            let monitor = monitor_of(&ha_cf.monitors, resource);
            let address = resource::address_of(resource).filter(|_| ha_cf.own_addresses);
            if (monitor.is_some() || address.is_some()) && found.len() < SERVICES_MAX {
                found.push(Watched {
                    settings: ServiceSettings {
                        set,
                        word: resource.word.clone(),
                        monitor: monitor.map(|monitor| MonitorSettings {
                            interval_ms: monitor.interval_ms,
                            failures: monitor.failures,
                            restarts: monitor.restarts,
                        }),
                    },
                    key: group.key().to_owned(),
                    index,
                    address,
                    limit: Duration::from_millis(monitor.map_or(0, |monitor| monitor.timeout_ms)),
                });
            }
        }
    }
    found
}

/// The line that names it, as a whole or by its script; else that of `all`. None for what ends by itself.
fn monitor_of<'m>(monitors: &'m [Monitor], resource: &Resource) -> Option<&'m Monitor> {
    if resource.ends_by_itself() {
        return None;
    }
    let named = |name: &str| monitors.iter().rev().find(|monitor| monitor.resource == name);
    named(&resource.word).or_else(|| named(&resource.script)).or_else(|| named("all"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_line_counts() {
        let monitor = |resource: &str, interval_ms| Monitor {
            resource: resource.to_owned(),
            interval_ms,
            timeout_ms: 1,
            failures: 1,
            restarts: 1,
        };
        let monitors = [monitor("all", 1), monitor("httpd::a", 2), monitor("httpd", 3)];
        let found =
            |word: &str| monitor_of(&monitors, &Resource::new(word)).map(|monitor| monitor.interval_ms);
        assert_eq!((found("httpd::a"), found("httpd::b"), found("x")), (Some(2), Some(3), Some(1)));
        assert_eq!(monitor_of(&[], &Resource::new("x")), None);
        assert_eq!((found("SendArp::10.0.0.1/eth0"), found("ocf:heartbeat:SendArp")), (None, None));
    }
}
