//! Rules that drop or reset packets of some ports, set through iptables(8) or, where there is none,
//! nft(8).
//!
//! With iptables a rule is the one that the original's `portblock` makes, so either finds what the other
//! made; one about IPv6 addresses is the same of ip6tables. With nft each rule is a chain of its own in
//! the table `ip portblock` or `ip6 portblock`, named after what it does: setting and removing it is one
//! transaction that may be repeated.
//!
//! The programs are asked, not the kernel: they know which of its two packet filters this host uses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{self, Program, RunError};

/// Neither program needs longer, except to wait for the other one's lock.
const LIMIT: Duration = Duration::from_secs(15);
/// Of the match `multiport`; a range counts twice.
const PORTS_MAX: usize = 15;
/// Copies of one rule that are removed; Debian 12's agent makes one with each start.
const COPIES_MAX: u32 = 64;
/// Its exit code for words that it does not know.
const IPTABLES_USAGE: u8 = 2;
const IPTABLES_ABSENT: u8 = 1;

/// Ports as the match `multiport` takes them: `80,443,1000:1010`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(Vec<(u16, u16)>);

impl Ports {
    /// At most 15 numbers, a range counting as two.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| -> Option<u16> {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
        };
        let range = |text: &str| match text.split_once(':') {
            Some((first, last)) => {
                Some((number(first)?, number(last)?)).filter(|(first, last)| first <= last)
            }
            None => number(text).map(|port| (port, port)),
        };
        let ranges: Vec<_> = text.split(',').map(range).collect::<Option<_>>()?;
        let slots: usize = ranges.iter().map(|(first, last)| 1 + usize::from(first != last)).sum();
        (slots <= PORTS_MAX).then_some(Self(ranges))
    }

    /// The port is one of them.
    pub fn contain(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// As a set of nft: in order, without overlap.
    fn as_set(&self) -> String {
        let mut ranges = self.0.clone();
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        let words = merged.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.0.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}:{last}"),
        });
        formatter.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

/// An address with the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// 0 to 32 or 128.
    pub prefix: u8,
}

impl Network {
    /// An address, or one with `/bits` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = bits_of(address);
        let prefix = match bits {
            Some(bits) if !bits.bytes().all(|byte| byte.is_ascii_digit()) => return None,
            Some(bits) => bits.parse().ok().filter(|prefix| *prefix <= most)?,
            None => most,
        };
        Some(Self { address, prefix })
    }

    /// The address, when it is a single one.
    pub fn single(self) -> Option<IpAddr> {
        (self.prefix == bits_of(self.address)).then_some(self.address)
    }

    /// Every address of the family.
    fn all_like(like: IpAddr) -> Self {
        let address = match like {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { address, prefix: 0 }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() {
        32
    } else {
        128
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// Which packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Those to the ports, in the chain INPUT.
    In,
    /// Those from the ports, in the chain OUTPUT.
    Out,
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They vanish.
    Drop,
    /// Their sender gets a TCP reset.
    Reset,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Local ports.
    pub ports: Ports,
    /// Local addresses.
    pub network: Network,
    /// Direction.
    pub way: Way,
    /// Effect.
    pub verdict: Verdict,
}

/// What went wrong with a rule.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No program to ask.
    #[error("there is neither iptables nor nft: install one of them")]
    NoProgram,
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It refused.
    #[error("{program} failed with exit code {code}: {text}")]
    Refused {
        /// Which.
        program: &'static str,
        /// Its exit code.
        code: u8,
        /// What it said.
        text: String,
    },
}

/// The program that sets rules here.
#[derive(Debug, Clone)]
pub enum Filter {
    /// iptables(8) or ip6tables(8).
    Iptables(PathBuf),
    /// nft(8).
    Nft(PathBuf),
}

impl Filter {
    /// The one that is installed for addresses of this family; iptables (or ip6tables) where both are,
    /// because the original knows only that.
    pub fn find(like: IpAddr) -> Result<Self, FilterError> {
        let iptables = command::find(iptables_name(like)).map(Self::Iptables);
        iptables.or_else(|| command::find("nft").map(Self::Nft)).ok_or(FilterError::NoProgram)
    }

    /// The rule is set.
    pub fn is_set(&self, rule: &Rule) -> Result<bool, FilterError> {
        match self {
            Self::Iptables(program) => iptables_has(program, rule),
            Self::Nft(program) => {
                let chain = ["list", "chain", nft_family(rule), "portblock", &chain_name(rule)];
                let finished = nft(program).args(chain).run()?;
                Ok(finished.code == 0)
            }
        }
    }

    /// Sets the rule, unless it is set.
    pub fn set(&self, rule: &Rule) -> Result<(), FilterError> {
        match self {
            Self::Iptables(_) if self.is_set(rule)? => Ok(()),
            Self::Iptables(program) => iptables(program, "-I", rule),
            Self::Nft(program) => nft_input(program, &nft_setting(rule)),
        }
    }

    /// Removes the rule with all its copies.
    pub fn remove(&self, rule: &Rule) -> Result<(), FilterError> {
        let mut left = COPIES_MAX;
        while left > 0 && self.is_set(rule)? {
            left -= 1;
            let removed = match self {
                Self::Iptables(program) => iptables(program, "-D", rule),
                Self::Nft(program) => nft_input(program, &nft_removal(rule)),
            };
            // Somebody else may have been faster.
            if removed.is_err() && self.is_set(rule)? {
                return removed;
            }
        }
        Ok(())
    }
}

fn iptables_name(like: IpAddr) -> &'static str {
    match like {
        IpAddr::V4(_) => "iptables",
        IpAddr::V6(_) => "ip6tables",
    }
}

