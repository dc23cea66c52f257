//! Breadth first through every state that can be reached.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Instant;

use crate::compare::difference;
use crate::config::Kind;
use crate::settle::{comes_to_rest, ends_while_one_way};
use crate::trace;
use crate::world::{Action, World};

/// States kept at most when nothing else is said; an exploration that has more is cut off.
const STATES_MAX: usize = 3_000_000;
/// One in so many states is followed to its rest along the plain course of things.
const SAMPLE: u64 = 256;
/// What stands for "no predecessor".
const NONE: u32 = u32::MAX;

/// What an exploration found.
#[derive(Debug)]
pub struct Report {
    /// Different states.
    pub states: usize,
    /// Actions tried.
    pub steps: usize,
    /// Actions on the shortest way to the last new state.
    pub depth: usize,
    /// No state was left out.
    pub complete: bool,
}

/// A rule that was broken.
pub struct Failure {
    /// Which and how.
    pub why: String,
    /// The shortest way there.
    pub path: Vec<Action>,
    /// Where the way begins.
    pub start: Box<World>,
}

impl Failure {
    /// The way as a table.
    pub fn table(&self) -> String {
        format!("{}\n{}", self.why, trace::table(&self.start, &self.path))
    }
}

/// A state that was seen: how it was reached.
struct Seen {
    parent: u32,
    action: Action,
}

/// An exploration under way.
struct Explorer {
    start: World,
    /// The first world of each fingerprint, while every other one is compared with it.
    firsts: Option<Vec<World>>,
    states: Vec<Seen>,
    by_print: std::collections::HashMap<u64, u32>,
    /// Fair edges, from and to.
    edges: Vec<(u32, u32)>,
    /// At rest, or shown to come to it.
    good: Vec<bool>,
    known_rest: HashSet<u64>,
    known_end: HashSet<u64>,
    limit: usize,
    steps: usize,
}

/// Explores everything from `start` on; prints and returns how much that was. The error is the
/// first rule that was broken, on the shortest way.
pub fn explore(name: &str, start: World) -> Result<Report, Box<Failure>> {
    let compares = std::env::var_os("HA_EXHAUSTIVE_COMPARE").is_some();
    explore_with(name, Explorer::new(start, compares))
}

/// The same, and holds every world against the first one of its fingerprint.
pub fn compare(name: &str, start: World) -> Result<Report, Box<Failure>> {
    explore_with(name, Explorer::new(start, true))
}

fn explore_with(name: &str, explorer: Explorer) -> Result<Report, Box<Failure>> {
    let began = Instant::now();
    let report = explorer.run()?;
    let mut line = String::new();
    let Report { states, steps, depth, complete } = &report;
    let _ = write!(line, "{name}: {states} states, {steps} steps, depth {depth}, ");
    line.push_str(if *complete { "complete" } else { "CUT OFF" });
    println!("{line}, {:.1} s", began.elapsed().as_secs_f32());
    Ok(report)
}

/// A larger budget, which takes minutes, when `HA_LONG` is set.
pub fn long() -> bool {
    std::env::var_os("HA_LONG").is_some()
}

/// Explores, and fails the test with the table of what broke a rule. It must have been complete.
pub fn holds(name: &str, start: World) -> Report {
    match explore(name, start) {
        Ok(report) if report.complete => report,
        Ok(report) => panic!("{name}: more than {} states, budget too large", report.states),
        Err(failure) => panic!("{name}: {}", failure.table()),
    }
}

impl Explorer {
    fn new(start: World, compares: bool) -> Self {
        let limit = std::env::var("HA_EXHAUSTIVE_STATES").ok().and_then(|text| text.parse().ok());
        Self {
            start,
            firsts: compares.then(Vec::new),
            states: Vec::new(),
            by_print: std::collections::HashMap::new(),
            edges: Vec::new(),
            good: Vec::new(),
            known_rest: HashSet::new(),
            known_end: HashSet::new(),
            limit: limit.unwrap_or(STATES_MAX),
            steps: 0,
        }
    }

