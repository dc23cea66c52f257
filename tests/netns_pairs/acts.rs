//! What is done to a pair, and what must be logged of it.

use crate::common::pairs::{Pair, ADDRESSES, NODES};

/// What is logged when nothing fences and contact is lost and found again.
pub(crate) const PARTITION: [&str; 4] = [
    "returning after partition.",
    "Late heartbeat: Node",
    "Both machines own our resources!",
    "Both machines own foreign resources!",
];

pub(crate) fn crash(pair: &Pair, victim: usize, other: usize) {
    let name = NODES[victim];
    pair.world.crash(name).expect("crash");
    let words = if victim == 0 { ("", "all") } else { ("all", "") };
    pair.settled(words.0, words.1);
    pair.logged(
        other,
        &[
            &format!("WARN: node {name}: is dead"),
            "WARN: No STONITH device configured.",
            "WARN: Shared disks are not protected.",
            &format!("info: Resources being acquired from {name}."),
            &format!("info: Taking over resource group IPaddr2::{}/24/eth0", ADDRESSES[victim]),
            &format!("info: mach_down takeover complete for node {name}."),
            "info: mach_down takeover complete.",
        ],
    );
}

pub(crate) fn come_back(pair: &Pair, node: usize) {
    pair.world.boot(NODES[node]).expect("boot");
    pair.start(node);
}

/// `word` is what a person says, `set` what is on the wire and in the log.
pub(crate) fn standby(pair: &Pair, giver: usize, taker: usize, word: &str, set: &str) {
    pair.mark();
    pair.command(giver, "hb_standby", word);
    handover_logged(pair, giver, taker, set);
}

/// `given` is the same set as the giver sees it.
pub(crate) fn takeover(pair: &Pair, taker: usize, giver: usize, word: &str, given: &str) {
    pair.mark();
    pair.command(taker, "hb_takeover", word);
    let held = || pair.log(taker).contains("this node holds them already");
    let going = || pair.log(giver).contains(&format!("info: Going standby [{given}]."));
    pair.wait("takeover", || held() || going());
    if !held() {
        handover_logged(pair, giver, taker, given);
    }
}

pub(crate) fn handover_logged(pair: &Pair, giver: usize, taker: usize, set: &str) {
    let (from, to) = (NODES[giver], NODES[taker]);
    let seen = match set {
        "local" => "foreign",
        "foreign" => "local",
        other => other,
    };
    pair.logged(
        giver,
        &[
            &format!("info: {from} wants to go standby [{set}]"),
            &format!("info: standby: {to} can take our {set} resources"),
            &format!("info: give up {set} HA resources (standby)."),
            &format!("info: {set} HA resource release completed (standby)."),
            &format!("info: Local standby process completed [{set}]."),
            &format!("info: Other node completed standby takeover of {set} resources."),
        ],
    );
    pair.logged(
        taker,
        &[
            &format!("info: {from} wants to go standby [{set}]"),
            &format!("info: standby: acquire [{set}] resources from {from}"),
            &format!("info: acquire {seen} HA resources (standby)."),
            &format!("info: {seen} HA resource acquisition completed (standby)."),
            &format!("info: Standby resource acquisition done [{set}]."),
        ],
    );
}

/// Both links of node1 go; each side has everything.
pub(crate) fn partition(pair: &Pair) {
    pair.mark();
    for link in ["eth0", "eth1"] {
        pair.world.cut_silently("node1", link).expect("cut");
    }
    for node in 0..2 {
        pair.wait("all resources on each side", || pair.resource_status(node) == "all");
    }
    for address in ADDRESSES {
        assert_eq!(pair.world.owners(address).expect("addresses"), NODES);
    }
}

pub(crate) fn heal(pair: &Pair) {
    for link in ["eth0", "eth1"] {
        pair.world.heal("node1", link).expect("heal");
    }
}

pub(crate) fn freeze(pair: &Pair, node: usize) {
    pair.mark();
    let other = 1 - node;
    pair.world.freeze(NODES[node]).expect("freeze");
    pair.logged(other, &[&format!("WARN: node {}: is dead", NODES[node])]);
    pair.wait("everything on the other node", || pair.resource_status(other) == "all");
    pair.world.thaw(NODES[node]).expect("thaw");
    pair.logged(other, &[&format!("CRIT: Cluster node {} returning after partition.", NODES[node])]);
}

pub(crate) fn script(pair: &Pair, name: &str, text: &str) {
    for host in pair.world.hosts() {
        host.write_file_with_mode(&format!("/etc/ha.d/resource.d/{name}"), text, 0o755).expect("write");
    }
}

/// On which nodes the file is that stands for a running resource.
pub(crate) fn running(pair: &Pair, file: &str) -> [bool; 2] {
    [0, 1].map(|node| pair.host(node).run(&["test", "-e", file]).expect("it runs").code == Some(0))
}
