//! What a list of packet filter rules does with a heartbeat. Rules may ask for more than is known here
//! (who sends, how often, marks): then the answer is "unsure", never a guess.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Rules looked at for one packet, jumps counted each time.
const STEPS_MAX: usize = 20_000;
/// Jumps into each other, as deep as the kernel allows.
const DEPTH_MAX: usize = 16;

/// A heartbeat on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    /// Interface.
    pub(super) device: String,
    /// UDP port it goes to.
    pub(super) port: u16,
    /// IPv6.
    pub(super) ipv6: bool,
}

/// What becomes of it; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// It is let in.
    Open,
    /// The rules ask for what is not known here.
    Unsure,
    /// It is thrown away.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    No,
    Maybe,
    Yes,
}

impl Truth {
    fn of(known: bool) -> Self {
        if known {
            Self::Yes
        } else {
            Self::No
        }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Maybe,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Counts, logs, marks.
    Nothing,
    /// Could be anything.
    Unknown,
}

/// A condition on the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Match {
    Device {
        name: String,
        negated: bool,
    },
    Ports {
        ranges: Vec<(u16, u16)>,
        negated: bool,
    },
    Ipv6(bool),
    /// Nothing of ours matches: another protocol, an established connection.
    Never {
        negated: bool,
    },
    Unknown,
}

impl Match {
    fn truth(&self, packet: &Packet) -> Truth {
        let (truth, negated) = match self {
            Self::Device { name, negated } => {
                let fits = match name.strip_suffix(['+', '*']) {
                    Some(start) => packet.device.starts_with(start),
                    None => packet.device == *name,
                };
                (Truth::of(fits), *negated)
            }
            Self::Ports { ranges, negated } => {
                (Truth::of(ranges.iter().any(|(from, to)| (*from..=*to).contains(&packet.port))), *negated)
            }
            Self::Ipv6(wanted) => (Truth::of(packet.ipv6 == *wanted), false),
            Self::Never { negated } => (Truth::No, *negated),
            Self::Unknown => (Truth::Maybe, false),
        };
        if negated {
            truth.not()
        } else {
            truth
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    matches: Vec<Match>,
    action: Action,
}

/// A chain where the kernel comes in, with what happens at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base {
    chain: String,
    policy: Action,
}

/// Rules of one tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    bases: Vec<Base>,
    chains: BTreeMap<String, Vec<Rule>>,
    /// Which packets come here at all; both when absent.
    ipv6: Option<bool>,
    /// Families with rules in which nft shows no sense: iptables made them, and reads them.
    pub(super) of_iptables: Vec<bool>,
}

impl Ruleset {
    /// What becomes of the packet: every base chain must let it through.
    pub(super) fn verdict(&self, packet: &Packet) -> Verdict {
        if self.ipv6.is_some_and(|ipv6| ipv6 != packet.ipv6) {
            return Verdict::Open;
        }
        let walk = |base: &Base| {
            let mut walk = Walk { ruleset: self, packet, steps: 0, maybe_accept: false, maybe_drop: false };
            let end = walk.chain(&base.chain, 0);
            match end.filter(|end| *end != Action::Return).unwrap_or_else(|| base.policy.clone()) {
                Action::Accept if !walk.maybe_drop => Verdict::Open,
                Action::Drop if !walk.maybe_accept => Verdict::Closed,
                _ => Verdict::Unsure,
            }
        };
        self.bases.iter().map(walk).max().unwrap_or(Verdict::Open)
    }

