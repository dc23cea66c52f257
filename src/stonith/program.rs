//! The program `stonith` (agents spec 3.1): options, order of what is done, texts and exit codes are
//! those of the original.

use std::io::{self, Write};
use std::path::Path;

use super::device::{Action, Code, Device, Unconfigured, Values};
use super::{answer, help, list, messages, parameters, Kind};
use crate::sys::getopt::Options;
use crate::sys::print;

/// The version of cluster-glue whose command line this is.
const VERSION: &str = "1.0.12";

/// Runs the program with these words; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let name = called_as.rsplit('/').next().unwrap_or(called_as);
    let request = match Request::parse(called_as, words) {
        Ok(request) => request,
        Err(complaint) => {
            complaint.texts.iter().for_each(|text| print::error_line(text));
            if complaint.shows_usage {
                let _ = io::stderr().write_all(help::usage(name).as_bytes());
            }
            return Code::BAD_CONFIG.0;
        }
    };
    hide_values(name, &request);
    if request.debug && std::env::var_os("HA_debug").is_none() {
        // Plugins of the original show more then.
        std::env::set_var("HA_debug", "2");
    }
    messages::install(request.debug);
    if request.asks_help || request.lists_types {
        // As the original: what plugins have to complain of, `-n` and `-m` of their type show.
        log::set_max_level(log::LevelFilter::Off);
    }
    answer::end_with_asker();
    let result = run(name, &request);
    result.err().map_or(0, |code| code.0)
}

/// Where the values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Text(String),
    File(String),
    Environment,
    Named(Vec<(String, String)>),
    Nothing,
}

/// The command line, sorted out.
struct Request {
    device: Option<String>,
    source: Source,
    action: Action,
    node: Option<String>,
    count: i32,
    lists_hosts: bool,
    asks_status: bool,
    lists_types: bool,
    lists_names: bool,
    shows_meta_data: bool,
    asks_help: bool,
    asks_version: bool,
    silent: bool,
    debug: bool,
}

/// What is wrong with a command line.
struct Complaint {
    texts: Vec<String>,
    shows_usage: bool,
}

/// A complaint with the usage behind it.
fn usage(text: impl Into<String>) -> Complaint {
    Complaint { texts: vec![text.into()], shows_usage: true }
}

impl Request {
    fn parse(called_as: &str, words: &[String]) -> Result<Self, Complaint> {
        let mut options = Options::parse(called_as, words, "c:F:p:t:T:EsnSlLmvhVd");
        if !options.errors.is_empty() {
            return Err(Complaint { texts: options.errors, shows_usage: true });
        }
        let (mut action, mut count) = (Action::Reset, 1);
        // Each one counts, not the last alone: what was meant is not for this program to guess.
        for (letter, word) in &options.flags {
            match letter {
                'T' => {
                    action =
                        Action::from_word(word).ok_or_else(|| usage(format!("bad reset type [{word}]")))?
                }
                'c' => count = positive(word).ok_or_else(|| usage(format!("bad count [{word}]")))?,
                _ => {}
            }
        }
        let source = Self::source(&mut options)?;
        let has = |letter| options.has(letter);
        let request = Self {
            device: options.argument('t').map(str::to_owned),
            source,
            action,
            node: options.parameters.first().map(|name| name.to_ascii_lowercase()),
            count,
            lists_hosts: has('l'),
            asks_status: has('S'),
            lists_types: has('L'),
            lists_names: has('n'),
            shows_meta_data: has('m'),
            asks_help: has('h'),
            asks_version: has('V'),
            silent: has('s'),
            debug: has('d'),
        };
        let without_node = request.asks_status
            || request.lists_hosts
            || request.lists_types
            || request.lists_names
            || request.shows_meta_data;
        let answers = request.asks_help || request.asks_version;
        let enough = options.parameters.len() == 1 || (options.parameters.is_empty() && without_node);
        if answers || enough {
            Ok(request)
        } else {
            Err(Complaint { texts: Vec::new(), shows_usage: true })
        }
    }

