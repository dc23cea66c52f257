//! An ordered list of named fields: what every datagram, API frame and FIFO text carries.
//!
//! Source: messaging spec 1.1. The order has no meaning to a receiver but is kept, because
//! digests cover the bytes as sent.

use crate::types::Uuid;

/// A field's value with the type code it has on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Type 0: bytes without NUL, normally readable text.
    Text(Vec<u8>),
    /// Type 1: any bytes.
    Binary(Vec<u8>),
    /// Type 2: a nested message.
    Message(Message),
    /// Type 3: a list of strings, none of them empty.
    List(Vec<Vec<u8>>),
    /// Type 4: a nested message, compressed.
    Compressed(Vec<u8>),
}

/// One named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// At least one byte, no `=`, not beginning with `(` or `>>>`.
    pub name: String,
    /// The value.
    pub value: Value,
}

/// Most fields a message may hold; a packet with more is refused.
pub const FIELDS_MAX: usize = 128;

/// An ordered list of fields. Look-up returns the first field of a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    fields: Vec<Field>,
}

impl Message {
    /// A message without fields.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A message whose first field is its type `t`.
    pub fn new(kind: &str) -> Self {
        let mut message = Self::empty();
        message.push_text("t", kind);
        message
    }

    /// The type `t`, or "" when there is none or it is not text.
    pub fn kind(&self) -> &str {
        self.text("t").unwrap_or("")
    }

    /// All fields in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The first field of that name.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// A text field that is valid UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A hexadecimal number without prefix, at most 16 digits (`seq`, `hg`, `ts`, `dt`, `ackseq`).
    pub fn hex(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        let digits_only = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (digits_only && !text.is_empty()).then(|| u64::from_str_radix(text, 16).ok())?
    }

    /// A decimal number (`ttl`, `protocol`, `firstseq` of `NS_rexmit`).
    pub fn decimal(&self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        let digits_only = text.bytes().all(|byte| byte.is_ascii_digit());
        (digits_only && !text.is_empty()).then(|| text.parse().ok())?
    }

    /// A binary field.
    pub fn binary(&self, name: &str) -> Option<&[u8]> {
        match self.value(name) {
            Some(Value::Binary(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// A binary field of exactly 16 bytes that are not all zero.
    pub fn uuid(&self, name: &str) -> Option<Uuid> {
        Uuid::from_bytes(self.binary(name)?).filter(|uuid| !uuid.is_null())
    }

    /// Appends a field, whether or not one of that name is there.
    pub fn push(&mut self, name: &str, value: Value) {
        self.fields.push(Field { name: name.to_owned(), value });
    }

    /// Appends a text field.
    pub fn push_text(&mut self, name: &str, text: &str) {
        self.push(name, Value::Text(text.as_bytes().to_vec()));
    }

    /// The same, for building a message in one expression.
    #[must_use]
    pub fn with(mut self, name: &str, text: &str) -> Self {
        self.push_text(name, text);
        self
    }

    /// Replaces the first field of that name in place, or appends.
    pub fn set(&mut self, name: &str, value: Value) {
        match self.fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.value = value,
            None => self.push(name, value),
        }
    }

    /// Replaces or appends a text field.
    pub fn set_text(&mut self, name: &str, text: &str) {
        self.set(name, Value::Text(text.as_bytes().to_vec()));
    }

    /// Takes off the last field.
    pub fn pop(&mut self) -> Option<Field> {
        self.fields.pop()
    }

    /// Takes out every field of that name.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|field| field.name != name);
    }
}
