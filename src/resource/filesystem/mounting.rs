//! The mount itself: by mount(2), in the steps that it takes, or by the system's helper of the type.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{mount, MsFlags};

use crate::config;
use crate::sys::block::{self, Backing};
use crate::sys::bounded::{self, Failure};

use super::super::command::Program;
use super::super::ExitCode;
use super::device;
use super::mtab::{self, Line};
use super::{Filesystem, MountTable};

/// How long mount(2) may take: the journal of a big file system is replayed in it.
const MOUNT_LIMIT: Duration = Duration::from_secs(600);
/// How long a helper may take; mount.nfs gives up after two minutes by itself.
const HELPER_LIMIT: Duration = Duration::from_secs(180);
/// Where mount(8) looks for helpers.
const HELPER_DIRECTORIES: &[&str] = &["/sbin", "/sbin/fs.d", "/sbin/fs", "/usr/sbin"];
/// Types that the kernel does not mount from what an administrator writes.
const NEED_HELPER: &[&str] = &[
    "nfs",
    "nfs4",
    "efs",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "glusterfs",
    "davfs",
    "fuse",
    "rozofs",
    "lustre",
];
/// Options that no helper gets.
const NOT_FOR_HELPERS: &[&str] = &[
    "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group",
    "nogroup", "_netdev", "nofail",
];

impl Filesystem<'_> {
    /// Mounts `source` on the mount point.
    pub(super) fn mount(&self, source: &Path) -> Result<(), ExitCode> {
        let options = &self.settings.options;
        let kind = self.settings.kind.as_str();
        if options.bind {
            self.bind(source)?;
        } else if let Some(helper) = find_helper(kind) {
            return self.run_helper(&helper, source);
        } else if needs_helper(kind) {
            let name = helper_names(kind).pop().unwrap_or_default();
            self.context.exit_reason(&format!("Setup problem: couldn't find command: {name}"));
            return Err(ExitCode::NotInstalled);
        } else {
            self.mount_natively(source)?;
        }
        for propagation in &options.propagation {
            let nothing = Path::new("none");
            self.call(nothing, None, *propagation, "")
                .or_else(|failure| self.not_mounted(source, &failure))?;
        }
        Ok(())
    }

    fn mount_natively(&self, source: &Path) -> Result<(), ExitCode> {
        let options = &self.settings.options;
        // The device stays ours until the mount holds it.
        let (source, read_only, _held) = match &options.loop_device {
            None => (source.to_owned(), false, None),
            Some(asked) => {
                let backing = Backing {
                    file: source.to_owned(),
                    offset: asked.offset,
                    size_limit: asked.size_limit,
                    read_only: options.flags.contains(MsFlags::MS_RDONLY),
                };
                match block::attach(&backing, asked.device.as_deref()) {
                    Ok(device) => (device.path.clone(), device.read_only, Some(device)),
                    Err(error) => {
                        let text = format!("No loop device for {}: {error}", source.display());
                        self.context.log.error(&text);
                        return self.not_mounted(source, &Failure::Failed(error));
                    }
                }
            }
        };
        let flags = options.flags | if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        let kinds = self.kinds(&source);
        let mut last = Failure::Failed(io::Error::from_raw_os_error(libc::ENODEV));
        for kind in &kinds {
            match self.call(&source, Some(kind), flags, &options.data) {
                Ok(()) => return self.note(&source, kind),
                // As mount(8): a device that cannot be written to is mounted read-only.
                Err(failure)
                    if matches!(failure.errno(), libc::EROFS | libc::EACCES)
                        && !flags.contains(MsFlags::MS_RDONLY) =>
                {
                    match self.call(&source, Some(kind), flags | MsFlags::MS_RDONLY, &options.data) {
                        Ok(()) => {
                            let text = "is write-protected, mounted read-only";
                            self.context.log.warn(&format!("{} {text}", source.display()));
                            return self.note(&source, kind);
                        }
                        Err(failure) => last = failure,
                    }
                }
                Err(failure @ Failure::NoAnswer(_)) => return self.not_mounted(&source, &failure),
                Err(failure) => last = failure,
            }
        }
        self.not_mounted(&source, &last)
    }

    /// The type, or those to be tried.
    fn kinds(&self, source: &Path) -> Vec<String> {
        if !self.settings.kind.is_empty() {
            return vec![self.settings.kind.clone()];
        }
        if let Ok(Some(identity)) = device::identify(source) {
            return vec![identity.kind.to_owned()];
        }
        // With a device, so each of them is one for devices.
        let list = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        list.lines()
            .filter(|line| !line.starts_with("nodev"))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect()
    }

    /// Shows a directory at the mount point, then gives that mount its own flags: the kernel takes
    /// them only in a second step.
    fn bind(&self, source: &Path) -> Result<(), ExitCode> {
        let options = &self.settings.options;
        let recursive = if options.recursive { MsFlags::MS_REC } else { MsFlags::empty() };
        let result = self.call(source, None, MsFlags::MS_BIND | recursive, "");
        result.or_else(|failure| self.not_mounted(source, &failure))?;
        self.note(source, "none")?;
        self.set_bind_flags()
    }

    /// The second step; also for a bind mount that a killed start left without it.
    pub(super) fn set_bind_flags(&self) -> Result<(), ExitCode> {
        let flags = self.settings.options.flags;
        if flags.is_empty() {
            return Ok(());
        }
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
        if let Err(failure) = self.call(Path::new("none"), None, flags, "") {
            return self.not_mounted(Path::new(&self.settings.device_text), &failure);
        }
        let asked_read_only = flags.contains(MsFlags::MS_RDONLY);
        let table = self.table()?;
        if asked_read_only && table.at(&self.point).is_some_and(|mount| !mount.is_read_only()) {
            self.context.log.warn("this kernel cannot handle read only bind mounts");
        }
        Ok(())
    }

    fn call(&self, source: &Path, kind: Option<&str>, flags: MsFlags, data: &str) -> Result<(), Failure> {
        let (source, target) = (source.to_owned(), self.point.clone());
        let (kind, data) = (kind.map(str::to_owned), data.to_owned());
        let work = move || {
            let data = Some(data.as_str()).filter(|data| !data.is_empty());
            mount(Some(&source), &target, kind.as_deref(), flags, data)?;
            Ok(Vec::new())
        };
        bounded::within(MOUNT_LIMIT, work).map(drop)
    }

    fn run_helper(&self, helper: &Path, source: &Path) -> Result<(), ExitCode> {
        let kind = self.settings.kind.as_str();
        let words: Vec<&str> = self
            .settings
            .options_text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty() && !NOT_FOR_HELPERS.contains(word))
            .filter(|word| {
                !word.starts_with("x-") && !word.starts_with("X-") && !word.starts_with("comment=")
            })
            .collect();
        let options = words.join(",");
        let mut program = Program::new(helper.to_string_lossy()).args([source, self.point.as_path()]);
        if !options.is_empty() {
            program = program.args(["-o", &options]);
        }
        if kind.contains('.') {
            program = program.args(["-t", kind]);
        }
        let line = program.to_string();
        let problem = match program.merged().limit(HELPER_LIMIT).run() {
            Ok(finished) if finished.code == 0 => return Ok(()),
            Ok(finished) => {
                let said = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
                format!("{line}: exit code {}: {said}", finished.code)
            }
            Err(error) => error.to_string(),
        };
        self.context.log.error(&problem);
        self.fail(&self.mount_failed())
    }

    fn not_mounted<T>(&self, source: &Path, failure: &Failure) -> Result<T, ExitCode> {
        let why = match failure.errno() {
            libc::EINVAL => "wrong type of file system, bad option, bad superblock".to_owned(),
            libc::EBUSY => "already mounted or in use".to_owned(),
            libc::ENODEV => "the kernel does not know the type of file system".to_owned(),
            libc::EMEDIUMTYPE => "the device cannot be opened here (a secondary of DRBD?)".to_owned(),
            _ => failure.to_string(),
        };
        let (source, point) = (source.display(), self.point.display());
        self.context.log.error(&format!("mount: {point}: {source}: {why}"));
        self.fail(&self.mount_failed())
    }

    fn mount_failed(&self) -> String {
        format!("Couldn't mount filesystem {} on {}", self.settings.shown_device(), self.shown_directory())
    }

    /// Puts it into /etc/mtab where that is a file. The mount counts, whatever becomes of the note.
    fn note(&self, source: &Path, kind: &str) -> Result<(), ExitCode> {
        let source = source.to_string_lossy();
        let line = Line { source: &source, point: &self.point, kind, options: &self.settings.options_text };
        if let Err(error) = mtab::add(&mtab_path(), &line) {
            self.context.log.warn(&format!("/etc/mtab does not show the mount: {error}"));
        }
        Ok(())
    }

    /// Takes it out of /etc/mtab.
    pub(super) fn forget(&self, point: &Path) {
        if let Err(error) = mtab::remove(&mtab_path(), point) {
            self.context.log.warn(&format!("/etc/mtab still shows {}: {error}", point.display()));
        }
    }

    /// What is mounted at the mount point is another device than the one asked for.
    pub(super) fn is_foreign(&self, table: &MountTable, source: &Path) -> Option<PathBuf> {
        use std::os::unix::fs::MetadataExt;
        let mount = table.at(&self.point)?;
        let device = mount.device.filter(|_| self.settings.is_block && mount.kind != "btrfs")?;
        let asked = std::fs::metadata(source).ok().filter(|_| device::is_block(source))?.rdev();
        (device != (libc::major(asked), libc::minor(asked))).then(|| mount.source.clone())
    }
}

