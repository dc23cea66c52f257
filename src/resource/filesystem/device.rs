//! What is to be mounted: from the word in haresources to a device.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::bounded::{self, Failure};

use super::superblock::{self, Identity};

/// How long one device may take to show its superblock.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Devices looked at.
const DEVICES_MAX: usize = 4096;

/// A device as it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// A path, or whatever the type of file system takes in its place.
    Name(String),
    /// The file system with that label.
    Label(String),
    /// The file system with that UUID, in lower case.
    Uuid(String),
    /// The partition with that label or UUID; the folder below /dev/disk comes first.
    Partition(&'static str, String),
}

/// Why there is no device of that name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoDevice {
    /// None has it.
    #[error("no device has {0}")]
    NotFound(String),
    /// Several have it, and nothing tells which is meant.
    #[error("{0} is on more than one device: {1}; name the device by its path")]
    Several(String, String),
}

impl Device {
    /// `-L label`, `-Llabel`, `--label=x`, `LABEL=x`, the same with U and UUID, `PARTLABEL=x`,
    /// `PARTUUID=x`; everything else is a name.
    pub fn parse(text: &str) -> Self {
        let after = |prefixes: &[&str]| {
            let rest = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix))?;
            Some(rest.trim_start().trim_matches('"').to_owned())
        };
        if let Some(value) = after(&["--label=", "--label ", "LABEL=", "-L"]) {
            Self::Label(value)
        } else if let Some(value) = after(&["--uuid=", "--uuid ", "UUID=", "-U"]) {
            Self::Uuid(value.to_ascii_lowercase())
        } else if let Some(value) = after(&["PARTLABEL="]) {
            Self::Partition("by-partlabel", value)
        } else if let Some(value) = after(&["PARTUUID="]) {
            Self::Partition("by-partuuid", value.to_ascii_lowercase())
        } else {
            Self::Name(text.to_owned())
        }
    }

    /// It is told by what is on it.
    pub fn is_tag(&self) -> bool {
        !matches!(self, Self::Name(_))
    }

    /// The path of the device.
    ///
    /// # Errors
    /// See [`NoDevice`].
    pub fn find(&self) -> Result<PathBuf, NoDevice> {
        let (folder, value) = match self {
            Self::Name(name) => return Ok(PathBuf::from(name)),
            Self::Label(label) => ("by-label", label),
            Self::Uuid(uuid) => ("by-uuid", uuid),
            Self::Partition(folder, value) => (*folder, value),
        };
        let link = Path::new("/dev/disk").join(folder).join(encode(value));
        if let Some(path) = fs::canonicalize(link).ok().filter(|path| is_block(path)) {
            return Ok(path);
        }
        let wanted = |identity: &Identity| match self {
            Self::Label(label) => identity.label == *label,
            Self::Uuid(uuid) => identity.uuid == *uuid,
            _ => false,
        };
        let partitions = fs::read_to_string("/proc/partitions").unwrap_or_default();
        let candidates = device_names(&partitions).into_iter().filter_map(|name| {
            let path = Path::new("/dev").join(name.replace('!', "/"));
            identify(&path).ok().flatten().filter(wanted).map(|_| (name, path))
        });
        choose(candidates.collect(), &format!("{} {value}", folder.trim_start_matches("by-")))
    }
}

/// It is a block device; what may hang is not asked.
pub fn is_block(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.file_type().is_block_device())
}

/// What is on a device; `None` for what is not known here.
///
/// # Errors
/// The device cannot be read, or does not answer.
pub fn identify(device: &Path) -> Result<Option<Identity>, Failure> {
    let device = device.to_owned();
    let start = bounded::within(READ_LIMIT, move || {
        let mut start = Vec::new();
        fs::File::open(device)?.take(superblock::LENGTH_BYTES as u64).read_to_end(&mut start)?;
        Ok(start)
    })?;
    Ok(superblock::identify(&start))
}

/// Names in /proc/partitions; drives whose medium may be missing and memory disks are left out.
fn device_names(partitions: &str) -> Vec<String> {
    let name = |line: &str| {
        let [_, _, blocks, name] = line.split_ascii_whitespace().collect::<Vec<_>>().try_into().ok()?;
        // An extended partition has one block or two and no file system.
        let big = blocks.parse::<u64>().is_ok_and(|blocks| blocks > 2);
        let skipped = ["fd", "sr", "scd", "ram", "zram"].iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        let safe = !name.starts_with('.') && !name.contains('/');
        (big && safe && !skipped).then(|| name.to_owned())
    };
    partitions.lines().filter_map(name).take(DEVICES_MAX).collect()
}

