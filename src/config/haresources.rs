//! haresources: which groups of resources there are and where they belong (resources spec 1).
//!
//! ```text
//! file:   # the web pair                 group 0: node alpha, key IPaddr2::10.0.0.5/24
//!         Alpha IPaddr2::10.0.0.5/24 \ ──▶         1. IPaddr2 10.0.0.5/24
//!               nginx                              2. nginx
//! ```

use std::net::Ipv6Addr;

use super::diagnostic::{Diagnostic, Severity};
use super::source::{push_limited, Source, Span, LINE_MAX_BYTES, REMARKS_MAX};
use crate::types::NodeName;

/// The file's name.
pub const FILE_NAME: &str = "haresources";

/// Most groups in one file. The original has no limit but its shell's; more than a few hundred
/// would take longer to start than anyone waits.
pub const GROUPS_MAX: usize = 1000;

/// Most resources in one group.
pub const RESOURCES_MAX: usize = 1000;

/// One resource of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// As written: the text in messages, logs and look-ups.
    pub word: String,
    /// The script's name.
    pub script: String,
    /// Its arguments, to be followed by the operation. Never empty texts.
    pub arguments: Vec<String>,
}

impl Resource {
    /// Cuts a word into script and arguments (resources spec 1.3): `script::a::b`, or an address
    /// alone, which stands for `IPaddr::<word>`.
    ///
    /// Unlike in the original an IPv6 address stays whole (`IPv6addr::fe80::1/64` has one
    /// argument), and no shell pattern is expanded.
    pub fn new(word: &str) -> Self {
        let (script, rest) = if is_ipv4_shorthand(word) {
            ("IPaddr", word)
        } else if is_ipv6_shorthand(word) {
            ("IPv6addr", word)
        } else {
            word.split_once("::").unwrap_or((word, ""))
        };
        let takes_address = matches!(script, "IPaddr" | "IPaddr2" | "IPv6addr") || script.starts_with("ocf:");
        let arguments = split_arguments(rest, takes_address);
        Self { word: word.to_owned(), script: script.to_owned(), arguments }
    }

    /// Its agent does its work and ends: asked later it says that it does not run, and there is nothing
    /// to restart.
    pub fn ends_by_itself(&self) -> bool {
        self.script.rsplit(':').next() == Some("SendArp")
    }
}

/// Starts with a digit and has three dots followed by a digit each (resources spec 1.3).
fn is_ipv4_shorthand(word: &str) -> bool {
    let bytes = word.as_bytes();
    let dots = bytes.windows(2).filter(|pair| pair[0] == b'.' && pair[1].is_ascii_digit()).count();
    bytes.first().is_some_and(u8::is_ascii_digit) && dots >= 3
}

/// An IPv6 address that could not be a script with arguments: `db2::1` is the script `db2`.
fn is_ipv6_shorthand(word: &str) -> bool {
    let head = word.split("::").next().unwrap_or("");
    (head.is_empty() || head.contains(':')) && is_ipv6(word)
}

/// An IPv6 address, with `/bits` and so on behind it or not.
fn is_ipv6(word: &str) -> bool {
    word.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Cuts at `::`, but not inside an IPv6 address where an address is expected.
fn split_arguments(rest: &str, takes_address: bool) -> Vec<String> {
    let pieces: Vec<&str> = rest.split("::").collect();
    let mut arguments = Vec::new();
    let mut index = 0;
    while index < pieces.len() {
        let joined = pieces.get(index + 1).map(|next| format!("{}::{next}", pieces[index]));
        let value = |text: &str| is_ipv6(text.split_once('=').map_or(text, |(_, value)| value));
        match joined.filter(|joined| takes_address && value(joined)) {
            Some(address) => {
                arguments.push(address);
                index += 2;
            }
            None => {
                arguments.push(pieces[index].to_owned());
                index += 1;
            }
        }
    }
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

/// One line of the file: resources that move together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The node it belongs to.
    pub node: NodeName,
    /// Where it starts in the file, from 1.
    pub line: usize,
    /// In starting order; at least one.
    pub resources: Vec<Resource>,
}

impl Group {
    /// The group's public name: its first resource word (resources spec 1.4).
    pub fn key(&self) -> &str {
        self.resources.first().map_or("", |resource| resource.word.as_str())
    }

    /// `alpha IPaddr2::10.0.0.5/24 nginx`: the text of the log line `Acquiring resource group: %s`
    /// and of the digest.
    pub fn text(&self) -> String {
        let mut text = self.node.to_string();
        for resource in &self.resources {
            text.push(' ');
            text.push_str(&resource.word);
        }
        text
    }
}

/// Why a look-up gave no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No group has this word.
    #[error("no resource group has [{0}]; see haresources")]
    NotFound(String),
    /// Several have; nothing is done, since the word could mean any of them.
    #[error("[{word}] is in several resource groups ({keys}); nothing was done, name the group by its key")]
    Ambiguous {
        /// The word.
        word: String,
        /// The groups' keys.
        keys: String,
    },
}

