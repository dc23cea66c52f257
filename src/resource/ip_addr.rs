//! IPaddr and IPaddr2: an address on an interface, announced by ARP or neighbour advertisements.
//!
//! Texts and rules of IPaddr2 in its CentOS 6 and 7 generation (agents spec 2.3, 2.5), where
//! IPaddr is a link to it. The work is done over netlink; the first announcement is on the wire
//! before start returns. Several at once: [`super::ip_batch`].
//!
//! What differs, on purpose: `status` and `stop` look for the address itself before they ask any
//! route, so they find it when its route is gone; secondaries of a removed primary are put back; an
//! IPv6 address is usable at once, and who else has it is heard afterwards (`net::conflict`).

use std::fs;
use std::io;
use std::net::IpAddr as Ip;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use crate::net::announce::{self, Repeats};
use crate::net::announce_many::{self, Place};
use crate::net::arp;
use crate::net::interface::{self, Checked, FindError, Found, Wanted};
use crate::net::netlink::{Address, Change, Link, Netlink, NetlinkError, SCOPE_HOST, SCOPE_LINK};
use crate::net::snapshot::Snapshot;
use crate::net::{ping, state};
use crate::sys::print;

use super::ip_parameters::{from_arguments, split_label, unsupported, AddressFlags, PARAMETERS};
use super::ipv6_addr;
use super::{by_hand, Action, Agent, Context, ExitCode};

/// The agent of an address alone in haresources.
pub const IPADDR: Agent = Agent {
    name: "IPaddr",
    summary: "An address that moves between nodes",
    description: DESCRIPTION,
    usage: "usage: $0 <ip-address> $ACTIONS",
    parameters: PARAMETERS,
    from_arguments: |arguments| from_arguments("IPaddr", "0", arguments),
    run,
    announce: Some(announce_again),
    address: Some(|context, action| IpAddr::from_context(context, action)),
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

const DESCRIPTION: &str = "Adds an IPv4 or IPv6 address to a network interface and removes it again. When \
the address comes up, its new place is announced to the neighbours, by ARP or by neighbour \
advertisements, at once and then several times more in the background.";

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
    by_hand::note(context.value("ip"), action);
    let result = match action {
        Action::Start => agent.start(),
        Action::Stop => agent.stop(),
        Action::ValidateAll => agent.validate(),
        _ => agent.status(context.print && action == Action::Status),
    };
    result.unwrap_or_else(|code| code)
}

/// One address with its checked parameters.
pub(crate) struct IpAddr<'a> {
    pub(super) context: &'a Context,
    pub(super) wanted: Wanted,
    pub(super) checked: Checked,
    label: Option<String>,
    flags: AddressFlags,
    pub(super) repeats: Repeats,
    in_background: bool,
    pub(super) loopback_file: PathBuf,
    /// Whose rules say where it goes and whether it is here.
    rules: Rules,
}

/// What IPaddr2 and IPv6addr do in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// The routes say where it goes; netmask and interface, as far as given, say whether it is here.
    IpAddr2,
    /// The other addresses say where it goes; wherever it is, it is here.
    IpV6Addr,
}

/// Where an address is to go, and what has to be done for it.
pub(super) struct Plan {
    pub(super) found: Found,
    label: Option<String>,
    pub(super) changes: Vec<Change>,
}

impl<'a> IpAddr<'a> {
    /// Checks the parameters. The error is what the action exits with.
    pub(super) fn from_context(context: &'a Context, action: Action) -> Result<Self, ExitCode> {
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
        need_root(context, action)?;
        let label = label.map(str::to_owned);
        let agent = Self { label, ..Self::new(context, wanted, checked, Rules::IpAddr2) };
        let count = |name: &str, default: u32| match parameters.get(name) {
            None => Some(default),
            Some(text) => text.parse().ok().filter(|value| *value > 0),
        };
        let (Some(interval_ms), Some(count)) = (count("arp_interval", 200), count("arp_count", 5)) else {
            return fail("arp_interval and arp_count must be whole numbers above 0", ExitCode::NotConfigured);
        };
        let flags = match AddressFlags::from_parameters(parameters) {
            Ok(flags) => flags,
            Err(text) => return fail(&text, ExitCode::NotConfigured),
        };
        let repeats = Repeats { interval_ms: u64::from(interval_ms), count, ..agent.repeats };
        Ok(Self { repeats, flags, in_background: parameters.boolean("arp_bg", true), ..agent })
    }

    /// With the usual announcement, 5 times 200 ms apart.
    pub(super) fn new(context: &'a Context, wanted: Wanted, checked: Checked, rules: Rules) -> Self {
        let directory = state::directory();
        let pid_file = directory.join(format!("send_arp-{}", checked.ip));
        Self {
            repeats: Repeats { interval_ms: 200, count: 5, pid_file },
            in_background: true,
            loopback_file: directory.join(checked.ip.to_string()),
            flags: AddressFlags::default(),
            rules,
            label: None,
            context,
            wanted,
            checked,
        }
    }

