//! Escaping and parsing for the one-line text form of events.

use std::fmt::Write;

use super::event::{
    Command, ExitReason, FencingWord, Finding, Input, Job, JobId, JobOutcome, Question, QuestionId, RequestId,
};
use crate::types::{HostRecord, LinkName, NodeName, ResourceSet};
use crate::wire::message::{Field, Message, Value};

/// A line that is not an input. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an event line: {0}")]
pub struct ParseError(pub String);

/// Deepest nesting of messages inside messages in a line (messaging spec 1.1).
const DEPTH_MAX: usize = 16;

/// Percent-escapes everything but visible ASCII, and the marks the line form itself uses.
/// The empty text becomes `%-`.
pub fn escape(text: &str) -> String {
    escape_bytes(text.as_bytes())
}

pub(super) fn escape_bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "%-".to_owned();
    }
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'%' | b'=' | b',' | b'{' | b'}') => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "%{byte:02x}");
            }
        }
    }
    out
}

/// Every field as ` name:type=value`, in order.
pub(super) fn fields(message: &Message) -> String {
    let mut out = String::new();
    for Field { name, value } in message.fields() {
        let _ = write!(out, " {}", field(name, value));
    }
    out
}

fn field(name: &str, value: &Value) -> String {
    let name = escape(name);
    match value {
        Value::Text(bytes) => format!("{name}={}", escape_bytes(bytes)),
        Value::Binary(bytes) => format!("{name}=b,{}", hex(bytes)),
        Value::Compressed(bytes) => format!("{name}=c,{}", hex(bytes)),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| escape_bytes(item)).collect();
            format!("{name}=l,{}", items.join(","))
        }
        Value::Message(inner) => format!("{name}=m,{}", hex(fields(inner).as_bytes())),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every node as ` name,uuid,weight,site`.
pub(super) fn hosts(hosts: &[HostRecord]) -> String {
    let mut out = String::new();
    for host in hosts {
        let uuid = host.uuid.map_or("-".to_owned(), |uuid| uuid.to_string());
        let _ = write!(out, " {},{uuid},{},{}", escape(host.name.as_str()), host.weight, escape(&host.site));
    }
    out
}

pub(super) fn command(command: Command) -> String {
    match command {
        Command::Standby(set) => format!("standby {set}"),
        Command::Takeover(set) => format!("takeover {set}"),
        Command::Shutdown => "shutdown".to_owned(),
        Command::MaintenanceOn(for_ms) => format!("maintenance-on {for_ms}"),
        Command::MaintenanceOff => "maintenance-off".to_owned(),
        Command::QuickRestart => "quick-restart".to_owned(),
        Command::ConfirmTakeover => "confirm-takeover".to_owned(),
    }
}

pub(super) fn question(what: &Question) -> String {
    match what {
        Question::Fence { node, device } => format!("fence {} {device}", escape(node.as_str())),
        Question::Lease { word } => match word {
            Some(word) => format!("lease {}", escape(&word.to_string())),
            None => "lease -".to_owned(),
        },
        Question::Arbiter { verb } => format!("arbiter {}", verb.as_str()),
        Question::Resource { node } => format!("resource {}", escape(node.as_str())),
        Question::Address { set } => format!("address {set}"),
        Question::Monitor { resource } => format!("monitor {resource}"),
        Question::FenceDevice { device } => format!("fence-device {device}"),
    }
}

pub(super) fn finding(answer: &Finding) -> String {
    match answer {
        Finding::Yes => "yes".to_owned(),
        Finding::Found(what) => format!("found {}", escape(what)),
        Finding::No(why) => format!("no {}", escape(why)),
        Finding::Failed(why) => format!("failed {}", escape(why)),
        Finding::Unclear(why) => format!("unclear {}", escape(why)),
    }
}

pub(super) fn job(job: Job) -> String {
    let verb = match job {
        Job::Acquire(_) => "acquire",
        Job::Release(_) => "release",
        Job::ReleaseActive(_) => "release-active",
        Job::Announce(_) => "announce",
        Job::Restart(set, resource) => return format!("restart {set} {resource}"),
        Job::Restore(set, resource) => return format!("restore {set} {resource}"),
        Job::Halt(_) => "halt",
    };
    format!("{verb} {}", job.set())
}

