//! The guards against two owners with what they ask: disks, arbiters, neighbours, ping nodes
//! (ha-guards(7)). The decisions are played in `tests/cluster`.

#[path = "../support/skip.rs"]
mod skip;

mod arbiters;
