//! Resource agents: ours against a real kernel, and ours beside Debian's.

mod addresses;
#[allow(dead_code)]
mod beside;
mod classes;
mod inside;
#[path = "../support/skip.rs"]
mod skip;
