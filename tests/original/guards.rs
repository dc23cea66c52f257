//! Goal: a guard of ours (ha-guards(7)) beside a 3.0.6 peer. When the original dies ours takes over when
//! the guard allows it and only then; when ours dies the original takes over as ever, and ours comes back
//! without a disturbance; the original complains of nothing.
//! Method: our node has the guard, the original's ha.cf knows nothing of it. One story for each guard; one
//! of several at once always, each alone with `HA_LONG=1`.

use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::world::HostKind::{Original, Ours};

use crate::common::pairs::{group, Pair, ADDRESSES, NODES};
use crate::messages::HA_CF;
use crate::pair::{long, pair_with};

const CLIENT: &str = "192.0.2.200";
/// Beyond deadtime and whatever a takeover needs.
const LONG_ENOUGH: Duration = Duration::from_secs(6);
const LEASE: &str = "/var/lib/heartbeat/lease";
/// What opens the programs below.
const MARK: &str = "/var/log/allowed";

/// A third party that has not made up its mind, until the mark is there.
const ARBITER: &str =
    "#!/bin/sh\n[ -e /var/log/allowed ] && exit 0\n[ \"$1\" = release ] && exit 0\nexit 1\n";
/// A switch that does not answer, until the mark is there.
const CUT: &str = "#!/bin/sh\necho \"$1 $2\" >> /var/log/cut-calls\n[ -e /var/log/allowed ]\n";

/// A guard and what happens to it. node1 is ours, node2 the original.
struct Guard {
    /// Of the gate that holds the takeover, as the status calls it.
    gate: &'static str,
    /// Lines of our ha.cf.
    lines: &'static [&'static str],
    /// Lines of both.
    both: &'static [&'static str],
    /// Parts of what ours logs as errors, rightly.
    said: &'static [&'static str],
    /// Before the daemon's start.
    prepare: fn(&Pair),
    /// What makes the guard say no, while both run.
    close: fn(&Pair),
    /// The original is gone.
    dies: fn(&Pair),
    /// What makes the guard say yes; `None`: its time.
    open: Option<fn(&Pair)>,
}

const NOTHING: fn(&Pair) = |_| {};
const POWER_FAILS: fn(&Pair) = |pair| {
    pair.world.crash("node2").expect("crash");
};

const SEVERAL: Guard = Guard {
    gate: "resource fencing",
    lines: &["takeover delay 2", "resource_fence /cut timeout=5", "ask_before_take on wait=500ms then=stay"],
    both: &[],
    said: &["resource fencing of node node2 failed", "ha takeover --confirm"],
    prepare: write_programs,
    close: NOTHING,
    dies: POWER_FAILS,
    open: Some(allow),
};

const ALONE: [Guard; 7] = [
    Guard { lines: &["resource_fence /cut timeout=5"], ..SEVERAL },
    Guard {
        gate: "delay",
        lines: &["takeover manual"],
        open: Some(|pair| drop(pair.run(0, &["/ha", "takeover", "--confirm"]))),
        ..SEVERAL
    },
    Guard { gate: "delay", lines: &["takeover delay 12"], open: None, ..SEVERAL },
    Guard {
        gate: "ping arbitration",
        lines: &["ping_arbitration on"],
        both: &["ping 192.0.2.200", "deadping 2"],
        said: &["this node is cut off and gives up everything"],
        close: |pair| {
            pair.world.cut_silently("node1", "eth0").expect("cut");
            pair.wait("the end of the ping node", || {
                let output = pair.host(0).run(&["cl_status", "nodestatus", CLIENT]).expect("it runs");
                output.stdout.trim() == "dead"
            });
        },
        open: Some(|pair| {
            pair.world.heal("node1", "eth0").expect("heal");
        }),
        ..SEVERAL
    },
    Guard {
        gate: "lease",
        lines: &["lease /var/lib/heartbeat/lease time=10 interval=500ms margin=500ms"],
        said: &[],
        prepare: |pair| drop(pair.run(0, &["/ha", "guard", "lease-init", LEASE, "node1", "node2"])),
        open: None,
        ..SEVERAL
    },
    Guard { gate: "arbiter", lines: &["arbiter /arbiter"], said: &["arbiter: "], ..SEVERAL },
    Guard {
        gate: "address",
        lines: &["ask_before_take on wait=500ms then=stay"],
        said: &[],
        // Its kernel goes on to answer for its address.
        dies: |pair| pair.kill_daemon(1),
        open: Some(POWER_FAILS),
        ..SEVERAL
    },
];

fn write_programs(pair: &Pair) {
    for (path, text) in [("/arbiter", ARBITER), ("/cut", CUT)] {
        pair.host(0).write_file_with_mode(path, text, 0o755).expect("program");
    }
}

fn allow(pair: &Pair) {
    pair.host(0).write_file(MARK, "").expect("mark");
}

#[test]
fn guards_together_beside_an_original() {
    beside_an_original(&SEVERAL);
}

#[test]
fn each_guard_beside_an_original() {
    if long() {
        ALONE.iter().for_each(beside_an_original);
    }
}

fn beside_an_original(guard: &Guard) {
    let lines = [&["auto_failback on"], guard.both].concat();
    let Some(pair) = pair_with([Ours, Original], &lines, &[group(0), group(1)]) else { return };
    let own = [&lines[..], guard.lines].concat();
    pair.host(0).write_file(HA_CF, &pair.ha_cf(&own)).expect("ha.cf");
    pair.allow(guard.said);
    (guard.prepare)(&pair);
    pair.start_both();
    pair.settled("local", "local");
    the_original_dies(&pair, guard);
    pair.world.boot("node2").expect("boot");
    pair.mark();
    pair.start(1);
    pair.settled("local", "local");
    ours_dies(&pair, guard);
}

fn the_original_dies(pair: &Pair, guard: &Guard) {
    pair.mark();
    (guard.close)(pair);
    (guard.dies)(pair);
    let words = format!("the takeover waits ({})", guard.gate);
    pair.wait(&words, || pair.status(0).to_string().contains(&words));
    let has = |home: usize| pair.world.owners(ADDRESSES[home]).expect("owners").contains(&"node1");
    let end = Instant::now() + LONG_ENOUGH;
    while Instant::now() < end {
        assert!(!has(1), "{}: taken, and the guard had not allowed it\n{}", guard.gate, pair.log(0));
        thread::sleep(Duration::from_millis(20));
    }
    if let Some(open) = guard.open {
        let still = pair.status(0).to_string();
        assert!(still.contains(&words), "{}: {still}", guard.gate);
        open(pair);
    }
    pair.settled("all", "");
    pair.logged(0, &["Resources being acquired from node2."]);
}

/// The original knows nothing of the guard, and what comes back changes nothing but what it should.
fn ours_dies(pair: &Pair, guard: &Guard) {
    pair.mark();
    pair.world.crash("node1").expect("crash");
    pair.settled("", "all");
    pair.world.boot("node1").expect("boot");
    pair.mark();
    pair.start(0);
    pair.settled("local", "local");
    for (node, name) in NODES.iter().enumerate() {
        assert_eq!(
            pair.times_logged(node, "restart triggered"),
            0,
            "{}: {name}\n{}",
            guard.gate,
            pair.log(node)
        );
        assert_eq!(pair.times_logged(node, "is dead"), 0, "{}: {name}\n{}", guard.gate, pair.log(node));
    }
}
