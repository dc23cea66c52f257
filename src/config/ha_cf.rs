//! ha.cf: text to checked values, remarks, and the lines the original would have logged.
//!
//! Reading is two steps, as in the original: the lines of the file in order, then (if nothing was
//! wrong) the defaults of what is missing and the checks across directives ([`super::validate`]).

use std::collections::BTreeMap;

use super::apply::{Draft, Fault, Word};
use super::diagnostic::{Diagnostic, Place, Severity};
use super::directive::{self, Directive, Shape, Support};
use super::host::HostFacts;
use super::settings::HaCf;
use super::source::{push_limited, Source, LINE_MAX_BYTES, REMARKS_MAX};
use super::{validate, LogLine};
use crate::types::LogLevel;

/// Everything found out about one ha.cf.
#[derive(Debug, Clone)]
pub struct HaCfReport {
    /// The values, as far as they were understood. To be used for a start only when
    /// [`HaCfReport::is_good`].
    pub settings: HaCf,
    /// Some line was wrong, or asks for what this release does not do.
    pub lines_failed: bool,
    /// Some check across directives failed. Always false when lines failed: then it was not made
    /// for the log.
    pub checks_failed: bool,
    /// The original's lines while it reads the file.
    pub reading_log: Vec<LogLine>,
    /// The original's lines behind that, after it has read authkeys.
    pub checks_log: Vec<LogLine>,
    /// Remarks in file order, those without a line last.
    pub diagnostics: Vec<Diagnostic>,
    /// Where each directive stands (the last place), by name.
    pub given: BTreeMap<&'static str, Place>,
    /// Where each medium stands, in the order of `settings.media`.
    pub media_places: Vec<Place>,
    /// Where each `monitor` names its resource, in the order of `settings.monitors`.
    pub monitor_places: Vec<Place>,
}

impl HaCfReport {
    /// A daemon may start with these settings.
    pub fn is_good(&self) -> bool {
        !self.lines_failed && !self.checks_failed
    }
}

/// Reads the text of ha.cf. `node_name` is this node's name, already in lower case.
///
/// Never fails as such: what is wrong is in the report. Source: messaging spec 5.1, 5.2 and 6.
pub fn read(source: &Source, node_name: &str, host: &HostFacts) -> HaCfReport {
    let mut reader = Reader::new(source, node_name, host);
    for (number, line) in source.lines() {
        reader.read_line(number, line);
    }
    let lines_failed = reader.failed;
    let reading_log = std::mem::take(&mut reader.log);
    let mut checks_failed = false;
    if !reader.broken {
        reader.failed = false;
        validate::finish(&mut reader, node_name);
        checks_failed = reader.failed && !lines_failed;
    }
    reader.diagnostics.sort_by_key(|one| (one.place.line == 0, one.place.line, one.place.column));
    HaCfReport {
        settings: reader.draft.settings,
        lines_failed,
        checks_failed,
        reading_log,
        checks_log: reader.log,
        diagnostics: reader.diagnostics,
        given: reader.given,
        media_places: reader.draft.media_places,
        monitor_places: reader.draft.monitor_places,
    }
}

/// Whether a byte separates a directive from its arguments (messaging spec 5.1).
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | '\x0c')
}

fn is_delimiter(c: char) -> bool {
    c == ',' || is_blank(c)
}

/// What reading has collected so far.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    /// This node.
    pub(super) node_name: &'a str,
    pub(super) host: &'a HostFacts,
    pub(super) draft: Draft,
    pub(super) log: Vec<LogLine>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Last place of each directive.
    pub(super) given: BTreeMap<&'static str, Place>,
    /// Something stops the start.
    pub(super) failed: bool,
    /// Some value could not be understood, so checks across directives would only confuse.
    broken: bool,
}

impl<'a> Reader<'a> {
    fn new(source: &'a Source, node_name: &'a str, host: &'a HostFacts) -> Self {
        Self {
            source,
            node_name,
            host,
            draft: Draft::default(),
            log: Vec::new(),
            diagnostics: Vec::new(),
            given: BTreeMap::new(),
            failed: false,
            broken: false,
        }
    }

