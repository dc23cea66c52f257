//! All that a node knows as text, so that another program file can go on in its place.
//!
//! One visit of every field serves both directions, so that what is written is what is read. Only a
//! node at rest is handed over: with no job, no dialogue and no doubt under way there is nothing that
//! the successor could misunderstand. Moments are those of the monotonic clock, which goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use thiserror::Error;

use crate::types::{Generation, ResourceSet, SequenceNumber, Uuid};
use crate::wire::message::Message;

use super::claims::Phase;
use super::event::Now;
use super::node::{Extension, Node, Status};
use super::settings::ClusterSettings;
use super::{text, Cluster};

/// First line of the text. To be changed whenever a field is added, removed or means something else.
const VERSION: &str = "cluster-state 6";
/// Longest text that is read, in bytes.
pub const TEXT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why a text is no state of this node. Nothing was taken from it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandoffError {
    /// Another version of this program wrote it, or nobody did.
    #[error("it is of another version")]
    Version,
    /// A field is missing or has a value that cannot be.
    #[error("its field {0} is missing or damaged")]
    Field(String),
    /// There is more in it than this node has, such as another configuration's nodes.
    #[error("its field {0} belongs to no field here")]
    Foreign(String),
}

impl Cluster {
    /// Everything as text; `None` while something is under way.
    pub fn export(&mut self) -> Option<String> {
        if !self.is_at_rest() {
            return None;
        }
        let mut form = Form { text: format!("{VERSION}\n"), fields: None, error: None };
        self.visit(&mut form);
        Some(form.text)
    }

    /// A node that goes on where the text ends. `settings` are made from the same configuration;
    /// its `resume` has no effect. The next input needs no [`super::event::Input::Start`].
    ///
    /// # Errors
    /// [`HandoffError`].
    pub fn import(settings: ClusterSettings, now: Now, state: &str) -> Result<Self, HandoffError> {
        let mut lines = state.lines();
        if lines.next() != Some(VERSION) || state.len() > TEXT_MAX_BYTES {
            return Err(HandoffError::Version);
        }
        let split =
            |line: &str| line.split_once(' ').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields: Option<BTreeMap<String, String>> = lines.map(split).collect();
        let fields = fields.ok_or_else(|| HandoffError::Field("without a name".to_owned()))?;
        let mut cluster = Self::new(ClusterSettings { resume: None, ..settings }, now);
        let mut form = Form { text: String::new(), fields: Some(fields), error: None };
        cluster.visit(&mut form);
        if cluster.liveness.last_beat_ms > now.monotonic_ms || cluster.liveness.started_ms.is_none() {
            form.damaged("liveness.last_beat");
        }
        if cluster.nodes[cluster.me].generation != cluster.settings.generation {
            form.damaged("generation");
        }
        match (form.error, form.fields.and_then(|rest| rest.into_keys().next())) {
            (Some(error), _) => Err(error),
            (None, Some(foreign)) => Err(HandoffError::Foreign(foreign)),
            (None, None) => Ok(cluster),
        }
    }

    /// No job, no dialogue and no doubt is under way: what is claimed here is what is active here.
    pub fn is_at_rest(&self) -> bool {
        let resources = !self.settings.manage_resources || self.claims.phase == Phase::Stable;
        !self.ended
            && self.outputs.is_empty()
            && self.liveness.started_ms.is_some()
            && self.liveness.communication_up
            && resources
            && self.claims.is_at_rest()
            && self.jobs.is_idle()
            && !self.clients_paused
            && self.members.is_at_rest()
            && self.nodes.iter().all(|node| node.held.since_ms().is_none())
            && self.handover.is_idle()
            && !self.takeover.is_asking()
            && !self.lateness.in_doubt()
            && !self.lateness.forfeits()
            && !self.shutdown.is_under_way()
            && !self.shutdown.quick_restart_wanted
    }

