//! Parameters of the agent: their description, the positional form, and what they mean together
//! (agents spec 2.6).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::bounded::{self, Failure};

use super::super::{Call, Context, ExitCode, Parameter, WrongArguments};
use super::device::{self, Device};
use super::mount_table::MountTable;
use super::options::Options;

/// How long a path may take to be followed.
const PATH_LIMIT: Duration = Duration::from_secs(10);
/// What a cluster manager of the OCF kind gives in milliseconds when it gives nothing.
const META_TIMEOUT_MS: u64 = 20_000;
/// How long umount2(2) may take where no cluster manager sets a limit.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(60);
/// Seconds for TERM and KILL together with `fast_stop`.
const FAST_STOP_S: u64 = 6;

/// Parameters of Filesystem.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::string(
        "device",
        "What is mounted",
        "A block device by path, or by what is on it: -L label, -U uuid, LABEL=, UUID=, PARTLABEL=, PARTUUID=. For \
         nfs host:/export, for cifs //host/share, for a bind mount a directory, with the option loop a file.",
    )
    .required(),
    Parameter::string("directory", "Mount point", "The directory it is mounted on; made when it is missing.").required(),
    Parameter::string(
        "fstype",
        "Type of file system",
        "As for mount -t. Without it, or with none, the type is read from the device.",
    ),
    Parameter::string(
        "options",
        "Mount options",
        "As for mount -o. bind shows a directory, with ro read-only; x-ha.lazy-unmount is lazy_unmount.",
    ),
    Parameter::string(
        "statusfile_prefix",
        "Start of the status file's path",
        "Monitor with OCF_CHECK_LEVEL 20 writes this file below the directory; instance and node follow the prefix.",
    )
    .or(".Filesystem_status/"),
    Parameter::string(
        "run_fsck",
        "File system check",
        "auto: before mounting a type that does not repair itself from a journal; force: always; no: never.",
    )
    .or("auto"),
    Parameter::boolean(
        "fast_stop",
        "Stop within six seconds",
        "Whether processes that hold the file system get TERM for three seconds and then KILL for three. Otherwise \
         each half of the time that the cluster manager gives, 20 seconds without one. Always no for gfs2.",
    )
    .or("yes"),
    Parameter::string(
        "force_unmount",
        "Whom a stop may kill",
        "true or safe: every process that holds the file system; false: none.",
    )
    .or("true"),
    Parameter::boolean(
        "lazy_unmount",
        "Take a busy file system out of sight",
        "Whether a stop that could not unmount takes the file system out of sight (umount -l) and succeeds. It is \
         then still in use: never with a device that another node mounts.",
    )
    .or("false"),
    Parameter::boolean("force_clones", "Not supported", "Must be false: there are no clones.").or("false"),
];

/// `device directory [fstype [options]]`; an empty word counts as absent.
pub(super) fn from_arguments(arguments: &[&str]) -> Result<Call, WrongArguments> {
    if !(2..=4).contains(&arguments.len()) {
        return Err(WrongArguments::silent());
    }
    let mut call = Call::new(format!("Filesystem_{}", arguments[0]));
    for (name, value) in ["device", "directory", "fstype", "options"].into_iter().zip(arguments) {
        call.parameters.set(name, value);
    }
    Ok(call)
}

/// What is to be mounted where and how.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The device in the given words.
    pub(super) device_text: String,
    pub(super) device: Device,
    /// Absolute, without slashes at its end, links not followed.
    pub(super) directory: PathBuf,
    /// Empty when it is to be found out.
    pub(super) kind: String,
    pub(super) options: Options,
    pub(super) options_text: String,
    /// The device is to be a block device.
    pub(super) is_block: bool,
    pub(super) check: Check,
    /// Seconds for TERM and KILL together.
    pub(super) stop_s: u64,
    pub(super) kill_users: bool,
    pub(super) lazy_unmount: bool,
    pub(super) status_file: PathBuf,
    /// How long the device or the file system may take to answer a monitor.
    pub(super) answer_limit: Duration,
    /// How long one umount2(2) may take: it writes what is not on the disk yet.
    pub(super) unmount_limit: Duration,
}

