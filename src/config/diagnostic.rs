//! What is wrong with a configuration, where, and what was expected instead.
//!
//! A diagnostic cites the place: path, line, column, the line itself and a mark under the words it
//! is about. The original's log lines are kept apart from this (see [`super::Loaded`]): those are
//! interface and often say nothing.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but a person should know.
    Hint,
    /// Starts, but probably does not do what was meant.
    Warning,
    /// The cluster does not start with this, or must not.
    Error,
}

impl Severity {
    /// The word in the output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A place in a configuration file.
///
/// `line` and `column` count from 1; `line` 0 stands for the file as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Place {
    /// Line, from 1; 0 for the whole file.
    pub line: usize,
    /// Column in characters, from 1; 0 with `line` 0.
    pub column: usize,
    /// Length of the marked part in characters, at least 1 when there is a line.
    pub length: usize,
    /// The line itself, without its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Place {
    /// The file as a whole.
    pub fn file() -> Self {
        Self::default()
    }

    /// Part of a line: `start` and `end` are byte offsets into `text`, put right when they are
    /// outside or inside a character.
    pub fn span(line: usize, text: &str, start: usize, end: usize) -> Self {
        let start = floor_boundary(text, start);
        let end = floor_boundary(text, end.max(start));
        let column = text[..start].chars().count() + 1;
        let length = text[start..end].chars().count().max(1);
        Self { line, column, length, text: Some(text.to_owned()) }
    }
}

/// One remark about a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as the administrator knows it.
    pub path: String,
    /// Where in the file.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What was expected or what to do; may be empty.
    pub help: String,
}

impl Diagnostic {
    /// Puts one together.
    pub fn new(severity: Severity, path: &str, place: Place, message: String, help: String) -> Self {
        Self { severity, path: path.to_owned(), place, message, help }
    }

    /// Place and message in one line, for a log.
    pub fn one_line(&self) -> String {
        match self.place.line {
            0 => format!("{}: {}", self.path, self.message),
            line => format!("{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Longest part of a line that is shown, in characters.
const SHOWN_CHARACTERS: usize = 100;

impl fmt::Display for Diagnostic {
    /// Prints `path:line:column: error: message`, the line, the mark and the help, each on a line
    /// of its own, with a line end behind the last one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        writeln!(f, ": {}: {}", self.severity.as_str(), self.message)?;
        let mut gutter = String::from("    ");
        if let Some(text) = &self.place.text {
            let number = self.place.line.to_string();
            gutter = " ".repeat(number.len());
            let (shown, mark) = shown_part(text, self.place.column, self.place.length);
            writeln!(f, " {number} | {shown}")?;
            writeln!(f, " {gutter} | {mark}")?;
        }
        for line in self.help.lines() {
            writeln!(f, " {gutter} = {line}")?;
        }
        Ok(())
    }
}

/// Cuts a long line around the marked part and makes it harmless for a terminal: tabs become one
/// blank, other control characters a question mark. Gives the text and the line with the mark.
fn shown_part(text: &str, column: usize, length: usize) -> (String, String) {
    let from = column.saturating_sub(1);
    let skip = if from + length > SHOWN_CHARACTERS { from.saturating_sub(20) } else { 0 };
    let shown: String = text
        .chars()
        .skip(skip)
        .take(SHOWN_CHARACTERS)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '?',
            c => c,
        })
        .collect();
    let width = shown.chars().count();
    let before = (from - skip).min(width);
    let marks = length.clamp(1, width.saturating_sub(before).max(1));
    (shown.trim_end().to_owned(), format!("{}{}", " ".repeat(before), "^".repeat(marks)))
}

/// The nearest character boundary at or before `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_under_the_word() {
        let place = Place::span(12, "\tkeepalive 1s", 11, 13);
        let diagnostic = Diagnostic::new(
            Severity::Error,
            "/etc/ha.d/ha.cf",
            place,
            "`1s` is not a time".into(),
            "expected seconds (`2`)".into(),
        );
        assert_eq!(
            diagnostic.to_string(),
            "/etc/ha.d/ha.cf:12:12: error: `1s` is not a time\n \
             12 |  keepalive 1s\n    |            ^^\n    = expected seconds (`2`)\n"
        );
    }

    #[test]
    fn odd_offsets_and_long_lines_are_harmless() {
        let text = "ü".repeat(3000);
        for (start, end) in [(0, 1), (1, 5000), (5999, 6000), (7000, 9000), (5, 2)] {
            let place = Place::span(1, &text, start, end);
            let shown = Diagnostic::new(Severity::Hint, "f", place, "m".into(), String::new()).to_string();
            assert!(shown.lines().all(|line| line.chars().count() < 120), "{shown}");
        }
    }
}
