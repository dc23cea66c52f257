//! Hosts that stand still, cables that are cut, deaths in the middle of a handover.

use std::time::Duration;

use ha_core::demo::world::Way;

use super::{play, Stage};
use crate::common::pairs::NODES;

/// What two originals log as well when contact is lost and found again.
const PARTITION: [&str; 6] = [
    "returning after partition.",
    "Late heartbeat: Node",
    "Both machines own our resources!",
    "Both machines own foreign resources!",
    "No one owns our local resources!",
    "No one owns foreign resources!",
];

fn cut(stage: &Stage, way: Option<Way>) {
    stage.mark();
    for link in ["eth0", "eth1"] {
        match way {
            None => stage.world.cut_silently("node1", link),
            Some(way) => stage.world.cut_one_way("node1", link, way),
        }
        .expect("cut");
    }
}

fn heal(stage: &Stage) {
    for link in ["eth0", "eth1"] {
        stage.world.heal("node1", link).expect("heal");
    }
}

fn report(stage: &Stage, what: &str) {
    println!(
        "{what}: rscstatus {:?} {:?}; owners {:?}",
        stage.resource_status(0),
        stage.resource_status(1),
        crate::common::pairs::ADDRESSES.map(|address| stage.world.owners(address).unwrap_or_default())
    );
}

#[test]
fn partition_and_heal() {
    play(&["auto_failback off"], |stage| {
        stage.allow(&PARTITION);
        stage.both_started();
        stage.lookout.excuse(true);
        cut(stage, None);
        for node in 0..2 {
            stage.wait("all resources on each side", || stage.resource_status(node) == "all");
        }
        stage.over("partition");
        heal(stage);
        for second in 0..40 {
            std::thread::sleep(Duration::from_secs(1));
            report(stage, &format!("{second}"));
        }
        stage.over("heal");
        let ours = (0..2).find(|node| stage.is_ours(*node)).unwrap_or(0);
        stage.settled_for(ours, "all", "none");
    });
}

#[test]
fn one_direction() {
    for way in [Way::To, Way::From] {
        play(&["auto_failback off"], |stage| {
            stage.allow(&PARTITION);
            stage.both_started();
            stage.lookout.excuse(true);
            cut(stage, Some(way));
            for second in 0..10 {
                std::thread::sleep(Duration::from_secs(1));
                report(stage, &format!("{way:?} cut {second}"));
            }
            stage.over("cut");
            heal(stage);
            for second in 0..40 {
                std::thread::sleep(Duration::from_secs(1));
                report(stage, &format!("{way:?} heal {second}"));
            }
            stage.over("heal");
        });
    }
}

#[test]
fn frozen() {
    for victim in [0, 1] {
        play(&["auto_failback off"], |stage| {
            stage.allow(&PARTITION);
            stage.both_started();
            stage.lookout.excuse(true);
            stage.world.freeze(NODES[victim]).expect("freeze");
            stage.wait("all", || stage.resource_status(1 - victim) == "all");
            stage.world.thaw(NODES[victim]).expect("thaw");
            for second in 0..40 {
                report(stage, &format!("thaw of {victim} {second}"));
                std::thread::sleep(Duration::from_secs(1));
            }
            stage.over("thaw");
        });
    }
}
