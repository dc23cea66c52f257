//! A mount namespace with a folder, loop devices and the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::wait_until;
use crate::{inside, skip};

/// What one run of the agent gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
}

/// The folder of one test; everything that it mounted goes with its namespace.
pub struct World {
    directory: tempfile::TempDir,
    devices: std::cell::RefCell<Vec<PathBuf>>,
}

impl World {
    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A file with a new file system of that type; `None` when its program is missing, which is told.
    pub fn image(&self, kind: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
        let path = self.path(name);
        // The smallest that mkfs.xfs and mkfs.btrfs make.
        let size = if kind.starts_with("ext") { 16 } else { 320 };
        fs::File::create(&path).unwrap().set_len(size << 20).unwrap();
        let quiet = if kind == "btrfs" || kind.starts_with("ext") { "-q" } else { "-f" };
        let output = Command::new(format!("mkfs.{kind}")).arg(quiet).args(options).arg(&path).output();
        match output {
            Ok(output) if output.status.success() => Some(path),
            Ok(output) => panic!("mkfs.{kind}: {}", text(&output.stderr)),
            Err(error) => {
                skip::skip(&format!("mkfs.{kind}: {error}"));
                None
            }
        }
    }

    /// A loop device for it.
    pub fn device(&self, image: &Path) -> String {
        let output = Command::new("losetup").args(["-f", "--show"]).arg(image).output().unwrap();
        assert!(output.status.success(), "losetup: {}", text(&output.stderr));
        let device = text(&output.stdout).trim().to_owned();
        self.devices.borrow_mut().push(PathBuf::from(&device));
        device
    }

    /// A loop device with a new file system.
    pub fn new_device(&self, kind: &str) -> Option<String> {
        Some(self.device(&self.image(kind, &format!("{kind}.img"), &[])?))
    }

    /// The built-in agent, not started yet.
    pub fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        command.arg("Filesystem").args(arguments);
        command.stdin(Stdio::null()).env("HA_RSCTMP", self.path("state")).env("HA_LOGFILE", self.path("log"));
        command.env_remove("HA_LOGFACILITY").env_remove("HA_LOGTAG").env_remove("HA_DEBUGLOG");
        command
    }

    /// The built-in agent by the OCF interface.
    pub fn ocf(&self, device: &str, directory: &str, more: &[(&str, &str)], action: &str) -> Command {
        let mut command = self.agent(&[action]);
        command.env("OCF_RESOURCE_INSTANCE", "fs").env("OCF_RESKEY_device", device);
        command.env("OCF_RESKEY_directory", directory).envs(more.iter().copied());
        command
    }

    /// Runs the built-in agent.
    pub fn run(&self, arguments: &[&str]) -> Run {
        finish(self.agent(arguments))
    }

    /// Runs it and expects this code.
    pub fn expect(&self, arguments: &[&str], code: i32) {
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments:?}: {run:?}\n{}", self.log());
    }

    /// The log of the built-in agent.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Expects these texts in it, and empties it.
    pub fn logged(&self, texts: &[&str]) {
        let log = self.log();
        for text in texts {
            assert!(log.contains(text), "{text} not in\n{log}");
        }
        let _ = fs::remove_file(self.path("log"));
    }

    /// Type and options of what is mounted there, as this process sees it.
    pub fn mounted(&self, name: &str) -> Option<(String, String)> {
        mounted_at(&self.text(name))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // First of all: the folder is emptied next, and what is mounted in it must not be.
        let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(1)).rev();
        for point in points.filter(|point| Path::new(point).starts_with(self.directory.path())) {
            let point = point.replace("\\040", " ");
            let _ = nix::mount::umount2(point.as_str(), nix::mount::MntFlags::MNT_DETACH);
        }
        for device in self.devices.borrow().iter() {
            // Those that a mount still holds go with it.
            let _ = Command::new("losetup").arg("-d").arg(device).stderr(Stdio::null()).status();
        }
    }
}

/// Type and options of the uppermost mount at a path.
pub fn mounted_at(point: &str) -> Option<(String, String)> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut lines = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[1] == point).then(|| (fields[2].to_owned(), fields[3].to_owned()))
    });
    lines.next_back()
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> Run {
    let output: Output = command.output().unwrap();
    Run { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout) }
}

/// A process that holds a directory until it is ended.
pub struct Holder(Child);

impl Holder {
    /// With the directory as working directory.
    pub fn in_directory(directory: &Path) -> Self {
        Self(Command::new("sleep").arg("600").current_dir(directory).spawn().unwrap())
    }

    /// The same, deaf to SIGTERM.
    pub fn deaf(directory: &Path) -> Self {
        let script = "trap '' TERM; echo ready; while :; do sleep 600; done";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .current_dir(directory)
            .stdout(Stdio::piped())
            .process_group_of_its_own()
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// It has ended.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

/// Runs the test with that full path again in a mount namespace of its own, and `body` there.
pub fn in_namespace(test: &str, body: impl FnOnce(&World)) {
    let probe = "D=$(losetup -f) && [ -b $D ] && mount -t tmpfs x /mnt";
    inside::in_namespaces(test, &["--mount", "--propagation", "private"], probe, || {
        let world = World { directory: tempfile::tempdir().unwrap(), devices: Default::default() };
        fs::create_dir(world.path("state")).unwrap();
        body(&world);
    });
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until a process is gone or a zombie.
pub fn wait_gone(pid: u32) {
    wait_until("a process ends", || !ha_core::sys::process::is_alive(pid));
}
