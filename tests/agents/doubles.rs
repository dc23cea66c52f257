//! Agents whose programs and devices no namespace has: drbdadm and sg_persist are recorded doubles here,
//! shell scripts that answer as the real ones were seen to answer and note how they were called. The real
//! drbdadm is met in tests/machines (scenario drbd).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::beside::{Beside, Difference, Form};
use crate::inside::in_namespaces;

/// A directory that is first in PATH.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("calls"), "").unwrap();
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// A double; `$D` is the directory, and each call is noted.
    fn program(&self, name: &str, text: &str) {
        let directory = self.0.path().display();
        let script = format!("#!/bin/sh\nD={directory}\necho \"{name} $*\" >>$D/calls\n{text}\n");
        fs::write(self.path(name), script).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn agent(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        let path = format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap());
        command.args(words).env("PATH", path).stdin(Stdio::null()).stderr(Stdio::null());
        command
            .env("HA_RSCTMP", self.0.path())
            .env("HA_LOGFILE", self.path("log"))
            .env("HA_CURHOST", "node1");
        command
    }

    /// Output and exit code.
    fn run(&self, words: &[&str]) -> (String, i32) {
        let output = self.agent(words).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap())
    }

    /// What was called since the last look.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap();
        fs::write(self.path("calls"), "").unwrap();
        calls.lines().map(str::to_owned).collect()
    }

    fn ocf(&self, action: &str, parameters: &[(&str, &str)]) -> i32 {
        let mut command = self.agent(&["LinuxSCSI", action]);
        command.env("OCF_RESOURCE_INSTANCE", "x");
        command.envs(parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)));
        command.status().unwrap().code().unwrap()
    }
}

fn said(text: &str, code: i32) -> (String, i32) {
    (text.to_owned(), code)
}

/// drbdadm of DRBD 8.3 with one resource, whose role is in a file; while a file `fail` holds a number, that
/// many changes fail.
const DRBDADM: &str = r#"
role=$(cat $D/role)
left=$(cat $D/fail 2>/dev/null || echo 0)
case "$1" in primary|secondary)
    if [ "$left" -gt 0 ]; then
        echo $((left - 1)) >$D/fail
        echo "0: State change failed: (-2) Refusing to be Primary without at least one UpToDate disk" >&2
        exit 17
    fi
    case "$1" in primary) echo Primary/Secondary ;; *) echo Secondary/Secondary ;; esac >$D/role ;;
role) [ "$role" = none ] && exit 10; echo "$role" ;;
*) exit 3 ;;
esac"#;

#[test]
fn drbddisk_moves_the_role_and_tries_again() {
    let place = Place::new();
    place.program("drbdadm", DRBDADM);
    fs::write(place.path("role"), "Secondary/Secondary\n").unwrap();
    assert_eq!(place.run(&["drbddisk", "r0", "status"]), said("stopped (Secondary)\n", 3));
    assert_eq!(place.run(&["drbddisk", "r0", "start"]), said("", 0));
    assert_eq!(place.run(&["drbddisk", "r0", "start"]), said("", 0));
    assert_eq!(place.run(&["drbddisk", "r0", "status"]), said("running (Primary)\n", 0));
    place.calls();
    fs::write(place.path("fail"), "2").unwrap();
    assert_eq!(place.run(&["drbddisk", "r0", "stop"]), said("", 0));
    assert_eq!(place.calls(), ["drbdadm secondary r0"; 3]);
    fs::write(place.path("fail"), "9").unwrap();
    let start = Instant::now();
    assert_eq!(place.run(&["drbddisk", "start"]), said("", 1));
    assert_eq!(place.calls(), ["drbdadm primary all"; 6]);
    assert!(start.elapsed() >= Duration::from_secs(5));
    assert_eq!(place.run(&["drbddisk", "r0", "stop"]), said("", 1));
    let name = "A resource name is required for status inquiries.\n";
    assert_eq!(place.run(&["drbddisk", "status"]), said(name, 10));
    let usage = "Usage: drbddisk [resource] {start|stop|status}\n";
    assert_eq!(place.run(&["drbddisk", "r0", "fly"]), said(usage, 1));
    assert_eq!(place.run(&["drbddisk", "a", "b", "start"]).1, 1);
    // drbdadm does not know, and the kernel has no such device.
    fs::write(place.path("role"), "none").unwrap();
    if !Path::new("/proc/drbd").exists() {
        assert_eq!(place.run(&["drbddisk", "r0", "status"]), said("stopped (Unconfigured)\n", 3));
    }
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("ERROR: drbdadm secondary r0: exit code 17: 0: State change failed"), "{log}");
}

