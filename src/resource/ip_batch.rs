//! Several addresses at once: one look at the kernel, one batch of changes, one pass of announcements.
//! Only then the log is written, with the lines that each start and stop by itself would write.
//!
//! What is unusual (a parameter that is wrong, an address that has to leave loopback, a refusal of the
//! kernel) ends a batch before it: [`Started::Alone`] and [`Stopped::Alone`] say that this one, and
//! what comes behind it, must be done by itself. So every rule and text for such cases is in one place.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr as Ip;

use nix::errno::Errno;

use crate::net::announce_many::{self, Place};
use crate::net::netlink::{secondaries_of, Address, Change, Link, NetlinkError};
use crate::net::snapshot::Snapshot;

use super::ip_addr::{IpAddr, Plan};
use super::{Action, Context};

/// What became of one member of a start.
pub(super) enum Started<'a> {
    /// It was here already.
    Active,
    /// It was added and announced.
    Now(Box<New<'a>>),
    /// It was not touched.
    Alone,
}

/// An address that came up.
pub(super) struct New<'a> {
    agent: IpAddr<'a>,
    plan: Plan,
    sent: Option<io::Result<()>>,
}

impl New<'_> {
    /// The lines of a start.
    pub(super) fn log(self) {
        self.agent.log_started(&self.plan);
        self.agent.log_announced(&self.plan.found.link, self.sent);
    }
}

/// What became of one member of a stop.
pub(super) enum Stopped<'a> {
    /// It is gone.
    Done(Box<Old<'a>>),
    /// It was not touched, or is still here.
    Alone,
}

/// An address that is not here.
pub(super) struct Old<'a> {
    agent: IpAddr<'a>,
    killed: Option<String>,
    was_here: bool,
    lost: Vec<(Address, Address, Errno)>,
}

impl Old<'_> {
    /// The lines of a stop.
    pub(super) fn log(self) {
        for (address, other, error) in self.lost {
            self.agent.log_lost(&address, &other, error);
        }
        self.agent.log_stopped(self.killed, self.was_here);
    }
}

/// Starts the members of each group, in order. In each, what follows an [`Started::Alone`] is left out:
/// nothing is started behind what may fail.
///
/// # Errors
/// The kernel cannot be asked or did not answer; what it did is found by whoever tries again.
pub(super) fn start<'a>(groups: &[Vec<&'a Context>]) -> Result<Vec<Vec<Started<'a>>>, NetlinkError> {
    let mut snapshot = Snapshot::open()?;
    let mut started: Vec<Vec<Started<'a>>> =
        groups.iter().map(|group| plan_group(group, &mut snapshot)).collect();
    let mut changes = Vec::new();
    for new in started.iter().flatten().filter_map(as_new) {
        changes.extend_from_slice(&new.plan.changes);
    }
    let mut results = snapshot.netlink.apply(&changes)?.into_iter();
    let mut taken_back = Vec::new();
    for group in &mut started {
        let refused = first_refused(group, &mut results);
        for started in group.iter().skip(refused) {
            let new = as_new(started);
            taken_back
                .extend(new.map(|new| new.plan.changes.iter().filter_map(undone)).into_iter().flatten());
        }
        if refused < group.len() {
            group.truncate(refused);
            group.push(Started::Alone);
        }
    }
    if !taken_back.is_empty() {
        // What was refused is not there; the rest can be removed.
        snapshot.netlink.apply(&taken_back)?;
    }
    announce(&mut started);
    Ok(started)
}

/// Stops the members in order; what cannot be done here is left for itself, and the others go on.
///
/// # Errors
/// As [`start`].
pub(super) fn stop<'a>(members: &[&'a Context]) -> Result<Vec<Stopped<'a>>, NetlinkError> {
    let mut snapshot = Snapshot::open()?;
    let mut stopped: Vec<Stopped<'a>> = Vec::with_capacity(members.len());
    // Each member's entries, to be deleted.
    let mut entries: Vec<Vec<Address>> = Vec::with_capacity(members.len());
    for member in members {
        let (found, member) = look_for_stop(member, &mut snapshot);
        entries.push(found);
        stopped.push(member);
    }
    let leaving: HashSet<(u32, Ip, u8)> = entries.iter().flatten().map(identity).collect();
    // Only IPv4 has them.
    let mut secondary = Vec::new();
    if let Some(entry) = entries.iter().flatten().find(|entry| entry.local.is_ipv4()) {
        let all = snapshot.addresses(entry.local)?.iter();
        secondary.extend(all.filter(|it| it.secondary && !leaving.contains(&identity(it))).cloned());
    }
    // For each change the member and, when an address is put back, the one it went with.
    let (mut changes, mut meanings) = (Vec::new(), Vec::new());
    let each = entries.iter().enumerate();
    for (index, entry) in each.flat_map(|(index, all)| all.iter().map(move |entry| (index, entry))) {
        changes.push(Change::DeleteAddress(entry.clone()));
        meanings.push((index, entry, None));
        for other in secondaries_of(entry, &secondary) {
            changes.push(Change::AddAddress(other.clone()));
            meanings.push((index, entry, Some(other)));
        }
    }
    for ((index, entry, put_back), result) in meanings.into_iter().zip(snapshot.netlink.apply(&changes)?) {
        match (put_back, result) {
            (None, Err(error)) if error != Errno::EADDRNOTAVAIL => stopped[index] = Stopped::Alone,
            (Some(other), Err(error)) if error != Errno::EEXIST => {
                if let Stopped::Done(old) = &mut stopped[index] {
                    old.lost.push((entry.clone(), other.clone(), error));
                }
            }
            _ => (),
        }
    }
    Ok(stopped)
}

