//! Messages that local programs hand in: scripts through the FIFO, clients through the socket.
//!
//! A message of a script or client goes to all nodes, this one included (resources spec 2.1). Those
//! that speak for the daemon itself are no affair of theirs: what is held and what was released only
//! the daemon says, or both nodes could come to serve.

use crate::types::{LogLevel, ResourceSet};
use crate::wire::message::Message;

use super::event::{Job, Output};
use super::jobs::Purpose;
use super::text::escape;
use super::Cluster;

/// Fields a local message may have; room is left for those added on its way.
const FIELDS_MAX: usize = 100;
/// What the daemon alone says.
const OWN_KINDS: [&str; 6] = ["status", "starting", "shutdone", "reqnodes", "repnodes", "harefuse"];
/// Fields that are added on the way out.
const CONTROL_FIELDS: [&str; 2] = ["auth", "destuuid"];

impl Cluster {
    /// A message of a local client or script.
    pub(super) fn local_message(&mut self, mut message: Message) {
        let kind = message.kind().to_owned();
        if kind.is_empty() || kind.starts_with("NS_") || message.fields().len() > FIELDS_MAX {
            let text = "message from a local program without a usable type, or too long: not sent";
            self.log_limited("local-message", LogLevel::Error, text);
            return;
        }
        for name in CONTROL_FIELDS {
            message.remove(name);
        }
        match (kind.as_str(), message.text("info")) {
            ("ask_resources", Some("me")) => self.local_standby(&message),
            ("hb_takeover", _) => self.local_takeover(&message),
            ("resource", info) => self.local_claim(info == Some("mach_down")),
            ("ip-request", _) => self.local_request(message),
            ("ip-request-resp", _) => self.local_grant(&message),
            ("ask_resources", _) => self.not_for_scripts("ask_resources"),
            (kind, _) if OWN_KINDS.contains(&kind) => self.not_for_scripts(kind),
            _ => self.broadcast(message),
        }
    }

    /// Sends a message and treats this node's own copy as everybody treats theirs: clients get it,
    /// the administrator's script runs.
    pub(super) fn broadcast(&mut self, message: Message) {
        let before = self.outputs.len();
        self.send(message);
        let sent = self.outputs.iter().skip(before).find_map(|output| match output {
            Output::Send { message, .. } => Some(message.clone()),
            _ => None,
        });
        let Some(message) = sent.filter(|message| self.is_to_us(message)) else {
            return;
        };
        match message.kind() {
            "addnode" | "delnode" | "setweight" | "setsite" => self.administer(&message),
            _ => self.hook(message.clone()),
        }
        self.outputs.push_back(Output::Deliver { message, unchanged: false });
    }

    fn not_for_scripts(&mut self, kind: &str) {
        let text = format!("{kind} message from a local program: only the daemon itself says that. Not sent");
        self.log_limited("local-kind", LogLevel::Error, &text);
    }

    /// `hb_standby`, `ipfail`.
    fn local_standby(&mut self, message: &Message) {
        let word = message.text("rsc_hold").unwrap_or("all");
        let Ok(set) = word.parse() else { return self.log_bad_set(word) };
        self.forget_failures(set);
        if let Err(why) = self.request_standby(set) {
            self.not_followed("standby", &why);
        }
    }

    /// `hb_takeover`; `failback` means this node's own groups.
    fn local_takeover(&mut self, message: &Message) {
        let word = message.text("rsc_hold").unwrap_or("all");
        let word = if word == "failback" { "local" } else { word };
        let Ok(set) = word.parse() else { return self.log_bad_set(word) };
        self.forget_failures(set);
        let again = self.try_failed_again(set);
        if let Err(why) = self.request_takeover(set) {
            if !again {
                self.not_followed("takeover", &why);
            }
        }
    }

    pub(super) fn not_followed(&mut self, what: &str, why: &str) {
        let text = format!("{what} request not followed: {why}");
        self.log_limited("local-request", LogLevel::Warning, &text);
    }

    /// `mach_down` says that it took over. So has this daemon, if the other node is gone; if it is
    /// not, nobody may believe it.
    fn local_claim(&mut self, took_over: bool) {
        if !took_over {
            self.not_for_scripts("resource");
        } else if !self.claims.hold.contains(ResourceSet::FOREIGN) {
            let text = "mach_down was called for a node that is not gone. This node does not claim its \
                        resources: stop what was started here (ResourceManager givegroup), or use hb_takeover";
            self.log_limited("local-claim", LogLevel::Error, text);
        }
    }

    /// `req_resource` asks for a group: only the old protocol moves single ones.
    fn local_request(&mut self, message: Message) {
        let key = message.text("ipaddr").unwrap_or("").to_owned();
        if self.is_legacy() && self.legacy_wants(&key) {
            self.send(message);
        } else if self.start_again(&key) {
            self.own_group_granted(&key);
        } else {
            let text = format!("{} is not held here: use hb_takeover", escape(&key));
            self.not_followed("resource", &text);
        }
    }

    /// `req_resource` found a resource not active that nobody need be asked for.
    fn local_grant(&mut self, message: &Message) {
        let key = message.text("ipaddr").unwrap_or("");
        let for_us = message.text("dest") == Some(self.settings.local.as_str());
        if !for_us || message.text("ok") != Some("OK") {
            return self.not_for_scripts("ip-request-resp");
        }
        if self.start_again(key) {
            self.own_group_granted(key);
        } else {
            let text = format!("{} is not held here: use hb_takeover", escape(key));
            self.not_followed("resource", &text);
        }
    }

    /// Starts what is not active of a set that this node holds anyway.
    fn start_again(&mut self, key: &str) -> bool {
        let own = self.settings.local_keys.iter().any(|known| known == key);
        let set = if own { ResourceSet::LOCAL } else { ResourceSet::FOREIGN };
        let held = self.claims.hold.contains(set) && !self.releasing().intersects(set);
        let may = self.settings.manage_resources && held && !self.shutdown.is_under_way();
        if may {
            self.schedule(Job::Acquire(set), Purpose::Acquire);
        }
        may
    }
}
