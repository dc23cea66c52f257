//! Datagrams and frames: bytes to messages and back.
//!
//! ```text
//! decode_datagram   length ─▶ walk over lengths ─▶ signature ─▶ fields ─▶ [decompress ─▶ fields]
//! encode_datagram   fields ─▶ inner auth ─▶ [compress] ─▶ netstring ─▶ signature
//! ```
//!
//! Bytes that nobody vouches for are only measured: fields are looked at after the digest was
//! found right. Local sources (API socket, FIFO) have no signature; they are trusted by their
//! file's permissions.

pub mod apphb;
pub mod base64;
mod classic;
mod compress;
mod error;
pub mod logd;
pub mod message;
mod netstring;
mod sign;
mod stream;

pub use compress::Compressor;
pub use error::{DecodeError, EncodeError};
pub use stream::MessageStream;

use crate::types::AuthKeys;
use message::{Field, Message, Value, FIELDS_MAX};

/// Longest message on the wire or in a frame of the client API, in bytes (messaging spec 1.6).
/// UDP carries 65507.
pub const MESSAGE_MAX_BYTES: usize = 256 * 1024;

/// Longest message after decompression, in bytes (messaging spec 1.6).
pub const EXPANDED_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Levels of messages within messages, the outermost counted (messaging spec 1.1).
pub const DEPTH_MAX: usize = 16;

/// Most items of a list.
pub const LIST_ITEMS_MAX: usize = 1024;

/// Most fields of a message and all that are nested in it, together.
pub const FIELDS_NESTED_MAX: usize = 4096;

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `>>>` lines `<<<` (messaging spec 1.2).
    Classic,
    /// `###` netstrings `%%%` (messaging spec 1.3).
    Netstring,
}

/// What `msgfmt` in ha.cf chooses. Datagrams are netstring either way (messaging spec 1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageFormat {
    /// Datagrams carry the inner signature `auth` as last field.
    #[default]
    Classic,
    /// They do not.
    Netstring,
}

/// When and how whole messages are compressed (messaging spec 1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// `compression` of ha.cf.
    pub compressor: Compressor,
    /// Messages whose encoding is longer than this are compressed: `compression_threshold` with
    /// `traditional_compression on`, else [`MESSAGE_MAX_BYTES`].
    pub threshold_bytes: usize,
}

/// How datagrams are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WireFormat {
    /// With or without inner signature.
    pub message_format: MessageFormat,
    /// Compression of long messages; `None`: never.
    pub compression: Option<Compression>,
}

/// A datagram whose signature was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The message, decompressed, without the inner signature `auth` where that was the last
    /// field (classic framing: wherever it was).
    pub message: Message,
    /// The number of the key it was signed with: what a 3.0.6 peer has in its `auth` line, and so
    /// the number to sign with towards it.
    pub key_index: u8,
    /// How it was written.
    pub framing: Framing,
    /// The message had `auth` as its last field. Always so in classic framing, where it is the
    /// signature; in netstring framing it was not looked at.
    pub inner_auth: bool,
    /// How it was compressed, if it was.
    pub compressor: Option<Compressor>,
}

/// Writes and signs a datagram: netstring framing with the signature behind it, as all UDP and
/// ICMP media carry it (messaging spec 1.4).
///
/// `key_index` is a number of authkeys, `None` for the active one. With
/// [`MessageFormat::Classic`] a field `auth` of the message's own is replaced by the inner
/// signature. A message over the compression threshold is compressed where that makes it shorter.
///
/// Errors: [`EncodeError`]; nothing is sent, and a sequence number already in the message is lost.
pub fn encode_datagram(
    message: &Message,
    keys: &AuthKeys,
    key_index: Option<u8>,
    format: &WireFormat,
) -> Result<Vec<u8>, EncodeError> {
    let key = sign::choose_key(keys, key_index)?;
    let mut length = netstring::measure(message, 0)?;
    let inner_auth = match format.message_format {
        MessageFormat::Classic if message.fields().iter().all(|field| classic::suits(&field.value)) => {
            Some(inner_signature(message, key)?)
        }
        _ => None,
    };
    length += inner_auth.as_ref().map_or(0, |text| text.len() + 16);
    if length > EXPANDED_MAX_BYTES {
        return Err(EncodeError::TooLarge { limit_bytes: EXPANDED_MAX_BYTES });
    }
    if let Some(compression) = format.compression.filter(|it| length > it.threshold_bytes) {
        if let Some(packed) = compressed(message, inner_auth.as_deref(), compression.compressor)? {
            return finish_datagram(&packed, None, key);
        }
    }
    finish_datagram(message, inner_auth.as_deref(), key)
}

