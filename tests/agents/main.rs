//! Resource agents: ours against a real kernel, and ours beside Debian's.

mod addresses;
#[allow(dead_code)]
mod beside;
mod beside_addresses;
mod classes;
mod inside;
mod many_addresses;
#[path = "../support/skip.rs"]
mod skip;
