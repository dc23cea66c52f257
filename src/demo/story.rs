//! The steps of `ha demo`: what is done, what must come of it, what the client saw.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::draw::{cells, legend, milliseconds, table, timeline, Style};
use super::host::{DAEMON_OUTPUT, LOG};
use super::probe::{longest_silence, now_us, silence_of_switch, Answer};
use super::world::{Host, HostKind, Probe, Unavailable, World, WorldError, SERVICE_ADDRESS};

/// The client asks this often.
const PACE: Duration = Duration::from_millis(1);
/// Answers are awaited this much longer than needed, so that a timeline shows what follows.
const SETTLE: Duration = Duration::from_millis(120);
/// Lines of each log shown when a step fails.
const LOG_LINES: usize = 15;
/// What two nodes say of themselves when none of the two sets is left or held twice
/// (resources spec 2: *local* and *foreign* are each node's own view).
const SETTLED: [&[&str]; 4] =
    [&["local", "local"], &["all", "none"], &["none", "all"], &["foreign", "foreign"]];
/// With a longer one the story would not be told in 20 seconds.
const DEAD_TIME_MAX_MS: u64 = 2_000;

/// What a person may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `ha` binary that the hosts run.
    pub binary: PathBuf,
    /// Time between two beats.
    pub keepalive_ms: u64,
    /// Silence after which a node counts as dead.
    pub dead_time_ms: u64,
    /// Whose daemons play.
    pub kind: HostKind,
    /// Blocks or letters.
    pub style: Style,
}

/// Why the story was not told to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The machine does not allow it; nothing was done.
    #[error("this machine cannot show it: {0}")]
    Unavailable(#[from] Unavailable),
    /// The times chosen do not fit each other; nothing was done.
    #[error("{0}")]
    Options(String),
    /// A step did not come out as it must.
    #[error("{step}: {reason}")]
    Failed {
        /// The step's name.
        step: &'static str,
        /// What was awaited or refused.
        reason: String,
        /// The ends of the hosts' logs.
        logs: String,
    },
    /// The text cannot be written (a closed pipe).
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

impl DemoError {
    /// What the program ends with: 2 where nothing could be shown, 1 where a step went wrong.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unavailable(_) | Self::Options(_) => 2,
            Self::Failed { .. } | Self::Output(_) => 1,
        }
    }
}

/// The outcome as one JSON document: `ok` with a [`Report`] as `report`, or `error` and, where a
/// step failed, its `logs`.
pub fn json(result: &Result<Report, DemoError>) -> String {
    let value = match result {
        Ok(report) => serde_json::json!({ "ok": true, "report": report }),
        Err(DemoError::Failed { logs, .. }) => {
            let error = result.as_ref().err().map(ToString::to_string);
            serde_json::json!({ "ok": false, "error": error, "logs": logs })
        }
        Err(error) => serde_json::json!({ "ok": false, "error": error.to_string() }),
    };
    value.to_string()
}

/// The whole story in figures.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Time between two beats.
    pub keepalive_ms: u64,
    /// Silence after which a node counts as dead.
    pub deadtime_ms: u64,
    /// The steps in order.
    pub steps: Vec<StepReport>,
    /// How long all of it took.
    pub total_ms: u64,
}

/// One step in figures. Times are what the client saw, at its pace of one question a millisecond.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Name of the step.
    pub name: &'static str,
    /// Who answers after it.
    pub owner: String,
    /// The longest silence around it, in microseconds; for the cold start, from the start of the
    /// daemons to the first answer.
    pub outage_us: u64,
    /// What of that goes beyond deadtime; only for the crash.
    pub beyond_deadtime_us: Option<u64>,
    /// First and last moment of the drawn timeline, CLOCK_MONOTONIC in microseconds.
    #[serde(skip)]
    window_us: (u64, u64),
}

/// One step of the story.
struct Step {
    name: &'static str,
    /// What a person is told before it.
    told: &'static str,
    act: fn(&Stage) -> Result<StepReport, WorldError>,
}

