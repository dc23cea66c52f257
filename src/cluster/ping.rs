//! Ping nodes: hosts whose answers show whether this node is connected (messaging spec 4.3, 6).
//!
//! They stand in lists of nodes with the type `ping`, and clients hear of them as of nodes; ipfail
//! counts them. Nothing else is decided by them unless `ping_arbitration` is on (`takeover/reachable`):
//! who holds what, who is dead, and when communication is up do not depend on any.

use crate::types::{LinkName, LogLevel, NodeName};
use crate::wire::message::Message;

use super::event::Output;
use super::fingerprint::Fingerprint;
use super::settings::PingSettings;
use super::view::{LinkView, NodeView};
use super::Cluster;

/// Status words of ping nodes (messaging spec 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PingStatus {
    /// It never answered, and still has time.
    Init,
    /// It answers.
    Ping,
    /// No answer within deadping.
    Dead,
}

impl PingStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Ping => "ping",
            Self::Dead => "dead",
        }
    }
}

/// One ping node. Its link has its name.
#[derive(Debug, Clone)]
pub(super) struct PingNode {
    settings: PingSettings,
    link: LinkName,
    status: PingStatus,
    link_up: bool,
    last_answer_ms: Option<u64>,
}

impl PingNode {
    /// `None` when the name cannot be that of a link.
    pub(super) fn new(settings: PingSettings) -> Option<Self> {
        let link = LinkName::new(settings.name.as_str())?;
        Some(Self { settings, link, status: PingStatus::Init, link_up: false, last_answer_ms: None })
    }

    pub(super) fn fingerprint(&self, dead_ping_ms: u64, into: &mut Fingerprint) {
        let Self { settings: _, link: _, status, link_up, last_answer_ms } = self;
        into.add((status, link_up));
        into.moment_if(*last_answer_ms, dead_ping_ms);
    }

    /// How many nodes of the configuration stand before it.
    pub(super) fn nodes_before(&self) -> usize {
        self.settings.nodes_before
    }

    /// It answers, as far as known.
    pub(super) fn answers(&self) -> bool {
        self.status == PingStatus::Ping
    }

    /// It did not answer for deadping, or never and had its time.
    pub(super) fn is_dead(&self) -> bool {
        self.status == PingStatus::Dead
    }

    /// An answer came at that moment or after it.
    pub(super) fn answered_since(&self, at_ms: u64) -> bool {
        self.last_answer_ms.is_some_and(|last_ms| last_ms >= at_ms)
    }

    pub(super) fn view(&self, now_ms: u64) -> NodeView {
        let link = LinkView {
            name: self.link.to_string(),
            status: if self.link_up { "up" } else { "dead" }.to_owned(),
            last_packet_age_ms: self.last_answer_ms.map(|last| now_ms.saturating_sub(last)),
        };
        NodeView {
            name: self.settings.name.to_string(),
            status: self.status.as_str().to_owned(),
            kind: "ping".to_owned(),
            weight: 100,
            links: vec![link],
            ..NodeView::default()
        }
    }
}

impl Cluster {
    /// An answer of a ping node to our own question. An unknown name changes nothing.
    pub(super) fn ping_answered(&mut self, node: &NodeName) {
        let Some(index) = self.pings.iter().position(|ping| ping.settings.name == *node) else {
            return;
        };
        let now_ms = self.now.monotonic_ms;
        let last_ms = self.pings[index].last_answer_ms.replace(now_ms);
        let interval_ms = last_ms.map_or(0, |last| now_ms - last);
        if self.pings[index].status == PingStatus::Ping && interval_ms > self.settings.warn_time_ms {
            let text = format!("Late heartbeat: Node {node}: interval {interval_ms} ms");
            self.log_limited("late-ping", LogLevel::Warning, &text);
        }
        self.set_ping_link(index, true);
        let changed = self.pings[index].status != PingStatus::Ping;
        self.pings[index].status = PingStatus::Ping;
        let message = Message::new("NS_st")
            .with("st", PingStatus::Ping.as_str())
            .with("info", self.pings[index].settings.info)
            .with("src", node.as_str())
            .with("ts", &format!("{:x}", self.now.wall_s));
        if changed {
            self.log(LogLevel::Info, &format!("Status update for node {node}: status ping"));
            // The original looks for a script of the message's type, not for rc.d/status.
            self.outputs.push_back(Output::Hook { kind: "ns_st".to_owned(), message: message.clone() });
        }
        self.outputs.push_back(Output::Deliver { message, unchanged: !changed });
    }

