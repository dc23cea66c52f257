//! The directives of ha.cf that guard against two owners, with what they were given (ha-guards(7)).
//! All are ours and off unless they are there.

use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use super::apply::{Fault, Word};
use super::diagnostic::{Place, Severity};
use super::ha_cf::Reader;
use super::medium::{parts, Part};
use super::settings::{AutoFailback, HaCf, TakeoverMode};
use super::value;
use crate::types::lease::{LEASE_OF_WATCHDOG, LEASE_TIME_MAX_MS};

/// `watchdog` is set to deadtime and this, rounded up to seconds.
const WATCHDOG_MARGIN_MS: u64 = 10;
/// Shortest default time of a lease: stopping resources takes some of it.
const LEASE_DEFAULT_LEAST_MS: u64 = 10_000;

/// What `ha.cf` says of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guards {
    /// `ping_arbitration`
    pub ping_arbitration: bool,
    /// `ask_before_take`
    pub ask_before_take: Option<AskBeforeTake>,
    /// `lease`
    pub lease: Option<Lease>,
    /// `arbiter`
    pub arbiter: Option<Arbiter>,
    /// `resource_fence`
    pub resource_fence: Option<ResourceFence>,
}

/// `ask_before_take on [wait=TIME] [most=TIME] [then=take|stay] [tcp=PORT]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskBeforeTake {
    /// How long answers are waited for, > 0.
    pub wait_ms: u64,
    /// How long somebody who answers is respected.
    pub most_ms: u64,
    /// After that it is taken all the same.
    pub then_take: bool,
    /// Also tried by connecting to this port.
    pub tcp_port: Option<u16>,
}

/// `lease PATH [time=TIME] [interval=TIME] [margin=TIME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// An absolute path: a file or block device that `ha guard lease-init` prepared.
    pub path: PathBuf,
    /// How long a word on the disk is worth something.
    pub time_ms: u64,
    /// From one word to the next; at most an eighth of the time.
    pub interval_ms: u64,
    /// Before the end, for the reset; after it, for clocks that do not go alike. At most a quarter of
    /// the time.
    pub margin_ms: u64,
}

/// `arbiter PROGRAM [ttl=TIME] [interval=TIME] [wait=TIME] [timeout=TIME] [unreachable=release|keep]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arbiter {
    /// An absolute path.
    pub program: PathBuf,
    /// How long the arbiter keeps a token that is not renewed; at least twice the wait.
    pub ttl_ms: u64,
    /// From one call to the next.
    pub interval_ms: u64,
    /// What the other node has for letting go.
    pub wait_ms: u64,
    /// Longest call; then it is ended.
    pub timeout_ms: u64,
    /// What is held is kept while the arbiter does not answer.
    pub keeps_unreachable: bool,
}

/// `resource_fence PROGRAM [timeout=TIME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceFence {
    /// An absolute path.
    pub program: PathBuf,
    /// Longest call; then it is ended and has failed.
    pub timeout_ms: u64,
}

impl Guards {
    /// The milliseconds after which the watchdog resets a machine whose daemon stands still.
    pub fn watchdog_ms(dead_time_ms: u64) -> u64 {
        (dead_time_ms + WATCHDOG_MARGIN_MS).div_ceil(1000) * 1000
    }

    /// The shortest time of a lease with which the watchdog resets a machine before the lease ends: it is
    /// fed for at most half of it after the last word, and a daemon that is brought back has to find out
    /// in what is left what the one before it held.
    pub fn lease_least_ms(dead_time_ms: u64) -> u64 {
        LEASE_OF_WATCHDOG * Self::watchdog_ms(dead_time_ms)
    }
}

pub(super) fn ping_arbitration(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let on = value::boolean(word.text).ok_or_else(|| {
        Fault::new(format!("`{}` is neither true nor false", word.text), "expected on or off")
    })?;
    reader.draft.settings.guards.ping_arbitration = on;
    Ok(())
}

