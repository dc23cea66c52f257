//! `ucast6 DEV ADDRESS`: UDP over IPv6 to one peer; several lines may name one interface
//! (messaging spec 6).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::udp::{new_socket6, Fault, Plan, ReceivePlan, Sender};
use super::{MediumKind, MediumPlan};
use crate::config::settings::MediumConfig;
use crate::types::LogLevel;

const WORD: &str = "ucast6";

pub(super) const KIND: MediumKind = MediumKind { word: WORD, plan };

fn plan(config: &MediumConfig, port: u16) -> Option<MediumPlan> {
    let MediumConfig::Unicast6 { device, peer } = config else {
        return None;
    };
    let (name, peer) = (device.clone(), *peer);
    let shown = if peer.is_unicast_link_local() { format!("{peer}%{device}") } else { peer.to_string() };
    let started = [
        format!("bound send socket to device: {device}"),
        format!("bound receive socket to device: {device}"),
        "set SO_REUSEPORT".to_owned(),
        format!("heartbeat started for [{shown}]:{port} on interface {device}"),
    ];
    Some(MediumPlan::Udp(Plan {
        receive: ReceivePlan {
            device: device.clone(),
            address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            port,
            reuse_port: true,
        },
        device: device.clone(),
        by_address: false,
        open: Box::new(move |index, _| open(&name, index, peer, port)),
        started: started.map(|text| (LogLevel::Info, format!("glib: ucast6: {text}"))).into(),
        closed: None,
        device_missing: format!("glib: ucast6 device [{device}] is invalid or not set up properly"),
    }))
}

fn open(device: &str, index: u32, peer: Ipv6Addr, port: u16) -> Result<Sender, Fault> {
    let failed = |step: &'static str| move |cause| Fault::new(WORD, device, step, &cause);
    let socket = new_socket6().map_err(failed("socket"))?;
    socket.bind_device(Some(device.as_bytes())).map_err(failed("SO_BINDTODEVICE"))?;
    let scope = if peer.is_unicast_link_local() { index } else { 0 };
    Ok(Sender { socket, to: SocketAddr::V6(SocketAddrV6::new(peer, port, 0, scope)), flags: 0 })
}
