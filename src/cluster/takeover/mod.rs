//! Between a peer's death and the taking of what it had: gates, in the order of [`GATES`].
//!
//! ```text
//!  peer is dead ─▶ pending ─▶ gate ─▶ gate ─▶ … ─▶ gate ─▶ acquire_from_peer, legacy_take_all
//!                    │          └─ asks the world outside: Output::Ask … Input::Answer
//!                    └─ the peer is heard again, or this node leaves: cancelled, nothing was taken
//! ```
//!
//! A gate that is not configured opens at once, so that without any the takeover happens in the same
//! tick. A gate that says no waits: it may say yes later, and a person can open it with
//! `ha takeover --confirm` where it allows that. A pending takeover is no transition: what this node
//! holds it serves on.
//!
//! To add a gate: a file here with a function of the form [`Gate::look`], a line in [`GATES`], its
//! settings in [`super::settings::TakeoverSettings`]; for what happens outside a variant of [`Question`]
//! with its text form, and its child in `daemon/questions`.

use crate::types::{LogLevel, NodeName, ResourceSet};
use crate::wire::message::Message;

use super::alarm::AlarmKind;
use super::claims::Phase;
use super::event::{Finding, Output, Question, QuestionId};
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::Cluster;

mod address;
mod arbiter;
mod delay;
mod fencing;
mod guards;
mod lease;
mod reachable;
mod resource_fence;
mod watchdog;

/// THE TABLE of gates, in the order in which they are passed.
const GATES: &[Gate] = &[
    Gate {
        name: "ping arbitration",
        standing: true,
        of_death: false,
        look: Cluster::look_at_reachable,
        describe: Cluster::reachable_describe,
    },
    Gate {
        name: "delay",
        standing: false,
        of_death: true,
        look: Cluster::look_at_delay,
        describe: Cluster::describe_delay,
    },
    Gate {
        name: "lease",
        standing: true,
        of_death: false,
        look: Cluster::look_at_lease,
        describe: Cluster::lease_describe,
    },
    Gate {
        name: "arbiter",
        standing: true,
        of_death: false,
        look: Cluster::look_at_arbiter,
        describe: Cluster::arbiter_describe,
    },
    Gate {
        name: "watchdog",
        standing: false,
        of_death: true,
        look: Cluster::look_at_watchdog,
        describe: Cluster::describe_watchdog,
    },
    Gate {
        name: "fencing",
        standing: false,
        // Looks itself: it has something to say.
        of_death: false,
        look: Cluster::look_at_fencing,
        describe: Cluster::describe_fencing,
    },
    Gate {
        name: "resource fencing",
        standing: false,
        of_death: true,
        look: Cluster::look_at_resource_fence,
        describe: Cluster::describe_resource_fence,
    },
    Gate {
        name: "address",
        standing: false,
        of_death: false,
        look: Cluster::look_at_address,
        describe: Cluster::describe_address,
    },
];

/// One gate.
struct Gate {
    /// In log lines and in the status.
    name: &'static str,
    /// It is looked at again after it was passed, until the takeover is done; such a gate asks nothing.
    standing: bool,
    /// It asks for nothing where the node was stopped and said goodbye.
    of_death: bool,
    /// Whether it is open. Called when the gate is reached, and after every input while the takeover
    /// waits at it: to be cheap, and to do nothing twice ([`Pending::step`]).
    look: fn(&mut Cluster, &mut Pending) -> Verdict,
    /// What it guards, in a sentence for `ha status`; `None` when it is not configured.
    describe: fn(&Cluster) -> Option<String>,
}

/// What a gate says.
enum Verdict {
    /// Go on.
    Open,
    /// Not yet.
    Wait {
        /// What is waited for, in words: for the status.
        why: String,
        /// What `ha takeover --confirm` does here.
        confirm: Confirm,
    },
}

/// Whether a person can open a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Confirm {
    /// Yes.
    Opens,
    /// No, and why: shown to who asked.
    Refused(&'static str),
}

