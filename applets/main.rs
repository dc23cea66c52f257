//! The `ha` binary: dispatch to applets by `argv[0]`, else by the first argument.

mod applet;
mod check;
mod cl_status;
mod demo;
mod heartbeat;
mod ip_addr;
mod resource_manager;
mod send_arp;
mod standby;
mod status;
mod takeover;

use applet::{Applet, Invocation};

/// THE TABLE of applets. Dispatch, `--list`, `--install`, help and completions come from it.
const APPLETS: &[Applet] = &[
    check::APPLET,
    cl_status::APPLET,
    demo::APPLET,
    heartbeat::APPLET,
    ip_addr::APPLET,
    resource_manager::APPLET,
    send_arp::APPLET,
    standby::APPLET,
    status::APPLET,
    takeover::APPLET,
];

fn main() {
    let mut words = std::env::args_os();
    let called_as = words.next().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    let base = called_as.rsplit('/').next().unwrap_or("").to_owned();
    let mut arguments: Vec<_> = words.collect();
    let mut called_as = called_as;
    let mut name = base;
    if find(&name).is_none() && !arguments.is_empty() {
        name = arguments.remove(0).to_string_lossy().into_owned();
        called_as = name.clone();
    }
    let code = match find(&name) {
        Some(applet) => (applet.run)(&Invocation { called_as, arguments }),
        None => 127,
    };
    std::process::exit(i32::from(code));
}

fn find(name: &str) -> Option<&'static Applet> {
    APPLETS.iter().find(|applet| applet.names.contains(&name))
}
