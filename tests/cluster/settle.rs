//! Liveness: when is a world at rest, and does a healed one come to rest.

use ha_core::cluster::settings::MonitorSettings;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::agents::groups;
use crate::group_state::GroupState;
use crate::world::World;

/// How long a world must stay at rest: longer than every retry of the protocol (answers to a
/// standby request and the first local acquisition are waited for 10 s).
pub const QUIET_MS: u64 = 12_000;

/// Longest time from "all faults gone" to rest: first contact, a death and a return, a planned
/// shutdown of what was under way, the two 10 s timers of the protocol, the 30 s that a quick
/// restart adds to its deadtime.
pub fn rest_bound_ms(world: &World) -> u64 {
    let asked = |monitor: &MonitorSettings| {
        // Twice: it failed here, and then there; and once more what is restarted alone.
        let rounds = u64::from(monitor.failures) * (2 * u64::from(monitor.restarts) + 4);
        60_000 + rounds * monitor.interval_ms
    };
    let watched_ms = world.config.outside.monitor.as_ref().map_or(0, asked);
    let config = &world.config;
    config.init_dead_ms + 4 * config.dead_time_ms + 20 * config.job_max_ms + 60_000 + watched_ms
}

/// Heals the world and waits for rest; the error says what was still wrong at the end.
pub fn heal_and_rest(world: &mut World, repair_starts: bool) -> Result<(), String> {
    world.heal(repair_starts);
    rest(world)
}

/// Runs until the world was at rest for [`QUIET_MS`].
pub fn rest(world: &mut World) -> Result<(), String> {
    let limit_ms = world.now_ms + rest_bound_ms(world);
    let mut quiet_since_ms = None;
    loop {
        world.run_until(world.now_ms + 50);
        if let Some(violation) = world.checker.violation() {
            return Err(violation.to_owned());
        }
        match unrest(world) {
            None => {
                let since_ms = *quiet_since_ms.get_or_insert(world.now_ms);
                if world.now_ms - since_ms >= QUIET_MS {
                    return Ok(());
                }
            }
            Some(why) if world.now_ms > limit_ms => return Err(format!("does not come to rest: {why}")),
            Some(_) => quiet_since_ms = None,
        }
    }
}

/// Why the world is not at rest; `None` when it is.
pub fn unrest(world: &World) -> Option<String> {
    for (number, host) in world.hosts.iter().enumerate() {
        let node = number + 1;
        if !host.powered && host.daemon.is_none() {
            continue;
        }
        if !host.is_live() {
            return Some(format!("node{node} is paused"));
        }
        if let Some(job) = host.jobs.first() {
            return Some(format!("node{node} still works: {:?}", job.work));
        }
        if let Some(why) = wrong_view(world, number) {
            return Some(why);
        }
    }
    (0..world.config.nodes).find_map(|group| wrong_group(world, group))
}

fn wrong_group(world: &World, group: usize) -> Option<String> {
    let running = world.hosts.iter().any(|host| host.daemon.is_some());
    match world.present_on(group)[..] {
        [host] if is_neglected(world, host, group) => {
            Some(format!("group {} does not work on host {host}, and the other has not failed", group + 1))
        }
        [host] if world.hosts[host].kernel.groups[group] == GroupState::Active => None,
        [] if !running || given_up(world, group) => None,
        ref hosts => Some(format!("group {} is on hosts {hosts:?}, not on exactly one", group + 1)),
    }
}

/// It does not work there, and the other host is there and never failed with it.
fn is_neglected(world: &World, host: usize, group: usize) -> bool {
    let kernel = |host: usize| &world.hosts[host].kernel;
    let failed = |host: usize| kernel(host).ever_sick[group] || kernel(host).failed_starts[group] > 0;
    let able = |other: usize| other != host && world.hosts[other].is_serving() && !failed(other);
    let watched = world.config.outside.monitor.is_some() && kernel(host).sick[group].is_some();
    watched && (0..world.hosts.len()).any(able)
}

/// It failed to start or to work on every running host and somebody raises an alarm: stays down on purpose.
fn given_up(world: &World, group: usize) -> bool {
    let mut running = world.hosts.iter().filter_map(|host| Some((host, host.daemon.as_ref()?))).peekable();
    let alarms: Vec<String> = running
        .clone()
        .flat_map(|(host, daemon)| daemon.cluster.view(host.clock(world.now_ms)).alarms)
        .collect();
    // What is watched and failed on both is not tried by a host that is there anew either.
    let watched = world.config.outside.monitor.is_some();
    if watched
        && running.peek().is_some()
        && alarms.iter().any(|text| text.contains("both nodes and stay down"))
    {
        return true;
    }
    running.peek().is_some()
        && !alarms.is_empty()
        && running.all(|(host, _)| host.kernel.failed_starts[group] > 0 || host.kernel.ever_sick[group])
}

fn wrong_view(world: &World, number: usize) -> Option<String> {
    let host = &world.hosts[number];
    let node = number + 1;
    let daemon = host.daemon.as_ref()?;
    let view = daemon.cluster.view(host.clock(world.now_ms));
    if !view.communication_up {
        return Some(format!("node{node} has no communication"));
    }
    if view.resource_status == "transition" {
        return Some(format!("node{node} is in transition: {}", view.transition));
    }
    if world.config.auto_failback == AutoFailback::Legacy {
        return None;
    }
    let Ok(claimed) = view.holding.parse::<ResourceSet>() else {
        return Some(format!("node{node} claims '{}'", view.holding));
    };
    let claimed = groups(number, claimed, world.config.nodes);
    let active: Vec<usize> =
        (0..world.config.nodes).filter(|group| host.kernel.groups[*group].is_present()).collect();
    // a group that starts nowhere stays claimed: somebody has to answer for it
    let disputed = (0..world.config.nodes)
        .filter(|group| claimed.contains(group) != active.contains(group))
        .any(|group| !given_up(world, group));
    if disputed {
        return Some(format!("node{node} claims groups {claimed:?} and has {active:?}"));
    }
    if view.resource_status != view.holding {
        return Some(format!("node{node} says {} and holds {}", view.resource_status, view.holding));
    }
    let wrong = |other: &usize| {
        let told = world.hosts[*other].daemon.as_ref().map(|daemon| daemon.cluster.holding().to_string());
        *other != number
            && told.is_some_and(|told| view.nodes.get(*other).map(|seen| &seen.holding) != Some(&told))
    };
    (0..world.config.nodes).find(wrong).map(|other| {
        let seen = view.nodes.get(other).map_or("nothing", |seen| seen.holding.as_str());
        format!("node{node} believes node{} holds {seen}, which is not so", other + 1)
    })
}