/// A takeover under way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// The peer was heard since this node started or since it was dead before.
    ever_heard: bool,
    /// When it began.
    since_ms: u64,
    /// Place in [`GATES`] of the gate at which it waits.
    gate: usize,
    /// When it came there.
    gate_since_ms: u64,
    /// Where in its work the gate is, in the gate's own counting; 0 when it is reached.
    step: u32,
    /// When the gate wants to be looked at without any other input.
    due_ms: Option<u64>,
    /// What the gate has asked and is not answered.
    question: Option<QuestionId>,
    /// The answer, until the gate takes it.
    answer: Option<Finding>,
    /// The gate that holds it, `gate` or a standing one before it.
    held_by: usize,
    why: String,
    confirm: Confirm,
    /// Bits of gates that a person opened.
    opened: u32,
}

impl Pending {
    fn new(ever_heard: bool, now_ms: u64) -> Self {
        Self {
            ever_heard,
            since_ms: now_ms,
            gate: 0,
            gate_since_ms: now_ms,
            step: 0,
            due_ms: None,
            question: None,
            answer: None,
            held_by: 0,
            why: String::new(),
            confirm: Confirm::Refused("it has only just begun"),
            opened: 0,
        }
    }
}

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Takeover {
    pending: Option<Pending>,
    last_question: u64,
    fencing: fencing::Fencing,
    guards: guards::Guards,
}

impl Takeover {
    /// A pending takeover begins anew in the program that goes on.
    pub(super) fn visit(&mut self, now_ms: u64, form: &mut Form) {
        let (mut is_pending, mut ever_heard) =
            (self.pending.is_some(), self.pending.as_ref().is_some_and(|pending| pending.ever_heard));
        form.flag("takeover.pending", &mut is_pending);
        form.flag("takeover.ever_heard", &mut ever_heard);
        if is_pending && self.pending.is_none() {
            self.pending = Some(Pending::new(ever_heard, now_ms));
        }
        form.number("takeover.last_question", &mut self.last_question);
        self.fencing.visit(now_ms, form);
        self.guards.visit(form);
    }

    /// What decides, for [`Cluster::fingerprint`]; the names of questions do not.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { pending, last_question: _, fencing, guards } = self;
        into.add(pending.is_some());
        if let Some(Pending {
            ever_heard,
            since_ms,
            gate,
            gate_since_ms,
            step,
            due_ms,
            question,
            answer,
            held_by,
            why: _,
            confirm,
            opened,
        }) = pending
        {
            into.add((ever_heard, gate, step, question.is_some(), answer, held_by, confirm, opened));
            into.moment(*since_ms, u64::MAX);
            into.moment(*gate_since_ms, 0);
            into.moment_if(*due_ms, 0);
        }
        fencing.fingerprint(into);
        guards.fingerprint(into);
    }

    /// A dead peer's resources wait for a gate: nothing of what it claimed is started here.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Something outside is under way, such as a reset: not to be broken off without need.
    pub fn is_asking(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.question.is_some())
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        let due_ms = self.pending.as_ref().and_then(|pending| pending.due_ms);
        due_ms.into_iter().chain(self.fencing.next_timeout_ms()).min()
    }

    /// What is waited for, in words for the status; empty when nothing is.
    pub fn describe(&self) -> String {
        let Some(pending) = &self.pending else {
            return String::new();
        };
        let name = GATES.get(pending.held_by).map_or("start", |gate| gate.name);
        format!("the takeover waits ({name}): {}", pending.why)
    }
}

impl Cluster {
    /// The peer was declared dead, or dead it was when this node began (resources spec 2.5).
    pub(super) fn take_over(&mut self, ever_heard: bool) {
        self.begin_takeover(ever_heard, true);
    }

    /// The same at any later moment. A goodbye may be one of long ago then: its node may live again, cut
    /// off from here, and what is certain in the moment of the goodbye is asked of the guards.
    pub(super) fn take_over_later(&mut self, ever_heard: bool) {
        self.begin_takeover(ever_heard, false);
    }

