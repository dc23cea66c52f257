//! `bcast DEV`: UDP to the interface's broadcast address; hears itself (messaging spec 6).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use super::udp::{new_socket, Fault, Plan, ReceivePlan, Sender};
use super::{MediumKind, MediumPlan};
use crate::config::settings::MediumConfig;
use crate::sys::interface::Addresses;
use crate::types::LogLevel;

const WORD: &str = "bcast";

pub(super) const KIND: MediumKind = MediumKind { word: WORD, plan };

fn plan(config: &MediumConfig, port: u16) -> Option<MediumPlan> {
    let MediumConfig::Broadcast { device } = config else {
        return None;
    };
    let name = device.clone();
    let started = format!("glib: UDP Broadcast heartbeat started on port {port} ({port}) interface {device}");
    let closed =
        format!("glib: UDP Broadcast heartbeat closed on port {port} interface {device} - Status: 1");
    Some(MediumPlan::Udp(Plan {
        receive: ReceivePlan {
            device: device.clone(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port,
            reuse_port: false,
        },
        device: device.clone(),
        by_address: true,
        open: Box::new(move |_, addresses| open(&name, port, addresses)),
        started: vec![(LogLevel::Info, started)],
        closed: Some((LogLevel::Info, closed)),
        device_missing: format!("glib: Get broadcast for interface {device} failed: No such device"),
    }))
}

fn open(device: &str, port: u16, addresses: &Addresses) -> Result<Sender, Fault> {
    let failed = |step: &'static str| move |cause| Fault::new(WORD, device, step, &cause);
    if addresses.address.is_none() {
        let text =
            format!("glib: Get broadcast for interface {device} failed: Cannot assign requested address");
        return Err(Fault(text));
    }
    // An address set up without its broadcast address still has the one that ends at the wire.
    let broadcast = addresses.broadcast.unwrap_or(Ipv4Addr::BROADCAST);
    let socket = new_socket().map_err(failed("socket"))?;
    socket.set_broadcast(true).map_err(failed("SO_BROADCAST"))?;
    socket.bind_device(Some(device.as_bytes())).map_err(failed("SO_BINDTODEVICE"))?;
    // The flag does for each packet what the original's SO_DONTROUTE does for the socket.
    Ok(Sender {
        socket,
        to: SocketAddr::V4(SocketAddrV4::new(broadcast, port)),
        flags: nix::libc::MSG_DONTROUTE,
    })
}
