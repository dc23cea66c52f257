//! `ha init` and `ha keygen` on one host.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::binary;
use crate::traces::{can_trace, ha, names, said, traced, with_own_mounts, CALLS};

fn own_name() -> String {
    nix::unistd::gethostname().expect("name").to_string_lossy().to_lowercase()
}

/// Words that make a pair of this host and `beta`.
fn good<'a>(own: &'a str, directory: &'a str) -> Vec<&'a str> {
    vec![
        "init",
        "--batch",
        "--directory",
        directory,
        "--node",
        own,
        "--node",
        "beta",
        "--link",
        "bcast lo",
        "--address",
        "192.0.2.77/24/lo",
    ]
}

const FILES: [&str; 3] = ["authkeys", "ha.cf", "haresources"];

/// Whether `ha check` finds no error.
fn passes(directory: &Path) -> bool {
    ha(&["check", directory.to_str().expect("path")]).status.code().is_some_and(|code| code < 2)
}

#[test]
fn options_make_a_pair_that_passes_the_check() {
    let folder = tempfile::tempdir().expect("folder");
    let directory = folder.path().join("ha.d");
    let own = own_name();
    let words = good(&own, directory.to_str().expect("path"));
    let output = ha(&words);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(names(&directory), FILES);
    let mode = |name: &str| fs::metadata(directory.join(name)).expect(name).permissions().mode() & 0o7777;
    assert_eq!((mode("authkeys"), mode("ha.cf")), (0o600, 0o644));
    assert!(passes(&directory));
    let ha_cf = fs::read_to_string(directory.join("ha.cf")).expect("ha.cf");
    assert!(ha_cf.contains("\nauto_failback off\n") && ha_cf.contains("\ndeadtime 10\n"), "{ha_cf}");
    assert!(said(&output).contains("ssh root@beta ha init --receive"), "{}", said(&output));
    let keys = fs::read_to_string(directory.join("authkeys")).expect("keys");

    // once more: refused, unless told; then the old ones are kept
    let again = ha(&words);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(names(&directory), FILES);
    let forced = ha(&[&words[..], &["--force"]].concat());
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    assert_eq!(names(&directory).len(), 6);
    assert_eq!(fs::read_to_string(directory.join("authkeys.before-1")).expect("kept"), keys);
    assert_ne!(fs::read_to_string(directory.join("authkeys")).expect("new"), keys);
}

#[test]
fn every_slip_leaves_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let directory = folder.path().join("ha.d");
    let place = directory.to_str().expect("path");
    let own = own_name();
    let nowhere = folder.path().join("no/such/place");
    let nowhere = nowhere.to_str().expect("path");
    fs::write(folder.path().join("file"), "").expect("file");
    let file = folder.path().join("file");
    let file = file.to_str().expect("path");
    let change = |at: usize, word: &'static str| {
        let mut words = good(&own, place);
        words[at] = word;
        words
    };
    let more = |extra: &[&'static str]| [&good(&own, place)[..], extra].concat();
    let cases: Vec<Vec<&str>> = vec![
        change(5, "gamma"),
        change(5, ""),
        change(7, "be ta"),
        change(7, "beta\nrespawn root /bin/true"),
        change(9, "bcast"),
        change(9, "bcast nosuch0"),
        change(9, "beast lo"),
        change(9, "ucast lo"),
        change(9, "ucast lo 300.1.1.1"),
        change(9, "serial /dev/null/x"),
        change(9, "bcast lo # x"),
        change(11, "192.0.2.300/24/lo"),
        change(11, "192.0.2.77/99/lo"),
        change(11, "nginx"),
        change(11, "127.0.0.1/8/lo"),
        change(0, "iniit"),
        change(2, "--directroy"),
        vec!["init", "--batch", "--directory", place],
        good(&own, place)[..8].to_vec(),
        good(&own, nowhere),
        good(&own, file),
        more(&["--node", "gamma"]),
        more(&["--service", "nosuchservice"]),
        more(&["--service", "a b"]),
        more(&["--preferred", "gamma"]),
        more(&["--deadtime", "soon"]),
        more(&["--deadtime", "0"]),
        more(&["--deadtime", "1"]),
        more(&["--keepalive", "-1"]),
        more(&["--port", "99999"]),
        more(&["--ping", "not an address"]),
        more(&["--copy", "x"]),
        more(&["--receive"]),
        more(&["superfluous"]),
        vec!["init", "--receive", "--directory", place],
        vec!["init", "--send", "--directory", place],
        vec!["keygen", "-o", place, "--method", "crc"],
        vec!["keygen", "-o", place, "--number", "0"],
        vec!["keygen", "-o", nowhere],
        vec!["keygen", "-o", "/"],
    ];
    for words in cases {
        let output = ha(&words);
        assert!(matches!(output.status.code(), Some(1 | 2 | 127)), "{words:?}: {}", said(&output));
        assert!(!output.stderr.is_empty(), "{words:?} says nothing");
        assert_eq!(names(folder.path()), ["file"], "{words:?}: {}", said(&output));
    }
}

