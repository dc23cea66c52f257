//! What is worth waking somebody for: THE TABLE of alarms, and which of them stand.
//!
//! An alarm is raised once for an event. One that lasts begins and is over, each said once, also when
//! another program file goes on in between; one that does not last is said when it happens. Most of
//! those that last follow from what the cluster knows and are compared with it after every input
//! ([`Cluster::watch_alarms`]); the others are raised where they happen ([`Cluster::alarm`],
//! [`Cluster::alarm_over`]).

use std::collections::BTreeMap;
use std::fmt;

use crate::config::NODES_MAX;
use crate::types::ResourceSet;

use super::event::Output;
use super::handoff::Form;
use super::jobs::Purpose;
use super::{text, Cluster};

/// Alarms that may stand at once, far more than do: each node can be dead or have one link left. More are not
/// said, as they would be said again with every input.
const STANDING_MAX: usize = 4 * NODES_MAX;
/// Longest text of an alarm, in characters.
const TEXT_MAX: usize = 500;

/// What an alarm is about. The names and what each means are in [`ALARMS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// A node fell silent without having said that it leaves.
    DeadNode,
    /// Nothing proves that a silent node is down, or a node does not hear this one.
    PartitionSuspected,
    /// A node that counted as dead is heard again and never was down.
    PartitionHealed,
    /// This node takes the resources of the other one.
    Takeover,
    /// A takeover waits for a time or for a person.
    TakeoverWaits,
    /// A takeover is not made, because a guard says so.
    TakeoverRefused,
    /// A node is being reset, or cut off.
    Fencing,
    /// A node could not be reset, or cut off.
    FencingFailed,
    /// Resources did not start on this node, or failed here for good.
    ResourceFailed,
    /// They failed on both nodes and stay down.
    FailedOnBoth,
    /// A resource did not stop: this node goes down.
    StopFailed,
    /// A resource that ran has stopped working; it is started again or given away.
    ServiceFailed,
    /// Both nodes claim the same resources.
    TwoOwners,
    /// This node was paused or overloaded for longer than it may be.
    NodePaused,
    /// A node is heard on one of its links only.
    OneLinkLeft,
    /// haresources is not the same on both nodes.
    HaresourcesMismatch,
    /// Another host claims an address that is here.
    AddressConflict,
    /// An address was taken away from this node by something else.
    AddressLost,
    /// Resources are in maintenance: nobody watches them, restarts them or takes them over.
    Maintenance,
    /// The watchdog is no longer fed.
    WatchdogFailed,
    /// A guard lets this node hold nothing: it gave up what it had.
    GaveUp,
}

/// One row of [`ALARMS`].
#[derive(Debug, Clone, Copy)]
pub struct AlarmRow {
    /// Which.
    pub kind: AlarmKind,
    /// The name for programs and manuals.
    pub name: &'static str,
    /// It begins and is over; else it happens once.
    pub lasts: bool,
    /// It begins and ends by what [`Cluster::watch_alarms`] finds.
    watched: bool,
    /// What is said when it is over.
    over: &'static str,
}

const fn happens(kind: AlarmKind, name: &'static str) -> AlarmRow {
    AlarmRow { kind, name, lasts: false, watched: false, over: "" }
}

const fn lasts(kind: AlarmKind, name: &'static str, over: &'static str) -> AlarmRow {
    AlarmRow { kind, name, lasts: true, watched: false, over }
}

const fn watched(kind: AlarmKind, name: &'static str, over: &'static str) -> AlarmRow {
    AlarmRow { kind, name, lasts: true, watched: true, over }
}

