//! What outlives a run: the generation and this node's uuid (messaging spec 3.1).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::log::LogLine;
use crate::types::{Generation, LogLevel, NodeName, Uuid};

/// The largest number that fits the file's 15 columns.
const GENERATION_MAX: u64 = 999_999_999_999_999;

/// Why this node has no identity to start with. Starting anyway could make peers take our packets
/// for replayed ones, so the start is given up.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The generation could not be kept. The text begins with the original's line.
    #[error("Cannot get/increment generation number: {path}: {cause}. The file was left as it was; see that its folder can be written, then start again")]
    Generation {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The uuid could not be read or kept.
    #[error("Cannot get or keep this node's uuid: {path}: {cause}. Nothing was changed; see that its folder can be written, then start again")]
    Uuid {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Takes this run's generation and makes it durable before it returns, so that no crash can lead
/// to a second run with the same one. `now_s` is the wall clock in seconds since 1970.
///
/// With `from_time` false (`hbgenmethod file`): the file's number plus one; without a file, the
/// time plus one; with a file that holds no number, the time (the original then takes 1, which
/// peers that know this node reject as a replay). With `from_time` true: the time, or the file's
/// number plus one where that is larger, as a clock that was set back would otherwise lead to the
/// same rejection; a file that cannot be written is then no error.
///
/// # Errors
/// [`IdentityError::Generation`]; the file is as before.
pub fn next_generation(
    path: &Path,
    from_time: bool,
    now_s: i64,
) -> Result<(Generation, Vec<LogLine>), IdentityError> {
    let now = u64::try_from(now_s).unwrap_or(0).clamp(1, GENERATION_MAX - 1);
    let failed = |cause| IdentityError::Generation { path: path.to_owned(), cause };
    let mut lines = Vec::new();
    let stored = read_generation(path);
    let next = match stored {
        Ok(Stored::Number(number)) if from_time => (number + 1).max(now),
        Ok(Stored::Number(number)) => number + 1,
        _ if from_time => now,
        Ok(Stored::Missing) => {
            lines.push((LogLevel::Warning, format!("No Previous generation - starting at {}", now + 1)));
            now + 1
        }
        Ok(Stored::Broken) => {
            lines.push((LogLevel::Warning, format!("BROKEN previous generation - starting at {now}")));
            now
        }
        Err(cause) => return Err(failed(cause)),
    };
    let content = format!("{next:>15}\n");
    let in_place = matches!(stored, Ok(Stored::Number(_))).then(|| overwrite(path, content.as_bytes()));
    let kept = match in_place {
        Some(Ok(())) => Ok(()),
        _ => write_durably(path, content.as_bytes(), 0o644),
    };
    match kept {
        Err(cause) if !from_time => return Err(failed(cause)),
        _ => lines.push((LogLevel::Info, format!("Heartbeat generation: {next}"))),
    }
    Ok((Generation(next), lines))
}

enum Stored {
    Number(u64),
    Missing,
    Broken,
}

fn read_generation(path: &Path) -> io::Result<Stored> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(64).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Stored::Missing),
        Err(error) => return Err(error),
    };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<u64>().ok());
    Ok(number.filter(|number| *number < GENERATION_MAX).map_or(Stored::Broken, Stored::Number))
}

/// This node's uuid, from its file of 16 bytes; a new random one is made and kept when there is
/// none. A file of another length or of zero bytes only counts as none.
///
/// # Errors
/// [`IdentityError::Uuid`]; no file was changed.
pub fn uuid_from_file(path: &Path) -> Result<(Uuid, Vec<LogLine>), IdentityError> {
    let failed = |cause| IdentityError::Uuid { path: path.to_owned(), cause };
    if let Some(uuid) = read_uuid(path).map_err(failed)? {
        return Ok((uuid, Vec::new()));
    }
    let uuid = random_uuid().map_err(failed)?;
    write_durably(path, &uuid.0, 0o644).map_err(failed)?;
    let line = "No uuid found for current node - generating a new uuid.".to_owned();
    Ok((uuid, vec![(LogLevel::Info, line)]))
}

