//! Starting and stopping real daemons: what is refused and in which words, that there is one daemon,
//! what it is called, what signals do, and that nothing a running one may meet stops it.

mod common;

use std::path::Path;
use std::time::Duration;

use ha_core::daemon::start::log_panics;
use ha_core::demo::host::{Host, DAEMON, LOG};
use ha_core::demo::world::{World, SERVICE_ADDRESS};
use ha_core::demo::Output;
use ha_core::log::{LogTargets, Logger};

const LIMIT: Duration = Duration::from_secs(20);
const HA_CF: &str = "/etc/ha.d/ha.cf";
const AUTHKEYS: &str = "/etc/ha.d/authkeys";
const HARESOURCES: &str = "/etc/ha.d/haresources";
const PID_FILE: &str = "/var/run/heartbeat.pid";
const NOT_CONFIGURED: Option<i32> = Some(6);

/// A start that must be refused.
struct Refusal {
    name: &'static str,
    spoil: fn(&World, &Host),
    /// Lines of the original.
    log: &'static [&'static str],
    /// Parts of our own text.
    say: &'static [&'static str],
}

fn append(world: &World, host: &Host, line: &str) {
    host.write_file(HA_CF, &(world.ha_cf(100, 1000, &["auto_failback off"]) + line + "\n")).expect("write");
}

fn remove(host: &Host, path: &str) {
    assert_eq!(host.run(&["rm", path]).expect("rm").code, Some(0));
}

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "key file that others can read",
        spoil: |_, host| {
            host.write_file_with_mode(AUTHKEYS, "auth 1\n1 sha1 secret\n", 0o644).expect("write");
        },
        log: &[
            "ERROR: Bad permissions on keyfile [/etc/ha.d//authkeys], 600 recommended.",
            "ERROR: Authentication configuration error.",
        ],
        say: &["/etc/ha.d/authkeys: error: ", "chmod 600"],
    },
    Refusal {
        name: "no authkeys",
        spoil: |_, host| remove(host, AUTHKEYS),
        log: &["ERROR: Cannot open keyfile [/etc/ha.d//authkeys].  Stop."],
        say: &["/etc/ha.d/authkeys: error: "],
    },
    Refusal {
        name: "no ha.cf",
        spoil: |_, host| remove(host, HA_CF),
        log: &["ERROR: Cannot open config file [/etc/ha.d//ha.cf]"],
        say: &["/etc/ha.d/ha.cf: error: "],
    },
    Refusal {
        name: "no haresources",
        spoil: |_, host| remove(host, HARESOURCES),
        log: &["ERROR: Cannot open resources file [/etc/ha.d//haresources]"],
        say: &["/etc/ha.d/haresources: error: "],
    },
    Refusal {
        name: "unknown directive",
        spoil: |world, host| append(world, host, "  keepalve 2"),
        log: &[
            "ERROR: Illegal directive [keepalve] in /etc/ha.d//ha.cf",
            "ERROR: Heartbeat not started: configuration error.",
        ],
        say: &["/etc/ha.d/ha.cf:12:3: error: `keepalve`", " 12 |   keepalve\n", "|   ^^^^^^^^", "keepalive"],
    },
    Refusal {
        name: "fencing device without parameters",
        spoil: |world, host| append(world, host, "stonith null /etc/x"),
        log: &["ERROR: Invalid Stonith config file [/etc/x]"],
        say: &[
            "/etc/ha.d/ha.cf:12:9: error: `/etc/x` does not have the parameters of a null device",
            " 12 | stonith null /etc/x",
            "|         ^^^^^^^^^^^",
        ],
    },
    Refusal {
        name: "wrong node name",
        spoil: |world, host| {
            let text = world.ha_cf(100, 1000, &["auto_failback off"]).replace("node node1", "node other");
            host.write_file(HA_CF, &text).expect("write");
        },
        log: &["ERROR: Current node [node1] not in configuration!"],
        say: &["/etc/ha.d/ha.cf:11:1: error: this host is called `node1`", "the nodes are other"],
    },
    Refusal {
        name: "value out of range",
        spoil: |world, host| append(world, host, "rtprio 100"),
        log: &["ERROR: Illegal realtime priority [100]"],
        say: &["/etc/ha.d/ha.cf:12:8: error: ", "|        ^^^", "1 to 99"],
    },
];