fn iptables_words(rule: &Rule) -> Vec<String> {
    let (end, ports) = match rule.way {
        Way::In => ("-d", "--dports"),
        Way::Out => ("-s", "--sports"),
    };
    let network = rule.network.to_string();
    let listed = rule.ports.to_string();
    let mut words = vec!["-p", rule.protocol, end, &network, "-m", "multiport", ports, &listed, "-j"];
    words.extend_from_slice(match rule.verdict {
        Verdict::Drop => &["DROP"],
        Verdict::Reset => &["REJECT", "--reject-with", "tcp-reset"],
    });
    words.into_iter().map(str::to_owned).collect()
}

fn chain(way: Way) -> &'static str {
    match way {
        Way::In => "INPUT",
        Way::Out => "OUTPUT",
    }
}

fn program(path: &Path) -> Program {
    Program::new(path.to_string_lossy()).limit(LIMIT)
}

/// Runs iptables on a rule; -w, to wait for its lock, exists since 1.4.20.
fn run_iptables(path: &Path, words: &[String]) -> Result<command::Finished, RunError> {
    let finished = program(path).args(["-w"]).args(words).run()?;
    let unknown = finished.code == IPTABLES_USAGE && finished.stderr.contains("option");
    if unknown {
        program(path).args(words).run()
    } else {
        Ok(finished)
    }
}

fn iptables(path: &Path, operation: &str, rule: &Rule) -> Result<(), FilterError> {
    let mut words = vec![operation.to_owned(), chain(rule.way).to_owned()];
    words.extend(iptables_words(rule));
    refused(iptables_name(rule.network.address), &run_iptables(path, &words)?)
}

/// Asks with -C, which exists since 1.4.11, else looks through the list.
fn iptables_has(path: &Path, rule: &Rule) -> Result<bool, FilterError> {
    let mut words = vec!["-C".to_owned(), chain(rule.way).to_owned()];
    words.extend(iptables_words(rule));
    let finished = run_iptables(path, &words)?;
    match finished.code {
        0 => Ok(true),
        IPTABLES_ABSENT => Ok(false),
        IPTABLES_USAGE => {
            let words = ["-n", "-L", chain(rule.way)].map(str::to_owned);
            let listed = run_iptables(path, &words)?;
            refused(iptables_name(rule.network.address), &listed)?;
            Ok(listed.stdout.lines().any(|line| is_listed_as(rule, line)))
        }
        _ => refused(iptables_name(rule.network.address), &finished).map(|()| false),
    }
}

fn refused(program: &'static str, finished: &command::Finished) -> Result<(), FilterError> {
    if finished.code == 0 {
        return Ok(());
    }
    let text = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(FilterError::Refused { program, code: finished.code, text })
}

