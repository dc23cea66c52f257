//! Another program file goes on in this one's place (design §3): found to be new, tried out, given
//! all that the daemon knows, and executed in this very process.
//!
//! What passes is a text in an unlinked temporary file and the locked pid file, both as open
//! descriptors that the environment names. A program that knows nothing of this, or cannot read the
//! text, starts as after an ordinary quick restart, which the options `-R -C` ask for.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::handoff::TEXT_MAX_BYTES;
use crate::sys::process::{adopt_inherited, drop_at_exec};
use crate::types::Generation;

/// `STATE PID-FILE PEER`: descriptors, `-` for none; and `away` where the peer is away and foreign sets
/// are held for it.
const VARIABLE: &str = "HA_HANDOFF";
/// First line of the text.
const VERSION: &str = "daemon-state 1";
/// Longest time a new program may take to say its version.
const TRIAL_LIMIT: Duration = Duration::from_secs(10);
/// So much of what it says is looked at.
const SAID_MAX_BYTES: u64 = 4096;

/// The file this process was started from.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// As the process list has it: the path it was called by when that leads to the running file,
    /// else the running file's own. Before the process title is changed.
    pub fn of_this_process() -> Self {
        let running = fs::read_link("/proc/self/exe").unwrap_or_default();
        let running = running.to_string_lossy().trim_end_matches(" (deleted)").into();
        let called_by = std::env::args_os().next().map(PathBuf::from);
        let path = called_by.filter(|path| path.is_absolute() && identity(path) == own_identity());
        Self { path: path.unwrap_or(running) }
    }

    /// What a program that is executed in this one's place is called, so that it is the daemon.
    pub fn name_for_exec(path: Option<&Path>) -> PathBuf {
        let is_daemon = |path: &&Path| path.file_name().is_some_and(|name| name == "heartbeat");
        path.filter(is_daemon).map_or_else(|| "heartbeat".into(), Path::to_owned)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path, when there is another file there now than the one that runs.
    pub fn replaced(&self) -> Option<PathBuf> {
        let found = identity(&self.path)?;
        (Some(found) != own_identity()).then(|| self.path.clone())
    }
}

/// Device and inode of a program file.
pub fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|about| (about.dev(), about.ino()))
}

/// Those of the running one.
pub fn own_identity() -> Option<(u64, u64)> {
    identity(Path::new("/proc/self/exe"))
}

/// Runs a program file to see whether it can take over: it must be one of ours, say its version, and
/// find no error in the configuration in `checked` that this program does not find too.
///
/// # Errors
/// Why it cannot. Nothing was changed.
pub fn try_out(path: &Path, checked: Option<&Path>) -> Result<String, String> {
    let answer = said_by(path, "ha", &["--version".as_ref()], &[0])?.1;
    let version = answer.strip_prefix("ha ").map(str::trim).filter(|version| !version.is_empty());
    let version = version.ok_or_else(|| format!("{} is another program", path.display()))?.to_owned();
    let legacy = said_by(path, "heartbeat", &["-V".as_ref()], &[0])?.1;
    if legacy.trim() != super::command_line::LEGACY_VERSION {
        return Err(format!("{} has no daemon in it", path.display()));
    }
    if let Some(directory) = checked {
        // The files alone: what the host is like is not the program's fault, and finding it out takes time.
        let words: [&OsStr; 3] = ["check".as_ref(), "--files-only".as_ref(), directory.as_os_str()];
        let check = |path: &Path| said_by(path, "ha", &words, &[0, 1, 2]);
        let (code, text) = check(path)?;
        if code == 2 && check(Path::new("/proc/self/exe")).is_ok_and(|(own_code, _)| own_code != 2) {
            let first = text.lines().next().unwrap_or_default();
            return Err(format!("{} finds errors in the configuration: {first}", path.display()));
        }
    }
    Ok(version)
}