    fn source(options: &mut Options) -> Result<Source, Complaint> {
        // Behind the node there are no more values.
        let named = options.parameters.iter().take_while(|word| word.contains('=')).count();
        let named: Vec<String> = options.parameters.drain(..named).collect();
        let ways = ['p', 'F', 'E'].iter().filter(|letter| options.has(**letter)).count();
        if ways > 1 {
            return Err(usage("Please use just one of -F, -p, and -E options"));
        }
        if ways > 0 && !named.is_empty() {
            return Err(usage("Cannot mix name=value and -p, -F, or -E style arguments"));
        }
        if named.len() > parameters::NAMED_MAX {
            let texts = vec!["Too many name=value style arguments".into()];
            return Err(Complaint { texts, shows_usage: false });
        }
        let split = |word: String| word.split_once('=').map(|(name, value)| (name.into(), value.into()));
        Ok(if let Some(text) = options.argument('p') {
            Source::Text(text.to_owned())
        } else if let Some(path) = options.argument('F') {
            Source::File(path.to_owned())
        } else if options.has('E') {
            Source::Environment
        } else if !named.is_empty() {
            Source::Named(named.into_iter().filter_map(split).collect())
        } else {
            Source::Nothing
        })
    }
}

/// A count, as the C library reads a number: what follows it does not count, and 32 bits of it are left.
fn positive(word: &str) -> Option<i32> {
    let word = word.trim_start();
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    // More than 64 bits are none: as the largest number, whose last 32 bits are -1.
    let number: i64 = word[..word.len() - digits.len() + end].parse().ok()?;
    Some(number as i32).filter(|number| *number >= 1)
}

/// Process lists show no values: one of them may be a password.
fn hide_values(name: &str, request: &Request) {
    if matches!(request.source, Source::Text(_) | Source::Named(_)) {
        let device = request.device.as_deref().unwrap_or_default();
        let node = request.node.as_deref().unwrap_or_default();
        let action = request.action.as_str();
        crate::sys::process::set_title(name, &format!("{name} -t {device} ... -T {action} {node}"));
    }
}

fn run(name: &str, request: &Request) -> Result<(), Code> {
    if request.asks_version {
        print::line(&format!("stonith: {VERSION} (ha {})", env!("CARGO_PKG_VERSION")));
        return Ok(());
    }
    if request.asks_help {
        help::show(name, request.device.as_deref());
        return Ok(());
    }
    if request.lists_types {
        list().iter().for_each(|name| print::line(name));
        return Ok(());
    }
    let Some(device) = request.device.as_deref() else {
        log::error!("Must specify device type (-t option)");
        let _ = io::stderr().write_all(help::usage(name).as_bytes());
        return Err(Code::BAD_CONFIG);
    };
    let Some(kind) = Kind::find(device) else {
        log::error!("Invalid device type: '{device}'");
        return Err(Code::OTHER);
    };
    if request.lists_names {
        let names = kind.parameters().unwrap_or_default();
        print::line(&names.iter().map(|name| format!("{name}  ")).collect::<String>());
        return Ok(());
    }
    if request.shows_meta_data {
        print::line(&help::meta_data(device, &kind));
        return Ok(());
    }
    let configured = configure(name, device, &kind, &request.source)?;
    carry_out(device, configured, request)
}

