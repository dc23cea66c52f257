//! LVM and Raid1 over recorded doubles of vgchange, vgs, vgck, vgdisplay, vgscan, lvm and mdadm: shell
//! scripts that note how they were called, keep the state in files, and answer as the real ones did on
//! Debian 12. The real ones run in the machines of tests/machines.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::beside::{Beside, Difference, Form, Whose};
use crate::inside;

/// A folder that comes first in PATH.
struct Doubles {
    directory: tempfile::TempDir,
}

impl Doubles {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A double: notes its call, then runs `body` with `$S` as folder of the state.
    fn program(&self, name: &str, body: &str) {
        let state = self.directory.path().display();
        let script = format!("#!/bin/sh\nS={state}\necho \"{name} $*\" >>$S/calls\n{body}\n");
        fs::write(self.path(name), script).unwrap();
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn search_path(&self) -> String {
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.path().display())
    }

    /// Copies in a file system of their own over /usr/sbin: Debian's scripts have a PATH of their own.
    /// Nothing of the system's may ever be mounted below the folder of a test: the end of the test empties
    /// that folder.
    fn over_system(&self) {
        let script = "mount -t tmpfs doubles /usr/sbin && cp -p $0/* /usr/sbin";
        assert!(Command::new("sh")
            .args(["-c", script])
            .arg(self.directory.path())
            .status()
            .unwrap()
            .success());
    }

    /// What was called since the last look, questions left out.
    fn changes(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        let question = |line: &&str| {
            ["--version", "vgs ", "vgck", "vgdisplay", "dumpconfig", "lvs ", "--detail", "udevadm"]
                .iter()
                .any(|part| line.contains(part))
        };
        calls.lines().filter(|line| !question(line)).map(|line| line.trim_end().to_owned()).collect()
    }
}

/// /dev with nothing but what every program needs.
fn small_dev() {
    let script = "mount -t tmpfs dev /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9";
    assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
}

fn in_namespace(test: &str, body: impl FnOnce()) {
    let probe = "mount -t tmpfs dev /dev && mknod /dev/null c 1 3 && : >/dev/null";
    inside::in_namespaces(test, &["--mount", "--propagation", "private"], probe, body);
}

/// The commands of LVM with one group, `vg0`.
fn lvm() -> Doubles {
    let doubles = Doubles::new();
    doubles.program(
        "vgchange",
        "case \"$*\" in\n\
         --version) echo '  LVM version:     2.03.16(2) (2022-05-18)';;\n\
         *'-a ly'*|*-aly*) [ -e $S/broken ] && exit 5; mkdir -p /dev/vg0; : >/dev/vg0/data;;\n\
         *'-a ln'*|*-aln*) [ -e $S/open ] && { echo '  Logical volume vg0/data in use.'; rm $S/open; exit 5; }\n\
         rm -rf /dev/vg0;;\n\
         --addtag*) echo $2 >$S/tags;;\n\
         --deltag*) rm -f $S/tags;;\n\
         esac",
    );
    doubles.program(
        "vgs",
        "case \"$*\" in\n\
         *tags*) cat $S/tags 2>/dev/null || echo;;\n\
         *pv_attr*) echo '  a--';;\n\
         *attr*) echo '  wz--n-';;\n\
         *) [ \"$1\" = vg0 ] || { echo '  Volume group not found' >&2; exit 5; };;\n\
         esac",
    );
    doubles.program("vgck", "[ \"$1\" = vg0 ] || { echo \"  Volume group \\\"$1\\\" not found\"; exit 5; }");
    doubles.program("vgdisplay", "exit 0");
    doubles.program("vgscan", "exit 0");
    doubles.program("vgmknodes", "exit 0");
    doubles.program("udevadm", "exit 0");
    doubles.program("lvs", "exit 0");
    doubles.program("lvm", "case \"$*\" in *volume_list*) cat $S/volume_list;; *) echo use_lvmetad=0;; esac");
    doubles
}

const LVM_DIFFERENCES: &[Difference] = &[
    Difference {
        name: "available already",
        why: "a start of what is active does nothing; Debian's activates again",
        debian: "log: INFO: Activating volume group vg0",
        ours: "",
    },
    Difference {
        name: "exit code of a start that does not activate",
        why: "7 in the 3.9 of CentOS 6 and 7",
        debian: "exit 1",
        ours: "exit 7",
    },
    Difference {
        name: "its line",
        why: "as above",
        debian: "out: ERROR:  Generic error",
        ours: "out: INFO:  Resource is stopped",
    },
    Difference {
        name: "its line in the log",
        why: "as above",
        debian: "log: ERROR:  Generic error",
        ours: "log: INFO:  Resource is stopped",
    },
    Difference {
        name: "words of vgchange",
        why: "written apart, as in 3.9",
        debian: "ERROR: command failed: vgchange -aly vg0",
        ours: "ERROR: command failed: vgchange -a ly vg0",
    },
];

