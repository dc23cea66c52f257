//! Delay, MailTo, AudibleAlarm, WinPopup and the vendors' agents beside Debian's.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::beside::{Beside, Difference, Form, Whose};
use crate::inside::in_namespaces;

const UNKNOWN_ACTION: Difference = Difference {
    name: "unknown action",
    why: "the OCF interface has exit code 3 for it, and ocf-tester asks for that",
    debian: "exit 2",
    ours: "exit 3",
};

#[test]
fn delay_beside_debians() {
    let Some(mut pair) = Beside::new("Delay", &[UNKNOWN_ACTION]) else { return };
    pair.environment.push(("OCF_RESKEY_mondelay".into(), "0".into()));
    for (arguments, code) in [
        (&["0.1", "0.1", "status"][..], 7),
        (&["0.1", "0.1", "start"], 0),
        (&["0.1", "0.1", "start"], 0),
        (&["0.1", "0.1", "status"], 0),
        (&["0.1", "0.1", "monitor"], 0),
        (&["0.2", "status"], 7),
        (&["0.1", "0.1", "stop"], 0),
        (&["0.1", "0.1", "stop"], 0),
        (&["0.1", "x", "start"], 2),
        (&["1.2.3", "status"], 2),
        (&["1", "2", "3", "start"], 1),
        (&["1", "2", "usage"], 1),
        (&["1", "2", "fly"], 1),
        (&["1", "2", ""], 1),
        (&[], 1),
    ] {
        let found = pair.same(Form::Class(arguments), |whose| pair.state_files(whose));
        assert_eq!(found, Some(code), "{arguments:?}");
    }
    let short: &[(&str, &str)] = &[("startdelay", "0"), ("stopdelay", "0"), ("mondelay", "0")];
    for action in ["validate-all", "monitor", "status", "start", "status", "stop", "usage", "promote"] {
        pair.same(Form::Ocf(action, short), |whose| pair.state_files(whose));
    }
    pair.same_lines(Form::Ocf("validate-all", &[("startdelay", "soon")]));
}

#[test]
fn a_killed_delay_reaches_the_asked_state() {
    let Some(mut pair) = Beside::new("Delay", &[]) else { return };
    pair.environment.push(("OCF_RESKEY_mondelay".into(), "0".into()));
    let mut child = pair.command(Whose::Ours, Form::Class(&["60", "60", "start"])).spawn().unwrap();
    wait_until("the start is noted", || !pair.state_files(Whose::Ours).is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let run = |arguments: &[&str]| pair.run(Whose::Ours, Form::Class(arguments)).code;
    assert_eq!(run(&["60", "0", "stop"]), Some(0));
    assert_eq!(run(&["60", "0", "status"]), Some(7));
}

/// A program that notes its arguments and input in `file`.
fn stand_in(folder: &Path, name: &str, body: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn with_programs(pair: &mut Beside) -> std::path::PathBuf {
    let folder = pair.directory.path().join("bin");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    pair.environment.push(("PATH".into(), path));
    folder
}

/// What is in the stand-in's note of the mail: addresses, subject without its date, text without it.
fn mails(note: &Path) -> Vec<String> {
    let text = fs::read_to_string(note).unwrap_or_default();
    let _ = fs::remove_file(note);
    let kept = |line: &&str| line.starts_with("to ") || line.starts_with("Subject:") || line.starts_with(' ');
    let cut = |line: &str| match line.split_once(" at ") {
        Some((begin, rest)) => {
            format!("{begin} at DATE {}", rest.split(' ').skip(6).collect::<Vec<_>>().join(" "))
        }
        None => line.to_owned(),
    };
    text.lines()
        .filter(kept)
        .map(|line| cut(line).trim_end().replace("/usr/lib/ocf/resource.d/heartbeat/", ""))
        .collect()
}

#[test]
fn mail_to_beside_debians() {
    let Some(mut pair) = Beside::new("MailTo", &[]) else { return };
    let folder = with_programs(&mut pair);
    let note = pair.directory.path().join("mail");
    // Debian's calls mail, ours sendmail.
    let file = note.display();
    stand_in(&folder, "mail", &format!("{{ echo \"to $3\"; echo \"Subject: $2\"; cat; }} >>{file}"));
    stand_in(&folder, "sendmail", &format!("{{ echo \"to $3\"; cat; }} >>{file}"));
    for arguments in [
        &["root@localhost", "Web server", "status"][..],
        &["root@localhost", "Web server", "start"],
        &["root@localhost", "Web server", "status"],
        &["root@localhost", "W", "stop"],
        &["root@localhost", "monitor"],
        &["root@localhost", "start"],
        &["root@localhost", "stop"],
        &["root@localhost", "usage"],
        &["root@localhost", "fly"],
        &["start"],
        &["a", "b", "c", "start"],
        &[],
    ] {
        pair.same(Form::Class(arguments), |whose| [pair.state_files(whose), mails(&note)].concat());
    }
    for action in ["start", "monitor", "stop", "validate-all", "usage", "promote"] {
        pair.same(Form::Ocf(action, &[("email", "a@b"), ("subject", "S")]), |_| mails(&note));
    }
    pair.same_lines(Form::Ocf("start", &[]));
    for whose in [Whose::Debian, Whose::Ours] {
        assert!(pair.state_files(whose).is_empty());
    }
    let words =
        |whose| pair.command(whose, Form::Ocf("a", &[])).arg("b").env("OCF_RESOURCE_INSTANCE", "x").output();
    let codes = [Whose::Debian, Whose::Ours].map(|whose| words(whose).unwrap().status.code());
    // Through the path of an OCF agent it would be 2; by its name it is a call of the other class.
    assert_eq!(codes, [Some(1), Some(1)]);
}

/// An SMTP server that takes one mail and gives back what it was told.
fn mail_server(listener: TcpListener) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let (mut reader, mut writer) = (BufReader::new(stream.try_clone().unwrap()), stream);
        let (mut all, mut in_data) = (String::new(), false);
        writer.write_all(b"220 test\r\n").unwrap();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return all;
            }
            all.push_str(&line);
            let reply = match (line.trim_end(), in_data) {
                (".", true) => {
                    in_data = false;
                    "250 taken"
                }
                (_, true) => continue,
                ("DATA", _) => {
                    in_data = true;
                    "354 go on"
                }
                ("QUIT", _) => return all,
                _ => "250 yes",
            };
            writer.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
        }
    })
}

