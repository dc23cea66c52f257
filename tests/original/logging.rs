//! The logging daemon and its clients, ours and the original's in both directions; and lines that
//! nobody takes.

use std::path::Path;
use std::time::Duration;

use ha_core::demo::host::{Host, LOG};
use ha_core::demo::world::{HostKind, World};

use crate::common::{self, skip::skip_without_privilege, wait_for};

/// Both daemons on a host of ours, by kind.
const DAEMONS: [(&str, &str); 2] =
    [("ours", "/usr/libexec/heartbeat/ha_logd"), ("the original's", "/usr/lib/heartbeat/ha_logd")];
/// Both clients.
const CLIENTS: [&str; 2] = ["/usr/libexec/heartbeat/ha_logger", "/usr/sbin/ha_logger"];
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a silent peer is watched while a disk or a daemon hangs: many times deadtime.
const WATCH: Duration = Duration::from_secs(4);

/// One host of ours with the original's logging programs beside our own.
fn host_with_both() -> Option<World> {
    for program in [DAEMONS[1].1, CLIENTS[1]] {
        if !Path::new(program).exists() {
            skip_without_privilege(&format!("{program} of Linux-HA's cluster-glue is not installed"));
            return None;
        }
    }
    common::single()
}

/// Runs a program that must end with this code; what it wrote to either output.
#[track_caller]
fn run(host: &Host, words: &[&str], code: i32) -> String {
    let output = host.run(words).expect("it runs");
    assert_eq!(output.code, Some(code), "{words:?}: {}{}", output.stdout, output.stderr);
    output.stdout + &output.stderr
}

/// Takes every line, at any level.
const DEBUG_FILE: &str = "/var/log/D";

/// Starts a logging daemon and waits until it listens.
fn start(world: &World, host: &Host, daemon: &str) {
    run(host, &[daemon, "-d", "-c", "/tmp/logd.cf"], 0);
    wait_for(world, "a logging daemon that listens", PATIENCE, || {
        host.run(&[CLIENTS[1], "-t", "probe", "are you there"]).is_ok_and(|output| output.code == Some(0))
    });
}

/// What stands behind date and host in each line of a file, without the daemon's own lines.
fn lines(host: &Host, path: &str) -> Vec<String> {
    let text = host.read_file(path).expect("file");
    let body = |line: &str| line.splitn(5, ' ').nth(4).unwrap_or(line).to_owned();
    let others = |line: &String| !line.starts_with("logd: ") && !line.starts_with("probe: ");
    text.lines().map(body).filter(others).map(|line| without_pid(&line)).collect()
}

/// `tag: [123]: text` as `tag: [N]: text`.
fn without_pid(line: &str) -> String {
    match (line.find('['), line.find(']')) {
        (Some(from), Some(to)) if from < to => format!("{}[N{}", &line[..from], &line[to..]),
        _ => line.to_owned(),
    }
}

/// Each client with each daemon: the same lines in the same files, the same answers and codes.
#[test]
fn clients_and_daemons_of_either_kind() {
    let Some(world) = host_with_both() else { return };
    let host = world.host("node1").expect("host");
    let configuration = "logfile /var/log/L\ndebugfile /var/log/D\nlogfacility none\n";
    host.write_file("/tmp/logd.cf", configuration).expect("write");
    let mut seen = Vec::new();
    for (kind, daemon) in DAEMONS {
        for client in CLIENTS {
            assert_eq!(run(host, &[client, "nobody listens"], 1), "logd is not running", "{client}");
        }
        start(&world, host, daemon);
        let running = run(host, &[daemon, "-s"], 0);
        assert!(running.starts_with("logging daemon is running [pid = "), "{running}");
        let again = run(host, &[daemon], 0);
        assert!(again.starts_with(&format!("{daemon}: already running [pid ")), "{again}");
        for client in CLIENTS {
            use_client(&world, host, client);
        }
        rotate(&world, host);
        let said = run(host, &[daemon, "-k"], 0);
        for part in ["debug: Stopping ha_logd with pid ", "info: Waiting for pid=", " exited\n"] {
            assert!(said.contains(part), "{kind}: {said}");
        }
        let stopped = run(host, &[daemon, "-s"], 1);
        assert!(
            stopped.starts_with("logging daemon is stopped: ") && stopped.contains("exists."),
            "{stopped}"
        );
        assert!(run(host, &[daemon, "-k"], 0).starts_with("ha_logd already stopped.\n"));
        seen.push([lines(host, "/var/log/L.1"), lines(host, "/var/log/D"), lines(host, "/var/log/L")]);
        run(host, &["sh", "-c", "rm /var/log/L /var/log/L.1 /var/log/D"], 0);
    }
    assert_eq!(seen[0], seen[1]);
    let [log, debug, _] = &seen[0];
    assert_eq!(log[..4], ["x: [N]: a", "x: [N]: b", "cluster: [N]: one", "cluster: [N]: "]);
    let half = log.len() / 2;
    assert_eq!(log[..half], log[half..], "both clients send the same");
    assert!(debug.contains(&"cluster: [N]: fine print".to_owned()) && debug.len() > log.len());
}