/// Whether a line of `iptables -n -L` shows the rule. Newer versions show the protocol's number;
/// ip6tables leaves the options' column empty.
fn is_listed_as(rule: &Rule, line: &str) -> bool {
    let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
    if rule.network.address.is_ipv6() && words.get(2).is_some_and(|word| *word != "--") {
        words.insert(2, "--");
    }
    let [target, protocol, "--", source, destination, "multiport", kind, ports, rest @ ..] = words.as_slice()
    else {
        return false;
    };
    let number = if rule.protocol == "tcp" { "6" } else { "17" };
    let any = Network::all_like(rule.network.address);
    let (from, to, ports_word) = match rule.way {
        Way::In => (any, rule.network, "dports"),
        Way::Out => (rule.network, any, "sports"),
    };
    let (target_word, rest_words): (_, &[&str]) = match rule.verdict {
        Verdict::Drop => ("DROP", &[]),
        Verdict::Reset => ("REJECT", &["reject-with", "tcp-reset"]),
    };
    *target == target_word
        && (*protocol == rule.protocol || *protocol == number)
        && Network::parse(source) == Some(from)
        && Network::parse(destination) == Some(to)
        && *kind == ports_word
        && Ports::parse(ports).as_ref() == Some(&rule.ports)
        && rest == rest_words
}

fn nft(path: &Path) -> Program {
    program(path)
}

/// Of its tables and of its words for addresses.
fn nft_family(rule: &Rule) -> &'static str {
    match rule.network.address {
        IpAddr::V4(_) => "ip",
        IpAddr::V6(_) => "ip6",
    }
}

fn nft_input(path: &Path, script: &str) -> Result<(), FilterError> {
    refused("nft", &nft(path).args(["-f", "/dev/stdin"]).input(script).run()?)
}

/// Names of chains have at most 31 bytes before Linux 4.14: the details are a number made from them
/// (FNV-1a), and a comment.
fn chain_name(rule: &Rule) -> String {
    let details = format!("{} {}", rule.ports, rule.network);
    let number = details
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let verdict = match rule.verdict {
        Verdict::Drop => "drop",
        Verdict::Reset => "rst",
    };
    let way = match rule.way {
        Way::In => "i",
        Way::Out => "o",
    };
    format!("{verdict}_{way}_{}_{number:016x}", rule.protocol)
}

fn nft_setting(rule: &Rule) -> String {
    let (name, family) = (chain_name(rule), nft_family(rule));
    let (hook, end, port) = match rule.way {
        Way::In => ("input", "daddr", "dport"),
        Way::Out => ("output", "saddr", "sport"),
    };
    let address =
        if rule.network.prefix == 0 { String::new() } else { format!("{family} {end} {} ", rule.network) };
    let verdict = match rule.verdict {
        Verdict::Drop => "drop",
        Verdict::Reset => "reject with tcp reset",
    };
    let (protocol, ports) = (rule.protocol, rule.ports.as_set());
    format!(
        "add table {family} portblock\n\
         add chain {family} portblock {name} {{ type filter hook {hook} priority -1; policy accept; }}\n\
         flush chain {family} portblock {name}\n\
         add rule {family} portblock {name} {address}{protocol} {port} {{ {ports} }} {verdict}\n"
    )
}

