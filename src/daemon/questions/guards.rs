//! What runs for the guards (ha-guards(7)): `ha guard` for the lease and for addresses, the
//! administrator's programs for the arbiter and for resource fencing.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::killpg;
use nix::unistd::Pid;

use crate::cluster::event::{ArbiterVerb, Finding};
use crate::config::haresources::HaResources;
use crate::config::settings::HaCf;
use crate::config::split_brain::{Arbiter, AskBeforeTake, Lease, ResourceFence};
use crate::resource::address_of;
use crate::types::lease::LeaseRecord;
use crate::types::{NodeName, ResourceSet};

use super::{Inquiry, Judge, Program};

/// What runs for a question about addresses may take so much longer than it waits for answers.
const ASK_EXTRA: Duration = Duration::from_secs(5);

/// What the guards' children need to know.
#[derive(Debug, Clone, Default)]
pub struct GuardPlans {
    node: String,
    peer: String,
    cluster: String,
    lease: Option<Lease>,
    arbiter: Option<Arbiter>,
    resource_fence: Option<ResourceFence>,
    ask: Option<AskBeforeTake>,
    local_addresses: Vec<String>,
    foreign_addresses: Vec<String>,
}

impl GuardPlans {
    /// From the configuration of a node.
    pub fn new(ha_cf: &HaCf, resources: &HaResources, local: &NodeName) -> Self {
        let words = |own: bool| {
            let groups = resources.groups.iter().filter(|group| (group.node == *local) == own);
            let all = groups.flat_map(|group| &group.resources);
            all.filter(|resource| address_of(resource).is_some()).map(|it| it.word.clone()).collect()
        };
        let guards = &ha_cf.guards;
        let peer = ha_cf.nodes.iter().find(|node| *node != local);
        Self {
            node: local.to_string(),
            peer: peer.map_or(String::new(), ToString::to_string),
            cluster: ha_cf.cluster.clone(),
            lease: guards.lease.clone(),
            arbiter: guards.arbiter.clone(),
            resource_fence: guards.resource_fence.clone(),
            ask: guards.ask_before_take,
            local_addresses: words(true),
            foreign_addresses: words(false),
        }
    }

    pub(super) fn lease(&self, word: Option<LeaseRecord>) -> Result<Inquiry, String> {
        let lease = self.lease.as_ref().ok_or("no lease is configured")?;
        let path = lease.path.display().to_string();
        let mut arguments = vec!["lease".to_owned(), path, self.node.clone(), self.peer.clone()];
        arguments.extend(word.map(|word| word.to_string()));
        let limit = Duration::from_millis(lease.time_ms);
        Ok(Inquiry { arguments, ..applet(limit, "lease") })
    }

    pub(super) fn address(&self, set: ResourceSet) -> Result<Inquiry, String> {
        let ask = self.ask.as_ref().ok_or("ask_before_take is not configured")?;
        let mut arguments = vec!["ask".to_owned(), format!("--wait={}", ask.wait_ms)];
        arguments.extend(ask.tcp_port.map(|port| format!("--tcp={port}")));
        arguments.push("--".to_owned());
        for (part, words) in
            [(ResourceSet::LOCAL, &self.local_addresses), (ResourceSet::FOREIGN, &self.foreign_addresses)]
        {
            if set.contains(part) {
                arguments.extend(words.iter().cloned());
            }
        }
        let limit = Duration::from_millis(ask.wait_ms) + ASK_EXTRA;
        Ok(Inquiry { arguments, ..applet(limit, "ask before take") })
    }

    pub(super) fn arbiter(&self, verb: ArbiterVerb) -> Result<Inquiry, String> {
        let arbiter = self.arbiter.as_ref().ok_or("no arbiter is configured")?;
        let mut variables = self.variables();
        variables.push(("HA_ARBITER_TTL".to_owned(), (arbiter.ttl_ms / 1000).max(1).to_string()));
        variables.push(("HA_ARBITER_TTL_MS".to_owned(), arbiter.ttl_ms.to_string()));
        let limit = Duration::from_millis(arbiter.timeout_ms);
        let arguments = vec![verb.as_str().to_owned()];
        Ok(Inquiry { arguments, variables, ..program(&arbiter.program, limit, "arbiter", judge_arbiter) })
    }

    pub(super) fn resource(&self, node: &NodeName) -> Result<Inquiry, String> {
        let fence = self.resource_fence.as_ref().ok_or("resource_fence is not configured")?;
        let limit = Duration::from_millis(fence.timeout_ms);
        let arguments = vec!["off".to_owned(), node.to_string()];
        let variables = self.variables();
        Ok(Inquiry {
            arguments,
            variables,
            ..program(&fence.program, limit, "resource fencing", judge_fence)
        })
    }

    fn variables(&self) -> Vec<(String, String)> {
        let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![named("HA_NODE", &self.node), named("HA_PEER", &self.peer), named("HA_CLUSTER", &self.cluster)]
    }
}

fn applet(limit: Duration, title: &str) -> Inquiry {
    Inquiry::new(Program::Applet("guard"), limit, title, Judge::FirstLine)
}

fn program(path: &Path, limit: Duration, title: &str, judge: fn(i32) -> Finding) -> Inquiry {
    Inquiry::new(Program::File(path.to_owned()), limit, title, Judge::Code(judge))
}

fn judge_arbiter(code: i32) -> Finding {
    match code {
        0 => Finding::Yes,
        1 => Finding::No("it says no".to_owned()),
        code => Finding::Failed(format!("its program ended with code {code}")),
    }
}

fn judge_fence(code: i32) -> Finding {
    match code {
        0 => Finding::Yes,
        code => Finding::Failed(format!("its program ended with code {code}")),
    }
}

/// What a child of ours says in its first line: `yes`, `no` or `failed`, and words.
pub(super) fn first_line(text: &str) -> Finding {
    let line = text.lines().next().unwrap_or("");
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "yes" => Finding::Found(rest.to_owned()),
        "no" => Finding::No(rest.to_owned()),
        "failed" => Finding::Failed(rest.to_owned()),
        _ => Finding::Failed("it ended without a word".to_owned()),
    }
}

/// The child that touches the lease's disk. One that hangs there cannot even be killed: as long as it is
/// there no other is sent after it.
#[derive(Debug, Default)]
pub(super) struct DiskChild(Option<Pid>);

impl DiskChild {
    pub(super) fn hangs(&self) -> bool {
        self.0.is_some_and(|group| killpg(group, None).is_ok())
    }

    pub(super) fn is(&mut self, group: Option<Pid>) {
        self.0 = group;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_answers() {
        assert_eq!(first_line("yes own none peer none\n"), Finding::Found("own none peer none".to_owned()));
        assert_eq!(first_line("no 10.0.0.1 is in use"), Finding::No("10.0.0.1 is in use".to_owned()));
        for bad in ["", "yesterday", "\n yes"] {
            assert!(matches!(first_line(bad), Finding::Failed(_)), "{bad:?}");
        }
    }
}
