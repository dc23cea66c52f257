//! `findif`: which interface, netmask and broadcast address belong to an address, for scripts (agents
//! spec 1.3, the binary version). The agents here have their own search in [`super::interface`].
//!
//! What differs: where no route fits, the original runs `route -n get`, which Linux does not have, and
//! shows that program's usage text; here only its last line comes.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;

use crate::sys::print;

use super::interface::parse_netmask;

/// Exit codes.
const WRONG_CALL: u8 = 2;
const NOT_CONFIGURED: u8 = 6;
const NOT_FOUND: u8 = 1;
/// The kernel's table of IPv4 routes, and the most that is read of it.
const ROUTES: &str = "/proc/net/route";
const ROUTES_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The program. `words` are the arguments; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let bits = match words {
        [] => false,
        [word] if word == "-C" => true,
        _ => {
            print::error(&format!("\n{}", usage(called_as)));
            return WRONG_CALL;
        }
    };
    let wanted = Wanted::from_environment();
    match find(&wanted) {
        Ok(found) => {
            print::line(&found.text(bits));
            0
        }
        Err(Failure::Configured(text)) => {
            print::error(&format!("{text}\n{}", usage(called_as)));
            NOT_CONFIGURED
        }
        Err(Failure::NoRoute(text)) => {
            print::error(&text);
            NOT_FOUND
        }
    }
}

enum Failure {
    Configured(String),
    NoRoute(String),
}

/// What the environment asks for.
struct Wanted {
    ip: Option<String>,
    netmask: Option<String>,
    nic: Option<String>,
    broadcast: Option<String>,
}

impl Wanted {
    fn from_environment() -> Self {
        let value = |name: &str| std::env::var(format!("OCF_RESKEY_{name}")).ok().filter(|it| !it.is_empty());
        Self {
            ip: value("ip"),
            netmask: value("cidr_netmask").or_else(|| value("netmask")),
            nic: value("nic"),
            broadcast: value("broadcast"),
        }
    }
}

struct Found {
    nic: String,
    prefix: u8,
    broadcast: String,
}

impl Found {
    fn text(&self, bits: bool) -> String {
        let Self { nic, prefix, broadcast } = self;
        let netmask = if bits { prefix.to_string() } else { mask(*prefix).to_string() };
        format!("{nic}\tnetmask {netmask}\tbroadcast {broadcast}")
    }
}

/// A row of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    nic: String,
    destination: Ipv4Addr,
    mask: Ipv4Addr,
    metric: i64,
}

fn find(wanted: &Wanted) -> Result<Found, Failure> {
    let configured = |text: String| Err(Failure::Configured(text));
    let Some(text) = &wanted.ip else {
        return configured("ERROR: IP address parameter is mandatory.".to_owned());
    };
    let Ok(ip) = text.parse::<Ipv4Addr>() else {
        return configured(format!("IP address [{text}] not valid."));
    };
    let prefix = match &wanted.netmask {
        None => None,
        Some(given) => match parse_netmask(given) {
            Some(prefix) => {
                if given.contains('.') {
                    print::error(&format!("Converted dotted-quad netmask to CIDR as: {prefix}\n"));
                }
                Some(prefix)
            }
            None => return configured(format!("Invalid netmask specification [{given}]")),
        },
    };
    if let Some(given) = wanted.broadcast.as_ref().filter(|given| given.parse::<Ipv4Addr>().is_err()) {
        return configured(format!("Invalid broadcast address [{given}]."));
    }
    let (nic, prefix) = match &wanted.nic {
        Some(nic) => (given_interface(nic)?, prefix.unwrap_or(32)),
        None => by_route(ip, text, prefix)?,
    };
    let broadcast = || Ipv4Addr::from(u32::from(ip) | !u32::from(mask(prefix))).to_string();
    Ok(Found { nic, prefix, broadcast: wanted.broadcast.clone().unwrap_or_else(broadcast) })
}

/// A label is passed over with a warning.
fn given_interface(nic: &str) -> Result<String, Failure> {
    if nic.contains(':') {
        print::error(&format!("{nic}: warning: name may be invalid\n"));
        return Ok(nic.to_owned());
    }
    match nix::net::if_::if_nametoindex(nic) {
        Ok(_) => Ok(nic.to_owned()),
        Err(_) => Err(Failure::Configured(format!("{nic}: unknown interface: No such device\n"))),
    }
}