/// THE TABLE of alarms.
#[rustfmt::skip]
pub const ALARMS: &[AlarmRow] = &[
    watched(AlarmKind::DeadNode, "dead-node", "the node is heard again"),
    watched(AlarmKind::PartitionSuspected, "partition-suspected", "the nodes hear each other, or it is known that one is down"),
    happens(AlarmKind::PartitionHealed, "partition-healed"),
    watched(AlarmKind::Takeover, "takeover", "the takeover is done"),
    lasts(AlarmKind::TakeoverWaits, "takeover-waits", "the takeover no longer waits"),
    happens(AlarmKind::TakeoverRefused, "takeover-refused"),
    lasts(AlarmKind::Fencing, "fencing", "the fencing is done"),
    lasts(AlarmKind::FencingFailed, "fencing-failed", "the node is fenced, or heard again"),
    watched(AlarmKind::ResourceFailed, "resource-failed", "nothing of it counts as failed on this node any more"),
    watched(AlarmKind::FailedOnBoth, "failed-on-both", "they start again, or somebody has looked"),
    happens(AlarmKind::StopFailed, "stop-failed"),
    happens(AlarmKind::ServiceFailed, "service-failed"),
    watched(AlarmKind::TwoOwners, "two-owners", "one node claims them"),
    happens(AlarmKind::NodePaused, "node-paused"),
    watched(AlarmKind::OneLinkLeft, "one-link-left", "more than one link works, or none"),
    watched(AlarmKind::HaresourcesMismatch, "haresources-mismatch", "the files agree, or the other node is away"),
    happens(AlarmKind::AddressConflict, "address-conflict"),
    happens(AlarmKind::AddressLost, "address-lost"),
    lasts(AlarmKind::Maintenance, "maintenance", "maintenance is over"),
    happens(AlarmKind::WatchdogFailed, "watchdog-failed"),
    lasts(AlarmKind::GaveUp, "gave-up", "this node may hold resources again"),
];

impl AlarmKind {
    fn row(self) -> &'static AlarmRow {
        // Every kind has a row: tested below.
        ALARMS.iter().find(|row| row.kind == self).unwrap_or(&ALARMS[0])
    }

    /// Its name in [`ALARMS`].
    pub fn name(self) -> &'static str {
        self.row().name
    }

    fn from_name(name: &str) -> Option<Self> {
        ALARMS.iter().find(|row| row.name == name).map(|row| row.kind)
    }
}

/// Where an alarm is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmState {
    /// It happened; nothing will be said of its end.
    Once,
    /// It begins to last.
    Begin,
    /// It still lasts.
    Reminder,
    /// It is over.
    Over,
}

impl AlarmState {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Begin => "begin",
            Self::Reminder => "reminder",
            Self::Over => "over",
        }
    }
}

/// One alarm, to be told to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// Where it is in its life.
    pub state: AlarmState,
    /// The node, the set or group, or the address that it is about.
    pub subject: String,
    /// What happened and what to do, one line.
    pub text: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, state, subject, text } = self;
        write!(f, "alarm {} {} {} {}", kind.name(), state.as_str(), text::escape(subject), text::escape(text))
    }
}

/// Alarms that began and are not over, and what the watched ones hang on.
#[derive(Debug, Clone, Default)]
pub(super) struct Alarms {
    standing: BTreeMap<(AlarmKind, String), String>,
    /// The peer fell silent without a goodbye, and nothing has shown since that it is down.
    peer_unproven: bool,
    /// By node: since when one link of several works.
    one_link_ms: BTreeMap<u64, u64>,
}

impl Alarms {
    /// So that a successor in this process does not say again what was said.
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.flag("alarms.peer_unproven", &mut self.peer_unproven);
        form.numbers("alarms.one_link", &mut self.one_link_ms, NODES_MAX);
        let word = |((kind, subject), line): (&(AlarmKind, String), &String)| {
            format!("{} {} {}", kind.name(), text::escape(subject), text::escape(line))
        };
        let mut lines = self.standing.iter().map(word).collect();
        form.texts("alarms.standing", &mut lines);
        let read = |line: &String| {
            let mut words = line.split(' ');
            let kind = AlarmKind::from_name(words.next()?)?;
            Some(((kind, text::text(words.next()?)?), text::text(words.next()?)?))
        };
        self.standing = lines.iter().filter_map(read).take(STANDING_MAX).collect();
    }
}

impl Cluster {
    /// Raises an alarm. One that lasts is said when it begins, and not again while it stands for that
    /// subject.
    pub(super) fn alarm(&mut self, kind: AlarmKind, subject: &str, text: &str) {
        let (subject, text) = (subject.to_owned(), one_line(text));
        let state = if kind.row().lasts { AlarmState::Begin } else { AlarmState::Once };
        if state == AlarmState::Begin {
            let standing = &mut self.alarms.standing;
            let key = (kind, subject.clone());
            if standing.contains_key(&key) || standing.len() >= STANDING_MAX {
                return;
            }
            standing.insert(key, text.clone());
        }
        self.outputs.push_back(Output::Alarm(Alarm { kind, state, subject, text }));
    }

