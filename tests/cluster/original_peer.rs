//! Ours with a 3.0.6 peer that a script plays message by message (resources spec 2.7, 2.13 J, 2.14).

use ha_core::cluster::event::{Command, Input, Job, JobOutcome, Now, Output, RequestId};
use ha_core::config::settings::AutoFailback;
use ha_core::types::{Generation, LinkName, NodeName, ResourceSet, Uuid};
use ha_core::wire::message::Message;

use crate::core::{Cluster, ClusterSettings, Faults};

const KEEPALIVE_MS: u64 = 100;

/// node1 is ours, node2 is the script.
pub(crate) struct Play {
    pub(crate) ours: Cluster,
    pub(crate) now_ms: u64,
    generation: u64,
    sequence: u64,
    /// The script's beats go out.
    beats: bool,
    next_beat_ms: u64,
    /// Jobs that will have ended.
    jobs: Vec<(u64, Input)>,
    /// Groups that do not start here.
    broken: ResourceSet,
    pub(crate) done: Vec<Job>,
    pub(crate) sent: Vec<Message>,
    pub(crate) log: Vec<String>,
}

impl Play {
    /// Both active, each with its own groups.
    fn settled() -> Self {
        Self::settled_with(AutoFailback::Off)
    }

    fn settled_with(auto_failback: AutoFailback) -> Self {
        let mut play = Self::unstarted(auto_failback, None);
        play.input(Input::Start);
        play.joins("local");
        assert_eq!(play.ours.holding(), ResourceSet::LOCAL, "{:#?}", play.log);
        play
    }

    pub(crate) fn unstarted(auto_failback: AutoFailback, resume: Option<ResourceSet>) -> Self {
        let names = ["node1", "node2"].map(|name| NodeName::new(name).expect("a name"));
        let settings = ClusterSettings {
            local: names[0].clone(),
            uuid: Uuid([1; 16]),
            generation: Generation(10),
            process_id: 1,
            nodes: names.to_vec(),
            links: vec![LinkName::new("eth1").expect("a name")],
            keepalive_ms: KEEPALIVE_MS,
            dead_time_ms: 1000,
            warn_time_ms: 500,
            init_dead_ms: 3000,
            pings: Vec::new(),
            dead_ping_ms: 1000,
            hop_fudge: 1,
            auto_failback,
            max_rexmit_delay_ms: 250,
            manage_resources: true,
            local_keys: vec!["key1".to_owned()],
            resume,
            takeover: Default::default(),
            services: Vec::new(),
            watchdog_ms: None,
            random_seed: 7,
            faults: Faults::default(),
            membership: Default::default(),
        };
        Self {
            ours: Cluster::new(settings, Now { monotonic_ms: 0, wall_s: 1 }),
            now_ms: 0,
            generation: 5,
            sequence: 0,
            beats: true,
            next_beat_ms: 10,
            jobs: Vec::new(),
            broken: ResourceSet::NONE,
            done: Vec::new(),
            sent: Vec::new(),
            log: Vec::new(),
        }
    }

    /// The peer becomes active and says what it holds.
    fn joins(&mut self, hold: &str) {
        self.run_ms(50);
        self.says(&[("t", "reqnodes"), ("dest", "node1")]);
        self.says(&[
            ("t", "repnodes"),
            ("dest", "node1"),
            ("nodelist", "node1 node2 "),
            ("delnodelist", " "),
        ]);
        self.run_ms(50);
        self.says(&[("t", "starting")]);
        self.reports(hold, "1");
        self.run_ms(200);
    }