pub(super) fn ask_before_take(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: ask_before_take on [wait=TIME] [most=TIME] [then=take|stay] [tcp=PORT]";
    let parts = parts(word.text);
    let switch = parts.first().and_then(|part| value::boolean(part.text));
    let on = switch.ok_or_else(|| Fault::new("neither on nor off", HELP))?;
    let mut ask = AskBeforeTake { wait_ms: 1_000, most_ms: 60_000, then_take: true, tcp_port: None };
    for option in parts.iter().skip(1) {
        let (name, value) = split(option, HELP)?;
        match name {
            "wait" => ask.wait_ms = time(option, value)?,
            "most" => ask.most_ms = time(option, value)?,
            "then" => ask.then_take = one_of(option, value, ["stay", "take"], HELP)?,
            "tcp" => {
                let port = value.parse().ok().filter(|port| *port > 0);
                ask.tcp_port = Some(port.ok_or_else(|| unknown(option, "a port is 1 to 65535"))?);
            }
            _ => return Err(unknown(option, HELP)),
        }
    }
    if ask.wait_ms > ask.most_ms {
        return Err(Fault::new("`wait` is longer than `most`", HELP));
    }
    reader.draft.settings.guards.ask_before_take = on.then_some(ask);
    Ok(())
}

/// Times not given are 0 until [`check`].
pub(super) fn lease(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: lease /PATH [time=TIME] [interval=TIME] [margin=TIME]";
    let parts = parts(word.text);
    let path = absolute(&parts, HELP)?;
    let mut lease = Lease { path, time_ms: 0, interval_ms: 0, margin_ms: 0 };
    for option in parts.iter().skip(1) {
        let (name, value) = split(option, HELP)?;
        match name {
            "time" => lease.time_ms = time(option, value)?,
            "interval" => lease.interval_ms = time(option, value)?,
            "margin" => lease.margin_ms = time(option, value)?,
            _ => return Err(unknown(option, HELP)),
        }
    }
    reader.draft.settings.guards.lease = Some(lease);
    Ok(())
}

/// Times not given are 0 until [`check`].
pub(super) fn arbiter(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: arbiter /PROGRAM [ttl=TIME] [interval=TIME] [wait=TIME] [timeout=TIME] \
                        [unreachable=release|keep]";
    let parts = parts(word.text);
    let program = absolute(&parts, HELP)?;
    let mut arbiter =
        Arbiter { program, ttl_ms: 0, interval_ms: 0, wait_ms: 0, timeout_ms: 0, keeps_unreachable: false };
    for option in parts.iter().skip(1) {
        let (name, value) = split(option, HELP)?;
        match name {
            "ttl" => arbiter.ttl_ms = time(option, value)?,
            "interval" => arbiter.interval_ms = time(option, value)?,
            "wait" => arbiter.wait_ms = time(option, value)?,
            "timeout" => arbiter.timeout_ms = time(option, value)?,
            "unreachable" => {
                arbiter.keeps_unreachable = one_of(option, value, ["release", "keep"], HELP)?;
            }
            _ => return Err(unknown(option, HELP)),
        }
    }
    reader.draft.settings.guards.arbiter = Some(arbiter);
    Ok(())
}

pub(super) fn resource_fence(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const HELP: &str = "expected: resource_fence /PROGRAM [timeout=TIME]";
    let parts = parts(word.text);
    let mut fence = ResourceFence { program: absolute(&parts, HELP)?, timeout_ms: 60_000 };
    for option in parts.iter().skip(1) {
        match split(option, HELP)? {
            ("timeout", value) => fence.timeout_ms = time(option, value)?,
            _ => return Err(unknown(option, HELP)),
        }
    }
    reader.draft.settings.guards.resource_fence = Some(fence);
    Ok(())
}

