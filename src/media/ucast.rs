//! `ucast DEV HOST`: UDP to one peer; several lines may name one interface (messaging spec 6).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::udp::{new_socket, reuse_port_if_known, Fault, Plan, ReceivePlan, Sender};
use super::{MediumKind, MediumPlan};
use crate::config::settings::MediumConfig;
use crate::log::LogLine;
use crate::types::LogLevel;

const WORD: &str = "ucast";

/// IPTOS_LOWDELAY, RFC 1349.
const LOW_DELAY: u32 = 0x10;

pub(super) const KIND: MediumKind = MediumKind { word: WORD, plan };

fn plan(config: &MediumConfig, port: u16) -> Option<MediumPlan> {
    let MediumConfig::Unicast { device, peer, peer_text } = config else {
        return None;
    };
    let (name, peer) = (device.clone(), *peer);
    let shown = peer.map_or_else(|| peer_text.clone(), |address| address.to_string());
    Some(MediumPlan::Udp(Plan {
        receive: ReceivePlan {
            device: device.clone(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port,
            reuse_port: true,
        },
        device: device.clone(),
        by_address: false,
        open: Box::new(move |_, _| open(&name, peer, port)),
        started: started(device, port, &shown),
        closed: None,
        device_missing: format!("glib: ucast: interface [{device}] does not exist"),
    }))
}

fn started(device: &str, port: u16, peer: &str) -> Vec<LogLine> {
    [
        format!("write socket priority set to IPTOS_LOWDELAY on {device}"),
        format!("bound send socket to device: {device}"),
        "set SO_REUSEPORT(w)".to_owned(),
        "set SO_REUSEADDR".to_owned(),
        format!("bound receive socket to device: {device}"),
        "set SO_REUSEPORT".to_owned(),
        format!("started on port {port} interface {device} to {peer}"),
    ]
    .into_iter()
    .map(|text| (LogLevel::Info, format!("glib: ucast: {text}")))
    .collect()
}

fn open(device: &str, peer: Option<Ipv4Addr>, port: u16) -> Result<Sender, Fault> {
    let failed = |step: &'static str| move |cause| Fault::new(WORD, device, step, &cause);
    let Some(peer) = peer else {
        return Err(Fault("glib: ucast: cannot resolve hostname".to_owned()));
    };
    let socket = new_socket().map_err(failed("socket"))?;
    socket.set_tos_v4(LOW_DELAY).map_err(failed("IP_TOS"))?;
    socket.bind_device(Some(device.as_bytes())).map_err(failed("SO_BINDTODEVICE"))?;
    reuse_port_if_known(&socket).map_err(failed("SO_REUSEPORT"))?;
    Ok(Sender { socket, to: SocketAddr::V4(SocketAddrV4::new(peer, port)), flags: 0 })
}