    fn begin_takeover(&mut self, ever_heard: bool, at_once: bool) {
        let Some(name) = self.peer_name() else {
            return;
        };
        if self.shutdown.is_under_way() {
            self.log(LogLevel::Info, "Resource takeover cancelled - shutdown in progress.");
            return;
        }
        if self.maintenance_keeps(ever_heard) {
            return;
        }
        let goodbye = self.claims.peer_left && at_once;
        if self.is_legacy() && goodbye {
            return self.legacy_take_all();
        }
        // It said goodbye, or has nothing and everything is here.
        let certain = goodbye || (self.takes_nothing() && self.claims.peer_stable);
        if self.peer_gave_up(ever_heard) && certain {
            self.log(LogLevel::Info, &format!("Dead node {name} gave up resources."));
            self.tell_fencing(&name, "unneeded");
            self.take_what_is_left(ever_heard);
            return;
        }
        if self.claims.phase == Phase::Received {
            // The ten seconds of a first report are void: the first acquisition is part of the takeover,
            // or begins anew with the peer.
            self.claims.phase = Phase::Starting;
            self.claims.stop_waiting_for_report();
        }
        self.takeover.pending = Some(Pending::new(ever_heard, self.now.monotonic_ms));
        self.advance_takeover();
    }

    /// It said that it holds nothing, as far as it goes (resources spec 2.5, 3.3).
    fn peer_gave_up(&self, ever_heard: bool) -> bool {
        ever_heard && self.claims.peer_known && self.claims.peer_hold.is_empty() && !self.is_legacy()
    }

    /// It was stopped, and said so: a new life of it would have to pass its own guards before it starts
    /// anything, and what asks for no more than that this one is dead has nothing to ask.
    fn peer_said_goodbye(&self, pending: &Pending) -> bool {
        self.claims.peer_left && (self.peer_gave_up(pending.ever_heard) || self.is_legacy())
    }

    /// Everything is claimed here and nothing is on its way out.
    fn takes_nothing(&self) -> bool {
        self.claims.hold == ResourceSet::ALL && self.releasing().is_empty()
    }

    /// Goes on with a pending takeover as far as its gates are open now.
    pub(super) fn advance_takeover(&mut self) {
        let Some(mut pending) = self.takeover.pending.take() else {
            return;
        };
        let now_ms = self.now.monotonic_ms;
        if self.peer.is_none() {
            return self.withdraw_question(&mut pending);
        }
        // After a pause of ours what came meanwhile is read first: the peer may be back.
        let verdict_ms = self.liveness.no_verdict_before_ms;
        if now_ms < verdict_ms {
            pending.due_ms = Some(pending.due_ms.map_or(verdict_ms, |due_ms| due_ms.max(verdict_ms)));
            self.takeover.pending = Some(pending);
            return;
        }
        for (place, gate) in GATES.iter().enumerate() {
            let looks = place >= pending.gate || gate.standing;
            let is_needless = gate.of_death && self.peer_said_goodbye(&pending);
            if pending.opened >> place & 1 == 1 || !looks || is_needless {
                continue;
            }
            if place > pending.gate {
                pending = Pending {
                    gate: place,
                    gate_since_ms: now_ms,
                    step: 0,
                    due_ms: None,
                    answer: None,
                    ..pending
                };
            }
            if let Verdict::Wait { why, confirm } = (gate.look)(self, &mut pending) {
                pending.due_ms = pending.due_ms.filter(|due_ms| *due_ms > now_ms);
                let held = Pending { held_by: place, why, confirm, ..pending };
                self.takeover.pending = Some(held);
                return;
            }
            if place == pending.gate {
                self.withdraw_question(&mut pending);
            }
        }
        self.take_what_is_left(pending.ever_heard);
    }

    fn take_what_is_left(&mut self, ever_heard: bool) {
        self.alarms_over();
        if self.is_legacy() {
            self.legacy_take_all();
        } else if self.peer_gave_up(ever_heard) && self.takes_nothing() {
            self.claims.peer_stable = true;
        } else {
            self.acquire_from_peer();
        }
    }

    /// The peer is heard again: it speaks for itself.
    pub(super) fn takeover_peer_is_back(&mut self) {
        self.takeover.fencing.peer_is_back();
        if let (Some(name), true) = (self.peer_name(), self.takeover.is_pending()) {
            self.log(LogLevel::Info, &format!("Resource takeover cancelled - node {name} is heard again."));
        }
        self.cancel_takeover();
    }

    /// This node goes down.
    pub(super) fn takeover_we_leave(&mut self) {
        if self.takeover.is_pending() {
            self.log(LogLevel::Info, "Resource takeover cancelled - shutdown in progress.");
        }
        self.cancel_takeover();
    }

    fn cancel_takeover(&mut self) {
        if let Some(mut pending) = self.takeover.pending.take() {
            self.withdraw_question(&mut pending);
            self.alarms_over();
        }
    }

