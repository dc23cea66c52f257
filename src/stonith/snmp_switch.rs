//! `apcmastersnmp` and `wti_mpc`: power switches by SNMP (agents spec 3.5).

use super::answer;
use super::device::{
    common, Action, Code, Device, DeviceType, Failure, Pace, Parameter, Unconfigured, Values,
};
use super::snmp::{oid, Agent, SnmpError, Value};

/// Row of the table.
pub const APC: DeviceType = DeviceType {
    name: "apcmastersnmp",
    parameters: &[common::IPADDR, common::PORT, common::COMMUNITY],
    id: "APC MasterSwitch by SNMP",
    description: "APC MasterSwitch by SNMP version 1. Several may talk with it at a time.",
    url: "http://www.apc.com/",
    configure: |values| match values.is_check() {
        true => checked(values),
        false => Ok(Box::new(Apc::configure(values)?)),
    },
};

const MIB: Parameter = Parameter::required("mib-version", "MIB", "Version of the device's objects: 1 or 3");

/// Row of the table.
pub const WTI: DeviceType = DeviceType {
    name: "wti_mpc",
    parameters: &[common::IPADDR, common::PORT, common::COMMUNITY, MIB],
    id: "WTI MPC",
    description:
        "Power switches of Western Telematic (MPC) by SNMP version 1. Several may talk with it at a time.",
    url: "http://www.wti.com/",
    configure: |values| match values.is_check() {
        true => groups(values).and_then(|_| checked(values)),
        false => Ok(Box::new(Wti::configure(values)?)),
    },
};

const APC_NAME: &str = "APC MasterSwitch (SNMP)";
const WTI_NAME: &str = "WTI MPC";

/// Outlets of a switch.
const OUTLETS_MAX: u32 = 256;
/// Outlets of one host.
const HOST_OUTLETS_MAX: usize = 8;
/// Longest reboot duration that a switch may state, seconds.
const REBOOT_MAX_S: i64 = 120;

const APC_IDENT: &str = "1.3.6.1.4.1.318.1.1.12.1.5";
const APC_COUNT: &str = "1.3.6.1.4.1.318.1.1.12.1.8";
const APC_NAMES: &str = "1.3.6.1.4.1.318.1.1.12.3.4.1.1.2";
const APC_DURATION: &str = "1.3.6.1.4.1.318.1.1.12.3.4.1.1.6";
const APC_STATE: &str = "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4";
const APC_PENDING: &str = "1.3.6.1.4.1.318.1.1.12.3.5.1.1.5";
const APC_NOT_PENDING: i64 = 2;

const SYSTEM_NAME: &str = "1.3.6.1.2.1.1.5";
const WTI_GROUPS_1: (&str, &str) = ("1.3.6.1.4.1.2634.3.1.3.1.2", "1.3.6.1.4.1.2634.3.1.3.1.3");
const WTI_GROUPS_3: (&str, &str) = ("1.3.6.1.4.1.2634.3.100.300.1.2", "1.3.6.1.4.1.2634.3.100.300.1.3");

fn port(values: &Values) -> Result<u16, Failure> {
    let port = values.need("port")?.trim().parse();
    port.map_err(|_| Failure::report(Code::INVALID, "the port is no number from 0 to 65535"))
}

/// The values can be those of a switch; which outlets it has shows when it is needed.
fn checked(values: &Values) -> Result<Box<dyn Device>, Failure> {
    port(values)?;
    values.need("ipaddr").and_then(|_| values.need("community"))?;
    Ok(Box::new(Unconfigured))
}

/// The objects of the version of the MIB.
fn groups(values: &Values) -> Result<(&'static str, &'static str), Failure> {
    match values.need("mib-version")?.trim() {
        "1" => Ok(WTI_GROUPS_1),
        "3" => Ok(WTI_GROUPS_3),
        _ => Err(Failure::report(Code::INVALID, "mib-version is neither 1 nor 3")),
    }
}