pub(super) fn exit_reason(reason: ExitReason) -> String {
    match reason {
        ExitReason::Stopped => "stopped".to_owned(),
        ExitReason::Restart => "restart".to_owned(),
        ExitReason::QuickRestart(held) => format!("quick-restart {held}"),
        ExitReason::StopFailed => "stop-failed".to_owned(),
    }
}

pub(super) fn parse_input(line: &str) -> Result<Input, ParseError> {
    let bad = || ParseError(line.chars().take(200).collect());
    let mut words = line.split(' ');
    let verb = words.next().ok_or_else(bad)?;
    let mut next = || words.next().ok_or_else(bad);
    let input = match verb {
        "start" => Input::Start,
        "tick" => Input::Tick,
        "peer-was-away" => Input::PeerWasAway,
        "resource-lost" => Input::ResourceLost(next()?.parse().map_err(|_| bad())?),
        "former-maintenance" => {
            let mut number = || next()?.parse().map_err(|_| bad());
            Input::FormerMaintenance { until_ms: number()?, version: number()? }
        }
        "former-fencing" => Input::FormerFencing(FencingWord::from_word(next()?).ok_or_else(bad)?),
        "former-beat" => Input::FormerBeat(next()?.parse().map_err(|_| bad())?),
        "load" => Input::LoadAverage(text(next()?).ok_or_else(bad)?),
        "copy" => {
            let link = text(next()?).and_then(|name| LinkName::new(&name)).ok_or_else(bad)?;
            let node = text(next()?).and_then(|name| NodeName::exact(&name)).ok_or_else(bad)?;
            Input::Copy { link, node }
        }
        "ping-answer" => {
            let node = text(next()?).and_then(|name| NodeName::exact(&name)).ok_or_else(bad)?;
            Input::PingAnswer { node }
        }
        "resources-digest" => Input::ResourcesDigest(text(next()?).ok_or_else(bad)?),
        "job-done" => {
            let job = JobId(next()?.parse().map_err(|_| bad())?);
            let start_failed: ResourceSet = next()?.parse().map_err(|()| bad())?;
            let stop_failed: ResourceSet = next()?.parse().map_err(|()| bad())?;
            Input::JobDone { job, outcome: JobOutcome { start_failed, stop_failed } }
        }
        "command" => {
            let request = RequestId(next()?.parse().map_err(|_| bad())?);
            let command = parse_command(&mut words).ok_or_else(bad)?;
            Input::Command { request, command }
        }
        "answer" => {
            let question = QuestionId(next()?.parse().map_err(|_| bad())?);
            let answer = parse_finding(&mut words).ok_or_else(bad)?;
            Input::Answer { question, answer }
        }
        "packet" => {
            let link = text(next()?).and_then(|name| LinkName::new(&name)).ok_or_else(bad)?;
            let key_index = next()?.parse().map_err(|_| bad())?;
            let message = parse_fields(&mut words, 0).ok_or_else(bad)?;
            Input::Packet { link, key_index, message }
        }
        "local-message" => Input::LocalMessage(parse_fields(&mut words, 0).ok_or_else(bad)?),
        _ => return Err(bad()),
    };
    match words.next() {
        None => Ok(input),
        Some(_) => Err(bad()),
    }
}

fn parse_command<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Command> {
    Some(match words.next()? {
        "standby" => Command::Standby(words.next()?.parse().ok()?),
        "takeover" => Command::Takeover(words.next()?.parse().ok()?),
        "maintenance-on" => Command::MaintenanceOn(words.next()?.parse().ok()?),
        "maintenance-off" => Command::MaintenanceOff,
        "shutdown" => Command::Shutdown,
        "quick-restart" => Command::QuickRestart,
        "confirm-takeover" => Command::ConfirmTakeover,
        _ => return None,
    })
}

fn parse_finding<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Finding> {
    Some(match words.next()? {
        "yes" => Finding::Yes,
        "found" => Finding::Found(text(words.next()?)?),
        "no" => Finding::No(text(words.next()?)?),
        "failed" => Finding::Failed(text(words.next()?)?),
        "unclear" => Finding::Unclear(text(words.next()?)?),
        _ => return None,
    })
}

fn parse_fields<'a>(words: &mut impl Iterator<Item = &'a str>, depth: usize) -> Option<Message> {
    let mut message = Message::empty();
    for word in words {
        let (name, value) = word.split_once('=')?;
        message.push(&text(name)?, parse_value(value, depth)?);
    }
    Some(message)
}

