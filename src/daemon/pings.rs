//! What goes to ping nodes: with each status of ours the message that we want to hear of them
//! (messaging spec 6, `ping`).

use crate::cluster::settings::PingSettings;
use crate::config::settings::MediumConfig;
use crate::media::MediaSet;
use crate::sys::time::monotonic_ms;
use crate::types::AuthKeys;
use crate::wire::message::Message;
use crate::wire::{self, WireFormat};

/// The ping nodes of the configuration, as the cluster wants them.
pub fn settings(media: &[MediumConfig]) -> Vec<PingSettings> {
    let pings = media.iter().filter_map(MediumConfig::ping);
    pings
        .map(|ping| PingSettings {
            name: ping.name.clone(),
            info: ping.kind.as_str(),
            nodes_before: ping.nodes_before,
        })
        .collect()
}

/// Asks every ping node, with the time of this status. Never waits.
pub fn ask(media: &mut MediaSet, status: &Message, keys: &AuthKeys, format: &WireFormat) {
    let ts = status.text("ts").unwrap_or("1").to_owned();
    media.ask_ping_nodes(
        |info, node| {
            let message = Message::new("NS_st")
                .with("st", "ping")
                .with("info", info)
                .with("src", node.as_str())
                .with("ts", &ts);
            wire::encode_datagram(&message, keys, None, format).ok()
        },
        monotonic_ms(),
    );
}