/// The exit code, which must be one of `codes`, and the beginning of what it wrote.
fn said_by(path: &Path, called_as: &str, words: &[&OsStr], codes: &[i32]) -> Result<(i32, String), String> {
    let asked = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
    let failed = |what: String| format!("{} {asked}: {what}", path.display());
    let mut command = Command::new(path);
    command.arg0(called_as).args(words).env_remove(VARIABLE);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    // Read beside the waiting: it may write more than the pipe holds.
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let mut output = output?;
        Read::by_ref(&mut output).take(SAID_MAX_BYTES).read_to_end(&mut said).ok()?;
        io::copy(&mut output, &mut io::sink()).ok()?;
        Some(String::from_utf8_lossy(&said).into_owned())
    });
    let end = Instant::now() + TRIAL_LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            other => {
                let _ = child.kill();
                let _ = child.wait();
                let slow = || format!("it does not end within {} s", TRIAL_LIMIT.as_secs());
                let text = other.err().map_or_else(slow, |error| error.to_string());
                return Err(failed(text));
            }
        }
    };
    match status.code().filter(|code| codes.contains(code)) {
        Some(code) => Ok((code, reader.join().ok().flatten().unwrap_or_default())),
        None => Err(failed(format!("it ended with {status}"))),
    }
}

/// What a daemon hands to the program that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// This run's number stays.
    pub generation: Generation,
    /// [`crate::cluster::Cluster::export`].
    pub cluster: String,
    /// Last known state of each resource, as progress lines of jobs.
    pub groups: Vec<String>,
}

impl State {
    fn to_text(&self) -> String {
        let mut text = format!("{VERSION}\ngeneration {}\n", self.generation.0);
        for line in &self.groups {
            text.push_str(&format!("group {line}\n"));
        }
        text.push_str("cluster\n");
        text + &self.cluster
    }

    /// `None`: another version wrote it, or nobody did.
    fn from_text(text: &str) -> Option<Self> {
        let (head, cluster) = text.split_once("\ncluster\n")?;
        let mut lines = head.lines();
        if lines.next() != Some(VERSION) {
            return None;
        }
        let generation = lines.next()?.strip_prefix("generation ")?.parse().ok()?;
        let groups: Option<Vec<String>> =
            lines.map(|line| line.strip_prefix("group ").map(str::to_owned)).collect();
        Some(Self { generation: Generation(generation), cluster: cluster.to_owned(), groups: groups? })
    }

    /// Writes it where only the descriptor leads.
    fn write(&self, folder: &Path) -> io::Result<File> {
        let path = folder.join(format!("handoff.{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        file.write_all(self.to_text().as_bytes())?;
        file.rewind()?;
        Ok(file)
    }
}

/// Adds what passes through exec to the command: the state, where there is one, by a temporary file
/// in `folder`, and the lock on the pid file. What cannot be passed is left out, and the value says
/// why; the program then starts without it. The value's files must live until the exec.
pub fn pass_on(
    command: &mut Command,
    handed: Handed<'_>,
    folder: &Path,
    pid_file: &File,
) -> (Option<File>, Option<String>) {
    let Handed { state, awaits_failback, watchdog } = handed;
    let (state, mut problem) = match state.map(|state| state.write(folder)) {
        None => (None, None),
        Some(Ok(file)) => (Some(file), None),
        Some(Err(error)) => (None, Some(format!("the state cannot be kept: {}: {error}", folder.display()))),
    };
    let mut word = |file: Option<&File>| {
        let file = file?;
        match drop_at_exec(file, false) {
            Ok(()) => Some(file.as_raw_fd().to_string()),
            Err(error) => {
                problem = Some(format!("a descriptor cannot be kept: {error}"));
                None
            }
        }
    };
    let [state_word, pid_file, watchdog] =
        [state.as_ref(), Some(pid_file), watchdog].map(|file| word(file).unwrap_or_else(|| "-".into()));
    let peer = if awaits_failback { "away" } else { "-" };
    command.env(VARIABLE, format!("{state_word} {pid_file} {peer} {watchdog}"));
    (state, problem)
}

/// What one program hands over to the next in its process, beside the pid file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Handed<'a> {
    /// Everything it knew.
    pub state: Option<&'a State>,
    /// Foreign sets are held because the peer is away.
    pub awaits_failback: bool,
    /// The watchdog device, armed.
    pub watchdog: Option<&'a File>,
}

/// What the program before this one left open for it.
#[derive(Debug, Default)]
pub struct Inherited {
    state: Option<File>,
    /// The pid file, locked.
    pub pid_file: Option<File>,
    /// Foreign sets are held because the peer is away.
    pub peer_was_away: bool,
    /// The watchdog device, armed: somebody has to feed it or to let go of it.
    pub watchdog: Option<File>,
}

impl Inherited {
    /// Takes it from the environment, which no child gets to see. For the start of the program.
    pub fn take() -> Self {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        std::env::remove_var(VARIABLE);
        let mut words = value.split(' ');
        let mut next = || adopt_inherited(words.next()?.parse().ok()?).ok();
        let (state, pid_file) = (next(), next());
        let peer_was_away = words.next() == Some("away");
        let watchdog = words.next().and_then(|word| adopt_inherited(word.parse().ok()?).ok());
        Self { state, pid_file, peer_was_away, watchdog }
    }

