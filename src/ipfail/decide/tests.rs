//! Scripted sequences: what is sent and given up, and when.

use super::*;
use proptest::prelude::*;

/// One node's decisions, with a daemon that says what the test sets.
struct Node {
    decider: Decider,
    now_ms: u64,
    reachable: usize,
    holding: Holding,
    log: Vec<String>,
}

impl Node {
    fn new(auto_failback: bool, dampening_ms: Option<u64>) -> Self {
        let settings = Settings { node: "node1".into(), auto_failback, keepalive_ms: 1000, dampening_ms };
        let decider = Decider::new(settings);
        let mut node =
            Self { decider, now_ms: 1_000_000, reachable: 1, holding: Holding::Local, log: vec![] };
        node.hear(Event::Started);
        node.log.clear();
        node
    }

    fn facts(&self) -> Facts {
        let reachable = (0..self.reachable).map(|number| format!("gw{number}")).collect();
        Facts { peer: Some("node2".into()), reachable: Some(reachable), holding: Some(self.holding) }
    }

    /// What the event leads to, without the log.
    fn hear(&mut self, event: Event) -> Vec<Effect> {
        let needs = self.decider.needs(self.now_ms, &event);
        let mut facts = self.facts();
        facts.reachable = facts.reachable.filter(|_| needs.nodes);
        facts.peer = facts.peer.filter(|_| needs.nodes);
        facts.holding = facts.holding.filter(|_| needs.holding);
        let mut effects = self.decider.handle(self.now_ms, &event, &facts);
        effects.retain(|effect| match effect {
            Effect::Log(LogLevel::Info | LogLevel::Warning, text) => {
                self.log.push(text.clone());
                false
            }
            Effect::Log(..) => false,
            _ => true,
        });
        effects
    }

    /// Everything that happens by itself in this time, with the moment counted from now.
    fn pass(&mut self, ms: u64) -> Vec<(u64, Effect)> {
        let (begin_ms, end_ms) = (self.now_ms, self.now_ms + ms);
        let mut seen = Vec::new();
        while let Some(due_ms) = self.decider.next_ms().filter(|due_ms| *due_ms <= end_ms) {
            self.now_ms = self.now_ms.max(due_ms);
            let at_ms = self.now_ms - begin_ms;
            seen.extend(self.hear(Event::Tick).into_iter().map(|effect| (at_ms, effect)));
        }
        self.now_ms = end_ms;
        seen
    }

    fn count(&mut self, count: &str) -> Vec<Effect> {
        self.hear(Event::Count { from: "node2".into(), count: count.into(), steady_ms: 0 })
    }

    /// The gateway is gone or back, as the daemon reports it.
    fn gateway(&mut self, up: bool) -> Vec<Effect> {
        self.reachable = usize::from(up);
        let (status, link) = if up { ("ping", "up") } else { ("dead", "dead") };
        let (node, link_of) = ("gw0".to_owned(), "gw0".to_owned());
        let mut effects = self.hear(Event::NodeStatus { node, status: status.into() });
        effects.extend(self.hear(Event::LinkStatus {
            node: link_of,
            link: "gw0".into(),
            status: link.into(),
        }));
        effects
    }
}

fn told(count: usize) -> Effect {
    Effect::SendCount { count, steady_ms: 0 }
}

/// After a wait that was told of.
fn told_late(count: usize, steady_ms: u64) -> Effect {
    Effect::SendCount { count, steady_ms }
}

fn they_see_more() -> Event {
    Event::TheySeeMore { from: "node2".into() }
}

fn they_see_as_many() -> Event {
    Event::Balanced { from: "node2".into() }
}

#[test]
fn lost_gateway_moves_everything_after_two_keepalives() {
    let mut node = Node::new(false, None);
    assert_eq!(node.gateway(false), [told(0)]);
    assert_eq!(node.hear(they_see_more()), []);
    assert_eq!(node.hear(they_see_more()), []);
    assert_eq!(node.pass(1999), []);
    assert_eq!(node.pass(1), [(1, told(0))]);
    assert_eq!(node.hear(they_see_more()), []);
    assert_eq!(node.pass(0), [(0, Effect::Standby(Set::All))]);
    let expected = [
        "Status update: Node gw0 now has status dead",
        "NS: We are dead. :<",
        "Link Status update: Link gw0/gw0 now has status dead",
        "We are dead. :<",
        "Asking other side for ping node count.",
        "Giving up because we were told that we have less ping nodes.",
        "Delayed giveup in 2 seconds.",
        "Giving up because we were told that we have less ping nodes.",
        "Delayed giveup in 2 seconds.",
        "Asking other side for ping node count.",
        "Giving up because we were told that we have less ping nodes.",
        "giveup() called (timeout worked)",
    ];
    assert_eq!(node.log, expected);
}