/// When the file system is checked before it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Auto,
    Force,
    No,
}

impl Settings {
    /// Reads and checks the parameters; the error is told, and what the agent exits with.
    pub(super) fn from_context(context: &Context) -> Result<Self, ExitCode> {
        let refuse = |text: &str| {
            context.exit_reason(text);
            Err(ExitCode::NotConfigured)
        };
        let device_text = context.value("device").to_owned();
        if device_text.is_empty() {
            return refuse("Please set OCF_RESKEY_device to the device to be managed");
        }
        let Some(directory) = absolute(context.value("directory")) else {
            return refuse("Please specify the directory");
        };
        if directory == Path::new("/") {
            return refuse("The directory / cannot be managed");
        }
        if context.boolean("force_clones") || std::env::var_os("OCF_RESKEY_CRM_meta_clone").is_some() {
            return refuse("Clones are not supported");
        }
        let options_text = context.value("options").to_owned();
        let options = match Options::parse(&options_text) {
            Ok(options) => options,
            Err(text) => return refuse(&text),
        };
        let device = Device::parse(&device_text);
        let kind = match context.value("fstype") {
            "none" => String::new(),
            // As mount(8) reads these names.
            "" if device_text.starts_with("//") => "cifs".to_owned(),
            "" if names_an_export(&device_text) => "nfs".to_owned(),
            kind => kind.to_owned(),
        };
        if [&device_text, &kind].iter().any(|text| text.contains('\0')) {
            return refuse("A parameter contains a NUL byte");
        }
        let asked_none = context.value("fstype") == "none";
        let is_block = !asked_none && options.loop_device.is_none() && needs_block_device(&kind, &device);
        let given = std::env::var("OCF_RESKEY_CRM_meta_timeout").unwrap_or_default();
        let given_ms: Option<u64> = given.trim().parse().ok();
        let meta_timeout_ms = given_ms.unwrap_or(META_TIMEOUT_MS);
        // In time to say so before the cluster manager ends us.
        let part = |timeout_ms: u64| Duration::from_millis(timeout_ms.saturating_mul(3) / 4);
        let fast = context.boolean("fast_stop") && !kind.starts_with("gfs2");
        Ok(Self {
            stop_s: if fast { FAST_STOP_S } else { meta_timeout_ms / 1000 },
            kill_users: context.boolean("force_unmount") || context.value("force_unmount") == "safe",
            lazy_unmount: options.lazy_unmount || context.boolean("lazy_unmount"),
            check: check_mode(context),
            answer_limit: part(meta_timeout_ms),
            unmount_limit: given_ms.map_or(UNMOUNT_LIMIT, part),
            status_file: status_file(context, &directory),
            device_text,
            device,
            directory,
            kind,
            options,
            options_text,
            is_block,
        })
    }

    /// The mount point with links followed. A path that the table holds is not touched: what is mounted
    /// there may not answer.
    pub(super) fn point(&self, table: &MountTable) -> Result<PathBuf, Failure> {
        if table.at(&self.directory).is_some() {
            return Ok(self.directory.clone());
        }
        let path = self.directory.clone();
        let follow = move || {
            use std::os::unix::ffi::OsStringExt;
            Ok(std::fs::canonicalize(path)?.into_os_string().into_vec())
        };
        match bounded::within(PATH_LIMIT, follow) {
            Ok(bytes) => {
                use std::os::unix::ffi::OsStringExt;
                Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
            }
            Err(Failure::Failed(_)) => Ok(self.directory.clone()),
            Err(silence) => Err(silence),
        }
    }

    /// The device in the given words, for texts; a label or UUID alone, as the original shows it.
    pub(super) fn shown_device(&self) -> &str {
        match &self.device {
            Device::Label(text) | Device::Uuid(text) if self.device_text.starts_with('-') => text,
            _ => &self.device_text,
        }
    }
}