    /// The output of `iptables-save -t filter`; what is not understood counts as unsure.
    pub(super) fn from_iptables(text: &str, ipv6: bool) -> Self {
        let mut ruleset = Self { ipv6: Some(ipv6), ..Self::default() };
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [name, policy, ..] if name.starts_with(':') => {
                    let name = name[1..].to_owned();
                    if name == "INPUT" {
                        let policy = if *policy == "DROP" { Action::Drop } else { Action::Accept };
                        ruleset.bases.push(Base { chain: name.clone(), policy });
                    }
                    ruleset.chains.entry(name).or_default();
                }
                ["-A", chain, rest @ ..] => {
                    ruleset.chains.entry((*chain).to_owned()).or_default().push(iptables_rule(rest));
                }
                _ => {}
            }
        }
        ruleset
    }

    /// The output of `nft -j list ruleset`; `None` when it is none.
    pub(super) fn from_nft(text: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        let mut ruleset = Self::default();
        let mut foreign = BTreeSet::new();
        for object in document.get("nftables")?.as_array()? {
            if let Some(chain) = object.get("chain") {
                let Some(name) = nft_name(chain, "name") else { continue };
                let hooked = chain.get("hook").and_then(Value::as_str) == Some("input")
                    && chain.get("type").and_then(Value::as_str) == Some("filter");
                let family = chain.get("family").and_then(Value::as_str);
                if hooked && matches!(family, Some("ip" | "ip6" | "inet")) {
                    let drops = chain.get("policy").and_then(Value::as_str) == Some("drop");
                    let policy = if drops { Action::Drop } else { Action::Accept };
                    ruleset.bases.push(Base { chain: name.clone(), policy });
                }
                ruleset.chains.entry(name).or_default();
            } else if let Some(rule) = object.get("rule") {
                let Some(chain) = nft_name(rule, "chain") else { continue };
                if is_of_iptables(rule) {
                    foreign.insert(chain.rsplit_once('/').map_or("", |(table, _)| table).to_owned());
                }
                let rules = nft_rules(rule);
                ruleset.chains.entry(chain).or_default().extend(rules);
            }
        }
        for (table, ipv6) in [("ip/filter", false), ("ip6/filter", true)] {
            if foreign.contains(table) {
                ruleset.of_iptables.push(ipv6);
                ruleset.bases.retain(|base| !base.chain.starts_with(&format!("{table}/")));
            }
        }
        // A table of one family never sees packets of the other.
        ruleset.add_families();
        Some(ruleset)
    }

    fn add_families(&mut self) {
        for (name, rules) in &mut self.chains {
            let ipv6 = match name.split('/').next() {
                Some("ip") => false,
                Some("ip6") => true,
                _ => continue,
            };
            let pass = Rule { matches: vec![Match::Ipv6(!ipv6)], action: Action::Accept };
            rules.insert(0, pass);
        }
    }
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    packet: &'a Packet,
    steps: usize,
    maybe_accept: bool,
    maybe_drop: bool,
}

impl Walk<'_> {
    /// What the chain decides; `None` when it leaves the decision to its caller.
    fn chain(&mut self, name: &str, depth: usize) -> Option<Action> {
        let rules = self.ruleset.chains.get(name).map(Vec::as_slice).unwrap_or_default();
        for rule in rules {
            self.steps += 1;
            if self.steps > STEPS_MAX || depth > DEPTH_MAX {
                (self.maybe_accept, self.maybe_drop) = (true, true);
                return None;
            }
            let truth = rule.matches.iter().fold(Truth::Yes, |all, one| all.and(one.truth(self.packet)));
            if truth == Truth::No {
                continue;
            }
            let sure = truth == Truth::Yes;
            let end = match &rule.action {
                Action::Nothing => None,
                Action::Unknown => {
                    (self.maybe_accept, self.maybe_drop) = (true, true);
                    None
                }
                Action::Return => Some(Action::Return),
                Action::Jump(chain) => self.chain(chain, depth + 1).filter(|end| *end != Action::Return),
                Action::Goto(chain) => Some(self.chain(chain, depth + 1).unwrap_or(Action::Return)),
                decided => Some(decided.clone()),
            };
            match (end, sure) {
                (None, _) => {}
                (Some(end), true) => return Some(end),
                (Some(Action::Accept), false) => self.maybe_accept = true,
                (Some(Action::Drop), false) => self.maybe_drop = true,
                (Some(_), false) => (self.maybe_accept, self.maybe_drop) = (true, true),
            }
        }
        None
    }
}

