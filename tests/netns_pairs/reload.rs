//! SIGHUP.

use std::net::Ipv4Addr;
use std::time::Duration;

use ha_core::demo::probe::{longest_silence, now_us};

use crate::acts::*;
use crate::common::pairs::{group, Pair, ADDRESSES, DEAD_TIME_MS, NODES, PATIENCE};

/// A word more in haresources on both nodes: it is started, what ran runs on, and the nodes agree again.
#[test]
fn reload_with_a_changed_haresources() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.allow(&["haresources differs"]);
    let more = Ipv4Addr::new(192, 0, 2, 150);
    let text = format!("{} IPaddr2::{more}/24/eth0\n{}\n", group(0), group(1));
    let probe = pair.world.probe(ADDRESSES[0], Duration::from_millis(1)).expect("client asks");
    probe.wait_answer(pair.host(0), 0, Duration::from_millis(20), PATIENCE).expect("an answer");
    let began_us = now_us();
    for node in [0, 1] {
        pair.mark();
        pair.host(node).write_file("/etc/ha.d/haresources", &text).expect("write");
        pair.run(node, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
        pair.logged(node, &["info: Local status now set to: 'active'"]);
        pair.settled("local", "local");
    }
    pair.world.wait_owner(more, NODES[0], PATIENCE).expect("the new address");
    let silence = longest_silence(&probe.answers().expect("answers"), began_us).expect("answers");
    assert!(silence.length_us() < DEAD_TIME_MS * 1000, "{silence:?}");
    pair.wait("both have the same file", || {
        [0, 1]
            .iter()
            .all(|node| !pair.run(*node, &["/ha", "status", "--json"]).contains("haresources differs"))
    });
    // A file with an error changes nothing.
    pair.mark();
    pair.allow(&["what runs goes on unchanged"]);
    pair.host(0).write_file("/etc/ha.d/haresources", "node1\nnobody IPaddr2::192.0.2.9\n").expect("write");
    pair.run(0, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"]);
    pair.logged(0, &["what runs goes on unchanged"]);
    assert_eq!(pair.times_logged(0, "Performing heartbeat restart exec."), 0);
    pair.settled("local", "local");
}

/// Ends only when it is killed.
const STUBBORN: &str = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n";

/// A changed ha.cf: a new life of the daemon, the addresses stay, nobody dies.
#[test]
fn reload_with_a_changed_ha_cf() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    for node in [0, 1] {
        pair.mark();
        let other = 1 - node;
        let changed = pair.ha_cf(&["auto_failback on", "debug 1"]);
        pair.host(node).write_file("/etc/ha.d/ha.cf", &changed).expect("write");
        let probe = pair.world.probe(ADDRESSES[node], Duration::from_millis(1)).expect("client asks");
        let host = pair.host(node);
        probe.wait_answer(host, 0, Duration::from_millis(20), PATIENCE).expect("an answer");
        let began_us = now_us();
        pair.run(node, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
        pair.logged(
            node,
            &[
                "info: Heartbeat restart triggered.",
                "info: Restarting heartbeat.",
                "info: Performing heartbeat restart exec.",
                "info: Local status now set to: 'active'",
            ],
        );
        pair.logged(other, &[&format!("info: Heartbeat restart on node {}", NODES[node])]);
        pair.settled("local", "local");
        let answers = probe.answers().expect("answers");
        let silence = longest_silence(&answers, began_us).expect("answers");
        assert_eq!((silence.host_before, silence.host_after), (host.index(), host.index()));
        assert!(silence.length_us() < DEAD_TIME_MS * 1000, "{silence:?}");
        for one in 0..2 {
            for line in ["is dead", "Releasing resource group", "wants to go standby"] {
                assert_eq!(pair.times_logged(one, line), 0, "{line}: {}", pair.log(one));
            }
        }
        assert_eq!(pair.run(node, &["cl_status", "hbparameter", "-p", "debug"]), "1\n");
    }
    // Everything on one node, so that the resumed set is not just its own.
    takeover(&pair, 0, 1, "all", "all");
    pair.settled("all", "none");
    pair.mark();
    let changed = pair.ha_cf(&["auto_failback on", "debug 0"]);
    pair.host(0).write_file("/etc/ha.d/ha.cf", &changed).expect("write");
    pair.run(0, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
    pair.logged(0, &["info: Local status now set to: 'active'"]);
    pair.logged(1, &["info: Heartbeat restart on node node1"]);
    pair.settled("all", "none");
    for line in ["is dead", "Releasing resource group"] {
        assert_eq!(pair.times_logged(0, line) + pair.times_logged(1, line), 0, "{line}: {}", pair.log(0));
    }
}

/// Keys change on one node after the other without a lost beat; bad files change nothing.
#[test]
fn reload_with_other_files() {
    let Some(pair) = Pair::running(&["auto_failback on"]) else { return };
    pair.mark();
    let dropped = || [0, 1].map(|node| pair.status(node)["report"]["view"]["dropped_packets"].clone());
    let dropped_before = dropped();
    let reload = |node: usize| pair.run(node, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"]);
    reload(0);
    pair.logged(0, &["info: Configuration unchanged."]);
    let both = "1 sha1 demonstration\n2 sha1 another\n";
    for text in [format!("auth 1\n{both}"), format!("auth 2\n{both}"), "auth 2\n2 sha1 another\n".to_owned()]
    {
        for node in 0..2 {
            let host = pair.host(node);
            host.write_file_with_mode("/etc/ha.d/authkeys", &text, 0o600).expect("write");
            let before = pair.times_logged(node, "info: Rereading authentication file.");
            reload(node);
            pair.wait("new keys", || {
                pair.times_logged(node, "info: Rereading authentication file.") > before
            });
        }
    }
    // A file with an error is named, and what runs goes on.
    pair.allow(&["/etc/ha.d/authkeys", "/etc/ha.d/ha.cf", "what runs goes on unchanged"]);
    pair.host(0).write_file_with_mode("/etc/ha.d/authkeys", "auth 7\n", 0o600).expect("write");
    reload(0);
    pair.logged(0, &["what runs goes on unchanged"]);
    pair.settled("local", "local");
    for node in 0..2 {
        for line in ["is dead", "Releasing resource group", "lost packet", "failed authentication"] {
            assert_eq!(pair.times_logged(node, line), 0, "{line}: {}", pair.log(node));
        }
    }
    assert_eq!(dropped(), dropped_before);
}

/// A program beside the daemon that does not end: it is killed in the end, and until then the beats go
/// on, the peer takes nothing, the watchdog is fed.
#[test]
fn reload_with_a_stubborn_program() {
    let lines = ["auto_failback on", "respawn root /etc/ha.d/stubborn", "watchdog /var/log/watchdog"];
    let Some(pair) = Pair::new(&lines, &[group(0), group(1)]) else { return };
    for node in 0..2 {
        pair.host(node).write_file_with_mode("/etc/ha.d/stubborn", STUBBORN, 0o755).expect("program");
        pair.host(node).write_file("/var/log/watchdog", "").expect("file");
    }
    pair.allow(&["WDIOC_SETTIMEOUT: Failed to set watchdog timer to"]);
    pair.start_both();
    pair.settled("local", "local");
    pair.logged(0, &["info: Starting child client \"/etc/ha.d/stubborn\" (0,0)"]);
    let changed = pair.ha_cf(&[&lines[..], &["debug 1"]].concat());
    pair.host(0).write_file("/etc/ha.d/ha.cf", &changed).expect("write");
    pair.mark();
    pair.run(0, &["/usr/libexec/heartbeat/heartbeat", "-r"]);
    pair.wait("the end of the program to begin", || pair.times_logged(0, "with signal 15") > 0);
    let fed = || pair.host(0).read_file("/var/log/watchdog").expect("file");
    let before = fed().len();
    pair.wait("beats meanwhile", || fed().len() > before + 20);
    assert_eq!(pair.times_logged(0, "Performing heartbeat restart exec."), 0, "{}", pair.log(0));
    assert!(!fed().contains('V'));
    pair.wait("the program's end", || pair.times_logged(0, "does not end: it is killed") > 0);
    pair.logged(0, &["info: Performing heartbeat restart exec.", "info: Local status now set to: 'active'"]);
    pair.settled("local", "local");
    for line in ["is dead", "Acquiring resource group", "Releasing resource group"] {
        assert_eq!(pair.times_logged(1, line), 0, "{line}: {}", pair.log(1));
    }
}
