//! Addresses: ours beside Debian's IPaddr2 on this machine, and whole groups of them. Prints figures and
//! ratios; asserts none.
//!
//! ```text
//! HA_STATIC_BIN=$(packaging/build-static) cargo bench --bench addresses -- [--trials N]
//! ```
//!
//! `HA_STATIC_BIN` is the binary that is handed out; without it the one that cargo built is measured, whose
//! dynamic linking takes longer than the agent's work.
//!
//! Needs root or user namespaces, unshare(1) and ip(8); without Debian's agent only ours is measured.
//! "In the kernel" is when the last address of a group is there, seen from outside by the kernel's own
//! notices; "in all" is when the job ended, its log written.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    bind, recv, setsockopt, socket, sockopt, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol,
    SockType,
};

const INSIDE: &str = "HA_BENCH_INSIDE_NAMESPACE";
const DEBIAN: &str = "/usr/lib/ocf/resource.d/heartbeat/IPaddr2";
const ADDRESS: [(&str, &str); 3] =
    [("OCF_RESKEY_ip", "192.168.77.9"), ("OCF_RESKEY_cidr_netmask", "24"), ("OCF_RESKEY_nic", "v0")];
/// Addresses at once.
const SIZES: [usize; 3] = [100, 1000, 10_000];
/// Addresses in a line of haresources.
const IN_A_GROUP: usize = 100;
/// Groups of IPv4 address notices (rtnetlink(7)).
const ADDRESS_NOTICES: u32 = 0x10;

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        measure();
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let own = std::env::current_exe().expect("own path");
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let status = command.arg("--net").arg(own).args(words).env(INSIDE, "yes").status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("addresses: not measured: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("addresses: not measured: unshare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let trials = match words.as_slice() {
        [option, number] if option == "--trials" => number.parse().unwrap_or(10),
        _ => 10,
    };
    for words in [
        "link set lo up",
        "link add v0 type veth peer name v1",
        "link set v0 up",
        "link set v1 up",
        "addr add 192.168.77.1/24 brd + dev v0",
    ] {
        let status = Command::new("ip").args(words.split(' ')).status().expect("ip(8)");
        assert!(status.success(), "ip {words}");
    }
    let place = tempfile::tempdir().expect("a directory");
    println!("Ours is {}\n", binary().display());
    println!("One address, medians of {trials} with the least and the most, in microseconds:\n");
    let ours = single(&binary(), true, trials, place.path());
    println!("{:8} {:>28} {:>28} {:>7}", "", "ours", "Debian's", "ratio");
    let debian = Path::new(DEBIAN).exists().then(|| single(Path::new(DEBIAN), false, trials, place.path()));
    for (index, action) in ACTIONS.iter().enumerate() {
        let ours_us = &ours[index];
        match &debian {
            Some(debian) => {
                let ratio = debian[index].middle as f64 / ours_us.middle.max(1) as f64;
                println!("{action:8} {ours_us:>28} {:>28} {ratio:>7.1}", debian[index]);
            }
            None => println!("{action:8} {ours_us:>28} {:>28}", "-"),
        }
    }
    println!("\nGroups of {IN_A_GROUP}:\n");
    println!("{:>10} {:8} {:>28} {:>28}", "addresses", "", "in the kernel", "in all");
    for size in SIZES {
        groups(size, trials.min(5), place.path());
    }
}

const ACTIONS: [&str; 3] = ["start", "status", "stop"];

/// Of start, status and stop.
fn single(program: &Path, is_ours: bool, trials: usize, place: &Path) -> [Figure; 3] {
    let mut samples: [Vec<u128>; 3] = Default::default();
    for _ in 0..trials {
        for (index, action) in ACTIONS.iter().enumerate() {
            let mut command = Command::new(program);
            command.args(is_ours.then_some("IPaddr2")).arg(action);
            command.envs(ADDRESS).env("OCF_ROOT", "/usr/lib/ocf").env("OCF_RESOURCE_INSTANCE", "bench");
            command.env("HA_RSCTMP", place).env("HA_LOGFILE", place.join("log"));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let begin = Instant::now();
            let status = command.status().expect("the agent");
            samples[index].push(begin.elapsed().as_micros());
            assert!(status.success(), "{} {action}", program.display());
        }
    }
    samples.map(Figure::of)
}

/// Starts and stops that many addresses, as the daemon does it.
fn groups(size: usize, trials: usize, place: &Path) {
    let mut text = String::new();
    for (index, words) in addresses(size).chunks(IN_A_GROUP).enumerate() {
        let node = if index % 2 == 0 { "node1" } else { "node2" };
        text.push_str(&format!("{node} {}\n", words.join(" ")));
    }
    fs::write(place.join("haresources"), text).expect("haresources");
    for (work, action) in [("acquire", "start"), ("release", "stop")] {
        let (mut kernel, mut all) = (Vec::new(), Vec::new());
        for _ in 0..trials {
            let mut other = job(if work == "acquire" { "release" } else { "acquire" }, place);
            // Nobody reads it, and a full pipe would hold it.
            other.stdout(Stdio::null()).status().expect("the other way");
            let notices = Notices::listen();
            let begin = Instant::now();
            let mut child = job(work, place).spawn().expect("job");
            let seen = notices.wait(size, begin);
            let mut output = String::new();
            child.stdout.take().expect("output").read_to_string(&mut output).expect("text");
            child.wait().expect("end");
            assert!(output.ends_with("outcome start-failed=none stop-failed=none\n"), "{output}");
            kernel.push(seen.as_micros());
            all.push(begin.elapsed().as_micros());
        }
        println!("{size:>10} {action:8} {:>28} {:>28}", Figure::of(kernel), Figure::of(all));
    }
    let _ = job("release", place).stdout(Stdio::null()).status();
}

fn job(work: &str, place: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(["ResourceManager", "job", work, "all"]).stdin(Stdio::null()).stdout(Stdio::piped());
    command.env("HA_DIR", place).env("HA_RSCTMP", place.join("state")).env("HA_CURHOST", "node1");
    command.env("HA_LOGFILE", place.join("log")).stderr(Stdio::null());
    command
}

fn addresses(count: usize) -> Vec<String> {
    let word = |index: usize| {
        format!("IPaddr2::10.{}.{}.{}/8/v0", index / 62_500, index / 250 % 250, index % 250 + 1)
    };
    (0..count).map(word).collect()
}

/// Counts the kernel's notices about IPv4 addresses.
struct Notices(std::os::fd::OwnedFd);

impl Notices {
    fn listen() -> Self {
        let netlink = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, netlink)
            .expect("netlink socket");
        // Large enough for all notices; without the right to that, some may be lost.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 * 1024 * 1024));
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, ADDRESS_NOTICES)).expect("bind");
        Self(socket)
    }

    /// Time from `begin` until that many came.
    fn wait(&self, count: usize, begin: Instant) -> Duration {
        let mut buffer = [0; 8192];
        for _ in 0..count {
            recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("a notice");
        }
        begin.elapsed()
    }
}

/// Microseconds of several trials.
struct Figure {
    least: u128,
    middle: u128,
    most: u128,
}

impl Figure {
    fn of(mut samples: Vec<u128>) -> Self {
        samples.sort_unstable();
        let at = |index: usize| samples.get(index).copied().unwrap_or(0);
        Self { least: at(0), middle: at(samples.len() / 2), most: at(samples.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{} ({} to {})", self.middle, self.least, self.most))
    }
}

fn binary() -> PathBuf {
    let given = std::env::var_os("HA_STATIC_BIN").filter(|path| !path.is_empty());
    given.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_ha")), PathBuf::from)
}
