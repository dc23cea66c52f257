//! The only unsafe code.

#![allow(unsafe_code)]

pub mod block;
pub mod bounded;
pub mod fifo;
pub mod filter;
pub mod fork;
pub mod getopt;
pub mod interface;
pub mod namespace;
pub mod packet;
pub mod print;
pub mod process;
pub mod readable;
pub mod regex;
pub mod sched;
pub mod serial;
pub mod syslog;
pub mod time;
pub mod watchdog;
