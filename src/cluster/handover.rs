//! Giving and taking on request: the standby dialogue (resources spec 2.7, 2.8, 2.13 G to I).
//!
//! Sets in messages and logs are the giver's viewpoint; inside, each side keeps its own.

use crate::config::settings::AutoFailback;
use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::claims::Phase;
use super::event::{Answer, Command, Job, RequestId};
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::jobs::Purpose;
use super::Cluster;

mod news;

/// Wait for the peer's consent, milliseconds (resources spec 9).
const CONSENT_MS: u64 = 10_000;
/// What the peer's clock and the way of a message may add to [`CONSENT_MS`], milliseconds.
const MARGIN_MS: u64 = 2000;
/// Longest release or acquisition of the other side, milliseconds (resources spec 9).
const TRANSFER_MS: u64 = 3_600_000;
/// After this, a peer of ours that says it is settled has forgotten the dialogue, milliseconds.
const FORGOTTEN_MS: u64 = 5_000;

/// Where in the dialogue this node is; sets are our own viewpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Step {
    #[default]
    Idle,
    /// We asked to give.
    AwaitConsent(ResourceSet),
    /// We stop the groups.
    Releasing(ResourceSet),
    /// We stopped them; the peer starts them.
    AwaitTaken(ResourceSet),
    /// The peer asked to give and we agreed.
    AwaitRelease(ResourceSet),
    /// We start the groups.
    Acquiring(ResourceSet),
}

/// Who wanted the handover that this node asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Origin {
    /// A person, here or there; not repeated.
    #[default]
    Person,
    /// `auto_failback on`; repeated until it succeeds.
    Failback,
    /// A start that failed; repeated until the peer consented once.
    Failure,
    /// A set of the peer's that nobody claimed.
    Orphan,
}

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Handover {
    step: Step,
    origin: Origin,
    /// Sequence number of the peer's newest message of the dialogue: an older one that a
    /// retransmission brings late belongs to a dialogue that is over.
    peer_newest: u64,
    /// A beat came that the peer sent after it had heard this life of ours.
    peer_knows_us: bool,
    /// A 3.0.6 peer that we agreed with said that it has begun.
    release_began: bool,
    since_ms: u64,
    until_ms: u64,
}

impl Handover {
    /// Of a dialogue that is over.
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.number("handover.peer_newest", &mut self.peer_newest);
        form.flag("handover.peer_knows_us", &mut self.peer_knows_us);
        form.flag("handover.release_began", &mut self.release_began);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { step, origin, peer_newest, peer_knows_us, release_began, since_ms, until_ms } = self;
        into.add((step, release_began));
        into.peer_number(*peer_newest);
        into.add(peer_knows_us);
        match step {
            Step::Idle => {}
            Step::AwaitConsent(_) => {
                into.add(origin);
                into.moment(*until_ms, 0);
            }
            Step::Releasing(_) | Step::Acquiring(_) => into.add(origin),
            Step::AwaitTaken(_) | Step::AwaitRelease(_) => {
                into.moment(*until_ms, 0);
                into.moment(*since_ms, FORGOTTEN_MS);
                // An hour ahead is too far to be told from later, and its beginning counts too.
                into.moment(until_ms.saturating_sub(TRANSFER_MS), CONSENT_MS + MARGIN_MS);
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        self.step == Step::Idle
    }

    /// We asked to give; nothing has begun.
    pub fn awaits_consent(&self) -> bool {
        matches!(self.step, Step::AwaitConsent(_))
    }

    /// We start what the peer gave.
    pub fn is_acquiring(&self) -> bool {
        matches!(self.step, Step::Acquiring(_))
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        match self.step {
            Step::Idle | Step::Releasing(_) | Step::Acquiring(_) => None,
            Step::AwaitConsent(_) => Some(self.until_ms),
            Step::AwaitTaken(_) | Step::AwaitRelease(_) => {
                Some(self.until_ms.min(self.since_ms + FORGOTTEN_MS))
            }
        }
    }

    /// In words for the status; empty when nothing is under way.
    pub fn describe(&self) -> String {
        match self.step {
            Step::Idle => String::new(),
            Step::AwaitConsent(set) => format!("asking the other node to take {set} resources"),
            Step::Releasing(set) => format!("giving up {set} resources"),
            Step::AwaitTaken(set) => format!("the other node starts {set} resources"),
            Step::AwaitRelease(set) => format!("the other node gives up {set} resources"),
            Step::Acquiring(set) => format!("starting {set} resources given by the other node"),
        }
    }

    /// The original's number for error texts (resources spec 2.1, STANDBY).
    fn number(&self) -> u8 {
        match self.step {
            Step::Idle => 0,
            Step::AwaitConsent(_) | Step::Releasing(_) => 1,
            Step::AwaitRelease(_) => 2,
            Step::AwaitTaken(_) | Step::Acquiring(_) => 3,
        }
    }
}

impl Cluster {
    // ---- requests ------------------------------------------------------------------------

