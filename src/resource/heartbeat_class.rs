//! The heartbeat class of resource scripts: `script arguments operation`, one result line
//! (agents spec 2.1), and the OCF class: one action, parameters in the environment.

use crate::sys::print;

use super::{meta_data, Action, Agent, Call, Context, ExitCode, Parameters, WrongArguments};

/// Ends every usage line.
pub const OPERATIONS: &str = "(start|stop|status|usage|meta-data)";
/// How the wrapper's own lines are tagged: the path of the agent that it runs, double slash and
/// all.
pub(super) const AGENT_DIRECTORY: &str = "/usr/lib/ocf/resource.d//heartbeat/";
/// In the path of an agent that is called as one of the OCF class.
const OCF_PATH: &str = "/ocf/resource.d/";

/// What the heartbeat class reports of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Exit code of the script.
    pub code: u8,
    /// Its result line, or lines, also logged. The original's status rule is applied to it.
    pub line: String,
}

/// The program of an agent, whatever way it is called. `words` are the arguments; the value is the
/// exit code.
pub fn program(agent: &'static Agent, called_as: &str, words: &[String]) -> u8 {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if called_as.contains(OCF_PATH) || words.as_slice() == ["meta-data"] {
        return ocf_program(agent, called_as, &words);
    }
    // With parameters in the environment, one word alone is a call of the OCF class.
    if words.len() == 1 && called_by_ocf() {
        return ocf_program(agent, called_as, &words);
    }
    class_program(agent, called_as, &words)
}

fn class_program(agent: &'static Agent, called_as: &str, words: &[&str]) -> u8 {
    let usage = || {
        let text = agent.usage_text(called_as);
        if agent.usage_to_stderr {
            print::error_line(&text);
        } else {
            print::line(&text);
        }
    };
    // Without any word the script sees an empty operation and no arguments.
    let (operation, arguments) = words.split_last().map_or(("", &[][..]), |(last, rest)| (*last, rest));
    let call = match (agent.from_arguments)(arguments) {
        Ok(call) if !words.is_empty() => call,
        Ok(_) => {
            usage();
            return 1;
        }
        Err(WrongArguments { said }) => {
            if !said.is_empty() {
                print::line(&said);
            }
            usage();
            return 1;
        }
    };
    if operation == "meta-data" {
        return ocf_program(agent, called_as, &["meta-data"]);
    }
    let mut context = Context::new(agent, call);
    // What the environment has and the arguments do not say reaches the agent through the original's
    // wrapper as well.
    context.parameters.complete(Parameters::from_environment(agent));
    let refused = |text: &str| {
        context.log.line(text);
        print::line(text);
        usage();
        1
    };
    match operation {
        _ if agent.class_operate.is_some() => finish(&operate(&context, operation)),
        "monitor" if agent.class_monitor.is_some() => agent.class_monitor.map_or(1, |ask| ask(&context)),
        "usage" | "help" => {
            usage();
            if agent.usage_code == 0 {
                print::line(&log_result(&context, 0, false));
            }
            agent.usage_code
        }
        "" => refused("ERROR: No action specfied."),
        known if agent.action(known).is_some() => finish(&operate(&context, known)),
        unknown => refused(&format!("ERROR: Unknown operation: {unknown}")),
    }
}

fn finish(report: &Report) -> u8 {
    if !report.line.is_empty() {
        print::line(&report.line);
    }
    report.code
}

/// Runs an operation and logs the result line; `status` is the agent's monitor, as in the original.
/// `restart` and `validate-all`, which the original's wrapper does not know, are the agent's.
pub fn operate(context: &Context, operation: &str) -> Report {
    let agent = context.agent;
    if let Some(own) = agent.class_operate {
        return own(context, operation);
    }
    let (action, asks) = match operation {
        "status" | "monitor" => (Action::Monitor, true),
        _ => (agent.action(operation).unwrap_or(Action::Usage), false),
    };
    let code = act(context, action).number();
    Report { code, line: log_result(context, code, asks) }
}

/// Logs the result line of an exit code, and returns it. `asks` is for status and monitor.
pub(super) fn log_result(context: &Context, code: u8, asks: bool) -> String {
    let line = result_line(code, asks);
    let tag = format!("{AGENT_DIRECTORY}{}", context.agent.name);
    context.log.tagged(&tag, &context.instance).line(&line);
    line
}

/// Runs an action of the agent; a restart is a stop and then, when that went well, a start.
fn act(context: &Context, action: Action) -> ExitCode {
    let run = context.agent.run;
    match action {
        Action::Restart => match run(context, Action::Stop) {
            ExitCode::Success => run(context, Action::Start),
            failed => failed,
        },
        Action::MetaData | Action::Usage => ExitCode::Unimplemented,
        action => run(context, action),
    }
}

/// The result line of an exit code. `asks` is for status and monitor.
pub fn result_line(code: u8, asks: bool) -> String {
    let line = match code {
        0 if asks => "INFO:  Running OK",
        0 => "INFO:  Success",
        1 => "ERROR:  Generic error",
        2 => "ERROR:  Illegal argument",
        3 => "ERROR:  Function unimplemented",
        4 => "ERROR:  User had insufficient privilege",
        5 => "ERROR:  Program is not installed",
        6 => "ERROR:  Program is not configured",
        7 => "INFO:  Resource is stopped",
        _ => return format!("ERROR:  Unknown error: {code}"),
    };
    line.to_owned()
}

/// A resource manager of the OCF kind has set at least one of its variables.
fn called_by_ocf() -> bool {
    std::env::vars_os().any(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("OCF_RESKEY_") || name == "OCF_RESOURCE_INSTANCE" || name == "OCF_RA_VERSION_MAJOR"
    })
}

/// One action, parameters in the environment. Wrong calls get the usage text, with exit code 2 for
/// their number of words and 3 for an action that is none.
fn ocf_program(agent: &'static Agent, called_as: &str, words: &[&str]) -> u8 {
    let usage = agent.ocf_usage.replace("$0", called_as);
    let [word] = words else {
        print::line(&usage);
        return ExitCode::WrongArguments.number();
    };
    let Some(action) = agent.action(word) else {
        print::line(&usage);
        return ExitCode::Unimplemented.number();
    };
    match action {
        Action::MetaData => {
            print::line(meta_data::xml(agent).trim_end());
            return 0;
        }
        Action::Usage => {
            print::line(&usage);
            return 0;
        }
        _ => (),
    }
    let instance = match std::env::var("OCF_RESOURCE_INSTANCE") {
        Ok(instance) if !instance.is_empty() => instance,
        _ if std::env::var_os("OCF_RA_VERSION_MAJOR").is_some() => {
            print::error_line("ERROR: Need to tell us our resource instance name.");
            return ExitCode::WrongArguments.number();
        }
        _ => "default".to_owned(),
    };
    let call = Call { instance, parameters: Parameters::from_environment(agent) };
    act(&Context { called_as: called_as.to_owned(), ..Context::new(agent, call) }, action).number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_keep_their_double_blank() {
        assert_eq!(result_line(0, true), "INFO:  Running OK");
        assert_eq!(result_line(0, false), "INFO:  Success");
        assert_eq!(result_line(7, false), "INFO:  Resource is stopped");
        assert_eq!(result_line(9, true), "ERROR:  Unknown error: 9");
    }
}
