//! Gate: a lease on a shared disk (`lease` in ha.cf, ha-guards(7)).
//!
//! Each node has its own place on the disk and writes its word there again and again; it only ever
//! reads the other's. Who holds something has promised: *within [`LeaseSettings::time_ms`] after my
//! last word everything is stopped here, or this machine is reset*. The word says how long that is: the
//! other node's file may have another time, and a watchdog that keeps a longer one than it was asked for
//! makes the lease longer ([`LeaseSettings::with_watchdog`]).
//!
//! ```text
//! holder    r ───── interval ───── r ────────────── half ─────────── margin ── time
//!           word    …              last word        release begins   reset     nothing is here
//! other            links gone; first look at that word ─────────────────────── time + margin: take
//! ```
//!
//! **Renewing.** A word counts from the moment at which its writing was *asked for*, and only once it
//! is known to be written: the other cannot have seen it earlier. At most one write is under way, in a
//! child; a disk that hangs leaves it hanging and nothing else. Half the time after the last word
//! everything is released and the watchdog is no longer fed; at the time less a margin what is not
//! released yet is reset. Nothing is started that the last written word did not announce.
//!
//! **Taking over.** Clocks are never compared. A node that lost the links wants (*claims*) what the
//! other has, writes that, and looks. It takes when
//! - the other's word stood still on its own clock for time + margin, from the end of the first look
//!   that showed it to the beginning of the last; or
//! - the other has *left*: it released everything and its life has ended; or
//! - the other holds nothing and *yields* to this very claim.
//!
//! **When both want.** Each writes its claim before it reads, so at least one sees the other's. Whoever
//! holds something goes before who holds nothing; of two that hold nothing the lower name goes first.
//! The other yields, by a word that names the claim, and from before that word on starts nothing until
//! both hear each other again or the first one's word stands still. Two that both hold something keep
//! what they have. No delay of a write can break this: a late word only delays the reader.
//!
//! **A life after another** (a daemon killed and brought back) asks the disk for its own word first: what
//! may still be active has that word's time. Where the disk does not answer, the time since the watchdog
//! must have been fed is all that can be counted on.

use crate::types::lease::{LeaseRecord, LEASE_TIME_MAX_MS};
use crate::types::LogLevel;

use super::super::alarm::AlarmKind;
use super::super::event::{ExitReason, Finding, Output, Question, QuestionId};
use super::super::fingerprint::Fingerprint;
use super::super::handoff::Form;
use super::super::settings::LeaseSettings;
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

mod watchdog;
mod words;

use words::{Found, Seen};

/// What a child is asked to write.
#[derive(Debug, Clone, Copy)]
struct Asked {
    question: QuestionId,
    at_ms: u64,
    /// `None`: only look.
    word: Option<LeaseRecord>,
}

/// The other's word, as long as it stays the same.
#[derive(Debug, Clone, Copy)]
struct Watch {
    word: Seen,
    /// End of the first look that showed it.
    since_ms: u64,
    /// Begin of the last.
    until_ms: u64,
}

/// State of this gate.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Lease {
    asked: Option<Asked>,
    due_ms: u64,
    failing: Option<String>,
    counter: u64,
    /// Our own last word is known.
    is_known: bool,
    /// By that word the life before this one held nothing, or it ended with the machine's last run.
    began_free: bool,
    /// When the last word was asked for that is on the disk.
    renewed_ms: Option<u64>,
    /// How long that word counts.
    renewed_for_ms: u64,
    /// That word.
    said: LeaseRecord,
    /// When the word of the life before this one ends, if that may have left something active.
    former_end_ms: Option<u64>,
    claim: u64,
    claims_made: u64,
    yields: (u64, u64),
    watch: Option<Watch>,
    /// Highest generation of the other seen on the disk.
    newest_generation: u64,
    /// The gate is open, and nothing was taken yet.
    passed: bool,
    /// Too long without a word of ours.
    lost: bool,
}

