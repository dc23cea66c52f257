//! A serial line in a pair: what comes and does not come over it disturbs nothing else.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::cable::{Cable, TTY};
use crate::common::pairs::{group, Pair};

/// Nonsense at full speed, then a line that nobody reads, then a good one again: the other links, the
/// beats and the resources see nothing of it.
#[test]
fn a_hostile_serial_line_disturbs_nothing() {
    let line = format!("serial {TTY}");
    let Some(pair) = Pair::new(&["auto_failback off", "baud 115200", &line], &[group(0), group(1)]) else {
        return;
    };
    let cable = Cable::between(&pair.world);
    pair.start_both();
    pair.settled("local", "local");
    let tty = |state: &str| {
        pair.wait("the state of the line", || pair.link_state(0, "node2", TTY).0 == state);
        pair.wait("the state of the line", || pair.link_state(1, "node1", TTY).0 == state);
    };
    tty("up");

    pair.mark();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        cable.noise.fetch_add(20_000, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(5));
    }
    pair.logged(0, &["belong to no message (speed? cable? another program?)"]);
    // What was put on the line is still on its way for a while.
    tty("up");
    cable.pulled.store(true, Ordering::Relaxed);
    tty("dead");
    // Longer than a line is waited for, and more than its driver holds.
    thread::sleep(Duration::from_secs(3));
    cable.pulled.store(false, Ordering::Relaxed);
    tty("up");
    for (node, other) in [(0, "node2"), (1, "node1")] {
        assert_eq!(pair.times_logged(node, &format!("Late heartbeat: Node {other}")), 0);
        assert_eq!(pair.times_logged(node, "is dead"), 0);
        assert_eq!(pair.link_state(node, other, "eth0").0, "up");
    }
    assert_eq!(pair.resource_status(0), "local");
    assert_eq!(pair.resource_status(1), "local");
}
