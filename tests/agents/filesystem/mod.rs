//! Filesystem against a real kernel: each test in a mount namespace of its own, on loop devices. Needs
//! root, losetup(8) and the mkfs programs.

mod compare;
mod fuse;
mod hang;
mod kill;
mod kinds;
mod stop;
mod world;

use std::time::{Duration, Instant};

/// For what must happen, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something holds.
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
