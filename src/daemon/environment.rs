//! The environment of resource scripts and hooks (resources spec 5.3).

use crate::config::settings::{AutoFailback, HaCf};
use crate::types::NodeName;

use super::layout::Layout;

/// Variables of this process that are passed on: a script finds programs and its language as
/// before, and nothing else leaks in.
const PASSED_ON: &[&str] = &["PATH", "HOME", "TERM", "TZ", "HA_ROOT", "HA_STOPRETRYMAX", "OCF_ROOT"];
/// Where scripts of this kind expect programs when the daemon was started without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Every variable a child gets, in a fixed order. Later entries of the same name win.
pub fn child_environment(ha_cf: &HaCf, local: &NodeName, layout: &Layout) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> =
        vec![("PATH".into(), DEFAULT_PATH.into()), ("OCF_ROOT".into(), "/usr/lib/ocf".into())];
    for name in PASSED_ON {
        if let Ok(value) = std::env::var(name) {
            variables.push(((*name).into(), value));
        }
    }
    for (name, value) in &ha_cf.recorded {
        variables.push((format!("HA_{name}"), value.clone()));
    }
    let nothing = || "/dev/null".to_owned();
    let log = &ha_cf.log;
    let only_syslog = log.facility.is_some();
    let log_file = log.log_file.as_ref().map(|path| path.display().to_string());
    let debug_file = log.debug_file.as_ref().map(|path| path.display().to_string());
    let nice = ha_cf.auto_failback != AutoFailback::Legacy;
    let fixed = [
        ("HA_CURHOST", Some(local.to_string())),
        ("HA_DIR", Some(layout.etc_dir.display().to_string())),
        ("HA_FUNCS", Some(layout.etc_dir.join("shellfuncs").display().to_string())),
        ("HA_RESOURCEDIR", Some(layout.resource_scripts().display().to_string())),
        ("HA_RSCTMP", Some(layout.resource_scratch().display().to_string())),
        ("HA_DATEFMT", Some("%Y/%m/%d_%T\t".to_owned())),
        ("HA_LOGFILE", log_file.or_else(|| only_syslog.then(nothing))),
        ("HA_DEBUGLOG", debug_file.or_else(|| only_syslog.then(nothing))),
        ("HA_LOGFACILITY", log.facility_name.clone()),
        ("HA_debug", Some(log.debug_level.to_string())),
        ("HA_LOGD", Some(if log.use_logd { "yes" } else { "no" }.to_owned())),
        ("HA_NICEFAILBACK", nice.then(|| "yes".to_owned())),
    ];
    for (name, value) in fixed {
        if let Some(value) = value {
            variables.push((name.to_owned(), value));
        }
    }
    for (name, value) in &ha_cf.environment {
        variables.push((format!("HA_{name}"), value.clone()));
    }
    variables
}
