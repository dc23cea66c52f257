//! The guards against two owners with what they ask: disks, arbiters, neighbours, ping nodes
//! (ha-guards(7)). The decisions are played in `tests/cluster`.

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;

mod arbiters;
mod misused;
mod pairs;
mod watchdogs;
