//! `send_arp`: announces an address by pairs of ARP packets, now and again for a while.
//!
//! ```text
//! start of an address ── first pair, at once ──▶ wire
//!        └── detached send_arp (owns the pid file) ── -r pairs, -i ms apart ──▶ wire
//! stop of an address ── kills the one in the pid file before the address goes
//! ```
//!
//! Behaviour of the original's libnet build (agents spec 1.1) for the form with five words; the
//! arping options of the other build when there is one word (see [`super::arping`]). A hardware
//! address that is none is refused here; the original sent what it made of it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::sys::getopt::Options;
use crate::sys::time::{local_time, syslog_time, unix_time_s};
use crate::sys::{print, syslog};
use crate::types::LogLevel;

use super::announce_many;
use super::arp::{Announcer, HardwareAddress, Operation};
use super::netlink::{Link, Netlink};
use super::state;

/// Set for the detached announcer: it makes a session of its own and finds the socket that its
/// parent opened as standard input.
const DETACHED_VARIABLE: &str = "HA_SEND_ARP_DETACHED";
/// Longest pause between two pairs, one day.
const INTERVAL_MAX_MS: u64 = 86_400_000;
/// A pid file holds a decimal number and nothing else.
const PID_FILE_MAX_BYTES: usize = 32;
/// Times an old announcer is killed and the pid file taken before giving up.
const PID_FILE_ATTEMPTS: usize = 5;
/// Facility `user`.
const SYSLOG_USER: u8 = 1;

const USAGE: &str = "\
send_arp: sends out custom ARP packet.
  usage: send_arp [-i repeatinterval-ms] [-r repeatcount] [-p pidfile] \\
              device src_ip_addr src_hw_addr broadcast_ip_addr netmask

  Tells the network that src_ip_addr is now at src_hw_addr, by a broadcast ARP
  request and, half an interval later, a broadcast ARP reply.

    -i ms       time from one such pair to the next, default 1000
    -r count    number of pairs, default 1
    -p pidfile  absolute path; an announcer that it names is killed first
    device      interface to send on
    src_hw_addr 12 hexadecimal digits, or auto for the device's own address
    broadcast_ip_addr, netmask
                ignored, but they must be there

  With one word instead of five it asks like arping:
         send_arp [-fqbDUA] [-c count] [-w seconds] [-I device] [-s source] destination
";

/// How often an announcement is repeated, and who may stop that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeats {
    /// Time from one pair to the next.
    pub interval_ms: u64,
    /// Pairs.
    pub count: u32,
    /// Absolute path; names the announcing process while it runs.
    pub pid_file: PathBuf,
}

/// The `send_arp` program. `words` are the arguments; the value is the exit code.
pub fn send_arp(called_as: &str, words: &[String]) -> u8 {
    if let Some(code) = announce_many::run_detached() {
        return code;
    }
    let parsed = Options::parse(called_as, words, "i:r:p:bfDUAqc:w:s:I:Vh?");
    if let Some(mistake) = parsed.errors.first() {
        return usage(&format!("{mistake}\n"), 1);
    }
    let heartbeat_mode = ['i', 'r', 'p'].iter().any(|letter| parsed.has(*letter));
    if parsed.has('V') {
        print::line("send_arp utility");
        return 0;
    }
    if parsed.has('h') || parsed.has('?') {
        return usage("", 2);
    }
    if parsed.parameters.len() == 1 && !heartbeat_mode {
        return super::arping::run(&parsed);
    }
    if let Some((letter, _)) = parsed.flags.iter().find(|(letter, _)| !matches!(letter, 'i' | 'r' | 'p')) {
        return usage(&format!("{called_as}: invalid option -- '{letter}'\n"), 1);
    }
    match Request::from_options(&parsed) {
        Ok(request) => request.run(),
        Err(mistake) => usage(&mistake, 1),
    }
}

