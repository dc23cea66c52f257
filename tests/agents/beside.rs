//! Ours beside Debian's: both agents are called with the same arguments, each in a directory of its own,
//! one after the other in the same namespaces, and must give the same exit code, the same lines and the
//! same state.
//!
//! ```text
//!            Steps            ┌─ Debian's: /etc/ha.d/resource.d/NAME  or  OCF_ROOT/.../NAME ─▶ Seen ┐
//!   (arguments, parameters) ──┤                                                                     ├─ equal?
//!                             └─ ours:     ha NAME                                           ─▶ Seen ┘
//! ```
//!
//! What differs on purpose is a [`Difference`] with its reason, on the lines that it names; a difference
//! that no step showed fails the test, so the list can only hold what is true.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::skip;

/// Where Debian's packages heartbeat and resource-agents have them.
const SCRIPTS: &str = "/etc/ha.d/resource.d";
const OCF_AGENTS: &str = "/usr/lib/ocf/resource.d/heartbeat";

/// Whose agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Debian,
    Ours,
}

/// A difference that is on purpose.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// Its name, as in the agent's page.
    pub name: &'static str,
    /// Why.
    pub why: &'static str,
    /// A line, exit code (`exit 6`) or state line of Debian's that holds this text ...
    pub debian: &'static str,
    /// ... stands for one of ours that holds this. Empty: for none.
    pub ours: &'static str,
}

/// Both agents, with directories for what they write.
pub struct Beside {
    pub name: &'static str,
    pub directory: tempfile::TempDir,
    /// More variables for both.
    pub environment: Vec<(String, String)>,
    differences: &'static [Difference],
    met: RefCell<BTreeSet<&'static str>>,
}

/// What one call showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    /// Log lines without tag and date.
    pub log: Vec<String>,
}

/// How an agent is called.
#[derive(Debug, Clone, Copy)]
pub enum Form<'a> {
    /// Positional arguments, the operation last.
    Class(&'a [&'a str]),
    /// One action, parameters by name.
    Ocf(&'a str, &'a [(&'a str, &'a str)]),
}

impl Beside {
    /// `None`, with the reason printed, where Debian's agent is not installed.
    pub fn new(name: &'static str, differences: &'static [Difference]) -> Option<Self> {
        for path in [format!("{OCF_AGENTS}/{name}"), format!("{SCRIPTS}/{name}")] {
            if !Path::new(&path).exists() {
                skip::skip_without_privilege(&format!("there is no {path} to compare with"));
                return None;
            }
        }
        let directory = tempfile::tempdir().unwrap();
        for whose in [Whose::Debian, Whose::Ours] {
            for folder in ["state", "run"] {
                fs::create_dir_all(place(directory.path(), whose).join(folder)).unwrap();
            }
        }
        let met = RefCell::default();
        Some(Self { name, directory, environment: Vec::new(), differences, met })
    }

    /// The directory of one of the two, with `state` (HA_RSCTMP), `run` (HA_VARRUN) and `log` in it.
    pub fn place(&self, whose: Whose) -> PathBuf {
        place(self.directory.path(), whose)
    }

