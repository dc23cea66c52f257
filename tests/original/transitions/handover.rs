//! Standby and takeover.

use super::{play, Stage};
use crate::common::pairs::NODES;

/// Tells one node to give or take and waits for the dialogue's end on both.
#[track_caller]
pub(super) fn moved(stage: &Stage, node: usize, name: &str, word: &str, own: &str, other: &str) {
    stage.mark();
    stage.command(node, name, word);
    let (giver, taker) = if name == "hb_standby" { (node, 1 - node) } else { (1 - node, node) };
    let held = || stage.is_ours(node) && stage.log(node).contains("this node holds them already");
    let done = |node: usize, text: &str| stage.log(node).contains(text);
    stage.wait(&format!("{name} {word} on {}", NODES[node]), || {
        held()
            || (done(giver, "info: Other node completed standby takeover of ")
                && done(taker, "info: Standby resource acquisition done ["))
    });
    stage.settled_for(node, own, other);
    stage.over(&format!("{name} {word} on {}", NODES[node]));
}

#[test]
fn each_standby_and_takeover_from_either_node() {
    play(&["auto_failback off"], |stage| {
        stage.both_started();
        for node in [0, 1] {
            let steps = [
                ("hb_standby", "local", "none", "all"),
                ("hb_standby", "all", "none", "all"),
                ("hb_standby", "foreign", "none", "all"),
                ("hb_takeover", "local", "local", "local"),
                ("hb_takeover", "foreign", "all", "none"),
                ("hb_takeover", "local", "all", "none"),
                ("hb_standby", "failback", "local", "local"),
                ("hb_takeover", "all", "all", "none"),
                ("hb_standby", "local", "foreign", "foreign"),
                ("hb_standby", "foreign", "none", "all"),
            ];
            for (name, word, own, other) in steps {
                moved(stage, node, name, word, own, other);
            }
            // The original that is asked for it has no such word and gives everything.
            let (own, other) = if stage.is_ours(1 - node) || stage.is_ours(node) {
                ("local", "local")
            } else {
                ("all", "none")
            };
            moved(stage, node, "hb_takeover", "failback", own, other);
            if own == "all" {
                moved(stage, node, "hb_standby", "foreign", "local", "local");
            }
        }
    });
}

/// Both are told at the same moment.
#[test]
fn crossed_standbys() {
    play(&["auto_failback off"], |stage| {
        stage.both_started();
        for round in 0..6 {
            stage.mark();
            std::thread::scope(|scope| {
                for node in [0, 1] {
                    let world = &stage.world;
                    scope.spawn(move || {
                        world.hosts()[node].command("hb_standby", &["all"]).expect("it runs");
                    });
                }
            });
            stage.wait("a request", || {
                [0, 1].iter().any(|node| stage.log(*node).contains("wants to go standby"))
            });
            let words = stage.settled_somehow();
            stage.over(&format!("round {round} ends as {words:?}"));
        }
    });
}
