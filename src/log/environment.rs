//! Where a client program that the daemon started logs: the daemon tells it through the environment
//! (agents spec 4.2; names as read by the installed original).

use std::path::PathBuf;

use super::sinks::LogTargets;
use crate::config::{boolean, syslog_facility};

/// Syslog facility `daemon`, where the original's programs log when nothing says otherwise.
const FACILITY_DAEMON: u8 = 3;

/// Reads `HA_logfile`, `HA_debugfile`, `HA_logfacility` (`none`: no syslog; unset or unknown: daemon)
/// and `HA_syslogmsgfmt` by way of `lookup`.
pub fn targets_from_environment(entity: &str, lookup: impl Fn(&str) -> Option<String>) -> LogTargets {
    let file = |name: &str| lookup(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let facility = lookup("HA_logfacility").unwrap_or_default();
    let wanted = facility != "none";
    let format = lookup("HA_syslogmsgfmt").and_then(|word| boolean(&word));
    LogTargets {
        log_file: file("HA_logfile"),
        debug_file: file("HA_debugfile"),
        facility: wanted.then(|| syslog_facility(&facility).unwrap_or(FACILITY_DAEMON)),
        syslog_format: format.unwrap_or(true),
        ..LogTargets::none(entity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(variables: &[(&str, &str)]) -> LogTargets {
        targets_from_environment("ipfail", |name| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_said_means_syslog() {
        let found = targets(&[]);
        assert_eq!((found.facility, found.log_file, found.syslog_format), (Some(3), None, true));
        assert_eq!(targets(&[("HA_logfacility", "junk")]).facility, Some(3));
    }

    #[test]
    fn everything_said_is_used() {
        let found = targets(&[
            ("HA_logfile", "/l"),
            ("HA_debugfile", "/d"),
            ("HA_logfacility", "none"),
            ("HA_syslogmsgfmt", "off"),
        ]);
        assert_eq!(found.log_file, Some("/l".into()));
        assert_eq!(found.debug_file, Some("/d".into()));
        assert_eq!((found.facility, found.syslog_format), (None, false));
        assert_eq!(targets(&[("HA_logfacility", "local3")]).facility, Some(19));
    }
}
