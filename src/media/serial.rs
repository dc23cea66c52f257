//! `serial TTY`: classic text over a serial line, a null-modem cable between the two nodes
//! (messaging spec 1.4, 6).
//!
//! Nothing is forwarded from one line to another, and nothing from other media: 3.0.6 has no rings
//! either. A line that takes nothing (no reader, no cable) is never waited for: what it does not
//! take within [`STALL_MS`] is thrown away, also what the driver holds, so that a reader who comes
//! later hears the present and not the past.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{read, write, Pid};
use tokio::io::unix::AsyncFd;

use super::report::Reporter;
use super::{MediumKind, MediumPlan};
use crate::config::settings::MediumConfig;
use crate::sys::readable::watch_both;
use crate::sys::serial;
use crate::types::{LinkName, LogLevel};
use crate::wire::MessageStream;

const WORD: &str = "serial";

pub(super) const KIND: MediumKind = MediumKind { word: WORD, plan };

/// Bytes that may wait to be written. Beyond it the oldest messages give way to the newest.
const QUEUE_MAX_BYTES: usize = 64 * 1024;

/// A line that took nothing for so long has nobody at its other end.
const STALL_MS: u64 = 1000;

/// So long after the last stall a line counts as working again, if nothing was heard on it sooner.
const RECOVERED_MS: u64 = 10_000;

/// Bytes read in one go.
const READ_BYTES: usize = 4096;

/// Reads in one go without a whole message before the others get their turn.
const READS_MAX: usize = 16;

/// Stray bytes between two looks that are no news: a line break or two, a line switched on.
const STRAY_MAX_BYTES: u64 = 64;

/// How often a line without a reader is told of; the original says it once an hour.
const TIMEOUT_REPORT_MS: u64 = 3_600_000;

/// What a serial line needs.
#[derive(Debug)]
pub(super) struct Plan {
    device: String,
    baud: u32,
}

fn plan(config: &MediumConfig, _udp_port: u16) -> Option<MediumPlan> {
    let MediumConfig::Serial { device, baud } = config else {
        return None;
    };
    Some(MediumPlan::Serial(Plan { device: device.clone(), baud: *baud }))
}

/// One line.
#[derive(Debug)]
pub(super) struct SerialLine {
    pub(super) link: LinkName,
    plan: Plan,
    line: Option<AsyncFd<OwnedFd>>,
    /// Another program had it when we started.
    locked_by: Option<Pid>,
    fault: Option<String>,
    incoming: MessageStream,
    /// Stray bytes that were told of.
    strays_told: u64,
    outgoing: Outgoing,
    discarded: u64,
    next_timeout_report_ms: u64,
}

/// Messages that wait to be written.
#[derive(Debug, Default)]
struct Outgoing {
    queue: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Of the first message, written already.
    written: usize,
    /// What the driver held after our last write.
    held: usize,
    /// The driver would take no more at our last try.
    full: bool,
    /// When something last left, or nothing waited.
    moved_ms: u64,
    /// When everything was last thrown away, until the line works again.
    stalled_ms: Option<u64>,
}

impl SerialLine {
    pub(super) fn new(link: LinkName, plan: Plan) -> Self {
        Self {
            link,
            // Looked at once: later no file is read.
            locked_by: owner_of_lock(&plan.device),
            plan,
            line: None,
            fault: None,
            incoming: MessageStream::of_serial_line(),
            strays_told: 0,
            outgoing: Outgoing::default(),
            discarded: 0,
            next_timeout_report_ms: 0,
        }
    }

    // ---- sending -------------------------------------------------------------------------

    /// Takes a message without waiting; `false` when the line is down. That nobody reads it is no
    /// failure: the other node may be off.
    pub(super) fn send(&mut self, text: &[u8], now_ms: u64, reporter: &mut Reporter) -> bool {
        let Some(line) = &self.line else {
            self.discarded += 1;
            return false;
        };
        let held = serial::waiting_output(line.get_ref());
        if self.outgoing.is_stalled(held, now_ms) {
            serial::discard_output(line.get_ref());
            self.discarded += self.outgoing.throw_away(now_ms);
            self.report_timeout(now_ms, reporter);
        } else if self.discarded > 0 && self.outgoing.works(now_ms) {
            let (count, link) = (std::mem::take(&mut self.discarded), &self.link);
            reporter.report(&format!("{WORD} {link} works"), LogLevel::Warning, || {
                format!("{count} messages discarded due to write errors on {WORD} {link}")
            });
        }
        self.discarded += self.outgoing.add(text);
        self.write(now_ms, reporter);
        self.line.is_some()
    }

