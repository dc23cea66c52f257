//! `ping6 HOST`: the same over IPv6 (messaging spec 6).

use super::echo::{Plan, Protocol};
use super::{MediumKind, MediumPlan};
use crate::config::settings::{MediumConfig, PingKind};
use crate::types::LogLevel;

pub(super) const KIND: MediumKind = MediumKind { word: "ping6", plan };

fn plan(config: &MediumConfig, _udp_port: u16) -> Option<MediumPlan> {
    let ping = config.ping().filter(|ping| ping.kind == PingKind::Host6)?;
    Some(MediumPlan::Echo(Plan {
        protocol: Protocol::Icmp6,
        node: ping.name.clone(),
        hosts: ping.hosts.clone(),
        // The original's plugin says no more about its version of the protocol.
        started: (LogLevel::Info, "glib: ping heartbeat started.".to_owned()),
    }))
}