/// Each use waits until its lines are written: a daemon that reads two clients at once, on a busy
/// machine, may write a line of the second between two of the first.
fn use_client(world: &World, host: &Host, client: &str) {
    let mut expected = lines(host, DEBUG_FILE).len();
    let mut written = |count: usize| {
        expected += count;
        wait_for(world, "its lines", PATIENCE, || lines(host, DEBUG_FILE).len() >= expected);
    };
    run(host, &[client, "-t", "x", "a", "b"], 0);
    written(2);
    let input = host.run_with_input(&[client], "one\n\nthree\u{e9}\nno end", PATIENCE).expect("it runs");
    assert_eq!(input.code, Some(0), "{input:?}");
    written(4);
    run(host, &[client, "-D", "ha-debug", "fine print"], 0);
    written(1);
    run(host, &[client, "-t", &"t".repeat(100), &"long".repeat(600)], 0);
    written(3);
    run(host, &[client, ""], 0);
    written(1);
    let usage = "usage: ha_logger [-t tag] [-D <ha-log/ha-debug>] [message]\n";
    assert_eq!(run(host, &[client, "-h"], 1), usage);
    assert_eq!(run(host, &[client, "-D", "nowhere", "x"], 1), usage);
    assert!(run(host, &[client, "-x"], 1).starts_with(usage));
}

/// The old file stays complete, the new one begins with the daemon's word.
fn rotate(world: &World, host: &Host) {
    let complete =
        || lines(host, "/var/log/D").iter().filter(|line| line.ends_with("fine print")).count() == 2;
    wait_for(world, "all lines on disk", PATIENCE, || complete() && lines(host, "/var/log/L").len() == 20);
    run(host, &["mv", "/var/log/L", "/var/log/L.1"], 0);
    run(host, &["sh", "-c", "kill -HUP $(cat /var/run/logd.pid)"], 0);
    // The original keeps the word about it back until a line comes.
    wait_for(world, "a new file after SIGHUP", PATIENCE, || {
        run(host, &[CLIENTS[1], "-t", "probe", "in the new file"], 0);
        host.read_file("/var/log/L").is_ok_and(|text| {
            text.contains("info: SIGHUP received, re-opened log files") && text.contains("in the new file")
        })
    });
}

