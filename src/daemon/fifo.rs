//! The named pipe for scripts: `ha_clustermsg`, and all tools of the original, write their messages
//! into it (messaging spec 7.1).
//!
//! Only root may write. Writers come and go; whatever they write, and however much, one read at a
//! time is taken, a message that is damaged or too long is dropped with a line in the log, and the
//! next whole one is found.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use tokio::net::unix::pipe::{OpenOptions, Receiver};

use crate::log::{LogLine, RateLimit};
use crate::types::LogLevel;
use crate::wire::message::Message;
use crate::wire::{decode_local, MessageStream};

/// Permissions: what is accepted here is signed and sent to all nodes.
const MODE: u32 = 0o600;
/// Taken in one go.
const READ_MAX_BYTES: usize = 4096;
/// Longest message taken; it must still fit into a datagram.
const MESSAGE_MAX_BYTES: usize = 32 * 1024;
/// Lines of one kind about bad messages within [`WINDOW_MS`].
const LINES: u32 = 5;
/// The window, milliseconds.
const WINDOW_MS: u64 = 10_000;

/// The reading end.
pub struct Fifo {
    path: PathBuf,
    /// Open for writing too, so that the end of a writer is no end of the file.
    receiver: Option<Receiver>,
    stream: MessageStream,
    /// Skipped in all that has been told.
    told_bytes: u64,
    limit: RateLimit,
}

/// What was read.
#[derive(Debug)]
pub enum FifoEvent {
    /// A message of a script, to be treated as [`crate::cluster::event::Input::LocalMessage`].
    Message(Message),
    /// Nothing of use, or something to say about it.
    Lines(Vec<LogLine>),
}

impl Fifo {
    /// Makes the pipe where it is not there, puts it in the place of anything else of that name
    /// (a script that ran while there was none leaves a file), and opens it. The lines are for the log.
    ///
    /// # Errors
    /// It cannot be made or opened. What was in its place may be gone.
    pub fn create(path: &Path) -> io::Result<(Self, Vec<LogLine>)> {
        let mut lines = Vec::new();
        if !is_usable(path) {
            if fs::symlink_metadata(path).is_ok() {
                fs::remove_file(path)?;
            }
            lines.push((LogLevel::Info, format!("Creating FIFO {}.", path.display())));
            mkfifo(path, Mode::from_bits_truncate(MODE))?;
        }
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
        let fifo = Self {
            path: path.to_owned(),
            receiver: Some(OpenOptions::new().read_write(true).open_receiver(path)?),
            stream: MessageStream::new(),
            told_bytes: 0,
            limit: RateLimit::new(LINES, WINDOW_MS),
        };
        Ok((fifo, lines))
    }

