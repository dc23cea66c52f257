//! What the daemon leaves for its guard, all the time: when its last beat left and what it holds.
//!
//! Lines in a pipe that both have open at both ends. The guard reads it only when the daemon is
//! dead, so a beat costs one write and wakes nobody; when the pipe is full the daemon empties it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::process::Command;

use nix::fcntl::OFlag;

use crate::cluster::event::FencingWord;
use crate::sys::process::{adopt_inherited, drop_at_exec};
use crate::types::ResourceSet;

/// `READ WRITE GUARD BEAT MAINTENANCE WORD TASK FENCING`: descriptors of the pipe, the guard's process, when the
/// last beat of the life before left, what it knew of maintenance, `leave` where this life is to do nothing but
/// say goodbye, and what became of the peer's reset.
const VARIABLE: &str = "HA_GUARD";
/// First word of each line. Words that are added at the end do not change it: the guard may be of an
/// older program than the daemon, and does not read them.
const VERSION: &str = "2";
/// Longest line; shorter than what a pipe takes in one piece.
const LINE_MAX_BYTES: usize = 200;
/// The task in words.
const LEAVE: &str = "leave";
/// More than any pipe of this kind holds is not read.
const PIPE_MAX_BYTES: u64 = 1024 * 1024;

/// Whether a daemon that dies now may go on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is under way: what it holds is active, nothing else is.
    AtRest,
    /// Something is: what is active is not known for sure.
    Busy,
    /// It is going down on purpose.
    Leaving,
    /// Something could not be stopped. Nothing may ever be announced as released.
    StopFailed,
}

impl Condition {
    const WORDS: [(&'static str, Self); 4] = [
        ("rest", Self::AtRest),
        ("busy", Self::Busy),
        ("leaving", Self::Leaving),
        ("stuck", Self::StopFailed),
    ];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, condition)| *condition == self).map_or("", |(word, _)| word)
    }
}

/// The daemon at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// When its last beat left, monotonic milliseconds.
    pub beat_ms: u64,
    /// So long after a beat it may no longer believe in its claims: deadtime - 2 x keepalive.
    pub limit_ms: u64,
    /// Device and inode of the program file that runs.
    pub program: (u64, u64),
    /// What it holds.
    pub held: ResourceSet,
    /// Whether it may go on with that.
    pub condition: Condition,
    /// Foreign sets are held because the peer is away.
    pub awaits_failback: bool,
    /// Until when maintenance lasts, and the number of that word
    /// ([`crate::cluster::Cluster::maintenance_word`]).
    pub maintenance: (u64, u64),
    /// Whether the peer was reset ([`crate::cluster::Cluster::fencing_word`]).
    pub fencing: FencingWord,
}

impl Record {
    fn to_line(self) -> String {
        let Self {
            beat_ms,
            limit_ms,
            program: (device, inode),
            held,
            condition,
            awaits_failback,
            maintenance,
            fencing,
        } = self;
        let (until_ms, word_number) = maintenance;
        let (word, peer) = (condition.word(), if awaits_failback { "away" } else { "-" });
        let fencing = fencing.as_str();
        format!(
            "{VERSION} {beat_ms} {limit_ms} {device} {inode} {held} {word} {peer} {until_ms} {word_number} \
             {fencing}\n"
        )
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        if line.len() > LINE_MAX_BYTES || words.next() != Some(VERSION) {
            return None;
        }
        let mut number = || words.next()?.parse::<u64>().ok();
        let (beat_ms, limit_ms, program) = (number()?, number()?, (number()?, number()?));
        let held = words.next()?.parse().ok()?;
        let word = words.next()?;
        let condition = Condition::WORDS.iter().find(|(known, _)| *known == word)?.1;
        let awaits_failback = match words.next()? {
            "away" => true,
            "-" => false,
            _ => return None,
        };
        let mut number = || words.next()?.parse::<u64>().ok();
        let maintenance = (number()?, number()?);
        let fencing = FencingWord::from_word(words.next()?)?;
        Some(Self { beat_ms, limit_ms, program, held, condition, awaits_failback, maintenance, fencing })
    }
}

