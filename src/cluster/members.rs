//! Who belongs to the cluster: the node lists that nodes ask each other for, nodes that join by
//! themselves, `hb_addnode` and `hb_delnode`, weights and sites (messaging spec 3.7).
//!
//! Resources stay a matter of this node and the one other that it started with: a node that becomes
//! a member later is watched and talked to, and takes nothing over.

use crate::config::NODES_MAX;
use crate::types::{clean_site, HostRecord, LogLevel, NodeName, Uuid};
use crate::wire::message::Message;

use super::event::{HostList, Output};
use super::fingerprint::Fingerprint;
use super::handoff::Form;
use super::node::{Node, Status};
use super::text::escape;
use super::Cluster;

/// State of this room.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    /// Nodes that were deleted; at most [`NODES_MAX`].
    deleted: Vec<HostRecord>,
    members_changed: bool,
    deleted_changed: bool,
    /// A 3.0.6 peer took over from a node that is neither of us: what it claims since is more than
    /// it started.
    pub peer_took_for_another: bool,
}

impl Members {
    /// No list waits to be kept.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.members_changed && !self.deleted_changed
    }

    /// The deleted nodes are read again from where they are kept.
    pub(super) fn visit(&mut self, form: &mut Form) {
        form.flag("members.changed", &mut self.members_changed);
        form.flag("members.deleted_changed", &mut self.deleted_changed);
        form.flag("members.peer_took_for_another", &mut self.peer_took_for_another);
    }

    /// What decides, for [`Cluster::fingerprint`].
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        let Self { deleted, members_changed, deleted_changed, peer_took_for_another } = self;
        into.add((deleted.len(), members_changed, deleted_changed, peer_took_for_another));
    }
}

impl Cluster {
    /// Members of an earlier run, before the first input.
    pub(super) fn recall_hosts(&mut self) {
        let membership = self.settings.membership.clone();
        for host in membership.hosts.into_iter().take(NODES_MAX) {
            let index = self.position_of(&host.name).or_else(|| self.add_member(host.name.clone()));
            if let Some(node) = index.map(|index| &mut self.nodes[index]) {
                node.uuid = host.uuid;
                node.weight = host.weight;
                node.site = host.site;
                node.added_ms = None;
            }
        }
        self.members.deleted = membership.deleted.into_iter().take(NODES_MAX).collect();
        self.members.members_changed = true;
    }

