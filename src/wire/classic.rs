//! The classic framing: `>>>`, one `(type)name=value` line per field, `<<<` (messaging spec 1.2).
//! What scripts write to the FIFO, what local programs speak, and what goes over serial lines.

use super::message::{Field, Message, Value};
use super::{base64, check_field, netstring, Budget, DecodeError, EncodeError, Framing};
use super::{DEPTH_MAX, FIELDS_MAX};

/// First line of a message.
pub(super) const START: &[u8] = b">>>\n";
/// Last line of a message.
pub(super) const END: &[u8] = b"<<<\n";

/// The name of the field with the signature.
pub(super) const AUTH: &str = "auth";

/// What a newline inside a text value becomes.
const NEWLINE_IN_TEXT: u8 = 0x13;

/// What a newline inside a nested message becomes, by depth.
const NEWLINE_AT_DEPTH: [u8; DEPTH_MAX] = [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 15, 16, 17, 18];

/// Appends the message with its first and last line.
///
/// Errors: every [`EncodeError`] but those about lengths and keys; `out` is then left half written.
pub(super) fn write(message: &Message, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(START);
    write_lines(message, depth, out)?;
    out.extend_from_slice(END);
    Ok(())
}

/// Appends a line per field: what the inner signature covers when the message has no field
/// [`AUTH`].
///
/// Errors: as [`write()`].
pub(super) fn write_lines(message: &Message, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if depth >= DEPTH_MAX {
        return Err(EncodeError::TooDeep);
    }
    if message.fields().len() > FIELDS_MAX {
        return Err(EncodeError::TooManyFields);
    }
    message.fields().iter().try_for_each(|field| write_line(field, depth, out))
}

/// The framing can carry the value as the original sends it: no nested or compressed message
/// (which goes as netstring, messaging spec 1.4) and no list with a newline.
pub(super) fn suits(value: &Value) -> bool {
    match value {
        Value::Text(_) | Value::Binary(_) => true,
        Value::List(items) => !items.iter().any(|item| item.contains(&b'\n')),
        Value::Message(_) | Value::Compressed(_) => false,
    }
}

/// A message found by walking over its lines, looking into none.
pub(super) struct Walked<'a> {
    /// Everything between the first and the last line.
    pub(super) body: &'a [u8],
    /// What follows the last line.
    pub(super) behind: &'a [u8],
}

impl<'a> Walked<'a> {
    /// The lines with their newlines, empty ones left out.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a [u8]> {
        self.body.split_inclusive(|byte| *byte == b'\n').filter(|line| *line != b"\n")
    }

    /// The value of the first text field of that name, raw.
    pub(super) fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.lines().find_map(|line| text_of(line, name))
    }

    /// The lines without that field.
    pub(super) fn lines_without(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.lines().filter(move |line| text_of(line, name).is_none())
    }
}

/// Finds the end of a message.
///
/// Errors: [`DecodeError::Malformed`] when there is none, or a NUL comes before it.
pub(super) fn walk(bytes: &[u8]) -> Result<Walked<'_>, DecodeError> {
    let lines = bytes.strip_prefix(START).ok_or(malformed("no >>> line"))?;
    let mut rest = lines;
    loop {
        if let Some(behind) = rest.strip_prefix(END) {
            let body = &lines[..lines.len() - rest.len()];
            return Ok(Walked { body, behind });
        }
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
        match end {
            Some(end) if rest[end] == b'\n' => rest = &rest[end + 1..],
            _ => return Err(malformed("no <<< line")),
        }
    }
}

/// Reads the fields of a message.
///
/// Errors: [`DecodeError::Malformed`].
pub(super) fn parse(walked: &Walked<'_>, depth: usize, budget: &mut Budget) -> Result<Message, DecodeError> {
    if depth >= DEPTH_MAX {
        return Err(malformed("nested too deeply"));
    }
    let mut message = Message::empty();
    for line in walked.lines() {
        if message.fields().len() >= FIELDS_MAX || !budget.take_field() {
            return Err(malformed("too many fields"));
        }
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        message.push_field(parse_line(line, depth, budget)?);
    }
    Ok(message)
}

/// The value when the line is a text field of that name.
fn text_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
    Some(value.strip_suffix(b"\n").unwrap_or(value))
}

fn parse_line(line: &[u8], depth: usize, budget: &mut Budget) -> Result<Field, DecodeError> {
    let (kind, rest) = match line {
        [b'(', kind @ b'1'..=b'4', b')', rest @ ..] => (*kind, rest),
        [b'(', ..] => return Err(malformed("unknown field type")),
        _ => (b'0', line),
    };
    let equals = rest.iter().position(|byte| *byte == b'=').ok_or(malformed("line without ="))?;
    let (name, value) = (&rest[..equals], &rest[equals + 1..]);
    let name = super::field_name(name).ok_or(malformed("bad field name"))?;
    let binary = |value| base64::decode(value).ok_or(malformed("bad base64"));
    let value = match kind {
        b'1' => Value::Binary(binary(value)?),
        b'2' => Value::Message(parse_nested(value, depth, budget)?),
        b'3' => Value::List(netstring::parse_list(value, Framing::Classic)?),
        b'4' => Value::Compressed(binary(value)?),
        _ => Value::Text(mapped(value, NEWLINE_IN_TEXT)),
    };
    Ok(Field { name: name.to_owned(), value })
}

