//! The decisions: what each event leads to (resources spec 4.3). Pure: the time comes in as a number,
//! facts as values, and everything that is to be done comes out. Log lines are the original's.
//!
//! Unlike the original (each of these is in ipfail(8)): only the other node's messages count, and
//! only believable numbers; nothing is given up that is not held; the wait is at least
//! [`DELAY_MIN_MS`], and at its end the other node is asked once more; a ping node that comes back is told
//! when it lasts; after the counts differed, resources go back only when they have been equal for a while
//! ([`super::calm`]); whoever comes to see more gives nothing up any more; a request that led to nothing is
//! repeated.

use super::calm::Calm;
use super::event::{Effect, Event, Facts, Holding, Needs, Set, COUNT_MAX};
use crate::types::LogLevel;

/// Resources are given up this long after the last message that asks for it, at the least: both nodes
/// see a common loss within this time. A daemon of the original sees it up to a second after ours.
const DELAY_MIN_MS: u64 = 2000;
/// How long the other node may take for its answer to the last question before they are.
const ANSWER_MS: u64 = 1000;
/// A ping node that comes back is told after this time, at the least: whoever sees a common return
/// later would begin to give up.
const ANNOUNCE_MS: u64 = 2000;
/// And at the most; more would be a mistaken `keepalive`.
const DELAY_MAX_MS: u64 = 600_000;
/// Messages that keep coming postpone the end of the wait no longer than this many times its length.
const POSTPONED_MAX: u64 = 4;
/// While the daemon moves resources, the question is put again after this time.
const SETTLE_MS: u64 = 10_000;
/// A request that seems to have led to nothing is looked at again after this time, which then doubles.
const RECHECK_MS: u64 = 30_000;
const RECHECK_MAX_MS: u64 = 600_000;

/// What does not change while the program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This node.
    pub node: String,
    /// `auto_failback on`.
    pub auto_failback: bool,
    /// `keepalive`, milliseconds. Resources are given up after twice this time.
    pub keepalive_ms: u64,
    /// Set for `pingd`: a number of ping nodes counts only when it has stood for so long, milliseconds.
    pub dampening_ms: Option<u64>,
}

/// A wait before resources are given up.
#[derive(Debug)]
struct Wait {
    set: Set,
    due_ms: u64,
    latest_ms: u64,
    /// It is over, and the other node has been asked for the last time.
    asked: bool,
}

/// The state of the comparison with the other node.
#[derive(Debug)]
pub struct Decider {
    settings: Settings,
    peer: Option<String>,
    wait: Option<Wait>,
    waits: u32,
    calm: Calm,
    /// The other node sees more, by its last word.
    behind: bool,
    /// When the count is sent, because the daemon was busy before.
    settle_due_ms: Option<u64>,
    /// When the count is sent, because a ping node has come back and stayed, and for how long then.
    announce: Option<(u64, u64)>,
    /// When to see whether a request led to something, and the time until the next look.
    recheck_due_ms: Option<u64>,
    recheck_ms: u64,
    /// `pingd`: the number that counts, and another one with the time from which it counts.
    steady: usize,
    changed: Option<(usize, u64)>,
    out: Vec<Effect>,
}

impl Decider {
    /// At the start of the program.
    pub fn new(settings: Settings) -> Self {
        let calm = Calm::new(settings.keepalive_ms.saturating_mul(2).max(settings.dampening_ms.unwrap_or(0)));
        Self {
            settings,
            peer: None,
            wait: None,
            waits: 0,
            calm,
            behind: false,
            settle_due_ms: None,
            announce: None,
            recheck_due_ms: None,
            recheck_ms: RECHECK_MS,
            steady: 0,
            changed: None,
            out: Vec::new(),
        }
    }

    /// The other node, where messages go.
    pub fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// When a [`Event::Tick`] is due at the latest.
    pub fn next_ms(&self) -> Option<u64> {
        let wait = self.wait.as_ref().map(|wait| wait.due_ms);
        let changed = self.changed.map(|(_, due_ms)| due_ms);
        let announce = self.announce.map(|(due_ms, _)| due_ms);
        [wait, self.settle_due_ms, announce, self.recheck_due_ms, changed].into_iter().flatten().min()
    }