fn read_uuid(path: &Path) -> io::Result<Option<Uuid>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(17).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Uuid::from_bytes(&bytes).filter(|uuid| !uuid.is_null()))
}

/// A random uuid of version 4 (RFC 9562) from the kernel's generator, by its device file: the
/// system call is newer than our oldest kernel.
fn random_uuid() -> io::Result<Uuid> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(Uuid(bytes))
}

/// `uuidfrom nodename`: the uuid every 3.0.6 node derives from this name. 32 hexadecimal digits
/// from the C library's `rand()` of GNU systems, seeded with a hash of the name.
pub fn uuid_from_name(name: &NodeName) -> (Uuid, Vec<LogLine>) {
    let seed = name_hash(name.as_str());
    let mut random = GlibcRandom::new(seed);
    let mut digit = || (random.next() % 16) as u8;
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let high = digit();
        *byte = high << 4 | digit();
    }
    (Uuid(bytes), vec![(LogLevel::Info, format!("seed is {}", seed as i32))])
}

/// h = h * 31 + c over signed characters, 32 bits.
fn name_hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte as i8 as u32))
}

/// `srand` and `rand` of glibc: an additive feedback generator over 31 words (random(3), TYPE_3).
struct GlibcRandom {
    words: [u32; 31],
    next: usize,
}

impl GlibcRandom {
    fn new(seed: u32) -> Self {
        let mut words = [0u32; 31];
        let mut word = i64::from(if seed == 0 { 1 } else { seed as i32 });
        for slot in &mut words {
            *slot = word as u32;
            // Park and Miller: 16807 * word mod (2^31 - 1), computed as glibc does, on signed words.
            let signed = i64::from(word as i32);
            word = 16807 * (signed % 127_773) - 2836 * (signed / 127_773);
            if word < 0 {
                word += 2_147_483_647;
            }
        }
        let mut random = Self { words, next: 0 };
        for _ in 0..310 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u32 {
        let sum = self.words[(self.next + 3) % 31].wrapping_add(self.words[self.next]);
        self.words[(self.next + 3) % 31] = sum;
        self.next = (self.next + 1) % 31;
        sum >> 1
    }
}

/// Writes over a file of the same few bytes: one write to the disk where a new file needs three, and all the
/// start waits for before the first beat. Not torn by a crash, for it is within the file's first sector. A
/// file that is not as expected is left alone.
fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 || found.len() != content.len() as u64 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    file.write_all_at(content, 0)?;
    file.sync_data()
}