    pub(super) fn next_ping_timeout_ms(&self) -> Option<u64> {
        (0..self.pings.len()).filter_map(|index| self.ping_death_ms(index)).min()
    }

    pub(super) fn tick_pings(&mut self) {
        for index in 0..self.pings.len() {
            if self.ping_death_ms(index).is_some_and(|due| self.now.monotonic_ms >= due) {
                self.mark_ping_dead(index);
            }
        }
    }

    /// When this ping node will count as dead without a further answer. One that never answered
    /// has initdead, as any node.
    fn ping_death_ms(&self, index: usize) -> Option<u64> {
        let ping = &self.pings[index];
        if ping.status == PingStatus::Dead {
            return None;
        }
        let dead_ping_ms = self.settings.dead_ping_ms;
        let due = match ping.last_answer_ms {
            Some(last) => last + dead_ping_ms,
            None => self.liveness.started_ms? + self.settings.init_dead_ms.max(dead_ping_ms),
        };
        Some((due + 1).max(self.liveness.no_verdict_before_ms))
    }

    fn mark_ping_dead(&mut self, index: usize) {
        self.pings[index].status = PingStatus::Dead;
        let settings = &self.pings[index].settings;
        let (name, info) = (settings.name.clone(), settings.info);
        self.log(LogLevel::Warning, &format!("node {name}: is dead"));
        let death = self.death_message(&name).with("info", info);
        self.outputs.push_back(Output::Deliver { message: death.clone(), unchanged: false });
        self.hook(death);
        self.set_ping_link(index, false);
    }

    fn set_ping_link(&mut self, index: usize, up: bool) {
        if self.pings[index].link_up == up {
            return;
        }
        self.pings[index].link_up = up;
        let (node, link) = (self.pings[index].settings.name.clone(), self.pings[index].link.clone());
        self.tell_link(&node, &link, up);
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Input, Now};
    use super::super::settings::{ClusterSettings, Faults};
    use super::*;
    use crate::config::settings::AutoFailback;
    use crate::types::{Generation, ResourceSet, Uuid};

    fn name(text: &str) -> NodeName {
        NodeName::new(text).unwrap()
    }

    fn cluster(nodes_before: [usize; 2]) -> Cluster {
        let ping = |text, before| PingSettings { name: name(text), info: "ping", nodes_before: before };
        let settings = ClusterSettings {
            membership: Default::default(),
            local: name("node1"),
            uuid: Uuid([1; 16]),
            generation: Generation(1),
            process_id: 1,
            nodes: vec![name("node1"), name("node2")],
            links: vec![LinkName::new("eth1").unwrap()],
            keepalive_ms: 100,
            dead_time_ms: 1000,
            warn_time_ms: 500,
            init_dead_ms: 2000,
            pings: vec![ping("10.0.0.8", nodes_before[0]), ping("10.0.0.9", nodes_before[1])],
            dead_ping_ms: 300,
            hop_fudge: 1,
            auto_failback: AutoFailback::Off,
            max_rexmit_delay_ms: 250,
            manage_resources: true,
            local_keys: Vec::new(),
            resume: None,
            takeover: Default::default(),
            services: Vec::new(),
            watchdog_ms: None,
            random_seed: 1,
            faults: Faults::default(),
        };
        let mut cluster = Cluster::new(settings, Now { monotonic_ms: 1000, wall_s: 16 });
        cluster.handle(Now { monotonic_ms: 1000, wall_s: 16 }, Input::Start);
        while cluster.poll_output().is_some() {}
        cluster
    }

    /// Runs all timers up to a moment; what comes out that tells of ping nodes.
    fn until(cluster: &mut Cluster, now_ms: u64, input: Input) -> Vec<String> {
        while let Some(due) = cluster.next_timeout_ms().filter(|due| *due <= now_ms) {
            cluster.handle(Now { monotonic_ms: due, wall_s: 16 }, Input::Tick);
        }
        cluster.handle(Now { monotonic_ms: now_ms, wall_s: 16 }, input);
        let mut told = Vec::new();
        while let Some(output) = cluster.poll_output() {
            let line = output.to_string();
            if line.contains("10.0.0.") {
                told.push(line);
            }
        }
        told
    }

