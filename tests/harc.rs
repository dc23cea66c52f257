//! `harc` as the daemon calls it: the administrator's scripts for messages, and what must not run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ha_core::demo::world::{HostKind, SERVICE_ADDRESS};

mod common;

/// A folder like `/etc/ha.d` with logs beside it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("rc.d")).expect("rc.d");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, text).expect("the folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs `harc` with the message's variables.
    fn harc(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(common::binary())
            .arg0("harc")
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HA_DIR", self.0.path())
            .env("HA_LOGFILE", self.path("log"))
            .env("HA_DEBUGLOG", self.path("debug"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    }
}

#[test]
fn a_script_gets_the_type_and_the_message() {
    let folder = Folder::new();
    let script = "#!/bin/sh\necho \"$# $1 $HA_node $HA_st $HA_RCDIR\"; echo wrong >&2; exit 7\n";
    folder.write("rc.d/ifstat", script, 0o755);
    let output = folder.harc(&["ifstat"], &[("HA_node", "beta"), ("HA_st", "dead")]);
    assert_eq!(output.status.code(), Some(7));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let debug = folder.read("debug");
    let rc = folder.path("rc.d").display().to_string();
    assert!(debug.ends_with(&format!("1 ifstat beta dead {rc}\nwrong\n")), "{debug}");
    let log = folder.read("log");
    assert!(log.starts_with("harc(default)["), "{log}");
    assert!(log.ends_with(&format!(" info: Running {rc}/ifstat ifstat\n")), "{log}");
}

#[test]
fn what_is_not_there_is_nothing_and_what_cannot_run_is_told() {
    let folder = Folder::new();
    folder.write("harc-like", "#!/bin/sh\nexit 9\n", 0o755);
    for kind in ["status", "../harc-like", ".", "", "a b"] {
        assert_eq!(folder.harc(&[kind], &[]).status.code(), Some(0), "{kind}");
    }
    assert_eq!(folder.harc(&[], &[]).status.code(), Some(0));
    assert_eq!(folder.read("log"), "");
    folder.write("rc.d/status", "#!/bin/sh\n", 0o644);
    assert_eq!(folder.harc(&["status"], &[]).status.code(), Some(1));
    assert!(folder.read("log").contains("rc.d/status: not executable\n"), "{}", folder.read("log"));
    folder.write("rc.d/status", "#!/no/such/interpreter\n", 0o755);
    assert_eq!(folder.harc(&["status"], &[]).status.code(), Some(126));
    assert!(folder.read("log").contains("rc.d/status: cannot execute: "), "{}", folder.read("log"));
    folder.write("rc.d/status", "exit $(($# + 20)) # without interpreter line\n", 0o755);
    assert_eq!(folder.harc(&["status"], &[]).status.code(), Some(21));
}

#[test]
fn a_harc_of_the_administrator_is_used_and_a_link_to_us_is_not() {
    let folder = Folder::new();
    folder.write("rc.d/status", "#!/bin/sh\nexit 3\n", 0o755);
    std::os::unix::fs::symlink(common::binary(), folder.path("harc")).expect("a link");
    assert_eq!(folder.harc(&["status"], &[]).status.code(), Some(3));
    fs::remove_file(folder.path("harc")).expect("it is ours");
    folder.write("harc", "#!/bin/sh\n[ \"$#$1\" = 1status ] && exit 5\n", 0o755);
    assert_eq!(folder.harc(&["status"], &[]).status.code(), Some(5));
    assert_eq!(folder.harc(&["other"], &[]).status.code(), Some(0), "nothing in rc.d: it is not called");
}

/// An administrator's script that calls `mach_down`, as the shipped `rc.d/status` of the original does,
/// runs whole; the programs of ours that it calls know that the daemon has taken over.
#[test]
fn a_script_that_takes_over_runs_and_takes_nothing() {
    let folder = Folder::new();
    let programs = folder.path("programs");
    fs::create_dir(&programs).expect("programs");
    for name in ["mach_down", "ResourceManager", "hb_standby", "req_resource"] {
        std::os::unix::fs::symlink(common::binary(), programs.join(name)).expect("a link");
    }
    let script = "#!/bin/sh\ncase $HA_st in dead) $HA_NOARCHBIN/mach_down $HA_src; echo \"code $?\";; esac\n\
                  for key in $($HA_NOARCHBIN/ResourceManager listkeys $HA_src); do\n\
                  $HA_NOARCHBIN/ResourceManager takegroup $key; echo \"$key $?\"; done\n\
                  $HA_NOARCHBIN/req_resource svc::1; echo \"req $?\"\n\
                  $HA_NOARCHBIN/hb_standby; echo \"standby $?\"\n";
    folder.write("rc.d/status", script, 0o755);
    folder.write("haresources", "beta svc::1\n", 0o644);
    fs::create_dir(folder.path("resource.d")).expect("resource.d");
    folder.write("resource.d/svc", "#!/bin/sh\necho svc $*\n", 0o755);
    let programs = programs.display().to_string();
    let told = [("HA_st", "dead"), ("HA_src", "beta"), ("HA_NOARCHBIN", &programs)];
    let done = [told[0], told[1], told[2], ("HA_DONE_BY_DAEMON", "yes")];
    assert_eq!(folder.harc(&["status"], &done).status.code(), Some(0));
    let said = folder.read("debug");
    for line in ["code 0", "svc::1 0", "req 0", "standby 0"] {
        assert!(said.lines().any(|found| found == line), "{said}");
    }
    assert!(!said.contains("svc 1 start"), "{said}");
    assert!(folder.read("log").contains("the daemon itself has taken over from node beta"), "{said}");
    // Beside a daemon of the original the same calls do it.
    assert_eq!(folder.harc(&["status"], &told).status.code(), Some(0));
    assert!(folder.read("debug").contains("svc 1 start"), "{}", folder.read("debug"));
    assert!(folder.read("log").contains("info: mach_down takeover complete for node beta."));
}

/// Scripts of a running daemon: `status` of the node that died, once it has its addresses.
#[test]
fn a_death_reaches_the_script_after_the_takeover() {
    let Some(world) = common::pair(HostKind::Ours, HostKind::Ours) else { return };
    let second = &world.hosts()[1];
    // `ip` might not be in a host: the kernel's own list names local addresses.
    let script = format!(
        "#!/bin/sh\n[ \"$HA_st\" = dead ] || exit 0\n\
         grep -q {SERVICE_ADDRESS} /proc/net/fib_trie && held=yes\n\
         echo \"$1 $HA_src $HA_st held=$held $HA_OSTATUS\" >> /var/log/told\n"
    );
    second.write_file_with_mode("/etc/ha.d/rc.d/status", &script, 0o755).expect("the host takes files");
    if let Err(error) = common::start(&world, 50, 400, &["auto_failback off"]) {
        panic!("{error}\n{}", common::logs(&world));
    }
    world.crash("node1").expect("crash");
    let end = std::time::Instant::now() + Duration::from_secs(20);
    let mut told = String::new();
    while told.is_empty() && std::time::Instant::now() < end {
        told = second.read_file("/var/log/told").expect("the host is on");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(told, "status node1 dead held=yes active\n", "{}", common::logs(&world));
}
