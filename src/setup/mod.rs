//! First steps: `ha init`, `ha keygen`, `ha install`, `ha uninstall`, and what only a live host can tell
//! `ha check`.
//!
//! ```text
//! init      options, answers ─▶ texts ─▶ config::check ─▶ together (all files or none) ─▶ /etc/ha.d
//! install   places ─▶ plan ─▶ manifest ─▶ one step after the other, each with its way back
//! uninstall manifest ─▶ what is still as it was made
//! check     config::check + live (addresses, routes, boot, firewall, the peer)
//! ```
//!
//! Plain blocking code. Nothing here decides anything for a running cluster.

pub mod accounts;
pub mod answers;
pub mod check;
pub mod enable;
pub mod init;
pub mod install;
pub mod keygen;
mod live;
pub mod manifest;
pub mod pages;
pub mod parcel;
pub mod root;
mod run;
pub mod service;
pub mod signals;
pub mod steps;
pub mod texts;
pub mod together;
pub mod uninstall;

pub use run::{run, Task};

/// Exit code: everything was done.
pub const DONE: u8 = 0;
/// Exit code: nothing was done, or all of it was taken back; the text says why.
pub const FAILED: u8 = 1;
/// Exit code of wrong use.
pub const USAGE: u8 = 2;
