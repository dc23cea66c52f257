//! The netstring framing: `###`, one `length:(type)name=value,` per field, `%%%`
//! (messaging spec 1.3). What nodes send each other, followed by a signature.

use super::message::{Field, Message, Value};
use super::{check_field, push_decimal, Budget, DecodeError, EncodeError, Framing, DEPTH_MAX};
use super::{FIELDS_MAX, LIST_ITEMS_MAX};

/// First line of a message.
pub(super) const START: &[u8] = b"###\n";
/// Last line of a message; only a signature can follow.
pub(super) const END: &[u8] = b"%%%\n";

/// Most digits of a length: enough for 2 MiB, too few to overflow.
const LENGTH_DIGITS_MAX: usize = 7;

/// Packed bytes a list may have, as in the original (messaging spec 1.1).
const LIST_MAX_BYTES: usize = 1023;

/// Bytes [`write()`] will append, after checking that the message can be sent at all.
///
/// Errors: every [`EncodeError`] but the two about classic framing and keys.
pub(super) fn measure(message: &Message, depth: usize) -> Result<usize, EncodeError> {
    if depth >= DEPTH_MAX {
        return Err(EncodeError::TooDeep);
    }
    if message.fields().len() > FIELDS_MAX {
        return Err(EncodeError::TooManyFields);
    }
    let mut total = START.len() + END.len();
    for field in message.fields() {
        check_field(field)?;
        total += measure_string(payload_length(field, depth)?);
    }
    Ok(total)
}

/// Appends the message. [`measure`] must have accepted it: what it refuses would be written as an
/// empty value here.
pub(super) fn write(message: &Message, depth: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(START);
    for field in message.fields() {
        write_field(field, depth, out);
    }
    out.extend_from_slice(END);
}

/// Appends `length:bytes,`.
pub(super) fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    push_decimal(out, bytes.len());
    out.push(b':');
    out.extend_from_slice(bytes);
    out.push(b',');
}

/// Appends the items of a list one behind the other, each as [`write_string`] does.
pub(super) fn write_list(items: &[Vec<u8>], out: &mut Vec<u8>) {
    items.iter().for_each(|item| write_string(item, out));
}

/// Finds the end of a message by walking over lengths, looking into no field: what is done with
/// bytes that nobody vouches for yet. Gives the message with its two marker lines, and the rest.
///
/// Errors: [`DecodeError::Malformed`].
pub(super) fn walk(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let mut rest = bytes.strip_prefix(START).ok_or(malformed("no ### line"))?;
    for _ in 0..=FIELDS_MAX {
        if let Some(behind) = rest.strip_prefix(END) {
            return Ok(bytes.split_at(bytes.len() - behind.len()));
        }
        (_, rest) = peel(rest)?;
    }
    Err(malformed("too many fields"))
}

/// Takes `length:bytes,` off the front: the bytes, and the rest. The length has no sign, no
/// leading zero, at most seven digits, and must lie inside the input.
///
/// Errors: [`DecodeError::Malformed`].
pub(super) fn peel(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let digits = bytes.iter().take(LENGTH_DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > LENGTH_DIGITS_MAX || bytes[0] == b'0' {
        return Err(malformed("bad length"));
    }
    let length = bytes[..digits].iter().fold(0, |length, digit| length * 10 + usize::from(digit & 15));
    let rest = bytes[digits..].strip_prefix(b":").ok_or(malformed("no : behind a length"))?;
    if rest.len() <= length || rest[length] != b',' {
        return Err(malformed("length does not lead to a comma"));
    }
    Ok((&rest[..length], &rest[length + 1..]))
}

/// Reads a message at the front of the bytes: the message, and the rest.
///
/// Errors: [`DecodeError::Malformed`].
pub(super) fn parse<'a>(
    bytes: &'a [u8],
    depth: usize,
    budget: &mut Budget,
) -> Result<(Message, &'a [u8]), DecodeError> {
    if depth >= DEPTH_MAX {
        return Err(malformed("nested too deeply"));
    }
    let mut rest = bytes.strip_prefix(START).ok_or(malformed("no ### line"))?;
    let mut message = Message::empty();
    loop {
        if let Some(behind) = rest.strip_prefix(END) {
            return Ok((message, behind));
        }
        let payload;
        (payload, rest) = peel(rest)?;
        if message.fields().len() >= FIELDS_MAX || !budget.take_field() {
            return Err(malformed("too many fields"));
        }
        message.push_field(parse_field(payload, depth, budget)?);
    }
}

/// Reads the items of a packed list.
///
/// Errors: [`DecodeError::Malformed`] in the name of `framing`.
pub(super) fn parse_list(mut bytes: &[u8], framing: Framing) -> Result<Vec<Vec<u8>>, DecodeError> {
    let bad = DecodeError::Malformed { framing, what: "bad list" };
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let item;
        (item, bytes) = peel(bytes).map_err(|_| bad.clone())?;
        if items.len() >= LIST_ITEMS_MAX || item.contains(&0) {
            return Err(bad);
        }
        items.push(item.to_vec());
    }
    Ok(items)
}