/// One rule behind `-A CHAIN`.
fn iptables_rule(words: &[&str]) -> Rule {
    let mut rule = Rule { matches: Vec::new(), action: Action::Nothing };
    let mut at = 0;
    let mut negated = false;
    while let Some(word) = words.get(at) {
        let value = words.get(at + 1).copied().unwrap_or_default();
        let mut taken = 2;
        let one = match *word {
            "!" => {
                negated = true;
                at += 1;
                continue;
            }
            "-i" => Some(Match::Device { name: value.to_owned(), negated }),
            "-p" => match value {
                "udp" | "17" if !negated => None,
                "all" => None,
                "udp" | "17" => Some(Match::Never { negated: false }),
                _ => Some(Match::Never { negated }),
            },
            "-m" => {
                (!matches!(value, "udp" | "tcp" | "state" | "conntrack" | "comment" | "multiport" | "limit"))
                    .then_some(Match::Unknown)
            }
            "--dport" | "--dports" | "--ports" => {
                Some(ports(value).map_or(Match::Unknown, |ranges| Match::Ports { ranges, negated }))
            }
            "--state" | "--ctstate" => {
                // nobody answers a heartbeat, so its connection stays new
                let new = value.split(',').any(|state| state == "NEW");
                (!new || negated).then_some(Match::Never { negated: negated && !new })
            }
            "--comment" => {
                taken = 1 + comment_words(&words[at + 1..]);
                None
            }
            "-j" | "-g" => {
                rule.action = iptables_action(word, value);
                at += 2;
                // what follows are options of the target
                if matches!(rule.action, Action::Drop | Action::Nothing) {
                    break;
                }
                continue;
            }
            _ => Some(Match::Unknown),
        };
        rule.matches.extend(one);
        negated = false;
        at += taken;
    }
    rule
}

fn iptables_action(word: &str, target: &str) -> Action {
    match target {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "LOG" | "ULOG" | "NFLOG" | "MARK" | "CONNMARK" | "CLASSIFY" | "NOTRACK" | "SET" | "TRACE" => {
            Action::Nothing
        }
        "QUEUE" | "NFQUEUE" => Action::Unknown,
        chain if word == "-g" => Action::Goto(chain.to_owned()),
        chain => Action::Jump(chain.to_owned()),
    }
}

/// A comment in quotation marks may be several words.
fn comment_words(words: &[&str]) -> usize {
    match words.first() {
        Some(first) if first.starts_with('"') && (first.len() == 1 || !first.ends_with('"')) => {
            words.iter().skip(1).position(|word| word.ends_with('"')).map_or(words.len(), |end| end + 2)
        }
        _ => 1,
    }
}

/// `694`, `690:700`, `53,694`.
fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    let range = |part: &str| match part.split_once([':', '-']) {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
        None => part.parse().ok().map(|port| (port, port)),
    };
    text.split(',').map(range).collect()
}

/// Chains have a name in a table of a family.
fn nft_name(object: &Value, field: &str) -> Option<String> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    Some(format!("{}/{}/{}", text("family")?, text("table")?, text(field)?))
}

fn is_of_iptables(rule: &Value) -> bool {
    let mut statements = rule.get("expr").and_then(Value::as_array).into_iter().flatten();
    statements.any(|statement| statement.get("xt").is_some())
}

