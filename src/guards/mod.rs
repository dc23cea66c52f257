//! The guards against split brain that touch the world: the disk of `lease`, the questions of
//! `ask_before_take`. Each runs as a child of the daemon (`ha guard ...`), so that a disk that hangs
//! or a network that does not answer never stops a heartbeat. What is done with the answers is
//! decided in the cluster room (`takeover`); ha-guards(7) is the manual.
//!
//! Plain blocking code: no tokio, nothing of the cluster.

pub mod address;
pub mod lease_disk;
pub mod program;
