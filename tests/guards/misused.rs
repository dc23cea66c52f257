//! Goal: a guard that does not work as it should is seen, and does no harm: no watchdog behind a lease,
//! damaged words on its disk, an arbiter's program that floods, hangs, leaves children behind or is missing.
//! Method: real daemons in namespaces, as in `pairs`.

use std::time::Duration;

use ha_core::demo::host::LOG;
use ha_core::demo::world::World;

use crate::common;
use crate::pairs::{cut, guard_of, heal, never_two, pair, shared, LIMIT};

fn log(world: &World, host: usize) -> String {
    world.hosts()[host].read_file(LOG).unwrap_or_default()
}

#[test]
fn a_lease_without_its_watchdog_says_so_and_bears_damage() {
    let folder = shared();
    let file = folder.path().join("lease");
    let path = file.to_str().expect("text");
    let lines = [
        format!("lease {path} time=6 interval=300ms margin=300ms"),
        "watchdog /no/watchdog".to_owned(),
        "alarm /pager".to_owned(),
    ];
    let pager = "#!/bin/sh\necho \"$HA_ALARM_KIND $HA_ALARM_STATE $HA_ALARM_SUBJECT\" >>/paged\n";
    let prepare = |world: &World| {
        let made = world.hosts()[0].run(&["/ha", "guard", "lease-init", path, "node1", "node2"]);
        assert_eq!(made.expect("ha guard").code, Some(0));
        for host in world.hosts() {
            host.write_file_with_mode("/pager", pager, 0o755).expect("pager");
        }
    };
    let Some(world) = pair(folder.path(), &lines, prepare) else { return };
    for (host, name) in ["node1", "node2"].into_iter().enumerate() {
        let guard = guard_of(&world, name);
        assert!(guard.contains("lease: held") && guard.contains("without a watchdog"), "{guard}");
        let attention = common::status(&world, name)["attention"].to_string();
        assert!(attention.contains("the watchdog of this node does not work"), "{attention}");
        assert!(log(&world, host).contains("Cannot open watchdog device: /no/watchdog"));
        let paged = || world.hosts()[host].read_file("/paged").unwrap_or_default();
        common::wait_for(&world, "an alarm", LIMIT, || {
            paged().contains(&format!("watchdog-failed once {name}\n"))
        });
        let printed = world.hosts()[host].run(&["/ha", "status"]).expect("ha status");
        assert!(printed.stdout.contains("Guard: lease: held") && printed.code == Some(1), "{printed:?}");
    }
    // node2 has left, and its words are overwritten: node1 goes on as before.
    assert_eq!(world.hosts()[1].stop_daemon().expect("stop").code, Some(0));
    let mut bytes = std::fs::read(&file).expect("lease");
    bytes[3 * 4096..5 * 4096].fill(0xa5);
    std::fs::write(&file, bytes).expect("damage");
    never_two(&world, Duration::from_secs(10), "node2's words are damaged", |owners| owners == ["node1"]);
    assert!(!log(&world, 0).contains("the lease could not be renewed"), "{}", log(&world, 0));
    // It comes back and writes new ones.
    world.hosts()[1].start_daemon().expect("daemon");
    common::wait_for(&world, "both hold their lease", LIMIT, || {
        guard_of(&world, "node2").contains("lease: held")
    });
    heal(&world);
}

/// What the file says is done, beside a true arbiter's work: nobody knows.
const ARBITER: &str = "#!/bin/sh
case $(cat /mode) in
flood) yes 'nothing but noise' | head -c 8000000 ;;
hang) trap '' TERM; sleep 1000 ;;
fork) sleep 1000 & ;;
esac
exit 2
";

#[test]
fn an_arbiter_that_misbehaves_gives_nothing_to_anybody() {
    let folder = shared();
    let lines = ["arbiter /arbiter wait=1 timeout=1".to_owned()];
    let Some(world) = pair(folder.path(), &lines, |world| {
        for host in world.hosts() {
            host.write_file_with_mode("/arbiter", ARBITER, 0o755).expect("arbiter");
            host.write_file("/mode", "flood").expect("mode");
        }
    }) else {
        return;
    };
    cut(&world, &["eth0", "eth1"]);
    never_two(&world, Duration::ZERO, "nobody is given the token", |owners| owners.is_empty());
    let descriptors = || {
        let pid = common::daemon_of(&world, "node1").expect("daemon").pid;
        world.hosts()[0].run(&["ls", &format!("/proc/{pid}/fd")]).expect("ls").stdout.lines().count()
    };
    let before = descriptors();
    for (mode, said) in [
        ("hang", "arbiter took longer than 1 s"),
        ("fork", "its program ended with code 2"),
        ("missing", "arbiter cannot be run"),
    ] {
        for host in world.hosts() {
            host.write_file("/mode", mode).expect("mode");
            if mode == "missing" {
                assert_eq!(host.run(&["rm", "/arbiter"]).expect("rm").code, Some(0));
            }
        }
        common::wait_for(&world, said, LIMIT, || log(&world, 0).contains(said));
        never_two(&world, Duration::from_secs(6), mode, |owners| owners.is_empty());
        let now = descriptors();
        assert!(now < before + 8, "{mode}: {before} descriptors, then {now}");
    }
    heal(&world);
}
