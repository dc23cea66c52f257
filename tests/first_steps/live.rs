//! What only a live host can tell `ha check`.

use ha_core::demo::world::{HostKind, World};

use crate::common::{self, single, skip::skip_without_privilege};

/// The host's `ha check --json` with these lines: severity, line and message of each remark.
fn remarks(world: &World, ha_cf: &str, haresources: &str) -> Vec<(String, u64, String)> {
    let host = world.host("node1").expect("host");
    world.configure(ha_cf, haresources).expect("configure");
    let output =
        host.run(&["env", "HA_ROOT=/tmp/other", "/ha", "check", "--json", "/etc/ha.d"]).expect("check");
    let report: serde_json::Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let text = |remark: &serde_json::Value, name: &str| remark[name].as_str().unwrap_or_default().to_owned();
    let remarks = report["diagnostics"].as_array().expect("a list").iter();
    remarks
        .map(|one| (text(one, "severity"), one["line"].as_u64().unwrap_or(0), text(one, "message")))
        .collect()
}

#[track_caller]
fn expect(found: &[(String, u64, String)], severity: &str, parts: &[&str]) {
    let fits = |one: &(String, u64, String)| {
        one.0 == severity && one.1 > 0 && parts.iter().all(|part| one.2.contains(part))
    };
    assert!(found.iter().any(fits), "no {severity} with {parts:?}: {found:#?}");
}

#[track_caller]
fn expect_none(found: &[(String, u64, String)], part: &str) {
    assert!(!found.iter().any(|one| one.2.contains(part)), "{part:?}: {found:#?}");
}

const HA_CF: &str = "keepalive 1\ndeadtime 10\nwarntime 5\ninitdead 60\nbcast eth0 eth1\nauto_failback off\nnode node1 node2\n";

fn shell(world: &World, script: &str) -> bool {
    let output = world.host("node1").expect("host").run(&["sh", "-c", script]).expect("sh");
    output.code == Some(0)
}

#[test]
fn addresses_of_the_host_and_its_networks() {
    let Some(world) = single() else { return };
    let own = remarks(&world, HA_CF, "node1 IPaddr2::192.0.2.1/24/eth0\n");
    expect(&own, "error", &["192.0.2.1"]);
    let other = remarks(&world, HA_CF, "node1 198.51.100.1/24/eth1\n");
    expect(&other, "error", &["198.51.100.1", "own address on eth1"]);
    let peer = remarks(
        &world,
        &HA_CF.replace("bcast eth0", "ucast eth0 192.0.2.9\nbcast"),
        "node1 192.0.2.9/24/eth0\n",
    );
    expect(&peer, "error", &["192.0.2.9", "ucast eth0"]);
    let outside = remarks(&world, HA_CF, "node1 IPaddr::203.0.113.5/24/eth0\n");
    expect(&outside, "warning", &["203.0.113.5 is outside the networks of eth0"]);
    let nowhere = remarks(&world, HA_CF, "node1 IPaddr::203.0.113.5\n");
    expect(&nowhere, "warning", &["no interface of this host has a network with 203.0.113.5"]);
    let good = remarks(&world, HA_CF, "node1 192.0.2.100/24/eth0\n");
    expect(&good, "hint", &["`eth0` carries heartbeats in the network that 192.0.2.100 serves"]);
    for part in ["own address", "outside", "is the address of"] {
        expect_none(&good, part);
    }
    let crossed = remarks(&world, HA_CF, "node1 198.51.100.100/24/eth0\n");
    expect(&crossed, "warning", &["`eth1` carries heartbeats in the network of 198.51.100.100"]);
}

