//! Goal: a recording is enough to see a failover again; old packets change nothing.
//! Method: recorded input lines fed to a new value give the same output lines; wires that repeat
//! everything.

use ha_core::cluster::event::Input;
use ha_core::config::settings::AutoFailback;
use ha_core::types::ResourceSet;

use crate::core::{Cluster, Faults};
use crate::network::NetworkFaults;
use crate::scenario::{Scenario, A, B};
use crate::swarm;
use crate::world::{Recording, World};

#[test]
fn recorded_lines_give_the_same_run_again() {
    let mut lines = 0;
    for seed in 0..12 {
        let world = match swarm::run(seed, Faults::default(), true) {
            Ok(world) => world,
            Err(failure) => failure.world,
        };
        for recording in world_recordings(world) {
            lines += recording.inputs.len();
            replay(seed, recording);
        }
    }
    assert!(lines > 1_000, "{lines}");
}

fn world_recordings(world: World) -> Vec<Recording> {
    world.recordings
}

/// A program file that takes over at many moments of rest changes nothing of what is decided.
#[test]
fn a_node_handed_over_as_text_behaves_as_if_never_touched() {
    let mut handed_over = 0;
    for seed in 0..10 {
        let world = match swarm::run(seed, Faults::default(), true) {
            Ok(world) => world,
            Err(failure) => failure.world,
        };
        for recording in world_recordings(world) {
            handed_over += replay_handing_over(seed, recording);
        }
    }
    assert!(handed_over > 300, "{handed_over}");
}

fn replay_handing_over(seed: u64, recording: Recording) -> usize {
    let mut cluster = Cluster::new(recording.settings.clone(), recording.born);
    let mut handed_over = 0;
    let steps = recording.inputs.iter().zip(&recording.outputs).enumerate();
    for (step, ((now, line), expected)) in steps {
        // Not at each, because of the time that would take.
        if let Some(state) = (step % 17 == 0).then(|| cluster.export()).flatten() {
            cluster = Cluster::import(recording.settings.clone(), *now, &state).expect("a state is read");
            handed_over += 1;
        }
        cluster.handle(*now, line.parse().expect("a recorded line parses"));
        let outputs = std::iter::from_fn(|| cluster.poll_output()).map(|output| output.to_string());
        // How often a line was logged is not handed over.
        let decisions = |line: &String| !line.starts_with("log ");
        let outputs: Vec<String> = outputs.filter(decisions).collect();
        let expected: Vec<String> = expected.iter().filter(|line| decisions(line)).cloned().collect();
        assert_eq!(outputs, expected, "seed {seed}, node{}, after {line}", recording.host + 1);
    }
    handed_over
}

fn replay(seed: u64, recording: Recording) {
    let mut cluster = Cluster::new(recording.settings, recording.born);
    for ((now, line), expected) in recording.inputs.iter().zip(&recording.outputs) {
        let input: Input = line.parse().expect("a recorded line parses");
        assert_eq!(input.to_string(), *line);
        cluster.handle(*now, input);
        let outputs: Vec<String> =
            std::iter::from_fn(|| cluster.poll_output()).map(|output| output.to_string()).collect();
        assert_eq!(outputs, *expected, "seed {seed}, node{}, after {line}", recording.host + 1);
    }
}

#[test]
fn duplicated_and_replayed_packets_change_nothing() {
    let mut pair = Scenario::running(|config| {
        config.auto_failback = AutoFailback::Off;
        config.echo = true;
    });
    pair.wires(NetworkFaults {
        delay_ms: (0, 5),
        duplicate_permille: 1_000,
        replay_permille: 500,
        replay_max_ms: 30_000,
        ..NetworkFaults::default()
    });
    for round in 0..6 {
        let (giver, taker) = if round % 2 == 0 { (A, B) } else { (B, A) };
        pair.standby(giver, ResourceSet::ALL).rest().owners(taker, taker);
    }
    pair.crash(A).rest().owners(B, B);
    pair.start(A).rest().owners(B, B).never_two();
}

#[test]
fn a_third_of_all_packets_lost_moves_nothing_and_stops_nothing() {
    let mut pair = Scenario::running(|config| config.auto_failback = AutoFailback::Off);
    pair.wires(NetworkFaults { loss_permille: 330, delay_ms: (0, 20), ..NetworkFaults::default() });
    for round in 0..6 {
        let (giver, taker) = if round % 2 == 0 { (A, B) } else { (B, A) };
        pair.standby(giver, ResourceSet::ALL).rest().owners(taker, taker);
    }
    pair.never_two();
}