/// Checks and reads a datagram. Both framings are taken, with or without NUL at the end; what
/// follows the signature (netstring) or the last line (classic) is ignored, as the original does.
/// In netstring framing only the signature behind the message counts, in classic framing only the
/// field `auth` (messaging spec 1.4, 1.5).
///
/// Errors: [`DecodeError`]; the datagram is to be dropped, nothing changed.
pub fn decode_datagram(bytes: &[u8], keys: &AuthKeys) -> Result<Datagram, DecodeError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(DecodeError::TooLarge { limit_bytes: MESSAGE_MAX_BYTES });
    }
    let mut datagram = match framing_of(bytes)? {
        Framing::Netstring => decode_netstring(bytes, keys)?,
        Framing::Classic => decode_classic(bytes, keys)?,
    };
    if let Some(packed) = datagram.message.binary(PAYLOAD) {
        let compressor = datagram.message.text(ALGORITHM).and_then(|name| name.parse().ok());
        let compressor: Compressor = compressor.ok_or(DecodeError::BadCompression("unknown algorithm"))?;
        (datagram.message, datagram.inner_auth) = expand(packed, compressor)?;
        datagram.compressor = Some(compressor);
    }
    Ok(datagram)
}

/// Writes and signs a message for a serial line: classic text, with the signature as field `auth`
/// (messaging spec 1.4). A field `auth` of the message's own is replaced.
///
/// Errors: as [`encode_datagram`], and [`EncodeError::NotInClassic`].
pub fn encode_serial(
    message: &Message,
    keys: &AuthKeys,
    key_index: Option<u8>,
) -> Result<Vec<u8>, EncodeError> {
    let key = sign::choose_key(keys, key_index)?;
    let mut out = classic::START.to_vec();
    write_lines_without_auth(message, &mut out)?;
    let mut signature = Vec::with_capacity(sign::SIGNATURE_MAX_BYTES);
    sign::append_signature(key, &out[classic::START.len()..], &mut signature);
    out.extend_from_slice(b"auth=");
    out.extend_from_slice(&signature);
    out.push(b'\n');
    out.extend_from_slice(classic::END);
    within(MESSAGE_MAX_BYTES, out)
}

/// Writes the body of a frame for a local client, unsigned: classic text with a NUL behind it; or
/// netstring framing where a field cannot go in classic (messaging spec 1.4, 7.4).
///
/// Errors: [`EncodeError`]; nothing is sent.
pub fn encode_api(message: &Message) -> Result<Vec<u8>, EncodeError> {
    within(MESSAGE_MAX_BYTES, encode_plain(message, None, true)?)
}

/// Reads an unsigned message from a local source: the body of a client's frame, or a text from the
/// FIFO. Both framings are taken, with or without NUL at the end, and netstring framing also
/// without its last newline (the original's tools cut one byte off, messaging spec 1.4). A field
/// `auth` stays in the message.
///
/// Errors: [`DecodeError`] (those about signatures and compression do not occur); the message is
/// to be dropped, nothing changed.
pub fn decode_local(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MESSAGE_MAX_BYTES {
        return Err(DecodeError::TooLarge { limit_bytes: MESSAGE_MAX_BYTES });
    }
    if framing_of(bytes)? == Framing::Netstring && bytes.ends_with(b",%%%") {
        return parse_plain(&[bytes, b"\n"].concat());
    }
    parse_plain(bytes)
}

/// The field with the compressed message.
const PAYLOAD: &str = "_compressed_payload";
/// The field with the compressor's name.
const ALGORITHM: &str = "_compression_algorithm";

/// Fields still allowed in the message being read, nested ones counted: bounds the memory a
/// message of many tiny fields can take.
struct Budget {
    fields_left: usize,
}

impl Budget {
    fn new() -> Self {
        Self { fields_left: FIELDS_NESTED_MAX }
    }

    /// `false` when there is none left.
    fn take_field(&mut self) -> bool {
        let some = self.fields_left > 0;
        self.fields_left = self.fields_left.saturating_sub(1);
        some
    }
}

fn framing_of(bytes: &[u8]) -> Result<Framing, DecodeError> {
    match bytes.get(..4) {
        Some(netstring::START) => Ok(Framing::Netstring),
        Some(classic::START) => Ok(Framing::Classic),
        _ => Err(DecodeError::NotAMessage),
    }
}

