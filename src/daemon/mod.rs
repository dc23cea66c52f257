//! The daemon: start order, the loop that turns outputs into effects.

pub mod alarm;
pub mod children;
mod clients;
pub mod command_line;
mod conflicts;
pub mod copies;
pub mod driver;
pub mod environment;
pub mod fifo;
pub mod groups;
pub mod guard;
pub mod hooks;
pub mod host_cache;
pub mod identity;
pub mod layout;
pub mod logd;
pub mod packets;
pub mod pings;
pub mod process;
pub mod propagate;
pub mod reload;
pub mod respawn;
pub mod script_files;
pub mod start;
pub mod upgrade;
pub mod watchdog;
