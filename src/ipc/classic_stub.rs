//! Classic text of messages, the part the client socket needs (messaging spec 1.2): text and binary
//! fields. Stands in for `wire::encode_api` and `wire::decode_local`.

use crate::wire::message::{Message, Value, FIELDS_MAX};
use thiserror::Error;

/// Why a body is not a message; nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a classic message")]
pub(crate) struct ClassicError;

/// Classic text with its NUL.
pub(crate) fn encode_api(message: &Message) -> Vec<u8> {
    let mut out = b">>>\n".to_vec();
    for field in message.fields() {
        match &field.value {
            Value::Text(bytes) => {
                out.extend_from_slice(field.name.as_bytes());
                out.push(b'=');
                out.extend(bytes.iter().map(|byte| if *byte == b'\n' { 19 } else { *byte }));
            }
            Value::Binary(bytes) => {
                out.extend_from_slice(format!("(1){}=", field.name).as_bytes());
                out.extend_from_slice(base64(bytes).as_bytes());
            }
            _ => continue,
        }
        out.push(b'\n');
    }
    out.extend_from_slice(b"<<<\n\0");
    out
}

/// Reads classic text, with or without NUL.
pub(crate) fn decode_local(body: &[u8]) -> Result<Message, ClassicError> {
    let mut rest = body.strip_prefix(b">>>\n").ok_or(ClassicError)?;
    let mut message = Message::empty();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(ClassicError)?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line == b"<<<" {
            return Ok(message);
        }
        if line.is_empty() {
            continue;
        }
        if message.fields().len() >= FIELDS_MAX {
            return Err(ClassicError);
        }
        push_line(&mut message, line)?;
    }
}

fn push_line(message: &mut Message, line: &[u8]) -> Result<(), ClassicError> {
    let (binary, line) = match line.strip_prefix(b"(1)") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let equals = line.iter().position(|byte| *byte == b'=').ok_or(ClassicError)?;
    let name = std::str::from_utf8(&line[..equals]).map_err(|_| ClassicError)?;
    if name.is_empty() || name.starts_with('(') {
        return Err(ClassicError);
    }
    let value = &line[equals + 1..];
    if value.contains(&0) {
        return Err(ClassicError);
    }
    let value = if binary {
        Value::Binary(from_base64(value)?)
    } else {
        Value::Text(value.iter().map(|byte| if *byte == 19 { b'\n' } else { *byte }).collect())
    };
    message.push(name, value);
    Ok(())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place > chunk.len() {
                out.push('=');
            } else {
                out.push(char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]));
            }
        }
    }
    out
}

fn from_base64(text: &[u8]) -> Result<Vec<u8>, ClassicError> {
    let mut out = Vec::new();
    let (mut word, mut bits) = (0_u32, 0);
    for byte in text.iter().take_while(|byte| **byte != b'=') {
        let digit = DIGITS.iter().position(|digit| digit == byte).ok_or(ClassicError)?;
        word = (word << 6 | digit as u32) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits & 255) as u8);
        }
    }
    Ok(out)
}
