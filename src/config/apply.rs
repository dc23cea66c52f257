//! What each directive of ha.cf does with one argument. The media are in [`super::medium`].
//!
//! A function checks one argument and writes it into the draft, or says what is wrong: in our
//! words for people, and in the original's words for the log where the original has any.

use super::diagnostic::{Place, Severity};
use super::ha_cf::Reader;
use super::medium::Part;
use super::settings::{AutoFailback, AutoJoin, Compression, HaCf, MediumConfig, MessageFormat};
use super::value::{self, Parsed};
use super::LogLine;
use crate::types::{LogLevel, NodeName};

/// Most nodes in one ha.cf (messaging spec 5.2).
pub const NODES_MAX: usize = 100;

/// `baud` when it is not given (messaging spec 5.2).
pub(super) const BAUD_DEFAULT: u32 = 19200;

/// Most `env` variables.
const ENVIRONMENT_MAX: usize = 500;

/// A function of the table.
pub(super) type Apply = fn(&mut Reader<'_>, &Word<'_>) -> Result<(), Fault>;

/// One argument and where it stands; line 0 for a default.
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    pub(super) line: usize,
    /// Byte offset in the line.
    pub(super) start: usize,
}

/// Why an argument is refused.
pub(super) struct Fault {
    /// The original's lines; often none.
    pub(super) log: Vec<LogLine>,
    pub(super) message: String,
    pub(super) help: String,
    /// The bytes of the argument it is about, when not all.
    pub(super) part: Option<(usize, usize)>,
    /// The value is right, but this release does not do it.
    pub(super) unsupported: bool,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        let (message, help) = (message.into(), help.into());
        Self { log: Vec::new(), message, help, part: None, unsupported: false }
    }

    /// It is about that part of the argument.
    pub(super) fn part(mut self, part: &Part<'_>) -> Self {
        self.part = Some((part.start, part.start + part.text.len()));
        self
    }

    /// Adds an ERROR line of the original.
    pub(super) fn error(self, text: impl Into<String>) -> Self {
        self.line(LogLevel::Error, text)
    }

    /// Adds a line of the original.
    pub(super) fn line(mut self, level: LogLevel, text: impl Into<String>) -> Self {
        self.log.push((level, text.into()));
        self
    }
}

/// The values read so far, before the checks across directives.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) settings: HaCf,
    /// `warntime`, `initdead`, `deadping` when given.
    pub(super) warn_time_ms: Option<u64>,
    pub(super) init_dead_ms: Option<u64>,
    pub(super) dead_ping_ms: Option<u64>,
    pub(super) udp_port_given: bool,
    /// `own_addresses` when given.
    pub(super) own_addresses: Option<bool>,
    /// `use_logd` when given.
    pub(super) use_logd: Option<bool>,
    /// `baud` as far as read.
    pub(super) baud: Option<u32>,
    pub(super) media_places: Vec<Place>,
    pub(super) monitor_places: Vec<Place>,
    baud_given: bool,
    pacemaker_given: bool,
}

impl Draft {
    /// Keeps a value for scripts and clients; the last one counts, at the place of the first.
    pub(super) fn record(&mut self, name: &str, value: &str) {
        let recorded = &mut self.settings.recorded;
        match recorded.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_owned(),
            None => recorded.push((name.to_owned(), value.to_owned())),
        }
    }
}

const BOOLEAN: &str = "expected on, yes, true, y, 1 or off, no, false, n, 0";
const TIME: &str = "expected seconds (`2`, `0.5`) or milliseconds (`1500ms`), without a blank between \
                    number and unit";

pub(super) fn boolean(word: &Word<'_>) -> Result<bool, Fault> {
    value::boolean(word.text)
        .ok_or_else(|| Fault::new(format!("`{}` is neither true nor false", word.text), BOOLEAN))
}

