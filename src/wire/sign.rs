//! Signing and verifying: THE TABLE of methods (messaging spec 1.5).
//!
//! A signature is the text `number digest`: the number of the key in authkeys and a digest in
//! lower-case hexadecimal. Any configured key is accepted by its number. The original takes the
//! method of that number but the key of its own `auth` line, so that two nodes which know both
//! keys but sign with different ones cannot hear each other; here a key can be changed one node
//! at a time.

use crc::{Crc, CRC_32_CKSUM};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;

use super::{push_decimal, DecodeError, EncodeError, Framing};
use crate::types::{AuthKey, AuthKeys, SigningMethod};

/// What is digested, in pieces.
type Parts<'a, 'b> = &'b mut (dyn Iterator<Item = &'a [u8]> + 'b);

/// A way to sign.
struct Method {
    method: SigningMethod,
    /// Appends the digest as text.
    sign: fn(secret: &[u8], Parts<'_, '_>, out: &mut Vec<u8>),
    /// Compares with a digest as text, in constant time, lower case only.
    verify: fn(secret: &[u8], Parts<'_, '_>, claimed: &[u8]) -> bool,
}

/// THE TABLE of signing methods, the strongest last.
const METHODS: [Method; 3] = [
    Method { method: SigningMethod::Crc, sign: sign_crc, verify: verify_crc },
    Method { method: SigningMethod::Md5, sign: sign_hmac::<Hmac<Md5>>, verify: verify_hmac::<Hmac<Md5>> },
    Method { method: SigningMethod::Sha1, sign: sign_hmac::<Hmac<Sha1>>, verify: verify_hmac::<Hmac<Sha1>> },
];

/// The longest signature: two digits, a space, 40 digits of SHA-1.
pub(super) const SIGNATURE_MAX_BYTES: usize = 43;

/// POSIX cksum's polynomial without the appended length: 04C11DB7, start 0, not reflected,
/// inverted at the end.
static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_CKSUM);

/// The key to sign with: the one asked for, or the active one.
///
/// Errors: [`EncodeError::UnknownKey`].
pub(super) fn choose_key(keys: &AuthKeys, index: Option<u8>) -> Result<(u8, &AuthKey), EncodeError> {
    let index = index.unwrap_or(keys.active);
    keys.keys.get(&index).map(|key| (index, key)).ok_or(EncodeError::UnknownKey(index))
}

/// Appends `number digest` over `signed` to `out`.
pub(super) fn append_signature((index, key): (u8, &AuthKey), signed: &[u8], out: &mut Vec<u8>) {
    push_decimal(out, usize::from(index));
    out.push(b' ');
    (method(key.method).sign)(&key.secret, &mut std::iter::once(signed), out);
}

/// Checks `number digest` over the parts and gives the number. Constant-time in the digest.
///
/// Errors: [`DecodeError::Unsigned`], [`DecodeError::UnknownKey`], [`DecodeError::BadDigest`]
/// (without the claimed node, which the caller adds).
pub(super) fn verify(
    keys: &AuthKeys,
    framing: Framing,
    signature: &[u8],
    parts: Parts<'_, '_>,
) -> Result<u8, DecodeError> {
    let (index, claimed) = split_signature(signature).ok_or(DecodeError::Unsigned { framing })?;
    let key = keys.keys.get(&index).ok_or(DecodeError::UnknownKey { framing, index })?;
    if (method(key.method).verify)(&key.secret, parts, claimed) {
        Ok(index)
    } else {
        let claimed = printable(claimed, 40);
        Err(DecodeError::BadDigest { framing, index, claimed, claimed_node: String::new() })
    }
}

/// Text out of a packet that nobody vouches for: cut, and every byte a log line should not hold
/// written as `.`.
pub(super) fn printable(bytes: &[u8], max_bytes: usize) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
    bytes.iter().take(max_bytes).map(shown).collect()
}

/// `number digest`: one or two digits without a leading zero, one space, the rest.
fn split_signature(signature: &[u8]) -> Option<(u8, &[u8])> {
    let space = signature.iter().take(3).position(|byte| *byte == b' ')?;
    let (digits, claimed) = (&signature[..space], &signature[space + 1..]);
    let canonical = matches!(digits, [b'0'..=b'9'] | [b'1'..=b'9', b'0'..=b'9']);
    let index = digits.iter().fold(0, |number, digit| number * 10 + (digit & 15));
    (canonical && !claimed.is_empty()).then_some((index, claimed))
}

fn method(method: SigningMethod) -> &'static Method {
    // The table is whole, as its own test says; were it not, the strongest must stand in.
    METHODS.iter().find(|entry| entry.method == method).unwrap_or(&METHODS[2])
}

fn crc_of(parts: Parts<'_, '_>) -> u32 {
    let mut digest = CRC.digest();
    parts.for_each(|part| digest.update(part));
    digest.finalize()
}

