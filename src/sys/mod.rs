//! The only unsafe code.

#![allow(unsafe_code)]

pub mod local_time;
pub mod packet;
pub mod print;
pub mod syslog;