fn open(values: &Values) -> Result<Agent, Failure> {
    let port = port(values)?;
    let (address, community) = (values.need("ipaddr")?, values.need("community")?);
    Agent::open(address, port, community, values.pace())
        .map_err(|_| Failure::report(Code::ACCESS, format!("cannot resolve hostname '{address}'")))
}

struct Apc {
    agent: Agent,
    pace: Pace,
    outlets: u32,
}

impl Apc {
    fn configure(values: &Values) -> Result<Self, Failure> {
        let mut agent = open(values)?;
        match agent.get(&oid(APC_COUNT, 0)) {
            Ok(Value::Integer(count)) => {
                let outlets = u32::try_from(count).unwrap_or(0).min(OUTLETS_MAX);
                log::debug!("apcmastersnmp_set_config: number of outlets: {outlets}.");
                Ok(Self { agent, pace: values.pace(), outlets })
            }
            other => {
                let text =
                    format!("apcmastersnmp_set_config: cannot read number of outlets.{}", reason(&other));
                Err(Failure::report(Code::ACCESS, text))
            }
        }
    }

    fn names(&mut self) -> Result<Vec<(u32, String)>, Failure> {
        let mut names = Vec::new();
        for outlet in 1..=self.outlets {
            match self.agent.get(&oid(APC_NAMES, outlet)) {
                Ok(Value::Text(name)) => names.push((outlet, name.trim_end().to_ascii_lowercase())),
                other => {
                    let text = format!("{APC_NAME}: cannot read name for outlet {outlet}.{}", reason(&other));
                    return Err(Failure::report(Code::ACCESS, text));
                }
            }
        }
        Ok(names)
    }

    fn number(&mut self, object: &str, outlet: u32, what: &str) -> Result<i64, Failure> {
        match self.agent.get(&oid(object, outlet)) {
            Ok(Value::Integer(number)) => Ok(number),
            other => {
                let text = format!("{APC_NAME}: cannot read {what} for outlet {outlet}.{}", reason(&other));
                Err(Failure::report(Code::ACCESS, text))
            }
        }
    }

    /// Waits until every outlet is as wanted; a host with one supply left on is not reset.
    fn verify(&mut self, outlets: &[u32], wanted: i64, limit_s: i64, host: &str) -> Result<(), Failure> {
        for _ in 0..=limit_s {
            self.pace.pause(1000);
            let mut right = true;
            for outlet in outlets {
                right &= self.number(APC_STATE, *outlet, "state")? == wanted;
            }
            if right {
                return Ok(());
            }
        }
        log::warn!(target: "CRIT", "{APC_NAME}: Not all outlets in the expected state!");
        Err(Failure::report(
            Code::RESET_FAILED,
            format!("{APC_NAME}: stonith operation for '{host}' failed."),
        ))
    }
}

impl Device for Apc {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(unique(self.names()?))
    }

    fn status(&mut self) -> Result<(), Failure> {
        match self.agent.get(&oid(APC_IDENT, 0)) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::report(Code::ACCESS, format!("{APC_NAME}: cannot read ident."))),
        }
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let outlets = outlets_of(self.names()?, host, APC_NAME)?;
        let mut longest_s = 1;
        for outlet in &outlets {
            if self.number(APC_PENDING, *outlet, "pending commands")? != APC_NOT_PENDING {
                let text = format!(
                    "{APC_NAME}: outlet {outlet} of '{host}' has a command pending; nothing was sent"
                );
                return Err(Failure::report(Code::RESET_FAILED, text));
            }
            let duration_s = self.number(APC_DURATION, *outlet, "reboot duration")?.clamp(1, REBOOT_MAX_S);
            if longest_s != 1 && longest_s != duration_s {
                log::warn!("{APC_NAME}: outlet {outlet} has a different reboot duration!");
            }
            longest_s = longest_s.max(duration_s);
        }
        let (command, wanted) = match action {
            Action::On => (1, 1),
            Action::Off => (2, 2),
            Action::Reset => (3, 1),
        };
        for outlet in &outlets {
            send(&mut self.agent, &oid(APC_STATE, *outlet), command).map_err(|error| {
                let text = format!("{APC_NAME}: cannot send reboot command for outlet {outlet}. ({error})");
                Failure::report(Code::RESET_FAILED, text)
            })?;
        }
        self.verify(&outlets, wanted, 2 * longest_s, host)
    }
}

