//! What goes into the cluster's decisions and what comes out, each with a one-line text form.
//!
//! ```text
//!  media ── packets ──▶ daemon ── Input::Packet ──▶            ── Output::Send ──▶ media
//!  clients ─ requests ─▶ daemon ── Input::Command ─▶  Cluster  ── Output::Reply ──▶ clients
//!  children ─ exits ──▶ daemon ── Input::JobDone ──▶ (decides) ── Output::RunJob ─▶ children
//!  children ─ exits ──▶ daemon ── Input::Answer ───▶           ── Output::Ask ────▶ children
//!  clock ─────────────▶ daemon ── Input::Tick ─────▶           ── Output::Log ────▶ log
//! ```
//!
//! The text form is the recording, the replay file, the golden file of tests and the debug log at
//! once: one event, one line, words separated by single blanks, values percent-escaped.

use std::fmt;
use std::str::FromStr;

use crate::types::lease::LeaseRecord;
use crate::types::{HostRecord, LinkName, LogLevel, NodeName, ResourceSet};
use crate::wire::message::Message;

use super::alarm::Alarm;
use super::text;

/// A point in time, given to the cluster with every input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic milliseconds from any start; every interval is measured with it.
    pub monotonic_ms: u64,
    /// Wall clock, seconds since 1970: only for the `ts` field.
    pub wall_s: u64,
}

/// Names one run of a [`Job`]; unique per daemon life, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// Names one client's request, so that the answer finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names one question to the world outside; unique per daemon life, from 1, also across an upgrade in
/// place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// What a gate of the takeover has to know or to have done outside ([`Output::Ask`]). The daemon runs a
/// child for it, with bounded time, and never waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// Reset the node with a device (resources spec 3.2). [`Finding::Yes`]: it is reset;
    /// [`Finding::No`]: the device does not control it; [`Finding::Failed`]: it did not work;
    /// [`Finding::Unclear`]: the device was told to, and nobody knows what it did.
    Fence {
        /// The victim.
        node: NodeName,
        /// Place in [`super::settings::FencingSettings::devices`].
        device: usize,
    },
    /// Write this node's word of the lease, if there is one, then read both nodes' words.
    /// [`Finding::Found`] has them as `own WORD AGE peer WORD` (`cluster::takeover::lease`).
    Lease {
        /// `None`: only read.
        word: Option<LeaseRecord>,
    },
    /// Ask the third-party arbiter. [`Finding::Yes`]: this node has the token; [`Finding::No`]: the
    /// other has it; [`Finding::Failed`]: nobody knows.
    Arbiter {
        /// What it is asked.
        verb: ArbiterVerb,
    },
    /// Cut the node off from resources with the administrator's program. [`Finding::Yes`]: it is.
    Resource {
        /// The victim.
        node: NodeName,
    },
    /// Whether nobody has the addresses of a set. [`Finding::Yes`]: nobody answers;
    /// [`Finding::No`]: who does.
    Address {
        /// Own viewpoint.
        set: ResourceSet,
    },
    /// Whether a resource works, by its agent's monitor. [`Finding::Yes`]: it does, or a person stopped
    /// it by hand.
    Monitor {
        /// Place in [`super::settings::ClusterSettings::services`].
        resource: u16,
    },
    /// Ask the device whether it could be used (resources spec 3.4); nothing is reset.
    FenceDevice {
        /// Place in [`super::settings::FencingSettings::devices`].
        device: usize,
    },
}

/// What a third-party arbiter is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArbiterVerb {
    /// To have the token.
    Acquire,
    /// To keep it.
    Renew,
    /// To give it back.
    Release,
}

impl ArbiterVerb {
    /// The word that its program gets.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Renew => "renew",
            Self::Release => "release",
        }
    }
}

/// Answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Finding {
    /// It is so; it is done.
    Yes,
    /// It is done, and this was found.
    Found(String),
    /// It is not so, it was refused, and why.
    No(String),
    /// Nobody knows: it failed, took too long, was ended; and how.
    Failed(String),
    /// It was begun, may have been done, and how it ended.
    Unclear(String),
}

