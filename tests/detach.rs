//! Detaching, titles, locked memory: what only a process of its own can show. The test starts
//! this same program again, which then behaves as the daemon at its start. Without the test
//! harness, since that has threads of its own.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ha_core::daemon::process::{running_pid, PidFile, RunState};
use ha_core::log::{LogTargets, Logger};
use ha_core::sys::process::{close_inherited, daemonise, set_title, Role};
use ha_core::sys::sched::{is_realtime, lock_memory, set_realtime};
use ha_core::types::LogLevel;

const FOLDER: &str = "HA_TEST_DETACH_FOLDER";
const LIMIT: Duration = Duration::from_secs(20);

fn main() {
    match std::env::var_os(FOLDER).map(PathBuf::from) {
        Some(folder) => start_as_a_daemon(&folder),
        None => detached_daemon_is_what_scripts_expect(),
    }
}

/// What a daemon does first.
fn start_as_a_daemon(folder: &Path) {
    close_inherited(&[]);
    let log_file = Some(folder.join("ha-log"));
    let logger = Logger::direct(LogTargets { log_file, ..LogTargets::none("heartbeat") });
    logger.log(LogLevel::Info, "Configuration validated. Starting heartbeat 3.0.6");
    let mut pid_file = PidFile::acquire(&folder.join("heartbeat.pid")).unwrap();
    if daemonise().unwrap() == Role::Parent {
        return;
    }
    pid_file.write_own_pid().unwrap();
    set_title("heartbeat", "heartbeat: master control process");
    if let Err(error) = lock_memory() {
        logger.log(LogLevel::Error, &error.to_string());
    }
    if let Err(error) = set_realtime(1) {
        logger.log(LogLevel::Error, &error.to_string());
    }
    logger.go_to_background(false).unwrap();
    logger.log(LogLevel::Info, &format!("realtime {}", is_realtime()));
    logger.flush(LIMIT);
    fs::write(folder.join("ready.tmp"), std::process::id().to_string()).unwrap();
    fs::rename(folder.join("ready.tmp"), folder.join("ready")).unwrap();
    wait_for(|| folder.join("end").exists());
    std::process::exit(0);
}

fn wait_for(condition: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < end, "waited too long");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(folder: &Path) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .arg("an argument that leaves room for the title")
        .env(FOLDER, folder)
        .output()
        .unwrap()
}

fn detached_daemon_is_what_scripts_expect() {
    let folder = tempfile::tempdir().unwrap();
    let pid_path = folder.path().join("heartbeat.pid");
    let inherited = fs::File::create(folder.path().join("inherited")).unwrap();
    nix::fcntl::fcntl(&inherited, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();

    let output = start(folder.path());
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("info: Configuration validated."));
    wait_for(|| folder.path().join("ready").exists());
    let pid: u32 = fs::read_to_string(folder.path().join("ready")).unwrap().parse().unwrap();
    let proc = PathBuf::from(format!("/proc/{pid}"));

    assert_eq!(running_pid(&pid_path), RunState::Running(Some(pid)));
    assert_eq!(fs::read_to_string(proc.join("comm")).unwrap(), "heartbeat\n");
    let title = fs::read(proc.join("cmdline")).unwrap();
    assert!(title.starts_with(b"heartbeat: master control process\0"), "{title:?}");
    assert_eq!(fs::read_link(proc.join("cwd")).unwrap(), Path::new("/"));
    for standard in 0..=2 {
        assert_eq!(fs::read_link(proc.join(format!("fd/{standard}"))).unwrap(), Path::new("/dev/null"));
    }
    let target = fs::read_link(proc.join(format!("fd/{}", inherited.as_raw_fd())));
    assert_ne!(target.ok(), Some(folder.path().join("inherited")), "inherited files are closed");
    let stat = fs::read_to_string(proc.join("stat")).unwrap();
    let session: u32 = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(session != pid && session != std::process::id(), "a session of its own, not led by it");

    let log = fs::read_to_string(folder.path().join("ha-log")).unwrap();
    assert!(log.contains(&format!("heartbeat: [{pid}]: info: realtime")), "{log}");
    assert!(log.lines().next().unwrap().ends_with("Starting heartbeat 3.0.6"), "{log}");

    let status = fs::read_to_string(proc.join("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    let resident_kib: u32 = resident.unwrap().trim().parse().unwrap();
    assert!(resident_kib < 8 * 1024, "{resident_kib} KiB resident with memory locked");

    assert!(!start(folder.path()).status.success(), "a second start is refused");
    fs::write(folder.path().join("end"), "").unwrap();
    wait_for(|| running_pid(&pid_path) == RunState::StalePidFile);
}
