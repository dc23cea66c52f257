//! A running pair with an address at home on each node, and what must be true of it after each
//! transition. Ours by default; [`Pair::of`] puts the original on either side.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::host::{Host, LOG};
use ha_core::demo::world::{HostKind, World};

/// Node1's and node2's addresses.
pub(crate) const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 100), Ipv4Addr::new(192, 0, 2, 101)];
pub(crate) const NODES: [&str; 2] = ["node1", "node2"];
pub(crate) const KEEPALIVE_MS: u64 = 50;
pub(crate) const DEAD_TIME_MS: u64 = 300;
/// Longest wait for a condition of two of ours; each takes a fraction of a second on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The same where an original takes part: it waits ten seconds by itself at several points.
const PATIENCE_WITH_ORIGINAL: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The group of each node.
pub(crate) fn group(node: usize) -> String {
    format!("{} IPaddr2::{}/24/eth0", NODES[node], ADDRESSES[node])
}

/// A service for resource.d: it runs while its file is there; where `/run/sick` is, it says that it does
/// not.
pub(crate) const SERVICE: &str = "#!/bin/sh\n\
    case $1 in\n\
    start) touch /run/service;;\n\
    stop) rm -f /run/service;;\n\
    status) if [ -e /run/service ] && [ ! -e /run/sick ]; then echo running; else echo stopped; fi;;\n\
    esac\n";

/// Worlds at once: more would be late for their own beats on a small machine.
const WORLDS_MAX: usize = 2;
static WORLDS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// The right to have a world.
struct Permit;

impl Permit {
    fn wait() -> Self {
        let count = WORLDS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count =
            WORLDS.1.wait_while(count, |count| *count >= WORLDS_MAX).unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *WORLDS.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        WORLDS.1.notify_one();
    }
}

/// The times in ha.cf.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) keepalive_ms: u64,
    pub(crate) dead_time_ms: u64,
    pub(crate) init_dead_s: u64,
}

/// Times of a pair of ours.
const QUICK: Times = Times { keepalive_ms: KEEPALIVE_MS, dead_time_ms: DEAD_TIME_MS, init_dead_s: 2 };

/// Two nodes. A failing test prints both logs when this is dropped.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) kinds: [HostKind; 2],
    pub(crate) times: Times,
    pub(crate) patience: Duration,
    /// Where each node's log stood when the present transition began.
    marks: [Cell<usize>; 2],
    /// Parts of the only ERROR and CRIT lines that may be logged.
    allowed: RefCell<Vec<String>>,
    _permit: Permit,
}

impl Pair {
    /// A configured pair, nothing started; `more` are lines of ha.cf, `groups` is haresources.
    /// `None`: skipped.
    pub(crate) fn new(more: &[&str], groups: &[String]) -> Option<Self> {
        Self::of([HostKind::Ours; 2], QUICK, more, groups)
    }

    /// As [`Pair::new`] with any kind of host on each side.
    pub(crate) fn of(kinds: [HostKind; 2], times: Times, more: &[&str], groups: &[String]) -> Option<Self> {
        let permit = Permit::wait();
        let world = super::pair(kinds[0], kinds[1])?;
        let original = kinds.contains(&HostKind::Original);
        let pair = Self {
            world,
            kinds,
            times,
            patience: if original { PATIENCE_WITH_ORIGINAL } else { PATIENCE },
            marks: [Cell::new(0), Cell::new(0)],
            allowed: RefCell::default(),
            _permit: permit,
        };
        let ha_cf = pair.ha_cf(more);
        pair.world.configure(&ha_cf, &(groups.join("\n") + "\n")).expect("configure");
        Some(pair)
    }

    /// With one address for each node, both daemons started and both addresses at home.
    pub(crate) fn running(more: &[&str]) -> Option<Self> {
        let pair = Self::new(more, &[group(0), group(1)])?;
        pair.start_both();
        pair.settled("local", "local");
        Some(pair)
    }

    pub(crate) fn ha_cf(&self, more: &[&str]) -> String {
        let Times { keepalive_ms, dead_time_ms, init_dead_s } = self.times;
        let text = self.world.ha_cf(keepalive_ms, dead_time_ms, more);
        text.replace(&format!("initdead {}ms", 2 * dead_time_ms), &format!("initdead {init_dead_s}"))
    }

    pub(crate) fn host(&self, node: usize) -> &Host {
        &self.world.hosts()[node]
    }

    pub(crate) fn start(&self, node: usize) {
        self.host(node).start_daemon().expect("daemon starts");
    }