/// What a person or program asks of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `hb_standby`: this node gives the set away (resources spec 2.7).
    Standby(ResourceSet),
    /// `hb_takeover`: this node wants the set (resources spec 2.13 H); from this node's viewpoint.
    Takeover(ResourceSet),
    /// SIGTERM, `heartbeat -k`: release everything and end (resources spec 2.12).
    Shutdown,
    /// SIGHUP with a changed ha.cf: end without releasing and start again (resources spec 7.6).
    QuickRestart,
    /// `ha maintenance on`, for so many milliseconds.
    MaintenanceOn(u64),
    /// `ha maintenance off`
    MaintenanceOff,
    /// `ha takeover --confirm`: a person knows that the other node is down, and the takeover goes on.
    ConfirmTakeover,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The daemon's loop runs and media are open. First input of every life.
    Start,
    /// A verified packet of another node or our own copy of a broadcast.
    Packet {
        /// The medium it came in by.
        link: LinkName,
        /// The authkeys number it was signed with.
        key_index: u8,
        /// The fields, without the inner `auth`.
        message: Message,
    },
    /// A byte-for-byte copy of the last packet believed of that node, or of one of our own: its
    /// link works, nothing else.
    Copy {
        /// The medium it came in by.
        link: LinkName,
        /// Whose packet it is.
        node: NodeName,
    },
    /// A ping node answered a question of ours.
    PingAnswer {
        /// Which.
        node: NodeName,
    },
    /// Time passed: timers are looked at.
    Tick,
    /// The text of the load average for the `ld` field, without newline.
    LoadAverage(String),
    /// A child ended.
    JobDone {
        /// Which.
        job: JobId,
        /// How.
        outcome: JobOutcome,
    },
    /// A request.
    Command {
        /// For the answer.
        request: RequestId,
        /// What is asked.
        command: Command,
    },
    /// A question is answered.
    Answer {
        /// Which.
        question: QuestionId,
        /// How.
        answer: Finding,
    },
    /// A message handed in by a local client or script, to be sent with control fields added.
    LocalMessage(Message),
    /// The groups of haresources as this node reads them: a digest of the normalised file.
    ResourcesDigest(String),
    /// Right before [`Input::Start`]: when the last beat of the life before left, monotonic
    /// milliseconds. A life that goes on too late for it knows that it is late (design §5, rule 1).
    FormerBeat(u64),
    /// Something took an address away from this host, or its interface down; the resource is a place in
    /// [`super::settings::ClusterSettings::services`].
    ResourceLost(u16),
    /// Right before [`Input::Start`]: until when maintenance lasts by the life before, monotonic
    /// milliseconds, 0 for none, and the number of that word ([`super::Cluster::maintenance_word`]).
    FormerMaintenance {
        /// Until when.
        until_ms: u64,
        /// Which word.
        version: u64,
    },
    /// Right before [`Input::Start`]: what became of the peer's reset in the life before
    /// ([`super::Cluster::fencing_word`]).
    FormerFencing(FencingWord),
    /// Right after [`Input::Start`] of a resumed life: the life before held foreign sets because the
    /// peer was away ([`super::Cluster::awaits_failback`]).
    PeerWasAway,
}

/// What a life knows of the peer's reset, so that the next one does not reset it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FencingWord {
    /// It was heard since, or was not reset.
    #[default]
    NotReset,
    /// A device was told to, and what it did is not known.
    MayBeReset,
    /// It was reset, and not heard since.
    Reset,
}

impl FencingWord {
    const WORDS: [(&'static str, Self); 3] =
        [("not-reset", Self::NotReset), ("may-be-reset", Self::MayBeReset), ("reset", Self::Reset)];

    /// In texts.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, known)| *known == self).map_or("", |(word, _)| word)
    }

    /// From texts.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
    }
}

/// How a [`Job`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JobOutcome {
    /// Sets (own viewpoint) of which a group did not start and was stopped again.
    pub start_failed: ResourceSet,
    /// Sets of which a group did not stop: it may still be active here.
    pub stop_failed: ResourceSet,
}

/// Work for a child process: groups of resources to start, stop or announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// Start every group of the set, skipping what is already active.
    Acquire(ResourceSet),
    /// Stop every group of the set, active or not.
    Release(ResourceSet),
    /// Stop the groups of the set that are active here (left over from an earlier run).
    ReleaseActive(ResourceSet),
    /// Tell the network again where the addresses of the set are.
    Announce(ResourceSet),
    /// Stop a resource and what comes after it in its group, and start them again; the resource is a
    /// place in [`super::settings::ClusterSettings::services`]. When a start fails the whole group is
    /// stopped.
    Restart(ResourceSet, u16),
    /// Put back an address that something else took away, and say so to the network.
    Restore(ResourceSet, u16),
    /// Stop every group of the set, which stays claimed here.
    Halt(ResourceSet),
}

impl Job {
    /// The groups it is about, from this node's viewpoint.
    pub fn set(self) -> ResourceSet {
        match self {
            Self::Acquire(set) | Self::Release(set) | Self::ReleaseActive(set) | Self::Announce(set) => set,
            Self::Restart(set, _) | Self::Restore(set, _) | Self::Halt(set) => set,
        }
    }
}

/// Why the daemon must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Graceful stop finished: everything is released, the peer knows.
    Stopped,
    /// Release finished, then start again with a new generation (fault recovery).
    Restart,
    /// Start again at once, keeping what is held (`-R -C SET`).
    QuickRestart(ResourceSet),
    /// A resource did not stop: go down without a word and reset the machine (design, rule 2).
    StopFailed,
}

/// Answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Accepted; the transition has begun or will.
    Accepted,
    /// Refused: nothing was changed; the text says why and what to do.
    Refused(String),
}

