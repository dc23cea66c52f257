//! The `ha` binary: dispatch to applets by `argv[0]`, else by the first argument.

mod applet;
mod check;
mod cl_status;
mod demo;
mod ha_logd;
mod ha_logger;
mod harc;
mod heartbeat;
mod ip_addr;
mod multicall;
mod resource_manager;
mod send_arp;
mod standby;
mod status;
mod takeover;

use applet::Applet;

/// THE TABLE of applets. Dispatch, `--list`, `--install`, help and completions come from it.
const APPLETS: &[Applet] = &[
    check::APPLET,
    cl_status::APPLET,
    demo::APPLET,
    ha_logd::APPLET,
    ha_logger::APPLET,
    harc::APPLET,
    heartbeat::APPLET,
    ip_addr::APPLET,
    resource_manager::APPLET,
    send_arp::APPLET,
    standby::APPLET,
    status::APPLET,
    takeover::APPLET,
];

fn main() {
    std::process::exit(i32::from(multicall::run(APPLETS, std::env::args_os())));
}