    pub(super) fn start(&self) -> Result<ExitCode, ExitCode> {
        let mut snapshot = self.snapshot()?;
        if !self.served(&mut snapshot)?.is_empty() {
            return Ok(ExitCode::Success);
        }
        let plan = self.plan(&mut snapshot)?;
        if self.asks_first() {
            self.refuse_duplicate(&plan.found.link)?;
        }
        if self.moves_from_loopback() {
            self.free_loopback(&mut snapshot)?;
        }
        // The network is told before anything is written to a log: a slow disk must not delay that.
        self.add(&mut snapshot.netlink, &plan)?;
        let sent = self.announce(&plan.found.link);
        self.log_started(&plan);
        self.log_announced(&plan.found.link, sent);
        Ok(ExitCode::Success)
    }

    pub(super) fn stop(&self) -> Result<ExitCode, ExitCode> {
        let killed = self.stop_announcing();
        let mut snapshot = self.snapshot()?;
        let served = self.served(&mut snapshot)?;
        let all = self.kernel(snapshot.addresses(self.checked.ip))?.to_vec();
        for address in &served {
            self.remove(&mut snapshot.netlink, address, &all)?;
        }
        self.remove_label(&mut snapshot.netlink);
        self.log_stopped(killed, !served.is_empty());
        if served.is_empty() {
            return Ok(ExitCode::Success);
        }
        if self.flushes_routes() {
            // Kernels from 3.6 on have no route cache.
            let _ = fs::write("/proc/sys/net/ipv4/route/flush", "1");
        }
        if self.moves_from_loopback() {
            self.restore_loopback(&mut snapshot.netlink);
        }
        Ok(ExitCode::Success)
    }

    pub(super) fn status(&self, print: bool) -> Result<ExitCode, ExitCode> {
        let mut snapshot = self.snapshot()?;
        let served = self.served(&mut snapshot)?;
        if let (Some(address), count @ 1..) = (served.first(), self.flags.announce_on_monitor) {
            if let Some(link) = self.kernel(snapshot.link_at(address.interface))? {
                let again = Repeats { count, ..self.repeats.clone() };
                // A monitor says whether the address is here, whatever becomes of this.
                let _ = self.announce_with(&link, &again);
            }
        }
        if print {
            print::line(if served.is_empty() { "stopped" } else { "running" });
        }
        Ok(if served.is_empty() { ExitCode::NotRunning } else { ExitCode::Success })
    }

    pub(super) fn validate(&self) -> Result<ExitCode, ExitCode> {
        self.plan(&mut self.snapshot()?).map(|_| ExitCode::Success)
    }

    /// The entries that are this resource: the address, with netmask and interface as far as they
    /// are given. Without an interface, loopback counts only for 127.x, and ipsec never.
    pub(super) fn served(&self, snapshot: &mut Snapshot) -> Result<Vec<Address>, ExitCode> {
        let mut found = self.kernel(snapshot.with_address(self.checked.ip))?;
        found.retain(|address| {
            self.rules == Rules::IpV6Addr
                || self.checked.prefix.is_none_or(|prefix| prefix == address.prefix)
                    && self.interface_fits(&snapshot.name(address.interface))
        });
        Ok(found)
    }

    fn interface_fits(&self, name: &str) -> bool {
        match self.wanted.nic() {
            Some(nic) => name == nic,
            None => !name.starts_with("ipsec") && (self.checked.ip.is_loopback() || !name.starts_with("lo")),
        }
    }

    /// Where the address goes and what the kernel has to do: the address itself, the interface set up,
    /// for IPv6 a label.
    pub(super) fn plan(&self, snapshot: &mut Snapshot) -> Result<Plan, ExitCode> {
        let found = match self.rules {
            Rules::IpAddr2 => interface::find(snapshot, &self.wanted)
                .map_err(|error| findif_failed(self.context, Action::Start, &error))?,
            Rules::IpV6Addr => ipv6_addr::find(self, snapshot)?,
        };
        if found.link.hardware_type == arp::HARDWARE_INFINIBAND {
            let nic = &found.link.name;
            self.context.log.line(&format!("ERROR: {nic} is InfiniBand, which is not supported"));
            return Err(ExitCode::NotConfigured);
        }
        let label = self.full_label(&found.link)?;
        let ip = self.checked.ip;
        let address = Address {
            broadcast: found.broadcast,
            label: label.clone(),
            scope: scope_of(ip),
            flags: self.flags.of_kernel(ip),
            lifetime: self.flags.preferred_s.filter(|_| ip.is_ipv6()).map(|it| [it, u32::MAX]),
            ..Address::new(found.link.index, ip, found.prefix)
        };
        let mut changes = Vec::new();
        if let (Ip::V6(ip), Some(label)) = (ip, self.flags.source_label) {
            changes.push(Change::AddAddressLabel(ip, label));
        }
        changes.push(Change::AddAddress(address));
        if !found.link.is_up() {
            changes.push(Change::LinkUp(found.link.index));
        }
        Ok(Plan { found, label, changes })
    }

