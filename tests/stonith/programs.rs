//! Devices that are reached by a program: `cyclades` and `ssh` by ssh, `ipmilan` by ipmitool.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use crate::{programs, stonith_with};

/// A terminal server with an AlterPath PM behind it.
const PM: &str = r#"#!/bin/sh
here=${0%/*}
command="${*#*pmCommand 3 }"
case $* in *"admin@10.9.9.9 /bin/pmCommand 3 "*) ;; *) echo "called as $*" >> $here/deeds; exit 255;; esac
case $command in
"status all")
    printf 'Outlet\t\tName\t\tStatus\t\tUsers\t\tInterval (s)\r\n'
    printf '  1\t\tnode1\t\tON\t\troot\t\t0.50\r\n  2\t\tnode2\t\tON\t\troot\t\t0.50\r\n';;
cycle*) echo "$command" >> $here/deeds
    [ "$FAULT" = drop ] && exit 255
    [ "$FAULT" = other ] && command="cycle 1"
    printf '%s: Outlet turned off.\r\n%s: Outlet turned on.\r\n' "${command#* }" "${command#* }";;
on*|off*) echo "$command" >> $here/deeds; printf '%s: Outlet turned %s.\r\n' "${command#* }" "${command% *}";;
esac
"#;

const IPMITOOL: &str = r#"#!/bin/sh
here=${0%/*}
case $* in *geheim*) echo "the password is on the command line" >> $here/deeds; exit 1;; esac
[ "$IPMI_PASSWORD" = geheim ] || { echo "no password" >> $here/deeds; exit 1; }
echo "$@" >> $here/deeds
exit ${FAULT:-0}
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        for (name, text) in programs {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("program");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("mode");
        }
        Self(folder)
    }

    fn path_variable(&self) -> String {
        format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap_or_default())
    }

    fn take_deeds(&self) -> String {
        let path = self.0.path().join("deeds");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        text
    }
}

#[test]
fn cyclades_switches_for_both_programs() {
    let folder = Folder::new(&[("ssh", PM)]);
    let path = folder.path_variable();
    let pairs = [("ipaddr", "10.9.9.9"), ("login", "admin"), ("serialport", "3")];
    for program in programs() {
        let run = |words: &[&str], fault: &str| {
            let variables = [("PATH", path.as_str()), ("FAULT", fault)];
            stonith_with(&program, "cyclades", &pairs, words, &variables)
        };
        let (code, text) = run(&["-lS", "-T", "reset", "NODE2"], "");
        assert_eq!((code, folder.take_deeds().as_str()), (0, "cycle 2\n"), "{}: {text}", program.0);
        assert!(text.contains("node1\nnode2\n"), "{}: {text}", program.0);
        let (code, text) = run(&["-T", "off", "node1"], "");
        assert_eq!((code, folder.take_deeds().as_str()), (0, "off 1\n"), "{}: {text}", program.0);
        assert_ne!(run(&["-T", "reset", "node9"], "").0, 0);
        assert_eq!(folder.take_deeds(), "");
        if program.0 == crate::ORIGINAL {
            continue; // it waits a minute for the words
        }
        for fault in ["drop", "other"] {
            let (code, text) = run(&["-T", "reset", "node2"], fault);
            assert_eq!((code, folder.take_deeds().as_str()), (5, "cycle 2\n"), "{fault}: {text}");
        }
    }
}

#[test]
fn ipmilan_tells_ipmitool_the_password_by_the_environment() {
    let folder = Folder::new(&[("ipmitool", IPMITOOL)]);
    let path = folder.path_variable();
    let ours = programs().pop().expect("ours");
    let run = |method: &str, words: &[&str], fault: &str| {
        let pairs = [
            ("hostname", "node2"),
            ("ipaddr", "10.9.9.9"),
            ("port", "623"),
            ("auth", "md5"),
            ("priv", "admin"),
            ("login", "root"),
            ("password", "geheim"),
            ("reset_method", method),
        ];
        let variables = [("PATH", path.as_str()), ("FAULT", fault)];
        stonith_with(&ours, "ipmilan", &pairs, words, &variables)
    };
    let start = "-I lan -H 10.9.9.9 -p 623 -A MD5 -L ADMINISTRATOR -U root -E chassis power";
    for (method, words, expected) in [
        ("power_cycle", ["-T", "reset", "Node2"], "reset"),
        ("hard_reset", ["-T", "reset", "node2"], "cycle"),
        ("power_cycle", ["-T", "off", "node2"], "off"),
        ("power_cycle", ["-T", "on", "node2"], "on"),
    ] {
        let (code, text) = run(method, &words, "0");
        assert_eq!((code, folder.take_deeds()), (0, format!("{start} {expected}\n")), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
    assert_eq!(run("power_cycle", &["-T", "reset", "node2"], "1").0, 5);
    assert_eq!(run("power_cycle", &["-S"], "1").0, 2);
    folder.take_deeds();
    assert_ne!(run("power_cycle", &["-T", "reset", "node1"], "0").0, 0);
    assert_eq!(run("other", &["-T", "reset", "node2"], "0").0, 3);
    assert_eq!(folder.take_deeds(), "");
}
