//! Parameters of the agents for addresses: their description, the positional form, what is refused
//! (agents spec 2.3, 2.5).

use std::net::IpAddr;

use super::{Call, Parameter, Parameters, WrongArguments};

/// Parameters of IPaddr and IPaddr2.
pub(super) const PARAMETERS: &[Parameter] = &[
    parameter("ip", "string", None, "Address", "The IPv4 address, four numbers with dots, or the IPv6 address."),
    parameter(
        "nic",
        "string",
        None,
        "Interface",
        "Name of the interface, eth0 for instance; a label may follow a colon. Without it the routing table \
         decides.",
    ),
    parameter(
        "cidr_netmask",
        "string",
        None,
        "Netmask",
        "Length of the network's prefix, 24 for instance, or four numbers with dots. Without it the routing \
         table decides.",
    ),
    parameter("netmask", "string", None, "Netmask (old name)", "Another name of cidr_netmask."),
    parameter(
        "broadcast",
        "string",
        None,
        "Broadcast address",
        "Broadcast address of the network. Without it that of the interface's own address in the network is \
         taken.",
    ),
    parameter("iflabel", "string", None, "Label", "Label of the address, shown behind the interface's name."),
    parameter(
        "lvs_support",
        "boolean",
        Some("false"),
        "Move away from loopback",
        "Takes the address away from a loopback interface that carries it for LVS direct routing, and puts \
         it back there on stop.",
    ),
    parameter("arp_interval", "integer", Some("200"), "ARP interval", "Milliseconds between announcements."),
    parameter("arp_count", "integer", Some("5"), "ARP count", "Number of announcements."),
    parameter(
        "arp_bg",
        "boolean",
        Some("true"),
        "Announce in background",
        "Whether start returns after the first announcement instead of waiting for the last.",
    ),
    parameter(
        "arp_sender",
        "string",
        Some("auto"),
        "ARP sender",
        "Accepted as auto, send_arp, iputils_arping or libnet_arping; all mean the built-in one. ipoibarping \
         is refused: InfiniBand is not supported.",
    ),
    parameter(
        "flush_routes",
        "boolean",
        Some("false"),
        "Flush the route cache",
        "Whether stop empties the route cache of kernels before 3.6.",
    ),
    parameter(
        "run_arping",
        "boolean",
        Some("false"),
        "Ask before start",
        "Whether start asks the network for three seconds if somebody has the address, and fails then.",
    ),
    parameter(
        "arp_count_refresh",
        "integer",
        Some("0"),
        "ARP count of a monitor",
        "Number of announcements that every monitor of an active address makes.",
    ),
    parameter(
        "nodad",
        "boolean",
        Some("false"),
        "No duplicate address detection",
        "Makes no difference: an IPv6 address is usable at once, and another host that has it is heard \
         afterwards.",
    ),
    parameter(
        "noprefixroute",
        "boolean",
        Some("false"),
        "No route to the network",
        "Whether the kernel adds the address without a route to its network. Kernels before 3.14 (IPv4: \
         4.4) add the route all the same.",
    ),
    parameter(
        "preferred_lft",
        "string",
        Some("forever"),
        "Preferred life time",
        "Seconds for which an IPv6 address is preferred as source address, 0 for never.",
    ),
    parameter(
        "lvs_ipv6_addrlabel",
        "boolean",
        Some("false"),
        "Label for source addresses",
        "Whether an IPv6 address gets a label that keeps it from being chosen as source address (RFC 6724).",
    ),
    parameter(
        "lvs_ipv6_addrlabel_value",
        "integer",
        Some("99"),
        "Value of that label",
        "The label, a number.",
    ),
    parameter("arp_mac", "string", Some("ffffffffffff"), "Not used", "Accepted and not used, as in the original."),
    parameter(
        "send_arp_opts",
        "string",
        None,
        "Not supported",
        "Must be absent: options of another send_arp are not supported.",
    ),
    parameter(
        "unique_clone_address",
        "boolean",
        Some("false"),
        "Not supported",
        "Must be false: clones are not supported.",
    ),
    parameter("clusterip_hash", "string", None, "Not supported", "Must be absent: CLUSTERIP is not supported."),
    parameter("mac", "string", None, "Not supported", "Must be absent: CLUSTERIP is not supported."),
    parameter(
        "network_namespace",
        "string",
        None,
        "Not supported",
        "Must be absent: network namespaces are not supported.",
    ),
];

