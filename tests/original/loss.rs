//! What goes wrong on the way: wrong keys, packets that are lost for good, a node that does not answer
//! while much is to be said.

use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::host::Host;
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};
use ha_core::types::{AuthKey, SigningMethod};
use ha_core::wire::message::Message;
use ha_core::wire::{decode_datagram, encode_datagram, WireFormat};

use crate::common::{self, daemon_of, wait_for};
use crate::messages::{all_active, change_keys, cl_status, command, log, start_pair, times, PATIENCE};
use crate::stranger;

const NODES: [&str; 2] = ["node1", "node2"];
/// Messages that a node keeps to send again (messaging spec 3.4).
const HISTORY: u64 = 500;
const KEEPALIVE_MS: u64 = 20;
/// Nobody dies while packets are lost on purpose.
const DEAD_TIME_MS: u64 = 60_000;
/// Messages of a script while the other node stands still.
const FLOOD: u32 = 2000;
/// Memory that our daemon may take for all that, in KiB.
const GROWTH_MAX_KIB: u64 = 4096;

/// node1 is ours, node2 the original, and a stranger on the same network where `third` is true.
fn world(third: bool, keepalive_ms: u64, dead_time_ms: u64, more: &[&str]) -> Option<World> {
    let kinds = [("node1", HostKind::Ours), ("node2", HostKind::Original), ("stranger", HostKind::Ours)];
    let world = match World::new(common::binary(), &kinds[..if third { 3 } else { 2 }]) {
        Ok(world) => world,
        Err(reason) => {
            common::skip::skip_without_privilege(&reason.to_string());
            return None;
        }
    };
    let ha_cf = world.ha_cf(keepalive_ms, dead_time_ms, &[&["auto_failback off"], more].concat());
    let ha_cf = ha_cf.replace("bcast eth0 eth1", "bcast eth1").replace("node stranger\n", "");
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n")).expect("configure");
    Some(world)
}

pub(crate) fn start(world: &World) {
    if world.hosts().len() == 2 {
        return start_pair(world);
    }
    for name in NODES {
        world.host(name).expect("host").start_daemon().expect("daemon starts");
    }
    at_rest(world);
}

/// Both active, nothing under way, the address at home.
pub(crate) fn at_rest(world: &World) {
    let pair = &world.hosts()[..2];
    wait_for(world, "both at rest", PATIENCE, || {
        let rest = |host: &Host| !["", "transition"].contains(&cl_status(host, &["rscstatus"]).as_str());
        let hear = |host: &Host| NODES.iter().all(|name| cl_status(host, &["nodestatus", name]) == "active");
        pair.iter().all(|host| rest(host) && hear(host))
            && world.owners(SERVICE_ADDRESS).is_ok_and(|owners| owners == ["node1"])
    });
}

/// A heartbeat in the name of a node, signed with that key.
fn forged(source: &str, number: u8, secret: &str) -> Vec<u8> {
    let fields = [
        ("st", "dead"),
        ("dt", "1"),
        ("protocol", "1"),
        ("src", source),
        ("seq", "99999"),
        ("hg", "7fffffff"),
        ("ts", "6b022b29"),
        ("ttl", "4"),
    ];
    let message =
        fields.iter().fold(Message::new("status"), |message, (name, value)| message.with(name, value));
    let mut keys = stranger::keys(secret);
    let key = AuthKey { method: SigningMethod::Sha1, secret: secret.as_bytes().to_vec() };
    keys.keys.insert(number, key);
    encode_datagram(&message, &keys, Some(number), &WireFormat::default()).expect("it can be sent")
}