fn time(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<u64, Fault> {
    let fault = || Fault::new(format!("`{}` is not a time", word.text), TIME);
    let time = value::time_ms(word.text).ok_or_else(fault)?;
    let read_as = format!("{} ms", time.value);
    Ok(said_when_inexact(reader, word, time, &read_as))
}

fn positive_time(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<u64, Fault> {
    match time(reader, word)? {
        0 => Err(Fault::new(format!("`{}` is less than a millisecond", word.text), TIME)),
        time => Ok(time),
    }
}

/// A number within limits. As in the original what follows the digits is ignored, and no digits at
/// all are 0; both with a warning.
fn number(reader: &mut Reader<'_>, word: &Word<'_>, from: i64, to: i64) -> Result<i64, Fault> {
    let parsed = value::integer(word.text).unwrap_or(Parsed { value: 0, exact: false });
    if !(from..=to).contains(&parsed.value) {
        let help = format!("expected a number from {from} to {to}");
        return Err(Fault::new(format!("`{}` is out of range", word.text), help));
    }
    let read_as = parsed.value.to_string();
    Ok(said_when_inexact(reader, word, parsed, &read_as))
}

fn said_when_inexact<T>(reader: &mut Reader<'_>, word: &Word<'_>, parsed: Parsed<T>, read_as: &str) -> T {
    if !parsed.exact {
        let message = format!("`{}` is read as {read_as}", word.text);
        reader.remark(Severity::Warning, reader.place(word), message, "write just the value".into());
    }
    parsed.value
}

/// Ours. The value as typed reaches the children that work on groups.
pub(super) fn parallel_groups(_reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    boolean(word).map(drop)
}

pub(super) fn cluster(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.cluster = word.text.to_owned();
    Ok(())
}

pub(super) fn hopfudge(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.hop_fudge = number(reader, word, 0, 255)? as u8;
    Ok(())
}

pub(super) fn keepalive(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.keepalive_ms = positive_time(reader, word)?;
    Ok(())
}

pub(super) fn deadtime(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.dead_time_ms = time(reader, word)?;
    Ok(())
}

pub(super) fn warntime(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let said = |fault: Fault| fault.error(format!("Warn time [{}] is invalid.", word.text));
    reader.draft.warn_time_ms = Some(positive_time(reader, word).map_err(said)?);
    Ok(())
}

pub(super) fn initdead(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.init_dead_ms = Some(time(reader, word)?);
    Ok(())
}

pub(super) fn deadping(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.dead_ping_ms = Some(time(reader, word)?);
    Ok(())
}

pub(super) fn baud(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const RATES: [&str; 7] = ["9600", "19200", "38400", "57600", "115200", "230400", "460800"];
    if std::mem::replace(&mut reader.draft.baud_given, true) {
        return Err(Fault::new("`baud` is given a second time", "only one rate is possible")
            .error("heartbeat: Baudrate multiply specified."));
    }
    if let Some(rate) = RATES.iter().find(|rate| **rate == word.text) {
        reader.draft.baud = rate.parse().ok();
        say_if_late(reader, word);
        return Ok(());
    }
    let help = format!("expected one of {}", RATES.join(", "));
    Err(Fault::new(format!("`{}` is not a baud rate", word.text), help)
        .error(format!("heartbeat: invalid baudrate [{}] specified.", word.text)))
}

/// A serial line takes the rate that stands before it; so does the original.
fn say_if_late(reader: &mut Reader<'_>, word: &Word<'_>) {
    let is_serial = |medium: &MediumConfig| matches!(medium, MediumConfig::Serial { .. });
    if word.line > 0 && reader.draft.settings.media.iter().any(is_serial) {
        let message = "the serial lines above do not have this rate".to_owned();
        let help = "put baud before serial".to_owned();
        reader.remark(Severity::Warning, reader.place(word), message, help);
    }
}

pub(super) fn udpport(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let said = |fault: Fault| fault.error(format!("heartbeat: invalid port [{}] specified.", word.text));
    let port = number(reader, word, 1, 65535).map_err(said)? as u16;
    if let Some(service) = reader.host.udp_service(port).filter(|service| *service != "ha-cluster") {
        let message = format!("port {port} is reserved for the service {service}");
        let text = format!("heartbeat: udp port {} reserved for service \"{service}\".", word.text);
        reader.log(LogLevel::Warning, text);
        reader.remark(Severity::Warning, reader.place(word), message, String::new());
    }
    reader.draft.settings.udp_port = port;
    reader.draft.udp_port_given = true;
    Ok(())
}

pub(super) fn auto_failback(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let mode = match value::boolean(word.text) {
        Some(true) => AutoFailback::On,
        Some(false) => AutoFailback::Off,
        None if word.text.eq_ignore_ascii_case("legacy") => AutoFailback::Legacy,
        None => {
            return Err(Fault::new(
                format!("`{}` is no kind of failback", word.text),
                "expected on (groups go home), off (they stay) or legacy",
            ))
        }
    };
    reader.draft.settings.auto_failback = mode;
    Ok(())
}

/// Obsolete; an ERROR line, but no reason not to start (resources spec 1.11).
pub(super) fn nice_failback(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    const FIRST: &str = "nice_failback flag is obsolete.. Use auto_failback {on, off, legacy} instead.";
    const LAST: &str = "See documentation for details.";
    let text = word.text;
    if let Err(fault) = boolean(word) {
        return Err(fault.error(FIRST).error(LAST));
    }
    reader.log(LogLevel::Error, FIRST);
    let legacy = reader.draft.settings.auto_failback == AutoFailback::Legacy;
    if legacy {
        let read = format!("nice_failback {text} has been strictly interpreted as 'auto_failback legacy'");
        reader.log(LogLevel::Error, read);
        reader.log(LogLevel::Error, "Consider converting to 'auto_failback on'.");
        reader.log(LogLevel::Error, "When you do, then you can use ipfail, and hb_standby");
    } else {
        let read = format!("'nice_failback {text}' has been changed to 'auto_failback off'");
        reader.log(LogLevel::Error, read);
        reader.draft.settings.auto_failback = AutoFailback::Off;
    }
    reader.log(LogLevel::Error, LAST);
    let message = format!(
        "`nice_failback` is obsolete and is read as `auto_failback {}`",
        if legacy { "legacy" } else { "off" }
    );
    let help = "write auto_failback on or auto_failback off instead".to_owned();
    reader.remark(Severity::Warning, reader.place(word), message, help);
    Ok(())
}

pub(super) fn hbgenmethod(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.generation_from_time = one_of(word, &[("file", false), ("time", true)])
        .map_err(|fault| fault.error(format!("Illegal hb generation method [{}]", word.text)))?;
    Ok(())
}

pub(super) fn uuidfrom(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.uuid_from_name = one_of(word, &[("file", false), ("nodename", true)])
        .map_err(|fault| fault.error(format!("Invalid uuidfrom directive [{}]", word.text)))?;
    Ok(())
}

pub(super) fn msgfmt(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let formats = [("classic", MessageFormat::Classic), ("netstring", MessageFormat::Netstring)];
    reader.draft.settings.message_format = one_of(word, &formats)?;
    Ok(())
}

pub(super) fn compression(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let modules = [("zlib", Compression::Zlib), ("bz2", Compression::Bzip2)];
    reader.draft.settings.compression = one_of(word, &modules)
        .map_err(|fault| fault.error(format!("Compression module({}) not found", word.text)))?;
    Ok(())
}

/// One of some words, case counts.
fn one_of<T: Copy>(word: &Word<'_>, choices: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word.text) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(Fault::new(format!("`{}` is not known here", word.text), format!("expected {}", names.join(" or "))))
}

pub(super) fn compression_threshold(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let said = |fault: Fault| {
        fault.error(format!("set_compression_threshold: compress_threshhold({}) invalid", word.text))
    };
    // more than the largest message would never apply
    reader.draft.settings.compression_threshold_kib =
        number(reader, word, 1, 1024 * 1024).map_err(said)? as u32;
    Ok(())
}

pub(super) fn traditional_compression(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.traditional_compression = boolean(word).map_err(|fault| {
        fault.error(format!("set_traditional_compression:Invalid directive value {}", word.text))
    })?;
    Ok(())
}

pub(super) fn max_rexmit_delay(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let said = |fault: Fault| fault.error(format!("Invalid max_rexmit_delay time({})", word.text));
    // the largest delay is a day; the value is in milliseconds without a unit
    reader.draft.settings.max_rexmit_delay_ms = number(reader, word, 1, 86_400_000).map_err(said)? as u64;
    Ok(())
}

/// Directives that only mean something to pacemaker: checked, without effect here.
pub(super) fn pacemaker_only(_: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    boolean(word).map(drop).map_err(|fault| {
        fault.error(format!("ha_config_check_boolean:Invalid directive value {}", word.text))
    })
}

pub(super) fn pacemaker(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    if std::mem::replace(&mut reader.draft.pacemaker_given, true) && word.line > 0 {
        return Err(Fault::new("`pacemaker` or `crm` is given a second time", "one line is enough")
            .error("pacemaker/crm directive used multiple times!"));
    }
    reader.log(LogLevel::Info, format!("Pacemaker support: {}", word.text));
    match value::boolean(word.text) {
        Some(false) => Ok(()),
        Some(true) => Err(not_here("pacemaker is not supported: resources are managed by haresources")),
        None if matches!(word.text, "respawn" | "manual") => {
            Err(not_here("pacemaker is not supported: resources are managed by haresources"))
        }
        None => boolean(word).map(drop),
    }
}

fn not_here(message: &str) -> Fault {
    let mut fault = Fault::new(message, "take the line out");
    fault.unsupported = true;
    let log = message.to_owned();
    fault.error(log)
}

/// Other values than none conflict with haresources, which is looked at later ([`super::examine`]).
pub(super) fn autojoin(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let ways = [("none", AutoJoin::None), ("other", AutoJoin::Other), ("any", AutoJoin::Any)];
    let way = ways.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.text));
    let (_, way) = way.ok_or_else(|| {
        let text = word.text;
        Fault::new(format!("`{text}` is no way to join"), "expected none, other or any")
            .error(format!("Invalid autojoin directive [{text}]"))
    })?;
    reader.draft.settings.auto_join = *way;
    Ok(())
}

