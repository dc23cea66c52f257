//! Formats, signing, keys, compression, retransmission and membership in mixed clusters.

use std::time::{Duration, Instant};

use ha_core::demo::host::{Host, DAEMON, DAEMON_OUTPUT, LOG};
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

use ha_core::wire::decode_datagram;

use crate::common::{self, wait_for};
use crate::pair::long;
use crate::stranger;

/// Longest wait for a condition; most take a second or two, a cold start of the original ten.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const HA_CF: &str = "/etc/ha.d/ha.cf";
const KEEPALIVE_MS: u64 = 100;
const DEAD_TIME_MS: u64 = 1500;

/// A configured pair: node1 is ours, node2 the original. `more` are lines of ha.cf.
pub(crate) fn mixed_pair(more: &[&str]) -> Option<World> {
    let world = common::pair(HostKind::Ours, HostKind::Original)?;
    let ha_cf = world.ha_cf(KEEPALIVE_MS, DEAD_TIME_MS, &[&["auto_failback off"], more].concat());
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n")).expect("configure");
    Some(world)
}

/// Starts both and waits until each calls the other active and nothing is under way.
pub(crate) fn start_pair(world: &World) {
    for host in world.hosts() {
        host.start_daemon().expect("daemon starts");
    }
    wait_for(world, "both settled", PATIENCE, || {
        let settled = |host: &Host| {
            let status = cl_status(host, &["rscstatus"]);
            ["local", "foreign", "all", "none"].contains(&status.as_str())
        };
        world.hosts().iter().all(settled) && all_active(world, &["node1", "node2"])
    });
    world.wait_owner(SERVICE_ADDRESS, "node1", PATIENCE).expect("address at home");
}

pub(crate) fn cl_status(host: &Host, arguments: &[&str]) -> String {
    let argv: Vec<&str> = ["/usr/bin/cl_status"].iter().chain(arguments).copied().collect();
    host.run(&argv).map(|output| output.stdout.trim_end().to_owned()).unwrap_or_default()
}

/// Every host that is on calls every one of these active.
pub(crate) fn all_active(world: &World, names: &[&str]) -> bool {
    let on = world.hosts().iter().filter(|host| host.is_on());
    on.into_iter().all(|host| names.iter().all(|name| cl_status(host, &["nodestatus", name]) == "active"))
}

