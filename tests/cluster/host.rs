//! A host of the simulated world: power, daemon, pauses, clocks of its own.

use std::collections::{BTreeSet, VecDeque};

use ha_core::cluster::alarm::Alarm;
use ha_core::cluster::event::{Answer, ExitReason, FencingWord, Input, Now, QuestionId, RequestId};
use ha_core::cluster::settings::ServiceSettings;
use ha_core::types::{Generation, ResourceSet, Uuid};

use crate::agents::{set_of, Kernel, RunningJob};
use crate::core::{Cluster, ClusterSettings};
use crate::network::Random;
use crate::world::{link_name, Config, Delivery, Event, Recording, World};

/// Time from power to daemon.
const BOOT_MS: u64 = 700;
/// Time a quick restart takes.
const EXEC_MS: u64 = 60;

/// One daemon's life.
pub struct Daemon {
    /// The value under test.
    pub cluster: Cluster,
    /// Its own last `status` on the wire.
    pub last_beat_ms: u64,
}

/// One host.
pub struct Host {
    /// It has power.
    pub powered: bool,
    /// Standing still since.
    pub paused_since_ms: Option<u64>,
    /// Its daemon.
    pub daemon: Option<Daemon>,
    /// The daemon died without the host (kill), and not by its own decision.
    pub killed: bool,
    /// What is really active.
    pub kernel: Kernel,
    /// Children at work.
    pub jobs: Vec<RunningJob>,
    /// Answers it gave, in order.
    pub replies: Vec<(RequestId, Answer)>,
    /// Alarms of all its lives.
    pub alarms: Vec<Alarm>,
    /// Log lines of all its lives, without level.
    pub log: Vec<String>,
    pub(crate) generation: u64,
    pub(crate) life: u64,
    /// How often a power switch reset it.
    pub resets: u32,
    /// Questions of its daemon that are wanted.
    pub(crate) asked: BTreeSet<QuestionId>,
    pub(crate) inbox: VecDeque<Delivery>,
    pub(crate) clock_offset_ms: u64,
    pub(crate) wall_offset_s: i64,
    pub(crate) tick_at_ms: Option<u64>,
    pub(crate) tick_epoch: u64,
    pub(crate) resume: Option<ResourceSet>,
    /// The life before the quick restart awaited failback.
    pub(crate) peer_was_away: bool,
    /// What it knew of maintenance, for the guard.
    pub(crate) maintenance: (u64, u64),
    /// What it knew of the peer's reset.
    pub(crate) fencing: FencingWord,
}

impl Host {
    /// Power on and not paused: what is active here counts.
    pub fn is_live(&self) -> bool {
        self.powered && self.paused_since_ms.is_none()
    }

    /// What its clocks show at that virtual time.
    pub fn clock(&self, now_ms: u64) -> Now {
        let wall_s = (1_700_000_000 + now_ms as i64 / 1000 + self.wall_offset_s).max(1) as u64;
        Now { monotonic_ms: now_ms + self.clock_offset_ms, wall_s }
    }

    /// A daemon runs and can run.
    pub fn is_serving(&self) -> bool {
        self.is_live() && self.daemon.is_some()
    }
}

impl Host {
    /// A host without power, with clocks of its own.
    pub fn new(config: &Config, random: &mut Random) -> Self {
        let mut kernel = Kernel::new(config.nodes);
        kernel.faults.duration_ms = (1, config.job_max_ms);
        Self {
            powered: false,
            paused_since_ms: None,
            daemon: None,
            killed: false,
            kernel,
            jobs: Vec::new(),
            replies: Vec::new(),
            alarms: Vec::new(),
            log: Vec::new(),
            generation: random.between(1, 1_000),
            life: 0,
            resets: 0,
            asked: BTreeSet::new(),
            inbox: VecDeque::new(),
            clock_offset_ms: random.between(10_000, 10_000_000),
            wall_offset_s: 0,
            tick_at_ms: None,
            tick_epoch: 0,
            resume: None,
            peer_was_away: false,
            maintenance: (0, 0),
            fencing: FencingWord::NotReset,
        }
    }
}

