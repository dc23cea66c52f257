//! What runs on a host: the cluster value under test, or the model of the original.

use std::sync::Arc;

use ha_core::cluster::event::{Input, Now, Output};
use ha_core::cluster::fingerprint::Fingerprint;
use ha_core::cluster::settings::ClusterSettings;
use ha_core::cluster::Cluster;
use ha_core::types::{Generation, ResourceSet};

use crate::model_306::Model;

/// Wall clock of every host, seconds: it stands still, nothing but the order of `ts` matters.
const WALL_S: u64 = 1_700_000_000;

/// A daemon; a clone shares it until one of both changes.
#[derive(Debug, Clone)]
pub enum Daemon {
    /// Ours.
    Ours(Arc<Cluster>),
    /// A model of 3.0.6.
    Original(Arc<Model>),
}

/// What a daemon says of itself and its peer, viewpoint of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The resource protocol runs.
    pub communication_up: bool,
    /// `rscstatus`
    pub status: String,
    /// What it claims.
    pub holding: ResourceSet,
    /// What it believes the peer claims, the peer's viewpoint; `None` when it does not know.
    pub peer_holding: Option<ResourceSet>,
    /// It tells somebody that something is wrong.
    pub alarm: bool,
    /// It is in transition until an answer comes that cannot come: its peer lives anew.
    pub waits_for_former_peer: bool,
}

fn at(now_ms: u64) -> Now {
    Now { monotonic_ms: now_ms, wall_s: WALL_S }
}

impl Daemon {
    /// One of ours before its first input.
    pub fn ours(settings: ClusterSettings, now_ms: u64) -> Self {
        Self::Ours(Arc::new(Cluster::new(settings, at(now_ms))))
    }

    /// An original before its first input.
    pub fn original(settings: &ClusterSettings, has_group: bool, now_ms: u64) -> Self {
        Self::Original(Arc::new(Model::new(settings, has_group, now_ms)))
    }

    /// Handles an input; what it wants done.
    pub fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Output> {
        match self {
            Self::Ours(cluster) => {
                let cluster = Arc::make_mut(cluster);
                cluster.handle(at(now_ms), input);
                std::iter::from_fn(|| cluster.poll_output()).collect()
            }
            Self::Original(model) => Arc::make_mut(model).handle(now_ms, input),
        }
    }

    /// When its next timer is due.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        match self {
            Self::Ours(cluster) => cluster.next_timeout_ms(),
            Self::Original(model) => model.next_timeout_ms(),
        }
    }

    /// What decides its future.
    pub fn fingerprint(&self, into: &mut Fingerprint) {
        match self {
            Self::Ours(cluster) => cluster.fingerprint(into),
            Self::Original(model) => model.fingerprint(into),
        }
    }

    /// What it claims.
    pub fn holding(&self) -> ResourceSet {
        match self {
            Self::Ours(cluster) => cluster.holding(),
            Self::Original(model) => model.holding(),
        }
    }

    /// Generation of the peer it knows, and the oldest number of it that would still be news.
    pub fn awaits(&self) -> (Generation, Option<u64>) {
        match self {
            Self::Ours(cluster) => (cluster.known_peer_generation(), cluster.oldest_awaited_number()),
            Self::Original(model) => model.awaits(),
        }
    }

    /// An original starts what a life of its peer gave that has ended.
    pub fn takes_from_former_peer(&self) -> bool {
        matches!(self, Self::Original(model) if model.takes_from_former_peer())
    }

    /// What clients would be told.
    pub fn view(&self, now_ms: u64) -> View {
        let cluster = match self {
            Self::Ours(cluster) => cluster,
            Self::Original(model) => return model.view(),
        };
        let view = cluster.view(at(now_ms));
        let peer = view.nodes.iter().find(|node| node.name != view.local);
        View {
            communication_up: view.communication_up,
            peer_holding: peer.and_then(|node| node.holding.parse().ok()),
            holding: cluster.holding(),
            alarm: !view.alarms.is_empty(),
            waits_for_former_peer: false,
            status: view.resource_status,
        }
    }
}
