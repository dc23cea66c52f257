//! The `ha` binary: dispatch to applets by `argv[0]`, else by the first argument.

mod addnode;
mod agents;
mod apphbd;
mod applet;
mod check;
mod cl_status;
mod confirm;
mod delnode;
mod demo;
mod dopd;
mod findif;
mod guard;
mod ha_logd;
mod ha_logger;
mod harc;
mod heartbeat;
mod init;
mod install;
mod ipfail;
mod keygen;
mod mach_down;
mod maintenance;
mod meatclient;
mod multicall;
mod peer_outdater;
mod pingd;
mod propagate;
mod replaced;
mod req_resource;
mod resource_manager;
mod send_arp;
mod send_ua;
mod set_site;
mod set_weight;
mod standby;
mod status;
mod stonith;
mod takeover;

use applet::Applet;

/// THE TABLE of applets, to which the library's resource agents come. Dispatch, `--list`, `--install`,
/// help and completions come from it.
const PROGRAMS: &[Applet] = &[
    addnode::APPLET,
    apphbd::APPLET,
    check::APPLET,
    cl_status::APPLET,
    confirm::APPLET,
    delnode::APPLET,
    demo::APPLET,
    dopd::APPLET,
    findif::APPLET,
    guard::APPLET,
    ha_logd::APPLET,
    ha_logger::APPLET,
    harc::APPLET,
    heartbeat::APPLET,
    init::APPLET,
    install::APPLET,
    install::REMOVAL,
    ipfail::APPLET,
    keygen::APPLET,
    mach_down::APPLET,
    maintenance::APPLET,
    peer_outdater::APPLET,
    meatclient::APPLET,
    pingd::APPLET,
    propagate::APPLET,
    replaced::CIBSECRET,
    replaced::LRMADMIN,
    req_resource::APPLET,
    resource_manager::APPLET,
    send_arp::APPLET,
    send_ua::APPLET,
    set_site::APPLET,
    set_weight::APPLET,
    standby::APPLET,
    status::APPLET,
    stonith::APPLET,
    takeover::APPLET,
];

/// The table and the agents.
const APPLETS: &[Applet] = &{
    let mut all = [PROGRAMS[0]; PROGRAMS.len() + agents::APPLETS.len()];
    let mut index = 0;
    while index < all.len() {
        let past = index.checked_sub(PROGRAMS.len());
        all[index] = match past {
            None => PROGRAMS[index],
            Some(agent) => agents::APPLETS[agent],
        };
        index += 1;
    }
    all
};

fn main() {
    // What an old configuration asks for by a path that is gone runs from here.
    ha_core::config::host::announce_applets(multicall::names(APPLETS).collect());
    ha_core::config::host::announce_fencing(ha_core::stonith::probe);
    std::process::exit(i32::from(multicall::run(APPLETS, std::env::args_os())));
}
