//! Power switches with an SNMP agent: `apcmastersnmp`, `wti_mpc`. The agent's own encoding is written
//! here, apart from the code under test.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU8, Ordering};

use ha_core::stonith::device::{Action, Code};

use crate::{programs, request, skip, stonith, Deeds, Fault};

const COMMUNITY: &str = "geheim";
const APC: &str = "1.3.6.1.4.1.318.1.1.12.";
const WTI: &str = "1.3.6.1.4.1.2634.3.1.3.1.";
/// The agent's answers to questions that the wrong community asked: none.
const PACE_PERCENT: u32 = 10;

#[derive(Clone)]
enum Held {
    Number(u8),
    Text(&'static str),
}

/// Objects, and what setting one does.
struct Agent {
    objects: BTreeMap<String, Held>,
    /// Name of the objects that switch, without the outlet's number; the numbers' verbs.
    switches: &'static str,
    verbs: &'static [(u8, &'static str)],
    fault: Fault,
    deeds: Deeds,
}

impl Agent {
    fn apc(fault: Fault, deeds: &Deeds) -> Self {
        let mut objects = BTreeMap::new();
        let mut set = |name: &str, held| {
            objects.insert(format!("{APC}{name}"), held);
        };
        set("1.5.0", Held::Text("AP9212"));
        set("1.8.0", Held::Number(3));
        for (outlet, name) in [(1, "node1"), (2, "node2"), (3, "node3")] {
            set(&format!("3.4.1.1.2.{outlet}"), Held::Text(name));
            set(&format!("3.4.1.1.6.{outlet}"), Held::Number(1));
            set(&format!("3.3.1.1.4.{outlet}"), Held::Number(1));
            set(&format!("3.5.1.1.5.{outlet}"), Held::Number(2));
        }
        let verbs = &[(1, "on"), (2, "off"), (3, "reset")];
        Self { objects, switches: "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.", verbs, fault, deeds: deeds.clone() }
    }

    fn wti(fault: Fault, deeds: &Deeds) -> Self {
        let mut objects = BTreeMap::new();
        objects.insert("1.3.6.1.2.1.1.5.0".to_owned(), Held::Text("mpc"));
        for (group, name) in [(1, "node1"), (2, "node2"), (3, "node3"), (4, "")] {
            objects.insert(format!("{WTI}2.{group}"), Held::Text(name));
            objects.insert(format!("{WTI}3.{group}"), Held::Number(0));
        }
        let verbs = &[(5, "on"), (6, "off"), (7, "reset")];
        Self { objects, switches: "1.3.6.1.4.1.2634.3.1.3.1.3.", verbs, fault, deeds: deeds.clone() }
    }

    /// Serves at an address of its own until the test ends; the original asks port 161 whatever is
    /// configured. `None` where this user may not have the port.
    fn start(mut self) -> Option<String> {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let pid = std::process::id();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let address = format!("127.{}.{}.{number}", 1 + (pid >> 8) % 250, 1 + pid % 250);
        let socket = match UdpSocket::bind((address.as_str(), 161)) {
            Ok(socket) => socket,
            Err(error) => {
                skip::skip(&format!("no SNMP port: {error}"));
                return None;
            }
        };
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((count, sender)) = socket.recv_from(&mut buffer) {
                for answer in self.answers(&buffer[..count]) {
                    let _ = socket.send_to(&answer, sender);
                }
            }
        });
        Some(address)
    }

    fn answers(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(question) = Question::read(datagram) else { return Vec::new() };
        if question.community != COMMUNITY.as_bytes() || self.fault == Fault::Silent {
            return Vec::new();
        }
        if self.fault == Fault::Junk {
            return vec![vec![0x30, 0x84, 0xff], datagram.to_vec(), vec![0; 1400], vec![0xff; 1400]];
        }
        let mut oid = question.oid.clone();
        if let (Some(value), Some(outlet)) = (question.set, question.oid.strip_prefix(self.switches)) {
            let verb = self.verbs.iter().find(|(number, _)| *number == value).map_or("?", |(_, verb)| verb);
            match self.fault {
                Fault::HangsUp => return Vec::new(),
                Fault::OtherOutlet => oid = format!("{}3", self.switches),
                _ => {}
            }
            self.deeds.note(format!("{verb} {outlet}"));
            let after = if verb == "off" || self.fault == Fault::NeverDone { 2 } else { 1 };
            self.objects.insert(question.oid.clone(), Held::Number(after));
        }
        if self.fault == Fault::Slow {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        let (error, value) = match self.objects.get(&question.oid) {
            Some(Held::Number(number)) => (0, element(2, &[*number])),
            Some(Held::Text(text)) => (0, element(4, text.as_bytes())),
            None => (2, element(5, &[])),
        };
        let pair = element(0x30, &[element(6, &oid_bytes(&oid)), value].concat());
        let body =
            [element(2, &question.request), element(2, &[error]), element(2, &[0]), element(0x30, &pair)];
        let whole = [element(2, &[0]), element(4, &question.community), element(0xa2, &body.concat())];
        vec![element(0x30, &whole.concat())]
    }
}

struct Question {
    community: Vec<u8>,
    request: Vec<u8>,
    oid: String,
    set: Option<u8>,
}

