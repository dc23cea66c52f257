//! What ours does otherwise than the original, on purpose (design 4): THE TABLE. Each row is played with
//! two originals and with two of ours and says what a person sees; man/ha-differences.7 has each row
//! with the reason.

use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::world::{HostKind, Way};

use crate::common::pairs::{group, Pair, Times, ADDRESSES};
use crate::pair::{long, pair_of};

/// One difference.
struct Difference {
    /// Its tag on the page.
    name: &'static str,
    /// What is seen with two originals, what with two of ours.
    original: &'static str,
    ours: &'static str,
    /// Played in every run, the others with `HA_LONG=1`.
    always: bool,
    /// Plays it from two configured hosts and says what was seen.
    play: fn(&Pair) -> String,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "healed partition",
        original: "both nodes restart",
        ours: "no node restarts",
        always: true,
        play: healed_partition,
    },
    Difference {
        name: "first start",
        original: "ten seconds without service",
        ours: "service at once",
        always: true,
        play: first_start,
    },
    Difference {
        name: "link that works one way",
        original: "both nodes serve",
        ours: "one node serves",
        always: false,
        play: one_way,
    },
    Difference {
        name: "haresources that differ",
        original: "nothing is said",
        ours: "an error in the log",
        always: false,
        play: different_haresources,
    },
    Difference {
        name: "failed start",
        original: "the group runs nowhere",
        ours: "the group runs on the other node",
        always: false,
        play: failed_start,
    },
    Difference {
        name: "holder restarts within deadtime",
        original: "the other node's group runs nowhere",
        ours: "every group runs",
        always: false,
        play: restart_within_dead_time,
    },
    Difference {
        name: "removal of an address",
        original: "its neighbours in the subnet vanish",
        ours: "its neighbours in the subnet stay",
        always: true,
        play: removal_of_an_address,
    },
    Difference {
        name: "requests to a stopped daemon",
        original: "no answer",
        ours: "an error at once",
        always: true,
        play: request_without_daemon,
    },
    Difference {
        name: "programs that do not end",
        original: "the stop waits for it",
        ours: "the stop goes on without it",
        always: false,
        play: program_without_end,
    },
    Difference {
        name: "messages of clients",
        original: "a client speaks for the node",
        ours: "the message is dropped",
        always: false,
        play: forged_message,
    },
    Difference {
        name: "questions of strangers",
        original: "an answer",
        ours: "no permission",
        always: false,
        play: question_of_a_stranger,
    },
];

const TIMES: Times = Times { keepalive_ms: 200, dead_time_ms: 2000, init_dead_s: 6 };
/// In which anything that a pair does by itself has been done: the original waits ten seconds twice.
const AT_REST: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn check(name: &str) {
    let row = DIFFERENCES.iter().find(|row| row.name == name).expect("a row of that name");
    if !row.always && !long() {
        println!("{name} left out: HA_LONG=1 runs it");
        return;
    }
    for (kind, expected) in [(HostKind::Original, row.original), (HostKind::Ours, row.ours)] {
        let groups = [group(0), group(1)];
        let Some(pair) = pair_of([kind; 2], TIMES, &["auto_failback on"], &groups) else { return };
        assert_eq!((row.play)(&pair), expected, "{name}, {kind:?}");
    }
}

macro_rules! each {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn each_row_is_played() {
            let played = [$($name),*];
            let rows: Vec<&str> = DIFFERENCES.iter().map(|row| row.name).collect();
            assert_eq!(rows, played);
        }
    };
}

each! {
    healed_partition_differs: "healed partition",
    first_start_differs: "first start",
    one_way_link_differs: "link that works one way",
    different_haresources_differ: "haresources that differ",
    failed_start_differs: "failed start",
    restart_within_dead_time_differs: "holder restarts within deadtime",
    removal_of_an_address_differs: "removal of an address",
    request_without_daemon_differs: "requests to a stopped daemon",
    program_without_end_differs: "programs that do not end",
    forged_message_differs: "messages of clients",
    question_of_a_stranger_differs: "questions of strangers",
}

#[test]
fn each_row_is_on_the_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/ha-differences.7"));
    let page = page.expect("the page");
    let first_part = page.split(".Ss ").nth(1).expect("the first part");
    let tags: Vec<&str> = first_part.lines().filter_map(|line| line.strip_prefix(".It ")).collect();
    let rows: Vec<&str> = DIFFERENCES.iter().map(|row| row.name).collect();
    assert_eq!(tags, rows, "the first part of ha-differences(7) and what is played");
}

// ---- the stories --------------------------------------------------------------------------------

fn both_at_home(pair: &Pair) {
    pair.start_both();
    pair.settled("local", "local");
}

