//! `mcast6 DEV GROUP PORT HOPS LOOP`: the multicast of IPv6, with a port of its own (messaging spec 6).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::udp::{new_socket6, Fault, Plan, ReceivePlan, Sender};
use super::{MediumKind, MediumPlan};
use crate::config::settings::MediumConfig;
use crate::types::LogLevel;

const WORD: &str = "mcast6";

pub(super) const KIND: MediumKind = MediumKind { word: WORD, plan };

#[derive(Clone)]
struct Target {
    device: String,
    group: Ipv6Addr,
    port: u16,
    hops: u8,
    loop_back: bool,
}

fn plan(config: &MediumConfig, _udp_port: u16) -> Option<MediumPlan> {
    let MediumConfig::Multicast6 { device, group, port, hops, loop_back } = config else {
        return None;
    };
    let device = device.clone();
    let target =
        Target { device: device.clone(), group: *group, port: *port, hops: *hops, loop_back: *loop_back };
    let looped = u8::from(*loop_back);
    let started = format!(
        "glib: UDP multicast heartbeat started for [{group}]:{port} on interface {device} (hops={hops} loop={looped})"
    );
    Some(MediumPlan::Udp(Plan {
        receive: ReceivePlan {
            device: device.clone(),
            address: IpAddr::V6(*group),
            port: *port,
            reuse_port: false,
        },
        by_address: false,
        open: Box::new(move |index, _| open(&target, index)),
        started: vec![(LogLevel::Info, started)],
        closed: None,
        device_missing: format!("glib: mcast6 device [{device}] is invalid or not set up properly"),
        device,
    }))
}

fn open(target: &Target, index: u32) -> Result<Sender, Fault> {
    let failed = |step: &'static str| move |cause| Fault::new(WORD, &target.device, step, &cause);
    let socket = new_socket6().map_err(failed("socket"))?;
    socket.set_multicast_if_v6(index).map_err(failed("IPV6_MULTICAST_IF"))?;
    socket.set_multicast_loop_v6(target.loop_back).map_err(failed("IPV6_MULTICAST_LOOP"))?;
    socket.set_multicast_hops_v6(u32::from(target.hops)).map_err(failed("IPV6_MULTICAST_HOPS"))?;
    let to = SocketAddr::V6(SocketAddrV6::new(target.group, target.port, 0, index));
    Ok(Sender { socket, to, flags: 0 })
}
