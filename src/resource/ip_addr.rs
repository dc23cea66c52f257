//! IPaddr and IPaddr2: an IPv4 address on an interface, announced by ARP.
//!
//! Texts and rules of IPaddr2 in its CentOS 6 and 7 generation (agents spec 2.3, 2.5), where
//! IPaddr is a link to it. The work is done over netlink; the first announcement is on the wire
//! before start returns.
//!
//! What differs, on purpose: `status` and `stop` look for the address itself before they ask any
//! route, so they find it when its route is gone; secondaries of a removed primary are put back.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use crate::net::announce::{self, Repeats};
use crate::net::arp;
use crate::net::interface::{self, Checked, FindError, Found, Wanted};
use crate::net::netlink::{Address, Change, Link, Netlink, NetlinkError, SCOPE_HOST, SCOPE_LINK};
use crate::net::{ping, state};
use crate::sys::print;

use super::ip_parameters::{from_arguments, split_label, unsupported, PARAMETERS};
use super::{Action, Agent, Context, ExitCode};

/// The agent of an address alone in haresources.
pub const IPADDR: Agent = Agent {
    name: "IPaddr",
    summary: "An IPv4 address that moves between nodes",
    description: DESCRIPTION,
    usage: "usage: $0 <ip-address> $ACTIONS",
    parameters: PARAMETERS,
    from_arguments: |arguments| from_arguments("IPaddr", "0", arguments),
    run,
    announce: Some(announce_again),
    class_monitor: Some(ping_it),
    ..Agent::BASE
};

/// The same; with the positional form it takes a conflicting loopback address away (LVS).
pub const IPADDR2: Agent = Agent {
    name: "IPaddr2",
    usage: "usage: $0 ip-address[/netmaskbits[/interface[:label][/broadcast]]] $ACTIONS",
    usage_code: 0,
    from_arguments: |arguments| from_arguments("IPaddr2", "1", arguments),
    class_monitor: None,
    ..IPADDR
};

const DESCRIPTION: &str = "Adds an IPv4 address to a network interface and removes it again. When the \
address comes up, its new place is announced to the neighbours by ARP, at once and then several times \
more in the background.";

/// Longest label or interface name (IFNAMSIZ without its end mark).
const LABEL_MAX_BYTES: usize = 15;
/// How long `run_arping` asks.
const DUPLICATE_CHECK: Duration = Duration::from_secs(3);
/// `monitor` of the heartbeat class: number of echo requests and time for each answer.
const PINGS: u16 = 3;
const PING_TIMEOUT: Duration = Duration::from_secs(1);

fn run(context: &Context, action: Action) -> ExitCode {
    let agent = match IpAddr::from_context(context, action) {
        Ok(agent) => agent,
        Err(code) => return code,
    };
    let result = match action {
        Action::Start => agent.start(),
        Action::Stop => agent.stop(),
        Action::ValidateAll => agent.validate(),
        _ => agent.status(context.print && action == Action::Status),
    };
    result.unwrap_or_else(|code| code)
}

/// One address with its checked parameters.
struct IpAddr<'a> {
    context: &'a Context,
    wanted: Wanted,
    checked: Checked,
    label: Option<String>,
    repeats: Repeats,
    in_background: bool,
    loopback_file: PathBuf,
}

