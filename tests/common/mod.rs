//! Worlds of namespaces for integration tests.

use std::path::Path;
use std::time::Duration;

use ha_core::demo::world::{HostKind, World, WorldError, SERVICE_ADDRESS};

pub(crate) mod cable;
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
#[allow(dead_code)]
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

/// A world of one node, node1; else as [`pair`].
#[allow(dead_code)]
pub(crate) fn single() -> Option<World> {
    match World::new(binary(), &[("node1", HostKind::Ours)]) {
        Ok(world) => Some(world),
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

/// Looks every few milliseconds until the condition holds.
///
/// # Panics
/// It does not within `limit`; the text names it and shows the hosts' logs.
#[allow(dead_code)]
pub(crate) fn wait_for(world: &World, what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + limit;
    while !condition() {
        assert!(std::time::Instant::now() < end, "{what}: not within {limit:?}\n{}", logs(world));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What `ha status --json` says on a host; `null` while no daemon answers.
#[allow(dead_code)]
pub(crate) fn status(world: &World, name: &str) -> serde_json::Value {
    let output = world.host(name).expect("host").run(&["/ha", "status", "--json"]).expect("ha status runs");
    serde_json::from_str(&output.stdout).unwrap_or_default()
}

/// Both nodes are active, nothing is under way, nothing needs attention.
#[allow(dead_code)]
pub(crate) fn is_settled(world: &World) -> bool {
    ["node1", "node2"].iter().all(|name| {
        let status = status(world, name);
        let view = &status["report"]["view"];
        let nodes = view["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let calm = view["transition"] == "" && view["resource_status"] != "transition";
        calm && nodes.iter().all(|node| node["status"] == "active")
            && status["attention"].as_array().is_some_and(Vec::is_empty)
    })
}

/// The daemon of a host, by its pid file.
#[allow(dead_code)]
pub(crate) fn daemon_of(world: &World, name: &str) -> Option<ha_core::demo::ProcessUse> {
    let host = world.host(name).expect("host");
    let pid = host.read_file("/var/run/heartbeat.pid").expect("pid file").trim().parse().unwrap_or(0u32);
    let processes = host.processes().expect("process list");
    processes.into_iter().find(|process| process.pid == pid && process.name == "heartbeat")
}
