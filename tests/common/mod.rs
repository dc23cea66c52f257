//! Worlds of namespaces for integration tests.

use std::path::Path;
use std::time::Duration;

use ha_core::demo::world::{HostKind, World, WorldError, SERVICE_ADDRESS};

#[allow(dead_code)]
pub(crate) mod pairs;
#[path = "../support/skip.rs"]
pub(crate) mod skip;

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ha"))
}

/// A world of two nodes, node1 and node2. Where this machine cannot have one: says why (see
/// `support/skip.rs`) and returns `None`, and the test should return.
pub(crate) fn pair(first: HostKind, second: HostKind) -> Option<World> {
    match World::new(binary(), &[("node1", first), ("node2", second)]) {
        Ok(world) => Some(world),
        // The original is for comparison, and not what every build machine has.
        Err(reason) if [first, second].contains(&HostKind::Original) => {
            skip::skip_without_privilege(&reason.to_string());
            None
        }
        Err(reason) => {
            skip::skip(&reason.to_string());
            None
        }
    }
}

/// Configures both nodes with one address that prefers node1, starts the daemons and waits until it
/// is there. `more` are lines of ha.cf.
#[allow(dead_code)]
pub(crate) fn start(
    world: &World,
    keepalive_ms: u64,
    dead_time_ms: u64,
    more: &[&str],
) -> Result<(), WorldError> {
    let ha_cf = world.ha_cf(keepalive_ms, dead_time_ms, more);
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n"))?;
    for host in world.hosts() {
        host.start_daemon()?;
    }
    world.wait_owner(SERVICE_ADDRESS, "node1", Duration::from_secs(40))
}

/// What the hosts' logs say, for a failing test's message.
#[allow(dead_code)]
pub(crate) fn logs(world: &World) -> String {
    use ha_core::demo::host::{DAEMON_OUTPUT, LOG};
    let mut text = String::new();
    for host in world.hosts().iter().filter(|host| host.is_on()) {
        for path in [LOG, DAEMON_OUTPUT] {
            let content = host.read_file(path).unwrap_or_else(|error| error.to_string());
            text.push_str(&format!("--- {} {path}\n{content}\n", host.name()));
        }
    }
    text
}
