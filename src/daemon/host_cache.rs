//! `hostcache` and `delhostcache`: the lists of nodes that outlive a run (messaging spec 3.1).
//!
//! One line for a node: `name<TAB>uuid<TAB>weight<TAB>site`. They are written by a thread of their
//! own, so that a disk that hangs delays nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cluster::event::HostList;
use crate::cluster::settings::Membership;
use crate::config::settings::{AutoJoin, HaCf};
use crate::config::NODES_MAX;
use crate::log::{LogLine, Logger};
use crate::types::{clean_site, HostRecord, LogLevel, NodeName, Uuid, WEIGHT_DEFAULT};

use super::identity::write_durably;
use super::layout::Layout;

/// Longest file that is read, bytes: far more than [`NODES_MAX`] lines.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// What the configuration and earlier runs say about members. The files are read where nodes may join
/// by themselves, and only there, as in the original.
pub fn recall(layout: &Layout, ha_cf: &HaCf, manage_resources: bool) -> (Membership, Vec<LogLine>) {
    let auto_join = ha_cf.auto_join != AutoJoin::None;
    let mut membership = Membership { auto_join, keep_hosts: !manage_resources, ..Membership::default() };
    if manage_resources || !auto_join {
        return (membership, Vec::new());
    }
    let (hosts, mut lines) = read(&layout.host_cache());
    let (deleted, more) = read(&layout.deleted_host_cache());
    lines.extend(more);
    (membership.hosts, membership.deleted) = (hosts, deleted);
    (membership, lines)
}

/// Reads one of the files. No file is an empty list. One that holds anything else than such lines is
/// removed, as the original does; the line says so.
pub fn read(path: &Path) -> (Vec<HostRecord>, Vec<LogLine>) {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes));
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), Vec::new()),
        Err(error) => {
            let text = format!("cannot read {}: {error}; its nodes are not known", path.display());
            return (Vec::new(), vec![(LogLevel::Error, text)]);
        }
        Ok(_) => {}
    }
    match parse(&bytes) {
        Some(hosts) => (hosts, Vec::new()),
        None => {
            let _ = std::fs::remove_file(path);
            let text = format!("Invalid host/uuid map file [{}] - removed.", path.display());
            (Vec::new(), vec![(LogLevel::Error, text)])
        }
    }
}

/// `None` when a line is not of the form; older files lack weight and site. Lines behind the last
/// that fits, and second lines for a name, are left out.
fn parse(bytes: &[u8]) -> Option<Vec<HostRecord>> {
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut hosts: Vec<HostRecord> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut fields = line.split('\t');
        let name = NodeName::new(fields.next()?)?;
        let uuid: Uuid = fields.next()?.parse().ok()?;
        let weight = match fields.next() {
            None | Some("") => WEIGHT_DEFAULT,
            Some(digits) => digits.parse().ok()?,
        };
        let site = clean_site(fields.next().unwrap_or(""));
        if hosts.len() < NODES_MAX && hosts.iter().all(|host| host.name != name) {
            hosts.push(HostRecord { name, uuid: Some(uuid).filter(|uuid| !uuid.is_null()), weight, site });
        }
    }
    Some(hosts)
}

/// The content of a file.
fn text(hosts: &[HostRecord]) -> String {
    let line = |host: &HostRecord| {
        let uuid = host.uuid.unwrap_or_default();
        format!("{}\t{uuid}\t{}\t{}\n", host.name, host.weight, host.site)
    };
    hosts.iter().map(line).collect()
}

