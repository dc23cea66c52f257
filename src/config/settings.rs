//! The checked values of `ha.cf`, as the other rooms use them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::types::{LinkName, NodeName};

/// What `auto_failback` says (resources spec 1.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoFailback {
    /// Groups go home as soon as both nodes are stable.
    On,
    /// Groups stay where they are.
    Off,
    /// The old protocol without resource messages; also the default when the directive is absent.
    #[default]
    Legacy,
}

/// One heartbeat medium (messaging spec 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediumConfig {
    /// `bcast DEV`
    Broadcast {
        /// Interface name.
        device: String,
    },
    /// `mcast DEV GROUP PORT TTL LOOP`
    Multicast {
        /// Interface name.
        device: String,
        /// Group address in 224/4.
        group: Ipv4Addr,
        /// The medium's own port; `udpport` does not apply.
        port: u16,
        /// 0 to 4 (the original allows no more).
        ttl: u8,
        /// Whether the sender hears itself.
        loop_back: bool,
    },
    /// `ucast DEV HOST`
    Unicast {
        /// Interface name.
        device: String,
        /// The peer's address, resolved when the file was read. `None` when it did not resolve.
        peer: Option<Ipv4Addr>,
        /// The peer as written.
        peer_text: String,
    },
    /// `mcast6 DEV GROUP PORT HOPS LOOP`
    Multicast6 {
        /// Interface name.
        device: String,
        /// Group address of link, admin, site or organisation scope.
        group: Ipv6Addr,
        /// The medium's own port; `udpport` does not apply.
        port: u16,
        /// 0 to 4 (the original allows no more).
        hops: u8,
        /// Whether the sender hears itself.
        loop_back: bool,
    },
    /// `ucast6 DEV ADDRESS`
    Unicast6 {
        /// Interface name; also the scope of a link-local address.
        device: String,
        /// The peer's address.
        peer: Ipv6Addr,
    },
    /// `serial TTY`
    Serial {
        /// Full path of the device.
        device: String,
        /// `baud` as it stood before this line.
        baud: u32,
    },
    /// `ping HOST`, `ping6 HOST`, `ping_group NAME HOST...`
    Ping(PingConfig),
}

/// Which directive made a ping node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingKind {
    /// `ping`
    Host,
    /// `ping6`
    Host6,
    /// `ping_group`: it answers while any member does.
    Group,
}

impl PingKind {
    /// The directive, which is also the `info` field of the messages about such a node.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "ping",
            Self::Host6 => "ping6",
            Self::Group => "ping_group",
        }
    }
}

/// A ping node: a host or several whose answers show whether this node is connected. It appears
/// in the list of nodes with the type `ping` and never takes part in anything (messaging spec 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingConfig {
    /// The directive.
    pub kind: PingKind,
    /// The node's name, and that of its only link.
    pub name: NodeName,
    /// Who is asked, resolved when the file was read; at least one. Ports are 0; an IPv6 address
    /// of link scope has its interface with it.
    pub hosts: Vec<SocketAddr>,
    /// How many `node`s stand before it in the file: lists of nodes keep that order.
    pub nodes_before: usize,
}

impl MediumConfig {
    /// The link's name: the device, for serial lines its path (messaging spec 4.3). `None` for ping nodes, by which no other
    /// node is heard.
    pub fn link(&self) -> Option<LinkName> {
        match self {
            Self::Broadcast { device }
            | Self::Multicast { device, .. }
            | Self::Unicast { device, .. }
            | Self::Multicast6 { device, .. }
            | Self::Unicast6 { device, .. }
            | Self::Serial { device, .. } => LinkName::new(device),
            Self::Ping(_) => None,
        }
    }

    /// The ping node this is, if it is one.
    pub fn ping(&self) -> Option<&PingConfig> {
        match self {
            Self::Ping(ping) => Some(ping),
            _ => None,
        }
    }
}

/// `msgfmt`: whether outgoing messages also carry the inner `auth` field (messaging spec 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageFormat {
    /// Netstring framing with an inner `auth` field (the default).
    #[default]
    Classic,
    /// Netstring framing without it.
    Netstring,
}

/// `compression`: the module used for outgoing messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// zlib stream, RFC 1950.
    #[default]
    Zlib,
    /// bzip2, level 1.
    Bzip2,
}