/// Without slashes at its end, but `/` itself; relative to the current directory. `None` for nothing.
fn absolute(text: &str) -> Option<PathBuf> {
    let path = std::path::absolute(text).ok()?;
    if text.contains('\0') {
        return None;
    }
    // Doubled slashes and single dots go, as in the kernel's table.
    Some(path.components().collect())
}

fn names_an_export(device: &str) -> bool {
    !device.starts_with('/') && !device.contains('=') && device.contains(":/")
}

/// Types that are mounted from something else (agents spec 2.6), and devices that are not named by path.
fn needs_block_device(kind: &str, device: &Device) -> bool {
    const WITHOUT: &[&str] = &[
        "nfs4",
        "nfs",
        "efs",
        "smbfs",
        "cifs",
        "none",
        "glusterfs",
        "ceph",
        "tmpfs",
        "overlay",
        "overlayfs",
        "rozofs",
        "zfs",
        "cvfs",
        "lustre",
    ];
    let Device::Name(name) = device else { return false };
    let of_fuse = kind.starts_with("fuse.") && !name.starts_with("/dev/");
    if WITHOUT.contains(&kind) || of_fuse {
        return false;
    }
    // What is below /dev answers at once; elsewhere only the name is looked at, and the file in time.
    let path = PathBuf::from(name);
    let is_directory = move || Ok(vec![u8::from(path.is_dir())]);
    !matches!(bounded::within(PATH_LIMIT, is_directory), Ok(answer) if answer == [1])
}

/// It is a block device, or the device that stands for none.
pub(super) fn is_there(device: &Path) -> bool {
    device == Path::new("/dev/null") || device::is_block(device)
}

fn check_mode(context: &Context) -> Check {
    match context.value("run_fsck") {
        "force" => Check::Force,
        "no" => Check::No,
        "auto" | "" => Check::Auto,
        other => {
            context.log.warn(&format!("Invalid parameter value for fsck: '{other}'; setting to 'auto'"));
            Check::Auto
        }
    }
}

fn status_file(context: &Context, directory: &Path) -> PathBuf {
    let node = nix::unistd::gethostname().unwrap_or_default();
    let name =
        format!("{}{}_{}", context.value("statusfile_prefix"), context.instance, node.to_string_lossy());
    // An instance that begins with a slash must not lead away.
    directory.join(name.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_to_four_words() {
        let call = from_arguments(&["/dev/sdb1", "/data", "", "ro"]).unwrap();
        assert_eq!(call.instance, "Filesystem_/dev/sdb1");
        assert_eq!(call.parameters.get("fstype"), None);
        assert_eq!(call.parameters.get("options"), Some("ro"));
        assert!(from_arguments(&["/dev/sdb1"]).is_err());
        assert!(from_arguments(&["a", "b", "c", "d", "e"]).is_err());
    }

    #[test]
    fn directories_are_as_the_table_has_them() {
        assert_eq!(absolute("/data//"), Some("/data".into()));
        assert_eq!(absolute("/data//x/./y/"), Some("/data/x/y".into()));
        assert_eq!(absolute("///"), Some("/".into()));
        assert_eq!((absolute(""), absolute("/a\0b")), (None, None));
        assert!(absolute("data").unwrap().is_absolute());
    }

    #[test]
    fn what_is_no_block_device() {
        let name = |text: &str| Device::Name(text.to_owned());
        assert!(needs_block_device("ext4", &name("/dev/no such device")));
        assert!(needs_block_device("", &name("/dev/null")));
        assert!(!needs_block_device("nfs", &name("host:/x")));
        assert!(!needs_block_device("fuse.sshfs", &name("host:x")));
        assert!(needs_block_device("fuse.ntfs", &name("/dev/no such device")));
        assert!(!needs_block_device("", &name("/dev")));
        assert!(!needs_block_device("ext4", &Device::Label("x".into())));
        assert!(names_an_export("host:/x") && !names_an_export("/dev/a:/b") && !names_an_export("UUID=:/"));
    }
}