/// All groups in file order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HaResources {
    /// The groups.
    pub groups: Vec<Group>,
}

impl HaResources {
    /// Finds a group by its key, else by any of its words (resources spec 1.4). The original takes
    /// the words of all matching lines together; we refuse.
    pub fn look_up(&self, word: &str) -> Result<&Group, LookupError> {
        let by_key: Vec<&Group> = self.groups.iter().filter(|group| group.key() == word).collect();
        let found = if by_key.is_empty() {
            let has = |group: &&Group| group.resources.iter().any(|resource| resource.word == word);
            self.groups.iter().filter(has).collect()
        } else {
            by_key
        };
        match found.as_slice() {
            [group] => Ok(group),
            [] => Err(LookupError::NotFound(word.to_owned())),
            several => {
                let keys: Vec<&str> = several.iter().take(10).map(|group| group.key()).collect();
                Err(LookupError::Ambiguous { word: word.to_owned(), keys: keys.join(", ") })
            }
        }
    }

    /// The groups of a node, in file order (`ResourceManager listkeys`).
    pub fn local<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |group| group.node == *node)
    }

    /// The groups of all other nodes, in file order.
    pub fn foreign<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a Group> {
        self.groups.iter().filter(move |group| group.node != *node)
    }

    /// The keys of a node's groups.
    pub fn local_keys<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a str> {
        self.local(node).map(Group::key)
    }

    /// The keys of the groups of all other nodes.
    pub fn foreign_keys<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a str> {
        self.foreign(node).map(Group::key)
    }

    /// All keys.
    pub fn all_keys(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(Group::key)
    }

    /// The file in its normal form: one line per group, as [`Group::text`] with the original's blank
    /// at the end (it keeps a backslash there from joining lines). Reading it again gives the same
    /// groups.
    pub fn normal_form(&self) -> String {
        self.groups.iter().map(|group| group.text() + " \n").collect()
    }

    /// A fingerprint of the normal form, 16 hex digits (FNV-1a, 64 bits): it does not change with
    /// comments, blanks, continuation lines or the case of node names, and does with everything
    /// else, the order of groups included. Nodes compare it to notice differing files; it protects
    /// against mistakes, not against anyone.
    pub fn digest(&self) -> String {
        let hash = self.normal_form().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// Everything found out about one haresources.
#[derive(Debug, Clone, Default)]
pub struct HaResourcesReport {
    /// The groups that could be read.
    pub resources: HaResources,
    /// The first word of every line as typed, in file order: the nodes.
    pub first_words: Vec<(String, Span)>,
    /// The places of the words of each group: the node's, then the resources'.
    pub places: Vec<Vec<Span>>,
    /// Some line cannot be used.
    pub failed: bool,
    /// Remarks in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the text of haresources (resources spec 1.3). Whether its nodes exist is not looked at.
pub fn read(source: &Source) -> HaResourcesReport {
    let mut report = HaResourcesReport::default();
    for line in logical_lines(source, &mut report) {
        read_group(source, &line, &mut report);
    }
    report
}

/// A line with its continuations.
#[derive(Default)]
struct Logical {
    text: String,
    /// Where each piece starts: in `text`, as a line number.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// The place of the bytes `start` to `end` of the text. All pieces start at column 1 of their
    /// line, since comments are cut only at the end.
    fn span(&self, start: usize, end: usize) -> Span {
        let piece = self.pieces.iter().rev().find(|(from, _)| *from <= start);
        let (from, line) = piece.copied().unwrap_or((0, 1));
        Span { line, start: start - from, end: end - from }
    }
}

/// Steps 1 and 2 of resources spec 1.3: comments away, then continuation lines joined.
fn logical_lines(source: &Source, report: &mut HaResourcesReport) -> Vec<Logical> {
    let mut lines = Vec::new();
    let mut current = Logical::default();
    for (number, line) in source.lines() {
        // a file from another system: the carriage return would become part of the last word
        let line = line.strip_suffix('\r').unwrap_or(line);
        let text = line.split('#').next().unwrap_or("");
        if text.len() > LINE_MAX_BYTES || text.contains(['\u{fffd}', '\0']) {
            let message = "this line is too long (more than 5119 bytes) or no text (expected UTF-8)";
            error(report, source.remark(Severity::Error, source.place(number, 0, 1), message, ""));
            continue;
        }
        let continued = text.strip_suffix('\\');
        current.pieces.push((current.text.len(), number));
        current.text.push_str(continued.unwrap_or(text));
        if continued.is_none() {
            lines.push(std::mem::take(&mut current));
        }
    }
    lines.push(current);
    lines
}

fn read_group(source: &Source, line: &Logical, report: &mut HaResourcesReport) {
    let words = words(&line.text);
    let Some(((start, node), resources)) = words.split_first() else { return };
    let span = line.span(*start, start + node.len());
    let place = source.place_of(span);
    report.first_words.push((node.to_string(), span));
    let Some(name) = NodeName::new(node) else {
        let help = "expected a node of ha.cf, then resources";
        error(report, source.remark(Severity::Error, place, "this is no node name", help));
        return;
    };
    if resources.is_empty() {
        let message = format!("node {name} has no resources in this line");
        let remark = source.remark(Severity::Warning, place, message, "the line does nothing");
        push_limited(&mut report.diagnostics, remark);
        return;
    }
    if report.resources.groups.len() >= GROUPS_MAX || resources.len() > RESOURCES_MAX {
        let message = format!("more than {GROUPS_MAX} groups or {RESOURCES_MAX} resources in one");
        error(report, source.remark(Severity::Error, place, message, ""));
        return;
    }
    let mut places = vec![span];
    for (start, word) in resources {
        let span = line.span(*start, start + word.len());
        places.push(span);
        let wrong = word.chars().any(char::is_control);
        report.failed |= wrong;
        if wrong && report.diagnostics.len() < REMARKS_MAX {
            let message = "there is a control character in this word";
            error(report, source.remark(Severity::Error, source.place_of(span), message, ""));
        }
    }
    let resources = resources.iter().map(|(_, word)| Resource::new(word)).collect();
    report.places.push(places);
    report.resources.groups.push(Group { node: name, line: span.line, resources });
}

fn error(report: &mut HaResourcesReport, remark: Diagnostic) {
    report.failed = true;
    push_limited(&mut report.diagnostics, remark);
}

/// Words separated by blanks and tabs, with their offsets.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut offset = 0;
    let mut found = Vec::new();
    for word in text.split([' ', '\t']) {
        if !word.is_empty() {
            found.push((offset, word));
        }
        offset += word.len() + 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HaResourcesReport {
        read(&Source::from_bytes(std::path::Path::new("/etc/ha.d"), FILE_NAME, text.as_bytes()))
    }

    fn cut(word: &str) -> (String, Vec<String>) {
        let resource = Resource::new(word);
        (resource.script, resource.arguments)
    }

    #[test]
    fn words_are_cut_into_script_and_arguments() {
        let cases: [(&str, &str, &[&str]); 17] = [
            ("nginx", "nginx", &[]),
            ("X::a::b", "X", &["a", "b"]),
            ("X::a::::b::", "X", &["a", "b"]),
            ("10.0.0.1", "IPaddr", &["10.0.0.1"]),
            ("10.0.0.1/24/eth0:1/10.0.0.255", "IPaddr", &["10.0.0.1/24/eth0:1/10.0.0.255"]),
            ("10.0.0", "10.0.0", &[]),
            ("a10.0.0.1", "a10.0.0.1", &[]),
            ("IPaddr2::10.0.0.1/24", "IPaddr2", &["10.0.0.1/24"]),
            ("IPv6addr::fe80::1/64/eth0", "IPv6addr", &["fe80::1/64/eth0"]),
            ("IPv6addr::::1", "IPv6addr", &["::1"]),
            ("2001:db8::5/64", "IPv6addr", &["2001:db8::5/64"]),
            ("drbddisk::1::2", "drbddisk", &["1", "2"]),
            ("db2::1", "db2", &["1"]),
            ("systemd:nginx", "systemd:nginx", &[]),
            (
                "ocf:heartbeat:IPaddr2::ip=10.0.0.1::nic=v0",
                "ocf:heartbeat:IPaddr2",
                &["ip=10.0.0.1", "nic=v0"],
            ),
            ("ocf:x:y::ip=fe80::1::z=1", "ocf:x:y", &["ip=fe80::1", "z=1"]),
            ("::1", "IPv6addr", &["::1"]),
        ];
        for (word, script, arguments) in cases {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(cut(word), (script.to_owned(), arguments), "{word}");
        }
    }

    #[test]
    fn lines_are_joined_as_the_normaliser_does() {
        let report = parse("Alpha a\\\nb c \\ # no\n# x \\\nbeta d\\\n\nbeta e#f g\n\tbeta\th");
        assert_eq!(report.resources.normal_form(), "alpha ab c \\ \nbeta d \nbeta e \nbeta h \n");
        assert_eq!(report.places[0][2].line, 2);
        assert_eq!((report.places[0][2].start, report.places[0][2].end), (2, 3));
    }

    #[test]
    fn groups_are_found_by_key_then_by_member() {
        let resources = parse("alpha 10.0.0.1 web\nbeta 10.0.0.2 web db\nbeta web x\n").resources;
        assert_eq!(resources.look_up("10.0.0.2").map(Group::key), Ok("10.0.0.2"));
        assert_eq!(resources.look_up("db").map(Group::key), Ok("10.0.0.2"));
        assert_eq!(resources.look_up("web").map(|group| group.line), Ok(3));
        assert_eq!(resources.look_up("10.0"), Err(LookupError::NotFound("10.0".into())));
        let ambiguous = parse("alpha a web\nbeta b web\n").resources;
        assert!(matches!(ambiguous.look_up("web"), Err(LookupError::Ambiguous { .. })));
        let beta = NodeName::new("beta").unwrap();
        assert_eq!(resources.local_keys(&beta).collect::<Vec<_>>(), ["10.0.0.2", "web"]);
        assert_eq!(resources.foreign_keys(&beta).collect::<Vec<_>>(), ["10.0.0.1"]);
        assert_eq!(resources.all_keys().count(), 3);
    }

    #[test]
    fn the_digest_sees_what_matters() {
        let digest = |text: &str| parse(text).resources.digest();
        assert_eq!(digest(""), "cbf29ce484222325");
        assert_eq!(digest("a b c\n"), digest("# x\nA  b \\\n c# y"));
        assert_ne!(digest("a b c\n"), digest("a c b\n"));
        assert_ne!(digest("a b\na c\n"), digest("a c\na b\n"));
    }

    #[test]
    fn limits_hold() {
        let many = "a b\n".repeat(GROUPS_MAX + 1);
        assert!(parse(&many).failed);
        assert!(parse(&format!("a {}", "b ".repeat(RESOURCES_MAX + 1))).failed);
        assert!(parse(&format!("a {}", "b".repeat(LINE_MAX_BYTES))).failed);
        assert!(!parse(&format!("a b # {}", "c".repeat(LINE_MAX_BYTES))).failed);
    }
}
