//! A small world on one machine: hosts, a client that asks, and a switch for each of two networks,
//! all in namespaces. Used by `ha demo`, the namespace tests and the benches.
//!
//! ```text
//!   client            node1             node2 …
//!   eth0 .200         eth0 .1  eth1 .1  eth0 .2  eth1 .2
//!     │                 │        │        │        │
//!     └──── service ────┴────────│────────┘        │      192.0.2.0/24     (documentation, RFC 5737)
//!                                └─── heartbeat ───┘      198.51.100.0/24  (documentation, RFC 5737)
//! ```
//!
//! Nothing can leave the machine: no namespace has a link to the outside. Nothing has a name on the
//! machine, so worlds may exist beside each other, and all of it ends with the process that made
//! it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::agent;
pub use super::disk::HostKind;
use super::host::{Agent, DAEMON};
pub use super::host::{Host, WorldError};
use super::links::LinkChange;
use super::probe::{now_us, Answer};
use super::protocol::{Reply, Request};

/// The address that moves in the configurations written here.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
/// Most hosts beside the client.
pub const HOSTS_MAX: usize = 16;
/// The client's number on the service network.
const CLIENT_INDEX: u8 = 200;
const PREFIX: u8 = 24;
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A world cannot be made on this machine; the text says which call was refused and what stands in
/// the way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Which direction of a cable is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// What the host sends (needs Linux 5.18).
    From,
    /// What the host should hear (needs Linux 4.12).
    To,
}

/// Hosts, client, switches. Dropping it switches everything off and leaves nothing behind.
pub struct World {
    // Declared first: hosts end before the switch they hang on.
    hosts: Vec<Host>,
    client: Host,
    switch: Mutex<Agent>,
    own_user: bool,
    binary: std::path::PathBuf,
}

impl World {
    /// Makes the switch and boots the client and all `nodes`, without configuration or daemons.
    /// `binary` is `ha`.
    ///
    /// # Errors
    /// What the machine does not allow or have. Nothing is left of the attempt.
    pub fn new(binary: &Path, nodes: &[(&str, HostKind)]) -> Result<Self, Unavailable> {
        check(nodes)?;
        let unavailable = |error: WorldError| Unavailable(error.to_string());
        let mut switch = Agent::start(binary, "switch", &["switch".to_owned()]).map_err(unavailable)?;
        let own_user = ready(&mut switch)?;
        if own_user && nodes.iter().any(|(_, kind)| *kind == HostKind::Original) {
            return Err(Unavailable("the original Heartbeat needs several users: run as root".into()));
        }
        let bridges = Network::ALL.map(|network| LinkChange::Bridge { name: network.bridge().into() });
        switch.ask(&Request::Links(bridges.to_vec())).map_err(unavailable)?;
        let hosts = nodes.iter().zip(1..).map(|((name, kind), index)| Host::new(name, *kind, index));
        let world = Self {
            hosts: hosts.collect(),
            client: Host::new("client", HostKind::Client, CLIENT_INDEX),
            switch: Mutex::new(switch),
            own_user,
            binary: binary.to_owned(),
        };
        for host in world.hosts.iter().chain([&world.client]) {
            world.boot_host(host)?;
        }
        Ok(world)
    }

    /// The nodes, in the order given; the client is not among them.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The node of this name, or the client.
    ///
    /// # Errors
    /// There is none.
    pub fn host(&self, name: &str) -> Result<&Host, WorldError> {
        let mut all = self.hosts.iter().chain([&self.client]);
        all.find(|host| host.name == name).ok_or_else(|| WorldError::NoSuchHost(name.to_owned()))
    }

    /// A host's address on the service network.
    ///
    /// # Errors
    /// There is no such host.
    pub fn service_address(&self, name: &str) -> Result<Ipv4Addr, WorldError> {
        Ok(Network::Service.address(self.host(name)?.index))
    }

    /// A node's address on the heartbeat network.
    ///
    /// # Errors
    /// There is no such host.
    pub fn heartbeat_address(&self, name: &str) -> Result<Ipv4Addr, WorldError> {
        Ok(Network::Heartbeat.address(self.host(name)?.index))
    }

