//! `pingd` for a pair: the original's options on top of ipfail's comparison (pingd(8)).
//!
//! The original counts ping nodes and hands the number to Pacemaker's attribute daemon. A pair that is
//! run by `haresources` has no such daemon, and none of the rules that used the number; what they were
//! written for, the resources on the node that reaches more, is what ipfail does. So this is ipfail
//! with a dampening time, and it works with either program on the other node.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::program::{run, Program, EXIT_NEVER_AGAIN};
use crate::log::{LogTargets, Logger};
use crate::sys::getopt::Options;
use crate::sys::print;
use crate::sys::process::{daemonise, Role};
use crate::types::LogLevel;

/// As the original's attribute daemon was given by default.
const DAMPENING_DEFAULT_MS: u64 = 5000;
const DAMPENING_MAX_MS: u64 = 86_400_000;
/// Who may sign on as `ipfail` unless `apiauth` says otherwise.
const USER: &str = "hacluster";
const EXIT_WRONG_USE: u8 = 1;
/// The options of all versions of the original.
const SHORT: &str = "V?$Dp:a:s:S:h:N:d:m:i:n:t:U";

const LONG: [(&str, char); 18] = [
    ("help", '?'),
    ("version", '$'),
    ("verbose", 'V'),
    ("daemonize", 'D'),
    ("pid-file", 'p'),
    ("attr-name", 'a'),
    ("attr-set", 's'),
    ("attr-section", 'S'),
    ("attr-dampen", 'd'),
    ("ping-host", 'h'),
    ("node", 'N'),
    ("value-multiplier", 'm'),
    ("ping-multiplier", 'm'),
    ("ping-interval", 'i'),
    ("interval", 'i'),
    ("ping-attempts", 'n'),
    ("ping-timeout", 't'),
    ("no-updates", 'U'),
];

/// Options that have no sense here, and what to do instead.
const REFUSED: [(char, &str); 4] = [
    ('i', "heartbeat pings: set keepalive in ha.cf"),
    ('n', "heartbeat pings: set deadping in ha.cf"),
    ('t', "heartbeat pings: set deadping in ha.cf"),
    ('U', "there is nothing to update"),
];

const USAGE: &str = "\
usage: pingd [-V?$DpashNdmS]
	--help (-?) 			This text
	--version ($) 			Version
	--verbose (-V) 			Log to standard error too
	--daemonize (-D) 		Run in daemon mode
	--pid-file (-p) <filename>	File in which to store the process' PID
	--attr-name (-a) <string>	Name shown with the value in the log
					* Default=pingd
	--ping-host (-h) <node>		Count only this ping node of ha.cf (can be specified multiple times)
	--attr-dampen (-d) <time>	How long a new number of ping nodes must last before it counts
					* Default=5s
	--value-multiplier (-m) <integer>	For every reachable ping node, add <integer> to the value shown
					* Default=1
	--attr-set (-s), --attr-section (-S) <string>	No effect: there is no CIB";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    program: Program,
    daemonize: bool,
    pid_file: Option<String>,
    warnings: Vec<String>,
}

/// Why nothing is started: lines for standard error or standard output, and the exit code.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    lines: Vec<String>,
    exit_code: u8,
}