pub(super) fn realtime(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.realtime = boolean(word)?;
    Ok(())
}

pub(super) fn rtprio(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let said = |fault: Fault| fault.error(format!("Illegal realtime priority [{}]", word.text));
    reader.draft.settings.realtime_priority = number(reader, word, 1, 99).map_err(said)? as u8;
    Ok(())
}

pub(super) fn memreserve(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    // up to 1 GiB
    number(reader, word, 1, 1024 * 1024)?;
    if word.line > 0 {
        let message = "`memreserve` reserves nothing here";
        let help = "all memory is locked and everything that grows has a limit; the line may stay";
        reader.remark(Severity::Hint, reader.place(word), message.into(), help.into());
    }
    Ok(())
}

pub(super) fn coredumps(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.core_dumps = boolean(word)?;
    Ok(())
}

pub(super) fn coreroot(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let text = word.text;
    if !text.starts_with('/') {
        return Err(Fault::new(format!("`{text}` is not a full path"), "expected a path from the root")
            .error(format!("Invalid dir in cl_set_corerootdir() [{text}]: No such file or directory"))
            .error(format!("Invalid core directory [{text}]: Invalid argument")));
    }
    reader.draft.settings.core_root = Some(text.into());
    Ok(())
}

pub(super) fn log_badpack(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.log_bad_packets = boolean(word)?;
    Ok(())
}

