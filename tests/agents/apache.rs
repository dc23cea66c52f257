//! apache with Debian's server, on an address of its own in a namespace, and beside Debian's agent.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::beside::{Beside, Difference, Form, Whose};
use crate::inside::in_namespaces;
use crate::skip;

const SERVER: &str = "/usr/sbin/apache2";
const PATIENCE: Duration = Duration::from_secs(60);
const PROBE: &str = "ip link set lo up && chown www-data /dev/shm/. 2>/dev/null; id -u www-data";

/// A server with its files in a directory.
struct Site {
    directory: tempfile::TempDir,
}

impl Site {
    fn new(status_page: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display().to_string();
        for folder in ["logs", "htdocs", "conf.d", "state"] {
            fs::create_dir(directory.path().join(folder)).unwrap();
        }
        // The server's children are another user.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), open).unwrap();
        fs::write(directory.path().join("htdocs/page"), "all is Well\n").unwrap();
        let modules = "/usr/lib/apache2/modules";
        let config = format!(
            "ServerRoot \"{root}\"\nServerName test\nPidFile logs/httpd.pid\nErrorLog logs/error\nUser www-data\n\
             Group www-data\nLoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module \
             {modules}/mod_authz_core.so\nLoadModule authz_host_module {modules}/mod_authz_host.so\nLoadModule \
             status_module {modules}/mod_status.so\nInclude conf.d/*.conf\nDocumentRoot {root}/htdocs\nMutex file:{root}/logs\n"
        );
        fs::write(directory.path().join("httpd.conf"), config).unwrap();
        fs::write(directory.path().join("conf.d/listen.conf"), "Listen 127.0.0.1:8080\n").unwrap();
        if status_page {
            let text = "<Location \"/status\">\n  SetHandler server-status\n  Require local\n</Location>\n";
            fs::write(directory.path().join("conf.d/status.conf"), text).unwrap();
        }
        Self { directory }
    }

    fn config(&self) -> String {
        self.directory.path().join("httpd.conf").display().to_string()
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.path().join("logs/httpd.pid")
    }

    /// The agent by its heartbeat class.
    fn agent(&self, operation: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        command.args(["apache", &self.config(), operation]).stdin(Stdio::null());
        command.env("HA_RSCTMP", self.directory.path().join("state"));
        command.env("HA_LOGFILE", self.directory.path().join("log"));
        command
    }

    fn expect(&self, operation: &str, code: i32, line: &str) {
        let output = self.agent(operation).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        assert_eq!(output.status.code(), Some(code), "{operation}: {text}{}", log());
        assert_eq!(text, format!("{line}\n"));
    }

