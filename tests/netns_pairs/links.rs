//! Cables: one of two, both, one direction.

use ha_core::demo::world::{Way, WorldError};

use crate::acts::*;
use crate::common::pairs::{group, Pair, ADDRESSES, NODES, PATIENCE};

/// Nothing changes but a log line and the link's state.
#[test]
fn one_link_of_two_is_cut() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for link in ["eth1", "eth0"] {
        pair.mark();
        pair.world.cut_silently("node1", link).expect("cut");
        for (node, other) in [(0, "node2"), (1, "node1")] {
            pair.logged(node, &[&format!("info: Link {other}:{link} dead.")]);
            assert_eq!(pair.link_state(node, other, link), ("dead".into(), Some(1)));
            let status = pair.status(node);
            let alarm = format!("link {link} to {other} is dead");
            assert!(status["attention"].to_string().contains(&alarm), "{status:#}");
        }
        pair.settled("local", "local");
        pair.world.heal("node1", link).expect("heal");
        for (node, other) in [(0, "node2"), (1, "node1")] {
            pair.logged(node, &[&format!("info: Link {other}:{link} up.")]);
            assert_eq!(pair.link_state(node, other, link), ("up".into(), Some(0)));
            for line in ["is dead", "Acquiring", "Releasing", "transition", "lost packet", "standby"] {
                assert_eq!(pair.times_logged(node, line), 0, "{line}: {}", pair.log(node));
            }
        }
        pair.settled("local", "local");
    }
}

/// Who served an address before keeps it; the other lets go; nothing else moves.
#[test]
fn both_links_are_cut_and_healed() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    pair.allow(&PARTITION);
    partition(&pair);
    heal(&pair);
    pair.settled("local", "local");
    for node in 0..2 {
        let other = NODES[1 - node];
        let own = format!("Releasing resource group: {}", group(node));
        assert_eq!(pair.times_logged(node, &own), 0, "{}", pair.log(node));
        assert_eq!(pair.times_logged(node, "Releasing resource group:"), 1, "{}", pair.log(node));
        pair.logged(
            node,
            &[
                &format!("WARN: node {other}: is dead"),
                &format!("CRIT: Cluster node {other} returning after partition."),
                "WARN: Deadtime value may be too small.",
            ],
        );
    }
    // Everything on node2: it keeps everything, whatever is at home where.
    takeover(&pair, 1, 0, "all", "all");
    pair.settled("none", "all");
    partition(&pair);
    heal(&pair);
    pair.settled("none", "all");
    assert_eq!(pair.times_logged(1, "Releasing resource group:"), 0, "{}", pair.log(1));
    assert_eq!(pair.times_logged(0, "Releasing resource group:"), 2, "{}", pair.log(0));
    for node in 0..2 {
        assert_eq!(pair.times_logged(node, "wants to go standby"), 0, "{}", pair.log(node));
    }
}

#[test]
fn both_links_are_cut_and_healed_with_failback() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.allow(&PARTITION);
    for _ in 0..2 {
        partition(&pair);
        heal(&pair);
        pair.settled("local", "local");
        for node in 0..2 {
            let own = format!("Releasing resource group: {}", group(node));
            assert_eq!(pair.times_logged(node, &own), 0, "{}", pair.log(node));
        }
    }
}

/// The side that is not heard lets go, so that one side serves.
#[test]
fn one_direction_is_cut() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    pair.allow(&PARTITION);
    for way in [Way::To, Way::From] {
        pair.mark();
        for link in ["eth0", "eth1"] {
            match pair.world.cut_one_way("node1", link, way) {
                Ok(_) => {}
                Err(WorldError::Failed { reason, .. }) => {
                    return crate::common::skip::skip_without_privilege(&reason);
                }
                Err(error) => panic!("{error}"),
            }
        }
        // Who hears nothing declares death and takes; who is not heard gives.
        let (deaf, mute) = if way == Way::To { (0, 1) } else { (1, 0) };
        pair.logged(deaf, &[&format!("WARN: node {}: is dead", NODES[mute])]);
        for address in ADDRESSES {
            pair.world.wait_owner(address, NODES[deaf], PATIENCE).expect("one side serves");
        }
        assert_eq!(pair.times_logged(mute, &format!("node {}: is dead", NODES[deaf])), 0);
        let status = pair.status(mute);
        let alarm = format!("node {} does not hear this node", NODES[deaf]);
        assert!(status["attention"].to_string().contains(&alarm), "{status:#}");
        for link in ["eth0", "eth1"] {
            pair.world.heal("node1", link).expect("heal");
        }
        pair.logged(deaf, &[&format!("CRIT: Cluster node {} returning after partition.", NODES[mute])]);
        let words = if deaf == 0 { ("all", "none") } else { ("none", "all") };
        pair.settled(words.0, words.1);
        takeover(&pair, mute, deaf, "failback", "foreign");
        pair.settled("local", "local");
    }
}
