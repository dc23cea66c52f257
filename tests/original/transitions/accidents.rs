//! Hosts that stand still, cables that are cut.

use ha_core::demo::world::{HostKind, Way, WorldError};

use super::{play, Stage};
use crate::common::pairs::{group, ADDRESSES, NODES};

/// What two originals log as well when contact is lost and found again.
pub(super) const PARTITION: [&str; 6] = [
    "returning after partition.",
    "Late heartbeat: Node",
    "Both machines own our resources!",
    "Both machines own foreign resources!",
    "No one owns our local resources!",
    "No one owns foreign resources!",
];

const LINKS: [&str; 2] = ["eth0", "eth1"];

/// Cuts node1 off, or one direction only; `false` where the kernel cannot.
fn cut(stage: &Stage, way: Option<Way>) -> bool {
    stage.mark();
    for link in LINKS {
        let result = match way {
            None => stage.world.cut_silently("node1", link),
            Some(way) => stage.world.cut_one_way("node1", link, way),
        };
        match result {
            Ok(_) => {}
            Err(WorldError::Failed { reason, .. }) => {
                crate::common::skip::skip_without_privilege(&reason);
                return false;
            }
            Err(error) => panic!("{error}"),
        }
    }
    true
}

fn heal(stage: &Stage) {
    for link in LINKS {
        stage.world.heal("node1", link).expect("heal");
    }
}

/// The original restarts itself; ours serves on, without a gap, whatever it held before.
fn partition_and_heal(more: &[&str], before: &[(&str, &str)], after: (&str, &str)) {
    play(more, |stage| {
        if !stage.kinds.contains(&HostKind::Ours) {
            return;
        }
        stage.allow(&PARTITION);
        stage.both_started();
        let ours = usize::from(stage.kinds[1] == HostKind::Ours);
        for (command, words) in before {
            if !command.is_empty() {
                let (name, set) = command.split_once(' ').expect("two words");
                stage.command(ours, name, set);
            }
            let (own, other) = words.split_once(' ').expect("two words");
            stage.settled_for(ours, own, other);
            stage.over("before");
            stage.lookout.excuse(true);
            cut(stage, None);
            for node in 0..2 {
                stage.wait("all resources on each side", || stage.resource_status(node) == "all");
            }
            heal(stage);
            let back = format!("info: Heartbeat restart on node {}", NODES[1 - ours]);
            stage.logged(ours, &[&back]);
            stage.lookout.excuse(false);
            stage.settled_for(ours, after.0, after.1);
            assert_eq!(stage.times_logged(ours, "both nodes claim"), 0, "{}", stage.log(ours));
            if after.0 == "all" {
                assert_eq!(stage.times_logged(ours, "Releasing resource group:"), 0, "{}", stage.log(ours));
                assert_eq!(stage.lookout.take_longest_without_ms(), [0, 0]);
            } else {
                let own = format!("Releasing resource group: {}", group(ours));
                assert_eq!(stage.times_logged(ours, &own), 0, "{}", stage.log(ours));
            }
            stage.over("partition and heal");
        }
    });
}

#[test]
fn partition_and_heal_without_failback() {
    let before = [("", "local local"), ("", "all none"), ("hb_standby all", "none all")];
    partition_and_heal(&["auto_failback off"], &before, ("all", "none"));
}

#[test]
fn partition_and_heal_with_failback() {
    let before = [("", "local local"), ("hb_standby all", "none all"), ("hb_takeover all", "all none")];
    partition_and_heal(&["auto_failback on"], &before, ("local", "local"));
}

/// Who hears nothing declares death and takes. Where ours is the one that is not heard, it lets go;
/// after the heal one of both has everything it says.
#[test]
fn one_direction_is_cut() {
    for way in [Way::To, Way::From] {
        play(&["auto_failback off"], |stage| {
            stage.allow(&PARTITION);
            stage.both_started();
            let (deaf, mute) = if way == Way::To { (0, 1) } else { (1, 0) };
            stage.lookout.excuse(true);
            if !cut(stage, Some(way)) {
                return;
            }
            stage.logged(deaf, &[&format!("WARN: node {}: is dead", NODES[mute])]);
            stage.wait("everything on the deaf node", || stage.resource_status(deaf) == "all");
            if stage.is_ours(mute) {
                for address in ADDRESSES {
                    stage.world.wait_owner(address, NODES[deaf], stage.patience).expect("one side serves");
                }
                stage.lookout.excuse(false);
            }
            stage.over("one direction cut");
            heal(stage);
            stage.logged(deaf, &[&format!("CRIT: Cluster node {} returning after partition.", NODES[mute])]);
            let words = stage.settled_somehow();
            stage.lookout.excuse(false);
            stage.over(&format!("one direction of node1 ({way:?}) healed, then {words:?}"));
            // It is still a pair that works.
            super::handover::moved(stage, mute, "hb_standby", "all", "none", "all");
        });
    }
}

/// For longer than deadtime.
#[test]
fn a_node_stands_still_and_goes_on() {
    play(&["auto_failback off"], |stage| {
        stage.allow(&PARTITION);
        stage.both_started();
        for victim in [0, 1, 1, 0] {
            stage.mark();
            stage.lookout.excuse(true);
            stage.world.freeze(NODES[victim]).expect("freeze");
            stage.logged(1 - victim, &[&format!("WARN: node {}: is dead", NODES[victim])]);
            stage.wait("everything on the other", || stage.resource_status(1 - victim) == "all");
            stage.over("freeze");
            stage.world.thaw(NODES[victim]).expect("thaw");
            let words = stage.settled_somehow();
            stage.lookout.excuse(false);
            stage.over(&format!("thaw of {}, then {words:?}", NODES[victim]));
        }
    });
}

/// For a moment only: nothing happens.
#[test]
fn a_node_stands_still_for_less_than_deadtime() {
    play(&["auto_failback off"], |stage| {
        stage.allow(&["Late heartbeat: Node"]);
        stage.both_started();
        for victim in [0, 1] {
            stage.mark();
            stage.world.freeze(NODES[victim]).expect("freeze");
            std::thread::sleep(std::time::Duration::from_millis(stage.times.dead_time_ms / 2));
            stage.world.thaw(NODES[victim]).expect("thaw");
            stage.settled("local", "local");
            assert_eq!(stage.times_logged(1 - victim, "is dead"), 0);
            stage.over("short pause");
        }
    });
}

/// Nothing moves, and both say which link it is.
#[test]
fn one_link_of_two_is_cut() {
    play(&["auto_failback on"], |stage| {
        stage.both_started();
        for link in LINKS {
            stage.mark();
            stage.world.cut_silently("node1", link).expect("cut");
            for (node, other) in [(0, "node2"), (1, "node1")] {
                stage.logged(node, &[&format!("info: Link {other}:{link} dead.")]);
                assert_eq!(stage.link_state(node, other, link).0, "dead");
            }
            stage.world.heal("node1", link).expect("heal");
            for (node, other) in [(0, "node2"), (1, "node1")] {
                stage.logged(node, &[&format!("info: Link {other}:{link} up.")]);
                for line in ["is dead", "Acquiring", "Releasing", "standby"] {
                    assert_eq!(stage.times_logged(node, line), 0, "{line}: {}", stage.log(node));
                }
            }
            stage.settled("local", "local");
            stage.over(&format!("{link} cut and healed"));
        }
    });
}