/// Our daemon and its scripts log through a logging daemon of either kind, to their own files while
/// it is gone, and find it again.
#[test]
fn our_daemon_logs_through_either() {
    let Some(world) = host_with_both() else { return };
    let host = world.host("node1").expect("host");
    let ha_cf = world.ha_cf(100, 1000, &["use_logd yes", "conn_logd_time 500ms", "node node2"]);
    world.configure(&ha_cf, "node1 hello\n").expect("configure");
    let script = "#!/bin/sh\n. /usr/lib/ocf/lib/heartbeat/ocf-shellfuncs\n\
                  case $1 in status) [ -e /tmp/started ] && echo running;; start) touch /tmp/started;;\n\
                  stop) rm -f /tmp/started;; esac\n\
                  [ \"$1\" = status ] || ha_log \"info: hello $1\"\n";
    host.write_file_with_mode("/etc/ha.d/resource.d/hello", script, 0o755).expect("script");
    let configuration = "logfile /var/log/L\nlogfacility none\n";
    host.write_file("/tmp/logd.cf", configuration).expect("write");
    start(&world, host, DAEMONS[1].1);
    host.start_daemon().expect("daemon starts");
    let logged = |path: &str, part: &str| host.read_file(path).expect("log").contains(part);
    wait_for(&world, "a start in the logging daemon's file", PATIENCE, || {
        logged("/var/log/L", "heartbeat: [") && logged("/var/log/L", "]: info: hello start")
    });
    assert!(logged("/var/log/L", "info: Enabling logging daemon \n"));
    assert!(logged("/var/log/L", "]: info: Running /etc/ha.d/resource.d/hello  start"));
    assert_eq!(host.read_file(LOG).expect("log"), "", "nothing went past the logging daemon");

    run(host, &[DAEMONS[1].1, "-k"], 0);
    let say_something = || run(host, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"], 0);
    say_something();
    wait_for(&world, "lines in our own file", PATIENCE, || logged(LOG, "info: Configuration unchanged."));
    let missing = "WARN: Initializing connection to logging daemon failed. Logging daemon may not be running";
    assert!(logged(LOG, missing));

    run(host, &["rm", "/var/log/L"], 0);
    start(&world, host, DAEMONS[0].1);
    wait_for(&world, "lines in the file of the other logging daemon", PATIENCE, || {
        say_something();
        logged("/var/log/L", "info: Configuration unchanged.")
    });
    run(host, &[ha_core::demo::host::DAEMON, "-k"], 0);
    wait_for(&world, "the end in its file", PATIENCE, || {
        logged("/var/log/L", "]: info: hello stop") && logged("/var/log/L", "Heartbeat shutdown complete.")
    });
    run(host, &[DAEMONS[0].1, "-k"], 0);
}

/// A pipe that nobody reads, a full disk, a logging daemon that is stopped: no beat is late, and
/// what was lost is counted.
#[test]
fn lines_that_nobody_takes_delay_no_beat() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let (host, peer) = (world.host("node1").expect("host"), world.host("node2").expect("host"));
    let ha_cf = |more: &[&str]| world.ha_cf(100, 1000, &[&["auto_failback on"], more].concat());
    world.configure(&ha_cf(&[]), "node1 192.0.2.100/24/eth0\n").expect("configure");
    let hanging = ha_cf(&["debug 4"]).replace("/var/log/ha-debug", "/var/log/fifo");
    let hanging = hanging.replace("/var/log/ha-log", "/var/log/small/log");
    host.write_file("/etc/ha.d/ha.cf", &hanging).expect("write");
    run(host, &["mkfifo", "/var/log/fifo"], 0);
    run(host, &["mkdir", "/var/log/small"], 0);
    run(host, &["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/var/log/small"], 0);
    // Open for writing too, so that it does not end when the daemon opens its files anew.
    let words = ["sh", "-c", "exec cat 0<>/var/log/fifo"];
    let reader = host.spawn(&words, "/var/log/debug-copy").expect("a reader");
    for one in [host, peer] {
        one.start_daemon().expect("daemon starts");
    }
    wait_for(&world, "both active", PATIENCE, || common::is_settled(&world));
    disk_that_takes_nothing(&world, host, peer, reader);

    // A new life of the daemon, with a logging daemon.
    host.write_file("/tmp/logd.cf", "debugfile /var/log/L\nlogfacility none\n").expect("write");
    run(host, &[DAEMONS[0].1, "-d", "-c", "/tmp/logd.cf"], 0);
    host.write_file("/etc/ha.d/ha.cf", &ha_cf(&["debug 4", "use_logd yes", "conn_logd_time 500ms"]))
        .expect("write");
    run(host, &[ha_core::demo::host::DAEMON, "-r"], 0);
    let passed = || host.read_file("/var/log/L").expect("log").matches("]: debug: in: tick").count();
    wait_for(&world, "lines through the logging daemon", PATIENCE, || {
        passed() > 0 && common::is_settled(&world)
    });
    run(host, &["sh", "-c", "kill -STOP $(cat /var/run/logd.pid)"], 0);
    calm("the logging daemon is stopped", peer);
    let before = passed();
    run(host, &["sh", "-c", "kill -CONT $(cat /var/run/logd.pid)"], 0);
    wait_for(&world, "lines after it goes on", PATIENCE, || passed() > before);
    run(host, &[DAEMONS[0].1, "-k"], 0);
    calm("the logging daemon is gone", peer);
}

fn disk_that_takes_nothing(world: &World, host: &Host, peer: &Host, reader: u32) {
    run(host, &["sh", "-c", "dd if=/dev/zero of=/var/log/small/big bs=1k 2>/dev/null; true"], 0);
    wait_for(world, "a word about the disk", PATIENCE, || {
        run(host, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"], 0);
        let text = host.read_file("/var/log/debug-copy").expect("debug lines");
        text.contains("ERROR: Cannot write to /var/log/small/log: No space left on device")
    });
    calm("the disk is full", peer);
    run(host, &["sh", "-c", &format!("kill -STOP {reader}")], 0);
    calm("nobody reads the debug file, the disk is full", peer);
    run(host, &["sh", "-c", &format!("kill -CONT {reader}")], 0);
    run(host, &["rm", "/var/log/small/big"], 0);
    run(host, &["sh", "-c", "kill -HUP $(cat /var/run/heartbeat.pid)"], 0);
    wait_for(world, "the count of lines that the disk lacks", PATIENCE, || {
        let text = host.read_file("/var/log/small/log").expect("log");
        text.contains("messages were dropped for /var/log/small/log")
    });
}

/// The peer has nothing to say about node1 for a while.
#[track_caller]
fn calm(why: &str, peer: &Host) {
    let from = peer.read_file(LOG).expect("log").len();
    std::thread::sleep(WATCH);
    let log = peer.read_file(LOG).expect("log");
    for bad in ["node1: is dead", "Late heartbeat", "ERROR", "CRIT"] {
        assert!(!log[from..].contains(bad), "{why}: {}", &log[from..]);
    }
}