#[test]
fn mail_goes_to_a_server_where_there_is_no_sendmail() {
    in_namespaces(
        "simple::mail_goes_to_a_server_where_there_is_no_sendmail",
        &["--net"],
        "ip link set lo up",
        || {
            assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
            let directory = tempfile::tempdir().unwrap();
            let server = mail_server(TcpListener::bind((Ipv4Addr::LOCALHOST, 25)).unwrap());
            let ha = |arguments: &[&str], more: &[(&str, &str)]| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
                command.args(arguments).env("HA_RSCTMP", directory.path()).env("PATH", "/nowhere");
                command.env("HA_LOGFILE", directory.path().join("log")).env_remove("HA_LOGFACILITY");
                command.stdin(std::process::Stdio::null()).envs(more.iter().copied()).output().unwrap()
            };
            let local = [("OCF_RESKEY_smtp_server", "localhost")];
            assert!(ha(&["MailTo", "a@b,c@d", "Web", "start"], &local).status.success());
            let told = server.join().unwrap();
            for part in [
                "MAIL FROM:<root@",
                "RCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\n",
                "Subject: Web Takeover in progress at ",
            ] {
                assert!(told.contains(part), "{part} not in {told}");
            }
            // Nobody listens any more: the group moves all the same.
            assert!(ha(&["MailTo", "a@b", "stop"], &local).status.success());
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            assert!(log.contains("ERROR: No mail to a@b: localhost: "), "{log}");
            let server = mail_server(TcpListener::bind((Ipv4Addr::LOCALHOST, 2525)).unwrap());
            let other = [("OCF_RESKEY_smtp_server", "127.0.0.1:2525")];
            assert!(ha(&["MailTo", "a@b", "start"], &other).status.success());
            assert!(server.join().unwrap().contains("\r\n.\r\n"));
        },
    );
}