/// Runs `pingd`; the value is the exit code: 1 for wrong use, 100 where the daemon need not try again,
/// else as ipfail's.
pub fn main(words: &[String], socket: &Path, targets: LogTargets) -> u8 {
    let call = match parse(words) {
        Ok(call) => call,
        Err(Refusal { lines, exit_code: 0 }) => {
            lines.iter().for_each(|line| print::line(line));
            return 0;
        }
        Err(Refusal { lines, exit_code }) => {
            lines.iter().for_each(|line| print::error_line(line));
            log_refusal(targets, lines.first());
            return exit_code;
        }
    };
    if call.daemonize {
        match daemonise() {
            Ok(Role::Parent) => return 0,
            Ok(Role::Daemon) => {}
            Err(error) => {
                print::error_line(&format!("pingd: {error}; not started"));
                return EXIT_WRONG_USE;
            }
        }
    }
    let logger = Logger::direct(targets);
    if let Some(path) = &call.pid_file {
        if let Err(error) = write_pid(Path::new(path)) {
            logger.log(LogLevel::Error, &format!("Cannot write {path}: {error}; not started"));
            return EXIT_WRONG_USE;
        }
    }
    call.warnings.iter().for_each(|text| logger.log(LogLevel::Warning, text));
    logger.log(LogLevel::Info, "Starting pingd");
    let code = run(&call.program, socket, &logger);
    logger.log(LogLevel::Info, "Exiting pingd");
    logger.flush(std::time::Duration::from_secs(2));
    if let Some(path) = &call.pid_file {
        let _ = std::fs::remove_file(path);
    }
    code
}

/// The daemon starts clients with their output closed, so the log must have it.
fn log_refusal(targets: LogTargets, line: Option<&String>) {
    let logger = Logger::direct(targets);
    if logger.go_to_background(false).is_ok() {
        line.iter().for_each(|line| logger.log(LogLevel::Error, line));
        logger.flush(std::time::Duration::from_secs(2));
    }
}

/// Never through a link that somebody left there.
fn write_pid(path: &Path) -> std::io::Result<()> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644).custom_flags(flags.bits());
    options.open(path)?.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn parse(words: &[String]) -> Result<Call, Refusal> {
    let options = Options::parse("pingd", &shortened(words)?, SHORT);
    if let Some(error) = options.errors.first() {
        return Err(wrong(error.clone()));
    }
    if options.has('?') {
        return Err(Refusal { lines: vec![USAGE.to_owned()], exit_code: 0 });
    }
    if options.has('$') {
        return Err(Refusal { lines: vec![format!("pingd {}", env!("CARGO_PKG_VERSION"))], exit_code: 0 });
    }
    if let Some(word) = options.parameters.first() {
        return Err(wrong(format!("pingd: non-option ARGV-elements: {word}")));
    }
    if let Some((letter, instead)) = REFUSED.into_iter().find(|(letter, _)| options.has(*letter)) {
        let line = format!("pingd: option -{letter} is not supported: {instead}. Not started");
        return Err(Refusal { lines: vec![line], exit_code: EXIT_NEVER_AGAIN });
    }
    let multiplier = match options.argument('m') {
        None => 1,
        Some(word) => word.parse().map_err(|_| wrong(format!("pingd: -m {word}: not a number")))?,
    };
    let dampening_ms = match options.argument('d') {
        None => DAMPENING_DEFAULT_MS,
        Some(word) => time_ms(word).ok_or_else(|| wrong(format!("pingd: -d {word}: not a time")))?,
    };
    let hosts = options.flags.iter().filter(|(letter, _)| matches!(letter, 'h' | 'N'));
    let no_effect = |letter: char| {
        let warning = || format!("Option -{letter} has no effect: a pair run by haresources has no CIB");
        options.has(letter).then(warning)
    };
    let program = Program {
        hosts: hosts.map(|(_, host)| host.to_ascii_lowercase()).collect(),
        dampening_ms: Some(dampening_ms),
        attribute: Some((options.argument('a').unwrap_or("pingd").to_owned(), multiplier)),
        verbose: options.has('V'),
        may_become: Some(USER),
    };
    Ok(Call {
        program,
        daemonize: options.has('D'),
        pid_file: options.argument('p').map(str::to_owned),
        warnings: ['s', 'S'].into_iter().filter_map(no_effect).collect(),
    })
}

fn wrong(line: String) -> Refusal {
    Refusal { lines: vec![line, USAGE.to_owned()], exit_code: EXIT_WRONG_USE }
}

/// Long options as their letters; unambiguous beginnings are enough, as getopt_long(3) has it.
fn shortened(words: &[String]) -> Result<Vec<String>, Refusal> {
    let mut short = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) else {
            short.push(word.clone());
            if word == "--" {
                short.extend(words.by_ref().cloned());
            }
            continue;
        };
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        short.push(format!("-{}", letter(name)?));
        short.extend(value.map(str::to_owned));
    }
    Ok(short)
}

