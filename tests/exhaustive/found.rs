//! What the exhaustive check found, each as the shortest way there.

use std::collections::HashSet;

use ha_core::cluster::event::Command;
use ha_core::types::ResourceSet;

use crate::pair_of_ours::described;
use crate::settle::{comes_to_rest, ends_while_one_way, plain_course, plain_course_but_thaw};
use crate::trace;
use crate::world::{Action, World};

/// A way that once broke a rule.
struct Way {
    start: World,
    world: World,
    path: Vec<Action>,
}

impl Way {
    fn from(words: &str) -> Self {
        let start = described(words);
        Self { world: start.clone(), start, path: Vec::new() }
    }

    fn then(mut self, action: Action) -> Self {
        self.path.push(action);
        let result = self.world.apply(action);
        self.must(result);
        self
    }

    fn ask(self, host: usize, command: Command) -> Self {
        let wanted = (host, command);
        let at = self.world.config.commands.iter().position(|known| *known == wanted);
        self.then(Action::Ask(at.expect("every command is among the known")))
    }

    /// The plain course of things, up to there.
    fn until_plain(mut self, there: impl Fn(&World) -> bool) -> Self {
        while !there(&self.world) {
            let action = plain_course(&self.world);
            self = self.then(action.expect("running daemons have timers"));
        }
        self
    }

    fn must(&self, result: Result<(), String>) {
        if let Err(why) = result {
            panic!("{why}\n{}", trace::table(&self.start, &self.path));
        }
    }

    fn ends_well(self) {
        if self.world.cut[0] != self.world.cut[1] {
            self.must(ends_while_one_way(&self.world, &mut HashSet::new()));
        }
        self.must(comes_to_rest(&self.world, &mut HashSet::new()));
    }
}

/// Both have everything after a partition. Node2 hears node1 again, not the other way round, and is
/// reloaded: communication cannot come up, and it went on serving what it had been given to keep.
#[test]
fn a_daemon_started_anew_gives_way_to_a_peer_that_does_not_hear_it() {
    Way::from("off parted commands=1").then(Action::Mend(0)).ask(1, Command::QuickRestart).ends_well();
}

/// Two beats of an original are lost: we take its group and it knows nothing of that, so it neither
/// restarts itself nor says what it holds. Both served for ever.
#[test]
fn an_original_that_did_not_notice_its_death_is_asked() {
    let mut way = Way::from("original1 off losses=2");
    let from_original = |world: &World| world.wires[0].front().is_some_and(|_| world.budget.losses > 0);
    while !way.world.hosts[1].has(0) {
        let action = if from_original(&way.world) { Some(Action::Lose(1)) } else { plain_course(&way.world) };
        way = way.then(action.expect("running daemons have timers"));
    }
    way.ends_well();
}

/// An original stood still, and reads what came meanwhile before it looks at its timers: it takes
/// our group and sees no partition.
#[test]
fn an_original_that_thawed_without_noticing_is_asked() {
    let mut way = Way::from("original2 off pauses=1").then(Action::Pause(1));
    while !way.world.hosts[0].has(1) {
        let action = plain_course_but_thaw(&way.world);
        way = way.then(action.expect("a running daemon has timers"));
    }
    way.then(Action::Thaw(1)).then(Action::Deliver(1)).ends_well();
}

/// We give everything to an original; its report is lost, its `done` arrives. By the old report
/// nobody owned our group, and we started it beside the original.
#[test]
fn what_an_original_said_it_took_is_no_orphan() {
    let mut way = Way::from("original2 commands=1 losses=1");
    way = way.ask(0, Command::Standby(ResourceSet::ALL));
    let reports_all = |world: &World| {
        let first = world.wires[1].front().map(|packet| &packet.message);
        first.is_some_and(|message| message.kind() == "resource" && message.text("rsc_hold") == Some("all"))
    };
    while !reports_all(&way.world) {
        let action = plain_course(&way.world);
        way = way.then(action.expect("running daemons have timers"));
    }
    way.then(Action::Lose(0)).then(Action::Deliver(0)).ends_well();
}

/// Our report of a transition is lost and asked for again when the transition is over: the original
/// took the old one for the newest, and saw a transition for ever.
#[test]
fn an_old_report_is_followed_by_the_present_one() {
    let mut way = Way::from("original2 commands=1 losses=1").ask(0, Command::Standby(ResourceSet::ALL));
    let old_report = |world: &World| {
        let first = world.wires[0].front().map(|packet| &packet.message);
        first.is_some_and(|message| message.kind() == "resource" && message.text("rsc_hold") == Some("local"))
    };
    while !old_report(&way.world) {
        let action = plain_course(&way.world);
        way = way.then(action.expect("running daemons have timers"));
    }
    way.then(Action::Lose(1)).ends_well();
}

/// Both have everything after a partition, and only one direction works again: ours hears the beats of
/// an original that hears nothing, so says nothing. Both served for ever.
#[test]
fn an_original_that_does_not_answer_counts_as_holding_everything() {
    Way::from("original2 off parted").then(Action::Mend(1)).ends_well();
    Way::from("original1 parted").then(Action::Mend(0)).ends_well();
}

/// We start anew and an original that has everything is reloaded before it gets our question: it asks
/// us and says nothing. After ten seconds we took our group beside it.
#[test]
fn an_original_that_missed_our_question_is_asked_again() {
    let mut way = Way::from("original2 off commands=1 crashes=1").then(Action::Crash(0));
    way = way.until_plain(|world| world.hosts[1].has(0) && world.hosts[1].jobs.is_empty());
    way = way.then(Action::Start(0));
    way = way.until_plain(|world| world.wires[0].iter().any(|packet| packet.message.kind() == "starting"));
    way.ask(1, Command::QuickRestart).ends_well();
}