/// Writes the newest content of each file, whatever the disk is like.
pub struct HostCache {
    shared: Arc<Shared>,
    members: PathBuf,
    deleted: PathBuf,
    logger: Logger,
    started: bool,
}

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// One entry for each file at the most: what came later replaces what was not begun yet.
    waiting: BTreeMap<PathBuf, String>,
    writing: bool,
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostCache {
    /// Nothing is touched before the first [`HostCache::keep`].
    pub fn new(layout: &Layout, logger: Logger) -> Self {
        Self {
            shared: Arc::default(),
            members: layout.host_cache(),
            deleted: layout.deleted_host_cache(),
            logger,
            started: false,
        }
    }

    /// Has a list written soon; returns at once. What cannot be written is logged by the writer and
    /// tried again with the next change only.
    pub fn keep(&mut self, list: HostList, hosts: &[HostRecord]) {
        let path = if list == HostList::Members { &self.members } else { &self.deleted };
        self.shared.work().waiting.insert(path.clone(), text(hosts));
        if !self.started {
            self.start();
        }
        self.shared.changed.notify_all();
    }

    fn start(&mut self) {
        let (shared, logger) = (Arc::clone(&self.shared), self.logger.clone());
        let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(256 * 1024);
        match thread.spawn(move || write_for_ever(&shared, &logger)) {
            Ok(_) => self.started = true,
            Err(error) => {
                let text = format!("cannot start the writer of {}: {error}", self.members.display());
                self.logger.log(LogLevel::Error, &text);
            }
        }
    }

    /// At the daemon's end: waits until everything is written, at most so long.
    pub fn finish(&self, limit: Duration) {
        let unfinished = |work: &mut Work| self.started && (work.writing || !work.waiting.is_empty());
        let _ = self.shared.changed.wait_timeout_while(self.shared.work(), limit, unfinished);
    }
}

fn write_for_ever(shared: &Shared, logger: &Logger) {
    crate::sys::sched::drop_realtime();
    let mut work = shared.work();
    loop {
        let Some((path, content)) = work.waiting.pop_first() else {
            work = shared.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        work.writing = true;
        drop(work);
        if let Err(error) = write_durably(&path, content.as_bytes(), 0o644) {
            let text = format!("cannot write {}: {error}; the file is as it was", path.display());
            logger.log(LogLevel::Error, &text);
        }
        work = shared.work();
        work.writing = false;
        shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "node1\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\t7\teast\n\
                        node9\t00000000-0000-0000-0000-000000000000\t100\t\n";

    #[test]
    fn the_originals_files_are_read_and_written() {
        let hosts = parse(TEXT.as_bytes()).unwrap();
        assert_eq!((hosts[0].weight, hosts[0].site.as_str()), (7, "east"));
        assert_eq!(hosts[1], HostRecord::new(NodeName::new("node9").unwrap()));
        assert_eq!(text(&hosts), TEXT);
        let old = parse(b"node2\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\n").unwrap();
        assert_eq!(text(&old), "node2\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\t100\t\n");
        assert_eq!(parse(b"").unwrap(), []);
    }

    #[test]
    fn a_file_that_is_none_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hostcache");
        assert_eq!(read(&path), (Vec::new(), Vec::new()));
        let long = "x".repeat(70_000);
        let hostile: [&[u8]; 7] = [
            b"node1\n",
            b"node1\tnonsense\t1\t\n",
            b"no name\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\n",
            b"node1\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\t-3\t\n",
            b"\xff\xfe\t\t\n",
            b"node1\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\t99999999999999999999999\t\n",
            long.as_bytes(),
        ];
        for content in hostile {
            std::fs::write(&path, content).unwrap();
            let (hosts, lines) = read(&path);
            assert!(hosts.is_empty() && !path.exists());
            assert!(lines[0].1.ends_with("] - removed."), "{lines:?}");
        }
        let many: String = (0..500)
            .map(|number| format!("node{number}\t34ff079c-33e8-4b9d-9b2f-bf54f66717c5\t1\ta\tmore\n"))
            .collect();
        assert_eq!(parse(many.as_bytes()).unwrap().len(), NODES_MAX);
        let twice = parse(TEXT.replace("node9", "NODE1").as_bytes()).unwrap();
        assert_eq!(twice.len(), 1, "a name is there once");
    }

    #[test]
    fn the_last_content_is_in_the_file_when_finished() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::below(folder.path());
        std::fs::create_dir_all(&layout.var_lib_dir).unwrap();
        let logger = Logger::direct(crate::log::LogTargets::none("heartbeat"));
        let mut cache = HostCache::new(&layout, logger);
        cache.finish(Duration::from_secs(20));
        let hosts = parse(TEXT.as_bytes()).unwrap();
        for count in 0..=hosts.len() {
            cache.keep(HostList::Members, &hosts[..count]);
        }
        cache.keep(HostList::Deleted, &[]);
        cache.finish(Duration::from_secs(20));
        assert_eq!(std::fs::read_to_string(layout.host_cache()).unwrap(), TEXT);
        assert_eq!(std::fs::read_to_string(layout.deleted_host_cache()).unwrap(), "");
    }
}
