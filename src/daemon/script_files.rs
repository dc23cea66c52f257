//! What scripts find beside their environment: shell functions, and programs by name.
//!
//! A host may have nothing but this one binary. Scripts read `/etc/ha.d/shellfuncs` and call
//! `$HA_NOARCHBIN/mach_down`; both are there when the daemon runs.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{symlink, DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::config::host::applet_names;
use crate::config::script_class;
use crate::log::LogLine;
use crate::resource::{MAPPING_FUNCTIONS, OCF_FUNCTIONS, SHELL_FUNCTIONS};
use crate::types::LogLevel;

use super::layout::Layout;

/// The name of the functions' file, in the configuration folder and in the programs'.
const FUNCTIONS: &str = "shellfuncs";
/// The name of those that run OCF agents, in `resource.d`.
const MAPPING: &str = "hto-mapfuncs";
/// The name of those that OCF agents read.
const OCF: &str = "ocf-shellfuncs";

/// The file of shell functions: the administrator's or that of a package, else our own.
pub fn functions(layout: &Layout) -> PathBuf {
    let installed = layout.etc_dir.join(FUNCTIONS);
    if installed.exists() {
        installed
    } else {
        layout.programs().join(FUNCTIONS)
    }
}

/// The folder of the functions that OCF agents read: ours, where the host has none; `None` where it has.
pub fn ocf_functions(layout: &Layout) -> Option<PathBuf> {
    let root = script_class::ocf_directory();
    let installed = root.parent()?.join("lib/heartbeat").join(OCF);
    (!installed.exists()).then(|| layout.programs())
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
    let resources = layout.etc_dir.join("resource.d");
    let files =
        [(layout.etc_dir.join(FUNCTIONS), SHELL_FUNCTIONS), (resources.join(MAPPING), MAPPING_FUNCTIONS)];
    // Without a folder of scripts nobody misses what only they read.
    for (installed, text) in files.into_iter().filter(|(file, _)| file.parent().is_some_and(Path::is_dir)) {
        if fs::symlink_metadata(&installed).is_ok() {
            continue;
        }
        lines.push(match write_new(&installed, text) {
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
    for (name, text) in [(FUNCTIONS, SHELL_FUNCTIONS), (MAPPING, MAPPING_FUNCTIONS), (OCF, OCF_FUNCTIONS)] {
        write_new(&folder.join(name), text)?;
    }
    // Not by a program of its own: a start waits for this.
    let file = own_file();
    for name in applet_names() {
        symlink(&file, folder.join(name))?;
    }
    Ok(())
}

/// This program's file: the new one, where it was replaced since this process started.
fn own_file() -> PathBuf {
    const RUNNING: &str = "/proc/self/exe";
    let file = fs::read_link(RUNNING).unwrap_or_default();
    let file = file.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
    if Path::new(&file).exists() { file } else { RUNNING.to_owned() }.into()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())
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
        assert!(!layout.etc_dir.join("resource.d").exists());
        fs::create_dir(layout.etc_dir.join("resource.d")).unwrap();
        prepare(&layout);
        let mapping = layout.etc_dir.join("resource.d").join(MAPPING);
        assert_eq!(fs::read_to_string(mapping).unwrap(), MAPPING_FUNCTIONS);
        assert_eq!(functions(&layout), installed);
        fs::write(&installed, "own").unwrap();
        let lines = prepare(&layout);
        assert_eq!(fs::read_to_string(&installed).unwrap(), "own");
        assert!(!lines.iter().any(|(_, text)| text.contains("is written")), "{lines:?}");
        assert_eq!(fs::read_to_string(layout.programs().join(FUNCTIONS)).unwrap(), SHELL_FUNCTIONS);
    }
}
