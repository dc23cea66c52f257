//! Notices at once when something else takes an address of ours away, or its interface down.
//!
//! A thread of its own reads the kernel's notices (rtnetlink(7), groups of links and addresses) and
//! compares; nothing of it touches the loop. After each job it looks without a notice too: what was put
//! on and taken away again between two looks would otherwise never be missed. What a person stopped by hand
//! is not told ([`crate::resource::by_hand`]). Whether the address should be here at all the cluster knows.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::log::Logger;
use crate::net::notices::{served_addresses, Notices, Woken};
use crate::resource::by_hand;
use crate::types::{LogLevel, ResourceSet};

use super::services::Watched;

/// Stack of the thread.
const STACK_BYTES: usize = 128 * 1024;
/// News that may wait, and resources in each; what is left out is found after the next job.
const WAITING_MAX: usize = 16;
const RESOURCES_MAX: usize = 256;
/// After a notice: others usually follow.
const SETTLE: Duration = Duration::from_millis(2);

/// The thread; it ends when this is dropped.
pub struct OwnAddresses {
    /// Closing it ends the thread, a byte makes it look at `asked`.
    pipe: Option<PipeWriter>,
    asked: Asked,
    thread: Option<JoinHandle<()>>,
    /// Keeps the other end open where there is no thread.
    _sender: mpsc::Sender<Vec<u16>>,
    receiver: mpsc::Receiver<Vec<u16>>,
}

/// Sets to be looked at without a notice; while it is not empty a byte is in the pipe.
type Asked = Arc<Mutex<ResourceSet>>;

/// One address that is watched.
struct Own {
    /// The resource's number.
    resource: u16,
    word: String,
    set: ResourceSet,
}

impl OwnAddresses {
    /// Watches the addresses of these resources. Where that is not possible the log says so, and
    /// everything else goes on.
    pub fn start(watched: &[Watched], logger: &Logger) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let own = |(at, one): (usize, &Watched)| {
            let Watched { settings, address, .. } = one;
            let resource = u16::try_from(at).ok()?;
            Some(((*address)?, Own { resource, word: settings.word.clone(), set: settings.set }))
        };
        let addresses: BTreeMap<IpAddr, Own> = watched.iter().enumerate().filter_map(own).collect();
        let asked = Asked::new(Mutex::new(ResourceSet::NONE));
        let mut this =
            Self { pipe: None, asked: asked.clone(), thread: None, _sender: sender.clone(), receiver };
        if addresses.is_empty() {
            return this;
        }
        let begin = || -> io::Result<(PipeWriter, JoinHandle<()>)> {
            let notices = Notices::open()?;
            let (reader, writer) = io::pipe()?;
            let logger = logger.clone();
            let work = move || {
                crate::sys::sched::drop_realtime();
                watch(&notices, (&reader, &asked), &addresses, &sender, &logger);
            };
            let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(STACK_BYTES);
            Ok((writer, thread.spawn(work)?))
        };
        match begin() {
            Ok((writer, thread)) => (this.pipe, this.thread) = (Some(writer), Some(thread)),
            Err(error) => {
                let text = format!("Addresses that are taken away will not be put back: {error}");
                logger.log(LogLevel::Warning, &text);
            }
        }
        this
    }

    /// The next resources whose addresses are gone. Cancel-safe.
    pub async fn next(&mut self) -> Vec<u16> {
        match self.receiver.recv().await {
            Some(resources) => resources,
            None => std::future::pending().await,
        }
    }

    /// A job is done while these are held here: every address of them that is not there is told, whether
    /// it was seen before or not.
    pub fn look_at(&mut self, held: ResourceSet) {
        let Some(pipe) = self.pipe.as_mut().filter(|_| !held.is_empty()) else { return };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // At most one byte is in the pipe: this never waits.
        if asked.is_empty() && pipe.write_all(&[0]).is_err() {
            return;
        }
        *asked = asked.union(held);
    }

    /// Ends the thread, without waiting; `true` when it has ended.
    pub fn is_stopped(&mut self) -> bool {
        self.pipe = None;
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn watch(
    notices: &Notices,
    (pipe, asked): (&PipeReader, &Asked),
    addresses: &BTreeMap<IpAddr, Own>,
    sender: &mpsc::Sender<Vec<u16>>,
    logger: &Logger,
) {
    // Those that are served, and the news: what was there before and is not, or should be in any case.
    let look = |before: &BTreeSet<IpAddr>, held: ResourceSet| -> Option<BTreeSet<IpAddr>> {
        // Without an answer of the kernel nothing is said to be gone.
        let mut served = served_addresses().ok()?;
        served.retain(|address| addresses.contains_key(address));
        let gone = addresses.iter().filter(|(address, own)| {
            !served.contains(address)
                && (before.contains(address) || held.contains(own.set))
                && !by_hand::is_stopped(&own.word)
        });
        let gone: Vec<u16> = gone.map(|(_, own)| own.resource).take(RESOURCES_MAX).collect();
        if !gone.is_empty() {
            let _ = sender.try_send(gone);
        }
        Some(served)
    };
    let mut known = look(&BTreeSet::new(), ResourceSet::NONE).unwrap_or_default();
    loop {
        let held = match notices.wait(pipe) {
            Ok(Woken::Changed) => ResourceSet::NONE,
            Ok(Woken::Asked) => std::mem::replace(
                &mut *asked.lock().unwrap_or_else(PoisonError::into_inner),
                ResourceSet::NONE,
            ),
            Ok(Woken::Closed) => return,
            Err(error) => {
                let text = format!("Addresses that are taken away are no longer noticed: {error}");
                return logger.log(LogLevel::Warning, &text);
            }
        };
        std::thread::sleep(SETTLE);
        if let Some(now) = look(&known, held) {
            known = now;
        }
    }
}
