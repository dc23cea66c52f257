//! The environment of resource scripts and hooks (resources spec 5.3).

use std::ffi::OsString;

use crate::config::settings::{AutoFailback, Compression, HaCf};
use crate::types::NodeName;

use super::layout::Layout;
use super::script_files::{functions, ocf_functions};

/// Where scripts of this kind expect programs when the daemon was started without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Every variable a child gets, in a fixed order. Later entries of the same name win.
pub fn child_environment(ha_cf: &HaCf, local: &NodeName, layout: &Layout) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> =
        vec![("PATH".into(), DEFAULT_PATH.into()), ("OCF_ROOT".into(), "/usr/lib/ocf".into())];
    // Everything this process was started with, as the original does.
    let text = |words: (OsString, OsString)| Some((words.0.into_string().ok()?, words.1.into_string().ok()?));
    variables.extend(std::env::vars_os().filter_map(text));
    for (name, value) in &ha_cf.recorded {
        variables.push((format!("HA_{name}"), value.clone()));
    }
    let compression = match ha_cf.compression {
        Compression::Zlib => "zlib",
        Compression::Bzip2 => "bz2",
    };
    let nothing = || "/dev/null".to_owned();
    let log = &ha_cf.log;
    let only_syslog = log.facility.is_some();
    let log_file = log.log_file.as_ref().map(|path| path.display().to_string());
    let debug_file = log.debug_file.as_ref().map(|path| path.display().to_string());
    let nice = ha_cf.auto_failback != AutoFailback::Legacy;
    let fixed = [
        ("HA_CURHOST", Some(local.to_string())),
        ("HA_DIR", Some(layout.etc_dir.display().to_string())),
        ("HA_FUNCS", Some(functions(layout).display().to_string())),
        ("OCF_FUNCTIONS_DIR", ocf_functions(layout).map(|path| path.display().to_string())),
        ("HA_NOARCHBIN", Some(layout.programs().display().to_string())),
        ("HA_COMPRESSION", Some(compression.to_owned())),
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
