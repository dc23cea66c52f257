//! What each part of a run takes from the configuration.

use std::fs::File;
use std::time::Duration;

use crate::cluster::settings::{
    ArbiterSettings, AskSettings, ClusterSettings, Faults, FencingSettings, LeaseSettings, TakeoverSettings,
    WatchdogWait,
};
use crate::config::settings as config;
use crate::config::split_brain::Guards;
use crate::config::Configuration;
use crate::ipc::requests::Parameters;
use crate::log::Logger;
use crate::types::LogLevel;
use crate::wire::{self, WireFormat};

use super::super::apphb_client::ApphbClient;
use super::super::command_line::LEGACY_VERSION;
use super::super::guard::record::Post;
use super::super::layout::Layout;
use super::super::questions::{GuardPlans, Plans};
use super::super::services::{watched, Watched};
use super::super::watchdog::Watchdog;
use super::super::{clients, pings};
use super::Plan;

/// What the cluster decides by.
pub(super) fn cluster_settings(plan: &Plan) -> ClusterSettings {
    let ha_cf = &plan.configuration.ha_cf;
    let mut links = Vec::new();
    for link in ha_cf.media.iter().filter_map(config::MediumConfig::link) {
        if !links.contains(&link) {
            links.push(link);
        }
    }
    let local_keys = plan.configuration.resources.local_keys(&plan.local).map(str::to_owned).collect();
    ClusterSettings {
        local: plan.local.clone(),
        uuid: plan.uuid,
        generation: plan.generation,
        process_id: std::process::id(),
        nodes: ha_cf.nodes.clone(),
        links,
        keepalive_ms: ha_cf.keepalive_ms,
        dead_time_ms: ha_cf.dead_time_ms,
        warn_time_ms: ha_cf.warn_time_ms,
        init_dead_ms: ha_cf.init_dead_ms,
        pings: pings::settings(&ha_cf.media),
        dead_ping_ms: ha_cf.dead_ping_ms,
        hop_fudge: ha_cf.hop_fudge,
        auto_failback: ha_cf.auto_failback,
        max_rexmit_delay_ms: ha_cf.max_rexmit_delay_ms,
        // More than two nodes can only be members: configuration with groups for them is refused.
        manage_resources: plan.manage_resources && ha_cf.nodes.len() <= 2,
        membership: plan.membership.clone(),
        local_keys,
        resume: plan.resume,
        services: watched(ha_cf, &plan.configuration.resources, &plan.local)
            .into_iter()
            .map(|watched| watched.settings)
            .collect(),
        watchdog_ms: ha_cf.watchdog_ms(),
        takeover: takeover_settings(ha_cf),
        random_seed: u64::from(std::process::id()) << 32 | u64::from(plan.uuid.0[0]) | plan.generation.0 << 8,
        faults: Faults::default(),
    }
}

/// What runs for questions of the cluster.
pub(super) fn plans(plan: &Plan, services: Vec<Watched>) -> Plans {
    let Configuration { ha_cf, resources, .. } = &plan.configuration;
    Plans {
        devices: ha_cf.fencing.devices.clone(),
        services,
        fencing_limit: Duration::from_millis(ha_cf.fencing.limit_ms),
        guards: GuardPlans::new(ha_cf, resources, &plan.local),
    }
}

/// How long a takeover waits for the other node's watchdog.
fn watchdog_wait(ha_cf: &config::HaCf) -> Option<WatchdogWait> {
    let else_ms = ha_cf.watchdog_ms().unwrap_or(ha_cf.dead_time_ms + 1000);
    ha_cf.watchdog_wait.map(|time| time.map_or(WatchdogWait::Announced(else_ms), WatchdogWait::Fixed))
}

