//! The media directives of ha.cf that the tests of whole configurations (`tests/config.rs`) only
//! accept or refuse: what becomes of their arguments.

use std::collections::BTreeMap;
use std::path::Path;

use ha_core::config::ha_cf::{self, HaCfReport};
use ha_core::config::host::{Device, HostFacts, Interface};
use ha_core::config::settings::MediumConfig;
use ha_core::config::source::Source;

const PLAIN: &str = "keepalive 100ms\ndeadtime 1\ninitdead 10\nbcast eth1\nauto_failback off\n\
                     logfacility none\nlogfile /var/log/ha-log\nnode node1\nnode node2\n";

fn read(lines: &str) -> HaCfReport {
    let host = HostFacts {
        node_name: "node1".into(),
        effective_uid: 0,
        interfaces: ["eth0", "eth1"]
            .map(|name| (name.to_owned(), Interface { address: "10.77.0.1".parse().ok() }))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        resolve: |host| host.parse().ok(),
        resolve6: |host| Some(std::net::SocketAddrV6::new(host.parse().ok()?, 0, 0, 0)),
        device: |path| if path.starts_with("/dev/") { Device::Character } else { Device::Missing },
        udp_services: vec![(694, "ha-cluster".into())],
        ..HostFacts::gather()
    };
    let text = format!("{PLAIN}{lines}");
    let report =
        ha_cf::read(&Source::from_bytes(Path::new("/etc/ha.d"), "ha.cf", text.as_bytes()), "node1", &host);
    assert!(report.is_good(), "{lines}: {:?}", report.diagnostics);
    report
}

fn serial(device: &str, baud: u32) -> MediumConfig {
    MediumConfig::Serial { device: device.into(), baud }
}

#[test]
fn serial_lines_take_the_rate_before_them() {
    let media = |lines: &str| read(lines).settings.media.split_off(1);
    assert_eq!(media("serial /dev/ttyS0"), [serial("/dev/ttyS0", 19200)]);
    assert_eq!(
        media("baud 9600\nserial /dev/ttyS0, /dev/ttyS1"),
        [serial("/dev/ttyS0", 9600), serial("/dev/ttyS1", 9600)]
    );
    assert_eq!(media("serial /dev/ttyS0\nbaud 9600"), [serial("/dev/ttyS0", 19200)]);
}

#[test]
fn media_of_ipv6() {
    let report =
        read("mcast6 eth0 ff12::1:2:3:4 ha-cluster 1 0\nucast6 eth0 fd77::2\nucast6 eth1 fe80::2%eth1\n");
    let group = "ff12::1:2:3:4".parse().unwrap();
    let unicast = |device: &str, peer: &str| MediumConfig::Unicast6 {
        device: device.into(),
        peer: peer.parse().unwrap(),
    };
    assert_eq!(
        report.settings.media[1..],
        [
            MediumConfig::Multicast6 { device: "eth0".into(), group, port: 694, hops: 1, loop_back: false },
            unicast("eth0", "fd77::2"),
            unicast("eth1", "fe80::2"),
        ]
    );
}

#[test]
fn ping_nodes() {
    let text = "ping 10.0.0.1 10.0.0.2, 10.0.0.1\nping6 fd77::1\n\
                ping_group Gateways 10.0.0.3 nobody 10.0.0.4 10.0.0.3\ndeadping 5\nnode node3\nping 10.0.0.9";
    let settings = read(text).settings;
    assert_eq!(settings.dead_ping_ms, 5000);
    let pings: Vec<String> = settings
        .media
        .iter()
        .filter_map(MediumConfig::ping)
        .map(|ping| format!("{} {} {:?} {}", ping.kind.as_str(), ping.name, ping.hosts, ping.nodes_before))
        .collect();
    let expected = [
        "ping 10.0.0.1 [10.0.0.1:0] 2",
        "ping 10.0.0.2 [10.0.0.2:0] 2",
        "ping6 fd77::1 [[fd77::1]:0] 2",
        "ping_group gateways [10.0.0.3:0, 10.0.0.4:0] 2",
        "ping 10.0.0.9 [10.0.0.9:0] 3",
    ];
    assert_eq!(pings, expected);
    assert_eq!(read("").settings.dead_ping_ms, 1000, "deadtime");
}
