//! THE TABLE of ha.cf directives. Parsing, defaults, `heartbeat -D`, what scripts see as `HA_*`
//! and what is refused all come from here; the manual page is tested against it.
//!
//! To add a directive: one row here and its function in [`super::apply`] (media: `medium`).

use super::apply::{self, Apply};
use super::{clients, fencing, medium, ping, split_brain, watching};

/// How a directive's arguments are cut (messaging spec 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Words separated by blanks and commas, each applied by itself.
    List,
    /// The rest of the line is one argument.
    Line,
}

/// Whether this release does what the directive asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Yes.
    Supported,
    /// Only some values; the text says which and why. The others stop the start.
    Limited(&'static str),
    /// Never; the text says why. The start is refused.
    Refused(&'static str),
}

/// One row.
pub struct Directive {
    /// The word at the line's start; case counts.
    pub name: &'static str,
    /// How its arguments are cut.
    pub shape: Shape,
    /// Applied when the file does not have the directive, through the same function.
    pub default: Option<&'static str>,
    /// One line about it. For directives with a default it is what `heartbeat -D` prints, to the
    /// letter of the original.
    pub description: &'static str,
    /// The value as typed is kept for `cl_status hbparameter` and exported to scripts as
    /// `HA_<name>` (messaging spec 5.2).
    pub recorded: bool,
    /// What this release does with it.
    pub support: Support,
    /// Checks and applies one argument.
    pub(super) apply: Apply,
}

impl std::fmt::Debug for Directive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directive").field("name", &self.name).field("support", &self.support).finish()
    }
}

use Shape::{Line, List};
use Support::{Limited, Refused, Supported};

const NO_PLUGIN: Support =
    Refused("it needed a plugin that distributions did not ship; use ucast, mcast or bcast");
const NO_QUORUM: Support =
    Refused("it serves the membership program of pacemaker; two nodes with haresources have no quorum");
const NO_PACEMAKER: Support =
    Limited("only false: resources are managed by haresources; use the original with pacemaker");

const fn row(
    name: &'static str,
    shape: Shape,
    default: Option<&'static str>,
    recorded: bool,
    support: Support,
    apply: Apply,
    description: &'static str,
) -> Directive {
    Directive { name, shape, default, description, recorded, support, apply }
}

