//! `ha demo`: a failover on one machine, told as it happens. Its world of namespaces also serves
//! the namespace tests and the benches.

pub mod agent;
mod disk;
pub mod draw;
pub mod host;
pub mod links;
pub mod probe;
mod protocol;
mod responder;
pub mod story;
pub mod world;

pub use protocol::{Output, ProcessUse};
pub use story::json;