#[test]
fn drbddisk_killed_at_any_moment_gets_there_when_run_again() {
    let place = Place::new();
    place.program("drbdadm", &format!("sleep 0.05{DRBDADM}"));
    fs::write(place.path("role"), "Secondary/Secondary\n").unwrap();
    for after_ms in [0, 5, 20, 60, 90] {
        for (operation, state) in [("start", "running (Primary)\n"), ("stop", "stopped (Secondary)\n")] {
            let mut agent = place.agent(&["drbddisk", "r0", operation]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            let _ = agent.kill();
            agent.wait().unwrap();
            assert_eq!(place.run(&["drbddisk", "r0", operation]), said("", 0));
            assert_eq!(place.run(&["drbddisk", "r0", "status"]).0, state);
        }
    }
}

#[test]
fn drbdupper_works_from_below_and_from_above() {
    let place = Place::new();
    let text = r#"
case "$*" in
"-S sh-lr-of up") echo low ;;
"-S check-resize up"|"-S wait-connect up") exit 5 ;;
"-S role up") cat $D/role ;;
"-S primary up") echo Primary/Unknown >$D/role ;;
"-S down up") echo Unconfigured >$D/role ;;
"primary low"|"secondary low"|"-S adjust up") [ ! -e $D/broken ] ;;
*) exit 3 ;;
esac"#;
    place.program("drbdadm", text);
    fs::write(place.path("role"), "Unconfigured\n").unwrap();
    assert_eq!(place.run(&["drbdupper", "up", "status"]), said("stopped\n", 0));
    place.calls();
    assert_eq!(place.run(&["drbdupper", "up", "start"]), said("", 0));
    let expected = [
        "-S sh-lr-of up",
        "primary low",
        "-S check-resize up",
        "-S adjust up",
        "-S wait-connect up",
        "-S primary up",
    ];
    assert_eq!(place.calls(), expected.map(|words| format!("drbdadm {words}")));
    assert_eq!(place.run(&["drbdupper", "up", "status"]), said("running\n", 0));
    place.calls();
    assert_eq!(place.run(&["drbdupper", "up", "stop"]), said("", 0));
    assert_eq!(place.calls(), ["drbdadm -S down up", "drbdadm -S sh-lr-of up", "drbdadm secondary low"]);
    fs::write(place.path("broken"), "").unwrap();
    assert_eq!(place.run(&["drbdupper", "up", "start"]).1, 1);
    assert_eq!(place.run(&["drbdupper", "up", "stop"]).1, 1);
    assert_eq!(place.run(&["drbdupper", "all", "start"]), said("A resource name is required.\n", 10));
    assert_eq!(place.run(&["drbdupper", "start"]), said("A resource name is required.\n", 10));
    assert_eq!(
        place.run(&["drbdupper", "up", "fly"]),
        said("Usage: drbdupper {resource} {start|stop|status}\n", 1)
    );
}

/// sg_persist of sg3_utils 1.46 with a disk whose keys and holder are in files.
const SG_PERSIST: &str = r#"
left=$(cat $D/attentions 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then
    echo $((left - 1)) >$D/attentions
    echo "Persistent reservation in: Fixed format, current; Sense key: Unit Attention" >&2
    echo "Additional sense: Registrations preempted" >&2
    exit 6
fi
for word; do case "$word" in
--param-rk=*) rk=${word#*=} ;;
--param-sark=*) sark=${word#*=} ;;
--prout-type=*) [ "$word" = --prout-type=5 ] || exit 1 ;;
esac; done
keys=$(cat $D/keys) holder=$(cat $D/holder)
known() { echo "$keys" | grep -qx "$1"; }
case "$*" in
*--read-keys*) echo "  PR generation=0x1, registered reservation keys follow:"; sed 's/^/    /' $D/keys ;;
*--read-reservation*)
    if [ "$holder" ]; then
        printf '  PR generation=0x1, Reservation follows:\n    Key=%s\n    scope: LU_SCOPE,  type: Write Exclusive, registrants only\n' $holder
    else
        echo "  PR generation=0x1, there is NO reservation held"
    fi ;;
