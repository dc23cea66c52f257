//! From a pair of originals to a pair of ours, one node at a time, and back.