    /// Writes what the driver takes. `true`: it would take no more.
    fn write(&mut self, now_ms: u64, reporter: &mut Reporter) -> bool {
        let Some(line) = &self.line else { return true };
        while let Some(rest) = self.outgoing.front() {
            match write(line.get_ref(), rest) {
                Ok(count) => self.outgoing.written(count, now_ms),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.outgoing.full = true;
                    break;
                }
                Err(errno) => {
                    self.close(errno, reporter);
                    return true;
                }
            }
        }
        self.outgoing.note_held(serial::waiting_output(line.get_ref()), now_ms);
        self.outgoing.full
    }

    fn report_timeout(&mut self, now_ms: u64, reporter: &mut Reporter) {
        if now_ms < self.next_timeout_report_ms {
            return;
        }
        self.next_timeout_report_ms = now_ms.saturating_add(TIMEOUT_REPORT_MS);
        let link = &self.link;
        reporter.report(&format!("{WORD} {link} timeout"), LogLevel::Warning, || {
            format!("glib: TTY write timeout on [{link}] (no connection or bad cable? [see documentation])")
        });
    }

    // ---- receiving -----------------------------------------------------------------------

    /// Writes what waits, and reads up to the next message, whose length it returns. `now_ms` may
    /// be a little old.
    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        now_ms: u64,
        reporter: &mut Reporter,
    ) -> Poll<usize> {
        self.poll_write(context, now_ms, reporter);
        for _ in 0..READS_MAX {
            if let Some(length) = self.next_message(buffer) {
                return Poll::Ready(length);
            }
            let Some(line) = &self.line else { return Poll::Pending };
            let mut guard = match line.poll_read_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(guard)) => guard,
                Poll::Ready(Err(_)) => {
                    self.close(Errno::EIO, reporter);
                    return Poll::Pending;
                }
            };
            let mut bytes = [0; READ_BYTES];
            match read(guard.get_inner(), &mut bytes) {
                Ok(0) => self.close(Errno::UnknownErrno, reporter),
                Ok(count) => self.incoming.push(&bytes[..count]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(errno) => self.close(errno, reporter),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&mut self, context: &mut Context<'_>, now_ms: u64, reporter: &mut Reporter) {
        while self.outgoing.front().is_some() {
            let Some(line) = &self.line else { return };
            match line.poll_write_ready(context) {
                Poll::Pending => return,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return self.close(Errno::EIO, reporter),
            }
            if self.write(now_ms, reporter) {
                // Again, so that the waker is registered.
                if let Some(line) = &self.line {
                    if let Poll::Ready(Ok(mut guard)) = line.poll_write_ready(context) {
                        guard.clear_ready();
                    }
                }
            }
        }
    }

    pub(super) fn try_receive(&mut self, buffer: &mut [u8], reporter: &mut Reporter) -> Option<usize> {
        for _ in 0..READS_MAX {
            if let Some(length) = self.next_message(buffer) {
                return Some(length);
            }
            let mut bytes = [0; READ_BYTES];
            match read(self.line.as_ref()?.get_ref(), &mut bytes) {
                Ok(0) => self.close(Errno::UnknownErrno, reporter),
                Ok(count) => self.incoming.push(&bytes[..count]),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(errno) => self.close(errno, reporter),
            }
        }
        None
    }

    fn next_message(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            let message = self.incoming.next_message()?;
            // One that is longer than any message may be is none.
            if let Some(space) = buffer.get_mut(..message.len()) {
                space.copy_from_slice(&message);
                // Somebody is there.
                self.outgoing.stalled_ms = None;
                return Some(message.len());
            }
        }
    }

    // ---- opening and closing -------------------------------------------------------------

    /// Opens the line when it is not, and tells of stray bytes.
    pub(super) fn maintain(&mut self, now_ms: u64, reporter: &mut Reporter) {
        self.report_strays(reporter);
        if self.line.is_some() {
            return;
        }
        let device = &self.plan.device;
        if self.locked_by.is_some_and(|owner| kill(owner, None) != Err(Errno::ESRCH)) {
            return self.set_fault(format!("glib: cannot lock line {device}"), reporter);
        }
        match serial::open(device, self.plan.baud).and_then(watch_both) {
            Ok(line) => {
                self.line = Some(line);
                self.fault = None;
                self.incoming = MessageStream::of_serial_line();
                self.strays_told = 0;
                self.outgoing = Outgoing { moved_ms: now_ms, ..Outgoing::default() };
                let baud = self.plan.baud;
                reporter.report(&format!("{WORD} {device} started"), LogLevel::Info, || {
                    format!("glib: Starting serial heartbeat on tty {device} ({baud} baud)")
                });
            }
            Err(error) => self.set_fault(format!("glib: cannot open {device}: {error}"), reporter),
        }
    }

    fn report_strays(&mut self, reporter: &mut Reporter) {
        let strays = self.incoming.skipped_bytes();
        let new = strays - self.strays_told;
        self.strays_told = strays;
        if new > STRAY_MAX_BYTES {
            let link = &self.link;
            reporter.report(&format!("{WORD} {link} strays"), LogLevel::Warning, || {
                format!("glib: {new} bytes on serial port {link} belong to no message (speed? cable? another program?)")
            });
        }
    }

    fn set_fault(&mut self, text: String, reporter: &mut Reporter) {
        if self.fault.as_ref() != Some(&text) {
            let kind = format!("{WORD} {} cannot open", self.link);
            reporter.report(&kind, LogLevel::Error, || text.clone());
        }
        self.fault = Some(text);
    }

    /// The line hung up; it is opened anew at the next look.
    fn close(&mut self, errno: Errno, reporter: &mut Reporter) {
        self.line = None;
        self.discarded += self.outgoing.queue.len() as u64;
        self.outgoing = Outgoing::default();
        let link = &self.link;
        let (text, number) = match errno {
            Errno::UnknownErrno => ("hung up".to_owned(), 0),
            errno => (io::Error::from(errno).to_string(), errno as i32),
        };
        reporter.report(&format!("{WORD} {link} closed"), LogLevel::Error, || {
            format!("glib: EOF in ttygets [{link}]: {text} [{number}]")
        });
    }
}

