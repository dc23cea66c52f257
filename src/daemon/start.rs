//! The start order of the daemon, one step after the other.
//!
//! Whatever may fail because of the configuration or the machine fails before the process
//! detaches, with a text on standard error and the original's exit code.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::event::ExitReason;
use crate::config::settings::{AutoFailback, HaCf};
use crate::config::{self, host::HostFacts, ConfigFailure, Loaded};
use crate::log::{LogTargets, Logger};
use crate::sys::process::{close_inherited, daemonise, set_title, Role};
use crate::sys::sched::{lock_memory, set_realtime};
use crate::types::{Generation, LogLevel, ResourceSet, Uuid};

use super::driver::{self, End, Plan};
use super::environment::child_environment;
use super::guard::record::Post;
use super::guard::{self, Guarded, Position};
use super::host_cache;
use super::identity;
use super::layout::Layout;
use super::process::{
    make_core_folders, prepare_run_folders, running_pid, set_up_core_dumps, PidFile, PidFileError, RunState,
};
use super::service_manager::ServiceManager;
use super::upgrade::{pass_on, Handed, Inherited, Program, State};

/// What the command line asks of a start.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// `-f`: stay in the foreground.
    pub foreground: bool,
    /// Not `-M`.
    pub manage_resources: bool,
    /// Not `-l`.
    pub realtime: bool,
    /// `-d`, once for each level.
    pub debug: u8,
    /// `-R -C SET`: this process was the daemon before and left the set active.
    pub resume: Option<ResourceSet>,
    /// `-v`
    pub print_configuration: bool,
    /// Who started this process and wants to be told of it.
    pub manager: ServiceManager,
}

/// LSB exit codes of the original (messaging spec 7.2).
const EXIT_GENERIC: u8 = 1;
const EXIT_NO_PERMISSION: u8 = 4;

/// Starts the daemon; in the foreground returns when it has ended, else as soon as it is detached.
pub fn run(layout: &Layout, options: &StartOptions) -> u8 {
    let inherited = Inherited::take();
    let post = Post::inherit();
    if !options.foreground {
        // Before anything of ours is open: what a shell or an init script left open is not ours.
        close_inherited(&[inherited.descriptors(), post.descriptors()].concat());
    }
    let logger = Logger::direct(LogTargets::none("heartbeat"));
    let host = HostFacts::gather();
    let loaded = if options.manage_resources {
        config::load(&layout.etc_dir, &host)
    } else {
        config::load_without_resources(&layout.etc_dir, &host)
    };
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(failure) => return refuse(&logger, &failure),
    };
    let ha_cf = &mut loaded.configuration.ha_cf;
    ha_cf.log.debug_level = ha_cf.log.debug_level.saturating_add(options.debug);
    let targets = LogTargets::from_config(&ha_cf.log, "heartbeat");
    log_panics(&logger, &targets);
    logger.set_targets(targets);
    if options.print_configuration {
        for (name, value) in &ha_cf.recorded {
            println!("{name} {value}");
        }
    }
    logger.log_all(loaded.log_lines.iter().cloned());
    for diagnostic in &loaded.diagnostics {
        logger.log(LogLevel::Warning, &diagnostic.one_line());
    }
    if options.resume.is_none() {
        if let RunState::Running(pid) = running_pid(&layout.pid_file) {
            return already_running(&logger, pid);
        }
    }
    detach_and_run(layout, options, loaded, (inherited, post), &logger)
}

fn refuse(logger: &Logger, failure: &ConfigFailure) -> u8 {
    if let Some(log) = &failure.log {
        logger.set_targets(LogTargets::from_config(log, "heartbeat"));
    }
    logger.log_all(failure.log_lines.iter().cloned());
    eprint!("{}", failure.explanation());
    failure.exit_code
}

fn already_running(logger: &Logger, pid: Option<u32>) -> u8 {
    let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    logger.log(LogLevel::Info, &format!("heartbeat: already running [pid {pid}]."));
    0
}