    fn answer() -> Input {
        Input::PingAnswer { node: name("10.0.0.8") }
    }

    #[test]
    fn a_ping_node_comes_dies_and_returns() {
        let mut cluster = cluster([0, 2]);
        let up = [
            "log info Link%2010.0.0.8:10.0.0.8%20up.",
            "deliver 0 t=ifstat node=10.0.0.8 ifname=10.0.0.8 st=up",
            "hook ifstat t=ifstat node=10.0.0.8 ifname=10.0.0.8 st=up",
            "log info Status%20update%20for%20node%2010.0.0.8:%20status%20ping",
            "hook ns_st t=NS_st st=ping info=ping src=10.0.0.8 ts=10",
            "deliver 0 t=NS_st st=ping info=ping src=10.0.0.8 ts=10",
        ];
        assert_eq!(until(&mut cluster, 1100, answer()), up);
        assert_eq!(
            until(&mut cluster, 1200, answer()),
            ["deliver 1 t=NS_st st=ping info=ping src=10.0.0.8 ts=10"],
            "nothing new"
        );
        assert!(until(&mut cluster, 1500, Input::Tick).is_empty());
        assert_eq!(
            until(&mut cluster, 1501, Input::Tick),
            [
                "log WARN node%2010.0.0.8:%20is%20dead",
                "deliver 0 t=status seq=1 ts=10 src=10.0.0.8 st=dead info=ping",
                "hook status t=status seq=1 ts=10 src=10.0.0.8 st=dead info=ping",
                "log info Link%2010.0.0.8:10.0.0.8%20dead.",
                "deliver 0 t=ifstat node=10.0.0.8 ifname=10.0.0.8 st=dead",
                "hook ifstat t=ifstat node=10.0.0.8 ifname=10.0.0.8 st=dead",
            ]
        );
        assert_eq!(until(&mut cluster, 1900, answer()), up, "as at the first time");
        // The other one never answered and has initdead.
        let told = until(&mut cluster, 3001, Input::Tick);
        assert_eq!(told.iter().filter(|line| line.contains("10.0.0.9:%20is%20dead")).count(), 1, "{told:?}");
        assert!(until(&mut cluster, 3002, Input::PingAnswer { node: name("stranger") }).is_empty());
    }

    #[test]
    fn views_keep_the_order_of_the_file() {
        let view = |before| cluster(before).view(Now { monotonic_ms: 1000, wall_s: 16 });
        let names = |before| {
            let nodes = view(before).nodes;
            nodes.iter().map(|node| format!("{} {}", node.name, node.kind)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(names([0, 2]), "10.0.0.8 ping, node1 normal, node2 normal, 10.0.0.9 ping");
        assert_eq!(names([1, 1]), "node1 normal, 10.0.0.8 ping, 10.0.0.9 ping, node2 normal");
        assert_eq!(names([2, 9]), "node1 normal, node2 normal, 10.0.0.8 ping, 10.0.0.9 ping");
        let ping = &view([0, 2]).nodes[0];
        assert_eq!((ping.status.as_str(), ping.links.len()), ("init", 1));
        assert_eq!((ping.links[0].name.as_str(), ping.links[0].status.as_str()), ("10.0.0.8", "dead"));
    }

    /// Ping nodes that never answer keep nobody from anything.
    #[test]
    fn nothing_waits_for_ping_nodes() {
        let mut cluster = cluster([0, 0]);
        until(&mut cluster, 3001, Input::Tick);
        assert!(cluster.view(Now { monotonic_ms: 3001, wall_s: 16 }).communication_up);
        assert_eq!(cluster.holding(), ResourceSet::ALL);
    }

    #[test]
    fn they_count_in_ttl() {
        let mut cluster = cluster([0, 0]);
        cluster.handle(Now { monotonic_ms: 1100, wall_s: 16 }, Input::Tick);
        let ttl = std::iter::from_fn(|| cluster.poll_output()).find_map(|output| match output {
            Output::Send { message, .. } => message.text("ttl").map(str::to_owned),
            _ => None,
        });
        assert_eq!(ttl.as_deref(), Some("5"));
    }
}
