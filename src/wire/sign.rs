//! Signatures (messaging spec 1.5).

use crc::{Algorithm, Crc};
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;

use crate::types::{AuthKey, SigningMethod};

/// POSIX cksum without the length: polynomial 04C11DB7, most significant bit first, start 0,
/// complement at the end.
const CHECKSUM: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x04c1_1db7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0xffff_ffff,
    check: 0x765e_7680,
    residue: 0xc704_dd7b,
};

static CRC: Crc<u32> = Crc::<u32>::new(&CHECKSUM);

/// One way of signing.
struct Method {
    method: SigningMethod,
    /// The digest's text over the bytes.
    sign: fn(&[u8], &[u8]) -> String,
    /// Whether the text is the digest.
    verify: fn(&[u8], &[u8], &[u8]) -> bool,
}

/// THE TABLE of signing methods.
const METHODS: [Method; 3] = [
    Method {
        method: SigningMethod::Crc,
        sign: |_, bytes| format!("{:x}", CRC.checksum(bytes)),
        verify: |_, bytes, text| format!("{:x}", CRC.checksum(bytes)).as_bytes() == text,
    },
    Method {
        method: SigningMethod::Md5,
        sign: |key, bytes| {
            mac::<Hmac<Md5>>(key, bytes).map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default()
        },
        verify: |key, bytes, text| verify_mac::<Hmac<Md5>>(key, bytes, text),
    },
    Method {
        method: SigningMethod::Sha1,
        sign: |key, bytes| {
            mac::<Hmac<Sha1>>(key, bytes).map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default()
        },
        verify: |key, bytes, text| verify_mac::<Hmac<Sha1>>(key, bytes, text),
    },
];

/// The digest of `bytes` as text: lower-case hexadecimal, of a checksum without leading zeroes.
pub fn sign(key: &AuthKey, bytes: &[u8]) -> String {
    (method(key).sign)(&key.secret, bytes)
}

/// Whether `text` is the digest of `bytes`. Keyed digests are compared in constant time; upper
/// case is refused, as the original does.
pub fn verify(key: &AuthKey, bytes: &[u8], text: &[u8]) -> bool {
    (method(key).verify)(&key.secret, bytes, text)
}

fn method(key: &AuthKey) -> &'static Method {
    METHODS.iter().find(|method| method.method == key.method).unwrap_or(&METHODS[0])
}

fn mac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8]) -> Option<M> {
    // HMAC takes keys of any length; there is no error to come.
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(bytes);
    Some(mac)
}

fn verify_mac<M: Mac + KeyInit>(key: &[u8], bytes: &[u8], text: &[u8]) -> bool {
    let Some(digest) = unhex(text) else {
        return false;
    };
    mac::<M>(key, bytes).is_some_and(|mac| mac.verify_slice(&digest).is_ok())
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() % 2 != 0 || text.len() > 64 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
