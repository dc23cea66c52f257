//! The disk of the lease: a file or block device that both nodes can write.
//!
//! ```text
//! block 0   HALEASEHEAD1 NODE NODE CRC                      written once, by `ha guard lease-init`
//! block 1,2 HALEASE1 NODE RECORD BOOT MONOTONIC-MS CRC      the node whose name comes first
//! block 3,4 the same                                        the other
//! ```
//!
//! A block has 4096 bytes, of which the first 512 say everything: no sector of any disk is ever
//! shared by two of them, and a word fits the smallest sector. Each text ends with the CRC-32 of what
//! stands before it and a line end; the rest is zero. A node writes only its own two blocks, always
//! over the older or invalid one, so that a write torn by a power cut leaves the word before it. What
//! has no valid head is never written to: it may be somebody's data.
//!
//! Reading and writing go past the page cache (`O_DIRECT`, `O_SYNC`): what a cache of this node
//! remembers of the other node's block is worth nothing. A file whose file system cannot do that is
//! read and written through the cache, which is right where both nodes share one kernel's cache or
//! one that is coherent; a block device that cannot is refused.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crc::{Crc, CRC_32_ISO_HDLC};
use nix::libc;

use crate::sys::block::DIRECT_BYTES;
use crate::sys::time::monotonic_ms;
use crate::types::lease::LeaseRecord;

const HEAD_MAGIC: &str = "HALEASEHEAD1";
const RECORD_MAGIC: &str = "HALEASE1";
/// What a text may fill of its block: the smallest sector.
const TEXT_BYTES: usize = 512;
/// Blocks of the whole.
const BLOCKS: usize = 5;
const CHECKSUM: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Why something was not done. Nothing was written unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The file or device.
    #[error("{path}: {error}")]
    Disk {
        /// Which.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// It is not a lease's disk.
    #[error("{0}: there is no lease here; if nothing else needs what is on it: ha guard lease-init")]
    NoHead(String),
    /// It belongs to another pair.
    #[error("{path}: this lease belongs to the nodes {first} and {second}")]
    OtherNodes {
        /// Which.
        path: String,
        /// As its head says.
        first: String,
        /// As its head says.
        second: String,
    },
    /// `lease-init` on something that is not empty.
    #[error("{0}: it is not empty, and may hold somebody's data; --force writes over it")]
    NotEmpty(String),
    /// A block is neither empty nor a word, twice.
    #[error("{path}: neither of the two words of node {node} can be read, and they are not empty")]
    Damaged {
        /// Which.
        path: String,
        /// Whose.
        node: String,
    },
    /// Two names are needed, and they must differ.
    #[error("a lease is for two nodes with different names, of at most 99 bytes each")]
    Names,
}

/// One word as it stands on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What the node said.
    pub record: LeaseRecord,
    /// The boot of the machine that wrote it.
    pub boot: String,
    /// Its monotonic clock when the write began, milliseconds.
    pub began_ms: u64,
}

/// An open lease of two nodes.
#[derive(Debug)]
pub struct LeaseDisk {
    file: File,
    path: String,
    /// The names in the order of their blocks.
    nodes: [String; 2],
}

impl LeaseDisk {
    /// Opens what `lease-init` made for these two nodes, in any order.
    ///
    /// # Errors
    /// It cannot be opened or read, has no valid head, or belongs to others.
    pub fn open(path: &Path, node: &str, other: &str) -> Result<Self, LeaseError> {
        let disk = Self { file: open(path)?, path: path.display().to_string(), nodes: ordered(node, other)? };
        match disk.head()? {
            Some(nodes) if nodes == disk.nodes => Ok(disk),
            Some([first, second]) => Err(LeaseError::OtherNodes { path: disk.path, first, second }),
            None => Err(LeaseError::NoHead(disk.path)),
        }
    }

    /// Opens what `lease-init` made, whoever its nodes are.
    ///
    /// # Errors
    /// As [`LeaseDisk::open`].
    pub fn open_any(path: &Path) -> Result<Self, LeaseError> {
        let mut disk =
            Self { file: open(path)?, path: path.display().to_string(), nodes: Default::default() };
        disk.nodes = disk.head()?.ok_or_else(|| LeaseError::NoHead(disk.path.clone()))?;
        Ok(disk)
    }