    pub(crate) fn input(&mut self, input: Input) {
        let now = Now { monotonic_ms: self.now_ms, wall_s: 1 + self.now_ms / 1000 };
        self.ours.handle(now, input);
        while let Some(output) = self.ours.poll_output() {
            match output {
                Output::Send { message, .. } => self.sent.push(message),
                Output::RunJob { job, work, .. } => {
                    self.done.push(work);
                    let start_failed = match work {
                        Job::Acquire(set) => set.intersection(self.broken),
                        _ => ResourceSet::NONE,
                    };
                    let outcome = JobOutcome { start_failed, ..JobOutcome::default() };
                    self.jobs.push((self.now_ms + 5, Input::JobDone { job, outcome }));
                }
                Output::Log { level, text } => self.log.push(format!("{} {text}", level.as_str())),
                _ => {}
            }
        }
    }

    pub(crate) fn run_ms(&mut self, span_ms: u64) {
        for _ in 0..span_ms {
            self.now_ms += 1;
            if self.beats && self.now_ms >= self.next_beat_ms {
                self.next_beat_ms = self.now_ms + KEEPALIVE_MS;
                self.says(&[("t", "status"), ("st", "active"), ("dt", "3e8"), ("protocol", "1")]);
            }
            let (due, later) =
                std::mem::take(&mut self.jobs).into_iter().partition(|(at, _)| *at <= self.now_ms);
            self.jobs = later;
            let due: Vec<(u64, Input)> = due;
            due.into_iter().for_each(|(_, input)| self.input(input));
            if self.ours.next_timeout_ms().is_some_and(|at| at <= self.now_ms) {
                self.input(Input::Tick);
            }
        }
    }

    fn says(&mut self, fields: &[(&str, &str)]) {
        self.sequence += 1;
        let sequence = self.sequence;
        self.says_as(sequence, fields);
    }

    fn says_as(&mut self, sequence: u64, fields: &[(&str, &str)]) {
        let mut message = Message::empty();
        for (name, value) in fields {
            message.push_text(name, value);
        }
        message.push_text("seq", &format!("{sequence:x}"));
        self.sends(message);
    }

    /// It lacks this message of ours (`NS_rexmit`, which has no number itself).
    fn asks_again_for(&mut self, number: u64) {
        let number = number.to_string();
        let request = Message::new("NS_rexmit").with("dest", "node1");
        self.sends(request.with("firstseq", &number).with("lastseq", &number));
    }

    fn sends(&mut self, mut message: Message) {
        message.push_text("src", "node2");
        message.push_text("hg", &format!("{:x}", self.generation));
        message.push_text("ts", "65000000");
        let link = LinkName::new("eth1").expect("a name");
        self.input(Input::Packet { link, key_index: 1, message });
    }

    fn reports(&mut self, hold: &str, stable: &str) {
        self.says(&[("t", "resource"), ("rsc_hold", hold), ("rtype", "full"), ("isstable", stable)]);
    }

    fn asks(&mut self, set: &str, info: &str) {
        self.says(&[("t", "ask_resources"), ("rsc_hold", set), ("info", info)]);
    }

    fn restarts(&mut self) {
        (self.generation, self.sequence) = (self.generation + 1, 0);
        self.says(&[("t", "status"), ("st", "active"), ("dt", "3e8"), ("protocol", "1")]);
    }

    fn is_silent_for(&mut self, span_ms: u64) {
        self.beats = false;
        self.run_ms(span_ms);
        self.beats = true;
    }

    pub(crate) fn command(&mut self, command: Command) {
        self.input(Input::Command { request: RequestId(1), command });
    }

    /// How often a message with these fields was sent; forgets what was sent.
    fn sent(&mut self, fields: &[(&str, &str)]) -> usize {
        let sent = std::mem::take(&mut self.sent);
        let fits = |message: &&Message| fields.iter().all(|(name, value)| message.text(name) == Some(value));
        sent.iter().filter(fits).count()
    }

    fn released(&self) -> bool {
        self.done.iter().any(|job| matches!(job, Job::Release(_)))
    }

    fn resource_status(&self) -> String {
        self.ours.view(Now { monotonic_ms: self.now_ms, wall_s: 1 }).resource_status
    }
}

