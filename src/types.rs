//! Newtypes shared by every room: names, numbers on the wire, the two resource sets.
//!
//! Each type says which values it can hold and where that rule comes from, so that a value that
//! exists is a value that was checked.

pub mod lease;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A node's name: lower case, 1 to 99 bytes, no white space, printable ASCII or UTF-8.
///
/// Source: messaging spec 5.4 (names are lower-cased in ha.cf, compared as they are in packets)
/// and 1.6 (buffer of 100 bytes).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// Longest node name in bytes (the original's buffer holds 100 with its end mark).
pub const NODE_NAME_MAX_BYTES: usize = 99;

impl NodeName {
    /// Takes a name as configured and lower-cases it (ASCII). `None` when it is empty, too long,
    /// or holds white space or control characters.
    pub fn new(text: &str) -> Option<Self> {
        Self::exact(&text.to_ascii_lowercase())
    }

    /// Takes a name as it arrived in a packet, without changing its case: 3.0.6 compares those
    /// byte for byte. `None` as for [`NodeName::new`].
    pub fn exact(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= NODE_NAME_MAX_BYTES;
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        (fits && clean).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the values of a fencing device's parameters stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceValues<'a> {
    /// In this text, separated by blanks (`stonith_host`).
    Text(&'a str),
    /// In this file, in its first line that is no comment (`stonith`).
    File(&'a str),
}

/// Why a line of the configuration is no fencing device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFault {
    /// There is no such type.
    Type,
    /// The file cannot be read, or the values are not enough.
    Values,
}

/// A heartbeat link's name: the interface for UDP media, the tty for serial lines
/// (messaging spec 4.3). 1 to 64 bytes without white space.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

impl LinkName {
    /// Checks and takes a name; `None` when empty, longer than 64 bytes, or with white space or
    /// control characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 64;
        let clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        (fits && clean).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Generation of a daemon's run (`hg`): grows by one at every full start and never goes back
/// (messaging spec 3.1). Hexadecimal on the wire. 0 stands for "absent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// Sequence number of a reliable message (`seq`): starts at 1 with each daemon start
/// (messaging spec 3.1). Hexadecimal on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SequenceNumber(pub u64);

/// A node's identity of 16 bytes (`srcuuid`, `hb_uuid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Takes exactly 16 bytes; any other length is not a uuid (messaging spec 1.1).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// All bytes zero: receivers treat it as absent (messaging spec 2.1, `destuuid`).
    pub fn is_null(&self) -> bool {
        self.0 == [0; 16]
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = ();

    /// Parses the canonical 36 characters (dashes at their places, either case of digits).
    fn from_str(text: &str) -> Result<Self, ()> {
        let dashes_right = text.len() == 36
            && text
                .bytes()
                .enumerate()
                .all(|(index, byte)| (byte == b'-') == matches!(index, 8 | 13 | 18 | 23));
        if !dashes_right {
            return Err(());
        }
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
        let mut bytes = [0; 16];
        for (index, pair) in digits.chunks(2).enumerate() {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            bytes[index] = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(bytes))
    }
}

/// A set of resource groups as the protocol knows it: this node's own groups (*local*), the
/// peer's (*foreign*), none, or all. Always from the viewpoint of the node it is said about
/// (resources spec 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResourceSet(u8);

impl ResourceSet {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The groups whose haresources line names the node itself.
    pub const LOCAL: Self = Self(1);
    /// The groups whose line names the other node.
    pub const FOREIGN: Self = Self(2);
    /// Both.
    pub const ALL: Self = Self(3);

    /// The word used in messages, commands and logs.
    pub fn as_str(self) -> &'static str {
        match self.0 {
            0 => "none",
            1 => "local",
            2 => "foreign",
            _ => "all",
        }
    }

    /// Nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Every member of `other` is in this set too.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Some member of `other` is in this set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both together.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without the members of `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The same groups seen from the other node: local and foreign change places.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self((self.0 & 1) << 1 | (self.0 >> 1) & 1)
    }
}

impl fmt::Display for ResourceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ResourceSet {
    type Err = ();

    /// Takes exactly one of the four words.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::NONE),
            "local" => Ok(Self::LOCAL),
            "foreign" => Ok(Self::FOREIGN),
            "all" => Ok(Self::ALL),
            _ => Err(()),
        }
    }
}

