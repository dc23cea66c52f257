//! Rest: when is a pair at rest, and does every state get there.
//!
//! *Rest* means: nothing under way, every running daemon settled, every group active on exactly one
//! of the hosts that have power (if any daemon runs), claims as the ground truth, each daemon's
//! picture of the other as the other's own.
//!
//! The explorer shows that from every state rest can be reached without any further accident. For
//! samples, and where an exploration was cut off, [`comes_to_rest`] shows that the plain course of
//! things reaches it: messages arrive, jobs end, timers fire in order.

use std::collections::HashSet;

use ha_core::types::ResourceSet;

use crate::config::Budget;
use crate::group_state::GroupState;
use crate::host::{groups, End};
use crate::world::{Action, World};

/// Longest way to rest: initdead, deaths, the protocol's 10 s and 15 s timers, jobs, each once or
/// twice, milliseconds.
const REST_MS: u64 = 120_000;
/// How long a pair must stay at rest: longer than every timer of a settled pair, milliseconds.
const QUIET_MS: u64 = 16_000;
/// More actions than that on the way to rest are a loop.
const STEPS_MAX: usize = 5_000;
/// Longest time until two owners have ended while one direction works, milliseconds.
const ONE_WAY_MS: u64 = 60_000;

impl World {
    /// Both daemons run, nothing is under way, the claims fit.
    pub fn is_settled(&self) -> bool {
        let idle = self.hosts.iter().all(|host| host.jobs.is_empty() && host.is_serving());
        if !idle || self.wires.iter().any(|wire| !wire.is_empty()) {
            return false;
        }
        let [Some(first), Some(second)] = [0, 1].map(|host: usize| self.hosts[host].daemon.as_ref()) else {
            return false;
        };
        if first.holding().intersects(second.holding().mirrored()) {
            return false;
        }
        [first, second].into_iter().all(|daemon| daemon.view(self.now_ms).status != "transition")
    }

    /// Why the pair is not at rest; `None` when it is.
    pub fn unrest(&self) -> Option<String> {
        if self.wires.iter().any(|wire| !wire.is_empty()) {
            return Some("messages are under way".to_owned());
        }
        for (number, host) in self.hosts.iter().enumerate() {
            if host.paused_since_ms.is_some() || host.restart_ms.is_some() {
                return Some(format!("node{} stands still", number + 1));
            }
            if let Some(job) = host.jobs.first() {
                return Some(format!("node{} still works: {:?}", number + 1, job.work));
            }
        }
        // what a killed daemon left is nobody's until somebody starts it again
        if self.hosts.iter().any(|host| host.killed) {
            return None;
        }
        (0..2)
            .find_map(|host| self.wrong_view(host))
            .or_else(|| (0..2).find_map(|group| self.wrong_group(group)))
    }

    fn wrong_group(&self, group: usize) -> Option<String> {
        let running = self.hosts.iter().any(|host| host.daemon.is_some());
        let present: Vec<usize> = (0..2).filter(|host| self.hosts[*host].has(group)).collect();
        match present[..] {
            [host] if self.hosts[host].groups[group] == GroupState::Active => None,
            [] if !running || self.given_up(group) => None,
            ref hosts => Some(format!("group {} is on {} hosts, not on exactly one", group + 1, hosts.len())),
        }
    }

    /// It failed to start on every running host and somebody raises an alarm.
    fn given_up(&self, group: usize) -> bool {
        let running = || self.hosts.iter().filter(|host| host.daemon.is_some());
        let alarm = |host: &crate::host::Host| {
            host.daemon.as_ref().is_some_and(|daemon| daemon.view(self.now_ms).alarm)
        };
        running().any(alarm) && running().all(|host| host.failed_starts[group])
    }

    fn wrong_view(&self, host: usize) -> Option<String> {
        let node = host + 1;
        let daemon = self.hosts[host].daemon.as_ref()?;
        let view = daemon.view(self.now_ms);
        if !view.communication_up {
            return Some(format!("node{node} has no communication"));
        }
        if view.status == "transition" && !view.waits_for_former_peer {
            return Some(format!("node{node} is in transition"));
        }
        let claimed: Vec<usize> = groups(host, view.holding).collect();
        let active: Vec<usize> = (0..2).filter(|group| self.hosts[host].has(*group)).collect();
        let disputed = (0..2)
            .filter(|group| claimed.contains(group) != active.contains(group))
            .any(|group| !self.given_up(group));
        if disputed {
            return Some(format!("node{node} claims groups {claimed:?} and has {active:?}"));
        }
        let other = self.hosts[1 - host].daemon.as_ref().map(|daemon| daemon.holding());
        match (other, view.peer_holding) {
            (Some(held), Some(believed)) if held != believed => {
                Some(format!("node{node} believes that node{} holds {believed}, not {held}", 2 - host))
            }
            (Some(held), None) if held != ResourceSet::NONE => {
                Some(format!("node{node} does not know what node{} holds", 2 - host))
            }
            _ => None,
        }
    }