#[test]
fn a_terminal_asks_until_it_is_right() {
    let folder = tempfile::tempdir().expect("folder");
    let directory = folder.path().join("ha.d");
    let pty = nix::pty::openpty(None, None).expect("pty");
    let slave = || Stdio::from(pty.slave.try_clone().expect("slave"));
    let mut child = Command::new(binary())
        .args(["init", "--directory", directory.to_str().expect("path")])
        .stdin(slave())
        .stdout(slave())
        .stderr(slave())
        .spawn()
        .expect("ha init");
    drop(pty.slave);
    let mut master = fs::File::from(pty.master);
    // this node, a slip, the other node, a slip, a link, no other, an address, no service, home, write
    let answers = "\ngamma delta\nbeta\nbcast nosuch0\nbcast lo\n\n192.0.2.77/24/lo\n\n\nmaybe\nyes\n";
    master.write_all(answers.as_bytes()).expect("answers");
    let code = child.wait().expect("end").code();
    let mut seen = Vec::new();
    // the end of a terminal is an error
    let _ = master.read_to_end(&mut seen);
    let seen = String::from_utf8_lossy(&seen);
    assert_eq!(code, Some(0), "{seen}");
    for part in ["more than one word", "nosuch0", "yes or no", "wrote"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert_eq!(names(&directory), FILES);
    assert!(passes(&directory));
}

#[test]
fn answers_that_end_early_or_say_no_leave_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let directory = folder.path().join("ha.d");
    let answers = ["", "beta", "bcast lo", "", "192.0.2.77/24/lo", "", "", "no"];
    for count in 0..=answers.len() {
        let mut child = Command::new(binary())
            .args(["init", "--directory", directory.to_str().expect("path")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ha init");
        let text: String = answers[..count].iter().map(|answer| format!("{answer}\n")).collect();
        child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("answers");
        let output = child.wait_with_output().expect("end");
        assert_eq!(output.status.code(), Some(1), "{count}: {}", said(&output));
        assert!(said(&output).contains("nothing was written"), "{}", said(&output));
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}

#[test]
fn killed_at_any_step_it_leaves_all_files_or_none() {
    if !can_trace() {
        return;
    }
    let own = own_name();
    let mut killed = 0;
    for calls in CALLS {
        for number in 1..20 {
            let folder = tempfile::tempdir().expect("folder");
            let directory = folder.path().join("ha.d");
            let words = good(&own, directory.to_str().expect("path"));
            let first = traced("signal=SIGKILL", calls, number, &words);
            if first.status.success() {
                break;
            }
            killed += 1;
            if directory.join("ha.cf").exists() {
                let all = FILES.iter().all(|name| directory.join(name).exists());
                assert!(all, "{calls} {number}: ha.cf without the rest");
            }
            // the next run puts it right: it writes, or finds what the first one completed
            let next = ha(&words);
            let complete = said(&next).contains("there already");
            assert!(next.status.success() || complete, "{calls} {number}: {}", said(&next));
            assert_eq!(names(&directory), FILES, "{calls} {number}");
            assert!(passes(&directory), "{calls} {number}");
        }
    }
    assert!(killed > 10, "{killed}");
}

#[test]
fn killed_while_it_replaces_it_loses_nothing() {
    if !can_trace() {
        return;
    }
    let own = own_name();
    for calls in CALLS {
        for number in 1..20 {
            let folder = tempfile::tempdir().expect("folder");
            let directory = folder.path().join("ha.d");
            let words = [&good(&own, directory.to_str().expect("path"))[..], &["--force"]].concat();
            assert!(ha(&words).status.success());
            let keys = fs::read_to_string(directory.join("authkeys")).expect("keys");
            let second = traced("signal=SIGKILL", calls, number, &words);
            assert!(FILES.iter().all(|name| directory.join(name).exists()), "{calls} {number}");
            let third = ha(&words);
            assert!(third.status.success(), "{calls} {number}: {}", said(&third));
            let kept = names(&directory);
            assert!(kept.iter().all(|name| !name.starts_with('.')), "{calls} {number}: {kept:?}");
            let holds =
                |name: &String| fs::read_to_string(directory.join(name)).is_ok_and(|text| text == keys);
            assert!(kept.iter().any(holds), "{calls} {number}: the first key is gone");
            if second.status.success() {
                break;
            }
        }
    }
}

#[test]
fn a_refused_call_at_any_step_leaves_nothing() {
    if !can_trace() {
        return;
    }
    let own = own_name();
    let mut refused = 0;
    for calls in CALLS {
        for number in 1..6 {
            let folder = tempfile::tempdir().expect("folder");
            let directory = folder.path().join("ha.d");
            let words = good(&own, directory.to_str().expect("path"));
            let output = traced("error=ENOSPC", calls, number, &words);
            if output.status.success() {
                // tidying up may be refused
                assert!(FILES.iter().all(|name| directory.join(name).exists()), "{calls} {number}");
                continue;
            }
            refused += 1;
            assert!(said(&output).contains("nothing was written"), "{}", said(&output));
            assert_eq!(names(folder.path()), Vec::<String>::new(), "{calls} {number}: {}", said(&output));
        }
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_full_or_read_only_disk_leaves_nothing() {
    let own = own_name();
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" || exit 77; shift; d=$1; shift; \"$@\"; code=$?; \
                  find \"$d\" -mindepth 1; exit $code";
    let mut full = 0;
    for options in
        ["ro", "nr_blocks=1", "nr_blocks=2", "nr_inodes=2", "nr_inodes=4", "nr_inodes=5", "size=1m"]
    {
        let folder = tempfile::tempdir().expect("folder");
        let directory = folder.path().join("ha.d");
        let words = good(&own, directory.to_str().expect("path"));
        let mut all: Vec<&Path> = vec![Path::new(options), folder.path(), binary()];
        all.extend(words.iter().map(Path::new));
        let Some(output) = with_own_mounts(script, &all) else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            assert!(FILES.iter().all(|name| text.contains(&format!("ha.d/{name}"))), "{options}: {text}");
        } else {
            full += 1;
            assert!(!text.contains("ha.d"), "{options}: {text}");
            assert!(said(&output).contains("nothing was written"), "{options}: {}", said(&output));
        }
    }
    assert!((4..7).contains(&full), "{full} were full");
}

#[test]
fn the_other_node_gets_the_same_files_by_ssh() {
    let folder = tempfile::tempdir().expect("folder");
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).expect("folder");
    let ssh = tools.join("ssh");
    let there = folder.path().join("there");
    // what a real one does with its words, on this host
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = admin@beta ] || exit 255\nshift 2\nmkdir -p {0}\nexec {1} \"$1\" \"$2\" --directory {0}\n",
        there.display(),
        binary().display()
    );
    fs::write(&ssh, text).expect("ssh");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("mode");
    let here = folder.path().join("here");
    let own = own_name();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
    let run = |target: &str, more: &[&str]| {
        let words = good(&own, here.to_str().expect("path"));
        let copy = format!("--copy={target}");
        Command::new(binary()).args(&words).arg(copy).args(more).env("PATH", &path).output().expect("ha init")
    };
    let output = run("admin@beta", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    for name in FILES {
        let read = |folder: &Path| fs::read(folder.join(name)).expect(name);
        assert_eq!(read(&here), read(&there), "{name}");
    }
    let mode = fs::metadata(there.join("authkeys")).expect("keys").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    // a host that does not answer: here all is written, and the text says what is left to do
    let output = run("nobody@beta", &["--force"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("the files here are written"), "{}", said(&output));
}

#[test]
fn keys_are_made_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("authkeys");
    let place = file.to_str().expect("path");
    let output = ha(&["keygen", "--method", "md5", "--number", "3", "-o", place]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(&file).expect("keys");
    assert!(text.contains("\nauth 3\n3 md5 "), "{text}");
    assert_eq!(fs::metadata(&file).expect("keys").permissions().mode() & 0o7777, 0o600);
    assert_eq!(ha(&["keygen", "-o", place]).status.code(), Some(1));
    assert_eq!(ha(&["keygen", "-o", place, "--force"]).status.code(), Some(0));
    assert_eq!(names(folder.path()), ["authkeys", "authkeys.before-1"]);
    let printed = ha(&["keygen"]);
    assert!(String::from_utf8_lossy(&printed.stdout).contains("\nauth 1\n1 sha1 "));
}
