//! SendArp: announces an address on an interface without adding it there (agents spec 2.7).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::net::announce::{self, Repeats};
use crate::net::netlink::Netlink;
use crate::net::state;

use super::{pseudo, Action, Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// The agent.
pub const SENDARP: Agent = Agent {
    name: "SendArp",
    summary: "Announces an address by ARP",
    description: "Announces an IPv4 address on an interface, without adding it there: for an address that \
                  another agent or host manages.",
    usage: "usage: $0 ip-address/interface $ACTIONS",
    usage_code: 0,
    parameters: PARAMETERS,
    from_arguments,
    run,
    ..Agent::BASE
};

const PARAMETERS: &[Parameter] = &[
    Parameter::string("ip", "IP address", "The IPv4 address to be announced.").required(),
    Parameter::string("nic", "Interface", "Name of the interface to announce it on.").required(),
    Parameter::boolean(
        "background",
        "Announce in background",
        "Whether start returns after the first announcement. Otherwise it waits for the last one, and fails \
         when they cannot be sent.",
    )
    .or("true"),
];

/// Announcements, in the original's rhythm.
const INTERVAL_MS: u64 = 200;
const COUNT: u32 = 5;

/// `ip/nic`; without a slash both are the whole argument, as in the original.
fn from_arguments(arguments: &[&str]) -> Result<Call, WrongArguments> {
    let [argument] = arguments else { return Err(WrongArguments::silent()) };
    let (ip, nic) = argument.split_once('/').unwrap_or((argument, argument));
    let nic = nic.split('/').next().unwrap_or("");
    Ok(Call::new(format!("SendArp_{ip}")).with("ip", ip).with("nic", nic))
}

fn run(context: &Context, action: Action) -> ExitCode {
    let (ip, nic) = (context.value("ip"), context.value("nic"));
    if ip.is_empty() || nic.is_empty() {
        context.log.error("ip and nic must be given");
        return ExitCode::NotConfigured;
    }
    let announcement = Announcement {
        context,
        ip,
        nic,
        mark: format!("SendArp_{}", context.instance.replace('/', "_")),
        pid_file: state::directory().join(format!("send_arp-{}", ip.replace('/', "_"))),
    };
    match action {
        Action::Start => announcement.start(),
        Action::Stop => announcement.stop(),
        Action::ValidateAll => ExitCode::Success,
        _ => announcement.status(action == Action::Status),
    }
}

struct Announcement<'a> {
    context: &'a Context,
    ip: &'a str,
    nic: &'a str,
    /// The file that says that it was started.
    mark: String,
    pid_file: PathBuf,
}

impl Announcement<'_> {
    fn start(&self) -> ExitCode {
        if self.is_running() {
            return ExitCode::Success;
        }
        let sent = self.send();
        if let Err(error) = &sent {
            self.context.exit_reason(&format!("Could not send gratuitous arps: {error}"));
        }
        let in_background = self.context.boolean("background");
        match (sent, in_background) {
            (Err(_), false) => return ExitCode::GenericError,
            (Ok(()), false) => std::thread::sleep(Duration::from_millis(INTERVAL_MS * u64::from(COUNT))),
            _ => (),
        }
        match pseudo::start(&self.mark) {
            Ok(()) => ExitCode::Success,
            Err(error) => {
                self.context.log.error(&format!("Cannot note that {} is announced: {error}", self.ip));
                ExitCode::GenericError
            }
        }
    }

    fn send(&self) -> Result<(), String> {
        let ip: Ipv4Addr = self.ip.parse().map_err(|_| format!("Cannot resolve IP address [{}]", self.ip))?;
        let link = Netlink::open().and_then(|mut netlink| netlink.link(self.nic));
        let link = link.map_err(|error| error.to_string())?;
        let link = link.ok_or_else(|| format!("Cannot find mac address for {}", self.nic))?;
        let repeats = Repeats { interval_ms: INTERVAL_MS, count: COUNT, pid_file: self.pid_file.clone() };
        announce::announce(&link, ip, &repeats).map_err(|error| error.to_string())
    }

    fn stop(&self) -> ExitCode {
        if !self.is_running() {
            return ExitCode::Success;
        }
        match announce::stop_announcing(&self.pid_file) {
            Ok(false) => (),
            Ok(true) => {
                self.context.log.info(&format!("killed previously running send_arp for {}", self.ip));
            }
            Err(error) => {
                let text = format!("Could not kill previously running send_arp for {}: {error}", self.ip);
                self.context.log.warn(&text);
                return ExitCode::GenericError;
            }
        }
        if let Err(error) = pseudo::stop(&self.mark) {
            self.context.log.error(&format!("Cannot note that {} is not announced: {error}", self.ip));
            return ExitCode::GenericError;
        }
        self.context.log.info(&format!("SendArp for {}/{} released", self.ip, self.nic));
        ExitCode::Success
    }

    fn status(&self, print: bool) -> ExitCode {
        let running = self.is_running();
        if print {
            self.context.say(if running { "running" } else { "stopped" });
        }
        if running {
            ExitCode::Success
        } else {
            ExitCode::NotRunning
        }
    }

    fn is_running(&self) -> bool {
        self.pid_file.exists() || pseudo::is_active(&self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_has_two_parts() {
        let parts = |argument: &str| {
            let Call { instance, parameters } = from_arguments(&[argument]).unwrap();
            let get = |name| parameters.get(name).unwrap_or("").to_owned();
            (instance, get("ip"), get("nic"))
        };
        let expected = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("10.0.0.1/eth0"), expected("SendArp_10.0.0.1", "10.0.0.1", "eth0"));
        assert_eq!(parts("10.0.0.1"), expected("SendArp_10.0.0.1", "10.0.0.1", "10.0.0.1"));
        assert!(from_arguments(&["a", "b"]).is_err());
    }
}