impl Lease {
    /// Too long without a word.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// What is asked is asked again by the program that goes on.
    pub fn visit(&mut self, form: &mut Form) {
        form.optional("lease.renewed", &mut self.renewed_ms);
        form.number("lease.renewed_for", &mut self.renewed_for_ms);
        form.optional("lease.former_end", &mut self.former_end_ms);
        form.flag("lease.is_known", &mut self.is_known);
        form.flag("lease.began_free", &mut self.began_free);
        form.number("lease.counter", &mut self.counter);
        form.number("lease.claim", &mut self.claim);
        form.number("lease.claims_made", &mut self.claims_made);
        form.number("lease.yields_to", &mut self.yields.0);
        form.number("lease.yields_number", &mut self.yields.1);
        form.flag("lease.lost", &mut self.lost);
    }

    /// What decides; the texts of errors do not.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self {
            asked,
            due_ms,
            failing,
            counter: _,
            is_known,
            began_free,
            renewed_ms,
            renewed_for_ms: _,
            said,
            former_end_ms,
            claim,
            claims_made,
            yields,
            watch,
            newest_generation,
            passed,
            lost,
        } = self;
        into.add((
            asked.is_some(),
            failing.is_some(),
            is_known,
            began_free,
            said,
            claim,
            claims_made,
            yields,
        ));
        into.add((newest_generation, passed, lost, watch.map(|watch| watch.word)));
        into.moment(*due_ms, 0);
        into.moment_if(*renewed_ms, u64::MAX);
        into.moment_if(*former_end_ms, 0);
        into.moment_if(watch.map(|watch| watch.since_ms), u64::MAX);
    }
}

impl Cluster {
    /// Whether something may be started here: there is no lease, or its last word is fresh and this
    /// node gave way to nobody.
    pub(in crate::cluster) fn lease_allows(&self) -> bool {
        let Some(settings) = self.settings.takeover.lease else {
            return true;
        };
        let lease = &self.takeover.guards.lease;
        let half_ms = lease.renewed_for_ms.min(settings.time_ms) / 2;
        let fresh = lease.renewed_ms.is_some_and(|at_ms| self.now.monotonic_ms < at_ms + half_ms);
        fresh && lease.yields == (0, 0) && !lease.lost
    }

    /// Whether a job may start now that the disk announces it.
    pub(in crate::cluster) fn lease_covers_start(&self) -> bool {
        self.settings.takeover.lease.is_none()
            || (self.lease_allows() && self.takeover.guards.lease.said.holds)
    }

    /// A release for want of a word is under way: the watchdog ends it when it takes too long.
    pub(in crate::cluster) fn lease_starves_watchdog(&self) -> bool {
        let lost = self.settings.takeover.lease.is_some() && self.takeover.guards.lease.lost;
        lost && self.lease_has_something() && !self.settings.faults.hold_without_lease
    }

    /// After every input: lets go, asks for the next word.
    pub(in crate::cluster) fn advance_lease(&mut self) {
        let (Some(settings), Some(started_ms)) = (self.settings.takeover.lease, self.liveness.started_ms)
        else {
            return;
        };
        if !self.takeover.is_pending() {
            (self.takeover.guards.lease.claim, self.takeover.guards.lease.passed) = (0, false);
        }
        self.lease_contact();
        self.lease_let_go(settings, started_ms);
        if !self.ended {
            self.lease_ask(settings);
        }
    }

    pub(in crate::cluster) fn next_lease_timeout_ms(&self) -> Option<u64> {
        let settings = self.settings.takeover.lease?;
        let started_ms = self.liveness.started_ms?;
        let lease = &self.takeover.guards.lease;
        let ask = lease.asked.is_none().then_some(lease.due_ms);
        let end_ms = self.lease_end_ms(settings, started_ms);
        let half_ms = (!lease.lost).then_some(self.lease_half_ms(settings, started_ms));
        let counts = self.lease_has_something() && !self.settings.faults.hold_without_lease;
        let reset_ms = counts.then_some(end_ms.saturating_sub(settings.margin_ms));
        let alone_ms = lease.lost.then(|| self.lease_alone_ms(settings, started_ms));
        let alone_ms = alone_ms.filter(|at_ms| *at_ms > self.now.monotonic_ms && reset_ms.is_some());
        let half_ms = half_ms.filter(|_| reset_ms.is_some());
        [ask, half_ms, alone_ms, reset_ms].into_iter().flatten().min()
    }

    /// Something is or may be active here.
    fn lease_has_something(&self) -> bool {
        let leftover = !self.takeover.guards.lease.began_free && !self.claims.unclean.is_empty();
        !self.claims.hold.is_empty() || leftover
    }