#[test]
fn a_volume_group_over_doubles() {
    in_namespace("volumes::a_volume_group_over_doubles", || {
        small_dev();
        let doubles = lvm();
        let Some(both) = Beside::new("LVM", LVM_DIFFERENCES) else { return };
        doubles.over_system();
        let there = || Path::new("/dev/vg0/data").exists();
        let activate = || {
            fs::create_dir_all("/dev/vg0").unwrap();
            fs::write("/dev/vg0/data", "").unwrap();
        };
        // What the second finds is what the first found.
        let call = |operation: &str, reset: &dyn Fn()| {
            both.same(Form::Class(&["vg0", operation]), |whose| {
                let state = vec![there().to_string()];
                if whose == Whose::Debian {
                    reset();
                }
                state
            })
        };
        let nothing = || ();
        let away = || drop(fs::remove_dir_all("/dev/vg0"));
        for arguments in [&[][..], &["start"], &["a", "b", "start"], &["vg0", "usage"]] {
            both.same_lines(Form::Class(arguments));
        }
        assert_eq!(call("status", &nothing), Some(7));
        assert_eq!(call("start", &away), Some(0));
        doubles.changes();
        assert_eq!(call("start", &nothing), Some(0));
        assert_eq!(call("status", &nothing), Some(0));
        assert_eq!(call("stop", &activate), Some(0));
        let none = both.same_lines(Form::Class(&["other", "stop"]));
        assert_eq!(none, Some(0));
        fs::write(doubles.path("broken"), "").unwrap();
        assert_eq!(call("start", &nothing), Some(1));
    });
}

#[test]
fn activation_and_tags_over_doubles() {
    in_namespace("volumes::activation_and_tags_over_doubles", || {
        small_dev();
        let doubles = lvm();
        let state = tempfile::tempdir().unwrap();
        let call = |parameters: &[(&str, &str)], action: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
            command
                .args(["LVM", action])
                .env("PATH", doubles.search_path())
                .env("OCF_RESOURCE_INSTANCE", "vg");
            command.env("HA_RSCTMP", state.path()).env("HA_LOGFILE", state.path().join("log"));
            let named = parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value));
            let output = command.envs(named).env("OCF_RESKEY_volgrpname", "vg0").output().unwrap();
            (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let log = || fs::read_to_string(state.path().join("log")).unwrap_or_default();
        assert_eq!(call(&[], "start").0, 0);
        assert_eq!(doubles.changes(), ["vgscan", "vgchange -a ly vg0"]);
        assert_eq!(call(&[], "status"), (0, "Volume vg0 is available (running)\n".into()));
        // In use at the first try.
        fs::write(doubles.path("open"), "").unwrap();
        assert_eq!(call(&[], "stop").0, 0);
        assert_eq!(doubles.changes(), ["vgchange -a ln vg0", "vgchange -a ln vg0"]);
        assert!(
            log().contains("WARNING: vg0 still Active\n")
                && log().contains("Logical volume vg0/data in use.")
        );
        assert_eq!(call(&[], "status"), (7, "Volume vg0 is not available (stopped)\n".into()));
        assert_eq!(call(&[("partial_activation", "true")], "start").0, 0);
        assert_eq!(doubles.changes(), ["vgscan", "vgchange -a ly --partial vg0"]);
        assert_eq!(call(&[], "stop").0, 0);
        doubles.changes();
        // With a tag, that of another node taken away first; lvm.conf must allow it.
        let exclusive = [("exclusive", "true"), ("tag", "ours")];
        fs::write(doubles.path("volume_list"), "volume_list=[\"@ours\"]").unwrap();
        assert_eq!(call(&exclusive, "start").0, 1);
        assert!(
            log().contains("must not contain the cluster tag, \"ours\", or volume group, vg0\n"),
            "{}",
            log()
        );
        fs::write(doubles.path("volume_list"), "volume_list=[\"root\"]").unwrap();
        fs::write(doubles.path("tags"), "  other\n").unwrap();
        doubles.changes();
        assert_eq!(call(&exclusive, "start").0, 0, "{}", log());
        let list = "--config activation{volume_list=[\"@ours\"]}";
        assert_eq!(
            doubles.changes(),
            [
                "vgscan",
                "vgchange --deltag other vg0",
                "vgchange --addtag ours vg0",
                &format!("vgchange -a ly {list} vg0")
            ]
        );
        assert_eq!(call(&exclusive, "monitor").0, 0);
        fs::write(doubles.path("tags"), "other\n").unwrap();
        assert_eq!(call(&exclusive, "monitor").0, 1);
        assert_eq!(call(&exclusive, "stop").0, 0);
        assert_eq!(doubles.changes(), ["vgchange -a ln vg0", "vgchange --deltag other vg0"]);
        for (name, value) in [("volgrpname", "-a"), ("tag", "a b")] {
            let wrong = call(&[(name, value)], "start").0;
            assert!(wrong == 6 || name == "volgrpname", "{name}");
        }
    });
}