/// The original's lines about a packet with a wrong signature, without time, digest and content.
fn complaints(host: &Host) -> Vec<String> {
    let text = log(host);
    let mut kinds: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let line = line.split_once("]: ").map_or(line, |(_, rest)| rest);
            let known = [
                "authtoken does not match, authtoken=",
                "Invalid authentication [",
                "netstring authentication failed, s=",
            ];
            let found = known.iter().find(|known| line.contains(**known))?;
            let level = line.split(' ').next().unwrap_or("");
            let number = line
                .split_once('[')
                .and_then(|(_, rest)| rest.split_once(']'))
                .map_or("", |(number, _)| number);
            Some(format!("{level} {found}{}", if found.ends_with('[') { number } else { "" }))
        })
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn wrong_keys_disturb_nobody_and_heal() {
    let Some(world) = world(true, 100, 1500, &["hopfudge 5"]) else { return };
    stranger::record(&world, 694);
    start(&world);
    let [ours, original, _] = world.hosts() else { panic!("three hosts") };
    let packets = stranger::recorded(&world);
    let keys = stranger::keys("demonstration");
    for sender in NODES {
        let of_sender = packets.iter().filter_map(|bytes| decode_datagram(bytes, &keys).ok());
        let mut of_sender = of_sender.filter(|packet| packet.message.text("src") == Some(sender)).peekable();
        assert!(of_sender.peek().is_some(), "nothing of {sender} recorded");
        // Two nodes and five more.
        assert!(of_sender.all(|packet| packet.message.text("ttl") == Some("7")), "{sender}");
    }

    // A stranger who does not know the key.
    for source in ["node1", "node2", "node3"] {
        stranger::send(&world, &[forged(source, 1, "guessed"), forged(source, 7, "guessed")]);
    }
    for host in [ours, original] {
        wait_for(&world, "lines about a wrong key", PATIENCE, || complaints(host).len() >= 3);
    }
    assert_eq!(complaints(ours), complaints(original));
    at_rest(&world);
    for host in [ours, original] {
        for bad in ["is dead", "returning after partition"] {
            assert_eq!(times(host, bad), 0, "{bad}\n{}", common::logs(&world));
        }
    }

    // A node with a wrong key is as good as gone, and comes back with the right one.
    change_keys(&world, original, "auth 1\n1 sha1 mistyped\n");
    for (host, other) in [(ours, "node2"), (original, "node1")] {
        wait_for(&world, "the other is dead", PATIENCE, || cl_status(host, &["nodestatus", other]) == "dead");
    }
    change_keys(&world, original, "auth 1\n1 sha1 demonstration\n");
    at_rest(&world);
    assert_eq!(times(ours, "Heartbeat restart triggered."), 0, "{}", log(ours));
}

/// Drops on their way out what the host sends on the heartbeat network: everything, or the requests to
/// send again; nothing with an empty rule. `false` where this machine cannot.
fn drop_sent(host: &Host, rule: &str) -> bool {
    let mut text = "add table inet loss\ndelete table inet loss\n".to_owned();
    if !rule.is_empty() {
        text += "add table inet loss\nadd chain inet loss sent { type filter hook output priority 0 ; }\n";
        text += &format!("add rule inet loss sent udp dport 694 {rule} drop\n");
    }
    match host.run_with_input(&["nft", "-f", "-"], &text, Duration::from_secs(10)) {
        Ok(output) if output.code == Some(0) => true,
        refused => {
            common::skip::skip_without_privilege(&format!("packets cannot be lost here: {refused:?}"));
            false
        }
    }
}

/// `rexmit` behind `###\n14:(0)t=NS_`, behind the header of UDP.
const REQUESTS: &str = "@th,184,48 0x7265786d6974";