impl Question {
    fn read(datagram: &[u8]) -> Option<Self> {
        let (_, inner, _) = split(datagram)?;
        let (_, _, rest) = split(inner)?;
        let (_, community, rest) = split(rest)?;
        let (kind, body, _) = split(rest)?;
        let (_, request, rest) = split(body)?;
        let (_, _, rest) = split(rest)?;
        let (_, _, rest) = split(rest)?;
        let (_, list, _) = split(rest)?;
        let (_, pair, _) = split(list)?;
        let (_, oid, rest) = split(pair)?;
        let (_, value, _) = split(rest)?;
        let set = (kind == 0xa3).then(|| value.last().copied()).flatten();
        Some(Self { community: community.to_vec(), request: request.to_vec(), oid: oid_text(oid), set })
    }
}

fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, length) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let (start, length) = match length {
        0x81 => (3, usize::from(*bytes.get(2)?)),
        0x82 => (4, usize::from(*bytes.get(2)?) * 256 + usize::from(*bytes.get(3)?)),
        short => (2, short),
    };
    Some((tag, bytes.get(start..start + length)?, bytes.get(start + length..)?))
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = if length < 128 {
        vec![tag, length as u8]
    } else {
        vec![tag, 0x82, (length >> 8) as u8, length as u8]
    };
    [head, content.to_vec()].concat()
}

fn oid_text(bytes: &[u8]) -> String {
    let mut parts = vec![u32::from(bytes[0] / 40), u32::from(bytes[0] % 40)];
    let mut part = 0;
    for byte in &bytes[1..] {
        part = part << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.iter().map(u32::to_string).collect::<Vec<_>>().join(".")
}

fn oid_bytes(text: &str) -> Vec<u8> {
    let parts: Vec<u32> = text.split('.').map(|part| part.parse().expect("number")).collect();
    let mut bytes = vec![(parts[0] * 40 + parts[1]) as u8];
    for part in &parts[2..] {
        if *part >= 128 {
            assert!(*part < 1 << 14);
            bytes.push(0x80 | (part >> 7) as u8);
        }
        bytes.push((part & 0x7f) as u8);
    }
    bytes
}

type Make = fn(Fault, &Deeds) -> Agent;
/// Name of the type, its agent, parameters of its own.
type Kind = (&'static str, Make, &'static [(&'static str, &'static str)]);
const KINDS: [Kind; 2] =
    [("apcmastersnmp", Agent::apc, &[]), ("wti_mpc", Agent::wti, &[("mib-version", "1")])];

fn pairs<'p>(address: &'p str, more: &[(&'p str, &'p str)]) -> Vec<(&'p str, &'p str)> {
    [&[("ipaddr", address), ("port", "161"), ("community", COMMUNITY)], more].concat()
}

#[test]
fn each_switch_resets_for_both_programs() {
    for (name, make, more) in KINDS {
        for program in programs() {
            let deeds = Deeds::default();
            let Some(address) = make(Fault::None, &deeds).start() else { return };
            let pairs = pairs(&address, more);
            let run = |words: &[&str]| stonith(&program, name, &pairs, words);
            let (code, text) = run(&["-l"]);
            for host in ["node1", "node2", "node3"] {
                assert!(code == 0 && text.lines().any(|line| line == host), "{name} {}: {text}", program.0);
            }
            assert_eq!(run(&["-S"]).0, 0, "{name} {}", program.0);
            assert_eq!(deeds.take(), Vec::<String>::new(), "{name} {}", program.0);
            for (words, deed) in [(["-T", "reset", "NODE2"], "reset 2"), (["-T", "off", "node1"], "off 1")] {
                let (code, text) = run(&words);
                assert_eq!(code, 0, "{name} {}: {text}", program.0);
                assert_eq!(deeds.take(), [deed], "{name} {}", program.0);
                assert!(program.0 == crate::ORIGINAL || !text.contains(COMMUNITY), "{text}");
            }
            let (code, text) = run(&["-T", "reset", "node9"]);
            assert_eq!(deeds.take(), Vec::<String>::new(), "{name} {}: {text}", program.0);
            assert_ne!(code, 0, "{name} {}: {text}", program.0);
        }
    }
}

#[test]
fn an_agent_that_misbehaves_never_reports_success() {
    for (name, make, more) in KINDS {
        for fault in [Fault::Silent, Fault::Junk, Fault::HangsUp, Fault::OtherOutlet, Fault::NeverDone] {
            // That it was not done shows only where the switch tells.
            if fault == Fault::NeverDone && name != "apcmastersnmp" {
                continue;
            }
            let deeds = Deeds::default();
            let Some(address) = make(fault, &deeds).start() else { return };
            let result = request(name, &pairs(&address, more), PACE_PERCENT, Action::Reset, "node2");
            let failure = result.expect_err(name);
            let expected = match fault {
                Fault::Silent | Fault::Junk => Code::ACCESS,
                _ => Code::RESET_FAILED,
            };
            assert_eq!(failure.code, expected, "{name} {fault:?}: {failure}");
            assert!(deeds.take().len() <= 1, "{name} {fault:?}: a command is sent once");
        }
        let deeds = Deeds::default();
        let Some(address) = make(Fault::Slow, &deeds).start() else { return };
        request(name, &pairs(&address, more), 100, Action::Reset, "node3").expect(name);
        assert_eq!(deeds.take(), ["reset 3"]);
    }
}
