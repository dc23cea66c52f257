//! Random partitions of a pair with a device that works.

use std::time::{Duration, Instant};

use ha_core::demo::world::{Way, SERVICE_ADDRESS};

use crate::common;
use crate::device::Fenced;
use crate::{long, PATIENCE};

/// Partitions of an ordinary run, and with `HA_LONG=1`.
const ROUNDS: [u32; 2] = [6, 100];

/// The links of a host that fail in a round: each alone, both at once, one after the other.
struct Cut {
    host: &'static str,
    way: Option<Way>,
    pause_ms: u64,
}

#[test]
fn no_partition_makes_two_owners() {
    let Some(pair) = Fenced::running(&["good"], &["debug 1"]) else { return };
    let probe = pair.world.probe(SERVICE_ADDRESS, Duration::from_millis(2)).expect("probe");
    let mut random = 0x9e37_79b9_u64 ^ u64::from(std::process::id());
    println!("seed {random}");
    let mut resets = 0;
    for round in 0..ROUNDS[usize::from(long())] {
        let seen = probe.answers().expect("answers").len();
        let cut = draw(&mut random);
        let (way, pause_ms) = (cut.way, cut.pause_ms);
        for interface in ["eth1", "eth0"] {
            let _ = match way {
                None => pair.world.cut_silently(cut.host, interface),
                Some(way) => pair.world.cut_one_way(cut.host, interface, way),
            };
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
        let victim = until_reset(&pair, round, &cut);
        resets += 1;
        let survivor = if victim == "node1" { "node2" } else { "node1" };
        for interface in ["eth0", "eth1"] {
            let _ = pair.world.heal(survivor, interface);
        }
        pair.world.wait_owner(SERVICE_ADDRESS, survivor, PATIENCE).expect("the survivor serves");
        let answers = probe.answers().expect("answers");
        one_after_the_other(&answers[seen..].iter().map(|answer| answer.host).collect::<Vec<_>>(), round);
        assert!(pair.log(survivor).contains(&format!("node {victim} now reset.")));
        pair.keeps_the_secret(survivor);
        pair.bring_back(victim);
        common::wait_for(&pair.world, "the pair is whole", PATIENCE, || common::is_settled(&pair.world));
    }
    println!("{resets} resets");
}

fn draw(random: &mut u64) -> Cut {
    let mut next = |below: u64| {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 33) % below
    };
    let host = if next(2) == 0 { "node1" } else { "node2" };
    let way = match next(4) {
        0 => Some(Way::To),
        1 => Some(Way::From),
        _ => None,
    };
    Cut { host, way, pause_ms: next(300) }
}

/// Serves the device and asks both kernels until a host is reset; its name.
fn until_reset(pair: &Fenced, round: u32, cut: &Cut) -> &'static str {
    let end = Instant::now() + PATIENCE;
    loop {
        assert!(
            !pair.two_owners(),
            "round {round}: two kernels have the address\n{}",
            common::logs(&pair.world)
        );
        if let Some(victim) = pair.serve() {
            return victim;
        }
        let what = format!("round {round}: {} is cut off ({:?})", cut.host, cut.way);
        assert!(Instant::now() < end, "{what}, and nobody is reset\n{}", common::logs(&pair.world));
    }
}

/// The client heard one host, then perhaps another, and never the first one again.
fn one_after_the_other(hosts: &[u8], round: u32) {
    let mut turns: Vec<u8> = hosts.to_vec();
    turns.dedup();
    assert!(turns.len() <= 2, "round {round}: answers in turns of {turns:?}");
}
