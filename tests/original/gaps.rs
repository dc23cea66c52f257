//! What the original has and ours has not: THE LIST, which may only shrink. A gap that is closed fails the
//! test until it is struck off; something missing that is not on the list fails it as well.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ha_core::config::directive::{Support, DIRECTIVES};

use crate::common::{binary, skip};

/// Directives of ha.cf that are refused, each with its reason in the table, or taken with some values only.
const DIRECTIVES_REFUSED: &[&str] =
    &["autojoin", "crm", "crm_daemon_dir", "hbaping", "openais", "pacemaker", "quorum_server", "rds", "tipc"];

/// Programs of Debian's packages `heartbeat` and `cluster-glue` that are no applet yet.
const PROGRAMS_MISSING: &[&str] = &[];

/// Programs that will not come, and why.
const PROGRAMS_LEFT_OUT: &[(&str, &str)] = &[
    ("BasicSanityCheck", "the original's own test"),
    ("CTSproxy.py", "the original's own test"),
    ("LSBDummy", "the original's own test"),
    ("TestHeartbeatComm", "the original's own test"),
    ("api_test", "the original's own test"),
    ("apphbtest", "the original's own test"),
    ("base64_md5_test", "the original's own test"),
    ("ccm_testclient", "the original's own test"),
    ("clmtest", "the original's own test"),
    ("getpeinputs.sh", "the original's own test"),
    ("ipctest", "the original's own test"),
    ("ipctransientclient", "the original's own test"),
    ("ipctransientserver", "the original's own test"),
    ("logtest", "the original's own test"),
    ("transient-test.sh", "the original's own test"),
    ("ha_test.py", "a library of the original's own tests"),
    ("hb_api.py", "a library of the original's own tests"),
    ("ccm", "membership for Pacemaker"),
    ("cibsecret", "Pacemaker's"),
    ("lrmadmin", "Pacemaker's"),
    ("lrmd", "Pacemaker's"),
    ("hb_report", "Pacemaker's reports"),
    ("ha_config", "asks questions and writes files; `ha check` reads what is there"),
    ("cl_respawn", "`respawn` in ha.cf, or the init system"),
    ("mlock", "a test of memory locks"),
    ("hto-mapfuncs", "no program: shell functions, written where there are none"),
    // rc.d scripts: built into the daemon
    ("ask_resources", "built in"),
    ("hb_takeover", "built in"),
    ("ip-request", "built in"),
    ("ip-request-resp", "built in"),
    ("status", "built in"),
];

/// Where the packages have what people and scripts call by name.
const FOLDERS: &[&str] = &[
    "/etc/ha.d/resource.d",
    "/etc/ha.d/rc.d",
    "/usr/lib/heartbeat",
    "/usr/libexec/heartbeat",
    "/usr/share/heartbeat",
    "/usr/sbin",
    "/usr/bin",
    "/etc/ha.d",
];

#[test]
fn directives_that_are_refused_are_the_listed_ones() {
    let refused: BTreeSet<&str> = DIRECTIVES
        .iter()
        .filter(|directive| directive.support != Support::Supported)
        .map(|directive| directive.name)
        .collect();
    assert_eq!(refused, DIRECTIVES_REFUSED.iter().copied().collect());
}

#[test]
fn programs_that_are_missing_are_the_listed_ones() {
    let Some(programs) = programs() else { return };
    let output = Command::new(binary()).arg("--list").output().expect("ha --list");
    let applets = String::from_utf8(output.stdout).expect("text");
    let applets: BTreeSet<&str> = applets.lines().collect();
    let left_out: BTreeSet<&str> = PROGRAMS_LEFT_OUT.iter().map(|(name, _)| *name).collect();
    let missing: BTreeSet<&str> = programs
        .iter()
        .map(String::as_str)
        .filter(|name| !applets.contains(name) && !left_out.contains(name))
        .collect();
    assert_eq!(missing, PROGRAMS_MISSING.iter().copied().collect());
}

/// The executables of the two packages in the folders above; `None` where they are not installed.
fn programs() -> Option<BTreeSet<String>> {
    let output = Command::new("dpkg").args(["-L", "heartbeat", "cluster-glue"]).output();
    let listed = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            skip::skip_without_privilege("Debian's heartbeat and cluster-glue are not installed");
            return None;
        }
    };
    let in_folder = |path: &&Path| {
        path.is_file()
            && path.parent().is_some_and(|folder| FOLDERS.iter().any(|own| folder == Path::new(own)))
    };
    let names = listed.lines().map(Path::new).filter(in_folder).filter(|path| {
        use std::os::unix::fs::PermissionsExt;
        path.metadata().is_ok_and(|about| about.permissions().mode() & 0o111 != 0)
    });
    Some(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}