#[test]
fn ping_nodes_of_the_cluster_and_source_checks() {
    let Some(world) = single() else { return };
    let ping = |address: &str| {
        let ha_cf = format!("{HA_CF}ping {address}\nrespawn root /usr/lib/heartbeat/ipfail\n");
        remarks(&world, &ha_cf, "node1 192.0.2.100/24/eth0\n")
    };
    expect(&ping("192.0.2.100"), "error", &["ping node 192.0.2.100 is the address that moves"]);
    expect(&ping("192.0.2.1"), "warning", &["ping node 192.0.2.1"]);
    expect(&ping("198.51.100.1"), "warning", &["ping node 198.51.100.1 is an address of this host"]);
    expect_none(&ping("192.0.2.254"), "ping node");
    if shell(&world, "echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter") {
        let found = remarks(&world, HA_CF, "node1 192.0.2.100/24/eth0\n");
        expect(&found, "hint", &["rp_filter is strict on eth0"]);
        assert!(shell(&world, "ip route add default via 198.51.100.254 dev eth1"));
        let found = remarks(&world, HA_CF, "node1 192.0.2.100/24/eth0\n");
        expect(&found, "warning", &["rp_filter is strict on eth0", "eth1"]);
    } else {
        skip_without_privilege("rp_filter cannot be set here");
    }
}

#[test]
fn services_that_the_boot_starts() {
    let Some(world) = single() else { return };
    let host = world.host("node1").expect("host");
    for script in ["web", "store", "quiet"] {
        host.write_file_with_mode(&format!("/etc/ha.d/resource.d/{script}"), "#!/bin/sh\n", 0o755)
            .expect("script");
    }
    assert!(shell(
        &world,
        "r=/tmp/other/etc; mkdir -p $r/rc3.d $r/systemd/system/multi-user.target.wants && \
         ln -s ../init.d/web $r/rc3.d/S85web && ln -s ../init.d/quiet $r/rc3.d/K15quiet && \
         ln -s /nowhere $r/systemd/system/multi-user.target.wants/store.service"
    ));
    let found = remarks(&world, HA_CF, "node1 192.0.2.100/24/eth0 web store quiet\n");
    expect(&found, "warning", &["`web` is started at boot too (/etc/rc3.d/S85web)"]);
    expect(&found, "warning", &["`store` is started at boot too", "multi-user.target.wants"]);
    expect_none(&found, "`quiet`");
}

#[test]
fn a_closed_port() {
    let Some(world) = single() else { return };
    if !shell(&world, "nft add table inet guard") {
        return skip_without_privilege("nft does not work in a namespace here");
    }
    let look = || remarks(&world, HA_CF, "node1 192.0.2.100/24/eth0\n");
    expect_none(&look(), "packet filter");
    assert!(shell(
        &world,
        "nft add chain inet guard input '{ type filter hook input priority 0; policy drop; }'"
    ));
    expect(&look(), "error", &["keeps udp port 694 closed on eth0"]);
    expect(&look(), "error", &["keeps udp port 694 closed on eth1"]);
    assert!(shell(&world, "nft add rule inet guard input ct state established,related accept"));
    assert!(shell(&world, "nft add rule inet guard input iifname eth1 udp dport 694 accept"));
    let found = look();
    expect(&found, "error", &["keeps udp port 694 closed on eth0"]);
    expect_none(&found, "closed on eth1");
    assert!(shell(&world, "nft add rule inet guard input ip saddr 192.0.2.2 udp dport 694 accept"));
    expect(&look(), "hint", &["may keep udp port 694 closed on eth0"]);
    assert!(shell(&world, "nft flush ruleset && iptables -A INPUT -p udp --dport 694 -j REJECT"));
    expect(&look(), "error", &["keeps udp port 694 closed on eth0"]);
}

#[test]
fn files_that_differ() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let ha_cf = world.ha_cf(100, 1500, &["auto_failback off"]);
    world.configure(&ha_cf, "node1 IPaddr2::192.0.2.100/24/eth0\n").expect("configure");
    let second = world.host("node2").expect("host");
    second.write_file("/etc/ha.d/haresources", "node1 IPaddr2::192.0.2.101/24/eth0\n").expect("write");
    for host in world.hosts() {
        host.start_daemon().expect("start");
    }
    let first = world.host("node1").expect("host");
    common::wait_for(&world, "a word about the files", std::time::Duration::from_secs(40), || {
        let output = first.run(&["/ha", "check"]).expect("check");
        output.stdout.contains("the file on node node2 differs") && output.code == Some(2)
    });
}