#[test]
fn bad_configurations_are_refused_and_explained() {
    let Some(world) = common::single() else { return };
    let host = &world.hosts()[0];
    for refusal in REFUSALS {
        configure(&world);
        (refusal.spoil)(&world, host);
        let output = host.run(&[DAEMON]).expect("run");
        assert_eq!(output.code, NOT_CONFIGURED, "{}: {output:?}", refusal.name);
        for line in refusal.log {
            assert!(output.stderr.contains(line), "{}: no {line:?} in\n{}", refusal.name, output.stderr);
        }
        let last = "ERROR: Configuration error, heartbeat not started.";
        assert!(output.stderr.contains(last), "{}: {}", refusal.name, output.stderr);
        for part in refusal.say {
            assert!(output.stderr.contains(part), "{}: no {part:?} in\n{}", refusal.name, output.stderr);
        }
        assert!(common::daemon_of(&world, "node1").is_none(), "{}", refusal.name);
        assert_eq!(host.run(&[DAEMON, "-s"]).expect("-s").code, Some(3), "{}: a pid file", refusal.name);
    }
}

#[test]
fn there_is_one_daemon_and_scripts_learn_so() {
    let Some(world) = common::single() else { return };
    let host = &world.hosts()[0];
    configure(&world);
    let ask = |option: &str| host.run(&[DAEMON, option]).expect("run");
    assert_eq!((ask("-s").code, ask("-s").stdout.as_str()), (Some(3), "heartbeat is stopped. No process\n"));
    let output = ask("-k");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("INFO: Heartbeat already stopped."), "{output:?}");

    // Of two starts at the same moment one becomes the daemon; both succeed.
    let both = format!("{DAEMON} & first=$!; {DAEMON} & second=$!; wait $first && wait $second");
    let output = host.run(&["sh", "-c", &both]).expect("run");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stderr.matches("already running [pid").count(), 1, "{output:?}");
    let pid = running(&world);

    let output = host.run(&[DAEMON]).expect("run");
    assert_eq!(output.code, Some(0), "{output:?}");
    let line = format!("info: heartbeat: already running [pid {pid}].");
    assert!(output.stderr.contains(&line), "no {line:?} in {output:?}");
    let output = ask("-s");
    let line = format!("heartbeat OK [pid {pid} et al] is running on node1 [node1]...\n");
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), line.as_str()));
    assert_eq!(running(&world), pid, "questions do not disturb");

    assert_eq!(ask("-k").code, Some(0));
    assert!(common::daemon_of(&world, "node1").is_none(), "-k waits for the end");
    assert_eq!((ask("-s").code, ask("-k").code), (Some(1), Some(0)));

    for stale in [format!("{pid:>10}\n"), "         1\n".to_owned(), "nonsense\n".to_owned(), String::new()] {
        host.write_file(PID_FILE, &stale).expect("write");
        assert_eq!(ask("-s").code, Some(1), "{stale:?}");
        let output = host.run(&[DAEMON]).expect("run");
        assert_eq!(output.code, Some(0), "{stale:?} {output:?}");
        running(&world);
        assert_eq!(ask("-k").code, Some(0));
    }
}

#[test]
fn a_daemon_killed_hard_leaves_nothing_in_the_way() {
    let Some(world) = common::single() else { return };
    let host = &world.hosts()[0];
    configure(&world);
    assert_eq!(host.run(&[DAEMON]).expect("run").code, Some(0));
    let pid = running(&world);
    // The guard, which is older, before the daemon.
    let mut pids = called_heartbeat(host);
    pids.sort_unstable();
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let output: Output = host.run(&["sh", "-c", &format!("kill -9 {}", pids.join(" "))]).expect("kill");
    assert_eq!(output.code, Some(0), "{output:?}");
    common::wait_for(&world, "the end", LIMIT, || common::daemon_of(&world, "node1").is_none());
    assert_eq!(host.run(&[DAEMON, "-s"]).expect("-s").code, Some(1));
    assert_eq!(host.run(&[DAEMON]).expect("run").code, Some(0));
    assert_ne!(running(&world), pid);
}

