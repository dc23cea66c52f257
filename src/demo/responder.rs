//! The service that a demo host offers on every address it has: it answers who it is.
//!
//! It is a thread of the host's first process. So it lives as long as the host has power, like the
//! kernel's answer to a ping, also while the host's programs are frozen.

use std::io;
use std::net::UdpSocket;
use std::thread;

/// Port of the service.
pub(crate) const PORT: u16 = 7;
/// A question is its number and the time it was sent, 8 bytes each; the answer adds one byte.
pub(crate) const QUESTION_BYTES: usize = 16;

/// Answers with `index` from now on.
///
/// # Errors
/// The socket cannot be had.
pub(crate) fn start(index: u8) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", PORT))?;
    thread::spawn(move || loop {
        let mut buffer = [0; QUESTION_BYTES + 1];
        // Errors (an unreachable client) concern one datagram only.
        if let Ok((QUESTION_BYTES, asker)) = socket.recv_from(&mut buffer) {
            buffer[QUESTION_BYTES] = index;
            let _ = socket.send_to(&buffer, asker);
        }
    });
    Ok(())
}