/// Something the daemon must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Sign and send on every medium.
    Send {
        /// Complete but for the digests.
        message: Message,
        /// The authkeys number to sign with; `None`: the file's active one.
        key_index: Option<u8>,
    },
    /// Start a child.
    RunJob {
        /// Comes back with the result.
        job: JobId,
        /// What to do.
        work: Job,
        /// The node whose death or request caused it, for the scripts and their log lines.
        cause: Option<NodeName>,
    },
    /// Find something out, or do something, outside; [`Input::Answer`] comes when that is over.
    Ask {
        /// Comes back with the answer.
        question: QuestionId,
        /// What is asked.
        what: Question,
    },
    /// The answer is not wanted any more: what runs for it is ended, no answer comes.
    Withdraw(QuestionId),
    /// Run the administrator's `rc.d` script of that name, if there is one (resources spec 5.1).
    Hook {
        /// Script name: `status`, `ifstat`, ...
        kind: String,
        /// The fields that become `HA_<name>`.
        message: Message,
    },
    /// Hand a message to the API clients whose filter takes it.
    Deliver {
        /// The message.
        message: Message,
        /// Only for clients that asked for unchanged states too.
        unchanged: bool,
    },
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// What.
        answer: Answer,
    },
    /// A line for the log.
    Log {
        /// Severity.
        level: LogLevel,
        /// The text, in the original's words where it has any.
        text: String,
    },
    /// Something worth waking somebody for.
    Alarm(Alarm),
    /// `true`: read nothing more from clients that send messages until `false` comes
    /// (messaging spec 3.5, flow control).
    ClientsPaused(bool),
    /// A list of nodes changed: make it outlive this run, without waiting for the disk.
    KeepHosts {
        /// Which.
        list: HostList,
        /// All of it, in its order.
        hosts: Vec<HostRecord>,
    },
    /// Our own beat left and was processed: the loop is healthy (watchdog).
    Beat,
    /// End the daemon.
    Exit(ExitReason),
}

/// The two lists of nodes that outlive a run (messaging spec 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostList {
    /// Members: `hostcache`.
    Members,
    /// Deleted nodes: `delhostcache`.
    Deleted,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => write!(f, "start"),
            Self::Packet { link, key_index, message } => {
                write!(f, "packet {} {key_index}{}", text::escape(link.as_str()), text::fields(message))
            }
            Self::Copy { link, node } => {
                write!(f, "copy {} {}", text::escape(link.as_str()), text::escape(node.as_str()))
            }
            Self::PingAnswer { node } => write!(f, "ping-answer {}", text::escape(node.as_str())),
            Self::Tick => write!(f, "tick"),
            Self::LoadAverage(load) => write!(f, "load {}", text::escape(load)),
            Self::JobDone { job, outcome } => {
                write!(f, "job-done {} {} {}", job.0, outcome.start_failed, outcome.stop_failed)
            }
            Self::Command { request, command } => {
                write!(f, "command {} {}", request.0, text::command(*command))
            }
            Self::Answer { question, answer } => {
                write!(f, "answer {} {}", question.0, text::finding(answer))
            }
            Self::LocalMessage(message) => write!(f, "local-message{}", text::fields(message)),
            Self::PeerWasAway => write!(f, "peer-was-away"),
            Self::ResourceLost(resource) => write!(f, "resource-lost {resource}"),
            Self::FormerMaintenance { until_ms, version } => {
                write!(f, "former-maintenance {until_ms} {version}")
            }
            Self::FormerFencing(word) => write!(f, "former-fencing {}", word.as_str()),
            Self::FormerBeat(at_ms) => write!(f, "former-beat {at_ms}"),
            Self::ResourcesDigest(digest) => write!(f, "resources-digest {}", text::escape(digest)),
        }
    }
}

impl FromStr for Input {
    type Err = text::ParseError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        text::parse_input(line)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { message, key_index } => {
                let key = key_index.map_or("-".to_owned(), |index| index.to_string());
                write!(f, "send {key}{}", text::fields(message))
            }
            Self::RunJob { job, work, cause } => {
                let cause = cause.as_ref().map_or("-", |node| node.as_str());
                write!(f, "run-job {} {} {cause}", job.0, text::job(*work))
            }
            Self::Ask { question, what } => write!(f, "ask {} {}", question.0, text::question(what)),
            Self::Withdraw(question) => write!(f, "withdraw {}", question.0),
            Self::Hook { kind, message } => write!(f, "hook {}{}", text::escape(kind), text::fields(message)),
            Self::Deliver { message, unchanged } => {
                write!(f, "deliver {}{}", u8::from(*unchanged), text::fields(message))
            }
            Self::Reply { request, answer } => match answer {
                Answer::Accepted => write!(f, "reply {} accepted", request.0),
                Answer::Refused(why) => write!(f, "reply {} refused {}", request.0, text::escape(why)),
            },
            Self::Log { level, text: line } => write!(f, "log {} {}", level.as_str(), text::escape(line)),
            Self::Alarm(alarm) => alarm.fmt(f),
            Self::ClientsPaused(paused) => write!(f, "clients-paused {}", u8::from(*paused)),
            Self::KeepHosts { list, hosts } => {
                let list = if *list == HostList::Members { "members" } else { "deleted" };
                write!(f, "keep-hosts {list}{}", text::hosts(hosts))
            }
            Self::Beat => write!(f, "beat"),
            Self::Exit(reason) => write!(f, "exit {}", text::exit_reason(*reason)),
        }
    }
}