/// The reverse of [`fields`], whose leading blank may be missing.
pub(super) fn message(line: &str) -> Option<Message> {
    parse_fields(&mut line.split(' ').filter(|word| !word.is_empty()), 0)
}

fn parse_value(value: &str, depth: usize) -> Option<Value> {
    Some(match value.split_once(',') {
        None => Value::Text(unescape(value)?),
        Some(("b", digits)) => Value::Binary(unhex(digits)?),
        Some(("c", digits)) => Value::Compressed(unhex(digits)?),
        Some(("l", "")) => Value::List(Vec::new()),
        Some(("l", items)) => Value::List(items.split(',').map(unescape).collect::<Option<_>>()?),
        Some(("m", digits)) if depth < DEPTH_MAX => {
            let inner = String::from_utf8(unhex(digits)?).ok()?;
            Value::Message(parse_fields(&mut inner.split(' ').filter(|word| !word.is_empty()), depth + 1)?)
        }
        Some(_) => return None,
    })
}

pub(super) fn text(word: &str) -> Option<String> {
    String::from_utf8(unescape(word)?).ok()
}

fn unescape(word: &str) -> Option<Vec<u8>> {
    if word == "%-" {
        return Some(Vec::new());
    }
    let mut out = Vec::with_capacity(word.len());
    let mut bytes = word.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

pub(super) fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_survives_its_text_form() {
        let mut message = Message::new("status").with("st", "a b=c,d%{}").with("empty", "");
        message.push("srcuuid", Value::Binary(vec![0, 1, 255]));
        message.push("list", Value::List(vec![b"a,b".to_vec(), b"c".to_vec()]));
        message.push("inner", Value::Message(Message::new("x").with("y", "z z")));
        message.push("zip", Value::Compressed(vec![9]));
        let inputs = [
            Input::Start,
            Input::Tick,
            Input::LoadAverage("0.00 0.01 0.05 1/100 1234".to_owned()),
            Input::PeerWasAway,
            Input::ResourceLost(3),
            Input::FormerMaintenance { until_ms: 5, version: 6 },
            Input::FormerFencing(FencingWord::MayBeReset),
            Input::Command { request: RequestId(5), command: Command::MaintenanceOn(7000) },
            Input::Command { request: RequestId(6), command: Command::MaintenanceOff },
            Input::FormerBeat(1234),
            Input::ResourcesDigest("ab12".to_owned()),
            Input::Copy { link: LinkName::new("eth1").unwrap(), node: NodeName::new("node2").unwrap() },
            Input::Packet { link: LinkName::new("eth1").unwrap(), key_index: 3, message: message.clone() },
            Input::LocalMessage(message),
            Input::PingAnswer { node: NodeName::new("fe80::1%eth0").unwrap() },
            Input::JobDone {
                job: JobId(7),
                outcome: JobOutcome { start_failed: ResourceSet::LOCAL, stop_failed: ResourceSet::NONE },
            },
            Input::Command { request: RequestId(1), command: Command::Standby(ResourceSet::ALL) },
            Input::Command { request: RequestId(2), command: Command::Takeover(ResourceSet::FOREIGN) },
            Input::Command { request: RequestId(3), command: Command::Shutdown },
            Input::Command { request: RequestId(4), command: Command::QuickRestart },
            Input::Command { request: RequestId(5), command: Command::ConfirmTakeover },
            Input::Answer { question: QuestionId(1), answer: Finding::Yes },
            Input::Answer { question: QuestionId(4), answer: Finding::Found("own none".to_owned()) },
            Input::Answer { question: QuestionId(2), answer: Finding::No("no such host".to_owned()) },
            Input::Answer { question: QuestionId(3), answer: Finding::Failed(String::new()) },
            Input::Answer { question: QuestionId(5), answer: Finding::Unclear("it hung up".to_owned()) },
        ];
        for input in inputs {
            let line = input.to_string();
            assert!(!line.contains('\n'));
            assert_eq!(line.parse::<Input>().as_ref(), Ok(&input), "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["", "packet", "tick tock", "job-done x none none", "packet eth1 1 a=q,1", "load %zz"] {
            assert!(line.parse::<Input>().is_err(), "{line}");
        }
    }
}
