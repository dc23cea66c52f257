//! The program `ha_logd`: options, pid file, start and end of the logging daemon (agents spec 4.1).

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::config::logd_cf::{self, LogdReport, LogdSettings};
use crate::config::{self, diagnostic::Severity, EXIT_NOT_CONFIGURED};
use crate::log::{logd, LogTargets, Logger};
use crate::sys::getopt::Options;
use crate::sys::print;
use crate::sys::process::{close_inherited, daemonise, is_alive, set_title, Role};
use crate::types::LogLevel;
use crate::wire::logd::LOGD_SOCKET;

use super::layout::Layout;
use super::process::{running_pid_of, PidFile, PidFileError, RunState};

/// The original's program file, by which its process is known.
const PROGRAM: &str = "ha_logd";
const EXIT_GENERIC: u8 = 1;
const EXIT_NO_PERMISSION: u8 = 4;
/// How long the end may wait for the disk.
const END_PATIENCE: Duration = Duration::from_secs(2);

const OPTIONS_TEXT: &str = "[options]\n\noptions: \n\
                            -d\tmake the program a daemon\n\
                            -k\tstop the logging daemon if it is already running\n\
                            -s\treturn logging daemon status \n\
                            -c\tuse this config file\n\
                            -v\tverbosely print debug messages-h\tprint out this message\n";

/// Runs the program with these words; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let options = Options::parse(called_as, words, "c:dskvh");
    if !options.errors.is_empty() || options.has('h') {
        for error in &options.errors {
            print::error_line(error);
        }
        print::line(&format!("usage: \n{called_as} {OPTIONS_TEXT}"));
        return EXIT_GENERIC;
    }
    let pid_file = Layout::from_environment().logd_pid_file();
    if options.has('s') {
        status(&pid_file)
    } else if options.has('k') {
        stop(&pid_file)
    } else {
        start(called_as, &options, &pid_file)
    }
}

fn status(pid_file: &Path) -> u8 {
    match running_pid_of(pid_file, PROGRAM) {
        RunState::Running(pid) => {
            let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            print::line(&format!("logging daemon is running [pid = {pid}]."));
            0
        }
        RunState::StalePidFile => {
            print::line(&format!("logging daemon is stopped: {} exists.", pid_file.display()));
            1
        }
        RunState::NotRunning => {
            print::line("logging daemon is stopped.");
            3
        }
    }
}

/// `-k`: to the end of the daemon, however long that takes. What it says goes to syslog too.
fn stop(pid_file: &Path) -> u8 {
    let logger = Logger::direct(LogTargets::of_logd(&LogdSettings::default()));
    let RunState::Running(Some(pid)) = running_pid_of(pid_file, PROGRAM) else {
        print::error_line("ha_logd already stopped.");
        logger.log(LogLevel::Info, "ha_logd already stopped.");
        return 0;
    };
    logger.log(LogLevel::Debug, &format!("Stopping ha_logd with pid {pid}"));
    let target = Pid::from_raw(i32::try_from(pid).unwrap_or(0));
    if let Err(error) = kill(target, Signal::SIGTERM) {
        logger.log(LogLevel::Error, &format!("cannot stop ha_logd, pid {pid}: {error}; it goes on"));
        return if error == nix::errno::Errno::EPERM { EXIT_NO_PERMISSION } else { EXIT_GENERIC };
    }
    logger.log(LogLevel::Info, &format!("Waiting for pid={pid} to exit"));
    while is_alive(pid) {
        std::thread::sleep(Duration::from_millis(50));
    }
    logger.log(LogLevel::Info, &format!("Pid {pid} exited"));
    0
}

fn start(called_as: &str, options: &Options, pid_file: &Path) -> u8 {
    let background = options.has('d');
    if background {
        close_inherited(&[]);
    }
    let logger = Logger::direct_to(LogTargets::of_logd(&LogdSettings::default()), options.has('v'));
    if let RunState::Running(pid) = running_pid_of(pid_file, PROGRAM) {
        return already_running(called_as, pid);
    }
    let (file, report) = read_configuration(options);
    if report.failed {
        return refuse(&logger, &report);
    }
    let mut held = match PidFile::acquire_for(pid_file, PROGRAM) {
        Ok(held) => held,
        Err(PidFileError::Running { pid }) => return already_running(called_as, pid),
        Err(error) => return give_up(&logger, &error.to_string(), EXIT_NO_PERMISSION),
    };
    let socket = config::below_root(LOGD_SOCKET);
    let listener = match logd::bind(&socket) {
        Ok(listener) => listener,
        Err(error) => {
            let text = format!("cannot listen at {}: {error}. Not started", socket.display());
            return give_up(&logger, &text, EXIT_GENERIC);
        }
    };
    if background {
        match daemonise() {
            Ok(Role::Parent) => return 0,
            Ok(Role::Daemon) => {}
            Err(error) => return give_up(&logger, &error.to_string(), EXIT_GENERIC),
        }
        if let Err(error) = held.write_own_pid() {
            return give_up(&logger, &error.to_string(), EXIT_NO_PERMISSION);
        }
    }
    set_title(PROGRAM, "ha_logd: read process");
    logger.log_all(report.log);
    logger.set_targets(LogTargets::of_logd(&report.settings));
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(!report.settings.file_mode & 0o666));
    logger.log(LogLevel::Info, &format!("logd started with {file}."));
    for diagnostic in &report.diagnostics {
        logger.log(LogLevel::Warning, &diagnostic.one_line());
    }
    let code = serve(&listener, &logger, options.has('v') && !background);
    drop(held);
    code
}

fn already_running(called_as: &str, pid: Option<u32>) -> u8 {
    let pid = pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    print::error_line(&format!("{called_as}: already running [pid {pid}]."));
    0
}

fn give_up(logger: &Logger, text: &str, exit_code: u8) -> u8 {
    print::error_line(&format!("ha_logd: {text}"));
    logger.log(LogLevel::Error, text);
    exit_code
}

/// What the daemon says it started with, and what it found there. A file that was not named may be
/// missing.
fn read_configuration(options: &Options) -> (String, LogdReport) {
    if let Some(named) = options.argument('c') {
        return (named.to_owned(), logd_cf::load(Path::new(named)));
    }
    let path: PathBuf = config::below_root(logd_cf::FILE_DEFAULT);
    if path.exists() {
        (path.display().to_string(), logd_cf::load(&path))
    } else {
        ("default configuration".to_owned(), LogdReport::default())
    }
}

fn refuse(logger: &Logger, report: &LogdReport) -> u8 {
    if let Some(complaint) = &report.complaint {
        print::error_line(complaint);
    }
    logger.log_all(report.log.iter().cloned());
    let errors = report.diagnostics.iter().filter(|one| one.severity == Severity::Error);
    eprint!("{}", errors.map(ToString::to_string).collect::<String>());
    EXIT_NOT_CONFIGURED
}

fn serve(listener: &UnixListener, logger: &Logger, stderr: bool) -> u8 {
    // Signals are blocked before the writer's thread is there, which inherits that.
    let outcome: io::Result<()> = logd::take_signals(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
        .and_then(|signals| {
            logger.go_to_background(stderr)?;
            logd::serve(listener, &signals, logger)
        });
    let code = match outcome {
        Ok(()) => {
            logger.log(LogLevel::Info, "logd_term_write_action: received SIGTERM");
            logger.log(LogLevel::Info, "Exiting write process");
            0
        }
        Err(error) => {
            logger.log(LogLevel::Error, &format!("the logging daemon ends: {error}"));
            EXIT_GENERIC
        }
    };
    logger.flush(END_PATIENCE);
    code
}
