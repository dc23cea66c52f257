//! Killed at any moment, an agent reaches the asked state when it is run again. The agents with worlds of
//! their own have such a test beside them (Filesystem, apache, portblock, Raid1 and LVM, drbddisk,
//! LinuxSCSI, groups of addresses); this is for all others.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::inside::{in_namespaces, in_network, ip};

/// Moments at which it is killed, spread over the time that it takes, and somewhat more.
const MOMENTS: u32 = 10;

/// One agent with its arguments.
struct Victim<'a> {
    words: &'a [&'a str],
    state: &'a Path,
    /// First in PATH.
    programs: Option<&'a Path>,
}

impl Victim<'_> {
    fn call(&self, operation: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        command
            .args(self.words)
            .arg(operation)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .env("HA_RSCTMP", self.state)
            .env("HA_VARRUN", self.state)
            .env("HA_LOGFILE", self.state.join("log"));
        command.env_remove("HA_LOGFACILITY").env_remove("OCF_RESOURCE_INSTANCE");
        if let Some(programs) = self.programs {
            command.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
        }
        command
    }

    fn expect(&self, operation: &str, code: i32) {
        let found = self.call(operation).status().unwrap().code();
        let log = || fs::read_to_string(self.state.join("log")).unwrap_or_default();
        assert_eq!(found, Some(code), "{:?} {operation}\n{}", self.words, log());
    }

    /// Kills each of start and stop, runs it again, and looks at the status and at what is really there.
    fn survives(&self, is_there: impl Fn() -> Option<bool>) {
        let took = ["start", "stop"].map(|operation| {
            let began = Instant::now();
            self.expect(operation, 0);
            began.elapsed().min(Duration::from_secs(1))
        });
        for moment in 0..MOMENTS {
            for (operation, took, code) in [("start", took[0], 0), ("stop", took[1], 7)] {
                let mut agent = self.call(operation).spawn().unwrap();
                std::thread::sleep(took * moment / (MOMENTS - 2));
                agent.kill().unwrap();
                agent.wait().unwrap();
                self.expect(operation, 0);
                self.expect("status", code);
                let really = is_there();
                assert!(
                    really.is_none_or(|there| there == (code == 0)),
                    "{:?} {operation} {moment}",
                    self.words
                );
            }
        }
    }
}

/// A program in `folder`.
fn stand_in(folder: &Path, name: &str, body: &str) {
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn addresses_routes_and_announcements() {
    in_network("killed::addresses_routes_and_announcements", || {
        let state = tempfile::tempdir().unwrap();
        ip("route add default via 192.168.77.254");
        ip("addr add 192.168.77.60/24 dev v0");
        let victim = |words| Victim { words, state: state.path(), programs: None };
        let address = |text: &'static str| move || Some(ip("-o addr show").contains(text));
        victim(&["IPaddr", "192.168.77.50/24/v0"]).survives(address("192.168.77.50/24"));
        victim(&["IPaddr2", "192.168.77.51/24/v0:label"]).survives(address("192.168.77.51/24"));
        victim(&["IPv6addr", "2001:db8:77::52/64/v0"]).survives(address("2001:db8:77::52/64"));
        let source = || Some(ip("route show default").contains("src 192.168.77.60"));
        victim(&["IPsrcaddr", "192.168.77.60"]).survives(source);
        victim(&["SendArp", "192.168.77.60/v0"]).survives(|| None);
        // Nothing of it goes on announcing.
        let left = Command::new("pgrep").args(["-f", "send_arp.*192.168.77.60 "]).output().unwrap();
        assert!(left.stdout.is_empty(), "{left:?}");
    });
}

#[test]
fn agents_with_a_note_alone() {
    let state = tempfile::tempdir().unwrap();
    let programs = state.path().join("bin");
    stand_in(&programs, "sendmail", "cat >/dev/null; sleep 0.02");
    stand_in(&programs, "smbclient", "cat >/dev/null; sleep 0.02");
    stand_in(&programs, "nmblookup", "exit 0");
    let hosts = state.path().join("hosts");
    fs::write(&hosts, "one\ntwo\n").unwrap();
    let hosts = hosts.display().to_string();
    for words in [&["MailTo", "a@b", "Web server"][..], &["WinPopup", &hosts], &["AudibleAlarm", "other"]] {
        Victim { words, state: state.path(), programs: Some(&programs) }.survives(|| None);
    }
    // One process rings while it runs, and none afterwards, whatever the killed starts have left.
    let bells = || {
        let output = Command::new("pgrep").args(["-f", "AudibleAlarm"]).output().unwrap();
        let own = state.path().display().to_string();
        let pids = String::from_utf8_lossy(&output.stdout).into_owned();
        let of_ours = |pid: &&str| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&own)
        };
        pids.lines().filter(of_ours).count()
    };
    let only = |count: usize| {
        let end = Instant::now() + Duration::from_secs(30);
        while bells() != count {
            assert!(Instant::now() < end, "{} bells and not {count}", bells());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let victim = Victim { words: &["AudibleAlarm", "other"], state: state.path(), programs: None };
    victim.expect("start", 0);
    only(1);
    victim.expect("stop", 0);
    only(0);
}

/// On a busy disk the note may take longer than the bell's first pause: it waits for the word of its start.
#[test]
fn a_bell_is_not_in_a_hurry() {
    let state = tempfile::tempdir().unwrap();
    let victim = Victim { words: &["AudibleAlarm", "other"], state: state.path(), programs: None };
    let mut ring = victim.call("ring");
    ring.env("OCF_RESOURCE_INSTANCE", "AudibleAlarm").arg0("AudibleAlarm").stdin(Stdio::piped());
    let mut bell = ring.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    fs::write(state.path().join("heartbeat-bell"), format!("{}\n", bell.id())).unwrap();
    bell.stdin.take().unwrap().write_all(b"\n").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    victim.expect("status", 0);
    bell.kill().unwrap();
    bell.wait().unwrap();
}

#[test]
fn a_service_of_xinetd() {
    let probe = "mount -t proc proc /proc && mkdir -p /etc/xinetd.d && mount -t tmpfs none /etc/xinetd.d";
    in_namespaces("killed::a_service_of_xinetd", &["--mount", "--pid", "--fork"], probe, || {
        assert!(Command::new("sh").args(["-c", probe]).status().unwrap().success());
        let state = tempfile::tempdir().unwrap();
        let (program, ready) = (state.path().join("xinetd"), state.path().join("ready"));
        fs::copy("/bin/sh", &program).unwrap();
        let text = format!("trap : HUP; >{}; while :; do sleep 0.02; done", ready.display());
        let mut command = Command::new("env");
        let mut daemon =
            command.arg("--default-signal=HUP").arg(program).args(["-c", &text]).spawn().unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while !ready.exists() {
            assert!(Instant::now() < end, "the stand-in is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::write("/etc/xinetd.d/echo", "service echo\n{\n\tdisable\t= yes\n\tport = 7\n}\n").unwrap();
        let file = || fs::read_to_string("/etc/xinetd.d/echo").unwrap();
        Victim { words: &["Xinetd", "echo"], state: state.path(), programs: None }.survives(|| {
            assert!(file().ends_with("port = 7\n}\n") && file().starts_with("service echo\n"), "{}", file());
            Some(file().contains("disable\t= no"))
        });
        // Nothing that a kill left over is taken for a service.
        let files = fs::read_dir("/etc/xinetd.d").unwrap().filter_map(Result::ok);
        let names: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        assert!(
            names.iter().all(|name| name == "echo" || name.contains('.') || name.ends_with('~')),
            "{names:?}"
        );
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    });
}