const DEMAND_LOCAL: [(&str, &str); 2] = [("t", "hb_takeover"), ("rsc_hold", "local")];

/// The holder of everything was killed and is back within deadtime: its next life does not know
/// what is still active there, so it is told to stop it before it starts here.
#[test]
fn an_orphaned_set_is_stopped_there_before_it_starts_here() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::ALL));
    play.asks("all", "other");
    play.run_ms(20);
    play.reports("all", "1");
    play.asks("all", "done");
    play.run_ms(100);
    assert_eq!(play.ours.holding(), ResourceSet::NONE);
    play.restarts();
    play.joins("local");
    play.done.clear();
    play.sent(&[]);
    play.run_ms(4000);
    assert_eq!(play.sent(&DEMAND_LOCAL), 1, "{:#?}", play.log);
    assert_eq!(play.done, [], "nothing starts while it may be active there");
    play.asks("foreign", "me");
    assert_eq!(play.sent(&[("t", "ask_resources"), ("info", "other")]), 1);
    play.reports("local", "0");
    play.asks("foreign", "done");
    play.run_ms(50);
    assert_eq!(play.done, [Job::Acquire(ResourceSet::LOCAL)]);
    assert_eq!(play.resource_status(), "transition", "it has not said yet that it is stable");
    play.reports("local", "1");
    play.run_ms(50);
    assert_eq!(play.resource_status(), "local");
}

/// The script that answers is missing there: taken after a while.
#[test]
fn an_orphaned_set_is_taken_when_nobody_answers() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::LOCAL));
    play.asks("local", "other");
    play.run_ms(20);
    play.reports("all", "1");
    play.asks("local", "done");
    play.run_ms(50);
    play.restarts();
    play.joins("local");
    play.run_ms(25_000);
    assert_eq!(play.ours.holding(), ResourceSet::LOCAL, "{:#?}", play.log);
    assert_eq!(play.resource_status(), "local");
}

/// What the peer does not claim of its own goes home.
#[test]
fn the_peers_orphaned_set_is_offered_to_it() {
    let mut play = Play::settled();
    play.reports("none", "1");
    play.run_ms(3000);
    assert_eq!(play.sent(&[("t", "ask_resources"), ("rsc_hold", "foreign"), ("info", "me")]), 1);
    // It does not answer: taken, so that it runs somewhere.
    play.run_ms(20_000);
    assert_eq!(play.ours.holding(), ResourceSet::ALL, "{:#?}", play.log);
}

/// A partition that only ours noticed, because it heard nothing: nobody restarts, and the peer says
/// nothing by itself.
#[test]
fn what_was_taken_from_a_peer_that_was_never_gone_is_let_go() {
    let mut play = Play::settled();
    play.is_silent_for(1500);
    assert_eq!(play.ours.holding(), ResourceSet::ALL, "{:#?}", play.log);
    play.sent(&[]);
    play.run_ms(300);
    assert_eq!(play.sent(&[("t", "starting")]), 1, "it is asked what it holds");
    play.reports("local", "1");
    play.run_ms(300);
    assert_eq!(play.ours.holding(), ResourceSet::LOCAL, "{:#?}", play.log);
    assert_eq!(play.resource_status(), "local");
}

/// A partition that both noticed: the peer restarts itself, however long its release takes to begin.
#[test]
fn the_restart_of_a_peer_after_a_partition_costs_nothing() {
    let mut play = Play::settled();
    play.is_silent_for(1500);
    play.run_ms(100);
    play.reports("all", "1");
    play.run_ms(2500);
    play.reports("none", "0");
    play.run_ms(500);
    play.says(&[("t", "shutdone"), ("st", "dead")]);
    play.run_ms(100);
    play.is_silent_for(3000);
    play.restarts();
    play.joins("none");
    assert_eq!(play.ours.holding(), ResourceSet::ALL, "{:#?}", play.log);
    assert!(!play.released(), "{:#?}", play.log);
    assert_eq!(play.resource_status(), "all");
}

