//! The processes inside a world's namespaces. Each is this binary, started as `ha demo --inner …`
//! with a socket as standard input, and does what the world asks through it. When the world's
//! process ends, for whatever reason, the socket closes, the agent ends, and with it its namespaces
//! and all that ran in them.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{mpsc, Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{sethostname, setsid, Pid};

use super::disk::{self, HostKind};
use super::links::{self, LinkChange};
use super::probe::Asker;
use super::protocol::{Output, ProcessUse, Reply, Request};
use super::responder;
use crate::sys::filter::ignore_sync;
use crate::sys::namespace::{die_with_parent, isolate, isolate_host, mount_new, Refusal};

/// Search path of programs in a host.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Ends of programs remembered for [`Request::Ended`].
const ENDS_KEPT: usize = 256;
/// Folders that may be covered by the world's files in the agents' own mount namespace.
const BASES: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];

/// Runs the agent that `words` (the arguments behind `--inner`) name; the value is its exit code.
pub fn run(words: &[String]) -> u8 {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["switch"] => run_switch(),
        ["boot", switch_pid, own_user, rest @ ..] => boot(switch_pid, *own_user == "true", rest),
        ["init", base, index, name, kind, hosts_file] => run_host(base, index, name, kind, hosts_file),
        _ => Err("not for direct use".to_owned()),
    };
    match result {
        Ok(()) => 0,
        Err(text) => {
            let _ = answer_channel().and_then(|mut channel| send(&mut channel, &Reply::Unavailable(text)));
            2
        }
    }
}

/// The folder a switch agent covers with the world's files: the first that this machine has.
pub(crate) fn base() -> Option<&'static str> {
    BASES.into_iter().find(|folder| Path::new(folder).is_dir())
}

fn run_switch() -> Result<(), String> {
    let own_user = isolate().map_err(text)?;
    let base = base().ok_or_else(|| format!("none of these folders exists: {}", BASES.join(" ")))?;
    mount_new("tmpfs", Path::new(base), "mode=755,size=512m").map_err(text)?;
    serve(own_user, 0)
}

/// Between the world and a host's first process: makes the namespaces, waits for the host's end.
fn boot(switch_pid: &str, own_user: bool, rest: &[&str]) -> Result<(), String> {
    let switch_pid = switch_pid.parse().map_err(|_| "bad process number".to_owned())?;
    isolate_host(switch_pid, own_user).map_err(text)?;
    let mut host = Command::new("/proc/self/exe")
        .args(["demo", "--inner", "init"])
        .args(rest)
        .spawn()
        .map_err(|error| format!("start of a host's first process: {error}"))?;
    host.wait().map_err(text)?;
    Ok(())
}

/// The first process of a host.
fn run_host(base: &str, index: &str, name: &str, kind: &str, hosts_file: &str) -> Result<(), String> {
    die_with_parent().map_err(text)?;
    let _ = setsid(); // leaves the terminal, so that its signals reach the world's process only
    let index = index.parse().map_err(|_| "bad host number".to_owned())?;
    let kind: HostKind = serde_json::from_str(kind).map_err(text)?;
    let root = Path::new(base).join(name);
    let first_boot = !root.exists();
    disk::enter(&root, kind, hosts_file).map_err(text)?;
    if kind == HostKind::Original {
        // Refused on an old kernel: then its starts may take long on a busy machine.
        let _ = ignore_sync();
    }
    sethostname(name).map_err(|error| text(Refusal::new("sethostname", error)))?;
    links::apply(&LinkChange::Switch { name: "lo".into(), up: true }).map_err(text)?;
    if kind == HostKind::Ours && first_boot {
        for command in disk::install_commands() {
            let status = command_of(&command)?.status().map_err(text)?;
            if !status.success() {
                return Err(format!("{} failed: {status}", command.join(" ")));
            }
        }
    }
    if kind != HostKind::Client {
        responder::start(index).map_err(|error| format!("the answering service: {error}"))?;
    }
    serve(false, index)
}

