//! A short vocabulary for named tests.

use ha_core::cluster::event::{Answer, Command};
use ha_core::types::ResourceSet;

use crate::network::NetworkFaults;
use crate::settle;
use crate::world::{Action, Config, World};

/// The first host.
pub const A: usize = 0;
/// The second host.
pub const B: usize = 1;
/// The group whose home is [`A`].
pub const HOME_A: usize = 0;
/// The group whose home is [`B`].
pub const HOME_B: usize = 1;
/// Rows of the table shown with a failure.
const ROWS: usize = 150;

/// A world under a script. Every step fails the test at once when a rule is broken.
pub struct Scenario {
    /// The world, for what the vocabulary does not say.
    pub world: World,
}

impl Scenario {
    /// A quiet pair ([`Config::pair`]), no power yet.
    pub fn pair() -> Self {
        Self::with(|_| {})
    }

    /// A pair with another configuration.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::pair(1);
        change(&mut config);
        Self { world: World::new(config) }
    }

    /// A pair that runs and is at rest, each group at home.
    pub fn running(change: impl FnOnce(&mut Config)) -> Self {
        let mut this = Self::with(change);
        this.start(A).start(B).rest().owners(A, B);
        this
    }

    /// Does something to the world.
    pub fn act(&mut self, action: Action) -> &mut Self {
        self.world.act(action);
        self.check()
    }

    /// Time passes.
    pub fn run_ms(&mut self, ms: u64) -> &mut Self {
        self.world.run_until(self.world.now_ms + ms);
        self.check()
    }

    /// Time passes until the condition holds; fails the test after `limit_ms`.
    pub fn run_while(&mut self, limit_ms: u64, what: &str, goes_on: impl Fn(&World) -> bool) -> &mut Self {
        let end_ms = self.world.now_ms + limit_ms;
        while goes_on(&self.world) {
            if self.world.now_ms >= end_ms {
                self.die(&format!("still {what} after {limit_ms} ms"));
            }
            self.run_ms(1);
        }
        self
    }

    /// Runs until nothing moves any more ([`settle::rest`]).
    pub fn rest(&mut self) -> &mut Self {
        if let Err(why) = settle::rest(&mut self.world) {
            self.die(&why);
        }
        self
    }

    /// Takes all faults away, starts everything, runs until nothing moves.
    pub fn heal(&mut self) -> &mut Self {
        if let Err(why) = settle::heal_and_rest(&mut self.world, true) {
            self.die(&why);
        }
        self
    }

    /// Power on, or the daemon where it is off.
    pub fn start(&mut self, host: usize) -> &mut Self {
        self.act(Action::Start(host))
    }

    /// Power off.
    pub fn crash(&mut self, host: usize) -> &mut Self {
        self.act(Action::Crash(host))
    }

    /// Asks and returns whether it was accepted; fails the test when no answer comes at once.
    pub fn ask(&mut self, host: usize, command: Command) -> bool {
        let before = self.world.hosts[host].replies.len();
        self.act(Action::Ask(host, command));
        match self.world.hosts[host].replies.get(before) {
            Some((_, answer)) => *answer == Answer::Accepted,
            None => self.die(&format!("no answer to {command:?}")),
        }
    }

    /// `hb_standby`, which must be accepted.
    pub fn standby(&mut self, host: usize, set: ResourceSet) -> &mut Self {
        if !self.ask(host, Command::Standby(set)) {
            self.die("standby refused");
        }
        self
    }

    /// `hb_takeover`, which must be accepted.
    pub fn takeover(&mut self, host: usize, set: ResourceSet) -> &mut Self {
        if !self.ask(host, Command::Takeover(set)) {
            self.die("takeover refused");
        }
        self
    }

    /// Graceful stop: runs until the daemon is gone.
    pub fn stop(&mut self, host: usize) -> &mut Self {
        self.ask(host, Command::Shutdown);
        self.run_while(30_000, "stopping", |world| world.hosts[host].daemon.is_some())
    }

    /// Cuts one direction on every link.
    pub fn cut(&mut self, from: usize, to: usize) -> &mut Self {
        (0..self.world.config.links).for_each(|link| self.world.act(Action::Cut(from, to, link)));
        self
    }

    /// Mends it.
    pub fn mend(&mut self, from: usize, to: usize) -> &mut Self {
        (0..self.world.config.links).for_each(|link| self.world.act(Action::Mend(from, to, link)));
        self
    }

    /// Cuts everything between the pair.
    pub fn part(&mut self) -> &mut Self {
        self.cut(A, B).cut(B, A)
    }

    /// Mends everything between the pair.
    pub fn join(&mut self) -> &mut Self {
        self.mend(A, B).mend(B, A)
    }

    /// Other wires.
    pub fn wires(&mut self, faults: NetworkFaults) -> &mut Self {
        self.world.network.faults = faults;
        self
    }

    /// Group [`HOME_A`] serves on the first, [`HOME_B`] on the second given host, nowhere else.
    pub fn owners(&mut self, of_home_a: usize, of_home_b: usize) -> &mut Self {
        self.owner(HOME_A, Some(of_home_a)).owner(HOME_B, Some(of_home_b))
    }

    /// The group serves there and nowhere else, or nothing of it is anywhere.
    pub fn owner(&mut self, group: usize, host: Option<usize>) -> &mut Self {
        let right = match host {
            Some(_) => self.world.owner(group) == host,
            None => self.world.present_on(group).is_empty(),
        };
        if !right {
            let found = self.world.present_on(group);
            self.die(&format!("group {} should be on {host:?} and is on {found:?}", group + 1));
        }
        self
    }

    /// The host logged a line that contains the text.
    pub fn logged(&mut self, host: usize, text: &str) -> &mut Self {
        if !self.world.hosts[host].log.iter().any(|line| line.contains(text)) {
            self.die(&format!("node{} did not log '{text}'", host + 1));
        }
        self
    }

    /// Not even an excused moment with two owners.
    pub fn never_two(&mut self) -> &mut Self {
        if !self.world.checker.never_two_owners() {
            self.die("two owners, if excused");
        }
        self
    }

    /// Time passes while the condition holds all along, looked at every millisecond.
    pub fn always(&mut self, ms: u64, what: &str, holds: impl Fn(&World) -> bool) -> &mut Self {
        for _ in 0..ms {
            self.run_ms(1);
            if !holds(&self.world) {
                self.die(&format!("no longer true: {what}"));
            }
        }
        self
    }

    /// How often a group came to another owner during the steps.
    pub fn moves(&mut self, group: usize, steps: impl FnOnce(&mut Self)) -> u32 {
        let before = self.world.checker.moves(group);
        steps(self);
        self.world.checker.moves(group) - before
    }

    /// Fails the test with the table.
    pub fn die(&self, why: &str) -> ! {
        panic!("{why}\nat {} ms\n{}", self.world.now_ms, self.world.table.print(ROWS));
    }

    fn check(&mut self) -> &mut Self {
        if let Some(violation) = self.world.checker.violation() {
            self.die(violation);
        }
        self
    }
}
