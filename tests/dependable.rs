//! Short beats on a busy machine: realtime priority, locked memory, and quiet for as long as one
//! likes (15 s; 60 s with `HA_LONG=1`).

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use ha_core::demo::host::{Host, LOG};
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

const LIMIT: Duration = Duration::from_secs(30);
const SCHED_OTHER: u64 = 0;
const SCHED_RR: u64 = 2;
/// SCHED_RESET_ON_FORK may be shown with the policy.
const POLICY_MASK: u64 = 0xff;
/// Locked memory of the daemon. An unoptimised build is larger: the program file itself is locked.
const RESIDENT_MAX_KB: u64 = if cfg!(debug_assertions) { 24 * 1024 } else { 8 * 1024 };

/// What of it is no part of the program file (Linux 4.5); the same in any build.
const OWN_MAX_KB: u64 = 4 * 1024;

/// What the child of a resource script is, seen by itself.
const CHILD: &str = "#!/bin/sh
[ \"$1\" = start ] && { cat /proc/self/stat > /var/log/child-stat; cat /proc/self/status > /var/log/child-status; \
                     touch /run/there; }
[ \"$1\" = stop ] && rm -f /run/there
[ \"$1\" = status ] && { [ -e /run/there ] && echo running || echo stopped; }
exit 0
";

#[test]
fn the_daemon_has_realtime_priority_and_locked_memory_and_its_children_have_not() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let host = &world.hosts()[0];
    host.write_file_with_mode("/etc/ha.d/resource.d/child", CHILD, 0o755).expect("script");
    configure_and_start(&world, &world.ha_cf(100, 1000, &["auto_failback off"]), "node1 child\n");
    let daemon = common::daemon_of(&world, "node1").expect("daemon");
    println!("{} KiB resident", daemon.resident_kb);
    assert!(daemon.resident_kb < RESIDENT_MAX_KB, "{daemon:?}");
    let status = host.read_file(&format!("/proc/{}/status", daemon.pid)).expect("status");
    assert!(kb(&status, "RssAnon:").is_none_or(|own| own < OWN_MAX_KB), "{status}");
    common::wait_for(&world, "the script ran", LIMIT, || {
        !host.read_file("/var/log/child-status").expect("read").is_empty()
    });
    let child = scheduling(&host.read_file("/var/log/child-stat").expect("read"));
    assert_eq!(child, (0, SCHED_OTHER), "a script");
    assert_eq!(locked_kb(&host.read_file("/var/log/child-status").expect("read")), 0);

    let log = host.read_file(LOG).expect("log");
    for refused in ["Unable to set realtime", "Cannot lock ourselves into memory"] {
        if let Some(line) = log.lines().find(|line| line.contains(refused)) {
            return common::skip::skip_without_privilege(line);
        }
    }
    let stat = host.read_file(&format!("/proc/{}/stat", daemon.pid)).expect("stat");
    assert_eq!(scheduling(&stat), (1, SCHED_RR), "the daemon: {stat}");
    let status = host.read_file(&format!("/proc/{}/status", daemon.pid)).expect("status");
    assert!(locked_kb(&status) > 1024, "{status}");
}

#[test]
fn rtprio_and_realtime_are_obeyed() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    for (line, expected) in [("rtprio 42", (42, SCHED_RR)), ("realtime off", (0, SCHED_OTHER))] {
        configure_and_start(
            &world,
            &world.ha_cf(100, 1000, &["auto_failback off", line]),
            "node1 192.0.2.100\n",
        );
        let host = &world.hosts()[0];
        let daemon = common::daemon_of(&world, "node1").expect("daemon");
        let log = host.read_file(LOG).expect("log");
        if let Some(line) = log.lines().find(|line| line.contains("Unable to set realtime")) {
            return common::skip::skip_without_privilege(line);
        }
        let stat = host.read_file(&format!("/proc/{}/stat", daemon.pid)).expect("stat");
        assert_eq!(scheduling(&stat), expected, "{line}");
        let said = format!("Request to set pid {} to realtime ignored.", daemon.pid);
        assert_eq!(log.contains(&said), line == "realtime off", "{log}");
        for host in world.hosts() {
            assert_eq!(host.stop_daemon().expect("stop").code, Some(0));
        }
    }
}

#[test]
fn a_pair_with_10_ms_keepalive_is_quiet_on_a_busy_machine() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let ha_cf = world.ha_cf(10, 40, &["auto_failback off"]).replace("initdead 80ms", "initdead 2000ms");
    assert!(ha_cf.contains("initdead 2000ms"), "{ha_cf}");
    configure_and_start(&world, &ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n"));
    world.wait_owner(SERVICE_ADDRESS, "node1", LIMIT).unwrap_or_else(|error| panic!("{error}"));
    let before: Vec<usize> = world.hosts().iter().map(|host| lines(host).len()).collect();
    if lines(&world.hosts()[0]).iter().any(|line| line.contains("Unable to set realtime")) {
        return common::skip::skip_without_privilege("no realtime priority");
    }
    let long = std::env::var("HA_LONG").is_ok_and(|value| value == "1");
    busy_for(Duration::from_secs(if long { 60 } else { 15 }));
    for (host, before) in world.hosts().iter().zip(before) {
        let said = lines(host).split_off(before);
        println!("{}: {} lines", host.name(), said.len());
        for line in &said {
            println!("{line}");
            for omen in [
                "is dead",
                "(> deadtime)",
                "Link ",
                "Status update",
                "returning after partition",
                "lost packet",
            ] {
                assert!(!line.contains(omen), "{}", said.join("\n"));
            }
        }
    }
    assert!(common::is_settled(&world), "{}", common::logs(&world));
    assert_eq!(world.owners(SERVICE_ADDRESS).expect("owners"), ["node1"]);
}

/// Keeps every core busy with ordinary priority.
fn busy_for(time: Duration) {
    let end = Arc::new(AtomicBool::new(false));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let loops: Vec<_> = (0..cores)
        .map(|_| {
            let end = Arc::clone(&end);
            std::thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    std::thread::sleep(time);
    end.store(true, Ordering::Relaxed);
    for one in loops {
        one.join().expect("a busy loop");
    }
}

fn configure_and_start(world: &World, ha_cf: &str, haresources: &str) {
    world.configure(ha_cf, haresources).expect("configuration");
    for host in world.hosts() {
        host.start_daemon().expect("daemon");
    }
    common::wait_for(world, "start of the pair", LIMIT, || common::is_settled(world));
}

fn lines(host: &Host) -> Vec<String> {
    host.read_file(LOG).expect("log").lines().map(str::to_owned).collect()
}

/// Realtime priority and policy: fields 40 and 41 of /proc/PID/stat (proc(5)).
fn scheduling(stat: &str) -> (u64, u64) {
    let behind_name = stat.rsplit_once(')').expect("a name").1;
    let field =
        |number: usize| behind_name.split_whitespace().nth(number - 3).and_then(|text| text.parse().ok());
    let policy: u64 = field(41).expect("policy");
    (field(40).expect("priority"), policy & POLICY_MASK)
}

fn locked_kb(status: &str) -> u64 {
    kb(status, "VmLck:").expect("VmLck")
}

fn kb(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().trim_end_matches("kB").trim().parse().expect("a number"))
}
