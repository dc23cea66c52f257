//! Block devices: emptying their buffers, reading past the cache, and files behind loop devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes read or written past the cache, and their alignment.
pub const DIRECT_BYTES: usize = 4096;

const BLKFLSBUF: libc::c_ulong = 0x1261;
const LOOP_SET_FD: libc::c_ulong = 0x4c00;
const LOOP_CLR_FD: libc::c_ulong = 0x4c01;
const LOOP_SET_STATUS64: libc::c_ulong = 0x4c04;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4c05;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
/// Loop devices looked at where the kernel cannot name a free one (before Linux 3.1), and when one
/// is looked for that is in use.
const LOOPS_MAX: u32 = 256;
/// Tries to get a free one, which others may take at the same time.
const TRIES: u32 = 64;

/// `struct loop_info64` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo {
    const EMPTY: Self = Self {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: 0,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
}

/// A file to be seen as a block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// The file.
    pub file: PathBuf,
    /// Its first byte that counts.
    pub offset: u64,
    /// Bytes that count; 0: all.
    pub size_limit: u64,
    /// Nothing is to be written to it.
    pub read_only: bool,
}

/// A loop device in use. The kernel takes it away after its last user, of whom this is one.
#[derive(Debug)]
pub struct LoopDevice {
    /// Its path.
    pub path: PathBuf,
    /// The file may not be written to.
    pub read_only: bool,
    _open: File,
}

/// Makes a loop device for a file, or finds the one that is there for the same bytes of it: two for one
/// file would not see each other's writes. It goes away with its last user (Linux 2.6.25).
///
/// # Errors
/// The kernel's; no loop device is left behind then.
pub fn attach(backing: &Backing, wanted: Option<&Path>) -> io::Result<LoopDevice> {
    let read_only = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES));
    let open = |write| OpenOptions::new().read(true).write(write).open(&backing.file);
    let (file, read_only) = match open(!backing.read_only) {
        Err(error) if !backing.read_only && read_only(&error) => (open(false)?, true),
        result => (result?, backing.read_only),
    };
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if let Some(found) = attached(about.dev(), about.ino(), backing) {
        return Ok(found);
    }
    for _ in 0..TRIES {
        let path = match wanted {
            Some(path) => path.to_owned(),
            None => free_loop()?,
        };
        let device = OpenOptions::new().read(true).write(!read_only).open(&path)?;
        match control(&device, LOOP_SET_FD, file.as_raw_fd() as libc::c_ulong) {
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && wanted.is_none() => continue,
            result => result?,
        };
        if let Err(error) = describe(&device, backing, read_only) {
            // Nobody uses it yet.
            let _ = control(&device, LOOP_CLR_FD, 0);
            return Err(error);
        }
        return Ok(LoopDevice { path, read_only, _open: device });
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

fn describe(device: &File, backing: &Backing, read_only: bool) -> io::Result<()> {
    let mut info = LoopInfo { offset: backing.offset, size_limit: backing.size_limit, ..LoopInfo::EMPTY };
    info.flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    let name = backing.file.as_os_str().as_bytes();
    // The last byte stays zero.
    let length = name.len().min(info.file_name.len() - 1);
    info.file_name[..length].copy_from_slice(&name[..length]);
    set_info(device, &info)
}

/// One that is there for the same bytes; what a killed process left is made to go away with its last
/// user too.
fn attached(device: u64, inode: u64, backing: &Backing) -> Option<LoopDevice> {
    loops().find_map(|(path, open)| {
        let mut info = info(&open).ok()?;
        let same = (info.inode, info.offset) == (inode, backing.offset)
            // The kernel gives its own form of the number, of which the minor part differs beyond 255.
            && info.device as u32 == new_encoding(device);
        if !same {
            return None;
        }
        let read_only = info.flags & LO_FLAGS_READ_ONLY != 0;
        if info.flags & LO_FLAGS_AUTOCLEAR == 0 {
            (info.size_limit, info.flags) = (backing.size_limit, info.flags | LO_FLAGS_AUTOCLEAR);
            set_info(&open, &info).ok()?;
        }
        Some(LoopDevice { path, read_only, _open: open })
    })
}

/// The kernel's `huge_encode_dev`.
fn new_encoding(device: u64) -> u32 {
    let (major, minor) = (libc::major(device), libc::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The loop devices that have a file, with the path of the file as the kernel cut it (63 bytes).
pub fn loop_files() -> Vec<(PathBuf, PathBuf)> {
    let name = |open: &File| {
        let info = info(open).ok()?;
        let end = info.file_name.iter().position(|byte| *byte == 0).unwrap_or(info.file_name.len());
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(&info.file_name[..end])))
    };
    loops().filter_map(|(path, open)| Some((path, name(&open)?))).collect()
}

fn loops() -> impl Iterator<Item = (PathBuf, File)> {
    (0..LOOPS_MAX).filter_map(|number| {
        let path = PathBuf::from(format!("/dev/loop{number}"));
        // A node that is no device must not be waited for.
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).ok()?;
        open.metadata().ok()?.file_type().is_block_device().then_some((path, open))
    })
}