fn healed_partition(pair: &Pair) -> String {
    both_at_home(pair);
    for link in ["eth0", "eth1"] {
        pair.world.cut_silently("node1", link).expect("cut");
    }
    for node in 0..2 {
        pair.wait("all resources on each side", || pair.resource_status(node) == "all");
    }
    pair.mark();
    for link in ["eth0", "eth1"] {
        pair.world.heal("node1", link).expect("heal");
    }
    // Each logs it when it has heard the other.
    for node in 0..2 {
        pair.wait("news of the other", || pair.times_logged(node, "returning after partition") > 0);
    }
    let restarts = |node: usize| pair.times_logged(node, "Configuration validated. Starting heartbeat") > 0;
    let end = Instant::now() + AT_REST;
    while Instant::now() < end && !(restarts(0) && restarts(1)) {
        thread::sleep(LOOK_EVERY);
    }
    match [restarts(0), restarts(1)] {
        [true, true] => "both nodes restart",
        [false, false] => "no node restarts",
        _ => "one node restarts",
    }
    .into()
}

fn first_start(pair: &Pair) -> String {
    let began = Instant::now();
    both_at_home(pair);
    let waited = began.elapsed() > Duration::from_secs(9);
    if waited { "ten seconds without service" } else { "service at once" }.into()
}

fn one_way(pair: &Pair) -> String {
    both_at_home(pair);
    for link in ["eth0", "eth1"] {
        pair.world.cut_one_way("node1", link, Way::To).expect("cut");
    }
    // node1 hears nothing and takes everything; node2 hears it do so.
    pair.wait("all resources on node1", || pair.resource_status(0) == "all");
    let twice = || pair.world.owners(ADDRESSES[1]).is_ok_and(|owners| owners.len() == 2);
    let end = Instant::now() + AT_REST / 3;
    while Instant::now() < end && twice() {
        thread::sleep(LOOK_EVERY);
    }
    if twice() { "both nodes serve" } else { "one node serves" }.into()
}

fn different_haresources(pair: &Pair) -> String {
    pair.host(1).write_file("/etc/ha.d/haresources", &format!("{}\n", group(1))).expect("haresources");
    pair.start_both();
    let said = || {
        let line = |node: usize| {
            pair.log(node).lines().any(|line| line.contains("haresources") && line.contains(" ERROR: "))
        };
        line(0) && line(1)
    };
    pair.wait("node2's address", || pair.world.owners(ADDRESSES[1]).is_ok_and(|owners| owners == ["node2"]));
    let end = Instant::now() + AT_REST / 3;
    while Instant::now() < end && !said() {
        thread::sleep(LOOK_EVERY);
    }
    if said() { "an error in the log" } else { "nothing is said" }.into()
}

fn failed_start(pair: &Pair) -> String {
    let groups = format!("node1 IPaddr2::{}/24/eth0 picky\n{}\n", ADDRESSES[0], group(1));
    for (node, start) in [(0, "exit 1"), (1, "touch /run/picky; exit 0")] {
        let script = format!(
            "#!/bin/sh\ncase $1 in\nstart) {start};;\nstop) rm -f /run/picky; exit 0;;\n\
             status) if [ -e /run/picky ]; then echo running; else echo stopped; fi;;\nesac\n"
        );
        let path = "/etc/ha.d/resource.d/picky";
        pair.host(node).write_file_with_mode(path, &script, 0o755).expect("script");
        pair.host(node).write_file("/etc/ha.d/haresources", &groups).expect("haresources");
    }
    pair.start_both();
    pair.wait("the failed start", || pair.times_logged(0, "picky") > 0);
    let on_the_other = || {
        pair.world.owners(ADDRESSES[0]).is_ok_and(|owners| owners == ["node2"])
            && pair.host(1).run(&["test", "-e", "/run/picky"]).is_ok_and(|output| output.code == Some(0))
    };
    let end = Instant::now() + AT_REST;
    while Instant::now() < end && !on_the_other() {
        thread::sleep(LOOK_EVERY);
    }
    if on_the_other() { "the group runs on the other node" } else { "the group runs nowhere" }.into()
}

fn restart_within_dead_time(pair: &Pair) -> String {
    both_at_home(pair);
    pair.command(1, "hb_standby", "all");
    pair.settled("all", "none");
    // The machine itself goes, and is back before anybody misses it: nothing is active on it.
    pair.world.crash("node1").expect("crash");
    pair.world.boot("node1").expect("boot");
    pair.start(0);
    let served = |home: usize| pair.world.owners(ADDRESSES[home]).is_ok_and(|owners| owners.len() == 1);
    let end = Instant::now() + AT_REST;
    while Instant::now() < end && !(served(0) && served(1)) {
        thread::sleep(LOOK_EVERY);
    }
    match [served(0), served(1)] {
        [true, true] => "every group runs".into(),
        [true, false] => "the other node's group runs nowhere".into(),
        other => format!("served: {other:?}"),
    }
}

