//! Gate: a third party that says yes to one node at most (`arbiter` in ha.cf, ha-guards(7)).
//!
//! A node that lost the other asks for the token, whether it wants anything or not; whoever has it
//! renews it, whoever does not get it gives up what it holds. The one that has it takes only after
//! [`ArbiterSettings::wait_ms`], in which the other has let go. A token that cannot be renewed is worth
//! nothing from its time less that wait on: everything is given up before somebody else can get it. When
//! both hear each other again the token goes back.
//!
//! ```text
//!  peer dead ─▶ acquire ─┬─ yes ─▶ renew, renew … ─▶ (after the wait) take
//!                        ├─ no ──▶ give up, acquire again …
//!                        └─ ? ───▶ give up after half the wait (or keep: as configured), acquire again …
//! ```

use crate::types::LogLevel;

use super::super::alarm::AlarmKind;
use super::super::event::{ArbiterVerb, Finding, Question, QuestionId};
use super::super::fingerprint::Fingerprint;
use super::super::handoff::Form;
use super::super::settings::ArbiterSettings;
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// State of this gate.
#[derive(Debug, Clone, Default)]
pub(in crate::cluster) struct Arbiter {
    asked: Option<(QuestionId, u64, ArbiterVerb)>,
    due_ms: u64,
    /// The other has not been heard since.
    alone_ms: Option<u64>,
    /// When the token was asked for that we have, for the first time and the last.
    token: Option<(u64, u64)>,
    /// It is owed back.
    gives_back: bool,
    /// Without the token for so long that nothing may be held.
    lost: bool,
    why: String,
}

impl Arbiter {
    /// Nothing may be held.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// A token asked for again is granted again.
    pub fn visit(&mut self, form: &mut Form) {
        form.flag("arbiter.lost", &mut self.lost);
        form.flag("arbiter.gives_back", &mut self.gives_back);
        form.optional("arbiter.alone", &mut self.alone_ms);
        let (mut first, mut last) = (self.token.map(|token| token.0), self.token.map(|token| token.1));
        form.optional("arbiter.first", &mut first);
        form.optional("arbiter.last", &mut last);
        self.token = first.zip(last);
    }

    /// What decides.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { asked, due_ms, alone_ms, token, gives_back, lost, why: _ } = self;
        into.add((asked.map(|asked| asked.2), gives_back, lost));
        into.moment(*due_ms, 0);
        into.moment_if(*alone_ms, u64::MAX);
        into.moment_if(token.map(|token| token.0), u64::MAX);
        into.moment_if(token.map(|token| token.1), u64::MAX);
    }
}

impl Cluster {
    /// After every input.
    pub(in crate::cluster) fn advance_arbiter(&mut self) {
        let Some(settings) = self.settings.takeover.arbiter else {
            return;
        };
        if self.liveness.started_ms.is_none() || !self.settings.manage_resources {
            return;
        }
        let now_ms = self.now.monotonic_ms;
        let Some(peer) = self.peer() else {
            return;
        };
        let hears_us = peer.extension.as_ref().is_none_or(|peer| peer.hears_us);
        if peer.is_dead() {
            self.takeover.guards.arbiter.alone_ms.get_or_insert(now_ms);
        } else if hears_us && peer.is_live() {
            let arbiter = &mut self.takeover.guards.arbiter;
            arbiter.alone_ms = None;
            arbiter.gives_back |= arbiter.token.take().is_some();
            if std::mem::take(&mut arbiter.lost) {
                self.alarm_over(AlarmKind::GaveUp, "arbiter", None);
            }
        }
        self.arbiter_let_go(settings);
        self.arbiter_ask(settings);
    }

    pub(in crate::cluster) fn next_arbiter_timeout_ms(&self) -> Option<u64> {
        let settings = self.settings.takeover.arbiter?;
        let arbiter = &self.takeover.guards.arbiter;
        let asks = arbiter.alone_ms.is_some() || arbiter.gives_back;
        let ask = (asks && arbiter.asked.is_none()).then_some(arbiter.due_ms);
        let ends = self.arbiter_end_ms(settings).filter(|_| !arbiter.lost);
        let opens = arbiter.token.map(|(first_ms, _)| first_ms + settings.wait_ms);
        let opens = opens.filter(|at_ms| self.takeover.is_pending() && *at_ms > self.now.monotonic_ms);
        [ask, ends, opens].into_iter().flatten().min()
    }

    /// From when on nothing may be held, as far as known.
    fn arbiter_end_ms(&self, settings: ArbiterSettings) -> Option<u64> {
        let arbiter = &self.takeover.guards.arbiter;
        match arbiter.token {
            Some((_, last_ms)) => Some(last_ms + settings.ttl_ms.saturating_sub(settings.wait_ms)),
            None if settings.keeps_unreachable => None,
            None => arbiter.alone_ms.map(|alone_ms| alone_ms + settings.wait_ms / 2),
        }
    }

