//! A run as a table a person reads: one row per event, one column per host.
//!
//! ```text
//!     time  node1              node2              event
//!     1203  up  1* 2. local    up  1. 2* local    1 > ask_resources all me
//! ```
//!
//! State of a host: `off` no power, `---` no daemon, `zzz` paused, `up` running. Each group:
//! `.` idle, `+` starting, `*` active, `-` stopping. Then what `rscstatus` would answer.

use std::fmt::Write;

use ha_core::cluster::event::Output;
use ha_core::types::LogLevel;
use ha_core::wire::message::Message;

use crate::group_state;
use crate::host::Host;

/// Rows kept at most; older ones go.
const ROWS_MAX: usize = 4_000;

/// The rows so far.
pub struct Table {
    rows: std::collections::VecDeque<String>,
    enabled: bool,
    /// `HA_SIM_VERBOSE`: beats and acknowledgements too, with their fields.
    verbose: bool,
}

impl Table {
    /// An empty table; a disabled one keeps nothing.
    pub fn new(enabled: bool) -> Self {
        let verbose = std::env::var_os("HA_SIM_VERBOSE").is_some();
        Self { rows: std::collections::VecDeque::new(), enabled, verbose }
    }

    /// Adds a row; the text is made only when rows are kept.
    pub fn row(&mut self, now_ms: u64, hosts: &[Host], event: impl FnOnce() -> String) {
        if !self.enabled {
            return;
        }
        let mut row = format!("{now_ms:>9}  ");
        for host in hosts {
            let _ = write!(row, "{:<22}", cell(host, now_ms));
        }
        row.push_str(&event());
        if self.rows.len() == ROWS_MAX {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
    }

    /// Adds a row for what a daemon wants done, unless it is a mere beat.
    pub fn output(&mut self, now_ms: u64, host: usize, hosts: &[Host], output: &Output) {
        let node = host + 1;
        match output {
            Output::Send { message, .. } => {
                let word = |name| message.text(name).unwrap_or("-").to_owned();
                match message.kind() {
                    "status" | "NS_ackmsg" | "NS_rexmit" => {
                        if self.verbose {
                            self.row(now_ms, hosts, || format!("{node} > {}", fields(message)));
                        }
                    }
                    "resource" => self.row(now_ms, hosts, || {
                        let (hold, stable, info) = (word("rsc_hold"), word("isstable"), word("info"));
                        format!("{node} > resource {hold} stable={stable} {info}")
                    }),
                    kind => self.row(now_ms, hosts, || {
                        format!("{node} > {kind} {} {}", word("rsc_hold"), word("info"))
                    }),
                }
            }
            Output::RunJob { job, work, .. } => {
                self.row(now_ms, hosts, || format!("{node} job {} begins: {work:?}", job.0));
            }
            Output::Log { level, text } if *level <= LogLevel::Info => {
                self.row(now_ms, hosts, || format!("{node} {}: {text}", level.as_str()));
            }
            Output::Alarm(alarm) => self.row(now_ms, hosts, || format!("{node} {alarm}")),
            Output::Reply { answer, .. } => self.row(now_ms, hosts, || format!("{node} answers {answer:?}")),
            Output::Exit(reason) => self.row(now_ms, hosts, || format!("{node} exit {reason:?}")),
            _ => {}
        }
    }

    /// The last rows, with a heading.
    pub fn print(&self, rows: usize) -> String {
        let skipped = self.rows.len().saturating_sub(rows);
        let mut text = format!("{:>9}  {:<22}{:<22}event\n", "ms", "node1", "node2");
        if skipped > 0 {
            let _ = writeln!(text, "… {skipped} earlier rows");
        }
        for row in self.rows.iter().skip(skipped) {
            text.push_str(row);
            text.push('\n');
        }
        text
    }
}

/// The fields that differ from beat to beat, in short.
fn fields(message: &Message) -> String {
    let dull = ["src", "ts", "ld", "ttl", "protocol", "dt", "hadigest", "dest"];
    let mut text = String::new();
    for field in message.fields().iter().filter(|field| !dull.contains(&field.name.as_str())) {
        if let Some(value) = message.text(&field.name) {
            let _ = write!(text, "{}={value} ", field.name);
        }
    }
    text
}

fn cell(host: &Host, now_ms: u64) -> String {
    let says = host.daemon.as_ref().map(|daemon| daemon.cluster.view(host.clock(now_ms)).resource_status);
    group_state::cell(host.powered, host.paused_since_ms.is_some(), &host.kernel.groups, says.as_deref())
}
