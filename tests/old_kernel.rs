//! Goal: the program depends on nothing newer than Linux 2.6.32 (packaging/KERNELS.md).
//! Method: run it below `examples/old-kernel.rs`, a filter that answers as such a kernel would: the
//! static binary that `HA_STATIC_BIN` names, else the ordinary one of this build.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "support/skip.rs"]
mod skip;
use skip::skip;

/// The wrapper, which a plain `cargo test` builds with the other examples.
fn wrapper() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let path = test.parent()?.parent()?.join("examples/old-kernel");
    path.is_file().then_some(path)
}

/// The binary to test.
fn ha() -> PathBuf {
    match std::env::var_os("HA_STATIC_BIN") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_BIN_EXE_ha")),
    }
}

/// The wrapper, if this machine lets it work; else the test says why it stops.
fn usable_wrapper() -> Option<PathBuf> {
    let Some(wrapper) = wrapper() else {
        skip("examples/old-kernel is not built: use `cargo test` without `--test`");
        return None;
    };
    assert!(ha().is_file(), "HA_STATIC_BIN names {}, which is not there", ha().display());
    let probe = Command::new(&wrapper).arg("/bin/true").output().expect("the wrapper starts");
    if !probe.status.success() {
        skip(&format!("nothing runs below the filter here: {}", String::from_utf8_lossy(&probe.stderr)));
        return None;
    }
    Some(wrapper)
}

fn run_below(wrapper: &Path, arguments: &[&str]) -> Output {
    Command::new(wrapper).arg(ha()).args(arguments).output().expect("the wrapper starts")
}

fn explain(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_filter_refuses_what_is_newer() {
    let Some(wrapper) = usable_wrapper() else { return };
    // Python-free and shell-free probe: this test's own binary, asked for the test below.
    let this = std::env::current_exe().expect("a test knows its binary");
    let output = Command::new(wrapper)
        .arg(this)
        .args(["--exact", "probe_from_below", "--nocapture"])
        .env("HA_OLD_KERNEL_PROBE", "1")
        .output()
        .expect("the wrapper starts");
    let told = explain(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("reuse port: Protocol not available"), "{told}");
    assert!(told.contains("broadcast: fine"), "{told}");
    assert!(told.contains("pidfd: Function not implemented"), "{told}");
}

/// Not a test of its own: `the_filter_refuses_what_is_newer` runs it below the filter.
#[test]
fn probe_from_below() {
    if std::env::var_os("HA_OLD_KERNEL_PROBE").is_none() {
        return;
    }
    let tell = |name: &str, result: std::io::Result<()>| match result {
        Ok(()) => println!("{name}: fine"),
        Err(error) => println!("{name}: {error}"),
    };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).expect("a socket");
    tell("reuse port", socket.set_reuse_port(true));
    tell("broadcast", socket.set_broadcast(true));
    tell("pidfd", pidfd_of_self());
}

#[allow(unsafe_code)]
fn pidfd_of_self() -> std::io::Result<()> {
    // SAFETY: pidfd_open takes two numbers; the process ends soon, and its descriptor with it.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[test]
fn it_starts_and_names_its_version() {
    let Some(wrapper) = usable_wrapper() else { return };
    let output = run_below(&wrapper, &["--version"]);
    assert!(output.status.success(), "{}", explain(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains(env!("CARGO_PKG_VERSION")), "{told}");
}

#[test]
fn it_lists_its_applets() {
    let Some(wrapper) = usable_wrapper() else { return };
    let output = run_below(&wrapper, &["--list"]);
    assert!(output.status.success(), "{}", explain(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for applet in ["heartbeat", "hb_standby", "cl_status", "IPaddr"] {
        assert!(told.lines().any(|line| line == applet), "{applet} is not in:\n{told}");
    }
}

#[test]
fn it_checks_a_configuration() {
    let Some(wrapper) = usable_wrapper() else { return };
    let folder = sample_configuration();
    let output = run_below(&wrapper, &["check", "--json", &folder.path().to_string_lossy()]);
    // 1: warnings, since the sample's second node and device are not this machine's.
    let told = explain(&output);
    assert!(output.status.code().is_some_and(|code| code <= 1), "{told}");
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok(), "{told}");
}

/// A folder like `/etc/ha.d` in which nothing is wrong for this machine: its own node name, the
/// loopback device.
fn sample_configuration() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder for the sample");
    let node = nix::unistd::gethostname().expect("a host name").to_string_lossy().into_owned();
    let ha_cf = format!(
        "keepalive 1\nwarntime 5\ndeadtime 10\ninitdead 30\nudpport 694\nucast lo 127.0.0.1\n\
         auto_failback on\nnode {node} other-node\n"
    );
    let files = [
        ("ha.cf", ha_cf),
        ("authkeys", "auth 1\n1 sha1 not-a-secret\n".to_owned()),
        ("haresources", format!("{node} IPaddr2::127.0.0.77/8/lo\n")),
    ];
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("the folder is writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
    folder
}

/// The main scenario: cold start, crash, takeover, return and planned switch of two daemons. Only the
/// daemons (and what they start) live below the filter; the demo's own work, making namespaces, needs
/// calls that came later.
#[test]
fn a_pair_fails_over() {
    let Some(wrapper) = usable_wrapper() else { return };
    let output = Command::new(ha())
        .args(["demo", "--json"])
        .env("HA_DEMO_DAEMON_PREFIX", &wrapper)
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", explain(&output));
}
