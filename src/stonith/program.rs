//! The program `stonith` (agents spec 3.1): options, order of what is done, texts and exit codes are
//! those of the original.

use std::io::{self, Write};
use std::path::Path;

use super::device::{Action, Code, Device, Failure, Values};
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
        Err(complaints) => {
            complaints.iter().for_each(|text| print::error_line(text));
            let _ = io::stderr().write_all(help::usage(name).as_bytes());
            return Code::BAD_CONFIG.0;
        }
    };
    hide_values(name, &request);
    if request.debug && std::env::var_os("HA_debug").is_none() {
        // Plugins of the original show more then.
        std::env::set_var("HA_debug", "2");
    }
    messages::install(request.debug);
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
    count: i64,
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

impl Request {
    /// The error is what stands in front of the usage.
    fn parse(called_as: &str, words: &[String]) -> Result<Self, Vec<String>> {
        let mut options = Options::parse(called_as, words, "c:F:p:t:T:EsnSlLmvhVd");
        if !options.errors.is_empty() {
            return Err(options.errors);
        }
        let action = match options.argument('T') {
            None => Action::Reset,
            Some(word) => Action::from_word(word).ok_or_else(|| vec![format!("bad reset type [{word}]")])?,
        };
        let count = match options.argument('c') {
            None => 1,
            Some(word) => leading_number(word)
                .filter(|count| *count >= 1)
                .ok_or_else(|| vec![format!("bad count [{word}]")])?,
        };
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
        let typed = request.device.is_some() || request.lists_types;
        if answers || (enough && typed) {
            Ok(request)
        } else {
            Err(Vec::new())
        }
    }

    fn source(options: &mut Options) -> Result<Source, Vec<String>> {
        let (named, others): (Vec<String>, Vec<String>) =
            std::mem::take(&mut options.parameters).into_iter().partition(|word| word.contains('='));
        options.parameters = others;
        if named.len() > parameters::NAMED_MAX {
            return Err(vec!["Too many name=value style arguments".into()]);
        }
        let ways = ['p', 'F', 'E'].iter().filter(|letter| options.has(**letter)).count();
        if ways > 1 {
            return Err(vec!["Please use just one of -F, -p, and -E options".into()]);
        }
        if ways > 0 && !named.is_empty() {
            return Err(vec!["Cannot mix name=value and -p, -F, or -E style arguments".into()]);
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

/// As the C library reads a number: what follows it does not count.
fn leading_number(word: &str) -> Option<i64> {
    let word = word.trim_start();
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    word[..word.len() - digits.len() + end].parse().ok()
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
    let device = request.device.as_deref().unwrap_or_default();
    let Some(kind) = Kind::find(device) else {
        log::error!("Invalid device type: '{device}'");
        return Err(Code::OTHER);
    };
    if request.lists_names {
        let names: String = kind.parameters().iter().map(|name| format!("{name}  ")).collect();
        print::line(&names);
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
            parameters::from_environment(&kind.parameters(), |name| std::env::var(name).ok())
        }
        Source::Text(text) => {
            let names = kind.parameters();
            parameters::positional(&names, text).ok_or_else(|| {
                let shown = if names.iter().any(|name| parameters::is_secret(name)) { "..." } else { text };
                print::error_line(&format!("Invalid STONITH -p parameter [{shown}]"));
                Code::BAD_CONFIG
            })?
        }
        Source::File(path) => read_file(device, kind, path)?,
        Source::Nothing if kind.parameters().is_empty() => Values::default(),
        Source::Nothing => {
            print::error_line(
                "Must specify either -p option, -F option, -E option, or name=value style arguments",
            );
            let _ = io::stderr().write_all(help::usage(name).as_bytes());
            return Err(Code::BAD_CONFIG);
        }
    };
    match (kind.configure(&values), source) {
        (Ok(configured), _) => Ok(Some(configured)),
        (Err(_), Source::File(_)) => {
            log::error!("Invalid config file for {device} device.");
            Err(Code::BAD_CONFIG)
        }
        (Err(failure), Source::Named(_)) => {
            print::error_line(&format!("Invalid config info for {device} device"));
            print::error_line("Valid config names are:");
            kind.parameters().iter().for_each(|name| print::error_line(&format!("\t{name}")));
            Err(failure.code)
        }
        (Err(_), _) => {
            print::error_line(&format!("Invalid config info for {device} device"));
            Ok(None)
        }
    }
}

fn read_file(device: &str, kind: &Kind, path: &str) -> Result<Values, Code> {
    let line = parameters::first_line(Path::new(path)).unwrap_or_else(|_| {
        log::warn!(target: "CRIT", "Cannot open {path}");
        None
    });
    line.and_then(|line| parameters::positional(&kind.parameters(), &line)).ok_or_else(|| {
        log::error!("Invalid config file for {device} device.");
        Code::BAD_CONFIG
    })
}

/// Status, hosts and action, in this order, as often as wanted. What comes last decides the code.
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
            result = match configured.hosts() {
                Ok(hosts) => {
                    hosts.iter().for_each(|host| print::line(host));
                    Ok(())
                }
                Err(_) => {
                    log::error!("Could not list hosts for {device}.");
                    Err(Code::NO_LIST)
                }
            };
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

/// A device whose values were rejected.
struct Unconfigured;

impl Device for Unconfigured {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        Err(not_configured())
    }

    fn status(&mut self) -> Result<(), Failure> {
        Err(not_configured())
    }

    fn request(&mut self, _: Action, _: &str) -> Result<(), Failure> {
        Err(not_configured())
    }
}

fn not_configured() -> Failure {
    Failure::silent(Code::INVALID, "the device is not configured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_c_library_reads_them() {
        assert_eq!(leading_number("2x"), Some(2));
        assert_eq!(leading_number("-3"), Some(-3));
        assert_eq!(leading_number("x"), None);
        assert_eq!(leading_number("99999999999999999999"), None);
    }
}
