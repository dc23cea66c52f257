//! The one loop: inputs into the cluster, its outputs into effects.
//!
//! The only place that knows both sides. It touches no disk, resolves no name, and waits for
//! nothing but news.

use std::io;
use std::path::PathBuf;

use crate::cluster::event::{Answer, Command, ExitReason, Input, Now, Output, Question, RequestId};
use crate::cluster::handoff::HandoffError;
use crate::cluster::settings::Membership;
use crate::cluster::Cluster;
use crate::config::Configuration;
use crate::ipc::requests::{Parameters, FILTER_DROPPED};
use crate::ipc::server::{ClientId, Server};
use crate::log::{Logger, RateLimit};
use crate::media::{MediaSet, Received, RECEIVE_BUFFER_BYTES};
use crate::sys::time::{monotonic_ms, unix_time_s};
use crate::types::{AuthKeys, Generation, LogLevel, NodeName, ResourceSet, Uuid};
use crate::wire::message::Message;
use crate::wire::{self, WireFormat};

use super::alarm::Alarm;
use super::alarms::Alarms;
use super::apphb_client::ApphbClient;
use super::children::{ChildEvent, Children};
use super::conflicts::ConflictWatch;
use super::copies::Copies;
use super::environment::child_environment;
use super::fifo::{Fifo, FifoEvent};
use super::groups::Groups;
use super::guard::record::Post;
use super::host_cache::HostCache;
use super::layout::Layout;
use super::own_addresses::OwnAddresses;
use super::packets::BadPackets;
use super::pings;
use super::questions::{Answered, Questions};
use super::reload::Reload;
use super::respawn::{Consequence, Respawn, RespawnEvent, RESTART_PATIENCE, STOP_PATIENCE};
use super::service_manager::ServiceManager;
use super::services::watched;
use super::test_options::TestOptions;
use super::upgrade::{Program, State};
use super::watchdog::Watchdog;

mod guarded;
mod settings;
mod signals;
mod successor;

use settings::{apphb_client, cluster_settings, open_watchdog, parameters, plans, wire_format};
use signals::Signals;
use successor::Successor;

pub use successor::End;

/// Lines about refused messages of clients within [`REFUSAL_WINDOW_MS`].
const REFUSAL_LINES: u32 = 5;
const REFUSAL_WINDOW_MS: u64 = 10_000;
/// Packets read in one go before timers are looked at: a flood must not keep our own beat back.
const PENDING_MAX: usize = 1000;
/// So much later than it should be a loop counts as paused, milliseconds.
const LATE_MS: u64 = 5;
/// The `debug` level that shows packets and timers.
const DEBUG_PACKETS: u8 = 4;
/// Longest wait at the end for the lists of nodes to be on disk.
const HOST_CACHE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);
/// How often the load average is read for the `ld` field, milliseconds.
const LOAD_EVERY_MS: u64 = 1000;

/// Everything a run needs, checked and decided.
pub struct Plan {
    /// Paths.
    pub layout: Layout,
    /// This node.
    pub local: NodeName,
    /// The three files.
    pub configuration: Configuration,
    /// This run's number, on disk already.
    pub generation: Generation,
    /// This node's identity.
    pub uuid: Uuid,
    /// `false` with `-M`.
    pub manage_resources: bool,
    /// Who may join, and who is known from earlier.
    pub membership: Membership,
    /// What an earlier life left active.
    pub resume: Option<ResourceSet>,
    /// What the program before this one in this process knew; `resume` then has no effect.
    pub state: Option<State>,
    /// The file this process was started from.
    pub program: Program,
    /// The life before held foreign sets because the peer was away; only with `resume`.
    pub peer_was_away: bool,
    /// `-f`: an interrupt from the terminal is a graceful stop.
    pub foreground: bool,
    /// Who is told that the daemon serves and is well.
    pub manager: ServiceManager,
    /// Where this run leaves word for its guard.
    pub post: Post,
    /// The watchdog device as the program before this one in this process left it, armed.
    pub watchdog: Option<std::fs::File>,
}