    pub(super) fn command(&mut self, request: RequestId, command: Command) {
        let result = match command {
            Command::Standby(set) => {
                self.forget_failures(set);
                self.request_standby(set)
            }
            Command::Takeover(set) => {
                self.forget_failures(set);
                let again = !self.stays_put() && self.try_failed_again(set);
                self.request_takeover(set).or_else(|why| if again { Ok(()) } else { Err(why) })
            }
            Command::Shutdown => {
                self.begin_shutdown();
                Ok(())
            }
            Command::MaintenanceOn(for_ms) => self.begin_maintenance(for_ms),
            Command::MaintenanceOff => self.end_maintenance(),
            Command::QuickRestart => {
                self.shutdown.quick_restart_wanted = true;
                Ok(())
            }
            Command::ConfirmTakeover => self.confirm_takeover(),
        };
        let answer = match result {
            Ok(()) => Answer::Accepted,
            Err(why) => Answer::Refused(why),
        };
        self.reply(request, answer);
    }

    /// As [`Cluster::request_standby`], for a reason of this program's own: asked again later when
    /// nothing comes of it.
    pub(super) fn request_standby_for(&mut self, set: ResourceSet, origin: Origin) {
        if self.request_standby(set).is_ok() {
            self.handover.origin = origin;
        } else {
            self.ask_again_later(set, origin);
        }
    }

    /// A request of ours came to nothing before anything was moved.
    fn withdraw(&mut self) {
        if let Step::AwaitConsent(set) = self.handover.step {
            let origin = self.handover.origin;
            self.ask_again_later(set, origin);
        }
        self.handover.step = Step::Idle;
    }

    /// This node asks to give `set` (own viewpoint). An error says why nothing was changed.
    pub(super) fn request_standby(&mut self, set: ResourceSet) -> Result<(), String> {
        if set.is_empty() {
            return Err("there is nothing to give: name all, local, foreign or failback".to_owned());
        }
        let peer = self.ready_peer()?;
        if !self.is_settled() {
            let text = format!(
                "standby message [{set}] from {} ignored.  local resources in flux.",
                self.settings.local
            );
            self.log_limited("standby-flux", LogLevel::Warning, &text);
            return Err(format!(
                "resources are in transition here ({}); try again when cl_status rscstatus no longer says transition",
                self.transition()
            ));
        }
        if !self.claims.peer_stable {
            let text = format!(
                "standby message [{set}] from {} ignored.  Other side is in flux.",
                self.settings.local
            );
            self.log_limited("standby-flux", LogLevel::Warning, &text);
            return Err(format!("resources are in transition on {peer}; try again in a moment"));
        }
        let local = self.settings.local.clone();
        self.log(LogLevel::Info, &format!("{local} wants to go standby [{set}]"));
        self.handover.origin = Origin::Person;
        self.step(Step::AwaitConsent(set), CONSENT_MS);
        self.ask(set, "me");
        Ok(())
    }

    /// This node asks the peer to give it `set` (own viewpoint).
    pub(super) fn request_takeover(&mut self, set: ResourceSet) -> Result<(), String> {
        if set.is_empty() {
            return Err("there is nothing to take: name all, local, foreign or failback".to_owned());
        }
        let peer = self.ready_peer()?;
        if self.claims.hold.contains(set) && self.is_settled() {
            self.log(LogLevel::Info, &format!("takeover of {set} resources: this node holds them already"));
            return Ok(());
        }
        if !self.is_settled() {
            return Err(format!(
                "resources are in transition here ({}); try again in a moment",
                self.transition()
            ));
        }
        if !self.claims.peer_stable {
            return Err(format!("resources are in transition on {peer}; try again in a moment"));
        }
        self.broadcast(Message::new("hb_takeover").with("rsc_hold", set.as_str()));
        Ok(())
    }

