//! From a resource word to a program: the administrator's script or a built-in agent, and the
//! original's way to read what a script says (resources spec 1.5, 1.6).

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use crate::config::check::INIT_DIRECTORY;
use crate::config::script_class::{unit_file, ScriptClass};

use super::command::exit_code;
use super::ocf::OcfResource;
use super::{agent, Agent};

/// Where scripts give messages to the daemon, unless the environment says otherwise.
pub const FIFO: &str = "/var/lib/heartbeat/fifo";
/// Output of `status` that is looked at; what comes after it is read and dropped.
const STATUS_OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// How often it is looked whether a silent script ended without closing its output, because a
/// program that it started holds it.
const HELD_OUTPUT_CHECK_MS: u16 = 20;

/// What runs for a resource.
#[derive(Debug, Clone)]
pub enum Program {
    /// A file of the administrator or a package.
    File,
    /// One of [`super::AGENTS`].
    BuiltIn(&'static Agent),
    /// An init script that was asked for as such: the exit code of `status` counts (LSB), not its words.
    Lsb,
    /// An OCF agent.
    Ocf(OcfResource),
    /// A unit of systemd.
    Unit(String),
}

/// A resource's program with the path that log lines show.
#[derive(Debug, Clone)]
pub struct Script {
    /// Path; a built-in shows the one where its script would be.
    pub path: PathBuf,
    /// What runs.
    pub program: Program,
}

/// Where scripts are and what they find in their environment.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Searched in this order.
    pub directories: Vec<PathBuf>,
    variables: Vec<(String, String)>,
}

impl Environment {
    /// The original's defaults wherever the environment says nothing else (resources spec 5.3).
    pub fn from_process() -> Self {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let or = |name: &str, default: &str| given(name).unwrap_or_else(|| default.to_owned());
        let ha_dir = or("HA_DIR", "/etc/ha.d");
        let resource_directory = or("HA_RESOURCEDIR", &format!("{ha_dir}/resource.d"));
        let binaries = or("HA_BIN", "/usr/libexec/heartbeat");
        let path = or("PATH", "/sbin:/bin:/usr/sbin:/usr/bin");
        let variables = vec![
            ("LC_ALL", "C".to_owned()),
            ("PATH", format!("{binaries}:/usr/sbin:/usr/share/heartbeat:{path}")),
            ("HA_FUNCS", or("HA_FUNCS", &format!("{ha_dir}/shellfuncs"))),
            ("HA_RCDIR", or("HA_RCDIR", &format!("{ha_dir}/rc.d"))),
            ("HA_FIFO", or("HA_FIFO", FIFO)),
            ("HA_DOCDIR", or("HA_DOCDIR", "/usr/share/doc/heartbeat")),
            ("HA_LOGFACILITY", or("HA_LOGFACILITY", "")),
            ("HA_DATEFMT", or("HA_DATEFMT", "%Y/%m/%d_%T\t")),
            ("HA_CURHOST", current_host()),
            ("OCF_ROOT", or("OCF_ROOT", "/usr/lib/ocf")),
            ("OCF_AGENTS", or("OCF_AGENTS", "/usr/lib/ocf/resource.d/heartbeat/")),
            ("HA_BIN", binaries),
            ("HA_RESOURCEDIR", resource_directory.clone()),
            ("HA_DIR", ha_dir),
        ];
        let directories = vec![PathBuf::from(resource_directory), PathBuf::from(INIT_DIRECTORY)];
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { directories, variables }
    }

