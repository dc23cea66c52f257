//! What the exhaustive check found, each as the shortest way there.

use std::collections::HashSet;

use ha_core::cluster::event::Command;

use crate::pair_of_ours::described;
use crate::settle::{comes_to_rest, ends_while_one_way};
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
