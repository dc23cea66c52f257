//! What the child at the lease's disk says.

use crate::types::lease::LeaseRecord;

/// What stands in a node's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Seen {
    Nothing,
    /// Neither of its two words can be read.
    Unreadable,
    Word(LeaseRecord),
}

impl Seen {
    pub fn word(self) -> Option<LeaseRecord> {
        match self {
            Self::Word(word) => Some(word),
            Self::Nothing | Self::Unreadable => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::Nothing),
            "unreadable" => Some(Self::Unreadable),
            _ => text.parse().ok().map(Self::Word),
        }
    }
}

/// What a child found on the disk.
pub(super) struct Found {
    pub own: Seen,
    /// How long ago the writing of our own word began, if that was after this boot.
    pub own_age_ms: Option<u64>,
    pub peer: Seen,
}

impl Found {
    /// `own WORD AGE peer WORD`, a word being eight parts, or `none` or `unreadable` (then without an age),
    /// an age milliseconds or `-`.
    pub fn parse(text: &str) -> Option<Self> {
        let (own, peer) = text.strip_prefix("own ")?.split_once(" peer ")?;
        let (own, age) = if own.contains(' ') { own.rsplit_once(' ')? } else { (own, "-") };
        let own_age_ms = if age == "-" { None } else { Some(age.parse().ok()?) };
        Some(Self { own: Seen::parse(own)?, own_age_ms, peer: Seen::parse(peer)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_child() {
        let word = LeaseRecord { generation: 7, counter: 2, valid_ms: 10, ..LeaseRecord::default() };
        let found = Found::parse(&format!("own {word} 15 peer {word}")).unwrap();
        assert_eq!((found.own, found.own_age_ms, found.peer), (Seen::Word(word), Some(15), Seen::Word(word)));
        let found = Found::parse(&format!("own {word} - peer none")).unwrap();
        assert_eq!((found.own, found.own_age_ms, found.peer), (Seen::Word(word), None, Seen::Nothing));
        let found = Found::parse("own none peer unreadable").unwrap();
        assert_eq!((found.own, found.peer), (Seen::Nothing, Seen::Unreadable));
    }

    #[test]
    fn what_is_no_answer() {
        let word = LeaseRecord::default();
        for bad in [
            "",
            "own none",
            "own none peer",
            "own  peer none",
            "own none 5 peer none none",
            &format!("own {word} x peer none"),
            &format!("own {word} 5 peer {word} 5"),
            &format!("own {word} peer none"),
        ] {
            assert!(Found::parse(bad).is_none(), "{bad}");
        }
    }
}