/// What the next life is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// To go on.
    Serve,
    /// Everything is stopped: to tell the peer, and to end.
    Leave,
}

/// What one life leaves to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// When its last beat left, 0 if none did.
    pub beat_ms: u64,
    /// What the next one is for.
    pub task: Task,
    /// As [`Record::maintenance`].
    pub maintenance: (u64, u64),
    /// As [`Record::fencing`].
    pub fencing: FencingWord,
}

/// Both ends of the pipe.
#[derive(Debug)]
pub struct Pipe {
    reader: File,
    writer: File,
}

impl Pipe {
    /// A new one, closed at exec.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { reader: reader.into(), writer: writer.into() })
    }

    /// The last whole line in it; empties it.
    pub fn last(&mut self) -> Option<Record> {
        let mut bytes = Vec::new();
        // Ends with an error where it is empty: the other end is open.
        let _ = (&mut self.reader).take(PIPE_MAX_BYTES).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Record::from_line(whole.rsplit('\n').next()?)
    }

    fn write(&mut self, line: &str) {
        if matches!(self.writer.write(line.as_bytes()), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        {
            let _ = self.last();
            let _ = self.writer.write(line.as_bytes());
        }
    }

    /// Lets the pipe pass through the command's exec, and names it there.
    ///
    /// # Errors
    /// The kernel's; the program starts without a guard then.
    pub fn pass_on(&self, command: &mut Command, guard: u32, left: Left) -> io::Result<()> {
        drop_at_exec(&self.reader, false)?;
        drop_at_exec(&self.writer, false)?;
        let (reader, writer) = (self.reader.as_raw_fd(), self.writer.as_raw_fd());
        let Left { beat_ms, task, maintenance: (until_ms, word), fencing } = left;
        let task = if task == Task::Leave { LEAVE } else { "-" };
        let fencing = fencing.as_str();
        let value = format!("{reader} {writer} {guard} {beat_ms} {until_ms} {word} {task} {fencing}");
        command.env(VARIABLE, value);
        Ok(())
    }
}

/// The daemon's side.
#[derive(Debug, Default)]
pub struct Post {
    pipe: Option<Pipe>,
    guard: u32,
    last: Option<Record>,
    /// When the last beat of the life before left.
    former_beat_ms: Option<u64>,
    /// What it knew of maintenance.
    former_maintenance: Option<(u64, u64)>,
    /// What it knew of the peer's reset.
    former_fencing: FencingWord,
    leaves: bool,
    told: bool,
}

impl Post {
    /// For a daemon whose guard has this process number.
    pub fn new(pipe: Pipe, guard: u32) -> Self {
        Self { pipe: Some(pipe), guard, ..Self::default() }
    }

    /// Takes over what the program before this one in this process, or the guard, left open; without
    /// it there is no guard. For the start of the program; children do not get to see it.
    pub fn inherit() -> Self {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        std::env::remove_var(VARIABLE);
        let mut words = value.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (Some(reader), Some(writer), Some(guard), Some(beat_ms), Some(until_ms), Some(word)) =
            (number(), number(), number(), number(), number(), number())
        else {
            return Self::default();
        };
        let task = words.next();
        let fencing = words.next().and_then(FencingWord::from_word).unwrap_or_default();
        let adopt = |number: u64| adopt_inherited(RawFd::try_from(number).ok()?).ok();
        let (Some(reader), Some(writer)) = (adopt(reader), adopt(writer)) else {
            return Self::default();
        };
        Self {
            pipe: Some(Pipe { reader, writer }),
            guard: u32::try_from(guard).unwrap_or(0),
            former_beat_ms: (beat_ms > 0).then_some(beat_ms),
            former_maintenance: (word > 0).then_some((until_ms, word)),
            former_fencing: fencing,
            leaves: task == Some(LEAVE),
            ..Self::default()
        }
    }

    /// To be kept open.
    pub fn descriptors(&self) -> Vec<RawFd> {
        self.pipe.iter().flat_map(|pipe| [pipe.reader.as_raw_fd(), pipe.writer.as_raw_fd()]).collect()
    }