    /// Makes a lease of a file, which is created, or of a block device. With `force` whatever is there.
    ///
    /// # Errors
    /// It is not empty, or cannot be written.
    pub fn init(path: &Path, node: &str, other: &str, force: bool) -> Result<Self, LeaseError> {
        let nodes = ordered(node, other)?;
        let shown = path.display().to_string();
        let failed = |error| LeaseError::Disk { path: shown.clone(), error };
        if !path.exists() {
            let mut options = OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
            made.set_len((BLOCKS * DIRECT_BYTES) as u64).map_err(failed)?;
        }
        let disk = Self { file: open(path)?, path: shown.clone(), nodes };
        let empty = (0..BLOCKS)
            .all(|block| matches!(disk.read(block), Ok(text) if text.iter().all(|byte| *byte == 0)));
        if !empty && !force {
            return Err(LeaseError::NotEmpty(shown));
        }
        for block in 1..BLOCKS {
            disk.write(block, "")?;
        }
        disk.write(0, &sealed(&format!("{HEAD_MAGIC} {} {}", disk.nodes[0], disk.nodes[1])))?;
        Ok(disk)
    }

    /// The names, in the order of their blocks.
    pub fn nodes(&self) -> &[String; 2] {
        &self.nodes
    }

    /// The newest valid word of a node; `None` when it never wrote one.
    ///
    /// # Errors
    /// The disk's, and [`LeaseError::Damaged`].
    pub fn word_of(&self, node: &str) -> Result<Option<Written>, LeaseError> {
        Ok(self.words_of(node)?.0)
    }

    /// Writes this node's word, and returns when it is on the disk.
    ///
    /// # Errors
    /// The disk's: the word may or may not be there.
    pub fn write_word(&self, node: &str, record: LeaseRecord) -> Result<(), LeaseError> {
        // A word that cannot be read is no reason not to write a good one.
        let block = match self.words_of(node) {
            Ok((_, older)) => older,
            Err(LeaseError::Damaged { .. }) => self.first_block(node)?,
            Err(error) => return Err(error),
        };
        let text = format!("{RECORD_MAGIC} {node} {record} {} {}", boot_id(), monotonic_ms());
        self.write(block, &sealed(&text))
    }

    /// The newest word, and the block that the next is to be written to.
    fn words_of(&self, node: &str) -> Result<(Option<Written>, usize), LeaseError> {
        let first = self.first_block(node)?;
        let mut found: Vec<(usize, Written)> = Vec::new();
        let mut damaged = 0;
        for block in [first, first + 1] {
            let text = self.read(block)?;
            match parse_word(&text, node) {
                Some(written) => found.push((block, written)),
                None => damaged += usize::from(text.iter().any(|byte| *byte != 0)),
            }
        }
        found.sort_by_key(|(_, written)| (written.record.generation, written.record.counter));
        match found.pop() {
            Some((block, newest)) => Ok((Some(newest), 2 * first + 1 - block)),
            None if damaged == 2 => {
                Err(LeaseError::Damaged { path: self.path.clone(), node: node.to_owned() })
            }
            None => Ok((None, first)),
        }
    }

    fn first_block(&self, node: &str) -> Result<usize, LeaseError> {
        self.nodes.iter().position(|name| name == node).map(|at| 1 + 2 * at).ok_or(LeaseError::Names)
    }

    fn head(&self) -> Result<Option<[String; 2]>, LeaseError> {
        let text = self.read(0)?;
        Ok(unsealed(&text).and_then(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [HEAD_MAGIC, first, second] => Some([first.to_owned(), second.to_owned()]),
            _ => None,
        }))
    }

    /// The first [`TEXT_BYTES`] of a block. A file that ends before it is an error.
    fn read(&self, block: usize) -> Result<Vec<u8>, LeaseError> {
        let mut room = vec![0_u8; 2 * DIRECT_BYTES];
        let at = room.as_ptr().align_offset(DIRECT_BYTES).min(DIRECT_BYTES);
        let place = (block * DIRECT_BYTES) as u64;
        self.file
            .read_exact_at(&mut room[at..at + DIRECT_BYTES], place)
            .map_err(|error| LeaseError::Disk { path: self.path.clone(), error })?;
        Ok(room[at..at + TEXT_BYTES].to_vec())
    }

    fn write(&self, block: usize, text: &str) -> Result<(), LeaseError> {
        let failed = |error| LeaseError::Disk { path: self.path.clone(), error };
        if text.len() > TEXT_BYTES {
            return Err(LeaseError::Names);
        }
        let mut room = vec![0_u8; 2 * DIRECT_BYTES];
        let at = room.as_ptr().align_offset(DIRECT_BYTES).min(DIRECT_BYTES);
        room[at..at + text.len()].copy_from_slice(text.as_bytes());
        let place = (block * DIRECT_BYTES) as u64;
        self.file.write_all_at(&room[at..at + DIRECT_BYTES], place).map_err(failed)?;
        // Kernels before 2.6.33 take O_SYNC for O_DSYNC, which is all that is needed; a file system
        // without either is told once more.
        self.file.sync_data().map_err(failed)
    }
}

