//! The second half of reading ha.cf: defaults, derived values and the checks across directives, in
//! the original's order, since their log lines come in that order.

use super::apply::{enable_logd, Word, LOGD_DISABLED};
use super::clients::add_default_api_auth;
use super::diagnostic::{Place, Severity};
use super::directive::DIRECTIVES;
use super::ha_cf::Reader;
use super::settings::{AutoFailback, AutoJoin};
use crate::types::{LogLevel, NodeName};

/// Port of heartbeats when `/etc/services` has no `ha-cluster` (messaging spec 5.2).
pub(super) const UDP_PORT_DEFAULT: u16 = 694;

/// `rtprio` when it is not given (messaging spec 5.2).
const REALTIME_PRIORITY_DEFAULT: u8 = 1;

/// Below this the original warns about `initdead`.
const INIT_DEAD_SMALL_MS: u64 = 10_000;

/// Completes the draft. Errors set `reader.failed`.
pub(super) fn finish(reader: &mut Reader<'_>, node_name: &str) {
    apply_defaults(reader);
    check_media_and_nodes(reader, node_name);
    super::ping::check_names(reader);
    check_times(reader);
    check_failback(reader);
    super::split_brain::check(reader);
    check_log(reader);
    add_default_api_auth(reader);
    record_derived(reader);
}

fn apply_defaults(reader: &mut Reader<'_>) {
    let crm_given = reader.given.contains_key("crm");
    for directive in DIRECTIVES {
        let Some(default) = directive.default else { continue };
        let given = reader.given.contains_key(directive.name) || (directive.name == "pacemaker" && crm_given);
        // `nice_failback` alone stays in force
        let kept = directive.name == "auto_failback" && reader.given.contains_key("nice_failback");
        if given {
            continue;
        }
        if kept {
            reader.draft.record(directive.name, default);
            continue;
        }
        reader.apply(directive, &Word { text: default, line: 0, start: 0 });
    }
    // No default of the table: `heartbeat -D` does not list it, and scripts do not see it.
    if reader.draft.settings.realtime_priority == 0 {
        reader.draft.settings.realtime_priority = REALTIME_PRIORITY_DEFAULT;
    }
    if !reader.draft.udp_port_given {
        reader.draft.settings.udp_port = reader.host.udp_port("ha-cluster").unwrap_or(UDP_PORT_DEFAULT);
    }
}

fn check_media_and_nodes(reader: &mut Reader<'_>, node_name: &str) {
    // The original starts with ping nodes alone, hears nobody, and serves on both hosts.
    let media = &reader.draft.settings.media;
    if media.iter().all(|medium| medium.ping().is_some()) {
        reader.log(LogLevel::Error, "No heartbeat media defined");
        file_error(reader, "no medium for heartbeats", "add a line such as: ucast eth0 10.0.0.2");
    }
    if reader.draft.settings.nodes.is_empty() {
        reader.log(LogLevel::Error, "no nodes defined");
        file_error(reader, "no node is named", "add a line such as: node alpha beta");
    }
    if reader.draft.settings.nodes.iter().any(|node| node.as_str() == node_name) {
        return;
    }
    if reader.draft.settings.auto_join == AutoJoin::Any {
        if let Some(node) = NodeName::new(node_name) {
            reader.log(LogLevel::Notice, format!("Current node [{node}] added to configuration."));
            reader.draft.settings.nodes.push(node);
            return;
        }
    }
    reader.log(LogLevel::Error, format!("Current node [{node_name}] not in configuration!"));
    reader.log(
        LogLevel::Info,
        "By default, cluster nodes are named by `uname -n` and must be declared with a 'node' directive in \
         the ha.cf file.",
    );
    reader.log(LogLevel::Info, "See also: http://linux-ha.org/wiki/Ha.cf#node_directive");
    let names: Vec<&str> = reader.draft.settings.nodes.iter().map(|node| node.as_str()).collect();
    let message = format!("this host is called `{node_name}`, but is not among the nodes");
    let help = if names.is_empty() {
        format!("add: node {node_name}")
    } else {
        format!(
            "the nodes are {}; they are named by `uname -n`, with the domain if it prints one",
            names.join(", ")
        )
    };
    let place = place_of(reader, "node");
    reader.remark(Severity::Error, place, message, help);
}

