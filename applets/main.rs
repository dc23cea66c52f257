//! The `ha` binary: dispatch to applets by `argv[0]`, else by the first argument.

mod addnode;
mod applet;
mod check;
mod cl_status;
mod delnode;
mod demo;
mod ha_logd;
mod ha_logger;
mod harc;
mod heartbeat;
mod ip_addr;
mod ipfail;
mod mach_down;
mod meatclient;
mod multicall;
mod pingd;
mod propagate;
mod req_resource;
mod resource_manager;
mod send_arp;
mod set_site;
mod set_weight;
mod standby;
mod status;
mod stonith;
mod takeover;

use applet::Applet;

/// THE TABLE of applets. Dispatch, `--list`, `--install`, help and completions come from it.
const APPLETS: &[Applet] = &[
    addnode::APPLET,
    check::APPLET,
    cl_status::APPLET,
    delnode::APPLET,
    demo::APPLET,
    ha_logd::APPLET,
    ha_logger::APPLET,
    harc::APPLET,
    heartbeat::APPLET,
    ip_addr::APPLET,
    ipfail::APPLET,
    mach_down::APPLET,
    meatclient::APPLET,
    pingd::APPLET,
    propagate::APPLET,
    req_resource::APPLET,
    resource_manager::APPLET,
    send_arp::APPLET,
    set_site::APPLET,
    set_weight::APPLET,
    standby::APPLET,
    status::APPLET,
    stonith::APPLET,
    takeover::APPLET,
];

fn main() {
    // What an old configuration asks for by a path that is gone runs from here.
    let names = APPLETS.iter().flat_map(|applet| applet.names.iter().copied());
    ha_core::config::host::announce_applets(names.collect());
    std::process::exit(i32::from(multicall::run(APPLETS, std::env::args_os())));
}
