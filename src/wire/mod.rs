//! Datagrams and frames: bytes to messages and back.

pub mod message;
