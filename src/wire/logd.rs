//! What programs send to the logging daemon (agents spec 4.2): records in frames, one way only.
//!
//! Everything is in the byte order and word size of the machine: the socket is a local one. A
//! program with 32-bit words beside a daemon with 64-bit words is understood all the same.

use std::ffi::c_ulong;

use thiserror::Error;

use crate::types::LogLevel;

/// Where the daemon listens.
pub const LOGD_SOCKET: &str = "/var/lib/heartbeat/log_daemon";

/// Longest body of a frame, in bytes (agents spec 4.2).
pub const FRAME_BODY_MAX_BYTES: usize = 256 * 1024;

/// Longest entity, in bytes; the field has one more for its end mark.
pub const ENTITY_MAX_BYTES: usize = ENTITY_FIELD_BYTES - 1;

/// Of a longer body only so much is kept; the log cuts lines at a third of it anyway.
const KEPT_MAX_BYTES: usize = 16 * 1024;

const FRAME_HEADER_BYTES: usize = 8;
const FRAME_MARK: u32 = 0xabcd;
const MESSAGE_TYPE: i32 = 2;
const ENTITY_FIELD_BYTES: usize = 64;
/// Six words and the entity; behind them stand the time and the text.
const FIXED_BYTES: usize = 24 + ENTITY_FIELD_BYTES;

/// One line for the log of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The sender's syslog facility, without the shift; the daemon uses its own.
    pub facility: u8,
    /// How grave it is.
    pub level: LogLevel,
    /// Whether the level's word stands before the text.
    pub shows_level: bool,
    /// The sending process, as it says.
    pub pid: u32,
    /// The sending program, as it says.
    pub entity: String,
    /// When, in seconds since 1970.
    pub unix_s: i64,
    /// The line.
    pub text: String,
}

/// Why a connection cannot be used any more: where the next frame begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogFrameError {
    /// The frame does not begin as one.
    #[error("a frame with mark {0:#x}")]
    Mark(u32),
    /// A length that no frame has.
    #[error("a frame of {0} bytes")]
    Length(i32),
}