    /// The plain next thing: what is under way goes on, then time.
    fn plain_action(&self, mend: bool) -> Option<Action> {
        let fair = self.fair_actions();
        let rank = |action: &Action| match action {
            Action::Mend(_) | Action::Thaw(_) => 0,
            Action::Deliver(_) => 1,
            Action::Finish(_, _, End::Well) => 2,
            Action::Restart(_) => 3,
            _ => 4,
        };
        fair.into_iter().filter(|action| mend || !matches!(action, Action::Mend(_))).min_by_key(rank)
    }

    /// The same world without accidents to come.
    fn healed(&self) -> Self {
        Self { budget: Budget::default(), ..self.clone() }
    }
}

/// Lets the world run on without accidents until it rests, and stays so. `known` are worlds of
/// which this was seen before.
pub fn comes_to_rest(world: &World, known: &mut HashSet<u64>) -> Result<(), String> {
    let mut world = world.healed();
    let end_ms = world.now_ms + REST_MS;
    let mut path = Vec::new();
    let mut quiet_since_ms = None;
    let mut steps = 0;
    while let Some(action) = world.plain_action(true) {
        let print = world.fingerprint();
        if known.contains(&print) {
            break;
        }
        path.push(print);
        world.apply(action)?;
        steps += 1;
        if steps > STEPS_MAX {
            return Err("does not come to rest: messages without end".to_owned());
        }
        match world.unrest() {
            None if world.now_ms > *quiet_since_ms.get_or_insert(world.now_ms) + QUIET_MS => break,
            None => {}
            Some(why) if world.now_ms > end_ms => return Err(format!("does not come to rest: {why}")),
            Some(why) if why.starts_with("messages") => {}
            Some(_) => quiet_since_ms = None,
        }
    }
    known.extend(path);
    Ok(())
}

/// One direction works: two owners end without anybody mending the other direction.
pub fn ends_while_one_way(world: &World, known: &mut HashSet<u64>) -> Result<(), String> {
    let mut world = world.healed();
    let end_ms = world.now_ms + ONE_WAY_MS;
    let doubled = |world: &World| (0..2).any(|group| world.hosts.iter().all(|host| host.has(group)));
    let mut path = Vec::new();
    while doubled(&world) {
        let print = world.fingerprint();
        if known.contains(&print) {
            break;
        }
        path.push(print);
        let Some(action) = world.plain_action(false) else { break };
        world.apply(action)?;
        if world.now_ms > end_ms {
            return Err("two owners do not end although one direction works".to_owned());
        }
    }
    known.extend(path);
    Ok(())
}

/// What happens next when nobody interferes.
pub fn plain_course(world: &World) -> Option<Action> {
    world.plain_action(true)
}

/// The same, while a host stands still.
pub fn plain_course_but_thaw(world: &World) -> Option<Action> {
    let mut actions = world.fair_actions();
    actions.retain(|action| !matches!(action, Action::Thaw(_) | Action::Mend(_)));
    actions.into_iter().next()
}

/// Lets the world run on while the condition holds; nothing is mended.
pub fn run_while(world: &mut World, goes_on: impl Fn(&World) -> bool) {
    let end_ms = world.now_ms + REST_MS;
    while goes_on(world) {
        assert!(world.now_ms < end_ms, "the condition holds for ever");
        let action = world.plain_action(false).expect("a running daemon has timers");
        world.apply(action).expect("no rule is broken on the plain way");
    }
}

/// Lets the world run until it rests; for the beginning of an exploration.
pub fn rest(world: &mut World) -> Result<(), String> {
    let end_ms = world.now_ms + REST_MS;
    let mut quiet_since_ms = None;
    loop {
        let Some(action) = world.plain_action(true) else { return Ok(()) };
        world.apply(action)?;
        match world.unrest() {
            None if world.now_ms > *quiet_since_ms.get_or_insert(world.now_ms) + QUIET_MS => return Ok(()),
            None => {}
            Some(why) if world.now_ms > end_ms => return Err(format!("does not come to rest: {why}")),
            Some(_) => {}
        }
    }
}
