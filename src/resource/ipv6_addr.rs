//! IPv6addr: an IPv6 address on the interface that has another one of its network (agents spec 2.7).
//!
//! What differs from the original, on purpose: start returns when the address is there and announced
//! once, not five seconds later; status looks whether the address is on this host, where the original
//! asks by ping and is answered by the other node as well.

use std::net::Ipv6Addr;

use crate::net::interface::{is_link_local6, Checked, Found, Wanted};
use crate::net::netlink::NetlinkError;
use crate::net::snapshot::Snapshot;

use super::ip_addr::{need_root, IpAddr, Rules};
use super::{by_hand, Action, Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// The agent.
pub const IPV6ADDR: Agent = Agent {
    name: "IPv6addr",
    summary: "An IPv6 address that moves between nodes",
    description: "Adds an IPv6 address to a network interface and removes it again. When the address comes \
                  up, its new place is announced to the neighbours by unsolicited advertisements, at once \
                  and then several times more in the background.",
    usage: "usage: $0 <ip-address> $ACTIONS",
    parameters: PARAMETERS,
    own_actions: &["advt"],
    from_arguments,
    run,
    announce: Some(|context| {
        from_context(context, Action::Monitor).is_ok_and(|address| address.announce_again())
    }),
    address: Some(from_context),
    ..Agent::BASE
};

const PARAMETERS: &[Parameter] = &[
    Parameter::string(
        "ipv6addr",
        "IPv6 address",
        "The address. The length of its prefix may follow behind a slash; cidr_netmask goes before that.",
    )
    .required()
    .unique(),
    Parameter::string(
        "cidr_netmask",
        "Length of the prefix",
        "1 to 128. Without it that of the network which has the address counts.",
    ),
    Parameter::string(
        "nic",
        "Interface",
        "Name of the interface. Without it the first one with an address of the same network is taken.",
    ),
];

/// Announcements, in the original's rhythm.
const INTERVAL_MS: u64 = 1000;
const COUNT: u32 = 5;

/// `address[/prefix[/nic]]`
fn from_arguments(arguments: &[&str]) -> Result<Call, WrongArguments> {
    let [argument] = arguments else { return Err(WrongArguments::silent()) };
    let mut fields = argument.splitn(3, '/');
    let mut field = || fields.next().unwrap_or("");
    Ok(Call::new(format!("IPv6addr_{argument}"))
        .with("ipv6addr", field())
        .with("cidr_netmask", field())
        .with("nic", field()))
}

fn run(context: &Context, action: Action) -> ExitCode {
    let address = match from_context(context, action) {
        Ok(address) => address,
        Err(code) => return code,
    };
    by_hand::note(context.value("ipv6addr"), action);
    let result = match action {
        Action::Start => address.start(),
        Action::Stop => address.stop(),
        Action::ValidateAll => Ok(ExitCode::Success),
        Action::Own(_) if address.announce_again() => Ok(ExitCode::Success),
        Action::Own(_) => Err(ExitCode::GenericError),
        _ => address.status(false),
    };
    result.unwrap_or_else(|code| code)
}

fn from_context(context: &Context, action: Action) -> Result<IpAddr<'_>, ExitCode> {
    let text = context.value("ipv6addr");
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = Some(context.value("cidr_netmask")).filter(|given| !given.is_empty()).unwrap_or(prefix);
    let wrong = |what: &str, value: &str| {
        context.log.error(&format!("Invalid {what} [{value}]"));
        ExitCode::WrongArguments
    };
    let ip: Ipv6Addr = address.parse().map_err(|_| wrong("IPv6 address", address))?;
    let prefix = match prefix {
        "" => None,
        text => match text.parse() {
            Ok(bits @ 1..=128) => Some(bits),
            _ => return Err(wrong("prefix", text)),
        },
    };
    need_root(context, action)?;
    let nic = Some(context.value("nic").to_owned()).filter(|nic| !nic.is_empty());
    let wanted = Wanted { ip: ip.to_string(), netmask: None, nic, broadcast: None };
    let checked = Checked { ip: ip.into(), prefix, broadcast: None };
    let mut address = IpAddr::new(context, wanted, checked, Rules::IpV6Addr);
    address.repeats.interval_ms = INTERVAL_MS;
    address.repeats.count = COUNT;
    Ok(address)
}

/// The first interface that has an address of the same network, of the prefix length if one is given;
/// addresses of link scope count only where the interface is given. Else interface and prefix as given.
pub(super) fn find(address: &IpAddr<'_>, snapshot: &mut Snapshot) -> Result<Found, ExitCode> {
    let look = |snapshot: &mut Snapshot| -> Result<Option<Found>, NetlinkError> {
        let Checked { ip, prefix: wanted_prefix, .. } = address.checked;
        let nic = match address.wanted.nic() {
            None => None,
            Some(name) => match snapshot.link(name)? {
                Some(link) => Some(link),
                None => return Ok(None),
            },
        };
        let neighbour = snapshot
            .addresses(ip)?
            .iter()
            .find(|other| {
                nic.as_ref().map_or(!is_link_local6(other.local), |nic| nic.index == other.interface)
                    && wanted_prefix.is_none_or(|prefix| prefix == other.prefix)
                    && other.prefix < 128
                    && other.network_contains(ip)
            })
            .map(|other| (other.interface, other.prefix));
        let (link, prefix) = match (neighbour, nic, wanted_prefix) {
            (Some((index, prefix)), ..) => (snapshot.link_at(index)?, prefix),
            (None, Some(nic), Some(prefix)) => (Some(nic), prefix),
            _ => return Ok(None),
        };
        Ok(link.map(|link| Found { link, prefix, broadcast: None }))
    };
    match look(snapshot) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => address.fail(&format!("no valid network interface for {}", address.checked.ip)),
        Err(error) => address.fail(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_has_three_parts() {
        let call = from_arguments(&["2001:db8::5/64/eth0"]).unwrap();
        assert_eq!(call.instance, "IPv6addr_2001:db8::5/64/eth0");
        let get = |name| call.parameters.get(name);
        assert_eq!(
            (get("ipv6addr"), get("cidr_netmask"), get("nic")),
            (Some("2001:db8::5"), Some("64"), Some("eth0"))
        );
        assert!(from_arguments(&[]).is_err());
    }

    #[test]
    fn hostile_arguments_do_no_harm() {
        for argument in ["", "/", "1.2.3.4", "::1/0", "::1/129", "::1/x/lo", ":::", "é/é/é", "::2/64/é/x"]
        {
            let context = Context::new(&IPV6ADDR, from_arguments(&[argument]).unwrap());
            let code = run(&context, Action::Monitor);
            assert!(matches!(code, ExitCode::WrongArguments | ExitCode::NotRunning), "{argument}: {code:?}");
        }
    }
}
