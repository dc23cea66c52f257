//! The logger: a handle that never waits, and the one thread behind it that may.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::sinks::{LogTargets, Record, Sinks};
use crate::sys::sched::drop_realtime;
use crate::types::LogLevel;

/// Lines that may wait for the writer.
pub const QUEUE_MAX_LINES: usize = 4096;

/// Bytes of text that may wait for the writer.
pub const QUEUE_MAX_BYTES: usize = 1024 * 1024;

/// The writer's stack. Small, because with locked memory all of it is resident.
const STACK_BYTES: usize = 96 * 1024;

/// Lines taken from the queue before the files are written.
const BATCH_LINES: usize = 256;

/// A handle for logging; clones go to the same place.
///
/// It begins *direct*: lines are on standard error and in the targets when [`Logger::log`]
/// returns, without any thread, so that the program may still fork. After
/// [`Logger::go_to_background`] lines pass through a queue of [`QUEUE_MAX_LINES`] lines and
/// [`QUEUE_MAX_BYTES`] bytes to a thread of their own, and logging never waits: what does not fit
/// is dropped and counted, and `cl_log: N messages were dropped` follows (agents spec 4.2).
#[derive(Debug, Clone)]
pub struct Logger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    direct: Mutex<Option<Sinks>>,
    queue: OnceLock<Queue>,
}

#[derive(Debug)]
struct Queue {
    sender: SyncSender<Item>,
    state: Arc<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    bytes: AtomicUsize,
    dropped: AtomicU64,
    reopen: AtomicBool,
}

#[derive(Debug)]
enum Item {
    Line(Record),
    Wake,
    Flush(SyncSender<()>),
}

impl Logger {
    /// A direct logger: standard error and the targets.
    pub fn direct(targets: LogTargets) -> Self {
        Self::direct_to(targets, true)
    }

    /// A direct logger: the targets, and standard error where it is wanted.
    pub fn direct_to(targets: LogTargets, stderr: bool) -> Self {
        let sinks = Sinks::new(targets, stderr);
        Self { shared: Arc::new(Shared { direct: Mutex::new(Some(sinks)), queue: OnceLock::new() }) }
    }

    /// A logger that is in the background from the start, without standard error.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(targets: LogTargets) -> io::Result<Self> {
        let logger = Self::direct(targets);
        logger.go_to_background(false)?;
        Ok(logger)
    }

    /// Changes where a direct logger's lines go, once the configuration is known. No effect in
    /// the background.
    pub fn set_targets(&self, targets: LogTargets) {
        if let Some(sinks) = self.direct_sinks().as_mut() {
            *sinks = Sinks::new(targets, sinks.stderr);
        }
    }

    /// Starts the writer thread; from now on no line delays its sender. For after the fork.
    /// `stderr` says whether lines still go to standard error too (`-f`). The second call has no
    /// effect.
    ///
    /// # Errors
    /// The thread could not be started; the logger stays direct.
    pub fn go_to_background(&self, stderr: bool) -> io::Result<()> {
        let mut direct = self.direct_sinks();
        if direct.is_none() {
            return Ok(());
        }
        let (sender, receiver) = sync_channel(QUEUE_MAX_LINES);
        let (hand_over, take_over) = sync_channel::<Writer>(1);
        let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(STACK_BYTES);
        thread.spawn(move || {
            drop_realtime();
            if let Ok(writer) = take_over.recv() {
                writer.run(&receiver);
            }
        })?;
        if let Some(mut sinks) = direct.take() {
            sinks.stderr = stderr;
            let state = Arc::new(QueueState::default());
            let _ = hand_over.send(Writer { sinks, state: Arc::clone(&state) });
            let _ = self.shared.queue.set(Queue { sender, state });
        }
        Ok(())
    }

    /// Logs one line for this process.
    pub fn log(&self, level: LogLevel, text: &str) {
        self.log_for(std::process::id(), level, text);
    }

    /// Logs several lines.
    pub fn log_all(&self, lines: impl IntoIterator<Item = super::LogLine>) {
        for (level, text) in lines {
            self.log(level, &text);
        }
    }

    /// Logs one line in the name of another process of ours (`heartbeat: [PID]: …`).
    pub fn log_for(&self, pid: u32, level: LogLevel, text: &str) {
        let record = Record::own(pid, level, text);
        if let Some(queue) = self.shared.queue.get() {
            if queue.offer(record).is_err() {
                queue.state.dropped.fetch_add(1, Ordering::AcqRel);
            }
        } else if let Some(sinks) = self.direct_sinks().as_mut() {
            sinks.put(&record);
            sinks.flush();
        }
    }

    /// Hands over another program's line, or gives it back when the queue is full. A direct logger
    /// writes it at once.
    pub(super) fn offer(&self, record: Record) -> Result<(), Record> {
        if let Some(queue) = self.shared.queue.get() {
            return queue.offer(record);
        }
        if let Some(sinks) = self.direct_sinks().as_mut() {
            sinks.put(&record);
            sinks.flush();
        }
        Ok(())
    }

    /// Counts a line that was given back and is lost now.
    pub(super) fn count_dropped(&self) {
        if let Some(queue) = self.shared.queue.get() {
            queue.state.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Lets go of the files and opens them anew with the next line: for log rotation.
    pub fn reopen(&self) {
        if let Some(queue) = self.shared.queue.get() {
            queue.state.reopen.store(true, Ordering::Release);
            let _ = queue.sender.try_send(Item::Wake);
        } else if let Some(sinks) = self.direct_sinks().as_mut() {
            sinks.reopen();
        }
    }

    /// Waits until all lines logged so far are written, at most `limit`; for the end of the
    /// process, where a hung disk must not hold it. `false`: time was up.
    pub fn flush(&self, limit: Duration) -> bool {
        let Some(queue) = self.shared.queue.get() else {
            return true;
        };
        let end = Instant::now() + limit;
        let (done, wait) = sync_channel(1);
        let mut item = Item::Flush(done);
        loop {
            match queue.sender.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < end => item = back,
                Err(_) => return false,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        wait.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok()
    }

    fn direct_sinks(&self) -> std::sync::MutexGuard<'_, Option<Sinks>> {
        self.shared.direct.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn offer(&self, record: Record) -> Result<(), Record> {
        let length = record.text.len();
        let waiting = self.state.bytes.fetch_add(length, Ordering::AcqRel);
        let back = if waiting + length > QUEUE_MAX_BYTES {
            record
        } else {
            match self.sender.try_send(Item::Line(record)) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(Item::Line(back)) | TrySendError::Disconnected(Item::Line(back))) => {
                    back
                }
                Err(_) => return Ok(()),
            }
        };
        self.state.bytes.fetch_sub(length, Ordering::AcqRel);
        Err(back)
    }
}