    fn run(mut self) -> Result<Report, Box<Failure>> {
        let start = self.start.clone();
        let mut layer = vec![(self.note(&start, NONE, Action::Tick(0)).0, start)];
        let (mut depth, mut complete) = (0, true);
        while !layer.is_empty() {
            let mut next = Vec::new();
            for (index, world) in layer {
                if let Err(why) = self.judge(index, &world) {
                    return Err(self.failure(index, None, why));
                }
                let fair = world.fair_actions().len();
                for (place, action) in world.actions().into_iter().enumerate() {
                    let mut after = world.clone();
                    self.steps += 1;
                    if let Err(why) = after.apply(action) {
                        return Err(self.failure(index, Some(action), why));
                    }
                    let (to, new) = self.note(&after, index, action);
                    if let Some(why) = self.differs(to, &after) {
                        return Err(self.failure(index, Some(action), why));
                    }
                    if place < fair {
                        self.edges.push((index, to));
                    }
                    if new {
                        next.push((to, after));
                    }
                }
            }
            if self.states.len() > self.limit {
                complete = false;
                self.follow_all(&next)?;
                break;
            }
            depth += usize::from(!next.is_empty());
            layer = next;
        }
        self.rest_is_in_reach()?;
        Ok(Report { states: self.states.len(), steps: self.steps, depth, complete })
    }

    /// Notes a state; its number, and whether it is new.
    fn note(&mut self, world: &World, parent: u32, action: Action) -> (u32, bool) {
        let number = self.states.len() as u32;
        match self.by_print.entry(world.fingerprint()) {
            std::collections::hash_map::Entry::Occupied(known) => (*known.get(), false),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(number);
                self.states.push(Seen { parent, action });
                self.good.push(false);
                if let Some(firsts) = &mut self.firsts {
                    firsts.push(world.clone());
                }
                (number, true)
            }
        }
    }

    /// How the future of a world differs from that of the first one with the same fingerprint.
    fn differs(&self, number: u32, world: &World) -> Option<String> {
        let first = &self.firsts.as_ref()?[number as usize];
        let why = difference(first, world)?;
        let way = self.failure(number, None, "the other way there:".to_owned());
        Some(format!("the same fingerprint and different futures: {why}\n{}", way.table()))
    }

    /// What must hold of a state besides the rules of each action.
    fn judge(&mut self, index: u32, world: &World) -> Result<(), String> {
        let still = world.cut == [false; 2];
        self.good[index as usize] = still && world.unrest().is_none();
        // an original that hears us and is not heard serves on, and we cannot know
        let unheard = world.cut.iter().position(|cut| *cut).filter(|_| world.cut[0] != world.cut[1]);
        if unheard.is_some_and(|host| world.config.kinds[host] == Kind::Ours) {
            ends_while_one_way(world, &mut self.known_end)?;
        }
        if world.fingerprint().is_multiple_of(SAMPLE) {
            comes_to_rest(world, &mut self.known_rest)?;
        }
        Ok(())
    }

    /// States that will not be explored: each is followed along the plain course of things.
    fn follow_all(&mut self, layer: &[(u32, World)]) -> Result<(), Box<Failure>> {
        for (index, world) in layer {
            if let Err(why) = comes_to_rest(world, &mut self.known_rest) {
                return Err(self.failure(*index, None, why));
            }
            self.good[*index as usize] = true;
        }
        Ok(())
    }

    /// From every state, rest can be reached without any further accident.
    fn rest_is_in_reach(&mut self) -> Result<(), Box<Failure>> {
        let mut incoming = std::mem::take(&mut self.edges);
        incoming.sort_unstable_by_key(|(_, to)| *to);
        let mut stack: Vec<u32> =
            (0..self.states.len() as u32).filter(|index| self.good[*index as usize]).collect();
        while let Some(index) = stack.pop() {
            let first = incoming.partition_point(|(_, to)| *to < index);
            for (from, _) in incoming[first..].iter().take_while(|(_, to)| *to == index) {
                if !std::mem::replace(&mut self.good[*from as usize], true) {
                    stack.push(*from);
                }
            }
        }
        match self.good.iter().position(|good| !good) {
            Some(index) => Err(self.failure(index as u32, None, "rest is out of reach".to_owned())),
            None => Ok(()),
        }
    }

    fn failure(&self, index: u32, last: Option<Action>, why: String) -> Box<Failure> {
        let mut path: Vec<Action> = last.into_iter().collect();
        let mut at = index;
        while at != NONE {
            let seen = &self.states[at as usize];
            if seen.parent != NONE {
                path.push(seen.action);
            }
            at = seen.parent;
        }
        path.reverse();
        Box::new(Failure { why, path, start: Box::new(self.start.clone()) })
    }
}