impl LogRecord {
    /// The frame to send. An entity beyond [`ENTITY_MAX_BYTES`] is cut, the text ends at its first
    /// NUL or at `text_max_bytes`.
    pub fn encode(&self, text_max_bytes: usize) -> Vec<u8> {
        let text = until_nul(cut(&self.text, text_max_bytes).as_bytes());
        let entity = until_nul(cut(&self.entity, ENTITY_MAX_BYTES).as_bytes());
        let mut body = Vec::with_capacity(FIXED_BYTES + 16 + text.len());
        let words = [
            MESSAGE_TYPE,
            i32::from(self.facility) << 3,
            i32::from(self.level.syslog_priority()),
            text.len() as i32 + 1,
            i32::from(self.shows_level),
            self.pid as i32,
        ];
        for word in words {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        body.extend_from_slice(entity);
        body.resize(FIXED_BYTES, 0);
        body.extend_from_slice(&(self.unix_s as c_ulong).to_ne_bytes());
        body.extend_from_slice(text);
        body.push(0);
        let mut frame = (body.len() as i32).to_ne_bytes().to_vec();
        frame.extend_from_slice(&FRAME_MARK.to_ne_bytes());
        frame.extend_from_slice(&body);
        frame
    }

    /// Reads a frame's body; `length` is its full length where `body` is only its beginning.
    /// `None`: it is no record of this kind, or too short for one.
    fn decode(body: &[u8], length: usize) -> Option<Self> {
        let word = |index: usize| {
            let bytes = body.get(index * 4..index * 4 + 4)?;
            Some(i32::from_ne_bytes(bytes.try_into().ok()?))
        };
        if word(0)? != MESSAGE_TYPE {
            return None;
        }
        // The length that the sender says its text has tells the size of its words.
        let text_bytes = usize::try_from(word(3)?).unwrap_or(0);
        let time_bytes = match length.checked_sub(text_bytes)?.checked_sub(FIXED_BYTES) {
            Some(short @ (4 | 8)) => short,
            _ => size_of::<c_ulong>(),
        };
        let time = body.get(FIXED_BYTES..FIXED_BYTES + time_bytes)?;
        let unix_s = match *time {
            [a, b, c, d] => i64::from(u32::from_ne_bytes([a, b, c, d])),
            _ => i64::from_ne_bytes(time.try_into().ok()?),
        };
        let text = until_nul(body.get(FIXED_BYTES + time_bytes..)?);
        let entity = until_nul(&body[24..FIXED_BYTES]);
        Some(Self {
            facility: u8::try_from(word(1)? >> 3).unwrap_or(0),
            level: level_of(word(2)?),
            shows_level: word(4)? != 0,
            pid: u32::try_from(word(5)?).unwrap_or(0),
            entity: String::from_utf8_lossy(entity).into_owned(),
            unix_s,
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

/// Finds the records in a stream of frames. Holds at most a frame's beginning of 16 KiB, whatever
/// the sender claims.
#[derive(Debug, Default)]
pub struct LogRecordStream {
    waiting: Vec<u8>,
    /// Bytes of the present frame that are passed over.
    skip: usize,
}

impl LogRecordStream {
    /// Takes bytes as they come and hands each complete record to `take`. Frames of another kind
    /// and bodies that are too short are passed over and counted in the value.
    ///
    /// # Errors
    /// [`LogFrameError`]; the records before it were handed over.
    pub fn read(&mut self, mut bytes: &[u8], mut take: impl FnMut(LogRecord)) -> Result<u64, LogFrameError> {
        let mut odd = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = match self.body_length()? {
                None => FRAME_HEADER_BYTES,
                Some(length) => FRAME_HEADER_BYTES + length.min(KEPT_MAX_BYTES),
            };
            let taken = (wanted - self.waiting.len()).min(bytes.len());
            self.waiting.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.waiting.len() < wanted {
                return Ok(odd);
            }
            let Some(length) = self.body_length()? else { continue };
            let kept = length.min(KEPT_MAX_BYTES);
            if self.waiting.len() < FRAME_HEADER_BYTES + kept {
                continue;
            }
            match LogRecord::decode(&self.waiting[FRAME_HEADER_BYTES..], length) {
                Some(record) => take(record),
                None => odd += 1,
            }
            self.waiting.clear();
            self.skip = length - kept;
        }
    }

    /// The length in the header, once that is here.
    fn body_length(&self) -> Result<Option<usize>, LogFrameError> {
        let Some(header) = self.waiting.get(..FRAME_HEADER_BYTES) else {
            return Ok(None);
        };
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let mark = u32::from_ne_bytes(word(4));
        if mark != FRAME_MARK {
            return Err(LogFrameError::Mark(mark));
        }
        let length = i32::from_ne_bytes(word(0));
        match usize::try_from(length) {
            Ok(fits) if fits <= FRAME_BODY_MAX_BYTES => Ok(Some(fits)),
            _ => Err(LogFrameError::Length(length)),
        }
    }
}

/// A priority that is none counts as `info`; the facility that older senders mix into it does not
/// count.
fn level_of(priority: i32) -> LogLevel {
    use LogLevel::{Alert, Critical, Debug, Emergency, Error, Info, Notice, Warning};
    const LEVELS: [LogLevel; 8] = [Emergency, Alert, Critical, Error, Warning, Notice, Info, Debug];
    usize::try_from(priority).map_or(Info, |priority| LEVELS[priority & 7])
}

fn cut(text: &str, max_bytes: usize) -> &str {
    let mut end = text.len().min(max_bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> LogRecord {
        LogRecord {
            facility: 1,
            level: LogLevel::Debug,
            shows_level: false,
            pid: 75,
            entity: "tag".into(),
            unix_s: 0x6b02_70bd,
            text: text.into(),
        }
    }

    fn read(bytes: &[u8]) -> (Vec<LogRecord>, Result<u64, LogFrameError>) {
        let mut records = Vec::new();
        let result = LogRecordStream::default().read(bytes, |record| records.push(record));
        (records, result)
    }

    #[test]
    #[cfg(all(target_pointer_width = "64", target_endian = "little"))]
    fn frames_are_those_of_the_original() {
        // What Debian's `ha_logger -t tag -D ha-debug hello` sends, seen by strace.
        let mut sent =
            b"\x66\0\0\0\xcd\xab\0\0\x02\0\0\0\x08\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0\0\x4b\0\0\0tag".to_vec();
        sent.resize(8 + FIXED_BYTES, 0);
        sent.extend_from_slice(b"\xbd\x70\x02\x6b\0\0\0\0hello\0");
        assert_eq!(record("hello").encode(1023), sent);
        assert_eq!(read(&sent), (vec![record("hello")], Ok(0)));
    }

    #[test]
    fn a_sender_with_short_words_is_understood() {
        let long = record("hello").encode(1023);
        let mut short = long[..8 + FIXED_BYTES].to_vec();
        short.extend_from_slice(&0x6b02_70bd_u32.to_ne_bytes());
        short.extend_from_slice(b"hello\0");
        let length = (short.len() - 8) as i32;
        short[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(read(&short), (vec![record("hello")], Ok(0)));
    }

    #[test]
    fn any_pieces_give_the_same_records() {
        let mut bytes = Vec::new();
        let texts = ["", "one", &"x".repeat(40_000), "\u{e9}"];
        for text in texts {
            bytes.extend_from_slice(&record(text).encode(FRAME_BODY_MAX_BYTES - 1024));
        }
        for size in [1, 7, 8, 9, 1000, 100_000] {
            let mut stream = LogRecordStream::default();
            let mut records = Vec::new();
            for piece in bytes.chunks(size) {
                assert_eq!(stream.read(piece, |record| records.push(record)), Ok(0));
                assert!(stream.waiting.len() <= FRAME_HEADER_BYTES + KEPT_MAX_BYTES);
            }
            assert_eq!(records.len(), texts.len());
            assert_eq!((&*records[1].text, &*records[3].text), ("one", "\u{e9}"));
            assert!(records[2].text.len() > 10_000 && records[2].text.bytes().all(|byte| byte == b'x'));
        }
    }

    #[test]
    fn hostile_frames() {
        let good = record("hello").encode(1023);
        let with = |at: usize, word: i32| {
            let mut frame = good.clone();
            frame[at..at + 4].copy_from_slice(&word.to_ne_bytes());
            frame
        };
        assert_eq!(read(&with(4, 0x1234)).1, Err(LogFrameError::Mark(0x1234)));
        assert_eq!(read(&with(0, -1)).1, Err(LogFrameError::Length(-1)));
        assert_eq!(read(&with(0, i32::MAX)).1, Err(LogFrameError::Length(i32::MAX)));
        assert_eq!(read(&with(8, 7)), (Vec::new(), Ok(1)));
        for text_bytes in [i32::MIN, -1, 0, 5, 10, 1000, i32::MAX] {
            let _ = read(&with(20, text_bytes));
        }
        for priority in [i32::MIN, -1, 8, 30, i32::MAX] {
            assert_eq!(read(&with(16, priority)).0.len(), 1);
        }
        assert_eq!(read(&with(28, -5)).0[0].pid, 0);
        for length in 0..FIXED_BYTES as i32 {
            let mut short = with(0, length);
            short.truncate(8 + length as usize);
            assert_eq!(read(&short), (Vec::new(), Ok(1)), "{length}");
        }
        let mut endless = good.clone();
        endless.extend([0xff; 100]);
        assert!(read(&endless).1.is_err());
        let no_end = [b'e'; 8 + FIXED_BYTES + 8];
        let mut frame = good[..8].to_vec();
        frame.extend_from_slice(&no_end[8..]);
        let _ = read(&frame);
    }

    #[test]
    fn entity_and_text_are_cut() {
        let long = LogRecord { entity: "\u{e9}".repeat(99), ..record(&"\u{e9}".repeat(9999)) };
        let (records, _) = read(&long.encode(1023));
        assert_eq!(records[0].entity.len(), 62);
        assert_eq!(records[0].text.len(), 1022);
        assert_eq!(read(&record("a\0b").encode(1023)).0[0].text, "a");
    }
}