#[test]
fn however_it_was_started_it_is_called_heartbeat() {
    let Some(world) = common::single() else { return };
    let host = &world.hosts()[0];
    configure(&world);
    let binary = Path::new("/.machine").join(common::binary().strip_prefix("/").expect("full path"));
    let binary = binary.to_str().expect("text");
    assert_eq!(host.run(&["ln", "-s", "/ha", "/tmp/heartbeat"]).expect("ln").code, Some(0));
    for start in
        [&["/ha", "heartbeat"][..], &[DAEMON], &[binary, "heartbeat", "-d"], &["/tmp/heartbeat", "-l"]]
    {
        let output = host.run(start).expect("run");
        assert_eq!(output.code, Some(0), "{start:?} {output:?}");
        let pid = running(&world);
        let daemon = common::daemon_of(&world, "node1").expect("daemon");
        assert_eq!(daemon.name, "heartbeat", "{start:?}");
        // The whole title where the place of the arguments is large enough.
        let titles = ["heartbeat", "heartbeat: master control process"];
        assert!(titles.contains(&daemon.command_line.as_str()), "{start:?}: {daemon:?}");
        let comm = host.read_file(&format!("/proc/{pid}/comm")).expect("comm");
        assert_eq!(comm, "heartbeat\n", "{start:?}");
        assert_eq!(host.run(&[DAEMON, "-k"]).expect("-k").code, Some(0));
    }
}

#[test]
fn a_running_daemon_survives_bad_files_and_obeys_signals() {
    let Some(world) = common::single() else { return };
    let host = &world.hosts()[0];
    configure(&world);
    assert_eq!(host.run(&[DAEMON]).expect("run").code, Some(0));
    let pid = running(&world);
    world
        .wait_owner(SERVICE_ADDRESS, "node1", LIMIT)
        .unwrap_or_else(|error| panic!("{error}\n{}", common::logs(&world)));

    append(&world, host, "nonsense 1");
    let output = host.run(&[DAEMON, "-r"]).expect("run");
    assert_eq!(output.code, Some(1), "{output:?}");
    let line = format!("Config errors: Heartbeat pid {pid} NOT restarted");
    assert!(output.stderr.contains(&line), "{output:?}");
    assert!(output.stderr.contains("ha.cf:12:1: error: `nonsense`"), "{output:?}");
    signal(host, "HUP", pid);
    log_says(&world, LOG, "what runs goes on unchanged");
    assert_eq!(running(&world), pid);

    for (name, level) in [("USR1", 1), ("USR1", 2), ("USR2", 1), ("USR2", 0)] {
        let line = format!("debug now set to {level} [pid {pid}]");
        let before = host.read_file("/var/log/ha-debug").expect("log").matches(&line).count();
        signal(host, name, pid);
        common::wait_for(&world, &line, LIMIT, || {
            host.read_file("/var/log/ha-debug").expect("log").matches(&line).count() > before
        });
    }
    assert_eq!(world.owners(SERVICE_ADDRESS).expect("owners"), ["node1"]);
    signal(host, "TERM", pid);
    common::wait_for(&world, "the end", LIMIT, || common::daemon_of(&world, "node1").is_none());
    assert!(world.owners(SERVICE_ADDRESS).expect("owners").is_empty());
}