/// Fills in times that follow from others, and checks what only the whole file tells.
pub(super) fn check(reader: &mut Reader<'_>) {
    let settings = &mut reader.draft.settings;
    let (keepalive_ms, dead_time_ms) = (settings.keepalive_ms, settings.dead_time_ms);
    let mut wrong: Vec<(&str, String, String)> = Vec::new();
    let mut needs_sets = Vec::new();
    if let Some(lease) = &mut settings.guards.lease {
        needs_sets.push("lease");
        let least_ms = Guards::lease_least_ms(dead_time_ms).max(LEASE_DEFAULT_LEAST_MS);
        or_default(&mut lease.time_ms, least_ms);
        or_default(&mut lease.interval_ms, lease.time_ms / 10);
        or_default(&mut lease.margin_ms, lease.time_ms / 10);
        if lease.time_ms > LEASE_TIME_MAX_MS {
            let message = format!("lease: time ({} ms) is longer than a day", lease.time_ms);
            wrong.push(("lease", message, "expected at most 86400".to_owned()));
        }
        if lease.interval_ms > lease.time_ms / 8 || lease.margin_ms > lease.time_ms / 4 {
            let message = format!(
                "lease: interval ({} ms) must be at most an eighth of the time ({} ms), margin ({} ms) a \
                 quarter",
                lease.interval_ms, lease.time_ms, lease.margin_ms
            );
            wrong.push(("lease", message, "leave interval and margin out: both are a tenth".to_owned()));
        }
        if settings.nodes.len() != 2 {
            let message = format!("a lease is for two nodes, not {}", settings.nodes.len());
            wrong.push(("lease", message, "name both nodes".to_owned()));
        }
    }
    if let Some(arbiter) = &mut settings.guards.arbiter {
        needs_sets.push("arbiter");
        or_default(&mut arbiter.wait_ms, dead_time_ms + 2 * keepalive_ms);
        or_default(&mut arbiter.ttl_ms, 4 * arbiter.wait_ms);
        or_default(&mut arbiter.interval_ms, (arbiter.wait_ms / 4).max(1));
        or_default(&mut arbiter.timeout_ms, arbiter.interval_ms.max(1_000));
        if arbiter.ttl_ms < 2 * arbiter.wait_ms || arbiter.interval_ms > arbiter.wait_ms / 2 {
            let message = format!(
                "arbiter: ttl ({} ms) must be at least twice the wait ({} ms), interval ({} ms) at most half \
                 of it",
                arbiter.ttl_ms, arbiter.wait_ms, arbiter.interval_ms
            );
            wrong.push(("arbiter", message, "leave ttl and interval out".to_owned()));
        }
    }
    if settings.guards.ping_arbitration {
        needs_sets.push("ping_arbitration");
        if settings.media.iter().all(|medium| medium.ping().is_none()) {
            let message = "ping_arbitration without a ping node".to_owned();
            wrong.push(("ping_arbitration", message, "add a line such as: ping 10.0.0.254".to_owned()));
        }
    }
    if settings.auto_failback == AutoFailback::Legacy {
        for name in needs_sets {
            let message = format!("{name} does not work with the old protocol (auto_failback legacy)");
            wrong.push((name, message, "add a line: auto_failback off".to_owned()));
        }
    }
    for (directive, message, help) in wrong {
        let place = reader.given.get(directive).cloned().unwrap_or_else(Place::file);
        reader.remark(Severity::Error, place, message, help);
    }
}

