//! IPsrcaddr: the address that outgoing connections come from, as the preferred source of the default
//! route and of the route to its own network (agents spec 2.7).

use std::net::{IpAddr, Ipv4Addr};

use crate::net::interface::parse_netmask;
use crate::net::netlink::{Address, Change, NetlinkError, Route, SCOPE_LINK, TABLE_MAIN};
use crate::net::snapshot::Snapshot;

use super::ip_addr::need_root;
use super::{Action, Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// The agent.
pub const IPSRCADDR: Agent = Agent {
    name: "IPsrcaddr",
    summary: "The source address of outgoing connections",
    description: "Makes an IPv4 address of this host the preferred source address of the default route and \
                  of the route to its network, and takes that back. The address itself is for IPaddr2, \
                  which stands before it in the group. There must be exactly one default route.",
    usage: "usage: $0 <ip-address> $ACTIONS",
    usage_to_stderr: true,
    parameters: PARAMETERS,
    from_arguments: |arguments| match arguments {
        [address] => Ok(Call::new("IPsrcaddr").with("ipaddress", address)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

const PARAMETERS: &[Parameter] = &[
    Parameter::string("ipaddress", "IP address", "The IPv4 address, which must be on this host.").required(),
    Parameter::string(
        "cidr_netmask",
        "Netmask",
        "Length of the network's prefix, 24 for instance, or four numbers with dots. Without it the most \
         specific route of the address's interface is changed.",
    ),
    Parameter::string("destination", "Not supported", "Must be absent or 0.0.0.0/0, the default route."),
    Parameter::string("proto", "Not supported", "Must be absent."),
    Parameter::string("metric", "Not supported", "Must be absent."),
    Parameter::string("table", "Not supported", "Must be absent: the main table is changed."),
];

fn run(context: &Context, action: Action) -> ExitCode {
    let source = match Source::from_context(context, action) {
        Ok(source) => source,
        Err(code) => return code,
    };
    let result = match action {
        Action::Start => source.start(),
        Action::Stop => source.stop(),
        Action::ValidateAll => source.served().map(|_| ExitCode::Success),
        _ => source.status(),
    };
    result.unwrap_or_else(|code| code)
}

struct Source<'a> {
    context: &'a Context,
    ip: Ipv4Addr,
    prefix: Option<u8>,
}

impl<'a> Source<'a> {
    fn from_context(context: &'a Context, action: Action) -> Result<Self, ExitCode> {
        // A stop of what cannot have been started has nothing to do.
        let wrong = |text: &str| {
            context.exit_reason(text);
            if action == Action::Stop {
                ExitCode::Success
            } else {
                ExitCode::NotConfigured
            }
        };
        let text = context.value("ipaddress");
        if text.is_empty() {
            return Err(wrong("Please set OCF_RESKEY_ipaddress to the preferred source IP address!"));
        }
        let ip: Ipv4Addr = text.parse().map_err(|_| wrong(&format!("Invalid IP address [{text}]")))?;
        if ip.is_loopback() {
            context.exit_reason(&format!(
                "IP address [{ip}] is a loopback address, thus can not be preferred source address"
            ));
            return Err(ExitCode::NotConfigured);
        }
        for name in ["destination", "proto", "metric", "table"] {
            let value = context.value(name);
            if !value.is_empty() && (name, value) != ("destination", "0.0.0.0/0") {
                return Err(wrong(&format!("Parameter {name} is not supported")));
            }
        }
        let prefix = match context.value("cidr_netmask") {
            "" => None,
            text => Some(parse_netmask(text).ok_or_else(|| wrong(&format!("Invalid netmask [{text}]")))?),
        };
        need_root(context, action)?;
        Ok(Self { context, ip, prefix })
    }

    fn start(&self) -> Result<ExitCode, ExitCode> {
        let (mut snapshot, served) = self.served()?;
        let default =
            self.default_route(&mut snapshot)?.ok_or_else(|| self.fail("no default route exists"))?;
        let network = self.network_route(&mut snapshot, &served)?;
        let ours = Some(IpAddr::V4(self.ip));
        if default.source == ours && network.source == ours {
            let device = snapshot.name(served.interface);
            let (net, via) =
                (format!("{}/{}", network.destination, network.prefix), described(&default, &device));
            self.context.log.info(&format!("The ip route has been already set.({net}, {device}, {via})"));
            return Ok(ExitCode::Success);
        }
        // First the network, so that the default route is what tells that all is done.
        self.change(&mut snapshot, [(network, ours), (default, ours)])
    }

    fn stop(&self) -> Result<ExitCode, ExitCode> {
        let mut snapshot = self.snapshot()?;
        let default = match self.default_route(&mut snapshot)? {
            Some(route) if route.source.is_some() => route,
            _ => {
                self.context.log.info("No preferred source address defined, nothing to stop");
                return Ok(ExitCode::Success);
            }
        };
        if default.source != Some(IpAddr::V4(self.ip)) {
            return Err(
                self.fail("The address you specified to stop does not match the preferred source address")
            );
        }
        // The kernel's own choice for a network is the interface's first address there.
        let addresses = self.kernel(snapshot.addresses(self.ip.into()))?.to_vec();
        let routes = self.kernel(snapshot.routes(self.ip.into(), TABLE_MAIN))?.to_vec();
        let mut changes = vec![(default, None)];
        for route in routes {
            let first = addresses.iter().find(|address| {
                Some(address.interface) == route.interface
                    && address.prefix == route.prefix
                    && address.network_contains(route.destination)
            });
            if route.scope == SCOPE_LINK && route.prefix > 0 && route.source == Some(IpAddr::V4(self.ip)) {
                changes.push((route, first.map(|address| address.local)));
            }
        }
        self.change(&mut snapshot, changes)
    }

    fn status(&self) -> Result<ExitCode, ExitCode> {
        let mut snapshot = self.snapshot()?;
        match self.default_route(&mut snapshot)?.and_then(|route| route.source) {
            Some(source) if source == IpAddr::V4(self.ip) => {
                self.context.say("OK");
                Ok(ExitCode::Success)
            }
            Some(_) => {
                self.context.say("Preferred source address has incorrect value");
                Err(ExitCode::GenericError)
            }
            None => {
                self.context.say("No preferred source address defined");
                Ok(ExitCode::NotRunning)
            }
        }
    }

    /// The entry of the address, which must not be on loopback.
    fn served(&self) -> Result<(Snapshot, Address), ExitCode> {
        let mut snapshot = self.snapshot()?;
        let entries = self.kernel(snapshot.with_address(self.ip.into()))?;
        if entries.is_empty() {
            let ip = self.ip;
            self.context.exit_reason(&format!(
                "We are not serving [{ip}], hence can not make it a preferred source address"
            ));
            return Err(ExitCode::NotInstalled);
        }
        let fits = |entry: &&Address| self.prefix.is_none_or(|prefix| prefix == entry.prefix);
        let on_link: Vec<Address> =
            entries.into_iter().filter(|entry| !snapshot.name(entry.interface).starts_with("lo")).collect();
        match on_link.iter().find(fits).or(on_link.first()) {
            Some(entry) => Ok((snapshot, entry.clone())),
            None => {
                let ip = self.ip;
                self.context.exit_reason(&format!(
                    "IP address [{ip}] is served by loopback, thus can not be preferred source address"
                ));
                Err(ExitCode::NotConfigured)
            }
        }
    }

    /// The default route; several are an error.
    fn default_route(&self, snapshot: &mut Snapshot) -> Result<Option<Route>, ExitCode> {
        let routes = self.kernel(snapshot.routes(self.ip.into(), TABLE_MAIN))?;
        let mut found = routes.iter().filter(|route| route.prefix == 0);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(self.fail("more than 1 default route exists")),
            (first, None) => Ok(first.cloned()),
        }
    }

    /// The most specific route to the address's network on its interface.
    fn network_route(&self, snapshot: &mut Snapshot, served: &Address) -> Result<Route, ExitCode> {
        let routes = self.kernel(snapshot.routes(self.ip.into(), TABLE_MAIN))?;
        let found = routes.iter().find(|route| {
            route.scope == SCOPE_LINK
                && route.interface == Some(served.interface)
                && (1..32).contains(&route.prefix)
                && self.prefix.is_none_or(|prefix| prefix == route.prefix)
                && crate::net::netlink::same_network(route.destination, self.ip.into(), route.prefix)
        });
        found.cloned().ok_or_else(|| self.fail("Unable to find nic or netmask."))
    }

    fn change(
        &self,
        snapshot: &mut Snapshot,
        routes: impl IntoIterator<Item = (Route, Option<IpAddr>)>,
    ) -> Result<ExitCode, ExitCode> {
        let changed = |(route, source)| Change::ReplaceRoute(Route { source, ..route });
        let changes: Vec<Change> = routes.into_iter().map(changed).collect();
        for result in self.kernel(snapshot.netlink.apply(&changes))? {
            result.map_err(|error| self.fail(&format!("Cannot change a route: {}", error.desc())))?;
        }
        Ok(ExitCode::Success)
    }

    fn snapshot(&self) -> Result<Snapshot, ExitCode> {
        self.kernel(Snapshot::open())
    }

    fn kernel<T>(&self, result: Result<T, NetlinkError>) -> Result<T, ExitCode> {
        result.map_err(|error| self.fail(&error.to_string()))
    }

    fn fail(&self, text: &str) -> ExitCode {
        self.context.exit_reason(text);
        ExitCode::GenericError
    }
}

/// As ip(8) shows it in front of its source.
fn described(route: &Route, device: &str) -> String {
    match route.gateway {
        Some(gateway) => format!("default via {gateway} "),
        None => format!("default dev {device} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_source_address_is_refused() {
        let code = |address: &str, action| {
            let call = (IPSRCADDR.from_arguments)(&[address]).unwrap();
            run(&Context { print: false, ..Context::new(&IPSRCADDR, call) }, action)
        };
        for bad in ["127.0.0.1", "zz", "::1", "", "1.2.3", "é"] {
            assert_eq!(code(bad, Action::Monitor), ExitCode::NotConfigured, "{bad}");
        }
        assert_eq!(code("zz", Action::Stop), ExitCode::Success);
    }
}