    /// Carries out the plan in one write.
    fn add(&self, netlink: &mut Netlink, plan: &Plan) -> Result<(), ExitCode> {
        for result in self.kernel(netlink.apply(&plan.changes))? {
            match result {
                Ok(()) | Err(Errno::EEXIST) => (),
                Err(error) => {
                    self.log_added(plan);
                    let (ip, nic) = (self.checked.ip, &plan.found.link.name);
                    return self.fail(&format!("Failed to add {ip} to {nic}: {}", error.desc()));
                }
            }
        }
        Ok(())
    }

    /// Start asks the network before it adds anything.
    pub(super) fn asks_first(&self) -> bool {
        self.context.parameters.boolean("run_arping", false)
    }

    /// Start takes the address away from loopback, and stop puts it back there.
    pub(super) fn moves_from_loopback(&self) -> bool {
        self.context.parameters.boolean("lvs_support", false)
    }

    /// Stop empties the route cache.
    pub(super) fn flushes_routes(&self) -> bool {
        self.context.parameters.boolean("flush_routes", false)
    }

    /// What start logs of the kernel's part.
    pub(super) fn log_started(&self, plan: &Plan) {
        self.log_added(plan);
        self.info(&format!("Bringing device {} up", plan.found.link.name));
    }

    fn log_added(&self, plan: &Plan) {
        let Found { link, prefix, broadcast } = &plan.found;
        let with_broadcast = broadcast.map_or(String::new(), |it| format!(" with broadcast address {it}"));
        let with_label = plan.label.as_ref().map_or(String::new(), |it| format!(" (with label {it})"));
        let ip = self.checked.ip;
        let family = if ip.is_ipv4() { "inet" } else { "inet6" };
        self.info(&format!(
            "Adding {family} address {ip}/{prefix}{with_broadcast} to device {}{with_label}",
            link.name
        ));
    }

    /// Announces the address, except on loopback; a failure does not make the start fail.
    fn announce(&self, link: &Link) -> Option<io::Result<()>> {
        self.announce_with(link, &self.repeats)
    }

    fn announce_with(&self, link: &Link, repeats: &Repeats) -> Option<io::Result<()>> {
        if link.name.starts_with("lo") {
            return None;
        }
        Some(match self.checked.ip {
            Ip::V4(ip) => announce::announce(link, ip, repeats),
            ip @ Ip::V6(_) => {
                let places = [Place { interface: link.index, address: ip }];
                let failed = announce_many::first_pass(&[(link.index, link.clone())].into(), &places);
                match failed.into_values().next() {
                    Some(error) => Err(error),
                    None => announce_many::repeat_in_background(&places, repeats.interval_ms, repeats.count),
                }
            }
        })
    }

    /// What start logs of the announcement, and the wait for its end where that is asked for.
    pub(super) fn log_announced(&self, link: &Link, sent: Option<io::Result<()>>) {
        let Some(sent) = sent else { return };
        let Repeats { interval_ms, count, pid_file } = &self.repeats;
        let (ip, nic, bin) = (self.checked.ip, &link.name, helper_directory());
        self.info(&match ip {
            Ip::V4(_) => format!(
                "{bin}/send_arp -i {interval_ms} -r {count} -p {} {nic} {ip} auto not_used not_used",
                pid_file.display()
            ),
            Ip::V6(_) => {
                let prefix = self.checked.prefix.unwrap_or(64);
                format!("{bin}/send_ua -i {interval_ms} -c {count} {ip} {prefix} {nic}")
            }
        });
        match sent {
            Err(error) => self.context.log.line(&format!("ERROR: Could not send gratuitous arps: {error}")),
            Ok(()) if !self.in_background => {
                let pairs = u64::from(*count);
                std::thread::sleep(Duration::from_millis(interval_ms.saturating_mul(pairs)));
            }
            Ok(()) => (),
        }
    }

    /// Ends the announcer of an IPv4 address. What is logged of that.
    pub(super) fn stop_announcing(&self) -> Option<String> {
        let ip = self.checked.ip;
        if ip.is_ipv6() {
            return None;
        }
        match announce::stop_announcing(&self.repeats.pid_file) {
            Ok(false) => None,
            Ok(true) => Some(format!("INFO: killed previously running send_arp for {ip}")),
            Err(error) => {
                Some(format!("WARNING: Could not kill previously running send_arp for {ip}: {error}"))
            }
        }
    }

