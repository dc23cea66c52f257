//! `ha demo`: a failover on one machine, told as it happens.
