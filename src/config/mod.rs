//! The three configuration files, checked: ha.cf, authkeys and haresources.
//!
//! ```text
//! ha.cf ────────▶ lines ─▶ THE TABLE (directive) ─▶ defaults, checks across ─▶ HaCf
//! authkeys ─────▶ mode, owner, lines ────────────────────────────────────────▶ AuthKeys
//! haresources ──▶ normal form ─▶ groups ─▶ nodes against ha.cf ──────────────▶ HaResources
//! ```
//!
//! Every step gives two kinds of output: the lines the original logs (word for word, in its order),
//! and diagnostics that cite the place and say what was expected.

pub mod apphbd_cf;
mod apply;
pub mod authkeys;
pub mod check;
mod clients;
pub mod diagnostic;
pub mod directive;
mod fencing;
pub mod ha_cf;
pub mod haresources;
pub mod host;
pub mod logd_cf;
mod medium;
mod ping;
pub mod places;
pub mod script_class;
pub mod settings;
pub mod source;
pub mod split_brain;
mod validate;
pub mod value;
mod watching;

use std::path::{Path, PathBuf};

use self::authkeys::AuthKeysReport;
use self::diagnostic::{Diagnostic, Place, Severity};
use self::ha_cf::HaCfReport;
use self::haresources::{HaResources, HaResourcesReport};
use self::host::HostFacts;
use self::settings::HaCf;
use self::source::{cited_path, logged_path, push_limited, read_file, ReadError, Source};
use crate::types::{AuthKeys, LogLevel, NodeName};

pub use self::apply::NODES_MAX;
pub use self::clients::CLIENTS_MAX;
pub use self::medium::MEDIA_MAX;
pub use self::value::{boolean, milliseconds, syslog_facility};

/// A line for the log, without date and process.
pub type LogLine = (LogLevel, String);

/// Where the configuration is when nobody says otherwise.
pub const DIRECTORY_DEFAULT: &str = "/etc/ha.d";

/// Environment variable with a folder put in front of all paths: for tests and demonstrations.
pub const ROOT_VARIABLE: &str = "HA_ROOT";

/// An absolute path, below the folder that [`ROOT_VARIABLE`] names when it names one with an absolute
/// path.
pub fn below_root(path: &str) -> PathBuf {
    match std::env::var_os(ROOT_VARIABLE).map(PathBuf::from).filter(|root| root.is_absolute()) {
        Some(root) => root.join(path.trim_start_matches('/')),
        None => PathBuf::from(path),
    }
}

/// The version the log and `heartbeat -V` claim, since peers and scripts look at it.
pub const VERSION: &str = "3.0.6";

/// Exit code for a wrong configuration (LSB: not configured).
pub const EXIT_NOT_CONFIGURED: u8 = 6;

/// Exit code when a file may not be read (LSB: no permission).
pub const EXIT_NO_PERMISSION: u8 = 4;

/// Name of the main file.
pub const HA_CF: &str = "ha.cf";

/// Overrides `uname -n` when it exists (messaging spec 5.4).
pub const NODE_INFO: &str = "nodeinfo";

/// Where the files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The directory of the three files.
    pub directory: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { directory: DIRECTORY_DEFAULT.into() }
    }
}

impl Paths {
    /// ha.cf.
    pub fn ha_cf(&self) -> PathBuf {
        self.directory.join(HA_CF)
    }

    /// authkeys.
    pub fn authkeys(&self) -> PathBuf {
        self.directory.join(authkeys::FILE_NAME)
    }

    /// haresources.
    pub fn haresources(&self) -> PathBuf {
        self.directory.join(haresources::FILE_NAME)
    }

    /// The administrator's scripts for resources.
    pub fn resource_scripts(&self) -> PathBuf {
        self.directory.join("resource.d")
    }
}

/// A configuration a daemon can start with.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// ha.cf.
    pub ha_cf: HaCf,
    /// authkeys.
    pub auth_keys: AuthKeys,
    /// haresources; empty when resources are not managed.
    pub resources: HaResources,
}

/// What [`load`] gives.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked values.
    pub configuration: Configuration,
    /// This node: `nodeinfo` or `uname -n`, in lower case. Always one of `ha_cf.nodes`.
    pub node: NodeName,
    /// What the original logs at start with this configuration, in its order, the last line being
    /// `Configuration validated. Starting heartbeat 3.0.6`.
    pub log_lines: Vec<LogLine>,
    /// Warnings and hints of ours.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why a daemon must not start. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the configuration in {directory} has errors; heartbeat is not started")]