    fn arbiter_let_go(&mut self, settings: ArbiterSettings) {
        let over = self.arbiter_end_ms(settings).is_some_and(|end_ms| self.now.monotonic_ms >= end_ms);
        if over && !self.takeover.guards.arbiter.lost {
            let had = self.takeover.guards.arbiter.token.take().is_some();
            let why = if had { "its token could not be renewed" } else { "it did not answer" };
            self.arbiter_lose(why);
        }
        if self.takeover.guards.arbiter.lost && self.guards_rule() && !self.settings.faults.ignore_arbiter {
            self.give_up_everything();
        }
    }

    fn arbiter_lose(&mut self, why: &str) {
        self.takeover.guards.arbiter.token = None;
        if !std::mem::replace(&mut self.takeover.guards.arbiter.lost, true) {
            let text = format!("arbiter: {why}: nothing is taken, and what is held here is given up");
            self.log(LogLevel::Critical, &text);
            self.alarm(AlarmKind::GaveUp, "arbiter", &text);
        }
    }

    fn arbiter_ask(&mut self, settings: ArbiterSettings) {
        let now_ms = self.now.monotonic_ms;
        let arbiter = &self.takeover.guards.arbiter;
        let verb = match (arbiter.alone_ms, arbiter.token) {
            (Some(_), Some(_)) => ArbiterVerb::Renew,
            (Some(_), None) => ArbiterVerb::Acquire,
            (None, _) if arbiter.gives_back => ArbiterVerb::Release,
            (None, _) => return,
        };
        if arbiter.asked.is_some() || now_ms < arbiter.due_ms {
            return;
        }
        let question = self.ask_question(Question::Arbiter { verb });
        self.takeover.guards.arbiter.asked = Some((question, now_ms, verb));
        self.takeover.guards.arbiter.due_ms = now_ms + settings.interval_ms;
    }

    /// `true` when the answer belongs here.
    pub(super) fn arbiter_answered(&mut self, question: QuestionId, answer: &Finding) -> bool {
        let asked = self.takeover.guards.arbiter.asked.filter(|asked| asked.0 == question);
        let Some((_, at_ms, verb)) = asked else {
            return false;
        };
        self.takeover.guards.arbiter.asked = None;
        let alone = self.takeover.guards.arbiter.alone_ms.is_some();
        self.takeover.guards.arbiter.why = match answer {
            Finding::Yes | Finding::Found(_) => String::new(),
            Finding::No(why) | Finding::Failed(why) | Finding::Unclear(why) => why.clone(),
        };
        match (verb, answer) {
            (ArbiterVerb::Release, _) => self.takeover.guards.arbiter.gives_back = false,
            (_, Finding::Yes | Finding::Found(_)) if !alone => self.takeover.guards.arbiter.gives_back = true,
            (_, Finding::Yes | Finding::Found(_)) => self.arbiter_granted(at_ms),
            (_, Finding::No(why)) if alone => self.arbiter_lose(&format!("the other node has it ({why})")),
            (_, Finding::No(_)) => {}
            (_, Finding::Failed(why) | Finding::Unclear(why)) => {
                self.log_limited("arbiter", LogLevel::Error, &format!("arbiter: {why}"));
            }
        }
        true
    }

    fn arbiter_granted(&mut self, at_ms: u64) {
        let arbiter = &mut self.takeover.guards.arbiter;
        let first_ms = arbiter.token.map_or(at_ms, |(first_ms, _)| first_ms);
        arbiter.token = Some((first_ms, at_ms));
        let news = first_ms == at_ms;
        if news {
            self.log(LogLevel::Info, "arbiter: this node has the token");
        }
        if std::mem::take(&mut self.takeover.guards.arbiter.lost) {
            self.alarm_over(AlarmKind::GaveUp, "arbiter", None);
            self.take_again();
        }
    }

    pub(super) fn look_at_arbiter(&mut self, _: &mut Pending) -> Verdict {
        let Some(settings) = self.settings.takeover.arbiter else {
            return Verdict::Open;
        };
        let arbiter = &self.takeover.guards.arbiter;
        let why = match arbiter.token {
            Some((first_ms, _)) if self.now.monotonic_ms >= first_ms + settings.wait_ms => {
                return Verdict::Open;
            }
            _ if self.settings.faults.ignore_arbiter => return Verdict::Open,
            Some(_) => "the arbiter's token is here; the other node gets the time to let go".to_owned(),
            None if arbiter.why.is_empty() => "for the arbiter's answer".to_owned(),
            None => format!("the arbiter does not say yes: {}", arbiter.why),
        };
        if !self.takeover.guards.arbiter.why.is_empty() {
            self.say_refused(&why);
        }
        Verdict::Wait { why, confirm: Confirm::Opens }
    }

    /// For the status; `None` without an arbiter.
    pub(in crate::cluster) fn arbiter_describe(&self) -> Option<String> {
        self.settings.takeover.arbiter?;
        let arbiter = &self.takeover.guards.arbiter;
        Some(match (arbiter.alone_ms, arbiter.token) {
            (None, _) => "arbiter: not needed while both nodes hear each other".to_owned(),
            (Some(_), Some(_)) => "arbiter: this node has the token".to_owned(),
            (Some(_), None) if arbiter.why.is_empty() => "arbiter: asked".to_owned(),
            (Some(_), None) => format!("arbiter: no token: {}", arbiter.why),
        })
    }
}
