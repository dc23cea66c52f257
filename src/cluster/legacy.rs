//! `auto_failback legacy`: the old protocol without resource messages (resources spec 2.10).
//!
//! A node takes its own groups when communication is up: from the peer by `ip-request` if one is
//! active, else at once. What the peer had is taken when it dies or says `shutdone`.

use std::collections::BTreeSet;

use crate::config::settings::AutoFailback;
use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::event::Job;
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::jobs::Purpose;
use super::Cluster;

/// Requests without an answer are repeated, milliseconds. The original asks once and then waits
/// for the peer's death.
const RETRY_MS: u64 = 10_000;
/// Keys a peer may ask for at once.
const ASKED_MAX: usize = 100;

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Legacy {
    /// Own groups asked for and not granted yet.
    wanted: BTreeSet<String>,
    retry_ms: Option<u64>,
    /// Groups the peer asked for, to be granted when ours are stopped.
    asked: BTreeSet<String>,
}

impl Legacy {
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.texts("legacy.wanted", &mut self.wanted);
        form.optional("legacy.retry", &mut self.retry_ms);
        form.texts("legacy.asked", &mut self.asked);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { wanted, retry_ms, asked } = self;
        into.add((wanted, asked));
        into.moment_if(*retry_ms, 0);
    }

    pub fn next_timeout_ms(&self) -> Option<u64> {
        self.retry_ms
    }
}

impl Cluster {
    pub(super) fn is_legacy(&self) -> bool {
        self.settings.auto_failback == AutoFailback::Legacy
    }

    pub(super) fn legacy_begin(&mut self) {
        self.claims.phase = super::claims::Phase::Stable;
        self.legacy.wanted = self.settings.local_keys.iter().cloned().collect();
        if self.peer().is_some_and(super::node::Node::is_dead) {
            self.take_over(false);
        } else if self.peer.is_none() || self.legacy.wanted.is_empty() {
            self.own_groups_granted(ResourceSet::LOCAL);
            self.legacy_take(if self.peer.is_none() { ResourceSet::ALL } else { ResourceSet::LOCAL });
        } else {
            self.legacy_ask();
        }
    }

    /// A script asks for a group of this node; the peer's answer is waited for.
    pub(super) fn legacy_wants(&mut self, key: &str) -> bool {
        let missing = !self.claims.hold.contains(ResourceSet::LOCAL);
        let known = self.settings.local_keys.iter().any(|own| own == key) && missing;
        if known {
            self.legacy.wanted.insert(key.to_owned());
        }
        known
    }

    fn legacy_ask(&mut self) {
        self.legacy.retry_ms = Some(self.now.monotonic_ms + RETRY_MS);
        for key in self.legacy.wanted.clone() {
            self.send(Message::new("ip-request").with("ipaddr", &key));
        }
    }

    fn legacy_take(&mut self, set: ResourceSet) {
        self.legacy.wanted.clear();
        self.legacy.retry_ms = None;
        let missing = set.minus(self.claims.hold);
        self.claims.hold = self.claims.hold.union(set);
        if !missing.is_empty() {
            self.schedule(Job::Acquire(missing), Purpose::Acquire);
        }
    }

    /// The administrator's script `rc.d/ip-request-resp` runs for each group of this node that is taken
    /// without asking anybody, as for the answers of the original's `req_resource` to itself (resources
    /// spec 2.4); not when a standby moves groups.
    pub(super) fn own_groups_granted(&mut self, taken: ResourceSet) {
        if taken.contains(ResourceSet::LOCAL) {
            for key in self.settings.local_keys.clone() {
                self.own_group_granted(&key);
            }
        }
    }

    pub(super) fn own_group_granted(&mut self, key: &str) {
        let local = self.settings.local.as_str();
        self.hook(granted(local, key, "yes").with("src", local));
    }

    pub(super) fn tick_legacy(&mut self) {
        if self.legacy.retry_ms.is_some_and(|due| self.now.monotonic_ms >= due) {
            self.legacy_ask();
        }
    }

    /// `ip-request`: the peer wants one of its groups; what we hold of it is stopped first.
    pub(super) fn receive_ip_request(&mut self, sender: usize, message: &Message) {
        let Some(key) = message.text("ipaddr").map(str::to_owned).filter(|_| Some(sender) == self.peer)
        else {
            return;
        };
        if !self.is_legacy() {
            let text = format!("the other node's request for {} alone", super::text::escape(&key));
            return self.not_followed(&text, "without auto_failback legacy only sets move: use hb_standby");
        }
        if self.legacy.asked.len() >= ASKED_MAX {
            return;
        }
        if self.settings.local_keys.contains(&key) && self.claims.hold.contains(ResourceSet::LOCAL) {
            // Whatever the answer, a 3.0.6 node would start it.
            let text = format!("the other node's request for {}", super::text::escape(&key));
            return self.not_followed(&text, "it is at home here");
        }
        self.hook(message.clone());
        self.legacy.asked.insert(key);
        if self.claims.hold.contains(ResourceSet::FOREIGN) {
            if !self.releasing().contains(ResourceSet::FOREIGN) {
                self.schedule(Job::Release(ResourceSet::FOREIGN), Purpose::LegacyRelease);
            }
        } else {
            self.legacy_grant("no");
        }
    }

    pub(super) fn legacy_released(&mut self, _set: ResourceSet) {
        self.legacy_grant("yes");
    }

    fn legacy_grant(&mut self, owned: &str) {
        let Some(dest) = self.peer_name() else {
            return;
        };
        for key in std::mem::take(&mut self.legacy.asked) {
            self.send(granted(dest.as_str(), &key, owned));
        }
    }

    /// `ip-request-resp`: the peer has let a group go; with the last one ours are started.
    pub(super) fn receive_ip_request_response(&mut self, sender: usize, message: &Message) {
        if Some(sender) != self.peer || !self.is_legacy() || self.shutdown.is_under_way() {
            return;
        }
        let granted = message.text("ok") == Some("OK");
        let key = message.text("ipaddr").unwrap_or("");
        self.hook(message.clone());
        if granted && self.legacy.wanted.remove(key) && self.legacy.wanted.is_empty() {
            self.log(LogLevel::Info, "the other node has released our resources");
            self.legacy_take(ResourceSet::LOCAL);
        }
    }

    /// The peer is gone: everything is ours.
    pub(super) fn legacy_take_all(&mut self) {
        let Some(name) = self.peer_name() else {
            return;
        };
        self.log(LogLevel::Info, &format!("Resources being acquired from {name}."));
        self.own_groups_granted(ResourceSet::ALL.minus(self.claims.hold));
        self.legacy_take(ResourceSet::ALL);
    }

    pub(super) fn legacy_peer_restarted(&mut self) {
        self.legacy.asked.clear();
    }
}

fn granted(dest: &str, key: &str, owned: &str) -> Message {
    let answer = Message::new("ip-request-resp").with("dest", dest).with("ipaddr", key);
    answer.with("weown", owned).with("ok", "OK")
}