const fn parameter(
    name: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    summary: &'static str,
    description: &'static str,
) -> Parameter {
    // Only the address itself must be given; no other name has this length and start.
    let bytes = name.as_bytes();
    let required = bytes.len() == 2 && bytes[0] == b'i' && bytes[1] == b'p';
    Parameter { name, required, unique: required, kind, default, summary, description }
}

/// `ip[/bits[/nic[:label][/broadcast]]]` or `ip/bits/broadcast` (agents spec 2.3).
pub(super) fn from_arguments(
    name: &str,
    lvs_support: &str,
    arguments: &[&str],
) -> Result<Call, WrongArguments> {
    let [argument] = arguments else { return Err(WrongArguments::silent()) };
    let mut parameters = Parameters::default();
    parameters.set("lvs_support", lvs_support);
    let (ip, rest) = argument.split_once('/').unwrap_or((argument, ""));
    parameters.set("ip", ip);
    let mut fields = rest.trim_start_matches('/').split('/');
    parameters.set("cidr_netmask", fields.next().unwrap_or(""));
    let third = fields.next().unwrap_or("");
    if third.starts_with(|first: char| first.is_ascii_digit()) {
        parameters.set("broadcast", third);
    } else {
        parameters.set("nic", third);
        parameters.set("broadcast", fields.next().filter(|_| !third.is_empty()).unwrap_or(""));
    }
    Ok(Call { instance: format!("{name}_{ip}"), parameters })
}

/// Parameters that ask for what is not there.
pub(super) fn unsupported(parameters: &Parameters, ip: &str) -> Option<String> {
    if ip.contains(':') && parameters.boolean("lvs_support", false) {
        return Some("The IPv6 does not support lvs_support".to_owned());
    }
    let clusterip = ["mac", "clusterip_hash"].into_iter().find(|name| parameters.get(name).is_some());
    if let Some(name) = clusterip {
        return Some(format!("Parameter {name} is not supported: there is no CLUSTERIP here"));
    }
    if parameters.boolean("unique_clone_address", false) || clone_count() > 1 {
        return Some("Clones are not supported: there is no CLUSTERIP here".to_owned());
    }
    if parameters.get("arp_sender") == Some("ipoibarping") {
        return Some("Parameter arp_sender [ipoibarping]: InfiniBand is not supported".to_owned());
    }
    if parameters.get("send_arp_opts").is_some() {
        return Some("Parameter send_arp_opts is not supported".to_owned());
    }
    if parameters.get("network_namespace").is_some() {
        return Some("Parameter network_namespace is not supported".to_owned());
    }
    let senders = ["auto", "send_arp", "iputils_arping", "libnet_arping"];
    parameters
        .get("arp_sender")
        .filter(|sender| !senders.contains(sender))
        .map(|sender| format!("Invalid parameter value: arp_sender [{sender}]"))
}

/// What the kernel is told of the address beyond its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AddressFlags {
    without_route: bool,
    /// Preferred life time in seconds, unless it is for ever.
    pub(super) preferred_s: Option<u32>,
    /// Label for the choice of source addresses.
    pub(super) source_label: Option<u32>,
    /// Announcements of every monitor.
    pub(super) announce_on_monitor: u32,
}

impl AddressFlags {
    /// Reads them; the error is for the log.
    pub(super) fn from_parameters(parameters: &Parameters) -> Result<Self, String> {
        let number = |name: &str| match parameters.get(name) {
            None => Ok(None),
            Some(text) => match text.parse::<u32>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(format!("Invalid parameter value: {name} [{text}]")),
            },
        };
        let forever = parameters.get("preferred_lft") == Some("forever");
        let label = number("lvs_ipv6_addrlabel_value")?.unwrap_or(99);
        Ok(Self {
            without_route: parameters.boolean("noprefixroute", false),
            preferred_s: if forever { None } else { number("preferred_lft")? },
            source_label: parameters.boolean("lvs_ipv6_addrlabel", false).then_some(label),
            announce_on_monitor: number("arp_count_refresh")?.unwrap_or(0),
        })
    }

    /// `IFA_F_*`. An IPv6 address does not wait for duplicate address detection, which would take a
    /// second or two, and never comes up where a hung host still answers for it.
    pub(super) fn of_kernel(self, ip: IpAddr) -> u32 {
        let route = if self.without_route { libc::IFA_F_NOPREFIXROUTE } else { 0 };
        let detection = if ip.is_ipv6() { libc::IFA_F_NODAD } else { 0 };
        route | detection
    }
}