#[test]
fn common_loss_moves_nothing_whoever_sees_it_first() {
    // this node sees it first
    let mut node = Node::new(true, None);
    node.gateway(false);
    node.hear(they_see_more());
    node.now_ms += 900;
    assert_eq!(node.count("0"), [Effect::SendBalanced]);
    assert_eq!(node.pass(100_000), []);
    // the other node sees it first
    let mut node = Node::new(true, None);
    assert_eq!(node.count("0"), [Effect::SendMore]);
    node.now_ms += 900;
    assert_eq!(node.gateway(false), [told(0)]);
    assert_eq!(node.hear(they_see_as_many()), []);
    assert_eq!(node.pass(100_000), []);
}

#[test]
fn neighbour_that_loses_the_gateway_late_is_asked_before_anything_moves() {
    let mut node = Node::new(false, None);
    node.gateway(false);
    node.hear(they_see_more());
    assert_eq!(node.pass(2000), [(2000, told(0))]);
    node.now_ms += 900;
    node.hear(they_see_as_many());
    assert_eq!(node.pass(100_000), []);
}

#[test]
fn common_return_makes_nobody_give_up() {
    let mut node = Node::new(false, None);
    node.gateway(false);
    node.hear(they_see_as_many());
    node.now_ms += 60_000;
    assert_eq!(node.gateway(true), []);
    assert_eq!(node.pass(1999), []);
    assert_eq!(node.pass(1), [(1, told_late(1, 2000))]);
    // gone again before it was told
    node.gateway(false);
    assert_eq!(node.gateway(true), []);
    assert_eq!(node.gateway(false), [told(0)]);
    assert_eq!(node.pass(60_000), []);
}

#[test]
fn time_that_the_other_node_has_waited_is_not_waited_again() {
    let mut node = Node::new(true, None);
    node.holding = Holding::All;
    assert_eq!(node.count("0"), [Effect::SendMore]);
    let count = |steady_ms| Event::Count { from: "node2".into(), count: "1".into(), steady_ms };
    assert_eq!(node.hear(count(7000)), [Effect::SendBalanced]);
    assert_eq!(node.pass(10_000), [(3000, Effect::Standby(Set::Foreign))]);
    assert_eq!(node.count("0"), [Effect::SendMore]);
    assert_eq!(node.hear(count(u64::MAX)), [Effect::SendBalanced]);
    assert_eq!(node.pass(10_000), [(2000, Effect::Standby(Set::Foreign))]);
}

#[test]
fn fewer_of_several_count_too() {
    let mut node = Node::new(false, None);
    node.reachable = 2;
    assert_eq!(node.count("3"), []);
    assert_eq!(node.pass(3000), [(2000, told(2)), (3000, Effect::Standby(Set::All))]);
    node.reachable = 3;
    assert_eq!(node.count("2"), [Effect::SendMore]);
    assert_eq!(node.count("3"), [Effect::SendBalanced]);
}

#[test]
fn whoever_sees_more_again_gives_nothing_up() {
    let mut node = Node::new(false, None);
    node.hear(they_see_more());
    assert_eq!(node.count("0"), [Effect::SendMore]);
    assert_eq!(node.pass(100_000), []);
    assert!(node.log.iter().any(|line| line.starts_with("Aborted delayed giveup (")));
}

#[test]
fn messages_that_never_end_do_not_keep_resources_here() {
    let mut node = Node::new(false, None);
    let moved = (0..20).find(|_| {
        node.hear(they_see_more());
        !node.pass(500).is_empty()
    });
    assert!(moved.is_some_and(|time| time < 18), "{moved:?}");
}

