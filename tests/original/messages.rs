//! Formats, signing, keys, compression, retransmission and membership in mixed clusters.
