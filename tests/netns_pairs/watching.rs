//! What stops working, or is taken away, while a node holds it.

use std::time::Duration;

use ha_core::demo::host::DAEMON;

use crate::common::pairs::{group, Pair, ADDRESSES, SERVICE};
use crate::upgrade::replace;

const WATCHED: [&str; 2] =
    ["auto_failback on", "monitor service interval=200ms timeout=10s failures=2 restarts=1"];

fn pair(more: &[&str]) -> Option<Pair> {
    pair_with(more, |_| {})
}

fn pair_with(more: &[&str], prepare: impl Fn(&Pair)) -> Option<Pair> {
    let pair = Pair::new(more, &[format!("{} service", group(0)), group(1)])?;
    write_service(&pair, SERVICE);
    pair.allow(&["does not work", "put back", "giving up", "giving them to the other node", "giving up"]);
    pair.allow(&[
        "maintenance",
        "died (signal 9)",
        "taken away",
        "Return code",
        "Network is down",
        "cannot send packet",
    ]);
    prepare(&pair);
    pair.start_both();
    pair.settled("local", "local");
    Some(pair)
}

fn is_there(pair: &Pair, node: usize, file: &str) -> bool {
    pair.host(node).run(&["test", "-e", file]).is_ok_and(|output| output.code == Some(0))
}

/// The address of the first group is on the node, by its kernel.
fn has(pair: &Pair, node: usize) -> bool {
    pair.host(node).addresses().expect("addresses").contains(&ADDRESSES[0])
}

fn delete(pair: &Pair) {
    pair.run(0, &["ip", "addr", "del", &format!("{}/24", ADDRESSES[0]), "dev", "eth0"]);
}

#[test]
fn a_dead_service_is_restarted_and_then_given_away() {
    let Some(pair) = pair(&WATCHED) else { return };
    pair.mark();
    pair.run(0, &["rm", "/run/service"]);
    pair.wait("it runs again", || is_there(&pair, 0, "/run/service"));
    pair.logged(0, &["restart 1 of 1, with what comes after it in its group"]);
    assert!(has(&pair, 0), "the address before it was left alone");
    pair.settled("local", "local");
    let status = || pair.host(0).run(&["/ha", "status"]).expect("status");
    let shown = status();
    assert!(shown.stdout.contains("asked every 200 ms: restarted (1 of 1)"), "{}", shown.stdout);
    assert!(shown.stdout.contains("  * service: restarted (1 of 1)"), "{}", shown.stdout);
    pair.run(0, &["touch", "/run/sick"]);
    pair.wait("it moves", || pair.is_owned_as(["none", "all"]));
    assert!(!is_there(&pair, 0, "/run/service"), "it was stopped before anything moved");
    // It stands behind the address in its group.
    pair.wait("the service runs there", || is_there(&pair, 1, "/run/service"));
    assert_eq!(pair.times_logged(1, "wants to go standby [local]"), 1, "{}", pair.log(1));
}

/// Its agent hangs, whoever asks and whenever: neither the restart nor the handover waits for it.
#[test]
fn a_service_whose_agent_hangs_is_given_away() {
    let lines = ["auto_failback off", "monitor service interval=200ms timeout=500ms failures=2 restarts=1"];
    let hangs = SERVICE.replace("status)", "status) [ ! -e /run/hang ] || exec sleep 86400;");
    let Some(pair) = pair_with(&lines, |pair| write_service(pair, &hangs)) else { return };
    pair.run(0, &["touch", "/run/hang"]);
    pair.wait("it moves", || pair.is_owned_as(["none", "all"]) && is_there(&pair, 1, "/run/service"));
    pair.wait("nothing hangs any more", || {
        let processes = pair.host(0).processes().expect("processes");
        processes.iter().all(|process| process.name != "sleep")
    });
    assert!(pair.log(0).contains("took longer than"), "{}", pair.log(0));
}