    /// Writes the three files of `/etc/ha.d` to every node that is on. `ha_cf` is taken as it is.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn configure(&self, ha_cf: &str, haresources: &str) -> Result<(), WorldError> {
        for host in self.hosts.iter().filter(|host| host.is_on()) {
            host.write_file("/etc/ha.d/ha.cf", ha_cf)?;
            host.write_file("/etc/ha.d/haresources", haresources)?;
            host.write_file_with_mode("/etc/ha.d/authkeys", "auth 1\n1 sha1 demonstration\n", 0o600)?;
        }
        Ok(())
    }

    /// An `ha.cf` for this world: times in milliseconds, both networks as links, logs in
    /// `/var/log/ha-log` and `ha-debug`; `more` lines are put before the nodes.
    pub fn ha_cf(&self, keepalive_ms: u64, dead_time_ms: u64, more: &[&str]) -> String {
        let mut lines = vec![
            "logfile /var/log/ha-log".to_owned(),
            "debugfile /var/log/ha-debug".to_owned(),
            "logfacility none".to_owned(),
            format!("keepalive {keepalive_ms}ms"),
            format!("warntime {}ms", (keepalive_ms + dead_time_ms) / 2),
            format!("deadtime {dead_time_ms}ms"),
            format!("initdead {}ms", dead_time_ms * 2),
            "udpport 694".to_owned(),
            "bcast eth0 eth1".to_owned(),
        ];
        lines.extend(more.iter().map(|&line| line.to_owned()));
        lines.extend(self.hosts.iter().map(|host| format!("node {}", host.name)));
        lines.join("\n") + "\n"
    }

    /// Power failure: the host's links drop and every process of it dies, without a goodbye. The
    /// value is the time just before, CLOCK_MONOTONIC in microseconds.
    ///
    /// # Errors
    /// It was off already.
    pub fn crash(&self, name: &str) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        let began_us = now_us();
        let drops = host.networks().iter().map(|network| network.switch_port(host, false)).collect();
        // A host that went down by itself has taken its cables with it.
        let _ = self.ask_switch(&Request::Links(drops));
        host.agent().take().map(drop).ok_or_else(|| WorldError::Off(host.name.clone()))?;
        Ok(began_us)
    }

    /// Switches a host on again: fresh namespaces and `/run`, the same files elsewhere. No daemon
    /// is started.
    ///
    /// # Errors
    /// It is on already, or does not start.
    pub fn boot(&self, name: &str) -> Result<(), WorldError> {
        let host = self.host(name)?;
        if host.is_on() {
            return Err(WorldError::Failed { host: host.name.clone(), reason: "it is on already".into() });
        }
        self.boot_host(host)
            .map_err(|error| WorldError::Failed { host: host.name.clone(), reason: error.to_string() })
    }

    /// Unplugs a cable (`eth0` service, `eth1` heartbeat): both ends lose their carrier. The value
    /// is the time just before.
    ///
    /// # Errors
    /// The host has no such interface.
    pub fn cut(&self, name: &str, interface: &str) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        self.change(vec![host.network(interface)?.switch_port(host, false)])
    }

    /// Takes an interface out of a running host, as a driver that goes away does.
    ///
    /// # Errors
    /// As [`World::cut`].
    pub fn remove_interface(&self, name: &str, interface: &str) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        self.change(vec![host.network(interface)?.unplug(host)])
    }

    /// Puts an interface back after [`World::remove_interface`], with the host's address.
    ///
    /// # Errors
    /// As [`World::cut`], and when the interface is there.
    pub fn add_interface(&self, name: &str, interface: &str) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        let network = host.network(interface)?;
        let pid = host.agent().as_ref().map(Agent::pid).ok_or_else(|| WorldError::Off(name.to_owned()))?;
        let began_us = self.change(vec![network.cable(host, pid)])?;
        host.ask(&Request::Links(vec![network.own_address(host)]))?;
        Ok(began_us)
    }

    /// Loses every frame of a cable, both ways, while the carrier stays.
    ///
    /// # Errors
    /// As [`World::cut`].
    pub fn cut_silently(&self, name: &str, interface: &str) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        self.change(vec![host.network(interface)?.pass(host, false, false)])
    }

    /// Loses one direction of a cable; the carrier stays.
    ///
    /// # Errors
    /// As [`World::cut`], and where the kernel's bridge lacks the flag.
    pub fn cut_one_way(&self, name: &str, interface: &str, way: Way) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        let network = host.network(interface)?;
        // An older kernel skips the flag without a word.
        if way == Way::From && kernel() < (5, 18) {
            let reason = "losing only what a host sends needs Linux 5.18".into();
            return Err(WorldError::Failed { host: host.name.clone(), reason });
        }
        self.change(vec![network.pass(host, way == Way::To, way == Way::From)])
    }

    /// Repairs a cable after any kind of cut.
    ///
    /// # Errors
    /// As [`World::cut`].
    pub fn heal(&self, name: &str, interface: &str) -> Result<u64, WorldError> {
        let host = self.host(name)?;
        let network = host.network(interface)?;
        self.change(vec![network.switch_port(host, true), network.pass(host, true, true)])
    }

    /// Stops every process of a host (SIGSTOP); its kernel and its answering service go on.
    ///
    /// # Errors
    /// The host is off.
    pub fn freeze(&self, name: &str) -> Result<u64, WorldError> {
        let began_us = now_us();
        self.host(name)?.signal(Signal::SIGSTOP)?;
        Ok(began_us)
    }

    /// Continues a frozen host.
    ///
    /// # Errors
    /// The host is off.
    pub fn thaw(&self, name: &str) -> Result<u64, WorldError> {
        let began_us = now_us();
        self.host(name)?.signal(Signal::SIGCONT)?;
        Ok(began_us)
    }

    /// The nodes that have this address configured, in the world's order.
    ///
    /// # Errors
    /// A node does not answer.
    pub fn owners(&self, address: Ipv4Addr) -> Result<Vec<&str>, WorldError> {
        let mut owners = Vec::new();
        for host in self.hosts.iter().filter(|host| host.is_on()) {
            if host.addresses()?.contains(&address) {
                owners.push(host.name.as_str());
            }
        }
        Ok(owners)
    }

    /// Waits until exactly this node has the address.
    ///
    /// # Errors
    /// It did not come so in time; the text names who has it.
    pub fn wait_owner(&self, address: Ipv4Addr, name: &str, limit: Duration) -> Result<(), WorldError> {
        let end = Instant::now() + limit;
        loop {
            let owners = self.owners(address)?;
            if owners == [name] {
                return Ok(());
            }
            if Instant::now() >= end {
                let holders = if owners.is_empty() { "nobody".to_owned() } else { owners.join(" and ") };
                let what = format!("{address} on {name} alone (it is on {holders})");
                return Err(WorldError::TooLate { what, limit_ms: limit.as_millis() as u64 });
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Has the client ask an address from now on, one question each interval.
    ///
    /// # Errors
    /// The client has no socket to spare.
    pub fn probe(&self, address: Ipv4Addr, interval: Duration) -> Result<Probe<'_>, WorldError> {
        let interval_us = interval.as_micros() as u64;
        self.client.ask(&Request::Probe { address, interval_us })?;
        Ok(Probe { client: &self.client, seen: Mutex::new(Vec::new()) })
    }

    fn ask_switch(&self, request: &Request) -> Result<Reply, WorldError> {
        self.switch().ask(request)
    }

    fn switch(&self) -> MutexGuard<'_, Agent> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, changes: Vec<LinkChange>) -> Result<u64, WorldError> {
        let began_us = now_us();
        self.ask_switch(&Request::Links(changes))?;
        Ok(began_us)
    }

    fn boot_host(&self, host: &Host) -> Result<(), Unavailable> {
        let unavailable = |error: WorldError| Unavailable(error.to_string());
        let kind = serde_json::to_string(&host.kind).map_err(|error| Unavailable(error.to_string()))?;
        let base = agent::base().unwrap_or_default();
        let words = [
            "boot",
            &self.switch().pid().to_string(),
            &self.own_user.to_string(),
            base,
            &host.index.to_string(),
            &host.name,
            &kind,
            &self.hosts_file(),
        ];
        let mut agent =
            Agent::start(&self.binary, &host.name, &words.map(str::to_owned)).map_err(unavailable)?;
        ready(&mut agent)?;
        let networks = host.networks();
        let cables =
            networks.iter().flat_map(|network| [network.unplug(host), network.cable(host, agent.pid())]);
        self.ask_switch(&Request::Links(cables.collect())).map_err(unavailable)?;
        let addresses = networks.iter().map(|network| network.own_address(host));
        agent.ask(&Request::Links(addresses.collect())).map_err(unavailable)?;
        *host.agent() = Some(agent);
        Ok(())
    }

    fn hosts_file(&self) -> String {
        let mut lines = vec!["127.0.0.1 localhost".to_owned()];
        for host in self.hosts.iter().chain([&self.client]) {
            lines.push(format!("{} {}", Network::Service.address(host.index), host.name));
        }
        lines.join("\n") + "\n"
    }
}

