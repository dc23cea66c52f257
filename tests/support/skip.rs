//! What a test does where something it needs is missing.
//!
//! Tests in `tests` include it with `#[path = "support/skip.rs"] mod skip;`, unit tests find it as
//! `crate::skip`.

/// Prints `skipped: WHY`, for the caller to return. With `HA_TEST_REQUIRE=1` in the environment, as
/// `.ci/run` sets it, it fails the test instead: there, everything is present and nothing may be
/// left out unseen.
///
/// # Panics
/// With `HA_TEST_REQUIRE` set to anything but `0` or the empty text.
#[allow(dead_code)]
pub(crate) fn skip(why: &str) {
    let required = std::env::var("HA_TEST_REQUIRE").is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(!required, "HA_TEST_REQUIRE is set, but this test cannot run here: {why}");
    println!("skipped: {why}");
}

/// Prints `skipped: WHY` whatever the environment says: for rights and devices that a build machine,
/// even for its root, need not grant (realtime priority, locked memory, a watchdog).
#[allow(dead_code)]
pub(crate) fn skip_without_privilege(why: &str) {
    println!("skipped: {why}");
}