    /// What [`Decider::handle`] must be told for this event.
    pub fn needs(&self, now_ms: u64, event: &Event) -> Needs {
        let nodes = |nodes| Needs { nodes, holding: false };
        match event {
            Event::Started => nodes(true),
            Event::NodeStatus { status, .. } if status == "ping" => {
                Needs { nodes: true, holding: self.settings.auto_failback }
            }
            Event::NodeStatus { status, .. } => nodes(status == "dead"),
            Event::LinkStatus { status, .. } => {
                nodes(status == "dead" || self.settings.dampening_ms.is_some())
            }
            Event::Joined { node } => nodes(*node != self.settings.node),
            Event::Count { from, .. } if self.is_foreign(from) => Needs::default(),
            Event::Count { .. } => Needs { nodes: true, holding: self.settings.auto_failback },
            Event::TheySeeMore { .. } | Event::Balanced { .. } | Event::Stable { .. } => Needs::default(),
            Event::Tick => {
                let due = |time: Option<u64>| time.is_some_and(|time| time <= now_ms);
                let may_ask = due(self.wait.as_ref().map(|wait| wait.due_ms))
                    || due(self.recheck_due_ms)
                    || due(self.changed.map(|(_, due_ms)| due_ms));
                let tells = due(self.settle_due_ms) || due(self.announce.map(|(due_ms, _)| due_ms));
                Needs { nodes: may_ask || tells, holding: may_ask }
            }
        }
    }

    /// Takes in one event; the value is what is to be done, in order. Facts that were needed and are
    /// missing leave everything as it was.
    pub fn handle(&mut self, now_ms: u64, event: &Event, facts: &Facts) -> Vec<Effect> {
        if facts.peer.is_some() {
            self.peer.clone_from(&facts.peer);
        }
        match event {
            Event::Started => self.started(facts),
            Event::NodeStatus { node, status } => self.node_status(now_ms, node, status, facts),
            Event::LinkStatus { node, link, status } => {
                self.info(format!("Link Status update: Link {node}/{link} now has status {status}"));
                self.link_status(now_ms, status, facts);
            }
            Event::Joined { node } => self.joined(now_ms, node, facts),
            Event::Count { from, count, steady_ms } if !self.is_foreign(from) => {
                self.compare(now_ms, count, *steady_ms, facts);
            }
            Event::TheySeeMore { from } if !self.is_foreign(from) => {
                self.info("Giving up because we were told that we have less ping nodes.");
                self.fall_behind(now_ms);
            }
            Event::Balanced { from } if !self.is_foreign(from) => self.balanced(),
            Event::Stable { from, stable } if !self.is_foreign(from) => self.peer_stable(now_ms, *stable),
            Event::Tick => self.tick(now_ms, facts),
            _ => {}
        }
        std::mem::take(&mut self.out)
    }

    fn started(&mut self, facts: &Facts) {
        self.steady = facts.reachable.as_ref().map_or(0, Vec::len);
        if self.settings.dampening_ms.is_some() {
            self.out.push(Effect::Steady(self.steady));
        }
    }

    fn node_status(&mut self, now_ms: u64, node: &str, status: &str, facts: &Facts) {
        self.info(format!("Status update: Node {node} now has status {status}"));
        if status == "dead" {
            let Some(count) = self.count(now_ms, facts) else { return };
            self.info(if count > 0 { "NS: We are still alive!" } else { "NS: We are dead. :<" });
        } else if status == "ping" {
            self.info("A ping node just came up.");
            let Some(count) = self.count(now_ms, facts) else { return };
            if self.settings.dampening_ms.is_none() {
                self.announce(now_ms, count, facts.holding);
            }
        }
    }

