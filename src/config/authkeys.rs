//! authkeys: the keys packets are signed with, and who may read them (messaging spec 5.3).
//!
//! No secret gets into a remark or a log line, although the original prints whole lines.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::diagnostic::{Diagnostic, Place, Severity};
use super::source::{cited_path, logged_path, open_regular, push_limited, read_limited, LINE_MAX_BYTES};
use super::LogLine;
use crate::types::{AuthKey, AuthKeys, LogLevel, SigningMethod};

/// The file's name.
pub const FILE_NAME: &str = "authkeys";

/// Highest key number plus one (the original's table of 16).
const NUMBERS: i64 = 16;

/// Everything found out about one authkeys.
#[derive(Debug, Clone, Default)]
pub struct AuthKeysReport {
    /// The keys; `None` when the cluster must not start with this file.
    pub keys: Option<AuthKeys>,
    /// The original's lines about it.
    pub log: Vec<LogLine>,
    /// Remarks in file order.
    pub diagnostics: Vec<Diagnostic>,
    /// Opening was refused for lack of permission: exit code 4 instead of 6.
    pub permission_denied: bool,
}

/// Opens, checks and reads `directory/authkeys`. `effective_uid` is who is asking.
pub fn load(directory: &Path, effective_uid: u32) -> AuthKeysReport {
    let path = directory.join(FILE_NAME);
    let cited = cited_path(directory, FILE_NAME);
    let logged = logged_path(directory, FILE_NAME);
    let mut report = AuthKeysReport::default();
    let file_remark = |severity, message: String, help: &str| {
        Diagnostic::new(severity, &cited, Place::file(), message, help.to_owned())
    };
    let read = open_regular(&path).and_then(|file| Ok((file.metadata()?, read_limited(&file)?)));
    let (metadata, bytes) = match read {
        Ok(both) => both,
        Err(error) => {
            report.permission_denied = error.is_permission();
            report.log.push((LogLevel::Error, format!("Cannot open keyfile [{logged}].  Stop.")));
            let help = "write it as described in authkeys(5), with mode 600";
            report.diagnostics.push(file_remark(Severity::Error, format!("cannot be read: {error}"), help));
            return report;
        }
    };
    let mode = metadata.mode() & 0o7777;
    if mode & 0o044 != 0 {
        let text = format!("Bad permissions on keyfile [{logged}], 600 recommended.");
        report.log.push((LogLevel::Error, text));
        let message = format!("others can read the keys (mode {mode:o})");
        let help = format!("the keys may be known by now; think of new ones, and: chmod 600 {cited}");
        report.diagnostics.push(file_remark(Severity::Error, message, &help));
        return report;
    }
    if mode & !0o600 != 0 {
        let severity = if mode & 0o077 != 0 { Severity::Warning } else { Severity::Hint };
        let message = format!("the mode is {mode:o}");
        let help = format!("chmod 600 {cited}");
        report.diagnostics.push(file_remark(severity, message, &help));
    }
    if metadata.uid() != effective_uid && metadata.uid() != 0 {
        let message = format!("the file belongs to user {}, who can change the keys", metadata.uid());
        let help = format!("chown root {cited}");
        report.diagnostics.push(file_remark(Severity::Warning, message, &help));
    }
    let parsed = parse(&bytes, &cited, &logged);
    report.keys = parsed.keys;
    report.log.extend(parsed.log);
    report.diagnostics.extend(parsed.diagnostics);
    report
}

/// Reads the text. `cited` is the path in remarks, `logged` that in the original's lines.
pub fn parse(bytes: &[u8], cited: &str, logged: &str) -> AuthKeysReport {
    let mut parser = Parser {
        cited,
        logged,
        report: AuthKeysReport::default(),
        keys: BTreeMap::new(),
        active: None,
        active_found: false,
        failed: false,
    };
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        parser.line(index + 1, line);
    }
    parser.finish()
}

