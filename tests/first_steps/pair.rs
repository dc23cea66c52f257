//! From nothing to a pair that fails over: install, init, the other node, start, crash, removal.

use std::time::Duration;

use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

use crate::common::{logs, pair};

const LIMIT: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_secs(30);

fn run(world: &World, node: &str, words: &[&str], input: &str) -> String {
    let output = world.host(node).expect("host").run_with_input(words, input, SHORT).expect("it runs");
    assert_eq!(output.code, Some(0), "{words:?} on {node}: {}{}", output.stdout, output.stderr);
    output.stdout
}

/// Both get the same files; the address comes up on the first, and on the second when that one dies.
fn fails_over(world: &World, start: impl Fn(&World, &str)) {
    let parcel = run(world, "node1", &["sh", "-c", "/ha init --send | cat"], "");
    run(world, "node2", &["/ha", "init", "--receive"], &parcel);
    for node in ["node1", "node2"] {
        let checked = world.host(node).expect("host").run(&["/ha", "check"]).expect("check");
        assert!(checked.code.is_some_and(|code| code < 2), "{}", checked.stdout);
        start(world, node);
    }
    let owned = |name: &str| {
        if let Err(error) = world.wait_owner(SERVICE_ADDRESS, name, LIMIT) {
            panic!("{error}\n{}", logs(world));
        }
    };
    owned("node1");
    world.crash("node1").expect("crash");
    owned("node2");
}

#[test]
fn answers_make_a_pair_that_fails_over() {
    let Some(world) = pair(HostKind::Ours, HostKind::Ours) else { return };
    let answers = format!("\nnode2\nbcast eth0\nbcast eth1\n\n{SERVICE_ADDRESS}/24/eth0\n\n\nyes\n");
    let said =
        run(&world, "node1", &["/ha", "init", "--keepalive", "100ms", "--deadtime", "1500ms"], &answers);
    assert!(said.contains("ha init --send | ssh root@node2 ha init --receive"), "{said}");
    let mode = run(&world, "node1", &["stat", "-c", "%a", "/etc/ha.d/authkeys"], "");
    assert_eq!(mode, "600\n");
    fails_over(&world, |world, node| world.host(node).expect("host").start_daemon().expect("start"));
}

#[test]
fn an_installation_by_hand_serves_and_goes_without_a_trace() {
    let Some(world) = pair(HostKind::Ours, HostKind::Ours) else { return };
    const FIND: [&str; 3] = ["sh", "-c", "find /etc/ha.d /var/lib/heartbeat /run /tmp 2>/dev/null | sort"];
    let before = run(&world, "node2", &FIND, "");
    let prefix = "/tmp/heartbeat";
    for node in ["node1", "node2"] {
        let words = ["/ha", "install", "--prefix", prefix, "--service", "none", "--no-account"];
        run(&world, node, &words, "");
    }
    let address = format!("{SERVICE_ADDRESS}/24/eth0");
    let words = [
        "/tmp/heartbeat/sbin/ha",
        "init",
        "--batch",
        "--node",
        "node1",
        "--node",
        "node2",
        "--link",
        "bcast eth1",
        "--link",
        "ucast eth0 192.0.2.1 192.0.2.2",
        "--address",
        &address,
        "--keepalive",
        "100ms",
        "--deadtime",
        "1500ms",
    ];
    run(&world, "node1", &words, "");
    fails_over(&world, |world, node| {
        world
            .host(node)
            .expect("host")
            .spawn(&["/tmp/heartbeat/sbin/heartbeat"], "/var/log/daemon-output")
            .expect("start");
    });
    let host = world.host("node2").expect("host");
    let refused = host.run(&["/tmp/heartbeat/sbin/ha", "uninstall"]).expect("uninstall");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("heartbeat is running"), "{refused:?}");
    run(&world, "node2", &["/tmp/heartbeat/sbin/heartbeat", "-k"], "");
    run(&world, "node2", &["/tmp/heartbeat/sbin/ha", "uninstall"], "");
    run(&world, "node2", &["sh", "-c", "rm /etc/ha.d/ha.cf /etc/ha.d/authkeys /etc/ha.d/haresources"], "");
    let left = run(&world, "node2", &FIND, "");
    let new: Vec<&str> = left.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    assert!(new.is_empty(), "{new:?}");
}
