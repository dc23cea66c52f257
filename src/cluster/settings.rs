//! What a cluster value is made from, and the mutations of its safety rules for the simulator.

use crate::config::settings::{AutoFailback, TakeoverMode};
use crate::types::lease::{LEASE_OF_WATCHDOG, LEASE_TIME_MAX_MS};
use crate::types::{Generation, HostRecord, LinkName, NodeName, ResourceSet, Uuid};

/// Everything the decisions depend on besides time and inputs. Times are milliseconds.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// This node; one of `nodes`.
    pub local: NodeName,
    /// This node's identity.
    pub uuid: Uuid,
    /// This run's generation, already on disk.
    pub generation: Generation,
    /// This process, for log lines that name it.
    pub process_id: u32,
    /// All nodes in configuration order.
    pub nodes: Vec<NodeName>,
    /// The media by name, in configuration order, without repetition.
    pub links: Vec<LinkName>,
    /// `keepalive`
    pub keepalive_ms: u64,
    /// `deadtime`
    pub dead_time_ms: u64,
    /// `warntime`
    pub warn_time_ms: u64,
    /// `initdead`
    pub init_dead_ms: u64,
    /// Ping nodes in configuration order.
    pub pings: Vec<PingSettings>,
    /// `deadping`
    pub dead_ping_ms: u64,
    /// `hopfudge`
    pub hop_fudge: u8,
    /// `auto_failback`
    pub auto_failback: AutoFailback,
    /// `max_rexmit_delay`
    pub max_rexmit_delay_ms: u64,
    /// Resources that are watched; at most 65535.
    pub services: Vec<ServiceSettings>,
    /// After this without a beat a watchdog resets this host, milliseconds; told to the peer.
    pub watchdog_ms: Option<u64>,
    /// `false` with `-M`: no resources, membership only.
    pub manage_resources: bool,
    /// Keys of this node's own groups, for the old protocol (`auto_failback legacy`).
    pub local_keys: Vec<String>,
    /// `-R -C SET`: what an earlier life of this process left active on purpose.
    pub resume: Option<ResourceSet>,
    /// Who may become a member, and what is known of members from earlier.
    pub membership: Membership,
    /// What stands between the peer's death and the taking of what it had.
    pub takeover: TakeoverSettings,
    /// Seed for the spread of retransmission requests and acknowledgements.
    pub random_seed: u64,
    /// Safety rules taken out on purpose. Only the simulator sets any.
    pub faults: Faults,
}

/// The gates of a takeover (`cluster::takeover`); each is off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakeoverSettings {
    /// At once, after a delay, or when a person confirms.
    pub mode: TakeoverMode,
    /// The peer is reset first.
    pub fencing: FencingSettings,
    /// Whoever reaches no ping node takes nothing (`ping_arbitration`).
    pub ping_arbitration: bool,
    /// A lease on a shared disk (`lease`).
    pub lease: Option<LeaseSettings>,
    /// A third party says who may take (`arbiter`).
    pub arbiter: Option<ArbiterSettings>,
    /// A program cuts the peer off from resources (`resource_fence`).
    pub resource_fence: bool,
    /// Nobody may answer for the addresses (`ask_before_take`).
    pub ask_before_take: Option<AskSettings>,
    /// The peer's watchdog gets its time: it has reset a hung peer before its resources are taken
    /// (`watchdog_wait`).
    pub watchdog: Option<WatchdogWait>,
}

/// `lease`; times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a word on the disk is worth something.
    pub time_ms: u64,
    /// From one word to the next.
    pub interval_ms: u64,
    /// Before the end for the reset, after it for clocks that do not go alike.
    pub margin_ms: u64,
    /// The watchdog resets a machine whose daemon stood still for so long; 0: there is none.
    pub watchdog_ms: u64,
}

