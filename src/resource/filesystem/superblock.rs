//! Reads the identity of ext2, ext3, ext4, xfs and btrfs from their superblocks: type, label, UUID.
//! A file system that is none of them is not identified.
//!
//! Forms: Documentation/filesystems/ext4 of the kernel (superblock at 1024), XFS on-disk structure
//! (superblock at 0, big endian), btrfs on-disk format (superblock at 64 KiB).

use std::fmt::Write;

/// As much of the start of a device as is looked at.
pub const LENGTH_BYTES: usize = BTRFS_AT + 4096;

const EXT_AT: usize = 1024;
const EXT_MAGIC: u16 = 0xef53;
/// Features of ext3 and ext4 that tell them from their forerunners.
const EXT_HAS_JOURNAL: u32 = 0x4;
const EXT_JOURNAL_DEVICE: u32 = 0x8;
/// extents, 64bit, flex_bg, mmp, and the later ones.
const EXT4_INCOMPAT: u32 = !(0x1 | 0x2 | 0x4 | 0x8 | 0x10);
/// huge_file, gdt_csum, dir_nlink, extra_isize, and the later ones.
const EXT4_RO_COMPAT: u32 = !(0x1 | 0x2 | 0x4);
const XFS_MAGIC: &[u8] = b"XFSB";
const BTRFS_AT: usize = 64 * 1024;
const BTRFS_MAGIC: &[u8] = b"_BHRfS_M";

/// What a superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Type, as mount(8) names it.
    pub kind: &'static str,
    /// Its label; empty when it has none.
    pub label: String,
    /// Its UUID in lower case with hyphens.
    pub uuid: String,
}

/// Identifies the file system on a device by its first [`LENGTH_BYTES`] bytes; fewer will do where its
/// superblock is in them.
pub fn identify(start: &[u8]) -> Option<Identity> {
    ext(start).or_else(|| xfs(start)).or_else(|| btrfs(start))
}

fn ext(start: &[u8]) -> Option<Identity> {
    let block = start.get(EXT_AT..EXT_AT + 1024)?;
    if u16::from_le_bytes(field(block, 0x38)?) != EXT_MAGIC {
        return None;
    }
    let word = |at| field(block, at).map(u32::from_le_bytes);
    let (compat, incompat, ro_compat) = (word(0x5c)?, word(0x60)?, word(0x64)?);
    if incompat & EXT_JOURNAL_DEVICE != 0 {
        // The journal of another file system, which cannot be mounted.
        return None;
    }
    let kind = if incompat & EXT4_INCOMPAT != 0 || ro_compat & EXT4_RO_COMPAT != 0 {
        "ext4"
    } else if compat & EXT_HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    Some(Identity { kind, label: label(block.get(0x78..0x88)?), uuid: uuid(field(block, 0x68)?) })
}

fn xfs(start: &[u8]) -> Option<Identity> {
    let found = start.get(..4)? == XFS_MAGIC;
    let identity =
        || Some(Identity { kind: "xfs", label: label(start.get(108..120)?), uuid: uuid(field(start, 32)?) });
    found.then(identity)?
}

fn btrfs(start: &[u8]) -> Option<Identity> {
    let block = start.get(BTRFS_AT..)?;
    let found = block.get(0x40..0x48)? == BTRFS_MAGIC;
    let identity = || {
        Some(Identity {
            kind: "btrfs",
            label: label(block.get(0x12b..0x12b + 256)?),
            uuid: uuid(field(block, 0x20)?),
        })
    };
    found.then(identity)?
}

fn field<const N: usize>(block: &[u8], at: usize) -> Option<[u8; N]> {
    block.get(at..at + N)?.try_into().ok()
}

fn label(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; LENGTH_BYTES];
        for (at, bytes) in parts {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    const UUID: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff];
    const UUID_TEXT: &str = "01020304-0506-0708-090a-0b0c0d0e0fff";

    #[test]
    fn the_three_families() {
        let ext = |compat: u32, incompat: u32, ro_compat: u32| {
            identify(&image(&[
                (EXT_AT + 0x38, &EXT_MAGIC.to_le_bytes()),
                (EXT_AT + 0x5c, &compat.to_le_bytes()),
                (EXT_AT + 0x60, &incompat.to_le_bytes()),
                (EXT_AT + 0x64, &ro_compat.to_le_bytes()),
                (EXT_AT + 0x68, UUID),
                (EXT_AT + 0x78, b"data"),
            ]))
        };
        let ext2 = Identity { kind: "ext2", label: "data".into(), uuid: UUID_TEXT.into() };
        assert_eq!(ext(0x38, 0x2, 0x3), Some(ext2.clone()));
        assert_eq!(ext(0x3c, 0x2, 0x3), Some(Identity { kind: "ext3", ..ext2.clone() }));
        assert_eq!(ext(0x3c, 0x42, 0x3), Some(Identity { kind: "ext4", ..ext2.clone() }));
        assert_eq!(ext(0x3c, 0x2, 0x7b), Some(Identity { kind: "ext4", ..ext2 }));
        assert_eq!(ext(0, 0x8, 0), None);
        let xfs = identify(&image(&[(0, XFS_MAGIC), (32, UUID), (108, b"twelve chars")])).unwrap();
        assert_eq!((xfs.kind, xfs.label.as_str(), xfs.uuid.as_str()), ("xfs", "twelve chars", UUID_TEXT));
        let at = BTRFS_AT;
        let btrfs =
            identify(&image(&[(at + 0x40, BTRFS_MAGIC), (at + 0x20, UUID), (at + 0x12b, b"b\xc3\xa4")]));
        assert_eq!(btrfs, Some(Identity { kind: "btrfs", label: "bä".into(), uuid: UUID_TEXT.into() }));
    }

    #[test]
    fn short_and_foreign_starts_are_nothing() {
        let full = image(&[(0, XFS_MAGIC), (EXT_AT + 0x38, &EXT_MAGIC.to_le_bytes())]);
        for length in 0..full.len() {
            // No length may do harm; nothing is claimed before the whole superblock is there.
            let found = identify(&full[..length]);
            assert!(length >= 120 || found.is_none(), "{length}");
        }
        assert_eq!(identify(&[0xff; LENGTH_BYTES]), None);
        assert_eq!(identify(&[]), None);
    }
}
