//! Addresses behind each other in a group, to be started and stopped at once.

use std::path::PathBuf;

use super::ip_batch::{self, Started, Stopped};
use super::{heartbeat_class, Context};

/// A built-in address of a group.
#[derive(Debug)]
pub(super) struct Address {
    /// Where its script would be, for the log.
    pub(super) path: PathBuf,
    /// Its arguments, for the log.
    pub(super) words: String,
    pub(super) context: Context,
}

/// Some of them, in the order in which they are to be worked on.
#[derive(Debug, Default)]
pub struct Run(Vec<Address>);

/// An address with what became of its start.
pub struct StartedAddress<'a> {
    pub(super) address: &'a Address,
    pub(super) started: Started<'a>,
}

/// An address with what became of its stop.
pub(super) struct StoppedAddress<'a> {
    pub(super) address: &'a Address,
    pub(super) stopped: Stopped<'a>,
}

impl Address {
    /// The line of the wrapper; `asks` is for status.
    pub(super) fn log_result(&self, code: u8, asks: bool) {
        heartbeat_class::log_result(&self.context, code, asks);
    }
}

impl Run {
    pub(super) fn push(&mut self, address: Address) {
        self.0.push(address);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One of them is here.
    pub(super) fn any_active(&self) -> bool {
        ip_batch::any_active(&self.members())
    }

    /// Starts them; what is not in the value, or said to be alone, must be started by itself.
    pub(super) fn start(&self) -> Vec<StartedAddress<'_>> {
        start_together(std::slice::from_ref(self)).pop().unwrap_or_default()
    }

    /// Stops them; nothing was done when the value is empty.
    pub(super) fn stop(&self) -> Vec<StoppedAddress<'_>> {
        // What the kernel cannot be asked now is asked once more for each.
        let stopped = ip_batch::stop(&self.members()).unwrap_or_default();
        self.0.iter().zip(stopped).map(|(address, stopped)| StoppedAddress { address, stopped }).collect()
    }

    fn members(&self) -> Vec<&Context> {
        self.0.iter().map(|address| &address.context).collect()
    }
}

/// Starts the addresses of several groups at once. One value for each group, for
/// [`take_group`](super::runner::Runner::take_group).
pub(super) fn start_together(groups: &[Run]) -> Vec<Vec<StartedAddress<'_>>> {
    let members: Vec<Vec<&Context>> = groups.iter().map(Run::members).collect();
    // What the kernel cannot be asked now is asked once more for each.
    let started = ip_batch::start(&members).unwrap_or_default().into_iter();
    let each = groups.iter().zip(started.chain(std::iter::repeat_with(Vec::new)));
    let pair = |(address, started)| StartedAddress { address, started };
    each.map(|(run, started)| run.0.iter().zip(started).map(pair).collect()).collect()
}