impl LeaseSettings {
    /// The same with what the watchdog really does; `None`: there is none, or nobody knows its time. One
    /// that takes longer than it was asked for makes a lease longer that was long enough for what it was
    /// asked for, up to [`LEASE_TIME_MAX_MS`].
    pub fn with_watchdog(self, time_ms: Option<u64>) -> Self {
        let watchdog_ms = time_ms.unwrap_or(0);
        let least_ms = watchdog_ms.saturating_mul(LEASE_OF_WATCHDOG);
        let grows = self.is_guarded() && least_ms <= LEASE_TIME_MAX_MS;
        let time_ms = if grows { self.time_ms.max(least_ms) } else { self.time_ms };
        Self { time_ms, watchdog_ms, ..self }
    }

    /// Whether the watchdog has reset a machine that stands still before the lease ends: it is fed for at
    /// most half of the time after the last word, and a daemon that is brought back has to find out in what
    /// is left what the one before it held.
    pub fn is_guarded(&self) -> bool {
        self.watchdog_ms > 0 && self.time_ms >= self.watchdog_ms.saturating_mul(LEASE_OF_WATCHDOG)
    }
}

/// `arbiter`; times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArbiterSettings {
    /// How long the arbiter keeps a token that is not renewed.
    pub ttl_ms: u64,
    /// From one question to the next.
    pub interval_ms: u64,
    /// What the other node has for letting go.
    pub wait_ms: u64,
    /// What is held is kept while the arbiter does not answer.
    pub keeps_unreachable: bool,
}

/// `ask_before_take`; times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskSettings {
    /// How long somebody who answers is respected.
    pub most_ms: u64,
    /// After that the addresses are taken all the same.
    pub then_take: bool,
}

/// What the watchdog of this host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchdogDevice {
    /// It resets the host after so many milliseconds without a beat.
    Resets(u64),
    /// It may reset the host; its driver does not say when.
    Unknown,
    /// It resets nothing: it could not be opened, or does not take beats any more.
    Missing,
}

impl WatchdogDevice {
    /// What can be counted on.
    pub fn time_ms(self) -> Option<u64> {
        match self {
            Self::Resets(time_ms) => Some(time_ms),
            Self::Unknown | Self::Missing => None,
        }
    }
}

/// How long a takeover waits for the peer's watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchdogWait {
    /// The time that the peer announced, else this one, milliseconds.
    Announced(u64),
    /// This time, milliseconds.
    Fixed(u64),
}

/// A resource that is looked after while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Which set its group belongs to.
    pub set: ResourceSet,
    /// As written in haresources, for people.
    pub word: String,
    /// `monitor`; `None`: only its address is watched.
    pub monitor: Option<MonitorSettings>,
}

/// `monitor` for one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MonitorSettings {
    /// From one question to the next, milliseconds, > 0.
    pub interval_ms: u64,
    /// Answers in a row that it does not work before it counts as failed, > 0.
    pub failures: u32,
    /// Restarts in place before it is given away.
    pub restarts: u32,
}

/// How the peer is reset before it is taken over (`stonith`, `stonith_host`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FencingSettings {
    /// The devices this node can use, by their names in log lines, in the order in which they are
    /// tried; none: the original's rule, nothing is reset.
    pub devices: Vec<String>,
    /// The node with the later name waits so long before the first reset, milliseconds.
    pub delay_ms: u64,
    /// Both nodes wait up to so long besides, milliseconds.
    pub delay_random_ms: u64,
    /// A node never heard is waited for and not fenced.
    pub waits_for_unheard: bool,
}

/// How the list of nodes may change while this node runs (messaging spec 3.7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// `autojoin other` or `any`: an unknown node that signs with our keys becomes a member.
    pub auto_join: bool,
    /// The list of nodes outlives this run ([`super::event::Output::KeepHosts`]): the daemon was
    /// started without resource management (messaging spec 3.1).
    pub keep_hosts: bool,
    /// Members known from an earlier run, with weights and sites; those that are not in `nodes`
    /// are added to them.
    pub hosts: Vec<HostRecord>,
    /// Nodes that were deleted in an earlier run.
    pub deleted: Vec<HostRecord>,
}

