//! Announces many addresses at once, IPv4 by ARP and IPv6 by neighbour advertisements: one socket for
//! each interface, the first pass before the caller goes on, the repeats in one process of their own.
//!
//! ```text
//! start of a group ── first pass, at once ──▶ wire
//!        └── detached announcer ── passes, then one question ──▶ wire
//! ```
//!
//! There is no pid file for each address, as `send_arp` has it: before every pass the announcer looks
//! which of its addresses are still here, so a stop needs not find it. After its first pass it asks
//! once for each address who else has it: the answer is heard by the daemon (see [`super::conflict`]).

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::sys::packet::PacketSocket;

use super::arp::{self, Operation, ETHERTYPE_ARP};
use super::nd::{self, ETHERTYPE_IPV6};
use super::netlink::{Link, Netlink, NetlinkError};
use super::state;

/// Set for the detached announcer: interval in milliseconds and number of passes; the places come on
/// standard input.
pub(super) const DETACHED_VARIABLE: &str = "HA_SEND_ARP_MANY";
/// Longest list of places that the announcer reads: more than 100 000 of them.
const LIST_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Frames sent by the announcer without a pause, and the pause: at most 20 000 in a second, however
/// many addresses there are.
const BURST_FRAMES: usize = 100;
const BURST_PAUSE: Duration = Duration::from_millis(5);
/// How long one frame is tried again while the interface's queue is full.
const QUEUE_PATIENCE: Duration = Duration::from_millis(200);
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// One address on one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
}

/// Which frame of a pair. IPv6 has one kind, sent in place of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Announce(Operation),
    /// Who else has it?
    Ask,
}

/// Sends the first pass of all places. The value holds one error for each interface that failed: the
/// first one, and nothing more is sent there.
pub fn first_pass(links: &BTreeMap<u32, Link>, places: &[Place]) -> BTreeMap<u32, io::Error> {
    let mut sender = Sender::new(links.clone());
    for operation in [Operation::Request, Operation::Reply] {
        for place in places {
            if operation == Operation::Request || place.address.is_ipv4() {
                sender.send(place, Kind::Announce(operation));
            }
        }
    }
    // Closing a packet socket waits for the kernel's grace period: the end of this process does it.
    std::mem::forget(sender.sockets);
    sender.failed
}

/// Leaves a process behind that repeats the announcement of what is still here: `count` passes,
/// `interval_ms` apart.
///
/// # Errors
/// It could not be started; nothing is repeated.
pub fn repeat_in_background(places: &[Place], interval_ms: u64, count: u32) -> io::Result<()> {
    let mut list = unnamed_file()?;
    let lines: String = places.iter().map(|it| format!("{} {}\n", it.interface, it.address)).collect();
    list.write_all(lines.as_bytes())?;
    list.rewind()?;
    Command::new("/proc/self/exe")
        .arg0("send_arp")
        .args(["-i", &interval_ms.to_string(), "-r", &count.to_string()])
        .arg(format!("({} addresses)", places.len()))
        .env(DETACHED_VARIABLE, format!("{interval_ms} {count}"))
        .current_dir("/")
        .stdin(Stdio::from(list))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}

/// What the process does that [`repeat_in_background`] started: `None` when this is none.
pub(super) fn run_detached() -> Option<u8> {
    let settings = std::env::var(DETACHED_VARIABLE).ok()?;
    let (interval_ms, count) = settings.split_once(' ')?;
    let (interval_ms, count): (u64, u32) = (interval_ms.parse().ok()?, count.parse().ok()?);
    // A failure only means that it leads a session already.
    let _ = nix::unistd::setsid();
    let mut text = String::new();
    io::stdin().take(LIST_MAX_BYTES).read_to_string(&mut text).ok()?;
    let places: Vec<Place> = text.lines().filter_map(parse_place).collect();
    Some(u8::from(repeat(&places, Duration::from_millis(interval_ms), count).is_err()))
}

