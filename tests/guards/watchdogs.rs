//! Goal: with `watchdog software` and `watchdog_wait` a node whose daemon hangs has lost its address, by its
//! kernel or with it, before the other one takes it; and without the wait it has not.
//! Method: SIGSTOP for the daemon alone, not for the guard process. Reset is that of the host's namespaces;
//! where that is not allowed, the guard stops what the daemon ran.

use std::time::{Duration, Instant};

use ha_core::demo::host::{DAEMON, DAEMON_OUTPUT, LOG};
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

use crate::common;

const LIMIT: Duration = Duration::from_secs(60);
/// Rounded up to seconds this is the watchdog's time.
const DEAD_TIME_MS: u64 = 1050;
const WATCHDOG_MS: u64 = 2000;
/// Where nothing can be reset, what is stopped has to be stopped within the margin.
const KEEPALIVE_MS: u64 = 300;
const MARGIN_MS: u64 = 1000 + 2 * KEEPALIVE_MS;

/// node1 with the address; `prefix` is put before the daemon's command.
fn pair(more: &[&str], prefix: &[&str]) -> Option<World> {
    let world = common::pair(HostKind::Ours, HostKind::Ours)?;
    let more: Vec<&str> = ["auto_failback off", "watchdog software"].iter().chain(more).copied().collect();
    let ha_cf = world.ha_cf(KEEPALIVE_MS, DEAD_TIME_MS, &more);
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n")).expect("configure");
    for host in world.hosts() {
        let argv: Vec<&str> = prefix.iter().copied().chain([DAEMON, "-f"]).collect();
        host.spawn(&argv, DAEMON_OUTPUT).expect("daemon");
    }
    common::wait_for(&world, "a settled pair", LIMIT, || {
        common::is_settled(&world) && has(&world, "node1") && !has(&world, "node2")
    });
    Some(world)
}

/// The address is on a host that still is one.
fn has(world: &World, name: &str) -> bool {
    let host = world.host(name).expect("host");
    host.addresses().is_ok_and(|addresses| addresses.contains(&SERVICE_ADDRESS))
}

/// Looked at so that a move between two looks is none.
fn two_have_it(world: &World) -> bool {
    has(world, "node2") && has(world, "node1") && has(world, "node2")
}

fn log(world: &World, name: &str) -> String {
    world.host(name).expect("host").read_file(LOG).unwrap_or_default()
}

fn signal_daemon(world: &World, signal: &str) {
    let pid = common::daemon_of(world, "node1").expect("daemon").pid.to_string();
    assert_eq!(world.hosts()[0].run(&["kill", signal, &pid]).expect("kill").code, Some(0));
}

/// Until the condition holds, with never two owners; how long that took.
fn never_two_until(world: &World, what: &str, condition: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !condition() {
        assert!(!two_have_it(world), "two owners while {what}\n{}", common::logs(world));
        assert!(began.elapsed() < LIMIT, "{what}\n{}", common::logs(world));
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}

/// It is taken, but not before the watchdog had its time and the margin after the last beat.
fn taken_in_its_time(world: &World) {
    let took = never_two_until(world, "node1's daemon hangs", || has(world, "node2"));
    let least = Duration::from_millis(WATCHDOG_MS + MARGIN_MS - 2 * KEEPALIVE_MS);
    assert!(took >= least, "taken after {took:?}\n{}", common::logs(world));
    println!("taken {took:?} after the daemon stopped");
    never_two_until(world, "the pair rests", || {
        common::status(world, "node2")["report"]["view"]["holding"] == "all"
    });
}

#[test]
fn a_hung_daemon_is_reset_before_its_address_is_taken() {
    let Some(world) = pair(&["watchdog_wait on"], &[]) else { return };
    let guards = common::status(&world, "node2")["report"]["view"]["guards"].to_string();
    assert!(guards.contains("waits for the other node's watchdog"), "{guards}");
    // It goes on in time: dead for the other one, which waits, and nothing is reset or taken.
    signal_daemon(&world, "-STOP");
    let waits = format!("the watchdog of node node1 gets its {WATCHDOG_MS} ms and {MARGIN_MS} ms more");
    never_two_until(&world, "node2 waits", || log(&world, "node2").contains(&waits));
    signal_daemon(&world, "-CONT");
    never_two_until(&world, "node1 is heard again", || {
        log(&world, "node2").contains("Resource takeover cancelled - node node1 is heard again.")
            && common::is_settled(&world)
    });
    assert!(has(&world, "node1"), "it keeps what it had\n{}", common::logs(&world));
    // It does not.
    signal_daemon(&world, "-STOP");
    taken_in_its_time(&world);
    let node1 = world.host("node1").expect("host");
    if node1.addresses().is_ok() {
        let said = log(&world, "node1");
        assert!(said.contains("this machine cannot be reset"), "neither reset nor told\n{said}");
    }
    // The host comes back as one that was reset.
    world.crash("node1").expect("power");
    world.boot("node1").expect("boot");
    node1.start_daemon().expect("daemon");
    never_two_until(&world, "node1 is a member again", || common::is_settled(&world));
    assert!(has(&world, "node2"));
}

#[test]
fn where_no_reset_is_allowed_everything_is_stopped_before_it_is_taken() {
    let prefix = ["setpriv", "--bounding-set=-sys_boot", "--inh-caps=-sys_boot"];
    let Some(world) = pair(&["watchdog_wait on"], &prefix) else { return };
    signal_daemon(&world, "-STOP");
    taken_in_its_time(&world);
    let said = log(&world, "node1");
    assert!(said.contains("this machine cannot be reset (EPERM"), "{said}");
    assert!(said.contains("hung and was killed"), "{said}");
    assert!(!has(&world, "node1"));
}

/// What the wait is good for: the world above would show its loss.
#[test]
fn without_the_wait_both_have_it() {
    let Some(world) = pair(&[], &[]) else { return };
    signal_daemon(&world, "-STOP");
    let end = Instant::now() + LIMIT;
    while !two_have_it(&world) {
        assert!(Instant::now() < end, "a watchdog alone was enough\n{}", common::logs(&world));
    }
}
