//! A configuration file as lines with places: the one thing all three parsers read from.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::diagnostic::{Diagnostic, Place, Severity};

/// Largest configuration file that is read, in bytes.
pub const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Longest line of a configuration file in bytes, comments not counted (the original's buffer of
/// 5120 bytes with its end mark, messaging spec 5.1).
pub const LINE_MAX_BYTES: usize = 5119;

/// Most remarks kept about one file, and most log lines: a file of junk must not fill the memory.
/// Whether the file is good does not depend on it.
pub const REMARKS_MAX: usize = 500;

/// Part of a line: byte offsets `start` to `end` in line `line` (from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The line, from 1.
    pub line: usize,
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

/// Text of one file and the name it is cited under.
#[derive(Debug, Clone)]
pub struct Source {
    /// Name in diagnostics: `/etc/ha.d/ha.cf`.
    pub path: String,
    /// Name in the original's log lines: `/etc/ha.d//ha.cf` (messaging spec 5.1).
    pub logged_path: String,
    /// Lines without their ends; what is not UTF-8 is replaced.
    lines: Vec<String>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's answer.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// More than [`FILE_MAX_BYTES`].
    #[error("it is larger than {FILE_MAX_BYTES} bytes")]
    TooLarge,
}

impl ReadError {
    /// Permission was refused: exit code 4 instead of 6 (messaging spec 7.2).
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The file is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

impl Source {
    /// Takes text that is already in memory. Anything is accepted.
    pub fn from_bytes(directory: &Path, name: &str, bytes: &[u8]) -> Self {
        let lines = bytes.split(|byte| *byte == b'\n').map(|l| String::from_utf8_lossy(l).into_owned());
        let mut lines: Vec<String> = lines.collect();
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Self { path: cited_path(directory, name), logged_path: logged_path(directory, name), lines }
    }

    /// The lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }

    /// The line with this number, if there is one.
    pub fn line(&self, number: usize) -> Option<&str> {
        number.checked_sub(1).and_then(|index| self.lines.get(index)).map(String::as_str)
    }

    /// A remark about part of a line, `start` and `end` being byte offsets.
    pub fn remark(
        &self,
        severity: Severity,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(severity, &self.path, place, message.into(), help.into())
    }

    /// The place of a span in this file.
    pub fn place_of(&self, span: Span) -> Place {
        self.place(span.line, span.start, span.end)
    }

    /// The place of a word in this file.
    pub fn place(&self, line: usize, start: usize, end: usize) -> Place {
        self.line(line).map_or_else(Place::file, |text| Place::span(line, without_secrets(text), start, end))
    }

    /// The place of a word whose line is shown no further: what follows may be a password.
    pub fn place_alone(&self, line: usize, start: usize, end: usize) -> Place {
        let text = self.line(line).map(|text| text.get(..end).unwrap_or(text));
        text.map_or_else(Place::file, |text| Place::span(line, without_secrets(text), start, end))
    }
}

/// A line as it may be shown: of `stonith` and `stonith_host`, however they are written, no parameters, one
/// of which may be a password.
fn without_secrets(text: &str) -> &str {
    let first = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if !first.starts_with("stonith") {
        return text;
    }
    let word_ends = text.match_indices(char::is_whitespace).map(|(at, _)| at);
    let is_end = |at: &usize| *at > 0 && !text[..*at].ends_with(char::is_whitespace);
    let third = word_ends.filter(is_end).nth(2);
    third.map_or(text, |at| &text[..at])
}

/// Adds to a list of remarks or log lines as long as there are not too many.
pub(super) fn push_limited<T>(list: &mut Vec<T>, one: T) {
    if list.len() < REMARKS_MAX {
        list.push(one);
    }
}

/// `/etc/ha.d/ha.cf`.
pub fn cited_path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

/// `/etc/ha.d//ha.cf`: the original joins a directory that already ends in a slash with another
/// one (messaging spec 5.1); people and tools search logs for it.
pub fn logged_path(directory: &Path, name: &str) -> String {
    format!("{}//{name}", directory.display().to_string().trim_end_matches('/'))
}

/// Reads a whole file, but never more than [`FILE_MAX_BYTES`].
pub fn read_limited(mut file: &File) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(ReadError::TooLarge);
    }
    Ok(bytes)
}

/// Opens and reads `directory/name`. Only regular files are read: a pipe would block the start.
pub fn read_file(directory: &Path, name: &str) -> Result<Source, ReadError> {
    let file = open_regular(&directory.join(name))?;
    Ok(Source::from_bytes(directory, name, &read_limited(&file)?))
}

/// Opens a regular file for reading without ever waiting for a writer.
pub fn open_regular(path: &Path) -> Result<File, ReadError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_devices_are_not_shown() {
        let shown = without_secrets("stonith_host * baytech 10.0.0.1 admin geheim");
        assert_eq!(shown, "stonith_host * baytech");
        assert_eq!(
            without_secrets("  stonith_host\tnode1   rps10 /dev/ttyS0"),
            "  stonith_host\tnode1   rps10"
        );
        assert_eq!(without_secrets("Stonith-host * wti_nps 10.0.0.1 geheim"), "Stonith-host * wti_nps");
        assert_eq!(without_secrets("stonith wti_nps 10.0.0.1 geheim"), "stonith wti_nps 10.0.0.1");
        for same in ["stonith_host", "stonith_host * meatware", "node a b c d", "stonith null /etc/file"] {
            assert_eq!(without_secrets(same), same);
        }
    }
}