fn repeat(places: &[Place], interval: Duration, count: u32) -> Result<(), NetlinkError> {
    let mut netlink = Netlink::open()?;
    let links = netlink.links()?.into_iter().map(|link| (link.index, link)).collect();
    let mut sender = Sender::new(links);
    for round in 0..count {
        for operation in [Operation::Request, Operation::Reply] {
            let next = Instant::now() + interval / 2;
            let here = still_here(&mut netlink, places)?;
            let with_v6 = operation == Operation::Request;
            let due = here.iter().filter(|place| with_v6 || place.address.is_ipv4());
            sender.send_slowly(due, Kind::Announce(operation));
            if round == 0 && operation == Operation::Reply {
                sender.send_slowly(here.iter(), Kind::Ask);
            }
            if here.is_empty() {
                return Ok(());
            }
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    Ok(())
}

/// Those of the places whose address is on its interface now.
fn still_here(netlink: &mut Netlink, places: &[Place]) -> Result<Vec<Place>, NetlinkError> {
    let mut present: HashSet<(u32, IpAddr)> = HashSet::new();
    let mut keep = |addresses: Vec<super::netlink::Address>| {
        present.extend(addresses.iter().map(|address| (address.interface, address.local)));
    };
    if places.iter().any(|place| place.address.is_ipv4()) {
        keep(netlink.addresses()?);
    }
    if places.iter().any(|place| place.address.is_ipv6()) {
        keep(netlink.addresses6()?);
    }
    let is_here = |place: &&Place| present.contains(&(place.interface, place.address));
    Ok(places.iter().filter(is_here).copied().collect())
}

fn parse_place(line: &str) -> Option<Place> {
    let (interface, address) = line.split_once(' ')?;
    Some(Place { interface: interface.parse().ok()?, address: address.parse().ok()? })
}

/// A file that has no name any more, in the directory for agents' state.
fn unnamed_file() -> io::Result<File> {
    let directory = state::directory();
    if !directory.exists() {
        state::create_directory(&directory)?;
    }
    let path = directory.join(format!("announce-{}", std::process::id()));
    let open = || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Of a process of this number that was killed in between.
            fs::remove_file(&path)?;
            open()?
        }
        result => result?,
    };
    fs::remove_file(&path)?;
    Ok(file)
}

/// Sends frames, and notes where that failed.
struct Sender {
    links: BTreeMap<u32, Link>,
    /// By interface and protocol.
    sockets: BTreeMap<(u32, u16), PacketSocket>,
    failed: BTreeMap<u32, io::Error>,
}

impl Sender {
    fn new(links: BTreeMap<u32, Link>) -> Self {
        Self { links, sockets: BTreeMap::new(), failed: BTreeMap::new() }
    }

    fn send_slowly<'a>(&mut self, places: impl Iterator<Item = &'a Place>, kind: Kind) {
        for (index, place) in places.enumerate() {
            if index > 0 && index % BURST_FRAMES == 0 {
                std::thread::sleep(BURST_PAUSE);
            }
            self.send(place, kind);
        }
    }

    /// Sends one frame, unless something failed on that interface.
    fn send(&mut self, place: &Place, kind: Kind) {
        if self.failed.contains_key(&place.interface) {
            return;
        }
        let begin = Instant::now();
        loop {
            match self.try_send(place, kind) {
                Ok(()) => return,
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOBUFS) && begin.elapsed() < QUEUE_PATIENCE =>
                {
                    std::thread::sleep(QUEUE_PAUSE);
                }
                Err(error) => {
                    self.failed.insert(place.interface, error);
                    return;
                }
            }
        }
    }

    fn try_send(&mut self, place: &Place, kind: Kind) -> io::Result<()> {
        let link = self.links.get(&place.interface).ok_or(io::Error::from_raw_os_error(libc::ENODEV))?;
        let unsupported = || {
            let text = format!("this hardware address cannot be announced on {}", link.name);
            io::Error::new(io::ErrorKind::Unsupported, text)
        };
        let (protocol, packet) = match (place.address, kind) {
            (IpAddr::V4(address), Kind::Announce(operation)) => {
                (ETHERTYPE_ARP, arp::announcement(link, operation, None, address).ok_or_else(unsupported)?)
            }
            (IpAddr::V4(address), Kind::Ask) => match arp::probe_frame(link, address) {
                Some(packet) => (ETHERTYPE_ARP, packet),
                None => return Ok(()),
            },
            (IpAddr::V6(address), Kind::Announce(_)) => match nd::advertisement_frame(link, address) {
                Some(packet) => (ETHERTYPE_IPV6, packet),
                None => return nd::advertise(link, address),
            },
            (IpAddr::V6(address), Kind::Ask) => match nd::probe_frame(link, address) {
                Some(packet) => (ETHERTYPE_IPV6, packet),
                None => return Ok(()),
            },
        };
        let socket = match self.sockets.entry((place.interface, protocol)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(PacketSocket::open_for_sending(arp::framing(link), place.interface, protocol)?)
            }
        };
        socket.send(&link.broadcast, &packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_list_are_read_back_and_bad_ones_left_out() {
        let place = Place { interface: 3, address: "2001:db8::5".parse().unwrap() };
        assert_eq!(parse_place("3 2001:db8::5"), Some(place));
        for bad in ["", "3", "3 ", "x 10.0.0.1", "-1 10.0.0.1", "3 10.0.0.1 x", "99999999999 10.0.0.1"] {
            assert_eq!(parse_place(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_reported_once() {
        let places = [1, 2].map(|last| Place { interface: 7, address: IpAddr::from([10, 0, 0, last]) });
        let failed = first_pass(&BTreeMap::new(), &places);
        assert_eq!(failed.keys().copied().collect::<Vec<_>>(), [7]);
    }
}