/// Runs until the cluster says how it ends.
///
/// # Errors
/// The runtime, the signal handlers or the client socket could not be set up.
pub fn run(plan: Plan, logger: Logger) -> io::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let mut driver = Driver::new(plan, logger)?;
        driver.tell_watchdog_time();
        driver.former_life();
        let reason = driver.serve().await;
        driver.alarms.finish().await;
        driver.logger.log_all(driver.media.close());
        if reason != ExitReason::StopFailed {
            if !driver.cluster.needs_watchdog_beyond(reason) {
                driver.logger.log_all(driver.watchdog.close());
            }
            driver.apphb.close();
        }
        if reason == ExitReason::Stopped {
            // What scripts ask of a stopped daemon must not wait for the next one, or be done by it.
            let _ = std::fs::remove_file(&driver.fifo_path);
        }
        driver.questions.withdraw_all();
        let end = driver.end(reason);
        driver.host_cache.finish(HOST_CACHE_PATIENCE);
        Ok(end)
    })
}

/// Whether the plan's state is one that this program can go on with.
///
/// # Errors
/// Why not. Nothing was changed.
pub fn accepts(plan: &Plan) -> Result<(), HandoffError> {
    make_cluster(plan).map(drop)
}

fn make_cluster(plan: &Plan) -> Result<Cluster, HandoffError> {
    match &plan.state {
        Some(state) => Cluster::import(cluster_settings(plan), now(), &state.cluster),
        None => Ok(Cluster::new(cluster_settings(plan), now())),
    }
}

pub(super) struct Driver {
    pub(super) cluster: Cluster,
    media: MediaSet,
    pub(super) server: Server,
    fifo: Fifo,
    fifo_path: PathBuf,
    children: Children,
    questions: Questions,
    pub(super) respawn: Respawn,
    pub(super) groups: Groups,
    host_cache: HostCache,
    pub(super) parameters: Parameters,
    pub(super) keys: AuthKeys,
    pub(super) format: WireFormat,
    pub(super) bad_packets: BadPackets,
    copies: Copies,
    conflicts: ConflictWatch,
    alarms: Alarms,
    own_addresses: OwnAddresses,
    pub(super) local: NodeName,
    reload: Reload,
    signals: Signals,
    alarm: Alarm,
    watchdog: Watchdog,
    apphb: ApphbClient,
    test_options: TestOptions,
    successor: Successor,
    generation: Generation,
    peer_was_away: bool,
    pub(super) logger: Logger,
    manager: ServiceManager,
    post: Post,
    program_identity: (u64, u64),
    foreground: bool,
    debug_level: u8,
    pub(super) requests: Vec<(RequestId, ClientId)>,
    pub(super) last_request: u64,
    /// Lines about what clients wanted and did not get.
    pub(super) refusals: RateLimit,
    load_due_ms: u64,
    exit: Option<ExitReason>,
}

impl Driver {
    fn new(mut plan: Plan, logger: Logger) -> io::Result<Self> {
        let armed = plan.watchdog.take();
        let ha_cf = &plan.configuration.ha_cf;
        let resources = &plan.configuration.resources;
        let mut media =
            MediaSet::open(&ha_cf.media, ha_cf.udp_port, monotonic_ms()).map_err(io::Error::other)?;
        logger.log_all(media.take_events());
        let server = Server::bind(&plan.layout.register_socket())?;
        let fifo_path = plan.layout.fifo();
        let (fifo, lines) = Fifo::create(&fifo_path)
            .map_err(|error| io::Error::other(format!("{}: {error}", fifo_path.display())))?;
        logger.log_all(lines);
        let environment = child_environment(ha_cf, &plan.local, &plan.layout);
        let mut cluster = make_cluster(&plan).map_err(io::Error::other)?;
        let (test_options, lines) = TestOptions::read(&plan.layout.etc_dir);
        logger.log_all(lines);
        let mut groups = Groups::new(resources, &plan.local);
        for line in plan.state.iter().flat_map(|state| &state.groups) {
            groups.report(line);
        }
        let alarms = Alarms::new(&ha_cf.alarms, &plan.local, &environment, &logger);
        let services = watched(ha_cf, resources, &plan.local);
        let digest = Input::ResourcesDigest(resources.digest());
        cluster.handle(now(), digest);
        Ok(Self {
            media,
            respawn: Respawn::new(&ha_cf.clients, environment.clone(), logger.clone()),
            fifo,
            fifo_path,
            children: Children::new(environment.clone(), services.clone()),
            questions: Questions::new(environment, plans(&plan, services.clone())),
            groups,
            host_cache: HostCache::new(&plan.layout, logger.clone()),
            parameters: parameters(ha_cf, server.directory_gid(), plan.manage_resources),
            server,
            keys: plan.configuration.auth_keys.clone(),
            format: wire_format(ha_cf),
            bad_packets: BadPackets::new(ha_cf.log_bad_packets),
            copies: Copies::default(),
            conflicts: ConflictWatch::start(resources, &logger, alarms.bell()),
            alarms,
            own_addresses: OwnAddresses::start(&services, &logger),
            local: plan.local.clone(),
            reload: Reload::new(&plan.layout, plan.program.clone(), plan.manage_resources),
            signals: Signals::new()?,
            alarm: Alarm::new()?,
            watchdog: open_watchdog(ha_cf, armed, &plan.post, &logger),
            apphb: apphb_client(ha_cf, &plan.layout),
            test_options,
            successor: Successor::default(),
            generation: plan.generation,
            peer_was_away: plan.peer_was_away && plan.state.is_none(),
            manager: plan.manager,
            post: plan.post,
            program_identity: guarded::program_identity(),
            foreground: plan.foreground,
            debug_level: ha_cf.log.debug_level,
            cluster,
            logger,
            requests: Vec::new(),
            last_request: 0,
            refusals: RateLimit::new(REFUSAL_LINES, REFUSAL_WINDOW_MS),
            load_due_ms: 0,
            exit: None,
        })
    }

