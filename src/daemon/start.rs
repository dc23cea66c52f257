//! The start order of the daemon, one step after the other.
//!
//! Whatever may fail because of the configuration or the machine fails before the process
//! detaches, with a text on standard error and the original's exit code.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cluster::event::ExitReason;
use crate::config::settings::{AutoFailback, HaCf};
use crate::config::{self, host::HostFacts, ConfigFailure, Loaded};
use crate::log::{LogTargets, Logger};
use crate::sys::process::{close_inherited, daemonise, set_title, Role};
use crate::sys::sched::{lock_memory, set_realtime};
use crate::types::{Generation, LogLevel, ResourceSet, Uuid};

use super::driver::{self, Plan};
use super::host_cache;
use super::identity;
use super::layout::Layout;
use super::process::{
    make_core_folders, prepare_run_folders, running_pid, set_up_core_dumps, PidFile, PidFileError, RunState,
};

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
}

/// LSB exit codes of the original (messaging spec 7.2).
const EXIT_GENERIC: u8 = 1;
const EXIT_NO_PERMISSION: u8 = 4;

/// Starts the daemon; in the foreground returns when it has ended, else as soon as it is detached.
pub fn run(layout: &Layout, options: &StartOptions) -> u8 {
    if !options.foreground {
        // Before anything of ours is open: what a shell or an init script left open is not ours.
        close_inherited(&[]);
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
    detach_and_run(layout, options, loaded, &logger)
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

fn detach_and_run(layout: &Layout, options: &StartOptions, loaded: Loaded, logger: &Logger) -> u8 {
    // The lock is taken before detaching, so that of two starts the loser can still say so; it
    // passes through the fork.
    let mut pid_file = match PidFile::acquire(&layout.pid_file) {
        Ok(pid_file) => pid_file,
        Err(PidFileError::Running { pid }) => return already_running(logger, pid),
        Err(error) => {
            logger.log(LogLevel::Error, &error.to_string());
            return EXIT_NO_PERMISSION;
        }
    };
    // Behind the lock: this empties a folder that a running daemon's scripts use.
    if let Err(error) = prepare_run_folders(layout) {
        logger.log(LogLevel::Error, &error.to_string());
        return EXIT_NO_PERMISSION;
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
        if let Err(error) = pid_file.write_own_pid() {
            logger.log(LogLevel::Error, &error.to_string());
            return EXIT_NO_PERMISSION;
        }
    }
    set_title("heartbeat", "heartbeat: master control process");
    logger.log(LogLevel::Info, "heartbeat: version 3.0.6");
    let code = serve(layout, options, loaded, logger);
    drop(pid_file);
    code
}

fn serve(layout: &Layout, options: &StartOptions, loaded: Loaded, logger: &Logger) -> u8 {
    let ha_cf = &loaded.configuration.ha_cf;
    let (generation, uuid) = match load_identity(layout, &loaded, logger) {
        Ok(identity) => identity,
        Err(text) => {
            logger.log(LogLevel::Error, &text);
            return EXIT_GENERIC;
        }
    };
    if let Err(error) = set_up_core_dumps(layout, ha_cf.core_dumps, ha_cf.core_root.as_deref()) {
        logger.log(LogLevel::Warning, &error.to_string());
    }
    let users = ha_cf.clients.iter().map(|client| (client.user.as_str(), client.account.uid));
    if let Err(error) = make_core_folders(layout, ha_cf.core_root.as_deref(), users) {
        logger.log(LogLevel::Warning, &error.to_string());
    }
    if let Err(error) = logger.go_to_background(options.foreground) {
        logger.log(LogLevel::Error, &format!("cannot start the log writer: {error}"));
        return EXIT_GENERIC;
    }
    logger.install_backend(ha_cf.log.debug_level);
    become_dependable(ha_cf, options, logger);
    let (membership, lines) = host_cache::recall(layout, ha_cf, options.manage_resources);
    logger.log_all(lines);
    let plan = Plan {
        membership,
        layout: layout.clone(),
        local: loaded.node.clone(),
        configuration: loaded.configuration,
        generation,
        uuid,
        manage_resources: options.manage_resources,
        resume: options.resume.filter(|held| !held.is_empty()),
        foreground: options.foreground,
    };
    match driver::run(plan, logger.clone()) {
        Ok(ExitReason::Stopped) => {
            logger.flush(std::time::Duration::from_secs(2));
            0
        }
        Ok(ExitReason::QuickRestart(held)) => start_anew(options, Some(held), logger),
        Ok(ExitReason::Restart) => start_anew(options, None, logger),
        Ok(ExitReason::StopFailed) => {
            logger.flush(std::time::Duration::from_secs(2));
            reset_machine(logger)
        }
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

/// Generation and uuid; the generation is on disk when this returns (messaging spec 3.1).
fn load_identity(layout: &Layout, loaded: &Loaded, logger: &Logger) -> Result<(Generation, Uuid), String> {
    let ha_cf = &loaded.configuration.ha_cf;
    let (uuid, lines) = if ha_cf.uuid_from_name {
        identity::uuid_from_name(&loaded.node)
    } else {
        identity::uuid_from_file(&layout.uuid_file()).map_err(|error| error.to_string())?
    };
    logger.log_all(lines);
    let now_s = crate::sys::time::unix_time_s();
    let (generation, lines) =
        identity::next_generation(&layout.generation_file(), ha_cf.generation_from_time, now_s)
            .map_err(|error| error.to_string())?;
    logger.log_all(lines);
    Ok((generation, uuid))
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

/// Executes this program once more, in this process.
fn start_anew(options: &StartOptions, held: Option<ResourceSet>, logger: &Logger) -> u8 {
    logger.log(LogLevel::Info, "Performing heartbeat restart exec.");
    logger.flush(std::time::Duration::from_millis(500));
    let mut command = Command::new("/proc/self/exe");
    command.arg0("heartbeat");
    if let Some(held) = held {
        command.args(["-R", "-C", held.as_str()]);
    }
    if options.foreground {
        command.arg("-f");
    }
    if !options.manage_resources {
        command.arg("-M");
    }
    if !options.realtime {
        command.arg("-l");
    }
    let error = command.exec();
    logger.log(
        LogLevel::Critical,
        &format!("cannot execute heartbeat again: {error}; this node goes down with its resources active"),
    );
    logger.flush(std::time::Duration::from_secs(2));
    EXIT_GENERIC
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