    fn visit(&mut self, form: &mut Form) {
        form.text("load", &mut self.load);
        form.number("random", &mut self.random);
        form.number("dropped", &mut self.dropped_packets);
        form.number("repeated", &mut self.repeated_packets);
        for index in 0..self.nodes.len() {
            visit_node(&mut self.nodes[index], form);
        }
        self.history.visit(form);
        self.liveness.visit(form);
        self.claims.visit(form);
        self.takeover.visit(self.now.monotonic_ms, form);
        self.original.visit(form);
        self.members.visit(form);
        self.lateness.visit(form);
        self.handover.visit(form);
        self.jobs.visit(form);
        self.legacy.visit(form);
        self.maintenance.visit(form);
        self.services.visit(form);
        self.alarms.visit(form);
    }
}

fn visit_node(node: &mut Node, form: &mut Form) {
    let name = format!("node.{}", text::escape(node.name.as_str()));
    let at = |field: &str| format!("{name}.{field}");
    for link in &mut node.links {
        let link_name = format!("{name}.link.{}", text::escape(link.name.as_str()));
        form.flag(&format!("{link_name}.up"), &mut link.up);
        form.optional(&format!("{link_name}.last"), &mut link.last_packet_ms);
    }
    let mut status = node.status.as_str().to_owned();
    form.text(&at("status"), &mut status);
    node.status = Status::parse(&status);
    form.uuid(&at("uuid"), &mut node.uuid);
    form.generation(&at("generation"), &mut node.generation);
    node.received.visit(&at("received"), form);
    form.sequence(&at("status_sequence"), &mut node.status_sequence);
    form.number(&at("status_ts"), &mut node.status_ts);
    form.optional(&at("last_status"), &mut node.last_status_ms);
    form.optional(&at("added"), &mut node.added_ms);
    form.number(&at("dead_after"), &mut node.dead_after_ms);
    form.number(&at("ack_trigger"), &mut node.ack_trigger);
    form.number(&at("acknowledged"), &mut node.acknowledged);
    form.flag(&at("heard"), &mut node.heard);
    let mut key_index = node.key_index.map(u64::from);
    form.optional(&at("key_index"), &mut key_index);
    node.key_index = key_index.and_then(|index| u8::try_from(index).ok());
    form.number(&at("weight"), &mut node.weight);
    form.text(&at("site"), &mut node.site);
    let mut is_ours = node.extension.is_some();
    form.flag(&at("extension"), &mut is_ours);
    if is_ours {
        visit_extension(node.extension.get_or_insert_default(), &at("extension"), form);
    }
}

fn visit_extension(extension: &mut Extension, name: &str, form: &mut Form) {
    let at = |field: &str| format!("{name}.{field}");
    form.flag(&at("hears_us"), &mut extension.hears_us);
    let mut generation = extension.hears_generation.map(|generation| generation.0);
    form.optional(&at("hears_generation"), &mut generation);
    extension.hears_generation = generation.map(Generation);
    form.optional_set(&at("holding"), &mut extension.holding);
    form.flag(&at("settled"), &mut extension.settled);
    form.set(&at("failed"), &mut extension.failed);
    form.optional_set(&at("held_at_loss"), &mut extension.held_at_loss);
    form.set(&at("leftover"), &mut extension.leftover);
    form.flag(&at("forfeits"), &mut extension.forfeits);
    form.optional(&at("question"), &mut extension.question);
    form.optional(&at("answer"), &mut extension.answer);
    form.text(&at("digest"), &mut extension.digest);
    form.optional(&at("reaches"), &mut extension.reaches);
    form.optional(&at("watchdog"), &mut extension.watchdog_ms);
}

/// Named values, being written or being read.
#[derive(Debug)]
pub(super) struct Form {
    text: String,
    /// What is still to be read; `None`: it is being written.
    fields: Option<BTreeMap<String, String>>,
    error: Option<HandoffError>,
}