/// THE TABLE of steps, in order.
const STEPS: &[Step] = &[
    Step { name: "cold start", told: "both daemons start; node1 is to have the address", act: cold_start },
    Step { name: "crash", told: "node1 loses power: links and processes, all at once", act: crash },
    Step { name: "return", told: "node1 is switched on again; node2 keeps the address", act: come_back },
    Step { name: "standby", told: "planned: node2 gives the address away (hb_standby)", act: standby },
    Step { name: "takeover", told: "planned: node2 takes it back (hb_takeover)", act: takeover },
];

/// Tells the story to `out` as it happens.
///
/// # Errors
/// See [`DemoError`]. Whatever happens, nothing is left on the machine.
pub fn tell(options: &Options, out: &mut dyn Write) -> Result<Report, DemoError> {
    check(options)?;
    let began = Instant::now();
    let style = options.style;
    let world = World::new(&options.binary, &[("node1", options.kind), ("node2", options.kind)])?;
    writeln!(out, "Two hosts, a client, two networks, all inside this machine; real daemons, real UDP.")?;
    writeln!(
        out,
        "keepalive {} ms, deadtime {} ms. A client asks {SERVICE_ADDRESS} every millisecond:",
        options.keepalive_ms, options.dead_time_ms
    )?;
    writeln!(out, "{}\n", legend(&["node1", "node2"], style))?;
    let failed_start = |error: WorldError| failed(&world, "preparation", error);
    configure(&world, options).map_err(failed_start)?;
    let probe = world.probe(SERVICE_ADDRESS, PACE).map_err(failed_start)?;
    let stage = Stage { world: &world, probe: &probe, options };
    let mut steps = Vec::new();
    for step in STEPS {
        writeln!(out, "{}  {}", style.strong(&format!("{:<10}", step.name)), step.told)?;
        out.flush()?;
        let error = |error| failed(&world, step.name, error);
        let report = (step.act)(&stage).map_err(error)?;
        let answers = probe.answers().map_err(error)?;
        let cells = cells(&answers, report.window_us.0, report.window_us.1);
        writeln!(out, "  {}", timeline(&cells, style))?;
        writeln!(out, "  {}\n", sentence(&report))?;
        steps.push(report);
    }
    let total_ms = began.elapsed().as_millis() as u64;
    write!(out, "{}", closing_table(&steps, style))?;
    writeln!(out, "\nAll of it took {}.{} s.", total_ms / 1000, total_ms % 1000 / 100)?;
    Ok(Report { keepalive_ms: options.keepalive_ms, deadtime_ms: options.dead_time_ms, steps, total_ms })
}

/// Reads a time as ha.cf has it: `50ms`, `2s`, or seconds without a unit.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_time_ms(text: &str) -> Result<u64, String> {
    let (number, factor) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or(text), 1000),
    };
    let value = number.parse::<u64>().ok().and_then(|value| value.checked_mul(factor));
    value.ok_or_else(|| format!("{text:?} is not a time such as 50ms or 2s"))
}

fn check(options: &Options) -> Result<(), DemoError> {
    let (keepalive, dead_time) = (options.keepalive_ms, options.dead_time_ms);
    if keepalive == 0 || dead_time < keepalive * 2 {
        let text = format!("deadtime ({dead_time} ms) must be at least twice keepalive ({keepalive} ms)");
        return Err(DemoError::Options(text));
    }
    if dead_time > DEAD_TIME_MAX_MS {
        let text = format!("deadtime ({dead_time} ms) is limited to {DEAD_TIME_MAX_MS} ms here");
        return Err(DemoError::Options(text));
    }
    Ok(())
}

fn configure(world: &World, options: &Options) -> Result<(), WorldError> {
    let ha_cf = world.ha_cf(options.keepalive_ms, options.dead_time_ms, &["auto_failback off"]);
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n"))
}

fn failed(world: &World, step: &'static str, error: WorldError) -> DemoError {
    let mut logs = String::new();
    for host in world.hosts().iter().filter(|host| host.is_on()) {
        for path in [LOG, DAEMON_OUTPUT] {
            let text = host.read_file(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
                logs.push_str(&format!("{} {path}:\n  {tail}\n", host.name()));
            }
        }
    }
    DemoError::Failed { step, reason: error.to_string(), logs }
}