/// A person stops the group and starts it again, which takes its time: it is theirs until that is done.
#[test]
fn what_a_person_is_starting_is_not_restarted_meanwhile() {
    let lines = ["auto_failback off", "monitor service interval=100ms timeout=10s failures=1 restarts=1"];
    let slow = SERVICE.replace("start)", "start) echo >>/run/starts; [ ! -e /run/slow ] || sleep 3;");
    let Some(pair) = pair_with(&lines, |pair| write_service(pair, &slow)) else { return };
    let key = pair.run(0, &["/ha", "ResourceManager", "listkeys", "node1"]);
    pair.run(0, &["rm", "/run/starts"]);
    pair.run(0, &["touch", "/run/slow"]);
    pair.run(0, &["/ha", "ResourceManager", "givegroup", key.trim()]);
    pair.run(0, &["/ha", "ResourceManager", "takegroup", key.trim()]);
    pair.settled("local", "local");
    assert_eq!(pair.run(0, &["cat", "/run/starts"]), "\n", "{}", pair.log(0));
    // It is watched again.
    pair.run(0, &["rm", "/run/slow", "/run/service"]);
    pair.wait("it runs again", || is_there(&pair, 0, "/run/service"));
}

fn write_service(pair: &Pair, script: &str) {
    for host in pair.world.hosts() {
        host.write_file_with_mode("/etc/ha.d/resource.d/service", script, 0o755).expect("write");
    }
}

#[test]
fn an_address_that_is_taken_away_is_put_back() {
    let Some(pair) = pair(&["auto_failback off"]) else { return };
    delete(&pair);
    pair.wait("the address is back", || has(&pair, 0));
    pair.run(0, &["ip", "link", "set", "eth0", "down"]);
    pair.wait("the interface is up", || {
        pair.run(0, &["ip", "-o", "link", "show", "dev", "eth0"]).contains(",UP")
    });
    pair.wait("the address is there", || has(&pair, 0));
    pair.settled("local", "local");
    // By hand it may be stopped, and is left alone until somebody starts it.
    let key = pair.run(0, &["/ha", "ResourceManager", "listkeys", "node1"]);
    pair.run(0, &["/ha", "ResourceManager", "givegroup", key.trim()]);
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(100));
        assert!(!has(&pair, 0), "put back against a person's will");
    }
}

#[test]
fn an_address_that_is_taken_away_in_a_loop_goes_to_the_other_node() {
    let Some(pair) = pair(&["auto_failback off"]) else { return };
    // Without a pause: it is gone again before anybody has seen that it was back.
    let thief = format!("while :; do ip addr del {}/24 dev eth0 2>/dev/null; done", ADDRESSES[0]);
    pair.host(0).spawn(&["sh", "-c", &thief], "/var/log/thief").expect("thief");
    pair.wait("it moves", || pair.is_owned_as(["none", "all"]));
    let count =
        pair.times_logged(0, "Running /etc/ha.d/resource.d/IPaddr2") + pair.times_logged(0, "IPaddr2 10");
    assert!(count < 40, "it is put back a few times only: {}", pair.log(0));
}

#[test]
fn maintenance_outlives_the_daemon_and_nothing_is_touched() {
    let Some(pair) = pair(&WATCHED) else { return };
    let ha = |node: usize, words: &[&str]| pair.host(node).run(&[&["/ha"], words].concat()).expect("ha");
    assert_eq!(ha(0, &["maintenance", "on", "--for", "1h"]).code, Some(0));
    pair.wait("the other node knows", || ha(1, &["status"]).stdout.contains("MAINTENANCE"));
    delete(&pair);
    pair.run(0, &["rm", "/run/service"]);
    let pid = pair.daemon_pid(0);
    pair.host(0).run(&["kill", "-9", &pid]).expect("kill");
    pair.wait("it is brought back", || pair.daemon_pid(0) != pid);
    pair.wait("it knows", || ha(0, &["status"]).stdout.contains("MAINTENANCE"));
    std::thread::sleep(Duration::from_secs(2));
    assert!(!is_there(&pair, 0, "/run/service"));
    assert_eq!(pair.host(0).command("hb_standby", &[]).expect("standby").code, Some(1));
    assert_eq!(ha(1, &["maintenance", "off"]).code, Some(0));
    pair.wait("the service is restarted", || is_there(&pair, 0, "/run/service"));
    assert_eq!(ha(1, &["maintenance", "off"]).code, Some(1));
}

