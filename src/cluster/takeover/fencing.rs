//! Gate: the peer is reset before anything of it is taken (resources spec 3); and the hourly question
//! whether the devices could be used.
//!
//! Devices are tried in order, one after another, and after the last failure again from the first, for
//! ever: no failure leads to a takeover without a person's word. A node that is not known to have let go
//! by its own goodbye is reset also when it claimed nothing: what it said may be overtaken, and it may
//! have died while it released (the original resets neither).

use crate::types::{LogLevel, NodeName};

use super::super::alarm::AlarmKind;
use super::super::event::{FencingWord, Finding, Question, QuestionId};
use super::super::fingerprint::Fingerprint;
use super::super::handoff::Form;
use super::super::Cluster;
use super::{Confirm, Pending, Verdict};

/// Pause before the devices are tried again, milliseconds (resources spec 3.2).
const RETRY_MS: u64 = 5_000;
/// The same where a device may have done it without saying so, milliseconds: what was reset needs time to
/// come back, or it would be reset again and again while it boots. Doubled with each such round.
const RETRY_UNCLEAR_MS: u64 = 30_000;
/// Doublings of it at most: eight minutes.
const DOUBLINGS_MAX: u32 = 4;
/// Pause between two checks of the devices, milliseconds (resources spec 3.4).
const CHECK_MS: u64 = 3_600_000;

/// Steps of the gate: not begun, the delay runs, and from there one for each failed attempt.
const DELAY: u32 = 1;
const FIRST_ATTEMPT: u32 = 2;

/// What outlives a pending takeover.
#[derive(Debug, Clone, Default)]
pub(super) struct Fencing {
    /// The peer was reset since it was last heard: that is not repeated for this death.
    is_reset: bool,
    /// A device was told to reset it, since it was last heard, and what it did is not known.
    may_be_reset: bool,
    /// The life before this one held foreign sets because the peer was away: what was to be done about
    /// that is done.
    was_away: bool,
    attempts: Attempts,
    check: Option<Check>,
    /// Devices that failed the last check, by place.
    broken: Vec<usize>,
}

/// What the attempts of a pending takeover came to.
#[derive(Debug, Clone, Default)]
struct Attempts {
    /// Why those of the present round failed: one for each device.
    reasons: Vec<String>,
    /// A device of the present round may have done it.
    is_unclear: bool,
    /// For the status: why the last one of the round before failed.
    last_reason: String,
    /// Rounds that ended so.
    unclear_rounds: u32,
}

/// A round of questions to the devices, or the pause before it.
#[derive(Debug, Clone, Copy)]
struct Check {
    due_ms: u64,
    device: usize,
    question: Option<QuestionId>,
}

impl Fencing {
    pub fn visit(&mut self, now_ms: u64, form: &mut Form) {
        form.flag("takeover.is_reset", &mut self.is_reset);
        form.flag("takeover.may_be_reset", &mut self.may_be_reset);
        form.flag("takeover.was_away", &mut self.was_away);
        let mut checks = self.check.is_some();
        form.flag("takeover.checks", &mut checks);
        if checks && self.check.is_none() {
            self.check = Some(Check { due_ms: now_ms + CHECK_MS, device: 0, question: None });
        }
    }

    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { is_reset, may_be_reset, was_away, attempts, check, broken } = self;
        // The reasons are words for people.
        into.add((attempts.is_unclear, attempts.unclear_rounds.min(DOUBLINGS_MAX + 1)));
        into.add((
            is_reset,
            may_be_reset,
            was_away,
            broken,
            check.map(|check| (check.device, check.question.is_some())),
        ));
        into.moment_if(check.map(|check| check.due_ms), 0);
    }

    pub fn peer_is_back(&mut self) {
        (self.is_reset, self.may_be_reset, self.was_away) = (false, false, false);
    }

    pub fn peer_was_away(&mut self) {
        self.was_away = true;
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.check.filter(|check| check.question.is_none()).map(|check| check.due_ms)
    }
}

