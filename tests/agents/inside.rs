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
