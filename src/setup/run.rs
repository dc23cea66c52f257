//! From an applet's definition to what is done.

use std::path::PathBuf;

use super::init::{self, InitOptions};
use super::keygen::{keygen, KeygenOptions};
use crate::ipc::terminal::Terminal;

/// One of the first steps.
#[derive(Debug, Clone)]
pub enum Task {
    /// `ha init`
    Init(InitOptions),
    /// `ha init --send`
    Send {
        /// Directory of the files.
        directory: PathBuf,
    },
    /// `ha init --receive`
    Receive {
        /// Directory of the files.
        directory: PathBuf,
        /// Replace files.
        force: bool,
    },
    /// `ha keygen`
    Keygen(KeygenOptions),
}

/// Does it on this process's terminal; the value is the exit code.
pub fn run(task: &Task) -> u8 {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut terminal = Terminal { out: &mut out, err: &mut err };
    let input = &mut std::io::stdin().lock();
    match task {
        Task::Init(options) => init::init(options, input, &mut terminal),
        Task::Send { directory } => init::send(directory, &mut terminal),
        Task::Receive { directory, force } => init::receive(directory, *force, input, &mut terminal),
        Task::Keygen(options) => keygen(options, &mut terminal),
    }
}
