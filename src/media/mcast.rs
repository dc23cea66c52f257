//! `mcast DEV GROUP PORT TTL LOOP`: UDP to a group, with a port of its own (messaging spec 6).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::udp::{new_socket, Fault, Plan, ReceivePlan, Sender};
use super::{MediumKind, MediumPlan};
use crate::config::settings::MediumConfig;
use crate::sys::interface::Addresses;
use crate::types::LogLevel;

const WORD: &str = "mcast";

pub(super) const KIND: MediumKind = MediumKind { word: WORD, plan };

#[derive(Clone)]
struct Target {
    device: String,
    group: Ipv4Addr,
    port: u16,
    ttl: u8,
    loop_back: bool,
}

fn plan(config: &MediumConfig, _udp_port: u16) -> Option<MediumPlan> {
    let MediumConfig::Multicast { device, group, port, ttl, loop_back } = config else {
        return None;
    };
    let device = device.clone();
    let target =
        Target { device: device.clone(), group: *group, port: *port, ttl: *ttl, loop_back: *loop_back };
    let looped = u8::from(*loop_back);
    let started = format!(
        "glib: UDP multicast heartbeat started for group {group} port {port} interface {device} (ttl={ttl} loop={looped})"
    );
    Some(MediumPlan::Udp(Plan {
        receive: ReceivePlan {
            device: device.clone(),
            address: IpAddr::V4(*group),
            port: *port,
            reuse_port: false,
        },
        by_address: true,
        open: Box::new(move |_, addresses| open(&target, addresses)),
        started: vec![(LogLevel::Info, started)],
        closed: None,
        device_missing: invalid_device(&device),
        device,
    }))
}

fn invalid_device(device: &str) -> String {
    format!("glib: mcast device [{device}] is invalid or not set up properly")
}

fn open(target: &Target, addresses: &Addresses) -> Result<Sender, Fault> {
    let failed = |step: &'static str| move |cause| Fault::new(WORD, &target.device, step, &cause);
    let Some(address) = addresses.address else {
        return Err(Fault(invalid_device(&target.device)));
    };
    let socket = new_socket().map_err(failed("socket"))?;
    socket.set_multicast_if_v4(&address).map_err(failed("IP_MULTICAST_IF"))?;
    socket.set_multicast_loop_v4(target.loop_back).map_err(failed("IP_MULTICAST_LOOP"))?;
    socket.set_multicast_ttl_v4(u32::from(target.ttl)).map_err(failed("IP_MULTICAST_TTL"))?;
    Ok(Sender { socket, to: SocketAddr::V4(SocketAddrV4::new(target.group, target.port)), flags: 0 })
}