impl<'a> IpAddr<'a> {
    /// Checks the parameters. The error is what the action exits with.
    fn from_context(context: &'a Context, action: Action) -> Result<Self, ExitCode> {
        let (parameters, log) = (&context.parameters, &context.log);
        let fail = |text: &str, code| {
            log.line(&format!("ERROR: {text}"));
            Err(code)
        };
        let Some(ip) = parameters.get("ip") else {
            return fail("IP address (the ip parameter) is mandatory", ExitCode::NotConfigured);
        };
        if let Some(text) = unsupported(parameters, ip) {
            return fail(&text, ExitCode::NotConfigured);
        }
        let (nic, label) = split_label(parameters);
        let wanted = Wanted {
            ip: ip.to_owned(),
            netmask: parameters.get("cidr_netmask").or(parameters.get("netmask")).map(str::to_owned),
            nic: nic.map(str::to_owned),
            broadcast: parameters.get("broadcast").map(str::to_owned),
        };
        let checked = match wanted.check() {
            Ok(checked) => checked,
            Err(error) => return Err(findif_failed(context, action, &error)),
        };
        let count = |name: &str, default: u32| match parameters.get(name) {
            None => Some(default),
            Some(text) => text.parse().ok().filter(|value| *value > 0),
        };
        let (Some(interval_ms), Some(count)) = (count("arp_interval", 200), count("arp_count", 5)) else {
            return fail("arp_interval and arp_count must be whole numbers above 0", ExitCode::NotConfigured);
        };
        let directory = state::directory();
        let pid_file = directory.join(format!("send_arp-{}", checked.ip));
        let agent = Self {
            repeats: Repeats { interval_ms: u64::from(interval_ms), count, pid_file },
            in_background: parameters.boolean("arp_bg", true),
            loopback_file: directory.join(checked.ip.to_string()),
            label: label.map(str::to_owned),
            context,
            wanted,
            checked,
        };
        if matches!(action, Action::Start | Action::Stop) && !nix::unistd::geteuid().is_root() {
            return fail(&format!("You must be root for {}.", action.as_str()), ExitCode::NoPermission);
        }
        Ok(agent)
    }

    fn start(&self) -> Result<ExitCode, ExitCode> {
        let mut netlink = self.netlink()?;
        let addresses = self.addresses(&mut netlink)?;
        if !self.served(&addresses).is_empty() {
            return Ok(ExitCode::Success);
        }
        let found = interface::find(&mut netlink, &self.wanted, &addresses)
            .map_err(|error| findif_failed(self.context, Action::Start, &error))?;
        let label = self.full_label(&found.link)?;
        if self.context.parameters.boolean("run_arping", false) {
            self.refuse_duplicate(&found.link)?;
        }
        if self.context.parameters.boolean("lvs_support", false) {
            self.free_loopback(&mut netlink, &addresses)?;
        }
        // The network is told before anything is written to a log: a slow disk must not delay that.
        self.add(&mut netlink, &found, label.as_deref())?;
        let sent = self.announce(&found.link);
        self.log_added(&found, label.as_deref());
        self.info(&format!("Bringing device {} up", found.link.name));
        self.log_announced(&found.link, sent);
        Ok(ExitCode::Success)
    }

    fn stop(&self) -> Result<ExitCode, ExitCode> {
        match announce::stop_announcing(&self.repeats.pid_file) {
            Ok(false) => (),
            Ok(true) => self.info(&format!("killed previously running send_arp for {}", self.checked.ip)),
            Err(error) => self.warn(&format!(
                "Could not kill previously running send_arp for {}: {error}",
                self.checked.ip
            )),
        }
        let mut netlink = self.netlink()?;
        let addresses = self.addresses(&mut netlink)?;
        let served = self.served(&addresses);
        let state = if served.is_empty() { "no" } else { "ok" };
        for address in &served {
            self.remove(&mut netlink, address, &addresses)?;
        }
        self.info(&format!("IP status = {state}, IP_CIP="));
        if served.is_empty() {
            return Ok(ExitCode::Success);
        }
        if self.context.parameters.boolean("flush_routes", false) {
            // Kernels from 3.6 on have no route cache.
            let _ = fs::write("/proc/sys/net/ipv4/route/flush", "1");
        }
        if self.context.parameters.boolean("lvs_support", false) {
            self.restore_loopback(&mut netlink);
        }
        Ok(ExitCode::Success)
    }

    fn status(&self, print: bool) -> Result<ExitCode, ExitCode> {
        let mut netlink = self.netlink()?;
        let addresses = self.addresses(&mut netlink)?;
        let running = !self.served(&addresses).is_empty();
        if print {
            print::line(if running { "running" } else { "stopped" });
        }
        Ok(if running { ExitCode::Success } else { ExitCode::NotRunning })
    }

