//! The three configuration files, checked.

pub mod settings;