/// Which of the groups have an address that is here.
pub(super) fn any_active_of_each(groups: &[Vec<&Context>]) -> Vec<bool> {
    let Ok(mut snapshot) = Snapshot::open() else { return vec![false; groups.len()] };
    let each = groups.iter();
    each.map(|group| group.iter().any(|context| is_active(context, &mut snapshot))).collect()
}

fn is_active(context: &Context, snapshot: &mut Snapshot) -> bool {
    let agent = context.log.quietly(|| address(context, Action::Monitor));
    agent.is_some_and(|agent| agent.served(snapshot).is_ok_and(|served| !served.is_empty()))
}

/// Plans until the first that is unusual.
fn plan_group<'a>(group: &[&'a Context], snapshot: &mut Snapshot) -> Vec<Started<'a>> {
    let mut plans = Vec::with_capacity(group.len());
    for member in group {
        let log = &member.log;
        let planned = log.quietly(|| plan_member(member, snapshot)).unwrap_or(Started::Alone);
        let alone = matches!(planned, Started::Alone);
        plans.push(planned);
        if alone {
            break;
        }
    }
    plans
}

/// `None` when it is unusual. What is wrong is not logged here: it will be tried again by itself.
fn plan_member<'a>(context: &'a Context, snapshot: &mut Snapshot) -> Option<Started<'a>> {
    let agent = address(context, Action::Start)?;
    if agent.asks_first() {
        return None;
    }
    if !agent.served(snapshot).ok()?.is_empty() {
        return Some(Started::Active);
    }
    let elsewhere = snapshot.with_address(agent.checked.ip).ok()?;
    if agent.moves_from_loopback() && !elsewhere.is_empty() {
        return None;
    }
    let plan = agent.plan(snapshot).ok()?;
    Some(Started::Now(Box::new(New { agent, plan, sent: None })))
}

fn look_for_stop<'a>(context: &'a Context, snapshot: &mut Snapshot) -> (Vec<Address>, Stopped<'a>) {
    let alone = (Vec::new(), Stopped::Alone);
    let Some(agent) = context.log.quietly(|| address(context, Action::Stop)) else { return alone };
    if agent.has_loopback_note() || agent.flushes_routes() {
        return alone;
    }
    let Ok(served) = agent.served(snapshot) else { return alone };
    let killed = agent.stop_announcing();
    let was_here = !served.is_empty();
    (served, Stopped::Done(Box::new(Old { agent, killed, was_here, lost: Vec::new() })))
}

fn address(context: &Context, action: Action) -> Option<IpAddr<'_>> {
    (context.agent.address?)(context, action).ok()
}

/// Takes the results of a group's changes; the index of the first member that was refused, else their
/// number. That an address is there already is no refusal.
fn first_refused(group: &[Started<'_>], results: &mut impl Iterator<Item = Result<(), Errno>>) -> usize {
    let mut first = group.len();
    for (index, started) in group.iter().enumerate() {
        let count = as_new(started).map_or(0, |new| new.plan.changes.len());
        let refused = results.by_ref().take(count).any(|it| !matches!(it, Ok(()) | Err(Errno::EEXIST)));
        if refused {
            first = first.min(index);
        }
    }
    first
}

/// One pass for everything that came up, and one process for the repeats.
fn announce(started: &mut [Vec<Started<'_>>]) {
    let mut links: BTreeMap<u32, Link> = BTreeMap::new();
    let mut places = Vec::new();
    let (mut interval_ms, mut count) = (0, 0);
    for new in started.iter().flatten().filter_map(as_new) {
        let link = &new.plan.found.link;
        if link.name.starts_with("lo") {
            continue;
        }
        links.entry(link.index).or_insert_with(|| link.clone());
        places.push(Place { interface: link.index, address: new.agent.checked.ip });
        interval_ms = interval_ms.max(new.agent.repeats.interval_ms);
        count = count.max(new.agent.repeats.count);
    }
    if places.is_empty() {
        return;
    }
    let failed = announce_many::first_pass(&links, &places);
    let repeated = announce_many::repeat_in_background(&places, interval_ms, count);
    for new in started.iter_mut().flatten().filter_map(as_new_mut) {
        let index = new.plan.found.link.index;
        let error = failed.get(&index).or(repeated.as_ref().err()).map(ToString::to_string);
        new.sent = links.contains_key(&index).then(|| error.map_or(Ok(()), |it| Err(io::Error::other(it))));
    }
}

fn as_new<'s, 'a>(started: &'s Started<'a>) -> Option<&'s New<'a>> {
    match started {
        Started::Now(new) => Some(new),
        _ => None,
    }
}

fn as_new_mut<'s, 'a>(started: &'s mut Started<'a>) -> Option<&'s mut New<'a>> {
    match started {
        Started::Now(new) => Some(new),
        _ => None,
    }
}

fn undone(change: &Change) -> Option<Change> {
    match change {
        Change::AddAddress(address) => Some(Change::DeleteAddress(address.clone())),
        Change::AddAddressLabel(address, label) => Some(Change::DeleteAddressLabel(*address, *label)),
        _ => None,
    }
}

fn identity(address: &Address) -> (u32, Ip, u8) {
    (address.interface, address.local, address.prefix)
}
