//! Every medium between one of ours and one of the original's.

use std::time::Duration;

use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

use crate::common::{self, logs, wait_for};

/// The original needs some ten seconds for a cold start, and the machine may be loaded.
const PATIENCE: Duration = Duration::from_secs(90);
const KEEPALIVE_MS: u64 = 200;
const DEAD_TIME_MS: u64 = 2000;
/// Debian's own, also on a host of ours, where `/usr/bin/cl_status` is our binary.
const DEBIAN_CL_STATUS: &str = "/.machine/usr/bin/cl_status";

/// node1 is ours, node2 the original's.
fn mixed_pair() -> Option<World> {
    common::pair(HostKind::Ours, HostKind::Original)
}

/// ha.cf of this world with these media instead of the broadcasts.
fn configure(world: &World, media: &[&str]) {
    let text = world.ha_cf(KEEPALIVE_MS, DEAD_TIME_MS, &["auto_failback off"]);
    let text = text.replace("bcast eth0 eth1", &media.join("\n"));
    world.configure(&text, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n")).expect("configure");
}

fn start_both(world: &World) {
    for host in world.hosts() {
        host.start_daemon().unwrap_or_else(|error| panic!("{error}\n{}", logs(world)));
    }
}

/// What Debian's cl_status prints, without blanks around it.
fn cl_status(world: &World, host: &str, arguments: &[&str]) -> String {
    let argv: Vec<&str> = [DEBIAN_CL_STATUS].iter().chain(arguments).copied().collect();
    let output = world.host(host).expect("host").run(&argv).expect("cl_status runs");
    output.stdout.trim().to_owned()
}

/// Waits until Debian's cl_status says this on both nodes.
fn wait_status(world: &World, arguments: &[&str], expected: &str) {
    for host in ["node1", "node2"] {
        wait_for(world, &format!("{arguments:?} is {expected:?} on {host}"), PATIENCE, || {
            cl_status(world, host, arguments) == expected
        });
    }
}

/// Each node sees the other as active over each of these links.
fn wait_links(world: &World, links: &[&str]) {
    for (host, other) in [("node1", "node2"), ("node2", "node1")] {
        wait_for(world, &format!("{other} is active on {host}"), PATIENCE, || {
            cl_status(world, host, &["nodestatus", other]) == "active"
        });
        for link in links {
            wait_for(world, &format!("link {link} of {other} is up on {host}"), PATIENCE, || {
                cl_status(world, host, &["hblinkstatus", other, link]) == "up"
            });
        }
    }
}

/// Ping nodes look the same on both, through Debian's cl_status.
#[test]
fn ping_nodes() {
    let Some(world) = mixed_pair() else { return };
    let client = world.service_address("client").expect("client").to_string();
    let group = format!("ping_group both 192.0.2.77 {client}");
    configure(
        &world,
        &["bcast eth0 eth1", &format!("ping {client}"), &group, "ping 192.0.2.99", "deadping 2"],
    );
    start_both(&world);
    wait_links(&world, &["eth0", "eth1"]);
    for node in [client.as_str(), "both"] {
        wait_status(&world, &["nodestatus", node], "ping");
        wait_status(&world, &["nodetype", node], "ping");
        wait_status(&world, &["listhblinks", node], node);
        wait_status(&world, &["hblinkstatus", node, node], "up");
    }
    wait_status(&world, &["nodestatus", "192.0.2.99"], "dead");
    let lists: Vec<String> =
        ["node1", "node2"].map(|host| cl_status(&world, host, &["listnodes", "-v"])).into_iter().collect();
    assert_eq!(lists[0], lists[1]);

    world.cut("client", "eth0").expect("cut");
    for node in [client.as_str(), "both"] {
        wait_status(&world, &["nodestatus", node], "dead");
        wait_status(&world, &["hblinkstatus", node, node], "dead");
    }
    world.heal("client", "eth0").expect("heal");
    for node in [client.as_str(), "both"] {
        wait_status(&world, &["nodestatus", node], "ping");
    }
    let line = |text: &str| {
        for host in world.hosts() {
            let log = host.read_file(ha_core::demo::host::LOG).expect("log");
            assert!(log.contains(text), "{}: no {text:?}\n{}", host.name(), logs(&world));
        }
    };
    line("info: glib: ping heartbeat started.");
    line("info: glib: ping group heartbeat started.");
    line(&format!("info: Link {client}:{client} up."));
    line(&format!("info: Status update for node {client}: status ping"));
    line(&format!("WARN: node {client}: is dead"));
    line(&format!("info: Link {client}:{client} dead."));
    line("info: Status update for node both: status ping");
    line("WARN: node 192.0.2.99: is dead");
}