/// THE TABLE. Rows with a default stand first, in the order in which `heartbeat -D` prints them
/// and in which missing ones are applied.
#[rustfmt::skip]
pub const DIRECTIVES: &[Directive] = &[
    row("cluster", List, Some("linux-ha"), true, Supported, apply::cluster, "the name of cluster"),
    row("hopfudge", List, Some("1"), true, Supported, apply::hopfudge, "# of hops above cluster size"),
    row("keepalive", List, Some("1000ms"), true, Supported, apply::keepalive, "keepalive time"),
    row("deadtime", List, Some("30000ms"), true, Supported, apply::deadtime, "node deadtime"),
    row("baud", List, Some("19200"), true, Supported, apply::baud, "baud rate"),
    row("auto_failback", List, Some("legacy"), true, Supported, apply::auto_failback, "auto failback"),
    row("hbgenmethod", List, Some("file"), true, Supported, apply::hbgenmethod,
        "protocol generation computation method"),
    row("realtime", List, Some("true"), true, Supported, apply::realtime, "enable realtime behavior?"),
    row("msgfmt", List, Some("classic"), true, Supported, apply::msgfmt, "message format in the wire"),
    row("conn_logd_time", List, Some("60"), true, Supported, apply::conn_logd_time,
        "the interval to reconnect to logd"),
    row("log_badpack", List, Some("true"), true, Supported, apply::log_badpack, "warn about bad packets"),
    row("syslogmsgfmt", List, Some("true"), true, Supported, apply::syslogmsgfmt,
        "log to files in syslog format"),
    row("coredumps", List, Some("true"), true, Supported, apply::coredumps, "enable Linux-HA core dumps"),
    row("pacemaker", List, Some("false"), true, NO_PACEMAKER, apply::pacemaker,
        "enable Pacemaker resource management"),
    row("autojoin", List, Some("none"), true,
        Limited("with haresources only none; other and any where no resources are managed"),
        apply::autojoin, "set automatic join mode/style"),
    row("uuidfrom", List, Some("file"), true, Supported, apply::uuidfrom, "set the source for uuid"),
    row("compression", List, Some("zlib"), true, Supported, apply::compression, "set compression module"),
    row("compression_threshold", List, Some("2"), true, Supported, apply::compression_threshold,
        "set compression threshold"),
    row("traditional_compression", List, Some("no"), true, Supported, apply::traditional_compression,
        "set traditional_compression"),
    row("max_rexmit_delay", List, Some("250"), true, Supported, apply::max_rexmit_delay,
        "set the maximum rexmit delay time"),
    row("record_config_changes", List, Some("on"), true, Supported, apply::pacemaker_only,
        "record changes to the cib (valid only with: pacemaker on)"),
    row("record_pengine_inputs", List, Some("on"), true, Supported, apply::pacemaker_only,
        "record the input used by the policy engine (valid only with: pacemaker on)"),
    row("enable_config_writes", List, Some("on"), true, Supported, apply::pacemaker_only,
        "write configuration changes to disk (valid only with: pacemaker on)"),
    row("memreserve", List, Some("6500"), true, Supported, apply::memreserve,
        "number of kbytes to preallocate in heartbeat"),

    row("node", List, None, false, Supported, apply::node, "members of the cluster"),
    row("warntime", List, None, true, Supported, apply::warntime, "when a beat counts as late"),
    row("initdead", List, None, true, Supported, apply::initdead, "deadtime during the first start"),
    row("udpport", List, None, true, Supported, apply::udpport, "port of bcast and ucast"),
    row("bcast", List, None, false, Supported, medium::bcast, "beats by UDP broadcast"),
    row("mcast", Line, None, false, Supported, medium::mcast, "beats by UDP multicast"),
    row("ucast", Line, None, false, Supported, medium::ucast, "beats by UDP to one address"),
    row("nice_failback", List, None, false, Supported, apply::nice_failback,
        "former name of auto_failback"),
    row("debug", List, None, true, Supported, apply::debug, "debug level, 0 to 255"),
    row("logfacility", List, None, true, Supported, apply::logfacility, "facility for syslog, or none"),
    row("logfile", List, None, true, Supported, apply::logfile, "file for log lines"),
    row("debugfile", List, None, true, Supported, apply::debugfile, "file for log and debug lines"),
    row("use_logd", List, None, true, Supported, apply::use_logd, "log through the logging daemon"),
    row("rtprio", List, None, true, Supported, apply::rtprio, "realtime priority, 1 to 99"),
    row("coreroot", List, None, true, Supported, apply::coreroot, "directory for core dumps"),
    row("env", List, None, false, Supported, apply::env, "NAME=value, exported to scripts as HA_NAME"),
    row("crm", List, None, true, NO_PACEMAKER, apply::pacemaker, "former name of pacemaker"),
    row("crmd_spawns_pengine", List, None, true, Supported, apply::pacemaker_only,
        "which process starts the policy engine (valid only with: pacemaker on)"),

    row("serial", List, None, false, Supported, medium::serial, "beats over serial lines"),
    row("mcast6", Line, None, false, Supported, medium::mcast6, "beats by UDP multicast over IPv6"),
    row("ucast6", Line, None, false, Supported, medium::ucast6, "beats by UDP to one IPv6 address"),
    row("ping", List, None, false, Supported, ping::ping, "hosts that show whether we are connected"),
    row("ping6", List, None, false, Supported, ping::ping6, "the same over IPv6"),
    row("ping_group", Line, None, false, Supported, ping::ping_group, "hosts of which one must answer"),
    row("deadping", List, None, true, Supported, apply::deadping, "deadtime of ping hosts"),
    row("stonith", Line, None, false, Supported, fencing::stonith, "fencing device, configured by a file"),
    row("stonith_host", Line, None, false, Supported, fencing::stonith_host, "fencing device"),
    row("stonith_timeout", List, None, true, Supported, fencing::stonith_timeout,
        "how long a device may take for a reset"),
    row("stonith_delay", Line, None, true, Supported, fencing::stonith_delay,
        "wait before the reset: one node a fixed time, both a random one"),
    row("stonith_unheard", List, None, true, Supported, fencing::stonith_unheard,
        "what becomes of a node never heard: fence or wait"),
    row("takeover", Line, None, true, Supported, fencing::takeover,
        "take over at once, after a delay, or when a person confirms"),
    row("watchdog", List, None, true, Supported, apply::watchdog, "watchdog device"),
    row("watchdog_wait", List, None, true, Supported, watching::watchdog_wait,
        "a takeover waits for the other node's watchdog"),
    row("monitor", Line, None, false, Supported, watching::monitor, "resources that are asked whether they work"),
    row("own_addresses", List, None, true, Supported, watching::own_addresses,
        "addresses that something else takes away are put back"),
    row("alarm", Line, None, false, Supported, watching::alarm, "who is told of what needs a person"),
    row("use_apphbd", List, None, false, Supported, apply::use_apphbd, "be watched by apphbd"),
    row("parallel_groups", List, None, true, Supported, apply::parallel_groups,
        "start and stop groups at the same time"),
    row("ping_arbitration", List, None, true, Supported, split_brain::ping_arbitration,
        "whoever reaches no ping node takes nothing"),
    row("ask_before_take", Line, None, true, Supported, split_brain::ask_before_take,
        "ask who has the addresses before taking them"),
    row("lease", Line, None, true, Supported, split_brain::lease, "a lease on a disk that both nodes share"),
    row("arbiter", Line, None, true, Supported, split_brain::arbiter,
        "program that asks a third party who may take over"),
    row("resource_fence", Line, None, true, Supported, split_brain::resource_fence,
        "program that cuts the other node off from resources"),
    row("respawn", Line, None, false, Supported, clients::respawn, "program to run beside the daemon"),
    row("failfast", Line, None, false, Supported, clients::failfast, "the same; reboot when it dies"),
    row("apiauth", Line, None, false, Supported, clients::apiauth, "who may use the client API"),
    row("quorum_server", List, None, true, NO_QUORUM, apply::nothing, "host that decides about quorum"),

    row("crm_daemon_dir", List, None, false, Refused("it belongs to pacemaker"), apply::nothing,
        "where pacemaker's programs are"),
    row("hbaping", List, None, false, NO_PLUGIN, apply::nothing, "fibre channel ping"),
    row("openais", List, None, false, NO_PLUGIN, apply::nothing, "beats over openais"),
    row("rds", List, None, false, NO_PLUGIN, apply::nothing, "beats over reliable datagram sockets"),
    row("tipc", List, None, false, NO_PLUGIN, apply::nothing, "beats over TIPC"),
];

