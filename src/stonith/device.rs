//! What a device is: a row of the table, its values, and three functions.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// What is wanted of a host's power (`stonith -T`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Off and on again, or whatever the device has instead.
    Reset,
    /// On.
    On,
    /// Off.
    Off,
}

impl Action {
    /// The word on the command line and towards an external plugin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// The action of this word; `None` when there is none.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Reset, Self::On, Self::Off].into_iter().find(|action| action.as_str() == word)
    }
}

/// Why a request failed; its number is the exit code of `stonith` (agents spec 3.1). An external
/// plugin's status passes its own through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u8);

impl Code {
    /// S_BADCONFIG, and every wrong use of the command line.
    pub const BAD_CONFIG: Self = Self(1);
    /// S_ACCESS: no way in.
    pub const ACCESS: Self = Self(2);
    /// S_INVAL: an argument is wrong or missing, or the device has no valid configuration.
    pub const INVALID: Self = Self(3);
    /// S_BADHOST: the device does not control the host.
    pub const BAD_HOST: Self = Self(4);
    /// S_RESETFAIL: it was tried and did not work.
    pub const RESET_FAILED: Self = Self(5);
    /// S_TIMEOUT: no answer in time.
    pub const TIMEOUT: Self = Self(6);
    /// S_ISOFF: an outlet that is off cannot be reset.
    pub const IS_OFF: Self = Self(7);
    /// S_OOPS: everything else.
    pub const OTHER: Self = Self(8);
    /// The list of hosts could not be had; a plugin that was killed.
    pub const NO_LIST: Self = Self(255);
}

/// A request that failed. Where it was made, it has been logged; what the host does now is unknown
/// unless the text says so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Failure {
    /// Exit code.
    pub code: Code,
    /// What happened; never a secret.
    pub text: String,
}

impl Failure {
    /// Logs the text as critical, as the original's plugins do, and makes the failure of it.
    pub fn report(code: Code, text: impl Into<String>) -> Self {
        let failure = Self { code, text: text.into() };
        log::warn!(target: "CRIT", "{}", failure.text);
        failure
    }

    /// A failure of which the log says nothing.
    pub fn silent(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// A device that has been configured.
pub trait Device {
    /// The hosts it controls, as `-l` shows them.
    ///
    /// # Errors
    /// The device could not be asked.
    fn hosts(&mut self) -> Result<Vec<String>, Failure>;

    /// Whether it can be reached and would do something (`-S`). Changes nothing.
    ///
    /// # Errors
    /// It cannot, and why.
    fn status(&mut self) -> Result<(), Failure>;

    /// Does it. The host is in lower case. Success means that it has been done, as far as the device
    /// tells.
    ///
    /// # Errors
    /// It was refused, or nobody knows whether it was done.
    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure>;
}

/// A parameter of a device.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name in `name=value`, in `-n` and in the environment of `-E`.
    pub name: &'static str,
    /// Listed by `-n`, so that `-p` and parameter files have to give it.
    pub listed: bool,
    /// Shown in the meta-data, and whether as required there.
    pub described: Option<bool>,
    /// No two devices may have the same value.
    pub unique: bool,
    /// A few words.
    pub title: &'static str,
    /// What to give.
    pub text: &'static str,
}

impl Parameter {
    /// One that must be given.
    pub const fn required(name: &'static str, title: &'static str, text: &'static str) -> Self {
        Self { name, listed: true, described: Some(true), unique: false, title, text }
    }

    /// One that may be given by name.
    pub const fn optional(name: &'static str, title: &'static str, text: &'static str) -> Self {
        Self { listed: false, described: Some(false), ..Self::required(name, title, text) }
    }

    /// The same, and no two devices may share the value.
    pub const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }
}

/// Parameters that several devices have.
pub mod common {
    use super::Parameter;

    /// The hosts behind the device.
    pub const HOSTLIST: Parameter =
        Parameter::required("hostlist", "Hosts", "Names of the hosts that the device controls");
    /// Where it is.
    pub const IPADDR: Parameter =
        Parameter::required("ipaddr", "Address", "Address or host name of the device");
    /// Who logs in.
    pub const LOGIN: Parameter = Parameter::required("login", "User", "User that logs in at the device");
    /// With what.
    pub const PASSWORD: Parameter =
        Parameter::required("password", "Password", "Password of that user; it is shown nowhere");
    /// UDP port of an SNMP agent.
    pub const PORT: Parameter = Parameter::required("port", "Port", "UDP port of the device, usually 161");
    /// The password of SNMP.
    pub const COMMUNITY: Parameter =
        Parameter::required("community", "Community", "SNMP community that may write; it is shown nowhere");
    /// A serial line.
    pub const TTYDEV: Parameter =
        Parameter::required("ttydev", "Serial line", "Device file of the serial line, as in /dev/ttyS0");
}