*--register-ignore*) known $sark || echo $sark >>$D/keys ;;
*--register*) known $rk || exit 24; grep -vx $rk $D/keys >$D/k; mv $D/k $D/keys ;;
*--reserve*) known $rk || exit 24; [ -z "$holder" ] || exit 24; echo $rk >$D/holder ;;
*--preempt*) known $rk || exit 24; grep -vx $sark $D/keys >$D/k; mv $D/k $D/keys; echo $rk >$D/holder ;;
*--release*) [ "$holder" = $rk ] || exit 24; : >$D/holder ;;
*) exit 1 ;;
esac"#;

/// Puts /proc/scsi and /sys of our own over the real ones; the rest of /proc stays as it is.
const SCSI_FILES: &str = "mount -t tmpfs none /mnt && mkdir /mnt/proc && mount --rbind /proc /mnt/proc && \
    mount -t tmpfs none /proc && ln -s /mnt/proc/* /proc/ && rm -f /proc/scsi && mkdir /proc/scsi && mount -t tmpfs none /sys";

fn own_scsi_files() {
    let done = Command::new("sh").args(["-c", SCSI_FILES]).status().unwrap();
    assert!(done.success());
}

/// `/proc/scsi/scsi` and the device's place in /sys are files of a directory, put over the real ones.
#[test]
fn linux_scsi_reserves_takes_over_and_lets_go() {
    let test = "doubles::linux_scsi_reserves_takes_over_and_lets_go";
    in_namespaces(test, &["--mount"], SCSI_FILES, || {
        own_scsi_files();
        let device = Path::new("/sys/class/scsi_device/2:0:1:0/device/block/null");
        fs::create_dir_all(device).unwrap();
        let table = "Attached devices:\nHost: scsi2 Channel: 00 Id: 01 Lun: 00\n  Vendor: Linux    Model: scsi_debug\n";
        let place = Place::new();
        place.program("sg_persist", SG_PERSIST);
        for (name, text) in [("keys", "0xbad\n"), ("holder", "0xbad\n")] {
            fs::write(place.path(name), text).unwrap();
        }
        fs::write("/proc/scsi/scsi", "Attached devices:\n").unwrap();
        // Without its device the start fails, and the kernel was asked with the original's words.
        assert_eq!(place.run(&["LinuxSCSI", "2:0:1", "start"]), said("ERROR:  Generic error\n", 1));
        let asked = fs::read_to_string("/proc/scsi/scsi").unwrap();
        assert!(asked.ends_with("\nscsi add-single-device 2 0 1 0\n"), "{asked}");
        fs::write("/proc/scsi/scsi", table).unwrap();
        assert_eq!(place.run(&["LinuxSCSI", "2:0:1", "start"]), said("INFO:  Success\n", 0));
        assert_eq!(place.run(&["LinuxSCSI", "2:0:1", "status"]), said("INFO:  Running OK\n", 0));
        assert_eq!(place.run(&["LinuxSCSI", "2:0:x", "start"]), said("ERROR:  Illegal argument\n", 2));
        let disk = |name: &str| fs::read_to_string(place.path(name)).unwrap();
        let parameters = [("scsi", "2:0:1"), ("reserve", "yes"), ("key", "abc1")];
        // The other node holds it: not ours, and taken away with its key.
        assert_eq!(place.ocf("monitor", &parameters), 7);
        let calls = |part: &str| place.calls().iter().filter(|call| call.contains(part)).count();
        for first in [1, 0] {
            assert_eq!(place.ocf("start", &parameters), 0);
            assert_eq!((disk("keys").as_str(), disk("holder").as_str()), ("0xabc1\n", "0xabc1\n"));
            assert_eq!(calls(" --preempt-abort "), first);
        }
        // Without ending what the other node has sent.
        for (name, text) in [("keys", "0xbad\n"), ("holder", "0xbad\n")] {
            fs::write(place.path(name), text).unwrap();
        }
        let gentle = [parameters[0], parameters[1], parameters[2], ("abort", "no")];
        assert_eq!(place.ocf("start", &gentle), 0);
        assert_eq!((disk("keys").as_str(), disk("holder").as_str()), ("0xabc1\n", "0xabc1\n"));
        assert_eq!(calls(" --preempt "), 1);
        assert_eq!(place.ocf("monitor", &parameters), 0);
        // The disk has things to tell first, as one whose registration was taken away.
        fs::write(place.path("attentions"), "2").unwrap();
        assert_eq!(place.ocf("monitor", &parameters), 0);
        fs::write(place.path("attentions"), "99").unwrap();
        assert_eq!(place.ocf("monitor", &parameters), 1);
        fs::write(place.path("attentions"), "0").unwrap();
        // The device stays in the table: that stop says so, but the disk is free for the other node.
        assert_eq!(place.ocf("stop", &parameters), 1);
        assert_eq!((disk("keys").as_str(), disk("holder").as_str()), ("", ""));
        fs::write("/proc/scsi/scsi", "Attached devices:\n").unwrap();
        assert_eq!(place.ocf("stop", &parameters), 0);
        assert_eq!(place.ocf("monitor", &parameters), 7);
        fs::write("/proc/scsi/scsi", table).unwrap();
        // Killed at any moment.
        for after_ms in [0, 3, 6, 10, 15, 25, 40] {
            let mut agent = place.agent(&["LinuxSCSI", "start"]);
            agent.env("OCF_RESOURCE_INSTANCE", "x");
            agent.envs(parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)));
            let mut agent = agent.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            let _ = agent.kill();
            agent.wait().unwrap();
            assert_eq!(place.ocf("start", &parameters), 0);
            assert_eq!(place.ocf("monitor", &parameters), 0);
        }
        assert_eq!(place.ocf("start", &[("scsi", "2:0:1"), ("reserve", "yes"), ("key", "0")]), 6);
    });
}