    fn validate(&self) -> Result<ExitCode, ExitCode> {
        let mut netlink = self.netlink()?;
        let addresses = self.addresses(&mut netlink)?;
        let found = interface::find(&mut netlink, &self.wanted, &addresses)
            .map_err(|error| findif_failed(self.context, Action::ValidateAll, &error))?;
        self.full_label(&found.link)?;
        Ok(ExitCode::Success)
    }

    /// The entries that are this resource: the address, with netmask and interface as far as they
    /// are given. Without an interface, loopback counts only for 127.x, and ipsec never.
    fn served(&self, addresses: &[Address]) -> Vec<Address> {
        let is_here = |address: &&Address| {
            address.local == self.checked.ip
                && self.checked.prefix.is_none_or(|prefix| prefix == address.prefix)
                && self.interface_fits(address.interface)
        };
        addresses.iter().filter(is_here).cloned().collect()
    }

    fn interface_fits(&self, index: u32) -> bool {
        let name = nix::net::if_::if_indextoname(index).unwrap_or_default();
        let name = name.to_string_lossy();
        match self.wanted.nic() {
            Some(nic) => name == nic,
            None => !name.starts_with("ipsec") && (self.checked.ip.is_loopback() || !name.starts_with("lo")),
        }
    }

    /// Adds the address and sets the interface up, both in one write.
    fn add(&self, netlink: &mut Netlink, found: &Found, label: Option<&str>) -> Result<(), ExitCode> {
        let Found { link, prefix, broadcast } = found;
        let address = Address {
            broadcast: *broadcast,
            label: label.map(str::to_owned),
            scope: scope_of(self.checked.ip),
            ..Address::new(link.index, self.checked.ip, *prefix)
        };
        let mut changes = vec![Change::AddAddress(address)];
        if !link.is_up() {
            changes.push(Change::LinkUp(link.index));
        }
        for result in self.kernel(netlink.apply(&changes))? {
            match result {
                Ok(()) | Err(Errno::EEXIST) => (),
                Err(error) => {
                    self.log_added(found, label);
                    let ip = self.checked.ip;
                    return self.fail(&format!("Failed to add {ip} to {}: {}", link.name, error.desc()));
                }
            }
        }
        Ok(())
    }

    fn log_added(&self, found: &Found, label: Option<&str>) {
        let Found { link, prefix, broadcast } = found;
        let with_broadcast = broadcast.map_or(String::new(), |it| format!(" with broadcast address {it}"));
        let with_label = label.map_or(String::new(), |it| format!(" (with label {it})"));
        let ip = self.checked.ip;
        self.info(&format!(
            "Adding inet address {ip}/{prefix}{with_broadcast} to device {}{with_label}",
            link.name
        ));
    }

    /// Announces the address, except on loopback; a failure does not make the start fail.
    fn announce(&self, link: &Link) -> Option<io::Result<()>> {
        (!link.name.starts_with("lo")).then(|| announce::announce(link, self.checked.ip, &self.repeats))
    }

    fn log_announced(&self, link: &Link, sent: Option<io::Result<()>>) {
        let Some(sent) = sent else { return };
        let ip = self.checked.ip;
        let Repeats { interval_ms, count, pid_file } = &self.repeats;
        self.info(&format!(
            "{}/send_arp -i {interval_ms} -r {count} -p {} {} {ip} auto not_used not_used",
            helper_directory(),
            pid_file.display(),
            link.name
        ));
        match sent {
            Err(error) => self.context.log.line(&format!("ERROR: Could not send gratuitous arps: {error}")),
            Ok(()) if !self.in_background => {
                let pairs = u64::from(*count);
                std::thread::sleep(Duration::from_millis(interval_ms.saturating_mul(pairs)));
            }
            Ok(()) => (),
        }
    }