pub(super) fn syslogmsgfmt(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.log.syslog_format = boolean(word)?;
    Ok(())
}

pub(super) fn conn_logd_time(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.log.logd_retry_ms = positive_time(reader, word)?;
    Ok(())
}

pub(super) fn use_logd(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let wanted = boolean(word)?;
    reader.draft.use_logd = Some(wanted);
    if wanted {
        enable_logd(reader);
    } else {
        reader.draft.settings.log.use_logd = false;
        reader.log(LogLevel::Warning, LOGD_DISABLED);
    }
    Ok(())
}

/// For `use_logd` and for a file that names no target at all.
pub(super) fn enable_logd(reader: &mut Reader<'_>) {
    reader.draft.settings.log.use_logd = true;
    reader.log(LogLevel::Info, "Enabling logging daemon ");
    let text = "logfile and debug file are those specified in logd config file (default /etc/logd.cf)";
    reader.log(LogLevel::Info, text);
}

/// Said for `use_logd off`, and at the end when there are other targets.
pub(super) const LOGD_DISABLED: &str = "Logging daemon is disabled --enabling logging daemon is recommended";

pub(super) fn debug(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.log.debug_level = number(reader, word, 0, 255)? as u8;
    Ok(())
}

pub(super) fn logfacility(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let text = word.text;
    let log = &mut reader.draft.settings.log;
    if text == "none" {
        log.facility = None;
        log.facility_name = None;
        return Ok(());
    }
    let Some(facility) = value::syslog_facility(text) else {
        return Err(Fault::new(
            format!("`{text}` is no syslog facility"),
            "expected a name in lower case such as daemon or local0, or none",
        )
        .error(format!("Log facility({text}) not valid")));
    };
    log.facility = Some(facility);
    log.facility_name = Some(text.to_owned());
    Ok(())
}