/// A program to run beside the daemon (messaging spec 7.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Program and arguments as written; what the log names it by.
    pub command: String,
    /// The user's name.
    pub user: String,
    /// As whom it runs.
    pub account: Account,
    /// `failfast`: the machine is rebooted when it dies.
    pub fail_fast: bool,
    /// There is no such program, and this applet of ours runs in its place.
    pub built_in: Option<&'static str>,
}

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User.
    pub uid: u32,
    /// The user's first group.
    pub gid: u32,
}

/// One `apiauth` line: who may sign on under a name. Either list is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiAuth {
    /// The client's name, `anon` for casual ones, `default` for names without a line.
    pub client: String,
    /// Users.
    pub uids: Vec<u32>,
    /// Groups; compared with the client's effective group only.
    pub gids: Vec<u32>,
}

/// `autojoin`: which nodes may become members without being named (messaging spec 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoJoin {
    /// None.
    #[default]
    None,
    /// Others; this node must be named.
    Other,
    /// Others and this one.
    Any,
}

/// One `monitor` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// A word of haresources, a script's name, or `all`.
    pub resource: String,
    /// From one question to the next, milliseconds, > 0.
    pub interval_ms: u64,
    /// How long an answer may take, milliseconds, > 0.
    pub timeout_ms: u64,
    /// Failures in a row that count, > 0.
    pub failures: u32,
    /// Restarts in place before the group is given away.
    pub restarts: u32,
}

/// Who is told of alarms (`alarm`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlarmTarget {
    /// A program with its arguments.
    Program {
        /// Full path.
        path: String,
        /// As written, cut at blanks.
        arguments: Vec<String>,
    },
    /// Mail.
    Mail {
        /// Separated by commas.
        addresses: String,
        /// `HOST` or `HOST:PORT` that takes mail by SMTP; `None`: sendmail, else this host.
        server: Option<String>,
    },
}

impl std::fmt::Display for AlarmTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program { path, .. } => f.write_str(path),
            Self::Mail { addresses, .. } => write!(f, "mail to {addresses}"),
        }
    }
}

/// Where the daemon's lines go (messaging spec 5.2: `logfile`, `debugfile`, `logfacility`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogConfig {
    /// `logfile`
    pub log_file: Option<PathBuf>,
    /// `debugfile`
    pub debug_file: Option<PathBuf>,
    /// `logfacility`, syslog facility number (0 to 23, already without the shift), `None` when
    /// `none` or absent.
    pub facility: Option<u8>,
    /// The facility's name as exported to scripts.
    pub facility_name: Option<String>,
    /// `syslogmsgfmt`: syslog style lines in the files.
    pub syslog_format: bool,
    /// `debug`, 0 to 255.
    pub debug_level: u8,
    /// `use_logd`: lines go to the logging daemon, to the places above while it is not there.
    pub use_logd: bool,
    /// `conn_logd_time`: how long it is left alone when it is not there.
    pub logd_retry_ms: u64,
}