fn check_times(reader: &mut Reader<'_>) {
    let keepalive = reader.draft.settings.keepalive_ms;
    let dead = reader.draft.settings.dead_time_ms;
    let warn = reader.draft.warn_time_ms.unwrap_or(dead / 2);
    let init = reader.draft.init_dead_ms.unwrap_or_else(|| default_init_dead_ms(dead));
    reader.draft.settings.warn_time_ms = warn;
    reader.draft.settings.init_dead_ms = init;
    if dead <= 2 * keepalive {
        let text = format!("Dead time [{dead}] is too small compared to keeplive [{keepalive}]");
        let message = format!("deadtime ({dead} ms) must be more than twice keepalive ({keepalive} ms)");
        time_error(reader, "deadtime", text, message);
    } else if init < dead {
        let text = format!("Initial dead time [{init}] is smaller than deadtime [{dead}]");
        let message = format!("initdead ({init} ms) is smaller than deadtime ({dead} ms)");
        time_error(reader, "initdead", text, message);
    } else if init < INIT_DEAD_SMALL_MS {
        reader.log(LogLevel::Warning, format!("Initial dead time [{init} ms] may be too small!"));
        reader.log(LogLevel::Info, "Initial dead time accounts for slow network startup time");
        reader.log(LogLevel::Info, "It should be >= deadtime and >= 10 seconds");
    }
    reader.draft.settings.own_addresses = reader.draft.own_addresses.unwrap_or(true);
    reader.draft.settings.dead_ping_ms = reader.draft.dead_ping_ms.unwrap_or(dead);
    if let Some(ping) = reader.draft.dead_ping_ms.filter(|ping| *ping <= 2 * keepalive) {
        let text = format!("Ping dead time [{ping}] is too small compared to keeplive [{keepalive}]");
        let message = format!("deadping ({ping} ms) must be more than twice keepalive ({keepalive} ms)");
        time_error(reader, "deadping", text, message);
    }
}

/// `initdead` when it is not given (messaging spec 5.2).
fn default_init_dead_ms(dead_time_ms: u64) -> u64 {
    match dead_time_ms {
        dead if dead > 10_000 => dead,
        dead if dead < 6_000 => 12_000,
        dead => 2 * dead,
    }
}

fn time_error(reader: &mut Reader<'_>, directive: &str, text: String, message: String) {
    reader.log(LogLevel::Error, text);
    let place = place_of(reader, directive);
    reader.remark(
        Severity::Error,
        place,
        message,
        "expected keepalive < warntime < deadtime <= initdead".into(),
    );
}

fn check_failback(reader: &mut Reader<'_>) {
    if reader.draft.settings.auto_failback != AutoFailback::Legacy {
        return;
    }
    reader.log(LogLevel::Warning, "Deprecated 'legacy' auto_failback option selected.");
    reader.log(LogLevel::Warning, "Please convert to 'auto_failback on'.");
    reader.log(LogLevel::Warning, "See documentation for conversion details.");
}

/// Where the lines go. While the logging daemon is not there they go to what is configured beside
/// it; where that is nothing, to syslog, and are not lost as with the original.
fn check_log(reader: &mut Reader<'_>) {
    let log = &reader.draft.settings.log;
    let some_target = log.facility.is_some() || log.log_file.is_some() || log.debug_file.is_some();
    match (some_target, reader.draft.use_logd) {
        (true, Some(true)) => reader.log(
            LogLevel::Warning,
            "logd is enabled but logfile/debugfile/logfacility is still configured in ha.cf",
        ),
        (true, _) => reader.log(LogLevel::Warning, LOGD_DISABLED),
        (false, Some(true)) => fall_back_to_syslog(reader),
        (false, Some(false)) => {
            reader.log(LogLevel::Error, "No log entry found in ha.cf and use_logd is set to off");
            file_error(
                reader,
                "nothing says where log lines go, and use_logd is off",
                "add a line such as: logfacility daemon",
            );
        }
        (false, None) => {
            reader.log(LogLevel::Info, "No log entry found in ha.cf -- use logd");
            enable_logd(reader);
            fall_back_to_syslog(reader);
            let message = "nothing says where log lines go: the logging daemon is used".to_owned();
            let help = "add a line such as: logfacility daemon".to_owned();
            reader.remark(Severity::Warning, Place::file(), message, help);
        }
    }
}

fn fall_back_to_syslog(reader: &mut Reader<'_>) {
    reader.draft.settings.log.facility = Some(3);
    reader.draft.settings.log.facility_name = Some("daemon".to_owned());
}

/// Values the original works out and exports like those that were typed (messaging spec 5.2).
fn record_derived(reader: &mut Reader<'_>) {
    let draft = &mut reader.draft;
    let warn = format!("{}ms", draft.settings.warn_time_ms);
    let init = format!("{}ms", draft.settings.init_dead_ms);
    let ping = format!("{}ms", draft.dead_ping_ms.unwrap_or(draft.settings.dead_time_ms));
    for (name, value) in [("warntime", warn), ("initdead", init), ("deadping", ping)] {
        if !reader.given.contains_key(name) {
            draft.record(name, &value);
        }
    }
    let port = draft.settings.udp_port.to_string();
    draft.record("udpport", &port);
    let debug = draft.settings.log.debug_level.to_string();
    draft.record("debug", &debug);
    if draft.settings.log.facility.is_some() {
        for name in ["logfile", "debugfile"] {
            if !reader.given.contains_key(name) {
                draft.record(name, "/dev/null");
            }
        }
    }
}

fn file_error(reader: &mut Reader<'_>, message: &str, help: &str) {
    reader.remark(Severity::Error, Place::file(), message.to_owned(), help.to_owned());
}

fn place_of(reader: &Reader<'_>, directive: &str) -> Place {
    reader.given.get(directive).cloned().unwrap_or_else(Place::file)
}
