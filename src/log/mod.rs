//! Log lines in the original's formats.