    /// A life before this one has said that it began.
    pub(super) fn alarm_stands(&mut self, kind: AlarmKind, subject: &str, text: &str) {
        self.alarms.standing.insert((kind, subject.to_owned()), one_line(text));
    }

    /// Says once more that an alarm lasts; nothing when it does not stand.
    pub(super) fn alarm_again(&mut self, kind: AlarmKind, subject: &str, text: &str) {
        if self.alarms.standing.contains_key(&(kind, subject.to_owned())) {
            let (subject, text) = (subject.to_owned(), one_line(text));
            self.outputs.push_back(Output::Alarm(Alarm { kind, state: AlarmState::Reminder, subject, text }));
        }
    }

    /// An alarm that lasts is over; nothing when it does not stand. Without a text the table's is said.
    pub(super) fn alarm_over(&mut self, kind: AlarmKind, subject: &str, text: Option<&str>) {
        if self.alarms.standing.remove(&(kind, subject.to_owned())).is_some() {
            let text = one_line(text.unwrap_or(kind.row().over));
            let subject = subject.to_owned();
            self.outputs.push_back(Output::Alarm(Alarm { kind, state: AlarmState::Over, subject, text }));
        }
    }

    /// It is known that the silent peer is down, by fencing or by a person's word: no partition.
    pub(super) fn peer_is_proven_down(&mut self) {
        self.alarms.peer_unproven = false;
    }

    /// The peer was declared dead; `silent`: without a goodbye, by one that was heard before.
    pub(super) fn alarm_peer_died(&mut self, silent: bool) {
        self.alarms.peer_unproven = silent;
    }

    /// Compares what is so with what was said. Runs after every input.
    pub(super) fn watch_alarms(&mut self) {
        let found = self.conditions();
        if found.is_empty() && self.alarms.standing.is_empty() {
            return;
        }
        let watched = |kind: &AlarmKind| kind.row().watched;
        let ended: Vec<(AlarmKind, String)> = self
            .alarms
            .standing
            .keys()
            .filter(|key| {
                watched(&key.0) && !found.iter().any(|(kind, subject, _)| (*kind, subject) == (key.0, &key.1))
            })
            .cloned()
            .collect();
        for (kind, subject) in ended {
            self.alarm_over(kind, &subject, None);
        }
        for (kind, subject, text) in found {
            self.alarm(kind, &subject, &text);
        }
    }

    /// Every watched alarm that should stand now: kind, subject, text.
    fn conditions(&mut self) -> Vec<(AlarmKind, String, String)> {
        let mut found = Vec::new();
        if self.ended || !self.liveness.communication_up {
            return found;
        }
        self.node_conditions(&mut found);
        if !self.settings.manage_resources {
            return found;
        }
        self.peer_conditions(&mut found);
        for set in [ResourceSet::LOCAL, ResourceSet::FOREIGN] {
            if self.claims.failed.contains(set) {
                let text = format!(
                    "{set} resources failed on this node: look into the log, repair, then hb_takeover {set}"
                );
                found.push((AlarmKind::ResourceFailed, set.to_string(), text));
            }
        }
        if !self.claims.failed_on_both.is_empty() {
            let text = "resources failed on both nodes: they stay down until somebody looks; then hb_takeover tries again";
            found.push((AlarmKind::FailedOnBoth, "resources".to_owned(), text.to_owned()));
        }
        found
    }

    fn node_conditions(&mut self, found: &mut Vec<(AlarmKind, String, String)>) {
        let now_ms = self.now.monotonic_ms;
        for (index, node) in self.nodes.iter().enumerate() {
            if index == self.me {
                continue;
            }
            let left = Some(index) == self.peer && self.claims.peer_left;
            if node.is_dead() && !left {
                let text = format!("node {} is dead: nothing was heard of it for its deadtime", node.name);
                found.push((AlarmKind::DeadNode, node.name.to_string(), text));
            }
            let up = node.links.iter().filter(|link| link.up).count();
            if !node.is_live() || node.links.len() < 2 || up != 1 {
                self.alarms.one_link_ms.remove(&(index as u64));
                continue;
            }
            // The links of a node that comes are heard one after the other, and go so too.
            let since_ms = *self.alarms.one_link_ms.entry(index as u64).or_insert(now_ms);
            if now_ms >= since_ms + 2 * self.settings.keepalive_ms {
                let link = node.links.iter().find(|link| link.up).map(|link| link.name.to_string());
                let text = format!(
                    "node {} is heard on {} alone: when that link fails, both nodes serve",
                    node.name,
                    link.unwrap_or_default()
                );
                found.push((AlarmKind::OneLinkLeft, node.name.to_string(), text));
            }
        }
    }

