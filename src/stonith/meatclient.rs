//! `meatclient`: a person says that a host has been reset (agents spec 3.7).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::time::Duration;

use super::meatware::{fifo_of, ANSWER_BYTES};
use crate::sys::getopt::Options;
use crate::sys::print;

const EXIT_CANCELLED: u8 = 3;
const EXIT_NOBODY_WAITS: u8 = 4;
const EXIT_LOST: u8 = 8;
/// Longest line of an answer that is read, bytes.
const LINE_MAX_BYTES: u64 = 256;

/// Runs the program with these words; the value is the exit code.
pub fn program(called_as: &str, words: &[String]) -> u8 {
    let options = Options::parse(called_as, words, "c:w");
    for error in &options.errors {
        print::error_line(error);
    }
    let host = options.argument('c').unwrap_or_default().to_ascii_lowercase();
    if !options.errors.is_empty() || host.is_empty() || !options.parameters.is_empty() {
        let name = called_as.rsplit('/').next().unwrap_or(called_as);
        print::error_line(&format!("usage: {name} -c node [-w]"));
        return EXIT_CANCELLED;
    }
    let mut fifo = match open(&host, options.has('w')) {
        Ok(fifo) => fifo,
        Err(text) => {
            print::error_line(&format!("Meatware_IPC failed: {text}"));
            return EXIT_NOBODY_WAITS;
        }
    };
    if !is_confirmed(&host) {
        print::line("Meatware_client: operation canceled.");
        return EXIT_CANCELLED;
    }
    let mut answer = vec![0; ANSWER_BYTES];
    let text = format!("meatware reply {host}");
    // One byte stays zero: the end of the text.
    let count = text.len().min(ANSWER_BYTES - 1);
    answer[..count].copy_from_slice(&text.as_bytes()[..count]);
    match fifo.write(&answer) {
        Ok(ANSWER_BYTES) => {
            print::line("Meatware_client: reset confirmed.");
            0
        }
        _ => EXIT_LOST,
    }
}

/// Opens the FIFO of a device that waits; with `patient` until there is one.
fn open(host: &str, patient: bool) -> Result<File, String> {
    let path = fifo_of(host).ok_or_else(|| format!("{host}: {}", io_text(libc::EINVAL)))?;
    let mut dots = false;
    loop {
        match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path) {
            // A file that somebody left there would take the answer and nobody would read it.
            Ok(file) if file.metadata().is_ok_and(|about| about.file_type().is_fifo()) => {
                if dots {
                    print::line("");
                }
                return Ok(file);
            }
            Ok(_) => return Err(format!("{}: {}", path.display(), io_text(libc::ENXIO))),
            Err(error) if patient && matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => {
                dots = true;
                let _ = write!(io::stdout(), ".").and_then(|()| io::stdout().flush());
                std::thread::sleep(Duration::from_secs(1));
            }
            Err(error) => {
                let reason = io_text(error.raw_os_error().unwrap_or(libc::EIO));
                return Err(format!("{}: {reason}", path.display()));
            }
        }
    }
}

fn io_text(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_owned()
}

/// Warns, and asks.
fn is_confirmed(host: &str) -> bool {
    let text = format!(
        "\nWARNING!\n\n\
         If node \"{host}\" has not been manually power-cycled or disconnected from all shared resources and \
         networks, data on shared disks may become corrupted and migrated services might not work as expected.\n\
         Please verify that the name or address above corresponds to the node you just rebooted.\n\nPROCEED? [yN] "
    );
    let _ = write!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
    let mut line = Vec::new();
    let mut input = io::Read::take(io::stdin().lock(), LINE_MAX_BYTES);
    let _ = io::BufRead::read_until(&mut input, b'\n', &mut line);
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'y' | b'Y'))
}