impl Cluster {
    pub(super) fn look_at_fencing(&mut self, pending: &mut Pending) -> Verdict {
        let Some(name) = self.peer_name() else {
            return Verdict::Open;
        };
        if self.settings.takeover.fencing.devices.is_empty() || self.peer_said_goodbye(pending) {
            self.fencing_without_device(pending, &name);
            return Verdict::Open;
        }
        let spared = self.takeover.fencing.was_away && self.takes_nothing();
        if self.takeover.fencing.is_reset || spared {
            return Verdict::Open;
        }
        if !pending.ever_heard && self.settings.takeover.fencing.waits_for_unheard {
            let why = format!("node {name} was never heard since this node started, and is not reset then");
            return Verdict::Wait { why, confirm: Confirm::Opens };
        }
        if let Some(answer) = pending.answer.take() {
            if self.fencing_ended(pending, &name, &answer) {
                return Verdict::Open;
            }
        }
        if pending.step < DELAY {
            pending.step = DELAY;
            pending.due_ms = Some(self.now.monotonic_ms + self.fencing_delay_ms(&name));
        }
        let rests = pending.due_ms.is_some_and(|due_ms| self.now.monotonic_ms < due_ms);
        if rests && pending.step == DELAY && self.takeover.fencing.may_be_reset {
            let why = format!("node {name} may have been reset already, and has time to come back");
            return Verdict::Wait { why, confirm: Confirm::Opens };
        }
        if pending.question.is_none() && !rests {
            self.fence(pending, &name);
        }
        let failures = pending.step.saturating_sub(FIRST_ATTEMPT);
        match failures >= self.device_count() {
            false => Verdict::Wait {
                why: format!("node {name} is being reset"),
                confirm: Confirm::Refused(
                    "the other node is being reset at this moment: wait for the result",
                ),
            },
            true => Verdict::Wait {
                why: format!(
                    "node {name} could not be reset, {failures} attempts failed{}, more follow",
                    self.last_reason()
                ),
                confirm: Confirm::Opens,
            },
        }
    }

    /// So that two nodes that see each other dead do not reset each other: the one with the later name
    /// waits a fixed time, both a random one.
    fn fencing_delay_ms(&mut self, name: &NodeName) -> u64 {
        let (fixed_ms, random_ms) =
            (self.settings.takeover.fencing.delay_ms, self.settings.takeover.fencing.delay_random_ms);
        let fixed_ms = if self.settings.local > *name { fixed_ms } else { 0 };
        let random_ms = if random_ms > 0 { self.next_random() % (random_ms + 1) } else { 0 };
        if !self.takeover.fencing.may_be_reset {
            return fixed_ms + random_ms;
        }
        let text = format!(
            "node {name} may have been reset just before this daemon went on: it has {} s to come back before \
             it is reset again",
            RETRY_UNCLEAR_MS / 1000
        );
        self.log(LogLevel::Warning, &text);
        RETRY_UNCLEAR_MS.max(fixed_ms + random_ms)
    }

    /// For the next life of this daemon ([`super::super::event::Input::FormerFencing`]).
    pub fn fencing_word(&self) -> FencingWord {
        let Fencing { is_reset, may_be_reset, .. } = self.takeover.fencing;
        match (is_reset, may_be_reset) {
            (true, _) => FencingWord::Reset,
            (false, true) => FencingWord::MayBeReset,
            (false, false) => FencingWord::NotReset,
        }
    }

    /// What the life before knew; one that went on with its whole state knows it already.
    pub(in super::super) fn former_fencing(&mut self, word: FencingWord) {
        let fencing = &mut self.takeover.fencing;
        fencing.is_reset |= word == FencingWord::Reset;
        fencing.may_be_reset |= word == FencingWord::MayBeReset;
    }

    fn fence(&mut self, pending: &mut Pending, name: &NodeName) {
        if pending.step < FIRST_ATTEMPT {
            self.takeover.fencing.attempts = Attempts::default();
        }
        pending.step = pending.step.max(FIRST_ATTEMPT);
        pending.due_ms = None;
        self.takeover.fencing.may_be_reset = true;
        let device = self.device_of(pending);
        let text = format!("Resetting node {name} with [{}]", self.settings.takeover.fencing.devices[device]);
        self.log(LogLevel::Info, &text);
        // What follows the first round is one alarm, that it failed.
        if pending.step < FIRST_ATTEMPT + self.device_count() {
            self.alarm(AlarmKind::Fencing, name.as_str(), &text);
        }
        self.ask_outside(pending, Question::Fence { node: name.clone(), device });
    }

