//! `ping HOST`: an ICMP echo with every beat; whoever answers is reachable (messaging spec 6).

use super::echo::{Plan, Protocol};
use super::{MediumKind, MediumPlan};
use crate::config::settings::{MediumConfig, PingKind};
use crate::types::LogLevel;

pub(super) const KIND: MediumKind = MediumKind { word: "ping", plan };

fn plan(config: &MediumConfig, _udp_port: u16) -> Option<MediumPlan> {
    let ping = config.ping().filter(|ping| ping.kind == PingKind::Host)?;
    Some(MediumPlan::Echo(Plan {
        protocol: Protocol::Icmp,
        node: ping.name.clone(),
        hosts: ping.hosts.clone(),
        started: (LogLevel::Info, "glib: ping heartbeat started.".to_owned()),
    }))
}