/// All of `ha.cf`, checked. Times are milliseconds.
///
/// `HaCf::default()` is an empty form (all zero), not a usable configuration: the defaults of the
/// directives come from [`super::directive::DIRECTIVES`].
#[derive(Debug, Clone, Default)]
pub struct HaCf {
    /// `cluster`, a name that is only reported.
    pub cluster: String,
    /// `node`, lower-cased, in file order, without repetition.
    pub nodes: Vec<NodeName>,
    /// `autojoin`
    pub auto_join: AutoJoin,
    /// `keepalive`, > 0.
    pub keepalive_ms: u64,
    /// `deadtime`, > 2 x keepalive.
    pub dead_time_ms: u64,
    /// `warntime`, default deadtime / 2.
    pub warn_time_ms: u64,
    /// `initdead`, >= deadtime.
    pub init_dead_ms: u64,
    /// `deadping`, > 2 x keepalive, default deadtime.
    pub dead_ping_ms: u64,
    /// `hopfudge`, feeds `ttl`.
    pub hop_fudge: u8,
    /// `udpport`, default the service ha-cluster or 694.
    pub udp_port: u16,
    /// The media in file order, 1 to 64.
    pub media: Vec<MediumConfig>,
    /// `auto_failback`
    pub auto_failback: AutoFailback,
    /// `max_rexmit_delay`, default 250.
    pub max_rexmit_delay_ms: u64,
    /// `msgfmt`
    pub message_format: MessageFormat,
    /// `compression`
    pub compression: Compression,
    /// `compression_threshold` in KiB, default 2.
    pub compression_threshold_kib: u32,
    /// `traditional_compression`
    pub traditional_compression: bool,
    /// `hbgenmethod time` instead of `file`.
    pub generation_from_time: bool,
    /// `uuidfrom nodename` instead of `file`.
    pub uuid_from_name: bool,
    /// `realtime`, default true.
    pub realtime: bool,
    /// `rtprio`, 1 to 99, default 1.
    pub realtime_priority: u8,
    /// `coredumps`, default true.
    pub core_dumps: bool,
    /// `coreroot`
    pub core_root: Option<PathBuf>,
    /// `log_badpack`, default true.
    pub log_bad_packets: bool,
    /// Log targets.
    pub log: LogConfig,
    /// `env NAME=value`, exported to scripts as `HA_NAME`.
    pub environment: Vec<(String, String)>,
    /// `respawn` and `failfast`, in file order.
    pub clients: Vec<Client>,
    /// `apiauth`, then the original's own rules for names without one.
    pub api_auth: Vec<ApiAuth>,
    /// Every recorded directive with its value as typed, defaults included, in the order in which
    /// the original exports them; what `hbparameter` answers and scripts see as `HA_<name>`.
    pub recorded: Vec<(String, String)>,
    /// The watchdog device.
    pub watchdog: Option<std::path::PathBuf>,
    /// `monitor`, in file order.
    pub monitors: Vec<Monitor>,
    /// `own_addresses`, default true.
    pub own_addresses: bool,
    /// `watchdog_wait`; `Some(None)`: as long as the peer says.
    pub watchdog_wait: Option<Option<u64>>,
    /// `watchdog software`: the guard process resets the machine.
    pub watchdog_software: bool,
    /// `stonith`, `stonith_host` and what belongs to them.
    pub fencing: FencingConfig,
    /// `takeover`
    pub takeover: TakeoverMode,
    /// `alarm`: who is told, in file order.
    pub alarms: Vec<AlarmTarget>,
    /// `use_apphbd`: this daemon is watched by `apphbd`.
    pub use_apphbd: bool,
    /// What guards against two owners.
    pub guards: super::split_brain::Guards,
}

impl HaCf {
    /// After so long without a beat the watchdog resets this host; `None` without one. A device counts
    /// whole seconds ([`crate::daemon::watchdog`]).
    pub fn watchdog_ms(&self) -> Option<u64> {
        let guarded = self.watchdog.is_some() || self.watchdog_software;
        guarded.then(|| super::split_brain::Guards::watchdog_ms(self.dead_time_ms))
    }

    /// The value of a recorded directive as typed: what `cl_status hbparameter` prints. `crm` is
    /// answered with the value of `pacemaker` and the other way round.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let find = |name: &str| self.recorded.iter().find(|(known, _)| known == name);
        let other = match name {
            "crm" => "pacemaker",
            "pacemaker" => "crm",
            _ => name,
        };
        find(name).or_else(|| find(other)).map(|(_, value)| value.as_str())
    }
}

/// How the other node is reset before it is taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FencingConfig {
    /// The devices that this node can use, in file order; the original keeps only the last.
    pub devices: Vec<FencingDevice>,
    /// `stonith_timeout`, for one reset by one device.
    pub limit_ms: u64,
    /// `stonith_delay`: the node with the later name waits so long first.
    pub delay_ms: u64,
    /// `stonith_delay`: both wait up to so long besides.
    pub delay_random_ms: u64,
    /// `stonith_unheard wait`: a node never heard is waited for and not fenced.
    pub waits_for_unheard: bool,
}

impl Default for FencingConfig {
    fn default() -> Self {
        Self {
            devices: Vec::new(),
            limit_ms: 60_000,
            delay_ms: 2_000,
            delay_random_ms: 500,
            waits_for_unheard: false,
        }
    }
}

/// A fencing device. Debug output does not show the values, of which one may be a password.
#[derive(Clone, PartialEq, Eq)]
pub struct FencingDevice {
    /// Type, as `stonith -L` lists them.
    pub kind: String,
    /// Values of its parameters in one line.
    pub values: String,
    /// What it calls itself, for log lines.
    pub name: String,
}

impl std::fmt::Debug for FencingDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FencingDevice").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// When a dead node is taken over (`takeover`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TakeoverMode {
    /// At once.
    #[default]
    Auto,
    /// So long after its death, or when a person confirms.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// When a person confirms.
    Manual,
}
