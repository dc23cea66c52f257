//! Transitions drawn at random, on any mix of hosts, with load on every core; runs with `HA_LONG=1`.
//!
//! `HA_RANDOM_SEED=17` repeats a run's draws, `HA_RANDOM_TRANSITIONS=200` and `HA_RANDOM_SECONDS=3600` say
//! how long it goes on (the first that is reached ends it), `HA_RANDOM_KINDS=ours,original` names the
//! hosts, `HA_RANDOM_LOAD=0` leaves the cores alone.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ha_core::demo::world::{HostKind, Way};

use crate::common::pairs::{Pair, ADDRESSES, NODES};
use crate::pair::{has_garbled_itself, kind_name, long, pair, Lookout};

/// What two nodes say of themselves when each set has one owner.
const COMPLETE: [[&str; 2]; 6] =
    [["local", "local"], ["all", "none"], ["none", "all"], ["foreign", "foreign"], ["all", ""], ["", "all"]];
/// Longest time until a pair rests: an original's cold start with a busy machine under it.
const REST_LIMIT: Duration = Duration::from_secs(120);

/// After this an original that has lost a request of its own is helped.
const HELP_AFTER: Duration = Duration::from_secs(30);

/// One thing done to the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transition {
    Crash(usize),
    Boot(usize),
    Stop(usize),
    Start(usize),
    /// The daemon dies and is started again at once.
    Kill(usize),
    /// The daemon dies; what its guard does is up to that. An original has none and is started again.
    Die(usize),
    Reload(usize),
    Standby(usize, &'static str),
    Takeover(usize, &'static str),
    /// Both ask at once.
    Crossed,
    /// For less than deadtime, or longer.
    Freeze(usize, bool),
    OneLink(usize, &'static str),
    OneWay(Way),
    Partition,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Transition {
    /// Two originals might have an address on both hosts.
    fn may_double(self) -> bool {
        matches!(self, Self::OneWay(_) | Self::Partition | Self::Freeze(_, true))
    }

    /// How long an address may be nowhere, milliseconds, with a busy machine under it.
    fn longest_without_ms(self, dead_time_ms: u64) -> u64 {
        // Shell scripts of the original on a busy machine.
        const SCRIPTS_MS: u64 = 15_000;
        match self {
            Self::Reload(_) | Self::OneLink(..) | Self::Freeze(_, false) => SCRIPTS_MS,
            Self::Standby(..) | Self::Takeover(..) | Self::Crossed => SCRIPTS_MS,
            Self::Boot(_) | Self::Start(_) | Self::Stop(_) => SCRIPTS_MS,
            Self::Crash(_) => dead_time_ms + SCRIPTS_MS,
            // A set that nobody claims is asked for first.
            Self::Kill(_) | Self::Die(_) => dead_time_ms + SCRIPTS_MS + 10_000,
            Self::Freeze(_, true) | Self::OneWay(_) | Self::Partition => {
                2 * dead_time_ms + SCRIPTS_MS + 10_000
            }
        }
    }
}

/// xorshift64*
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// `up`: which daemons run; `on`: which hosts have power.
    fn transition(&mut self, up: [bool; 2], on: [bool; 2]) -> Transition {
        if let Some(down) = (0..2).find(|node| !up[*node]) {
            return if on[down] { Transition::Start(down) } else { Transition::Boot(down) };
        }
        const SETS: [&str; 4] = ["all", "local", "foreign", "failback"];
        let node = self.below(2);
        match self.below(20) {
            0..=2 => Transition::Crash(node),
            3..=4 => Transition::Stop(node),
            5 => Transition::Kill(node),
            6 => Transition::Die(node),
            7 => Transition::Reload(node),
            8..=10 => Transition::Standby(node, self.pick(&SETS)),
            11..=13 => Transition::Takeover(node, self.pick(&SETS)),
            14 => Transition::Crossed,
            15 => Transition::Freeze(node, false),
            16 => Transition::Freeze(node, true),
            17 => Transition::OneLink(node, self.pick(&["eth0", "eth1"])),
            18 => Transition::OneWay(self.pick(&[Way::From, Way::To])),
            _ => Transition::Partition,
        }
    }
}

/// Threads that do nothing else.
struct Load(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Load {
    fn on_every_core() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let spin = |end: Arc<AtomicBool>| {
            move || {
                while !end.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..cores).map(|_| thread::spawn(spin(end.clone()))).collect();
        Self(end, threads)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Seen once in seven hundred starts: an original that hangs before it has read its generation. It is
/// killed and started again, as a person would.
fn start(pair: &Pair, node: usize) {
    let before = pair.times_logged(node, "Heartbeat generation");
    pair.start(node);
    let end = Instant::now() + Duration::from_secs(20);
    while pair.kinds[node] == HostKind::Original && pair.times_logged(node, "Heartbeat generation") <= before
    {
        if Instant::now() >= end {
            println!("{}: the original hangs in its start, and is started again", NODES[node]);
            pair.kill_daemon(node);
            return pair.start(node);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_transitions() {
    if !long() {
        return println!("left out: HA_LONG=1 runs it");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let seed = number("HA_RANDOM_SEED").unwrap_or(now);
    let transitions = number("HA_RANDOM_TRANSITIONS").unwrap_or(50);
    let limit = Duration::from_secs(number("HA_RANDOM_SECONDS").unwrap_or(3600));
    let mut draw = Draw(seed.wrapping_mul(2) + 1);
    for _ in 0..10 {
        draw.below(2);
    }
    let kinds = kinds(&mut draw);
    let failback = draw.pick(&["auto_failback on", "auto_failback off"]);
    println!("HA_RANDOM_SEED={seed}: {:?}, {failback}", kinds.map(kind_name));
    let _load = (number("HA_RANDOM_LOAD") != Some(0)).then(Load::on_every_core);
    let Some(pair) = pair(kinds, &[failback]) else { return };
    Lookout::over(&pair, |lookout| {
        let mut run =
            Run { pair: &pair, lookout, draw, up: [true; 2], on: [true; 2], deaths: Default::default() };
        run.pair.start_both();
        run.comes_to_rest(Duration::from_secs(1), "cold start");
        lookout.take_longest_without_ms();
        let began = Instant::now();
        for number in 1..=transitions {
            if began.elapsed() > limit {
                break;
            }
            run.next(number);
        }
        while run.up != [true; 2] {
            run.next(0);
        }
        println!("done after {} s", began.elapsed().as_secs());
    });
}

fn kinds(draw: &mut Draw) -> [HostKind; 2] {
    use HostKind::{Original, Ours};
    let given = std::env::var("HA_RANDOM_KINDS").unwrap_or_default();
    let words: Vec<&str> = given.split(',').collect();
    let drawn = draw.pick(&[[Ours, Original], [Original, Ours], [Ours, Ours]]);
    match words[..] {
        [first, second] => [first, second].map(|word| if word == "original" { Original } else { Ours }),
        _ => drawn,
    }
}

/// So often within this time and the guard brings the daemon back no more (heartbeat(8), GUARD).
const GUARD_DEATHS: usize = 3;
const GUARD_MINUTE: Duration = Duration::from_secs(60);

struct Run<'a> {
    pair: &'a Pair,
    lookout: &'a Lookout,
    draw: Draw,
    /// Which daemons run.
    up: [bool; 2],
    /// Which hosts have power.
    on: [bool; 2],
    /// When a daemon of ours died below its guard.
    deaths: [Vec<Instant>; 2],
}

impl Run<'_> {
    /// Draws a transition, waits for rest, and judges what was seen meanwhile.
    #[track_caller]
    fn next(&mut self, number: u64) {
        let transition = self.draw.transition(self.up, self.on);
        let began = Instant::now();
        self.pair.mark();
        self.lookout.excuse(transition.may_double());
        self.carry_out(transition);
        // An original that restarts itself is away for longer than deadtime.
        let rest_ms = if transition.may_double() { self.pair.times.dead_time_ms + 2500 } else { 1000 };
        let words = self.comes_to_rest(Duration::from_millis(rest_ms), &transition.to_string());
        self.lookout.excuse(false);
        let without_ms = self.lookout.take_longest_without_ms();
        let dead = (0..2).any(|node| self.pair.log(node).contains("is dead"));
        println!(
            "{number} {transition}: {words:?} after {} ms, without address {without_ms:?} ms{}",
            began.elapsed().as_millis(),
            if dead { ", a death was declared" } else { "" }
        );
        let twice = self.lookout.take_twice();
        // Whoever is too slow for its beats on a busy machine is declared dead while its kernel serves on.
        let late = dead && !matches!(transition, Transition::Crash(_) | Transition::Stop(_));
        assert!(twice.is_empty() || late, "{transition}: {twice:?}");
        let limit_ms = transition.longest_without_ms(self.pair.times.dead_time_ms);
        assert!(
            without_ms.iter().all(|ms| *ms <= limit_ms),
            "{transition}: {without_ms:?} ms, not {limit_ms}"
        );
    }

    /// The daemon dies below its guard.
    fn die(&mut self, node: usize) {
        let Self { pair, deaths, .. } = self;
        let daemon = pair.daemon_pid(node);
        pair.run(node, &["kill", "-9", &daemon]);
        deaths[node].retain(|death| death.elapsed() < GUARD_MINUTE);
        deaths[node].push(Instant::now());
        if deaths[node].len() < GUARD_DEATHS {
            return pair.wait("another daemon", || pair.daemon_pid(node) != daemon);
        }
        // It is not brought back again: somebody starts it, as somebody would.
        pair.wait("end of the guard", || pair.host(node).daemon_ended().expect("state").is_some());
        start(pair, node);
        deaths[node].clear();
    }

    fn carry_out(&mut self, transition: Transition) {
        let Self { pair, .. } = self;
        // Each of these brings a new guard, which counts anew.
        if let Transition::Boot(node) | Transition::Start(node) | Transition::Kill(node) = transition {
            self.deaths[node].clear();
        }
        match transition {
            Transition::Crash(node) => {
                pair.world.crash(NODES[node]).expect("crash");
                (self.up[node], self.on[node]) = (false, false);
            }
            Transition::Boot(node) => {
                pair.world.boot(NODES[node]).expect("boot");
                start(pair, node);
                (self.up[node], self.on[node]) = (true, true);
            }
            Transition::Stop(node) => {
                pair.tell_to_stop(node);
                pair.ended_well(node);
                self.up[node] = false;
            }
            Transition::Start(node) => {
                start(pair, node);
                self.up[node] = true;
            }
            Transition::Kill(node) => {
                pair.kill_daemon(node);
                start(pair, node);
            }
            Transition::Die(node) if pair.kinds[node] == HostKind::Original => {
                pair.kill_daemon(node);
                start(pair, node);
            }
            Transition::Die(node) => self.die(node),
            Transition::Reload(node) => {
                pair.run(
                    node,
                    &["sh", "-c", "touch /etc/ha.d/ha.cf; kill -HUP $(cat /var/run/heartbeat.pid)"],
                );
                thread::sleep(Duration::from_millis(500));
            }
            // Refused where nothing can be moved; that is no matter here.
            Transition::Standby(node, set) => drop(pair.host(node).command("hb_standby", &[set])),
            Transition::Takeover(node, set) => drop(pair.host(node).command("hb_takeover", &[set])),
            Transition::Crossed => thread::scope(|scope| {
                for host in pair.world.hosts() {
                    scope.spawn(|| drop(host.command("hb_standby", &["all"])));
                }
            }),
            Transition::Freeze(node, long) => {
                pair.world.freeze(NODES[node]).expect("freeze");
                self.sleep_for_dead_time(if long { (12, 30) } else { (2, 5) });
                self.pair.world.thaw(NODES[node]).expect("thaw");
            }
            Transition::OneLink(node, link) => {
                pair.world.cut_silently(NODES[node], link).expect("cut");
                self.sleep_for_dead_time((1, 20));
                self.pair.world.heal(NODES[node], link).expect("heal");
            }
            Transition::OneWay(way) => {
                self.cut_both(|pair, link| drop(pair.world.cut_one_way("node1", link, way)));
            }
            Transition::Partition => {
                self.cut_both(|pair, link| drop(pair.world.cut_silently("node1", link)));
            }
        }
    }

    fn cut_both(&mut self, cut: impl Fn(&Pair, &str)) {
        let links = ["eth0", "eth1"];
        links.iter().for_each(|link| cut(self.pair, link));
        self.sleep_for_dead_time((2, 40));
        links.iter().for_each(|link| drop(self.pair.world.heal("node1", link)));
    }

    /// For so many tenths of deadtime, drawn between the two.
    fn sleep_for_dead_time(&mut self, (least, most): (usize, usize)) {
        let tenths = least + self.draw.below(most - least + 1);
        thread::sleep(Duration::from_millis(self.pair.times.dead_time_ms * tenths as u64 / 10));
    }

    fn has_garbled_itself(&self, node: usize) -> bool {
        self.up[node] && has_garbled_itself(self.pair, node)
    }

    /// Waits until each address is on the one host that says so and nothing has moved for `rest`.
    #[track_caller]
    fn comes_to_rest(&self, rest: Duration, what: &str) -> [&'static str; 2] {
        let mut end = Instant::now() + REST_LIMIT;
        let mut help = Instant::now() + HELP_AFTER;
        let mut since: Option<([&str; 2], Instant)> = None;
        loop {
            let words = [self.pair.resource_status(0), self.pair.resource_status(1)];
            let present = |known: &[&str; 2]| (0..2).all(|node| known[node].is_empty() != self.up[node]);
            let found = COMPLETE.into_iter().filter(present).find(|known| words == *known);
            let found = found.filter(|known| self.pair.is_owned_as(*known));
            match (found, since) {
                (Some(known), Some((before, began))) if known == before => {
                    if began.elapsed() >= rest {
                        return known;
                    }
                }
                (Some(known), _) => since = Some((known, Instant::now())),
                (None, _) => since = None,
            }
            if Instant::now() >= help {
                if let Some(node) = (0..2).find(|node| self.has_garbled_itself(*node)) {
                    (help, end) = (Instant::now() + REST_LIMIT, Instant::now() + REST_LIMIT);
                    println!("{what}: the original on {} lost a request of its own; booted", NODES[node]);
                    self.pair.world.crash(NODES[node]).expect("crash");
                    self.pair.world.boot(NODES[node]).expect("boot");
                    start(self.pair, node);
                }
            }
            let owners = ADDRESSES.map(|address| self.pair.world.owners(address).unwrap_or_default());
            assert!(Instant::now() < end, "{what}: no rest: {words:?}, addresses on {owners:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
