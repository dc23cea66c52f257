//! How ha.cf wants packets written.

use crate::config::settings as config;
use crate::wire::{self, WireFormat};

/// Message format and compression of this configuration (messaging spec 1.7).
pub(super) fn wire_format(ha_cf: &config::HaCf) -> WireFormat {
    let compressor = match ha_cf.compression {
        config::Compression::Zlib => wire::Compressor::Zlib,
        config::Compression::Bzip2 => wire::Compressor::Bz2,
    };
    let threshold = usize::try_from(ha_cf.compression_threshold_kib).unwrap_or(2) * 1024;
    let message_format = match ha_cf.message_format {
        config::MessageFormat::Classic => wire::MessageFormat::Classic,
        config::MessageFormat::Netstring => wire::MessageFormat::Netstring,
    };
    // Beyond the largest message compression is used in any case (messaging spec 1.7).
    let threshold_bytes = if ha_cf.traditional_compression { threshold } else { wire::MESSAGE_MAX_BYTES };
    WireFormat { message_format, compression: Some(wire::Compression { compressor, threshold_bytes }) }
}