#[test]
fn only_the_other_node_and_only_numbers_count() {
    let mut node = Node::new(true, None);
    for from in ["node1", "node3", "", "gw0"] {
        let from = || from.to_owned();
        assert_eq!(node.hear(Event::Count { from: from(), count: "5".into(), steady_ms: 0 }), []);
        assert_eq!(node.hear(Event::TheySeeMore { from: from() }), []);
        assert_eq!(node.hear(Event::Joined { node: from() }), []);
    }
    assert_eq!(node.log, Vec::<String>::new());
    let huge = "9".repeat(300);
    for count in ["", "-1", "junk", "1x", " 1", "+1", "0x1", "4097", "99999999999999", "4294967297", &huge] {
        assert_eq!(node.count(count), [], "{count}");
    }
    assert_eq!(node.pass(1_000_000), []);
    assert_eq!(node.count("1"), [Effect::SendBalanced]);
    node.hear(they_see_more());
    node.hear(Event::Balanced { from: "node3".into() });
    assert_eq!(node.pass(3000), [(2000, told(1)), (3000, Effect::Standby(Set::All))]);
}

#[test]
fn peers_program_that_comes_is_told_our_count() {
    let mut node = Node::new(false, None);
    assert_eq!(node.hear(Event::Joined { node: "node2".into() }), [told(1)]);
    assert_eq!(node.hear(Event::Joined { node: "node1".into() }), []);
}

#[test]
fn nothing_is_given_up_that_is_not_held() {
    let mut node = Node::new(true, None);
    node.holding = Holding::None;
    node.hear(they_see_more());
    assert_eq!(node.pass(100_000), []);
    node.count("1");
    node.holding = Holding::Local;
    node.count("1");
    assert_eq!(node.pass(100_000), []);
}

#[test]
fn busy_daemon_is_asked_again_without_waiting_for_a_message() {
    let mut node = Node::new(false, None);
    node.gateway(false);
    node.hear(they_see_more());
    node.holding = Holding::Transition;
    assert_eq!(node.pass(11_999), []);
    assert_eq!(node.pass(1), [(1, told(0))]);
    node.holding = Holding::Local;
    node.hear(they_see_more());
    node.hear(Event::Stable { from: "node2".into(), stable: true });
    assert_eq!(node.pass(3000), [(2000, told(0)), (3000, Effect::Standby(Set::All))]);
}

#[test]
fn request_that_led_to_nothing_is_repeated_ever_more_rarely() {
    let mut node = Node::new(false, None);
    node.gateway(false);
    let mut times = Vec::new();
    node.hear(they_see_more());
    for _ in 0..4 {
        let seen: Vec<_> = node.pass(1_000_000);
        assert_eq!(seen[..2], [(2000, told(0)), (3000, Effect::Standby(Set::All))]);
        assert_eq!(seen[2].1, told(0));
        times.push(seen[2].0);
        node.hear(they_see_more());
    }
    assert_eq!(times, [33_000, 63_000, 123_000, 243_000]);
    node.hear(they_see_as_many());
    assert_eq!(node.pass(10_000_000), []);
}

#[test]
fn failback_waits_for_calm_and_a_flapping_gateway_does_not_flap_the_address() {
    // the holder: the other node's gateway comes and goes every four seconds
    let mut node = Node::new(true, None);
    node.holding = Holding::All;
    for _ in 0..5 {
        assert_eq!(node.count("0"), [Effect::SendMore]);
        assert_eq!(node.pass(4000), []);
        assert_eq!(node.count("1"), [Effect::SendBalanced]);
        assert_eq!(node.pass(4000), []);
    }
    assert_eq!(node.pass(10_000), [(6000, Effect::Standby(Set::Foreign))]);
    // soon again: twice the time
    assert_eq!(node.count("0"), [Effect::SendMore]);
    assert_eq!(node.count("1"), [Effect::SendBalanced]);
    assert_eq!(node.pass(30_000), [(20_000, Effect::Standby(Set::Foreign))]);
}

#[test]
fn flapping_node_tells_of_its_gateway_when_it_lasts() {
    let mut node = Node::new(true, None);
    for _ in 0..5 {
        assert_eq!(node.gateway(false), [told(0)]);
        node.hear(they_see_more());
        // the first time it gives all up, later it does not get that far
        node.pass(2000);
        node.holding = Holding::None;
        assert_eq!(node.pass(1000), []);
        node.hear(they_see_more());
        assert_eq!(node.gateway(true), []);
        assert_eq!(node.pass(4000), []);
    }
    assert_eq!(node.pass(10_000), [(6000, told_late(1, 10_000))]);
}

