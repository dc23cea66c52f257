//! Real daemons, real addresses, real ARP, in namespaces.

mod common;

use std::time::Duration;

use ha_core::demo::probe::longest_silence;
use ha_core::demo::world::{HostKind, Way, World, WorldError, SERVICE_ADDRESS};

const PACE: Duration = Duration::from_millis(1);

/// The world itself, with the distribution's Heartbeat 3.0.6: what a crash must do is known there.
#[test]
fn original_pair_moves_the_address_after_a_crash() {
    crash_moves_the_address(HostKind::Original, HostKind::Original);
}

fn crash_moves_the_address(first: HostKind, second: HostKind) {
    const DEAD_TIME_MS: u64 = 400;
    let Some(world) = common::pair(first, second) else { return };
    if let Err(error) = common::start(&world, 50, DEAD_TIME_MS, &["auto_failback off"]) {
        panic!("{error}\n{}", common::logs(&world));
    }
    let probe = world.probe(SERVICE_ADDRESS, PACE).expect("client asks");
    let (first, second) = (&world.hosts()[0], &world.hosts()[1]);
    probe.wait_answer(first, 0, PACE * 100, Duration::from_secs(5)).expect("node1 answers");

    let crashed_us = world.crash("node1").expect("crash");
    let answers = probe
        .wait_answer(second, crashed_us, PACE * 100, Duration::from_secs(20))
        .unwrap_or_else(|error| panic!("{error}\n{}", common::logs(&world)));

    assert_eq!(world.owners(SERVICE_ADDRESS).expect("addresses"), ["node2"]);
    let silence = longest_silence(&answers, crashed_us).expect("a silence");
    assert_eq!((silence.host_before, silence.host_after), (first.index(), second.index()));
    // The last beat left up to one keepalive before the crash.
    let least_us = (DEAD_TIME_MS - 2 * 50) * 1000;
    assert!(silence.length_us() >= least_us, "taken over after {} us only", silence.length_us());
}

/// Cables of the world, as the client sees them; no daemon runs.
#[test]
fn cables_are_cut_one_way_both_ways_and_healed() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    assert_eq!(answering(&world), (true, true));
    world.cut("node1", "eth0").expect("cut");
    assert_eq!(answering(&world), (false, true));
    world.heal("node1", "eth0").expect("heal");
    assert_eq!(answering(&world), (true, true));
    world.cut_silently("node2", "eth0").expect("silent cut");
    assert_eq!(answering(&world), (true, false));
    world.heal("node2", "eth0").expect("heal");
    for way in [Way::From, Way::To] {
        match world.cut_one_way("node1", "eth0", way) {
            Ok(_) => assert_eq!(answering(&world), (false, true), "{way:?}"),
            Err(WorldError::Failed { reason, .. }) => common::skip::skip_without_privilege(&reason),
            Err(error) => panic!("{error}"),
        }
        world.heal("node1", "eth0").expect("heal");
        assert_eq!(answering(&world), (true, true), "{way:?}");
    }
}

/// Files stay through a crash, `/run` and processes do not.
#[test]
fn a_crash_keeps_the_disk_and_nothing_else() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let host = world.host("node1").expect("node1");
    host.write_file("/var/lib/heartbeat/mark", "disk").expect("write");
    host.write_file("/run/mark", "memory").expect("write");
    let pid = host.spawn(&["sleep", "1000"], "/var/log/sleep").expect("spawn");
    assert_eq!(host.ended(pid).expect("state"), None);
    world.crash("node1").expect("crash");
    assert!(matches!(host.run(&["true"]), Err(WorldError::Off(_))));
    world.boot("node1").expect("boot");
    assert_eq!(host.read_file("/var/lib/heartbeat/mark").expect("read"), "disk");
    assert_eq!(host.read_file("/run/mark").expect("read"), "");
    assert!(host.processes().expect("processes").is_empty());
    let name = host.run(&["uname", "-n"]).expect("run");
    assert_eq!((name.code, name.stdout.as_str()), (Some(0), "node1\n"));
    assert_eq!(host.run(&["false"]).expect("run").code, Some(1));
    assert!(matches!(host.run(&["/no/such/program"]), Err(WorldError::Failed { .. })));
}

/// Every applet is found where an installed Heartbeat has its programs.
#[test]
fn our_hosts_have_links_at_the_usual_places() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let host = world.host("node1").expect("node1");
    for path in ["/usr/libexec/heartbeat/heartbeat", "/usr/share/heartbeat/hb_standby", "/usr/bin/cl_status"]
    {
        assert!(host.run(&["test", "-x", path]).expect("run").code == Some(0), "{path}");
    }
}

/// Whether the client gets answers from node1 and node2 within a fifth of a second.
fn answering(world: &World) -> (bool, bool) {
    let ask = |name: &str| {
        let address = world.service_address(name).expect("address");
        let host = world.host(name).expect("host");
        let probe = world.probe(address, PACE).expect("probe");
        probe.wait_answer(host, 0, Duration::ZERO, Duration::from_millis(800)).is_ok()
    };
    (ask("node1"), ask("node2"))
}