fn detach_and_run(
    layout: &Layout,
    options: &StartOptions,
    loaded: Loaded,
    (mut inherited, mut post): (Inherited, Post),
    logger: &Logger,
) -> u8 {
    // The lock is taken before detaching, so that of two starts the loser can still say so; it
    // passes through the fork.
    let claimed = match inherited.pid_file.take() {
        Some(file) => PidFile::adopt(file, &layout.pid_file),
        None => PidFile::acquire(&layout.pid_file),
    };
    let mut pid_file = match claimed {
        Ok(pid_file) => pid_file,
        Err(PidFileError::Running { pid }) => return already_running(logger, pid),
        Err(error) => {
            logger.log(LogLevel::Error, &error.to_string());
            return EXIT_NO_PERMISSION;
        }
    };
    let state = inherited.state().unwrap_or_else(|why| {
        logger.log(LogLevel::Warning, &not_used(&why));
        None
    });
    // Behind the lock: this empties a folder that a running daemon's scripts use.
    if state.is_none() {
        if let Err(error) = prepare_run_folders(layout) {
            logger.log(LogLevel::Error, &error.to_string());
            return EXIT_NO_PERMISSION;
        }
    }
    logger.log_all(super::script_files::prepare(layout));
    // A quick restart is detached already and keeps its process number.
    if !options.foreground && options.resume.is_none() {
        match daemonise() {
            Ok(Role::Parent) => return 0,
            Ok(Role::Daemon) => {}
            Err(error) => {
                logger.log(LogLevel::Error, &error.to_string());
                return EXIT_GENERIC;
            }
        }
    }
    let program = Program::of_this_process();
    // One that goes on has its guard already, or was started by a version that has none.
    if options.resume.is_none() {
        match under_guard(layout, options, (&loaded, &program), &pid_file, logger) {
            Position::Daemon(own) => post = own,
            Position::Guard(code) => return code,
        }
        if let Err(error) = pid_file.write_own_pid() {
            logger.log(LogLevel::Error, &error.to_string());
            return EXIT_NO_PERMISSION;
        }
    }
    set_title("heartbeat", "heartbeat: master control process");
    logger.log(LogLevel::Info, "heartbeat: version 3.0.6");
    let former = Former { state, peer_was_away: inherited.peer_was_away, post, watchdog: inherited.watchdog };
    let run = match plan(layout, options, loaded, (program, former), logger) {
        Ok(plan) => serve(plan, options, &pid_file, logger),
        Err(text) => {
            logger.log(LogLevel::Error, &text);
            EXIT_GENERIC
        }
    };
    drop(pid_file);
    run
}

/// From here on there are two processes: the guard, whose end is that of the daemon, and the daemon.
fn under_guard(
    layout: &Layout,
    options: &StartOptions,
    (loaded, program): (&Loaded, &Program),
    pid_file: &PidFile,
    logger: &Logger,
) -> Position {
    let ha_cf = &loaded.configuration.ha_cf;
    let environment = child_environment(ha_cf, &loaded.node, layout);
    let guarded = Guarded { layout, options, ha_cf, program, pid_file, environment, logger };
    guard::stand(guarded).unwrap_or_else(|error| {
        logger.log(LogLevel::Warning, &unguarded(&error));
        Position::Daemon(Post::default())
    })
}

fn unguarded(error: &std::io::Error) -> String {
    format!("There is no guard process: {error}. Nothing brings this daemon back if it is killed")
}

fn not_used(why: &str) -> String {
    format!("What the former program knew is not used: {why}. Its resources stay")
}

/// What is left of the life before.
struct Former {
    state: Option<State>,
    peer_was_away: bool,
    post: Post,
    watchdog: Option<File>,
}