    fn remove(&self, netlink: &mut Netlink, address: &Address, all: &[Address]) -> Result<(), ExitCode> {
        match netlink.delete_address(address, all) {
            Ok(lost) => {
                for (other, error) in lost {
                    let text = format!(
                        "ERROR: {}/{} went together with {} and could not be put back: {}. Add it again by hand.",
                        other.local,
                        other.prefix,
                        address.local,
                        error.desc()
                    );
                    self.context.log.line(&text);
                }
                Ok(())
            }
            Err(NetlinkError::Refused(Errno::EADDRNOTAVAIL)) => Ok(()),
            Err(error) => self.fail(&format!("Could not remove {}: {error}", address.local)),
        }
    }

    /// Takes the address away from loopback interfaces and notes that it was there.
    fn free_loopback(&self, netlink: &mut Netlink, addresses: &[Address]) -> Result<(), ExitCode> {
        let ip = self.checked.ip;
        for address in addresses.iter().filter(|address| address.local == ip && address.prefix == 32) {
            let name = nix::net::if_::if_indextoname(address.interface).unwrap_or_default();
            let name = name.to_string_lossy().into_owned();
            if !name.starts_with("lo") {
                continue;
            }
            self.info(&format!("Removing conflicting loopback {name}."));
            if let Some(directory) = self.loopback_file.parent() {
                // It exists nearly always; writing the note tells if not.
                let _ = fs::create_dir(directory);
            }
            if let Err(error) =
                state::replace(&self.loopback_file, format!("{ip} 32 255.255.255.255 {name}\n").as_bytes())
            {
                let file = self.loopback_file.display();
                return self.fail(&format!("Cannot note the loopback address in {file}: {error}"));
            }
            self.remove(netlink, address, addresses)?;
            // Most often there is no such route.
            let _ = netlink.apply(&[Change::DeleteHostRoute(ip, address.interface)]);
        }
        Ok(())
    }

    /// Puts back what [`Self::free_loopback`] noted.
    fn restore_loopback(&self, netlink: &mut Netlink) {
        let Ok(note) = state::read(&self.loopback_file) else { return };
        let note = String::from_utf8_lossy(&note);
        let ip = self.checked.ip;
        let name = match note.split_ascii_whitespace().collect::<Vec<_>>().as_slice() {
            [noted, "32", _, name] if *noted == ip.to_string() && name.starts_with("lo") => {
                (*name).to_owned()
            }
            _ => {
                let file = self.loopback_file.display();
                return self.warn(&format!("{file} does not name a loopback address; left as it is."));
            }
        };
        self.info(&format!("Restoring loopback IP Address {}.", note.trim()));
        let result = netlink.link(&name).and_then(|link| match link {
            Some(link) => {
                let address = Address { scope: scope_of(ip), ..Address::new(link.index, ip, 32) };
                netlink.apply(&[Change::AddAddress(address)]).map(|results| results[0])
            }
            None => Ok(Err(Errno::ENODEV)),
        });
        match result {
            Ok(Ok(()) | Err(Errno::EEXIST)) => {
                // A leftover is overwritten by the next start.
                let _ = fs::remove_file(&self.loopback_file);
            }
            Ok(Err(error)) => self.warn(&format!("{ip} is not back on {name}: {}", error.desc())),
            Err(error) => self.warn(&format!("{ip} is not back on {name}: {error}")),
        }
    }

