//! The command line of `heartbeat`, with the original's answers and exit codes
//! (messaging spec 7.2, resources spec 7.2).

use std::time::{Duration, Instant};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;

use crate::config::{self, directive, host::HostFacts};
use crate::log::{LogTargets, Logger};
use crate::types::{LogLevel, ResourceSet};

use super::layout::Layout;
use super::process::{running_pid, RunState};
use super::service_manager::ServiceManager;
use super::start::{self, StartOptions};

/// What `-V` prints: monitoring scripts compare it.
pub const LEGACY_VERSION: &str = "3.0.6 (node: 958e11be8686759f1b99204c17812f2c2633b169)";
const USAGE: &str = "\nUsage: heartbeat [-dDkMrRsvWlVf] [-C Current-resource-state]\n\
                     \t-C only valid with -R\n\t-r is mutually exclusive with -R\n";
/// How long `-k` waits at most: the original's emergency shutdown comes after 60 minutes.
const STOP_PATIENCE: Duration = Duration::from_secs(61 * 60);

/// The options, as far as they are more than an order to do something else.
#[derive(Debug, Default)]
struct Options {
    debug: u8,
    defaults: bool,
    wiki: bool,
    stop: bool,
    reread: bool,
    restart: bool,
    status: bool,
    verbose: bool,
    version: bool,
    foreground: bool,
    no_resources: bool,
    no_realtime: bool,
    resume: Option<ResourceSet>,
    has_state: bool,
}

/// Runs `heartbeat` with these arguments and returns the exit code.
pub fn run(called_as: &str, words: &[String]) -> u8 {
    let options = match parse(words) {
        Ok(options) => options,
        Err(bad) => {
            if let Some(letter) = bad {
                eprintln!("{called_as}: invalid option -- '{letter}'");
            }
            eprint!("{USAGE}");
            return 2;
        }
    };
    let layout = Layout::from_environment();
    if options.version {
        println!("{LEGACY_VERSION}");
        0
    } else if options.defaults {
        if options.wiki {
            print!("{}", directive::defaults_wiki_text(LEGACY_VERSION));
        } else {
            print!("{}", directive::defaults_text());
        }
        0
    } else if options.status {
        status(&layout)
    } else if options.stop {
        stop(&layout)
    } else if options.reread && !options.restart {
        reread(&layout, &options)
    } else {
        start::run(&layout, &start_options(&options))
    }
}

fn start_options(options: &Options) -> StartOptions {
    StartOptions {
        foreground: options.foreground,
        manage_resources: !options.no_resources,
        realtime: !options.no_realtime,
        debug: options.debug,
        resume: options.restart.then(|| options.resume.unwrap_or_default()),
        print_configuration: options.verbose,
        manager: ServiceManager::take(),
    }
}

/// `Err(Some(letter))` for an unknown option, `Err(None)` for a wrong combination.
fn parse(words: &[String]) -> Result<Options, Option<char>> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            continue;
        };
        if letters == "-" {
            break;
        }
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'd' => options.debug = options.debug.saturating_add(1),
                'D' => options.defaults = true,
                'k' => options.stop = true,
                'M' => options.no_resources = true,
                'r' => options.reread = true,
                'R' => options.restart = true,
                's' => options.status = true,
                'v' => options.verbose = true,
                'W' => options.wiki = true,
                'l' => options.no_realtime = true,
                'V' => options.version = true,
                'f' => options.foreground = true,
                'C' => {
                    let rest: String = letters.by_ref().collect();
                    let value = if rest.is_empty() { words.next().cloned() } else { Some(rest) };
                    options.has_state = true;
                    options.resume = value.and_then(|value| value.parse().ok());
                    if options.resume.is_none() {
                        return Err(None);
                    }
                }
                _ => return Err(Some(letter)),
            }
        }
    }
    if options.has_state && !options.restart {
        return Err(None);
    }
    Ok(options)
}

/// `-s`
fn status(layout: &Layout) -> u8 {
    match running_pid(&layout.pid_file) {
        RunState::Running(pid) => {
            let host = crate::log::host_name();
            let node = config::node_name(&layout.etc_dir, &HostFacts::gather());
            let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            println!(
                "heartbeat OK [pid {pid} et al] is running on {} [{node}]...",
                host.to_ascii_lowercase()
            );
            0
        }
        RunState::StalePidFile => {
            println!("heartbeat is stopped. No process");
            1
        }
        RunState::NotRunning => {
            println!("heartbeat is stopped. No process");
            3
        }
    }
}

/// `-k`: asks the daemon to stop and waits until it is gone.
fn stop(layout: &Layout) -> u8 {
    let Some(pid) = pid_of(running_pid(&layout.pid_file)) else {
        eprintln!("INFO: Heartbeat already stopped.");
        return 0;
    };
    if let Err(error) = kill(pid, Signal::SIGTERM) {
        eprintln!("ERROR: Could not kill pid {pid}: {error}");
        return if error == nix::errno::Errno::EPERM { 4 } else { 1 };
    }
    let begin = Instant::now();
    while pid_of(running_pid(&layout.pid_file)) == Some(pid) {
        if begin.elapsed() > STOP_PATIENCE {
            eprintln!(
                "ERROR: heartbeat (pid {pid}) is still there after {} minutes; see its log",
                STOP_PATIENCE.as_secs() / 60
            );
            return 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    0
}

/// `-r`: checks the configuration, then tells the daemon to read it again; starts it if none runs.
fn reread(layout: &Layout, options: &Options) -> u8 {
    let logger = Logger::direct(LogTargets::none("heartbeat"));
    let running = pid_of(running_pid(&layout.pid_file));
    let Some(pid) = running else {
        return start::run(layout, &start_options(options));
    };
    match config::load(&layout.etc_dir, &HostFacts::gather()) {
        Err(failure) => {
            logger.log_all(failure.log_lines.clone());
            eprint!("{}", failure.explanation());
            logger.log(LogLevel::Info, &format!("Config errors: Heartbeat pid {pid} NOT restarted"));
            if failure.exit_code == 4 {
                4
            } else {
                1
            }
        }
        Ok(loaded) => {
            logger.log_all(loaded.log_lines.iter().filter(|line| !config::is_announcement(line)).cloned());
            logger.log(LogLevel::Info, &format!("Signalling heartbeat pid {pid} to reread config files"));
            u8::from(kill(pid, Signal::SIGHUP).is_err())
        }
    }
}

fn pid_of(state: RunState) -> Option<Pid> {
    match state {
        RunState::Running(Some(pid)) => i32::try_from(pid).ok().map(Pid::from_raw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_are_read_as_the_original_does() {
        assert_eq!(parse(&words("-z")).err(), Some(Some('z')));
        assert_eq!(parse(&words("-C all")).err(), Some(None));
        assert_eq!(parse(&words("-R -C nonsense")).err(), Some(None));
        let options = parse(&words("-dd -R -C foreign extra")).unwrap();
        assert_eq!((options.debug, options.restart, options.resume), (2, true, Some(ResourceSet::FOREIGN)));
        let options = parse(&words("-lsf")).unwrap();
        assert!(options.no_realtime && options.status && options.foreground);
    }
}
