//! Log lines in the original's formats, written without ever delaying the caller.
//!
//! - [`mod@line`]: the formats.
//! - [`sinks`]: the files, standard error and syslog.
//! - [`writer`]: [`Logger`]: directly into the sinks while the program starts, through a bounded
//!   queue and a thread of its own afterwards.
//! - [`backend`]: the `log` crate's macros end in the same places.
//! - [`limit`]: how often a kind of line may appear.
//! - `client`: hands lines to the logging daemon.
//! - [`logd`]: the logging daemon: other programs' lines end in the same sinks.
//! - [`ha_logger`]: hands lines of scripts to it.
//! - [`environment`]: where a program that the daemon started logs.

pub mod backend;
mod client;
pub mod environment;
pub mod ha_logger;
pub mod limit;
pub mod line;
pub mod logd;
pub mod sinks;
pub mod writer;

pub use backend::{set_debug_level, stderr_logger};
pub use environment::targets_from_environment;
pub use limit::{RateLimit, Verdict};
pub use sinks::{host_name, LogTargets, LogdTarget};
pub use writer::Logger;

use crate::types::LogLevel;

/// A line that a room without a logger of its own hands to the one that has it.
pub type LogLine = (LogLevel, String);
