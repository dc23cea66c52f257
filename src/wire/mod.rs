//! Datagrams and frames: bytes to messages and back.
//!
//! A datagram is verified before its fields are looked at: the trailer of a netstring packet is
//! found by walking lengths alone.

pub mod message;

mod base64;
mod classic;
mod compress;
mod list;
mod netstring;
mod sign;

use crate::types::{AuthKeys, LogLevel};

use message::{Message, Value};

pub use compress::Compressor;

/// Largest message on the wire or in a frame (messaging spec 1.6).
pub const MESSAGE_MAX_BYTES: usize = 256 * 1024;
/// Largest message after decompression (messaging spec 1.6).
pub const DECOMPRESSED_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Largest UDP payload over IPv4.
pub const DATAGRAM_MAX_BYTES: usize = 65_507;
/// Deepest nesting (messaging spec 1.1).
pub const DEPTH_MAX: usize = 16;
/// Longest field name.
const NAME_MAX_BYTES: usize = 255;

/// How a message was framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `>>>` … `<<<`
    Classic,
    /// `###` … `%%%`
    Netstring,
}

/// A verified datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The fields, decompressed, without the inner `auth`.
    pub message: Message,
    /// The authkeys number it was signed with.
    pub key_index: u8,
    /// How it was framed.
    pub framing: Framing,
    /// It carried an inner `auth` as its last field.
    pub inner_auth: bool,
    /// It came compressed.
    pub compressor: Option<Compressor>,
}

/// How to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFormat {
    /// Add the inner `auth` field (`msgfmt classic`).
    pub inner_auth: bool,
    /// Compress messages whose encoding is larger than so many bytes.
    pub compression: Option<(Compressor, usize)>,
}

/// Bytes that are no message. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedError {
    /// Neither start mark.
    #[error("not a heartbeat message")]
    NotAMessage,
    /// The end is missing.
    #[error("message is cut off")]
    Truncated,
    /// A length that is no number, too large, or points to the wrong place.
    #[error("wrong length in message")]
    BadLength,
    /// A field without a name, of unknown type, or with a value that its type does not allow.
    #[error("damaged field in message")]
    BadField,
    /// More than [`message::FIELDS_MAX`].
    #[error("too many fields in message")]
    TooManyFields,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("message nested too deep")]
    TooDeep,
}

/// Why a datagram was dropped. Nothing was changed by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`MESSAGE_MAX_BYTES`].
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// No message.
    #[error("{0}")]
    Malformed(#[from] MalformedError),
    /// No signature where one must be.
    #[error("Bad/invalid auth token")]
    Unsigned,
    /// Signed with a number that is not in authkeys.
    #[error("Invalid authentication [{0}] in message!")]
    UnknownKey(u32),
    /// The digest is another one. The original logs the right digest beside it; ours keeps it to
    /// itself, since it would let whoever reads the log send the message.
    #[error("authtoken does not match, authtoken={0}")]
    BadDigest(String),
    /// Unknown compressor, damaged, or larger than [`DECOMPRESSED_MAX_BYTES`].
    #[error("message cannot be decompressed")]
    Compression,
}

impl DecodeError {
    /// A short word for counters and rate limits.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too large",
            Self::Malformed(_) => "damaged",
            Self::Unsigned => "not signed",
            Self::UnknownKey(_) => "unknown key",
            Self::BadDigest(_) => "wrong signature",
            Self::Compression => "compression",
        }
    }

    /// How loud the original is about it (spec/observed, believes).
    pub fn log_level(&self) -> LogLevel {
        match self {
            Self::UnknownKey(_) => LogLevel::Warning,
            _ => LogLevel::Error,
        }
    }
}

/// Why a message was not sent. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The key is not in authkeys.
    #[error("key {0} is not in authkeys")]
    UnknownKey(u8),
    /// Larger than a datagram can be.
    #[error("message of {0} bytes does not fit into a datagram")]
    TooLarge(usize),
}

/// Encodes and signs: netstring framing with a trailer, the only form 3.0.6 sends over UDP
/// (messaging spec 1.4). `key_index` `None` signs with the active key.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_datagram(
    message: &Message,
    keys: &AuthKeys,
    key_index: Option<u8>,
    format: &WireFormat,
) -> Result<Vec<u8>, EncodeError> {
    let index = key_index.filter(|index| keys.keys.contains_key(index)).unwrap_or(keys.active);
    let key = keys.keys.get(&index).ok_or(EncodeError::UnknownKey(index))?;
    let mut out = Vec::with_capacity(512);
    let mut text = Vec::with_capacity(256);
    let plain =
        message.fields().iter().all(|field| !matches!(field.value, Value::Message(_) | Value::Compressed(_)));
    if format.inner_auth && plain && classic::lines(message, &mut text, 0).is_ok() {
        let signed = message.clone().with("auth", &format!("{index} {}", sign::sign(key, &text)));
        netstring::encode(&signed, &mut out);
    } else {
        netstring::encode(message, &mut out);
    }
    if let Some(compressed) = compress_if_large(message, &out, format) {
        out.clear();
        netstring::encode(&compressed, &mut out);
    }
    let trailer = format!("{index} {}", sign::sign(key, &out));
    out.extend_from_slice(trailer.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(trailer.as_bytes());
    out.push(b',');
    if out.len() > DATAGRAM_MAX_BYTES {
        return Err(EncodeError::TooLarge(out.len()));
    }
    Ok(out)
}

fn compress_if_large(message: &Message, encoded: &[u8], format: &WireFormat) -> Option<Message> {
    let (compressor, threshold) = format.compression?;
    if encoded.len() <= threshold {
        return None;
    }
    let (payload, name) = compress::compress(compressor, &encode_api(message))?;
    let mut outer = Message::empty();
    outer.push("_compressed_payload", Value::Binary(payload));
    outer.push_text("_compression_algorithm", name);
    Some(outer)
}

/// Verifies and decodes one datagram in either framing; a NUL or other bytes behind its end do
/// not matter.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_datagram(bytes: &[u8], keys: &AuthKeys) -> Result<Datagram, DecodeError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    let (mut message, key_index, framing) = if bytes.starts_with(classic::START) {
        decode_classic(bytes, keys)?
    } else {
        decode_netstring(bytes, keys)?
    };
    let mut compressor = None;
    if let Some((inner, used)) = decompressed(&message)? {
        message = inner;
        compressor = Some(used);
    }
    let inner_auth = message.fields().last().is_some_and(|field| field.name == "auth");
    if inner_auth {
        message.pop();
    }
    Ok(Datagram { message, key_index, framing, inner_auth, compressor })
}