    fn device_of(&self, pending: &Pending) -> usize {
        (pending.step.saturating_sub(FIRST_ATTEMPT) % self.device_count().max(1)) as usize
    }

    fn device_count(&self) -> u32 {
        u32::try_from(self.settings.takeover.fencing.devices.len()).unwrap_or(u32::MAX)
    }

    /// An attempt ended; whether the way is free.
    fn fencing_ended(&mut self, pending: &mut Pending, name: &NodeName, answer: &Finding) -> bool {
        let device = self.device_of(pending);
        let device_name = self.settings.takeover.fencing.devices[device].clone();
        let (result, level, text) = match answer {
            Finding::Yes | Finding::Found(_) => ("OK", LogLevel::Info, format!("node {name} now reset.")),
            Finding::No(why) => {
                self.attempt_failed(&device_name, why, false);
                ("badhost", LogLevel::Error, format!("Device {device_name} cannot reset host {name}."))
            }
            Finding::Failed(why) | Finding::Unclear(why) => {
                self.attempt_failed(&device_name, why, matches!(answer, Finding::Unclear(_)));
                ("bad", LogLevel::Error, format!("Host {name} not reset!"))
            }
        };
        self.log(level, &text);
        self.tell_fencing(name, result);
        self.takeover.fencing.may_be_reset = self.takeover.fencing.attempts.is_unclear;
        if *answer == Finding::Yes {
            self.takeover.fencing.is_reset = true;
            self.peer_is_proven_down();
            // A device that failed before this one wants to be looked at.
            let reasons = std::mem::take(&mut self.takeover.fencing.attempts.reasons);
            let before =
                if reasons.is_empty() { String::new() } else { format!(" Before: {}", reasons.join("; ")) };
            self.alarm_over(AlarmKind::Fencing, name.as_str(), Some(&format!("{text}{before}")));
            return true;
        }
        pending.step = pending.step.saturating_add(1);
        let is_last = self.device_of(pending) == 0;
        if is_last {
            self.round_failed(pending, name);
        }
        is_last && self.settings.faults.take_unfenced
    }

    fn attempt_failed(&mut self, device_name: &str, why: &str, is_unclear: bool) {
        let doubt = if is_unclear { "; whether it was reset is not known" } else { "" };
        let text = format!("{device_name}: {why}{doubt}");
        self.log(LogLevel::Error, &text);
        let attempts = &mut self.takeover.fencing.attempts;
        attempts.reasons.push(text);
        attempts.is_unclear |= is_unclear;
    }

    /// The last device has failed too: they are tried again after a pause.
    fn round_failed(&mut self, pending: &mut Pending, name: &NodeName) {
        self.log(LogLevel::Error, &format!("STONITH of {name} failed.  Retrying..."));
        let attempts = &mut self.takeover.fencing.attempts;
        let (is_unclear, reasons) =
            (std::mem::take(&mut attempts.is_unclear), std::mem::take(&mut attempts.reasons));
        let pause_ms = match is_unclear {
            false => RETRY_MS,
            true => {
                let doublings = attempts.unclear_rounds.min(DOUBLINGS_MAX);
                attempts.unclear_rounds = attempts.unclear_rounds.saturating_add(1);
                RETRY_UNCLEAR_MS << doublings
            }
        };
        attempts.last_reason = reasons.last().cloned().unwrap_or_default();
        if is_unclear {
            let text = format!(
                "node {name} may have been reset all the same: it has {} s to come back before it is reset again",
                pause_ms / 1000
            );
            self.log(LogLevel::Warning, &text);
        }
        pending.due_ms = Some(self.now.monotonic_ms + pause_ms);
        if pending.step == FIRST_ATTEMPT + self.device_count() {
            self.alarm_over(AlarmKind::Fencing, name.as_str(), Some("it failed, and is tried again"));
            let reasons = reasons.join("; ");
            let text = format!("no device could reset node {name}: nothing of it is taken over. {reasons}");
            self.alarm(AlarmKind::FencingFailed, name.as_str(), &text);
            self.ask_a_person(name, "no device could reset it");
        }
    }