fn parse_nested(value: &[u8], depth: usize, budget: &mut Budget) -> Result<Message, DecodeError> {
    let text = mapped(value, NEWLINE_AT_DEPTH[depth]);
    let walked = walk(&text)?;
    if !walked.behind.is_empty() {
        return Err(malformed("bytes behind a nested message"));
    }
    parse(&walked, depth + 1, budget)
}

/// The bytes with every `symbol` turned back into a newline.
fn mapped(value: &[u8], symbol: u8) -> Vec<u8> {
    value.iter().map(|byte| if *byte == symbol { b'\n' } else { *byte }).collect()
}

fn write_line(field: &Field, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    check_field(field)?;
    let digit = field.value.type_digit();
    if digit != b'0' {
        out.extend_from_slice(&[b'(', digit, b')']);
    }
    out.extend_from_slice(field.name.as_bytes());
    out.push(b'=');
    let start = out.len();
    match &field.value {
        // A text that holds 0x13 itself arrives with a newline there, as with the original.
        Value::Text(bytes) => {
            out.extend_from_slice(bytes);
            out[start..].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = NEWLINE_IN_TEXT);
        }
        Value::Binary(bytes) | Value::Compressed(bytes) => base64::encode(bytes, out),
        Value::List(_) if !suits(&field.value) => return Err(EncodeError::NotInClassic(field.name.clone())),
        Value::List(items) => netstring::write_list(items, out),
        Value::Message(nested) => {
            write(nested, depth + 1, out)?;
            let symbol = NEWLINE_AT_DEPTH[depth];
            if out[start..].contains(&symbol) {
                return Err(EncodeError::NotInClassic(field.name.clone()));
            }
            out[start..].iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = symbol);
        }
    }
    out.push(b'\n');
    Ok(())
}

fn malformed(what: &'static str) -> DecodeError {
    DecodeError::Malformed { framing: Framing::Classic, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Result<Message, DecodeError> {
        parse(&walk(text)?, 0, &mut Budget::new())
    }

    fn written(message: &Message) -> Result<Vec<u8>, EncodeError> {
        let mut out = Vec::new();
        write(message, 0, &mut out).map(|()| out)
    }

    #[test]
    fn lines_of_each_type() {
        let mut inner = Message::new("inner");
        inner.push_text("two", "a\nb");
        let mut message = Message::new("outer").with("text", "x=y\nz").with("empty", "");
        message.push("uuid", Value::Binary((0..16).collect()));
        message.push("list", Value::List(vec![b"a".to_vec(), b"b,c".to_vec()]));
        message.push("packed", Value::Compressed(b"foo".to_vec()));
        message.push("inside", Value::Message(inner));
        let text = written(&message).unwrap();
        let expected = b">>>\nt=outer\ntext=x=y\x13z\nempty=\n(1)uuid=AAECAwQFBgcICQoLDA0ODw==\n\
            (3)list=1:a,3:b,c,\n(4)packed=Zm9v\n(2)inside=>>>\x14t=inner\x14two=a\x13b\x14<<<\x14\n<<<\n";
        assert_eq!(text, expected);
        assert_eq!(parsed(&text), Ok(message));
    }

    #[test]
    fn nested_to_the_limit() {
        let mut message = Message::new("0");
        for depth in 1..=DEPTH_MAX {
            let text = written(&message).unwrap();
            assert_eq!(parsed(&text).as_ref(), Ok(&message));
            let mut outer = Message::new(&depth.to_string());
            outer.push("inside", Value::Message(message));
            message = outer;
        }
        assert_eq!(written(&message), Err(EncodeError::TooDeep));
    }

    #[test]
    fn what_a_nested_text_may_not_hold() {
        let mut message = Message::empty();
        message.push("inside", Value::Message(Message::new("a\x14b")));
        assert_eq!(written(&message), Err(EncodeError::NotInClassic("inside".into())));
        message.set("inside", Value::List(vec![b"a\nb".to_vec()]));
        assert_eq!(written(&message), Err(EncodeError::NotInClassic("inside".into())));
    }

    #[test]
    fn tolerated_and_refused() {
        assert_eq!(parsed(b">>>\n\n\nt=x\n\n<<<\n\0junk"), Ok(Message::new("x")));
        assert_eq!(parsed(b">>>\n<<<\n"), Ok(Message::empty()));
        let bad = [
            "",
            ">>>",
            ">>>\n",
            ">>>\nt=x\n",
            ">>>\nt=x\n<<<",
            ">>>\nt=x<<<\n",
            ">>>\nt\n<<<\n",
            ">>>\n=x\n<<<\n",
            ">>>\n(0)t=x\n<<<\n",
            ">>>\n(5)t=x\n<<<\n",
            ">>>\n(9)t=x\n<<<\n",
            ">>>\n(1t=x\n<<<\n",
            ">>>\n(1)t=x\n<<<\n",
            ">>>\n(1)t=x\n<<<\n",
            ">>>\n(2)t=x\n<<<\n",
            ">>>\n(3)t=x\n<<<\n",
            ">>>\nt=\0\n<<<\n",
            ">>>\n(1)=\n<<<\n",
            ">>>\n(\n<<<\n",
            ">>>\n>>>x=y\n<<<\n",
            ">>>\na\rb=c\n<<<\n",
            ">>>\r\nt=x\r\n<<<\r\n",
        ];
        for text in bad {
            assert!(parsed(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