/// The machine's boot: a word of an earlier one says nothing of what is active now.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = text.trim();
    if id.is_empty() || id.contains(' ') {
        "-".to_owned()
    } else {
        id.to_owned()
    }
}

/// Past the cache where that can be done.
fn open(path: &Path) -> Result<File, LeaseError> {
    let failed = |error| LeaseError::Disk { path: path.display().to_string(), error };
    // Some devices do things when they are opened, and others wait.
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !(kind.is_file() || kind.is_block_device()) {
        let text = "neither a file nor a block device";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let direct = options.custom_flags(libc::O_DIRECT | libc::O_SYNC | libc::O_CLOEXEC).open(path);
    match direct {
        Ok(file) => {
            let kind = file.metadata().map_err(failed)?.file_type();
            if kind.is_file() || kind.is_block_device() {
                return Ok(file);
            }
            let text = "neither a file nor a block device";
            Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)))
        }
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            let file = options.custom_flags(libc::O_SYNC | libc::O_CLOEXEC).open(path).map_err(failed)?;
            match file.metadata().map_err(failed)?.is_file() {
                true => Ok(file),
                false => Err(failed(error)),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

fn ordered(node: &str, other: &str) -> Result<[String; 2], LeaseError> {
    let fits = |name: &str| {
        !name.is_empty()
            && name.len() <= crate::types::NODE_NAME_MAX_BYTES
            && !name.contains([' ', '\n', '\0'])
    };
    if node == other || !fits(node) || !fits(other) {
        return Err(LeaseError::Names);
    }
    let mut nodes = [node.to_owned(), other.to_owned()];
    nodes.sort();
    Ok(nodes)
}

fn sealed(text: &str) -> String {
    format!("{text} {:08x}\n", CHECKSUM.checksum(text.as_bytes()))
}

/// The text of a block, when its checksum is right and nothing follows it.
fn unsealed(block: &[u8]) -> Option<&str> {
    let end = block.iter().position(|byte| *byte == b'\n')?;
    if block[end + 1..].iter().any(|byte| *byte != 0) {
        return None;
    }
    let (text, checksum) = std::str::from_utf8(&block[..end]).ok()?.rsplit_once(' ')?;
    (checksum == format!("{:08x}", CHECKSUM.checksum(text.as_bytes()))).then_some(text)
}

fn parse_word(block: &[u8], node: &str) -> Option<Written> {
    let text = unsealed(block)?.strip_prefix(RECORD_MAGIC)?.strip_prefix(' ')?;
    let text = text.strip_prefix(node)?.strip_prefix(' ')?;
    let (text, began_ms) = text.rsplit_once(' ')?;
    let (record, boot) = text.rsplit_once(' ')?;
    Some(Written { record: record.parse().ok()?, boot: boot.to_owned(), began_ms: began_ms.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(generation: u64, counter: u64) -> LeaseRecord {
        LeaseRecord { generation, counter, holds: true, ..LeaseRecord::default() }
    }

    fn fresh() -> (tempfile::TempDir, LeaseDisk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = LeaseDisk::init(&folder.path().join("lease"), "node2", "node1", false).unwrap();
        (folder, disk)
    }

    #[test]
    fn words_of_both_nodes_stand_side_by_side() {
        let (folder, disk) = fresh();
        assert_eq!(disk.nodes(), &["node1".to_owned(), "node2".to_owned()]);
        assert_eq!(disk.word_of("node1").unwrap(), None);
        for counter in 1..=5 {
            disk.write_word("node1", word(3, counter)).unwrap();
            disk.write_word("node2", word(9, counter * 2)).unwrap();
            let again = LeaseDisk::open(&folder.path().join("lease"), "node1", "node2").unwrap();
            assert_eq!(again.word_of("node1").unwrap().unwrap().record, word(3, counter));
            assert_eq!(again.word_of("node2").unwrap().unwrap().record, word(9, counter * 2));
        }
        let written = disk.word_of("node1").unwrap().unwrap();
        assert_eq!(written.boot, boot_id());
        assert!(written.began_ms <= monotonic_ms());
    }

    #[test]
    fn a_torn_write_leaves_the_word_before_it() {
        let (folder, disk) = fresh();
        for counter in 1..=4 {
            disk.write_word("node1", word(3, counter)).unwrap();
        }
        let path = folder.path().join("lease");
        let whole = std::fs::read(&path).unwrap();
        let newest = (1..3)
            .find(|block| String::from_utf8_lossy(&whole[block * 4096..block * 4096 + 40]).contains(" 3 4 "));
        let start = newest.unwrap() * 4096;
        for cut in 0..60 {
            let mut torn = whole.clone();
            torn[start + cut..start + 512].fill(0);
            std::fs::write(&path, torn).unwrap();
            let found = disk.word_of("node1").unwrap().unwrap().record;
            assert_eq!(found, word(3, 3), "cut after {cut} bytes");
        }
        disk.write_word("node1", word(3, 5)).unwrap();
        assert_eq!(disk.word_of("node1").unwrap().unwrap().record, word(3, 5), "over the torn one");
    }

    #[test]
    fn what_is_no_lease_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let data = vec![b'x'; 40_000];
        std::fs::write(&path, &data).unwrap();
        assert!(matches!(LeaseDisk::open(&path, "a", "b"), Err(LeaseError::NoHead(_))));
        assert!(matches!(LeaseDisk::init(&path, "a", "b", false), Err(LeaseError::NotEmpty(_))));
        assert_eq!(std::fs::read(&path).unwrap(), data);
        LeaseDisk::init(&path, "a", "b", true).unwrap();
        assert!(LeaseDisk::open(&path, "b", "a").is_ok());
        assert!(matches!(LeaseDisk::open(&path, "a", "c"), Err(LeaseError::OtherNodes { .. })));
        assert!(matches!(LeaseDisk::init(&path, "a", "a", true), Err(LeaseError::Names)));
    }

    /// Nor opened: a pipe would wait, a watchdog would be armed.
    #[test]
    fn what_is_neither_a_file_nor_a_disk_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [&pipe, &link, folder.path(), Path::new("/dev/null"), Path::new("/dev/tty")] {
            let error = LeaseDisk::open(path, "a", "b").unwrap_err().to_string();
            assert!(error.contains("neither a file nor a block device"), "{error}");
            let error = LeaseDisk::init(path, "a", "b", true).unwrap_err().to_string();
            assert!(error.contains("neither a file nor a block device"), "{error}");
        }
    }

    #[test]
    fn garbage_in_both_places_is_no_word_and_no_silence() {
        let (folder, disk) = fresh();
        let path = folder.path().join("lease");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[4096..3 * 4096].fill(0xa5);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(disk.word_of("node1"), Err(LeaseError::Damaged { .. })));
        disk.write_word("node1", word(4, 1)).unwrap();
        assert_eq!(disk.word_of("node1").unwrap().unwrap().record, word(4, 1));
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(disk.word_of("node1"), Err(LeaseError::Disk { .. })));
    }

    proptest! {
        #[test]
        fn random_blocks_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 512)) {
            prop_assert_eq!(parse_word(&bytes, "node1"), None);
        }

        /// One changed byte is noticed, wherever it is.
        #[test]
        fn a_changed_byte_is_noticed(at in 0..512_usize, change in 1..=255_u8) {
            let text = format!("{RECORD_MAGIC} node1 {} b 17", word(5, 6));
            let mut block = sealed(&text).into_bytes();
            block.resize(512, 0);
            prop_assert!(parse_word(&block, "node1").is_some());
            prop_assert_eq!(parse_word(&block, "node2"), None);
            block[at] ^= change;
            prop_assert_eq!(parse_word(&block, "node1"), None);
        }
    }
}