/// Sends the first pair before it returns, then leaves the repeats to a process of its own.
///
/// # Errors
/// When the first pair could not be sent; nothing runs in the background then. A failing
/// background process is an error too, after the first pair is out.
pub fn announce(link: &Link, address: Ipv4Addr, repeats: &Repeats) -> io::Result<()> {
    let announcer = Announcer::open(link, address, None)?;
    announcer.send(Operation::Request)?;
    announcer.send(Operation::Reply)?;
    stop_announcing(&repeats.pid_file)?;
    let child = Command::new("/proc/self/exe")
        .arg0("send_arp")
        .args(["-i", &repeats.interval_ms.to_string(), "-r", &repeats.count.to_string(), "-p"])
        .arg(&repeats.pid_file)
        .args([link.name.as_str(), &address.to_string(), "auto", "not_used", "not_used"])
        .env(DETACHED_VARIABLE, "yes")
        .current_dir("/")
        // The socket goes to the child: closing a packet socket waits for the kernel's grace
        // period, which must not happen while somebody waits for the address.
        .stdin(Stdio::from(announcer.into_socket()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    create_parent(&repeats.pid_file)?;
    // Named here and not only by the child: a stop that follows at once must find it.
    match claim(&repeats.pid_file, child.id()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Kills the announcer that the pid file names, and removes the file. `true` when one ran.
///
/// A process that is no send_arp is left alone: the file is then a leftover whose number the
/// kernel gave to somebody else.
///
/// # Errors
/// The file cannot be read or removed, or the process cannot be killed.
pub fn stop_announcing(pid_file: &Path) -> io::Result<bool> {
    let text = match state::read(pid_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let running = parse_pid(&text).filter(|pid| is_announcer(*pid));
    let killed = match running.map(|pid| kill(pid, Signal::SIGKILL)) {
        None | Some(Err(Errno::ESRCH)) => false,
        Some(Ok(())) => true,
        Some(Err(error)) => return Err(error.into()),
    };
    match fs::remove_file(pid_file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(killed),
    }
}

/// The five words and their options.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    device: String,
    address: String,
    hardware: Option<HardwareAddress>,
    interval_ms: u64,
    count: u32,
    pid_file: Option<PathBuf>,
}

impl Request {
    fn from_options(parsed: &Options) -> Result<Self, String> {
        let [device, address, hardware, _broadcast, _netmask] = parsed.parameters.as_slice() else {
            return Err(String::new());
        };
        let interval_ms = match parsed.argument('i') {
            None => 1000,
            Some(text) => number(text, INTERVAL_MAX_MS, "repeat interval")?,
        };
        let count = match parsed.argument('r') {
            None => 1,
            Some(text) => number(text, u64::from(u32::MAX), "repeat count")? as u32,
        };
        Ok(Self {
            device: device.clone(),
            address: address.clone(),
            hardware: parse_hardware(hardware)?,
            interval_ms,
            count,
            pid_file: parsed.argument('p').map(PathBuf::from),
        })
    }

    fn run(&self) -> u8 {
        let inherited = std::env::var_os(DETACHED_VARIABLE).is_some();
        if inherited {
            // A failure only means that it leads a session already.
            let _ = nix::unistd::setsid();
        }
        match self.send_all(inherited) {
            Ok(()) => 0,
            Err((level, text)) => {
                log(level, &text);
                1
            }
        }
    }

    fn send_all(&self, inherited: bool) -> Result<(), (LogLevel, String)> {
        let error = |text: String| (LogLevel::Error, text);
        let pid_file = match &self.pid_file {
            Some(path) if !path.is_absolute() => {
                let text = format!("Invalid pid-file name, must begin with a '/' [{}]", path.display());
                return Err((LogLevel::Info, text));
            }
            Some(path) => path.clone(),
            None => state::directory().join(format!("send_arp-{}", self.address)),
        };
        let _owned = PidFile::take(&pid_file)
            .map_err(|why| error(format!("Cannot take pid-file {}: {why}", pid_file.display())))?;
        let link = Netlink::open()
            .and_then(|mut netlink| netlink.link(&self.device))
            .map_err(|why| error(format!("Cannot look up {}: {why}", self.device)))?
            .ok_or_else(|| error(format!("Cannot find mac address for {}", self.device)))?;
        let address = resolve(&self.address)
            .ok_or_else(|| error(format!("Cannot resolve IP address [{}]", self.address)))?;
        let opened = if inherited {
            io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .and_then(|socket| Announcer::with_socket(socket, &link, address, self.hardware))
        } else {
            Announcer::open(&link, address, self.hardware)
        };
        let announcer = opened.map_err(|why| error(format!("Cannot announce on {}: {why}", link.name)))?;
        self.send_pairs(&announcer, inherited)
            .map_err(|why| error(format!("Cannot send on {}: {why}", link.name)))
    }

    /// The announcer of an address asks once who else has it.
    fn send_pairs(&self, announcer: &Announcer, asks: bool) -> io::Result<()> {
        let half = Duration::from_millis(self.interval_ms / 2);
        for round in 1..=self.count {
            announcer.send(Operation::Request)?;
            std::thread::sleep(half);
            announcer.send(Operation::Reply)?;
            if round == 1 && asks {
                announcer.ask()?;
            }
            if round != self.count {
                std::thread::sleep(half);
            }
        }
        Ok(())
    }
}

/// A pid file held by this process, removed at its normal end.
struct PidFile<'a>(&'a Path);

impl<'a> PidFile<'a> {
    /// Names this process in the file, after killing whom it named before. A parent may have
    /// named us already.
    fn take(path: &'a Path) -> io::Result<Self> {
        create_parent(path)?;
        for _ in 0..PID_FILE_ATTEMPTS {
            match claim(path, std::process::id()) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                Err(error) => return Err(error),
            }
            let text = state::read(path).unwrap_or_default();
            match parse_pid(&text) {
                Some(pid) if pid == Pid::this() => return Ok(Self(path)),
                Some(pid) => {
                    let killed = stop_announcing(path)?;
                    if killed {
                        log(LogLevel::Info, &format!("Killed old send_arp process [{pid}]"));
                    }
                }
                None if path.exists() => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no process id"));
                }
                None => (),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "others keep taking it"))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        let own = state::read(self.0).ok().and_then(|text| parse_pid(&text)) == Some(Pid::this());
        if own {
            // A file that cannot be removed is found to be a leftover by whoever comes next.
            let _ = fs::remove_file(self.0);
        }
    }
}

/// Creates the file with the number in it, both in one step: it is never seen empty. Fails when it
/// exists.
fn claim(path: &Path, pid: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(name);
    let result =
        state::replace(&draft, pid.to_string().as_bytes()).and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    result
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().filter(|parent| !parent.exists()).map_or(Ok(()), state::create_directory)
}

fn parse_pid(text: &[u8]) -> Option<Pid> {
    let text = std::str::from_utf8(text.get(..text.len().min(PID_FILE_MAX_BYTES))?).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 1).map(Pid::from_raw)
}