/// The gates of a takeover.
fn takeover_settings(ha_cf: &config::HaCf) -> TakeoverSettings {
    let (fencing, guards) = (&ha_cf.fencing, &ha_cf.guards);
    let watchdog_ms = if ha_cf.watchdog.is_some() { Guards::watchdog_ms(ha_cf.dead_time_ms) } else { 0 };
    TakeoverSettings {
        mode: ha_cf.takeover,
        fencing: FencingSettings {
            devices: fencing.devices.iter().map(|device| device.name.clone()).collect(),
            delay_ms: fencing.delay_ms,
            delay_random_ms: fencing.delay_random_ms,
            waits_for_unheard: fencing.waits_for_unheard,
        },
        ping_arbitration: guards.ping_arbitration,
        lease: guards.lease.as_ref().map(|lease| LeaseSettings {
            time_ms: lease.time_ms,
            interval_ms: lease.interval_ms,
            margin_ms: lease.margin_ms,
            watchdog_ms,
        }),
        arbiter: guards.arbiter.as_ref().map(|arbiter| ArbiterSettings {
            ttl_ms: arbiter.ttl_ms,
            interval_ms: arbiter.interval_ms,
            wait_ms: arbiter.wait_ms,
            keeps_unreachable: arbiter.keeps_unreachable,
        }),
        resource_fence: guards.resource_fence.is_some(),
        ask_before_take: guards
            .ask_before_take
            .map(|ask| AskSettings { most_ms: ask.most_ms, then_take: ask.then_take }),
        watchdog: watchdog_wait(ha_cf),
    }
}

/// What clients may ask, and what they are told of the configuration.
pub(super) fn parameters(ha_cf: &config::HaCf, command_gid: u32, manage_resources: bool) -> Parameters {
    Parameters {
        recorded: ha_cf.recorded.clone(),
        dead_time_ms: ha_cf.dead_time_ms,
        keepalive_ms: ha_cf.keepalive_ms,
        version_text: LEGACY_VERSION.to_owned(),
        log_facility: clients::log_facility(ha_cf),
        pid: std::process::id(),
        api_auth: clients::api_auth(ha_cf),
        command_gid: Some(command_gid),
        ask_peers: true,
        unmanaged: !manage_resources,
    }
}

/// The device of `watchdog`, armed; without the directive one that does nothing. What the life before
/// left `armed` is gone on with, or let go of where it is not the device any more.
pub(super) fn open_watchdog(
    ha_cf: &config::HaCf,
    armed: Option<File>,
    post: &Post,
    logger: &Logger,
) -> Watchdog {
    if ha_cf.watchdog_software {
        let text = match post.is_guarded() {
            true => (LogLevel::Notice, "Using the software watchdog: the guard process resets this machine"),
            false => (LogLevel::Error, "The software watchdog needs the guard process, and there is none"),
        };
        logger.log(text.0, text.1);
    }
    let (armed, lines) = Watchdog::keep_or_close(armed, ha_cf.watchdog.as_deref());
    logger.log_all(lines);
    let Some(path) = &ha_cf.watchdog else { return Watchdog::default() };
    let (watchdog, lines) = Watchdog::open(path, armed, ha_cf.dead_time_ms);
    logger.log_all(lines);
    watchdog
}

/// What tells `apphbd` that this daemon is well, with `use_apphbd`.
pub(super) fn apphb_client(ha_cf: &config::HaCf, layout: &Layout) -> ApphbClient {
    match ha_cf.use_apphbd {
        true => ApphbClient::new(layout.apphb_socket(), ha_cf.dead_time_ms, ha_cf.warn_time_ms),
        false => ApphbClient::default(),
    }
}

/// Message format and compression of this configuration (messaging spec 1.7).
pub(super) fn wire_format(ha_cf: &config::HaCf) -> WireFormat {
    let compressor = match ha_cf.compression {
        config::Compression::Zlib => wire::Compressor::Zlib,
        config::Compression::Bzip2 => wire::Compressor::Bz2,
    };
    let threshold = usize::try_from(ha_cf.compression_threshold_kib).unwrap_or(2) * 1024;
    let message_format = match ha_cf.message_format {
        config::MessageFormat::Classic => wire::MessageFormat::Classic,
        config::MessageFormat::Netstring => wire::MessageFormat::Netstring,
    };
    // Beyond the largest message compression is used in any case (messaging spec 1.7).
    let threshold_bytes = if ha_cf.traditional_compression { threshold } else { wire::MESSAGE_MAX_BYTES };
    WireFormat { message_format, compression: Some(wire::Compression { compressor, threshold_bytes }) }
}
