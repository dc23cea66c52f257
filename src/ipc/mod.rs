//! The original's client API on its own socket, and our requests on the same socket.
