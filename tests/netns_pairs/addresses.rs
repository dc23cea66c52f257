//! Many addresses of a pair: no beat is late while they move; another host with one of them is noticed.

use ha_core::demo::world::HostKind;

use crate::common::pairs::{Pair, Times, ADDRESSES, NODES};

/// As many as a test on a busy machine may move; with HA_LONG=1 it is 10 000.
const MANY: usize = 2000;
const IN_A_GROUP: usize = 100;

/// Another host has an address of ours, and announces it.
#[test]
fn another_host_with_our_address_is_noticed() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    let address = format!("{}/24", ADDRESSES[0]);
    pair.run(1, &["ip", "addr", "add", &address, "dev", "eth0"]);
    let alone = ADDRESSES[0].to_string();
    let announce = ["/usr/libexec/heartbeat/send_arp", "eth0", &alone, "auto", "not_used", "not_used"];
    pair.run(1, &announce);
    pair.wait("the alarm", || {
        let text = format!("Address {} is on this host and also at ", ADDRESSES[0]);
        pair.log(0).contains(&text)
    });
    pair.run(1, &["ip", "addr", "del", &address, "dev", "eth0"]);
    pair.settled("local", "local");
}

/// A host that has an address already does not keep it from being started here. It is asked and answers,
/// by ARP and by neighbour advertisement; later it says by itself that the IPv6 address is its own.
#[test]
fn another_host_that_answers_for_our_addresses_is_noticed() {
    let v6 = "2001:db8::100";
    let words = format!("{} IPaddr2::{}/24/eth0 IPv6addr::{v6}/64/eth0", NODES[0], ADDRESSES[0]);
    let Some(pair) = Pair::new(&["auto_failback off"], &[words]) else { return };
    let both = [format!("{}/24", ADDRESSES[0]), format!("{v6}/64")];
    for address in &both {
        // Nobody has asked for it yet, and nobody hears that it is there.
        let add = ["ip", "addr", "add", address, "dev", "eth0"];
        let nodad = address.contains(':').then_some("nodad");
        pair.run(1, &add.into_iter().chain(nodad).collect::<Vec<_>>());
    }
    pair.start(0);
    let alarms = |text: &str| pair.times_logged(0, &format!("Address {text} is on this host and also at "));
    let v4 = ADDRESSES[0].to_string();
    pair.wait("alarms of both families", || alarms(&v4) > 0 && alarms(v6) > 0);
    let here = pair.run(0, &["ip", "-o", "addr", "show", "dev", "eth0"]);
    assert!(here.contains(&both[0]) && here.contains(&both[1]), "{here}");
    // One line in a minute, however often it is said.
    let announce = ["/usr/libexec/heartbeat/send_ua", "-i", "10", "-c", "5", v6, "64", "eth0"];
    pair.run(1, &announce);
    assert_eq!((alarms(&v4), alarms(v6)), (1, 1), "{}", pair.log(0));
}

/// The other host comes later, and announces the IPv6 address as the original's `send_ua` does.
#[test]
fn another_host_that_announces_our_ipv6_address_is_noticed() {
    let v6 = "2001:db8::100";
    let words = format!("{} IPv6addr::{v6}/64/eth0", NODES[0]);
    let Some(pair) = Pair::new(&["auto_failback off"], &[words]) else { return };
    pair.start_both();
    let here = |node: usize| pair.run(node, &["ip", "-o", "addr", "show", "dev", "eth0"]).contains(v6);
    pair.wait("the address", || here(0));
    let settled = |node: usize| !matches!(pair.resource_status(node).as_str(), "" | "transition");
    pair.wait("a settled pair", || settled(0) && settled(1));
    let alarm = format!("Address {v6} is on this host and also at ");
    assert_eq!(pair.times_logged(0, &alarm), 0, "{}", pair.log(0));
    let address = format!("{v6}/64");
    pair.run(1, &["ip", "addr", "add", &address, "dev", "eth0", "nodad"]);
    pair.run(1, &["/usr/libexec/heartbeat/send_ua", "-i", "10", "-c", "1", v6, "64", "eth0"]);
    pair.wait("the alarm", || pair.times_logged(0, &alarm) == 1);
}

#[test]
fn thousands_of_addresses_move_and_no_beat_is_late() {
    let many = if std::env::var_os("HA_LONG").is_some() { 10_000 } else { MANY };
    let words: Vec<String> =
        (0..many).map(|index| format!("IPaddr2::10.7.{}.{}/16/eth0", index / 250, index % 250 + 1)).collect();
    let groups: Vec<String> =
        words.chunks(IN_A_GROUP).map(|group| format!("node1 {}", group.join(" "))).collect();
    // A beat is late after half a second: a busy machine's own pauses are shorter.
    let times = Times { keepalive_ms: 100, dead_time_ms: 3000, init_dead_s: 6 };
    let more = ["auto_failback off", "warntime 500ms"];
    let Some(pair) = Pair::of([HostKind::Ours; 2], times, &more, &groups) else { return };
    let here = |node: usize| {
        let listed = pair.run(node, &["ip", "-o", "-4", "addr", "show", "dev", "eth0"]);
        listed.matches(" inet 10.7.").count()
    };
    pair.start_both();
    pair.wait("all addresses on node1", || here(0) == many);
    let settled = |node: usize| !matches!(pair.resource_status(node).as_str(), "" | "transition");
    pair.wait("a settled pair", || settled(0) && settled(1));
    pair.mark();
    pair.command(1, "hb_takeover", "all");
    pair.wait("all addresses on node2", || here(0) == 0 && here(1) == many);
    for (node, name) in NODES.iter().enumerate() {
        assert_eq!(pair.times_logged(node, "Late heartbeat"), 0, "{name}: {}", pair.log(node));
    }
    pair.quiet();
}