    fn ready_peer(&self) -> Result<String, String> {
        if !self.settings.manage_resources {
            return Err("resource management is off (-M)".to_owned());
        }
        if self.settings.auto_failback == AutoFailback::Legacy {
            return Err(
                "Standby mode only implemented when nice_failback on: set auto_failback to on or off"
                    .to_owned(),
            );
        }
        let Some(peer) = self.peer() else {
            return Err("there is no other node in ha.cf".to_owned());
        };
        if !self.liveness.communication_up {
            return Err("communication is not up yet; nothing was changed".to_owned());
        }
        if self.shutdown.is_under_way() {
            return Err("this node is shutting down".to_owned());
        }
        if self.in_maintenance() {
            return Err("maintenance: resources stay where they are; `ha maintenance off` ends it".to_owned());
        }
        if !self.peer_is_active() || self.claims.peer_left {
            return Err(format!(
                "node {} is {}: it cannot take part; nothing was changed",
                peer.name,
                peer.status.as_str()
            ));
        }
        Ok(peer.name.to_string())
    }

    fn ask(&mut self, giver_set: ResourceSet, info: &str) {
        self.send(Message::new("ask_resources").with("rsc_hold", giver_set.as_str()).with("info", info));
    }

    fn step(&mut self, step: Step, patience_ms: u64) {
        self.handover.step = step;
        self.handover.since_ms = self.now.monotonic_ms;
        self.handover.until_ms = self.now.monotonic_ms + patience_ms;
    }

    // ---- the dialogue --------------------------------------------------------------------

    /// `ask_resources` of the peer.
    pub(super) fn receive_ask_resources(&mut self, sender: usize, message: &Message) {
        if Some(sender) != self.peer {
            return;
        }
        if self.settings.auto_failback == AutoFailback::Legacy {
            self.log_limited("legacy", LogLevel::Info, "Standby mode only implemented when nice_failback on");
            return;
        }
        if self.claims.phase == Phase::Shutdown {
            return;
        }
        let Some(info) = message.text("info") else {
            self.log_limited("standby", LogLevel::Error, "Received standby message without info/from");
            return;
        };
        if info == "me" && self.is_not_considered(sender, message) {
            return;
        }
        if !self.is_news_of_dialogue(message) {
            return;
        }
        let word = message.text("rsc_hold").unwrap_or("all");
        let Ok(set) = word.parse::<ResourceSet>() else {
            self.log_bad_set(word);
            return;
        };
        let name = self.nodes[sender].name.clone();
        match (self.handover.step, info) {
            (Step::Idle, "me") => self.consider_taking(set),
            (Step::AwaitConsent(own), "me") => self.crossed(own, set),
            (_, "me") => {
                let left_s = self.handover.until_ms.saturating_sub(self.now.monotonic_ms) / 1000;
                let text =
                    format!("Standby in progress- new request from {name} ignored [{left_s} seconds left]");
                self.log_limited("standby", LogLevel::Warning, &text);
                self.refuse("a standby is in progress");
            }
            (Step::AwaitConsent(own), "other") => self.consent_came(own),
            (Step::Idle, "other") if !self.nodes[sender].is_ours() => self.original_agreed_late(set),
            (Step::AwaitRelease(own), "done") => self.peer_released(own),
            (Step::AwaitTaken(own), "done") => {
                // The report that says so may be lost, and was sent before this by a 3.0.6 peer:
                // what it took is nobody's orphan.
                self.claims.peer_hold = self.claims.peer_hold.union(own.mirrored());
                self.peer_took(own);
            }
            _ => {
                let number = self.handover.number();
                let info = super::text::escape(info);
                let text = format!("Ignored standby message '{info}' from {name} in state {number}");
                self.log_limited("standby", LogLevel::Error, &text);
            }
        }
    }

    /// A 3.0.6 peer that agreed to our request and was then told to go standby itself says so, to be
    /// refused. Where its consent was lost and comes later, this is no crossing.
    fn consent_may_be_missing(&self, sender: usize, message: &Message) -> bool {
        let node = &self.nodes[sender];
        let number = message.hex("seq").unwrap_or(0);
        let gap = node.received.complete_up_to().is_some_and(|up_to| up_to + 1 < number);
        gap && !node.is_ours() && matches!(self.handover.step, Step::AwaitConsent(_))
    }

    /// A 3.0.6 peer reports that it is in transition.
    pub(super) fn peer_is_releasing(&mut self) {
        self.handover.release_began = true;
    }

