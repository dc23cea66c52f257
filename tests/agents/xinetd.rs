//! Xinetd beside Debian's, with a process called xinetd that notes its SIGHUPs, in a world of processes
//! and mounts of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::beside::{Beside, Difference, Form, Whose};
use crate::inside::in_namespaces;

const DEFINITION: &str = "service echo\n{\n\tdisable\t= yes\n\tport = 7\n}\n";
const PROBE: &str = "mount -t proc proc /proc && mkdir -p /etc/xinetd.d && mount -t tmpfs none /etc/xinetd.d";

/// What both agents give differs where stopping a service without a file is asked for.
const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "stop without a file",
        why: "such a service does not run, and a stop that fails ends in a reset of the node",
        debian: "exit 7",
        ours: "exit 0",
    },
    Difference {
        name: "stop without a file, its line",
        why: "as above",
        debian: "out: INFO:  Resource is stopped",
        ours: "out: INFO:  Success",
    },
    Difference {
        name: "stop without a file, its log line",
        why: "as above",
        debian: "log: INFO:  Resource is stopped",
        ours: "log: INFO:  Success",
    },
    Difference {
        name: "usage",
        why: "the original's script calls a function that it does not have",
        debian: "not found",
        ours: "out: Usage: Xinetd <xinetd-service-name> (start|stop|status|usage|meta-data)",
    },
    Difference {
        name: "usage, its line",
        why: "as above",
        debian: "out: ERROR:  Unknown error: 127",
        ours: "",
    },
    Difference {
        name: "usage, its log line",
        why: "as above",
        debian: "log: ERROR:  Unknown error: 127",
        ours: "",
    },
];

#[test]
fn xinetd_beside_debians() {
    let options = ["--mount", "--pid", "--fork"];
    in_namespaces("xinetd::xinetd_beside_debians", &options, PROBE, || {
        let Some(pair) = Beside::new("Xinetd", DIFFERENCES) else { return };
        assert!(Command::new("sh").args(["-c", PROBE]).status().unwrap().success());
        without_xinetd(&pair);
        let signals = pair.directory.path().join("signals");
        let mut daemon = stand_in(&pair, &signals);
        let file = |name: &str| PathBuf::from("/etc/xinetd.d").join(name);
        let write = |text: &str| fs::write(file("echo"), text).unwrap();
        // Both agents find the same beginning.
        let step = |arguments: &[&str], text: &str| {
            write(text);
            pair.same(Form::Class(arguments), |_| {
                let noted = || fs::read_to_string(&signals).unwrap_or_default().lines().count();
                let changed = fs::read_to_string(file("echo")).unwrap();
                if changed != text {
                    wait_until("SIGHUP is noted", || noted() > 0);
                }
                let state = vec![format!("{} SIGHUPs", noted()), changed];
                let _ = fs::remove_file(&signals);
                write(text);
                state
            })
        };
        let on = DEFINITION.replace("yes", "no");
        for (arguments, text, code) in [
            (&["echo", "status"][..], DEFINITION, 7),
            (&["echo", "status"], &on, 0),
            (&["echo", "monitor"], "service echo\n{\n}\n", 0),
            (&["echo", "status"], "disable = perhaps\n", 6),
            (&["echo", "start"], DEFINITION, 0),
            (&["echo", "start"], &on, 0),
            (&["echo", "stop"], &on, 0),
            (&["echo", "stop"], DEFINITION, 0),
            (&["none", "start"], DEFINITION, 5),
            (&["none", "status"], DEFINITION, 7),
            (&["none", "stop"], DEFINITION, 7),
            (&["echo", "usage"], DEFINITION, 1),
            (&["start"], DEFINITION, 1),
        ] {
            assert_eq!(step(arguments, text), Some(code), "{arguments:?} {text}");
        }
        write(&on);
        for action in ["status", "monitor", "validate-all", "usage", "promote"] {
            pair.same_lines(Form::Ocf(action, &[("service", "echo")]));
        }
        pair.same_lines(Form::Ocf("start", &[("service", "")]));
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    });
}

fn without_xinetd(pair: &Beside) {
    fs::write("/etc/xinetd.d/echo", DEFINITION).unwrap();
    for (operation, code) in [("start", 5), ("status", 7), ("stop", 0)] {
        assert_eq!(pair.same_lines(Form::Class(&["echo", operation])), Some(code));
    }
    pair.same_lines(Form::Ocf("validate-all", &[("service", "echo")]));
}

/// A shell called xinetd: a line in `signals` for each SIGHUP.
fn stand_in(pair: &Beside, signals: &std::path::Path) -> Child {
    let program = pair.directory.path().join("xinetd");
    fs::copy("/bin/sh", &program).unwrap();
    let ready = pair.place(Whose::Ours).join("ready");
    let text = format!(
        // Not `read`: a signal just before it blocks would be noted at the next one only.
        "trap 'echo hup >>{}' HUP; >{}; while :; do sleep 0.02; done",
        signals.display(),
        ready.display()
    );
    // A shell does not trap what was ignored when it began, as under nohup.
    let mut command = Command::new("env");
    let child = command.arg("--default-signal=HUP").arg(program).args(["-c", &text]).stdin(Stdio::null());
    let child = child.spawn().unwrap();
    wait_until("xinetd's stand-in is ready", || ready.exists());
    child
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