/// The process calls itself send_arp. Where that cannot be seen, it is believed.
fn is_announcer(pid: Pid) -> bool {
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line.windows(8).any(|part| part == b"send_arp"),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// `auto` in any case, or twelve hexadecimal digits with or without colons.
fn parse_hardware(text: &str) -> Result<Option<HardwareAddress>, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut address = [0; 6];
    let valid = digits.len() == 12 && digits.iter().all(u8::is_ascii_hexdigit);
    for (byte, pair) in address.iter_mut().zip(digits.chunks(2)) {
        *byte =
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    }
    if valid {
        Ok(Some(HardwareAddress(address)))
    } else {
        Err(format!("send_arp: src_hw_addr [{text}] is neither auto nor 12 hexadecimal digits\n"))
    }
}

fn number(text: &str, most: u64, what: &str) -> Result<u64, String> {
    let value = text.parse().ok().filter(|value| *value <= most);
    value.ok_or_else(|| format!("send_arp: {what} [{text}] is no number from 0 to {most}\n"))
}

/// An address or a name that resolves to one.
pub(super) fn resolve(text: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    (text, 0).to_socket_addrs().ok()?.find_map(|found| match found {
        std::net::SocketAddr::V4(found) => Some(*found.ip()),
        std::net::SocketAddr::V6(_) => None,
    })
}

fn usage(mistake: &str, code: u8) -> u8 {
    print::error_line(&format!("{mistake}{}", USAGE.trim_end()));
    code
}

/// To standard error in the daemons' format and to the system log, facility user.
fn log(level: LogLevel, text: &str) {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let (date, pid, level_word) = (syslog_time(&local_time(unix_time_s()), '0'), Pid::this(), level.as_str());
    let host = host.to_string_lossy();
    print::error_line(&format!("{date} {host} send_arp: [{pid}]: {level_word}: {text}"));
    syslog::send(SYSLOG_USER, level.syslog_priority(), "send_arp", &format!("[{pid}]: {level_word}: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_with_and_without_colons() {
        assert_eq!(parse_hardware("AuTo"), Ok(None));
        let expected = Ok(Some(HardwareAddress([2, 0, 0xab, 0, 0, 1])));
        assert_eq!(parse_hardware("0200ab000001"), expected);
        assert_eq!(parse_hardware("02:00:AB:00:00:01"), expected);
        for bad in ["", "zz", "0203", "0200ab00000g", "0200ab0000011", "é200ab00000"] {
            assert!(parse_hardware(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stranger_in_the_pid_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("send_arp-10.0.0.1");
        let mut stranger = Command::new("sleep").arg("60").spawn().unwrap();
        claim(&path, stranger.id()).unwrap();
        assert!(!stop_announcing(&path).unwrap());
        assert!(!path.exists());
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }

    #[test]
    fn pid_files_are_taken_once_and_empty_ones_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made").join("pid");
        {
            let _held = PidFile::take(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
            assert!(claim(&path, 5).is_err());
            PidFile::take(&path).map(std::mem::forget).unwrap();
        }
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        assert!(PidFile::take(&path).is_err());
        for hostile in ["1", "-1", "0", "99999999999999999999", "1 2", "a"] {
            assert_eq!(parse_pid(hostile.as_bytes()), None, "{hostile}");
        }
    }

    #[test]
    fn numbers_are_checked() {
        let parsed = |text: &str| {
            let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
            Request::from_options(&Options::parse("send_arp", &words, "i:r:p:"))
        };
        let request = parsed("-i 200 -r 5 -p /x/y eth0 10.0.0.1 auto not_used not_used").unwrap();
        assert_eq!((request.interval_ms, request.count), (200, 5));
        assert!(parsed("-i x eth0 10.0.0.1 auto a b").is_err());
        assert!(parsed("-r -1 eth0 10.0.0.1 auto a b").is_err());
        assert!(parsed("eth0 10.0.0.1 auto").is_err());
    }
}
