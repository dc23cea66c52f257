//! Keys for authkeys.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::texts::authkeys;
use super::together::{self, NewFile};
use crate::ipc::terminal::Terminal;

/// 160 bits, as much as SHA-1 has.
const SECRET_BYTES: usize = 20;
/// Permission bits of a file with a key.
pub const KEY_MODE: u32 = 0o600;

/// What `ha keygen` was told.
#[derive(Debug, Clone)]
pub struct KeygenOptions {
    /// `sha1` or `md5`.
    pub method: String,
    /// The key's number, 1 to 15.
    pub number: u8,
    /// The file to write; standard output when absent.
    pub output: Option<String>,
    /// Replace the file; the old one is kept beside.
    pub force: bool,
}

/// A random secret of 40 hexadecimal digits, from the kernel's generator by its device file: the system
/// call is newer than our oldest kernel.
///
/// # Errors
/// The generator cannot be read.
pub fn secret() -> io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `ha keygen`; the value is the exit code.
pub fn keygen(options: &KeygenOptions, terminal: &mut Terminal<'_>) -> u8 {
    let secret = match secret() {
        Ok(secret) => secret,
        Err(error) => {
            terminal.complain(&format!("ha keygen: cannot read /dev/urandom: {error}; there is no key"));
            return super::FAILED;
        }
    };
    let text = authkeys(options.number, &options.method, &secret);
    let Some(output) = &options.output else {
        return match terminal.out.write_all(text.as_bytes()).and_then(|()| terminal.out.flush()) {
            Ok(()) => super::DONE,
            Err(error) => {
                terminal.complain(&format!("ha keygen: cannot write the key: {error}"));
                super::FAILED
            }
        };
    };
    match write(Path::new(output), text, options.force) {
        Ok(kept) => {
            terminal.say(&format!("{output}: a new key, mode 600; the same file belongs on the other node"));
            for path in kept {
                terminal.say(&format!("the old file is {}", path.display()));
            }
            super::DONE
        }
        Err(reason) => {
            terminal.complain(&format!("ha keygen: {reason}"));
            super::FAILED
        }
    }
}

fn write(path: &Path, text: String, force: bool) -> Result<Vec<std::path::PathBuf>, String> {
    let name =
        path.file_name().and_then(|name| name.to_str()).filter(|_| !path.to_string_lossy().ends_with('/'));
    let name = name.ok_or_else(|| format!("{} names no file; nothing was written", path.display()))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(format!("there is no directory {}; nothing was written", directory.display()));
    }
    let file = NewFile { name: name.to_owned(), text, mode: KEY_MODE };
    together::write(directory, &[file], force).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_are_long() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_ne!(one, other);
        assert!(one.len() == 40 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
    }
}