fn sentence(report: &StepReport) -> String {
    let outage = milliseconds(report.outage_us);
    let owner = &report.owner;
    match (report.name, report.beyond_deadtime_us) {
        ("cold start", _) => format!("{owner} answers {outage} after the start"),
        (_, Some(beyond)) => {
            format!("{owner} answers; nobody did for {outage}: deadtime and {} more", milliseconds(beyond))
        }
        _ => format!("{owner} answers; longest silence {outage}"),
    }
}

fn closing_table(steps: &[StepReport], style: Style) -> String {
    let heading = ["step", "answers now", "silence", "beyond deadtime"].map(str::to_owned).to_vec();
    let rows = steps.iter().map(|step| {
        let beyond = step.beyond_deadtime_us.map_or("-".to_owned(), milliseconds);
        vec![step.name.to_owned(), step.owner.clone(), milliseconds(step.outage_us), beyond]
    });
    table(&[heading].into_iter().chain(rows).collect::<Vec<_>>(), style)
}

/// What the steps work with.
struct Stage<'s> {
    world: &'s World,
    probe: &'s Probe<'s>,
    options: &'s Options,
}

impl Stage<'_> {
    fn node(&self, index: usize) -> Result<&Host, WorldError> {
        self.world.hosts().get(index).ok_or_else(|| WorldError::NoSuchHost(format!("node{}", index + 1)))
    }

    /// How long a step may take. The original waits ten seconds at its first start.
    fn limit(&self) -> Duration {
        let base = if self.options.kind == HostKind::Original { 40 } else { 8 };
        Duration::from_secs(base) + Duration::from_millis(self.options.dead_time_ms * 4)
    }

    /// Waits until `host` answers; not in vain when a daemon has ended.
    fn answered(&self, host: &Host, since_us: u64) -> Result<Vec<Answer>, WorldError> {
        let end = Instant::now() + self.limit();
        loop {
            let answers = self.probe.wait_answer(host, since_us, SETTLE, Duration::from_millis(200));
            if answers.is_ok() || Instant::now() >= end {
                return answers.map_err(|_| late(&format!("an answer from {}", host.name()), self.limit()));
            }
            self.check_daemons()?;
        }
    }

    fn check_daemons(&self) -> Result<(), WorldError> {
        for host in self.world.hosts().iter().filter(|host| host.is_on()) {
            if let Some(code) = host.daemon_ended()? {
                let reason = format!("its daemon ended with {code}");
                return Err(WorldError::Failed { host: host.name().to_owned(), reason });
            }
        }
        Ok(())
    }

    /// Waits until `host` answers and alone has the address; the figures of the switch.
    fn moved_to(&self, name: &'static str, host: &Host, since_us: u64) -> Result<StepReport, WorldError> {
        self.answered(host, since_us)?;
        self.world.wait_owner(SERVICE_ADDRESS, host.name(), self.limit())?;
        let answers = self.probe.answers()?;
        let silence = silence_of_switch(&answers, since_us, host.index())
            .ok_or_else(|| late("a change of the answering host", self.limit()))?;
        let margin_us = (silence.length_us() / 2).clamp(60_000, SETTLE.as_micros() as u64);
        Ok(StepReport {
            name,
            owner: host.name().to_owned(),
            outage_us: silence.length_us(),
            beyond_deadtime_us: None,
            window_us: (silence.from_us.saturating_sub(margin_us), silence.until_us + margin_us),
        })
    }

    /// Waits until each set of resources is held by exactly one node, by the nodes' own word.
    fn settled(&self) -> Result<(), WorldError> {
        let end = Instant::now() + self.limit();
        loop {
            let mut held = Vec::new();
            for host in self.world.hosts() {
                held.push(host.run(&["/usr/bin/cl_status", "rscstatus"])?.stdout.trim().to_owned());
            }
            let held: Vec<&str> = held.iter().map(String::as_str).collect();
            if SETTLED.contains(&held.as_slice()) {
                return Ok(());
            }
            self.check_daemons()?;
            if Instant::now() >= end {
                let what = format!("agreement on who holds what (cl_status rscstatus says {held:?})");
                return Err(late(&what, self.limit()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs one of the commands that answer with 0 or a reason.
    fn command(&self, host: &Host, name: &str) -> Result<(), WorldError> {
        let output = host.command(name, &["all"])?;
        if output.code == Some(0) {
            return Ok(());
        }
        let said = format!("{}{}", output.stdout, output.stderr);
        let reason = format!("{name} ended with {:?}: {}", output.code, said.trim());
        Err(WorldError::Failed { host: host.name().to_owned(), reason })
    }
}

fn late(what: &str, limit: Duration) -> WorldError {
    WorldError::TooLate { what: what.to_owned(), limit_ms: limit.as_millis() as u64 }
}

fn cold_start(stage: &Stage) -> Result<StepReport, WorldError> {
    let began_us = now_us();
    for host in stage.world.hosts() {
        host.start_daemon()?;
    }
    let first = stage.node(0)?;
    let answers = stage.answered(first, began_us)?;
    stage.world.wait_owner(SERVICE_ADDRESS, first.name(), stage.limit())?;
    let answered_us = answers.first().map_or(began_us, |answer| answer.at_us);
    let report = StepReport {
        name: "cold start",
        owner: first.name().to_owned(),
        outage_us: answered_us.saturating_sub(began_us),
        beyond_deadtime_us: None,
        window_us: (began_us, answered_us + SETTLE.as_micros() as u64),
    };
    stage.settled()?;
    Ok(report)
}

fn crash(stage: &Stage) -> Result<StepReport, WorldError> {
    let crashed_us = stage.world.crash(stage.node(0)?.name())?;
    let mut report = stage.moved_to("crash", stage.node(1)?, crashed_us)?;
    report.beyond_deadtime_us = Some(report.outage_us.saturating_sub(stage.options.dead_time_ms * 1000));
    Ok(report)
}

fn come_back(stage: &Stage) -> Result<StepReport, WorldError> {
    let (returning, holder) = (stage.node(0)?, stage.node(1)?);
    let began_us = now_us();
    stage.world.boot(returning.name())?;
    returning.start_daemon()?;
    stage.settled()?;
    stage.world.wait_owner(SERVICE_ADDRESS, holder.name(), stage.limit())?;
    let until_us = now_us();
    let answers = stage.probe.wait_answer(holder, until_us, Duration::ZERO, stage.limit())?;
    let silence = longest_silence(&answers, began_us).map_or(0, |silence| silence.length_us());
    Ok(StepReport {
        name: "return",
        owner: holder.name().to_owned(),
        outage_us: silence,
        beyond_deadtime_us: None,
        window_us: (began_us, until_us),
    })
}

fn standby(stage: &Stage) -> Result<StepReport, WorldError> {
    let began_us = now_us();
    stage.command(stage.node(1)?, "hb_standby")?;
    let report = stage.moved_to("standby", stage.node(0)?, began_us)?;
    stage.settled()?;
    Ok(report)
}

fn takeover(stage: &Stage) -> Result<StepReport, WorldError> {
    let began_us = now_us();
    stage.command(stage.node(1)?, "hb_takeover")?;
    let report = stage.moved_to("takeover", stage.node(1)?, began_us)?;
    stage.settled()?;
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_in_ha_cf() {
        for (text, ms) in [("50ms", 50), ("2", 2000), ("2s", 2000), ("0ms", 0)] {
            assert_eq!(parse_time_ms(text), Ok(ms));
        }
        for text in ["", "ms", "-1", "1.5", "50 ms", "99999999999999999999", "18446744073709551615s"] {
            assert!(parse_time_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_that_cannot_work_are_refused() {
        let options = |keepalive_ms, dead_time_ms| Options {
            binary: PathBuf::new(),
            keepalive_ms,
            dead_time_ms,
            kind: HostKind::Ours,
            style: Style::Plain,
        };
        for (keepalive_ms, dead_time_ms, good) in
            [(50, 250, true), (10, 40, true), (0, 250, false), (200, 250, false), (1000, 9000, false)]
        {
            assert_eq!(check(&options(keepalive_ms, dead_time_ms)).is_ok(), good);
        }
    }
}
