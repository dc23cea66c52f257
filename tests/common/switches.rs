//! Played power switches (`tests/support/power_switch.rs`) on the client's host of a world, reached by
//! telnet over the network of the hosts.

#![allow(dead_code)]

use std::net::TcpListener;
use std::path::PathBuf;

use ha_core::demo::world::World;

use crate::common;
use crate::power_switch::{handler, serve, Deeds, Fault};
use crate::stranger;

/// Where they are.
pub(crate) const ADDRESSES: [&str; 2] = ["192.0.2.201", "192.0.2.202"];
const VARIABLE: &str = "PLAYED_SWITCH";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A file of a switch on the client's host.
fn file_of(place: usize, what: &str) -> String {
    format!("/var/log/switch-{}.{what}", ADDRESSES[place])
}

/// Not a test: plays the switch that the environment names, on the client's host.
#[test]
fn inside_switch() {
    if !stranger::is_inside() {
        return;
    }
    let words = std::env::var(VARIABLE).expect("the switch");
    let (kind, place) = words.split_once(' ').expect("two words");
    let place: usize = place.parse().expect("a place");
    let listener = TcpListener::bind((ADDRESSES[place], 23)).expect("telnet port");
    std::fs::write(file_of(place, "ready"), "").expect("mark");
    let deeds = Deeds::in_file(PathBuf::from(file_of(place, "deeds")));
    serve(&listener, handler(kind).expect("a known switch"), &deeds, || loop {
        // While the file is written it may be empty.
        let name = std::fs::read_to_string(file_of(place, "fault")).unwrap_or_default();
        if let Some(fault) = Fault::named(&name) {
            break fault;
        }
    });
}

/// Starts one of this type that works, and waits until it listens.
pub(crate) fn start(world: &World, place: usize, kind: &str) {
    let client = world.host("client").expect("client");
    let address = format!("{}/24", ADDRESSES[place]);
    let added = client.run(&["ip", "address", "add", &address, "dev", "eth0"]).expect("ip");
    assert_eq!(added.code, Some(0), "{added:?}");
    set_fault(world, place, Fault::None);
    let program = stranger::inside("switches::inside_switch");
    let variable = format!("{VARIABLE}={kind} {place}");
    let words: Vec<&str> = ["env", &variable].into_iter().chain(program.iter().map(String::as_str)).collect();
    client.spawn(&words, "/var/log/switch-output").expect("switch");
    common::wait_for(world, "the switch listens", PATIENCE, || {
        client.run(&["test", "-e", &file_of(place, "ready")]).expect("test").code == Some(0)
    });
}

/// It has this fault from the next connection on.
pub(crate) fn set_fault(world: &World, place: usize, fault: Fault) {
    let client = world.host("client").expect("client");
    client.write_file(&file_of(place, "fault"), &format!("{fault:?}")).expect("fault");
}

/// What it has done so far.
pub(crate) fn deeds(world: &World, place: usize) -> Vec<String> {
    let text = world.host("client").expect("client").read_file(&file_of(place, "deeds")).expect("deeds");
    text.lines().map(str::to_owned).collect()
}

/// A file that is half written names nothing.
#[test]
fn faults_have_names() {
    for fault in [Fault::None, Fault::Silent, Fault::HangsUpDone] {
        assert_eq!(Fault::named(&format!("{fault:?}")), Some(fault));
    }
    assert_eq!(Fault::named("Sil"), None);
}