/// Answers requests until the socket closes. They are carried out by a second thread, so that the
/// end of the world is noticed while a program runs.
fn serve(own_user: bool, index: u8) -> Result<(), String> {
    let mut channel = answer_channel().map_err(text)?;
    let requests = BufReader::new(channel.try_clone().map_err(text)?);
    let (queue, work) = mpsc::sync_channel::<Request>(16);
    let children = Arc::new(Children::default());
    if index != 0 {
        children.clone().reap();
    }
    send(&mut channel, &Reply::Ready { own_user }).map_err(text)?;
    thread::spawn(move || {
        let mut worker = Worker { children, asker: None };
        for request in work {
            let reply = worker.carry_out(request).unwrap_or_else(Reply::Failed);
            if send(&mut channel, &reply).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    for line in requests.lines() {
        let Ok(request) = line.map_err(text).and_then(|line| serde_json::from_str(&line).map_err(text))
        else {
            break;
        };
        if queue.send(request).is_err() {
            break;
        }
    }
    std::process::exit(0)
}

fn answer_channel() -> io::Result<UnixStream> {
    Ok(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
}

fn send(channel: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    channel.write_all(&line)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Worker {
    children: Arc<Children>,
    asker: Option<Asker>,
}

impl Worker {
    fn carry_out(&mut self, request: Request) -> Result<Reply, String> {
        match request {
            Request::Links(changes) => {
                for change in &changes {
                    links::apply(change).map_err(|error| format!("{change:?}: {error}"))?;
                }
                Ok(Reply::Done)
            }
            Request::Addresses => links::addresses().map(Reply::Addresses).map_err(text),
            Request::Run { argv, input, limit_ms } => self.children.run(&argv, &input, limit_ms),
            Request::Spawn { argv, output } => self.children.spawn_logged(&argv, &output),
            Request::Ended { pid } => Ok(Reply::Ended(self.children.ended(pid))),
            Request::Write { path, text, mode } => write_file(&path, &text, mode),
            Request::Read { path } => read_file(&path),
            Request::Signal { number } => signal_all(number),
            Request::Processes => Ok(Reply::Processes(processes())),
            Request::Probe { address, interval_us } => {
                self.asker = Some(Asker::start(address, interval_us).map_err(text)?);
                Ok(Reply::Done)
            }
            Request::Answers { from } => {
                Ok(Reply::Answers(self.asker.as_ref().map(|asker| asker.answers(from)).unwrap_or_default()))
            }
            Request::StopProbe => {
                self.asker = None;
                Ok(Reply::Done)
            }
        }
    }
}

fn write_file(path: &str, content: &str, mode: u32) -> Result<Reply, String> {
    let failed = |error| format!("write {path}: {error}");
    if let Some(folder) = Path::new(path).parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, content).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(Reply::Done)
}

fn read_file(path: &str) -> Result<Reply, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Reply::Text(Some(String::from_utf8_lossy(&bytes).into_owned()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Reply::Text(None)),
        Err(error) => Err(format!("read {path}: {error}")),
    }
}

/// To all but the sender and the first process of the host, which here are the same.
fn signal_all(number: i32) -> Result<Reply, String> {
    let signal = Signal::try_from(number).map_err(text)?;
    match kill(Pid::from_raw(-1), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(Reply::Done),
        Err(error) => Err(text(error)),
    }
}

fn command_of(argv: &[String]) -> Result<Command, String> {
    let (program, arguments) = argv.split_first().ok_or("no program named")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    if let Ok(name) = nix::unistd::gethostname() {
        command.env("HOSTNAME", name);
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// The programs this agent started; it is the parent of all orphans of its host too, so one thread
/// takes every end and keeps those somebody asked for.
#[derive(Default)]
struct Children {
    /// Exit code by process number; `None` while it runs.
    known: Mutex<BTreeMap<u32, Option<i32>>>,
    changed: Condvar,
}

impl Children {
    fn known(&self) -> MutexGuard<'_, BTreeMap<u32, Option<i32>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap(self: Arc<Self>) {
        thread::spawn(move || loop {
            match waitpid(None, None) {
                Ok(WaitStatus::Exited(pid, code)) => self.note(pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => self.note(pid, 128 + signal as i32),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => {
                    let guard = self.known();
                    let _ = self.changed.wait_timeout(guard, Duration::from_millis(50));
                }
            }
        });
    }

    fn note(&self, pid: Pid, code: i32) {
        if let Some(end) = self.known().get_mut(&(pid.as_raw() as u32)) {
            *end = Some(code);
        }
        self.changed.notify_all();
    }

    /// Starts and remembers it; the lock keeps the reaping thread from being faster.
    fn spawn(&self, command: &mut Command) -> Result<u32, String> {
        let mut known = self.known();
        while known.len() >= ENDS_KEPT {
            // The oldest that has ended: a daemon outlives many short programs.
            let ended = known.iter().find(|(_, end)| end.is_some()).map(|(pid, _)| *pid);
            match ended {
                Some(pid) => drop(known.remove(&pid)),
                None => drop(known.pop_first()),
            }
        }
        let child = command
            .spawn()
            .map_err(|error| format!("start {}: {error}", command.get_program().to_string_lossy()))?;
        known.insert(child.id(), None);
        self.changed.notify_all();
        Ok(child.id())
    }

    fn ended(&self, pid: u32) -> Option<i32> {
        self.known().get(&pid).copied().flatten()
    }

    /// Waits until it ended or the limit has passed.
    fn wait(&self, pid: u32, limit: Duration) -> Option<i32> {
        let end = Instant::now() + limit;
        let mut known = self.known();
        loop {
            if let Some(code) = known.get(&pid).copied().flatten() {
                return Some(code);
            }
            let left = end.checked_duration_since(Instant::now())?;
            known = self.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn spawn_logged(&self, argv: &[String], output: &str) -> Result<Reply, String> {
        let file = OpenOptions::new().create(true).append(true).open(output).map_err(text)?;
        let mut command = command_of(argv)?;
        command.stdout(file.try_clone().map_err(text)?).stderr(file);
        Ok(Reply::Started { pid: self.spawn(&mut command)? })
    }

    /// Outputs go to files, since a daemon left behind may keep them open.
    fn run(&self, argv: &[String], input: &str, limit_ms: u64) -> Result<Reply, String> {
        let places = ["/run/.input", "/run/.output", "/run/.errors"];
        fs::write(places[0], input).map_err(text)?;
        let create = |path| fs::File::create(path).map_err(text);
        let mut command = command_of(argv)?;
        command.stdin(fs::File::open(places[0]).map_err(text)?);
        command.stdout(create(places[1])?).stderr(create(places[2])?);
        let began = Instant::now();
        let pid = self.spawn(&mut command)?;
        let code = self.wait(pid, Duration::from_millis(limit_ms));
        let took_us = began.elapsed().as_micros() as u64;
        if code.is_none() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        let read = |path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stdout, stderr) = (read(places[1]).map_err(text)?, read(places[2]).map_err(text)?);
        for place in places {
            let _ = fs::remove_file(place);
        }
        Ok(Reply::Ran(Output { code, stdout, stderr, took_us }))
    }
}

fn processes() -> Vec<ProcessUse> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != 1)
        .filter_map(process_use)
        .collect()
}

/// Source: proc(5), `stat` (fields counted behind the name's closing bracket), `status`, and the
/// scheduler's own count in `schedstat` where the kernel keeps it: a daemon that wakes for some
/// microseconds between two ticks of the clock is hardly seen by the ticks.
fn process_use(pid: u32) -> Option<ProcessUse> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let values: HashMap<&str, &str> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let resident = values.get("VmRSS").and_then(|value| value.split_whitespace().next());
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(ProcessUse {
        pid,
        name,
        command_line: String::from_utf8_lossy(&command_line).replace('\0', " ").trim_end().to_owned(),
        resident_kb: resident.and_then(|value| value.parse().ok()).unwrap_or(0),
        cpu_us: scheduled_us(pid).unwrap_or(ticks * 1_000_000 / ticks_per_second()),
    })
}

fn scheduled_us(pid: u32) -> Option<u64> {
    let mut sum_ns = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        sum_ns += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum_ns / 1000)
}

fn ticks_per_second() -> u64 {
    use nix::unistd::{sysconf, SysconfVar};
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100, |ticks| ticks.max(1) as u64)
}