    /// Adds a line the original prints.
    pub(super) fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        push_limited(&mut self.log, (level, text.into()));
    }

    /// Adds a remark of ours about a word. Errors stop the start.
    pub(super) fn remark(&mut self, severity: Severity, place: Place, message: String, help: String) {
        self.failed |= severity == Severity::Error;
        push_limited(&mut self.diagnostics, self.source.remark(severity, place, message, help));
    }

    /// The place of a word; that of a default is the file.
    pub(super) fn place(&self, word: &Word<'_>) -> Place {
        self.source.place(word.line, word.start, word.start + word.text.len())
    }

    fn read_line(&mut self, number: usize, line: &str) {
        let text = line.split('#').next().unwrap_or("").trim_end_matches(is_blank);
        let start = text.len() - text.trim_start_matches(is_blank).len();
        let text_from = &text[start..];
        if text_from.is_empty() {
            return;
        }
        if text.len() > LINE_MAX_BYTES {
            self.refuse_line(number, format!("this line is longer than {LINE_MAX_BYTES} bytes"));
            return;
        }
        if text.contains(['\u{fffd}', '\0']) {
            self.refuse_line(number, "this line holds bytes that are no text (expected UTF-8)".into());
            return;
        }
        let name_end = text_from.find(is_blank).unwrap_or(text_from.len());
        let name = Word { text: &text_from[..name_end], line: number, start };
        let rest = text_from[name_end..].trim_start_matches(is_delimiter);
        let rest = Word { text: rest, line: number, start: text.len() - rest.len() };
        match self.look_up(&name) {
            Some(directive) => self.read_directive(directive, &name, &rest),
            None => self.unknown(&name, "", ""),
        }
    }

    /// A line that cannot be read at all. The original has no words for it.
    fn refuse_line(&mut self, number: usize, message: String) {
        self.log(LogLevel::Error, format!("Line {number} of {}: {message}", self.source.logged_path));
        self.broken = true;
        self.remark(Severity::Error, self.source.place(number, 0, 1), message, String::new());
    }

    fn look_up(&mut self, name: &Word<'_>) -> Option<&'static Directive> {
        if name.text == "udp" {
            self.log(LogLevel::Warning, "WARNING: directive 'udp' replaced by 'bcast'");
            let help = "write bcast instead".to_owned();
            self.remark(Severity::Hint, self.place(name), "`udp` is the former name of `bcast`".into(), help);
            return directive::find("bcast");
        }
        directive::find(name.text)
    }

    fn unknown(&mut self, name: &Word<'_>, reason: &str, help: &str) {
        self.failed = true;
        if self.diagnostics.len() >= REMARKS_MAX {
            return;
        }
        self.log(
            LogLevel::Error,
            format!("Illegal directive [{}] in {}", name.text, self.source.logged_path),
        );
        let help = match directive::nearest(name.text) {
            _ if !help.is_empty() => help.to_owned(),
            Some(known) => format!("did you mean `{known}`? Case counts, see ha.cf(5)"),
            None => "see ha.cf(5) for the directives there are".to_owned(),
        };
        let reason = if reason.is_empty() { "there is no such directive" } else { reason };
        // What it was meant to be nobody knows, and a password may follow.
        let place = self.source.place_alone(name.line, name.start, name.start + name.text.len());
        self.remark(Severity::Error, place, format!("`{}`: {reason}", name.text), help);
    }

    fn read_directive(&mut self, directive: &'static Directive, name: &Word<'_>, rest: &Word<'_>) {
        if let Support::Refused(reason) = directive.support {
            self.unknown(name, "not supported", reason);
            return;
        }
        let valued = directive.shape == Shape::Line || !rest.text.is_empty();
        if valued {
            self.given.insert(directive.name, self.place(name));
        } else {
            let message = format!("`{}` without a value changes nothing", directive.name);
            self.remark(Severity::Warning, self.place(name), message, String::new());
        }
        match directive.shape {
            Shape::Line => self.apply(directive, rest),
            Shape::List => {
                let mut offset = 0;
                for text in rest.text.split(is_delimiter) {
                    if !text.is_empty() {
                        self.apply(directive, &Word { text, line: rest.line, start: rest.start + offset });
                    }
                    offset += text.len() + 1;
                }
            }
        }
    }

    /// Applies one argument and keeps it for scripts and clients.
    pub(super) fn apply(&mut self, directive: &'static Directive, word: &Word<'_>) {
        match (directive.apply)(self, word) {
            Ok(()) if directive.recorded => self.draft.record(directive.name, word.text),
            Ok(()) => {}
            Err(fault) => self.fault(directive, word, fault),
        }
    }

    fn fault(&mut self, directive: &'static Directive, word: &Word<'_>, fault: Fault) {
        self.broken |= !fault.unsupported;
        self.failed = true;
        if self.diagnostics.len() >= REMARKS_MAX {
            return;
        }
        for line in fault.log {
            push_limited(&mut self.log, line);
        }
        let place = match fault.part {
            Some((from, to)) => self.source.place(word.line, word.start + from, word.start + to),
            None if word.text.is_empty() => {
                self.given.get(directive.name).cloned().unwrap_or_else(Place::file)
            }
            None => self.place(word),
        };
        self.remark(Severity::Error, place, fault.message, fault.help);
    }
}