/// A ping node of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingSettings {
    /// Its name, which is also that of its link.
    pub name: NodeName,
    /// The `info` field of messages about it: `ping`, `ping6` or `ping_group`.
    pub info: &'static str,
    /// How many entries of [`ClusterSettings::nodes`] stand before it in lists.
    pub nodes_before: usize,
}

/// One switch per safety rule: `true` takes the rule out, so that the simulator can show that it
/// would be noticed. All `false` in production.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Design §5 rule 1: go on after a pause as if nothing had happened.
    pub ignore_own_lateness: bool,
    /// Design §5 rule 2: say "released" before it is true.
    pub announce_release_early: bool,
    /// Keep serving although the peer does not hear us and claims the set.
    pub ignore_one_way: bool,
    /// After a healed partition both keep everything.
    pub keep_both_after_partition: bool,
    /// Take although the other node's word on the disk still changes.
    pub trust_any_lease: bool,
    /// Take from a node that holds nothing and has not given way.
    pub take_without_yield: bool,
    /// Hold on when the lease could not be renewed.
    pub hold_without_lease: bool,
    /// Take and hold whatever the arbiter says.
    pub ignore_arbiter: bool,
    /// Take and hold although no ping node answers.
    pub hold_cut_off: bool,
    /// Take although resource fencing failed.
    pub take_unfenced_resource: bool,
    /// Take although somebody answers for the addresses.
    pub take_unasked: bool,
    /// Design §5 rule 3: take over although the reset failed.
    pub take_unfenced: bool,
    /// Believe a `resource` report older than one already believed.
    pub accept_old_sequence: bool,
    /// Restart and put back whatever else is done with a set, and in maintenance.
    pub watch_always: bool,
    /// Restart in place without end.
    pub restart_for_ever: bool,
    /// Put an address back without a pause and without end.
    pub restore_without_pause: bool,
    /// Leave half alive what does not work on either node.
    pub keep_what_failed_on_both: bool,
    /// Design §5 rule 5: move resources in maintenance.
    pub move_in_maintenance: bool,
    /// Maintenance does not end by itself.
    pub endless_maintenance: bool,
    /// What was not taken over in maintenance is not taken over after it either.
    pub forget_owed_takeover: bool,
    /// Believe every word about maintenance, and not only the newest.
    pub believe_old_maintenance: bool,
    /// Take over before the watchdog of a node that hangs had its time.
    pub take_before_watchdog: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(time_ms: u64, watchdog_ms: u64) -> LeaseSettings {
        LeaseSettings { time_ms, interval_ms: 1, margin_ms: 1, watchdog_ms }
    }

    #[test]
    fn a_lease_counts_with_what_the_watchdog_really_does() {
        // As asked for, faster, slower.
        for (time_ms, expected_ms) in [(11_000, 33_000), (5_000, 33_000), (60_000, 180_000)] {
            let found = lease(33_000, 11_000).with_watchdog(Some(time_ms));
            assert_eq!((found.time_ms, found.watchdog_ms), (expected_ms, time_ms));
            assert!(found.is_guarded(), "{time_ms}");
        }
        // Longer than it has to be anyway.
        assert_eq!(lease(200_000, 11_000).with_watchdog(Some(60_000)), lease(200_000, 60_000));
    }

    #[test]
    fn no_watchdog_guards_nothing() {
        let lost = lease(33_000, 11_000).with_watchdog(None);
        assert_eq!(lost, lease(33_000, 0));
        assert!(!lost.is_guarded());
        // A time that is too short as it was written stays what it was; so does one that none could be.
        assert_eq!(lease(20_000, 11_000).with_watchdog(Some(60_000)), lease(20_000, 60_000));
        let endless = lease(33_000, 11_000).with_watchdog(Some(u64::MAX));
        assert!(endless.time_ms == 33_000 && !endless.is_guarded());
    }
}
