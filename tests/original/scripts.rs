//! Scripts and commands of the original's installation with our daemon.
