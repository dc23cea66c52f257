//! The daemon: start order, the loop that turns outputs into effects.

pub mod identity;
pub mod layout;
pub mod process;
