//! Tests that need namespaces of their own run themselves again in them.

use std::process::Command;

use crate::skip;

const INSIDE: &str = "HA_TEST_INSIDE_NAMESPACE";

/// Runs the test with that full path (`module::test`) again in a child with the namespaces of
/// unshare(1)'s options (`--net`, `--mount`), as root of a user namespace where it must be, and `body`
/// there. Where the shell text `probe` does not work in them, the test is skipped.
pub fn in_namespaces(test: &str, options: &[&str], probe: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let works = |way: &&&[&str]| {
        let output = Command::new("unshare").args(**way).args(options).args(["sh", "-c", probe]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        return skip::skip(&format!("`{probe}` does not work in namespaces of its own ({options:?})"));
    };
    let output = Command::new("unshare")
        .args(*way)
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    print!("{}", text(&output.stdout));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    // A test that is not found by its path would pass unseen.
    assert!(text(&output.stdout).contains("running 1 test"), "{test} is not the path of a test");
}

/// The same with `v0` and `v1`, the ends of a cable, in a network of its own; 192.168.77.1 and
/// 2001:db8:77::1 are on `v0`.
pub fn in_network(test: &str, body: impl FnOnce()) {
    let cable = "link add v0 type veth peer name v1";
    in_namespaces(test, &["--net"], &format!("ip {cable}"), || {
        for words in [
            "link set lo up",
            cable,
            "link set v0 up",
            "link set v1 up",
            "addr add 192.168.77.1/24 brd + dev v0",
            "addr add 2001:db8:77::1/64 dev v0 nodad",
        ] {
            ip(words);
        }
        body();
    });
}

/// What ip(8) prints; it must succeed.
pub fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip(8)");
    assert!(output.status.success(), "ip {words}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
