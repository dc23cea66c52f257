//! How long a start takes: from exec to the first beat on the network, and of `ha --list`.
//!
//! `cargo bench --bench start`; with `HA_STATIC_BIN` the binary of that name is measured. Root only: each
//! daemon runs in a network namespace of this process, whose loopback shows the packets. On a machine that
//! has other work `chrt -f 50` before the command keeps that out of the times.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{unshare, CloneFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// What the issue of this project promises, milliseconds.
const FIRST_BEAT_LIMIT_MS: f64 = 20.0;
const LIST_LIMIT_MS: f64 = 2.0;
const STARTS: usize = 20;
const LISTS: usize = 200;
const PORT: u16 = 7694;
/// All protocols (`ETH_P_ALL` of linux/if_ether.h), in network order.
const EVERY_PROTOCOL: i32 = (3_u16.to_be()) as i32;

fn main() {
    let binary = binary();
    println!("{}", binary.display());
    let lists: Vec<f64> = (0..LISTS).map(|_| list(&binary)).collect();
    report("ha --list", lists, LIST_LIMIT_MS);
    match measure_starts(&binary) {
        Ok(starts) => report("exec to first beat", starts, FIRST_BEAT_LIMIT_MS),
        Err(error) => println!("exec to first beat: skipped: {error}"),
    }
}

fn binary() -> PathBuf {
    std::env::var_os("HA_STATIC_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ha").into(), PathBuf::from)
}

fn report(what: &str, mut times_ms: Vec<f64>, limit_ms: f64) {
    times_ms.sort_by(f64::total_cmp);
    let (least, median, most) = (times_ms[0], times_ms[times_ms.len() / 2], times_ms[times_ms.len() - 1]);
    let verdict = if median < limit_ms { "below" } else { "ABOVE" };
    println!(
        "{what}: median {median:.2} ms, least {least:.2}, most {most:.2} of {}; {verdict} {limit_ms} ms",
        times_ms.len()
    );
}

fn list(binary: &Path) -> f64 {
    let start = Instant::now();
    let output = Command::new(binary).arg("--list").stdin(Stdio::null()).output().expect("the binary starts");
    let time = start.elapsed();
    assert!(output.status.success() && !output.stdout.is_empty());
    milliseconds(time)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn measure_starts(binary: &Path) -> io::Result<Vec<f64>> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if !up.success() {
        return Err(io::Error::other("ip link set lo up failed"));
    }
    let mut network = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY_PROTOCOL)))?;
    network.set_read_timeout(Some(Duration::from_secs(5)))?;
    (0..STARTS).map(|_| start_once(binary, &mut network)).collect()
}

/// One daemon, of a node of its own below a folder of its own, until its first packet.
fn start_once(binary: &Path, network: &mut Socket) -> io::Result<f64> {
    // In memory, where there is such a place: the time of a disk is not the program's.
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
    configure(root.path())?;
    let start = Instant::now();
    let mut daemon = Command::new(binary)
        .args(["heartbeat", "-f"])
        .env("HA_ROOT", root.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let time = first_beat(network).map(|()| start.elapsed());
    let stop = Command::new(binary).args(["heartbeat", "-k"]).env("HA_ROOT", root.path()).output()?;
    assert!(stop.status.success());
    daemon.wait()?;
    drain(network)?;
    time.map(milliseconds)
}

fn configure(root: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = root.join("etc/ha.d");
    std::fs::create_dir_all(&folder)?;
    let name = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let text = format!(
        "keepalive 1\ndeadtime 10\ninitdead 20\nudpport {PORT}\nucast lo 127.0.0.2\nauto_failback off\n\
         logfile {}/log\nnode {name}\nnode other\n",
        root.display()
    );
    std::fs::write(folder.join("ha.cf"), text)?;
    std::fs::write(folder.join("haresources"), "")?;
    let keys = folder.join("authkeys");
    std::fs::write(&keys, "auth 1\n1 sha1 secret\n")?;
    std::fs::set_permissions(keys, std::fs::Permissions::from_mode(0o600))
}

/// Until a packet with a status message passes.
fn first_beat(network: &mut Socket) -> io::Result<()> {
    let mut packet = [0; 2048];
    loop {
        let length = network.read(&mut packet)?;
        if packet[..length].windows(8).any(|bytes| bytes == b"t=status") {
            return Ok(());
        }
    }
}

/// What was sent before the end must not count for the next start.
fn drain(network: &mut Socket) -> io::Result<()> {
    network.set_nonblocking(true)?;
    while network.read(&mut [0; 2048]).is_ok() {}
    network.set_nonblocking(false)
}
