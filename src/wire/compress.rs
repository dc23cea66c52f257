//! Compression of whole messages (messaging spec 1.7).

use std::io::{Read, Write};

use super::{DecodeError, DECOMPRESSED_MAX_BYTES};

/// A compression module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// zlib stream, RFC 1950.
    Zlib,
    /// bzip2, level 1.
    Bzip2,
}

/// One compressor.
struct Module {
    compressor: Compressor,
    /// Its name in `_compression_algorithm`.
    name: &'static str,
    compress: fn(&[u8]) -> std::io::Result<Vec<u8>>,
    reader: for<'a> fn(&'a [u8]) -> Box<dyn Read + 'a>,
}

/// THE TABLE of compressors.
const MODULES: [Module; 2] = [
    Module {
        compressor: Compressor::Zlib,
        name: "zlib",
        compress: |bytes| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes)?;
            encoder.finish()
        },
        reader: |bytes| Box::new(flate2::read::ZlibDecoder::new(bytes)),
    },
    Module {
        compressor: Compressor::Bzip2,
        name: "bz2",
        compress: |bytes| {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes)?;
            encoder.finish()
        },
        reader: |bytes| Box::new(bzip2::read::BzDecoder::new(bytes)),
    },
];

/// The compressed bytes and the compressor's name on the wire; `None` when it failed.
pub fn compress(compressor: Compressor, bytes: &[u8]) -> Option<(Vec<u8>, &'static str)> {
    let module = MODULES.iter().find(|module| module.compressor == compressor)?;
    Some(((module.compress)(bytes).ok()?, module.name))
}

/// The bytes back, at most [`DECOMPRESSED_MAX_BYTES`].
///
/// # Errors
/// [`DecodeError::Compression`] for an unknown name, damaged bytes, or more output than allowed;
/// no more than the limit is ever allocated.
pub fn decompress(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let module = MODULES.iter().find(|module| module.name == name).ok_or(DecodeError::Compression)?;
    let mut out = Vec::new();
    let limit = u64::try_from(DECOMPRESSED_MAX_BYTES).unwrap_or(u64::MAX) + 1;
    (module.reader)(bytes).take(limit).read_to_end(&mut out).map_err(|_| DecodeError::Compression)?;
    if out.len() > DECOMPRESSED_MAX_BYTES {
        return Err(DecodeError::Compression);
    }
    Ok(out)
}