impl Drop for SerialLine {
    /// Without this the last close waits up to half a minute for a reader.
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            serial::discard_output(line.get_ref());
        }
    }
}

impl Outgoing {
    /// Adds a message; how many old ones gave way (1 for itself when it is too long).
    fn add(&mut self, text: &[u8]) -> u64 {
        if text.len() > QUEUE_MAX_BYTES {
            return 1;
        }
        let mut dropped = 0;
        while self.bytes + text.len() > QUEUE_MAX_BYTES {
            // Half a message is finished, else the reader loses the next one, too.
            let oldest = usize::from(self.written > 0);
            let Some(message) = self.queue.remove(oldest) else {
                return dropped + 1;
            };
            self.bytes -= message.len();
            dropped += 1;
        }
        self.bytes += text.len();
        self.queue.push_back(text.to_vec());
        dropped
    }

    fn front(&self) -> Option<&[u8]> {
        self.queue.front().and_then(|message| message.get(self.written..))
    }

    fn written(&mut self, count: usize, now_ms: u64) {
        if std::mem::take(&mut self.full) && count > 0 {
            // There was no room before: something has left.
            self.moved_ms = now_ms;
        }
        self.written += count;
        if self.queue.front().is_some_and(|message| self.written >= message.len()) {
            let message = self.queue.pop_front();
            self.bytes -= message.map_or(0, |message| message.len());
            self.written = 0;
        }
    }

    /// Remembers what the driver holds after a write.
    fn note_held(&mut self, held: usize, now_ms: u64) {
        self.held = held;
        if held == 0 && self.queue.is_empty() {
            self.moved_ms = now_ms;
        }
    }

    /// Whether nothing has left for too long; `held` is what the driver holds now.
    fn is_stalled(&mut self, held: usize, now_ms: u64) -> bool {
        let idle = held == 0 && self.queue.is_empty();
        if idle || held < self.held {
            self.moved_ms = now_ms;
        }
        self.held = held;
        now_ms.saturating_sub(self.moved_ms) >= STALL_MS
    }

    /// Gives up everything that waits; how many messages it was.
    fn throw_away(&mut self, now_ms: u64) -> u64 {
        let count = self.queue.len() as u64;
        *self = Self { moved_ms: now_ms, stalled_ms: Some(now_ms), ..Self::default() };
        count
    }

    /// Nothing waits, and no stall for a while. Some drivers (pseudo-terminals) take a little even when nobody reads.
    fn works(&mut self, now_ms: u64) -> bool {
        let stalled = self.stalled_ms.is_some_and(|since| now_ms.saturating_sub(since) < RECOVERED_MS);
        if !stalled {
            self.stalled_ms = None;
        }
        !stalled && self.queue.is_empty()
    }
}

/// The process that holds the lock file of a line (`LCK..ttyS0`, as terminal programs and the
/// original make it), if it lives.
fn owner_of_lock(device: &str) -> Option<Pid> {
    let name = device.strip_prefix("/dev/").unwrap_or(device).replace('/', "");
    let text = std::fs::read_to_string(format!("/var/lock/LCK..{name}")).ok()?;
    let owner = Pid::from_raw(text.trim().parse().ok().filter(|pid| *pid > 0)?);
    (kill(owner, None) != Err(Errno::ESRCH) && owner != Pid::this()).then_some(owner)
}
