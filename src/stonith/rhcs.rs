//! `rhcs/NAME`: Red Hat style programs `fence_NAME`, which read their options on standard input
//! (agents spec 3.5; that they give their meta-data for `-o metadata` was seen of the original).

use std::path::PathBuf;

use super::device::{words_of, Action, Code, Device, Failure, Values};
use super::plugin::{folders, names, request_failed, Program};
use crate::config::below_root;

/// The parameter that the program does not get: who is behind the device.
const HOSTS: &str = "hostlist";
/// What the original makes of every code but zero; a line of its own tells the program's.
const FAILED: i32 = -1;
/// Parameters that are ours to set.
const OURS: [&str; 4] = ["action", "option", "agent", "nodename"];
/// Parameters that are taken from a program's meta-data.
const PARAMETERS_MAX: usize = 200;

/// The programs in the plugins' own folder. Those in /usr/sbin work too and are not listed, as in the
/// original.
pub fn list() -> Vec<String> {
    names(&folders("rhcs"), "fence_")
}

fn places() -> Vec<PathBuf> {
    let mut places = folders("rhcs");
    places.extend(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(below_root));
    places
}

/// A program before it has values.
#[derive(Debug, Clone)]
pub struct Rhcs {
    name: String,
    program: Program,
}

impl Rhcs {
    /// The program of this name, whether or not there is one.
    pub fn new(name: &str) -> Self {
        let program = Program::find("rhcs", &places(), &format!("fence_{name}"));
        Self { name: name.to_owned(), program }
    }

    /// It would be run.
    pub fn is_usable(&self) -> bool {
        self.program.is_usable()
    }

    /// The program's own meta-data; `None` when it has none.
    pub fn meta_data(&self) -> Option<String> {
        let (code, text) = self.run(&["-o", "metadata"], "");
        if code != 0 {
            log::warn!(target: "CRIT", "load_metadata: '{} metadata' failed with rc {FAILED}", self.name);
            return None;
        }
        let data = text.contains("<resource-agent").then_some(text);
        if data.is_none() {
            log::warn!(target: "CRIT", "load_metadata: could not parse metadata");
        }
        data
    }

    /// What `-n` lists; `None` when the program cannot say: then it takes no values by position.
    pub fn parameters(&self) -> Option<Vec<String>> {
        self.meta_data().map(|text| parameter_names(&text))
    }

    /// Its code and output; a code that is no success is logged.
    fn run(&self, words: &[&str], input: &str) -> (i32, String) {
        let output = self.program.run(words, &[], input, false);
        if (1..128).contains(&output.code) {
            log::warn!(target: "CRIT", "rhcs_run_cmd: fence agent exit code: {}", output.code);
        }
        (output.code, output.text)
    }

    /// A device with these values.
    ///
    /// # Errors
    /// A value holds a line end, which would be an option of its own.
    pub fn configure(&self, values: &Values) -> Result<Box<dyn Device>, Failure> {
        let broken = |text: &str| text.contains(['\n', '\0']);
        if values.pairs().iter().any(|(name, value)| broken(name) || broken(value)) {
            return Err(Failure::report(Code::INVALID, "a parameter holds a line end"));
        }
        let hosts = values.get(HOSTS).map(words_of).unwrap_or_default();
        Ok(Box::new(Configured { program: self.clone(), values: values.clone(), hosts }))
    }
}

/// Names of `<parameter name="…">`, without those that are set here. Text that is no meta-data has none.
fn parameter_names(text: &str) -> Vec<String> {
    let tags = text.split("<parameter ").skip(1).take(PARAMETERS_MAX);
    let name = |tag: &str| {
        let tag = tag.split('>').next()?;
        let value = tag.split_once("name=")?.1;
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let name = value.get(1..)?.split(quote).next()?;
        (!name.is_empty() && !OURS.contains(&name)).then(|| name.to_owned())
    };
    tags.filter_map(name).collect()
}

/// The text between two tags of the meta-data.
pub fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let inner = text.split_once(&format!("<{name}"))?.1.split_once('>')?.1;
    inner.split_once(&format!("</{name}>")).map(|(inner, _)| inner)
}

struct Configured {
    program: Rhcs,
    values: Values,
    hosts: Vec<String>,
}

impl Configured {
    /// Runs it with `action=…`; the values go through standard input, where no process list shows them.
    fn call(&self, action: &str, host: Option<&str>) -> (i32, String) {
        let mut input = format!("agent={}\naction={action}\n", self.program.name);
        if let Some(host) = host {
            input.push_str(&format!("nodename={host}\n"));
        }
        for (name, value) in self.values.pairs().iter().filter(|(name, _)| name != HOSTS) {
            input.push_str(&format!("{name}={value}\n"));
        }
        self.program.run(&[], &input)
    }
}

impl Device for Configured {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        if self.hosts.is_empty() {
            return Err(Failure::report(Code::OTHER, format!("{}: no {HOSTS} is given", self.program.name)));
        }
        Ok(self.hosts.clone())
    }

    fn status(&mut self) -> Result<(), Failure> {
        let (code, _) = self.call("monitor", None);
        if code == 0 {
            return Ok(());
        }
        let text = format!("rhcs_status: '{} monitor' failed with rc {FAILED}", self.program.name);
        log::warn!(target: "CRIT", "{text}");
        Err(Failure::silent(Code::NO_LIST, format!("{text} (it ended with {code})")))
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        log::debug!("Host rhcs-reset initiating on {host}");
        let word = match action {
            Action::Reset => "reboot",
            Action::On => "on",
            Action::Off => "off",
        };
        super::answer::begun();
        let (code, text) = self.call(word, Some(host));
        for line in text.lines() {
            log::info!("plugin output: {line}");
        }
        if code == 0 {
            return Ok(());
        }
        Err(request_failed("rhcs_reset_req", &format!("{} {word}", self.program.name), host, code, FAILED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_meta_data() {
        let text = "<x><parameter name=\"action\" a=\"1\"><parameter unique='0' name='ipaddr'>\
                    <parameter nothing><parameter name=><parameter name=\"p";
        assert_eq!(parameter_names(text), ["ipaddr", "p"]);
        assert!(parameter_names("junk").is_empty());
        assert_eq!(element("<a><longdesc lang=\"en\">text</longdesc>", "longdesc"), Some("text"));
        assert_eq!(element("<longdesc", "longdesc"), None);
    }
}
