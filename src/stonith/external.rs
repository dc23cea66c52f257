//! `external/NAME`: programs in the plugins' folder, by cluster-glue's contract (agents spec 3.6).

use super::device::{Action, Code, Device, Failure, Values};
use super::plugin::{folders, names, request_failed, Program};

/// Folder of cluster-glue's shell tools, where plugins find `ha_log.sh`.
const TOOLS: &str = "/usr/share/cluster-glue";

/// The plugins there are.
pub fn list() -> Vec<String> {
    names(&folders("external"), "")
}

/// A plugin before it has values.
#[derive(Debug, Clone)]
pub struct External {
    name: String,
    program: Program,
}

impl External {
    /// The plugin of this name, whether or not there is one.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), program: Program::find("external", &folders("external"), name) }
    }

    /// It would be run.
    pub fn is_usable(&self) -> bool {
        self.program.is_usable()
    }

    /// What `-n` lists; `None` when the plugin cannot say: then it takes no values at all.
    pub fn parameters(&self) -> Option<Vec<String>> {
        let output = self.call(&["getconfignames"], &[], false);
        if output.0 != 0 {
            let text = format!(
                "external_get_confignames: '{} getconfignames' failed with rc {}",
                self.name, output.0
            );
            log::warn!(target: "CRIT", "{text}");
            return None;
        }
        Some(output.1.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// The text of a `getinfo-…` verb; `None` when the plugin fails.
    pub fn information(&self, verb: &str) -> Option<String> {
        let (code, text) = self.call(&[verb], &[], false);
        if code != 0 {
            let text = format!("external_getinfo: '{} {verb}' failed with rc {code}", self.name);
            log::warn!(target: "CRIT", "{text}");
        }
        (code == 0).then_some(text)
    }

    /// A device with these values. What the plugin does not name is passed on too, what is missing is
    /// its own matter.
    pub fn configure(&self, values: &Values) -> Result<Box<dyn Device>, Failure> {
        Ok(Box::new(Configured { plugin: self.clone(), variables: values.pairs().to_vec() }))
    }

    fn call(&self, words: &[&str], variables: &[(String, String)], log_output: bool) -> (i32, String) {
        let mut variables = variables.to_vec();
        // A parameter of that name is the plugin's path.
        let own = variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
        let path = own.unwrap_or_else(|| std::env::var("PATH").unwrap_or_default());
        if path.split(':').next() != Some(TOOLS) {
            variables.push(("PATH".into(), format!("{TOOLS}:{path}")));
        }
        variables.push(("HA_LOGTAG".into(), format!("external/{}", self.name)));
        let output = self.program.run(words, &variables, "", log_output);
        (output.code, output.text)
    }
}

struct Configured {
    plugin: External,
    variables: Vec<(String, String)>,
}

impl Device for Configured {
    fn hosts(&mut self) -> Result<Vec<String>, Failure> {
        let name = &self.plugin.name;
        let (code, text) = self.plugin.call(&["gethosts"], &self.variables, false);
        if code != 0 {
            let text = format!("external_hostlist: '{name} gethosts' failed with rc {code}");
            return Err(Failure::report(Code::OTHER, text));
        }
        let hosts: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
        if hosts.is_empty() {
            let text = format!("external_hostlist: '{name} gethosts' returned an empty hostlist");
            return Err(Failure::report(Code::OTHER, text));
        }
        Ok(hosts)
    }

    fn status(&mut self) -> Result<(), Failure> {
        let (code, _) = self.plugin.call(&["status"], &self.variables, true);
        if code == 0 {
            return Ok(());
        }
        let text = format!("external_status: '{} status' failed with rc {code}", self.plugin.name);
        log::warn!("{text}");
        // As the original: what the plugin says becomes the program's own exit code.
        Err(Failure::silent(Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)), text))
    }

    fn request(&mut self, action: Action, host: &str) -> Result<(), Failure> {
        let name = &self.plugin.name;
        log::debug!("Host external-reset initiating on {host}");
        super::answer::begun();
        let (code, _) = self.plugin.call(&[action.as_str(), host], &self.variables, true);
        if code == 0 {
            return Ok(());
        }
        Err(request_failed("external_reset_req", &format!("{name} {}", action.as_str()), host, code, code))
    }
}
