//! The groups of haresources with the last known state of each resource, for the status.

use std::collections::HashMap;

use crate::cluster::view::{ClusterView, GroupView, ResourceView, ServiceView};
use crate::config::haresources::HaResources;
use crate::types::NodeName;

/// What children reported of the groups so far.
pub struct Groups {
    groups: Vec<GroupView>,
}

impl Groups {
    /// All groups, nothing known of them yet.
    pub fn new(resources: &HaResources, local: &NodeName) -> Self {
        let groups = resources
            .groups
            .iter()
            .map(|group| GroupView {
                key: group.key().to_owned(),
                node: group.node.to_string(),
                set: if group.node == *local { "local" } else { "foreign" }.to_owned(),
                holder: String::new(),
                resources: group
                    .resources
                    .iter()
                    .map(|resource| ResourceView {
                        word: resource.word.clone(),
                        state: "unknown".to_owned(),
                        ..ResourceView::default()
                    })
                    .collect(),
            })
            .collect();
        Self { groups }
    }

    /// Takes a progress line of a job: `resource KEY INDEX WORD active|inactive|failed`. Others
    /// and unknown ones change nothing.
    pub fn report(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let ["resource", key, index, _, state] = words[..] else {
            return;
        };
        let state = match state {
            "active" => "running",
            "inactive" => "stopped",
            "failed" => "failed",
            "starting" | "stopping" => state,
            _ => return,
        };
        let resource = self
            .groups
            .iter_mut()
            .find(|group| group.key == key)
            .and_then(|group| group.resources.get_mut(index.parse::<usize>().ok()?));
        if let Some(resource) = resource {
            state.clone_into(&mut resource.state);
        }
    }

    /// What is known as progress lines, for another program file to go on with.
    pub fn reports(&self) -> Vec<String> {
        let word = |state: &str| match state {
            "running" => Some("active"),
            "stopped" => Some("inactive"),
            "failed" => Some("failed"),
            _ => None,
        };
        let mut lines = Vec::new();
        for group in &self.groups {
            for (index, resource) in group.resources.iter().enumerate() {
                if let Some(state) = word(&resource.state) {
                    lines.push(format!("resource {} {index} {} {state}", group.key, resource.word));
                }
            }
        }
        lines
    }

    /// Adds the groups to a view: who holds each follows from the claims. How its services are looked after
    /// moves to their resources.
    pub fn add_to(&self, view: &mut ClusterView) {
        let claims: Vec<(String, String)> =
            view.nodes.iter().map(|node| (node.name.clone(), node.holding.clone())).collect();
        let services = std::mem::take(&mut view.services);
        let services: HashMap<(&str, &str), &ServiceView> =
            services.iter().map(|service| ((&*service.set, &*service.word), service)).collect();
        let looked_after = |group: &GroupView, resource: &mut ResourceView| {
            if let Some(service) = services.get(&(&*group.set, &*resource.word)) {
                resource.watch.clone_from(&service.watch);
                resource.trouble.clone_from(&service.trouble);
            }
        };
        view.groups = self
            .groups
            .iter()
            .map(|group| {
                let holder = claims.iter().find(|(name, holding)| {
                    let set = if *name == group.node { "local" } else { "foreign" };
                    holding == "all" || holding == set
                });
                let holder = holder.map(|(name, _)| name.clone()).unwrap_or_default();
                let mut group = GroupView { holder, ..group.clone() };
                let mut resources = std::mem::take(&mut group.resources);
                resources.iter_mut().for_each(|resource| looked_after(&group, resource));
                GroupView { resources, ..group }
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::view::NodeView;

    #[test]
    fn reports_and_claims_meet_in_the_view() {
        let group = GroupView {
            key: "10.0.0.1".to_owned(),
            node: "node2".to_owned(),
            set: "foreign".to_owned(),
            resources: vec![ResourceView {
                word: "10.0.0.1".to_owned(),
                state: "unknown".to_owned(),
                ..ResourceView::default()
            }],
            ..GroupView::default()
        };
        let mut groups = Groups { groups: vec![group] };
        groups.report("resource 10.0.0.1 0 10.0.0.1 active");
        groups.report("resource 10.0.0.1 7 10.0.0.1 failed");
        groups.report("resource 10.0.0.1 0 10.0.0.1 nonsense");
        assert_eq!(groups.reports(), ["resource 10.0.0.1 0 10.0.0.1 active"]);
        let node = |name: &str, holding: &str| NodeView {
            name: name.to_owned(),
            holding: holding.to_owned(),
            ..NodeView::default()
        };
        let mut view = ClusterView {
            nodes: vec![node("node1", "all"), node("node2", "none")],
            services: vec![ServiceView {
                word: "10.0.0.1".to_owned(),
                set: "foreign".to_owned(),
                watch: "asked every 10 s".to_owned(),
                trouble: "does not work (1 of 3)".to_owned(),
            }],
            ..ClusterView::default()
        };
        groups.add_to(&mut view);
        assert_eq!(view.groups[0].resources[0].watch, "asked every 10 s");
        assert_eq!(view.groups[0].resources[0].trouble, "does not work (1 of 3)");
        assert!(view.services.is_empty());
        assert_eq!(view.groups[0].holder, "node1");
        assert_eq!(view.groups[0].resources[0].state, "running");
    }
}