/// A mirror or a path to a disk shows the same superblock as what is built on it: the upper one counts.
fn choose(candidates: Vec<(String, PathBuf)>, what: &str) -> Result<PathBuf, NoDevice> {
    let level = |name: &str| match name {
        _ if name.starts_with("dm-") => 3,
        _ if name.starts_with("drbd") => 2,
        _ if name.starts_with("md") => 1,
        _ => 0,
    };
    let best = candidates.iter().map(|(name, _)| level(name)).max();
    let mut paths: Vec<PathBuf> =
        candidates.into_iter().filter(|(name, _)| Some(level(name)) == best).map(|(_, path)| path).collect();
    match paths.len() {
        0 => Err(NoDevice::NotFound(what.to_owned())),
        1 => Ok(paths.remove(0)),
        _ => {
            let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            Err(NoDevice::Several(what.to_owned(), all.join(", ")))
        }
    }
}

/// As udev writes a label into the name of a link.
fn encode(text: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() && c.is_ascii() || "#+-.:=@_".contains(c) || !c.is_ascii();
    let one = |c: char| if kept(c) { c.to_string() } else { format!("\\x{:02x}", c as u32) };
    let name: String = text.chars().map(one).collect();
    // A path must not come of it.
    if matches!(name.as_str(), "." | "..") {
        String::new()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_labels_and_uuids() {
        let label = |text: &str| Device::Label(text.to_owned());
        for text in ["-Ldata", "-L data", "--label=data", "--label data", "LABEL=data", "LABEL=\"data\""] {
            assert_eq!(Device::parse(text), label("data"), "{text}");
        }
        for text in ["-UAB-c", "-U ab-C", "--uuid=AB-C", "UUID=ab-c"] {
            assert_eq!(Device::parse(text), Device::Uuid("ab-c".into()), "{text}");
        }
        assert_eq!(Device::parse("PARTUUID=AA"), Device::Partition("by-partuuid", "aa".into()));
        for name in ["/dev/sda1", "host:/x", "//host/s", "label", ""] {
            assert_eq!(Device::parse(name), Device::Name(name.into()));
            assert!(!Device::parse(name).is_tag());
        }
    }

    #[test]
    fn names_of_links_are_no_paths() {
        assert_eq!(encode("a b/c\\d"), "a\\x20b\\x2fc\\x5cd");
        assert_eq!(encode("../x"), "..\\x2fx");
        assert_eq!((encode(".."), encode("ä-1")), (String::new(), "ä-1".to_owned()));
    }

    #[test]
    fn the_upper_of_two_devices_is_taken() {
        let pair = |name: &str| (name.to_owned(), Path::new("/dev").join(name));
        let chosen = |names: &[&str]| choose(names.iter().map(|name| pair(name)).collect(), "label x");
        assert_eq!(chosen(&["sda1", "sdb1", "md0"]), Ok("/dev/md0".into()));
        assert_eq!(chosen(&["sda1", "drbd0"]), Ok("/dev/drbd0".into()));
        assert_eq!(chosen(&["dm-3", "sda", "md1"]), Ok("/dev/dm-3".into()));
        assert_eq!(chosen(&[]).unwrap_err().to_string(), "no device has label x");
        let text = "label x is on more than one device: /dev/sda1, /dev/sdb1; name the device by its path";
        assert_eq!(chosen(&["sda1", "sdb1"]).unwrap_err().to_string(), text);
    }

    #[test]
    fn the_list_of_partitions() {
        let text = "major minor  #blocks  name\n\n   8  0  100 sda\n 8 1 1 sda1\n 2 0 4 fd0\n 11 0 9 sr0\n\
            104 1 99 cciss!c0d0p1\n 1 2 9 ../x\n 7 0 9 loop0\n 1 0 9 ram0 \nx\n 8 5 y z\n 9 0 77 rama\n";
        assert_eq!(device_names(text), ["sda", "cciss!c0d0p1", "loop0", "rama"]);
    }
}