#[test]
fn what_is_lost_for_good_is_named_and_nobody_waits_for_it() {
    let Some(world) = world(false, KEEPALIVE_MS, DEAD_TIME_MS, &["max_rexmit_delay 100"]) else { return };
    let [ours, original] = world.hosts() else { panic!("two hosts") };
    for host in [ours, original] {
        install_last(host);
    }
    start(&world);
    if !drop_sent(ours, REQUESTS) {
        return;
    }
    // Some beats of each are lost, and what asks for them is, until they are no longer kept.
    for host in [ours, original] {
        assert!(drop_sent(host, "counter"));
    }
    thread::sleep(Duration::from_millis(25 * KEEPALIVE_MS));
    for host in [ours, original] {
        assert!(drop_sent(host, REQUESTS));
    }
    for (host, peer) in [(ours, "node2"), (original, "node1")] {
        let gap = format!("lost packet(s) for [{peer}]");
        wait_for(&world, "a gap", PATIENCE, || log(host).contains(&gap));
    }
    thread::sleep(Duration::from_millis((HISTORY + HISTORY / 2) * KEEPALIVE_MS));
    for host in [ours, original] {
        assert_eq!(times(host, "Irretrievably lost packet"), 0, "{}", common::logs(&world));
        assert!(drop_sent(host, ""));
    }
    for (host, peer) in [(ours, "node2"), (original, "node1")] {
        let lines =
            [format!(" for {peer}: seqno too low"), format!("Irretrievably lost packet: node {peer} seq ")];
        for line in lines {
            wait_for(&world, &format!("{line:?} on {}", host.name()), PATIENCE, || log(host).contains(&line));
        }
    }
    last_arrives(&world, ours, "after-loss");
    last_arrives(&world, original, "after-loss");
    command(original, "hb_takeover", &["all"]);
    world.wait_owner(SERVICE_ADDRESS, "node2", PATIENCE).expect("it moves as ever");
    assert_eq!(times(ours, "is dead") + times(original, "is dead"), 0, "{}", common::logs(&world));
}

#[test]
fn a_node_that_does_not_answer_blocks_nobody_for_ever() {
    let Some(world) = world(false, 100, DEAD_TIME_MS, &["max_rexmit_delay 100"]) else { return };
    let [ours, original] = world.hosts() else { panic!("two hosts") };
    for host in [ours, original] {
        install_last(host);
    }
    start(&world);
    let memory = || daemon_of(&world, "node1").expect("our daemon").resident_kb;
    let before = memory();
    for (sender, frozen) in [(ours, original), (original, ours)] {
        world.freeze(frozen.name()).expect("freeze");
        let flood = format!(
            "i=0; while [ $i -lt {FLOOD} ]; do i=$((i+1)); \
             printf '>>>\\nt=flood\\nnumber=%s\\ntext=%0400d\\n<<<\\n' $i 0; done >> /var/lib/heartbeat/fifo"
        );
        let pid = sender.spawn(&["sh", "-c", &flood], "/var/log/flood").expect("flood");
        // Long enough for all of them.
        thread::sleep(Duration::from_secs(5));
        if sender.name() == "node1" {
            assert_eq!(sender.ended(pid).expect("state"), None, "too much is read");
            let asked = Instant::now();
            assert_eq!(cl_status(ours, &["nodestatus", "node2"]), "active");
            assert!(asked.elapsed() < Duration::from_secs(5), "it answers");
        }
        world.thaw(frozen.name()).expect("thaw");
        wait_for(&world, "end of the flood", PATIENCE, || sender.ended(pid).expect("state").is_some());
        last_arrives(&world, sender, "after-flood");
        wait_for(&world, "both active", PATIENCE, || all_active(&world, &NODES));
        let now = memory();
        assert!(now < before + GROWTH_MAX_KIB, "{before} KiB before, {now} KiB now");
    }
    at_rest(&world);
    assert_eq!(times(ours, "is dead") + times(original, "is dead"), 0, "{}", common::logs(&world));
}

/// A script on both that notes the last message of a series.
fn install_last(host: &Host) {
    let folder = "cd /etc/ha.d && rm -rf rc.d && mkdir -p rc.d && cp /.machine/etc/ha.d/rc.d/* rc.d/";
    host.run(&["sh", "-c", folder]).expect("it runs");
    let script = "#!/bin/sh\necho \"$HA_src $HA_word\" >> /var/log/last\n";
    host.write_file_with_mode("/etc/ha.d/rc.d/last", script, 0o755).expect("script");
}

/// A message of this host comes to both.
fn last_arrives(world: &World, sender: &Host, word: &str) {
    let text = format!("printf '>>>\\nt=last\\nword={word}\\n<<<\\n' >> /var/lib/heartbeat/fifo");
    let output = sender.run(&["sh", "-c", &text]).expect("it runs");
    assert_eq!(output.code, Some(0), "{output:?}");
    let line = format!("{} {word}\n", sender.name());
    for host in world.hosts() {
        wait_for(world, &format!("{line:?} on {}", host.name()), PATIENCE, || {
            host.read_file("/var/log/last").is_ok_and(|text| text.contains(&line))
        });
    }
}
