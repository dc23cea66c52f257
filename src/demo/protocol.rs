//! What a world asks of the processes inside its namespaces, and their answers: one JSON line each
//! way over a socket pair. Both ends are this same binary.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::links::LinkChange;

/// A request to an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Changes links in order, stops at the first refusal.
    Links(Vec<LinkChange>),
    /// Lists the IPv4 addresses.
    Addresses,
    /// Runs a program and waits for it, not for what it leaves behind.
    Run { argv: Vec<String>, input: String, limit_ms: u64 },
    /// Starts a program; both its outputs are appended to the file.
    Spawn { argv: Vec<String>, output: String },
    /// How a started program ended.
    Ended { pid: u32 },
    /// Writes a file, with its directories.
    Write { path: String, text: String, mode: u32 },
    /// Reads a file as text.
    Read { path: String },
    /// Sends a signal to all processes of the host except its first.
    Signal { number: i32 },
    /// Lists the processes of the host except its first.
    Processes,
    /// Starts asking an address, a question each interval.
    Probe { address: Ipv4Addr, interval_us: u64 },
    /// The answers from the given number on.
    Answers { from: usize },
    /// Stops asking.
    StopProbe,
}

/// An agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The agent runs; sent once, unasked. `own_user`: it needed a user namespace.
    Ready { own_user: bool },
    /// Carried out.
    Done,
    /// To [`Request::Addresses`].
    Addresses(Vec<Ipv4Addr>),
    /// To [`Request::Run`].
    Ran(Output),
    /// To [`Request::Spawn`].
    Started { pid: u32 },
    /// To [`Request::Ended`]; `None` while it runs.
    Ended(Option<i32>),
    /// To [`Request::Read`]; `None` when there is no such file.
    Text(Option<String>),
    /// To [`Request::Processes`].
    Processes(Vec<ProcessUse>),
    /// To [`Request::Answers`].
    Answers(Vec<Answer>),
    /// Not carried out, and why.
    Failed(String),
    /// Not possible on this machine, and why; sent instead of [`Reply::Ready`].
    Unavailable(String),
}

/// What a finished program left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Exit code; 128 + signal number when killed; `None` when it did not end within its limit (it
    /// was killed then).
    pub code: Option<i32>,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// How long it ran, in microseconds.
    pub took_us: u64,
}

/// What one process uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Number within the host.
    pub pid: u32,
    /// Name of at most 15 bytes, from `/proc/PID/stat`.
    pub name: String,
    /// Arguments joined by blanks.
    pub command_line: String,
    /// Resident memory in kilobytes.
    pub resident_kb: u64,
    /// Processor time used so far in microseconds, in steps of a clock tick.
    pub cpu_us: u64,
}

/// One answered question of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When it arrived, CLOCK_MONOTONIC in microseconds.
    pub at_us: u64,
    /// How long after the question, in microseconds.
    pub delay_us: u64,
    /// Which host answered: its place in the world's list.
    pub host: u8,
}