/// Hexadecimal without leading zeroes, no key.
fn sign_crc(_secret: &[u8], parts: Parts<'_, '_>, out: &mut Vec<u8>) {
    let sum = crc_of(parts);
    let digits = (32 - sum.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| hex_digit((sum >> (digit * 4) & 15) as u8)));
}

fn verify_crc(_secret: &[u8], parts: Parts<'_, '_>, claimed: &[u8]) -> bool {
    let canonical = (1..=8).contains(&claimed.len()) && (claimed[0] != b'0' || claimed.len() == 1);
    let mut sum = 0;
    for &digit in claimed.iter().take(8) {
        let Some(value) = hex_value(digit) else { return false };
        sum = sum << 4 | u32::from(value);
    }
    canonical && crc_of(parts) == sum
}

fn hmac_of<M: Mac + KeyInit>(secret: &[u8], parts: Parts<'_, '_>) -> Option<M> {
    // HMAC takes keys of any length, so this never fails.
    let mut mac = <M as KeyInit>::new_from_slice(secret).ok()?;
    parts.for_each(|part| mac.update(part));
    Some(mac)
}

fn sign_hmac<M: Mac + KeyInit>(secret: &[u8], parts: Parts<'_, '_>, out: &mut Vec<u8>) {
    if let Some(mac) = hmac_of::<M>(secret, parts) {
        for byte in mac.finalize().into_bytes() {
            out.extend_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
}

fn verify_hmac<M: Mac + KeyInit>(secret: &[u8], parts: Parts<'_, '_>, claimed: &[u8]) -> bool {
    let mut bytes = [0; 20];
    let length = claimed.len() / 2;
    if length != M::output_size() || !claimed.len().is_multiple_of(2) || length > bytes.len() {
        return false;
    }
    for (byte, pair) in bytes.iter_mut().zip(claimed.chunks_exact(2)) {
        let (Some(high), Some(low)) = (hex_value(pair[0]), hex_value(pair[1])) else { return false };
        *byte = high << 4 | low;
    }
    hmac_of::<M>(secret, parts).is_some_and(|mac| mac.verify_slice(&bytes[..length]).is_ok())
}

fn hex_digit(value: u8) -> u8 {
    b"0123456789abcdef"[usize::from(value & 15)]
}

/// Upper case is refused, as the original does (`observed/believes.md`).
fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(method: SigningMethod, secret: &str, text: &str) -> String {
        let key = AuthKey { method, secret: secret.as_bytes().to_vec() };
        let mut out = Vec::new();
        append_signature((7, &key), text.as_bytes(), &mut out);
        let keys = AuthKeys { active: 7, keys: [(7, key)].into() };
        let check = |signature: &[u8]| {
            verify(&keys, Framing::Netstring, signature, &mut std::iter::once(text.as_bytes()))
        };
        assert_eq!(check(&out), Ok(7));
        assert!(check(&out.to_ascii_uppercase()).is_err() || out.to_ascii_uppercase() == out);
        assert!(check(&[out.as_slice(), b"0"].concat()).is_err());
        assert!(check(&out[..out.len() - 1]).is_err());
        String::from_utf8(out).unwrap()
    }

    /// RFC 2202, test case 2 of each; the catalogue's check value of CRC-32/CKSUM.
    #[test]
    fn published_vectors() {
        let text = "what do ya want for nothing?";
        assert_eq!(signature(SigningMethod::Md5, "Jefe", text), "7 750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(
            signature(SigningMethod::Sha1, "Jefe", text),
            "7 effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        );
        assert_eq!(signature(SigningMethod::Crc, "", "123456789"), "7 765e7680");
    }

    /// A sum with leading zeroes is written without them, and read only so.
    #[test]
    fn crc_has_no_leading_zeroes() {
        let text = (0..)
            .map(|n| format!("x{n}"))
            .find(|text| crc_of(&mut std::iter::once(text.as_bytes())) < 0x0100_0000);
        let text = text.unwrap();
        let short = signature(SigningMethod::Crc, "", &text);
        assert!(short.len() <= 8, "{short}");
        let keys = AuthKeys {
            active: 7,
            keys: [(7, AuthKey { method: SigningMethod::Crc, secret: Vec::new() })].into(),
        };
        let padded = format!("7 {:0>8}", &short[2..]);
        let parts = &mut std::iter::once(text.as_bytes());
        assert!(verify(&keys, Framing::Netstring, padded.as_bytes(), parts).is_err());
    }

    #[test]
    fn table_is_whole() {
        for wanted in [SigningMethod::Crc, SigningMethod::Md5, SigningMethod::Sha1] {
            assert_eq!(method(wanted).method, wanted);
        }
    }

    #[test]
    fn signature_form() {
        assert_eq!(split_signature(b"1 ab"), Some((1, b"ab".as_slice())));
        assert_eq!(split_signature(b"15 ab"), Some((15, b"ab".as_slice())));
        for bad in ["", "1", "1 ", " ab", "01 ab", "a ab", "-1 ab", "999 ab", "1\tab"] {
            assert_eq!(split_signature(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