/// One resource for each group, where they are watched.
fn services(host: usize, config: &Config) -> Vec<ServiceSettings> {
    let service = |group: usize| ServiceSettings {
        set: set_of(host, group),
        word: format!("service{}", group + 1),
        monitor: config.outside.monitor,
    };
    (0..config.nodes).map(service).collect()
}

/// Hosts: power, daemons, pauses.
impl World {
    pub(crate) fn start(&mut self, host: usize) {
        let now_ms = self.now_ms;
        let this = &mut self.hosts[host];
        if this.daemon.is_some() {
            return;
        }
        let delay_ms = if this.powered { 1 } else { BOOT_MS };
        this.powered = true;
        this.life += 1;
        let life = this.life;
        self.push(now_ms + delay_ms, Event::StartDaemon { host, life });
    }

    pub(crate) fn start_daemon(&mut self, host: usize, life: u64) {
        let at = self.hosts[host].clock(self.now_ms);
        let this = &mut self.hosts[host];
        if this.life != life || !this.powered || this.daemon.is_some() {
            return;
        }
        if this.paused_since_ms.is_some() {
            let later_ms = self.now_ms + 50;
            return self.push(later_ms, Event::StartDaemon { host, life });
        }
        this.generation += 1;
        this.killed = false;
        let resume = this.resume.take();
        let generation = this.generation;
        let seed = self.random.next();
        let settings = || self.settings(host, generation, resume, seed);
        let daemon = Daemon { cluster: Cluster::new(settings(), at), last_beat_ms: self.now_ms };
        if self.config.record {
            let settings = settings();
            self.recordings.push(Recording {
                settings,
                born: at,
                inputs: Vec::new(),
                outputs: Vec::new(),
                host,
            });
        }
        self.hosts[host].daemon = Some(daemon);
        self.checker.daemon_started(self.now_ms, host);
        let (until_ms, version) = std::mem::take(&mut self.hosts[host].maintenance);
        if version > 0 {
            self.feed(host, Input::FormerMaintenance { until_ms, version });
        }
        let fencing = std::mem::take(&mut self.hosts[host].fencing);
        if fencing != FencingWord::NotReset {
            self.feed(host, Input::FormerFencing(fencing));
        }
        self.feed(host, Input::Start);
        self.push(self.now_ms + 1, Event::Pings { host, life });
        if std::mem::take(&mut self.hosts[host].peer_was_away) {
            self.feed(host, Input::PeerWasAway);
        }
        self.feed(host, Input::ResourcesDigest("5d41402abc4b2a76b9719d911017c592".to_owned()));
        self.feed(host, Input::LoadAverage("0.01 0.02 0.05 1/123 4567".to_owned()));
    }

    fn settings(
        &self,
        host: usize,
        generation: u64,
        resume: Option<ResourceSet>,
        random_seed: u64,
    ) -> ClusterSettings {
        let config = &self.config;
        ClusterSettings {
            local: config.name(host),
            uuid: Uuid([host as u8 + 1; 16]),
            generation: Generation(generation),
            process_id: 4_000 + host as u32,
            nodes: (0..config.nodes).map(|node| config.name(node)).collect(),
            links: (0..config.links).map(link_name).collect(),
            keepalive_ms: config.keepalive_ms,
            dead_time_ms: config.dead_time_ms,
            warn_time_ms: config.dead_time_ms / 2,
            init_dead_ms: config.init_dead_ms,
            pings: config.outside.guards.pings(),
            dead_ping_ms: config.dead_time_ms,
            hop_fudge: 1,
            auto_failback: config.auto_failback,
            max_rexmit_delay_ms: 250.min(config.keepalive_ms * 2),
            manage_resources: true,
            local_keys: vec![format!("10.0.0.{}", host + 1)],
            resume,
            membership: Default::default(),
            takeover: config.outside.settings(),
            services: services(host, config),
            watchdog_ms: config.outside.watchdog_ms,
            random_seed,
            faults: config.faults,
        }
    }

