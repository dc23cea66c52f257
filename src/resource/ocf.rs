//! OCF agents: `ocf:PROVIDER:TYPE` in haresources, and `OCF::TYPE::INSTANCE`, the original's wrapper
//! (agents spec 2.8).
//!
//! ```text
//! ocf:heartbeat:Dummy::state=/run/x   OCF_RESKEY_state=/run/x   ─┐
//! ocf:heartbeat:Dummy::INSTANCE       conf/OCF/Dummy/INSTANCE   ─┼─▶ OCF_ROOT/resource.d/*/Dummy ACTION
//! OCF::Dummy::INSTANCE                conf/OCF/Dummy/INSTANCE   ─┘   else the built-in agent
//! ```
//!
//! What differs from the original's wrapper, on purpose: it finds agents on a stock installation, gives
//! them their instance name, asks an agent that has no `status` for `monitor`, and needs no file of
//! settings for a built-in or any other agent that has no parameters to set.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::script_class::ocf_directory;
use crate::sys::print;

use super::command::{Finished, Program, RunError};
use super::heartbeat_class::Report;
use super::script::{is_executable_file, is_this_binary, Environment};
use super::{Agent, Call, Context, ExitCode, Parameter, WrongArguments};

/// The wrapper.
pub const OCF: Agent = Agent {
    name: "OCF",
    summary: "Runs an OCF resource agent",
    description: "Runs an OCF agent with the parameters of a file in /etc/ha.d/conf/OCF.",
    usage: USAGE,
    usage_to_stderr: true,
    parameters: &[
        Parameter::string("type", "Type", "Name of the agent.").required(),
        Parameter::string("instance", "Instance", "Name of the file with its parameters.").required(),
    ],
    from_arguments: |arguments| match arguments {
        [kind, instance] => Ok(Call::new(*instance).with("type", kind).with("instance", instance)),
        _ => Err(WrongArguments::silent()),
    },
    run: |_, _| ExitCode::Unimplemented,
    class_operate: Some(operate),
    ..Agent::BASE
};

const USAGE: &str = "usage: $0 OCF-resource-name OCF-instance-name operation-name\n\n\
The first is an OCF agent, looked for in $OCF_AGENTS, its folders and those of $OCF_ROOT/resource.d.\n\
The second is a file in $HA_DIR/conf/OCF/OCF-resource-name with lines OCF_RESKEY_name=value.\n\
The operation is start, stop, status, monitor or another one of the agent.\n";

/// Longest name of an instance that is made of parameters.
const INSTANCE_MAX_BYTES: usize = 120;
/// Reads the settings as a shell does, gives all of them to the agent and becomes it.
const WITH_SETTINGS: &str = "set -a; . \"$1\" || exit 6; set +a; shift; exec \"$@\"";

/// An OCF agent with what it needs to run.
#[derive(Debug, Clone)]
pub struct OcfResource {
    /// The agent's file, or for a built-in agent where it would be.
    pub path: PathBuf,
    instance: String,
    kind: String,
    provider: String,
    settings: Option<PathBuf>,
    parameters: Vec<(String, String)>,
    built_in: bool,
}

impl OcfResource {
    /// `None` when there is no such agent. Arguments are `name=value`, or one instance name.
    pub fn find(provider: &str, kind: &str, arguments: &[&str], ha_dir: &Path) -> Option<Self> {
        let path = ocf_directory().join(provider).join(kind);
        let file = is_executable_file(&path) && !is_this_binary(&path);
        let known = file || (provider == "heartbeat" && is_built_in(kind));
        if !known {
            return None;
        }
        let pairs = arguments.iter().filter_map(|argument| argument.split_once('='));
        let parameters: Vec<(String, String)> =
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let named = arguments.iter().find(|argument| !argument.contains('='));
        let instance = named.map_or_else(|| instance_of(kind, &parameters), |name| (*name).to_owned());
        let settings = named.and_then(|name| settings_file(ha_dir, kind, name));
        let (kind, provider) = (kind.to_owned(), provider.to_owned());
        Some(Self { path, instance, kind, provider, settings, parameters, built_in: !file })
    }

