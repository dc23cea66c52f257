//! `apphbd`: Debian's with our daemon and ours with the original's, Debian's test program with ours, and
//! the same answers on the command line.

use std::time::Duration;

use ha_core::demo::host::Host;
use ha_core::demo::world::HostKind::{Original, Ours};

use crate::clients::without_heads;
use crate::common::pairs::{group, Pair};
use crate::common::wait_for;
use crate::pair::pair_with;

const PATIENCE: Duration = Duration::from_secs(60);
const OURS: usize = 0;
const ORIGINAL: usize = 1;
const OUR_PROGRAM: &[&str] = &["/ha", "apphbd"];
const DEBIANS: [&str; 2] = ["/.machine/usr/libexec/heartbeat/apphbd", "/usr/libexec/heartbeat/apphbd"];
const TEST_PROGRAM: &str = "/usr/libexec/heartbeat/apphbtest";
const SETTINGS: &str = "/etc/ha.d/apphbd.cf";
const LOG: &str = "/var/log/apphbd.log";
const DEBUG_LOG: &str = "/var/log/apphbd.debug";
const REGISTERED: &str = "info: Registered with apphbd as heartbeat/master_control_process.";

fn settings(more: &str) -> String {
    format!("# for a test\ndebug_level 2\nlogfile {LOG}\ndebugfile {DEBUG_LOG}\nrealtime no\n{more}")
}

fn log(host: &Host) -> String {
    host.read_file(LOG).unwrap_or_default()
}

/// Waits until the log of `apphbd` on that node has this.
#[track_caller]
fn logged(pair: &Pair, node: usize, text: &str) {
    wait_for(&pair.world, &format!("{text:?} in the log of apphbd"), PATIENCE, || {
        log(pair.host(node)).contains(text)
    });
}

#[test]
fn apphbd_watches_daemons_of_either_kind() {
    let Some(pair) =
        pair_with([Ours, Original], &["auto_failback off", "use_apphbd yes"], &[group(0), group(1)])
    else {
        return;
    };
    pair.allow(&["Unable to register with apphbd.", "apphb_hb() failed."]);
    command_lines(&pair);

    // Ours watches the original.
    let device = "/var/log/watchdog";
    pair.host(ORIGINAL).write_file(device, "").expect("a file");
    let more = format!("watchdog_device {device}\nwatchdog_interval_ms 100\n");
    for (node, more) in [(OURS, ""), (ORIGINAL, more.as_str())] {
        pair.host(node).write_file(SETTINGS, &settings(more)).expect("settings");
    }
    let ours = |words: &[&str]| pair.host(ORIGINAL).run(&[OUR_PROGRAM, words].concat()).expect("it runs");
    assert_eq!(ours(&["-c", SETTINGS]).code, Some(0));
    pair.start_both();
    pair.logged(ORIGINAL, &[REGISTERED]);

    // Debian's watches ours, which finds it when it comes.
    let missing = "ERROR: Unable to register with apphbd.: ";
    pair.wait("line about a missing apphbd", || pair.log(OURS).contains(missing));
    pair.run(OURS, &[DEBIANS[OURS], "-c", SETTINGS]);
    pair.logged(OURS, &[REGISTERED]);
    pair.settled("local", "local");
    let beats = || pair.host(OURS).read_file(DEBUG_LOG).unwrap_or_default().matches("type=hb").count();
    let before = beats();
    pair.wait("beats at Debian's apphbd", || beats() > before + 3);
    for node in [OURS, ORIGINAL] {
        assert_eq!(log(pair.host(node)).matches("failed to heartbeat").count(), 0);
        assert_eq!(pair.times_logged(node, REGISTERED), 1);
    }

    // Debian's program for tests, with ours.
    let test = pair.host(ORIGINAL).run(&[TEST_PROGRAM, "-F", "-n", "3", "-i", "300"]).expect("it runs");
    assert!(!test.stderr.contains("ERROR"), "{test:?}");
    for text in ["' failed to heartbeat", "' resumed heartbeats", "apphb_client_remove: client: "] {
        let text = text.trim_start_matches('\'');
        logged(&pair, ORIGINAL, text);
    }

    // The end of each.
    let daemon = pair.run(ORIGINAL, &["cat", "/var/run/heartbeat.pid"]);
    let removed = format!("apphb_client_remove: client: {}\n", daemon.trim());
    assert!(!log(pair.host(ORIGINAL)).contains(&removed));
    for node in [OURS, ORIGINAL] {
        pair.host(node).stop_daemon().expect("stop");
        pair.ended_well(node);
    }
    logged(&pair, ORIGINAL, &removed);
    let running = ours(&["-s"]);
    assert!(running.code == Some(0) && running.stderr.starts_with("apphbd is running [pid: "), "{running:?}");
    let again = ours(&["-c", SETTINGS]);
    assert!(again.code == Some(0) && again.stderr.contains("CRIT: already running: [pid "), "{again:?}");
    assert_eq!(ours(&["-r", "-c", SETTINGS]).code, Some(0));
    assert_eq!(ours(&["-k"]).code, Some(0));
    assert_eq!(ours(&["-s"]).code, Some(3));
    let fed = pair.host(ORIGINAL).read_file(device).expect("device");
    assert!(fed.len() > 3 && fed.ends_with('V'), "{fed:?}");
    pair.run(ORIGINAL, &["sh", "-c", "! ls /var/run/heartbeat/apphb.comm /var/run/apphbd.pid"]);
}

/// Where nothing runs, both programs say the same.
fn command_lines(pair: &Pair) {
    let host = pair.host(ORIGINAL);
    let files = [
        ("unknown", "nonsense 5\n"),
        ("level", "debug_level x\n"),
        ("several", "watchdog_interval_ms 0\nnotify_plugin nosuch\n"),
        ("upper", "DEBUG_LEVEL 1\n"),
    ];
    for (name, text) in files {
        host.write_file(&format!("/etc/ha.d/{name}.cf"), text).expect("file");
    }
    let paths = files.map(|(name, _)| format!("/etc/ha.d/{name}.cf"));
    let mut calls: Vec<Vec<&str>> = vec![
        vec!["-s"],
        vec!["-k"],
        vec!["-h"],
        vec!["-x"],
        vec![],
        vec!["-c", "/etc/ha.d/missing.cf"],
        vec!["-c"],
    ];
    calls.extend(paths.iter().map(|path| vec!["-c", path.as_str()]));
    for words in calls {
        let ask = |program: &[&str]| {
            let output = host.run(&[program, &words].concat()).expect("it runs");
            let said = output.stderr.replace(DEBIANS[ORIGINAL], "apphbd");
            (output.code, output.stdout, without_heads(&said))
        };
        assert_eq!(ask(&[DEBIANS[ORIGINAL]]), ask(OUR_PROGRAM), "apphbd {words:?}");
    }
}
