//! The program `apphbd`: options, pid file, start and end of the daemon that watches programs.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::config::apphbd_cf::{self, ApphbdSettings};
use crate::config::EXIT_NOT_CONFIGURED;
use crate::log::{logd, LogTargets, Logger};
use crate::sys::getopt::Options;
use crate::sys::print;
use crate::sys::process::{close_inherited, daemonise, is_alive, Role};
use crate::sys::sched::set_realtime;
use crate::types::LogLevel;

use super::layout::Layout;
use super::process::{running_pid_of, PidFile, PidFileError, RunState};
use super::watchdog::Watchdog;

mod serve;
mod watched;

use serve::Watcher;

/// The original's program file, by which its process is known.
const PROGRAM: &str = "apphbd";
const EXIT_GENERIC: u8 = 1;
const EXIT_STOPPED: u8 = 3;
const EXIT_NO_PERMISSION: u8 = 4;
/// Facility `daemon`.
const FACILITY: u8 = 3;
/// The lowest realtime priority.
const PRIORITY: u8 = 1;
/// How long the end may wait for the disk.
const END_PATIENCE: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

const USAGE: &str = "usage: apphbd [-srkh][-c configure file]\n\
                     \t-d\tsets debug level\n\
                     \t-s\tgets daemon status\n\
                     \t-r\trestarts daemon\n\
                     \t-k\tstops daemon\n\
                     \t-h\thelp message";

/// Runs the program with these words; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let options = Options::parse(called_as, words, "srkd:hc:");
    if !options.errors.is_empty() {
        options.errors.iter().for_each(|error| print::error_line(error));
        print::error_line(USAGE);
        return EXIT_GENERIC;
    }
    if options.has('h') {
        print::line(USAGE);
        return 0;
    }
    let layout = Layout::from_environment();
    let pid_file = layout.apphbd_pid_file();
    if options.has('s') {
        return status(&pid_file);
    }
    if options.has('k') || options.has('r') {
        let code = stop(&pid_file);
        if code != 0 || options.has('k') {
            return code;
        }
    }
    start(&options, &layout)
}

fn status(pid_file: &Path) -> u8 {
    match running_pid_of(pid_file, PROGRAM) {
        RunState::Running(pid) => {
            let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            print::error_line(&format!("apphbd is running [pid: {pid}]"));
            0
        }
        RunState::StalePidFile | RunState::NotRunning => {
            print::error_line("apphbd is stopped.");
            EXIT_STOPPED
        }
    }
}

/// To the end of the daemon.
fn stop(pid_file: &Path) -> u8 {
    let RunState::Running(Some(pid)) = running_pid_of(pid_file, PROGRAM) else { return 0 };
    if let Err(error) = kill(Pid::from_raw(i32::try_from(pid).unwrap_or(0)), Signal::SIGTERM) {
        print::error_line(&format!("cannot stop apphbd, pid {pid}: {error}; it goes on"));
        return if error == nix::errno::Errno::EPERM { EXIT_NO_PERMISSION } else { EXIT_GENERIC };
    }
    while is_alive(pid) {
        std::thread::sleep(LOOK_EVERY);
    }
    0
}

fn start(options: &Options, layout: &Layout) -> u8 {
    close_inherited(&[]);
    let logger = Logger::direct_to(targets(&ApphbdSettings { debug_level: 0, ..Default::default() }), true);
    let pid_file = layout.apphbd_pid_file();
    if let RunState::Running(pid) = running_pid_of(&pid_file, PROGRAM) {
        return already_running(&logger, pid);
    }
    let path = PathBuf::from(options.argument('c').unwrap_or(apphbd_cf::FILE_DEFAULT));
    let mut settings = match apphbd_cf::load(&path) {
        Ok(settings) => settings,
        Err(lines) => {
            logger.log_all(lines);
            return EXIT_NOT_CONFIGURED;
        }
    };
    if let Some(level) = options.argument('d') {
        settings.debug_level = level.parse().unwrap_or(settings.debug_level);
    }
    let mut held = match PidFile::acquire_for(&pid_file, PROGRAM) {
        Ok(held) => held,
        Err(PidFileError::Running { pid }) => return already_running(&logger, pid),
        Err(error) => return give_up(&logger, &error.to_string(), EXIT_NO_PERMISSION),
    };
    let socket = layout.apphb_socket();
    let listener = match logd::bind(&socket) {
        Ok(listener) => listener,
        Err(error) => {
            let text = format!("cannot listen at {}: {error}. Not started", socket.display());
            return give_up(&logger, &text, EXIT_GENERIC);
        }
    };
    match daemonise() {
        Ok(Role::Parent) => return 0,
        Ok(Role::Daemon) => {}
        Err(error) => return give_up(&logger, &error.to_string(), EXIT_GENERIC),
    }
    if let Err(error) = held.write_own_pid() {
        return give_up(&logger, &error.to_string(), EXIT_NO_PERMISSION);
    }
    logger.set_targets(targets(&settings));
    let code = run(&settings, &listener, &logger);
    let _ = std::fs::remove_file(&socket);
    let _ = std::fs::remove_file(&pid_file);
    drop(held);
    code
}

fn run(settings: &ApphbdSettings, listener: &UnixListener, logger: &Logger) -> u8 {
    crate::log::set_debug_level(settings.debug_level);
    logger.log(LogLevel::Info, "Starting apphbd");
    if settings.realtime {
        if let Err(error) = set_realtime(PRIORITY) {
            logger.log(LogLevel::Warning, &format!("no realtime priority: {error}"));
        }
    } else {
        let text = format!("Request to set pid {} to realtime ignored.", std::process::id());
        logger.log(LogLevel::Info, &text);
    }
    let (watchdog, lines) = match &settings.watchdog {
        Some(path) => Watchdog::open_as_it_is(path),
        None => (Watchdog::default(), Vec::new()),
    };
    logger.log_all(lines);
    let mut watcher = Watcher::new(logger.clone(), watchdog, settings.watchdog_interval_ms);
    // Signals are blocked before the writer's thread is there, which inherits that.
    let outcome = logd::take_signals(&[Signal::SIGTERM, Signal::SIGINT]).and_then(|signals| {
        logger.go_to_background(false)?;
        watcher.serve(listener, &signals)
    });
    let code = match outcome {
        Ok(()) => {
            logger.log(LogLevel::Info, "[apphbd] stopped");
            0
        }
        Err(error) => {
            logger.log(LogLevel::Error, &format!("apphbd ends: {error}"));
            EXIT_GENERIC
        }
    };
    logger.flush(END_PATIENCE);
    code
}

fn targets(settings: &ApphbdSettings) -> LogTargets {
    let files = settings.debug_level > 0;
    LogTargets {
        log_file: settings.log_file.clone().filter(|_| files),
        debug_file: settings.debug_file.clone().filter(|_| files),
        facility: Some(FACILITY),
        ..LogTargets::none(PROGRAM)
    }
}

fn already_running(logger: &Logger, pid: Option<u32>) -> u8 {
    let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    logger.log(LogLevel::Critical, &format!("already running: [pid {pid}]."));
    0
}

fn give_up(logger: &Logger, text: &str, exit_code: u8) -> u8 {
    logger.log(LogLevel::Error, text);
    exit_code
}