fn nft_removal(rule: &Rule) -> String {
    let (name, family) = (chain_name(rule), nft_family(rule));
    format!("flush chain {family} portblock {name}\ndelete chain {family} portblock {name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(way: Way, verdict: Verdict) -> Rule {
        let ports = Ports::parse("443,80,1000:1010").unwrap();
        Rule { protocol: "tcp", ports, network: Network::parse("10.9.0.0/24").unwrap(), way, verdict }
    }

    #[test]
    fn ports_and_networks() {
        let ports = |text: &str| Ports::parse(text).map(|ports| ports.to_string());
        assert_eq!(ports("80").as_deref(), Some("80"));
        assert_eq!(ports("0080,1:2,65535").as_deref(), Some("80,1:2,65535"));
        assert!(ports("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15").is_some());
        for text in [
            "",
            ",",
            "80,",
            "x",
            "80x",
            "+80",
            "65536",
            "2:1",
            "1:2:3",
            "-1",
            "80 443",
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16",
            "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16",
        ] {
            assert_eq!(ports(text), None, "{text}");
        }
        assert_eq!(Ports::parse("90,80:85,83:88,443").unwrap().as_set(), "80-88, 90, 443");
        let network = |text: &str| Network::parse(text).map(|network| network.to_string());
        assert_eq!(network("0.0.0.0/0").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(network("10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(network("2001:DB8:0::1").as_deref(), Some("2001:db8::1/128"));
        assert_eq!(network("::/0").as_deref(), Some("::/0"));
        for text in
            ["", "x", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/+1", "::1/129", "::1%eth0", "10.0.0.1/24/x", "-j"]
        {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn the_rule_of_iptables_is_the_originals() {
        assert_eq!(
            iptables_words(&rule(Way::In, Verdict::Drop)).join(" "),
            "-p tcp -d 10.9.0.0/24 -m multiport --dports 443,80,1000:1010 -j DROP"
        );
        assert_eq!(
            iptables_words(&rule(Way::Out, Verdict::Reset)).join(" "),
            "-p tcp -s 10.9.0.0/24 -m multiport --sports 443,80,1000:1010 -j REJECT --reject-with tcp-reset"
        );
        let network = Network::parse("2001:db8::1").unwrap();
        assert_eq!(
            iptables_words(&Rule { network, ..rule(Way::In, Verdict::Drop) }).join(" "),
            "-p tcp -d 2001:db8::1/128 -m multiport --dports 443,80,1000:1010 -j DROP"
        );
    }

    #[test]
    fn listed_rules_are_found_whatever_the_version() {
        let is_in = |line: &str| is_listed_as(&rule(Way::In, Verdict::Drop), line);
        let ports = "multiport dports 443,80,1000:1010";
        assert!(is_in(&format!("DROP       tcp  --  0.0.0.0/0            10.9.0.0/24         {ports} ")));
        assert!(is_in(&format!("DROP       6    --  0.0.0.0/0            10.9.0.0/24         {ports}")));
        for other in [
            format!("DROP 17 -- 0.0.0.0/0 10.9.0.0/24 {ports}"),
            format!("REJECT 6 -- 0.0.0.0/0 10.9.0.0/24 {ports}"),
            format!("DROP 6 -- 10.9.0.0/24 0.0.0.0/0 {ports}"),
            format!("DROP 6 -- 0.0.0.0/0 10.9.0.0/24 {ports} limit: avg 1/sec"),
            "DROP 6 -- 0.0.0.0/0 10.9.0.0/24 multiport sports 443,80,1000:1010".to_owned(),
            "DROP 6 -- 0.0.0.0/0 10.9.0.0/24 multiport dports 443,80".to_owned(),
            "Chain INPUT (policy ACCEPT)".to_owned(),
            String::new(),
        ] {
            assert!(!is_in(&other), "{other}");
        }
        let v6 = Rule { network: Network::parse("2001:db8::1").unwrap(), ..rule(Way::In, Verdict::Drop) };
        for options in ["", "--"] {
            let line = format!("DROP  6  {options}  ::/0   2001:db8::1    {ports}");
            assert!(is_listed_as(&v6, &line) && !is_in(&line), "{line}");
        }
        let reset = "REJECT  tcp  --  10.9.0.0/24  0.0.0.0/0  multiport sports 443,80,1000:1010 reject-with tcp-reset";
        assert!(is_listed_as(&rule(Way::Out, Verdict::Reset), reset));
    }

    #[test]
    fn chains_of_nft_differ_by_what_they_do_and_have_short_names() {
        let mut rules = vec![rule(Way::In, Verdict::Drop), rule(Way::Out, Verdict::Drop)];
        rules.push(rule(Way::Out, Verdict::Reset));
        rules.push(Rule { network: Network::parse("10.9.0.1").unwrap(), ..rules[0].clone() });
        rules.push(Rule { protocol: "udp", ..rules[0].clone() });
        let mut names: Vec<String> = rules.iter().map(chain_name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), rules.len());
        assert!(names.iter().all(|name| name.len() <= 31), "{names:?}");
        assert!(
            nft_setting(&rules[0]).ends_with("ip daddr 10.9.0.0/24 tcp dport { 80, 443, 1000-1010 } drop\n")
        );
        let v6 = Rule { network: Network::parse("2001:db8::/64").unwrap(), ..rules[0].clone() };
        let text = nft_setting(&v6);
        assert!(
            text.starts_with("add table ip6 portblock\n") && text.contains(" ip6 daddr 2001:db8::/64 tcp ")
        );
    }
}
