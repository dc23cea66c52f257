//! Notices at once when something else takes an address of ours away, or its interface down.
//!
//! A thread of its own reads the kernel's notices (rtnetlink(7), groups of links and addresses) and
//! compares; nothing of it touches the loop. What a person stopped by hand is not told
//! ([`crate::resource::by_hand`]). Whether the address should be here at all the cluster knows.

use std::collections::BTreeMap;
use std::io::{self, PipeReader, PipeWriter};
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::log::Logger;
use crate::net::notices::{served_addresses, Notices};
use crate::resource::by_hand;
use crate::types::LogLevel;

use super::services::Watched;

/// Stack of the thread.
const STACK_BYTES: usize = 128 * 1024;
/// News that may wait; more are not needed, each is looked at again.
const WAITING_MAX: usize = 256;
/// After a notice: others usually follow.
const SETTLE: Duration = Duration::from_millis(2);

/// The thread; it ends when this is dropped.
pub struct OwnAddresses {
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
    /// Keeps the other end open where there is no thread.
    _sender: mpsc::Sender<u16>,
    receiver: mpsc::Receiver<u16>,
}

impl OwnAddresses {
    /// Watches the addresses of these resources. Where that is not possible the log says so, and
    /// everything else goes on.
    pub fn start(watched: &[Watched], logger: &Logger) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let addresses: BTreeMap<IpAddr, (u16, String)> = watched
            .iter()
            .enumerate()
            .filter_map(|(at, one)| {
                Some((one.address?, (u16::try_from(at).ok()?, one.settings.word.clone())))
            })
            .collect();
        let mut this = Self { stop: None, thread: None, _sender: sender.clone(), receiver };
        if addresses.is_empty() {
            return this;
        }
        let begin = || -> io::Result<(PipeWriter, JoinHandle<()>)> {
            let notices = Notices::open()?;
            let (reader, writer) = io::pipe()?;
            let logger = logger.clone();
            let work = move || {
                crate::sys::sched::drop_realtime();
                watch(&notices, &reader, &addresses, &sender, &logger);
            };
            let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(STACK_BYTES);
            Ok((writer, thread.spawn(work)?))
        };
        match begin() {
            Ok((writer, thread)) => (this.stop, this.thread) = (Some(writer), Some(thread)),
            Err(error) => {
                let text = format!("Addresses that are taken away will not be put back: {error}");
                logger.log(LogLevel::Warning, &text);
            }
        }
        this
    }

    /// The next resource whose address is gone. Cancel-safe.
    pub async fn next(&mut self) -> u16 {
        match self.receiver.recv().await {
            Some(resource) => resource,
            None => std::future::pending().await,
        }
    }

    /// Ends the thread, without waiting; `true` when it has ended.
    pub fn is_stopped(&mut self) -> bool {
        self.stop = None;
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn watch(
    notices: &Notices,
    stop: &PipeReader,
    addresses: &BTreeMap<IpAddr, (u16, String)>,
    sender: &mpsc::Sender<u16>,
    logger: &Logger,
) {
    let look = |before: &BTreeMap<IpAddr, bool>| -> Option<BTreeMap<IpAddr, bool>> {
        // Without an answer of the kernel nothing is said to be gone.
        let served = served_addresses().ok()?;
        let now: BTreeMap<IpAddr, bool> =
            addresses.keys().map(|address| (*address, served.contains(address))).collect();
        for (address, _) in before.iter().filter(|(address, was)| **was && now.get(address) == Some(&false)) {
            let Some((resource, word)) = addresses.get(address) else { continue };
            if !by_hand::is_stopped(word) {
                let _ = sender.try_send(*resource);
            }
        }
        Some(now)
    };
    let mut known = look(&BTreeMap::new()).unwrap_or_default();
    loop {
        match notices.wait(stop) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let text = format!("Addresses that are taken away are no longer noticed: {error}");
                return logger.log(LogLevel::Warning, &text);
            }
        }
        std::thread::sleep(SETTLE);
        if let Some(now) = look(&known) {
            known = now;
        }
    }
}
