//! The loop's one timer.
//!
//! A timer of the kernel (timerfd, Linux 2.6.25) on the monotonic clock: one system call sets it
//! and one wake-up ends it, where the runtime's own timer wakes the loop once more for every
//! level of its wheel. Heartbeats come many times a second, for years.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Poll;
use std::time::Duration;

use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::sys::readable::watch;

/// A timer that is set to a moment of [`crate::sys::time::monotonic_ms`].
pub struct Alarm {
    timer: TimerFd,
    /// The same timer, watched.
    readable: AsyncFd<OwnedFd>,
    due_ms: Option<u64>,
}

impl Alarm {
    /// A timer that is not set. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// No descriptor, or a kernel before 2.6.25.
    pub fn new() -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        let readable = watch(timer.as_fd().try_clone_to_owned()?)?;
        Ok(Self { timer, readable, due_ms: None })
    }

    /// Sets it to that moment; one that is past fires at once. Setting it to the same moment again
    /// costs nothing.
    ///
    /// # Errors
    /// The kernel's; the timer is as it was.
    pub fn set(&mut self, due_ms: u64) -> io::Result<()> {
        if self.due_ms == Some(due_ms) {
            return Ok(());
        }
        // Zero would switch the timer off.
        let moment = Duration::from_millis(due_ms.clamp(1, u64::from(u32::MAX) * 1000));
        let expiration = Expiration::OneShot(moment.into());
        self.timer.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.due_ms = Some(due_ms);
        Ok(())
    }

    /// Waits until it fires; it is then no longer set. Cancel-safe.
    pub async fn fired(&mut self) {
        std::future::poll_fn(|context| {
            let Poll::Ready(Ok(mut guard)) = self.readable.poll_read_ready(context) else {
                return Poll::Pending;
            };
            guard.clear_ready();
            Poll::Ready(())
        })
        .await;
        self.due_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::time::monotonic_ms;

    #[test]
    fn it_fires_when_it_should() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::new().unwrap();
            let begin_ms = monotonic_ms();
            alarm.set(begin_ms + 500_000).unwrap();
            alarm.set(begin_ms + 30).unwrap();
            alarm.fired().await;
            assert!(monotonic_ms() >= begin_ms + 30);
            alarm.set(1).unwrap();
            alarm.fired().await;
            assert!(monotonic_ms() < begin_ms + 100_000);
        });
    }
}
