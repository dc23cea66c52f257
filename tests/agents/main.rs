//! Resource agents: ours against a real kernel, and ours beside Debian's.

mod addresses;
mod beside;
mod beside_addresses;
mod classes;
mod filesystem;
mod inside;
mod simple;
mod many_addresses;
#[path = "../support/skip.rs"]
mod skip;
mod volumes;
mod xinetd;