pub(super) fn logfile(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.log.log_file = Some(word.text.into());
    Ok(())
}

pub(super) fn debugfile(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.log.debug_file = Some(word.text.into());
    Ok(())
}

pub(super) fn node(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let Some(name) = NodeName::new(word.text) else {
        return Err(Fault::new("this is no node name", "expected up to 99 printable characters"));
    };
    if reader.draft.settings.nodes.contains(&name) {
        // the original would add it twice and then take over from itself
        let message = format!("node {name} is named twice");
        reader.remark(Severity::Warning, reader.place(word), message, "the second is ignored".into());
        return Ok(());
    }
    if reader.draft.settings.nodes.len() >= NODES_MAX {
        return Err(Fault::new(format!("more than {NODES_MAX} nodes"), ""));
    }
    reader.draft.settings.nodes.push(name);
    Ok(())
}

pub(super) fn env(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let (name, value) = word.text.split_once('=').unwrap_or((word.text, ""));
    if name.is_empty() {
        return Err(Fault::new("a variable without a name", "expected NAME=value")
            .error(format!("set_env: invalid nvpair({})", word.text)));
    }
    let environment = &mut reader.draft.settings.environment;
    let room = environment.len() < ENVIRONMENT_MAX;
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value.to_owned(),
        None if room => environment.push((name.to_owned(), value.to_owned())),
        None => return Err(Fault::new(format!("more than {ENVIRONMENT_MAX} variables"), "")),
    }
    Ok(())
}

pub(super) fn watchdog(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    let settings = &reader.draft.settings;
    if settings.watchdog.is_some() || settings.watchdog_software {
        return Err(Fault::new("`watchdog` is given a second time", "only one device is possible")
            .error("heartbeat: Watchdog device multiply specified."));
    }
    if word.text == "software" {
        reader.draft.settings.watchdog_software = true;
        return Ok(());
    }
    if !word.text.starts_with('/') {
        return Err(Fault::new("this is no device", "expected a path such as /dev/watchdog, or software"));
    }
    reader.draft.settings.watchdog = Some(word.text.into());
    Ok(())
}

pub(super) fn use_apphbd(reader: &mut Reader<'_>, word: &Word<'_>) -> Result<(), Fault> {
    reader.draft.settings.use_apphbd = boolean(word)?;
    Ok(())
}

/// For directives whose argument is not looked at.
pub(super) fn nothing(_: &mut Reader<'_>, _: &Word<'_>) -> Result<(), Fault> {
    Ok(())
}
