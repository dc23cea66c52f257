//! The only unsafe code.

#![allow(unsafe_code)]

pub mod interface;
pub mod process;
pub mod sched;
pub mod time;
pub mod local_time;
pub mod packet;
pub mod syslog;