    fn refuse_duplicate(&self, link: &Link) -> Result<(), ExitCode> {
        let ip = self.checked.ip;
        match arp::probe(ip, link, DUPLICATE_CHECK) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => self.fail(&format!("IPv4 address collision {ip} [DAD]")),
            Err(error) => {
                self.warn(&format!("Cannot ask who has {ip} on {}: {error}", link.name));
                Ok(())
            }
        }
    }

    fn full_label(&self, link: &Link) -> Result<Option<String>, ExitCode> {
        let Some(label) = &self.label else { return Ok(None) };
        let full = format!("{}:{label}", link.name);
        if full.len() > LABEL_MAX_BYTES {
            let text =
                format!("Interface label [{full}] exceeds maximum character limit of {LABEL_MAX_BYTES}");
            self.context.log.line(&format!("ERROR: {text}"));
            return Err(ExitCode::NotConfigured);
        }
        Ok(Some(full))
    }

    fn netlink(&self) -> Result<Netlink, ExitCode> {
        self.kernel(Netlink::open())
    }

    fn addresses(&self, netlink: &mut Netlink) -> Result<Vec<Address>, ExitCode> {
        self.kernel(netlink.addresses())
    }

    fn kernel<T>(&self, result: Result<T, NetlinkError>) -> Result<T, ExitCode> {
        result.or_else(|error| self.fail(&error.to_string()))
    }

    fn fail<T>(&self, text: &str) -> Result<T, ExitCode> {
        self.context.log.line(&format!("ERROR: {text}"));
        Err(ExitCode::GenericError)
    }

    fn info(&self, text: &str) {
        self.context.log.line(&format!("INFO: {text}"));
    }

    fn warn(&self, text: &str) {
        self.context.log.line(&format!("WARNING: {text}"));
    }
}

/// What a failed search means for the action (agents spec 2.5): a probe finds nothing, a stop has
/// nothing to do.
fn findif_failed(context: &Context, action: Action, error: &FindError) -> ExitCode {
    context.log.line(&format!("ERROR: {error}"));
    let (level, code) = match action {
        Action::Stop => ("WARNING", ExitCode::Success),
        Action::Start | Action::ValidateAll if error.exit_code() == 6 => ("ERROR", ExitCode::NotConfigured),
        Action::Start | Action::ValidateAll => ("ERROR", ExitCode::GenericError),
        _ => ("INFO", ExitCode::NotRunning),
    };
    context.log.line(&format!("{level}: [findif] failed"));
    code
}

/// As ip(8) chooses it.
fn scope_of(address: Ipv4Addr) -> u8 {
    if address.is_loopback() {
        SCOPE_HOST
    } else if address.is_link_local() {
        SCOPE_LINK
    } else {
        0
    }
}

/// Where the original's helper programs are, for log lines.
fn helper_directory() -> String {
    std::env::var("HA_BIN")
        .ok()
        .filter(|path| !path.is_empty())
        .unwrap_or("/usr/libexec/heartbeat".to_owned())
}

/// Announces once more, at once and in the background, if the address is here.
fn announce_again(context: &Context) -> bool {
    let Ok(agent) = IpAddr::from_context(context, Action::Monitor) else { return false };
    let here = || -> Result<Option<Link>, ExitCode> {
        let mut netlink = agent.netlink()?;
        let addresses = agent.addresses(&mut netlink)?;
        match agent.served(&addresses).first() {
            Some(address) => agent.kernel(netlink.link_at(address.interface)),
            None => Ok(None),
        }
    };
    match here() {
        Ok(Some(link)) => {
            agent.log_announced(&link, agent.announce(&link));
            true
        }
        _ => false,
    }
}

/// `IPaddr ADDRESS monitor`: three tries, no output.
fn ping_it(context: &Context) -> u8 {
    let Some(ip) = context.parameters.get("ip").and_then(|ip| ip.parse().ok()) else { return 1 };
    let answers = |sequence| ping::ping(ip, sequence, PING_TIMEOUT).unwrap_or(false);
    u8::from(!(1..=PINGS).any(answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_arguments_do_no_harm() {
        for argument in ["", "/", "////", "1.2.3.4/", ":", "1.2.3.4/24/:", "é/é/é/é", "a/b/c/d/e/f/g"] {
            let call = from_arguments("IPaddr", "0", &[argument]).unwrap();
            let context = Context { print: false, ..Context::new(&IPADDR, call) };
            let code = run(&context, Action::Monitor);
            assert!(matches!(code, ExitCode::NotRunning | ExitCode::NotConfigured), "{argument}");
        }
    }
}
