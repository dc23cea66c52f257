//! The daemon: start order, the loop that turns outputs into effects.
