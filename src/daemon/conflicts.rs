//! Who else claims an address that is here: an alarm in the log.
//!
//! A thread of its own listens while the daemon runs; nothing of it touches the loop. It looks at the
//! kernel's list of addresses only when somebody claims one that haresources names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, PipeReader, PipeWriter};
use std::net::IpAddr;
use std::thread::JoinHandle;

use crate::cluster::alarm::{Alarm, AlarmKind, AlarmState};
use crate::config::haresources::HaResources;
use crate::log::Logger;
use crate::net::conflict::{Conflict, Listener};
use crate::resource;
use crate::sys::time::monotonic_ms;
use crate::types::LogLevel;

use super::alarms::Bell;

/// One line about an address in this time, however often it is claimed.
const LINE_INTERVAL_MS: u64 = 60_000;
/// Stack of the thread.
const STACK_BYTES: usize = 128 * 1024;

/// The listening thread; it ends when this is dropped.
#[derive(Debug)]
pub struct ConflictWatch {
    /// Closing it ends the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl ConflictWatch {
    /// Listens for the addresses of haresources that built-in agents manage. Where that is not
    /// possible the log says so, and everything else goes on.
    pub fn start(resources: &HaResources, logger: &Logger, bell: Bell) -> Self {
        let words = resources.groups.iter().flat_map(|group| &group.resources);
        let watched: BTreeSet<IpAddr> = words.filter_map(resource::address_of).collect();
        if watched.is_empty() {
            return Self { stop: None, thread: None };
        }
        let begin = || -> io::Result<(PipeWriter, JoinHandle<()>)> {
            let listener = Listener::open(watched)?;
            let (reader, writer) = io::pipe()?;
            let logger = logger.clone();
            let work = move || {
                crate::sys::sched::drop_realtime();
                listen(&listener, &reader, &logger, &bell);
            };
            let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(STACK_BYTES);
            Ok((writer, thread.spawn(work)?))
        };
        let begun = begin()
            .inspect_err(|error| {
                let text = format!("Other hosts with our addresses will not be noticed: {error}");
                logger.log(LogLevel::Warning, &text);
            })
            .ok();
        let (stop, thread) = begun.unzip();
        Self { stop, thread }
    }

    /// Ends the thread, without waiting; `true` when it has ended. Closing its sockets waits for the
    /// kernel's grace period, and an exec would wait for that while beats are missed.
    pub fn is_stopped(&mut self) -> bool {
        self.stop = None;
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn listen(listener: &Listener, stop: &PipeReader, logger: &Logger, bell: &Bell) {
    // By address; it holds no more than are watched.
    let mut said_ms: BTreeMap<IpAddr, u64> = BTreeMap::new();
    loop {
        match listener.next(stop) {
            Ok(Some(conflict)) => {
                let now_ms = monotonic_ms();
                let quiet =
                    said_ms.get(&conflict.address).is_some_and(|last| now_ms < last + LINE_INTERVAL_MS);
                if !quiet {
                    said_ms.insert(conflict.address, now_ms);
                    let text = line(&conflict);
                    logger.log(LogLevel::Warning, &text);
                    bell.ring(Alarm {
                        kind: AlarmKind::AddressConflict,
                        state: AlarmState::Once,
                        subject: conflict.address.to_string(),
                        text,
                    });
                }
            }
            Ok(None) => return,
            Err(error) => {
                let text = format!("Other hosts with our addresses are no longer noticed: {error}");
                return logger.log(LogLevel::Warning, &text);
            }
        }
    }
}

fn line(conflict: &Conflict) -> String {
    let Conflict { address, hardware, interface } = conflict;
    format!("Address {address} is on this host and also at {hardware}, heard on {interface}: two hosts answer for it")
}