    pub(crate) fn start_both(&self) {
        (0..2).for_each(|node| self.start(node));
    }

    /// From now on only later lines count for [`Pair::logged`].
    pub(crate) fn mark(&self) {
        for node in 0..2 {
            self.marks[node].set(self.whole_log(node).len());
        }
    }

    /// A line of level ERROR or CRIT with this in it is expected.
    pub(crate) fn allow(&self, parts: &[&str]) {
        self.allowed.borrow_mut().extend(parts.iter().map(|&part| part.to_owned()));
    }

    fn whole_log(&self, node: usize) -> String {
        self.host(node).read_file(LOG).unwrap_or_default()
    }

    /// The node's log since the mark.
    pub(crate) fn log(&self, node: usize) -> String {
        self.whole_log(node).get(self.marks[node].get()..).unwrap_or_default().to_owned()
    }

    /// How often a text is in the node's log since the mark.
    pub(crate) fn times_logged(&self, node: usize, text: &str) -> usize {
        self.log(node).matches(text).count()
    }

    /// Waits until the node has logged lines that end in each of these texts since the mark.
    #[track_caller]
    pub(crate) fn logged(&self, node: usize, ends: &[&str]) {
        for end in ends {
            let what = format!("line {end:?} in the log of {}", NODES[node]);
            self.wait(&what, || self.log(node).lines().any(|line| line.ends_with(end)));
        }
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + self.patience;
        while !condition() {
            assert!(Instant::now() < end, "no {what} within {:?}", self.patience);
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Runs a program that must succeed.
    #[track_caller]
    pub(crate) fn run(&self, node: usize, argv: &[&str]) -> String {
        let output = self.host(node).run(argv).expect("it runs");
        assert_eq!(output.code, Some(0), "{argv:?} on {}: {}{}", NODES[node], output.stdout, output.stderr);
        output.stdout
    }

    /// Runs `hb_standby` or `hb_takeover`, which must succeed.
    #[track_caller]
    pub(crate) fn command(&self, node: usize, name: &str, set: &str) {
        let output = self.host(node).command(name, &[set]).expect("it runs");
        assert_eq!(output.code, Some(0), "{name} {set} on {}: {output:?}", NODES[node]);
    }

    /// What `cl_status rscstatus` prints, empty where the node is off or its daemon is down.
    pub(crate) fn resource_status(&self, node: usize) -> String {
        let output = self.host(node).run(&["cl_status", "rscstatus"]);
        output.map(|output| output.stdout.trim_end().to_owned()).unwrap_or_default()
    }

    /// Waits until the nodes say this of themselves (an empty word: the node is off or stopped),
    /// and finds everything in order: each address is on the one host that says so, daemons run,
    /// statuses agree, nothing bad was logged.
    #[track_caller]
    pub(crate) fn settled(&self, first: &str, second: &str) {
        let words = [first, second];
        let end = Instant::now() + self.patience;
        loop {
            let now = [self.resource_status(0), self.resource_status(1)];
            if now == words {
                break;
            }
            assert!(Instant::now() < end, "rscstatus is {now:?} and not {words:?}");
            thread::sleep(LOOK_EVERY);
        }
        if self.kinds.contains(&HostKind::Original) {
            // It says so before it has started anything (resources spec 2.4).
            self.wait("addresses on the right hosts", || self.is_owned_as(words));
        }
        self.owned_as(words);
        for node in (0..2).filter(|node| !words[*node].is_empty()) {
            assert_eq!(self.host(node).daemon_ended().expect("state"), None, "daemon of {}", NODES[node]);
            self.status_agrees(node, words);
        }
        self.quiet();
    }

    #[track_caller]
    fn owned_as(&self, words: [&str; 2]) {
        for home in 0..2 {
            let expected = holders(words, home);
            assert_eq!(expected.len(), 1, "{words:?} are not complementary");
            self.owned_by(home, expected[0]);
        }
    }

    /// Each address is on the one host that says so, and nowhere else.
    pub(crate) fn is_owned_as(&self, words: [&str; 2]) -> bool {
        (0..2).all(|home| self.world.owners(ADDRESSES[home]).expect("addresses") == holders(words, home))
    }

    /// The address of `home` is on this host alone, now.
    #[track_caller]
    pub(crate) fn owned_by(&self, home: usize, node: &str) {
        let owners = self.world.owners(ADDRESSES[home]).expect("addresses");
        assert_eq!(owners, [node], "owners of {}", ADDRESSES[home]);
    }

    /// `ha status --json` of a node, whatever its exit code.
    pub(crate) fn status(&self, node: usize) -> serde_json::Value {
        let output = self.host(node).run(&["/ha", "status", "--json"]).expect("it runs");
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    #[track_caller]
    fn status_agrees(&self, node: usize, words: [&str; 2]) {
        if self.kinds[node] == HostKind::Original {
            for other in (0..2).filter(|other| !words[*other].is_empty()) {
                assert_eq!(self.run(node, &["cl_status", "nodestatus", NODES[other]]), "active\n");
            }
            return;
        }
        let status = self.status(node);
        let view = &status["report"]["view"];
        assert_eq!(view["local"], NODES[node], "{status:#}");
        assert_eq!(view["holding"], words[node], "{status:#}");
        for other in 0..2 {
            // ping nodes are in the list too
            let nodes = view["nodes"].as_array().expect("a list");
            let seen = nodes.iter().find(|seen| seen["name"] == NODES[other]);
            let seen = seen.unwrap_or_else(|| panic!("no {}: {status:#}", NODES[other]));
            if words[other].is_empty() {
                continue;
            }
            assert_eq!(seen["holding"], words[other], "{status:#}");
            assert_eq!(seen["status"], "active", "{status:#}");
            assert_eq!(self.run(node, &["cl_status", "nodestatus", NODES[other]]), "active\n");
        }
    }

    /// What `cl_status hblinkstatus` prints of a link, and its exit code.
    pub(crate) fn link_state(&self, node: usize, of: &str, link: &str) -> (String, Option<i32>) {
        let output = self.host(node).run(&["cl_status", "hblinkstatus", of, link]).expect("it runs");
        (output.stdout.trim_end().to_owned(), output.code)
    }

    /// No ERROR or CRIT line beyond the expected ones since the start.
    #[track_caller]
    pub(crate) fn quiet(&self) {
        for (node, name) in NODES.iter().enumerate() {
            let log = self.whole_log(node);
            let allowed = self.allowed.borrow();
            let bad: Vec<&str> = log
                .lines()
                .filter(|line| line.contains(" ERROR: ") || line.contains(" CRIT: "))
                .filter(|line| !allowed.iter().any(|part| line.contains(part)))
                .collect();
            assert!(bad.is_empty(), "{name} logged: {bad:#?}");
        }
    }

    /// Kills the node's daemon without a word, and its guard before it; other children and addresses stay.
    pub(crate) fn kill_daemon(&self, node: usize) {
        let mut pids = self.daemon_processes(node);
        pids.sort_unstable();
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        self.run(node, &["sh", "-c", &format!("kill -9 {}", pids.join(" "))]);
        self.wait("end of the daemon", || self.daemon_processes(node).is_empty());
        if self.kinds[node] == HostKind::Ours {
            self.wait("end of the guard", || self.host(node).daemon_ended().expect("state").is_some());
        }
    }

    /// The number in the pid file.
    pub(crate) fn daemon_pid(&self, node: usize) -> String {
        self.run(node, &["cat", "/var/run/heartbeat.pid"]).trim().to_owned()
    }

    /// The daemon, its guard and what they forked under their own name.
    fn daemon_processes(&self, node: usize) -> Vec<u32> {
        let processes = self.host(node).processes().expect("process list");
        processes
            .into_iter()
            .filter(|process| process.name == "heartbeat")
            .map(|process| process.pid)
            .collect()
    }

    /// Tells the daemon to stop, and does not wait for it.
    #[track_caller]
    pub(crate) fn tell_to_stop(&self, node: usize) {
        self.run(node, &["sh", "-c", "kill -TERM $(cat /var/run/heartbeat.pid)"]);
    }

    /// Waits for the end of a daemon that was told to stop; it must end well.
    #[track_caller]
    pub(crate) fn ended_well(&self, node: usize) {
        if self.kinds[node] == HostKind::Original {
            return self.wait("end of the daemon", || self.daemon_processes(node).is_empty());
        }
        self.wait("end of the daemon", || self.host(node).daemon_ended().expect("state").is_some());
        assert_eq!(self.host(node).daemon_ended().expect("state"), Some(0), "{}", NODES[node]);
    }
}

/// Who should have the address of `home` when the nodes say this of themselves.
fn holders(words: [&str; 2], home: usize) -> Vec<&'static str> {
    let holds = |node: usize| match words[node] {
        "all" => true,
        "local" => node == home,
        "foreign" => node != home,
        _ => false,
    };
    (0..2).filter(|node| holds(*node)).map(|node| NODES[node]).collect()
}

impl Drop for Pair {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", super::logs(&self.world));
        }
    }
}
