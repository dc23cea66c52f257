//! Asking who has an address before it is taken (`ask_before_take` in ha.cf, ha-guards(7)).
//!
//! IPv4 by ARP and IPv6 by neighbour discovery, both with a sender of nowhere so that no cache learns
//! from the question; on request also by a TCP connection, which passes routers and switches that keep
//! ARP apart. The first answer of whatever kind ends it: somebody serves that address, or at least has
//! a kernel that does.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::net::interface::{self, Wanted};
use crate::net::netlink::Link;
use crate::net::snapshot::Snapshot;
use crate::net::{arp, nd};

/// TCP connections tried at the same time.
const CONNECTIONS: usize = 32;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nobody answered for any of them.
    Free,
    /// Somebody did; who, in words.
    InUse(String),
    /// Not all of them could be asked, and nobody answered for the others; why.
    Unknown(String),
}

/// Asks for all of them at the same time and waits that long for answers.
pub fn ask(addresses: &[Wanted], wait: Duration, tcp_port: Option<u16>) -> Asked {
    let mut places: BTreeMap<u32, (Link, Vec<IpAddr>)> = BTreeMap::new();
    let mut elsewhere = Vec::new();
    let mut unasked = Vec::new();
    let mut snapshot = match Snapshot::open() {
        Ok(snapshot) => snapshot,
        Err(error) => return Asked::Unknown(format!("the kernel's list of interfaces: {error}")),
    };
    for wanted in addresses {
        let found =
            wanted.check().and_then(|checked| Ok((checked.ip, interface::find(&mut snapshot, wanted)?)));
        match found {
            Ok((ip, found)) => {
                places.entry(found.link.index).or_insert_with(|| (found.link, Vec::new())).1.push(ip);
                let here = snapshot.with_address(ip).is_ok_and(|entries| !entries.is_empty());
                elsewhere.extend((!here).then_some(ip));
            }
            Err(error) => unasked.push(format!("{}: {error}", wanted.ip)),
        }
    }
    let answers =
        Answers { found: Mutex::new(None), failed: Mutex::new(unasked), over: AtomicBool::new(false) };
    let end = Instant::now() + wait;
    std::thread::scope(|scope| {
        for (link, addresses) in places.values() {
            scope.spawn(|| answers.take(ask_link(link, addresses, end, &answers.over)));
        }
        if let Some(port) = tcp_port {
            for part in elsewhere.chunks(elsewhere.len().div_ceil(CONNECTIONS).max(1)) {
                let answers = &answers;
                scope.spawn(move || answers.take(connect(part, port, end, &answers.over)));
            }
        }
    });
    answers.result()
}

/// What the threads found.
struct Answers {
    found: Mutex<Option<String>>,
    failed: Mutex<Vec<String>>,
    /// One answer is enough.
    over: AtomicBool,
}

impl Answers {
    fn take(&self, result: io::Result<Option<String>>) {
        match result {
            Ok(None) => {}
            Ok(Some(who)) => {
                self.over.store(true, Ordering::Relaxed);
                *self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(who);
            }
            Err(error) => {
                self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(error.to_string());
            }
        }
    }

    fn result(self) -> Asked {
        let found = self.found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed = self.failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        match found {
            Some(who) => Asked::InUse(who),
            None if failed.is_empty() => Asked::Free,
            None => Asked::Unknown(failed.join("; ")),
        }
    }
}

/// ARP and neighbour discovery on one interface.
fn ask_link(
    link: &Link,
    addresses: &[IpAddr],
    end: Instant,
    over: &AtomicBool,
) -> io::Result<Option<String>> {
    if !link.is_up() {
        return Err(io::Error::new(io::ErrorKind::NetworkDown, format!("{} is down", link.name)));
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", link.name));
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => old.push(*address),
            IpAddr::V6(address) => new.push(*address),
        }
    }
    let name = &link.name;
    std::thread::scope(|scope| {
        let arp = scope.spawn(|| arp::probe_any(&old, link, end, over));
        let nd = nd::probe_any(&new, link, end, over).map_err(named)?;
        let arp = arp.join().map_err(|_| io::Error::other("the question ended early"))?.map_err(named)?;
        let arp = arp.map(|(address, who)| format!("{address} is in use on {name} by {who}"));
        Ok(arp.or_else(|| nd.map(|address| format!("{address} is in use on {name}"))))
    })
}

/// An accepted connection and a refused one both come from somebody who has the address.
fn connect(addresses: &[IpAddr], port: u16, end: Instant, over: &AtomicBool) -> io::Result<Option<String>> {
    for (done, address) in addresses.iter().enumerate() {
        // What is left is shared out among those not asked yet.
        let left = end.saturating_duration_since(Instant::now()) / (addresses.len() - done) as u32;
        if left.is_zero() || over.load(Ordering::Relaxed) {
            break;
        }
        match TcpStream::connect_timeout(&SocketAddr::new(*address, port), left) {
            Ok(_) => return Ok(Some(format!("{address} accepts connections to port {port}"))),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Ok(Some(format!("{address} answers, and refuses port {port}")));
            }
            Err(_) => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_and_a_refusal_are_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let end = Instant::now() + Duration::from_secs(20);
        let ask =
            |port| connect(&["127.0.0.1".parse().unwrap()], port, end, &AtomicBool::new(false)).unwrap();
        assert_eq!(ask(port), Some(format!("127.0.0.1 accepts connections to port {port}")));
        drop(listener);
        assert_eq!(ask(port), Some(format!("127.0.0.1 answers, and refuses port {port}")));
    }

    #[test]
    fn what_cannot_be_asked_is_not_free() {
        let wanted = |ip: &str| Wanted { ip: ip.to_owned(), ..Wanted::default() };
        let asked = ask(&[wanted("not an address")], Duration::from_millis(1), None);
        assert!(matches!(asked, Asked::Unknown(_)), "{asked:?}");
        assert_eq!(ask(&[], Duration::from_millis(1), None), Asked::Free);
    }
}