/// What the thread owns.
struct Writer {
    sinks: Sinks,
    state: Arc<QueueState>,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Item>) {
        while let Ok(first) = receiver.recv() {
            let mut waiting = Vec::new();
            self.take(first, &mut waiting);
            for _ in 1..BATCH_LINES {
                let Ok(item) = receiver.try_recv() else {
                    break;
                };
                self.take(item, &mut waiting);
            }
            self.report_dropped();
            self.sinks.flush();
            for done in waiting {
                let _ = done.try_send(());
            }
        }
    }

    fn take(&mut self, item: Item, waiting: &mut Vec<SyncSender<()>>) {
        if self.state.reopen.swap(false, Ordering::AcqRel) {
            self.sinks.flush();
            self.sinks.reopen();
        }
        match item {
            Item::Line(record) => {
                self.state.bytes.fetch_sub(record.text.len(), Ordering::AcqRel);
                self.sinks.put(&record);
            }
            Item::Wake => {}
            Item::Flush(done) => waiting.push(done),
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.state.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 {
            let text = format!("cl_log: {dropped} messages were dropped");
            self.sinks.put(&Record::own(std::process::id(), LogLevel::Error, &text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    const LIMIT: Duration = Duration::from_secs(20);

    fn targets(log_file: PathBuf) -> LogTargets {
        LogTargets { log_file: Some(log_file), ..LogTargets::none("heartbeat") }
    }

    fn make_fifo(folder: &Path) -> PathBuf {
        let path = folder.join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    #[test]
    fn lines_arrive_in_order_from_clones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha-log");
        let logger = Logger::start(targets(path.clone())).unwrap();
        let clone = logger.clone();
        logger.log(LogLevel::Info, "one");
        clone.log_for(41, LogLevel::Warning, "two");
        assert!(logger.flush(LIMIT));
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with(&format!("heartbeat: [{}]: info: one", std::process::id())), "{text}");
        assert!(lines[1].ends_with("heartbeat: [41]: WARN: two"), "{text}");
    }

    #[test]
    fn file_nobody_reads_never_delays_the_sender() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = make_fifo(folder.path());
        let logger = Logger::start(targets(fifo.clone())).unwrap();
        let begin = Instant::now();
        for number in 0..3 * QUEUE_MAX_LINES {
            logger.log(LogLevel::Info, &format!("line {number}"));
        }
        assert!(!logger.flush(Duration::from_millis(20)), "the writer hangs in open");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());

        let reader = std::thread::spawn(move || {
            use std::io::BufRead;
            let lines = io::BufReader::new(std::fs::File::open(fifo).unwrap()).lines();
            lines.map(Result::unwrap).find(|line| line.contains("messages were dropped"))
        });
        let report = reader.join().unwrap().unwrap();
        let count: usize = report.split_whitespace().rev().nth(3).unwrap().parse().unwrap();
        assert!((1..3 * QUEUE_MAX_LINES).contains(&count), "{report}");
        assert!(report.contains("ERROR: cl_log: "), "{report}");
    }

    #[test]
    fn waiting_bytes_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let logger = Logger::start(targets(make_fifo(folder.path()))).unwrap();
        let long = "x".repeat(100_000);
        for _ in 0..QUEUE_MAX_LINES {
            logger.log(LogLevel::Info, &long);
        }
        let state = &logger.shared.queue.get().unwrap().state;
        assert!(state.bytes.load(Ordering::Acquire) <= QUEUE_MAX_BYTES);
        assert!(state.dropped.load(Ordering::Acquire) > 0);
    }

    #[test]
    fn reopen_follows_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha-log");
        let logger = Logger::start(targets(path.clone())).unwrap();
        logger.log(LogLevel::Info, "old");
        assert!(logger.flush(LIMIT));
        std::fs::rename(&path, folder.path().join("ha-log.1")).unwrap();
        logger.reopen();
        logger.log(LogLevel::Info, "new");
        assert!(logger.flush(LIMIT));
        assert!(std::fs::read_to_string(path).unwrap().ends_with("new\n"));
    }

    #[test]
    fn direct_lines_are_written_at_once_and_stay_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha-log");
        let logger = Logger::direct(LogTargets::none("heartbeat"));
        logger.log(LogLevel::Debug, "to standard error only");
        logger.set_targets(targets(path.clone()));
        logger.log(LogLevel::Info, "first");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("info: first\n"));
        logger.go_to_background(false).unwrap();
        logger.go_to_background(false).unwrap();
        logger.log(LogLevel::Info, "second");
        assert!(logger.flush(LIMIT));
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