pub struct ConfigFailure {
    /// Where the files are.
    pub directory: String,
    /// What the original logs, in its order, the last line being
    /// `Configuration error, heartbeat not started.`
    pub log_lines: Vec<LogLine>,
    /// The same and more, with places; errors of all three files.
    pub diagnostics: Vec<Diagnostic>,
    /// [`EXIT_NOT_CONFIGURED`] or [`EXIT_NO_PERMISSION`].
    pub exit_code: u8,
    /// Where ha.cf says that log lines go, as far as it could be read.
    pub log: Option<Box<settings::LogConfig>>,
}

impl ConfigFailure {
    /// The errors with their places, for people.
    pub fn explanation(&self) -> String {
        let errors =
            self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == diagnostic::Severity::Error);
        errors.map(ToString::to_string).collect()
    }
}

/// Whether a line is one of the two that announce the start. `heartbeat -r` leaves them out.
pub fn is_announcement(line: &LogLine) -> bool {
    line.1 == ANNOUNCEMENT_RULE || line.1.starts_with("Configuration validated. Starting heartbeat")
}

const ANNOUNCEMENT_RULE: &str = "**************************";

/// Reads and checks the three files in `directory`.
///
/// # Errors
/// [`ConfigFailure`] when a daemon must not start with them. The order of the log lines and the
/// exit codes are those of the original (messaging spec 5, 7.2).
pub fn load(directory: &Path, host: &HostFacts) -> Result<Loaded, ConfigFailure> {
    examine(directory, host, true).into_result()
}

/// As [`load`], for a daemon that manages no resources (`heartbeat -M`): haresources is not read.
///
/// # Errors
/// As [`load`].
pub fn load_without_resources(directory: &Path, host: &HostFacts) -> Result<Loaded, ConfigFailure> {
    examine(directory, host, false).into_result()
}

/// All that can be found out about the files, however wrong they are.
#[derive(Debug, Clone)]
pub struct Examination {
    /// Where they are.
    pub directory: PathBuf,
    /// This node's name, in lower case; not always a usable one.
    pub node_name: String,
    /// ha.cf; `None` when it could not be read.
    pub ha_cf: Option<HaCfReport>,
    /// authkeys.
    pub auth_keys: AuthKeysReport,
    /// haresources; `None` when it could not be read or is not wanted.
    pub resources: Option<HaResourcesReport>,
    /// The text of haresources, for further remarks.
    pub resources_source: Option<Source>,
    /// See [`Loaded::log_lines`] and [`ConfigFailure::log_lines`].
    pub log_lines: Vec<LogLine>,
    /// Remarks about all files, in the order ha.cf, authkeys, haresources.
    pub diagnostics: Vec<Diagnostic>,
    /// Why a daemon must not start; `None` when it may.
    pub exit_code: Option<u8>,
}

impl Examination {
    fn into_result(self) -> Result<Loaded, ConfigFailure> {
        let directory = self.directory.display().to_string();
        let node = NodeName::new(&self.node_name);
        let log = self.ha_cf.as_ref().map(|report| Box::new(report.settings.log.clone()));
        match (self.exit_code, self.ha_cf, self.auth_keys.keys, node) {
            (None, Some(ha_cf), Some(auth_keys), Some(node)) => {
                let resources = self.resources.map(|report| report.resources).unwrap_or_default();
                let configuration = Configuration { ha_cf: ha_cf.settings, auth_keys, resources };
                Ok(Loaded { configuration, node, log_lines: self.log_lines, diagnostics: self.diagnostics })
            }
            (exit_code, ..) => Err(ConfigFailure {
                directory,
                log_lines: self.log_lines,
                diagnostics: self.diagnostics,
                exit_code: exit_code.unwrap_or(EXIT_NOT_CONFIGURED),
                log,
            }),
        }
    }
}

/// The texts of the three files before they are written: what `ha init` checks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// ha.cf.
    pub ha_cf: String,
    /// authkeys.
    pub authkeys: String,
    /// haresources.
    pub haresources: String,
}

/// Where the three files are read from. `nodeinfo` is read from the directory in both cases.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// Files in the directory.
    Files,
    /// Texts that are to be written there.
    Texts(&'a Texts),
}

impl Origin<'_> {
    fn read(self, directory: &Path, name: &str) -> Result<Source, ReadError> {
        let Origin::Texts(texts) = self else { return read_file(directory, name) };
        let text = if name == HA_CF { &texts.ha_cf } else { &texts.haresources };
        Ok(Source::from_bytes(directory, name, text.as_bytes()))
    }

    fn keys(self, directory: &Path, effective_uid: u32) -> AuthKeysReport {
        let Origin::Texts(texts) = self else { return authkeys::load(directory, effective_uid) };
        let name = authkeys::FILE_NAME;
        let (cited, logged) = (cited_path(directory, name), logged_path(directory, name));
        authkeys::parse(texts.authkeys.as_bytes(), &cited, &logged)
    }
}

