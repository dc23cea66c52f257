//! Worlds of namespaces for integration tests.

use std::path::Path;

use ha_core::demo::world::{HostKind, World};

/// The binary under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ha"))
}

/// A world of two nodes, node1 and node2. Where this machine cannot have one: prints why and
/// returns `None`, and the test should return.
pub fn pair(first: HostKind, second: HostKind) -> Option<World> {
    match World::new(binary(), &[("node1", first), ("node2", second)]) {
        Ok(world) => Some(world),
        Err(reason) => {
            assert!(std::env::var_os("HA_TEST_NO_SKIP").is_none(), "no world: {reason}");
            println!("skipped: {reason}");
            None
        }
    }
}