struct Parser<'a> {
    cited: &'a str,
    logged: &'a str,
    report: AuthKeysReport,
    keys: BTreeMap<u8, AuthKey>,
    /// The number of the last `auth` line, with its place.
    active: Option<(i64, Place)>,
    /// A key line with that number stood behind it.
    active_found: bool,
    failed: bool,
}

impl Parser<'_> {
    fn line(&mut self, number: usize, line: &[u8]) {
        let words = Words::new(line);
        let Some(first) = words.get(0).filter(|word| !word.starts_with(b"#")) else { return };
        if line.len() > LINE_MAX_BYTES {
            let shown = Shown::new(number, &words, 0);
            let text = format!("Line {number} of {} is too long", self.logged);
            self.error(text, &shown, 0, "this line is too long", "");
        } else if first.starts_with(b"a") {
            self.auth_line(number, &words);
        } else {
            self.key_line(number, &words);
        }
    }

    /// `auth N`; like the original also `authN`, and what follows is ignored.
    fn auth_line(&mut self, number: usize, words: &Words<'_>) {
        let shown = Shown::new(number, words, 1);
        let first = words.get(0).unwrap_or(b"");
        let joined = first.strip_prefix(b"auth").filter(|rest| !rest.is_empty());
        let text = match joined {
            Some(rest) => leading_integer(rest),
            None if first == b"auth" => words.get(1).and_then(leading_integer),
            None => None,
        };
        let Some((active, _)) = text else {
            let text = format!("Invalid auth line [{}] in {}", shown.text, self.logged);
            self.error(text, &shown, 0, "this line is not understood", "expected: auth NUMBER");
            return;
        };
        self.active = Some((active, shown.place(0, 1)));
        self.active_found = false;
    }

    /// `N method [key]`; what follows the key is ignored.
    fn key_line(&mut self, number: usize, words: &Words<'_>) {
        const HELP: &str = "expected: NUMBER METHOD [KEY], such as: 1 sha1 SomeLongWord";
        let first = words.get(0).unwrap_or(b"");
        // "1crc" is "1 crc" for the original
        let split = leading_integer(first);
        let (method_at, method) = match split {
            Some((_, used)) if used < first.len() => (0, Some(&first[used..])),
            _ => (1, words.get(1)),
        };
        let (Some((index, used)), Some(method)) = (split, method) else {
            let shown = Shown::new(number, words, 0);
            let text = format!("Auth line [{}] is invalid.", shown.text);
            self.error(text, &shown, 0, "this line is not understood", HELP);
            return;
        };
        let shown = Shown::new(number, words, method_at);
        if !(0..NUMBERS).contains(&index) {
            let text = format!("Invalid authnum [{index}] in {}", self.logged);
            self.error(text, &shown, 0, "this is no key number", "expected a number from 0 to 15");
            return;
        }
        let name = String::from_utf8_lossy(method).into_owned();
        let method = match name.as_str() {
            "crc" => SigningMethod::Crc,
            "md5" => SigningMethod::Md5,
            "sha1" => SigningMethod::Sha1,
            _ => {
                // Where the method is missing, this is the key.
                let (name, shown) = match is_like_a_method(&name) {
                    true => (name.as_str(), shown),
                    false => ("...", Shown::new(number, &Words(vec![&first[..first.len().min(used)]]), 0)),
                };
                let text = format!("Invalid authtype [{name}]");
                let message = format!("there is no method `{name}`");
                self.error(text, &shown, method_at, &message, "expected sha1, md5 or crc, in lower case");
                return;
            }
        };
        let secret = words.get(method_at + 1);
        if self.secret_fits(method, &name, secret, &shown, method_at) {
            self.add(index as u8, method, secret.unwrap_or(b""), words.get(method_at + 2).is_some(), &shown);
        }
    }

    fn secret_fits(
        &mut self,
        method: SigningMethod,
        name: &str,
        secret: Option<&[u8]>,
        shown: &Shown,
        method_at: usize,
    ) -> bool {
        match (method, secret) {
            (SigningMethod::Crc, Some(_)) => {
                let text = format!("Auth method [{name}] doesn't use a key");
                push_limited(&mut self.report.log, (LogLevel::Info, text));
                let help = "take the key away, or use sha1; a comment must have its own line";
                self.fail(shown, method_at, "crc has no key", help);
                false
            }
            (SigningMethod::Md5 | SigningMethod::Sha1, None) => {
                let text = format!("Auth method [{name}] requires a key");
                let message = format!("{name} needs a key");
                self.error(text, shown, method_at, &message, "write a long random word behind it");
                false
            }
            _ => true,
        }
    }

    fn add(&mut self, index: u8, method: SigningMethod, secret: &[u8], more: bool, shown: &Shown) {
        if self.keys.insert(index, AuthKey { method, secret: secret.to_vec() }).is_some() {
            self.warn(shown, &format!("key {index} is given twice"), "the last one counts");
        }
        if more {
            self.warn(shown, "what follows the key is ignored", "a key is one word without blanks");
        }
        self.active_found |= self.active.as_ref().is_some_and(|(active, _)| *active == i64::from(index));
    }

    fn finish(mut self) -> AuthKeysReport {
        let active = match &self.active {
            Some((active, place)) if *active >= 0 => Some((*active, place.clone())),
            _ => None,
        };
        match &active {
            None => {
                let text = format!("Missing auth directive in keyfile [{}]", self.logged);
                let help = "add as the first line: auth NUMBER, the number of a key below";
                self.finish_error(text, Place::file(), "nothing says which key to sign with", help);
            }
            Some((active, place)) if !self.active_found => {
                let text = format!("Auth Key [{active}] not found in keyfile [{}]", self.logged);
                let known = u8::try_from(*active).is_ok_and(|active| self.keys.contains_key(&active));
                let help = if known {
                    "the auth line must stand before the key it selects"
                } else {
                    "add this key, or name another one"
                };
                self.finish_error(text, place.clone(), "there is no usable key with this number", help);
            }
            Some(_) => {}
        }
        if let (false, Some((active, _))) = (self.failed, active) {
            self.report.keys = Some(AuthKeys { active: active as u8, keys: self.keys });
        }
        self.report
    }

    fn finish_error(&mut self, log: String, place: Place, message: &str, help: &str) {
        self.failed = true;
        self.report.log.push((LogLevel::Error, log));
        let one = Diagnostic::new(Severity::Error, self.cited, place, message.into(), help.into());
        self.report.diagnostics.push(one);
    }

    fn error(&mut self, log: String, shown: &Shown, word: usize, message: &str, help: &str) {
        push_limited(&mut self.report.log, (LogLevel::Error, log));
        self.fail(shown, word, message, help);
    }

    fn fail(&mut self, shown: &Shown, word: usize, message: &str, help: &str) {
        self.failed = true;
        let place = shown.place(word, word);
        let one = Diagnostic::new(Severity::Error, self.cited, place, message.into(), help.into());
        push_limited(&mut self.report.diagnostics, one);
    }

    fn warn(&mut self, shown: &Shown, message: &str, help: &str) {
        let place = shown.place(0, usize::MAX);
        let one = Diagnostic::new(Severity::Warning, self.cited, place, message.into(), help.into());
        push_limited(&mut self.report.diagnostics, one);
    }
}