/// mdadm with one array, which is a loop device under another name.
fn mdadm(root: &Path) -> Doubles {
    let doubles = Doubles::new();
    let root = root.display();
    doubles.program(
        "mdadm",
        &format!(
            "R={root}\n\
             running() {{ printf 'Personalities : [raid1]\\nmd7 : active raid1 a[0] b[1]\\n      9 blocks\\n'; }}\n\
             case \"$1\" in\n\
             --assemble) [ -e $S/broken ] && exit 1; running >$R/proc/mdstat;;\n\
             --stop) [ -e $S/open ] && {{ rm $S/open; echo 'mdadm: Cannot get exclusive access' >&2; exit 1; }}\n\
             : >$R/proc/mdstat;;\n\
             --detail) exit $(cat $S/health);;\n\
             esac"
        ),
    );
    doubles.program("udevadm", "exit 0");
    doubles
}

/// Frees a loop device at its end.
struct Detach(&'static str);

impl Drop for Detach {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", self.0]).status();
    }
}

/// Raid1 with a configuration file, a loop device as /dev/md7, and the kernel's files about it.
struct Raid {
    world: tempfile::TempDir,
    doubles: Doubles,
    _device: Detach,
}

impl Raid {
    fn new() -> Self {
        let world = tempfile::tempdir().unwrap();
        let path = |name: &str| world.path().join(name);
        fs::File::create(path("disk")).unwrap().set_len(1 << 20).unwrap();
        let output = Command::new("losetup").args(["-f", "--show"]).arg(path("disk")).output().unwrap();
        let number =
            String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("/dev/loop").to_owned();
        small_dev();
        let made = Command::new("mknod").args(["/dev/md7", "b", "7", &number]).status().unwrap();
        assert!(made.success());
        fs::create_dir_all(path("proc")).unwrap();
        fs::create_dir_all(path("sys/block/md7/md")).unwrap();
        fs::write(path("proc/mdstat"), "Personalities :\n").unwrap();
        fs::write(path("conf"), "DEVICE partitions\nARRAY /dev/md7 UUID=1:2:3:4\n").unwrap();
        let raid = Self { doubles: mdadm(world.path()), world, _device: Detach("/dev/md7") };
        raid.health("0\n", "4");
        raid
    }

    fn configuration(&self) -> String {
        self.world.path().join("conf").display().to_string()
    }

    /// How many disks the kernel misses, and what mdadm answers.
    fn health(&self, degraded: &str, code: &str) {
        let md = self.world.path().join("sys/block/md7/md");
        fs::write(md.join("array_state"), "clean\n").unwrap();
        fs::write(md.join("degraded"), degraded).unwrap();
        fs::write(self.doubles.path("health"), code).unwrap();
    }

    fn call(&self, device: &str, operation: &str) -> i32 {
        self.agent(device, operation).output().unwrap().status.code().unwrap()
    }

    fn agent(&self, device: &str, operation: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        command
            .args(["Raid1", &self.configuration(), device, operation])
            .env("PATH", self.doubles.search_path());
        command.env("HA_RSCTMP", self.world.path()).env("HA_LOGFILE", self.world.path().join("log"));
        command.env("HA_ROOT", self.world.path());
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.path().join("log")).unwrap_or_default()
    }
}

fn with_raid(test: &str, body: impl FnOnce(&Raid)) {
    let probe = "D=$(losetup -f) && [ -b $D ]";
    inside::in_namespaces(test, &["--mount", "--propagation", "private"], probe, || body(&Raid::new()));
}

