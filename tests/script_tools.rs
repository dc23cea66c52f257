//! What scripts use without a daemon: the shell functions of a host that has no others, and
//! `ha_propagate`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const HA: &str = env!("CARGO_BIN_EXE_ha");
const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/resource/shellfuncs.sh");

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(&path, text).expect("the folder is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs a script that reads the functions, where resource-agents is not installed.
    fn shell(&self, shell: &str, script: &str) -> Output {
        Command::new(shell)
            .args(["-c", &format!("set -u; . {FUNCTIONS}\n{script}"), "/some/where/tool"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("OCF_ROOT", self.path("no-ocf"))
            .env("HA_DIR", self.0.path())
            .env("HA_FIFO", self.path("fifo"))
            .env("HA_LOGFILE", self.path("log"))
            .env("HA_DEBUGLOG", self.path("debug"))
            .env("HA_RSCTMP", self.0.path())
            .env("HA_VARRUN", self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("the shell starts")
    }
}

/// The shells of this machine; the first is everywhere.
fn shells() -> impl Iterator<Item = &'static str> {
    ["/bin/sh", "/bin/dash", "/bin/bash"].into_iter().filter(|shell| Path::new(shell).exists())
}

#[track_caller]
fn says(output: &Output, code: i32, stdout: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), stdout, "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn log_lines_go_where_the_environment_says() {
    for shell in shells() {
        let folder = Folder::new();
        let script = "ha_log 'info: one'; ha_debug 'debug: no'; HA_debug=1; ha_debug 'debug: two'; \
                      ocf_log err three; HA_LOGTAG=me; HA_DEBUGLOG=; ha_log WARN: four";
        says(&folder.shell(shell, script), 0, "");
        let (log, debug) = (folder.read("log"), folder.read("debug"));
        let texts: Vec<&str> =
            log.lines().filter_map(|line| line.split_once(":    ")).map(|it| it.1).collect();
        assert_eq!(texts, ["info: one", "ERROR: three", "WARN: four"], "{log}");
        let first = log.lines().next().expect("a line");
        assert!(first[19..].starts_with("  tool(default)["), "{log}");
        assert!(log.lines().nth(2).expect("a line")[19..].starts_with("  me:    "), "{log}");
        assert_eq!(debug.lines().count(), 3, "{debug}");
        assert!(debug.starts_with("tool(default)[") && debug.contains("]:\t2"), "{debug}");
    }
}

#[test]
fn settings_and_pretended_resources() {
    for shell in shells() {
        let folder = Folder::new();
        folder.write("ha.cf", "# keepalive 9\nKeepalive  3 # seconds\nnode a b\n");
        let script = "ha_parameter keepalive; ha_parameter deadtime; ha_parameter node; Echo $HA_RCDIR; \
                      ha_parameter none";
        let rc_dir = folder.path("rc.d").display().to_string();
        says(&folder.shell(shell, script), 0, &format!("3\n7\na b\n{rc_dir}\n\n"));
        let script = "ha_pseudo_resource x status; echo $?; ha_pseudo_resource x start; \
                      ha_pseudo_resource x status; echo $?; ha_pseudo_resource x stop; \
                      ha_pseudo_resource x monitor; echo $?; ha_pseudo_resource x fly";
        says(&folder.shell(shell, script), 3, "3\n0\n7\n");
        folder.write("nothing-like-this.pid", "1");
        says(
            &folder.shell(shell, "BSD_Status /x/nothing-like-this"),
            1,
            "nothing-like-this dead but pid file exists\n",
        );
        let script =
            format!(". {FUNCTIONS}; case $PATH in *libexec/heartbeat*libexec/heartbeat*) exit 9;; esac");
        says(&folder.shell(shell, &script), 0, "");
    }
}

#[test]
fn messages_of_many_scripts_do_not_mix() {
    const SCRIPTS: usize = 20;
    for shell in shells() {
        let folder = Folder::new();
        let refused = folder.shell(shell, "echo t=x | ha_clustermsg");
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(folder.read("log").contains("is no FIFO: heartbeat does not run"), "{}", folder.read("log"));
        assert!(!folder.path("fifo").exists(), "no file takes the place of the FIFO");
        nix::unistd::mkfifo(&folder.path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let mut fifo = options.open(folder.path("fifo")).expect("FIFO");
        let script = format!(
            "i=0; while [ $i -lt {SCRIPTS} ]; do ha_clustermsg <<-END &\n\tt=backup\n\tnumber=$i\n\tEND\n\
             i=$((i + 1)); done; wait"
        );
        says(&folder.shell(shell, &script), 0, "");
        let mut text = String::new();
        // It ends with EAGAIN.
        let _ = fifo.read_to_string(&mut text);
        let mut numbers: Vec<usize> = text
            .split_terminator("<<<\n")
            .map(|message| message.strip_prefix(">>>\nt=backup\nnumber=").expect("whole"))
            .map(|number| number.trim_end().parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..SCRIPTS).collect::<Vec<_>>(), "{text}");
    }
}

/// Copies with scp and ssh of our own, that write down how they were called.
#[test]
fn the_configuration_is_copied_to_the_other_nodes() {
    let folder = Folder::new();
    let own = nix::unistd::gethostname().expect("a name").to_string_lossy().into_owned();
    let run = || {
        Command::new(HA)
            .arg0("ha_propagate")
            .env("HA_ROOT", folder.0.path())
            .env("PATH", folder.path("bin"))
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    };
    let missing = "HA Linux not configured on this node.  Can not propagate.\n";
    says(&run(), 1, missing);
    folder.write("etc/ha.d/ha.cf", &format!("# node none\nnode {own}\nnode beta gamma\n"));
    says(&run(), 1, missing);
    folder.write("etc/ha.d/authkeys", "auth 1\n1 crc\n");
    let note = |name: &str| format!("#!/bin/sh\necho {name} \"$@\" >>{}\n", folder.path("calls").display());
    folder.write("bin/scp", &(note("scp") + "case $3 in root@beta:*) exit 1;; esac\n"));
    folder.write("bin/ssh", &note("ssh"));
    folder.write("bin/chkconfig", "#!/bin/sh\necho heartbeat on\n");
    let texts = |node: &str| {
        format!(
            "Propagating HA configuration files to node {node}.\n\
             Setting HA startup configuration on node {node}.\n"
        )
    };
    says(&run(), 1, &(texts("beta") + &texts("gamma")));
    let etc = folder.path("etc/ha.d").display().to_string();
    let calls = |node: &str| {
        format!("scp {etc}/ha.cf {etc}/authkeys root@{node}:{etc}/\nssh root@{node} chkconfig heartbeat on\n")
    };
    assert_eq!(folder.read("calls"), calls("beta") + &calls("gamma"));
    folder.write("bin/scp", &note("scp"));
    says(&run(), 0, &(texts("beta") + &texts("gamma")));
    // What is no name reaches neither.
    folder.write("calls", "");
    folder.write("etc/ha.d/ha.cf", "node -oProxyCommand=x $(reboot) gamma\n");
    let output = run();
    assert_eq!((output.status.code(), folder.read("calls")), (Some(1), calls("gamma")), "{output:?}");
}