    fn position_of(&self, name: &NodeName) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == *name)
    }

    /// The lists have to be kept: at the end of each input, once for all changes.
    pub(super) fn keep_hosts(&mut self) {
        let began = self.liveness.started_ms.is_some();
        if std::mem::take(&mut self.members.members_changed) && self.settings.membership.keep_hosts && began {
            let hosts = self.nodes.iter().map(Node::record).collect();
            self.outputs.push_back(Output::KeepHosts { list: HostList::Members, hosts });
        }
        if std::mem::take(&mut self.members.deleted_changed) {
            let hosts = self.members.deleted.clone();
            self.outputs.push_back(Output::KeepHosts { list: HostList::Deleted, hosts });
        }
    }

    /// Something that `hostcache` holds is different now.
    pub(super) fn hosts_changed(&mut self) {
        self.members.members_changed = true;
    }

    // ---- the list ------------------------------------------------------------------------

    /// An unknown node that signs with our keys, where nodes may join by themselves. A name with
    /// capitals could not be looked up again and is not taken.
    pub(super) fn admit(&mut self, name: &NodeName, uuid: Option<Uuid>) -> Option<usize> {
        let usual = NodeName::new(name.as_str()).as_ref() == Some(name);
        if !self.settings.membership.auto_join || !usual {
            return None;
        }
        let index = self.add_member(name.clone())?;
        self.nodes[index].uuid = uuid.filter(|uuid| !uuid.is_null());
        let text =
            format!("process_clustermsg: Adding new node [{}] to configuration.", escape(name.as_str()));
        self.log(LogLevel::Info, &text);
        Some(index)
    }

    /// `None` when the list is full.
    fn add_member(&mut self, name: NodeName) -> Option<usize> {
        if self.nodes.len() >= NODES_MAX {
            let text = format!("node {} was not added: {NODES_MAX} nodes are the most there can be", name);
            self.log_limited("nodes-max", LogLevel::Error, &text);
            return None;
        }
        let dead_after_ms = if self.liveness.communication_up {
            self.settings.dead_time_ms
        } else {
            self.settings.init_dead_ms
        };
        let trigger = self.next_random() % 10;
        let mut node = Node::new(name, &self.settings.links, dead_after_ms, trigger);
        node.added_ms = Some(self.now.monotonic_ms);
        self.nodes.push(node);
        self.hosts_changed();
        let index = self.nodes.len() - 1;
        match self.peer {
            None => self.peer = Some(index),
            Some(_) if self.settings.manage_resources && self.liveness.started_ms.is_some() => {
                let text = format!(
                    "node {} takes no part in resources: haresources is a matter of two nodes",
                    self.nodes[index].name
                );
                self.log(LogLevel::Warning, &text);
            }
            Some(_) => {}
        }
        Some(index)
    }

    /// Takes a node out; never this one.
    fn drop_member(&mut self, index: usize) {
        if index == self.me || index >= self.nodes.len() {
            return;
        }
        let node = self.nodes.remove(index);
        self.me -= usize::from(self.me > index);
        self.peer = self.peer.filter(|peer| *peer != index).map(|peer| peer - usize::from(peer > index));
        if self.peer.is_none() && !self.settings.manage_resources {
            self.peer = (0..self.nodes.len()).rev().find(|other| *other != self.me);
        }
        self.hosts_changed();
        let event = Message::new("delnode").with("node", node.name.as_str());
        self.outputs.push_back(Output::Deliver { message: event, unchanged: false });
    }

    // ---- lists that nodes ask each other for ---------------------------------------------

    /// `reqnodes`, answered from the first packet on: a node without an answer never becomes active
    /// (resources spec 2.3).
    ///
    /// Towards a 3.0.6 node our status goes before it: with this answer it becomes active, and with
    /// `auto_failback legacy` it asks for its groups only whom it knows to be active by then.
    pub(super) fn receive_reqnodes(&mut self, sender: usize) {
        if !self.nodes[sender].is_ours() {
            self.send_status();
        }
        let names: String = self.nodes.iter().map(|node| format!("{} ", node.name)).collect();
        let deleted: String = self.members.deleted.iter().map(|host| format!("{} ", host.name)).collect();
        let mut answer = Message::empty();
        answer.push_text("dest", self.nodes[sender].name.as_str());
        answer.push_text("t", "repnodes");
        answer.push_text("nodelist", &names);
        answer.push_text("delnodelist", if deleted.is_empty() { " " } else { &deleted });
        self.send(answer);
    }

    /// `repnodes`: the other's list is taken over. Names that are new here are added; a node that
    /// it does not have is taken out unless it is alive, or the one that resources are shared with.
    pub(super) fn receive_repnodes(&mut self, message: &Message) {
        let theirs = names(message.text("nodelist").unwrap_or(""));
        if theirs.is_empty() {
            return;
        }
        for name in theirs.iter().filter(|name| self.position_of(name).is_none()).cloned().collect::<Vec<_>>()
        {
            self.log(LogLevel::Info, &adding(name.as_str()));
            self.add_member(name);
        }
        let me = self.settings.local.clone();
        let missing: Vec<NodeName> =
            self.nodes.iter().map(|node| node.name.clone()).filter(|name| !theirs.contains(name)).collect();
        for name in missing.into_iter().filter(|name| *name != me) {
            self.remove_unlisted(&name);
        }
        let deleted = names(message.text("delnodelist").unwrap_or("")).into_iter();
        let known = std::mem::take(&mut self.members.deleted);
        self.members.deleted = deleted
            .map(|name| match known.iter().find(|host| host.name == name) {
                Some(host) => host.clone(),
                None => HostRecord::new(name),
            })
            .collect();
        self.members.deleted_changed = true;
        if self.liveness.reqnodes_retry_ms.is_some() && !self.liveness.communication_up {
            self.communication_is_up();
        }
    }

    fn remove_unlisted(&mut self, name: &NodeName) {
        let Some(index) = self.position_of(name) else {
            return;
        };
        self.log(LogLevel::Info, &removing(name.as_str()));
        let status = self.nodes[index].status.clone();
        if !matches!(status, Status::Dead | Status::Init) {
            let text = format!("remove_node: node {name} is {}. Cannot remove alive node", status.as_str());
            self.log_limited("remove-alive", LogLevel::Error, &text);
        } else if self.settings.manage_resources && Some(index) == self.peer {
            let text = format!("node {name} stays: resources are shared with it");
            self.log_limited("remove-peer", LogLevel::Error, &text);
        } else {
            self.drop_member(index);
        }
    }

    // ---- what people change --------------------------------------------------------------

    /// `addnode`, `delnode`, `setweight`, `setsite`, of this node's own tools or of another node's.
    pub(super) fn administer(&mut self, message: &Message) {
        let list = || message.text("nodelist").unwrap_or("");
        match message.kind() {
            "addnode" => self.add_nodes(list()),
            "delnode" => self.delete_nodes(list()),
            _ => self.set_attribute(message),
        }
    }

    fn add_nodes(&mut self, list: &str) {
        for word in words(list) {
            self.log(LogLevel::Info, &adding(&escape(word)));
            let Some(name) = NodeName::new(word) else {
                self.log(LogLevel::Error, &format!("Add node {} failed", escape(word)));
                continue;
            };
            if self.position_of(&name).is_some() {
                self.log(LogLevel::Error, &format!("hb_add_one_node: node({name}) already exists"));
                self.log(LogLevel::Error, &format!("Add node {name} failed"));
                continue;
            }
            let before = self.members.deleted.len();
            self.members.deleted.retain(|host| host.name != name);
            self.members.deleted_changed |= self.members.deleted.len() != before;
            if self.add_member(name.clone()).is_none() {
                self.log(LogLevel::Error, &format!("Add node {name} failed"));
            }
        }
    }

    /// All or nothing: every named node must be dead, and every other alive, so that all members
    /// forget the same ones.
    fn delete_nodes(&mut self, list: &str) {
        let listed: Vec<NodeName> = words(list).filter_map(NodeName::new).collect();
        let mut known = self.nodes.iter().filter(|node| listed.contains(&node.name));
        if let Some(alive) = known.find(|node| !node.is_dead()) {
            let text = format!("deletion failed: node {} is not dead", alive.name);
            self.log(LogLevel::Warning, &text);
            return;
        }
        let others = self.nodes.iter().enumerate().filter(|(_, node)| !listed.contains(&node.name));
        if let Some((_, absent)) =
            others.into_iter().find(|(index, node)| *index != self.me && !node.is_live())
        {
            let text = format!(
                "HBDoMsg_T_DELNODE: deletion failed. We don't have all required nodes alive ({} is {})",
                absent.name,
                escape(absent.status.as_str())
            );
            self.log(LogLevel::Error, &text);
            return;
        }
        for name in listed {
            self.delete_node(&name);
        }
    }

    fn delete_node(&mut self, name: &NodeName) {
        self.log(LogLevel::Info, &removing(name.as_str()));
        let Some(index) = self.position_of(name) else {
            self.log(LogLevel::Error, &format!("hb_remove_one_node: node {name} not found in config"));
            self.log(LogLevel::Error, &format!("Deleting node {name} failed"));
            return;
        };
        let record = self.nodes[index].record();
        self.drop_member(index);
        self.members.deleted.retain(|host| host.name != *name);
        if self.members.deleted.len() >= NODES_MAX {
            self.members.deleted.remove(0);
        }
        self.members.deleted.push(record);
        self.members.deleted_changed = true;
    }

    fn set_attribute(&mut self, message: &Message) {
        let named = message.text("node").and_then(NodeName::new);
        let Some(index) = named.and_then(|name| self.position_of(&name)) else {
            let text = format!(
                "{}: there is no node [{}]",
                message.kind(),
                escape(message.text("node").unwrap_or(""))
            );
            self.log_limited("attribute", LogLevel::Warning, &text);
            return;
        };
        match message.kind() {
            "setweight" => {
                let Some(weight) = message.decimal("weight") else {
                    self.log_limited("attribute", LogLevel::Warning, "setweight: the weight is no number");
                    return;
                };
                self.nodes[index].weight = weight;
            }
            _ => self.nodes[index].site = clean_site(message.text("site").unwrap_or("")),
        }
        self.hosts_changed();
    }

    /// A message about resources at a node that has none: a 3.0.6 node that starts waits for anybody's
    /// word on what is held (resources spec 2.3). Scripts for other messages run as everywhere.
    pub(super) fn receive_without_resources(&mut self, message: &Message) {
        match message.kind() {
            "starting" => {
                let nothing = Message::new("resource").with("rsc_hold", "none");
                self.send(nothing.with("rtype", "full").with("isstable", "1"));
            }
            "resource" | "ask_resources" | "harefuse" | "hb_takeover" | "ip-request" | "ip-request-resp" => {}
            _ => self.hook(message.clone()),
        }
    }

    /// `stonith` of a 3.0.6 peer tells of whose death it takes over. Of a third node's it claims
    /// everything as it would of ours, although the groups of haresources that it then starts are
    /// that node's own (resources spec 2.5; messaging spec 4.5).
    pub(super) fn receive_fencing_result(&mut self, sender: usize, message: &Message) {
        if Some(sender) == self.peer && !self.nodes[sender].is_ours() {
            let about_us = message.text("node") == Some(self.settings.local.as_str());
            self.members.peer_took_for_another = !about_us;
        }
        let about_us = message.text("node") == Some(self.settings.local.as_str());
        if Some(sender) == self.peer && about_us && message.text("result") == Some("OK") {
            let text = format!(
                "node {} says that it has reset this node, which runs: its fencing device does not work, or \
                 resets another host",
                self.nodes[sender].name
            );
            self.log_limited("not-reset", LogLevel::Critical, &text);
        }
        self.hook(message.clone());
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', '\t']).filter(|word| !word.is_empty()).take(NODES_MAX)
}

/// The usable names of a list, each once.
fn names(list: &str) -> Vec<NodeName> {
    let mut names: Vec<NodeName> = Vec::new();
    for name in words(list).filter_map(NodeName::new) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn adding(name: &str) -> String {
    format!("hb_add_one_node: Adding new node[{name}] to configuration.")
}

fn removing(name: &str) -> String {
    format!("Removing node [{name}] from configuration.")
}

#[cfg(test)]
mod tests;