#[test]
fn audible_alarm_beside_debians() {
    let differences = &[UNKNOWN_ACTION];
    let Some(pair) = Beside::new("AudibleAlarm", differences) else { return };
    let own = String::from_utf8(Command::new("uname").arg("-n").output().unwrap().stdout).unwrap();
    for arguments in [
        &["other", "status"][..],
        &["other", "start"],
        &["other", "status"],
        &["other", "monitor"],
        &["other", "stop"],
        &["other", "stop"],
        &[own.trim(), "start"],
        &[own.trim(), "status"],
        &["usage"],
        &["other", "fly"],
    ] {
        pair.same(Form::Class(arguments), |whose| pair.state_files(whose));
    }
    for action in ["start", "status", "validate-all", "stop", "usage", "promote"] {
        pair.same(Form::Ocf(action, &[]), |whose| pair.state_files(whose));
    }
    // The second start takes the place of the first.
    let pid = || fs::read_to_string(pair.place(Whose::Ours).join("run/heartbeat-bell")).unwrap();
    let alive = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    pair.run(Whose::Ours, Form::Class(&["start"]));
    let first = pid();
    pair.run(Whose::Ours, Form::Class(&["start"]));
    let second = pid();
    assert!(!alive(&first) && alive(&second));
    // A process that is gone is not running, and its stop is well.
    assert!(Command::new("kill").args(["-9", second.trim()]).status().unwrap().success());
    wait_until("the bell's process is gone", || !alive(&second));
    assert_eq!(pair.run(Whose::Ours, Form::Class(&["status"])).code, Some(7));
    assert_eq!(pair.run(Whose::Ours, Form::Class(&["stop"])).code, Some(0));
}

#[test]
fn win_popup_beside_debians() {
    let differences = &[
        Difference {
            name: "stop without workstations",
            why: "a stop that fails ends in a reset of the node",
            debian: "exit 2",
            ours: "exit 0",
        },
        Difference {
            name: "stop without workstations, its line",
            why: "as above",
            debian: "out: ERROR:  Illegal argument",
            ours: "out: INFO:  Success",
        },
        Difference {
            name: "stop without workstations, its log line",
            why: "as above",
            debian: "log: ERROR:  Illegal argument",
            ours: "log: INFO:  Success",
        },
    ];
    let Some(mut pair) = Beside::new("WinPopup", differences) else { return };
    let folder = with_programs(&mut pair);
    let note = pair.directory.path().join("note");
    stand_in(&folder, "smbclient", &format!("{{ echo \"$*\"; cat; }} >>{}", note.display()));
    stand_in(&folder, "nmblookup", "[ $1 = known ] || echo \"failed to find name $1\"");
    let hosts = |name: &str, text: &str| {
        let path = pair.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let notes = || {
        let text = fs::read_to_string(&note).unwrap_or_default();
        let _ = fs::remove_file(&note);
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (two, strange, none) =
        (hosts("two", "known\n10.0.0.1\n"), hosts("strange", "x\ny z\n"), hosts("none", ""));
    let missing = pair.directory.path().join("missing").display().to_string();
    for arguments in [
        &[&two, "status"][..],
        &[&two, "start"],
        &[&two, "start"],
        &[&two, "status"],
        &[&two, "stop"],
        &[&two, "stop"],
        &[&missing, "start"],
        &[&none, "start"],
        &[&two, "usage"],
        &[&two, "fly"],
        &["a", "b", "start"],
    ] {
        pair.same(Form::Class(arguments), |whose| [pair.state_files(whose), notes()].concat());
    }
    pair.same_lines(Form::Class(&[&missing, "stop"]));
    for file in [&two, &strange, &none, &missing] {
        pair.same_lines(Form::Ocf("validate-all", &[("hostfile", file)]));
    }
    pair.same_lines(Form::Ocf("promote", &[("hostfile", &two)]));
}

#[test]
fn vendors_scripts_run_where_they_are_installed() {
    // What these say and answer without their products is the script's own.
    for (name, arguments) in [
        ("db2", &["nobody", "status"][..]),
        ("WAS", &["status"]),
        ("WAS", &["9080", "status"]),
        ("WAS", &["x", "status"]),
        ("ICP", &["1", "/dev/null", "status"]),
        ("ServeRAID", &["1", "1", "status"]),
        ("ids", &["/nowhere", "server", "config", "status"]),
        ("ids", &["one", "status"]),
        ("db2", &["usage"]),
        ("db2", &["a", "usage"]),
    ] {
        let Some(pair) = Beside::new(name, &[]) else { return };
        pair.same_lines(Form::Class(arguments));
    }
}

#[test]
fn a_missing_script_is_said_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    for operation in ["start", "stop", "status"] {
        let output = Command::new(env!("CARGO_BIN_EXE_ha"))
            .args(["db2", "inst", operation])
            .env("OCF_ROOT", directory.path())
            .env("HA_LOGFILE", directory.path().join("log"))
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(5));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ERROR:  Program is not installed\n");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("resource.d/heartbeat/db2 is missing: db2 needs the script"), "{told}");
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
