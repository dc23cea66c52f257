//! Many addresses of a pair: no beat is late while they move; another host with one of them is noticed.

use ha_core::demo::world::HostKind;

use crate::common::pairs::{Pair, Times, ADDRESSES, NODES};

/// As many as a test on a busy machine may move; `benches/addresses.rs` has the large numbers.
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

#[test]
fn thousands_of_addresses_move_and_no_beat_is_late() {
    let words: Vec<String> =
        (0..MANY).map(|index| format!("IPaddr2::10.7.{}.{}/16/eth0", index / 250, index % 250 + 1)).collect();
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
    pair.wait("all addresses on node1", || here(0) == MANY);
    let settled = |node: usize| !matches!(pair.resource_status(node).as_str(), "" | "transition");
    pair.wait("a settled pair", || settled(0) && settled(1));
    pair.mark();
    pair.command(1, "hb_takeover", "all");
    pair.wait("all addresses on node2", || here(0) == 0 && here(1) == MANY);
    for (node, name) in NODES.iter().enumerate() {
        assert_eq!(pair.times_logged(node, "Late heartbeat"), 0, "{name}: {}", pair.log(node));
    }
    pair.quiet();
}
