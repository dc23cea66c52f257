//! `heartbeat -r` after the program file was replaced.

use std::time::Duration;

use ha_core::demo::host::DAEMON;
use ha_core::demo::probe::{longest_silence, now_us};

use crate::acts::*;
use crate::common::pairs::{Pair, ADDRESSES, DEAD_TIME_MS, NODES, PATIENCE};

/// What of a node must not change.
fn identity(pair: &Pair, node: usize) -> (String, String) {
    let generation = pair.run(node, &["cat", "/var/lib/heartbeat/hb_generation"]);
    (pair.run(node, &["cat", "/var/run/heartbeat.pid"]), generation)
}

/// Puts another file in the daemon's place, as a package manager does.
pub(crate) fn replace(pair: &Pair, node: usize, text: &str) {
    pair.run(node, &["sh", "-c", &format!("{text}; chmod 755 /tmp/new; mv /tmp/new {DAEMON}")]);
}

fn running_file(pair: &Pair, node: usize) -> String {
    pair.run(node, &["sh", "-c", "readlink /proc/$(cat /var/run/heartbeat.pid | tr -d ' ')/exe"])
}

/// Each node in turn goes on with a new file: same process, same generation, the peer has nothing
/// to say, the client misses nothing. Also twice, also with everything on one node.
#[test]
fn a_replaced_program_file_goes_on() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for (round, node) in [0, 1, 0].into_iter().enumerate() {
        let other = 1 - node;
        let before = identity(&pair, node);
        replace(&pair, node, "cp /ha /tmp/new");
        pair.mark();
        let probe = pair.world.probe(ADDRESSES[node], Duration::from_millis(1)).expect("client asks");
        let host = pair.host(node);
        probe.wait_answer(host, 0, Duration::from_millis(20), PATIENCE).expect("an answer");
        let began_us = now_us();
        pair.run(node, &[DAEMON, "-r"]);
        let goes_on =
            format!("info: Going on where the former program ended, generation {}", before.1.trim());
        pair.logged(node, &["info: The new program file goes on in this one's place.", &goes_on]);
        pair.settled("local", "local");
        assert_eq!(identity(&pair, node), before);
        let states = pair.status(node)["report"]["view"]["groups"][node]["resources"][0]["state"].clone();
        assert_eq!(states, "running");
        let answers = probe.answers().expect("answers");
        let silence = longest_silence(&answers, began_us).expect("answers");
        assert_eq!((silence.host_before, silence.host_after), (host.index(), host.index()));
        assert!(silence.length_us() < DEAD_TIME_MS * 1000, "{silence:?}");
        for line in ["Acquiring resource group", "Releasing resource group", "starting", "Local status now"] {
            assert_eq!(pair.times_logged(node, line), 0, "{line}: {}", pair.log(node));
        }
        // What reached a node in the instant of its own exchange is asked for again: the end of that may
        // be logged in the next round, by the node of the round before.
        let own_exchange = format!("info: No pkts missing from {}!", NODES[node]);
        let said = pair.log(other);
        let mut said = said.lines().filter(|line| round == 0 || !line.ends_with(&own_exchange));
        assert_eq!(said.next(), None, "{} has nothing to say", NODES[other]);
        assert_eq!(running_file(&pair, node), format!("{DAEMON}\n"));
    }
    takeover(&pair, 0, 1, "all", "all");
    pair.settled("all", "none");
    let before = identity(&pair, 0);
    replace(&pair, 0, "cp /ha /tmp/new");
    pair.mark();
    pair.run(0, &[DAEMON, "-r"]);
    pair.logged(0, &["info: The new program file goes on in this one's place."]);
    pair.settled("all", "none");
    assert_eq!(identity(&pair, 0), before);
    // It is a working member afterwards.
    handover_home(&pair);
    pair.world.crash("node2").expect("crash");
    pair.logged(0, &["WARN: node node2: is dead"]);
    pair.settled("all", "");
}

fn handover_home(pair: &Pair) {
    pair.command(0, "hb_standby", "foreign");
    pair.settled("local", "local");
}

/// The names of the nodes are in no file and their name server is gone: the new program is used all the same,
/// for it is not to blame.
#[test]
fn a_name_server_that_is_gone_keeps_no_new_program_out() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.host(0).write_file("/etc/resolv.conf", "nameserver 192.0.2.77\n").expect("write");
    pair.host(0).write_file("/etc/hosts", "127.0.0.1 localhost\n").expect("write");
    replace(&pair, 0, "cp /ha /tmp/new");
    pair.run(0, &[DAEMON, "-r"]);
    pair.logged(0, &["info: The new program file goes on in this one's place."]);
    pair.settled("local", "local");
}

/// A file that cannot take over is refused with a text, and what runs goes on. With one that cannot
/// read the state the groups stay, and the generation is a new one.
#[test]
fn a_bad_program_file_is_refused() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    let before = identity(&pair, 0);
    let cases = [
        ("printf '\\177ELFjunk' > /tmp/new", "--version: "),
        ("printf '#!/bin/sh\\nexit 1\\n' > /tmp/new", "it ended with exit status: 1"),
        ("printf '#!/bin/sh\\nkill -9 $$\\n' > /tmp/new", "signal: 9"),
        ("printf '#!/bin/sh\\necho hello\\n' > /tmp/new", "is another program"),
    ];
    for (text, part) in cases {
        replace(&pair, 0, text);
        pair.mark();
        pair.allow(&["the new program file is not used"]);
        pair.run(0, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"]);
        let refused = || {
            let log = pair.log(0);
            log.lines().any(|line| {
                line.contains(part)
                    && line.contains("ERROR: the new program file is not used: ")
                    && line.ends_with(": what runs goes on unchanged")
            })
        };
        pair.wait(part, refused);
        assert_eq!(identity(&pair, 0), before);
    }
    pair.settled("local", "local");
    assert_eq!(pair.times_logged(1, "node1"), 0, "{}", pair.log(1));

    // One that cannot read the state: it starts as after a quick restart, the groups stay.
    let script =
        "#!/bin/sh\ncase $1 in --version|check) exec /ha \"$@\";; -V) exec /ha heartbeat -V;; esac\n\
                  echo of another version > /proc/self/fd/${HA_HANDOFF%% *}\nexec /ha heartbeat \"$@\"\n";
    pair.host(0).write_file("/tmp/new", script).expect("write");
    replace(&pair, 0, "true");
    pair.mark();
    let probe = pair.world.probe(ADDRESSES[0], Duration::from_millis(1)).expect("client asks");
    let host = pair.host(0);
    probe.wait_answer(host, 0, Duration::from_millis(20), PATIENCE).expect("an answer");
    let began_us = now_us();
    pair.run(0, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"]);
    let told = "WARN: What the former program knew is not used: it is of another version. Its resources stay";
    pair.logged(0, &[told, "info: Local status now set to: 'active'"]);
    pair.logged(1, &["info: Heartbeat restart on node node1"]);
    pair.settled("local", "local");
    let after = identity(&pair, 0);
    assert_eq!(after.0, before.0);
    assert_ne!(after.1, before.1);
    let answers = probe.answers().expect("answers");
    let silence = longest_silence(&answers, began_us).expect("answers");
    assert_eq!((silence.host_before, silence.host_after), (host.index(), host.index()));
    assert!(silence.length_us() < DEAD_TIME_MS * 1000, "{silence:?}");
}
