//! The logging daemon and its clients, ours and the original's in both directions.