    /// When everything must be gone from here.
    fn lease_end_ms(&self, settings: LeaseSettings, started_ms: u64) -> u64 {
        let lease = &self.takeover.guards.lease;
        match (lease.renewed_ms, lease.is_known) {
            (Some(at_ms), _) => at_ms + lease.renewed_for_ms.min(settings.time_ms),
            (None, true) => lease.former_end_ms.unwrap_or(started_ms + settings.time_ms),
            // It was fed by a life that had half the time left at least.
            (None, false) => started_ms + (settings.time_ms / 2).saturating_sub(settings.watchdog_ms),
        }
    }

    /// When the release of everything begins.
    fn lease_half_ms(&self, settings: LeaseSettings, started_ms: u64) -> u64 {
        let end_ms = self.lease_end_ms(settings, started_ms);
        if self.takeover.guards.lease.is_known {
            end_ms.saturating_sub(settings.time_ms / 2)
        } else {
            // The disk is given a chance to say what there is.
            started_ms + end_ms.saturating_sub(started_ms) / 4
        }
    }

    /// Both hear each other: they speak for themselves, and nobody gives way on the disk any more.
    fn lease_contact(&mut self) {
        let Some(peer) = self.peer().filter(|peer| !peer.is_dead()) else {
            return;
        };
        let both = peer.extension.as_ref().is_some_and(|peer| peer.hears_us);
        self.takeover.guards.lease.watch = None;
        if both {
            self.takeover.guards.lease.yields = (0, 0);
        }
    }

    fn lease_let_go(&mut self, settings: LeaseSettings, started_ms: u64) {
        let now_ms = self.now.monotonic_ms;
        let end_ms = self.lease_end_ms(settings, started_ms);
        let has = self.lease_has_something();
        let late = now_ms >= self.lease_half_ms(settings, started_ms);
        let known = self.takeover.guards.lease.renewed_ms.is_some() || has;
        if !late || !known {
            if std::mem::take(&mut self.takeover.guards.lease.lost) {
                self.lease_is_back();
            }
            return;
        }
        if !std::mem::replace(&mut self.takeover.guards.lease.lost, true) {
            let why = self.takeover.guards.lease.failing.as_deref().unwrap_or("no answer from the disk");
            let text = format!("the lease could not be renewed ({why}): giving up everything here");
            self.log(LogLevel::Critical, &text);
            if has {
                self.alarm(AlarmKind::GaveUp, "lease", &text);
            }
            // Whoever is there and whose own lease is good gets it without a gap.
            let _ = self.request_standby(self.claims.hold);
        }
        if !has || self.settings.faults.hold_without_lease {
            return;
        }
        if now_ms + settings.margin_ms >= end_ms {
            let text = "the lease ends and resources are not stopped yet: this machine is reset";
            self.log(LogLevel::Critical, text);
            self.outputs.push_back(Output::Exit(ExitReason::StopFailed));
            self.ended = true;
            return;
        }
        if self.handover.is_idle() || now_ms >= self.lease_alone_ms(settings, started_ms) {
            self.give_up_everything();
        }
        if !self.takeover.guards.lease.began_free && !self.shutdown.is_under_way() {
            // What is held goes with its claim, or is still given to the other node.
            self.clean_up(self.claims.hold);
        }
    }

    /// Until when another node may take over what is given up, a quarter of what is left of the time.
    fn lease_alone_ms(&self, settings: LeaseSettings, started_ms: u64) -> u64 {
        let half_ms = self.lease_half_ms(settings, started_ms);
        let end_ms = self.lease_end_ms(settings, started_ms);
        half_ms + end_ms.saturating_sub(half_ms) / 4
    }

    /// The disk took a word again.
    fn lease_is_back(&mut self) {
        self.log(LogLevel::Info, "the lease is renewed again");
        self.alarm_over(AlarmKind::GaveUp, "lease", None);
        self.take_again();
    }

    /// What this node has to say now.
    fn lease_word(&self, settings: LeaseSettings) -> LeaseRecord {
        let lease = &self.takeover.guards.lease;
        let free = !self.lease_has_something() && self.jobs.is_idle() && !lease.passed;
        LeaseRecord {
            generation: self.settings.generation.0,
            counter: lease.counter + 1,
            left: free && self.shutdown.is_lingering(),
            holds: !free,
            claim: lease.claim,
            yields: lease.yields,
            valid_ms: settings.time_ms,
        }
    }

