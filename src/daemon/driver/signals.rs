//! The signals that the daemon acts on.

use std::io;

use tokio::signal::unix::{signal, Signal, SignalKind};

pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    louder: Signal,
    quieter: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            louder: signal(SignalKind::user_defined1())?,
            quieter: signal(SignalKind::user_defined2())?,
        })
    }

    pub(super) async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hang_up.recv() => SignalKind::hangup(),
            _ = self.louder.recv() => SignalKind::user_defined1(),
            _ = self.quieter.recv() => SignalKind::user_defined2(),
        }
    }
}