fn letter(name: &str) -> Result<char, Refusal> {
    if let Some((_, letter)) = LONG.iter().find(|(long, _)| *long == name) {
        return Ok(*letter);
    }
    let mut letters: Vec<char> =
        LONG.iter().filter(|(long, _)| long.starts_with(name)).map(|(_, letter)| *letter).collect();
    letters.sort_unstable();
    letters.dedup();
    match letters[..] {
        [letter] => Ok(letter),
        [] => Err(wrong(format!("pingd: unrecognized option '--{name}'"))),
        _ => Err(wrong(format!("pingd: option '--{name}' is ambiguous"))),
    }
}

/// A whole number with a unit; without one it is seconds.
fn time_ms(word: &str) -> Option<u64> {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let number: u64 = word[..end].parse().ok()?;
    let ms = match &word[end..] {
        "" | "s" | "sec" => number.checked_mul(1000)?,
        "ms" | "msec" => number,
        "us" | "usec" => number / 1000,
        "m" | "min" => number.checked_mul(60_000)?,
        "h" | "hr" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    (ms <= DAMPENING_MAX_MS).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Call, Refusal> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_usual_line_is_understood() {
        let call = parsed("-m 100 -d 3s -a default_ping_set").unwrap();
        assert_eq!(call.program.dampening_ms, Some(3000));
        assert_eq!(call.program.attribute, Some(("default_ping_set".into(), 100)));
        assert!(call.program.hosts.is_empty() && !call.daemonize && call.warnings.is_empty());
        let long = parsed("--value-multiplier=100 --attr-damp 3 --attr-name default_ping_set").unwrap();
        assert_eq!(call, long);
        let plain = parsed("").unwrap();
        assert_eq!(plain.program.dampening_ms, Some(5000));
        assert_eq!(plain.program.attribute, Some(("pingd".into(), 1)));
    }

    #[test]
    fn hosts_add_up_and_the_agent_script_is_served() {
        let call = parsed("-D -p /run/x -a pingd -d 1s -m 7 -s set -S status -h 10.0.0.1 -N GW").unwrap();
        assert_eq!(call.program.hosts, ["10.0.0.1", "gw"]);
        assert!(call.daemonize);
        assert_eq!(call.pid_file.as_deref(), Some("/run/x"));
        assert_eq!(call.warnings.len(), 2);
    }

    #[test]
    fn wrong_use_is_told_and_what_is_missing_is_refused() {
        for line in
            ["-x", "--nonsense", "--attr", "-d", "-d soon", "-d 99999999999999999999s", "-m x", "word"]
        {
            assert_eq!(parsed(line).unwrap_err().exit_code, EXIT_WRONG_USE, "{line}");
        }
        for line in ["-i 3", "--ping-attempts 5", "-t 1", "-U"] {
            let refusal = parsed(line).unwrap_err();
            assert_eq!(refusal.exit_code, EXIT_NEVER_AGAIN, "{line}");
            assert!(refusal.lines[0].contains("not supported"), "{refusal:?}");
        }
        assert_eq!(parsed("-?").unwrap_err().exit_code, 0);
        assert_eq!(parsed("--version").unwrap_err().exit_code, 0);
    }

    #[test]
    fn units_of_time() {
        let cases =
            [("0", 0), ("5", 5000), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000), ("1500us", 1)];
        for (word, ms) in cases {
            assert_eq!(time_ms(word), Some(ms), "{word}");
        }
        for word in ["", "s", "-1", "1.5", "5d", "18446744073709551615h", "86401"] {
            assert_eq!(time_ms(word), None, "{word}");
        }
    }

    #[test]
    fn pid_file_is_not_written_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(write_pid(&link).is_err() && !file.exists());
        write_pid(&file).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", std::process::id()));
    }
}
