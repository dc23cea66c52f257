//! Start: from whatever is there to a mounted file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::block;
use crate::sys::bounded;

use super::super::ExitCode;
use super::{settings, Filesystem};

/// How long a device node may take to appear after the device has.
const NODE_LIMIT: Duration = Duration::from_secs(1);
const NODE_PAUSE: Duration = Duration::from_millis(20);
/// How long the mount point may take to be made, and buffers to be emptied.
const SHORT_LIMIT: Duration = Duration::from_secs(20);
const FLUSH_LIMIT: Duration = Duration::from_secs(120);

impl Filesystem<'_> {
    /// Mounts what is not mounted yet.
    pub(super) fn start(&self) -> Result<ExitCode, ExitCode> {
        let directory = self.shown_directory();
        let _turn = self.take_turn();
        let table = self.table()?;
        if table.at(&self.point).is_some() {
            if self.settings.options.bind {
                self.set_bind_flags()?;
            } else if let Some(other) = self.is_foreign(&table, Path::new(&self.settings.device_text)) {
                let text =
                    format!("{directory} holds {}, not {}", other.display(), self.settings.device_text);
                self.context.log.warn(&text);
            }
            self.context.log.info(&format!("Filesystem {directory} is already mounted."));
            return Ok(ExitCode::Success);
        }
        if !table.below(&self.point).is_empty() {
            self.context.log.error(&format!("There is one or more mounts mounted under {directory}."));
            return Err(ExitCode::NotConfigured);
        }
        self.require_support()?;
        let source = self.find_device()?;
        if self.settings.is_block {
            self.check(&source)?;
        }
        self.make_directory()?;
        self.flush(&source);
        self.mount(&source)?;
        Ok(ExitCode::Success)
    }

    /// The device, once its node is there.
    fn find_device(&self) -> Result<PathBuf, ExitCode> {
        let missing = || {
            let device = self.settings.shown_device();
            self.context.exit_reason(&format!("Couldn't find device [{device}]. Expected /dev/??? to exist"));
            Err(ExitCode::NotInstalled)
        };
        let end = Instant::now() + NODE_LIMIT;
        loop {
            let found = self.settings.device.find();
            match &found {
                Ok(path) if !self.settings.is_block || settings::is_there(path) => return Ok(path.clone()),
                _ if Instant::now() < end => std::thread::sleep(NODE_PAUSE),
                Ok(_) => return missing(),
                // What the original's mount(8) would say, and its exit code.
                Err(error) => {
                    self.context.log.error(&error.to_string());
                    let directory = self.shown_directory();
                    let device = self.settings.shown_device();
                    return self.fail(&format!("Couldn't mount filesystem {device} on {directory}"));
                }
            }
        }
    }

    fn make_directory(&self) -> Result<(), ExitCode> {
        let point = self.point.clone();
        let make = move || {
            if !point.is_dir() {
                fs::create_dir_all(&point)?;
            }
            Ok(Vec::new())
        };
        bounded::within(SHORT_LIMIT, make).map(drop).map_err(|failure| {
            let directory = self.shown_directory();
            self.context.log.error(&format!("mkdir {directory}: {failure}"));
            let text = format!("Couldn't find directory  [{directory}] to use as a mount point");
            self.context.exit_reason(&text);
            ExitCode::NotInstalled
        })
    }

    /// Empties the buffers of a block device, so that what another node wrote is seen.
    pub(super) fn flush(&self, device: &Path) {
        if !self.settings.is_block && !self.settings.device.is_tag() || device == Path::new("/dev/null") {
            return;
        }
        let path = device.to_owned();
        let flush = move || block::flush_buffers(&path).map(|()| Vec::new());
        if let Err(failure) = bounded::within(FLUSH_LIMIT, flush) {
            self.context.log.debug(&format!("Buffers of {} are not flushed: {failure}", device.display()));
        }
    }
}