fn by_route(ip: Ipv4Addr, text: &str, prefix: Option<u8>) -> Result<(String, u8), Failure> {
    let mut table = String::new();
    // Without the file, as with an empty one, no row fits.
    let _ = File::open(ROUTES).and_then(|file| file.take(ROUTES_MAX_BYTES).read_to_string(&mut table));
    let best = best_row(&rows(&table), ip);
    match (best, prefix) {
        (None, _) => Err(Failure::NoRoute("No interface found.".to_owned())),
        (Some(row), Some(prefix)) => Ok((row.nic, prefix)),
        (Some(row), None) => match u32::from(row.mask).leading_ones() as u8 {
            0 if text.starts_with("127") => Ok((loopback(), 8)),
            0 => Err(Failure::NoRoute(format!("ERROR: Cannot use default route w/o netmask [{text}]\n"))),
            bits => Ok((row.nic, bits)),
        },
    }
}

/// The last of those with the longest mask among those with the lowest metric so far.
fn best_row(rows: &[Row], ip: Ipv4Addr) -> Option<Row> {
    let mut best: Option<&Row> = None;
    for row in rows {
        let mask = u32::from(row.mask);
        let fits = u32::from(ip) & mask == u32::from(row.destination) & mask;
        let better = best.is_none_or(|best| row.metric <= best.metric && mask >= u32::from(best.mask));
        if fits && better {
            best = Some(row);
        }
    }
    best.cloned()
}

/// Addresses stand there as hexadecimal numbers in the machine's byte order.
fn rows(table: &str) -> Vec<Row> {
    let address =
        |text: &str| u32::from_str_radix(text, 16).ok().map(|number| Ipv4Addr::from(number.to_ne_bytes()));
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [nic, destination, _gateway, _flags, _references, _use, metric, mask, ..] = words[..] else {
            return None;
        };
        Some(Row {
            nic: nic.to_owned(),
            destination: address(destination)?,
            mask: address(mask)?,
            metric: metric.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// The name of the first loopback interface.
fn loopback() -> String {
    let links = super::netlink::Netlink::open().and_then(|mut netlink| netlink.links()).unwrap_or_default();
    links.into_iter().find(|link| link.is_loopback()).map_or_else(|| "lo".to_owned(), |link| link.name)
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn usage(called_as: &str) -> impl fmt::Display + '_ {
    format!(
        "{called_as} version 2.99.1 Copyright Alan Robertson\n\
         \n\
         Usage: {called_as} [-C]\n\
         Options:\n    \
             -C: Output netmask as the number of bits rather than as 4 octets.\n\
         Environment variables:\n\
         OCF_RESKEY_ip\t\t ip address (mandatory!)\n\
         OCF_RESKEY_cidr_netmask netmask of interface\n\
         OCF_RESKEY_broadcast\t broadcast address for interface\n\
         OCF_RESKEY_nic\t\t interface to assign to\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
        eth0 00000000 FE01A8C0 0003 0 0 0 00000000 0 0 0\n\
        eth1 0000A8C0 00000000 0001 0 0 0 0000FFFF 0 0 0\n\
        eth2 0001A8C0 00000000 0001 0 0 5 00FFFFFF 0 0 0\n\
        eth3 0001A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";

    #[test]
    fn the_longest_mask_with_the_lowest_metric_counts() {
        let rows = rows(TABLE);
        assert_eq!(rows.len(), 4);
        let nic = |ip: &str| best_row(&rows, ip.parse().unwrap()).map(|row| row.nic);
        assert_eq!(nic("192.168.1.7"), Some("eth3".to_owned()));
        assert_eq!(nic("192.168.9.7"), Some("eth1".to_owned()));
        assert_eq!(nic("10.0.0.1"), Some("eth0".to_owned()));
        assert_eq!(best_row(&rows[1..], Ipv4Addr::new(10, 0, 0, 1)), None);
    }

    #[test]
    fn masks_in_both_forms() {
        let found = Found { nic: "v0".to_owned(), prefix: 24, broadcast: "10.0.0.255".to_owned() };
        assert_eq!(found.text(true), "v0\tnetmask 24\tbroadcast 10.0.0.255");
        assert_eq!(found.text(false), "v0\tnetmask 255.255.255.0\tbroadcast 10.0.0.255");
    }

    proptest! {
        #[test]
        fn any_table_does_no_harm(table in "\\PC{0,80}\n\\PC{0,200}") {
            let _ = best_row(&rows(&table), Ipv4Addr::LOCALHOST);
        }
    }
}
