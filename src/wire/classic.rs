//! Classic framing: `>>>`, one line per field, `<<<` (messaging spec 1.2).

use super::message::{Field, Message, Value, FIELDS_MAX};
use super::{base64, list, MalformedError, DEPTH_MAX};

/// First line.
pub const START: &[u8] = b">>>\n";
/// Last line.
pub const END: &[u8] = b"<<<\n";
/// Stands for a line end inside a text value.
const LINE_END_IN_TEXT: u8 = 19;
/// Stands for a line end inside a nested message, by depth.
const LINE_END_BY_DEPTH: [u8; 16] = [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 15, 16, 17, 18];

/// Appends the framed message, without a NUL.
///
/// # Errors
/// [`MalformedError`] when a nested message cannot be written in this form (too deep, or it holds
/// the byte that would stand for a line end): use netstrings then.
pub fn encode(message: &Message, out: &mut Vec<u8>) -> Result<(), MalformedError> {
    encode_at(message, out, 0)
}

fn encode_at(message: &Message, out: &mut Vec<u8>, depth: usize) -> Result<(), MalformedError> {
    out.extend_from_slice(START);
    lines(message, out, depth)?;
    out.extend_from_slice(END);
    Ok(())
}

/// The lines between the marks: what the inner `auth` is computed over (messaging spec 1.5).
///
/// # Errors
/// As [`encode`].
pub fn lines(message: &Message, out: &mut Vec<u8>, depth: usize) -> Result<(), MalformedError> {
    for Field { name, value } in message.fields() {
        let start = |out: &mut Vec<u8>, kind: &str| {
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
        };
        match value {
            Value::Text(bytes) => {
                start(out, "");
                out.extend(bytes.iter().map(|byte| if *byte == b'\n' { LINE_END_IN_TEXT } else { *byte }));
            }
            Value::Binary(bytes) => {
                start(out, "(1)");
                base64::encode(bytes, out);
            }
            Value::Message(inner) => {
                start(out, "(2)");
                nested(inner, out, depth)?;
            }
            Value::List(items) => {
                start(out, "(3)");
                out.extend_from_slice(&list::pack(items));
            }
            Value::Compressed(bytes) => {
                start(out, "(4)");
                base64::encode(bytes, out);
            }
        }
        out.push(b'\n');
    }
    Ok(())
}

fn nested(inner: &Message, out: &mut Vec<u8>, depth: usize) -> Result<(), MalformedError> {
    let stand_in = *LINE_END_BY_DEPTH.get(depth).ok_or(MalformedError::TooDeep)?;
    let mut text = Vec::new();
    encode_at(inner, &mut text, depth + 1)?;
    if text.contains(&stand_in) {
        return Err(MalformedError::BadField);
    }
    out.extend(text.into_iter().map(|byte| if byte == b'\n' { stand_in } else { byte }));
    Ok(())
}

/// Decodes one framed message at the beginning of `bytes`; what follows `<<<` (a NUL, other bytes)
/// is not looked at.
///
/// # Errors
/// [`MalformedError`]; nothing of the message is used then.
pub fn decode(bytes: &[u8], depth: usize) -> Result<Message, MalformedError> {
    if depth > DEPTH_MAX {
        return Err(MalformedError::TooDeep);
    }
    let mut rest = bytes.strip_prefix(START).ok_or(MalformedError::NotAMessage)?;
    let mut message = Message::empty();
    loop {
        if rest.starts_with(END) {
            return Ok(message);
        }
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(MalformedError::Truncated)?;
        let line = &rest[..length];
        rest = &rest[length + 1..];
        if line.is_empty() {
            continue;
        }
        if message.fields().len() == FIELDS_MAX {
            return Err(MalformedError::TooManyFields);
        }
        decode_line(line, depth, &mut message)?;
    }
}

fn decode_line(line: &[u8], depth: usize, message: &mut Message) -> Result<(), MalformedError> {
    if line.contains(&0) {
        return Err(MalformedError::BadField);
    }
    let (kind, line) = match line {
        [b'(', kind @ b'1'..=b'4', b')', rest @ ..] => (*kind, rest),
        [b'(', ..] => return Err(MalformedError::BadField),
        _ => (b'0', line),
    };
    let equals = line.iter().position(|byte| *byte == b'=').ok_or(MalformedError::BadField)?;
    let name = super::field_name(&line[..equals])?;
    let value = &line[equals + 1..];
    let value = match kind {
        b'1' => Value::Binary(base64::decode(value).ok_or(MalformedError::BadField)?),
        b'2' => {
            let stand_in = *LINE_END_BY_DEPTH.get(depth).ok_or(MalformedError::TooDeep)?;
            let text: Vec<u8> =
                value.iter().map(|byte| if *byte == stand_in { b'\n' } else { *byte }).collect();
            Value::Message(decode(&text, depth + 1)?)
        }
        b'3' => Value::List(list::unpack(value)?),
        b'4' => Value::Compressed(base64::decode(value).ok_or(MalformedError::BadField)?),
        _ => Value::Text(
            value.iter().map(|byte| if *byte == LINE_END_IN_TEXT { b'\n' } else { *byte }).collect(),
        ),
    };
    message.push(name, value);
    Ok(())
}