fn free_loop() -> io::Result<PathBuf> {
    if let Ok(chooser) = File::open("/dev/loop-control") {
        let number = control(&chooser, LOOP_CTL_GET_FREE, 0)?;
        return Ok(PathBuf::from(format!("/dev/loop{number}")));
    }
    let free = |open: &File| info(open).is_err_and(|error| error.raw_os_error() == Some(libc::ENXIO));
    loops()
        .find(|(_, open)| free(open))
        .map(|(path, _)| path)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no free loop device"))
}

fn info(device: &File) -> io::Result<LoopInfo> {
    let mut info = LoopInfo::EMPTY;
    // SAFETY: the kernel writes one loop_info64, whose form `info` has, while `info` lives.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64 as _, &raw mut info) } {
        0 => Ok(info),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_info(device: &File, info: &LoopInfo) -> io::Result<()> {
    let info: *const LoopInfo = info;
    // SAFETY: the kernel reads one loop_info64, whose form `info` has, while `info` lives.
    match unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_STATUS64 as _, info) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A control call that takes a number; the value is its answer.
fn control(device: &File, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: these requests take a number or nothing, no memory.
    match unsafe { libc::ioctl(device.as_raw_fd(), request as _, argument) } {
        answer if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Writes what is in the buffers of a block device, and empties them.
///
/// # Errors
/// The kernel's.
pub fn flush_buffers(device: &Path) -> io::Result<()> {
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(device)?;
    if !open.metadata()?.file_type().is_block_device() {
        return Err(io::Error::from_raw_os_error(libc::ENOTBLK));
    }
    control(&open, BLKFLSBUF, 0).map(drop)
}

/// Reads the first 4096 bytes of a device, past the cache.
///
/// # Errors
/// The kernel's; `UnexpectedEof` when there are fewer.
pub fn read_direct(device: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(device)?;
    let mut place = [0; 2 * DIRECT_BYTES];
    file.read_exact(aligned(&mut place))
}

/// Writes a file with this text and zeroes behind it, 4096 bytes together, through to the disk; past the
/// cache when `direct`.
///
/// # Errors
/// The kernel's; `InvalidInput` when the text is longer.
pub fn write_through(path: &Path, text: &[u8], direct: bool) -> io::Result<()> {
    let flags = libc::O_SYNC | if direct { libc::O_DIRECT } else { 0 };
    let mut place = [0; 2 * DIRECT_BYTES];
    let block = aligned(&mut place);
    let start = block.get_mut(..text.len()).ok_or(io::ErrorKind::InvalidInput)?;
    start.copy_from_slice(text);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)?;
    file.write_all(block)?;
    file.sync_all()
}

/// 4096 bytes of it that begin at a multiple of 4096.
fn aligned(place: &mut [u8; 2 * DIRECT_BYTES]) -> &mut [u8] {
    let start = (DIRECT_BYTES - place.as_ptr() as usize % DIRECT_BYTES) % DIRECT_BYTES;
    &mut place[start..start + DIRECT_BYTES]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(new_encoding(libc::makedev(8, 1)), 0x801);
        assert_eq!(new_encoding(libc::makedev(259, 0x123)), 0x0010_0000 | (259 << 8) | 0x23);
        let mut place = [0; 2 * DIRECT_BYTES];
        let block = aligned(&mut place);
        assert_eq!((block.len(), block.as_ptr() as usize % DIRECT_BYTES), (DIRECT_BYTES, 0));
    }

    #[test]
    fn what_is_no_device_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(flush_buffers(&path).unwrap_err().raw_os_error(), Some(libc::ENOTBLK));
        assert!(read_direct(&path).is_err());
        let backing = |file: &Path| Backing { file: file.into(), offset: 0, size_limit: 0, read_only: true };
        assert!(attach(&backing(directory.path()), None).is_err());
        assert!(attach(&backing(Path::new("/no such file")), None).is_err());
    }

    #[test]
    fn a_text_is_written_with_zeroes_behind_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_through(&path, b"text\n", false).unwrap();
        let written = std::fs::read(&path).unwrap();
        assert_eq!((written.len(), &written[..6]), (DIRECT_BYTES, &b"text\n\0"[..]));
        assert!(write_through(&path, &[0; DIRECT_BYTES + 1], false).is_err());
    }
}
