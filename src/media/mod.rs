//! Heartbeat media.