/// How loud a log line is, with the original's words (agents spec 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// `EMERG`
    Emergency,
    /// `ALERT`
    Alert,
    /// `CRIT`
    Critical,
    /// `ERROR`
    Error,
    /// `WARN`
    Warning,
    /// `notice`
    Notice,
    /// `info`
    Info,
    /// `debug`
    Debug,
}

impl LogLevel {
    /// The word in a log line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emergency => "EMERG",
            Self::Alert => "ALERT",
            Self::Critical => "CRIT",
            Self::Error => "ERROR",
            Self::Warning => "WARN",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The syslog priority, 0 to 7.
    pub fn syslog_priority(self) -> u8 {
        match self {
            Self::Emergency => 0,
            Self::Alert => 1,
            Self::Critical => 2,
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

impl FromStr for LogLevel {
    type Err = ();

    /// Takes exactly one of the words of [`LogLevel::as_str`].
    fn from_str(text: &str) -> Result<Self, ()> {
        use LogLevel::{Alert, Critical, Debug, Emergency, Error, Info, Notice, Warning};
        [Emergency, Alert, Critical, Error, Warning, Notice, Info, Debug]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or(())
    }
}

/// How a packet is signed (`authkeys`, messaging spec 1.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningMethod {
    /// CRC-32; no key, no protection, only a checksum.
    Crc,
    /// HMAC-MD5
    Md5,
    /// HMAC-SHA1
    Sha1,
}

/// What the files `hostcache` and `delhostcache` keep of a node (messaging spec 3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// The node.
    pub name: NodeName,
    /// Its identity; `None` when it was never heard (the files then hold zeros).
    pub uuid: Option<Uuid>,
    /// `weight`, default [`WEIGHT_DEFAULT`].
    pub weight: u64,
    /// `site`, default empty; at most [`SITE_MAX_BYTES`], without control characters.
    pub site: String,
}

/// A node's weight when nobody set one.
pub const WEIGHT_DEFAULT: u64 = 100;

/// Longest name of a site; longer ones are cut.
pub const SITE_MAX_BYTES: usize = 64;

impl HostRecord {
    /// A node of which nothing but its name is known.
    pub fn new(name: NodeName) -> Self {
        Self { name, uuid: None, weight: WEIGHT_DEFAULT, site: String::new() }
    }
}

/// The name of a site as it may be kept: control characters taken out, cut to its longest length.
pub fn clean_site(text: &str) -> String {
    let mut site: String = text.chars().filter(|c| !c.is_control()).collect();
    while site.len() > SITE_MAX_BYTES {
        site.pop();
    }
    site
}

/// One line of authkeys.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthKey {
    /// The method.
    pub method: SigningMethod,
    /// The key's bytes; empty for [`SigningMethod::Crc`].
    pub secret: Vec<u8>,
}

impl fmt::Debug for AuthKey {
    /// Never shows the secret: keys must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthKey({:?})", self.method)
    }
}

/// The checked content of authkeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthKeys {
    /// The number of the `auth` line: 0 to 15, always present in `keys`.
    pub active: u8,
    /// By number, 0 to 15.
    pub keys: BTreeMap<u8, AuthKey>,
}

/// Longest maintenance, milliseconds: a week.
pub const MAINTENANCE_MAX_MS: u64 = 7 * 24 * 3_600_000;

/// Environment variable, `yes` for scripts of `rc.d` that are told of something that the daemon has dealt
/// with itself, a takeover: programs that the scripts call in order to do it do nothing.
pub const DONE_VARIABLE: &str = "HA_DONE_BY_DAEMON";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_mirror_and_subtract() {
        assert_eq!(ResourceSet::LOCAL.mirrored(), ResourceSet::FOREIGN);
        assert_eq!(ResourceSet::ALL.mirrored(), ResourceSet::ALL);
        assert_eq!(ResourceSet::ALL.minus(ResourceSet::LOCAL), ResourceSet::FOREIGN);
        for word in ["none", "local", "foreign", "all"] {
            assert_eq!(word.parse::<ResourceSet>().map(ResourceSet::as_str), Ok(word));
        }
    }

    #[test]
    fn uuid_prints_and_parses() {
        let text = "00010203-0405-0607-0809-0a0b0c0d0e0f";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert!("0001020304050607-0809-0a0b0c0d0e0f-".parse::<Uuid>().is_err());
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(NodeName::new("Beta").unwrap().as_str(), "beta");
        assert_eq!(NodeName::exact("Beta").unwrap().as_str(), "Beta");
        assert!(NodeName::new("a b").is_none());
        assert!(NodeName::new(&"x".repeat(100)).is_none());
    }
}