impl Form {
    /// Writes what `show` makes of the value, or reads it; one that `read` does not take is an error
    /// and stays as it was.
    fn field<T>(
        &mut self,
        name: &str,
        value: &mut T,
        show: impl Fn(&T) -> String,
        read: impl Fn(&str) -> Option<T>,
    ) {
        let Some(fields) = &mut self.fields else {
            let _ = writeln!(self.text, "{name} {}", show(value));
            return;
        };
        match fields.remove(name).as_deref().and_then(read) {
            Some(found) => *value = found,
            None => self.damaged(name),
        }
    }

    fn damaged(&mut self, name: &str) {
        self.error.get_or_insert_with(|| HandoffError::Field(name.to_owned()));
    }

    pub(super) fn number(&mut self, name: &str, value: &mut u64) {
        self.field(name, value, u64::to_string, |text| text.parse().ok());
    }

    pub(super) fn flag(&mut self, name: &str, value: &mut bool) {
        self.field(name, value, bool::to_string, |text| text.parse().ok());
    }

    pub(super) fn optional(&mut self, name: &str, value: &mut Option<u64>) {
        let show = |value: &Option<u64>| value.map_or_else(|| "-".to_owned(), |number| number.to_string());
        self.field(name, value, show, |text| match text {
            "-" => Some(None),
            _ => text.parse().ok().map(Some),
        });
    }

    pub(super) fn set(&mut self, name: &str, value: &mut ResourceSet) {
        self.field(name, value, ResourceSet::to_string, |text| text.parse().ok());
    }

    pub(super) fn optional_set(&mut self, name: &str, value: &mut Option<ResourceSet>) {
        let show = |value: &Option<ResourceSet>| value.map_or_else(|| "-".to_owned(), |set| set.to_string());
        self.field(name, value, show, |text| match text {
            "-" => Some(None),
            _ => text.parse().ok().map(Some),
        });
    }

    pub(super) fn text(&mut self, name: &str, value: &mut String) {
        self.field(name, value, |value| text::escape(value), text::text);
    }

    pub(super) fn texts(&mut self, name: &str, value: &mut BTreeSet<String>) {
        let show = |value: &BTreeSet<String>| {
            let words: Vec<String> = value.iter().map(|word| text::escape(word)).collect();
            words.join(",")
        };
        self.field(name, value, show, |line| {
            line.split(',').filter(|word| !word.is_empty()).map(text::text).collect()
        });
    }

    pub(super) fn sequence(&mut self, name: &str, value: &mut SequenceNumber) {
        self.number(name, &mut value.0);
    }

    fn generation(&mut self, name: &str, value: &mut Generation) {
        self.number(name, &mut value.0);
    }

    fn uuid(&mut self, name: &str, value: &mut Option<Uuid>) {
        let show = |value: &Option<Uuid>| {
            value.map_or_else(
                || "-".to_owned(),
                |uuid| uuid.0.iter().map(|byte| format!("{byte:02x}")).collect(),
            )
        };
        self.field(name, value, show, |line| match line {
            "-" => Some(None),
            _ => text::unhex(line).and_then(|bytes| Uuid::from_bytes(&bytes)).map(Some),
        });
    }

    /// Numbers with numbers.
    pub(super) fn numbers(&mut self, name: &str, value: &mut BTreeMap<u64, u64>, max: usize) {
        let show = |value: &BTreeMap<u64, u64>| {
            let pairs: Vec<String> = value.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            pairs.join(",")
        };
        self.field(name, value, show, |line| {
            let pair = |word: &str| {
                let (key, value) = word.split_once(':')?;
                Some((key.parse().ok()?, value.parse().ok()?))
            };
            let pairs: Option<BTreeMap<u64, u64>> =
                line.split(',').filter(|word| !word.is_empty()).map(pair).collect();
            pairs.filter(|pairs| pairs.len() <= max)
        });
    }