    /// `ha takeover --confirm`: opens the gate at which the takeover waits.
    ///
    /// # Errors
    /// Nothing waits, or not for a person. Nothing was changed.
    pub(super) fn confirm_takeover(&mut self) -> Result<(), String> {
        let (Some(name), Some(pending)) = (self.peer_name(), &mut self.takeover.pending) else {
            return Err("no takeover waits for anything; nothing was changed".to_owned());
        };
        if let Confirm::Refused(why) = pending.confirm {
            return Err(format!("{why}; nothing was changed"));
        }
        let place = pending.held_by;
        pending.opened |= 1 << place;
        self.guards_confirmed();
        let gate = GATES.get(place).map_or("start", |gate| gate.name);
        let text = format!(
            "a person confirmed that node {name} is down: its resources are taken over without waiting for {gate}"
        );
        self.log(LogLevel::Warning, &text);
        self.peer_is_proven_down();
        self.alarm_over(AlarmKind::TakeoverWaits, name.as_str(), Some(&text));
        if let Some(mut pending) = self.takeover.pending.take() {
            self.withdraw_question(&mut pending);
            self.takeover.pending = Some(pending);
        }
        Ok(())
    }

    // ---- for the gates -------------------------------------------------------------------

    /// Asks the world outside; what was asked before is withdrawn.
    fn ask_outside(&mut self, pending: &mut Pending, what: Question) {
        self.withdraw_question(pending);
        pending.question = Some(self.ask_question(what));
        pending.answer = None;
    }

    pub(super) fn ask_question(&mut self, what: Question) -> QuestionId {
        self.takeover.last_question += 1;
        let question = QuestionId(self.takeover.last_question);
        self.outputs.push_back(Output::Ask { question, what });
        question
    }

    fn withdraw_question(&mut self, pending: &mut Pending) {
        if let Some(question) = pending.question.take() {
            self.outputs.push_back(Output::Withdraw(question));
        }
    }

    /// An answer; one that nobody waits for any more changes nothing.
    pub(super) fn answered(&mut self, question: QuestionId, answer: Finding) {
        if self.guards_answered(question, &answer) || self.service_answered(question, &answer) {
            return;
        }
        if let Some(pending) = &mut self.takeover.pending {
            if pending.question == Some(question) {
                pending.question = None;
                pending.answer = Some(answer);
                return;
            }
        }
        self.device_checked(question, &answer);
    }

    /// A resumed life: the one before took over already.
    pub(super) fn takeover_was_before(&mut self) {
        self.takeover.fencing.peer_was_away();
    }

    /// Tells who looks after the cluster that the takeover waits, and what to do.
    fn ask_a_person(&mut self, name: &NodeName, why: &str) {
        let text = format!(
            "node {name} is dead: {why}. When you are sure that it is down or serves nothing, take its \
             resources over with: ha takeover --confirm"
        );
        self.log(LogLevel::Critical, &text);
        self.alarm(AlarmKind::TakeoverWaits, name.as_str(), &text);
    }

    /// Nothing is waited for any more.
    fn alarms_over(&mut self) {
        let Some(name) = self.peer_name() else {
            return;
        };
        for kind in [AlarmKind::TakeoverWaits, AlarmKind::Fencing, AlarmKind::FencingFailed] {
            self.alarm_over(kind, name.as_str(), None);
        }
    }

    // ---- status --------------------------------------------------------------------------

    /// What stands between this pair and two owners, one sentence for each gate that is configured.
    pub(super) fn guards(&self) -> Vec<String> {
        GATES.iter().filter_map(|gate| (gate.describe)(self)).collect()
    }

    pub(super) fn takeover_alarms(&self) -> Vec<String> {
        let waits = self.takeover.pending.as_ref().filter(|pending| pending.confirm == Confirm::Opens);
        let text = |pending: &Pending| format!("{}: ha takeover --confirm", pending.why);
        waits.map(text).into_iter().chain(self.fencing_alarms()).chain(self.guards_alarms()).collect()
    }

    /// `stonith`: what became of fencing a node, for everybody (resources spec 2.2).
    fn tell_fencing(&mut self, name: &NodeName, result: &str) {
        self.broadcast(Message::new("stonith").with("node", name.as_str()).with("result", result));
    }
}