/// The words of a line, separated by white space as C knows it.
struct Words<'t>(Vec<&'t [u8]>);

impl<'t> Words<'t> {
    fn new(line: &'t [u8]) -> Self {
        let blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
        // more words than these mean nothing
        Self(line.split(blank).filter(|word| !word.is_empty()).take(8).collect())
    }

    fn get(&self, index: usize) -> Option<&'t [u8]> {
        self.0.get(index).copied()
    }
}

/// A line without its secrets, for people: the words up to `last`, then a note.
struct Shown {
    number: usize,
    text: String,
    /// Start and end of each shown word.
    spans: Vec<(usize, usize)>,
}

impl Shown {
    fn new(number: usize, words: &Words<'_>, last: usize) -> Self {
        let mut text = String::new();
        let mut spans = Vec::new();
        for word in words.0.iter().take(last + 1) {
            if !text.is_empty() {
                text.push(' ');
            }
            let start = text.len();
            text.extend(String::from_utf8_lossy(word).chars().take(60));
            spans.push((start, text.len()));
        }
        if words.0.len() > last + 1 {
            text.push_str(" (not shown)");
        }
        Self { number, text, spans }
    }

    fn place(&self, from: usize, to: usize) -> Place {
        let end = self.spans.len().saturating_sub(1);
        let start = self.spans.get(from.min(end)).map_or(0, |span| span.0);
        let stop = self.spans.get(to.min(end)).map_or(1, |span| span.1);
        Place::span(self.number, &self.text, start, stop)
    }
}