    async fn serve(&mut self) -> ExitReason {
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        self.refresh_load();
        self.feed(Input::Start);
        if self.peer_was_away {
            self.feed(Input::PeerWasAway);
        }
        self.last_words();
        // Notices of the time before this program, or between it and the one before, went to nobody.
        self.own_addresses.look_at(self.cluster.holding());
        self.manager.ready();
        loop {
            if let Some(reason) = self.exit.filter(|reason| self.may_leave(*reason)) {
                return reason;
            }
            let due = self.cluster.next_timeout_ms().unwrap_or(u64::MAX).min(self.load_due_ms);
            if let Err(error) = self.alarm.set(due) {
                // Without a timer there is no heartbeat; the peer must see that at once.
                self.logger.log(LogLevel::Critical, &format!("cannot set the timer: {error}"));
                return ExitReason::Restart;
            }
            if self.children.is_hook_due() {
                let status = self.local_status();
                self.children.start_hook(&status);
            }
            let mut from_programs = false;
            // In random order: a flood of packets must not keep the end of a job or a stop waiting.
            tokio::select! {
                received = self.media.receive(&mut buffer) => self.packet(&received, &buffer),
                kind = self.signals.next() => self.signal(kind),
                event = self.children.next() => self.child(event),
                answered = self.questions.next() => self.answered(answered),
                found = self.reload.next() => self.reloaded(found),
                event = self.server.next() => {
                    from_programs = true;
                    self.client(event);
                }
                event = self.respawn.next() => self.program(&event),
                event = self.fifo.next(monotonic_ms), if !self.server.is_paused() => {
                    from_programs = true;
                    self.script(event);
                }
                lost = self.own_addresses.next() => self.lost(&lost),
                alarm = self.alarms.next() => self.alarms.raise(&alarm),
                () = self.alarm.fired() => {}
            }
            if monotonic_ms() > due + LATE_MS {
                self.read_what_waits(&mut buffer);
            }
            self.on_time();
            if from_programs {
                // The runtime looks for packets only when this loop gives way, which it would do after a
                // hundred and more of their messages.
                tokio::task::yield_now().await;
            }
        }
    }

    /// After a pause of ours everything that waits in the sockets is read before any timer is
    /// looked at: it may say that we are not what we were.
    fn read_what_waits(&mut self, buffer: &mut [u8]) {
        for _ in 0..PENDING_MAX {
            let Some(received) = self.media.try_receive(buffer) else {
                break;
            };
            self.packet(&received, buffer);
        }
    }

    fn on_time(&mut self) {
        let now_ms = monotonic_ms();
        if now_ms >= self.load_due_ms {
            self.refresh_load();
        }
        self.media.maintain(now_ms);
        if self.cluster.communication_up() {
            self.respawn.begin();
        }
        if self.cluster.next_timeout_ms().is_some_and(|due| now_ms >= due) {
            self.feed(Input::Tick);
        }
        self.logger.log_all(self.media.take_events());
        self.hand_over_at_rest();
        self.quick_restart_without_programs();
        self.leave_word();
    }