/// The client of a world while it asks. Dropping it stops it.
pub struct Probe<'w> {
    client: &'w Host,
    seen: Mutex<Vec<Answer>>,
}

impl Probe<'_> {
    /// All answers so far, in order of arrival.
    ///
    /// # Errors
    /// The client is off.
    pub fn answers(&self) -> Result<Vec<Answer>, WorldError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let more = self.client.answers(seen.len())?;
        seen.extend(more);
        Ok(seen.clone())
    }

    /// Waits for an answer of this host to arrive after `after_us`, then a little longer (`settle`)
    /// so that the answers behind it are there too.
    ///
    /// # Errors
    /// None came in time.
    pub fn wait_answer(
        &self,
        host: &Host,
        after_us: u64,
        settle: Duration,
        limit: Duration,
    ) -> Result<Vec<Answer>, WorldError> {
        let end = Instant::now() + limit;
        loop {
            let answers = self.answers()?;
            let newest = answers.iter().rev().take_while(|answer| answer.at_us > after_us);
            if newest.into_iter().any(|answer| answer.host == host.index) {
                thread::sleep(settle);
                return self.answers();
            }
            if Instant::now() >= end {
                let what = format!("an answer from {}", host.name);
                return Err(WorldError::TooLate { what, limit_ms: limit.as_millis() as u64 });
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        let _ = self.client.ask(&Request::StopProbe);
    }
}

/// The two networks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Service,
    Heartbeat,
}

