//! A device's password is seen by nobody but root and the device.

use std::time::Duration;

use ha_core::demo::host::Host;

/// Every process of the host: owner and mode of its environment, command line, environment.
const PROCESSES: &str = r#"
for process in /proc/[0-9]*; do
    printf '%s\t%s\t' "$(stat -c '%u:%a' $process/environ 2>/dev/null)" "$(tr '\0\n' '  ' <$process/cmdline 2>/dev/null)"
    tr '\0\n' '  ' <$process/environ 2>/dev/null
    echo
done
"#;

/// Where something may be written down: logs, alarms told, states and recordings. `/etc` is the
/// administrator's own.
const FOLDERS: [&str; 6] = ["/var/log", "/run", "/var/run", "/var/lib/heartbeat", "/tmp", "/var/tmp"];

/// The secret is in no process list, in no environment that others than root may read, in no file outside
/// of `/etc`, and in nothing that `ha` says. The value is what was listed of processes.
#[track_caller]
pub(crate) fn is_nowhere(host: &Host, secret: &str) -> String {
    let name = host.name();
    let listed = host.run(&["sh", "-c", PROCESSES]).expect("processes").stdout;
    for line in listed.lines() {
        let mut fields = line.splitn(3, '\t');
        let (mode, command) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        assert!(!command.contains(secret), "{name}: the command line '{command}'");
        let environment = fields.next().unwrap_or_default();
        assert!(
            !environment.contains(secret) || mode == "0:400",
            "{name}: environment ({mode}) of {command}"
        );
    }
    // The pattern on standard input, which the host keeps in that file: a command line would be the leak.
    let words = [&["grep", "-rlFs", "--exclude=.input", "-f", "-"][..], &FOLDERS].concat();
    let found = host.run_with_input(&words, secret, Duration::from_secs(30)).expect("grep");
    assert_eq!(found.stdout, "", "{name}: files with the password");
    for words in [&["status"][..], &["status", "--json"], &["check"]] {
        let output = host.run(&[&["/ha"], words].concat()).expect("ha runs");
        assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret), "{name}: ha {words:?}");
    }
    listed
}