    fn link_status(&mut self, now_ms: u64, status: &str, facts: &Facts) {
        let dampened = self.settings.dampening_ms.is_some();
        if status != "dead" && !dampened {
            return;
        }
        let Some(count) = self.count(now_ms, facts) else { return };
        if status != "dead" {
            return;
        }
        self.announce = None;
        if count == 0 {
            self.info("We are dead. :<");
        }
        if !dampened {
            self.send_count(count);
        }
        if count > 0 {
            self.info("Checking remote count of ping nodes.");
        }
    }

    fn joined(&mut self, now_ms: u64, node: &str, facts: &Facts) {
        if *node == self.settings.node || self.is_foreign(node) {
            return;
        }
        self.debug(format!("Got join message from another ipfail client. ({node})"));
        if let Some(count) = self.count(now_ms, facts) {
            self.send_count(count);
        }
    }

    /// Ping nodes came back. Where that may bring resources back here, it is told when it lasts; where
    /// it may keep them here, at once.
    fn announce(&mut self, now_ms: u64, count: usize, holding: Option<Holding>) {
        let giving_up = self.wait.is_some() || self.settle_due_ms.is_some();
        let urgent = giving_up && holding != Some(Holding::None);
        if urgent {
            return self.send_count(count);
        }
        let calm_ms = self.calm.wait_ms().filter(|_| self.settings.auto_failback);
        let steady_ms = calm_ms.unwrap_or(0).max(ANNOUNCE_MS);
        self.announce = Some((now_ms.saturating_add(steady_ms), steady_ms));
        self.info(format!("The other side is told in {} seconds, if it lasts.", steady_ms / 1000));
    }

    fn compare(&mut self, now_ms: u64, theirs: &str, steady_ms: u64, facts: &Facts) {
        self.debug("Got asked for num_ping.");
        let Some(theirs) = believable(theirs) else {
            self.log(LogLevel::Warning, format!("Ignoring a count of ping nodes that is none: {theirs}"));
            return;
        };
        let Some(ours) = self.count(now_ms, facts) else { return };
        match ours.cmp(&theirs) {
            std::cmp::Ordering::Greater => {
                self.info("Telling other node that we have more visible ping nodes.");
                self.debug("Sending you_are_dead.");
                self.out.push(Effect::SendMore);
                self.debug("Message [you_are_dead] sent.");
                self.end_behind();
                self.abort(|_| true);
                self.calm.trouble(now_ms);
            }
            std::cmp::Ordering::Less => {
                self.info("Giving up because we have less visible ping nodes.");
                self.fall_behind(now_ms);
            }
            std::cmp::Ordering::Equal => {
                self.info("Ping node count is balanced.");
                self.out.push(Effect::SendBalanced);
                self.debug("Abort message sent.");
                self.end_behind();
                if !self.abort(|set| set == Set::All) && self.settings.auto_failback {
                    self.fail_back(now_ms, steady_ms, facts.holding);
                }
            }
        }
    }

    fn fall_behind(&mut self, now_ms: u64) {
        self.behind = true;
        self.announce = None;
        self.calm.trouble(now_ms);
        self.start_wait(now_ms, Set::All, self.delay_ms());
    }

    fn fail_back(&mut self, now_ms: u64, steady_ms: u64, holding: Option<Holding>) {
        let unknown_yet = holding == Some(Holding::Transition) && self.calm.wait_ms().is_none();
        let nothing = matches!(holding, Some(Holding::None | Holding::Local));
        if nothing || unknown_yet || self.wait.is_some() {
            return;
        }
        self.info("Giving up foreign resources (auto_failback).");
        let calm_ms = self.calm.wait_ms().unwrap_or(0).saturating_sub(steady_ms);
        let delay_ms = self.delay_ms().max(calm_ms);
        self.start_wait(now_ms, Set::Foreign, delay_ms);
    }

    fn balanced(&mut self) {
        self.end_behind();
        if !self.abort(|set| set == Set::All) {
            self.info("No giveup timer to abort.");
        }
    }

    /// The other node does not see more any longer.
    fn end_behind(&mut self) {
        self.behind = false;
        self.settle_due_ms = None;
        self.recheck_due_ms = None;
        self.recheck_ms = RECHECK_MS;
    }

