//! Debian's own client programs, unchanged, against our daemon, and our tools against the original's:
//! `cl_status`, `ipfail`, `api_test`; `respawn` and `failfast` line by line as the original logs them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use ha_core::demo::host::{Host, LOG};
use ha_core::demo::world::HostKind;

use crate::common::pairs::{group, Pair, NODES};
use crate::common::{single, wait_for};
use crate::pair::{long, pair_with};

const OURS: usize = 0;
const ORIGINAL: usize = 1;
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's programs as a host of ours sees them, and where the original has them.
const IPFAIL: [&str; 2] = ["/.machine/usr/libexec/heartbeat/ipfail", "/usr/libexec/heartbeat/ipfail"];
const API_TEST: [&str; 2] = ["/.machine/usr/libexec/heartbeat/api_test", "/usr/libexec/heartbeat/api_test"];
pub(crate) const CL_STATUS: [&[&str]; 2] = [&["/.machine/usr/bin/cl_status"], &["/usr/bin/cl_status"]];
pub(crate) const OUR_CL_STATUS: &[&str] = &["/ha", "cl_status"];

/// Programs to run beside the daemon: name, what it does, line of ha.cf before it. Each has its own end.
const SCRIPTS: [(&str, &str, &str); 6] = [
    ("well", "exit 0", "respawn hacluster"),
    ("wrong", "exit 7", "respawn root"),
    ("never", "exit 100", "respawn root"),
    ("killed", "kill -9 $$", "respawn root"),
    ("stays", "exec sleep 1000", "respawn hacluster"),
    ("slow", "trap 'sleep 1; exit 3' TERM; while :; do sleep 0.1; done", "respawn root"),
];

fn script(name: &str) -> String {
    format!("/etc/ha.d/clients/{name}")
}

fn script_lines() -> Vec<String> {
    let line = |(name, _, directive): &(&str, &str, &str)| format!("{} {} a  'b c'", directive, script(name));
    SCRIPTS.iter().map(line).collect()
}

