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
pub struct StoppedAddress<'a> {
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
        any_active_of_each(std::slice::from_ref(self)) == [true]
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

/// Stops the addresses of several groups at once, the last one first. One value for each group, for
/// [`give_group`](super::runner::Runner::give_group). All together, so that none of them is put back
/// because the kernel dropped it with its primary.
pub(super) fn stop_together(groups: &[Run]) -> Vec<Vec<StoppedAddress<'_>>> {
    let members: Vec<&Context> = groups.iter().flat_map(Run::members).rev().collect();
    let stopped = ip_batch::stop(&members).unwrap_or_default();
    let together = !stopped.is_empty();
    let mut stopped = stopped.into_iter();
    let mut each = Vec::with_capacity(groups.len());
    for run in groups.iter().rev() {
        let addresses = run.0.iter().rev().filter(|_| together);
        let pair = |(address, stopped)| StoppedAddress { address, stopped };
        each.push(addresses.zip(stopped.by_ref()).map(pair).collect());
    }
    each.reverse();
    each
}

/// Which of the groups have an address that is here.
pub(super) fn any_active_of_each(groups: &[Run]) -> Vec<bool> {
    let members: Vec<Vec<&Context>> = groups.iter().map(Run::members).collect();
    ip_batch::any_active_of_each(&members)
}
