//! What a node writes into its place of a shared disk (`lease` in ha.cf, ha-guards(7)).

use std::fmt;
use std::str::FromStr;

/// One node's word on the disk. Every change of it shows that the node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LeaseRecord {
    /// The generation of the life that wrote it.
    pub generation: u64,
    /// Grows with every write of a life.
    pub counter: u64,
    /// Everything is released and this life has ended: it will hold nothing more.
    pub left: bool,
    /// Something is, or may be, active there or about to become so.
    pub holds: bool,
    /// The node wants what the other may hold; 0: it does not. Every wish of a life has its own number.
    pub claim: u64,
    /// Generation and number of the other node's wish to which this one gives way: it starts nothing
    /// until both hear each other again, or the other's word has stood still for long enough. (0, 0):
    /// none.
    pub yields: (u64, u64),
    /// How long this word counts, milliseconds: the time of the lease of the node that wrote it. 0: it does
    /// not say.
    pub valid_ms: u64,
}

/// No lease counts for longer, milliseconds: a day.
pub const LEASE_TIME_MAX_MS: u64 = 86_400_000;
/// So many times the watchdog's time is the shortest lease that a watchdog guards.
pub const LEASE_OF_WATCHDOG: u64 = 3;

impl fmt::Display for LeaseRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.left { "left" } else { "runs" };
        let holds = if self.holds { "holds" } else { "free" };
        let (generation, number) = self.yields;
        let Self { generation: own, counter, claim, valid_ms, .. } = self;
        write!(f, "{own} {counter} {state} {holds} {claim} {generation} {number} {valid_ms}")
    }
}

/// No such record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoLeaseRecord;

impl FromStr for LeaseRecord {
    type Err = NoLeaseRecord;

    fn from_str(text: &str) -> Result<Self, NoLeaseRecord> {
        let words: Vec<&str> = text.split(' ').collect();
        let [generation, counter, state, holds, claim, yields_to, yields_number, valid_ms] = words[..] else {
            return Err(NoLeaseRecord);
        };
        let number = |word: &str| word.parse::<u64>().map_err(|_| NoLeaseRecord);
        let either = |word: &str, yes: &str, no: &str| match word {
            word if word == yes => Ok(true),
            word if word == no => Ok(false),
            _ => Err(NoLeaseRecord),
        };
        Ok(Self {
            generation: number(generation)?,
            counter: number(counter)?,
            left: either(state, "left", "runs")?,
            holds: either(holds, "holds", "free")?,
            claim: number(claim)?,
            yields: (number(yields_to)?, number(yields_number)?),
            valid_ms: number(valid_ms)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_text_form() {
        let records = [
            LeaseRecord::default(),
            LeaseRecord {
                generation: 7,
                counter: u64::MAX,
                left: true,
                holds: true,
                claim: 3,
                yields: (8, 9),
                valid_ms: 33_000,
            },
        ];
        for record in records {
            assert_eq!(record.to_string().parse(), Ok(record), "{record}");
        }
        for bad in [
            "",
            "1 2 runs free 0 0 0",
            "1 2 runs free 0 0 0 0 0",
            "1 2 lives free 0 0 0 0",
            "-1 2 runs free 0 0 0 0",
        ] {
            assert_eq!(bad.parse::<LeaseRecord>(), Err(NoLeaseRecord), "{bad}");
        }
    }
}