/// Reads all three files and says what is wrong with each, even when an earlier one is wrong
/// already; the log lines end where the original stops.
pub fn examine(directory: &Path, host: &HostFacts, with_resources: bool) -> Examination {
    examine_from(Origin::Files, directory, host, with_resources)
}

/// As [`examine`], also for texts that are not written yet.
pub fn examine_from(
    origin: Origin<'_>,
    directory: &Path,
    host: &HostFacts,
    with_resources: bool,
) -> Examination {
    let mut log = Log::default();
    let mut diagnostics = Vec::new();
    let node_name = noted_node_name(directory, host, &mut diagnostics);

    let ha_cf = match origin.read(directory, HA_CF) {
        Ok(source) => Some(ha_cf::read(&source, &node_name, host)),
        Err(error) => {
            log.push(LogLevel::Error, format!("Cannot open config file [{}]", logged_path(directory, HA_CF)));
            log.sample_hint(&logged_path(directory, HA_CF));
            diagnostics.push(unreadable(directory, HA_CF, &error));
            log.not_started(Some("Heartbeat not started: configuration error."), &error);
            None
        }
    };
    if let Some(report) = &ha_cf {
        diagnostics.extend(report.diagnostics.iter().cloned());
        log.extend(&report.reading_log);
        if report.lines_failed {
            log.stop(Some("Heartbeat not started: configuration error."));
        }
    }

    let auth_keys = origin.keys(directory, host.effective_uid);
    diagnostics.extend(auth_keys.diagnostics.iter().cloned());
    log.extend(&auth_keys.log);
    if auth_keys.keys.is_none() {
        log.permission_denied |= !log.stopped && auth_keys.permission_denied;
        log.stop(Some("Authentication configuration error."));
    }

    if let Some(report) = &ha_cf {
        log.extend(&report.checks_log);
        let conflicts = with_resources
            && !report.lines_failed
            && refuse_joining(directory, report, &mut log, &mut diagnostics);
        if report.checks_failed || conflicts {
            log.stop(None);
        }
    }
    log.push(LogLevel::Info, ANNOUNCEMENT_RULE);
    log.push(LogLevel::Info, format!("Configuration validated. Starting heartbeat {VERSION}"));

    let (resources_source, resources) = if with_resources {
        examine_resources(origin, directory, ha_cf.as_ref(), &mut log, &mut diagnostics)
    } else {
        (None, None)
    };
    Examination {
        directory: directory.to_owned(),
        node_name,
        ha_cf,
        auth_keys,
        resources,
        resources_source,
        exit_code: log.exit_code(),
        log_lines: log.lines,
        diagnostics,
    }
}

/// The daemon's own check of haresources (resources spec 1.2).
fn examine_resources(
    origin: Origin<'_>,
    directory: &Path,
    ha_cf: Option<&HaCfReport>,
    log: &mut Log,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Option<Source>, Option<HaResourcesReport>) {
    let logged = logged_path(directory, haresources::FILE_NAME);
    let source = match origin.read(directory, haresources::FILE_NAME) {
        Ok(source) => source,
        Err(error) => {
            log.push(LogLevel::Error, format!("Cannot open resources file [{logged}]"));
            log.sample_hint(&logged);
            diagnostics.push(unreadable(directory, haresources::FILE_NAME, &error));
            log.not_started(None, &error);
            return (None, None);
        }
    };
    let report = haresources::read(&source);
    diagnostics.extend(report.diagnostics.iter().cloned());
    let nodes = ha_cf.map(|report| report.settings.nodes.as_slice()).unwrap_or_default();
    let unknown = |word: &str| !nodes.iter().any(|node| node.as_str() == word.to_ascii_lowercase());
    let mut unknown_found = false;
    for (word, span) in report.first_words.iter().filter(|(word, _)| !nodes.is_empty() && unknown(word)) {
        if !unknown_found {
            log.push(LogLevel::Error, format!("Bad nodename in {logged} [{word}]"));
        }
        unknown_found = true;
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        let message = format!("`{word}` is not a node of ha.cf");
        let help = format!("the nodes are {}", names.join(", "));
        let remark = source.remark(Severity::Error, source.place_of(*span), message, help);
        push_limited(diagnostics, remark);
    }
    if report.failed && !unknown_found {
        log.push(LogLevel::Error, format!("Cannot use every line of {logged}"));
    }
    let too_many = refuse_third_node(ha_cf, &report, directory, log, diagnostics);
    if report.failed || unknown_found || too_many {
        log.stop(None);
    }
    (Some(source), Some(report))
}