/// What the host lists as nodes, sorted.
fn listed(host: &Host) -> String {
    let text = cl_status(host, &["listnodes"]);
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

pub(crate) fn log(host: &Host) -> String {
    host.read_file(LOG).unwrap_or_default()
}

pub(crate) fn times(host: &Host, text: &str) -> usize {
    log(host).matches(text).count()
}

/// Runs one of the commands in /usr/share/heartbeat, which must succeed.
#[track_caller]
pub(crate) fn command(host: &Host, name: &str, arguments: &[&str]) {
    let output = host.command(name, arguments).expect("it runs");
    assert_eq!(output.code, Some(0), "{name} {arguments:?} on {}: {output:?}", host.name());
}

/// Gives a running daemon other keys, and waits until it has read them.
pub(crate) fn change_keys(world: &World, host: &Host, keys: &str) {
    let known = "Rereading authentication file.";
    let before = times(host, known);
    // The original looks at the file's time in seconds.
    wait_for(world, "keys read again", PATIENCE, || {
        host.write_file_with_mode("/etc/ha.d/authkeys", keys, 0o600).expect("write");
        let output = host.run(&[DAEMON, "-r"]).expect("it runs");
        assert_eq!(output.code, Some(0), "{output:?}");
        std::thread::sleep(Duration::from_millis(300));
        times(host, known) > before
    });
}

/// For longer than deadtime each calls the other active.
fn hear_each_other(world: &World) {
    let end = Instant::now() + Duration::from_millis(DEAD_TIME_MS + 500);
    while Instant::now() < end {
        assert!(all_active(world, &["node1", "node2"]), "{}", common::logs(world));
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn keys_methods_weights_and_members_change_while_a_mixed_pair_serves() {
    let Some(world) = mixed_pair(&["traditional_compression on", "compression bz2"]) else { return };
    let [ours, original] = world.hosts() else { panic!("two hosts") };
    let keys = "1 sha1 demonstration\n2 md5 second\n3 crc\n4 sha1 fourth\n";
    for host in [ours, original] {
        let text = format!("auth 1\n{keys}");
        host.write_file_with_mode("/etc/ha.d/authkeys", &text, 0o600).expect("write");
        install_script(host);
    }
    start_pair(&world);

    // The original first, then ours first; each change alone for longer than deadtime.
    let steps = [(original, 2), (ours, 2), (ours, 3), (original, 3), (original, 4), (ours, 4)];
    for &(host, number) in &steps[..if long() { 6 } else { 4 }] {
        change_keys(&world, host, &format!("auth {number}\n{keys}"));
        hear_each_other(&world);
    }
    long_messages(&world, ours, original);
    weights_and_sites(&world, ours, original);
    members(&world, ours, original);
    for host in [ours, original] {
        let log = log(host);
        for node in ["node1", "node2"] {
            let dead = format!("node {node}: is dead");
            assert!(!log.contains(&dead), "{}", common::logs(&world));
        }
    }
    assert_eq!(world.owners(SERVICE_ADDRESS).expect("addresses"), ["node1"]);
}

/// A script for a message of our own kind, in a folder that the host may write.
fn install_script(host: &Host) {
    let folder = "cd /etc/ha.d && rm -f rc.d && mkdir -p rc.d && cp /.machine/etc/ha.d/rc.d/* rc.d/";
    host.run(&["sh", "-c", folder]).expect("it runs");
    let script = "#!/bin/sh\necho \"$HA_src ${#HA_part1} ${#HA_part8}\" >> /var/log/long-messages\n";
    host.write_file_with_mode("/etc/ha.d/rc.d/longtest", script, 0o755).expect("script");
}

/// A message beyond the threshold of compression, through the FIFO of either: a script of each hears it.
fn long_messages(world: &World, ours: &Host, original: &Host) {
    let part = |number: usize| format!("part{number}={}\n", "x".repeat(400));
    let text = format!(">>>\nt=longtest\n{}<<<\n", (1..=8).map(part).collect::<String>());
    for sender in [ours, original] {
        let write = ["sh", "-c", "cat >> /var/lib/heartbeat/fifo"];
        let output = sender.run_with_input(&write, &text, Duration::from_secs(20)).expect("it runs");
        assert_eq!(output.code, Some(0), "{output:?}");
        let line = format!("{} 400 400\n", sender.name());
        for host in [ours, original] {
            wait_for(world, "the long message heard", PATIENCE, || {
                host.read_file("/var/log/long-messages").is_ok_and(|heard| heard.contains(&line))
            });
        }
    }
}

fn weights_and_sites(world: &World, ours: &Host, original: &Host) {
    command(original, "hb_setweight", &["node1", "300"]);
    command(original, "hb_setsite", &["node1", "east"]);
    for host in [ours, original] {
        wait_for(world, "weight and site", PATIENCE, || {
            let weight = cl_status(host, &["nodeweight", "node1"]);
            weight == "300" && cl_status(host, &["nodesite", "node1"]) == "east"
        });
    }
    command(ours, "hb_setweight", &["node2", "50"]);
    for host in [ours, original] {
        wait_for(world, "weight", PATIENCE, || cl_status(host, &["nodeweight", "node2"]) == "50");
    }
}

/// A node that nobody ever hears is added and deleted. The original then claims everything; what
/// ours serves stays.
fn members(world: &World, ours: &Host, original: &Host) {
    command(original, "hb_addnode", &["Node9"]);
    for host in [ours, original] {
        wait_for(world, "node9 a member", PATIENCE, || {
            listed(host) == "node1 node2 node9" && cl_status(host, &["nodestatus", "node9"]) == "dead"
        });
    }
    wait_for(world, "the original claims all", PATIENCE, || cl_status(original, &["rscstatus"]) == "all");
    hear_each_other(world);
    assert_eq!(world.owners(SERVICE_ADDRESS).expect("addresses"), ["node1"], "{}", common::logs(world));
    command(ours, "hb_delnode", &["node1"]);
    command(ours, "hb_delnode", &["node9"]);
    for host in [ours, original] {
        wait_for(world, "node9 deleted", PATIENCE, || listed(host) == "node1 node2");
        assert_eq!(times(host, "deletion failed: node node1 is not dead"), 1, "{}", log(host));
        let kept = "node9\t00000000-0000-0000-0000-000000000000\t100\t\n";
        wait_for(world, "node9 in delhostcache", PATIENCE, || {
            host.read_file("/var/lib/heartbeat/delhostcache").is_ok_and(|text| text == kept)
        });
    }
}

/// Loses a share of what a host hears of the cluster, in percent; 0 ends it. `false` where this
/// machine cannot: the test should return.
fn lose(host: &Host, percent: u32) -> bool {
    let clean = "add table inet loss\ndelete table inet loss\n".to_owned();
    let drop = format!(
        "add table inet loss\nadd chain inet loss heard {{ type filter hook input priority 0 ; }}\n\
         add rule inet loss heard udp dport 694 numgen random mod 100 < {percent} drop\n"
    );
    let text = if percent == 0 { clean } else { clean + &drop };
    let output = host.run_with_input(&["nft", "-f", "-"], &text, Duration::from_secs(10));
    match output {
        Ok(output) if output.code == Some(0) => true,
        refused => {
            common::skip::skip_without_privilege(&format!("packets cannot be lost here: {refused:?}"));
            false
        }
    }
}

#[test]
fn thirty_percent_loss_on_both_sides_harms_nothing() {
    let Some(world) = mixed_pair(&["max_rexmit_delay 100"]) else { return };
    let [ours, original] = world.hosts() else { panic!("two hosts") };
    for host in [ours, original] {
        let ha_cf = host.read_file(HA_CF).expect("ha.cf").replace("bcast eth0 eth1", "bcast eth1");
        host.write_file(HA_CF, &ha_cf).expect("write");
    }
    start_pair(&world);
    if !lose(ours, 30) || !lose(original, 30) {
        return;
    }
    let moves: &[(&Host, &str)] = if long() {
        &[(original, "node2"), (ours, "node1"), (original, "node2")]
    } else {
        &[(original, "node2")]
    };
    for (taker, name) in moves {
        command(taker, "hb_takeover", &["all"]);
        world.wait_owner(SERVICE_ADDRESS, name, PATIENCE).unwrap_or_else(|why| {
            panic!("{why}\n{}", common::logs(&world));
        });
        wait_for(&world, "both settled", PATIENCE, || {
            [ours, original].iter().all(|host| cl_status(host, &["rscstatus"]) != "transition")
        });
    }
    for (host, peer) in [(ours, "node2"), (original, "node1")] {
        wait_for(&world, "lost packets found again", PATIENCE, || {
            let log = log(host);
            let lost = log.contains(&format!("lost packet(s) for [{peer}]"));
            lost && log.contains(&format!("No pkts missing from {peer}!"))
        });
        assert!(lose(host, 0));
    }
    hear_each_other(&world);
    for host in [ours, original] {
        let log = log(host);
        for bad in ["is dead", "Irretrievably lost packet", "Cannot rexmit pkt"] {
            assert!(!log.contains(bad), "{bad}\n{}", common::logs(&world));
        }
    }
    // The original acts on what comes as it comes, and may think so for a moment.
    for bad in ["Both machines own", "No one owns"] {
        assert!(!log(ours).contains(bad), "{bad}\n{}", common::logs(&world));
    }
}

// ---- more than two nodes, and none that has resources ----------------------------------------

/// Three hosts, node2 being the original, each with its own ha.cf and nothing in haresources.
fn three(ha_cf: impl Fn(&World, &Host) -> String) -> Option<World> {
    let kinds = [("node1", HostKind::Ours), ("node2", HostKind::Original), ("node3", HostKind::Ours)];
    let world = match World::new(common::binary(), &kinds) {
        Ok(world) => world,
        Err(reason) => {
            common::skip::skip_without_privilege(&reason.to_string());
            return None;
        }
    };
    world.configure("", "").expect("configure");
    for host in world.hosts() {
        host.write_file(HA_CF, &ha_cf(&world, host)).expect("write");
    }
    Some(world)
}

fn without_nodes(world: &World, more: &[&str]) -> String {
    let text = world.ha_cf(KEEPALIVE_MS, DEAD_TIME_MS, more);
    text.lines().filter(|line| !line.starts_with("node ")).map(|line| format!("{line}\n")).collect()
}

/// `heartbeat -M`: no resources are managed.
fn start_without_resources(host: &Host) {
    if host.kind() == HostKind::Ours {
        host.spawn(&[DAEMON, "-f", "-M"], DAEMON_OUTPUT).expect("it starts");
    } else {
        assert_eq!(host.run(&[DAEMON, "-M"]).expect("it runs").code, Some(0));
    }
}

#[test]
fn three_nodes_without_groups_are_members() {
    let Some(world) = three(|world, _| world.ha_cf(KEEPALIVE_MS, DEAD_TIME_MS, &["auto_failback off"]))
    else {
        return;
    };
    let names = ["node1", "node2", "node3"];
    for host in world.hosts() {
        host.start_daemon().expect("daemon starts");
    }
    wait_for(&world, "three active nodes", PATIENCE, || all_active(&world, &names));
    let [_, original, _] = world.hosts() else { panic!("three hosts") };
    wait_for(&world, "the original at rest", PATIENCE, || {
        !["", "transition"].contains(&cl_status(original, &["rscstatus"]).as_str())
    });
    for host in world.hosts() {
        assert_eq!(listed(host), "node1 node2 node3");
    }
    world.crash("node3").expect("crash");
    for host in &world.hosts()[..2] {
        wait_for(&world, "node3 dead", PATIENCE, || cl_status(host, &["nodestatus", "node3"]) == "dead");
    }
    world.boot("node3").expect("boot");
    world.hosts()[2].start_daemon().expect("daemon starts");
    wait_for(&world, "three active nodes again", PATIENCE, || all_active(&world, &names));
}

#[test]
fn nodes_join_by_themselves_and_are_kept() {
    let Some(world) = three(|world, host| {
        without_nodes(world, &["autojoin any", "auto_failback off"]) + &format!("node {}\n", host.name())
    }) else {
        return;
    };
    let [first, original, third] = world.hosts() else { panic!("three hosts") };
    for host in world.hosts() {
        start_without_resources(host);
    }
    wait_for(&world, "three members", PATIENCE, || {
        world.hosts().iter().all(|host| listed(host) == "node1 node2 node3")
            && all_active(&world, &["node1", "node2", "node3"])
    });
    wait_for(&world, "the same hosts kept", PATIENCE, || {
        let kept = hosts_kept(first, "hostcache");
        kept.len() == 3 && kept == hosts_kept(original, "hostcache")
    });
    // The original may write later changes only at its next start.
    command(original, "hb_setweight", &["node1", "7"]);
    command(original, "hb_setsite", &["node1", "east"]);
    wait_for(&world, "weight and site kept", PATIENCE, || {
        let kept = hosts_kept(first, "hostcache");
        kept.len() == 3 && kept[0].ends_with("\t7\teast")
    });

    world.crash("node3").expect("crash");
    for host in [first, original] {
        wait_for(&world, "node3 dead", PATIENCE, || cl_status(host, &["nodestatus", "node3"]) == "dead");
    }
    command(original, "hb_delnode", &["node3"]);
    for host in [first, original] {
        wait_for(&world, "node3 deleted", PATIENCE, || listed(host) == "node1 node2");
    }
    wait_for(&world, "the same nodes deleted", PATIENCE, || {
        let deleted = hosts_kept(first, "delhostcache");
        deleted.len() == 1 && deleted == hosts_kept(original, "delhostcache")
    });

    // Alone, it knows the others from its file.
    for host in [first, original] {
        host.stop_daemon().expect("stop");
    }
    start_without_resources(first);
    wait_for(&world, "members of the file", PATIENCE, || {
        listed(first) == "node1 node2" && cl_status(first, &["nodeweight", "node1"]) == "7"
    });
    world.boot("node3").expect("boot");
    start_without_resources(third);
    wait_for(&world, "node3 is back", PATIENCE, || cl_status(first, &["nodestatus", "node3"]) == "active");
}

/// The lines of one of the two files, sorted.
fn hosts_kept(host: &Host, file: &str) -> Vec<String> {
    let text = host.read_file(&format!("/var/lib/heartbeat/{file}")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

// ---- long messages ---------------------------------------------------------------------------

/// Names of nodes that are never there; their list is longer than the threshold.
fn absent_nodes() -> Vec<String> {
    (10..40).map(|number| format!("an-absent-node-with-quite-a-long-name-{number}")).collect()
}

#[test]
fn long_messages_are_compressed_both_ways() {
    for modules in [["zlib", "bz2"], ["bz2", "zlib"], ["zlib", "zlib"], ["bz2", "bz2"]] {
        let kinds = [("node1", HostKind::Ours), ("node2", HostKind::Original), ("stranger", HostKind::Ours)];
        let world = match World::new(common::binary(), &kinds) {
            Ok(world) => world,
            Err(reason) => return common::skip::skip_without_privilege(&reason.to_string()),
        };
        compressed_lists(&world, modules);
    }
}

/// A node that starts asks for the list of nodes: what it then lists came compressed.
fn compressed_lists(world: &World, modules: [&str; 2]) {
    let absent: String = absent_nodes().iter().map(|name| format!("node {name}\n")).collect();
    let ha_cf = |module: &str| {
        let module = format!("compression {module}");
        let lines = ["traditional_compression on", "compression_threshold 1", &module, "auto_failback off"];
        without_nodes(world, &lines) + "node node1\nnode node2\n"
    };
    world.configure("", "").expect("configure");
    let [ours, original, _] = world.hosts() else { panic!("three hosts") };
    ours.write_file(HA_CF, &(ha_cf(modules[0]) + &absent)).expect("write");
    original.write_file(HA_CF, &ha_cf(modules[1])).expect("write");
    stranger::record(world, 694);

    let all = 2 + absent_nodes().len();
    let knows_all = |host: &Host| listed(host).split(' ').count() == all;
    start_without_resources(ours);
    wait_for(world, "ours alone", PATIENCE, || knows_all(ours));
    start_without_resources(original);
    wait_for(world, "the list of ours read", PATIENCE, || knows_all(original));
    ours.stop_daemon().expect("stop");
    ours.write_file(HA_CF, &ha_cf(modules[0])).expect("write");
    start_without_resources(ours);
    wait_for(world, "the original's list read", PATIENCE, || knows_all(ours));

    let keys = stranger::keys("demonstration");
    // The recorder may be behind: a compressed packet of each sender.
    let marks: String = b"_compressed_payload".iter().map(|byte| format!("{byte:02x}")).collect();
    let recorder = world.host("stranger").expect("stranger");
    wait_for(world, "compressed packets recorded", PATIENCE, || {
        let lines = recorder.read_file("/var/log/recording").unwrap_or_default();
        lines.lines().filter(|line| line.contains(&marks)).count() >= 2
    });
    let packets = stranger::recorded(world);
    // The original may pack with the module that it last unpacked, whatever its ha.cf says.
    for sender in ["node1", "node2"] {
        let compressed =
            packets.iter().filter_map(|bytes| decode_datagram(bytes, &keys).ok()).any(|packet| {
                let from = packet.message.text("src") == Some(sender);
                let module = packet.compressor.map(|compressor| compressor.as_str());
                from && module.is_some_and(|module| module == modules[0] || sender == "node2")
            });
        assert!(compressed, "{modules:?}: {sender}\n{}", common::logs(world));
    }
}