/// The device with its values. `None`: they were rejected and the rest is tried all the same, as the
/// original does where they were given by position.
fn configure(
    name: &str,
    device: &str,
    kind: &Kind,
    source: &Source,
) -> Result<Option<Box<dyn Device>>, Code> {
    let values = match source {
        Source::Named(pairs) => Values::new(pairs.clone()),
        Source::Environment => {
            let Some(names) = kind.parameters() else {
                print::error_line(&format!("Invalid config info for {device} device."));
                return Err(Code::BAD_CONFIG);
            };
            parameters::from_environment(&names, |name| std::env::var(name).ok())
        }
        Source::Text(text) => {
            let names = kind.parameters();
            let values = names.as_ref().and_then(|names| parameters::positional(names, text));
            values.ok_or_else(|| {
                // Without names any of them may be one.
                let secret = names.is_none_or(|names| names.iter().any(|name| parameters::is_secret(name)));
                let shown = if secret && !text.is_empty() { "..." } else { text };
                print::error_line(&format!("Invalid STONITH -p parameter [{shown}]"));
                Code::BAD_CONFIG
            })?
        }
        Source::File(path) => read_file(device, kind, path)?,
        Source::Nothing if kind.parameters().is_some_and(|names| names.is_empty()) => Values::default(),
        Source::Nothing => {
            print::error_line(
                "Must specify either -p option, -F option, -E option, or name=value style arguments",
            );
            let _ = io::stderr().write_all(help::usage(name).as_bytes());
            return Err(Code::BAD_CONFIG);
        }
    };
    let checked = match source {
        Source::Named(_) => kind.names_for(&values),
        _ => Ok(()),
    };
    match (checked.and_then(|()| kind.configure(&values)), source) {
        (Ok(configured), _) => Ok(Some(configured)),
        (Err(_), Source::File(_)) => {
            log::error!("Invalid config file for {device} device.");
            Err(Code::BAD_CONFIG)
        }
        (Err(failure), Source::Named(_)) => {
            print::error_line(&format!("Invalid config info for {device} device"));
            if let Some(names) = kind.parameters() {
                print::error_line("Valid config names are:");
                names.iter().for_each(|name| print::error_line(&format!("\t{name}")));
            }
            Err(failure.code)
        }
        (Err(_), _) => {
            print::error_line(&format!("Invalid config info for {device} device"));
            Ok(None)
        }
    }
}

fn read_file(device: &str, kind: &Kind, path: &str) -> Result<Values, Code> {
    let line = parameters::first_line(Path::new(path)).unwrap_or_else(|error| {
        if error.raw_os_error() != Some(libc::EISDIR) {
            log::warn!(target: "CRIT", "Cannot open {path}");
        }
        None
    });
    let values = line.and_then(|line| parameters::positional(&kind.parameters()?, &line));
    values.ok_or_else(|| {
        log::error!("Invalid config file for {device} device.");
        Code::BAD_CONFIG
    })
}

/// Status, hosts and action, in this order, as often as wanted. What comes last decides the code; a list
/// decides only when it fails.
fn carry_out(device: &str, configured: Option<Box<dyn Device>>, request: &Request) -> Result<(), Code> {
    let mut configured = configured.unwrap_or_else(|| Box::new(Unconfigured));
    let mut result = Ok(());
    for _ in 0..request.count {
        if request.asks_status {
            result = configured.status().map_err(|failure| {
                answer::failed(&failure);
                failure.code
            });
            say_status(device, request.silent, result.is_ok());
        }
        if request.lists_hosts {
            match configured.hosts() {
                // A status that failed is none the better for it.
                Ok(hosts) => hosts.iter().for_each(|host| print::line(host)),
                Err(_) => {
                    log::error!("Could not list hosts for {device}.");
                    result = Err(Code::NO_LIST);
                }
            }
        }
        if let Some(node) = &request.node {
            result = configured.request(request.action, node).map_err(|failure| {
                answer::failed(&failure);
                failure.code
            });
        }
    }
    result
}

fn say_status(device: &str, silent: bool, fine: bool) {
    use std::io::IsTerminal;
    match (silent, fine) {
        (true, _) => {}
        (false, false) => log::error!("{device} device not accessible."),
        // Asked again and again by a program, this is no news.
        (false, true) if !io::stdin().is_terminal() => log::debug!("{device} device OK."),
        (false, true) => log::info!("{device} device OK."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_c_library_reads_them() {
        assert_eq!(positive("2x"), Some(2));
        assert_eq!(positive(" +2"), Some(2));
        assert_eq!(positive("4294967297"), Some(1));
        for wrong in ["-3", "0", "x", "2147483648", "4294967296", "99999999999999999999"] {
            assert_eq!(positive(wrong), None, "{wrong}");
        }
    }
}