/// Globally unique clones of this resource, set by a cluster manager of the OCF kind.
fn clone_count() -> u32 {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    match variable("OCF_RESKEY_CRM_meta_globally_unique").as_str() {
        "true" => variable("OCF_RESKEY_CRM_meta_clone_max").parse().unwrap_or(0),
        _ => 0,
    }
}

/// Interface and label; `nic:label` goes before `iflabel`.
pub(super) fn split_label(parameters: &Parameters) -> (Option<&str>, Option<&str>) {
    let filled = |text: &&str| !text.is_empty();
    match parameters.get("nic").map(|nic| nic.split_once(':').unwrap_or((nic, ""))) {
        Some((nic, label)) => {
            (Some(nic).filter(filled), Some(label).filter(filled).or(parameters.get("iflabel")))
        }
        None => (None, parameters.get("iflabel")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(argument: &str) -> Vec<(String, String)> {
        let Call { parameters, .. } = from_arguments("IPaddr", "0", &[argument]).unwrap();
        let names = ["ip", "cidr_netmask", "nic", "broadcast"];
        names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), parameters.get(name)?.to_owned())))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_argument_is_taken_apart_as_the_wrapper_does() {
        assert_eq!(parsed("1.2.3.4"), pairs(&[("ip", "1.2.3.4")]));
        assert_eq!(
            parsed("1.2.3.4/24/eth0:1/1.2.3.255"),
            pairs(&[
                ("ip", "1.2.3.4"),
                ("cidr_netmask", "24"),
                ("nic", "eth0:1"),
                ("broadcast", "1.2.3.255")
            ])
        );
        assert_eq!(
            parsed("1.2.3.4/24/1.2.3.255"),
            pairs(&[("ip", "1.2.3.4"), ("cidr_netmask", "24"), ("broadcast", "1.2.3.255")])
        );
        assert_eq!(parsed("1.2.3.4//eth0"), pairs(&[("ip", "1.2.3.4"), ("cidr_netmask", "eth0")]));
        assert_eq!(parsed("1.2.3.4/24//"), pairs(&[("ip", "1.2.3.4"), ("cidr_netmask", "24")]));
        assert_eq!(from_arguments("IPaddr", "0", &["a", "b"]), Err(WrongArguments::silent()));
        assert_eq!(from_arguments("IPaddr2", "1", &["1.2.3.4/8"]).unwrap().instance, "IPaddr2_1.2.3.4");
    }

    #[test]
    fn labels_come_from_the_interface_or_their_own_parameter() {
        let mut parameters = Parameters::default();
        parameters.set("nic", "eth0:web");
        parameters.set("iflabel", "other");
        assert_eq!(split_label(&parameters), (Some("eth0"), Some("web")));
        parameters.set("nic", "eth0");
        assert_eq!(split_label(&parameters), (Some("eth0"), Some("other")));
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let refused = |name: &str, value: &str| {
            let mut parameters = Parameters::default();
            parameters.set(name, value);
            unsupported(&parameters, "1.2.3.4").is_some()
        };
        assert!(refused("unique_clone_address", "true") && refused("clusterip_hash", "sourceip"));
        assert!(refused("network_namespace", "x") && refused("arp_sender", "x"));
        assert!(!refused("arp_sender", "send_arp"));
        assert!(refused("arp_sender", "ipoibarping") && refused("send_arp_opts", "-x"));
        assert!(unsupported(&Parameters::default(), "2001:db8::1").is_none());
        let mut with_lvs = Parameters::default();
        with_lvs.set("lvs_support", "1");
        assert!(unsupported(&with_lvs, "2001:db8::1").is_some());
    }

    #[test]
    fn kernel_flags_come_from_the_parameters() {
        let mut parameters = Parameters::default();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let flags = |parameters: &Parameters| AddressFlags::from_parameters(parameters);
        assert_eq!(flags(&parameters).unwrap().of_kernel(ip("10.0.0.1")), 0);
        assert_eq!(flags(&parameters).unwrap().of_kernel(ip("::1")), libc::IFA_F_NODAD);
        parameters.set("noprefixroute", "true");
        parameters.set("preferred_lft", "0");
        parameters.set("lvs_ipv6_addrlabel", "true");
        let set = flags(&parameters).unwrap();
        assert_eq!(set.of_kernel(ip("10.0.0.1")), libc::IFA_F_NOPREFIXROUTE);
        assert_eq!((set.preferred_s, set.source_label), (Some(0), Some(99)));
        parameters.set("preferred_lft", "forever");
        assert_eq!(flags(&parameters).unwrap().preferred_s, None);
        parameters.set("arp_count_refresh", "-1");
        assert!(flags(&parameters).is_err());
    }
}
