//! Compressed messages: THE TABLE of compressors (messaging spec 1.7).

use std::str::FromStr;

use super::{DecodeError, EXPANDED_MAX_BYTES};

/// A way to compress, as `compression` in ha.cf names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// RFC 1950 stream, level 6.
    Zlib,
    /// bzip2 stream, level 1.
    Bz2,
}

/// One row: a name as `_compression_algorithm` carries it, and the two directions.
struct Entry {
    compressor: Compressor,
    name: &'static str,
    compress: fn(&[u8]) -> Option<Vec<u8>>,
    expand: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
}

/// THE TABLE of compressors, in the order of [`Compressor`].
const COMPRESSORS: [Entry; 2] = [
    Entry { compressor: Compressor::Zlib, name: "zlib", compress: compress_zlib, expand: expand_zlib },
    Entry { compressor: Compressor::Bz2, name: "bz2", compress: compress_bz2, expand: expand_bz2 },
];

impl Compressor {
    /// The name in ha.cf and in `_compression_algorithm`.
    pub fn as_str(self) -> &'static str {
        self.entry().name
    }

    /// Compresses; `None` when the library refuses (out of memory).
    pub(super) fn compress(self, plain: &[u8]) -> Option<Vec<u8>> {
        (self.entry().compress)(plain)
    }

    /// Decompresses one whole stream; what follows it is ignored. Never holds more than
    /// [`EXPANDED_MAX_BYTES`] of output.
    ///
    /// Errors: [`DecodeError::TooLarge`], [`DecodeError::BadCompression`].
    pub(super) fn expand(self, packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
        (self.entry().expand)(packed)
    }

    fn entry(self) -> &'static Entry {
        // In the table's order; its own test says so.
        &COMPRESSORS[self as usize]
    }
}

impl FromStr for Compressor {
    type Err = ();

    /// Takes exactly a name of the table.
    fn from_str(text: &str) -> Result<Self, ()> {
        COMPRESSORS.iter().find(|entry| entry.name == text).map(|entry| entry.compressor).ok_or(())
    }
}

/// Output is taken in pieces of this size, so a bomb is noticed one piece after the limit.
const PIECE_BYTES: usize = 16 * 1024;

/// What one step of a decompressor did.
struct Step {
    consumed: usize,
    produced: usize,
    ended: bool,
}

/// Runs a decompressor to the end of its stream. The output doubles from one piece, so that its
/// last size is the limit itself.
fn expand_with(
    mut packed: &[u8],
    mut step: impl FnMut(&[u8], &mut [u8]) -> Option<Step>,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(PIECE_BYTES);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let done = step(packed, &mut piece).ok_or(DecodeError::BadCompression("corrupt stream"))?;
        if out.len() + done.produced > EXPANDED_MAX_BYTES {
            return Err(DecodeError::TooLarge { limit_bytes: EXPANDED_MAX_BYTES });
        }
        out.extend_from_slice(&piece[..done.produced]);
        packed = &packed[done.consumed..];
        if done.ended {
            return Ok(out);
        }
        if done.consumed == 0 && done.produced == 0 {
            return Err(DecodeError::BadCompression("stream cut off"));
        }
    }
}

fn compress_zlib(plain: &[u8]) -> Option<Vec<u8>> {
    use flate2::{Compress, Compression, FlushCompress, Status};
    let mut compress = Compress::new(Compression::new(6), true);
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 1000 + 64);
    loop {
        let consumed = usize::try_from(compress.total_in()).ok()?;
        match compress.compress_vec(plain.get(consumed..)?, &mut out, FlushCompress::Finish).ok()? {
            Status::StreamEnd => return Some(out),
            Status::Ok | Status::BufError => out.reserve(PIECE_BYTES),
        }
    }
}

fn expand_zlib(packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    use flate2::{Decompress, FlushDecompress, Status};
    let mut decompress = Decompress::new(true);
    expand_with(packed, |input, output| {
        let (before_in, before_out) = (decompress.total_in(), decompress.total_out());
        let status = decompress.decompress(input, output, FlushDecompress::None).ok()?;
        Some(Step {
            consumed: usize::try_from(decompress.total_in() - before_in).ok()?,
            produced: usize::try_from(decompress.total_out() - before_out).ok()?,
            ended: status == Status::StreamEnd,
        })
    })
}

fn compress_bz2(plain: &[u8]) -> Option<Vec<u8>> {
    use bzip2::{Action, Compress, Compression, Status};
    let mut compress = Compress::new(Compression::new(1), 0);
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 100 + 600);
    loop {
        let consumed = usize::try_from(compress.total_in()).ok()?;
        match compress.compress_vec(plain.get(consumed..)?, &mut out, Action::Finish).ok()? {
            Status::StreamEnd => return Some(out),
            Status::MemNeeded => return None,
            _ => out.reserve(PIECE_BYTES),
        }
    }
}

fn expand_bz2(packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    use bzip2::{Decompress, Status};
    let mut decompress = Decompress::new(false);
    expand_with(packed, |input, output| {
        let (before_in, before_out) = (decompress.total_in(), decompress.total_out());
        let status = decompress.decompress(input, output).ok()?;
        Some(Step {
            consumed: usize::try_from(decompress.total_in() - before_in).ok()?,
            produced: usize::try_from(decompress.total_out() - before_out).ok()?,
            ended: status == Status::StreamEnd,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compressor; 2] = [Compressor::Zlib, Compressor::Bz2];

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn table_is_whole() {
        for compressor in ALL {
            assert_eq!(compressor.entry().compressor, compressor);
            assert_eq!(compressor.as_str().parse(), Ok(compressor));
        }
        assert!("gzip".parse::<Compressor>().is_err());
    }

    #[test]
    fn round_trips_of_all_sizes() {
        for compressor in ALL {
            for length in [0, 1, 100, PIECE_BYTES, PIECE_BYTES + 1, 200_000, EXPANDED_MAX_BYTES] {
                for plain in [vec![b'1'; length], noise(length.min(300_000))] {
                    let packed = compressor.compress(&plain).unwrap();
                    assert_eq!(compressor.expand(&packed), Ok(plain));
                }
            }
        }
    }

    #[test]
    fn bomb_is_refused() {
        for compressor in ALL {
            let bomb = compressor.compress(&vec![0; 4 * EXPANDED_MAX_BYTES]).unwrap();
            let refused = Err(DecodeError::TooLarge { limit_bytes: EXPANDED_MAX_BYTES });
            assert_eq!(compressor.expand(&bomb), refused, "{compressor:?}: {} bytes", bomb.len());
            let one_more = compressor.compress(&vec![7; EXPANDED_MAX_BYTES + 1]).unwrap();
            assert_eq!(compressor.expand(&one_more), refused);
        }
    }

    #[test]
    fn damaged_streams_are_refused() {
        for compressor in ALL {
            let packed = compressor.compress(&noise(5000)).unwrap();
            for length in (0..packed.len()).step_by(7).chain([packed.len() - 1]) {
                assert!(compressor.expand(&packed[..length]).is_err(), "{compressor:?} {length}");
            }
            for index in (0..packed.len()).step_by(11) {
                let mut bad = packed.clone();
                bad[index] ^= 0x55;
                assert!(compressor.expand(&bad).is_err(), "{compressor:?} {index}");
            }
        }
    }
}
