//! The model of 3.0.6 against the recordings of real pairs (`tests/data/packets`): every message of
//! the resource protocol that was recorded comes from the model too, in that order.
//!
//! Which timer or job is first is a matter of chance in the recordings, so this is a search: is
//! there an order of the model's events that sends exactly what was recorded? The recorder kept the
//! first [`KEPT`] messages of a kind per sender; further ones are free, and where fewer were kept the
//! model may not send more.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use ha_core::cluster::event::{Command, Input};
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;
use ha_core::wire::message::Message;

use crate::config::{Budget, Config, Kind};
use crate::host::End;
use crate::world::{Action, World};

/// Copies of a kind that the recorder kept, over all links.
const KEPT: usize = 2;
/// Ways tried before the search is given up.
const TRIES_MAX: usize = 400_000;
/// The kinds that are compared.
const PROTOCOL: [&str; 8] = [
    "starting",
    "resource",
    "ask_resources",
    "hb_takeover",
    "ip-request",
    "ip-request-resp",
    "shutdone",
    "stonith",
];

/// What somebody did in a recorded scenario.
#[derive(Debug, Clone, Copy)]
enum Act {
    Start(usize),
    Crash(usize),
    Stop(usize),
    Standby(usize, ResourceSet),
    Takeover(usize, ResourceSet),
    /// Freeze, and thaw after deadtime.
    Freeze(usize),
    Thaw(usize),
    /// Both directions.
    Cut,
    Mend,
    Reload(usize),
    /// One start of a group at its home fails.
    FailStart,
    /// `hb_takeover failback`
    TakeoverFailback(usize),
}

/// A kind of message as the recorder tells them apart.
type Kindred = (usize, String);

/// What was recorded.
#[derive(Default)]
struct Recording {
    /// Each message once, whatever links and retransmissions made of it.
    messages: Vec<Kindred>,
    /// Per kind: different messages and copies that were kept.
    kept: HashMap<Kindred, (usize, usize)>,
}

fn kindred(host: usize, message: &Message) -> Kindred {
    let word = |name: &str| message.text(name).unwrap_or("-").to_owned();
    let full = if message.text("rtype").is_some() { "full" } else { "" };
    let words = ["rsc_hold", "info", "isstable", "result"].map(word);
    (host, format!("{} {full} {}", message.kind(), words.join(" ")))
}

/// Reads the messages up to the first of a kind named `until`.
fn recording(scenario: &str, until: &str) -> Option<Recording> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/packets").join(scenario);
    let text = std::fs::read_to_string(path.join("index.tsv")).ok()?;
    let mut recording = Recording::default();
    let mut seen = HashSet::new();
    for line in text.lines().skip(1) {
        let Some((file, fields)) = line.split_once('\t').zip(line.rsplit('\t').next()) else { continue };
        let mut message = Message::empty();
        for field in fields.split(" (0)").flat_map(|field| field.split(" (1)")) {
            if let Some((name, value)) = field.trim_start_matches("(0)").split_once('=') {
                message.push_text(name, value);
            }
        }
        if message.kind() == until {
            break;
        }
        if !PROTOCOL.contains(&message.kind()) {
            continue;
        }
        let kindred = kindred(usize::from(file.0.contains("-node2-")), &message);
        let counts = recording.kept.entry(kindred.clone()).or_default();
        counts.1 += 1;
        let number = ["src", "hg", "seq"].map(|name| message.text(name).unwrap_or("").to_owned());
        if seen.insert(number) {
            counts.0 += 1;
            recording.messages.push(kindred);
        }
    }
    Some(recording)
}

/// A scenario: what was done, and how it was set up.
struct Scenario {
    name: &'static str,
    auto_failback: AutoFailback,
    groups: [bool; 2],
    losses: u8,
    until: &'static str,
    acts: Vec<Act>,
}

fn scenario(name: &'static str, acts: &[Act]) -> Scenario {
    let (auto_failback, groups) = (AutoFailback::Off, [true, false]);
    Scenario { name, auto_failback, groups, losses: 3, until: "-", acts: acts.to_vec() }
}

/// One way under trial.
#[derive(Clone)]
struct Trial {
    world: World,
    act: usize,
    told: usize,
    counts: HashMap<Kindred, usize>,
}

struct Search<'a> {
    scenario: &'a Scenario,
    recording: Recording,
    seen: HashSet<(u64, usize, usize)>,
    furthest: usize,
    /// What the model said instead of the message behind the furthest.
    instead: std::cell::RefCell<std::collections::BTreeSet<Kindred>>,
}