/// A rule, or several where a map decides.
fn nft_rules(rule: &Value) -> Vec<Rule> {
    let chain = |name: &str| {
        let text = |field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default();
        format!("{}/{}/{name}", text("family"), text("table"))
    };
    let mut matches = Vec::new();
    let mut action = Action::Nothing;
    for statement in rule.get("expr").and_then(Value::as_array).into_iter().flatten() {
        let Some((word, value)) = statement.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let target = || chain(value.get("target").and_then(Value::as_str).unwrap_or_default());
        match word.as_str() {
            "match" => matches.extend(nft_match(value)),
            "accept" => action = Action::Accept,
            "drop" | "reject" => action = Action::Drop,
            "return" => action = Action::Return,
            "jump" => action = Action::Jump(target()),
            "goto" => action = Action::Goto(target()),
            "counter" | "log" | "mangle" | "meta" | "comment" => {}
            "xt" => {
                matches.push(Match::Unknown);
            }
            "limit" => matches.push(Match::Unknown),
            _ => action = Action::Unknown,
        }
    }
    vec![Rule { matches, action }]
}

/// One comparison; nothing when it is always so for a heartbeat.
fn nft_match(value: &Value) -> Option<Match> {
    let negated = value.get("op").and_then(Value::as_str) == Some("!=");
    let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
        return Some(Match::Unknown);
    };
    let texts = nft_texts(right);
    let meta = left.get("meta").and_then(|meta| meta.get("key")).and_then(Value::as_str);
    let payload = left.get("payload");
    let protocol = payload.and_then(|payload| payload.get("protocol")).and_then(Value::as_str);
    let field = payload.and_then(|payload| payload.get("field")).and_then(Value::as_str);
    let tracked = left.get("ct").and_then(|ct| ct.get("key")).and_then(Value::as_str);
    match (meta, protocol, field) {
        (Some("iifname" | "iif"), ..) => match texts.as_slice() {
            [name] => Some(Match::Device { name: name.clone(), negated }),
            _ => Some(Match::Unknown),
        },
        (Some("l4proto"), ..) => protocol_match(&texts, negated),
        (Some("nfproto"), ..) => match texts.as_slice() {
            [family] if family == "ipv4" || family == "ipv6" => {
                Some(Match::Ipv6((family == "ipv6") != negated))
            }
            _ => Some(Match::Unknown),
        },
        (_, Some("ip"), Some("protocol")) => protocol_match(&texts, negated),
        (_, Some("udp" | "th"), Some("dport")) => {
            let ranges: Option<Vec<_>> = texts.iter().map(|text| ports(text)).collect();
            Some(ranges.map_or(Match::Unknown, |ranges| Match::Ports { ranges: ranges.concat(), negated }))
        }
        (_, Some("tcp" | "icmp" | "icmpv6" | "sctp" | "dccp"), _) => Some(Match::Never { negated: false }),
        // a heartbeat's address is not translated
        _ if tracked == Some("status") => Some(Match::Never { negated: false }),
        _ if tracked == Some("state") => {
            let new = texts.iter().any(|state| state == "new");
            (new == negated).then_some(Match::Never { negated: false })
        }
        _ => Some(Match::Unknown),
    }
}

fn protocol_match(texts: &[String], negated: bool) -> Option<Match> {
    let udp = texts.iter().any(|text| text == "udp" || text == "17");
    (udp == negated).then_some(Match::Never { negated: false })
}