fn decode_netstring(bytes: &[u8], keys: &AuthKeys) -> Result<(Message, u8, Framing), DecodeError> {
    let length = netstring::frame_length(bytes)?;
    let (token, _) = netstring::peel(bytes, length).map_err(|_| DecodeError::Unsigned)?;
    let key_index = check(token, &bytes[..length], keys)?;
    Ok((netstring::decode(&bytes[..length], 0)?, key_index, Framing::Netstring))
}

/// The inner `auth` covers all lines but its own (messaging spec 1.5).
fn decode_classic(bytes: &[u8], keys: &AuthKeys) -> Result<(Message, u8, Framing), DecodeError> {
    let message = classic::decode(bytes, 0)?;
    let Some(Value::Text(token)) = message.value("auth").cloned() else {
        return Err(DecodeError::Unsigned);
    };
    let mut unsigned = message.clone();
    unsigned.remove("auth");
    let mut lines = Vec::new();
    classic::lines(&unsigned, &mut lines, 0)?;
    let key_index = check(&token, &lines, keys)?;
    // Kept as the last field, where the caller takes it off.
    unsigned.push("auth", Value::Text(token));
    Ok((unsigned, key_index, Framing::Classic))
}

/// `INDEX DIGEST`: the number of the key that verifies.
fn check(token: &[u8], signed: &[u8], keys: &AuthKeys) -> Result<u8, DecodeError> {
    let space = token.iter().position(|byte| *byte == b' ').ok_or(DecodeError::Unsigned)?;
    let index = std::str::from_utf8(&token[..space])
        .ok()
        .filter(|digits| digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u32>().ok())
        .ok_or(DecodeError::Unsigned)?;
    let number = u8::try_from(index).map_err(|_| DecodeError::UnknownKey(index))?;
    let key = keys.keys.get(&number).ok_or(DecodeError::UnknownKey(index))?;
    let digest = &token[space + 1..];
    if sign::verify(key, signed, digest) {
        return Ok(number);
    }
    let shown: String = String::from_utf8_lossy(digest).chars().take(64).collect();
    Err(DecodeError::BadDigest(shown.escape_default().to_string()))
}

fn decompressed(outer: &Message) -> Result<Option<(Message, Compressor)>, DecodeError> {
    let Some(payload) = outer.binary("_compressed_payload") else {
        return Ok(None);
    };
    let name = outer.text("_compression_algorithm").ok_or(DecodeError::Compression)?;
    let compressor = if name == "bz2" { Compressor::Bzip2 } else { Compressor::Zlib };
    let bytes = compress::decompress(name, payload)?;
    Ok(Some((decode_unsigned(&bytes)?, compressor)))
}

/// Body of a client frame: classic text with a NUL; netstrings when a field does not fit into
/// lines (messaging spec 1.4).
pub fn encode_api(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let plain =
        message.fields().iter().all(|field| !matches!(field.value, Value::Message(_) | Value::Compressed(_)));
    if plain && classic::encode(message, &mut out).is_ok() {
        out.push(0);
        return out;
    }
    out.clear();
    netstring::encode(message, &mut out);
    out
}

/// A client frame's body or a script's text, which carry no signature.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_local(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    decode_unsigned(bytes)
}

fn decode_unsigned(bytes: &[u8]) -> Result<Message, DecodeError> {
    Ok(if bytes.starts_with(classic::START) {
        classic::decode(bytes, 0)?
    } else {
        netstring::decode(bytes, 0)?
    })
}

/// A field's name: not empty, text, nothing that would read as something else in lines
/// (messaging spec 1.1).
fn field_name(bytes: &[u8]) -> Result<&str, MalformedError> {
    let name = std::str::from_utf8(bytes).map_err(|_| MalformedError::BadField)?;
    let usable = !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && !name.starts_with('(')
        && !name.starts_with(">>>");
    if usable && !name.contains(['\n', '\0', '=']) {
        Ok(name)
    } else {
        Err(MalformedError::BadField)
    }
}