    /// One action of the OCF form.
    fn ocf(&self, action: &str, level: &str, parameters: &[(&str, &str)]) -> i32 {
        let mut command = self.agent(action);
        command = {
            let mut ocf = Command::new(command.get_program());
            ocf.args(["apache", action]).stdin(Stdio::null()).stderr(Stdio::null());
            ocf.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            ocf
        };
        command.env("OCF_RESOURCE_INSTANCE", "x").env("OCF_CHECK_LEVEL", level);
        command.env("OCF_RESKEY_configfile", self.config());
        command.envs(parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)));
        command.status().unwrap().code().unwrap()
    }

    fn processes(&self) -> usize {
        let config = self.config();
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| line.starts_with(SERVER.as_bytes()) && text(line).contains(&config)).count()
    }

    fn kill_all(&self) {
        let _ =
            Command::new("pkill").args(["-KILL", "-f", &format!("^{SERVER}.*{}", self.config())]).status();
        wait_until("all are gone", || self.processes() == 0);
        let _ = fs::remove_file(self.pid_file());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let _ =
            Command::new("pkill").args(["-KILL", "-f", &format!("^{SERVER}.*{}", self.config())]).status();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn serves() -> bool {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:8080")?;
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    fetch().is_ok_and(|answer| answer.contains("all is Well"))
}

fn in_namespace(test: &str, body: impl FnOnce()) {
    if !Path::new(SERVER).exists() {
        return skip::skip("Debian's apache2 is not installed");
    }
    if !nix::unistd::geteuid().is_root() {
        return skip::skip_without_privilege("the server becomes another user, which needs root");
    }
    in_namespaces(&format!("apache::{test}"), &["--net"], PROBE, || {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
        assert!(up.success());
        body();
    });
}

#[test]
fn a_server_comes_and_goes() {
    in_namespace("a_server_comes_and_goes", || {
        let site = Site::new(true);
        site.expect("status", 7, "INFO:  Resource is stopped");
        site.expect("stop", 0, "INFO:  Success");
        site.expect("start", 0, "INFO:  Success");
        assert!(serves());
        site.expect("start", 0, "INFO:  Success");
        site.expect("status", 0, "INFO:  Running OK");
        checks(&site);

        // One that stands still is there, and does not answer.
        let pid = fs::read_to_string(site.pid_file()).unwrap().trim().to_owned();
        let all = ["-f".to_owned(), format!("^{SERVER}.*{}", site.config())];
        assert!(Command::new("pkill").arg("-STOP").args(&all).status().unwrap().success());
        site.expect("status", 1, "ERROR:  Generic error");
        assert!(Command::new("pkill").arg("-CONT").args(&all).status().unwrap().success());
        site.expect("status", 0, "INFO:  Running OK");

        // What it leaves behind when its first process dies is found and ended.
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        wait_until("it is gone", || !Path::new(&format!("/proc/{pid}")).exists());
        site.expect("status", 7, "INFO:  Resource is stopped");
        site.expect("stop", 0, "INFO:  Success");
        assert_eq!(site.processes(), 0);
        site.expect("start", 0, "INFO:  Success");
        site.expect("stop", 0, "INFO:  Success");
        assert_eq!((site.processes(), serves()), (0, false));
    });
}

/// Check levels and URLs.
fn checks(site: &Site) {
    let page = [("testurl", "/page"), ("testregex10", "ALL IS (well|fine)$")];
    assert_eq!(site.ocf("monitor", "10", &page), 0);
    assert_eq!(site.ocf("monitor", "10", &[page[0], ("testregex10", "bad")]), 1);
    assert_eq!(site.ocf("monitor", "10", &[page[0]]), 6);
    assert_eq!(
        site.ocf("monitor", "0", &[("statusurl", "http://localhost:8080/page"), ("testregex", "well")]),
        0
    );
    assert_eq!(site.ocf("monitor", "0", &[("statusurl", "http://localhost:8080/none")]), 1);
    let tests = site.directory.path().join("tests");
    fs::write(&tests, "test a\nurl /none\nmatch x\nend\ntest b\nurl /page\nmatch well\nend\n").unwrap();
    let file = [("testconffile", tests.to_str().unwrap()), ("testname", "b")];
    assert_eq!(site.ocf("monitor", "10", &file), 0);
    assert_eq!(site.ocf("monitor", "10", &file[..1]), 1);
    assert_eq!(site.ocf("validate-all", "0", &[]), 0);
    assert_eq!(site.ocf("start", "0", &[("configfile", "/nonexistent")]), 5);
    assert_eq!(site.ocf("stop", "0", &[("configfile", "/nonexistent")]), 0);
    assert_eq!(site.ocf("monitor", "0", &[("configfile", "/nonexistent")]), 7);
}

/// Without a status page any answer counts; a server that cannot start is told at once.
#[test]
fn no_status_page_and_no_server() {
    in_namespace("no_status_page_and_no_server", || {
        let site = Site::new(false);
        site.expect("start", 0, "INFO:  Success");
        site.expect("status", 0, "INFO:  Running OK");
        site.expect("stop", 0, "INFO:  Success");
        fs::write(site.directory.path().join("conf.d/bad.conf"), "Fly high\n").unwrap();
        site.expect("start", 1, "ERROR:  Generic error");
        fs::write(site.directory.path().join("conf.d/bad.conf"), "").unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:8080").unwrap();
        site.expect("start", 1, "ERROR:  Generic error");
        assert_eq!(site.processes(), 0);
        drop(taken);
        // A number that belongs to somebody else now.
        fs::write(site.pid_file(), format!("{}\n", std::process::id())).unwrap();
        site.expect("status", 7, "INFO:  Resource is stopped");
        site.expect("stop", 0, "INFO:  Success");
        site.expect("start", 0, "INFO:  Success");
        site.expect("stop", 0, "INFO:  Success");
    });
}

#[test]
fn killed_at_any_moment_it_gets_there_when_run_again() {
    in_namespace("killed_at_any_moment_it_gets_there_when_run_again", || {
        let site = Site::new(true);
        for after_ms in [0, 10, 30, 60, 100, 150, 250] {
            for (operation, code, line) in
                [("start", 0, "INFO:  Running OK"), ("stop", 7, "INFO:  Resource is stopped")]
            {
                let mut agent = site.agent(operation).stdout(Stdio::null()).spawn().unwrap();
                std::thread::sleep(Duration::from_millis(after_ms));
                let _ = agent.kill();
                agent.wait().unwrap();
                site.expect(operation, 0, "INFO:  Success");
                site.expect("status", code, line);
            }
            assert_eq!(site.processes(), 0);
        }
        // Started, killed, and then not wanted any more.
        for after_ms in [20, 50, 120] {
            let mut agent = site.agent("start").stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            let _ = agent.kill();
            agent.wait().unwrap();
            site.expect("stop", 0, "INFO:  Success");
            let log = || fs::read_to_string(site.directory.path().join("log")).unwrap_or_default();
            assert_eq!(site.processes(), 0, "{after_ms}: {}", log());
        }
    });
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "end",
        why: "the CentOS 6 and 7 generation asks with SIGTERM; a graceful stop waits for idle clients",
        debian: "INFO: Attempting graceful stop of apache PID",
        ours: "INFO: Killing apache PID",
    },
    Difference {
        name: "waiting",
        why: "ours looks ten times a second and says it only each second",
        debian: "to come up",
        ours: "",
    },
    Difference {
        name: "not running while waiting",
        why: "the same",
        debian: "INFO: apache not running",
        ours: "",
    },
];