/// `autojoin` and haresources do not go together. `true` when that stops the start.
fn refuse_joining(
    directory: &Path,
    report: &HaCfReport,
    log: &mut Log,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    if report.settings.auto_join == settings::AutoJoin::None {
        return false;
    }
    log.push(LogLevel::Error, "R1 style resource management conflicts with  autojoin set");
    log.push(LogLevel::Error, "You need either unset autojoin or enable crm");
    let place = report.given.get("autojoin").cloned().unwrap_or_else(Place::file);
    let message = "nodes cannot join by themselves: haresources knows exactly two nodes".to_owned();
    let help = "take the line out and name both nodes, or start without resources (heartbeat -M)".to_owned();
    let path = cited_path(directory, HA_CF);
    push_limited(diagnostics, Diagnostic::new(Severity::Error, &path, place, message, help));
    true
}

/// The original starts with three nodes and groups, and every survivor of a death then takes what the
/// dead node had. Ours does not start. `true` when that is so.
fn refuse_third_node(
    ha_cf: Option<&HaCfReport>,
    resources: &HaResourcesReport,
    directory: &Path,
    log: &mut Log,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    let Some(report) = ha_cf.filter(|_| !resources.resources.groups.is_empty()) else {
        return false;
    };
    let nodes = report.settings.nodes.len();
    if nodes <= 2 {
        return false;
    }
    let message = format!("there are {nodes} nodes, but haresources works for exactly two");
    log.push(LogLevel::Error, format!("{message}: with more, several nodes take what a dead one had"));
    let place = report.given.get("node").cloned().unwrap_or_else(Place::file);
    let help = "name the two nodes of haresources only, or take all groups out of haresources".to_owned();
    let path = cited_path(directory, HA_CF);
    push_limited(diagnostics, Diagnostic::new(Severity::Error, &path, place, message, help));
    true
}

/// This node's name: the first line of `nodeinfo` or `uname -n`, in lower case (messaging spec 5.4).
pub fn node_name(directory: &Path, host: &HostFacts) -> String {
    noted_node_name(directory, host, &mut Vec::new())
}

/// `nodeinfo` or `uname -n`, in lower case (messaging spec 5.4).
fn noted_node_name(directory: &Path, host: &HostFacts, diagnostics: &mut Vec<Diagnostic>) -> String {
    match read_file(directory, NODE_INFO) {
        Ok(source) => return source.line(1).unwrap_or("").trim().to_ascii_lowercase(),
        Err(error) if error.is_missing() => {}
        Err(error) => {
            let message = format!("cannot be read: {error}");
            let help = "`uname -n` is used instead; take the file away or make it readable".to_owned();
            let path = cited_path(directory, NODE_INFO);
            diagnostics.push(Diagnostic::new(Severity::Warning, &path, Place::file(), message, help));
        }
    }
    host.node_name.to_ascii_lowercase()
}

fn unreadable(directory: &Path, name: &str, error: &ReadError) -> Diagnostic {
    let help = if error.is_missing() {
        format!("write it as described in {name}(5)")
    } else {
        "it must be a regular file that root can read".to_owned()
    };
    let path = cited_path(directory, name);
    Diagnostic::new(Severity::Error, &path, Place::file(), format!("cannot be read: {error}"), help)
}

/// The original's lines, until it would have stopped.
#[derive(Default)]
struct Log {
    lines: Vec<LogLine>,
    stopped: bool,
    permission_denied: bool,
}

impl Log {
    fn push(&mut self, level: LogLevel, text: impl Into<String>) {
        if !self.stopped {
            self.lines.push((level, text.into()));
        }
    }

    fn extend(&mut self, lines: &[LogLine]) {
        if !self.stopped {
            self.lines.extend_from_slice(lines);
        }
    }

    /// The two lines that follow when a file is missing.
    fn sample_hint(&mut self, path: &str) {
        self.push(
            LogLevel::Info,
            format!("An annotated sample {path} file is provided in the documentation."),
        );
        self.push(LogLevel::Info, format!("Please copy it to {path}, read it, customize it, and try again."));
    }

    fn not_started(&mut self, first: Option<&str>, error: &ReadError) {
        self.permission_denied |= !self.stopped && error.is_permission();
        self.stop(first);
    }

    fn stop(&mut self, first: Option<&str>) {
        if let Some(first) = first {
            self.push(LogLevel::Error, first);
        }
        self.push(LogLevel::Error, "Configuration error, heartbeat not started.");
        self.stopped = true;
    }

    fn exit_code(&self) -> Option<u8> {
        match (self.stopped, self.permission_denied) {
            (false, _) => None,
            (true, true) => Some(EXIT_NO_PERMISSION),
            (true, false) => Some(EXIT_NOT_CONFIGURED),
        }
    }
}