    fn refresh_load(&mut self) {
        self.load_due_ms = monotonic_ms() + LOAD_EVERY_MS;
        self.miss_guard();
        // A file of the kernel, not of a disk.
        if let Ok(text) = std::fs::read_to_string("/proc/loadavg") {
            self.feed(Input::LoadAverage(text.trim_end().to_owned()));
        }
    }

    // ---- inputs --------------------------------------------------------------------------

    fn packet(&mut self, received: &Received, buffer: &[u8]) {
        if self.test_options.loses_received() {
            return;
        }
        let (link, bytes) = match received {
            Received::Packet { link, .. } => (link.clone(), received.bytes(buffer)),
            Received::PingAnswer { node } => return self.feed(Input::PingAnswer { node: node.clone() }),
        };
        if let Some(node) = self.copies.whose(bytes, &self.local) {
            self.show_copy(bytes);
            return self.feed(Input::Copy { link, node });
        }
        match wire::decode_datagram(bytes, &self.keys) {
            Ok(datagram) => {
                let src = datagram.message.text("src").and_then(NodeName::exact);
                let shown = self.server.is_wanted(FILTER_DROPPED).then(|| datagram.message.clone());
                self.feed(Input::Packet { link, key_index: datagram.key_index, message: datagram.message });
                if let Some(dropped) = shown.filter(|_| !self.cluster.believed_last_packet()) {
                    self.server.deliver_for(&dropped, FILTER_DROPPED);
                }
                match src.filter(|_| self.cluster.believed_last_packet()) {
                    Some(node) => self.copies.believed(bytes, node),
                    None => self.copies.forget_believed(),
                }
            }
            Err(error) => {
                for (level, text) in self.bad_packets.note(&link, &error, monotonic_ms()) {
                    self.logger.log(level, &text);
                }
            }
        }
    }

    fn child(&mut self, event: ChildEvent) {
        match event {
            ChildEvent::Report { line } => self.groups.report(&line),
            ChildEvent::Done { job, outcome } => {
                self.feed(Input::JobDone { job, outcome });
                self.own_addresses.look_at(self.cluster.holding());
            }
            ChildEvent::HookDone | ChildEvent::HooksListed(_) => {}
        }
    }

    fn lost(&mut self, resources: &[u16]) {
        for resource in resources {
            self.feed(Input::ResourceLost(*resource));
        }
    }

    fn answered(&mut self, Answered { question, answer, lines }: Answered) {
        self.logger.log_all(lines);
        self.feed(Input::Answer { question, answer });
    }

    fn script(&mut self, event: FifoEvent) {
        match event {
            FifoEvent::Message(message) => self.feed(Input::LocalMessage(message)),
            FifoEvent::Lines(lines) => self.logger.log_all(lines),
        }
    }

    /// News of a program beside the daemon.
    fn program(&mut self, event: &RespawnEvent) {
        if self.respawn.handle(event) == Consequence::Reboot {
            self.exit = Some(ExitReason::StopFailed);
        }
    }

    /// Whether the daemon may end now: the programs beside it have ended, or nobody waits for them.
    fn may_leave(&mut self, reason: ExitReason) -> bool {
        let patience = match reason {
            ExitReason::StopFailed => return true,
            ExitReason::Stopped => STOP_PATIENCE,
            ExitReason::Restart | ExitReason::QuickRestart(_) => RESTART_PATIENCE,
        };
        if !matches!(reason, ExitReason::QuickRestart(_)) {
            // All is released and no beat leaves any more: the programs may take their time.
            self.logger.log_all(self.watchdog.close());
            self.apphb.close();
        }
        if reason == ExitReason::Stopped {
            self.manager.stopping();
        } else {
            self.manager.alive();
        }
        self.respawn.stop(patience);
        self.respawn.is_stopped() && self.conflicts.is_stopped() && self.own_addresses.is_stopped()
    }

    fn command_of_ours(&mut self, command: Command) {
        self.last_request += 1;
        self.feed(Input::Command { request: RequestId(self.last_request), command });
    }

    // ---- outputs -------------------------------------------------------------------------