/// A word that was meant to be a method: `sha256`, `SHA1`, `hmac`.
fn is_like_a_method(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.len() <= 8 && ["sha", "md", "crc", "hmac"].iter().any(|start| name.starts_with(start))
}

/// An integer at the start, as C reads it, and how many bytes it took.
fn leading_integer(bytes: &[u8]) -> Option<(i64, usize)> {
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let digits = bytes[sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = std::str::from_utf8(&bytes[..sign + digits]).ok()?;
    Some((text.parse().ok()?, sign + digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the original accepts and which key it then signs with, tried out on it.
    #[test]
    fn accepted_as_by_the_original() {
        let cases: [(&str, Option<u8>); 19] = [
            ("auth1\n1 crc\n", Some(1)),
            ("auth 1 2\n1 crc\n", Some(1)),
            ("auth 1x\n1 crc\n", Some(1)),
            ("auth 01\n1 crc", Some(1)),
            ("auth 1 # x\n1 crc\n", Some(1)),
            (" auth 1\r\n\t1crc\r\n", Some(1)),
            ("auth 1\n1 md5 # not a comment\n", Some(1)),
            ("auth 1\nauth 2\n1 crc\n2 md5 x\n", Some(2)),
            ("2 md5 x\nauth 1\n1 crc\n", Some(1)),
            ("auth 0\n0 sha1 x y\n", Some(0)),
            ("a 1\n1 crc\n", None),
            ("anything 1\n1 crc\n", None),
            ("auth\n1 crc\n", None),
            ("auth -1\n-1 crc\n", None),
            ("auth 16\n16 sha1 x\n", None),
            ("auth 1\n1 SHA1 x\n", None),
            ("auth 1\n1 crc # x\n", None),
            ("auth 1\n1 crc\n0 sha9 k\n", None),
            ("1 crc\nauth 1\n", None),
        ];
        for (text, active) in cases {
            let keys = parse(text.as_bytes(), "authkeys", "authkeys").keys;
            assert_eq!(keys.map(|keys| keys.active), active, "{text:?}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for text in
            ["1 sha1 Secret x\n1 sha1 Secret\n", "x sha1 Secret\n", "1 sha9 Secret\n", "1 crc Secret\n"]
        {
            let report = parse(text.as_bytes(), "authkeys", "authkeys");
            let shown: String = report.diagnostics.iter().map(Diagnostic::to_string).collect();
            assert!(!format!("{shown}{:?}", report.log).contains("Secret"), "{shown}");
        }
    }

    #[test]
    fn a_key_may_hold_any_bytes() {
        let report = parse(b"auth 7\n7 md5 \xff\xfe#\x00\n", "authkeys", "authkeys");
        assert_eq!(report.keys.unwrap().keys[&7].secret, b"\xff\xfe#\0");
    }
}