    fn peer_stable(&mut self, now_ms: u64, stable: bool) {
        if !stable {
            self.debug("Other side is unstable.");
            return;
        }
        self.debug("Other side is now stable.");
        if self.settle_due_ms.is_some() {
            self.settle_due_ms = Some(now_ms.saturating_add(SETTLE_MS));
        }
    }

    fn tick(&mut self, now_ms: u64, facts: &Facts) {
        let due = |time: Option<u64>| time.is_some_and(|time| time <= now_ms);
        if due(self.changed.map(|(_, due_ms)| due_ms)) {
            self.settle_count(now_ms, facts);
        }
        if due(self.settle_due_ms) && facts.reachable.is_some() {
            self.settle_due_ms = None;
            self.send_fresh_count(now_ms, facts);
        }
        if let Some((_, steady_ms)) = self.announce.filter(|(due_ms, _)| *due_ms <= now_ms) {
            if let Some(count) = self.count(now_ms, facts) {
                self.announce = None;
                self.calm.returned(now_ms);
                self.send_steady_count(count, steady_ms);
            }
        }
        if due(self.recheck_due_ms) {
            self.recheck(now_ms, facts);
        }
        if due(self.wait.as_ref().map(|wait| wait.due_ms)) {
            self.wait_over(now_ms, facts);
        }
    }

    /// The other node may have lost the same ping nodes meanwhile, which a daemon of the original tells
    /// its clients later than anything else: it is asked, and its answer decides.
    fn wait_over(&mut self, now_ms: u64, facts: &Facts) {
        let moves = !matches!(facts.holding, Some(Holding::None | Holding::Transition));
        let Some(wait) = self.wait.as_mut().filter(|wait| wait.set == Set::All && moves && !wait.asked)
        else {
            return self.give_up(now_ms, facts.holding);
        };
        wait.asked = true;
        wait.due_ms = now_ms.saturating_add(ANSWER_MS);
        self.send_fresh_count(now_ms, facts);
    }

    fn give_up(&mut self, now_ms: u64, holding: Option<Holding>) {
        let Some(Wait { set, .. }) = self.wait.take() else { return };
        self.info("giveup() called (timeout worked)");
        let nothing = match set {
            Set::All => matches!(holding, Some(Holding::None)),
            Set::Foreign => matches!(holding, Some(Holding::None | Holding::Local)),
        };
        if holding == Some(Holding::Transition) {
            let again_ms = now_ms.saturating_add(SETTLE_MS);
            match set {
                Set::All => self.settle_due_ms = Some(again_ms),
                Set::Foreign => {
                    self.wait = Some(Wait { set, due_ms: again_ms, latest_ms: again_ms, asked: false });
                }
            }
        } else if nothing {
            self.debug("There is nothing to give up here.");
        } else {
            self.out.push(Effect::Standby(set));
            self.debug("Message [ask_resources] sent.");
            if set == Set::All {
                self.recheck_due_ms = Some(now_ms.saturating_add(self.recheck_ms));
                self.recheck_ms = (self.recheck_ms * 2).min(RECHECK_MAX_MS);
            }
        }
        if set == Set::Foreign && self.wait.is_none() {
            self.calm.returned(now_ms);
        }
        self.debug("giveup timeout has been destroyed.");
    }

    /// Resources should have left by now; the daemon may have been busy, or refused.
    fn recheck(&mut self, now_ms: u64, facts: &Facts) {
        self.recheck_due_ms = None;
        match facts.holding {
            Some(Holding::None) => self.recheck_ms = RECHECK_MS,
            Some(Holding::Transition) => self.recheck_due_ms = Some(now_ms.saturating_add(SETTLE_MS)),
            Some(_) if self.behind && self.wait.is_none() => self.send_fresh_count(now_ms, facts),
            _ => {}
        }
    }