#[test]
fn an_array_over_doubles() {
    with_raid("volumes::an_array_over_doubles", |raid| {
        let configuration = raid.configuration();
        assert_eq!(raid.call("/dev/md7", "status"), 7);
        assert!(raid.log().contains("INFO: md7 not found in /proc/mdstat\n"), "{}", raid.log());
        for name in ["auto", "/dev/md7"] {
            assert_eq!(raid.call(name, "start"), 0, "{}", raid.log());
            let changes = raid.doubles.changes();
            assert_eq!(changes, [format!("mdadm --assemble /dev/md7 --config={configuration}")]);
            assert_eq!((raid.call(name, "start"), raid.call(name, "status")), (0, 0));
            assert_eq!(raid.doubles.changes(), [""; 0]);
            assert_eq!(raid.call(name, "stop"), 0);
            assert_eq!(raid.doubles.changes(), [format!("mdadm --stop /dev/md7 --config={configuration}")]);
            assert_eq!((raid.call(name, "stop"), raid.call(name, "status")), (0, 7));
        }
        // Not whole: what mdadm says counts.
        assert_eq!(raid.call("auto", "start"), 0);
        for (code, expected, text) in [
            ("1", 0, "WARNING: /dev/md7 has at least one failed device.\n"),
            ("2", 1, "ERROR: /dev/md7 has failed.\n"),
            ("4", 1, "ERROR: mdadm failed on /dev/md7.\n"),
        ] {
            raid.health("1\n", code);
            assert_eq!(raid.call("auto", "status"), expected);
            assert!(raid.log().contains(text), "{}", raid.log());
        }
        raid.health("0\n", "0");
        assert_eq!(raid.call("auto", "stop"), 0);
        fs::write(raid.doubles.path("broken"), "").unwrap();
        assert_eq!(raid.call("auto", "start"), 1);
        assert!(raid.log().contains("ERROR: Couldn't start RAID for /dev/md7\n"), "{}", raid.log());
        assert_eq!((raid.call("md7", "start"), raid.call("/dev/null", "status")), (6, 7));
        fs::remove_file(raid.configuration()).unwrap();
        assert_eq!(raid.call("auto", "status"), 5);
    });
}

#[test]
fn an_array_in_use_over_doubles() {
    with_raid("volumes::an_array_in_use_over_doubles", |raid| {
        assert_eq!(raid.call("auto", "start"), 0);
        // Held by a process, then by nobody to be found.
        let held = fs::File::open("/dev/md7").unwrap();
        let mut holder = Command::new("sleep").arg("600").stdin(held).spawn().unwrap();
        fs::write(raid.doubles.path("open"), "").unwrap();
        assert_eq!(raid.call("auto", "stop"), 0, "{}", raid.log());
        holder.wait().unwrap();
        assert!(raid.log().contains(" sleep 600\n"), "{}", raid.log());
        assert_eq!(raid.call("auto", "start"), 0);
        fs::write(raid.doubles.path("open"), "").unwrap();
        raid.doubles.changes();
        assert_eq!(raid.call("auto", "stop"), 1);
        assert_eq!(raid.doubles.changes().last().unwrap(), "mdadm --readonly /dev/md7");
        assert_eq!(raid.call("auto", "stop"), 0);
    });
}

/// Kills start and stop at moments within `span_ms`, runs each again, and looks at the status.
fn killed(agent: impl Fn(&str) -> Command, span_ms: u64, is_there: impl Fn() -> bool) {
    let code = |operation| agent(operation).output().unwrap().status.code();
    for moment in 0..10 {
        for (operation, status) in [("start", 0), ("stop", 7)] {
            let mut child = agent(operation).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(span_ms * moment / 8));
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(code(operation), Some(0), "{operation} {moment}");
            assert_eq!((code("status"), is_there()), (Some(status), status == 0), "{operation} {moment}");
        }
    }
}

#[test]
fn a_killed_agent_of_volumes_gets_there_when_run_again() {
    with_raid("volumes::a_killed_agent_of_volumes_gets_there_when_run_again", |raid| {
        let doubles = lvm();
        // Slow enough to be met in the middle.
        doubles.program("vgscan", "sleep 0.02");
        let volumes = |operation: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
            command.args(["LVM", "vg0", operation]).env("PATH", doubles.search_path());
            command.env("HA_RSCTMP", raid.world.path()).env("HA_LOGFILE", raid.world.path().join("log"));
            command
        };
        killed(volumes, 60, || Path::new("/dev/vg0/data").exists());
        let table = || fs::read_to_string(raid.world.path().join("proc/mdstat")).unwrap();
        killed(|operation| raid.agent("/dev/md7", operation), 40, || table().contains("md7 : active"));
    });
}