    /// To be kept open.
    pub fn descriptors(&self) -> Vec<RawFd> {
        [&self.state, &self.pid_file, &self.watchdog].into_iter().flatten().map(AsRawFd::as_raw_fd).collect()
    }

    /// Reads the state.
    ///
    /// # Errors
    /// It cannot be read or is of another version.
    pub fn state(&mut self) -> Result<Option<State>, String> {
        let Some(file) = self.state.take() else { return Ok(None) };
        let mut bytes = Vec::new();
        let limit = 2 * TEXT_MAX_BYTES as u64;
        file.take(limit).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
        State::from_text(&text).map(Some).ok_or_else(|| "it is of another version".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn state() -> State {
        State {
            generation: Generation(7),
            cluster: "cluster-state 1\na b\n".into(),
            groups: vec!["resource k 0 w active".into()],
        }
    }

    #[test]
    fn the_text_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = state().write(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut inherited = Inherited { state: Some(file), ..Inherited::default() };
        assert_eq!(inherited.state(), Ok(Some(state())));
        assert_eq!(inherited.state(), Ok(None));
    }

    #[test]
    fn hostile_texts() {
        let good = state().to_text();
        for text in ["", "\n", "\ncluster\n", "daemon-state 1", "\0\u{ff}"] {
            assert_eq!(State::from_text(text), None, "{text:?}");
        }
        for text in [good.replace(" 1\n", " 2\n"), good.replace("generation 7", "generation x")] {
            assert_eq!(State::from_text(&text), None);
        }
        assert_eq!(State::from_text(&good.replace("group ", "other ")), None);
        let none = Inherited::take();
        assert!(none.state.is_none() && none.pid_file.is_none());
    }

    #[test]
    fn files_that_cannot_take_over_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let cases = [
            ("empty", "", ""),
            ("junk", "\u{7f}ELF no program", ""),
            ("fails", "#!/bin/sh\nexit 3\n", "3"),
            ("other", "#!/bin/sh\necho hello\n", "another program"),
            ("half", "#!/bin/sh\necho ha 9\n", "no daemon"),
        ];
        for (name, text, part) in cases {
            let error = try_out(&file(name, text), None).unwrap_err();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
        assert!(try_out(&folder.path().join("missing"), None).is_err());
    }

    #[test]
    fn a_replaced_file_is_noticed() {
        let own = Program::of_this_process();
        assert_eq!(own.replaced(), None);
        let other = Program { path: "/proc/self/cmdline".into() };
        assert_eq!(other.replaced().as_deref(), Some(Path::new("/proc/self/cmdline")));
        let gone = Program { path: "/no/such/file".into() };
        assert_eq!(gone.replaced(), None);
    }
}
