//! Filesystem: mounts a file system and unmounts it again (agents spec 2.6).
//!
//! ```text
//! settings ─▶ device (path, label, UUID: superblock) ─▶ start ─▶ check ─▶ mounting ─▶ mtab
//!     │                                                  stop ─▶ users, mount_table
//!     └──────────▶ options                               monitor
//! ```
//!
//! mount(2) and umount2(2) do the work; the system's own `mount.TYPE` is run for the types that have
//! one, `fsck.TYPE` for checks. Whatever may wait for a disk or a server that does not answer is done in
//! a child with a limit.

mod check;
pub(super) mod device;
mod monitor;
pub(super) mod mount_table;
mod mounting;
mod mtab;
mod options;
pub(super) mod process_line;
mod settings;
mod start;
mod stop;
mod superblock;
pub(super) mod users;

use std::io;
use std::path::PathBuf;

use super::{Action, Agent, Context, ExitCode, Timeouts};
use mount_table::MountTable;
use settings::Settings;

/// The agent.
pub const FILESYSTEM: Agent = Agent {
    name: "Filesystem",
    summary: "A file system that moves between nodes",
    description: "Mounts a file system and unmounts it again. A stop tells and ends the processes that hold it. \
        Monitor looks at the mount table; with OCF_CHECK_LEVEL 10 it reads the start of the device past the cache, \
        with 20 it writes a status file through to the disk and reads it. No mount, umount, fuser or blkid program \
        is needed; nfs, cifs and others need their mount helper.",
    usage: "usage: $0 <device> <directory> [<fstype> [<options>]] $ACTIONS",
    parameters: settings::PARAMETERS,
    check_levels: &[0, 10, 20],
    timeouts_s: Timeouts { start: 60, stop: 60, monitor: 40 },
    from_arguments: settings::from_arguments,
    run,
    ..Agent::BASE
};

fn run(context: &Context, action: Action) -> ExitCode {
    let result = Filesystem::from_context(context, action).and_then(|agent| match action {
        Action::Start => agent.start(),
        Action::Stop => agent.stop(),
        Action::ValidateAll => Ok(agent.validate()),
        _ => agent.monitor(action),
    });
    result.unwrap_or_else(|code| code)
}

/// One file system with its checked parameters.
struct Filesystem<'a> {
    context: &'a Context,
    settings: Settings,
    /// The mount point, links followed.
    point: PathBuf,
}

impl<'a> Filesystem<'a> {
    /// Checks the parameters. The error is what the action exits with.
    fn from_context(context: &'a Context, action: Action) -> Result<Self, ExitCode> {
        let settings = Settings::from_context(context)?;
        if settings.is_block && action != Action::Start {
            let device = PathBuf::from(&settings.device_text);
            if !settings::is_there(&device) {
                let device = &settings.device_text;
                context.log.warn(&format!("Couldn't find device [{device}]. Expected /dev/??? to exist"));
            }
        }
        let mut agent = Self { context, settings, point: PathBuf::new() };
        let table = agent.table()?;
        agent.point = match agent.settings.point(&table) {
            Ok(point) => point,
            Err(failure) => {
                let directory = agent.settings.directory.display();
                return agent.fail(&format!("Could not canonicalize {directory}: {failure}"));
            }
        };
        if action != Action::Monitor {
            let (device, directory) = (agent.settings.shown_device(), agent.settings.directory.display());
            context.log.info(&format!("Running {} for {device} on {directory}", action.as_str()));
        }
        Ok(agent)
    }

    fn table(&self) -> Result<MountTable, ExitCode> {
        MountTable::read()
            .or_else(|error: io::Error| self.fail(&format!("Cannot read the mount table: {error}")))
    }

    /// The directory as texts show it.
    fn shown_directory(&self) -> String {
        self.settings.directory.display().to_string()
    }

    fn fail<T>(&self, text: &str) -> Result<T, ExitCode> {
        self.context.exit_reason(text);
        Err(ExitCode::GenericError)
    }

    /// As the original: nothing fails here, but a type that the kernel does not have is told.
    fn validate(&self) -> ExitCode {
        let kind = &self.settings.kind;
        if !kind.is_empty() && !check::kernel_has(kind) {
            self.context.log.info(&format!("It seems we do not have {kind} support"));
        }
        ExitCode::Success
    }
}