/// A remark of `ha check`: severity, directive, what, and what to do.
pub(super) type Remark = (Severity, &'static str, String, String);

/// What each guard leaves open, and that there is none (ha-guards(7)).
pub(super) fn remarks(settings: &HaCf, fences: bool, is_executable: fn(&str) -> bool) -> Vec<Remark> {
    let guards = &settings.guards;
    let mut remarks: Vec<Remark> = Vec::new();
    let mut say = |severity, directive, message: String, help: &str| {
        remarks.push((severity, directive, message, help.to_owned()));
    };
    if let Some(lease) = &guards.lease {
        let least_ms = Guards::lease_least_ms(settings.dead_time_ms);
        if settings.watchdog.is_none() {
            let watchdog = if settings.watchdog_software { "watchdog device" } else { "watchdog" };
            let message = format!(
                "a lease without a {watchdog}: a host that stands still longer than the lease's time and then \
                 goes on is a second owner for a moment"
            );
            say(Severity::Warning, "lease", message, "add a line such as: watchdog /dev/watchdog");
        } else if lease.time_ms < least_ms {
            let message = format!(
                "the lease's time ({} ms) is shorter than three times the watchdog's ({} ms): it may end \
                 before the watchdog resets the host",
                lease.time_ms,
                least_ms / 3
            );
            say(Severity::Warning, "lease", message, "leave time= out, or make it longer");
        }
        let message = format!(
            "a lease counts between two nodes of this program; a takeover takes up to {} ms more",
            lease.time_ms + lease.margin_ms + lease.interval_ms
        );
        say(Severity::Hint, "lease", message, "Heartbeat 3.0.6 reads no lease and takes over all the same");
        let wrong = match lease.path.metadata().map(|found| found.file_type()) {
            Ok(kind) if kind.is_file() || kind.is_block_device() => None,
            Ok(_) => Some("is neither a file nor a block device"),
            Err(_) => Some("is not there"),
        };
        if let Some(wrong) = wrong {
            let message = format!("`{}` {wrong}: nothing will be taken over or held", lease.path.display());
            say(Severity::Warning, "lease", message, "see ha guard lease-init in ha-guards(7)");
        }
    }
    if guards.ping_arbitration && settings.dead_ping_ms > settings.dead_time_ms {
        let message = format!(
            "deadping ({} ms) is longer than deadtime ({} ms): a node that is cut off gives up only after the \
             other one has taken",
            settings.dead_ping_ms, settings.dead_time_ms
        );
        say(Severity::Warning, "ping_arbitration", message, "leave deadping out");
    }
    let arbiter = guards.arbiter.as_ref().map(|arbiter| ("arbiter", &arbiter.program));
    let fence = guards.resource_fence.as_ref().map(|fence| ("resource_fence", &fence.program));
    for (directive, program) in arbiter.into_iter().chain(fence) {
        if !program.to_str().is_some_and(is_executable) {
            let message = format!("`{}` cannot be executed", program.display());
            say(Severity::Warning, directive, message, "nothing will be taken over while it is so");
        }
    }
    let stands = guards.ping_arbitration || guards.ask_before_take.is_some() || guards.lease.is_some();
    let asks = settings.takeover == TakeoverMode::Manual;
    if !(stands || asks || fences || guards.arbiter.is_some() || guards.resource_fence.is_some()) {
        let message = "nothing but its links stands between this pair and a split brain".to_owned();
        say(Severity::Hint, "node", message, "fencing, a lease, an arbiter and more are in ha-guards(7)");
    }
    remarks
}

fn or_default(time_ms: &mut u64, default_ms: u64) {
    if *time_ms == 0 {
        *time_ms = default_ms;
    }
}

fn absolute(parts: &[Part<'_>], help: &str) -> Result<PathBuf, Fault> {
    match parts.first() {
        Some(part) if part.text.starts_with('/') && part.text.len() > 1 => Ok(part.text.into()),
        Some(part) => Err(Fault::new(format!("`{}` is no absolute path", part.text), help).part(part)),
        None => Err(Fault::new("the path is missing", help)),
    }
}

fn split<'t>(option: &Part<'t>, help: &str) -> Result<(&'t str, &'t str), Fault> {
    option.text.split_once('=').ok_or_else(|| unknown(option, help))
}

fn unknown(option: &Part<'_>, help: &str) -> Fault {
    Fault::new(format!("`{}` is not understood", option.text), help).part(option)
}

fn time(option: &Part<'_>, value: &str) -> Result<u64, Fault> {
    const HELP: &str = "expected seconds (`2`, `0.5`) or milliseconds (`1500ms`)";
    let parsed = value::time_ms(value).filter(|time| time.exact && time.value > 0);
    parsed.map(|time| time.value).ok_or_else(|| unknown(option, HELP))
}

/// Whether it is the second of two words.
fn one_of(option: &Part<'_>, value: &str, words: [&str; 2], help: &str) -> Result<bool, Fault> {
    match words.iter().position(|word| *word == value) {
        Some(place) => Ok(place == 1),
        None => Err(unknown(option, help)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ha_cf::{self, HaCfReport};
    use super::super::host::HostFacts;
    use super::super::source::Source;
    use super::*;

    fn read(lines: &str) -> HaCfReport {
        let text = format!(
            "logfacility none\nkeepalive 1\ndeadtime 10\ninitdead 30\nbcast lo\nauto_failback off\n\
             node node1 node2\n{lines}\n"
        );
        let source = Source::from_bytes(Path::new("/etc/ha.d"), "ha.cf", text.as_bytes());
        let host = HostFacts { node_name: "node1".to_owned(), ..HostFacts::gather() };
        ha_cf::read(&source, "node1", &host)
    }

    fn guards(lines: &str) -> Guards {
        let report = read(lines);
        assert!(report.is_good(), "{lines}: {:?}", report.diagnostics);
        report.settings.guards
    }

    #[test]
    fn times_follow_from_deadtime() {
        assert_eq!(guards(""), Guards::default());
        let lease = guards("lease /dev/lease").lease.unwrap();
        // The watchdog has 11 s.
        assert_eq!((lease.time_ms, lease.interval_ms, lease.margin_ms), (33_000, 3_300, 3_300));
        let lease = guards("lease /dev/lease time=60 interval=2500ms margin=15").lease.unwrap();
        assert_eq!((lease.time_ms, lease.interval_ms, lease.margin_ms), (60_000, 2_500, 15_000));
        let arbiter = guards("arbiter /arbiter").arbiter.unwrap();
        assert_eq!((arbiter.wait_ms, arbiter.ttl_ms), (12_000, 48_000));
        assert_eq!((arbiter.interval_ms, arbiter.timeout_ms), (3_000, 3_000));
        assert!(guards("arbiter /arbiter unreachable=keep").arbiter.unwrap().keeps_unreachable);
        let ask = guards("ask_before_take on wait=500ms most=2 then=stay tcp=80").ask_before_take.unwrap();
        assert_eq!((ask.wait_ms, ask.most_ms, ask.then_take, ask.tcp_port), (500, 2_000, false, Some(80)));
        assert_eq!(guards("ask_before_take off").ask_before_take, None);
        assert_eq!(guards("resource_fence /cut timeout=9").resource_fence.unwrap().timeout_ms, 9_000);
        assert!(guards("ping 127.0.0.1\nping_arbitration on").ping_arbitration);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "lease",
            "lease relative",
            "lease /",
            "lease /dev/lease time",
            "lease /dev/lease time=0",
            "lease /dev/lease time=1h",
            "lease /dev/lease colour=red",
            "lease /dev/lease time=86401",
            "lease /dev/lease time=10 interval=2",
            "lease /dev/lease time=10 margin=3",
            "lease /dev/lease\nnode node3",
            "lease /dev/lease\nauto_failback legacy",
            "arbiter x",
            "arbiter /x unreachable=perhaps",
            "arbiter /x ttl=10 wait=6",
            "arbiter /x wait=10 interval=6",
            "ask_before_take",
            "ask_before_take perhaps",
            "ask_before_take on tcp=0",
            "ask_before_take on tcp=70000",
            "ask_before_take on then=run",
            "ask_before_take on wait=2 most=1",
            "resource_fence",
            "resource_fence /x 9",
            "ping_arbitration on",
            "ping_arbitration perhaps",
        ] {
            assert!(!read(line).is_good(), "{line}");
        }
    }

    #[test]
    fn what_is_left_open_is_said() {
        let said = |lines: &str| -> String {
            let remarks = remarks(&read(lines).settings, false, |_| true);
            remarks.into_iter().map(|(severity, _, message, _)| format!("{severity:?} {message}\n")).collect()
        };
        assert!(said("").contains("nothing but its links"));
        let lease = said("lease /dev/null");
        assert!(lease.contains("without a watchdog") && !lease.contains("nothing but"), "{lease}");
        let fine = said("lease /etc/passwd\nwatchdog /dev/watchdog");
        assert!(!fine.contains("Warning"), "{fine}");
        assert!(lease.contains("neither a file nor a block device"), "{lease}");
        assert!(said("lease /nonexistent").contains("`/nonexistent` is not there"));
        // A person stands there; a time or the watchdog alone does not.
        assert!(!said("takeover manual").contains("nothing but"));
        assert!(said("takeover delay 60").contains("nothing but its links"));
        assert!(said("watchdog software\nwatchdog_wait on").contains("nothing but its links"));
        let software = said("lease /dev/null\nwatchdog software");
        assert!(software.contains("a lease without a watchdog device:"), "{software}");
        let short = said("lease /dev/null time=20\nwatchdog /dev/watchdog");
        assert!(short.contains("shorter than three times the watchdog's (11000 ms)"), "{short}");
        assert!(said("ping 127.0.0.1\nping_arbitration on\ndeadping 20").contains("longer than deadtime"));
    }
}