#[test]
fn beside_debians() {
    if Command::new("wget").arg("--version").output().is_err() {
        return skip::skip("wget is not installed, which Debian's agent needs");
    }
    in_namespace("beside_debians", || {
        let Some(beside) = Beside::new("apache", DIFFERENCES) else { return };
        beside.seldom(&["waiting", "not running while waiting"]);
        let site = Site::new(true);
        let config = site.config();
        let call = |operation| [config.clone(), operation];
        let call = |operation: &'static str| call(operation.to_owned());
        let same = |operation: &'static str, state: &dyn Fn(Whose) -> Vec<String>| {
            let words = call(operation);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            beside.same(Form::Class(&words), state)
        };
        let is_there = |_: Whose| vec![format!("serves: {}", serves())];
        same("status", &is_there);
        same("stop", &is_there);
        // The one that Debian's has started is taken away for ours to start another.
        same("start", &|whose| {
            let state = is_there(whose);
            if whose == Whose::Debian {
                site.kill_all();
            }
            state
        });
        same("start", &is_there);
        same("status", &is_there);
        same("stop", &|whose| {
            let state = is_there(whose);
            if whose == Whose::Debian {
                site.expect("start", 0, "INFO:  Success");
            }
            state
        });
        same("status", &is_there);
        beside.same_lines(Form::Class(&["a", "b", "status"]));
        beside.same_lines(Form::Class(&["/nonexistent", "status"]));
        beside.same_lines(Form::Class(&["/nonexistent", "stop"]));
        // Not finished: whether Debian's start waits is chance.
    });
}