    /// The files that one of the two has in its directories for state.
    pub fn state_files(&self, whose: Whose) -> Vec<String> {
        let folders = ["state", "run"].map(|folder| self.place(whose).join(folder));
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The command of one of the two, ready to be changed or run.
    pub fn command(&self, whose: Whose, form: Form<'_>) -> Command {
        let own = PathBuf::from(env!("CARGO_BIN_EXE_ha"));
        let (program, first) = match (whose, form) {
            (Whose::Debian, Form::Class(_)) => (Path::new(SCRIPTS).join(self.name), None),
            (Whose::Debian, Form::Ocf(..)) => (Path::new(OCF_AGENTS).join(self.name), None),
            (Whose::Ours, _) => (own, Some(self.name)),
        };
        let mut command = Command::new(program);
        command.args(first).stdin(Stdio::null());
        for name in ["HA_LOGFACILITY", "HA_LOGTAG", "HA_RESOURCEDIR", "HA_LOGD", "OCF_RESOURCE_INSTANCE"] {
            command.env_remove(name);
        }
        let place = self.place(whose);
        command.env("HA_RSCTMP", place.join("state")).env("HA_LOGFILE", place.join("log"));
        command.env("HA_DEBUGLOG", place.join("log")).env("HA_VARRUN", place.join("run"));
        command.env("OCF_ROOT", "/usr/lib/ocf");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        match form {
            Form::Class(arguments) => command.args(arguments),
            Form::Ocf(action, parameters) => {
                let named = parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value));
                command.arg(action).env("OCF_RESOURCE_INSTANCE", "test").envs(named)
            }
        };
        command
    }

    /// Calls one of the two.
    pub fn run(&self, whose: Whose, form: Form<'_>) -> Seen {
        let log = self.place(whose).join("log");
        let _ = fs::remove_file(&log);
        // Into files: what an agent leaves in the background holds its output open.
        let files = ["stdout", "stderr"].map(|name| self.place(whose).join(name));
        let [stdout, stderr] = files.each_ref().map(|path| fs::File::create(path).unwrap());
        let status = self.command(whose, form).stdout(stdout).stderr(stderr).status().unwrap();
        let [stdout, stderr] =
            files.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned());
        let place = self.place(whose).display().to_string();
        let paths = [
            (format!("{SCRIPTS}/{}", self.name), self.name),
            (format!("{OCF_AGENTS}/{}", self.name), self.name),
            (place, "PLACE"),
        ];
        let lines = |text: &str| -> Vec<String> {
            let replaced = |line: &str| {
                paths.iter().fold(line.trim_end().to_owned(), |line, (path, short)| line.replace(path, short))
            };
            text.lines().map(replaced).collect()
        };
        let log = fs::read_to_string(log).unwrap_or_default();
        Seen {
            code: status.code(),
            stdout: lines(&stdout),
            stderr: lines(&stderr),
            log: lines(&log).iter().map(|line| without_tag(line).to_owned()).collect(),
        }
    }

    /// Calls both, compares what they showed and the `state` of the world after each, and gives back
    /// Debian's exit code.
    ///
    /// # Panics
    /// When they differ in anything that no [`Difference`] names.
    pub fn same(&self, form: Form<'_>, state: impl Fn(Whose) -> Vec<String>) -> Option<i32> {
        let (mut both, mut code) = (Vec::new(), None);
        for whose in [Whose::Debian, Whose::Ours] {
            let seen = self.run(whose, form);
            let mut lines = vec![format!("exit {:?}", seen.code.unwrap_or(-1))];
            for (from, texts) in
                [("out", &seen.stdout), ("err", &seen.stderr), ("log", &seen.log), ("state", &state(whose))]
            {
                lines.extend(texts.iter().map(|text| format!("{from}: {text}").trim_end().to_owned()));
            }
            code = if whose == Whose::Debian { seen.code } else { code };
            both.push(lines);
        }
        let (ours, debian) = (both.pop().unwrap(), both.pop().unwrap());
        let (mut rest_of_ours, mut rest_of_debian) = (ours.clone(), debian.clone());
        remove_common(&mut rest_of_debian, &mut rest_of_ours);
        for difference in self.differences {
            let of_debian = position(&rest_of_debian, difference.debian);
            let of_ours = position(&rest_of_ours, difference.ours);
            if of_debian.is_some() != difference.debian.is_empty()
                && of_ours.is_some() != difference.ours.is_empty()
            {
                of_debian.map(|at| rest_of_debian.remove(at));
                of_ours.map(|at| rest_of_ours.remove(at));
                self.met.borrow_mut().insert(difference.name);
            }
        }
        assert!(
            rest_of_debian.is_empty() && rest_of_ours.is_empty(),
            "{} {form:?}\nonly Debian's: {rest_of_debian:#?}\nonly ours: {rest_of_ours:#?}\nall of Debian's: \
             {debian:#?}\nall of ours: {ours:#?}",
            self.name
        );
        code
    }

    /// These depend on how fast the machine is, and need not be seen.
    pub fn seldom(&self, names: &[&'static str]) {
        self.met.borrow_mut().extend(names);
    }

    /// The same without a state to compare.
    pub fn same_lines(&self, form: Form<'_>) -> Option<i32> {
        self.same(form, |_| Vec::new())
    }
}

impl Drop for Beside {
    /// Every difference on the list was seen: a row without one is none.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let met = self.met.borrow();
        let names = self.differences.iter().map(|difference| difference.name);
        let unseen: Vec<&str> = names.filter(|name| !met.contains(name)).collect();
        assert!(unseen.is_empty(), "{}: these differences were not seen: {unseen:?}", self.name);
        assert!(self.differences.iter().all(|difference| !difference.why.is_empty()));
    }
}

fn place(directory: &Path, whose: Whose) -> PathBuf {
    directory.join(format!("{whose:?}").to_lowercase())
}

/// The text of a log line of either style: `TAG:<TAB>DATE TEXT` and `DATE  TAG:    TEXT`.
fn without_tag(line: &str) -> &str {
    match line.split_once(":\t") {
        Some((_, rest)) => rest.split_once(' ').map_or(rest, |(_, text)| text),
        None => line.split_once(":    ").map_or(line, |(_, text)| text),
    }
    .trim_start()
}

/// Takes out of both what both have, in whatever order: lines of log and error streams of a shell script
/// come in an order of their own.
fn remove_common(one: &mut Vec<String>, other: &mut Vec<String>) {
    one.retain(|line| match other.iter().position(|own| own == line) {
        Some(at) => {
            other.remove(at);
            false
        }
        None => true,
    });
}

fn position(lines: &[String], part: &str) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    lines.iter().position(|line| line.contains(part))
}

/// Debian's ocf-tester accepts the meta-data of every agent (`xmllint` with its description of the
/// format).
#[test]
fn meta_data_fit_their_description() {
    const DESCRIPTION: &str = "/usr/share/resource-agents/ra-api-1.dtd";
    if !Path::new(DESCRIPTION).exists() || Command::new("xmllint").arg("--version").output().is_err() {
        return skip::skip_without_privilege("resource-agents or xmllint is not installed");
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ha_core::resource::AGENT_NAMES {
        let output = Command::new(env!("CARGO_BIN_EXE_ha")).args([name, "meta-data"]).output().unwrap();
        assert!(output.status.success(), "{name}");
        let file = directory.path().join(name);
        fs::write(&file, output.stdout).unwrap();
        let checked =
            Command::new("xmllint").args(["--noout", "--dtdvalid", DESCRIPTION]).arg(file).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}
