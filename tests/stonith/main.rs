//! Fencing devices against simulators of them. A simulator counts because Debian's own `stonith`
//! resets through it too; then it answers wrongly, late, half, or not at all.

#[path = "../support/skip.rs"]
mod skip;

#[path = "../support/power_switch.rs"]
mod power_switch;

mod programs;
mod serial;
mod snmp;
mod telnet;

use std::path::Path;
use std::process::{Command, Stdio};

use ha_core::stonith::device::{Action, Failure, Values};
use ha_core::stonith::Kind;

use power_switch::{Deeds, Fault};

const ORIGINAL: &str = "/usr/sbin/stonith";

/// The program of Debian and ours; without the former only ours.
fn programs() -> Vec<(String, Vec<String>)> {
    let ours = (env!("CARGO_BIN_EXE_ha").to_owned(), vec!["stonith".to_owned()]);
    if Path::new(ORIGINAL).exists() {
        vec![(ORIGINAL.to_owned(), Vec::new()), ours]
    } else {
        skip::skip_without_privilege("Debian's cluster-glue is not installed");
        vec![ours]
    }
}

/// Runs `stonith -t NAME PAIRS WORDS` and gives its exit code and output.
fn stonith(
    program: &(String, Vec<String>),
    name: &str,
    pairs: &[(&str, &str)],
    words: &[&str],
) -> (i32, String) {
    stonith_with(program, name, pairs, words, &[])
}

/// The same with variables of the environment.
fn stonith_with(
    program: &(String, Vec<String>),
    name: &str,
    pairs: &[(&str, &str)],
    words: &[&str],
    variables: &[(&str, &str)],
) -> (i32, String) {
    let mut command = Command::new(&program.0);
    command.args(&program.1).args(["-d", "-t", name]);
    command.args(pairs.iter().map(|(name, value)| format!("{name}={value}"))).args(words);
    command.env("HA_logfacility", "none").envs(variables.iter().copied()).stdin(Stdio::null());
    let output = command.output().expect("stonith runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Asks a device in this process, with time running faster.
fn request(
    name: &str,
    pairs: &[(&str, &str)],
    pace_percent: u32,
    action: Action,
    host: &str,
) -> Result<(), Failure> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let values = Values::new(pairs).with_pace(pace_percent);
    Kind::find(name).expect("type").configure(&values)?.request(action, host)
}

#[test]
fn types_that_are_not_built_in_name_what_to_use() {
    let ours = programs().pop().expect("ours");
    for (name, pairs, instead) in [
        ("drac3", &[("host", "h"), ("login", "l"), ("password", "p")][..], "external/drac5"),
        ("bladehpi", &[("entity_root", "e")][..], "rhcs/bladecenter"),
        ("ibmhmc", &[("ipaddr", "a")][..], "external/hmchttp"),
        ("vacm", &[("nexxus", "n"), ("login", "l"), ("password", "p")][..], "external/ipmi"),
    ] {
        let (code, text) = stonith(&ours, name, pairs, &["-T", "reset", "node1"]);
        assert!(code == 8 && text.contains(instead), "{name}: {code} {text}");
    }
}

/// A plugin hangs, so that the process list can be looked at.
#[test]
fn no_process_list_shows_a_value() {
    let folder = tempfile::tempdir().expect("folder");
    let plugins = folder.path().join("usr/lib/stonith/plugins/external");
    std::fs::create_dir_all(&plugins).expect("folder");
    let plugin = plugins.join("hangs");
    std::fs::write(&plugin, "#!/bin/sh\n[ $1 = getconfignames ] && echo password && exit\nexec sleep 60\n")
        .expect("plugin");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).expect("mode");
    for words in [&["password=geheimnis"][..], &["-p", "geheimnis"][..]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ha"))
            .args(["stonith", "-t", "external/hangs", "-S"])
            .args(words)
            .env("HA_ROOT", folder.path())
            .env("HA_logfacility", "none")
            .stdin(Stdio::null())
            .spawn()
            .expect("stonith runs");
        let shown = || std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
        let shows = |text: &[u8], word: &str| String::from_utf8_lossy(text).contains(word);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !shows(&shown(), "...") {
            assert!(std::time::Instant::now() < end, "{}", String::from_utf8_lossy(&shown()));
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(!shows(&shown(), "geheimnis"));
        // What it started is in its group or below it: a plugin that sleeps ends by itself.
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id()));
        for pid in children.unwrap_or_default().split_ascii_whitespace() {
            let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            assert!(!shows(&command_line, "geheimnis"));
            let _ = Command::new("kill").arg(pid).status();
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
}