    fn start_wait(&mut self, now_ms: u64, set: Set, delay_ms: u64) {
        if let Some(wait) = self.wait.as_mut().filter(|wait| wait.set == set && wait.asked) {
            // this is the answer
            wait.due_ms = now_ms;
            return;
        }
        self.info(format!("Delayed giveup in {} seconds.", delay_ms / 1000));
        let latest_ms = match self.wait.as_ref().filter(|wait| wait.set == set) {
            Some(running) => running.latest_ms,
            None => now_ms.saturating_add(delay_ms.saturating_mul(POSTPONED_MAX)),
        };
        let due_ms = now_ms.saturating_add(delay_ms).min(latest_ms);
        if self.wait.replace(Wait { set, due_ms, latest_ms, asked: false }).is_some() {
            self.debug("Detected existing delay timer, overriding");
            self.debug("giveup timeout has been destroyed.");
        }
        self.waits = self.waits.wrapping_add(1);
    }

    /// Ends the wait, if it is for such a set; tells whether it was.
    fn abort(&mut self, which: impl Fn(Set) -> bool) -> bool {
        let ended = self.wait.take_if(|wait| which(wait.set)).is_some();
        if ended {
            self.info(format!("Aborted delayed giveup ({})", self.waits));
            self.debug("giveup timeout has been destroyed.");
        }
        ended
    }

    fn delay_ms(&self) -> u64 {
        self.settings.keepalive_ms.saturating_mul(2).clamp(DELAY_MIN_MS, DELAY_MAX_MS)
    }

    /// The number of ping nodes that counts; `None` when the daemon did not say.
    fn count(&mut self, now_ms: u64, facts: &Facts) -> Option<usize> {
        let reachable = facts.reachable.as_ref()?;
        for node in reachable {
            self.debug(format!("Found ping node {node}!"));
        }
        let Some(dampening_ms) = self.settings.dampening_ms else { return Some(reachable.len()) };
        let seen = reachable.len();
        if seen == self.steady {
            self.changed = None;
        } else if self.changed.is_none_or(|(count, _)| count != seen) {
            self.changed = Some((seen, now_ms.saturating_add(dampening_ms)));
        }
        Some(self.steady)
    }

    /// The changed number has stood long enough, unless it has changed again without an event.
    fn settle_count(&mut self, now_ms: u64, facts: &Facts) {
        let Some(seen) = facts.reachable.as_ref().map(Vec::len) else { return };
        if self.changed.take().is_some_and(|(count, _)| count == seen) && seen != self.steady {
            let rises = seen > self.steady;
            self.steady = seen;
            self.out.push(Effect::Steady(seen));
            if rises {
                self.announce(now_ms, seen, facts.holding);
            } else {
                self.announce = None;
                self.send_count(seen);
            }
        } else {
            self.count(now_ms, facts);
        }
    }

    fn send_fresh_count(&mut self, now_ms: u64, facts: &Facts) {
        if let Some(count) = self.count(now_ms, facts) {
            self.send_count(count);
        }
    }

    fn send_count(&mut self, count: usize) {
        self.send_steady_count(count, 0);
    }

    fn send_steady_count(&mut self, count: usize, steady_ms: u64) {
        self.info("Asking other side for ping node count.");
        self.out.push(Effect::SendCount { count, steady_ms });
        self.debug("Message [num_ping] sent.");
    }

    /// Not from the other node. While that is unknown nobody is.
    fn is_foreign(&self, from: &str) -> bool {
        self.peer.as_deref().is_some_and(|peer| peer != from) || from == self.settings.node
    }

    fn info(&mut self, text: impl Into<String>) {
        self.log(LogLevel::Info, text.into());
    }

    fn debug(&mut self, text: impl Into<String>) {
        self.log(LogLevel::Debug, text.into());
    }

    fn log(&mut self, level: LogLevel, text: String) {
        self.out.push(Effect::Log(level, text));
    }
}

/// Digits alone, and no more ping nodes than there can be.
fn believable(count: &str) -> Option<usize> {
    let digits = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    count.parse().ok().filter(|count| digits && *count <= COUNT_MAX)
}

#[cfg(test)]
mod tests;