/// Both want to give back what they took meanwhile: ours does not, the peer is about to go.
#[test]
fn nothing_is_given_back_to_a_peer_that_is_about_to_restart() {
    let mut play = Play::settled_with(AutoFailback::On);
    play.is_silent_for(1500);
    play.run_ms(100);
    play.reports("all", "1");
    play.asks("foreign", "me");
    play.reports("local", "0");
    play.asks("foreign", "done");
    play.run_ms(100);
    play.reports("local", "1");
    play.run_ms(1500);
    assert_eq!(play.ours.holding(), ResourceSet::ALL, "{:#?}", play.log);
    assert!(!play.released(), "{:#?}", play.log);
}

/// The peer asked for more patience than it has, so only it noticed the loss of contact.
#[test]
fn the_restart_of_a_peer_costs_nothing_where_ours_had_more_patience() {
    let mut play = Play::settled();
    play.says(&[("t", "status"), ("st", "active"), ("dt", "bb8"), ("protocol", "1")]);
    play.is_silent_for(1500);
    play.says(&[("t", "status"), ("st", "active"), ("dt", "bb8"), ("protocol", "1")]);
    play.run_ms(5);
    play.reports("all", "1");
    play.run_ms(2500);
    assert_eq!(play.ours.holding(), ResourceSet::LOCAL, "{:#?}", play.log);
    assert!(!play.released(), "{:#?}", play.log);
    play.reports("none", "0");
    play.says(&[("t", "shutdone"), ("st", "dead")]);
    play.run_ms(100);
    assert_eq!(play.ours.holding(), ResourceSet::ALL, "{:#?}", play.log);
}

/// A peer that stood still takes everything when it goes on, and misses its cue to restart: it is
/// told to give, and if it does not, ours gives.
#[test]
fn a_peer_that_does_not_restart_is_told_to_give() {
    let mut play = Play::settled();
    play.is_silent_for(1500);
    play.run_ms(100);
    play.reports("all", "1");
    play.sent(&[]);
    play.run_ms(5000);
    assert_eq!(play.sent(&[("t", "hb_takeover"), ("rsc_hold", "all")]), 1, "{:#?}", play.log);
    assert_eq!(play.ours.holding(), ResourceSet::ALL);
    play.run_ms(12_000);
    assert_eq!(play.ours.holding(), ResourceSet::NONE, "{:#?}", play.log);
}

/// It claims what ours holds and was never gone: it does not hear ours.
#[test]
fn a_peer_that_does_not_hear_us_gets_everything() {
    let mut play = Play::settled();
    play.reports("all", "1");
    play.run_ms(100);
    assert_eq!(play.ours.holding(), ResourceSet::NONE, "{:#?}", play.log);
}

/// Our consent was too late for it: it has forgotten its request and says nothing.
#[test]
fn a_consent_that_came_too_late_does_not_bind_for_an_hour() {
    let mut play = Play::settled();
    play.asks("local", "me");
    play.run_ms(9_000);
    assert_eq!(play.resource_status(), "transition");
    play.run_ms(10_000);
    assert_eq!(play.resource_status(), "local", "{:#?}", play.log);
    // One that has begun gets its time.
    play.asks("local", "me");
    play.reports("none", "0");
    play.run_ms(60_000);
    assert_eq!(play.resource_status(), "transition");
    play.asks("local", "done");
    play.run_ms(50);
    assert_eq!(play.ours.holding(), ResourceSet::ALL);
}

const GIVEN_LOCAL: [(&str, &str); 3] = [("t", "ask_resources"), ("rsc_hold", "local"), ("info", "done")];

