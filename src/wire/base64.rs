//! Base64 (RFC 4648, section 4) as classic lines carry binary values: standard alphabet, padded,
//! no line breaks (messaging spec 1.1).
//!
//! Forty lines of our own instead of a crate: a binary value on the wire is a uuid, the form is
//! fixed for ever, and only the one canonical spelling of a value is accepted, so that a message
//! encodes again to the bytes that were signed.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Letter to value; 255 marks a byte that is no letter of the alphabet.
const VALUES: [u8; 256] = values();

/// Appends the text of `bytes` to `out`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let letter = |group: u32, shift: u32| ALPHABET[(group >> shift & 63) as usize];
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.extend_from_slice(&[letter(group, 18), letter(group, 12), letter(group, 6), letter(group, 0)]);
        let padded = out.len() - (3 - chunk.len());
        out[padded..].fill(b'=');
    }
}

/// The bytes of a text. `None` when a byte is not of the alphabet, padding is missing or in the
/// wrong place, or unused bits are set.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let mut chunks = text.chunks_exact(4).peekable();
    while let Some(chunk) = chunks.next() {
        let padding = match chunk {
            [_, _, b'=', b'='] => 2,
            [_, _, _, b'='] => 1,
            _ => 0,
        };
        if padding > 0 && chunks.peek().is_some() {
            return None;
        }
        let mut group = 0;
        for &letter in &chunk[..4 - padding] {
            let value = VALUES[usize::from(letter)];
            if value == 255 {
                return None;
            }
            group = group << 6 | u32::from(value);
        }
        group <<= 6 * padding;
        let [_, bytes @ ..] = group.to_be_bytes();
        let (used, unused) = bytes.split_at(3 - padding);
        if unused.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(used);
    }
    Some(out)
}

const fn values() -> [u8; 256] {
    let mut values = [255; 256];
    let mut index = 0;
    while index < 64 {
        values[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    const VECTORS: [(&str, &str); 7] = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];

    #[test]
    fn rfc_vectors() {
        for (plain, text) in VECTORS {
            let mut out = Vec::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn only_the_canonical_spelling() {
        for text in
            ["Zg", "Zg=", "Zg=a", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-v", "Zm9vZ"]
        {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }
}