impl Search<'_> {
    /// What the world said since the last look fits the recording.
    fn fits(&self, trial: &mut Trial) -> bool {
        let said = trial.world.said.replace(Vec::new()).unwrap_or_default();
        for (host, message) in said.iter().filter(|(_, message)| PROTOCOL.contains(&message.kind())) {
            let kindred = kindred(*host, message);
            let (different, copies) = self.recording.kept.get(&kindred).copied().unwrap_or_default();
            let next = self.recording.messages.get(trial.told) == Some(&kindred);
            let count = trial.counts.entry(kindred.clone()).or_default();
            *count += 1;
            match (*count <= different, next) {
                (true, true) => trial.told += 1,
                (true, false) => {
                    self.refuse(trial, kindred);
                    return false;
                }
                (false, _) if copies < KEPT => {
                    self.refuse(trial, kindred);
                    return false;
                }
                (false, _) => {}
            }
        }
        true
    }

    fn refuse(&self, trial: &Trial, kindred: Kindred) {
        if trial.told == self.furthest {
            self.instead.borrow_mut().insert(kindred);
        }
    }

    fn act(&self, trial: &Trial) -> Option<Trial> {
        let mut next = trial.clone();
        let world = &mut next.world;
        next.act += 1;
        let mut all = |actions: &[Action]| actions.iter().all(|action| world.apply(*action).is_ok());
        let done = match *self.scenario.acts.get(trial.act)? {
            Act::Start(host) => all(&[Action::Start(host)]),
            Act::Crash(host) => {
                world.budget.crashes += 1;
                world.apply(Action::Crash(host)).is_ok()
            }
            Act::Stop(host) => ask(world, host, Command::Shutdown),
            Act::Standby(host, set) => ask(world, host, Command::Standby(set)),
            Act::Takeover(host, set) => ask(world, host, Command::Takeover(set)),
            Act::TakeoverFailback(host) => {
                let wish = Message::new("hb_takeover").with("rsc_hold", "failback");
                world.hosts[host].is_serving() && world.feed(host, Input::LocalMessage(wish)).is_ok()
            }
            Act::Reload(host) => ask(world, host, Command::QuickRestart),
            Act::Freeze(host) => {
                world.budget.pauses += 1;
                world.apply(Action::Pause(host)).is_ok()
            }
            Act::Thaw(host) => all(&[Action::Thaw(host)]),
            Act::Cut => {
                world.cut = [true; 2];
                true
            }
            Act::Mend => all(&[Action::Mend(0), Action::Mend(1)]),
            Act::FailStart => {
                world.budget.start_failures += 1;
                true
            }
        };
        (done && self.fits(&mut next)).then_some(next)
    }

    fn nexts(&self, trial: &Trial) -> Vec<Trial> {
        let world = &trial.world;
        let mut nexts: Vec<Trial> = self.act(trial).into_iter().collect();
        let mut actions = world.fair_actions();
        actions.retain(|action| !matches!(action, Action::Mend(_) | Action::Thaw(_)));
        let failing = |action: &Action| match action {
            Action::Finish(host, job, End::Well) => Some(Action::Finish(*host, *job, End::NoStart(*host))),
            _ => None,
        };
        if world.budget.start_failures > 0 {
            let failures: Vec<Action> = actions.iter().filter_map(failing).collect();
            actions.extend(failures);
        }
        if world.budget.losses > 0 {
            let first = |host: &usize| world.wires[1 - *host].front();
            let is_beat = |host: &usize| first(host).is_some_and(|packet| packet.message.kind() == "status");
            actions.extend((0..2).filter(is_beat).map(Action::Lose));
        }
        for action in actions.into_iter().rev() {
            let mut next = trial.clone();
            if next.world.apply(action).is_ok() && self.fits(&mut next) {
                nexts.push(next);
            }
        }
        nexts
    }

    /// Depth first; the likeliest comes last on the stack and is tried first.
    fn run(&mut self, start: Trial) -> bool {
        let mut stack = vec![start];
        let mut tries = 0;
        while let Some(trial) = stack.pop() {
            tries += 1;
            if trial.told > self.furthest {
                self.furthest = trial.told;
                self.instead.borrow_mut().clear();
            }
            let acted = trial.act == self.scenario.acts.len();
            if acted && trial.told == self.recording.messages.len() {
                return true;
            }
            if tries > TRIES_MAX {
                return false;
            }
            if self.seen.insert((trial.world.fingerprint(), trial.act, trial.told)) {
                stack.extend(self.nexts(&trial));
            }
        }
        false
    }
}

fn ask(world: &mut World, host: usize, command: Command) -> bool {
    world.budget.commands += 1;
    let wanted = (host, command);
    let at = world.config.commands.iter().position(|known| *known == wanted);
    at.is_some_and(|at| world.hosts[host].is_serving() && world.apply(Action::Ask(at)).is_ok())
}

