//! The cluster simulator: worlds of cluster values on a virtual clock and seeded wires, a checker
//! beside them, named scenarios, random runs, mutations, replay.
//!
//! `HA_SIM_SEEDS=20000` makes the random runs longer, `HA_SIM_SEED=17` repeats one and prints its
//! table, `HA_SIM_FIRST=1000` begins elsewhere.

#![allow(unreachable_pub)] // a test program has no outside: its modules only see each other

mod agents;
mod checker;
#[path = "../support/group_state.rs"]
mod group_state;
mod guarded;
mod host;
mod network;
mod outside;
mod print;
mod scenario;
mod settle;
mod swarm;
mod watch_rules;
mod world;

// promises, one file per behaviour
mod alarms;
mod cold_start;
mod crash;
mod failing_agents;
mod fencing;
mod former_life;
mod guard_runs;
mod guards;
mod handover;
mod lease_times;
mod maintenance;
mod mutations;
mod original_peer;
mod partition;
mod replay;
mod services;
mod watch_mutations;
mod watch_runs;
mod watchdog_wait;

/// The cluster under test: the one place that says which.
mod core {
    pub use ha_core::cluster::settings::{ClusterSettings, Faults};
    pub use ha_core::cluster::Cluster;
}
