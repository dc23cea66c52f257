//! Frames of the client socket: an 8-byte header and a body (messaging spec 7.4).
//!
//! ```text
//! int32 length of body │ uint32 magic 0x0000abcd │ body, its NUL included
//! └──────── host byte order ────────┘
//! ```
//!
//! Pure: bytes in, bodies out. Frames may arrive split or several at once.

use thiserror::Error;

/// Bytes in front of every body.
pub const HEADER_BYTES: usize = 8;

/// Longest body, as in the original (256 KiB).
pub const BODY_MAX_BYTES: usize = 256 * 1024;

/// Second word of the header.
pub const MAGIC: u32 = 0x0000_abcd;

/// What makes a connection unusable: after any of these the stream has no known frame border left,
/// so the only thing to do is to close it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The header's second word is another one.
    #[error("magic number in head does not match: {0:#010x}")]
    BadMagic(u32),
    /// Negative, zero or above [`BODY_MAX_BYTES`].
    #[error("message length is wrong: {0} bytes, allowed are 1 to {BODY_MAX_BYTES}")]
    BadLength(i64),
}

/// Puts a header before `body`. Fails on an empty or too long body; nothing is sent then.
pub fn encode_frame(body: &[u8]) -> Result<Vec<u8>, FrameError> {
    let length = i64::try_from(body.len()).unwrap_or(i64::MAX);
    if body.is_empty() || body.len() > BODY_MAX_BYTES {
        return Err(FrameError::BadLength(length));
    }
    let header_length = i32::try_from(body.len()).map_err(|_| FrameError::BadLength(length))?;
    let mut frame = Vec::with_capacity(HEADER_BYTES + body.len());
    frame.extend_from_slice(&header_length.to_ne_bytes());
    frame.extend_from_slice(&MAGIC.to_ne_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Cuts a stream of bytes into bodies.
///
/// Holds at most one unfinished frame plus what the caller pushed last, as long as the caller asks
/// for frames until none is left before it pushes again.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
}

impl FrameDecoder {
    /// An empty decoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes out the next whole body; `None` when more bytes are needed. After an error the
    /// connection must be closed: every further call gives the same error.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let Some(body_bytes) = self.body_bytes()? else { return Ok(None) };
        let end = HEADER_BYTES + body_bytes;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let body = self.buffer[HEADER_BYTES..end].to_vec();
        self.buffer.drain(..end);
        if self.buffer.is_empty() {
            // a single large frame must not hold its memory for the rest of a long connection
            self.buffer = Vec::new();
        }
        Ok(Some(body))
    }

    /// Part of a frame is here and the rest is not.
    pub fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Bytes of the frame at the front, header and all, of which some may be missing; 0 before its
    /// header is complete.
    pub fn waiting_for(&self) -> usize {
        self.body_bytes().ok().flatten().map_or(0, |body| HEADER_BYTES + body)
    }

    /// Length of the frame at the front, checked; `None` before its header is complete.
    fn body_bytes(&self) -> Result<Option<usize>, FrameError> {
        let Some((header, _)) = self.buffer.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let [l0, l1, l2, l3, m0, m1, m2, m3] = *header;
        let magic = u32::from_ne_bytes([m0, m1, m2, m3]);
        if magic != MAGIC {
            return Err(FrameError::BadMagic(magic));
        }
        let length = i32::from_ne_bytes([l0, l1, l2, l3]);
        match usize::try_from(length) {
            Ok(bytes) if (1..=BODY_MAX_BYTES).contains(&bytes) => Ok(Some(bytes)),
            _ => Err(FrameError::BadLength(i64::from(length))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(length: i32, magic: u32) -> Vec<u8> {
        [length.to_ne_bytes(), magic.to_ne_bytes()].concat()
    }

    #[test]
    fn split_and_joined_frames_come_out_whole() {
        let stream = [encode_frame(b"one").unwrap(), encode_frame(b"second").unwrap()].concat();
        let mut decoder = FrameDecoder::new();
        let mut bodies = Vec::new();
        for byte in &stream {
            decoder.push(&[*byte]);
            bodies.extend(decoder.next_frame().unwrap());
        }
        assert_eq!(bodies, [b"one".to_vec(), b"second".to_vec()]);
        decoder.push(&stream);
        assert_eq!(decoder.next_frame().unwrap().unwrap(), b"one");
        assert_eq!(decoder.next_frame().unwrap().unwrap(), b"second");
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(!decoder.is_partial());
    }

    #[test]
    fn bad_headers_are_errors_at_once_and_stay_errors() {
        let over = i32::try_from(BODY_MAX_BYTES).unwrap() + 1;
        for (bytes, error) in [
            (header(3, 0xabce), FrameError::BadMagic(0xabce)),
            (header(-1, MAGIC), FrameError::BadLength(-1)),
            (header(i32::MIN, MAGIC), FrameError::BadLength(i64::from(i32::MIN))),
            (header(0, MAGIC), FrameError::BadLength(0)),
            (header(over, MAGIC), FrameError::BadLength(i64::from(over))),
        ] {
            let mut decoder = FrameDecoder::new();
            decoder.push(&bytes);
            assert_eq!(decoder.next_frame(), Err(error.clone()));
            decoder.push(b"more");
            assert_eq!(decoder.next_frame(), Err(error));
        }
    }

    #[test]
    fn the_largest_body_passes_and_one_more_byte_does_not() {
        let body = vec![b'x'; BODY_MAX_BYTES];
        let mut decoder = FrameDecoder::new();
        decoder.push(&encode_frame(&body).unwrap());
        assert_eq!(decoder.next_frame().unwrap().unwrap().len(), BODY_MAX_BYTES);
        assert!(encode_frame(&vec![0; BODY_MAX_BYTES + 1]).is_err());
        assert!(encode_frame(&[]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_never_panic(chunks in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut decoder = FrameDecoder::new();
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(body)) = decoder.next_frame() {
                    prop_assert!(body.len() <= BODY_MAX_BYTES);
                }
            }
        }

        #[test]
        fn whatever_was_framed_comes_back(bodies in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..200), 1..8), cut in 1_usize..50) {
            let stream: Vec<u8> =
                bodies.iter().flat_map(|body| encode_frame(body).unwrap()).collect();
            let mut decoder = FrameDecoder::new();
            let mut seen = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.push(piece);
                while let Some(body) = decoder.next_frame().unwrap() {
                    seen.push(body);
                }
            }
            prop_assert_eq!(seen, bodies);
        }
    }
}