    fn lease_ask(&mut self, settings: LeaseSettings) {
        let now_ms = self.now.monotonic_ms;
        let word = self.lease_word(settings);
        let lease = &self.takeover.guards.lease;
        let news = word != LeaseRecord { counter: word.counter, ..lease.said } && lease.failing.is_none();
        if lease.asked.is_some() || (now_ms < lease.due_ms && !(news && lease.is_known)) {
            return;
        }
        let word = lease.is_known.then_some(word);
        let question = self.ask_question(Question::Lease { word });
        let lease = &mut self.takeover.guards.lease;
        lease.counter += u64::from(word.is_some());
        lease.asked = Some(Asked { question, at_ms: now_ms, word });
        lease.due_ms = now_ms + settings.interval_ms;
    }

    /// `true` when the answer belongs here.
    pub(super) fn lease_answered(&mut self, question: QuestionId, answer: &Finding) -> bool {
        let Some(asked) = self.takeover.guards.lease.asked.filter(|asked| asked.question == question) else {
            return false;
        };
        self.takeover.guards.lease.asked = None;
        let Some(settings) = self.settings.takeover.lease else {
            return true;
        };
        let found = match answer {
            Finding::Found(text) => Found::parse(text).ok_or_else(|| format!("bad answer {text:?}")),
            Finding::No(why) | Finding::Failed(why) | Finding::Unclear(why) => Err(why.clone()),
            Finding::Yes => Err("an answer without words".to_owned()),
        };
        match found {
            Ok(found) => self.lease_found(settings, asked, &found),
            Err(why) => {
                self.log_limited("lease", LogLevel::Error, &format!("lease: {why}"));
                let lease = &mut self.takeover.guards.lease;
                lease.due_ms = self.now.monotonic_ms + (settings.interval_ms / 4).max(1);
                lease.failing = Some(why);
            }
        }
        true
    }

    fn lease_found(&mut self, settings: LeaseSettings, asked: Asked, found: &Found) {
        let now_ms = self.now.monotonic_ms;
        let has = self.lease_has_something();
        let lease = &mut self.takeover.guards.lease;
        lease.failing = None;
        match asked.word {
            Some(word) => {
                (lease.renewed_ms, lease.renewed_for_ms) = (Some(asked.at_ms), word.valid_ms);
                lease.said = word;
                lease.former_end_ms = None;
            }
            None if found.own == Seen::Unreadable && has => {
                // Nobody knows until when the life before this one holds: as without an answer. Where nothing
                // of it is left, new words are written over the damaged ones.
                lease.failing = Some("this node's words on the disk cannot be read".to_owned());
                lease.due_ms = now_ms + (settings.interval_ms / 4).max(1);
            }
            None => {
                lease.is_known = true;
                lease.due_ms = now_ms;
                let former = found.own.word().filter(|word| word.holds && !word.left);
                let former = former.zip(found.own_age_ms);
                lease.began_free = former.is_none();
                lease.former_end_ms = former.map(|(word, age_ms)| {
                    asked.at_ms.saturating_sub(age_ms) + word.valid_ms.min(LEASE_TIME_MAX_MS)
                });
            }
        }
        let dead = self.peer().is_some_and(super::super::node::Node::is_dead);
        if dead {
            self.lease_watch(settings, asked, found.peer);
        }
    }

    /// Links are gone: what the other says on the disk.
    fn lease_watch(&mut self, settings: LeaseSettings, asked: Asked, seen: Seen) {
        let word = seen.word();
        let now_ms = self.now.monotonic_ms;
        let has = self.lease_word(settings).holds;
        let goes_first = self.peer().is_some_and(|peer| peer.name < self.settings.local);
        let lease = &mut self.takeover.guards.lease;
        lease.newest_generation = lease.newest_generation.max(word.map_or(0, |word| word.generation));
        let watch = match lease.watch {
            Some(watch) if watch.word == seen => Watch { until_ms: asked.at_ms, ..watch },
            _ => Watch { word: seen, since_ms: now_ms, until_ms: now_ms },
        };
        lease.watch = Some(watch);
        if still(watch, settings) {
            lease.yields = (0, 0);
            return;
        }
        let Some(word) = word.filter(|word| word.claim != 0 && !has) else {
            return;
        };
        if word.holds || goes_first {
            let number = (word.generation, word.claim);
            if std::mem::replace(&mut lease.yields, number) != number {
                lease.claim = 0;
                self.log(LogLevel::Info, "lease: giving way to the other node, which lives");
            }
        }
    }

