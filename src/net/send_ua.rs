//! `send_ua`: announces an IPv6 address by unsolicited neighbour advertisements (agents spec 1.2).

use std::net::Ipv6Addr;
use std::time::Duration;

use nix::errno::Errno;

use crate::sys::getopt::Options;
use crate::sys::print;

use super::nd;
use super::netlink::{Link, Netlink};

/// Longest pause, one day.
const INTERVAL_MAX_MS: u64 = 86_400_000;
const USAGE_CODE: u8 = 2;

/// The program. `words` are the arguments; the value is the exit code. What cannot be sent is said on
/// standard output and does not end it, as in the original.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let parsed = Options::parse(called_as, words, "i:c:h");
    let [address, _prefix, interface, ..] = parsed.parameters.as_slice() else {
        return usage(called_as);
    };
    if !parsed.errors.is_empty() || parsed.has('h') {
        return usage(called_as);
    }
    let Ok(address) = address.parse::<Ipv6Addr>() else {
        print::text(&format!("ERROR: Invalid IPv6 address [{address}]"));
        return usage(called_as);
    };
    if !std::path::Path::new("/proc/net/if_inet6").exists() {
        return 1;
    }
    let number = |letter, default: u64| parsed.argument(letter).map_or(default, leading_number);
    let pause = Duration::from_millis(number('i', 1000).min(INTERVAL_MAX_MS));
    for _ in 0..number('c', 5).min(u64::from(u32::MAX)) {
        if let Err(text) = send(interface, address) {
            print::text(&format!("ERROR: {text}"));
        }
        std::thread::sleep(pause);
    }
    0
}

fn send(interface: &str, address: Ipv6Addr) -> Result<(), String> {
    let device = |error: Errno| format!("ioctl(SIOCGIFHWADDR) failed: {}", error.desc());
    let link: Link = match Netlink::open().and_then(|mut netlink| netlink.link(interface)) {
        Ok(Some(link)) => link,
        Ok(None) => return Err(device(Errno::ENODEV)),
        Err(error) => return Err(error.to_string()),
    };
    nd::advertise(&link, address).map_err(|error| match error.raw_os_error() {
        Some(number) => format!("bind() failed: {}", Errno::from_raw(number).desc()),
        None => error.to_string(),
    })
}

/// As atoi(3): the digits in front, else 0.
fn leading_number(text: &str) -> u64 {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..digits].parse().unwrap_or(0)
}

fn usage(called_as: &str) -> u8 {
    print::line(&format!(
        "usage: {called_as} [-i[=Interval]] [-c[=Count]] [-h] IPv6-Address Prefix Interface"
    ));
    USAGE_CODE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_calls_end_with_the_usage() {
        for words in [&["a"][..], &["-h"], &["-z", "::1", "64", "lo"], &["zz", "64", "lo"], &[]] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(program("send_ua", &words), USAGE_CODE, "{words:?}");
        }
        assert_eq!((leading_number("12x"), leading_number("x"), leading_number("")), (12, 0, 0));
    }
}