fn mtab_path() -> PathBuf {
    config::below_root("/etc/mtab")
}

fn needs_helper(kind: &str) -> bool {
    NEED_HELPER.contains(&kind) || kind.starts_with("fuse.")
}

/// The most special first: mount.fuse.sshfs before mount.fuse.
fn helper_names(kind: &str) -> Vec<String> {
    let base = kind.split('.').next().filter(|base| *base != kind);
    [Some(kind), base].into_iter().flatten().map(|kind| format!("mount.{kind}")).collect()
}

fn find_helper(kind: &str) -> Option<PathBuf> {
    if kind.is_empty() || kind.contains('/') {
        return None;
    }
    let names = helper_names(kind);
    let paths =
        names.iter().flat_map(|name| HELPER_DIRECTORIES.iter().map(move |dir| Path::new(dir).join(name)));
    let mut paths = paths;
    paths.find(|path| super::super::command::find(&path.to_string_lossy()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_of_subtypes() {
        assert_eq!(helper_names("fuse.sshfs"), ["mount.fuse.sshfs", "mount.fuse"]);
        assert_eq!(helper_names("nfs"), ["mount.nfs"]);
        assert!(needs_helper("nfs4") && needs_helper("fuse.x") && !needs_helper("ext4"));
        assert_eq!(find_helper("../../bin/true"), None);
        assert_eq!(find_helper("no such type"), None);
    }
}
