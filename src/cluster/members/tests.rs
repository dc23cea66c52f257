//! One node and what it hears: lists of members, keys, order.

use super::super::event::{Input, Now};
use super::super::settings::{ClusterSettings, Faults, Membership};
use super::*;
use crate::config::settings::AutoFailback;
use crate::types::{Generation, LinkName};

/// node1 of these nodes; what it put out since the last look.
struct One {
    cluster: Cluster,
    now_ms: u64,
    outputs: Vec<Output>,
}

impl One {
    fn new(nodes: &[&str], manage_resources: bool, membership: Membership) -> Self {
        let settings = ClusterSettings {
            dead_ping_ms: 300,
            pings: Vec::new(),
            local: NodeName::new("node1").unwrap(),
            uuid: Uuid([1; 16]),
            generation: Generation(10),
            process_id: 1,
            nodes: nodes.iter().filter_map(|name| NodeName::new(name)).collect(),
            links: vec![LinkName::new("eth1").unwrap()],
            keepalive_ms: 100,
            dead_time_ms: 1000,
            warn_time_ms: 500,
            init_dead_ms: 2000,
            hop_fudge: 1,
            auto_failback: AutoFailback::Off,
            max_rexmit_delay_ms: 250,
            manage_resources,
            local_keys: Vec::new(),
            resume: None,
            membership,
            takeover: Default::default(),
            services: Vec::new(),
            watchdog_ms: None,
            random_seed: 7,
            faults: Faults::default(),
        };
        let cluster = Cluster::new(settings, Now { monotonic_ms: 1, wall_s: 1 });
        let mut one = Self { cluster, now_ms: 1, outputs: Vec::new() };
        one.input(Input::Start);
        one
    }

    fn input(&mut self, input: Input) {
        self.cluster.handle(Now { monotonic_ms: self.now_ms, wall_s: 1 }, input);
        self.outputs.extend(std::iter::from_fn(|| self.cluster.poll_output()));
    }

    /// A packet of a 3.0.6 node, signed with key `key_index`.
    fn hear(&mut self, src: &str, seq: u64, key_index: u8, message: Message) {
        let message = message.with("src", src).with("seq", &format!("{seq:x}"));
        let message = message.with("hg", "5").with("ts", "5");
        let link = LinkName::new("eth1").unwrap();
        self.input(Input::Packet { link, key_index, message });
    }

    fn beat(&mut self, src: &str, seq: u64, key_index: u8) {
        let status = Message::new("status").with("st", "active").with("dt", "3e8").with("protocol", "1");
        self.hear(src, seq, key_index, status);
    }

    fn wait_ms(&mut self, span_ms: u64) {
        for _ in 0..span_ms {
            self.now_ms += 1;
            if self.cluster.next_timeout_ms().is_some_and(|due| due <= self.now_ms) {
                self.input(Input::Tick);
            }
        }
    }