/// It agrees when we have given up asking: it would wait for the set for an hour.
#[test]
fn a_late_consent_of_the_peer_is_followed() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::LOCAL));
    play.run_ms(11_000);
    assert_eq!(play.resource_status(), "local", "{:#?}", play.log);
    play.asks("local", "other");
    play.run_ms(50);
    assert_eq!(play.sent(&GIVEN_LOCAL), 1, "{:#?}", play.log);
    assert!(play.released());
    play.asks("local", "done");
    play.reports("all", "1");
    play.run_ms(1000);
    assert_eq!(play.resource_status(), "none", "{:#?}", play.log);
}

/// It stood still when it was asked, is back, has declared us dead and agrees: bound by that it
/// neither restarts itself nor gives what it is told to.
#[test]
fn a_peer_that_stood_still_and_then_agreed_is_not_left_waiting() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::LOCAL));
    play.is_silent_for(1500);
    assert_eq!(play.ours.holding(), ResourceSet::ALL, "{:#?}", play.log);
    play.run_ms(100);
    play.asks("local", "other");
    play.reports("all", "1");
    play.run_ms(3500);
    assert!(!play.released(), "it may restart itself: {:#?}", play.log);
    play.run_ms(1000);
    assert_eq!(play.sent(&GIVEN_LOCAL), 1, "{:#?}", play.log);
    play.asks("local", "done");
    play.reports("all", "1");
    play.run_ms(1000);
    assert_eq!(play.sent(&[("t", "hb_takeover"), ("rsc_hold", "foreign")]), 1, "{:#?}", play.log);
    play.asks("local", "me");
    play.run_ms(50);
    play.reports("local", "0");
    play.asks("local", "done");
    play.run_ms(100);
    play.reports("local", "1");
    play.run_ms(5000);
    assert_eq!(play.ours.holding(), ResourceSet::FOREIGN, "{:#?}", play.log);
    assert_eq!(play.resource_status(), "foreign");
}

/// Its last word of the dialogue is lost for good, but it says what it holds.
#[test]
fn a_set_that_the_peer_reports_was_taken() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::LOCAL));
    play.asks("local", "other");
    play.run_ms(50);
    play.reports("all", "1");
    play.run_ms(6_000);
    assert_eq!(play.resource_status(), "none", "{:#?}", play.log);
}

/// The peer that was to take everything dies while it is being stopped here: started again.
#[test]
fn what_was_being_given_to_a_node_that_died_is_started_again() {
    let mut play = Play::settled();
    play.asks("all", "me");
    play.reports("none", "0");
    play.asks("all", "done");
    play.run_ms(50);
    play.reports("none", "1");
    play.run_ms(50);
    assert_eq!(play.resource_status(), "all");
    play.command(Command::Standby(ResourceSet::ALL));
    play.asks("all", "other");
    // The release takes its time.
    let release = play.jobs.pop().expect("a job").1;
    play.done.clear();
    play.is_silent_for(1500);
    play.beats = false;
    play.input(release);
    play.run_ms(100);
    assert_eq!(play.done, [Job::Acquire(ResourceSet::ALL)], "{:#?}", play.log);
    assert_eq!(play.resource_status(), "all");
}

/// Its consent overtaken by its own refused request is no crossing of two requests.
#[test]
fn a_lost_consent_is_waited_for() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::ALL));
    play.sent(&[]);
    let consent = play.sequence + 1;
    play.sequence += 1;
    play.asks("all", "me");
    play.run_ms(5);
    assert_eq!(play.sent(&[("t", "ask_resources"), ("info", "other")]), 0, "{:#?}", play.log);
    play.says_as(consent, &[("t", "ask_resources"), ("rsc_hold", "all"), ("info", "other")]);
    play.run_ms(50);
    assert!(play.released(), "{:#?}", play.log);
}

/// Both asked at the same moment: ours gives way at once, nobody waits for ten seconds.
#[test]
fn of_two_requests_that_cross_the_peers_is_followed() {
    let mut play = Play::settled();
    play.command(Command::Standby(ResourceSet::ALL));
    play.sent(&[]);
    play.asks("all", "me");
    assert_eq!(play.sent(&[("t", "ask_resources"), ("info", "other")]), 1, "{:#?}", play.log);
    play.reports("none", "0");
    play.asks("all", "done");
    play.run_ms(50);
    assert_eq!(play.ours.holding(), ResourceSet::ALL);
}

