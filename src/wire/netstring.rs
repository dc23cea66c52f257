//! Netstring framing: `###`, one netstring per field, `%%%` (messaging spec 1.3).

use super::message::{Field, Message, Value, FIELDS_MAX};
use super::{list, MalformedError, DEPTH_MAX, MESSAGE_MAX_BYTES};

/// First line.
pub const START: &[u8] = b"###\n";
/// Last line.
pub const END: &[u8] = b"%%%\n";
/// Most digits of a length; more would be beyond [`MESSAGE_MAX_BYTES`].
const LENGTH_DIGITS_MAX: usize = 7;

/// Appends the framed message, without a trailer.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(START);
    for Field { name, value } in message.fields() {
        match value {
            Value::Text(bytes) => field(out, name, b'0', bytes),
            Value::Binary(bytes) => field(out, name, b'1', bytes),
            Value::Message(inner) => {
                let mut nested = Vec::new();
                encode(inner, &mut nested);
                field(out, name, b'2', &nested);
            }
            Value::List(items) => field(out, name, b'3', &list::pack(items)),
            Value::Compressed(bytes) => field(out, name, b'4', bytes),
        }
    }
    out.extend_from_slice(END);
}

fn field(out: &mut Vec<u8>, name: &str, kind: u8, value: &[u8]) {
    let length = 3 + name.len() + 1 + value.len();
    out.extend_from_slice(length.to_string().as_bytes());
    out.extend_from_slice(b":(");
    out.push(kind);
    out.push(b')');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b',');
}

/// Length of the part from `###` through `%%%`, found by walking the lengths alone; what is in the
/// fields is not looked at, so that this may be done before anything is trusted.
///
/// # Errors
/// [`MalformedError`] when the lengths lead nowhere.
pub fn frame_length(bytes: &[u8]) -> Result<usize, MalformedError> {
    if !bytes.starts_with(START) {
        return Err(MalformedError::NotAMessage);
    }
    let mut at = START.len();
    let mut fields = 0;
    while !bytes[at..].starts_with(END) {
        let (_, next) = peel(bytes, at)?;
        at = next;
        fields += 1;
        if fields > FIELDS_MAX {
            return Err(MalformedError::TooManyFields);
        }
    }
    Ok(at + END.len())
}

/// One netstring at `at`: its content and where the next begins.
///
/// # Errors
/// [`MalformedError`] when there is none.
pub fn peel(bytes: &[u8], at: usize) -> Result<(&[u8], usize), MalformedError> {
    let rest = bytes.get(at..).ok_or(MalformedError::Truncated)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > LENGTH_DIGITS_MAX {
        return Err(if rest.is_empty() { MalformedError::Truncated } else { MalformedError::BadLength });
    }
    let length = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    let content_at = digits + 1;
    if rest.get(digits) != Some(&b':') || length > MESSAGE_MAX_BYTES {
        return Err(MalformedError::BadLength);
    }
    let content = rest.get(content_at..content_at + length).ok_or(MalformedError::Truncated)?;
    match rest.get(content_at + length) {
        Some(b',') => Ok((content, at + content_at + length + 1)),
        Some(_) => Err(MalformedError::BadLength),
        None => Err(MalformedError::Truncated),
    }
}

/// Decodes one framed message at the beginning of `bytes`; what follows it is not looked at.
///
/// # Errors
/// [`MalformedError`]; nothing of the message is used then.
pub fn decode(bytes: &[u8], depth: usize) -> Result<Message, MalformedError> {
    if depth > DEPTH_MAX {
        return Err(MalformedError::TooDeep);
    }
    if !bytes.starts_with(START) {
        return Err(MalformedError::NotAMessage);
    }
    let mut message = Message::empty();
    let mut at = START.len();
    while !bytes[at..].starts_with(END) {
        if message.fields().len() == FIELDS_MAX {
            return Err(MalformedError::TooManyFields);
        }
        let (content, next) = peel(bytes, at)?;
        decode_field(content, depth, &mut message)?;
        at = next;
    }
    Ok(message)
}

fn decode_field(content: &[u8], depth: usize, message: &mut Message) -> Result<(), MalformedError> {
    let [b'(', kind, b')', rest @ ..] = content else {
        return Err(MalformedError::BadField);
    };
    let equals = rest.iter().position(|byte| *byte == b'=').ok_or(MalformedError::BadField)?;
    let name = super::field_name(&rest[..equals])?;
    let value = &rest[equals + 1..];
    let value = match kind {
        b'0' if value.contains(&0) => return Err(MalformedError::BadField),
        b'0' => Value::Text(value.to_vec()),
        b'1' => Value::Binary(value.to_vec()),
        b'2' => Value::Message(decode(value, depth + 1)?),
        b'3' => Value::List(list::unpack(value)?),
        b'4' => Value::Compressed(value.to_vec()),
        _ => return Err(MalformedError::BadField),
    };
    message.push(name, value);
    Ok(())
}