#[test]
fn without_failback_nothing_is_held_back() {
    let mut node = Node::new(false, None);
    node.gateway(false);
    node.hear(they_see_more());
    node.pass(2000);
    node.holding = Holding::None;
    node.pass(100_000);
    assert_eq!(node.gateway(true), []);
    assert_eq!(node.pass(2000), [(2000, told_late(1, 2000))]);
    node.holding = Holding::All;
    assert_eq!(node.count("1"), [Effect::SendBalanced]);
    assert_eq!(node.pass(100_000), []);
}

#[test]
fn gateway_that_comes_back_in_time_is_told_at_once() {
    let mut node = Node::new(true, None);
    node.gateway(false);
    node.hear(they_see_more());
    node.now_ms += 500;
    assert_eq!(node.gateway(true), [told(1)]);
    node.hear(they_see_as_many());
    assert_eq!(node.pass(100_000), []);
}

#[test]
fn first_return_of_the_preferred_node_is_as_quick_as_the_originals() {
    let mut node = Node::new(true, None);
    node.holding = Holding::All;
    node.count("1");
    node.count("1");
    assert_eq!(node.pass(60_000), [(2000, Effect::Standby(Set::Foreign))]);
}

#[test]
fn dampened_number_counts_when_it_has_lasted() {
    let mut node = Node::new(false, Some(5000));
    assert_eq!(node.gateway(false), []);
    assert_eq!(node.count("1"), [Effect::SendBalanced]);
    node.pass(4000);
    assert_eq!(node.gateway(true), []);
    assert_eq!(node.pass(60_000), []);
    node.gateway(false);
    assert_eq!(node.pass(6000), [(5000, Effect::Steady(0)), (5000, told(0))]);
    node.hear(they_see_more());
    assert_eq!(node.pass(3000), [(2000, told(0)), (3000, Effect::Standby(Set::All))]);
}

#[test]
fn missing_facts_leave_everything_as_it_was() {
    let mut node = Node::new(true, None);
    let nothing = Facts::default();
    let count = Event::Count { from: "node2".into(), count: "9".into(), steady_ms: 0 };
    for event in [count, Event::Joined { node: "node2".into() }, Event::Tick] {
        let effects = node.decider.handle(node.now_ms, &event, &nothing);
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Log(..))), "{effects:?}");
    }
    assert_eq!(node.decider.next_ms(), None);
}

fn any_event() -> impl Strategy<Value = Event> {
    let name = prop_oneof!["node1", "node2", "node3", "gw0", ""];
    let status = prop_oneof!["dead", "ping", "up", "active", ".{0,5}"];
    let count = prop_oneof!["[0-3]", "-?[0-9]{1,25}", ".{0,5}"];
    prop_oneof![
        (name.clone(), status.clone()).prop_map(|(node, status)| Event::NodeStatus { node, status }),
        (name.clone(), status).prop_map(|(node, status)| Event::LinkStatus {
            link: node.clone(),
            node,
            status
        }),
        name.clone().prop_map(|node| Event::Joined { node }),
        (name.clone(), count, any::<u64>()).prop_map(|(from, count, steady_ms)| Event::Count {
            from,
            count,
            steady_ms
        }),
        name.clone().prop_map(|from| Event::TheySeeMore { from }),
        name.clone().prop_map(|from| Event::Balanced { from }),
        (name, any::<bool>()).prop_map(|(from, stable)| Event::Stable { from, stable }),
        Just(Event::Tick),
    ]
}

proptest! {
    /// Whatever comes, time moves on: no due moment stays in the past after a tick, and few things are due.
    #[test]
    fn no_sequence_hangs(
        events in proptest::collection::vec((any_event(), 0u64..20_000, 0usize..3), 0..60),
        failback: bool,
        dampening_ms in proptest::option::of(0u64..10_000),
    ) {
        let holdings = [Holding::None, Holding::Local, Holding::All, Holding::Transition, Holding::Foreign];
        let mut node = Node::new(failback, dampening_ms);
        for (number, (event, ms, reachable)) in events.into_iter().enumerate() {
            node.reachable = reachable;
            node.holding = holdings[number % holdings.len()];
            node.hear(event);
            prop_assert!(node.pass(ms).len() < 100);
        }
    }
}
