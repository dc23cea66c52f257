//! Printing that does not end the program when nobody reads any more: the work counts, and the
//! exit code tells its result.

use std::io::{self, Write};

/// A line on standard output.
pub fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A line on standard error.
pub fn error_line(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A text on standard output, without an end of line.
pub fn text(text: &str) {
    let mut output = io::stdout();
    let _ = write!(output, "{text}").and_then(|()| output.flush());
}

/// A text on standard error, without an end of line.
pub fn error(text: &str) {
    let _ = write!(io::stderr(), "{text}");
}