impl Network {
    const ALL: [Self; 2] = [Self::Service, Self::Heartbeat];

    fn number(self) -> u8 {
        self as u8
    }

    fn interface(self) -> &'static str {
        ["eth0", "eth1"][self as usize]
    }

    fn bridge(self) -> &'static str {
        ["service", "heartbeat"][self as usize]
    }

    fn address(self, index: u8) -> Ipv4Addr {
        match self {
            Self::Service => Ipv4Addr::new(192, 0, 2, index),
            Self::Heartbeat => Ipv4Addr::new(198, 51, 100, index),
        }
    }

    /// The switch's end of the cable.
    fn port(self, host: &Host) -> String {
        format!("port{}.{}", host.index, self.number())
    }

    fn cable(self, host: &Host, peer_pid: u32) -> LinkChange {
        LinkChange::Cable {
            port: self.port(host),
            bridge: self.bridge().into(),
            peer: self.interface().into(),
            peer_pid,
            // Locally administered, and the same at each boot.
            peer_mac: [0x02, 0, 0, 0, self.number(), host.index],
        }
    }

    fn own_address(self, host: &Host) -> LinkChange {
        let address = self.address(host.index);
        LinkChange::Address { name: self.interface().into(), address, prefix: PREFIX }
    }

    fn unplug(self, host: &Host) -> LinkChange {
        LinkChange::Delete { name: self.port(host) }
    }

    fn switch_port(self, host: &Host, up: bool) -> LinkChange {
        LinkChange::Switch { name: self.port(host), up }
    }

    fn pass(self, host: &Host, from_host: bool, to_host: bool) -> LinkChange {
        LinkChange::Port { name: self.port(host), from_host, to_host }
    }
}

impl Host {
    fn networks(&self) -> &'static [Network] {
        if self.kind == HostKind::Client {
            &[Network::Service]
        } else {
            &Network::ALL
        }
    }

    fn network(&self, interface: &str) -> Result<Network, WorldError> {
        let found = self.networks().iter().find(|network| network.interface() == interface);
        found.copied().ok_or_else(|| WorldError::Failed {
            host: self.name.clone(),
            reason: format!("it has no interface {interface}"),
        })
    }
}

/// Version of the running kernel; (0, 0) when it cannot be read.
fn kernel() -> (u32, u32) {
    let release = nix::sys::utsname::uname().map(|about| about.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Refuses what cannot become a world before anything is started.
fn check(nodes: &[(&str, HostKind)]) -> Result<(), Unavailable> {
    let refused = |text: String| Err(Unavailable(text));
    if nodes.len() > HOSTS_MAX {
        return refused(format!("at most {HOSTS_MAX} hosts"));
    }
    for (name, kind) in nodes {
        let clean = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if name.is_empty() || name.len() > 63 || !clean || *name == "client" {
            return refused(format!("{name:?} cannot be a host's name"));
        }
        if *kind == HostKind::Original && !Path::new(DAEMON).exists() {
            return refused(format!("Heartbeat 3.0.6 is not installed: there is no {DAEMON}"));
        }
    }
    Ok(())
}

fn ready(agent: &mut Agent) -> Result<bool, Unavailable> {
    match agent.hear() {
        Ok(Reply::Ready { own_user }) => Ok(own_user),
        Ok(Reply::Unavailable(reason)) => Err(Unavailable(reason)),
        Ok(other) => Err(Unavailable(format!("unexpected reply {other:?}"))),
        Err(error) => Err(Unavailable(error.to_string())),
    }
}