fn decode_netstring(bytes: &[u8], keys: &AuthKeys) -> Result<Datagram, DecodeError> {
    let framing = Framing::Netstring;
    let (signed, rest) = netstring::walk(bytes)?;
    let (signature, _ignored) = netstring::peel(rest).map_err(|_| DecodeError::Unsigned { framing })?;
    let key_index = sign::verify(keys, framing, signature, &mut std::iter::once(signed))?;
    let (mut message, _) = netstring::parse(signed, 0, &mut Budget::new())?;
    let inner_auth = message.pop_last_text(classic::AUTH);
    Ok(Datagram { message, key_index, framing, inner_auth, compressor: None })
}

fn decode_classic(bytes: &[u8], keys: &AuthKeys) -> Result<Datagram, DecodeError> {
    let framing = Framing::Classic;
    let walked = classic::walk(bytes)?;
    let signature = walked.text(classic::AUTH).ok_or(DecodeError::Unsigned { framing })?;
    let key_index = sign::verify(keys, framing, signature, &mut walked.lines_without(classic::AUTH))
        .map_err(|error| with_claimed_node(error, walked.text("src")))?;
    let mut message = classic::parse(&walked, 0, &mut Budget::new())?;
    let fields = message.fields().len();
    message.remove(classic::AUTH);
    if message.fields().len() + 1 != fields {
        return Err(DecodeError::Malformed { framing, what: "more than one auth field" });
    }
    Ok(Datagram { message, key_index, framing, inner_auth: true, compressor: None })
}

fn with_claimed_node(error: DecodeError, node: Option<&[u8]>) -> DecodeError {
    match error {
        DecodeError::BadDigest { framing, index, claimed, .. } => {
            let claimed_node = sign::printable(node.unwrap_or(b"?"), crate::types::NODE_NAME_MAX_BYTES);
            DecodeError::BadDigest { framing, index, claimed, claimed_node }
        }
        other => other,
    }
}

/// Decompresses and reads a payload; it is not signed again, and it is not a compressed message
/// again. Also tells whether it had an inner signature, which is taken out.
fn expand(packed: &[u8], compressor: Compressor) -> Result<(Message, bool), DecodeError> {
    let plain = compressor.expand(packed)?;
    let parsed = parse_plain(&plain);
    let mut message = parsed.map_err(|_| DecodeError::BadCompression("payload is not a message"))?;
    if message.value(PAYLOAD).is_some() {
        return Err(DecodeError::BadCompression("compressed twice"));
    }
    let inner_auth = message.pop_last_text(classic::AUTH);
    Ok((message, inner_auth))
}

/// Reads an unsigned message of either framing.
fn parse_plain(bytes: &[u8]) -> Result<Message, DecodeError> {
    match framing_of(bytes)? {
        Framing::Netstring => netstring::parse(bytes, 0, &mut Budget::new()).map(|(message, _)| message),
        Framing::Classic => classic::parse(&classic::walk(bytes)?, 0, &mut Budget::new()),
    }
}

/// Writes an unsigned message: classic with NUL if wanted and possible, else netstring.
fn encode_plain(message: &Message, auth: Option<&[u8]>, classic: bool) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    if classic && message.fields().iter().all(|field| classic::suits(&field.value)) {
        out.reserve(message.fields().len() * 32 + 16);
        out.extend_from_slice(classic::START);
        if let Some(auth) = auth {
            write_lines_without_auth(message, &mut out)?;
            out.extend_from_slice(b"auth=");
            out.extend_from_slice(auth);
            out.push(b'\n');
        } else {
            classic::write_lines(message, 0, &mut out)?;
        }
        out.extend_from_slice(classic::END);
        out.push(0);
    } else {
        out.reserve(netstring::measure(message, 0)?);
        netstring::write(message, 0, &mut out);
    }
    Ok(out)
}

/// The compressed form of a message, itself a message; `None` when it would be no shorter.
fn compressed(
    message: &Message,
    auth: Option<&[u8]>,
    compressor: Compressor,
) -> Result<Option<Message>, EncodeError> {
    let plain = encode_plain(message, auth, auth.is_some())?;
    if plain.len() > EXPANDED_MAX_BYTES {
        return Err(EncodeError::TooLarge { limit_bytes: EXPANDED_MAX_BYTES });
    }
    let Some(packed) = compressor.compress(&plain).filter(|packed| packed.len() < plain.len()) else {
        return Ok(None);
    };
    let mut outer = Message::empty();
    outer.push(PAYLOAD, Value::Binary(packed));
    outer.push_text(ALGORITHM, compressor.as_str());
    Ok(Some(outer))
}