/// A row of the table of devices.
pub struct DeviceType {
    /// Name behind `-t`.
    pub name: &'static str,
    /// In the order of `-n` and `-p`.
    pub parameters: &'static [Parameter],
    /// Short description in the meta-data.
    pub id: &'static str,
    /// What it is, a line or more.
    pub description: &'static str,
    /// Where its maker explains it; empty: nowhere.
    pub url: &'static str,
    /// Takes the values. Most devices do not reach out before the first request.
    pub configure: fn(&Values) -> Result<Box<dyn Device>, Failure>,
}

/// Values of a device's parameters. Debug output shows the names alone.
#[derive(Clone, Default)]
pub struct Values {
    pairs: Vec<(String, String)>,
    /// Percentage of every time limit and pause; `None`: all of it.
    pace_percent: Option<u32>,
    is_check: bool,
}

impl Values {
    /// Of names and values; of a name given twice the first counts.
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs, ..Self::default() }
    }

    /// The same with every time limit and every pause cut to this percentage, for devices that are
    /// simulated.
    #[must_use]
    pub fn with_pace(self, percent: u32) -> Self {
        Self { pace_percent: Some(percent), ..self }
    }

    /// The same for a look at the values alone, which reaches out to no device.
    #[must_use]
    pub fn for_a_check(self) -> Self {
        Self { is_check: true, ..self }
    }

    /// Whether only the values are looked at.
    pub fn is_check(&self) -> bool {
        self.is_check
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All names and values in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// S_INVAL when it is not.
    pub fn need(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::silent(Code::INVALID, format!("parameter {name} is missing")))
    }

    /// The hosts of a list: separated by blanks or commas, in lower case (agents spec 3.3).
    ///
    /// # Errors
    /// S_INVAL when the parameter is missing.
    pub fn host_list(&self, name: &str) -> Result<Vec<String>, Failure> {
        Ok(hosts_of(self.need(name)?))
    }

    /// How fast time runs for this device.
    pub fn pace(&self) -> Pace {
        Pace { percent: self.pace_percent.unwrap_or(100) }
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.pairs.iter().map(|(name, _)| name)).finish()
    }
}

/// Scales time limits and pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    percent: u32,
}

impl Pace {
    /// So many seconds, scaled.
    pub fn seconds(self, seconds: u32) -> Duration {
        self.milliseconds(u64::from(seconds) * 1000)
    }

    /// So many milliseconds, scaled.
    pub fn milliseconds(self, milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds * u64::from(self.percent) / 100)
    }

    /// Waits.
    pub fn pause(self, milliseconds: u64) {
        std::thread::sleep(self.milliseconds(milliseconds));
    }
}

/// A device whose values were rejected, or have only been looked at: it does nothing.
pub struct Unconfigured;

impl Device for Unconfigured {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Err(not_configured())
    }

    fn status(&mut self) -> Result<(), Failure> {
        Err(not_configured())
    }

    fn request(&mut self, _: Action, _: &str) -> Result<(), Failure> {
        Err(not_configured())
    }
}

fn not_configured() -> Failure {
    Failure::silent(Code::INVALID, "the device is not configured")
}

/// Splits a list of hosts, in lower case.
pub fn hosts_of(text: &str) -> Vec<String> {
    words_of(text).into_iter().map(|name| name.to_ascii_lowercase()).collect()
}

/// Splits a list of hosts, as they are written.
pub fn words_of(text: &str) -> Vec<String> {
    let separator = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r' | ',');
    text.split(separator).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_and_lower_case() {
        assert_eq!(hosts_of(" A,b\tc\n,, D"), ["a", "b", "c", "d"]);
        assert!(hosts_of("").is_empty());
    }

    #[test]
    fn values_show_no_secret() {
        let values = Values::new(vec![("password".into(), "geheim".into())]);
        assert_eq!(format!("{values:?}"), "{\"password\"}");
    }
}