/// A report that a retransmission brings late is no news, also when it is only a part of one.
#[test]
fn an_old_incremental_report_is_not_believed() {
    let mut play = Play::settled();
    let old = play.sequence + 1;
    play.sequence += 1;
    play.reports("local", "1");
    play.run_ms(5);
    play.says_as(old, &[("t", "resource"), ("rsc_hold", "foreign"), ("info", "mach_down")]);
    play.run_ms(100);
    assert_eq!(play.ours.holding(), ResourceSet::LOCAL, "{:#?}", play.log);
    assert!(!play.released(), "{:#?}", play.log);
}

/// What starts on neither node is not passed on every half minute for ever: the peer's script gives
/// its failed set away 30 s later.
#[test]
fn what_starts_on_neither_node_does_not_go_back_and_forth() {
    let mut play = Play::settled();
    play.broken = ResourceSet::LOCAL;
    let give = |play: &mut Play| {
        play.asks("local", "other");
        play.run_ms(50);
        play.reports("all", "1");
        play.asks("local", "done");
        play.run_ms(50);
    };
    play.command(Command::Standby(ResourceSet::LOCAL));
    give(&mut play);
    assert_eq!(play.ours.holding(), ResourceSet::NONE, "{:#?}", play.log);
    let take = |play: &mut Play| {
        play.asks("foreign", "me");
        play.reports("local", "0");
        play.asks("foreign", "done");
        play.run_ms(50);
        play.reports("local", "1");
        play.run_ms(50);
    };
    // A person moves it here, where it fails: it goes back, once.
    play.sent(&[]);
    take(&mut play);
    assert_eq!(play.sent(&[("t", "ask_resources"), ("rsc_hold", "local"), ("info", "me")]), 1);
    give(&mut play);
    play.run_ms(30_000);
    take(&mut play);
    play.run_ms(60_000);
    assert_eq!(
        play.sent(&[("t", "ask_resources"), ("rsc_hold", "local"), ("info", "me")]),
        0,
        "{:#?}",
        play.log
    );
    assert!(play.log.iter().any(|line| line.contains("resources failed to start on both nodes")));
}

/// A 3.0.6 node takes a report that comes late for the newest, and after `starting` it waits for one:
/// whichever it asks for again, what is true now follows it.
#[test]
fn what_a_lost_message_makes_it_forget_is_said_once_more() {
    for kind in ["starting", "resource"] {
        let mut play = Play::settled();
        let lost = play.sent.iter().find(|message| message.kind() == kind).expect("one was sent");
        let number = lost.hex("seq").expect("a number");
        // Nothing is sent again within max_rexmit_delay.
        play.run_ms(300);
        play.sent.clear();
        play.asks_again_for(number);
        let kinds: Vec<&str> = play.sent.iter().map(Message::kind).collect();
        assert_eq!(kinds, [kind, "resource"], "{:#?}", play.log);
        let numbers: Vec<Option<u64>> = play.sent.iter().map(|message| message.hex("seq")).collect();
        assert!(numbers[0] == Some(number) && numbers[1] > numbers[0], "{numbers:?}");
        let report = &play.sent[1];
        assert_eq!((report.text("rsc_hold"), report.text("isstable")), (Some("local"), Some("1")));
    }
}

/// With our answer it becomes active, and asks then only whom it knows to be active.
#[test]
fn our_status_goes_before_our_list_of_nodes() {
    let mut play = Play::settled();
    play.sent.clear();
    play.says(&[("t", "reqnodes"), ("dest", "node1")]);
    let kinds: Vec<&str> = play.sent.iter().map(|message| message.kind()).collect();
    assert_eq!(kinds, ["status", "repnodes"]);
}
