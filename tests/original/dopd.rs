//! dopd and drbd-peer-outdater of either kind on either side. drbdadm is a double that notes its words and
//! ends with the exit code in a file.

use std::time::Duration;

use ha_core::demo::world::HostKind;

use crate::common::pairs::{Pair, NODES};
use crate::pair::{pair, MIXED};

const THEIRS: [&str; 2] = ["/usr/libexec/heartbeat/dopd", "/usr/libexec/heartbeat/drbd-peer-outdater"];
const OURS: [&str; 2] = ["/ha dopd", "/ha drbd-peer-outdater"];
const FOLDER: &str = "/etc/ha.d/drbd";

fn programs(kind: HostKind) -> [&'static str; 2] {
    if kind == HostKind::Original {
        THEIRS
    } else {
        OURS
    }
}

/// Both nodes with their dopd.
fn started(kinds: [HostKind; 2]) -> Option<Pair> {
    let pair = pair(kinds, &[])?;
    for (node, kind) in kinds.into_iter().enumerate() {
        let host = pair.host(node);
        let script = format!("{FOLDER}/dopd");
        let lines = [
            format!("respawn root {script}"),
            "apiauth dopd uid=root".to_owned(),
            "auto_failback off".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        host.write_file("/etc/ha.d/ha.cf", &pair.ha_cf(&lines)).expect("ha.cf");
        let text = format!("#!/bin/sh\nPATH={FOLDER}:$PATH exec {}\n", programs(kind)[0]);
        host.write_file_with_mode(&script, &text, 0o755).expect("dopd");
        let double = format!("#!/bin/sh\necho \"$*\" >>{FOLDER}/calls\nexit $(cat {FOLDER}/code)\n");
        host.write_file_with_mode(&format!("{FOLDER}/drbdadm"), &double, 0o755).expect("drbdadm");
        host.write_file(&format!("{FOLDER}/code"), "0\n").expect("code");
    }
    pair.start_both();
    pair.settled("local", "local");
    for (node, on) in NODES.iter().enumerate() {
        for of in NODES {
            let words = ["cl_status", "clientstatus", of, "dopd", "2000"];
            pair.wait(&format!("dopd of {of} seen by {on}"), || {
                pair.host(node).run(&words).is_ok_and(|output| output.stdout.trim_end() == "online")
            });
        }
    }
    Some(pair)
}

/// What DRBD on the node gets for an answer.
fn ask(pair: &Pair, kind: HostKind, node: usize, peer: &str) -> i32 {
    let call = format!("{} -p {peer} -r r0 -t 20", programs(kind)[1]);
    pair.host(node).run(&["/bin/sh", "-c", &call]).expect("it runs").code.unwrap_or(-1)
}

fn answers(kinds: [HostKind; 2]) {
    let Some(pair) = started(kinds) else { return };
    pair.allow(&["drbd peer"]);
    for (asking, asked) in [(0, 1), (1, 0)] {
        let host = pair.host(asked);
        // Debian's dopd dies (SIGSEGV) when its first helper hangs up: it is asked once.
        let original = kinds[asking] == HostKind::Original;
        let answers: &[(u8, i32)] = if original { &[(0, 4)] } else { &[(0, 4), (5, 3), (17, 6), (1, 20)] };
        for (code, answer) in answers {
            host.write_file(&format!("{FOLDER}/code"), &format!("{code}\n")).expect("code");
            assert_eq!(
                ask(&pair, kinds[asking], asking, NODES[asked]),
                *answer,
                "{code} on {}",
                NODES[asked]
            );
        }
        if kinds[asking] == HostKind::Ours && kinds.contains(&HostKind::Original) {
            // Debian's helper asks our dopd.
            let call = format!("/.machine{} -p {} -r r1 -t 20", THEIRS[1], NODES[asked]);
            let output = pair.host(asking).run(&["/bin/sh", "-c", &call]).expect("it runs");
            assert_eq!(output.code, Some(20), "{output:?}");
        }
        let calls = host.run(&["cat", &format!("{FOLDER}/calls")]).expect("calls").stdout;
        assert_eq!(calls.lines().filter(|call| *call == "outdate r0").count(), answers.len(), "{calls}");
        if original {
            continue;
        }
        assert_eq!(ask(&pair, kinds[asking], asking, NODES[asking]), 5);
        assert_eq!(ask(&pair, kinds[asking], asking, "nobody"), 5);
    }
}

#[test]
fn volumes_are_outdated_in_a_mixed_pair() {
    answers(MIXED[0]);
}

#[test]
fn volumes_are_outdated_in_a_pair_of_ours() {
    answers([HostKind::Ours; 2]);
}

/// DRBD of the node that is asked has not noticed yet that its link is gone: `drbdadm outdate` ends well
/// and does nothing, as it was seen with DRBD 8.4. "Outdated" is answered when it is so.
#[test]
fn a_link_that_is_lost_later_on_the_other_node_is_waited_for() {
    let Some(pair) = started([HostKind::Ours; 2]) else { return };
    let double = format!(
        "#!/bin/sh\ncd {FOLDER} && echo \"$*\" >>calls\n[ $1 = dstate ] || exit 0\n\
         [ $(grep -c outdate calls) -lt 4 ] && echo UpToDate/UpToDate || echo Outdated/DUnknown\n"
    );
    let host = pair.host(1);
    host.write_file_with_mode(&format!("{FOLDER}/drbdadm"), &double, 0o755).expect("drbdadm");
    assert_eq!(ask(&pair, HostKind::Ours, 0, NODES[1]), 4);
    let calls = host.run(&["cat", &format!("{FOLDER}/calls")]).expect("calls").stdout;
    assert_eq!(calls.matches("outdate r0\ndstate r0\n").count(), 4, "{calls}");
    assert_eq!(calls.lines().count(), 8, "{calls}");
}

/// A peer that is gone is not waited for.
#[test]
fn a_dead_peer_is_told_at_once() {
    let Some(pair) = started([HostKind::Ours; 2]) else { return };
    pair.allow(&["drbd peer", "Cluster node: ", "node2"]);
    pair.kill_daemon(1);
    pair.wait("node2 dead", || {
        let words = ["cl_status", "nodestatus", NODES[1]];
        pair.host(0).run(&words).is_ok_and(|output| output.stdout.trim_end() == "dead")
    });
    let start = std::time::Instant::now();
    assert_eq!(ask(&pair, HostKind::Ours, 0, NODES[1]), 5);
    assert!(start.elapsed() < Duration::from_secs(15));
}
