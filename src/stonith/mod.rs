//! Fencing devices: THE TABLE of those built in, external plugins, Red Hat style programs, and the
//! programs `stonith` and `meatclient` (agents spec 3).
//!
//! Plain blocking code: it runs in a process of its own, as an administrator's command or as a child
//! of the daemon, and may wait for a power switch as long as that takes.
//!
//! To add a device: a file here with its [`device::DeviceType`], a line in the table, a simulator in
//! tests/stonith.

pub mod answer;
mod apcmaster;
mod apcsmart;
mod baytech;
mod cyclades;
pub mod device;
mod dialogue;
mod elsewhere;
mod external;
mod ipmilan;
mod meatware;
mod null;
mod outlet;
mod plugin;
mod rhcs;
mod serial_line;
mod serial_switch;
mod snmp;
mod snmp_switch;
mod ssh;
mod suicide;
mod wti_nps;

mod help;
pub mod meatclient;
pub mod messages;
pub mod parameters;
pub mod program;

use std::path::Path;

use crate::types::{DeviceFault, DeviceValues};

use device::{Code, Device, DeviceType, Failure, Values};

/// THE TABLE of devices that are built in, sorted by name.
pub const DEVICES: &[&DeviceType] = &[
    &apcmaster::TYPE,
    &snmp_switch::APC,
    &apcsmart::TYPE,
    &baytech::TYPE,
    &elsewhere::BLADEHPI,
    &cyclades::TYPE,
    &elsewhere::DRAC3,
    &elsewhere::IBMHMC,
    &ipmilan::TYPE,
    &meatware::TYPE,
    &null::TYPE,
    &serial_switch::NW_RPC100S,
    &serial_switch::RCD_SERIAL,
    &serial_switch::RPS10,
    &ssh::TYPE,
    &suicide::TYPE,
    &elsewhere::VACM,
    &snmp_switch::WTI,
    &wti_nps::TYPE,
];

/// Known, but not listed by `-L`: distributions of the original do not have it.
const UNLISTED: &str = "vacm";

/// Types that are programs in a folder.
const FOLDERS: [&str; 2] = ["external", "rhcs"];

