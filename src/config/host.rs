//! What the parsers must know about this machine, gathered once and replaceable in tests.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::OnceLock;

use super::settings::Account;
use crate::types::{DeviceFault, DeviceValues};

/// A network interface as far as the configuration cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interface {
    /// Its first IPv4 address.
    pub address: Option<Ipv4Addr>,
}

/// What is at the path of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A device for characters; whether it is a terminal shows when it is opened.
    Character,
    /// Something else.
    Other,
    /// Nothing.
    Missing,
}

/// Facts about this host.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// `uname -n`, as it is. `nodeinfo` in the configuration directory overrides it.
    pub node_name: String,
    /// Who runs this: the key file must belong to this user (or to root).
    pub effective_uid: u32,
    /// Interfaces by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Resolves the host of a `ucast` or `ping` line to an IPv4 address. May wait for a name server, which
    /// is why names are resolved once, before the cluster starts.
    pub resolve: fn(&str) -> Option<Ipv4Addr>,
    /// Resolves the host of a `ping6` line to an IPv6 address, of link scope with its interface.
    pub resolve6: fn(&str) -> Option<SocketAddrV6>,
    /// What a path is, for `serial` lines.
    pub device: fn(&str) -> Device,
    /// UDP services: port and name, as in `/etc/services`.
    pub udp_services: Vec<(u16, String)>,
    /// A user by name, for `respawn` and `apiauth`.
    pub user: fn(&str) -> Option<Account>,
    /// A group by name, for `apiauth`.
    pub group: fn(&str) -> Option<u32>,
    /// Whether there is a program at this path.
    pub is_executable: fn(&str) -> bool,
    /// What a fencing device of this type with these values calls itself, and the values in one line.
    /// May run an external plugin.
    pub fencing_device: DeviceProbe,
    /// What this binary can run in place of a program that is missing.
    pub applets: Vec<&'static str>,
}

/// Looks at a fencing device: type and values.
pub type DeviceProbe = fn(&str, DeviceValues<'_>) -> Result<(String, String), DeviceFault>;

static FENCING: OnceLock<DeviceProbe> = OnceLock::new();

/// Says once, at the start of the program, who knows fencing devices. Later calls have no effect.
pub fn announce_fencing(probe: DeviceProbe) {
    let _ = FENCING.set(probe);
}

static APPLETS: OnceLock<Vec<&'static str>> = OnceLock::new();

/// Says once, at the start of the program, which applets the binary has. Later calls have no effect.
pub fn announce_applets(names: Vec<&'static str>) {
    let _ = APPLETS.set(names);
}

impl HostFacts {
    /// Looks at the machine this runs on. What cannot be found out is left empty.
    pub fn gather() -> Self {
        let node_name = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            node_name,
            effective_uid: nix::unistd::geteuid().as_raw(),
            interfaces: interfaces(),
            resolve: resolve_ipv4,
            resolve6: resolve_ipv6,
            device: look_at_device,
            udp_services: udp_services(&std::fs::read("/etc/services").unwrap_or_default()),
            user,
            group,
            is_executable,
            fencing_device: FENCING.get().copied().unwrap_or(|_, _| Err(DeviceFault::Type)),
            applets: APPLETS.get().cloned().unwrap_or_default(),
        }
    }

    /// The port of a UDP service.
    pub fn udp_port(&self, name: &str) -> Option<u16> {
        self.udp_services.iter().find(|(_, known)| known == name).map(|(port, _)| *port)
    }

    /// The service a UDP port is reserved for.
    pub fn udp_service(&self, port: u16) -> Option<&str> {
        self.udp_services.iter().find(|(known, _)| *known == port).map(|(_, name)| name.as_str())
    }
}

/// First IPv4 address of a host name; an address stands for itself.
pub fn resolve_ipv4(host: &str) -> Option<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    (host, 0).to_socket_addrs().ok()?.find_map(|address| match address.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

fn user(name: &str) -> Option<Account> {
    let known = nix::unistd::User::from_name(name).ok().flatten();
    account(name, known.map(|user| Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// The kernel knows user 0 without `/etc/passwd`, which a root with nothing but our file lacks.
fn account(name: &str, known: Option<Account>) -> Option<Account> {
    known.or_else(|| (name == "root").then_some(Account { uid: 0, gid: 0 }))
}

fn group(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

fn is_executable(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// First IPv6 address of a host name, port 0; an address stands for itself, also with its scope
/// (`fe80::1%eth0`). Names of IPv4 addresses have none.
pub fn resolve_ipv6(host: &str) -> Option<SocketAddrV6> {
    (host, 0).to_socket_addrs().ok()?.find_map(|address| match address {
        SocketAddr::V6(address) => Some(address),
        SocketAddr::V4(_) => None,
    })
}

fn look_at_device(path: &str) -> Device {
    match std::fs::metadata(path) {
        Ok(about) if about.file_type().is_char_device() => Device::Character,
        Ok(_) => Device::Other,
        Err(_) => Device::Missing,
    }
}

fn interfaces() -> BTreeMap<String, Interface> {
    let mut found = BTreeMap::<String, Interface>::new();
    for entry in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        let interface = found.entry(entry.interface_name).or_default();
        let address = entry.address.as_ref().and_then(|address| address.as_sockaddr_in());
        if let (None, Some(address)) = (interface.address, address) {
            interface.address = Some(address.ip());
        }
    }
    found
}

/// Reads lines like `domain 53/udp`. At most 10000 are kept.
fn udp_services(text: &[u8]) -> Vec<(u16, String)> {
    let text = String::from_utf8_lossy(text);
    let parse = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let name = words.next()?;
        let port = words.next()?.strip_suffix("/udp")?.parse().ok()?;
        Some((port, name.to_owned()))
    };
    text.lines().filter_map(parse).take(10_000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found() {
        let services =
            udp_services(b"domain\t53/tcp\ndomain 53/udp # x\n#no 1/udp\nha-cluster 694/udp\n\xff\n");
        assert_eq!(services, [(53, "domain".to_owned()), (694, "ha-cluster".to_owned())]);
    }

    #[test]
    fn root_needs_no_file_of_accounts() {
        assert_eq!(account("root", None), Some(Account { uid: 0, gid: 0 }));
        assert_eq!(account("hacluster", None), None);
        let odd = Account { uid: 0, gid: 5 };
        assert_eq!(account("root", Some(odd)), Some(odd));
    }

    #[test]
    fn addresses_need_no_name_server() {
        assert_eq!(resolve_ipv4("10.1.2.3"), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(resolve_ipv6("fd77::1"), Some("[fd77::1]:0".parse().unwrap()));
        assert_eq!(resolve_ipv6("10.1.2.3"), None);
        assert_ne!(resolve_ipv6("fe80::1%lo").map_or(0, |address| address.scope_id()), 0);
    }
}