    /// When the last beat of the life before left, if there was one.
    pub fn former_beat_ms(&self) -> Option<u64> {
        self.former_beat_ms
    }

    /// What the life before knew of maintenance, as [`Record::maintenance`].
    pub fn former_maintenance(&self) -> Option<(u64, u64)> {
        self.former_maintenance
    }

    /// What it knew of the peer's reset, as [`Record::fencing`].
    pub fn former_fencing(&self) -> FencingWord {
        self.former_fencing
    }

    /// This life is there to say goodbye.
    pub fn leaves(&self) -> bool {
        self.leaves
    }

    /// There is a guard to be told.
    pub fn is_guarded(&self) -> bool {
        self.pipe.is_some()
    }

    /// Leaves the record where it differs from the last.
    pub fn note(&mut self, record: Record) {
        let Some(pipe) = &mut self.pipe else { return };
        if self.last != Some(record) {
            pipe.write(&record.to_line());
            self.last = Some(record);
        }
    }

    /// The guard is gone, noticed for the first time.
    pub fn lost_guard(&mut self) -> bool {
        let gone = self.pipe.is_some() && nix::unistd::getppid().as_raw() as u32 != self.guard;
        gone && !std::mem::replace(&mut self.told, true)
    }

    /// Passes the guard on to the program that the command executes in this process.
    ///
    /// # Errors
    /// As [`Pipe::pass_on`].
    pub fn pass_on(&self, command: &mut Command) -> io::Result<()> {
        let left = Left {
            beat_ms: self.last.map_or(0, |record| record.beat_ms),
            task: Task::Serve,
            maintenance: self.last.map(|record| record.maintenance).unwrap_or_default(),
            fencing: self.last.map(|record| record.fencing).unwrap_or_default(),
        };
        self.pipe.as_ref().map_or(Ok(()), |pipe| pipe.pass_on(command, self.guard, left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(beat_ms: u64) -> Record {
        Record {
            beat_ms,
            limit_ms: 700,
            program: (u64::MAX, 1),
            held: ResourceSet::LOCAL,
            condition: Condition::AtRest,
            awaits_failback: true,
            maintenance: (5, 6),
            fencing: FencingWord::MayBeReset,
        }
    }

    #[test]
    fn lines_come_back() {
        for (_, condition) in Condition::WORDS {
            let record = Record { condition, awaits_failback: false, ..record(5) };
            assert_eq!(Record::from_line(record.to_line().trim_end()), Some(record));
        }
    }

    #[test]
    fn damaged_lines_are_nothing() {
        let good = record(5).to_line();
        let good = good.trim_end();
        assert!(Record::from_line(good).is_some());
        for end in 0..good.len() {
            assert_eq!(Record::from_line(&good[..end]), None, "{}", &good[..end]);
        }
        for bad in
            ["2 5", "1 -5 700 1 1 local rest away", "1 5 700 1 1 most rest away", "1 5 700 1 1 all x -"]
        {
            assert_eq!(Record::from_line(bad), None, "{bad}");
        }
        assert_eq!(Record::from_line(&format!("{good} more")), Some(record(5)), "of a newer program");
    }

    #[test]
    fn the_last_of_more_than_a_pipe_holds_is_found() {
        let mut post = Post::new(Pipe::new().unwrap(), 1);
        assert_eq!(post.pipe.as_mut().unwrap().last(), None);
        for beat_ms in 1..=20_000 {
            post.note(record(beat_ms));
        }
        assert_eq!(post.pipe.as_mut().unwrap().last(), Some(record(20_000)));
        assert_eq!(post.pipe.as_mut().unwrap().last(), None);
        post.note(record(20_000));
        assert_eq!(post.pipe.as_mut().unwrap().last(), None, "nothing new is not said");
    }

    #[test]
    fn without_a_guard_nothing_is_said() {
        let mut post = Post::default();
        post.note(record(1));
        assert!(!post.is_guarded() && !post.lost_guard() && post.descriptors().is_empty());
    }
}
