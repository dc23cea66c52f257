//! Where a client program that the daemon started logs: the daemon tells it through the environment
//! (agents spec 4.2; names as read by the installed original).

use std::path::PathBuf;

use super::sinks::{LogTargets, LogdTarget};
use crate::config::{below_root, boolean, milliseconds, syslog_facility};
use crate::wire::logd::LOGD_SOCKET;

/// Syslog facility `daemon`, where the original's programs log when nothing says otherwise.
const FACILITY_DAEMON: u8 = 3;
/// `conn_logd_time` unless set (messaging spec 5.2).
const LOGD_RETRY_MS: u64 = 60_000;

/// Reads `HA_logfile`, `HA_debugfile`, `HA_logfacility` (`none`: no syslog; unset or unknown: daemon),
/// `HA_syslogmsgfmt`, `HA_use_logd` and `HA_conn_logd_time` by way of `lookup`.
pub fn targets_from_environment(entity: &str, lookup: impl Fn(&str) -> Option<String>) -> LogTargets {
    let file = |name: &str| lookup(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let facility = lookup("HA_logfacility").unwrap_or_default();
    let wanted = facility != "none";
    let uses_logd = lookup("HA_use_logd").and_then(|word| boolean(&word)) == Some(true);
    let retry_ms = lookup("HA_conn_logd_time").and_then(|word| milliseconds(&word));
    let format = lookup("HA_syslogmsgfmt").and_then(|word| boolean(&word));
    LogTargets {
        log_file: file("HA_logfile"),
        debug_file: file("HA_debugfile"),
        facility: wanted.then(|| syslog_facility(&facility).unwrap_or(FACILITY_DAEMON)),
        syslog_format: format.unwrap_or(true),
        logd: uses_logd.then(|| LogdTarget {
            socket: below_root(LOGD_SOCKET),
            retry_ms: retry_ms.unwrap_or(LOGD_RETRY_MS),
        }),
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
        assert_eq!(found.logd, None);
        let logd = targets(&[("HA_use_logd", "yes"), ("HA_conn_logd_time", "5")]).logd.unwrap();
        assert_eq!(logd.retry_ms, 5000);
    }
}