    fn peer_conditions(&self, found: &mut Vec<(AlarmKind, String, String)>) {
        let Some(peer) = self.peer() else { return };
        let name = peer.name.to_string();
        if peer.is_dead() && self.alarms.peer_unproven {
            let text = format!(
                "nothing proves that node {name} is down: it may be cut off and still serve; look at it, and at the links"
            );
            found.push((AlarmKind::PartitionSuspected, name.clone(), text));
        }
        if let Some(extension) = peer.extension.as_ref().filter(|_| peer.is_live()) {
            let patience_ms = 3 * self.settings.keepalive_ms.max(10);
            let early =
                self.claims.contact_ms.is_some_and(|at_ms| self.now.monotonic_ms < at_ms + patience_ms);
            if !extension.hears_us && !early {
                let text =
                    format!("node {name} is heard and does not hear this node: the links work one way only");
                found.push((AlarmKind::PartitionSuspected, name.clone(), text));
            }
            if self.digests_differ(extension) {
                let text = format!("haresources differs from the file on node {name}: make both the same");
                found.push((AlarmKind::HaresourcesMismatch, name.clone(), text));
            }
        }
        if let Some(set) = self.jobs.set_of_purpose(Purpose::Takeover) {
            let text = format!("this node takes over {set} resources, because of node {name}");
            found.push((AlarmKind::Takeover, name.clone(), text));
        }
        if !self.claims.contested.is_empty() {
            let text = format!("this node and node {name} both claim {} resources", self.claims.contested);
            found.push((AlarmKind::TwoOwners, self.claims.contested.to_string(), text));
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_and_a_name_of_its_own() {
        for (index, row) in ALARMS.iter().enumerate() {
            assert_eq!(row.kind.name(), row.name);
            assert_eq!(AlarmKind::from_name(row.name), Some(row.kind));
            assert!(ALARMS[..index].iter().all(|other| other.kind != row.kind && other.name != row.name));
            assert_eq!(row.lasts, !row.over.is_empty(), "{}", row.name);
        }
        // The last kind of the enum: a kind without a row shows here.
        assert_eq!(ALARMS.len(), AlarmKind::GaveUp as usize + 1);
    }

    /// A node that is cut off from as many others as there can be says so once for each of them.
    #[test]
    fn a_hundred_dead_nodes_are_said_once_each() {
        use crate::cluster::event::{Input, Now};
        use crate::cluster::settings::Faults;
        use crate::types::NodeName;
        let auto_failback = crate::config::settings::AutoFailback::Off;
        let mut settings = crate::cluster::tests::settings(0, auto_failback, 10, Faults::default());
        let nodes = 1..=NODES_MAX;
        settings.nodes = nodes.map(|number| NodeName::new(&format!("node{number}")).unwrap()).collect();
        settings.manage_resources = false;
        let mut cluster = Cluster::new(settings, Now { monotonic_ms: 0, wall_s: 1 });
        let mut said = 0;
        for step in 0..100 {
            let input = if step == 0 { Input::Start } else { Input::Tick };
            cluster.handle(Now { monotonic_ms: 100 * step, wall_s: 1 }, input);
            while let Some(output) = cluster.poll_output() {
                said += usize::from(matches!(output, Output::Alarm(_)));
            }
        }
        assert_eq!(said, NODES_MAX - 1);
    }

    #[test]
    fn an_alarm_is_one_line() {
        let alarm = Alarm {
            kind: AlarmKind::DeadNode,
            state: AlarmState::Begin,
            subject: "node2".to_owned(),
            text: one_line("a\nb c"),
        };
        assert_eq!(alarm.to_string(), "alarm dead-node begin node2 a%20b%20c");
    }
}
