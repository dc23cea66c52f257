//! apphbd.cf: what the daemon that watches programs does (agents spec 6, apphbd).
//!
//! The lines about it are the original's, in its order; whatever is wrong stops the start.

use std::path::{Path, PathBuf};

use super::source::{push_limited, read_file, Source};
use super::value::boolean;
use super::LogLine;
use crate::types::LogLevel;

/// Read when the command line names no other file: in the folder where the program is started.
pub const FILE_DEFAULT: &str = "./apphbd.cf";

/// What apphbd.cf says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApphbdSettings {
    /// `debug_level`: with 0 nothing goes to the files, from 2 on each message of a program is shown.
    pub debug_level: u8,
    /// `debugfile`
    pub debug_file: Option<PathBuf>,
    /// `logfile`
    pub log_file: Option<PathBuf>,
    /// `watchdog_device`
    pub watchdog: Option<PathBuf>,
    /// `watchdog_interval_ms`: how often the device is fed.
    pub watchdog_interval_ms: u64,
    /// `realtime`
    pub realtime: bool,
}

impl Default for ApphbdSettings {
    fn default() -> Self {
        Self {
            debug_level: 3,
            debug_file: None,
            log_file: None,
            watchdog: None,
            watchdog_interval_ms: 1000,
            realtime: true,
        }
    }
}

/// Reads a file.
///
/// # Errors
/// The lines that say why it cannot be used; nothing is to be started with it.
pub fn load(path: &Path) -> Result<ApphbdSettings, Vec<LogLine>> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match read_file(directory, &name) {
        Ok(source) => read(&source, &path.display().to_string()),
        Err(error) => {
            let mut text = format!("Cannot open config file:[{}]", path.display());
            if !error.is_missing() {
                text = format!("{text}: {error}");
            }
            Err(vec![(LogLevel::Error, text)])
        }
    }
}

/// Reads the text; `shown` is the file's name in the lines.
///
/// # Errors
/// As [`load`].
pub fn read(source: &Source, shown: &str) -> Result<ApphbdSettings, Vec<LogLine>> {
    let mut settings = ApphbdSettings::default();
    let mut errors = Vec::new();
    for (_, line) in source.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        let (word, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if let Err(text) = apply(&mut settings, word, value.trim(), shown) {
            push_limited(&mut errors, (LogLevel::Error, text));
        }
    }
    match errors.is_empty() {
        true => Ok(settings),
        false => Err(errors),
    }
}

fn apply(settings: &mut ApphbdSettings, word: &str, value: &str, shown: &str) -> Result<(), String> {
    let file = || Some(value).filter(|value| !value.is_empty()).map(PathBuf::from);
    let invalid = || format!("invalid {word} [{value}] specified");
    match word {
        "" => {}
        "debug_level" => settings.debug_level = value.parse().map_err(|_| invalid())?,
        "debugfile" => settings.debug_file = file(),
        "logfile" => settings.log_file = file(),
        "watchdog_device" => settings.watchdog = file(),
        "watchdog_interval_ms" => {
            let interval = value.parse().ok().filter(|interval| *interval > 0);
            settings.watchdog_interval_ms = interval.ok_or_else(invalid)?;
        }
        "realtime" => settings.realtime = boolean(value).ok_or_else(invalid)?,
        // The only ones there were belong to a recovery manager that nobody ships.
        "notify_plugin" => return Err(format!("cannot load plugin {value}")),
        _ => return Err(format!("Illegal directive [{word}] in {shown}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Result<ApphbdSettings, Vec<String>> {
        let source = Source::from_bytes(Path::new("/etc/ha.d"), "apphbd.cf", text.as_bytes());
        let texts = |lines: Vec<LogLine>| lines.into_iter().map(|(_, text)| text).collect();
        read(&source, "/etc/ha.d/apphbd.cf").map_err(texts)
    }

    #[test]
    fn every_directive() {
        let text = "# none\n debug_level 1 # few\nlogfile\t/var/log/a\ndebugfile /var/log/b\nrealtime no\n\
                    watchdog_device /dev/watchdog\nwatchdog_interval_ms 2000\n";
        let expected = ApphbdSettings {
            debug_level: 1,
            log_file: Some("/var/log/a".into()),
            debug_file: Some("/var/log/b".into()),
            watchdog: Some("/dev/watchdog".into()),
            watchdog_interval_ms: 2000,
            realtime: false,
        };
        assert_eq!(from(text), Ok(expected));
        assert_eq!(from(""), Ok(ApphbdSettings::default()));
    }

    #[test]
    fn what_is_wrong_is_named_as_by_the_original() {
        let text = "nonsense 5\ndebug_level x\nwatchdog_interval_ms 0\nnotify_plugin recmgr\nDEBUG_LEVEL 1\n";
        let expected = [
            "Illegal directive [nonsense] in /etc/ha.d/apphbd.cf",
            "invalid debug_level [x] specified",
            "invalid watchdog_interval_ms [0] specified",
            "cannot load plugin recmgr",
            "Illegal directive [DEBUG_LEVEL] in /etc/ha.d/apphbd.cf",
        ];
        assert_eq!(from(text).unwrap_err(), expected);
        assert!(from(&"x\n".repeat(100_000)).unwrap_err().len() <= 500);
        assert!(load(Path::new("/nonexistent/apphbd.cf")).is_err());
    }
}
