//! The kernel's mount table: /proc/self/mountinfo (Linux 2.6.26), /proc/self/mounts before it.
//!
//! proc(5) has both forms. Paths are bytes; white space and the backslash in them are written in octal.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Mounts read; what comes behind them is not looked at.
const MOUNTS_MAX: usize = 100_000;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number, as /proc/PID/fdinfo shows it; `None` with the old form.
    pub id: Option<u64>,
    /// Major and minor number of the file system; `None` with the old form.
    pub device: Option<(u32, u32)>,
    /// The directory of the file system that is seen; `/` with the old form.
    pub root: PathBuf,
    /// Where it is mounted.
    pub point: PathBuf,
    /// Options of this mount, and of the file system in the old form.
    pub options: String,
    /// Type of the file system, with a subtype behind a dot.
    pub kind: String,
    /// What is mounted: a device, or what the type takes in its place.
    pub source: PathBuf,
}

impl Mount {
    /// It was mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }
}

/// All mounts that this process sees, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountTable {
    mounts: Vec<Mount>,
}

impl MountTable {
    /// Reads the table. It is read twice, until both agree, so that a change meanwhile leaves none out.
    ///
    /// # Errors
    /// Those of reading /proc.
    pub fn read() -> io::Result<Self> {
        let mut before = Vec::new();
        for _ in 0..16 {
            let (text, new_form) = match fs::read("/proc/self/mountinfo") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    (fs::read("/proc/self/mounts")?, false)
                }
                text => (text?, true),
            };
            if text == before {
                return Ok(if new_form { Self::from_mountinfo(&text) } else { Self::from_mounts(&text) });
            }
            before = text;
        }
        Err(io::Error::other("the mount table changes all the time"))
    }

    /// Takes lines of /proc/PID/mountinfo; those that have another form are left out.
    pub fn from_mountinfo(text: &[u8]) -> Self {
        let line = |line: &[u8]| {
            let mut fields = line.split(|byte| *byte == b' ');
            let id = number(fields.next()?)?;
            let _parent = fields.next()?;
            let (major, minor) = std::str::from_utf8(fields.next()?).ok()?.split_once(':')?;
            let device = Some((major.parse().ok()?, minor.parse().ok()?));
            let root = path(fields.next()?);
            let point = path(fields.next()?);
            let options = text_of(fields.next()?);
            // Optional fields, as many as there are.
            fields.by_ref().find(|field| *field == b"-")?;
            let kind = text_of(fields.next()?);
            let source = path(fields.next()?);
            Some(Mount { id: Some(id), device, root, point, options, kind, source })
        };
        Self::from_lines(text, line)
    }

    /// Takes lines of /proc/mounts or /etc/mtab; those that have another form are left out.
    pub fn from_mounts(text: &[u8]) -> Self {
        let line = |line: &[u8]| {
            let mut fields =
                line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty());
            let source = fields.next().filter(|field| !field.starts_with(b"#"))?;
            let point = path(fields.next()?);
            let kind = text_of(fields.next()?);
            let options = text_of(fields.next()?);
            Some(Mount {
                id: None,
                device: None,
                root: "/".into(),
                point,
                options,
                kind,
                source: path(source),
            })
        };
        Self::from_lines(text, line)
    }

    fn from_lines(text: &[u8], line: impl Fn(&[u8]) -> Option<Mount>) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        Self { mounts: lines.filter_map(line).take(MOUNTS_MAX).collect() }
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Mount> {
        self.mounts.iter()
    }

    /// What is seen at that path: the last that was mounted there.
    pub fn at(&self, point: &Path) -> Option<&Mount> {
        self.mounts.iter().rev().find(|mount| mount.point == point)
    }

    /// Mount points below a directory, deeper ones first, each once for each time it was mounted on.
    pub fn below(&self, directory: &Path) -> Vec<PathBuf> {
        let below = |mount: &&Mount| mount.point.starts_with(directory) && mount.point != directory;
        let mut points: Vec<PathBuf> =
            self.mounts.iter().filter(below).map(|mount| mount.point.clone()).collect();
        points.sort_by(|a, b| b.cmp(a));
        points
    }

    /// Other places where the file system of `mount` is seen, not below it, deeper ones first.
    pub fn elsewhere(&self, mount: &Mount) -> Vec<PathBuf> {
        let same = |other: &&Mount| match (mount.device, other.device) {
            (Some(one), Some(two)) => one == two,
            _ => mount.source == other.source,
        };
        let apart = |other: &&Mount| !other.point.starts_with(&mount.point);
        let mut points: Vec<PathBuf> =
            self.mounts.iter().filter(same).filter(apart).map(|mount| mount.point.clone()).collect();
        points.sort_by(|a, b| b.cmp(a));
        points
    }
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn text_of(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

pub(super) fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

/// `\040` and the like to the byte that they stand for; what is no such escape stays.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        match (byte, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    bytes
}