    pub(super) fn feed(&mut self, input: Input) {
        let frequent = matches!(
            input,
            Input::Packet { .. }
                | Input::Copy { .. }
                | Input::PingAnswer { .. }
                | Input::Tick
                | Input::LoadAverage(_)
        );
        self.debug(frequent, || format!("in: {input}"));
        self.cluster.handle(now(), input);
        while let Some(output) = self.cluster.poll_output() {
            self.carry_out(output);
        }
    }

    /// Shows what goes into the cluster and comes out of it, in the form that the simulator reads:
    /// with `debug` 1 what happens seldom, with [`DEBUG_PACKETS`] everything.
    fn debug(&self, frequent: bool, text: impl FnOnce() -> String) {
        if self.debug_level >= if frequent { DEBUG_PACKETS } else { 1 } {
            self.logger.log(LogLevel::Debug, &text());
        }
    }

    fn carry_out(&mut self, output: Output) {
        let frequent = matches!(output, Output::Send { .. } | Output::Deliver { .. } | Output::Beat);
        if !matches!(output, Output::Log { .. }) {
            self.debug(frequent, || format!("out: {output}"));
        }
        match output {
            Output::Send { message, key_index } => self.send(&message, key_index),
            Output::RunJob { job, work, cause } => self.children.run(job, work, cause),
            Output::Ask { question, what } => {
                if matches!(what, Question::Fence { .. }) {
                    // From here on a death of this process may hide that it was done.
                    self.leave_word();
                }
                self.questions.ask(question, &what);
            }
            Output::Withdraw(question) => self.questions.withdraw(question),
            Output::Hook { kind, message } => self.hook(&kind, &message),
            Output::Deliver { message, unchanged } => self.deliver(&message, unchanged),
            Output::Reply { request, answer } => self.reply(request, &answer),
            Output::Log { level, text } => self.logger.log(level, &text),
            Output::Alarm(alarm) => self.alarms.raise(&alarm),
            Output::ClientsPaused(paused) => self.server.set_paused(paused),
            Output::KeepHosts { list, hosts } => self.host_cache.keep(list, &hosts),
            Output::Beat => {
                self.successor.beat_ms = monotonic_ms();
                self.feed_watchdog();
                self.manager.alive();
                self.logger.log_all(self.apphb.beat(monotonic_ms()));
            }
            Output::Exit(reason) => self.exit = Some(reason),
        }
    }

    fn hook(&mut self, kind: &str, message: &Message) {
        // Only what was on the network is signed.
        let signature = message.text("hg").and_then(|_| wire::inner_auth(message, &self.keys).ok());
        if let Some(text) = self.children.hook(kind, message, signature) {
            self.logger.log(LogLevel::Error, &text);
        }
    }

    fn local_status(&self) -> String {
        let view = self.cluster.view(now());
        let local = view.nodes.into_iter().find(|node| node.name == view.local);
        local.map(|node| node.status).unwrap_or_default()
    }

    fn send(&mut self, message: &Message, key_index: Option<u8>) {
        // A key that the file no longer has cannot be used, whoever else still does.
        let key_index = key_index.filter(|index| self.keys.keys.contains_key(index));
        if message.kind() == "status" {
            pings::ask(&mut self.media, message, &self.keys, &self.format);
        }
        self.show_own(message);
        match wire::encode_datagram(message, &self.keys, key_index, &self.format) {
            Ok(_) if self.test_options.loses_sent() => {}
            Ok(bytes) => {
                self.copies.sent(&bytes);
                let line =
                    self.media.has_lines().then(|| wire::encode_serial(message, &self.keys, key_index));
                // A message that text cannot carry goes over the other media alone.
                self.media.send_with_line(&bytes, line.and_then(Result::ok).as_deref(), monotonic_ms());
            }
            Err(error) => {
                self.logger
                    .log(LogLevel::Error, &format!("a {} message was not sent: {error}", message.kind()));
            }
        }
    }

    fn reply(&mut self, request: RequestId, answer: &Answer) {
        let Some(position) = self.requests.iter().position(|(id, _)| *id == request) else {
            return;
        };
        let (_, client) = self.requests.swap_remove(position);
        match answer {
            Answer::Accepted => self.server.finish_command(client, Ok(())),
            Answer::Refused(why) => self.server.finish_command(client, Err(why)),
        }
    }
}

pub(super) fn now() -> Now {
    Now { monotonic_ms: monotonic_ms(), wall_s: u64::try_from(unix_time_s()).unwrap_or(1) }
}
