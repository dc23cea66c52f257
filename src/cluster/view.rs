//! The read-only picture of a cluster that clients, `ha status` and metrics share.

use serde::{Deserialize, Serialize};

/// Everything a client may ask about, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ClusterView {
    /// This node's name.
    pub local: String,
    /// `none`, `local`, `foreign`, `all` or `transition`: what `rscstatus` prints.
    pub resource_status: String,
    /// What this node claims, `none` to `all`, also while in transition.
    pub holding: String,
    /// What is under way, in words; empty when nothing is.
    pub transition: String,
    /// Communication is up: the resource protocol runs.
    pub communication_up: bool,
    /// The nodes in configuration order.
    pub nodes: Vec<NodeView>,
    /// Conditions a person should look at, one sentence each.
    pub alarms: Vec<String>,
    /// What stands between the pair and two owners of one group, one sentence for each; empty when
    /// nothing does.
    #[serde(default)]
    pub guards: Vec<String>,
    /// What is to say about the resources that this node holds and watches; left out once `groups` has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceView>,
    /// Packets that were not believed since the start: damaged, wrongly signed, no messages, of a
    /// node that is not configured or of an earlier life of one, or with impossible numbers.
    #[serde(default)]
    pub dropped_packets: u64,
    /// Packets with a number that had come before, other than the newest: replayed, or the copy of a
    /// link that is behind the others.
    #[serde(default)]
    pub repeated_packets: u64,
    /// The resource groups in the order of haresources; empty when none is configured or when the
    /// daemon does not say.
    #[serde(default)]
    pub groups: Vec<GroupView>,
}

/// One resource group, a line of haresources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct GroupView {
    /// What names the group: its first resource (resources spec 1.4).
    #[serde(default)]
    pub key: String,
    /// The node the line names: its home.
    #[serde(default)]
    pub node: String,
    /// The set it belongs to as this node sees it: `local` or `foreign`.
    #[serde(default)]
    pub set: String,
    /// The node that holds it; empty when nobody is known to.
    #[serde(default)]
    pub holder: String,
    /// Its resources in starting order.
    #[serde(default)]
    pub resources: Vec<ResourceView>,
}

/// One resource of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ResourceView {
    /// As written in haresources, `IPaddr2::10.0.0.1/24/eth0`.
    #[serde(default)]
    pub word: String,
    /// The last known state on this node: `running`, `stopped`, `starting`, `stopping`, `failed`
    /// or `unknown`.
    #[serde(default)]
    pub state: String,
    /// How it is looked after here, `asked every 10 s`; empty when it is not.
    #[serde(default)]
    pub watch: String,
    /// What the watching found wrong with it; empty when nothing is.
    #[serde(default)]
    pub trouble: String,
}

/// How a resource that this node holds is looked after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ServiceView {
    /// As written in haresources.
    pub word: String,
    /// The set of its group: `local` or `foreign`.
    pub set: String,
    /// In words.
    pub watch: String,
    /// What is wrong with it, in words; empty when nothing is.
    pub trouble: String,
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct NodeView {
    /// Name.
    pub name: String,
    /// `init`, `up`, `active`, `dead`, or the text the node sent.
    pub status: String,
    /// `normal` or `ping`.
    pub kind: String,
    /// `weight`, default 100.
    pub weight: u64,
    /// `site`, default empty.
    pub site: String,
    /// Identity, `None` when never heard.
    pub uuid: Option<String>,
    /// Whether it speaks our extensions; `None` for this node and for one never heard.
    pub speaks_extensions: Option<bool>,
    /// What it claims (its own viewpoint).
    pub holding: String,
    /// Its links, in configuration order.
    pub links: Vec<LinkView>,
}

/// One link of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct LinkView {
    /// Medium's name.
    pub name: String,
    /// `up` or `dead`.
    pub status: String,
    /// Milliseconds since the last packet; `None` when none ever came.
    pub last_packet_age_ms: Option<u64>,
}