    /// The next message, or what there is to say after one read. Cancel-safe.
    pub async fn next(&mut self, now_ms: impl Fn() -> u64) -> FifoEvent {
        if let Some(event) = self.whole_message(now_ms()) {
            return event;
        }
        let Some(receiver) = &self.receiver else {
            return std::future::pending().await;
        };
        let mut buffer = [0; READ_MAX_BYTES];
        let failed = match receiver.readable().await {
            Ok(()) => match receiver.try_read(&mut buffer) {
                Ok(0) => None,
                Ok(length) => {
                    self.stream.push(&buffer[..length]);
                    None
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => Some(error),
            },
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            self.receiver = None;
            let text =
                format!("cannot read {}: {error}; scripts reach nobody until a restart", self.path.display());
            return FifoEvent::Lines(vec![(LogLevel::Error, text)]);
        }
        self.whole_message(now_ms()).unwrap_or(FifoEvent::Lines(Vec::new()))
    }

    fn whole_message(&mut self, now_ms: u64) -> Option<FifoEvent> {
        let bytes = self.stream.next_message();
        let skipped = self.stream.skipped_bytes() - self.told_bytes;
        let decoded = match &bytes {
            Some(bytes) if bytes.len() > MESSAGE_MAX_BYTES => {
                Some(Err(format!("it is longer than {MESSAGE_MAX_BYTES} bytes")))
            }
            Some(bytes) => Some(decode_local(bytes).map_err(|error| error.to_string())),
            None => None,
        };
        match decoded {
            Some(Ok(message)) => Some(FifoEvent::Message(message)),
            Some(Err(why)) => {
                Some(self.complain("message", &format!("no message to send on: {why}"), now_ms))
            }
            // Newlines and NULs behind a message are no news.
            None if skipped > 2 => {
                self.told_bytes += skipped;
                let text = format!("{skipped} bytes that belong to no whole message were skipped");
                Some(self.complain("bytes", &text, now_ms))
            }
            None => None,
        }
    }

    fn complain(&mut self, kind: &str, text: &str, now_ms: u64) -> FifoEvent {
        let text = format!("{}: {text}", self.path.display());
        let line = self.limit.check(kind, now_ms).apply(&text);
        FifoEvent::Lines(line.map(|text| (LogLevel::Error, text)).into_iter().collect())
    }
}

/// A pipe of this very user, no link to one.
fn is_usable(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|about| {
        about.file_type().is_fifo() && about.uid() == geteuid().as_raw() && about.nlink() == 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fifo::write_whole;

    /// Everything that comes of what was written so far: types and `a` of messages, log texts.
    async fn all(fifo: &mut Fifo) -> Vec<String> {
        let mut found = Vec::new();
        let patience = std::time::Duration::from_millis(200);
        while let Ok(event) = tokio::time::timeout(patience, fifo.next(|| 0)).await {
            match event {
                FifoEvent::Message(message) => {
                    found.push(format!("{} {}", message.kind(), message.text("a").unwrap_or("-")));
                }
                FifoEvent::Lines(lines) => found.extend(lines.into_iter().map(|(_, text)| text)),
            }
        }
        found
    }

    #[tokio::test]
    async fn writers_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        std::fs::write(&path, "left by a script that found no daemon").unwrap();
        let (mut fifo, lines) = Fifo::create(&path).unwrap();
        assert_eq!(lines, [(LogLevel::Info, format!("Creating FIFO {}.", path.display()))]);
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
        write_whole(&path, b">>>\nt=one\na=1\n<<<\n").unwrap();
        assert_eq!(all(&mut fifo).await, ["one 1"]);
        write_whole(&path, b">>>\nt=cut\n").unwrap();
        write_whole(&path, b">>>\nt=two\na=x=y z\n<<<\n>>>\nt=three\n<<<\n").unwrap();
        let found = all(&mut fifo).await;
        assert_eq!(found[..2], ["two x=y z", "three -"]);
        assert!(found[2].contains("10 bytes that belong to no whole message"), "{found:?}");
        let (mut again, lines) = Fifo::create(&path).unwrap();
        assert!(lines.is_empty(), "what is in it is kept: {lines:?}");
        drop(fifo);
        write_whole(&path, b"###\n9:(0)t=four,%%%\n").unwrap();
        assert_eq!(all(&mut again).await, ["four -"]);
    }

    #[tokio::test]
    async fn hostile_writers_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let (mut fifo, _) = Fifo::create(&path).unwrap();
        let long_line = [b">>>\nt=long\na=".as_slice(), &[b'a'; 4000], b"\n"].concat();
        let floods: [&[u8]; 6] = [
            b"junk without end ",
            &[0; 4096],
            b">>>\n",
            b">>>\nt\n<<<\n",
            b"###\n999999999999:(0)t=x,",
            &long_line,
        ];
        for flood in floods {
            for _ in 0..40 {
                write_whole(&path, flood).unwrap();
                let _ = tokio::time::timeout(std::time::Duration::from_millis(500), fifo.next(|| 0)).await;
            }
            write_whole(&path, b"\n<<<\n>>>\nt=good\n<<<\n").unwrap();
            let found = all(&mut fifo).await;
            assert!(found.contains(&"good -".to_owned()), "{:?}: {found:?}", &flood[..4]);
            assert!(found.len() < 12, "{found:?}");
        }
    }

    #[test]
    fn only_a_pipe_of_our_own_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let (path, other) = (folder.path().join("fifo"), folder.path().join("other"));
        mkfifo(&other, Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        Fifo::create(&path).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo(), "the link is replaced");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Fifo::create(&path).is_err());
    }
}