/// A field of /etc/mtab: white space and the backslash in octal.
pub fn escape(text: &Path) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in text.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => escaped.push(*byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &[u8] = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n\
        98 22 7:0 / /data rw,nosuid - ext4 /dev/loop0 rw\n\
        99 98 7:1 /sub /data/a\\040b ro,relatime master:1 propagate_from:2 - xfs /dev/loop1 rw\n\
        100 98 7:1 /sub /data/a\\040b/deeper rw - xfs /dev/loop1 rw\n\
        101 22 7:0 /x /mnt rw - ext4 /dev/loop0 rw\n\
        102 22 0:40 / /fuse rw - fuse.sshfs h:/ rw\n";

    fn points(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn lines_of_new_kernels() {
        let table = MountTable::from_mountinfo(INFO);
        assert_eq!(table.iter().count(), 6);
        let mount = table.at(Path::new("/data/a b")).unwrap();
        assert_eq!((mount.id, mount.device, mount.kind.as_str()), (Some(99), Some((7, 1)), "xfs"));
        assert_eq!((mount.root.to_str(), mount.source.to_str()), (Some("/sub"), Some("/dev/loop1")));
        assert!(mount.is_read_only() && !table.at(Path::new("/data")).unwrap().is_read_only());
        assert_eq!(table.below(Path::new("/data")), points(&["/data/a b/deeper", "/data/a b"]));
        assert_eq!(table.elsewhere(table.at(Path::new("/data")).unwrap()), points(&["/mnt"]));
        assert_eq!(table.at(Path::new("/fuse")).unwrap().kind, "fuse.sshfs");
    }

    #[test]
    fn lines_of_old_kernels_and_of_mtab() {
        let text = b"# comment\nrootfs / rootfs rw 0 0\n/dev/sda1 / ext3 rw,noatime 0 0\n\
            //host/share\\040x /m\\134n cifs ro 0 0\n\n";
        let table = MountTable::from_mounts(text);
        assert_eq!(table.iter().count(), 3);
        assert_eq!(table.at(Path::new("/")).unwrap().kind, "ext3");
        let share = table.at(Path::new("/m\\n")).unwrap();
        assert_eq!(share.source.to_str(), Some("//host/share x"));
        assert!(share.is_read_only());
        assert_eq!((share.id, share.device), (None, None));
    }

    #[test]
    fn what_a_kernel_would_not_write_does_no_harm() {
        for text in [
            &b"1 2 3"[..],
            b"1 2 x:y / / rw - ext4 a b",
            b"1 2 3:4 / / rw no end",
            b"99999999999999999999 1 8:1 / / rw - a b c",
            b"\xff\xfe \\9 \\04 \\777 \\",
            b"1 2 3:4 \\ \\0 rw -",
        ] {
            assert_eq!(MountTable::from_mountinfo(text).iter().count(), 0, "{text:?}");
        }
        assert_eq!(unescape(b"\\040\\777\\04\\"), b" \\777\\04\\");
        let odd = PathBuf::from("a b\t\\c\nd");
        assert_eq!(path(&escape(&odd)), odd);
    }

    #[test]
    fn this_machine_has_a_root() {
        let table = MountTable::read().unwrap();
        assert!(table.at(Path::new("/")).is_some());
        let old = MountTable::from_mounts(&fs::read("/proc/self/mounts").unwrap());
        assert_eq!(old.at(Path::new("/")).unwrap().kind, table.at(Path::new("/")).unwrap().kind);
    }
}