    /// Another program file goes on in the daemon's place; `false` while something is under way. The
    /// children that answer its questions end with it.
    pub fn upgrade(&mut self, host: usize) -> bool {
        let at = self.hosts[host].clock(self.now_ms);
        let settings = self.settings(host, self.hosts[host].generation, None, 7);
        let this = &mut self.hosts[host];
        let Some(daemon) = &mut this.daemon else { return false };
        let Some(state) = daemon.cluster.export() else { return false };
        daemon.cluster = Cluster::import(settings, at, &state).expect("its own state");
        this.asked.clear();
        self.feed(host, Input::Tick);
        true
    }

    pub(crate) fn crash(&mut self, host: usize) {
        self.surroundings.crashed(host);
        let this = &mut self.hosts[host];
        this.powered = false;
        this.paused_since_ms = None;
        this.killed = false;
        this.inbox.clear();
        this.jobs.clear();
        this.kernel.reset();
        this.resume = None;
        this.peer_was_away = false;
        this.maintenance = (0, 0);
        this.fencing = FencingWord::NotReset;
        self.end_daemon(host);
    }

    pub(crate) fn kill(&mut self, host: usize) {
        if self.hosts[host].daemon.is_none() || !self.hosts[host].is_live() {
            return;
        }
        // The guard brings back that much.
        let fencing = self.hosts[host].daemon.as_ref().map(|daemon| daemon.cluster.fencing_word());
        self.hosts[host].fencing = fencing.unwrap_or_default();
        self.end_daemon(host);
        self.hosts[host].killed = true;
        self.abort_jobs(host);
    }

    fn abort_jobs(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        for job in std::mem::take(&mut this.jobs) {
            this.kernel.abort(&job);
        }
    }

    fn end_daemon(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        this.daemon = None;
        this.asked.clear();
        this.life += 1;
        this.tick_at_ms = None;
        this.tick_epoch += 1;
    }

    pub(crate) fn thaw(&mut self, host: usize) {
        let Some(since_ms) = self.hosts[host].paused_since_ms.take() else { return };
        let paused_ms = self.now_ms - since_ms;
        self.checker.thawed(self.now_ms, host, since_ms, &self.hosts);
        let life = self.hosts[host].life;
        let mut ends = Vec::new();
        for job in &mut self.hosts[host].jobs {
            if let Some(at_ms) = &mut job.ends_at_ms {
                *at_ms += paused_ms;
                ends.push((*at_ms, job.id));
            }
        }
        for (at_ms, job) in ends {
            self.push(at_ms, Event::JobEnd { host, job, life });
        }
        for delivery in std::mem::take(&mut self.hosts[host].inbox) {
            self.deliver(delivery);
        }
        self.hosts[host].tick_at_ms = None;
        self.plan_tick(host);
    }

    pub(crate) fn exit(&mut self, host: usize, reason: ExitReason) {
        self.checker.exited(host, reason, &self.hosts);
        let ended = self.hosts[host].daemon.as_ref();
        let awaits_failback = ended.is_some_and(|daemon| daemon.cluster.awaits_failback());
        let maintenance = ended.map_or((0, 0), |daemon| daemon.cluster.maintenance_word());
        let fencing = ended.map_or(FencingWord::NotReset, |daemon| daemon.cluster.fencing_word());
        let stays_armed = ended.is_some_and(|daemon| daemon.cluster.needs_watchdog_beyond(reason));
        self.end_daemon(host);
        if !stays_armed {
            self.surroundings.disarm(host);
        }
        match reason {
            ExitReason::Stopped => self.abort_jobs(host),
            ExitReason::StopFailed => {
                self.crash(host);
                self.start(host);
            }
            ExitReason::Restart => {
                self.abort_jobs(host);
                let (life, delay_ms) = (self.hosts[host].life, self.config.dead_time_ms + 1_000);
                self.push(self.now_ms + delay_ms, Event::StartDaemon { host, life });
            }
            ExitReason::QuickRestart(held) => {
                self.abort_jobs(host);
                self.hosts[host].killed = true;
                self.hosts[host].resume = Some(held);
                self.hosts[host].peer_was_away = awaits_failback;
                self.hosts[host].maintenance = maintenance;
                self.hosts[host].fencing = fencing;
                let life = self.hosts[host].life;
                self.push(self.now_ms + EXEC_MS, Event::StartDaemon { host, life });
            }
        }
    }
}
