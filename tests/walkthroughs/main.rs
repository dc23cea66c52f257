//! The how-to part of the manual (ha-howto(7)) as tests: each walk-through with real daemons of ours on two
//! hosts of namespaces, and a client that asks.

#[path = "../common/mod.rs"]
mod common;

mod articles;
mod databases;
mod site;
mod web;
