//! A device's values as an administrator writes them: in one string, in a file, in the environment, by
//! name (agents spec 3.1).

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::device::Values;

/// Bytes of a line of a parameter file that count.
pub const LINE_MAX_BYTES: usize = 1023;
/// Bytes of a parameter file that are looked at.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Values given by name.
pub const NAMED_MAX: usize = 50;

const SEPARATORS: [char; 5] = [' ', '\t', '\r', '\n', '\x0c'];

/// Values in the order of `names`, separated by blanks; the last name takes the rest of the text.
/// `None` when there are fewer values than names.
pub fn positional(names: &[String], text: &str) -> Option<Values> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches(SEPARATORS);
    for (index, name) in names.iter().enumerate() {
        if rest.is_empty() {
            return None;
        }
        let is_last = index + 1 == names.len();
        let value = match rest.split_once(SEPARATORS) {
            _ if is_last => std::mem::take(&mut rest),
            Some((value, others)) => {
                rest = others.trim_start_matches(SEPARATORS);
                value
            }
            None => std::mem::take(&mut rest),
        };
        pairs.push((name.clone(), value.to_owned()));
    }
    Some(Values::new(pairs))
}

/// The line of a parameter file: the first that is neither empty nor a comment. `None` when there is
/// none.
///
/// # Errors
/// The file cannot be read.
pub fn first_line(path: &Path) -> io::Result<Option<String>> {
    let mut reader = BufReader::new(File::open(path)?.take(FILE_MAX_BYTES));
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        line.truncate(LINE_MAX_BYTES);
        if !line.is_empty() && line[0] != b'#' {
            return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
        }
    }
}

/// Values from variables of the environment; what is not set is left out.
pub fn from_environment(names: &[String], lookup: impl Fn(&str) -> Option<String>) -> Values {
    Values::new(names.iter().filter_map(|name| Some((name.clone(), lookup(name)?))).collect())
}

/// Whether the value of a parameter of this name lets its reader into the device.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "community", "secret", "token", "key", "cred"].iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(names: &[&str], text: &str) -> Option<Vec<(String, String)>> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        positional(&names, text).map(|values| values.pairs().to_vec())
    }

    #[test]
    fn the_last_name_takes_the_rest() {
        let found = pairs(&["a", "b"], "  1 \t2 3 4").unwrap();
        assert_eq!(found, [("a".into(), "1".into()), ("b".into(), "2 3 4".into())]);
        assert!(pairs(&["a", "b"], "1").is_none());
        assert!(pairs(&["a", "b"], "1  ").is_none());
        assert!(pairs(&["a"], "").is_none());
        assert!(pairs(&[], "ignored").unwrap().is_empty());
    }

    #[test]
    fn the_first_line_that_says_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parameters");
        std::fs::write(&path, "# one\n\n\r\na b c\r\nsecond\n").unwrap();
        assert_eq!(first_line(&path).unwrap().as_deref(), Some("a b c"));
        std::fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert_eq!(first_line(&path).unwrap().map(|line| line.len()), Some(LINE_MAX_BYTES));
        std::fs::write(&path, "#\n").unwrap();
        assert_eq!(first_line(&path).unwrap(), None);
        assert!(first_line(folder.path()).is_err());
    }
}