    fn last_reason(&self) -> String {
        match self.takeover.fencing.attempts.last_reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        }
    }

    /// No device, or nothing that has to be reset. As the original: said, and taken all the same.
    fn fencing_without_device(&mut self, pending: &Pending, name: &NodeName) {
        if self.peer_gave_up(pending.ever_heard) || self.peer_said_goodbye(pending) {
            self.log(LogLevel::Info, &format!("Dead node {name} gave up resources."));
            self.tell_fencing(name, "unneeded");
        } else {
            self.log(LogLevel::Warning, "No STONITH device configured.");
            self.log(LogLevel::Warning, "Shared disks are not protected.");
            self.tell_fencing(name, "n_stnth");
        }
    }

    // ---- checks --------------------------------------------------------------------------

    /// Communication is up: the first check of the devices is due.
    pub(in super::super) fn fencing_begins(&mut self) {
        if !self.settings.takeover.fencing.devices.is_empty() {
            let due_ms = self.now.monotonic_ms;
            self.takeover.fencing.check = Some(Check { due_ms, device: 0, question: None });
            self.check_devices();
        }
    }

    /// Asks the next device when it is time.
    pub(in super::super) fn check_devices(&mut self) {
        let Some(check) = self.takeover.fencing.check else {
            return;
        };
        let Some(name) = self.settings.takeover.fencing.devices.get(check.device).cloned() else {
            return;
        };
        if check.question.is_some() || self.now.monotonic_ms < check.due_ms {
            return;
        }
        self.log(LogLevel::Info, &format!("Checking status of STONITH device [{name}]"));
        let question = Some(self.ask_question(Question::FenceDevice { device: check.device }));
        self.takeover.fencing.check = Some(Check { question, ..check });
    }

    pub(super) fn device_checked(&mut self, question: QuestionId, answer: &Finding) {
        let Some(check) = self.takeover.fencing.check.filter(|check| check.question == Some(question)) else {
            return;
        };
        let broken = &mut self.takeover.fencing.broken;
        broken.retain(|device| *device != check.device);
        if *answer != Finding::Yes {
            broken.push(check.device);
            let name = self.settings.takeover.fencing.devices[check.device].clone();
            if let Finding::No(why) | Finding::Failed(why) | Finding::Unclear(why) = answer {
                self.log(LogLevel::Error, &format!("{name}: {why}"));
            }
            self.log(LogLevel::Error, &format!("STONITH device {name} not operational!"));
            self.log(LogLevel::Error, "STONITH status operation failed.");
            self.log(LogLevel::Info, "This may mean that the STONITH device has failed!");
        }
        let is_last = check.device + 1 >= self.settings.takeover.fencing.devices.len();
        let now_ms = self.now.monotonic_ms;
        let (device, due_ms) = if is_last { (0, now_ms + CHECK_MS) } else { (check.device + 1, now_ms) };
        self.takeover.fencing.check = Some(Check { due_ms, device, question: None });
        self.check_devices();
    }

    // ---- status --------------------------------------------------------------------------

    pub(super) fn describe_fencing(&self) -> Option<String> {
        let fencing = &self.settings.takeover.fencing;
        if fencing.devices.is_empty() {
            return None;
        }
        let state = |(place, name): (usize, &String)| match self.takeover.fencing.broken.contains(&place) {
            true => format!("{name} (NOT OPERATIONAL)"),
            false => name.clone(),
        };
        let devices: Vec<String> = fencing.devices.iter().enumerate().map(state).collect();
        let unheard = match fencing.waits_for_unheard {
            true => "; a node never heard is waited for",
            false => "",
        };
        Some(format!(
            "the other node is reset before it is taken over, by {}{unheard}",
            devices.join(", then ")
        ))
    }

    pub(super) fn fencing_alarms(&self) -> Vec<String> {
        let name = |device: &usize| self.settings.takeover.fencing.devices.get(*device);
        let broken = self.takeover.fencing.broken.iter().filter_map(name);
        broken.map(|name| format!("fencing device {name} is not operational")).collect()
    }
}
