//! The picture for clients.

use super::event::Now;
use super::node::Node;
use super::view::{ClusterView, LinkView, NodeView};
use super::Cluster;

impl Cluster {
    /// Everything clients may ask about, as of `now`.
    pub fn view(&self, now: Now) -> ClusterView {
        let transition = self.transition();
        let resource_status = if !self.settings.manage_resources {
            "none"
        } else if self.is_legacy() {
            if self.jobs.is_idle() {
                "none"
            } else {
                "transition"
            }
        } else if self.in_transition() {
            "transition"
        } else {
            self.claims.hold.as_str()
        };
        ClusterView {
            local: self.settings.local.to_string(),
            resource_status: resource_status.to_owned(),
            holding: self.claims.hold.to_string(),
            transition,
            communication_up: self.liveness.communication_up,
            nodes: self.node_views(now.monotonic_ms),
            alarms: self.alarms(),
            guards: self.guards(),
            services: self.service_views(),
            dropped_packets: self.dropped_packets,
            repeated_packets: self.repeated_packets,
            ..ClusterView::default()
        }
    }

    /// Nodes and ping nodes, in the order of the configuration.
    fn node_views(&self, now_ms: u64) -> Vec<NodeView> {
        let mut views = Vec::with_capacity(self.nodes.len() + self.pings.len());
        for index in 0..=self.nodes.len() {
            let last = index == self.nodes.len();
            let here = |before: usize| before == index || (last && before > index);
            views.extend(
                self.pings.iter().filter(|ping| here(ping.nodes_before())).map(|ping| ping.view(now_ms)),
            );
            if !last {
                views.push(self.node_view(index, now_ms));
            }
        }
        views
    }

    /// What is under way, in words.
    pub(super) fn transition(&self) -> String {
        let takes_part = self.settings.manage_resources && !self.is_legacy();
        let peer_in_flux = takes_part && self.peer_is_active() && !self.claims.peer_stable;
        let parts = [
            self.shutdown.describe().to_owned(),
            self.handover.describe(),
            self.takeover.describe(),
            self.jobs.describe(),
            if self.lateness.in_doubt() { "asking whether our resources were taken over" } else { "" }
                .to_owned(),
            if !self.liveness.communication_up { "waiting for the other node" } else { "" }.to_owned(),
            if self.liveness.communication_up && peer_in_flux {
                "the other node is in transition"
            } else {
                ""
            }
            .to_owned(),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
    }

    fn in_transition(&self) -> bool {
        let peer_in_flux = self.peer_is_active() && !self.claims.peer_stable;
        !self.is_settled() || peer_in_flux
    }

    fn node_view(&self, index: usize, now_ms: u64) -> NodeView {
        let node = &self.nodes[index];
        let is_me = index == self.me;
        let holding = if is_me {
            self.claims.hold.to_string()
        } else if Some(index) == self.peer && self.claims.peer_known {
            self.claims.peer_hold.to_string()
        } else {
            String::new()
        };
        NodeView {
            name: node.name.to_string(),
            status: node.status.as_str().to_owned(),
            kind: "normal".to_owned(),
            weight: node.weight,
            site: node.site.clone(),
            uuid: node.uuid.map(|uuid| uuid.to_string()),
            speaks_extensions: (!is_me && node.generation.0 > 0).then(|| node.is_ours()),
            holding,
            links: link_views(node, now_ms),
        }
    }

    fn alarms(&self) -> Vec<String> {
        let mut alarms = self.takeover_alarms();
        if self.in_maintenance() {
            alarms.push(self.maintenance_text());
        }
        let overlap = self.claims.hold.intersection(self.claims.peer_hold_here());
        let peer_live = self.peer_is_live() && self.claims.peer_known;
        if peer_live && !overlap.is_empty() {
            alarms.push(format!("both nodes claim {overlap} resources"));
        }
        let down = self.claims.failed_on_both;
        for (set, place) in
            [(down, "both nodes and stay down"), (self.claims.failed.minus(down), "this node")]
        {
            if !set.is_empty() {
                alarms.push(format!(
                    "{set} resources failed to start or to run on {place}: repair, then hb_takeover {set}"
                ));
            }
        }
        let Some(peer) = self.peer() else {
            return alarms;
        };
        if let Some(extension) = &peer.extension {
            if self.digests_differ(extension) {
                alarms.push(format!("haresources differs from the file on node {}", peer.name));
            }
            if peer.is_live() && !extension.hears_us && self.liveness.communication_up {
                alarms.push(format!("node {} does not hear this node", peer.name));
            }
        }
        // A dead node or link shows in the lists of the view.
        alarms
    }
}

fn link_views(node: &Node, now_ms: u64) -> Vec<LinkView> {
    node.links
        .iter()
        .map(|link| LinkView {
            name: link.name.to_string(),
            status: if link.up { "up" } else { "dead" }.to_owned(),
            last_packet_age_ms: link.last_packet_ms.map(|last| now_ms.saturating_sub(last)),
        })
        .collect()
}
