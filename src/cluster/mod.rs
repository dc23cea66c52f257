//! Decisions about nodes, links, packets and resources. Pure: time, randomness and results are
//! arguments, effects are data.

pub mod event;
mod text;
pub mod view;
