//! Directives of ha.cf with a real pair: it comes up with each of them, and each does what it says.

mod common;
#[path = "common/stranger.rs"]
mod stranger;

use std::time::Duration;

use ha_core::daemon::identity::uuid_from_name;
use ha_core::demo::host::{Host, LOG};
use ha_core::demo::world::{World, SERVICE_ADDRESS};
use ha_core::types::NodeName;
use ha_core::wire::{decode_datagram, Compressor, Datagram};

const LIMIT: Duration = Duration::from_secs(20);
const DEBUG_LOG: &str = "/var/log/ha-debug";
/// A resource that writes down its environment.
const WITNESS: &str = "#!/bin/sh
[ \"$1\" = start ] && { env | sort > /var/log/environment; touch /run/there; }
[ \"$1\" = stop ] && rm -f /run/there
[ \"$1\" = status ] && { [ -e /run/there ] && echo running || echo stopped; }
exit 0
";

/// A running pair and a stranger, with these lines in ha.cf; `change` may replace others.
fn pair_with(lines: &[&str], change: fn(String) -> String) -> Option<World> {
    let world = stranger::world()?;
    prepare(&world, lines, change);
    start(&world);
    Some(world)
}

fn prepare(world: &World, lines: &[&str], change: fn(String) -> String) {
    let more: Vec<&str> = ["auto_failback off"].iter().chain(lines).copied().collect();
    let ha_cf = change(world.ha_cf(100, 1500, &more).replace("node stranger\n", ""));
    world
        .configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0 witness\n"))
        .expect("configure");
    for host in pair(world) {
        host.write_file_with_mode("/etc/ha.d/resource.d/witness", WITNESS, 0o755).expect("script");
    }
}

fn start(world: &World) {
    for host in pair(world) {
        host.start_daemon().expect("daemon");
    }
    common::wait_for(world, "start of the pair", LIMIT, || common::is_settled(world));
    assert_eq!(world.owners(SERVICE_ADDRESS).expect("owners"), ["node1"]);
}

fn pair(world: &World) -> [&Host; 2] {
    [&world.hosts()[0], &world.hosts()[1]]
}

fn same(text: String) -> String {
    text
}

fn parameter(world: &World, name: &str) -> String {
    let output = world.hosts()[0].run(&["/usr/bin/cl_status", "hbparameter", "-p", name]).expect("cl_status");
    output.stdout.trim().to_owned()
}

/// What the stranger hears in half a second.
fn packets(world: &World, port: u16) -> Vec<Datagram> {
    stranger::record(world, port);
    std::thread::sleep(Duration::from_millis(500));
    let packets = stranger::recorded(world);
    assert!(packets.len() > 4, "only {} packets", packets.len());
    packets
        .iter()
        .map(|packet| decode_datagram(packet, &stranger::keys("demonstration")).expect("ours"))
        .collect()
}

fn of_daemon(world: &World, file: &str) -> String {
    let pid = common::daemon_of(world, "node1").expect("daemon").pid;
    world.hosts()[0].read_file(&format!("/proc/{pid}/{file}")).expect("read")
}

#[test]
fn hbgenmethod_time_ignores_the_number_of_the_file() {
    for (method, from, to) in [("time", 1_000_000_000, u64::MAX), ("file", 6, 6)] {
        let Some(world) = stranger::world() else { return };
        prepare(&world, &[&format!("hbgenmethod {method}")], same);
        for host in pair(&world) {
            host.write_file("/var/lib/heartbeat/hb_generation", "              5\n").expect("write");
        }
        start(&world);
        let log = world.hosts()[0].read_file(LOG).expect("log");
        let number = log.split("Heartbeat generation: ").nth(1).and_then(|rest| rest.lines().next());
        let number: u64 = number.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{log}"));
        assert!((from..=to).contains(&number), "{method}: {number}");
        let seen = packets(&world, 694);
        assert!(seen.iter().any(|packet| packet.message.hex("hg") == Some(number)), "on the wire");
    }
}

#[test]
fn uuidfrom_nodename_gives_the_same_uuid_everywhere() {
    let Some(world) = pair_with(&["uuidfrom nodename"], same) else { return };
    for reader in ["node1", "node2"] {
        let status = common::status(&world, reader);
        for node in status["report"]["view"]["nodes"].as_array().expect("nodes") {
            let name = NodeName::new(node["name"].as_str().expect("name")).expect("a name");
            assert_eq!(node["uuid"], uuid_from_name(&name).0.to_string(), "{reader} about {name}");
        }
    }
}

#[test]
fn log_badpack_no_counts_in_silence() {
    let Some(world) = pair_with(&["log_badpack no"], same) else { return };
    stranger::send(&world, &vec![b"###\nnonsense".to_vec(); 50]);
    common::wait_for(&world, "50 packets are counted", LIMIT, || {
        common::status(&world, "node1")["report"]["view"]["dropped_packets"].as_u64() >= Some(50)
    });
    let log = world.hosts()[0].read_file(LOG).expect("log");
    assert!(!log.contains("dropped"), "{log}");
}

#[test]
fn debug_says_more_with_each_level_and_reaches_scripts() {
    for (level, jobs, packets) in [(0, false, false), (1, true, false), (4, true, true)] {
        let Some(world) = pair_with(&[&format!("debug {level}")], same) else { return };
        assert_eq!(parameter(&world, "debug"), level.to_string());
        let environment = witness(&world);
        assert!(environment.lines().any(|line| line == format!("HA_debug={level}")), "{environment}");
        let lines = world.hosts()[0].read_file(DEBUG_LOG).expect("log");
        let shows = |what: &str| lines.lines().any(|line| line.contains("debug: ") && line.contains(what));
        assert_eq!((shows("out: run-job"), shows("in: packet")), (jobs, packets), "level {level}\n{lines}");
        assert!(
            !world.hosts()[0].read_file(LOG).expect("log").contains(" debug: "),
            "debug lines have their own file"
        );
    }
}

#[test]
fn env_reaches_scripts() {
    let Some(world) = pair_with(&["env FIRST=one SECOND=two=2", "env EMPTY="], same) else { return };
    let environment = witness(&world);
    for line in ["HA_FIRST=one", "HA_SECOND=two=2", "HA_EMPTY=", "HA_CURHOST=node1"] {
        assert!(environment.lines().any(|known| known == line), "no {line} in\n{environment}");
    }
}

fn witness(world: &World) -> String {
    let read = || world.hosts()[0].read_file("/var/log/environment").expect("read");
    common::wait_for(world, "the script ran", LIMIT, || !read().is_empty());
    read()
}

#[test]
fn coreroot_and_coredumps_set_place_and_limit() {
    for (lines, limit) in [
        (["coreroot /var/dumps", "coredumps true"], None),
        (["coreroot /var/dumps", "coredumps no"], Some("0")),
    ] {
        let Some(world) = pair_with(&lines, same) else { return };
        let pid = common::daemon_of(&world, "node1").expect("daemon").pid;
        let link = world.hosts()[0].run(&["readlink", &format!("/proc/{pid}/cwd")]).expect("readlink");
        assert_eq!(link.stdout, "/var/dumps/root\n", "{link:?}");
        let limits = of_daemon(&world, "limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("core limit");
        let soft = core.split_whitespace().nth(4);
        assert_eq!(soft == Some("0"), limit == Some("0"), "{core}");
    }
}

#[test]
fn memreserve_reserves_nothing_and_is_reported() {
    let Some(world) = pair_with(&["memreserve 100000"], same) else { return };
    assert_eq!(parameter(&world, "memreserve"), "100000");
    let daemon = common::daemon_of(&world, "node1").expect("daemon");
    assert!(daemon.resident_kb < 20_000, "{daemon:?}");
    let output = world.hosts()[0].run(&["/ha", "check"]).expect("check");
    assert!(output.stdout.contains("`memreserve` reserves nothing here"), "{output:?}");
}

#[test]
fn traditional_compression_packs_long_messages() {
    for (module, expected) in [("zlib", Compressor::Zlib), ("bz2", Compressor::Bz2)] {
        let Some(world) = stranger::world() else { return };
        let compression = format!("compression {module}");
        let lines = ["traditional_compression on", "compression_threshold 1", "crm no", compression.as_str()];
        // The answer to reqnodes lists all nodes; those that do not exist are dead after initdead.
        prepare(&world, &lines, |text| {
            let absent =
                (0..30).map(|number| format!("node {}{number}\n", "absent-node-with-a-long-name-".repeat(2)));
            text.replace("initdead 3000ms", "initdead 1500ms") + &absent.collect::<String>()
        });
        for host in pair(&world) {
            // Resources are a matter of two.
            host.write_file("/etc/ha.d/haresources", "").expect("write");
        }
        stranger::record(&world, 694);
        for host in pair(&world) {
            host.start_daemon().expect("daemon");
        }
        common::wait_for(&world, "communication is up", LIMIT, || {
            ["node1", "node2"]
                .iter()
                .all(|name| common::status(&world, name)["report"]["view"]["communication_up"] == true)
        });
        let packed: Vec<Datagram> = stranger::recorded(&world)
            .iter()
            .map(|packet| decode_datagram(packet, &stranger::keys("demonstration")).expect("ours"))
            .filter(|packet| packet.compressor.is_some())
            .collect();
        assert!(!packed.is_empty(), "{module}: nothing was packed\n{}", common::logs(&world));
        for packet in packed {
            assert_eq!(packet.compressor, Some(expected));
            assert_eq!(packet.message.kind(), "repnodes");
        }
    }
}

#[test]
fn msgfmt_decides_about_the_inner_signature() {
    for (format, inner) in [("netstring", false), ("classic", true)] {
        let Some(world) = pair_with(&[&format!("msgfmt {format}")], same) else { return };
        for packet in packets(&world, 694) {
            assert_eq!(packet.inner_auth, inner, "{format}");
        }
    }
}

#[test]
fn hopfudge_feeds_ttl() {
    let Some(world) = pair_with(&["hopfudge 7"], same) else { return };
    for packet in packets(&world, 694) {
        assert_eq!(packet.message.text("ttl"), Some("9"), "7 and one for each node");
    }
}

#[test]
fn udpport_is_where_beats_go() {
    let Some(world) = pair_with(&[], |text| text.replace("udpport 694", "udpport 7694")) else { return };
    packets(&world, 7694);
    let sockets = of_daemon(&world, "net/udp");
    assert!(
        sockets.contains(&format!(":{:04X}", 7694)) && !sockets.contains(&format!(":{:04X} ", 694)),
        "{sockets}"
    );
}

#[test]
fn ucast_needs_no_broadcast() {
    let change = |text: String| {
        text.replace(
            "bcast eth0 eth1",
            "ucast eth0 192.0.2.1\nucast eth0 192.0.2.2\nucast eth1 198.51.100.1\nucast eth1 198.51.100.2",
        )
    };
    let Some(world) = pair_with(&[], change) else { return };
    stranger::record(&world, 694);
    std::thread::sleep(Duration::from_millis(300));
    assert!(stranger::recorded(&world).is_empty(), "nothing is broadcast");
    links_are(&world, &["eth0", "eth1"]);
}

#[test]
fn mcast_joins_its_group() {
    let change = |text: String| {
        text.replace("bcast eth0 eth1", "mcast eth0 225.1.2.3 694 1 0\nmcast eth1 225.1.2.3 694 1 0")
    };
    let Some(world) = pair_with(&[], change) else { return };
    links_are(&world, &["eth0", "eth1"]);
    let groups = of_daemon(&world, "net/igmp");
    assert_eq!(groups.matches("030201E1").count(), 2, "{groups}");
}

#[test]
fn media_may_be_mixed() {
    let change = |text: String| text.replace("bcast eth0 eth1", "bcast eth0\nmcast eth1 225.1.2.3 694 1 0");
    let Some(world) = pair_with(&[], change) else { return };
    links_are(&world, &["eth0", "eth1"]);
}

fn links_are(world: &World, expected: &[&str]) {
    for reader in ["node1", "node2"] {
        let status = common::status(world, reader);
        let nodes = status["report"]["view"]["nodes"].as_array().expect("nodes");
        for node in nodes.iter().filter(|node| node["name"] != reader) {
            let links = node["links"].as_array().expect("links");
            let up: Vec<&str> = links
                .iter()
                .filter(|link| link["status"] == "up")
                .filter_map(|link| link["name"].as_str())
                .collect();
            assert_eq!(up, expected, "{reader} about {}", node["name"]);
        }
    }
}

#[test]
fn logfacility_names_the_facility_of_syslog() {
    let Some(world) = stranger::world() else { return };
    prepare(&world, &[], |text| {
        text.replace("logfacility none", "logfacility local3").replace("logfile /var/log/ha-log\n", "")
    });
    stranger::listen_to_syslog(&world, &world.hosts()[0]);
    start(&world);
    let read = || world.hosts()[0].read_file(stranger::SYSLOG).expect("read");
    common::wait_for(&world, "syslog is told", LIMIT, || {
        read().contains("Local status now set to: 'active'")
    });
    // local3 is 19, information 6, a warning 4.
    for line in read().lines() {
        let priority: u32 = line
            .trim_start_matches('<')
            .split('>')
            .next()
            .and_then(|text| text.parse().ok())
            .expect("a priority");
        assert_eq!(priority >> 3, 19, "{line}");
    }
    assert!(read().contains("<158>"), "{}", read());
    assert_eq!(parameter(&world, "logfacility"), "local3");
}

#[test]
fn syslogmsgfmt_off_writes_the_older_lines() {
    let Some(world) = pair_with(&["syslogmsgfmt off"], same) else { return };
    let log = world.hosts()[0].read_file(LOG).expect("log");
    let line = log.lines().find(|line| line.contains("Local status now set to: 'active'")).expect("a line");
    let (head, _) = line.split_once(": Local status").expect("head");
    assert!(head.starts_with("heartbeat[") && head.contains('/') && head.contains('_'), "{line}");
}

#[test]
fn cluster_and_deadtime_are_reported() {
    let Some(world) = pair_with(&["cluster nightshift"], same) else { return };
    assert_eq!(parameter(&world, "cluster"), "nightshift");
    assert_eq!(parameter(&world, "deadtime"), "1500ms");
}

#[test]
fn alarm_tells_a_program_and_the_mail_server() {
    const PAGER: &str = "#!/bin/sh\n{ echo \"$1 $HA_ALARM_KIND $HA_ALARM_STATE $HA_ALARM_SUBJECT\"; cat; } >> /var/log/pager\n";
    let lines = [
        "alarm /etc/ha.d/pager one",
        "alarm mail admin@example.org smtp=127.0.0.1:2525",
        "alarm /etc/ha.d/hangs",
    ];
    let Some(world) = stranger::world() else { return };
    prepare(&world, &lines, same);
    for host in pair(&world) {
        host.write_file_with_mode("/etc/ha.d/pager", PAGER, 0o755).expect("script");
        host.write_file_with_mode("/etc/ha.d/hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755).expect("script");
    }
    start(&world);
    world.crash("node1").expect("crash");
    common::wait_for(&world, "node2 tells the pager", LIMIT, || {
        let told = world.hosts()[1].read_file("/var/log/pager").unwrap_or_default();
        told.contains("one dead-node begin node1\n") && told.contains("one takeover over node1\n")
    });
    let told = world.hosts()[1].read_file("/var/log/pager").expect("pager");
    let object = told.lines().find(|line| line.contains("\"dead-node\"")).expect("an object");
    let object: serde_json::Value = serde_json::from_str(object).expect("JSON");
    assert_eq!((&object["node"], &object["state"]), (&"node2".into(), &"begin".into()), "{object}");
    assert_eq!(told.matches("one dead-node begin").count(), 1, "{told}");
    // Nobody listens there: the mail is tried, and the log says so.
    common::wait_for(&world, "the mail is tried", LIMIT, || {
        let log = world.hosts()[1].read_file(LOG).unwrap_or_default();
        log.contains("did not reach mail to admin@example.org")
    });
}

#[test]
fn monitor_own_addresses_and_watchdog_wait_are_read() {
    let lines =
        ["monitor all interval=1s timeout=5s failures=2 restarts=1", "own_addresses off", "watchdog_wait 5s"];
    let Some(world) = pair_with(&lines, same) else { return };
    assert_eq!(
        (parameter(&world, "own_addresses"), parameter(&world, "watchdog_wait")),
        ("off".into(), "5s".into())
    );
    let delete = ["ip", "addr", "del", &format!("{SERVICE_ADDRESS}/24"), "dev", "eth0"];
    world.hosts()[0].run(&delete).expect("ip");
    // Nobody owns it, but the monitor finds it gone.
    common::wait_for(&world, "it is restarted", LIMIT, || {
        world.hosts()[0].addresses().is_ok_and(|addresses| addresses.contains(&SERVICE_ADDRESS))
    });
    let log = world.hosts()[0].read_file(LOG).expect("log");
    assert!(log.contains("restart 1 of 1"), "{log}");
}

#[test]
fn own_addresses_puts_back_what_is_taken_away() {
    let Some(world) = pair_with(&["own_addresses on"], same) else { return };
    world.hosts()[0]
        .run(&["ip", "addr", "del", &format!("{SERVICE_ADDRESS}/24"), "dev", "eth0"])
        .expect("ip");
    common::wait_for(&world, "it is put back", LIMIT, || {
        world.hosts()[0].addresses().is_ok_and(|addresses| addresses.contains(&SERVICE_ADDRESS))
    });
}
