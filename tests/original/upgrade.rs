//! From a pair of originals to a pair of ours, one node at a time, and back: the README's procedure
//! ("Replace a running Heartbeat"), with a client that asks every millisecond.
//!
//! Both hosts have the original installed, with its scripts and its state; ours is one more file.

use std::time::{Duration, Instant};

use ha_core::demo::probe::{longest_silence, now_us};
use ha_core::demo::world::{HostKind, Probe};

use crate::common::pairs::{Pair, Times, NODES};
use crate::pair::pair_of;

/// A dead node would be taken over after this; no step may cost a client that much.
const TIMES: Times = Times { keepalive_ms: 200, dead_time_ms: 3000, init_dead_s: 6 };
const ADDRESS: std::net::Ipv4Addr = crate::common::pairs::ADDRESSES[0];
const PACE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);

const ORIGINAL: [&str; 1] = ["/usr/libexec/heartbeat/heartbeat"];
const OURS: [&str; 2] = ["/ha", "heartbeat"];
const ORIGINAL_STANDBY: [&str; 1] = ["/usr/share/heartbeat/hb_standby"];
const OUR_STANDBY: [&str; 2] = ["/ha", "hb_standby"];

const TO_OUR_AGENT: [&str; 3] =
    ["sh", "-c", "cd /etc/ha.d/resource.d && mv IPaddr2 ../IPaddr2.script && ln -s /ha IPaddr2"];
const TO_THEIR_AGENT: [&str; 3] = ["sh", "-c", "cd /etc/ha.d/resource.d && mv -f ../IPaddr2.script IPaddr2"];

/// What becomes of the original's agents in resource.d on the host whose daemon is exchanged.
#[derive(Clone, Copy, PartialEq)]
enum Agents {
    /// The file alone was copied: scripts stay, and win.
    Kept,
    /// Links to `ha` take their place, as with the package, and give way again on the way back.
    Exchanged,
}

#[test]
fn one_node_at_a_time_and_back() {
    there_and_back(Agents::Kept);
}

#[test]
fn one_node_at_a_time_and_back_with_the_agents_exchanged() {
    there_and_back(Agents::Exchanged);
}

fn there_and_back(agents: Agents) {
    let group = crate::common::pairs::group(0);
    let Some(pair) = pair_of([HostKind::Original; 2], TIMES, &["auto_failback off"], &[group]) else {
        return;
    };
    let began = Instant::now();
    for node in [0, 1] {
        pair.run(node, &ORIGINAL);
    }
    let probe = pair.world.probe(ADDRESS, PACE).expect("client");
    let story = Story { pair: &pair, probe: &probe, agents };
    story.at(0, "two originals");
    println!("originals are up after {} s", began.elapsed().as_secs());

    story.replace(1, &ORIGINAL, &OURS, 0);
    story.switch(0, &ORIGINAL_STANDBY, 1);
    story.replace(0, &ORIGINAL, &OURS, 1);
    story.switch(1, &OUR_STANDBY, 0);
    println!("a pair of ours");

    story.replace(1, &OURS, &ORIGINAL, 0);
    story.switch(0, &OUR_STANDBY, 1);
    story.replace(0, &OURS, &ORIGINAL, 1);
    story.switch(1, &ORIGINAL_STANDBY, 0);
    println!("a pair of originals again");
    pair.quiet();
}

struct Story<'a> {
    pair: &'a Pair,
    probe: &'a Probe<'a>,
    agents: Agents,
}

impl Story<'_> {
    /// Stops one daemon and starts the other one on a node that serves nothing.
    #[track_caller]
    fn replace(&self, node: usize, old: &[&str], new: &[&str], owner: usize) {
        let what = format!("{} goes from {} to {}", NODES[node], old[old.len() - 1], new[0]);
        self.step(&what, owner, || {
            self.pair.run(node, &[old, &["-k"]].concat());
            if self.agents == Agents::Exchanged {
                self.pair.run(node, if new == OURS { &TO_OUR_AGENT } else { &TO_THEIR_AGENT });
            }
            self.pair.run(node, new);
        });
    }

    /// The planned switch away from the node that serves.
    #[track_caller]
    fn switch(&self, node: usize, command: &[&str], owner: usize) {
        self.step(&format!("{} on {}", command.join(" "), NODES[node]), owner, || {
            self.pair.run(node, &[command, &["all"]].concat());
        });
    }

    #[track_caller]
    fn step(&self, what: &str, owner: usize, act: impl FnOnce()) {
        let event_us = now_us();
        act();
        self.at(owner, what);
        let silence = longest_silence(&self.probe.answers().expect("answers"), event_us);
        let silence_ms = silence.map_or(u64::MAX, |silence| silence.length_us() / 1000);
        println!("{what}: {silence_ms} ms without an answer");
        assert!(silence_ms < TIMES.dead_time_ms, "{what}: {silence_ms} ms, as long as a crash");
    }

    /// Waits until the address is there and both nodes say that nothing is under way.
    #[track_caller]
    fn at(&self, owner: usize, what: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let words = [0, 1].map(|node| self.pair.resource_status(node));
            let calm = words.iter().all(|word| ["all", "local", "foreign", "none"].contains(&word.as_str()));
            let owners = self.pair.world.owners(ADDRESS).expect("addresses");
            let serves =
                ["all", if owner == 0 { "local" } else { "foreign" }].contains(&words[owner].as_str());
            if calm && serves && owners == [NODES[owner]] {
                return;
            }
            assert!(Instant::now() < end, "{what}: {owners:?}, {words:?} and not {}", NODES[owner]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
