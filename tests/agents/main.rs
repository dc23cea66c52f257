//! Resource agents: ours against a real kernel, and ours beside Debian's.

mod addresses;
mod apache;
#[allow(dead_code)]
mod beside;
mod beside_addresses;
mod classes;
mod doubles;
mod filesystem;
mod inside;
mod killed;
mod many_addresses;
mod ocf_tester;
mod portblock;
mod simple;
#[path = "../support/skip.rs"]
mod skip;
mod verbs;
mod volumes;
mod xinetd;