    /// The same with more variables.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = (String, String)>) -> Self {
        let variables = self.variables.iter().cloned().chain(more).collect();
        Self { directories: self.directories.clone(), variables }
    }

    /// What scripts find in their environment.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The folder of the configuration.
    pub fn ha_dir(&self) -> PathBuf {
        let set = self.variables.iter().find(|(name, _)| name == "HA_DIR");
        PathBuf::from(set.map_or("/etc/ha.d", |(_, value)| value))
    }

    /// The program for a script's name with its class, if it has one (haresources(5)). An
    /// administrator's own file always wins over a built-in of that name; a link to this binary is the
    /// built-in. `None` when there is nothing of that name.
    pub fn resolve(&self, script: &str, arguments: &[&str]) -> Option<Script> {
        let class = ScriptClass::of(script).ok()?;
        let [resources, init @ ..] = self.directories.as_slice() else { return None };
        let own = |directories: &[PathBuf], name: &str| {
            let path =
                directories.iter().map(|folder| folder.join(name)).find(|path| is_executable_file(path));
            path.filter(|path| !is_this_binary(path))
        };
        if let (Some(path), false) =
            (own(std::slice::from_ref(resources), script), matches!(class, ScriptClass::Any(_)))
        {
            return Some(Script { path, program: Program::File });
        }
        match class {
            ScriptClass::Any(name) => resolve_in(&self.directories, name).or_else(|| {
                let program = unit_file(name).map(|_| Program::Unit(name.to_owned()))?;
                Some(Script { path: PathBuf::from(format!("systemd:{name}")), program })
            }),
            ScriptClass::Heartbeat(name) => resolve_in(std::slice::from_ref(resources), name),
            ScriptClass::Lsb(name) => own(init, name).map(|path| Script { path, program: Program::Lsb }),
            ScriptClass::Ocf { provider, kind } => {
                let resource = OcfResource::find(provider, kind, arguments, &self.ha_dir())?;
                Some(Script { path: resource.path.clone(), program: Program::Ocf(resource) })
            }
            ScriptClass::Systemd(unit) => {
                Some(Script { path: PathBuf::from(script), program: Program::Unit(unit.to_owned()) })
            }
        }
    }

    /// Runs `status` of an LSB script: exit code 0 is active.
    pub fn is_active_by_code(
        &self,
        path: &Path,
        arguments: &[&str],
        output: Option<&PathBuf>,
    ) -> io::Result<bool> {
        Ok(self.run(path, arguments, "status", output)? == 0)
    }

    /// Runs a script with the operation as last argument. Its output goes to `output` (the debug
    /// file), else to standard error. The value is its exit code as the shell counts it.
    pub fn run(
        &self,
        path: &Path,
        arguments: &[&str],
        operation: &str,
        output: Option<&PathBuf>,
    ) -> io::Result<u8> {
        let append = |file: &PathBuf| OpenOptions::new().append(true).create(true).open(file).ok();
        let (stdout, stderr) = match output.and_then(append) {
            Some(file) => (OwnedFd::from(file.try_clone()?), OwnedFd::from(file)),
            None => (own_stderr()?, own_stderr()?),
        };
        let mut child = self.spawn(path, arguments, operation, stdout, stderr)?;
        Ok(exit_code(child.wait()?))
    }

    /// Runs `status` and applies the original's rule to its standard output; the exit code is
    /// ignored.
    pub fn is_active(&self, path: &Path, arguments: &[&str]) -> io::Result<bool> {
        let (reader, writer) = io::pipe()?;
        let mut child = self.spawn(path, arguments, "status", writer.into(), own_stderr()?)?;
        let output = read_output(&mut child, reader)?;
        child.wait()?;
        Ok(says_running(&output))
    }

    /// Starts a script; one without an interpreter line goes to the shell, as the shell itself does
    /// it.
    fn spawn(
        &self,
        path: &Path,
        arguments: &[&str],
        operation: &str,
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<Child> {
        let words: Vec<&str> = arguments.iter().copied().chain([operation]).collect();
        let mut direct = self.command(path, &words);
        match direct.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).spawn() {
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                let words: Vec<&str> = path.to_str().into_iter().chain(words).collect();
                self.command(Path::new("/bin/sh"), &words).stdout(stdout).stderr(stderr).spawn()
            }
            result => result,
        }
    }

    /// Runs a script in the place of this process, its output in `output` where that is given. It
    /// comes back only when that fails; nothing has happened then.
    pub fn replace_process(&self, path: &Path, arguments: &[&str], output: Option<File>) -> io::Error {
        let direct = |mut command: Command| -> io::Error {
            if let Some(file) = &output {
                match (file.try_clone(), file.try_clone()) {
                    (Ok(stdout), Ok(stderr)) => drop(command.stdout(stdout).stderr(stderr)),
                    (Err(error), _) | (_, Err(error)) => return error,
                }
            }
            command.exec()
        };
        let error = direct(self.command(path, arguments));
        if error.raw_os_error() != Some(libc::ENOEXEC) {
            return error;
        }
        let words: Vec<&str> = path.to_str().into_iter().chain(arguments.iter().copied()).collect();
        direct(self.command(Path::new("/bin/sh"), &words))
    }

    fn command(&self, path: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(path);
        command.args(arguments).stdin(Stdio::null());
        command.env_remove("LANG").env_remove("LANGUAGE");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A file of that name, or the built-in agent with the path where its script would be.
fn resolve_in(directories: &[PathBuf], name: &str) -> Option<Script> {
    let built_in = agent(name);
    for directory in directories {
        let path = directory.join(name);
        if built_in.is_some() && is_this_binary(&path) {
            break;
        }
        if is_executable_file(&path) {
            return Some(Script { path, program: Program::File });
        }
    }
    let path = directories.first()?.join(name);
    built_in.map(|agent| Script { path, program: Program::BuiltIn(agent) })
}

fn own_stderr() -> io::Result<OwnedFd> {
    io::stderr().as_fd().try_clone_to_owned()
}

/// The local node's name: `HA_CURHOST`, else `uname -n` in lower case.
pub fn current_host() -> String {
    match std::env::var("HA_CURHOST") {
        Ok(name) if !name.is_empty() => name.to_ascii_lowercase(),
        _ => nix::unistd::gethostname().unwrap_or_default().to_string_lossy().to_ascii_lowercase(),
    }
}

/// The patterns on a status output (resources spec 1.6), in this order:
/// `*[Nn][Oo][Tt] *[Rr]unning*` is not active, `*[Rr]unning*` or `*OK*` is, all else is not.
pub fn says_running(output: &[u8]) -> bool {
    let running = |from: usize| {
        output[from..].windows(7).any(|part| matches!(part[0], b'R' | b'r') && &part[1..] == b"unning")
    };
    let negated = output
        .windows(4)
        .position(|part| part[..3].eq_ignore_ascii_case(b"not") && part[3] == b' ')
        .is_some_and(|at| running(at + 4));
    !negated && (running(0) || output.windows(2).any(|part| part == b"OK"))
}

/// The file is this very program, or a link to one of its name, even a dangling one.
pub(super) fn is_this_binary(path: &Path) -> bool {
    let target_name = |path: &Path| path.file_name().is_some_and(|name| name == "ha");
    if std::fs::read_link(path).is_ok_and(|target| target_name(&target)) {
        return true;
    }
    let same = |a: &Metadata, b: &Metadata| a.dev() == b.dev() && a.ino() == b.ino();
    match (std::fs::metadata(path), std::fs::metadata("/proc/self/exe")) {
        (Ok(file), Ok(own)) if same(&file, &own) => true,
        (Ok(_), _) => path.is_symlink() && std::fs::canonicalize(path).is_ok_and(|path| target_name(&path)),
        _ => false,
    }
}

pub(super) fn is_executable_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Reads until the end of the output, or until the script ended and what it wrote is read.
fn read_output(child: &mut Child, mut pipe: PipeReader) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    loop {
        let mut waiting = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waiting, PollTimeout::from(HELD_OUTPUT_CHECK_MS)).unwrap_or(0);
        if ready > 0 {
            if read_some(&mut pipe, &mut output)? == 0 {
                return Ok(output);
            }
        } else if child.try_wait()?.is_some() {
            fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            while read_some(&mut pipe, &mut output).unwrap_or(0) > 0 {}
            return Ok(output);
        }
    }
}