fn parse_field(payload: &[u8], depth: usize, budget: &mut Budget) -> Result<Field, DecodeError> {
    let [b'(', kind, b')', rest @ ..] = payload else { return Err(malformed("field without a type")) };
    let equals = rest.iter().position(|byte| *byte == b'=').ok_or(malformed("field without ="))?;
    let (name, value) = (&rest[..equals], &rest[equals + 1..]);
    let name = super::field_name(name).ok_or(malformed("bad field name"))?;
    let value = match kind {
        b'0' if value.contains(&0) => return Err(malformed("NUL in text")),
        b'0' => Value::Text(value.to_vec()),
        b'1' => Value::Binary(value.to_vec()),
        b'2' => {
            let (nested, behind) = parse(value, depth + 1, budget)?;
            if !behind.is_empty() {
                return Err(malformed("bytes behind a nested message"));
            }
            Value::Message(nested)
        }
        b'3' => Value::List(parse_list(value, Framing::Netstring)?),
        b'4' => Value::Compressed(value.to_vec()),
        _ => return Err(malformed("unknown field type")),
    };
    Ok(Field { name: name.to_owned(), value })
}

fn write_field(field: &Field, depth: usize, out: &mut Vec<u8>) {
    push_decimal(out, payload_length(field, depth).unwrap_or(0));
    out.extend_from_slice(&[b':', b'(', field.value.type_digit(), b')']);
    out.extend_from_slice(field.name.as_bytes());
    out.push(b'=');
    match &field.value {
        Value::Text(bytes) | Value::Binary(bytes) | Value::Compressed(bytes) => out.extend_from_slice(bytes),
        Value::List(items) => write_list(items, out),
        Value::Message(nested) => write(nested, depth + 1, out),
    }
    out.push(b',');
}

/// Length of `(type)name=value`.
fn payload_length(field: &Field, depth: usize) -> Result<usize, EncodeError> {
    let value = match &field.value {
        Value::Text(bytes) | Value::Binary(bytes) | Value::Compressed(bytes) => bytes.len(),
        Value::List(items) => {
            let packed = items.iter().map(|item| measure_string(item.len())).sum();
            if packed > LIST_MAX_BYTES {
                return Err(EncodeError::List(field.name.clone()));
            }
            packed
        }
        Value::Message(nested) => measure(nested, depth + 1)?,
    };
    Ok(3 + field.name.len() + 1 + value)
}

/// Length of `length:bytes,`.
fn measure_string(length: usize) -> usize {
    let digits = length.checked_ilog10().unwrap_or(0) as usize + 1;
    digits + 1 + length + 1
}

fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Malformed { framing: Framing::Netstring, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_as_written() {
        for length in [0, 1, 2, 9, 10, 90, 99, 100, 991, 992, 993, 99_999] {
            let message = Message::new("status").with("payload", &"x".repeat(length));
            let mut outer = Message::empty();
            outer.push("inside", Value::Message(message));
            let mut out = Vec::new();
            write(&outer, 0, &mut out);
            assert_eq!(measure(&outer, 0), Ok(out.len()));
            let (parsed, rest) = parse(&out, 0, &mut Budget::new()).unwrap();
            assert_eq!((parsed, rest), (outer, [].as_slice()));
        }
    }

    #[test]
    fn lengths_are_strict() {
        assert_eq!(peel(b"3:abc,rest"), Ok((b"abc".as_slice(), b"rest".as_slice())));
        let bad = [
            "",
            "3",
            "3:",
            "3:ab",
            "3:abc",
            "3:abcd,",
            "3:ab,c",
            "03:abc,",
            "0:,",
            "-3:abc,",
            "+3:abc,",
            " 3:abc,",
            "3 :abc,",
            "x:abc,",
            "99999999999:abc,",
            "18446744073709551619:abc,",
            "9999999:abc,",
        ];
        for text in bad {
            assert!(peel(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn fields_are_strict() {
        let parsed = |payload: &str| {
            let mut bytes = START.to_vec();
            write_string(payload.as_bytes(), &mut bytes);
            bytes.extend_from_slice(END);
            parse(&bytes, 0, &mut Budget::new()).map(|(message, _)| message)
        };
        assert!(parsed("(0)t=status").is_ok() && parsed("(0)t=").is_ok() && parsed("(3)l=").is_ok());
        let bad = [
            "t=status",
            "(0)t",
            "(0)=x",
            "(5)t=x",
            "(6)t=x",
            "(a)t=x",
            "(0t=x",
            "0)t=x",
            "(0)(x=y",
            "(0)>>>=y",
            "(",
            "(0)",
            "(00)t=x",
            "(0)a\nb=c",
            "(0)t=\0",
            "(2)m=",
            "(2)m=###\n",
            "(2)m=###\n%%%\nx",
            "(3)l=x",
            "(3)l=0:,",
            "(3)l=1:\0,",
            "(2)m=>>>\n<<<\n",
        ];
        for payload in bad {
            assert!(parsed(payload).is_err(), "{payload:?}");
        }
    }
}