    /// The peer wants to give `giver_set` (its viewpoint).
    fn consider_taking(&mut self, giver_set: ResourceSet) {
        let Some(name) = self.peer_name() else {
            return;
        };
        if giver_set.is_empty() {
            return self.refuse("it named no resources");
        }
        if self.stays_put() {
            self.log_limited(
                "standby",
                LogLevel::Warning,
                &format!("standby of {name} refused: maintenance"),
            );
            return self.refuse("maintenance");
        }
        let ours = self.peer().is_some_and(super::node::Node::is_ours);
        // A 3.0.6 peer that asks while we wait for its stable report is told nothing; it gives up
        // after ten seconds, as with its own kind.
        if !ours && (!self.claims.peer_stable || self.original_awaits_set()) {
            let text = format!("standby message [{giver_set}] from {name} ignored.  Other side is in flux.");
            return self.log_limited("standby", LogLevel::Warning, &text);
        }
        if !self.is_settled() {
            let text =
                format!("standby message [{giver_set}] from {name} ignored.  local resources in flux.");
            self.log_limited("standby", LogLevel::Warning, &text);
            let why = format!("resources are in transition on {}", self.settings.local);
            return self.refuse(&why);
        }
        if !self.lease_allows() {
            return self.refuse("its lease is not renewed");
        }
        self.log(LogLevel::Info, &format!("{name} wants to go standby [{giver_set}]"));
        self.claims.peer_stable = false;
        self.handover.release_began = false;
        self.step(Step::AwaitRelease(giver_set.mirrored()), TRANSFER_MS);
        self.ask(giver_set, "other");
    }

    /// Both asked at the same time. Two originals wait ten seconds for nothing; ours: towards a
    /// 3.0.6 node we give way, between two of ours the lower name's request stands.
    fn crossed(&mut self, own: ResourceSet, giver_set: ResourceSet) {
        let Some(peer) = self.peer() else {
            return;
        };
        if peer.is_ours() && self.settings.local < peer.name {
            return;
        }
        let text =
            format!("standby request for {own} resources withdrawn: {} asked at the same time", peer.name);
        self.log(LogLevel::Info, &text);
        self.withdraw();
        self.consider_taking(giver_set);
    }

    /// Tells a peer of ours why it gets no consent; 3.0.6 is told nothing, as it expects.
    fn refuse(&mut self, why: &str) {
        let Some(peer) = self.peer().filter(|peer| peer.is_ours()) else {
            return;
        };
        let dest = peer.name.clone();
        self.send(Message::new("harefuse").with("dest", dest.as_str()).with("info", why));
    }

    /// `harefuse`: ours only.
    pub(super) fn receive_refusal(&mut self, sender: usize, message: &Message) {
        if Some(sender) != self.peer || !matches!(self.handover.step, Step::AwaitConsent(_)) {
            return;
        }
        let why: String = message.text("info").unwrap_or("no reason given").chars().take(200).collect();
        let text =
            format!("standby request refused by {}: {}", self.nodes[sender].name, why.escape_default());
        self.log_limited("refused", LogLevel::Warning, &text);
        self.withdraw();
    }

    /// Giver: the peer agreed to a request that was given up meanwhile.
    pub(super) fn consent_to(&mut self, own: ResourceSet, origin: Origin) {
        self.handover.origin = origin;
        self.consent_came(own);
    }

    /// Giver: the peer agreed.
    fn consent_came(&mut self, own: ResourceSet) {
        let Some(name) = self.peer_name() else {
            return;
        };
        self.log(LogLevel::Info, &format!("standby: {name} can take our {own} resources"));
        self.log(LogLevel::Info, &format!("give up {own} HA resources (standby)."));
        self.step(Step::Releasing(own), TRANSFER_MS);
        let held = own.intersection(self.claims.hold);
        if held.is_empty() {
            self.giver_released();
        } else {
            self.schedule(Job::Release(held), Purpose::StandbyRelease);
        }
    }

    /// Giver: everything is stopped, only now is it said.
    pub(super) fn giver_released(&mut self) {
        let Step::Releasing(own) = self.handover.step else {
            return;
        };
        if self.handover.origin == Origin::Person {
            // Whoever moved it looked: what did not start here before is no alarm any more.
            self.forget_failures(own);
        }
        if self.handover.origin == Origin::Failure {
            self.note_given_failure(own);
        }
        self.log(LogLevel::Info, &format!("{own} HA resource release completed (standby)."));
        self.log(LogLevel::Info, &format!("Local standby process completed [{own}]."));
        self.step(Step::AwaitTaken(own), TRANSFER_MS);
        self.send_report(Some("standby"));
        self.ask(own, "done");
    }