/// Replaces a file so that after a crash either the old or the new content is there, and the new
/// one once this has returned: temporary file, fsync, rename, fsync of the folder.
pub(super) fn write_durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let result = write_then_rename(&temporary, path, content, mode);
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_then_rename(temporary: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder)?.sync_all() {
        // Some file systems have no fsync for folders; they order renames themselves.
        Err(error) if error.raw_os_error() != Some(nix::libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: i64 = 1_795_304_697;

    fn generation(path: &Path, from_time: bool, now_s: i64) -> (u64, Vec<String>) {
        let (generation, lines) = next_generation(path, from_time, now_s).unwrap();
        (generation.0, lines.into_iter().map(|(level, text)| format!("{}: {text}", level.as_str())).collect())
    }

    #[test]
    fn first_start_then_one_more_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hb_generation");
        let (first, lines) = generation(&path, false, NOW_S);
        assert_eq!(first, 1_795_304_698);
        assert_eq!(
            lines,
            [
                "WARN: No Previous generation - starting at 1795304698",
                "info: Heartbeat generation: 1795304698"
            ]
        );
        assert_eq!(fs::read(&path).unwrap(), b"     1795304698\n");
        let (second, lines) = generation(&path, false, 0);
        assert_eq!(second, first + 1);
        assert_eq!(lines, ["info: Heartbeat generation: 1795304699"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn only_a_file_of_its_own_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let number = |at: &Path| generation(at, false, 0).0;
        fs::write(path("plain"), b"            100\n").unwrap();
        let before = fs::metadata(path("plain")).unwrap().ino();
        assert_eq!(number(&path("plain")), 101);
        assert_eq!(fs::metadata(path("plain")).unwrap().ino(), before);
        // What somebody else reads through another name or place stays as it is.
        fs::hard_link(path("plain"), path("copy")).unwrap();
        std::os::unix::fs::symlink(path("copy"), path("link")).unwrap();
        fs::write(path("short"), b"7\n").unwrap();
        assert_eq!(number(&path("plain")), 102);
        assert_eq!(number(&path("link")), 102);
        assert_eq!(number(&path("short")), 8);
        assert_eq!(fs::read(path("copy")).unwrap(), b"            101\n");
        for name in ["plain", "link", "short"] {
            assert_eq!(fs::symlink_metadata(path(name)).unwrap().len(), 16, "{name}");
        }
    }

    #[test]
    fn broken_file_leads_to_the_time_never_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hb_generation");
        let hostile: [&[u8]; 8] = [
            b"",
            b"garbage\n",
            b"\xff\xfe\x00",
            b"-5\n",
            b"12 34\n",
            b"99999999999999999999999\n",
            b"999999999999999\n",
            &[b'1'; 5000],
        ];
        for content in hostile {
            fs::write(&path, content).unwrap();
            let (number, lines) = generation(&path, false, NOW_S);
            assert_eq!(number, NOW_S as u64, "{content:?}");
            assert_eq!(lines[0], "WARN: BROKEN previous generation - starting at 1795304697");
        }
        fs::write(&path, "x").unwrap();
        assert!(generation(&path, false, i64::MIN).0 >= 1);
    }

    #[test]
    fn time_method_survives_a_clock_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hb_generation");
        assert_eq!(generation(&path, true, NOW_S).0, NOW_S as u64);
        assert_eq!(generation(&path, true, 1000).0, NOW_S as u64 + 1);
        assert_eq!(generation(&path, false, 1000).0, NOW_S as u64 + 2);
        let nowhere = folder.path().join("missing/hb_generation");
        assert_eq!(generation(&nowhere, true, NOW_S).0, NOW_S as u64);
        let error = next_generation(&nowhere, false, NOW_S).unwrap_err();
        assert!(error.to_string().starts_with("Cannot get/increment generation number"));
    }

    #[test]
    fn uuid_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hb_uuid");
        let (uuid, lines) = uuid_from_file(&path).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(fs::read(&path).unwrap(), uuid.0);
        assert_eq!(uuid_from_file(&path).unwrap(), (uuid, Vec::new()));
        for hostile in [&b""[..], b"short", &[0; 16], &[7; 17]] {
            fs::write(&path, hostile).unwrap();
            let (uuid, lines) = uuid_from_file(&path).unwrap();
            assert!(!uuid.is_null() && lines.len() == 1, "{hostile:?}");
        }
    }

    #[test]
    fn uuid_from_name_is_the_originals() {
        let (uuid, lines) = uuid_from_name(&NodeName::new("alpha").unwrap());
        assert_eq!(lines[0].1, "seed is 92909918");
        assert_eq!(uuid.to_string(), "cc301fda-9190-a843-de51-a987ec340ccc");
    }

    #[test]
    fn random_numbers_are_the_c_librarys() {
        let mut random = GlibcRandom::new(1);
        assert_eq!(
            [random.next(), random.next(), random.next()],
            [1_804_289_383, 846_930_886, 1_681_692_777]
        );
        for name in ["", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", "zzzzzzzzzzzzzzzzzzzzzzzz"] {
            let mut random = GlibcRandom::new(name_hash(name));
            assert!((0..100).all(|_| random.next() < 1 << 31));
        }
    }
}
