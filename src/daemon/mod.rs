//! The daemon: start order, the loop that turns outputs into effects.

pub mod alarm;
pub mod children;
pub mod command_line;
pub mod copies;
pub mod driver;
pub mod environment;
pub mod groups;
pub mod identity;
pub mod layout;
pub mod logd;
pub mod packets;
pub mod process;
pub mod reload;
pub mod start;
pub mod upgrade;
pub mod watchdog;
