//! Is it mounted, can the device be read, can a file be written?

use std::fs;

use crate::sys::block;
use crate::sys::bounded::{self, Failure};

use super::super::{Action, ExitCode};
use super::Filesystem;

impl Filesystem<'_> {
    /// Looks at the mount table; with `monitor` and a check level, further.
    pub(super) fn monitor(&self, action: Action) -> Result<ExitCode, ExitCode> {
        let directory = self.shown_directory();
        let mounted = self.table()?.at(&self.point).is_some();
        if action == Action::Status {
            let state = if mounted { "mounted (running)" } else { "unmounted (stopped)" };
            self.context.log.info(&format!("{directory} is {state}"));
        }
        if !mounted {
            return Ok(ExitCode::NotRunning);
        }
        match (action, self.context.check_level()) {
            (Action::Status, _) | (_, 0) => Ok(ExitCode::Success),
            (_, 10) => self.read_device(),
            (_, 20) => self.write_status_file(),
            (_, level) => {
                self.context.exit_reason(&format!("unsupported monitor level {level}"));
                Ok(ExitCode::NotConfigured)
            }
        }
    }

    fn read_device(&self) -> Result<ExitCode, ExitCode> {
        let device = self.settings.shown_device();
        if !self.settings.is_block {
            self.context.log.warn(&format!("{device} is not a block device, monitor 10 is noop"));
            return Ok(ExitCode::Success);
        }
        let path = std::path::PathBuf::from(device);
        let read = move || block::read_direct(&path).map(|()| Vec::new());
        match bounded::within(self.settings.answer_limit, read) {
            Ok(_) => Ok(ExitCode::Success),
            Err(failure) => {
                self.context.exit_reason(&format!("Failed to read device {device}"));
                self.fail(&format!("read {device}: {failure}"))
            }
        }
    }

    fn write_status_file(&self) -> Result<ExitCode, ExitCode> {
        let file = self.settings.status_file.clone();
        let text = format!("{}\n", self.context.instance).into_bytes();
        let direct = self.settings.is_block;
        // Names longer than a block are not written whole.
        let text = text[..text.len().min(block::DIRECT_BYTES)].to_vec();
        let work = move || {
            let write = || {
                if let Some(directory) = file.parent() {
                    fs::create_dir_all(directory)?;
                }
                match block::write_through(&file, &text, direct) {
                    // A file system without O_DIRECT, as a tmpfs of old kernels.
                    Err(error) if direct && error.raw_os_error() == Some(libc::EINVAL) => {
                        block::write_through(&file, &text, false)
                    }
                    result => result,
                }
            };
            if let Err(error) = write() {
                return Ok(format!("Failed to write status file {}\n{error}", file.display()).into_bytes());
            }
            if !file.is_file() {
                return Ok(format!("Cannot stat the status file {}\n", file.display()).into_bytes());
            }
            match fs::read(&file) {
                Ok(_) => Ok(Vec::new()),
                Err(error) => {
                    Ok(format!("Cannot read the status file {}\n{error}", file.display()).into_bytes())
                }
            }
        };
        match bounded::within(self.settings.answer_limit, work) {
            Ok(answer) if answer.is_empty() => Ok(ExitCode::Success),
            Ok(answer) => {
                let answer = String::from_utf8_lossy(&answer);
                let (what, why) = answer.split_once('\n').unwrap_or((&answer, ""));
                self.context.exit_reason(what);
                if !why.is_empty() {
                    self.context.log.error(&format!("{}: {why}", self.settings.status_file.display()));
                }
                Ok(ExitCode::GenericError)
            }
            Err(failure @ Failure::NoAnswer(_)) => {
                let file = self.settings.status_file.display();
                self.context.exit_reason(&format!("Failed to write status file {file}"));
                self.fail(&format!("{}: {failure}", self.shown_directory()))
            }
            Err(failure) => self.fail(&format!("{}: {failure}", self.shown_directory())),
        }
    }
}