    /// Program and arguments in front of the action.
    fn words(&self) -> Vec<String> {
        let agent = match self.built_in {
            true => vec!["/proc/self/exe".to_owned(), self.kind.clone()],
            false => vec![self.path.display().to_string()],
        };
        match &self.settings {
            // The shell's own /proc/self/exe is the shell.
            Some(file) => {
                let mut words = ["/bin/sh", "-c", WITH_SETTINGS, "sh"].map(str::to_owned).to_vec();
                words.push(file.display().to_string());
                match std::env::current_exe() {
                    Ok(own) if self.built_in => words.extend([own.display().to_string(), self.kind.clone()]),
                    _ => words.extend(agent),
                }
                words
            }
            None => agent,
        }
    }

    fn variables(&self) -> Vec<(String, String)> {
        let root = ocf_directory().parent().map_or(String::new(), |root| root.display().to_string());
        let fixed = [
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "0"),
            ("OCF_ROOT", root.as_str()),
            ("OCF_RESOURCE_INSTANCE", &self.instance),
            ("OCF_RESOURCE_TYPE", &self.kind),
            ("OCF_RESOURCE_PROVIDER", &self.provider),
        ];
        let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let given = self.parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone()));
        fixed.chain(given).collect()
    }

    /// Runs an action as scripts are run; the value is its exit code.
    pub fn run(&self, environment: &Environment, action: &str, output: Option<&PathBuf>) -> io::Result<u8> {
        let words = self.words();
        let arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        environment.with(self.variables()).run(Path::new(&words[0]), &arguments, action, output)
    }

    /// Runs an action with its output captured.
    fn captured(&self, action: &str, more: Option<(&str, &str)>) -> Result<Finished, RunError> {
        let words = self.words();
        let mut program = Program::new(&words[0]).args(&words[1..]).args([action]);
        for (name, value) in Environment::from_process().variables() {
            program = program.env(name, value);
        }
        for (name, value) in &self.variables() {
            program = program.env(name, value);
        }
        more.into_iter().fold(program, |program, (name, value)| program.env(name, value)).run()
    }
}

/// Different parameters give different names, made of what a file's name can hold.
fn instance_of(kind: &str, parameters: &[(String, String)]) -> String {
    let mut name = kind.to_owned();
    for (_, value) in parameters {
        name.push('_');
        name.extend(
            value.chars().map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' }),
        );
    }
    if name.len() > INSTANCE_MAX_BYTES {
        let text: String = parameters.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        name = format!("{kind}_{hash:016x}");
    }
    name
}

/// An agent of ours that has an OCF form.
fn is_built_in(kind: &str) -> bool {
    super::agent(kind).is_some_and(|agent| agent.class_operate.is_none())
}

fn settings_file(ha_dir: &Path, kind: &str, instance: &str) -> Option<PathBuf> {
    let plain = |name: &str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
    let file = ha_dir.join("conf/OCF").join(kind).join(instance);
    (plain(kind) && plain(instance) && file.is_file()).then_some(file)
}

/// Where the wrapper finds an agent: what `OCF_AGENTS` names, its folders as the original does, then the
/// folders of all providers, heartbeat's first.
fn search(kind: &str) -> Option<PathBuf> {
    if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
        return None;
    }
    let agents = std::env::var("OCF_AGENTS").ok().filter(|path| !path.is_empty()).map(PathBuf::from);
    let mut folders = vec![];
    for directory in agents.into_iter().chain([ocf_directory().join("heartbeat"), ocf_directory()]) {
        let mut below: Vec<PathBuf> = std::fs::read_dir(&directory)
            .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
            .unwrap_or_default();
        below.sort();
        folders.push(directory);
        folders.extend(below);
    }
    let paths = folders.into_iter().map(|folder| folder.join(kind));
    paths.into_iter().find(|path| is_executable_file(path) && !is_this_binary(path))
}

