//! Ours beside Heartbeat 3.0.6 on this machine: what a client loses in each step of the demo's story,
//! memory and processor time at rest. Prints figures and ratios; asserts none.
//!
//! The processor time is also shown for a bare program that does nothing but send a packet of a
//! beat's size on the same links at each keepalive and read what arrives: the kernel charges the
//! whole virtual network, to the receivers' sockets, to whoever sends, so no daemon can be below it.
//!
//! ```text
//! cargo bench --bench outage -- [--trials N] [--keepalive TIME] [--deadtime TIME] [--rest SECONDS]
//! ```
//!
//! Needs root; without an installed Heartbeat only ours is measured.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ha_core::demo::draw::{milliseconds, table, Style};
use ha_core::demo::story::{parse_time_ms, tell, DemoError, Options};
use ha_core::demo::world::{HostKind, Unavailable, World, WorldError, SERVICE_ADDRESS};
use ha_core::demo::ProcessUse;

#[path = "outage/floor.rs"]
mod floor;

/// Attempts at a pair at rest.
const REST_TRIES: usize = 3;
const KINDS: [(HostKind, &str); 2] = [(HostKind::Ours, "ours"), (HostKind::Original, "3.0.6")];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, keepalive_ms] = words.as_slice() {
        if word == floor::WORD {
            return floor::run(keepalive_ms.parse().unwrap_or(50));
        }
    }
    let settings = match Settings::from_words(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(text) => {
            eprintln!("outage: {text}");
            return ExitCode::from(2);
        }
    };
    println!(
        "keepalive {} ms, deadtime {} ms, medians of {} trials (least to most)\n",
        settings.keepalive_ms, settings.dead_time_ms, settings.trials
    );
    let outages = KINDS.map(|(kind, name)| outages(&settings, kind, name));
    print!("{}", outage_table(&outages));
    println!("\nAt rest for {} s, per node, all processes of the daemon:\n", settings.rest.as_secs());
    let uses = KINDS.map(|(kind, name)| at_rest(&settings, kind, name));
    print!("{}", use_table(&uses));
    match floor::measure(binary(), settings.keepalive_ms, settings.rest) {
        Ok(cpu_us_per_s) => println!(
            "\nA bare sender and receiver on the same links: {}.{} ms/s",
            cpu_us_per_s / 1000,
            cpu_us_per_s % 1000 / 100
        ),
        Err(error) => println!("\nA bare sender and receiver was not measured: {error}"),
    }
    ExitCode::SUCCESS
}

struct Settings {
    trials: usize,
    keepalive_ms: u64,
    dead_time_ms: u64,
    rest: Duration,
}

impl Settings {
    /// Cargo itself adds `--bench`.
    fn from_words(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings =
            Self { trials: 30, keepalive_ms: 50, dead_time_ms: 250, rest: Duration::from_secs(20) };
        let mut words = words.filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{value}: {error}"));
            match word.as_str() {
                "--trials" => settings.trials = number()? as usize,
                "--keepalive" => settings.keepalive_ms = parse_time_ms(&value)?,
                "--deadtime" => settings.dead_time_ms = parse_time_ms(&value)?,
                "--rest" => settings.rest = Duration::from_secs(number()?),
                _ => return Err(format!("no option {word}")),
            }
        }
        Ok(settings)
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ha"))
}

/// Samples in microseconds by what was measured, in the order of the story.
type Samples = Vec<(String, Vec<u64>)>;

/// A failed trial is said and left out.
fn outages(settings: &Settings, kind: HostKind, name: &str) -> Samples {
    let options = Options {
        binary: PathBuf::from(binary()),
        keepalive_ms: settings.keepalive_ms,
        dead_time_ms: settings.dead_time_ms,
        kind,
        style: Style::Plain,
    };
    let mut samples = Samples::new();
    for trial in 1..=settings.trials {
        let report = match tell(&options, &mut io::sink()) {
            Ok(report) => report,
            Err(DemoError::Unavailable(reason)) => {
                println!("{name}: not measured: {reason}");
                return samples;
            }
            Err(error) => {
                println!("{name}, trial {trial}: {error}");
                continue;
            }
        };
        for step in report.steps {
            add(&mut samples, step.name.to_owned(), step.outage_us);
            if let Some(beyond_us) = step.beyond_deadtime_us {
                add(&mut samples, format!("{}, beyond deadtime", step.name), beyond_us);
            }
        }
    }
    samples
}

fn add(samples: &mut Samples, what: String, value: u64) {
    match samples.iter_mut().find(|(known, _)| *known == what) {
        Some((_, values)) => values.push(value),
        None => samples.push((what, vec![value])),
    }
}

fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(sorted[middle - 1].midpoint(sorted[middle])),
    }
}

fn outage_table(both: &[Samples; 2]) -> String {
    let heading = ["", KINDS[0].1, "", KINDS[1].1, "", "ratio"].map(str::to_owned).to_vec();
    let mut rows = vec![heading];
    let longer = both.iter().max_by_key(|samples| samples.len()).map_or(&[][..], Vec::as_slice);
    for (what, _) in longer {
        let mut row = vec![what.clone()];
        let values = both.each_ref().map(|samples| {
            samples.iter().find(|(known, _)| known == what).map(|(_, values)| values.as_slice())
        });
        for values in values {
            let values = values.unwrap_or_default();
            row.push(median(values).map_or("-".into(), milliseconds));
            row.push(spread(values));
        }
        row.push(ratio(values.map(|values| values.and_then(median))));
        rows.push(row);
    }
    table(&rows, Style::Plain)
}

fn spread(values: &[u64]) -> String {
    match (values.iter().min(), values.iter().max()) {
        (Some(&least), Some(&most)) => format!("({} to {})", milliseconds(least), milliseconds(most)),
        _ => String::new(),
    }
}

/// How many times ours goes into the other.
fn ratio(values: [Option<u64>; 2]) -> String {
    match values {
        [Some(ours), Some(other)] if ours > 0 => format!("{:.1}", other as f64 / ours as f64),
        _ => "-".into(),
    }
}

/// What the daemon of one node uses.
#[derive(Clone, Copy, Default)]
struct Use {
    processes: u64,
    resident_kb: u64,
    /// Microseconds of processor time per second.
    cpu_us_per_s: u64,
}

#[derive(Debug, thiserror::Error)]
enum RestError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    World(#[from] WorldError),
}

fn at_rest(settings: &Settings, kind: HostKind, name: &str) -> Option<Use> {
    // On a busy machine a start may end otherwise than it should, of the original above all.
    for _ in 0..REST_TRIES {
        match measure_rest(settings, kind) {
            Ok(found) => return Some(found),
            Err(error) => println!("{name}: not measured: {error}"),
        }
    }
    None
}

fn measure_rest(settings: &Settings, kind: HostKind) -> Result<Use, RestError> {
    let world = World::new(binary(), &[("node1", kind), ("node2", kind)])?;
    let ha_cf = world.ha_cf(settings.keepalive_ms, settings.dead_time_ms, &["auto_failback off"]);
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n"))?;
    for host in world.hosts() {
        host.start_daemon()?;
    }
    world.wait_owner(SERVICE_ADDRESS, "node1", Duration::from_secs(40))?;
    // The repeated announcements of the address belong to the start.
    thread::sleep(Duration::from_secs(3));
    let node = world.host("node1")?;
    let before = daemon(node.processes()?);
    thread::sleep(settings.rest);
    let after = daemon(node.processes()?);
    let used = |(pid, process): (&u32, &ProcessUse)| {
        process.cpu_us - before.get(pid).map_or(0, |earlier| earlier.cpu_us.min(process.cpu_us))
    };
    Ok(Use {
        processes: after.len() as u64,
        resident_kb: after.values().map(|process| process.resident_kb).sum(),
        cpu_us_per_s: after.iter().map(used).sum::<u64>() / settings.rest.as_secs().max(1),
    })
}

fn daemon(processes: Vec<ProcessUse>) -> BTreeMap<u32, ProcessUse> {
    let ours = processes.into_iter().filter(|process| process.name.starts_with("heartbeat"));
    ours.map(|process| (process.pid, process)).collect()
}

fn use_table(uses: &[Option<Use>; 2]) -> String {
    type Figure = (&'static str, fn(&Use) -> u64, fn(u64) -> String);
    let figures: [Figure; 3] = [
        ("processes", |used| used.processes, |value| value.to_string()),
        ("resident memory", |used| used.resident_kb, |value| format!("{value} kB")),
        (
            "processor time",
            |used| used.cpu_us_per_s,
            |value| format!("{}.{} ms/s", value / 1000, value % 1000 / 100),
        ),
    ];
    let mut rows = vec![["", KINDS[0].1, KINDS[1].1, "ratio"].map(str::to_owned).to_vec()];
    for (what, get, show) in figures {
        let values = uses.each_ref().map(|used| used.as_ref().map(get));
        let mut row = vec![what.to_owned()];
        row.extend(values.map(|value| value.map_or("-".into(), show)));
        row.push(ratio(values));
        rows.push(row);
    }
    table(&rows, Style::Plain)
}
