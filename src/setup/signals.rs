//! Signals held back while files are put in their places: Ctrl-C waits for the few milliseconds that a
//! change takes, and then ends the program as it always does.

use nix::sys::signal::{SigSet, Signal};

/// Holds back what a person or a closing terminal sends, until it is dropped.
#[derive(Debug)]
pub struct Held(SigSet);

impl Held {
    /// From now on. A kernel that refuses changes nothing.
    pub fn now() -> Self {
        let mut held = SigSet::empty();
        for signal in [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGTSTP,
            Signal::SIGPIPE,
        ] {
            held.add(signal);
        }
        let _ = held.thread_block();
        Self(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.thread_unblock();
    }
}
