//! Standby and takeover: each set, from either node.

use crate::acts::*;
use crate::common::pairs::{group, Pair};

#[test]
fn each_standby_from_either_node() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    for (giver, taker) in [(0, 1), (1, 0)] {
        let settled = |own: &str, other: &str| {
            let words = if giver == 0 { (own, other) } else { (other, own) };
            pair.settled(words.0, words.1);
        };
        let steps = [
            ("local", "local", ("none", "all")),
            ("all", "all", ("none", "all")),
            ("foreign", "foreign", ("none", "all")),
        ];
        for (word, set, (own, other)) in steps {
            standby(&pair, giver, taker, word, set);
            settled(own, other);
        }
        standby(&pair, taker, giver, "all", "all");
        settled("all", "none");
        standby(&pair, giver, taker, "failback", "foreign");
        settled("local", "local");
        standby(&pair, giver, taker, "all", "all");
        settled("none", "all");
        standby(&pair, taker, giver, "local", "local");
        settled("foreign", "foreign");
        standby(&pair, giver, taker, "foreign", "foreign");
        settled("none", "all");
        standby(&pair, taker, giver, "foreign", "foreign");
        settled("local", "local");
    }
}

#[test]
fn each_takeover_from_either_node() {
    let Some(pair) = Pair::running(&["auto_failback off"]) else { return };
    for (taker, giver) in [(0, 1), (1, 0)] {
        let settled = |own: &str, other: &str| {
            let words = if taker == 0 { (own, other) } else { (other, own) };
            pair.settled(words.0, words.1);
        };
        let steps = [
            ("foreign", "local", ("all", "none")),
            ("all", "all", ("all", "none")),
            ("local", "foreign", ("all", "none")),
        ];
        for (word, given, (own, other)) in steps {
            takeover(&pair, taker, giver, word, given);
            settled(own, other);
        }
        takeover(&pair, giver, taker, "failback", "foreign");
        settled("local", "local");
        takeover(&pair, giver, taker, "all", "all");
        settled("none", "all");
        takeover(&pair, taker, giver, "foreign", "local");
        settled("foreign", "foreign");
        takeover(&pair, taker, giver, "local", "foreign");
        settled("all", "none");
        takeover(&pair, giver, taker, "local", "foreign");
        settled("local", "local");
    }
}

#[test]
fn commands_answer_clearly_when_nothing_can_move() {
    let Some(pair) = Pair::new(&["auto_failback off"], &[group(0), group(1)]) else { return };
    for name in ["hb_standby", "hb_takeover"] {
        let output = pair.host(0).command(name, &["all"]).expect("it runs");
        assert_ne!(output.code, Some(0), "{name} without a daemon: {output:?}");
        assert!(!output.stderr.is_empty(), "{name} without a daemon says nothing");
    }
    pair.start(0);
    pair.settled("all", "");
    let output = pair.host(0).command("hb_standby", &["all"]).expect("it runs");
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("node2 is dead"), "{output:?}");
    pair.settled("all", "");
}