/// Everything the run needs. A state of another program that is good keeps the generation it had;
/// else this run takes the next one.
fn plan(
    layout: &Layout,
    options: &StartOptions,
    loaded: Loaded,
    (program, former): (Program, Former),
    logger: &Logger,
) -> Result<Plan, String> {
    let Former { state, peer_was_away, post, watchdog } = former;
    let uuid = load_uuid(layout, &loaded, logger)?;
    let ha_cf = &loaded.configuration.ha_cf;
    let (membership, lines) = host_cache::recall(layout, ha_cf, options.manage_resources);
    logger.log_all(lines);
    let mut plan = Plan {
        membership,
        layout: layout.clone(),
        local: loaded.node.clone(),
        configuration: loaded.configuration.clone(),
        generation: state.as_ref().map_or(Generation::default(), |state| state.generation),
        uuid,
        manage_resources: options.manage_resources,
        resume: options.resume.filter(|held| !held.is_empty()),
        state,
        program,
        peer_was_away,
        foreground: options.foreground,
        manager: options.manager.clone(),
        post,
        watchdog,
    };
    if plan.state.is_some() {
        match driver::accepts(&plan) {
            Ok(()) => {
                let text =
                    format!("Going on where the former program ended, generation {}", plan.generation.0);
                logger.log(LogLevel::Info, &text);
                return Ok(plan);
            }
            Err(error) => logger.log(LogLevel::Warning, &not_used(&error.to_string())),
        }
    }
    plan.state = None;
    plan.generation = take_generation(layout, &loaded, logger)?;
    Ok(plan)
}

fn serve(plan: Plan, options: &StartOptions, pid_file: &PidFile, logger: &Logger) -> u8 {
    let ha_cf = &plan.configuration.ha_cf;
    let layout = plan.layout.clone();
    if let Err(error) = set_up_core_dumps(&layout, ha_cf.core_dumps, ha_cf.core_root.as_deref()) {
        logger.log(LogLevel::Warning, &error.to_string());
    }
    let users = ha_cf.clients.iter().map(|client| (client.user.as_str(), client.account.uid));
    if let Err(error) = make_core_folders(&layout, ha_cf.core_root.as_deref(), users) {
        logger.log(LogLevel::Warning, &error.to_string());
    }
    if let Err(error) = logger.go_to_background(options.foreground) {
        logger.log(LogLevel::Error, &format!("cannot start the log writer: {error}"));
        return EXIT_GENERIC;
    }
    logger.install_backend(ha_cf.log.debug_level);
    become_dependable(ha_cf, options, logger);
    let own = plan.program.clone();
    match driver::run(plan, logger.clone()) {
        Ok(End { reason: ExitReason::Stopped, .. }) => {
            logger.flush(std::time::Duration::from_secs(2));
            0
        }
        Ok(End { reason: ExitReason::StopFailed, .. }) => {
            logger.flush(std::time::Duration::from_secs(2));
            reset_machine(logger)
        }
        Ok(end) => start_anew(&layout, options, (&own, end), pid_file, logger),
        Err(error) => {
            logger.log(LogLevel::Error, &error.to_string());
            logger.flush(std::time::Duration::from_secs(2));
            EXIT_GENERIC
        }
    }
}

/// A defect of ours must not end the daemon without a word: from now on a panic in any thread writes
/// what waits in the log and a CRIT line with its place, to the files, syslog and standard error,
/// then aborts the process. It does not return through the writer thread, which may be the one that
/// panicked.
pub fn log_panics(logger: &Logger, targets: &LogTargets) {
    let (logger, targets) = (logger.clone(), targets.clone());
    std::panic::set_hook(Box::new(move |panic| {
        logger.flush(std::time::Duration::from_millis(500));
        let text = format!("heartbeat ends because of a defect in it: {panic}").replace('\n', " ");
        Logger::direct(targets.clone()).log(LogLevel::Critical, &text);
        std::process::abort();
    }));
}

/// This node's identity (messaging spec 3.1).
fn load_uuid(layout: &Layout, loaded: &Loaded, logger: &Logger) -> Result<Uuid, String> {
    let (uuid, lines) = if loaded.configuration.ha_cf.uuid_from_name {
        identity::uuid_from_name(&loaded.node)
    } else {
        identity::uuid_from_file(&layout.uuid_file()).map_err(|error| error.to_string())?
    };
    logger.log_all(lines);
    Ok(uuid)
}