fn reproduces(scenario: &Scenario) {
    let recording = recording(scenario.name, scenario.until).expect("its recording is in tests/data");
    assert!(!recording.messages.is_empty(), "{}: nothing recorded", scenario.name);
    let mut config = Config::new(scenario.auto_failback);
    config.kinds = [Kind::Original; 2];
    config.groups = scenario.groups;
    crate::pair_of_ours::every_command(&mut config);
    let mut world = World::new(config);
    world.watch.broken = true; // what a real pair does is not judged here
    world.budget = Budget { losses: scenario.losses, ..Budget::default() };
    world.said = Some(Vec::new());
    let messages = recording.messages.clone();
    let mut search =
        Search { scenario, recording, seen: HashSet::new(), furthest: 0, instead: Default::default() };
    let found = search.run(Trial { world, act: 0, told: 0, counts: HashMap::new() });
    let at = search.furthest;
    let recent = &messages[at.saturating_sub(3)..at];
    assert!(
        found,
        "{}: the model does not say what was recorded after {recent:?}: {:?}, but {:?} ({} states)",
        scenario.name,
        messages.get(at),
        search.instead.borrow(),
        search.seen.len()
    );
    println!("{}: {} messages in the recorded order", scenario.name, messages.len());
}

const ALL: ResourceSet = ResourceSet::ALL;
const LOCAL: ResourceSet = ResourceSet::LOCAL;
const FOREIGN: ResourceSet = ResourceSet::FOREIGN;
const BOTH: [Act; 2] = [Act::Start(0), Act::Start(1)];

fn after_start(name: &'static str, acts: &[Act]) -> Scenario {
    scenario(name, &[&BOTH[..], acts].concat())
}

#[test]
fn ordinary_life() {
    use Act::{Crash, Standby, Start, Stop};
    let life = [Start(0), Start(1), Stop(0), Start(0), Crash(1), Start(1), Stop(1), Stop(0)];
    reproduces(&scenario("ucast_sha1_lifecycle", &life));
    reproduces(&Scenario {
        auto_failback: AutoFailback::On,
        ..after_start("bcast_md5_auto_failback_on", &[Crash(0), Start(0), Stop(0), Start(0)])
    });
    reproduces(&after_start("big_message", &[]));
    for name in ["compression_bz2", "compression_zlib", "compression_zlib_traditional"] {
        reproduces(&after_start(name, &[Standby(0, ALL)]));
    }
    reproduces(&after_start("msgfmt_netstring_mixed", &[Standby(0, ALL)]));
    reproduces(&after_start("msgfmt_classic", &[Standby(0, ALL), Stop(0)]));
    reproduces(&Scenario { groups: [true; 2], ..after_start("three_groups_legacy_ipaddr", &[Stop(0)]) });
    reproduces(&Scenario { until: "addnode", ..after_start("addnode_weight_site", &[]) });
}

#[test]
fn requests() {
    use Act::{Standby, Takeover, TakeoverFailback};
    let acts = [
        [Standby(0, LOCAL), Standby(0, FOREIGN), Standby(0, ALL), Standby(0, FOREIGN), Standby(1, FOREIGN)],
        [Standby(0, FOREIGN), Standby(0, FOREIGN), Standby(1, ALL), Standby(1, LOCAL), Standby(1, FOREIGN)],
        [Takeover(0, ALL), Takeover(0, FOREIGN), Takeover(0, LOCAL), TakeoverFailback(0), Takeover(1, LOCAL)],
        [Takeover(1, FOREIGN), Takeover(1, ALL), Takeover(0, LOCAL), Standby(0, ALL), Standby(1, ALL)],
    ];
    let acts = [acts.as_flattened(), &[Standby(1, ALL)]].concat();
    reproduces(&Scenario { groups: [true; 2], ..after_start("standby_takeover", &acts) });
    // ipfail asks; it asks once more when the passive node's link is cut
    reproduces(&after_start("ping_group", &[Standby(0, ALL)]));
    reproduces(&after_start("ping_ipfail", &[Standby(0, ALL), Standby(0, ALL)]));
    reproduces(&after_start("rexmit_loss", &[Standby(0, ALL)]));
}

#[test]
fn accidents() {
    use Act::{Crash, Cut, FailStart, Freeze, Mend, Reload, Standby, Start, Thaw};
    reproduces(&after_start("frozen_node", &[Freeze(0), Thaw(0)]));
    reproduces(&Scenario { groups: [true; 2], ..after_start("split_heal", &[Cut, Mend]) });
    reproduces(&after_start("split_heal_failback_on", &[Cut, Mend]));
    reproduces(&after_start("resource_failure", &[FailStart]));
    reproduces(&after_start("reload", &[Cut, Reload(0)]));
    for name in ["two_keys", "wrong_key"] {
        reproduces(&scenario(name, &[Cut, Start(0), Start(1)]));
    }
    reproduces(&Scenario {
        auto_failback: AutoFailback::Legacy,
        ..after_start("mcast_crc_legacy", &[Standby(0, ALL), Crash(0), Start(0)])
    });
}