struct Wti {
    agent: Agent,
    groups: (&'static str, &'static str),
}

impl Wti {
    fn configure(values: &Values) -> Result<Self, Failure> {
        let groups = groups(values)?;
        Ok(Self { agent: open(values)?, groups })
    }

    /// Groups from the first one to the first without a name.
    fn names(&mut self) -> Result<Vec<(u32, String)>, Failure> {
        let mut names = Vec::new();
        for group in 1..=OUTLETS_MAX {
            match self.agent.get(&oid(self.groups.0, group)) {
                Ok(Value::Text(name)) if !name.trim().is_empty() => {
                    names.push((group, name.trim_end().to_ascii_lowercase()));
                }
                // The end of the table: no such name (RFC 1157, 4.1.2).
                Ok(_) | Err(SnmpError::Refused(_)) if group > 1 => break,
                other => {
                    let text = format!("{WTI_NAME}: cannot read name for outlet {group}.{}", reason(&other));
                    return Err(Failure::report(Code::ACCESS, text));
                }
            }
        }
        Ok(names)
    }
}

impl Device for Wti {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Ok(unique(self.names()?))
    }

    fn status(&mut self) -> Result<(), Failure> {
        match self.agent.get(&oid(SYSTEM_NAME, 0)) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::report(Code::ACCESS, format!("{WTI_NAME}: cannot read ident."))),
        }
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let groups = outlets_of(self.names()?, host, WTI_NAME)?;
        let command = match action {
            Action::On => 5,
            Action::Off => 6,
            Action::Reset => 7,
        };
        for group in groups {
            send(&mut self.agent, &oid(self.groups.1, group), command).map_err(|error| {
                let text = format!("{WTI_NAME}: cannot send reboot command for outlet {group}. ({error})");
                Failure::report(Code::RESET_FAILED, text)
            })?;
        }
        Ok(())
    }
}

/// Sends a command that switches, once: an answer that is lost may have been a yes.
fn send(agent: &mut Agent, oid: &[u32], command: i32) -> Result<(), SnmpError> {
    answer::begun();
    let result = agent.set(oid, command);
    if let Err(SnmpError::Refused(_)) = result {
        answer::not_done();
    }
    result
}

fn outlets_of(names: Vec<(u32, String)>, host: &str, device: &str) -> Result<Vec<u32>, Failure> {
    let own = names.into_iter().filter(|(_, name)| name == host).map(|(outlet, _)| outlet);
    let outlets: Vec<u32> = own.take(HOST_OUTLETS_MAX + 1).collect();
    if outlets.is_empty() {
        return Err(Failure::report(Code::BAD_HOST, format!("{device}: no active outlet for '{host}'.")));
    }
    if outlets.len() > HOST_OUTLETS_MAX {
        let text = format!("{device}: '{host}' has more than {HOST_OUTLETS_MAX} outlets; nothing was sent");
        return Err(Failure::report(Code::INVALID, text));
    }
    Ok(outlets)
}

fn unique(names: Vec<(u32, String)>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    names
        .into_iter()
        .map(|(_, name)| name)
        .filter(|name| !name.is_empty() && seen.insert(name.clone()))
        .collect()
}

fn reason(result: &Result<Value, SnmpError>) -> String {
    match result {
        Ok(_) => " (not of the expected type)".into(),
        Err(error) => format!(" ({error})"),
    }
}