fn read_some(pipe: &mut PipeReader, output: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer) {
            Ok(length) => {
                let room = STATUS_OUTPUT_MAX_BYTES - output.len();
                output.extend_from_slice(&buffer[..length.min(room)]);
                return Ok(length);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}

/// Reads a whole file of limited size as text; bytes that are no UTF-8 are replaced.
pub fn read_text(path: &Path, most_bytes: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        let text = format!("{} is longer than {most_bytes} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_status_rule_to_the_letter() {
        for held in
            ["running", "Running", "x is running...\n", "INFO:  Running OK", "OK", "BOOK", "not\nrunning"]
        {
            assert!(says_running(held.as_bytes()), "{held}");
        }
        for free in
            ["", "stopped", "ok", "RUNNING", "not running", "NoT at all, it is Running", "cannot be running"]
        {
            assert!(!says_running(free.as_bytes()), "{free}");
        }
        assert!(says_running(b"running, not stopped"));
        assert!(!says_running(b"OK but not \n running"));
    }

    fn environment(directory: &Path) -> Environment {
        Environment {
            directories: vec![directory.to_owned()],
            variables: vec![("LC_ALL".to_owned(), "C".to_owned())],
        }
    }

    fn write_script(path: &Path, text: &str) {
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn an_own_file_wins_and_a_link_to_us_is_the_built_in() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(directory.path());
        let built_in = |name: &str| match environment.resolve(name, &[]).map(|script| script.program) {
            Some(Program::BuiltIn(_)) => Some(true),
            Some(_) => Some(false),
            None => None,
        };
        assert_eq!(built_in("IPaddr"), Some(true));
        assert_eq!(built_in("no_such"), None);
        assert_eq!((built_in(""), built_in(".")), (None, None));
        symlink("/opt/somewhere/ha", directory.path().join("IPaddr")).unwrap();
        assert_eq!(built_in("IPaddr"), Some(true));
        write_script(&directory.path().join("IPaddr2"), "exit 0");
        assert_eq!(built_in("IPaddr2"), Some(false));
        std::fs::write(directory.path().join("text"), "not executable").unwrap();
        assert_eq!(built_in("text"), None);
    }

    #[test]
    fn output_is_read_and_a_program_holding_it_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let environment = environment(directory.path());
        let path = directory.path().join("svc");
        write_script(&path, "[ \"$1$2\" = astatus ] && echo is running; exit 3");
        assert!(environment.is_active(&path, &["a"]).unwrap());
        assert!(!environment.is_active(&path, &["b"]).unwrap());
        write_script(&path, "sleep 5 & echo running");
        let start = std::time::Instant::now();
        assert!(environment.is_active(&path, &[]).unwrap());
        assert!(start.elapsed().as_secs() < 4);
        std::fs::write(&path, "[ $# = 1 ] && echo running without interpreter line").unwrap();
        assert!(environment.is_active(&path, &[]).unwrap());
        write_script(&path, "head -c 300000 /dev/zero; echo running");
        assert!(!environment.is_active(&path, &[]).unwrap());
        let log = directory.path().join("log");
        write_script(&path, "echo out; echo err >&2; [ $LC_ALL = C ] || exit 9; kill -9 $$");
        assert_eq!(environment.run(&path, &[], "start", Some(&log)).unwrap(), 137);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "out\nerr\n");
        assert!(environment.run(&directory.path().join("none"), &[], "start", None).is_err());
    }
}