#[test]
fn clients_of_debian_work_against_our_daemon_and_ours_against_the_original() {
    let kinds = [HostKind::Ours, HostKind::Original];
    let Some(pair) = pair_with(kinds, &[], &[group(0), group(1)]) else { return };
    for (node, ipfail) in IPFAIL.iter().enumerate() {
        let mut lines = script_lines();
        lines.push(format!("respawn hacluster {ipfail}"));
        lines.push("apiauth ping uid=root".to_owned());
        lines.push("auto_failback off".to_owned());
        if node == OURS {
            lines.push("respawn hacluster /usr/lib64/heartbeat/cl_status hbstatus".to_owned());
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        pair.host(node).write_file("/etc/ha.d/ha.cf", &pair.ha_cf(&lines)).expect("ha.cf");
        for (name, text, _) in SCRIPTS {
            let text = format!("#!/bin/sh\n{text}\n");
            pair.host(node).write_file_with_mode(&script(name), &text, 0o755).expect("script");
        }
    }
    pair.allow(&["Respawning client \"", "\"respawning too fast\""]);
    pair.start_both();
    pair.settled("local", "local");
    ipfails_know_each_other(&pair);
    messages_join_and_leave(&pair);
    tools_say_the_same(&pair);
    programs_come_and_go_alike(&pair);
}

/// The other node's ipfail is seen as a client that is there, by all tools, and both stay.
fn ipfails_know_each_other(pair: &Pair) {
    for node in [OURS, ORIGINAL] {
        for tool in [CL_STATUS[node], OUR_CL_STATUS] {
            for about in NODES {
                let words = [tool, &["clientstatus", about, "ipfail", "4000"]].concat();
                let what = format!("{words:?} on {} says online", NODES[node]);
                wait_for(&pair.world, &what, PATIENCE, || {
                    pair.host(node).run(&words).is_ok_and(|output| output.stdout == "online\n")
                });
            }
        }
        // What its client library complains about is missing here and there.
        let errors: Vec<String> = lines_with(&pair.log(node), " ipfail: ")
            .filter(|line| line.contains("ERROR") || line.contains("CRIT"))
            .map(str::to_owned)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let ours_said = pair.log(OURS);
    assert!(ours_said.contains(" ipfail: ["), "{ours_said}");
}

/// Debian's own test program on both nodes: its messages arrive and are answered, it is seen to come and
/// to go.
fn messages_join_and_leave(pair: &Pair) {
    let file = |node: usize, run: u32| format!("/var/log/api-test-{node}-{run}");
    let seen = |node: usize, run: u32| pair.host(node).read_file(&file(node, run)).unwrap_or_default();
    let said = |(node, run, pid): (usize, u32, u32), text: &str| {
        let end = Instant::now() + PATIENCE;
        while !seen(node, run).contains(text) {
            let gone = pair.host(node).ended(pid).expect("host");
            assert!(
                Instant::now() < end && gone.is_none(),
                "api_test on {} does not say {text:?} ({gone:?}):\n{}",
                NODES[node],
                seen(node, run)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let runs = Cell::new(0);
    // It gives up when the original is late with an answer.
    let start = |node: usize| loop {
        runs.set(runs.get() + 1);
        let run = runs.get();
        assert!(run < 20, "api_test on {} gives up:\n{}", NODES[node], seen(node, run - 1));
        let pid = pair.host(node).spawn(&[API_TEST[node]], &file(node, run)).expect("api_test");
        while pair.host(node).ended(pid).expect("host").is_none() {
            if seen(node, run).contains("Waiting for messages") {
                return (node, run, pid);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let end = |(node, _, pid): (usize, u32, u32)| {
        pair.run(node, &["kill", &pid.to_string()]);
    };
    let ours = start(OURS);
    let original = start(ORIGINAL);
    said(ours, "Client node2/ping now has status [join]");
    said(ours, "of type [ping] from [node2]");
    said(original, "Client node1/ping now has status [online]");
    said(original, "of type [pingreply] from [node1]");
    end(original);
    said(ours, "Client node2/ping now has status [leave]");
    if !long() {
        return end(ours);
    }
    let original = start(ORIGINAL);
    end(ours);
    said(original, "Client node1/ping now has status [leave]");
    end(original);
}

pub(crate) const QUESTIONS: [&str; 20] = [
    "hbstatus",
    "hbstatus -v",
    "listnodes",
    "listnodes -n",
    "listnodes -p",
    "listnodes -v",
    "nodestatus node2",
    "nodestatus -m node2",
    "nodestatus nosuch",
    "nodeweight node2",
    "nodesite node2",
    "nodetype node2",
    "listhblinks node2",
    "listhblinks -v node2",
    "hblinkstatus node2 eth0",
    "hblinkstatus node2 nosuch",
    "rscstatus",
    "hbparameter -p keepalive",
    "hbparameter -p nosuch",
    "test",
];

/// Debian's `cl_status` and ours, against either daemon, as different users: the same words and codes.
fn tools_say_the_same(pair: &Pair) {
    const USERS: [&[&str]; 2] =
        [&[], &["setpriv", "--reuid", "hacluster", "--regid", "haclient", "--clear-groups"]];
    for question in QUESTIONS {
        let users = if long() || question.contains("status") { &USERS[..] } else { &USERS[..1] };
        for user in users {
            let mut seen = Vec::new();
            for node in [OURS, ORIGINAL] {
                for tool in [CL_STATUS[node], OUR_CL_STATUS] {
                    let words: Vec<&str> =
                        user.iter().chain(tool).copied().chain(question.split(' ')).collect();
                    let output = pair.host(node).run(&words).expect("it runs");
                    // Its own node's name is all that may differ.
                    let said = output.stdout.replace(" mynodeid: node1", " mynodeid: node2");
                    seen.push((output.code, said, without_heads(&output.stderr)));
                }
            }
            assert!(seen.iter().all(|one| *one == seen[0]), "{question} {user:?}: {seen:#?}");
        }
    }
    // A stranger may not enter the socket's folder; Debian's tool has its group by its mode.
    let stranger = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"];
    let ask = |node: usize, tool: &[&str]| {
        let output = pair.host(node).run(&[&stranger, tool, &["hbstatus"]].concat()).expect("it runs");
        (output.code, output.stdout)
    };
    assert_eq!(ask(OURS, CL_STATUS[OURS]), ask(ORIGINAL, CL_STATUS[ORIGINAL]));
    for node in [OURS, ORIGINAL] {
        let stopped = "Heartbeat is stopped on this machine.\n".to_owned();
        assert_eq!(ask(node, OUR_CL_STATUS), (Some(1), stopped));
    }
}

/// Without `Nov 22 00:03:06 node1 cl_status: [313]: `.
pub(crate) fn without_heads(text: &str) -> String {
    text.lines().map(|line| line.split_once("]: ").map_or(line, |(_, rest)| rest).to_owned() + "\n").collect()
}

/// The life of every program from the first start to the end of the daemon, in the same words.
fn programs_come_and_go_alike(pair: &Pair) {
    for node in [OURS, ORIGINAL] {
        for name in ["well", "wrong", "killed"] {
            let what = format!("{name} is given up on {}", NODES[node]);
            let end = format!("Client {} a  'b c' \"respawning too fast\"", script(name));
            wait_for(&pair.world, &what, PATIENCE, || pair.log(node).contains(&end));
        }
    }
    let built_in = "the built-in cl_status runs instead";
    assert!(pair.log(OURS).contains(built_in), "{}", pair.log(OURS));
    let ran = "Managed /usr/lib64/heartbeat/cl_status hbstatus process";
    assert!(lines_with(&pair.log(OURS), ran).all(|line| line.ends_with(" exited with return code 0.")));
    for node in [OURS, ORIGINAL] {
        let output = pair.host(node).stop_daemon().expect("it stops");
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    for (name, ..) in SCRIPTS {
        let [ours, original] = [OURS, ORIGINAL].map(|node| life(&pair.log(node), &script(name)));
        assert!(!original.is_empty());
        assert_eq!(ours, original, "{name}");
    }
    let order = |node: usize| -> Vec<String> {
        let log = pair.log(node);
        let ends = lines_with(&log, "killing /etc/ha.d/clients").chain(lines_with(&log, "client [/etc/ha.d"));
        let mut ends: Vec<&str> = ends.collect();
        ends.sort_by_key(|line| log.find(line));
        ends.into_iter().map(normal).collect()
    };
    assert_eq!(order(OURS), order(ORIGINAL));
}

fn lines_with<'l>(log: &'l str, text: &'l str) -> impl Iterator<Item = &'l str> {
    log.lines().filter(move |line| line.contains(text))
}

/// What the daemon logged about a program, without times, nodes and process numbers.
fn life(log: &str, command: &str) -> Vec<String> {
    lines_with(log, command).filter(|line| line.contains(" heartbeat: [")).map(normal).collect()
}

fn normal(line: &str) -> String {
    let text = line.split_once("]: ").map_or(line, |(_, text)| text);
    let number = |word: &str| {
        let digits = word.trim_end_matches(')');
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        if matches!(words[at - 1], "process" | "(pid" | "group") && number(words[at]) {
            words[at] = "N";
        }
    }
    words.join(" ")
}

/// `failfast` takes the machine down at once, with the original's line.
#[test]
fn a_failfast_program_that_dies_reboots_the_machine() {
    let Some(world) = single() else { return };
    let program = "/etc/ha.d/clients/dies";
    let line = format!("failfast root {program}");
    let ha_cf = world.ha_cf(100, 1000, &[&line, "auto_failback off"]);
    world.configure(&ha_cf, &format!("{}\n", group(0))).expect("configure");
    let host: &Host = &world.hosts()[0];
    let text = "#!/bin/sh\nwhile [ ! -e /tmp/die ]; do sleep 0.1; done\nexit 1\n";
    host.write_file_with_mode(program, text, 0o755).expect("program");
    host.start_daemon().expect("daemon");
    wait_for(&world, "program runs", PATIENCE, || {
        host.read_file(LOG).is_ok_and(|log| log.contains("Starting child client"))
    });
    host.write_file("/tmp/die", "").expect("file");
    wait_for_reboot(host);
    // What a power switch does with a host that went down by itself.
    let _ = world.crash("node1");
    world.boot("node1").expect("boot");
    let log = host.read_file(LOG).expect("log");
    let reason = format!("CRIT: Rebooting system.  Reason: {program}");
    assert!(log.contains(&reason), "{log}");
    assert!(log.contains("exited with return code 1."), "{log}");
}

/// A host whose first process ended answers nothing any more.
fn wait_for_reboot(host: &Host) {
    let end = Instant::now() + PATIENCE;
    while host.addresses().is_ok() {
        assert!(Instant::now() < end, "the host goes on: {:?}", host.read_file(LOG));
        std::thread::sleep(Duration::from_millis(20));
    }
}
