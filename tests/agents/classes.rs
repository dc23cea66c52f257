//! Classes of scripts in haresources: heartbeat, LSB, OCF and systemd, run by ResourceManager.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Folders of a host's own, without any namespace.
struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        for folder in [
            "ha.d/resource.d",
            "state",
            "bin",
            "ocf/resource.d/heartbeat",
            "ocf/resource.d/acme",
            "ha.d/conf/OCF/Own",
        ] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// systemctl's stand-in: knows the units whose files are in `units`, notes calls in `calls`.
    fn systemctl(&self) {
        let root = self.directory.path().display().to_string();
        fs::create_dir_all(self.path("units")).unwrap();
        self.script(
            "bin/systemctl",
            &format!(
                "echo \"$*\" >>{root}/calls; u={root}/units/$2\n\
                 case $1 in\n\
                 is-active) if [ -e $u ]; then cat $u; [ \"$(cat $u)\" = active ]; else echo inactive; exit 3; fi;;\n\
                 start) [ $2 = broken ] && {{ echo Job for broken failed; exit 1; }}; echo active >$u;;\n\
                 stop) [ $2 = gone ] && {{ echo Unit gone not loaded. >&2; exit 5; }}; rm -f $u;;\n\
                 esac"
            ),
        );
    }

    fn ha(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        for name in ["HA_LOGFACILITY", "HA_LOGTAG", "HA_RESOURCEDIR", "HA_LOGD", "OCF_AGENTS"] {
            command.env_remove(name);
        }
        command.args(arguments).stdin(Stdio::null()).env("PATH", path).env("HA_CURHOST", "node1");
        command.env("HA_DIR", self.path("ha.d")).env("HA_RSCTMP", self.path("state"));
        command.env("HA_LOGFILE", self.path("log")).env("HA_DEBUGLOG", self.path("log"));
        command.env("OCF_ROOT", self.path("ocf")).output().unwrap()
    }

    fn manager(&self, arguments: &[&str]) -> Option<i32> {
        self.ha(&[&["ResourceManager"], arguments].concat()).status.code()
    }

    fn haresources(&self, text: &str) {
        fs::write(self.path("ha.d/haresources"), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

const AGENT: &str = "f=$HA_RSCTMP/own-$OCF_RESOURCE_INSTANCE\n\
echo \"$1 $OCF_RESOURCE_INSTANCE $OCF_RESOURCE_PROVIDER a=$OCF_RESKEY_a b=$OCF_RESKEY_b\" >>$HA_RSCTMP/calls\n\
case $1 in start) >$f;; stop) rm -f $f;; monitor) [ -e $f ] || exit 7;; *) echo usage; exit 3;; esac";

#[test]
fn ocf_agents_take_their_parameters_from_the_line() {
    let host = Host::new();
    host.script("ocf/resource.d/acme/Own", AGENT);
    host.haresources("node1 ocf:acme:Own::a=1::b=fe80::1 ocf:acme:Own::a=2\n");
    let word = "ocf:acme:Own::a=1::b=fe80::1";
    assert_eq!(host.manager(&["status", word]), Some(3), "{}", host.read("log"));
    assert_eq!(host.manager(&["takegroup", word]), Some(0), "{}", host.read("log"));
    assert_eq!(
        (host.manager(&["status", word]), host.manager(&["status", "ocf:acme:Own::a=2"])),
        (Some(0), Some(0))
    );
    assert_eq!(host.manager(&["givegroup", word]), Some(0));
    assert_eq!(host.manager(&["status", word]), Some(3));
    let calls = host.read("state/calls");
    for call in ["start Own_1_fe80__1 acme a=1 b=fe80::1\n", "stop Own_2 acme a=2 b=\n"] {
        assert!(calls.contains(call), "{call} not in {calls}");
    }
    let running = format!("info: Running {} a=2 stop\n", host.path("ocf/resource.d/acme/Own").display());
    assert!(host.read("log").contains(&running), "{}", host.read("log"));
    assert_eq!(host.manager(&["status", "ocf:acme:Missing"]), Some(3));
    assert!(host.read("log").contains("ERROR: Cannot locate resource script ocf:acme:Missing\n"));
}

#[test]
fn settings_come_from_the_administrators_file() {
    let host = Host::new();
    host.script("ocf/resource.d/acme/Own", AGENT);
    fs::write(
        host.path("ha.d/conf/OCF/Own/web"),
        "# settings\nOCF_RESKEY_a='x y' # why\nOCF_RESKEY_b=$OCF_RESKEY_a\n",
    )
    .unwrap();
    for word in ["OCF::Own::web", "ocf:acme:Own::web"] {
        let _ = fs::remove_file(host.path("state/calls"));
        assert_eq!(host.manager(&["status", word]), Some(3), "{}", host.read("log"));
        host.haresources(&format!("node1 {word}\n"));
        assert_eq!(host.manager(&["takegroup", word]), Some(0), "{}", host.read("log"));
        assert_eq!(host.manager(&["status", word]), Some(0), "{}", host.read("log"));
        assert_eq!(host.manager(&["givegroup", word]), Some(0));
        assert_eq!(host.manager(&["status", word]), Some(3));
        let calls = host.read("state/calls");
        assert!(calls.contains("start web acme a=x y b=x y\n"), "{calls}");
    }
}

#[test]
fn the_wrapper_answers_as_the_original() {
    let host = Host::new();
    host.script(
        "ocf/resource.d/heartbeat/Own",
        "[ $1 = status ] && cat $HA_RSCTMP/says; exit $(cat $HA_RSCTMP/code)",
    );
    fs::write(host.path("ha.d/conf/OCF/Own/web"), "").unwrap();
    for (code, says, line) in [
        ("0", "all OK", "all OK\n"),
        ("0", "it is running", "it is running\n"),
        ("0", "", "OCF Resource Own::web is running\n"),
        ("7", "not running", "OCF Resource Own::web is stopped\n"),
        ("1", "broken", "broken\n"),
    ] {
        fs::write(host.path("state/says"), says).unwrap();
        fs::write(host.path("state/code"), code).unwrap();
        let output = host.ha(&["OCF", "Own", "web", "status"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), line, "{code} {says}");
        assert_eq!(output.status.code().map(|code| code.to_string()).as_deref(), Some(code));
    }
    for words in [&["OCF", "Own"][..], &["OCF", "Own", "none", "start"], &["OCF", "None", "web", "start"]] {
        let output = host.ha(words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{words:?}");
        assert!(told.contains("usage: OCF OCF-resource-name OCF-instance-name operation-name\n"), "{told}");
    }
}

#[test]
fn units_go_through_systemctl() {
    let host = Host::new();
    host.systemctl();
    let word = "systemd:nginx";
    host.haresources("node1 systemd:nginx systemd:db@1.service\nnode1 systemd:broken\nnode1 systemd:gone\n");
    assert_eq!(host.manager(&["status", word]), Some(3));
    assert_eq!(host.manager(&["takegroup", word]), Some(0), "{}", host.read("log"));
    assert_eq!(host.manager(&["status", word]), Some(0));
    fs::write(host.path("units/nginx"), "reloading\n").unwrap();
    assert_eq!(host.manager(&["status", word]), Some(0));
    fs::write(host.path("units/nginx"), "failed\n").unwrap();
    assert_eq!(host.manager(&["status", word]), Some(3));
    assert_eq!(host.manager(&["givegroup", word]), Some(0));
    assert_eq!(host.manager(&["status", "systemd:db@1.service"]), Some(3));
    assert_eq!(host.manager(&["givegroup", "systemd:gone"]), Some(0));
    let calls = host.read("calls");
    let done: Vec<&str> = calls.lines().filter(|line| !line.starts_with("is-active")).collect();
    assert_eq!(done, ["start nginx", "start db@1.service", "stop db@1.service", "stop nginx", "stop gone"]);
    assert!(host.read("log").contains("info: Running systemd:nginx  start\n"), "{}", host.read("log"));
    // The start fails, so the set is given away a little later: not by this test's process.
    let output = host.ha(&["ResourceManager", "job", "acquire", "local"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("resource systemd:broken 0 systemd:broken failed\n")
    );
    assert!(
        host.read("log").contains("ERROR: systemctl start broken: Job for broken failed\n"),
        "{}",
        host.read("log")
    );
}

#[test]
fn without_systemctl_it_is_said_so() {
    let host = Host::new();
    host.script("bin/systemctl", "exit 127");
    fs::set_permissions(host.path("bin/systemctl"), fs::Permissions::from_mode(0o644)).unwrap();
    if ["/usr/bin/systemctl", "/bin/systemctl"].iter().any(|path| Path::new(path).exists()) {
        return;
    }
    assert_eq!(host.manager(&["status", "systemd:nginx"]), Some(3));
    assert!(host.read("log").contains("systemctl: there is no such program"), "{}", host.read("log"));
}

#[test]
fn an_own_file_of_any_name_wins() {
    let host = Host::new();
    host.systemctl();
    let own = "case $1 in status) echo running;; esac; exit 0";
    for name in ["systemd:nginx", "ocf:heartbeat:IPaddr2", "IPaddr"] {
        assert_eq!(host.manager(&["status", name]), Some(3), "{name}");
        host.script(&format!("ha.d/resource.d/{name}"), own);
        assert_eq!(host.manager(&["status", name]), Some(0), "{name}");
    }
    // A link to the program is the built-in.
    fs::remove_file(host.path("ha.d/resource.d/IPaddr")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ha"), host.path("ha.d/resource.d/IPaddr")).unwrap();
    assert_eq!(host.manager(&["status", "IPaddr"]), Some(3));
    assert!(host.read("log").contains("ERROR: IPaddr takes other arguments"), "{}", host.read("log"));
}

#[test]
fn built_in_agents_have_an_ocf_form() {
    let host = Host::new();
    assert_eq!(
        host.manager(&["status", "ocf:heartbeat:IPaddr2::ip=127.0.0.1"]),
        Some(0),
        "{}",
        host.read("log")
    );
    assert_eq!(
        host.manager(&["status", "ocf:heartbeat:IPaddr2::ip=127.9.8.7"]),
        Some(3),
        "{}",
        host.read("log")
    );
    fs::create_dir_all(host.path("ha.d/conf/OCF/IPaddr2")).unwrap();
    fs::write(host.path("ha.d/conf/OCF/IPaddr2/home"), "OCF_RESKEY_ip=127.0.0.1\n").unwrap();
    assert_eq!(host.manager(&["status", "OCF::IPaddr2::home"]), Some(0), "{}", host.read("log"));
    assert_eq!(host.manager(&["status", "ocf:heartbeat:IPaddr2::home"]), Some(0), "{}", host.read("log"));
}

#[test]
fn shell_functions_for_the_administrators_scripts() {
    let host = Host::new();
    let folder = host.path("programs");
    fs::create_dir(&folder).unwrap();
    for (name, text) in [
        ("shellfuncs", ha_core::resource::SHELL_FUNCTIONS),
        ("hto-mapfuncs", ha_core::resource::MAPPING_FUNCTIONS),
        ("ocf-shellfuncs", ha_core::resource::OCF_FUNCTIONS),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    assert!(host.ha(&["--install", "-s", folder.to_str().unwrap()]).status.success());
    host.script(
        "ocf/resource.d/acme/Own",
        ". ${OCF_FUNCTIONS_DIR}/ocf-shellfuncs\ncheck_binary sh\nocf_run echo a  b\nocf_run false\n\
         ocf_is_probe && ocf_log info probe; ocf_is_true ja || exit 1\n\
         ha_pseudo_resource own_$OCF_RESOURCE_INSTANCE $1; rc=$?\n\
         [ $1 = stop ] && ocf_exit_reason going; exit $rc",
    );
    host.script(
        "own",
        ". $HA_NOARCHBIN/hto-mapfuncs\nusage() { echo usage: own $LEGAL_ACTIONS; }\nOCF_TYPE=Delay\n\
         OCF_RESOURCE_INSTANCE=test; OCF_RESKEY_startdelay=0; export OCF_TYPE OCF_RESOURCE_INSTANCE OCF_RESKEY_startdelay\n\
         ra_execocf $1",
    );
    let run = |program: &str, more: &[(&str, &str)], word: &str| {
        let mut command = Command::new(host.path(program));
        command.arg(word).stdin(Stdio::null()).env("HA_DIR", host.path("ha.d")).env("HA_NOARCHBIN", &folder);
        command.env("HA_FUNCS", folder.join("shellfuncs")).env("OCF_FUNCTIONS_DIR", &folder);
        command.env("HA_RSCTMP", host.path("state")).env("HA_LOGFILE", host.path("log"));
        command.env_remove("HA_LOGFACILITY").env_remove("HA_LOGD").env_remove("HA_LOGTAG");
        command.env("HA_DEBUGLOG", host.path("log")).env("OCF_ROOT", host.path("ocf"));
        let output = command.envs(more.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    for (word, code, line) in [
        ("status", 7, "INFO:  Resource is stopped\n"),
        ("start", 0, "INFO:  Success\n"),
        ("status", 0, "INFO:  Running OK\n"),
        ("stop", 0, "INFO:  Success\n"),
        ("fly", 1, "ERROR: Unknown operation: fly\nusage: own (start|stop|status|usage|meta-data)\n"),
    ] {
        let (found, stdout, stderr) = run("own", &[], word);
        assert_eq!((found, stdout.as_str()), (Some(code), line), "{word}: {stderr}");
    }
    let instance = [("OCF_RESOURCE_INSTANCE", "one"), ("OCF_RA_VERSION_MAJOR", "1")];
    for (word, code) in [("monitor", 7), ("start", 0), ("monitor", 0), ("stop", 0), ("monitor", 7)] {
        let (found, _, stderr) = run("ocf/resource.d/acme/Own", &instance, word);
        assert_eq!(found, Some(code), "{word}: {stderr}");
        assert_eq!(stderr.contains("ocf-exit-reason:going\n"), word == "stop", "{stderr}");
    }
    assert_eq!(run("ocf/resource.d/acme/Own", &instance[1..], "start").0, Some(2));
    for part in ["INFO: a b", "ERROR: command failed: false", "INFO: probe", "ERROR: going"] {
        assert!(host.read("log").contains(part), "{part} not in {}", host.read("log"));
    }
}