/// `OCF TYPE INSTANCE OPERATION`.
fn operate(context: &Context, operation: &str) -> Report {
    let (kind, instance) = (context.value("type"), context.value("instance"));
    let ha_dir = Environment::from_process().ha_dir();
    let file = search(kind);
    let settings = settings_file(&ha_dir, kind, instance);
    let built_in = file.is_none() && is_built_in(kind);
    if (file.is_none() && !built_in) || settings.is_none() {
        let missing = match settings {
            None => {
                format!("there is no file {}", ha_dir.join("conf/OCF").join(kind).join(instance).display())
            }
            Some(_) => format!("there is no OCF agent {kind}"),
        };
        context.log.error(&format!("OCF::{kind}::{instance}: {missing}; nothing was done"));
        if context.print {
            print::error_line(&context.agent.usage_text("OCF"));
        }
        return Report { code: 1, line: String::new() };
    }
    let path = file.unwrap_or_else(|| ocf_directory().join("heartbeat").join(kind));
    let provider = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let resource = OcfResource {
        path,
        instance: instance.to_owned(),
        kind: kind.to_owned(),
        provider: provider.unwrap_or_default(),
        settings,
        parameters: Vec::new(),
        built_in,
    };
    match operation {
        "status" => status(context, &resource),
        "monitor" => passed_on(context, resource.captured("status", Some(("OCF_STATUS_QOS", "10")))),
        other => passed_on(context, resource.captured(other, None)),
    }
}

fn status(context: &Context, resource: &OcfResource) -> Report {
    let mut result = resource.captured("status", Some(("OCF_STATUS_QOS", "0")));
    if result.as_ref().is_ok_and(|finished| finished.code == ExitCode::Unimplemented.number()) {
        result = resource.captured("monitor", None);
    }
    let finished = match result {
        Ok(finished) => finished,
        Err(error) => return failed(context, &error),
    };
    let output = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    if !output.is_empty() {
        context.log.line(&format!("info: {output}"));
    }
    let name = format!("OCF Resource {}::{}", resource.kind, resource.instance);
    let says_so = output.contains("OK") || output.contains("running");
    let line = match (finished.code, says_so) {
        (0, true) => output,
        (0, false) => format!("{name} is running"),
        (_, true) => format!("{name} is stopped"),
        (_, false) => output,
    };
    Report { code: finished.code, line }
}

/// What the agent says is what the wrapper says.
fn passed_on(context: &Context, result: Result<Finished, RunError>) -> Report {
    match result {
        Ok(finished) => {
            if !finished.stderr.trim_end().is_empty() {
                print::error_line(finished.stderr.trim_end());
            }
            Report { code: finished.code, line: finished.stdout.trim_end().to_owned() }
        }
        Err(error) => failed(context, &error),
    }
}

fn failed(context: &Context, error: &RunError) -> Report {
    context.log.error(&error.to_string());
    Report { code: 1, line: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_names_of_files() {
        let pairs = |text: &str| {
            let pairs = text.split(' ').filter_map(|word| word.split_once('='));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(instance_of("Dummy", &[]), "Dummy");
        assert_eq!(instance_of("Dummy", &pairs("state=/run/x y=2")), "Dummy__run_x_2");
        let long = instance_of("Dummy", &pairs(&format!("state=/{}", "é".repeat(3000))));
        assert!(long.len() <= INSTANCE_MAX_BYTES && long.starts_with("Dummy_"), "{long}");
    }

    #[test]
    fn settings_are_files_of_their_folder() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("conf/OCF/Dummy")).unwrap();
        std::fs::write(directory.path().join("conf/OCF/Dummy/one"), "").unwrap();
        assert!(settings_file(directory.path(), "Dummy", "one").is_some());
        for (kind, instance) in
            [("Dummy", "two"), ("..", "one"), ("Dummy", "../Dummy/one"), ("", ""), ("x", "")]
        {
            assert!(settings_file(directory.path(), kind, instance).is_none(), "{kind} {instance}");
        }
        assert!(search("../heartbeat/Dummy").is_none() && search("").is_none());
    }
}