    /// What stop logs.
    pub(super) fn log_stopped(&self, killed: Option<String>, was_here: bool) {
        if let Some(text) = killed {
            self.context.log.line(&text);
        }
        self.info(&format!("IP status = {}, IP_CIP=", if was_here { "ok" } else { "no" }));
    }

    fn remove_label(&self, netlink: &mut Netlink) {
        if let (Ip::V6(ip), Some(label)) = (self.checked.ip, self.flags.source_label) {
            // Most often it is there; a stop that finds nothing has nothing to do.
            let _ = netlink.apply(&[Change::DeleteAddressLabel(ip, label)]);
        }
    }

    pub(super) fn remove(
        &self,
        netlink: &mut Netlink,
        address: &Address,
        all: &[Address],
    ) -> Result<(), ExitCode> {
        match netlink.delete_address(address, all) {
            Ok(lost) => {
                for (other, error) in lost {
                    self.log_lost(address, &other, error);
                }
                Ok(())
            }
            Err(NetlinkError::Refused(Errno::EADDRNOTAVAIL)) => Ok(()),
            Err(error) => self.fail(&format!("Could not remove {}: {error}", address.local)),
        }
    }

    /// Says which other address went with one of ours.
    pub(super) fn log_lost(&self, address: &Address, other: &Address, error: Errno) {
        let Address { local, prefix, .. } = other;
        self.context.log.line(&format!(
            "ERROR: {local}/{prefix} went together with {} and could not be put back: {}. Add it again by hand.",
            address.local,
            error.desc()
        ));
    }

    fn refuse_duplicate(&self, link: &Link) -> Result<(), ExitCode> {
        let Ip::V4(ip) = self.checked.ip else { return Ok(()) };
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
        let Some(label) = self.label.as_ref().filter(|_| self.checked.ip.is_ipv4()) else { return Ok(None) };
        let full = format!("{}:{label}", link.name);
        if full.len() > LABEL_MAX_BYTES {
            let text =
                format!("Interface label [{full}] exceeds maximum character limit of {LABEL_MAX_BYTES}");
            self.context.log.line(&format!("ERROR: {text}"));
            return Err(ExitCode::NotConfigured);
        }
        Ok(Some(full))
    }

    /// Announces once more, at once and in the background, if the address is here.
    pub(super) fn announce_again(&self) -> bool {
        let here = || -> Result<Option<Link>, ExitCode> {
            let mut snapshot = self.snapshot()?;
            match self.served(&mut snapshot)?.first() {
                Some(address) => self.kernel(snapshot.link_at(address.interface)),
                None => Ok(None),
            }
        };
        match here() {
            Ok(Some(link)) => {
                self.log_announced(&link, self.announce(&link));
                true
            }
            _ => false,
        }
    }

    fn snapshot(&self) -> Result<Snapshot, ExitCode> {
        self.kernel(Snapshot::open())
    }

    pub(super) fn kernel<T>(&self, result: Result<T, NetlinkError>) -> Result<T, ExitCode> {
        result.or_else(|error| self.fail(&error.to_string()))
    }

    pub(super) fn fail<T>(&self, text: &str) -> Result<T, ExitCode> {
        self.context.log.line(&format!("ERROR: {text}"));
        Err(ExitCode::GenericError)
    }

    pub(super) fn info(&self, text: &str) {
        self.context.log.line(&format!("INFO: {text}"));
    }

    pub(super) fn warn(&self, text: &str) {
        self.context.log.line(&format!("WARNING: {text}"));
    }
}

/// Start and stop change the kernel's state.
pub(super) fn need_root(context: &Context, action: Action) -> Result<(), ExitCode> {
    if matches!(action, Action::Start | Action::Stop) && !nix::unistd::geteuid().is_root() {
        context.log.line(&format!("ERROR: You must be root for {}.", action.as_str()));
        return Err(ExitCode::NoPermission);
    }
    Ok(())
}

/// What a failed search means for the action (agents spec 2.5): a probe finds nothing, a stop has
/// nothing to do.
pub(super) fn findif_failed(context: &Context, action: Action, error: &FindError) -> ExitCode {
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

/// As ip(8) chooses it; for IPv6 the kernel does.
pub(super) fn scope_of(address: Ip) -> u8 {
    match address {
        Ip::V4(address) if address.is_loopback() => SCOPE_HOST,
        Ip::V4(address) if address.is_link_local() => SCOPE_LINK,
        _ => 0,
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
    IpAddr::from_context(context, Action::Monitor).is_ok_and(|agent| agent.announce_again())
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
