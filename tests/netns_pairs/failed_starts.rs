//! Resources that do not start on one node, or on any.

use std::time::Duration;

use crate::acts::*;
use crate::common::pairs::{group, Pair, ADDRESSES};

/// A script that does not start where /run/broken is.
const FICKLE: &str = "#!/bin/sh\n\
    case $1 in\n\
    start) [ ! -e /run/broken ] || exit 1; : >/run/fickle;;\n\
    stop) rm -f /run/fickle;;\n\
    status) [ -e /run/fickle ] && echo running || echo stopped;;\n\
    esac\n";
/// Logged where something does not start.
const FAILED_START: [&str; 4] = [
    "ERROR: Return code 1 from /etc/ha.d/resource.d/fickle",
    "CRIT: Giving up resources due to failure of fickle",
    "resources failed to start here: giving them to the other node",
    "resources failed to start on both nodes: they stay down until somebody looks",
];

fn fickle_pair(broken: &[usize]) -> Option<Pair> {
    let pair = Pair::new(&["auto_failback off"], &[format!("{} fickle", group(0)), group(1)])?;
    pair.allow(&FAILED_START);
    script(&pair, "fickle", FICKLE);
    for node in broken {
        pair.host(*node).write_file("/run/broken", "").expect("write");
    }
    pair.start_both();
    Some(pair)
}

/// The right set moves, once; the other stays.
#[test]
fn start_that_fails_on_one_node() {
    let Some(pair) = fickle_pair(&[0]) else { return };
    pair.settled("none", "all");
    pair.logged(
        0,
        &[
            "CRIT: Giving up resources due to failure of fickle",
            "ERROR: local resources failed to start here: giving them to the other node",
            "info: Local standby process completed [local].",
        ],
    );
    assert_eq!(running(&pair, "/run/fickle"), [false, true]);
    assert_eq!(pair.times_logged(0, "resource.d/fickle  start"), 1, "{}", pair.log(0));
    assert_eq!(pair.times_logged(1, "resource.d/fickle  start"), 1, "{}", pair.log(1));
    let own = format!("Releasing resource group: {}", group(1));
    assert_eq!(pair.times_logged(1, &own), 0, "{}", pair.log(1));
    // Repaired, and asked for.
    pair.run(0, &["rm", "/run/broken"]);
    takeover(&pair, 0, 1, "failback", "foreign");
    pair.settled("local", "local");
    assert_eq!(running(&pair, "/run/fickle"), [true, false]);
}

/// It stays down, a person is told, and nothing goes back and forth.
#[test]
fn start_that_fails_on_both_nodes() {
    let Some(pair) = fickle_pair(&[0, 1]) else { return };
    pair.logged(1, &["resources failed to start on both nodes: they stay down until somebody looks"]);
    let told = |node: usize| {
        let output = pair.host(node).run(&["/ha", "status"]).expect("it runs");
        output.code == Some(1) && output.stdout.contains("resources failed to start")
    };
    pair.wait("alarm in ha status", || told(0) || told(1));
    pair.wait("both settled", || (0..2).all(|node| pair.resource_status(node) != "transition"));
    let starts = || [0, 1].map(|node| pair.times_logged(node, "resource.d/fickle  start"));
    assert_eq!(starts(), [1, 1]);
    // Long enough for several rounds of a transfer, which takes a few milliseconds.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(starts(), [1, 1], "it goes back and forth");
    assert!(pair.world.owners(ADDRESSES[0]).expect("addresses").is_empty());
    pair.owned_by(1, "node2");
    assert_eq!(running(&pair, "/run/fickle"), [false, false]);
    pair.quiet();
    // Repaired, and asked for.
    (0..2).for_each(|node| drop(pair.run(node, &["rm", "/run/broken"])));
    pair.command(0, "hb_takeover", "local");
    pair.settled("local", "local");
    assert_eq!(running(&pair, "/run/fickle"), [true, false]);
    assert!(!told(0) && !told(1), "the alarm stays");
}
