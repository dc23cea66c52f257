//! Client programs on either daemon's sockets (messaging spec 7).