/// The row of a directive; case counts.
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name == name)
}

/// The known name that looks most like an unknown one: for the help text.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.get(..40).unwrap_or(name).to_ascii_lowercase();
    DIRECTIVES
        .iter()
        .map(|directive| (edit_distance(&name, directive.name), directive.name))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .map(|(_, known)| known)
}

/// What `heartbeat -D` prints: every directive with a default.
pub fn defaults_text() -> String {
    let mut text = format!("{:<24} {:<9} {}\n{}\n", "Directive", "Default", "Description", "-".repeat(80));
    for directive in DIRECTIVES {
        if let Some(default) = directive.default {
            text.push_str(&format!("{:<24} {default:<9} {}\n", directive.name, directive.description));
        }
    }
    text
}

/// What `heartbeat -D -W` prints: the same as a page for the original's wiki.
pub fn defaults_wiki_text(version: &str) -> String {
    let mut text = format!(
        "##Put this output in the ha.cf/DefaultValues page\n\
         The [wiki:ha.cf ha.cf] directives with default values are shown below - along with a brief \
         description.\nThis was produced by {{{{{{heartbeat -DW}}}}}} ''# (version {version})''\n\n\
         ||''Directive''||''Default''||''Description''||\n"
    );
    for directive in DIRECTIVES {
        if let Some(default) = directive.default {
            let page: String = directive.name.split('_').map(capitalised).collect();
            text.push_str(&format!(
                "||[wiki:ha.cf/{page}Directive {}]||{default}||{}||\n",
                directive.name, directive.description
            ));
        }
    }
    text
}

fn capitalised(word: &str) -> String {
    let (first, rest) = word.split_at(1.min(word.len()));
    first.to_ascii_uppercase() + rest
}

/// Edit distance of two words (Levenshtein: characters put in, taken out or replaced); takes time
/// by the product of their lengths.
pub fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_come_first() {
        for (index, directive) in DIRECTIVES.iter().enumerate() {
            assert!(DIRECTIVES[..index].iter().all(|other| other.name != directive.name));
            let before = DIRECTIVES[..index].iter().all(|other| other.default.is_some());
            assert!(directive.default.is_none() || before, "{}", directive.name);
        }
    }

    #[test]
    fn distance_counts_changes() {
        for (one, other, changes) in [
            ("demo", "demo", 0),
            ("dmo", "demo", 1),
            ("hb_stanby", "hb_standby", 1),
            ("", "ha", 2),
            ("stats", "status", 1),
        ] {
            assert_eq!(edit_distance(one, other), changes, "{one} {other}");
        }
    }

    #[test]
    fn near_misses_are_found() {
        assert_eq!(nearest("keepalve"), Some("keepalive"));
        assert_eq!(nearest("Node"), Some("node"));
        assert_eq!(nearest("nonsense"), None);
        assert_eq!(nearest(&"ü".repeat(5000)), None);
    }
}
