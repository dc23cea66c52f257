//! Packed lists: `length:bytes,` for each element (messaging spec 1.1).

use super::message::FIELDS_MAX;
use super::{netstring, MalformedError};

/// All elements, one after the other.
pub fn pack(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        out.extend_from_slice(item.len().to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(item);
        out.push(b',');
    }
    out
}

/// The elements back.
///
/// # Errors
/// [`MalformedError`] for wrong lengths, an empty element, or more elements than a message may
/// have fields.
pub fn unpack(bytes: &[u8]) -> Result<Vec<Vec<u8>>, MalformedError> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (item, next) = netstring::peel(bytes, at)?;
        if item.is_empty() || items.len() == FIELDS_MAX {
            return Err(MalformedError::BadField);
        }
        items.push(item.to_vec());
        at = next;
    }
    Ok(items)
}
