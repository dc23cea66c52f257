//! Every medium between one of ours and one of the original's.