    /// Taker: the giver stopped everything.
    fn peer_released(&mut self, own: ResourceSet) {
        let Some(name) = self.peer_name() else {
            return;
        };
        let giver_set = own.mirrored();
        self.log(LogLevel::Info, &format!("standby: acquire [{giver_set}] resources from {name}"));
        self.log(LogLevel::Info, &format!("acquire {own} HA resources (standby)."));
        self.step(Step::Acquiring(own), TRANSFER_MS);
        let missing = own.minus(self.claims.hold);
        self.claims.hold = self.claims.hold.union(own);
        self.claims.peer_hold = self.claims.peer_hold.minus(giver_set);
        if missing.is_empty() {
            self.taker_acquired();
        } else {
            self.schedule(Job::Acquire(missing), Purpose::StandbyAcquire);
        }
    }

    /// Taker: started.
    pub(super) fn taker_acquired(&mut self) {
        let Step::Acquiring(own) = self.handover.step else {
            return;
        };
        let giver_set = own.mirrored();
        self.log(LogLevel::Info, &format!("{own} HA resource acquisition completed (standby)."));
        self.handover.step = Step::Idle;
        self.ask(giver_set, "done");
        self.log(LogLevel::Info, &format!("Standby resource acquisition done [{giver_set}]."));
        self.initial_acquisition_complete("auto_failback");
    }

    /// Giver: the peer has started them.
    fn peer_took(&mut self, own: ResourceSet) {
        self.handover.step = Step::Idle;
        self.log(LogLevel::Info, &format!("Other node completed standby takeover of {own} resources."));
    }

    /// `hb_takeover` of the peer: it wants what it names from its viewpoint (resources spec 2.13 H).
    /// `failback` means its own groups here; the original has no mapping and moves everything.
    pub(super) fn receive_takeover_request(&mut self, sender: usize, message: &Message) {
        if Some(sender) != self.peer {
            return;
        }
        if !self.is_news_of_dialogue(message) {
            return;
        }
        let word = message.text("rsc_hold").unwrap_or("all");
        let wanted = match word {
            "failback" => Ok(ResourceSet::LOCAL),
            _ => word.parse::<ResourceSet>(),
        };
        let Ok(wanted) = wanted else {
            return self.log_bad_set(word);
        };
        let give = wanted.mirrored();
        self.forget_failures(give);
        self.log(LogLevel::Info, &format!("Going standby [{give}]."));
        if let Err(why) = self.request_standby(give) {
            let text = format!("takeover request not followed: {why}");
            self.log_limited("takeover-refused", LogLevel::Warning, &text);
        }
    }

    // ---- time and accidents --------------------------------------------------------------

    pub(super) fn tick_handover(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let ours = self.peer().is_some_and(super::node::Node::is_ours);
        let long = now_ms >= self.handover.since_ms + FORGOTTEN_MS;
        let forgotten = long && ours && self.peer_forgot_dialogue();
        let expired = now_ms >= self.handover.until_ms;
        // Our consent came too late for a 3.0.6 peer if it has not begun by then; it has, if it
        // reports the set as its own.
        let cancelled = now_ms + TRANSFER_MS >= self.handover.until_ms + CONSENT_MS + MARGIN_MS;
        let has = |own: ResourceSet| self.claims.peer_hold_here().contains(own) && self.peer_is_ready();
        match self.handover.step {
            Step::AwaitConsent(_) if expired => self.no_reply(),
            Step::AwaitRelease(_) if long && !ours && cancelled && !self.handover.release_began => {
                self.no_reply();
            }
            Step::AwaitTaken(own) if long && !ours && has(own) => self.peer_took(own),
            Step::AwaitTaken(own) if forgotten => self.peer_took(own),
            Step::AwaitRelease(_) if forgotten => self.no_reply(),
            Step::AwaitTaken(_) | Step::AwaitRelease(_) if expired => self.no_reply(),
            // Looked at again while the peer is busy.
            Step::AwaitTaken(_) | Step::AwaitRelease(_)
                if now_ms >= self.handover.since_ms + FORGOTTEN_MS =>
            {
                self.handover.since_ms = now_ms;
            }
            _ => {}
        }
    }

    fn no_reply(&mut self) {
        self.withdraw();
        self.claims.peer_stable = true;
        self.log(LogLevel::Warning, "No reply to standby request.  Standby request cancelled.");
    }

    /// The peer died, left or restarted in the middle. A release that runs is waited for by the
    /// job queue; its end then says nothing to anybody.
    pub(super) fn cancel_handover(&mut self) {
        if !self.handover.is_idle() {
            self.log(LogLevel::Info, "Cancelling pending standby operation");
            self.withdraw();
        }
    }
}