const LINUX_SCSI_DIFFERENCES: &[Difference] = &[
    Difference {
        name: "failed stop",
        why: "Debian's agent has a wrong letter in the function that would say so",
        debian: "ocf_exit_resaon",
        ours: "err: ocf-exit-reason:SCSI device 2:0:10 still active!",
    },
    Difference {
        name: "failed stop in the log",
        why: "the same",
        debian: "",
        ours: "log: ERROR: SCSI device 2:0:10 still active!",
    },
];

/// With a table that does not change. Numbers from 10 on: Debian's agent does not find `Id: 01`; and no
/// fourth number: it takes 0 whatever it is.
#[test]
fn linux_scsi_beside_debians() {
    in_namespaces("doubles::linux_scsi_beside_debians", &["--mount"], SCSI_FILES, || {
        own_scsi_files();
        let table = "Attached devices:\nHost: scsi2 Channel: 00 Id: 10 Lun: 00\n";
        let Some(beside) = Beside::new("LinuxSCSI", LINUX_SCSI_DIFFERENCES) else { return };
        let asked = |_| {
            let now = fs::read_to_string("/proc/scsi/scsi").unwrap();
            fs::write("/proc/scsi/scsi", table).unwrap();
            now.lines().skip(2).map(str::to_owned).collect()
        };
        fs::write("/proc/scsi/scsi", table).unwrap();
        for words in [
            &["2:0:10", "status"][..],
            &["2:0:10", "monitor"],
            &["2:0:11", "status"],
            &["2:0:10", "start"],
            &["2:0:11", "start"],
            &["2:0:11", "stop"],
            &["2:0:10", "stop"],
            &["2:0:x", "start"],
            &["status"],
            &["2:0:10", "fly"],
        ] {
            beside.same(Form::Class(words), asked);
        }
        beside.same(Form::Ocf("monitor", &[("scsi", "2:0:10"), ("ignore_deprecation", "true")]), asked);
        beside.same(Form::Ocf("methods", &[]), asked);
    });
}
