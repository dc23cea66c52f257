//! Every medium between one of ours and one of the original's.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ha_core::demo::host::LOG;
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

use crate::common::cable::{Cable, TTY};
use crate::common::{self, logs, wait_for};
use crate::pair::long;

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

/// What each node must have logged by now.
fn logged(world: &World, text: &str) {
    for host in world.hosts() {
        let log = host.read_file(LOG).expect("log");
        assert!(log.contains(text), "{}: no {text:?}\n{}", host.name(), logs(world));
    }
}

/// Moves the address with hb_standby, from whoever has it, and back.
fn hand_over(world: &World) {
    for (from, to) in [("node1", "node2"), ("node2", "node1")] {
        world.wait_owner(SERVICE_ADDRESS, from, PATIENCE).unwrap_or_else(|e| panic!("{e}\n{}", logs(world)));
        for host in ["node1", "node2"] {
            wait_for(world, &format!("{host} is stable"), PATIENCE, || {
                !["transition", ""].contains(&cl_status(world, host, &["rscstatus"]).as_str())
            });
        }
        let command = world.host(from).expect("host").command("hb_standby", &["all"]).expect("it runs");
        assert_eq!(command.code, Some(0), "{command:?}\n{}", logs(world));
        world.wait_owner(SERVICE_ADDRESS, to, PATIENCE).unwrap_or_else(|e| panic!("{e}\n{}", logs(world)));
    }
}

/// Addresses that IPv6 media can use at once: fd77:N::1 and fe80::1 on node1, ::2 on node2.
fn address6(world: &World) {
    for (number, host) in (1..).zip(world.hosts()) {
        for (net, device) in ["eth0", "eth1"].into_iter().enumerate() {
            for address in [format!("fd77:{net}::{number}"), format!("fe80::{number}")] {
                let address = format!("{address}/64");
                let output = host.run(&["ip", "addr", "add", &address, "dev", device, "nodad"]).expect("ip");
                assert_eq!(output.code, Some(0), "{output:?}");
            }
        }
    }
}

/// A serial line beside ucast and mcast; then alone, when both networks are gone, and with nonsense
/// on it.
#[test]
fn serial_beside_other_media() {
    let Some(world) = mixed_pair() else { return };
    let cable = Cable::between(&world);
    let peers = ["node1", "node2"]
        .map(|name| format!("ucast eth0 {}", world.service_address(name).expect("address")));
    let serial = format!("serial {TTY}");
    configure(&world, &["baud 115200", &serial, &peers[0], &peers[1], "mcast eth1 225.0.0.1 694 1 0"]);
    start_both(&world);
    wait_links(&world, &[TTY, "eth0", "eth1"]);
    logged(&world, &format!("info: glib: Starting serial heartbeat on tty {TTY} (115200 baud)"));
    world.wait_owner(SERVICE_ADDRESS, "node1", PATIENCE).unwrap_or_else(|e| panic!("{e}\n{}", logs(&world)));

    for device in ["eth0", "eth1"] {
        world.cut("node2", device).expect("cut");
    }
    for (host, other) in [("node1", "node2"), ("node2", "node1")] {
        for (link, state) in [("eth0", "dead"), ("eth1", "dead"), (TTY, "up")] {
            wait_for(&world, &format!("{link} of {other} is {state} on {host}"), PATIENCE, || {
                cl_status(&world, host, &["hblinkstatus", other, link]) == state
            });
        }
    }
    // What nonsense destroys is asked for again. A request is not made while it passes: the original
    // refuses one that comes behind a later message ("Other side is in flux").
    cable.noise.store(20_000, Ordering::Relaxed);
    let seen = |text: &str| {
        wait_for(&world, text, PATIENCE, || {
            world.host("node1").and_then(|host| host.read_file(LOG)).is_ok_and(|log| log.contains(text))
        });
    };
    seen("bytes on serial port /dev/ttyHA belong to no message");
    let after = cable.carried.load(Ordering::Relaxed);
    wait_for(&world, "beats after the nonsense", PATIENCE, || {
        cable.carried.load(Ordering::Relaxed) > after + 3000
    });
    hand_over(&world);
    for host in world.hosts() {
        let log = host.read_file(LOG).expect("log");
        assert!(
            !log.contains("node node1: is dead") && !log.contains("node node2: is dead"),
            "{}",
            logs(&world)
        );
    }
    assert!(cable.carried.load(Ordering::Relaxed) > 10_000);
}

/// Multicast on one device, unicast on the other, both over IPv6.
#[test]
fn media_of_ipv6() {
    let Some(world) = mixed_pair() else { return };
    address6(&world);
    let media = ["mcast6 eth0 ff12::1:2:3:4 694 1 0", "ucast6 eth1 fd77:1::1", "ucast6 eth1 fd77:1::2"];
    configure(&world, &media);
    start_both(&world);
    wait_links(&world, &["eth0", "eth1"]);
    logged(
        &world,
        "glib: UDP multicast heartbeat started for [ff12::1:2:3:4]:694 on interface eth0 (hops=1 loop=0)",
    );
    logged(&world, "glib: ucast6: heartbeat started for [fd77:1::2]:694 on interface eth1");
    hand_over(&world);
}

/// Each medium alone carries a whole life: start of both, standby, death, return.
#[test]
fn each_medium_alone() {
    if !long() {
        return println!("left out: HA_LONG=1 runs it");
    }
    let serial = format!("serial {TTY}");
    let all: [&[&str]; 7] = [
        &["bcast eth1"],
        &["ucast eth1 198.51.100.1", "ucast eth1 198.51.100.2"],
        &["mcast eth1 225.0.0.1 694 1 0"],
        &["mcast6 eth1 ff15::1:2:3:4 694 1 0"],
        &["ucast6 eth1 fe80::1", "ucast6 eth1 fe80::2"],
        &["baud 19200", &serial],
        &["bcast eth0", "mcast6 eth1 ff12::7 694 1 1", &serial],
    ];
    for media in all {
        let Some(world) = mixed_pair() else { return };
        println!("{media:?}");
        address6(&world);
        let _cable = Cable::between(&world);
        configure(&world, media);
        start_both(&world);
        wait_links(&world, &[]);
        hand_over(&world);
        world.crash("node1").expect("crash");
        world
            .wait_owner(SERVICE_ADDRESS, "node2", PATIENCE)
            .unwrap_or_else(|e| panic!("{e}\n{}", logs(&world)));
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
    logged(&world, "info: glib: ping heartbeat started.");
    logged(&world, "info: glib: ping group heartbeat started.");
    logged(&world, &format!("info: Link {client}:{client} up."));
    logged(&world, &format!("info: Status update for node {client}: status ping"));
    logged(&world, &format!("WARN: node {client}: is dead"));
    logged(&world, &format!("info: Link {client}:{client} dead."));
    logged(&world, "info: Status update for node both: status ping");
    logged(&world, "WARN: node 192.0.2.99: is dead");
}