/// Writes the netstring form, the inner signature as last field, and signs it.
fn finish_datagram(
    message: &Message,
    auth: Option<&[u8]>,
    key: (u8, &crate::types::AuthKey),
) -> Result<Vec<u8>, EncodeError> {
    let replaced = auth.and_then(|_| message.value(classic::AUTH)).map(|_| {
        let mut message = message.clone();
        message.remove(classic::AUTH);
        message
    });
    let message = replaced.as_ref().unwrap_or(message);
    let length = netstring::measure(message, 0)?;
    let mut out = Vec::with_capacity(length + 2 * (sign::SIGNATURE_MAX_BYTES + 16));
    netstring::write(message, 0, &mut out);
    if let Some(auth) = auth {
        out.truncate(out.len() - netstring::END.len());
        push_decimal(&mut out, "(0)auth=".len() + auth.len());
        out.extend_from_slice(b":(0)auth=");
        out.extend_from_slice(auth);
        out.push(b',');
        out.extend_from_slice(netstring::END);
    }
    let mut signature = Vec::with_capacity(sign::SIGNATURE_MAX_BYTES);
    sign::append_signature(key, &out, &mut signature);
    netstring::write_string(&signature, &mut out);
    within(MESSAGE_MAX_BYTES, out)
}

/// The text of the field `auth` that the message carries when the active key signs it: `number digest`.
///
/// Errors: [`EncodeError`]; there is none of it.
pub fn inner_auth(message: &Message, keys: &AuthKeys) -> Result<String, EncodeError> {
    let signature = inner_signature(message, sign::choose_key(keys, None)?)?;
    Ok(String::from_utf8_lossy(&signature).into_owned())
}

/// `number digest` over the classic lines of the message (messaging spec 1.5).
fn inner_signature(message: &Message, key: (u8, &crate::types::AuthKey)) -> Result<Vec<u8>, EncodeError> {
    let mut lines = Vec::with_capacity(message.fields().len() * 32);
    write_lines_without_auth(message, &mut lines)?;
    let mut signature = Vec::with_capacity(sign::SIGNATURE_MAX_BYTES);
    sign::append_signature(key, &lines, &mut signature);
    Ok(signature)
}

fn write_lines_without_auth(message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if message.fields().len() >= FIELDS_MAX {
        return Err(EncodeError::TooManyFields);
    }
    if message.value(classic::AUTH).is_none() {
        return classic::write_lines(message, 0, out);
    }
    let mut message = message.clone();
    message.remove(classic::AUTH);
    classic::write_lines(&message, 0, out)
}

fn within(limit_bytes: usize, bytes: Vec<u8>) -> Result<Vec<u8>, EncodeError> {
    if bytes.len() > limit_bytes {
        return Err(EncodeError::TooLarge { limit_bytes });
    }
    Ok(bytes)
}

/// A name of a field out of a packet, if it can be one. Control characters are refused besides
/// what the original refuses: a newline in a name would make two lines of one in classic framing.
fn field_name(bytes: &[u8]) -> Option<&str> {
    let control = bytes.iter().any(|byte| byte.is_ascii_control());
    let bad = bytes.is_empty() || control || bytes.starts_with(b"(") || bytes.starts_with(b">>>");
    std::str::from_utf8(bytes).ok().filter(|_| !bad)
}

/// Can this field be sent in some framing?
fn check_field(field: &Field) -> Result<(), EncodeError> {
    if field.name.contains('=') || field_name(field.name.as_bytes()).is_none() {
        return Err(EncodeError::FieldName(field.name.clone()));
    }
    match &field.value {
        Value::Text(bytes) if bytes.contains(&0) => Err(EncodeError::TextWithNul(field.name.clone())),
        Value::List(items) if items.iter().any(|item| item.contains(&0)) => {
            Err(EncodeError::TextWithNul(field.name.clone()))
        }
        Value::List(items) if items.len() > LIST_ITEMS_MAX || items.iter().any(Vec::is_empty) => {
            Err(EncodeError::List(field.name.clone()))
        }
        _ => Ok(()),
    }
}

/// Appends a number in decimal, without the detour of formatting.
fn push_decimal(out: &mut Vec<u8>, number: usize) {
    let start = out.len();
    let mut rest = number;
    loop {
        out.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out[start..].reverse();
}