    /// The names, this node's view.
    fn names(&self) -> String {
        let view = self.cluster.view(Now { monotonic_ms: self.now_ms, wall_s: 1 });
        view.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn logged(&mut self) -> String {
        let lines = std::mem::take(&mut self.outputs).into_iter().filter_map(|output| match output {
            Output::Log { level, text } => Some(format!("{}: {text}\n", level.as_str())),
            _ => None,
        });
        lines.collect()
    }

    fn kept(&self) -> Vec<String> {
        let kept = self.outputs.iter().filter(|output| matches!(output, Output::KeepHosts { .. }));
        kept.map(ToString::to_string).collect()
    }
}

fn list(kind: &str, names: &str) -> Message {
    Message::new(kind).with("nodelist", names)
}

#[test]
fn nodes_are_added_and_deleted_in_the_originals_words() {
    let membership = Membership { keep_hosts: true, ..Membership::default() };
    let mut one = One::new(&["node1", "node2"], false, membership);
    one.beat("node2", 1, 1);
    one.logged();
    one.hear("node2", 2, 1, list("addnode", "Node9 node2"));
    assert_eq!(one.kept().len(), 1, "{:?}", one.kept());
    assert_eq!(
        one.logged(),
        "info: hb_add_one_node: Adding new node[Node9] to configuration.\n\
         info: hb_add_one_node: Adding new node[node2] to configuration.\n\
         ERROR: hb_add_one_node: node(node2) already exists\nERROR: Add node node2 failed\n"
    );
    assert_eq!(one.names(), "node1 node2 node9");
    for seq in 3..40 {
        one.wait_ms(100);
        one.beat("node2", seq, 1);
    }
    assert!(one.logged().contains("WARN: node node9: is dead\n"));
    one.hear("node2", 40, 1, list("delnode", "node2 node9"));
    assert!(one.logged().starts_with("WARN: deletion failed: node node2 is not dead\n"));
    one.hear("node2", 41, 1, list("delnode", "node9 nobody"));
    assert_eq!(
        one.kept(),
        [
            "keep-hosts members node1,01010101-0101-0101-0101-010101010101,100,%- node2,-,100,%-",
            "keep-hosts deleted node9,-,100,%-"
        ]
    );
    assert!(one.logged().ends_with(
        "info: Removing node [node9] from configuration.\ninfo: Removing node [nobody] from configuration.\n\
         ERROR: hb_remove_one_node: node nobody not found in config\nERROR: Deleting node nobody failed\n"
    ));
    assert_eq!(one.names(), "node1 node2");
}

#[test]
fn nothing_is_deleted_while_another_is_absent() {
    let mut one = One::new(&["node1", "node2", "node3", "node4"], false, Membership::default());
    one.wait_ms(3000);
    one.beat("node2", 1, 1);
    one.logged();
    one.input(Input::LocalMessage(list("delnode", "node3")));
    let why = "HBDoMsg_T_DELNODE: deletion failed. We don't have all required nodes alive (node4 is dead)";
    assert!(one.logged().contains(why));
    one.input(Input::LocalMessage(list("delnode", "node3 node4")));
    assert_eq!(one.names(), "node1 node2");
    assert!(one.outputs.iter().any(|output| matches!(output, Output::Send { message, .. }
        if message.kind() == "delnode")));
    one.input(Input::LocalMessage(list("delnode", "node1")));
    assert_eq!(one.names(), "node1 node2", "never itself");
}

#[test]
fn the_others_list_is_taken_over() {
    let mut one = One::new(&["node1", "node2", "node3"], false, Membership::default());
    one.beat("node2", 1, 1);
    let reply = Message::new("repnodes").with("dest", "node1");
    let reply = reply.with("nodelist", "node2 node1 node7 ").with("delnodelist", "node3 ");
    one.hear("node2", 2, 1, reply);
    assert_eq!(one.names(), "node1 node2 node7");
    assert_eq!(one.kept(), ["keep-hosts deleted node3,-,100,%-"]);
    let reply = Message::new("repnodes").with("dest", "node1").with("nodelist", "node1 node7 ");
    one.hear("node2", 3, 1, reply);
    assert!(one.logged().contains("remove_node: node node2 is active. Cannot remove alive node"));
    assert_eq!(one.names(), "node1 node2 node7");
}

#[test]
fn the_peer_of_resources_is_not_taken_out_by_a_third() {
    let mut one = One::new(&["node1", "node2"], true, Membership::default());
    one.input(Input::LocalMessage(list("addnode", "node3")));
    assert!(one.logged().contains("node node3 takes no part in resources"));
    one.beat("node3", 1, 1);
    let reply = Message::new("repnodes").with("dest", "node1").with("nodelist", "node1 node3 ");
    one.hear("node3", 2, 1, reply);
    assert_eq!(one.names(), "node1 node2 node3");
}

#[test]
fn who_has_the_key_may_join_where_that_is_wanted() {
    let mut closed = One::new(&["node1"], false, Membership::default());
    closed.beat("node5", 1, 1);
    assert_eq!(closed.names(), "node1");
    let known = HostRecord { weight: 7, ..HostRecord::new(NodeName::new("node4").unwrap()) };
    let membership = Membership { auto_join: true, hosts: vec![known], ..Membership::default() };
    let mut open = One::new(&["node1"], false, membership);
    assert_eq!(open.names(), "node1 node4");
    open.beat("Node6", 1, 1);
    assert!(open.logged().contains("bad node [Node6]"));
    for number in 5..300 {
        open.beat(&format!("node{number}"), 1, 1);
    }
    assert!(open.names().starts_with("node1 node4 node5 node6 "));
    assert_eq!(open.names().split(' ').count(), NODES_MAX);
}

#[test]
fn weights_and_sites_are_kept_and_nonsense_is_not() {
    let membership = Membership { keep_hosts: true, ..Membership::default() };
    let mut one = One::new(&["node1"], false, membership);
    one.outputs.clear();
    let weight =
        |node: &str, weight: &str| Message::new("setweight").with("node", node).with("weight", weight);
    one.input(Input::LocalMessage(weight("node1", "abc")));
    one.input(Input::LocalMessage(weight("nobody", "3")));
    assert_eq!(one.kept(), [""; 0]);
    one.input(Input::LocalMessage(weight("Node1", "300")));
    let site = Message::new("setsite").with("node", "node1").with("site", "ea\u{7}st\t");
    one.input(Input::LocalMessage(site));
    let uuid = "01010101-0101-0101-0101-010101010101";
    assert_eq!(one.kept().last(), Some(&format!("keep-hosts members node1,{uuid},300,east")));
}

#[test]
fn a_3_0_6_node_gets_its_own_key() {
    let mut one = One::new(&["node1", "node2", "node3"], false, Membership::default());
    let keys = |one: &mut One| -> Vec<Option<u8>> {
        one.outputs.clear();
        one.wait_ms(100);
        let sent = one.outputs.iter().filter_map(|output| match output {
            Output::Send { message, key_index } if message.kind() == "status" => Some(*key_index),
            _ => None,
        });
        sent.collect()
    };
    assert_eq!(keys(&mut one), [None]);
    one.beat("node2", 1, 1);
    assert_eq!(keys(&mut one), [Some(1)]);
    one.beat("node2", 2, 4);
    assert_eq!(keys(&mut one), [Some(4)]);
    one.beat("node3", 1, 1);
    assert_eq!(keys(&mut one), [Some(4), Some(1)], "each of them must believe us");
}

#[test]
fn what_was_said_first_is_acted_on_first() {
    let mut one = One::new(&["node1", "node2"], true, Membership::default());
    one.beat("node2", 1, 1);
    let spoken = |number: u64| Message::new("anything").with("info", &number.to_string());
    let delivered = |one: &mut One| -> String {
        let texts = std::mem::take(&mut one.outputs).into_iter().filter_map(|output| match output {
            Output::Deliver { message, .. } if message.kind() == "anything" => {
                message.text("info").map(str::to_owned)
            }
            _ => None,
        });
        texts.collect::<Vec<_>>().join(" ")
    };
    one.hear("node2", 3, 1, spoken(3));
    one.hear("node2", 5, 1, spoken(5));
    assert_eq!(delivered(&mut one), "");
    one.hear("node2", 2, 1, spoken(2));
    assert_eq!(delivered(&mut one), "2 3");
    one.hear("node2", 6, 1, spoken(6));
    let nak = Message::new("NS_nak_rexmit").with("dest", "node1").with("firstseq", "4");
    one.hear("node2", 0, 1, nak);
    assert_eq!(delivered(&mut one), "5 6", "the fourth will never come");
    one.hear("node2", 8, 1, spoken(8));
    for seq in 9..20 {
        one.wait_ms(100);
        one.beat("node2", seq, 1);
    }
    assert_eq!(delivered(&mut one), "8", "nobody waits for ever");
}

#[test]
fn a_report_that_was_sent_again_is_followed_by_the_present_one() {
    let mut one = One::new(&["node1", "node2"], true, Membership::default());
    one.beat("node2", 1, 1);
    one.hear("node2", 2, 1, Message::new("repnodes").with("dest", "node1").with("nodelist", "node1 node2 "));
    one.hear("node2", 3, 1, Message::new("starting"));
    let stable =
        Message::new("resource").with("rsc_hold", "local").with("rtype", "full").with("isstable", "1");
    one.hear("node2", 4, 1, stable);
    let reports = |one: &One| -> Vec<u64> {
        let sent = one.outputs.iter().filter_map(|output| match output {
            Output::Send { message, .. } if message.kind() == "resource" => message.hex("seq"),
            _ => None,
        });
        sent.collect()
    };
    let first = reports(&one);
    assert!(first.len() > 1, "{:?}", one.logged());
    one.now_ms += 300;
    one.outputs.clear();
    let ask = |number: u64| {
        let ask = Message::new("NS_rexmit").with("dest", "node1").with("firstseq", &number.to_string());
        ask.with("lastseq", &number.to_string())
    };
    one.hear("node2", 0, 1, ask(first[0]));
    let again = reports(&one);
    assert_eq!(again[0], first[0]);
    assert!(again.len() == 2 && again[1] > first[first.len() - 1], "{again:?}");
    one.now_ms += 300;
    one.outputs.clear();
    one.hear("node2", 0, 1, ask(again[1]));
    assert_eq!(reports(&one), [again[1]], "the newest needs no other behind it");
}