/// A type of device, by the name behind `-t`.
pub enum Kind {
    /// One of the table.
    BuiltIn(&'static DeviceType),
    /// `external/NAME`.
    External(external::External),
    /// `rhcs/NAME`.
    Rhcs(rhcs::Rhcs),
    /// `external` or `rhcs` without a name: no device, but `-n` lists the names.
    Folder(&'static str),
}

impl Kind {
    /// The type of this name. `None` when there is none; whether an external plugin exists shows when
    /// it is called, as in the original.
    pub fn find(name: &str) -> Option<Self> {
        if let Some(known) = DEVICES.iter().find(|device| device.name == name) {
            return Some(Self::BuiltIn(known));
        }
        match name.split_once('/') {
            Some(("external", plugin)) => Some(Self::External(external::External::new(plugin))),
            Some(("rhcs", program)) => Some(Self::Rhcs(rhcs::Rhcs::new(program))),
            None => FOLDERS.into_iter().find(|folder| *folder == name).map(Self::Folder),
            Some(_) => None,
        }
    }

    /// Whether there is such a device at all: a plugin may be missing, or be left out because others may
    /// write to it.
    fn is_usable(&self) -> bool {
        match self {
            Self::BuiltIn(_) => true,
            Self::External(plugin) => plugin.is_usable(),
            Self::Rhcs(program) => program.is_usable(),
            Self::Folder(_) => false,
        }
    }

    /// What it calls itself, for log lines.
    fn id(&self, name: &str) -> String {
        let id = match self {
            Self::BuiltIn(device) => Some(device.id.to_owned()),
            Self::External(plugin) => plugin.information("getinfo-devid"),
            Self::Rhcs(_) | Self::Folder(_) => None,
        };
        let clean =
            |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let id = id.map(clean).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        id.unwrap_or_else(|| name.to_owned())
    }

    /// Names of the parameters that `-n` lists and `-p` takes, in order. `None`: a plugin that cannot
    /// say, and takes no values by position.
    pub fn parameters(&self) -> Option<Vec<String>> {
        match self {
            Self::BuiltIn(device) => {
                let listed = device.parameters.iter().filter(|parameter| parameter.listed);
                Some(listed.map(|parameter| parameter.name.to_owned()).collect())
            }
            Self::External(plugin) => plugin.parameters(),
            Self::Rhcs(program) => program.parameters(),
            Self::Folder("external") => Some(external::list()),
            Self::Folder(_) => Some(rhcs::list()),
        }
    }

    /// The names, where values given by name need them: the original asks an external plugin for them
    /// all the same, and rejects the values when it cannot say.
    ///
    /// # Errors
    /// S_OOPS: the plugin cannot say which parameters it has. Nothing was reset.
    fn names_for(&self, values: &Values) -> Result<(), Failure> {
        let Self::External(plugin) = self else { return Ok(()) };
        let Some(names) = plugin.parameters() else {
            return Err(Failure::silent(Code::OTHER, "the plugin does not tell its parameters"));
        };
        for name in names.iter().filter(|name| values.get(name).is_none()) {
            log::debug!("Cannot get parameter {name} from StonithNVpair");
        }
        Ok(())
    }

    /// A device with these values.
    ///
    /// # Errors
    /// The values are not enough, or wrong. Nothing was reset.
    pub fn configure(&self, values: &Values) -> Result<Box<dyn Device>, Failure> {
        match self {
            Self::BuiltIn(device) => (device.configure)(values),
            Self::External(plugin) => plugin.configure(values),
            Self::Rhcs(program) => program.configure(values),
            Self::Folder(folder) => {
                let text = format!("{folder}_set_config: invoked without subplugin");
                Err(Failure::report(Code::OTHER, text))
            }
        }
    }
}

/// What a device of this type with these values calls itself, and its values in one line. Runs an
/// external plugin to ask for its names; reaches out to no device.
///
/// # Errors
/// There is no such type, or these are not its values.
pub fn probe(name: &str, values: DeviceValues<'_>) -> Result<(String, String), DeviceFault> {
    let kind = Kind::find(name).ok_or(DeviceFault::Type)?;
    if !kind.is_usable() {
        return Err(DeviceFault::Values);
    }
    let line = match values {
        // The program that gets them reads no more.
        DeviceValues::Text(text) if text.len() > parameters::LINE_MAX_BYTES => {
            return Err(DeviceFault::Values)
        }
        DeviceValues::Text(text) => text.to_owned(),
        DeviceValues::File(path) => {
            parameters::first_line(Path::new(path)).ok().flatten().ok_or(DeviceFault::Values)?
        }
    };
    let names = kind.parameters().ok_or(DeviceFault::Values)?;
    let values = parameters::positional(&names, &line).ok_or(DeviceFault::Values)?.for_a_check();
    kind.configure(&values).map_err(|_| DeviceFault::Values)?;
    Ok((kind.id(name), line))
}

/// Every type that can be named, in the order of `-L`.
pub fn list() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let built_in = DEVICES.iter().map(|device| device.name).filter(|name| *name != UNLISTED);
    let mut places: Vec<&str> = built_in.chain(FOLDERS).collect();
    places.sort_unstable();
    for place in places {
        match place {
            "external" => names.extend(external::list().iter().map(|name| format!("external/{name}"))),
            "rhcs" => names.extend(rhcs::list().iter().map(|name| format!("rhcs/{name}"))),
            name => names.push(name.to_owned()),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_each_name_unique() {
        assert!(DEVICES.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn names_outside_the_table() {
        assert!(Kind::find("nosuch").is_none());
        assert!(Kind::find("nosuch/x").is_none());
        assert!(matches!(Kind::find("external/x"), Some(Kind::External(_))));
        assert!(matches!(Kind::find("rhcs/x"), Some(Kind::Rhcs(_))));
        assert!(!list().iter().any(|name| name == UNLISTED));
    }
}
