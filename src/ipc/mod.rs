//! The original's client API on its own socket, and our requests on the same socket.
//!
//! ```text
//!              frame            requests                     cl_status · hb_standby
//! client ◀──▶ (bytes, bodies) ▶ (who may ask what, answers)  hb_takeover · ha status
//!              server                                        └──── client ────┘
//! ```

pub mod cl_status;
pub mod client;
pub mod command;
pub mod frame;
pub mod options;
pub mod requests;
pub mod server;
pub mod status;
pub mod terminal;

// the one place that says who turns messages into bytes
use crate::wire as codec;

/// Where the daemon listens (messaging spec 7.3).
pub const SOCKET_PATH: &str = "/var/run/heartbeat/register";