fn removal_of_an_address(pair: &Pair) -> String {
    let address = |last: u8, act: &str| {
        let argument = format!("198.51.100.{last}/24/eth0");
        let program = match pair.kinds[0] {
            HostKind::Original => vec!["/etc/ha.d/resource.d/IPaddr2"],
            _ => vec!["/ha", "IPaddr2"],
        };
        pair.run(0, &[program.as_slice(), &[&argument, act]].concat());
    };
    address(1, "start");
    address(2, "start");
    address(1, "stop");
    let there = pair.host(0).addresses().expect("addresses").contains(&[198, 51, 100, 2].into());
    if there { "its neighbours in the subnet stay" } else { "its neighbours in the subnet vanish" }.into()
}

fn request_without_daemon(pair: &Pair) -> String {
    let host = pair.host(0);
    // Its FIFO is there after the first start, and stays.
    pair.start(0);
    pair.wait("a running daemon", || !pair.resource_status(0).is_empty());
    pair.tell_to_stop(0);
    pair.ended_well(0);
    let program = "/usr/share/heartbeat/hb_standby";
    let limit = Duration::from_secs(4);
    let output = host.run_with_input(&[program], "", limit).expect("it runs");
    match output.code {
        None => "no answer".into(),
        Some(0) => "success".into(),
        Some(_) if output.stderr.is_empty() => "an error without words".into(),
        Some(_) => "an error at once".into(),
    }
}

/// Adds lines to ha.cf of both nodes.
fn add_lines(pair: &Pair, lines: &[&str]) {
    for node in 0..2 {
        let ha_cf = pair.host(node).read_file("/etc/ha.d/ha.cf").expect("ha.cf");
        let ha_cf = format!("{ha_cf}{}\n", lines.join("\n"));
        pair.host(node).write_file("/etc/ha.d/ha.cf", &ha_cf).expect("ha.cf");
    }
}

fn program_without_end(pair: &Pair) -> String {
    let script = "#!/bin/sh\ntrap '' TERM\ni=0\nwhile [ $i -lt 45 ]; do sleep 1; i=$((i+1)); done\n";
    pair.host(0).write_file_with_mode("/etc/ha.d/stubborn", script, 0o755).expect("script");
    pair.host(1).write_file_with_mode("/etc/ha.d/stubborn", script, 0o755).expect("script");
    add_lines(pair, &["respawn root /etc/ha.d/stubborn"]);
    pair.allow(&["Respawning client"]);
    both_at_home(pair);
    // Started anew: all its time is before it.
    pair.run(0, &["sh", "-c", "kill -9 $(pidof -x stubborn)"]);
    pair.wait("second start", || pair.times_logged(0, "Starting \"/etc/ha.d/stubborn\" as uid 0") == 2);
    let began = Instant::now();
    assert_eq!(pair.host(0).stop_daemon().expect("heartbeat -k").code, Some(0));
    let waited = began.elapsed() > Duration::from_secs(38);
    if waited { "the stop waits for it" } else { "the stop goes on without it" }.into()
}

/// Signs on as a named client and says what only a daemon may say.
const FORGER: &str = r#"
import os, socket, struct, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect("/var/run/heartbeat/register")
def say(**fields):
    body = (">>>\n" + "".join(f"{k}={v}\n" for k, v in fields.items()) + "<<<\n\0").encode()
    s.sendall(struct.pack("=iI", len(body), 0xabcd) + body)
say(t="hbapi-req", reqtype="signon", dest="node1", pid=os.getpid(), from_id="forger",
    uid=os.geteuid(), gid=os.getegid())
seen = b""
while b"reqtype=signon" not in seen:
    seen += s.recv(65536)
say(t="status", st="active", src="node2")
time.sleep(2)
"#;

fn forged_message(pair: &Pair) -> String {
    add_lines(pair, &["apiauth forger uid=root"]);
    both_at_home(pair);
    pair.run(0, &["python3", "-c", FORGER]);
    let spoke = pair.times_logged(0, "flow control disabled due to different version heartbeat") > 0;
    let dropped = pair.times_logged(0, "only a daemon may send") > 0;
    match (spoke, dropped) {
        (true, false) => "a client speaks for the node",
        (false, true) => "the message is dropped",
        _ => "nothing is said",
    }
    .into()
}

fn question_of_a_stranger(pair: &Pair) -> String {
    both_at_home(pair);
    let stranger = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"];
    let question = ["cl_status", "nodestatus", "node1"];
    let output = pair.host(0).run(&[&stranger[..], &question].concat()).expect("it runs");
    match output.stderr.contains("no permission") {
        true => "no permission".into(),
        false if output.stdout == "active\n" => "an answer".into(),
        false => format!("{output:?}"),
    }
}
