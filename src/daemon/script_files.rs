//! What scripts find beside their environment: shell functions, and programs by name.
//!
//! A host may have nothing but this one binary. Scripts read `/etc/ha.d/shellfuncs` and call
//! `$HA_NOARCHBIN/mach_down`; both are there when the daemon runs.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::log::LogLine;
use crate::resource::SHELL_FUNCTIONS;
use crate::types::LogLevel;

use super::layout::Layout;

/// The name of the functions' file, in the configuration folder and in the programs'.
const FUNCTIONS: &str = "shellfuncs";

/// The file of shell functions: the administrator's or that of a package, else our own.
pub fn functions(layout: &Layout) -> PathBuf {
    let installed = layout.etc_dir.join(FUNCTIONS);
    if installed.exists() {
        installed
    } else {
        layout.programs().join(FUNCTIONS)
    }
}

/// Makes the folder of programs anew, and the functions where there are none. What cannot be made is a
/// line for the log and no hindrance: groups do not depend on it.
pub fn prepare(layout: &Layout) -> Vec<LogLine> {
    let mut lines = Vec::new();
    let programs = layout.programs();
    if let Err(error) = make_programs(&programs) {
        let text =
            format!("cannot make {}: {error}; scripts find only what is installed", programs.display());
        lines.push((LogLevel::Warning, text));
    }
    let installed = layout.etc_dir.join(FUNCTIONS);
    if fs::symlink_metadata(&installed).is_err() {
        lines.push(match write_new(&installed) {
            Ok(()) => (LogLevel::Info, format!("{} was missing and is written", installed.display())),
            Err(error) => {
                let text = format!(
                    "cannot write {}: {error}; scripts that read it by this name will fail",
                    installed.display()
                );
                (LogLevel::Warning, text)
            }
        });
    }
    lines
}

/// Root runs what is in it: made by this user in a folder of this user, never used as found.
fn make_programs(folder: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(folder)?,
        Ok(_) => fs::remove_file(folder)?,
        Err(_) => {}
    }
    DirBuilder::new().mode(0o755).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    write_new(&folder.join(FUNCTIONS))?;
    let status = Command::new(own_file())
        .args(["--install", "-s"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("ha --install ended with {status}")))
    }
}

/// This program's file: the new one, where it was replaced since this process started.
fn own_file() -> PathBuf {
    const RUNNING: &str = "/proc/self/exe";
    let file = fs::read_link(RUNNING).unwrap_or_default();
    let file = file.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    if Path::new(&file).exists() { file } else { RUNNING.to_owned() }.into()
}

fn write_new(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(SHELL_FUNCTIONS.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_administrator_stay() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::below(root.path());
        fs::create_dir_all(&layout.etc_dir).unwrap();
        fs::create_dir_all(&layout.var_lib_dir).unwrap();
        assert_eq!(functions(&layout), layout.programs().join(FUNCTIONS));
        prepare(&layout);
        let installed = layout.etc_dir.join(FUNCTIONS);
        assert_eq!(fs::read_to_string(&installed).unwrap(), SHELL_FUNCTIONS);
        assert_eq!(functions(&layout), installed);
        fs::write(&installed, "own").unwrap();
        let lines = prepare(&layout);
        assert_eq!(fs::read_to_string(&installed).unwrap(), "own");
        assert!(!lines.iter().any(|(_, text)| text.contains("is written")), "{lines:?}");
        assert_eq!(fs::read_to_string(layout.programs().join(FUNCTIONS)).unwrap(), SHELL_FUNCTIONS);
    }
}
