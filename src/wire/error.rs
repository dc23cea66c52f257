//! Why bytes are refused, and the log lines the original writes then.

use thiserror::Error;

use super::Framing;
use crate::types::LogLevel;

/// Why a message could not be written. Nothing was sent and nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A name that is empty, begins with `(` or `>>>`, or holds `=` or a control character.
    #[error("field name {0:?} cannot be sent: nothing was sent; rename the field")]
    FieldName(String),
    /// Text (or an item of a list) with a NUL byte; only a binary field may hold one.
    #[error("field {0} holds a NUL byte: nothing was sent; send it as a binary field")]
    TextWithNul(String),
    /// A list with an item of no bytes, or with too many items or bytes.
    #[error("field {0} is a list that cannot be sent (an empty item, or too long): nothing was sent")]
    List(String),
    /// A byte that the classic framing keeps for itself.
    #[error("field {0} holds bytes which the classic framing cannot carry: nothing was sent")]
    NotInClassic(String),
    /// More fields than a receiver of ours takes.
    #[error("message has more fields than {limit}: nothing was sent", limit = super::message::FIELDS_MAX)]
    TooManyFields,
    /// Messages nested too deeply.
    #[error("messages are nested more than {limit} deep: nothing was sent", limit = super::DEPTH_MAX)]
    TooDeep,
    /// Longer than the limit, after compression where that is configured.
    #[error("message is longer than {limit_bytes} bytes: nothing was sent; it can only be sent in parts")]
    TooLarge {
        /// The limit that was passed.
        limit_bytes: usize,
    },
    /// authkeys has no line of that number.
    #[error("authkeys has no key {0}: nothing was sent; add the key or sign with another one")]
    UnknownKey(u8),
}

/// Why bytes are not taken as a message. In every case they are dropped and nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Does not begin as any framing does. Dropped without a log line, as the original does.
    #[error("not a message: dropped")]
    NotAMessage,
    /// Cut off, a wrong length, an unknown type, a bad name, too many fields or levels.
    #[error("malformed message ({what}): dropped")]
    Malformed {
        /// The framing it began as.
        framing: Framing,
        /// What was wrong, for the log.
        what: &'static str,
    },
    /// No signature, or none of the form "number digest". Dropped unparsed.
    #[error("message without a readable signature: dropped; sender and receiver need an authkeys file")]
    Unsigned {
        /// The framing it has.
        framing: Framing,
    },
    /// Signed with a number for which we have no key. Dropped unparsed.
    #[error("message signed with key {index}, which authkeys here does not have: dropped; add the key")]
    UnknownKey {
        /// The framing it has.
        framing: Framing,
        /// The number in the packet.
        index: u8,
    },
    /// The digest is not the one our key of that number gives. Dropped unparsed.
    #[error("message with a wrong digest for key {index}: dropped; compare authkeys on both nodes")]
    BadDigest {
        /// The framing it has.
        framing: Framing,
        /// The number in the packet.
        index: u8,
        /// What the packet claims, cut to 40 bytes and made printable.
        claimed: String,
        /// Who it says it is from (classic only), cut and made printable; unproven.
        claimed_node: String,
    },
    /// Longer than the limit, as it came or decompressed. Dropped; no more was decompressed.
    #[error("message longer than {limit_bytes} bytes: dropped")]
    TooLarge {
        /// The limit that was passed.
        limit_bytes: usize,
    },
    /// Signed, but its compressed payload cannot be read. Dropped.
    #[error("compressed message cannot be read ({0}): dropped")]
    BadCompression(&'static str),
}

impl DecodeError {
    /// The lines to log (unless `log_badpack` is off): the original's where it has any
    /// (messaging spec 1.5). Two differences, both on purpose: the digest that *would* have been
    /// right is not shown, since it would let a reader of the log sign a forged packet, and the
    /// packet itself is not dumped.
    pub fn log_lines(&self) -> Vec<(LogLevel, String)> {
        let error = |text: &str| (LogLevel::Error, text.to_owned());
        let failed = "netstring authentication failed, s=###";
        match self {
            Self::NotAMessage => Vec::new(),
            Self::Malformed { framing: Framing::Netstring, .. } => vec![
                error("netstring2msg_rec:peel_netstring fails for name/value pair"),
                error(&self.to_string()),
            ],
            Self::Unsigned { framing: Framing::Netstring } => {
                vec![error("peel_netstring() error in getting auth string"), error(&self.to_string())]
            }
            Self::Unsigned { framing: Framing::Classic } => {
                vec![error("Bad/invalid auth token, authtoken=(nil)"), error(&self.to_string())]
            }
            Self::UnknownKey { framing: Framing::Netstring, index } => {
                vec![
                    (LogLevel::Warning, format!("Invalid authentication [{index}] in message!")),
                    error(failed),
                ]
            }
            Self::UnknownKey { framing: Framing::Classic, index } => {
                vec![(LogLevel::Warning, format!("Invalid authentication type [{index}] in message!"))]
            }
            Self::BadDigest { framing, claimed, claimed_node, .. } => {
                let mismatch = format!("authtoken does not match, authtoken={claimed}, authstr=(not shown)");
                let second = match framing {
                    Framing::Netstring => failed.to_owned(),
                    Framing::Classic => format!("string2msg_ll: node [{claimed_node}] failed authentication"),
                };
                vec![(LogLevel::Error, mismatch), (LogLevel::Error, second)]
            }
            Self::Malformed { .. } | Self::TooLarge { .. } | Self::BadCompression(_) => {
                vec![error(&self.to_string())]
            }
        }
    }
}