    /// Messages, each with its number and a moment, in order: `NAME.0`, `NAME.1` and so on.
    pub(super) fn messages(&mut self, name: &str, value: &mut VecDeque<(u64, u64, Message)>, max: usize) {
        let mut count = value.len() as u64;
        self.number(&format!("{name}.count"), &mut count);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > max {
            return self.damaged(name);
        }
        value.resize(count, (0, 0, Message::empty()));
        let show = |(number, moment_ms, message): &(u64, u64, Message)| {
            format!("{number} {moment_ms}{}", text::fields(message))
        };
        let read = |line: &str| {
            let mut words = line.splitn(3, ' ');
            let (number, moment_ms) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some((number, moment_ms, text::message(words.next().unwrap_or_default())?))
        };
        for (index, one) in value.iter_mut().enumerate() {
            self.field(&format!("{name}.{index}"), one, show, read);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Input, Output};
    use super::super::settings::Faults;
    use super::*;
    use crate::config::settings::AutoFailback;

    const NOW: Now = Now { monotonic_ms: 1_000, wall_s: 1 };

    fn settings() -> ClusterSettings {
        super::super::tests::settings(0, AutoFailback::On, 10, Faults::default())
    }

    fn at(ms: u64) -> Now {
        Now { monotonic_ms: NOW.monotonic_ms + ms, ..NOW }
    }

    /// A node alone, with everything, at rest.
    fn alone() -> Cluster {
        let mut cluster = Cluster::new(settings(), NOW);
        cluster.handle(NOW, Input::Start);
        for ms in 0..100 {
            let mut jobs = Vec::new();
            while let Some(output) = cluster.poll_output() {
                if let Output::RunJob { job, .. } = output {
                    jobs.push(job);
                }
            }
            for job in jobs {
                let outcome = super::super::event::JobOutcome::default();
                cluster.handle(at(ms * 100), Input::JobDone { job, outcome });
            }
            cluster.handle(at(ms * 100), Input::Tick);
        }
        while cluster.poll_output().is_some() {}
        cluster
    }

    #[test]
    fn nothing_is_handed_over_in_the_middle_of_something() {
        let mut cluster = Cluster::new(settings(), NOW);
        assert_eq!(cluster.export(), None);
        cluster.handle(NOW, Input::Start);
        while cluster.poll_output().is_some() {}
        assert_eq!(cluster.export(), None, "communication is not up");
    }

    #[test]
    fn a_text_read_gives_the_same_text() {
        let mut cluster = alone();
        let text = cluster.export().expect("at rest");
        let mut again = Cluster::import(settings(), at(20_000), &text).expect("it is read");
        assert_eq!(again.export().as_deref(), Some(text.as_str()));
        assert_eq!(again.holding(), ResourceSet::ALL);
    }

    #[test]
    fn damaged_texts_are_refused() {
        let text = alone().export().expect("at rest");
        let import = |text: &str| Cluster::import(settings(), at(20_000), text).map(|_| ());
        assert_eq!(import(""), Err(HandoffError::Version));
        assert_eq!(import(&text.replace(VERSION, "cluster-state 0")), Err(HandoffError::Version));
        assert!(matches!(import(&format!("{text}more 1\n")), Err(HandoffError::Foreign(_))));
        let lines: Vec<&str> = text.lines().collect();
        for left_out in 1..lines.len() {
            let mut rest = lines.clone();
            rest.remove(left_out);
            assert!(import(&rest.join("\n")).is_err(), "without {}", lines[left_out]);
        }
        for line in lines.iter().skip(1).filter(|line| !line.contains(".link.") || line.contains(".up")) {
            let name = line.split(' ').next().unwrap_or_default();
            for value in ["%zz", "\u{e9}", "18446744073709551616"] {
                let _ = import(&text.replace(line, &format!("{name} {value}")));
            }
        }
        let mut other = settings();
        other.generation = Generation(other.generation.0 + 1);
        assert!(Cluster::import(other, at(20_000), &text).is_err());
        assert!(Cluster::import(settings(), NOW, &text).is_err(), "a beat in the future");
    }
}
