//! What ipfail hears, what it may have to ask for, and what it does.

use crate::types::LogLevel;
use crate::wire::message::Message;

/// The largest number of ping nodes that is believed: more than any `ha.cf` may hold. A count above
/// it, or one that is no number, says nothing; the original's ipfail would act on it.
pub const COUNT_MAX: usize = 4096;

/// The field of `num_ping_nodes` with [`Event::Count::steady_ms`].
pub(super) const STEADY_FIELD: &str = "steady_ms";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The node list is known for the first time.
    Started,
    /// `status` or `NS_st`: a node or ping node has another status.
    NodeStatus {
        /// Which.
        node: String,
        /// `active`, `dead`, `ping`, …
        status: String,
    },
    /// `ifstat`: a link has another status. A ping node has one link, named like itself.
    LinkStatus {
        /// Whose.
        node: String,
        /// Which.
        link: String,
        /// `up` or `dead`.
        status: String,
    },
    /// `hbapi-clstat`: an ipfail signed on at a node.
    Joined {
        /// Where.
        node: String,
    },
    /// `num_ping_nodes`.
    Count {
        /// Sender.
        from: String,
        /// As sent.
        count: String,
        /// How long the sender has seen as many, milliseconds; 0 when it does not say. Only ours does,
        /// where it has waited before it told (`steady_ms`, a field that 3.0.6 does not know).
        steady_ms: u64,
    },
    /// `you_are_dead`: the sender sees more than we.
    TheySeeMore {
        /// Sender.
        from: String,
    },
    /// `abort_giveup`: the sender sees as many as we.
    Balanced {
        /// Sender.
        from: String,
    },
    /// `resource` without `info`: a node says whether it is stable.
    Stable {
        /// Sender.
        from: String,
        /// Whether.
        stable: bool,
    },
    /// Time has passed.
    Tick,
}

impl Event {
    /// The event a message from the daemon stands for; `None` for all others, and where a field is
    /// missing.
    pub fn from_message(message: &Message) -> Option<Self> {
        let text = |name: &str| message.text(name).map(str::to_owned);
        match message.kind() {
            "status" | "NS_st" => Some(Self::NodeStatus { node: text("src")?, status: text("st")? }),
            "ifstat" => {
                Some(Self::LinkStatus { node: text("node")?, link: text("ifname")?, status: text("st")? })
            }
            "hbapi-clstat" => {
                let joins = message.text("st") == Some("join") && message.text("from_id") == Some("ipfail");
                joins.then_some(Self::Joined { node: text("src")? })
            }
            "num_ping_nodes" => {
                let steady_ms = message.decimal(STEADY_FIELD).unwrap_or(0);
                Some(Self::Count { from: text("src")?, count: text("num_ping")?, steady_ms })
            }
            "you_are_dead" => Some(Self::TheySeeMore { from: text("src")? }),
            "abort_giveup" => Some(Self::Balanced { from: text("src")? }),
            "resource" if message.value("info").is_none() => {
                let stable = message.text("isstable")? == "1";
                Some(Self::Stable { from: text("src")?, stable })
            }
            _ => None,
        }
    }
}

/// What must be asked of the daemon before an event can be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The node list.
    pub nodes: bool,
    /// What this node holds.
    pub holding: bool,
}

/// What the daemon says at this moment. What was not needed is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The other node: of the nodes that are no ping nodes and not this one, the first of `ha.cf`.
    pub peer: Option<String>,
    /// The ping nodes that answer.
    pub reachable: Option<Vec<String>>,
    /// What this node holds.
    pub holding: Option<Holding>,
}

/// The daemon's `rsc_hold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Nothing.
    None,
    /// Its own.
    Local,
    /// The other node's.
    Foreign,
    /// Both.
    All,
    /// It is changing.
    Transition,
}

impl Holding {
    /// The word on the wire; `None` for any other.
    pub fn new(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "local" => Some(Self::Local),
            "foreign" => Some(Self::Foreign),
            "all" => Some(Self::All),
            "transition" => Some(Self::Transition),
            _ => None,
        }
    }
}

/// What is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Everything, because the other node sees more.
    All,
    /// The other node's, because both see the same again and `auto_failback` is on.
    Foreign,
}

impl Set {
    /// The word in `rsc_hold`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Foreign => "foreign",
        }
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A line for the log.
    Log(LogLevel, String),
    /// `pingd`: this is the number of ping nodes from now on.
    Steady(usize),
    /// `num_ping_nodes` to the other node.
    SendCount {
        /// How many.
        count: usize,
        /// For how long already, milliseconds; 0: not to be said.
        steady_ms: u64,
    },
    /// `you_are_dead` to the other node.
    SendMore,
    /// `abort_giveup` to the other node.
    SendBalanced,
    /// `ask_resources` with `info=me`: this node goes standby.
    Standby(Set),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(fields: &[(&str, &str)]) -> Option<Event> {
        let mut message = Message::empty();
        for (name, value) in fields {
            message.push_text(name, value);
        }
        Event::from_message(&message)
    }

    #[test]
    fn messages_of_the_original_are_understood() {
        let count = [("t", "num_ping_nodes"), ("src", "node2"), ("num_ping", "1"), ("dest", "node1")];
        let expected = |steady_ms| Event::Count { from: "node2".into(), count: "1".into(), steady_ms };
        assert_eq!(event(&count), Some(expected(0)));
        for (text, steady_ms) in [("10000", 10_000), ("junk", 0), ("-1", 0), ("99999999999999999999999", 0)] {
            assert_eq!(event(&[&count[..], &[("steady_ms", text)]].concat()), Some(expected(steady_ms)));
        }
        let join = [("t", "hbapi-clstat"), ("st", "join"), ("from_id", "ipfail"), ("src", "node2")];
        assert_eq!(event(&join), Some(Event::Joined { node: "node2".into() }));
        let stable = [("t", "resource"), ("src", "node2"), ("isstable", "1")];
        assert_eq!(event(&stable), Some(Event::Stable { from: "node2".into(), stable: true }));
        let link = [("t", "ifstat"), ("node", "a"), ("ifname", "eth0"), ("st", "dead")];
        let expected = Event::LinkStatus { node: "a".into(), link: "eth0".into(), status: "dead".into() };
        assert_eq!(event(&link), Some(expected));
    }

    #[test]
    fn what_lacks_a_field_is_no_event() {
        // the first and the last two end the original's ipfail with a memory fault
        for fields in [
            vec![("t", "num_ping_nodes"), ("src", "node2")],
            vec![("t", "num_ping_nodes"), ("num_ping", "0")],
            vec![("t", "you_are_dead")],
            vec![("t", "abort_giveup")],
            vec![("t", "hbapi-clstat"), ("st", "leave"), ("from_id", "ipfail"), ("src", "node2")],
            vec![("t", "hbapi-clstat"), ("st", "join"), ("from_id", "ccm"), ("src", "node2")],
            vec![("t", "resource"), ("src", "node2"), ("isstable", "1"), ("info", "mach_down")],
            vec![("t", "ifstat"), ("node", "node2"), ("st", "dead")],
            vec![("t", "shutdone"), ("src", "node2")],
            vec![("src", "node2")],
            vec![("t", "status"), ("src", "node2")],
            vec![("t", "status"), ("st", "dead")],
        ] {
            assert_eq!(event(&fields), None, "{fields:?}");
        }
    }

    #[test]
    fn fields_of_another_type_are_missing_fields() {
        let mut message = Message::new("num_ping_nodes").with("src", "node2");
        message.push("num_ping", crate::wire::message::Value::Binary(vec![1]));
        assert_eq!(Event::from_message(&message), None);
    }
}