    pub(super) fn look_at_lease(&mut self, pending: &mut Pending) -> Verdict {
        let verdict = self.lease_verdict();
        if let (Verdict::Wait { why, .. }, Some(settings)) = (&verdict, self.settings.takeover.lease) {
            // A dead node's word stands still for long enough long before.
            let watch = self.takeover.guards.lease.watch;
            let limit_ms = 2 * still_ms(watch.map_or(Seen::Nothing, |watch| watch.word), settings);
            if self.now.monotonic_ms >= pending.gate_since_ms + limit_ms {
                self.say_refused(&why.clone());
            }
        }
        verdict
    }

    fn lease_verdict(&mut self) -> Verdict {
        let Some(settings) = self.settings.takeover.lease else {
            return Verdict::Open;
        };
        let wait = |why: &str| Verdict::Wait { why: why.to_owned(), confirm: Confirm::Opens };
        let refused =
            |why: &'static str| Verdict::Wait { why: why.to_owned(), confirm: Confirm::Refused(why) };
        let (fresh, generation) = (self.lease_allows(), self.settings.generation.0);
        let known_generation = self.peer().map_or(0, |peer| peer.generation.0);
        let trusts = self.settings.faults.trust_any_lease;
        let unasked = self.settings.faults.take_without_yield;
        let lease = &mut self.takeover.guards.lease;
        if lease.passed && fresh {
            return Verdict::Open;
        }
        if lease.yields != (0, 0) {
            return refused("this node gave way to the other one, whose word on the disk still changes");
        }
        if lease.claim == 0 {
            lease.claims_made += 1;
            lease.claim = lease.claims_made;
        }
        if !fresh {
            return refused("this node's own lease is not renewed");
        }
        let Some(watch) = lease.watch.filter(|_| lease.said.claim == lease.claim) else {
            return wait("for the disk");
        };
        let left =
            |word: LeaseRecord| word.left && word.generation >= known_generation.max(lease.newest_generation);
        let yields = |word: LeaseRecord| !word.holds && (word.yields == (generation, lease.claim) || unasked);
        let free = watch.word.word().is_some_and(|word| left(word) || yields(word));
        if watch.word == Seen::Unreadable && !trusts {
            return wait("the other node's words on the disk cannot be read");
        }
        if !(free || trusts || still(watch, settings)) {
            return wait("the other node's word on the disk has not stood still for long enough");
        }
        lease.passed = true;
        Verdict::Open
    }

    /// For the status; `None` without a lease.
    pub(in crate::cluster) fn lease_describe(&self) -> Option<String> {
        let settings = self.settings.takeover.lease?;
        let lease = &self.takeover.guards.lease;
        let Some(at_ms) = lease.renewed_ms else {
            let why = lease.failing.as_deref().unwrap_or("no answer from the disk yet");
            return Some(format!("lease: not held ({why})"));
        };
        let age_ms = self.now.monotonic_ms.saturating_sub(at_ms);
        let state = if lease.lost { "LOST" } else { "held" };
        let failing = lease.failing.as_ref().map_or(String::new(), |why| format!(", failing: {why}"));
        let (time_ms, watchdog) = (settings.time_ms, self.lease_watchdog(settings));
        Some(format!("lease: {state}, renewed {age_ms} ms ago, valid for {time_ms} ms{failing}; {watchdog}"))
    }
}

fn still(watch: Watch, settings: LeaseSettings) -> bool {
    watch.word != Seen::Unreadable && watch.until_ms >= watch.since_ms + still_ms(watch.word, settings)
}

/// How long this word must have stood still: as long as who wrote it may hold something by it.
fn still_ms(seen: Seen, settings: LeaseSettings) -> u64 {
    let valid_ms = seen.word().map_or(0, |word| word.valid_ms.min(LEASE_TIME_MAX_MS));
    settings.time_ms.max(valid_ms) + settings.margin_ms
}
