//! Programs that are devices: where they are, which are safe to run, and running them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::answer;
use super::device::{Code, Failure};
use crate::config::below_root;

/// Bytes of a program's output that are kept; the rest is read and thrown away.
pub const OUTPUT_MAX_BYTES: usize = 256 * 1024;
/// Programs of one kind that are listed.
const LISTED_MAX: usize = 1000;
/// The kernel's answer for a script without a first line that names its interpreter.
const NO_EXEC_FORMAT: i32 = libc::ENOEXEC;

/// Where distributions put the folder of a kind (`external`, `rhcs`); the first that has a program of
/// the name is meant.
pub fn folders(kind: &str) -> Vec<PathBuf> {
    ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"]
        .iter()
        .map(|place| below_root(&format!("{place}/stonith/plugins/{kind}")))
        .collect()
}

/// Names of the programs in these folders that begin with `prefix`, without it, sorted.
/// What group or others may write is left out, and said.
pub fn names(folders: &[PathBuf], prefix: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for folder in folders {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten().take(LISTED_MAX) {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let Some(name) = name.strip_prefix(prefix) else { continue };
            let path = entry.path();
            match Safety::of(&path) {
                Safety::Fine => found.push(name.to_owned()),
                Safety::Writable => {
                    log::warn!("Executable file {} ignored (writable by group/others)", path.display());
                }
                Safety::NoProgram | Safety::Missing(_) => {}
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a file may be run.
enum Safety {
    Fine,
    Writable,
    NoProgram,
    Missing(io::Error),
}

impl Safety {
    fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Err(error) => Self::Missing(error),
            Ok(about) if !about.is_file() || about.permissions().mode() & 0o111 == 0 => Self::NoProgram,
            Ok(about) if about.permissions().mode() & 0o022 != 0 => Self::Writable,
            Ok(_) => Self::Fine,
        }
    }
}

/// A program of a kind, found by name.
#[derive(Debug, Clone)]
pub struct Program {
    /// `external` or `rhcs`, in log lines.
    pub kind: &'static str,
    /// Its file.
    pub path: PathBuf,
}

/// What a call gave.
#[derive(Debug)]
pub struct Output {
    /// Exit code; 128 and the signal's number when it was killed, as the shell that the original starts
    /// has it; -1 when it could not be run.
    pub code: i32,
    /// Standard output, at most [`OUTPUT_MAX_BYTES`].
    pub text: String,
}

impl Program {
    /// The program of this name in the first folder that has one.
    pub fn find(kind: &'static str, folders: &[PathBuf], file: &str) -> Self {
        // A name with a slash would lead out of the folder.
        let file = if file.contains('/') { "" } else { file };
        let first = folders.first().cloned().unwrap_or_default();
        let folder = folders.iter().find(|folder| !file.is_empty() && folder.join(file).exists());
        Self { kind, path: folder.unwrap_or(&first).join(file) }
    }

    /// Runs it with these words, these variables added and this text on standard input, and waits
    /// without limit: whoever calls decides how long a device may take. With `log_output`, each line
    /// goes to the log.
    pub fn run(
        &self,
        words: &[&str],
        variables: &[(String, String)],
        input: &str,
        log_output: bool,
    ) -> Output {
        if let Err(text) = self.check() {
            log::warn!(target: "CRIT", "{text}");
            return Output { code: -1, text: String::new() };
        }
        let shown = format!("{} {}", self.path.display(), words.join(" "));
        let shown = shown.trim_end();
        log::debug!("{}_run_cmd: Calling '{shown}'", self.kind);
        let (status, text) = match self.execute(words, variables, input) {
            Ok(result) => result,
            Err(error) => {
                log::warn!(target: "CRIT", "{}_run_cmd: Calling '{shown}' failed: {error}", self.kind);
                return Output { code: -1, text: String::new() };
            }
        };
        if log_output {
            for line in text.lines() {
                log::info!("{}_run_cmd: '{shown}' output: {line}", self.kind);
            }
        }
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        if code > 0 {
            log::debug!("{}_run_cmd: Calling '{shown}' returned {code}", self.kind);
        }
        if let Some(signal) = status.signal() {
            log::warn!(target: "CRIT", "{}_run_cmd: '{shown}' got signal {signal}", self.kind);
        }
        Output { code, text }
    }

    /// Whether it is there and would be run.
    pub fn is_usable(&self) -> bool {
        matches!(Safety::of(&self.path), Safety::Fine)
    }

    fn check(&self) -> Result<(), String> {
        let (kind, path) = (self.kind, self.path.display());
        match Safety::of(&self.path) {
            Safety::Fine => Ok(()),
            Safety::Writable => Err(format!(
                "{kind}_run_cmd: {path} found to be writable by group/others, NOT executing for security purposes."
            )),
            Safety::NoProgram => Err(format!("{kind}_run_cmd: {path} found NOT to be executable.")),
            Safety::Missing(error) => {
                let reason = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)).desc();
                Err(format!("{kind}_run_cmd: stat(2) of {path} failed: {reason}"))
            }
        }
    }

    fn execute(
        &self,
        words: &[&str],
        variables: &[(String, String)],
        input: &str,
    ) -> io::Result<(ExitStatus, String)> {
        let prepared = |command: &mut Command| {
            let pairs = variables.iter().filter(|(name, value)| is_possible(name, value));
            command.args(words).envs(pairs.map(|(name, value)| (name, value)));
            command.stdin(if input.is_empty() { Stdio::inherit() } else { Stdio::piped() });
            command.stdout(Stdio::piped()).spawn()
        };
        let child = match prepared(&mut Command::new(&self.path)) {
            // The shell that the original starts runs it all the same.
            Err(error) if error.raw_os_error() == Some(NO_EXEC_FORMAT) => {
                prepared(Command::new("/bin/sh").arg(&self.path))
            }
            other => other,
        };
        let mut child = child?;
        if let Some(mut pipe) = child.stdin.take() {
            // Text that a pipe holds: a program that reads nothing blocks nobody.
            let _ = pipe.write_all(input.as_bytes());
        }
        let mut text = Vec::new();
        if let Some(mut pipe) = child.stdout.take() {
            pipe.by_ref().take(OUTPUT_MAX_BYTES as u64).read_to_end(&mut text)?;
            io::copy(&mut pipe, &mut io::sink())?;
        }
        Ok((child.wait()?, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// What cannot be a variable of the environment would end this program.
fn is_possible(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

/// A plugin's code for a request that it did not carry out, and how the log names that code.
pub fn request_failed(function: &str, call: &str, host: &str, code: i32, shown: i32) -> Failure {
    // One that was killed has said nothing.
    if (1..128).contains(&code) {
        answer::not_done();
    }
    Failure::report(
        Code::RESET_FAILED,
        format!("{function}: '{call}' for host {host} failed with rc {shown}"),
    )
}