/// `heartbeat -r` after the file was replaced, on each node in turn: maintenance goes on to its end, nothing is
/// touched, and what was taken away meanwhile is put back when it is over.
#[test]
fn maintenance_goes_on_in_a_new_program_file() {
    const PAGER: &str =
        "#!/bin/sh\n[ \"$HA_ALARM_KIND\" != maintenance ] || echo \"$HA_ALARM_STATE\" >>/var/log/pager\n";
    let Some(pair) = pair_with(&[&WATCHED[..], &["alarm /etc/ha.d/pager"]].concat(), |pair| {
        for host in pair.world.hosts() {
            host.write_file_with_mode("/etc/ha.d/pager", PAGER, 0o755).expect("pager");
        }
    }) else {
        return;
    };
    let ha = |node: usize, words: &[&str]| pair.host(node).run(&[&["/ha"], words].concat()).expect("ha");
    let lasts = |node: usize| ha(node, &["status"]).stdout.contains("MAINTENANCE");
    let told = |node: usize| pair.host(node).read_file("/var/log/pager").unwrap_or_default();
    let new_program = |node: usize| {
        pair.mark();
        replace(&pair, node, "cp /ha /tmp/new");
        pair.run(node, &[DAEMON, "-r"]);
        pair.logged(node, &["info: The new program file goes on in this one's place."]);
        pair.wait("the new program answers", || ha(node, &["status"]).stdout.contains("holds"));
        assert!(lasts(node), "{}", ha(node, &["status"]).stdout);
    };
    assert_eq!(ha(0, &["maintenance", "on", "--for", "1h"]).code, Some(0));
    pair.wait("the other node knows", || lasts(1));
    delete(&pair);
    pair.run(0, &["rm", "/run/service"]);
    for node in [0, 1, 0] {
        new_program(node);
        let status = ha(node, &["status"]).stdout;
        let left = |minutes: u32| status.contains(&format!("MAINTENANCE for {minutes} more minutes"));
        assert!((57..=60).any(left), "{status}");
        assert_eq!(pair.host(node).command("hb_standby", &[]).expect("standby").code, Some(1));
    }
    pair.wait("each pager", || told(0) == "begin\n" && told(1) == "begin\n");
    std::thread::sleep(Duration::from_secs(2));
    assert!(!is_there(&pair, 0, "/run/service") && !has(&pair, 0) && !has(&pair, 1), "nothing is touched");
    assert_eq!(ha(1, &["maintenance", "off"]).code, Some(0));
    pair.wait("what was missing is there again", || is_there(&pair, 0, "/run/service") && has(&pair, 0));
    pair.settled("local", "local");
    pair.wait("each pager", || told(0) == "begin\nover\n" && told(1) == "begin\nover\n");

    // It ends by itself, when it was to end.
    assert_eq!(ha(1, &["maintenance", "on", "--for", "15s"]).code, Some(0));
    pair.wait("the other node knows", || lasts(0));
    new_program(0);
    new_program(1);
    pair.run(0, &["rm", "/run/service"]);
    pair.wait("its end", || !lasts(0) && !lasts(1));
    // It was restarted once already, and the new program counts on.
    pair.wait("it moves", || is_there(&pair, 1, "/run/service") && pair.is_owned_as(["none", "all"]));
    assert_eq!(ha(0, &["maintenance", "off"]).code, Some(1), "it is over");
}
