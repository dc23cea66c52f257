//! `ha_core`: everything the applets of `ha` share.
//!
//! ```text
//!         bytes, now            Input             Output              effects
//! media ─────────────▶ wire ───────────▶ cluster ───────────▶ daemon ───▶ media · agents · clients · log
//! clients ───────────▶ (check, decode)   (decides, pure)      (carries out)
//!                                           ▲                    │
//!                                           └── timers, results ─┘
//! ```
//!
//! One direction, one loop. `cluster` is a value with one entry and queues of outputs: it knows no
//! socket, clock, file, process or random source. The other rooms carry out what it decides.

pub mod cluster;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod dopd;
pub mod ipc;
pub mod ipfail;
pub mod log;
pub mod media;
pub mod net;
pub mod resource;
pub mod setup;
pub mod stonith;
pub mod sys;
pub mod types;
pub mod wire;

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