/// A value, the members of a set, ranges as `from-to`.
fn nft_texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Number(number) => vec![number.to_string()],
        Value::Array(members) => members.iter().flat_map(nft_texts).collect(),
        Value::Object(object) => match (object.get("set"), object.get("range").and_then(Value::as_array)) {
            (Some(set), _) => nft_texts(set),
            (_, Some(range)) => vec![range.iter().flat_map(nft_texts).collect::<Vec<_>>().join("-")],
            _ => vec!["?".to_owned()],
        },
        _ => vec!["?".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn heartbeat() -> Packet {
        Packet { device: "eth1".into(), port: 694, ipv6: false }
    }

    fn iptables(policy: &str, rules: &str) -> Verdict {
        let text = format!("*filter\n:INPUT {policy} [0:0]\n:ZONE - [0:0]\n{rules}COMMIT\n");
        Ruleset::from_iptables(&text, false).verdict(&heartbeat())
    }

    #[test]
    fn iptables_decides() {
        use Verdict::{Closed, Open, Unsure};
        let state = "-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -i lo -j ACCEPT\n";
        let red_hat = format!(
            "{state}-A INPUT -p icmp -j ACCEPT\n-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT\n"
        );
        let reject = "-A INPUT -j REJECT --reject-with icmp-host-prohibited\n";
        for (policy, rules, expected) in [
            ("ACCEPT", String::new(), Open),
            ("DROP", String::new(), Closed),
            ("ACCEPT", format!("{red_hat}{reject}"), Closed),
            ("ACCEPT", format!("{red_hat}-A INPUT -p udp -m udp --dport 694 -j ACCEPT\n{reject}"), Open),
            ("ACCEPT", format!("-A INPUT -p udp -m multiport --dports 53,690:700 -j ACCEPT\n{reject}"), Open),
            ("ACCEPT", format!("-A INPUT -i eth0 -j ACCEPT\n{reject}"), Closed),
            ("ACCEPT", format!("-A INPUT ! -i eth0 -j ACCEPT\n{reject}"), Open),
            ("DROP", "-A INPUT -s 10.0.0.2/32 -p udp -m udp --dport 694 -j ACCEPT\n".into(), Unsure),
            (
                "DROP",
                "-A INPUT -j ZONE\n-A ZONE -p udp --dport 694 -m comment --comment \"the pair\" -j ACCEPT\n"
                    .into(),
                Open,
            ),
            ("ACCEPT", "-A INPUT -g ZONE\n-A INPUT -j DROP\n-A ZONE -j RETURN\n".into(), Open),
            ("ACCEPT", "-A INPUT -j ZONE\n-A ZONE -j ZONE\n".into(), Unsure),
            ("DROP", "-A INPUT -p tcp -j ACCEPT\n-A INPUT ! -p tcp -j ACCEPT\n".into(), Open),
        ] {
            assert_eq!(iptables(policy, &rules), expected, "{policy} {rules}");
        }
    }

    fn nft(chains: &str) -> Verdict {
        let text = format!("{{\"nftables\": [{chains}]}}");
        Ruleset::from_nft(&text).expect("json").verdict(&heartbeat())
    }

    const BASE: &str = r#"{"chain": {"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}"#;

    fn rule(expressions: &str) -> String {
        format!(r#"{{"rule": {{"family": "inet", "table": "t", "chain": "in", "expr": [{expressions}]}}}}"#)
    }

    #[test]
    fn nftables_decides() {
        let port = |right: &str| {
            rule(&format!(
                r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "udp", "field": "dport"}}}}, "right": {right}}}}}, {{"accept": null}}"#
            ))
        };
        assert_eq!(nft(""), Verdict::Open);
        assert_eq!(nft(BASE), Verdict::Closed);
        assert_eq!(nft(&format!("{BASE}, {}", port("694"))), Verdict::Open);
        assert_eq!(nft(&format!("{BASE}, {}", port("695"))), Verdict::Closed);
        assert_eq!(
            nft(&format!("{BASE}, {}", port(r#"{"set": [53, {"range": [600, 700]}]}"#))),
            Verdict::Open
        );
        let established = rule(
            r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}"#,
        );
        assert_eq!(nft(&format!("{BASE}, {established}")), Verdict::Closed);
        let marked = rule(
            r#"{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 1}}, {"accept": null}"#,
        );
        assert_eq!(nft(&format!("{BASE}, {marked}")), Verdict::Unsure);
        let map = rule(r#"{"vmap": {"key": {}, "data": {}}}"#);
        assert_eq!(nft(&format!("{BASE}, {map}")), Verdict::Unsure);
        assert_eq!(nft(&BASE.replace("inet", "ip6")), Verdict::Open);
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in "[-A INPUTjmspdgotr:\"! 0-9\n]{0,300}") {
            Ruleset::from_iptables(&text, false).verdict(&heartbeat());
            let _ = Ruleset::from_nft(&text);
        }
    }
}