/// This run's generation, on disk when this returns (messaging spec 3.1).
fn take_generation(layout: &Layout, loaded: &Loaded, logger: &Logger) -> Result<Generation, String> {
    let from_time = loaded.configuration.ha_cf.generation_from_time;
    let now_s = crate::sys::time::unix_time_s();
    let (generation, lines) = identity::next_generation(&layout.generation_file(), from_time, now_s)
        .map_err(|error| error.to_string())?;
    logger.log_all(lines);
    Ok(generation)
}

/// Realtime priority and locked memory when permitted; the original's lines when not.
fn become_dependable(ha_cf: &HaCf, options: &StartOptions, logger: &Logger) {
    if let Err(error) = lock_memory() {
        logger.log(LogLevel::Error, &error.to_string());
    }
    if !ha_cf.realtime {
        let pid = std::process::id();
        logger.log(LogLevel::Info, &format!("Request to set pid {pid} to realtime ignored."));
    } else if options.realtime {
        if let Err(error) = set_realtime(ha_cf.realtime_priority) {
            logger.log(LogLevel::Error, &error.to_string());
        }
    }
    if ha_cf.auto_failback == AutoFailback::Legacy {
        logger.log(LogLevel::Debug, "resources follow the old protocol (auto_failback legacy)");
    }
}

/// Executes this program once more, or the one that takes over, in this process. The lock on the pid
/// file stays held.
fn start_anew(
    layout: &Layout,
    options: &StartOptions,
    (own, end): (&Program, End),
    pid_file: &PidFile,
    logger: &Logger,
) -> u8 {
    logger.log(LogLevel::Info, "Performing heartbeat restart exec.");
    logger.flush(std::time::Duration::from_millis(if end.state.is_some() { 50 } else { 500 }));
    let held = match end.reason {
        ExitReason::QuickRestart(held) => Some(held),
        _ => None,
    };
    // The running file last: where the new one does not start after all, it goes on itself.
    let mut problem = None;
    for file in end.program.iter().map(PathBuf::as_path).chain([Path::new("/proc/self/exe")]) {
        let mut command = Command::new(file);
        command.arg0(Program::name_for_exec(Some(end.program.as_deref().unwrap_or(own.path()))));
        add_options(&mut command, options, held);
        let handed = Handed {
            state: end.state.as_ref(),
            awaits_failback: end.awaits_failback,
            watchdog: end.watchdog.as_ref(),
        };
        let (kept, lost) = pass_on(&mut command, handed, &layout.run_dir, pid_file.file());
        if let Some(text) = lost {
            logger.log(LogLevel::Warning, &not_used(&text));
        }
        if let Err(error) = end.post.pass_on(&mut command) {
            logger.log(LogLevel::Warning, &unguarded(&error));
        }
        let error = command.exec();
        logger.log(LogLevel::Error, &format!("cannot execute {}: {error}", file.display()));
        problem = Some(error);
        drop(kept);
    }
    let error = problem.map(|error| error.to_string()).unwrap_or_default();
    logger.log(
        LogLevel::Critical,
        &format!("cannot execute heartbeat again: {error}; this node goes down with its resources active"),
    );
    logger.flush(std::time::Duration::from_secs(2));
    EXIT_GENERIC
}

/// The words of a command line that start a daemon like this one, and what it must know of the service
/// manager; with `held` one that goes on.
pub(super) fn add_options(command: &mut Command, options: &StartOptions, held: Option<ResourceSet>) {
    if let Some(held) = held {
        command.args(["-R", "-C", held.as_str()]);
    }
    options.manager.pass_on(command);
    if options.foreground {
        command.arg("-f");
    }
    if !options.manage_resources {
        command.arg("-M");
    }
    if !options.realtime {
        command.arg("-l");
    }
}

/// After a stop that failed: the machine must not go on with a resource that another node will
/// start (resources spec 1.8).
fn reset_machine(logger: &Logger) -> u8 {
    let result = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT);
    let Err(error) = result;
    logger.log(LogLevel::Critical, &format!("Unable to force reboot. ({error})"));
    logger.flush(std::time::Duration::from_secs(2));
    EXIT_GENERIC
}
