//! Goal: what needs a person is said once when it begins and once when it is over, by who sees it.
//! Method: alarms of each host, as a list of `kind state` words, after named accidents.

use ha_core::cluster::event::Command;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::agents::ALWAYS;
use crate::scenario::{Scenario, A, B, HOME_A};
use crate::world::Action;

/// Alarms said so far there, and forgets them.
fn said(pair: &mut Scenario, host: usize) -> Vec<String> {
    let alarms = std::mem::take(&mut pair.world.hosts[host].alarms);
    let word =
        |alarm: &ha_core::cluster::alarm::Alarm| format!("{} {}", alarm.kind.name(), alarm.state.as_str());
    let mut words: Vec<String> = alarms.iter().map(word).collect();
    words.sort();
    words
}

fn running() -> Scenario {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::On);
    for host in [A, B] {
        assert!(said(&mut pair, host).is_empty(), "a quiet start wakes nobody");
    }
    pair
}

#[test]
fn moves_on_request_wake_nobody() {
    let mut pair = running();
    pair.standby(A, ResourceSet::ALL).rest().owners(B, B);
    pair.takeover(A, ResourceSet::LOCAL).rest();
    pair.stop(B).rest().run_ms(60_000);
    for host in [A, B] {
        let said: Vec<String> =
            said(&mut pair, host).into_iter().filter(|word| !word.starts_with("takeover")).collect();
        assert!(said.is_empty(), "{said:?}");
    }
}

#[test]
fn a_crash_and_a_return() {
    let mut pair = running();
    pair.crash(A).rest().run_ms(60_000);
    let expected = ["dead-node begin", "partition-suspected begin", "takeover begin", "takeover over"];
    assert_eq!(said(&mut pair, B), expected);
    pair.start(A).rest().owners(A, B);
    assert_eq!(said(&mut pair, B), ["dead-node over", "partition-suspected over"]);
    assert!(said(&mut pair, A).is_empty());
}

#[test]
fn a_partition_that_heals() {
    let mut pair = running();
    pair.part().run_ms(20_000);
    for host in [A, B] {
        let words = said(&mut pair, host);
        assert!(words.contains(&"partition-suspected begin".to_owned()), "{words:?}");
    }
    pair.join().rest();
    for host in [A, B] {
        let words = said(&mut pair, host);
        for word in ["dead-node over", "partition-healed once", "partition-suspected over"] {
            assert_eq!(words.iter().filter(|said| *said == word).count(), 1, "{word} in {words:?}");
        }
        let open = |state: &str| words.iter().filter(|said| **said == format!("two-owners {state}")).count();
        assert_eq!(open("begin"), open("over"), "{words:?}");
    }
}

#[test]
fn a_link_of_two() {
    let mut pair = Scenario::running(|config| config.links = 2);
    said(&mut pair, A);
    pair.act(Action::Cut(A, B, 0)).act(Action::Cut(B, A, 0)).run_ms(20_000);
    assert_eq!(said(&mut pair, A), ["one-link-left begin"]);
    pair.act(Action::Mend(A, B, 0)).act(Action::Mend(B, A, 0)).run_ms(20_000);
    assert_eq!(said(&mut pair, A), ["one-link-left over"]);
}

#[test]
fn a_group_that_starts_nowhere() {
    let mut pair = Scenario::pair();
    pair.act(Action::FailStarts(A, HOME_A, ALWAYS)).act(Action::FailStarts(B, HOME_A, ALWAYS));
    pair.start(A).start(B).rest().owner(HOME_A, None);
    let mut words = said(&mut pair, A);
    words.extend(said(&mut pair, B));
    assert!(words.contains(&"resource-failed begin".to_owned()), "{words:?}");
    assert!(words.contains(&"failed-on-both begin".to_owned()), "{words:?}");
    pair.run_ms(600_000);
    assert!(said(&mut pair, A).is_empty() && said(&mut pair, B).is_empty(), "once");
}

#[test]
fn a_stop_that_fails_is_said_before_the_end() {
    let mut pair = running();
    pair.act(Action::FailStops(A, HOME_A, ALWAYS)).ask(A, Command::Standby(ResourceSet::LOCAL));
    pair.run_while(2_000, "waiting for the reset", |world| world.hosts[A].daemon.is_some());
    assert_eq!(said(&mut pair, A), ["stop-failed once"]);
}

#[test]
fn a_pause_is_said() {
    let mut pair = running();
    pair.act(Action::Pause(A)).run_ms(10_000).act(Action::Thaw(A)).rest();
    assert!(said(&mut pair, A).contains(&"node-paused once".to_owned()));
}