#[test]
fn a_heartbeat_device_that_goes_and_comes_stops_nothing() {
    use ha_core::demo::world::HostKind;
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    common::start(&world, 50, 500, &["auto_failback off"])
        .unwrap_or_else(|error| panic!("{error}\n{}", common::logs(&world)));
    common::wait_for(&world, "settled", LIMIT, || common::is_settled(&world));
    let pids = ["node1", "node2"].map(|name| common::daemon_of(&world, name).expect("daemon").pid);
    let two_links = |state: &str| {
        let status = common::status(&world, "node2");
        let nodes = status["report"]["view"]["nodes"].as_array().cloned().unwrap_or_default();
        nodes.iter().filter(|node| node["name"] == "node1").all(|node| node["links"][1]["status"] == state)
    };
    for round in 0..2 {
        if round == 0 {
            world.remove_interface("node1", "eth1").expect("remove");
        } else {
            world.cut("node1", "eth1").expect("down");
        }
        common::wait_for(&world, "one link is dead", LIMIT, || two_links("dead"));
        assert_eq!(world.owners(SERVICE_ADDRESS).expect("owners"), ["node1"]);
        if round == 0 {
            world.add_interface("node1", "eth1").expect("add");
        } else {
            world.heal("node1", "eth1").expect("up");
        }
        common::wait_for(&world, "both links are back", LIMIT, || {
            two_links("up") && common::is_settled(&world)
        });
    }
    assert_eq!(["node1", "node2"].map(|name| common::daemon_of(&world, name).expect("daemon").pid), pids);
    let logs = common::logs(&world);
    assert!(!logs.contains("is dead"), "{logs}");
}

// ---- a defect of ours ------------------------------------------------------------------------

const PANIC_FOLDER: &str = "HA_TEST_PANIC_FOLDER";

#[test]
fn a_panic_is_logged_before_the_process_ends() {
    use std::os::unix::process::ExitStatusExt;
    let folder = tempfile::tempdir().expect("folder");
    let output = std::process::Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "inside_panic", "--nocapture"])
        .env(PANIC_FOLDER, folder.path())
        .output()
        .expect("run");
    assert_eq!(output.status.signal(), Some(6), "{output:?}");
    let log = std::fs::read_to_string(folder.path().join("ha-log")).expect("log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].ends_with("info: before"), "{log}");
    assert!(lines[1].contains(" CRIT: heartbeat ends because of a defect in it: "), "{log}");
    assert!(lines[1].contains("tests/start_refusals.rs") && lines[1].contains("on purpose"), "{log}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("on purpose"), "{output:?}");
}

/// Not a test: panics as a daemon would.
#[test]
fn inside_panic() {
    let Some(folder) = std::env::var_os(PANIC_FOLDER) else { return };
    let targets =
        LogTargets { log_file: Some(Path::new(&folder).join("ha-log")), ..LogTargets::none("heartbeat") };
    let logger = Logger::start(targets.clone()).expect("logger");
    log_panics(&logger, &targets);
    logger.log(ha_core::types::LogLevel::Info, "before");
    panic!("on purpose\nin two lines");
}

// ---- helpers ---------------------------------------------------------------------------------

fn configure(world: &World) {
    let ha_cf = world.ha_cf(100, 1000, &["auto_failback off"]);
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n")).expect("configuration");
}

/// Process number of the one daemon, waiting until its start is through.
fn running(world: &World) -> u32 {
    common::wait_for(world, "a daemon answers", LIMIT, || common::status(world, "node1")["running"] == true);
    // A child is called as its parent until it has executed its program.
    common::wait_for(world, "two are called heartbeat, the daemon and its guard", LIMIT, || {
        called_heartbeat(&world.hosts()[0]).len() == 2
    });
    common::daemon_of(world, "node1").expect("the pid file names it").pid
}

fn called_heartbeat(host: &Host) -> Vec<u32> {
    let processes = host.processes().expect("processes").into_iter();
    processes.filter(|process| process.name == "heartbeat").map(|process| process.pid).collect()
}

fn signal(host: &Host, name: &str, pid: u32) {
    let output: Output = host.run(&["sh", "-c", &format!("kill -{name} {pid}")]).expect("kill");
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn log_says(world: &World, file: &str, text: &str) {
    common::wait_for(world, text, LIMIT, || world.hosts()[0].read_file(file).expect("log").contains(text));
}
