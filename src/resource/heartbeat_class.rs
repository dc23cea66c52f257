//! The heartbeat class of resource scripts: `script arguments operation`, one result line
//! (agents spec 2.1), and the OCF class: one action, parameters in the environment.

use super::script_log::ScriptLog;
use crate::sys::print;

use super::{meta_data, Action, Agent, Context, ExitCode, Parameters};

/// Ends every usage line.
const OPERATIONS: &str = "(start|stop|status|usage|meta-data)";
/// How the wrapper's own lines are tagged: the path of the agent that it runs, double slash and
/// all.
const AGENT_DIRECTORY: &str = "/usr/lib/ocf/resource.d//heartbeat/";

/// What the heartbeat class reports of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Exit code of the script.
    pub code: u8,
    /// Its result line, also logged.
    pub line: String,
}

/// The program of an agent, whatever way it is called. `words` are the arguments; the value is the
/// exit code.
pub fn program(agent: &'static Agent, called_as: &str, words: &[String]) -> u8 {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [word] = words.as_slice() {
        if let Some(action) = Action::from_word(word) {
            if action == Action::MetaData || called_by_ocf() {
                return ocf_program(agent, called_as, action);
            }
        }
    }
    let usage = format!("usage: {called_as} {} {OPERATIONS}", agent.usage_words);
    let Some((operation, arguments)) = words.split_last() else {
        print::line(&usage);
        return 1;
    };
    let Some((instance, parameters)) = (agent.from_arguments)(arguments) else {
        print::line(&usage);
        return 1;
    };
    let log = ScriptLog::from_environment(agent.name, &instance);
    let refused = |text: &str| {
        log.line(text);
        print::line(&format!("{text}\n{usage}"));
        1
    };
    match *operation {
        "start" | "stop" | "status" | "monitor" => {
            let context = Context { parameters, log, print: false };
            if let (Some(class_monitor), "monitor") = (agent.class_monitor, *operation) {
                return class_monitor(&context);
            }
            let report = operate(agent, &instance, &context, operation);
            print::line(&report.line);
            report.code
        }
        "usage" | "help" => {
            print::line(&usage);
            if agent.usage_code == 0 {
                print::line(&result_line(0, false));
            }
            agent.usage_code
        }
        "" => refused("ERROR: No action specfied."),
        unknown => refused(&format!("ERROR: Unknown operation: {unknown}")),
    }
}

/// Runs start, stop, status or monitor and logs the result line; `status` is the agent's monitor.
pub fn operate(agent: &Agent, instance: &str, context: &Context, operation: &str) -> Report {
    let (action, asks) = match operation {
        "start" => (Action::Start, false),
        "stop" => (Action::Stop, false),
        _ => (Action::Monitor, true),
    };
    let code = (agent.run)(context, action).number();
    Report { code, line: log_result(agent, instance, context, code, asks) }
}

/// Logs the result line of an exit code, and returns it. `asks` is for status and monitor.
pub(super) fn log_result(agent: &Agent, instance: &str, context: &Context, code: u8, asks: bool) -> String {
    let line = result_line(code, asks);
    context.log.tagged(&format!("{AGENT_DIRECTORY}{}", agent.name), instance).line(&line);
    line
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

fn ocf_program(agent: &'static Agent, called_as: &str, action: Action) -> u8 {
    let instance = match std::env::var("OCF_RESOURCE_INSTANCE") {
        Ok(instance) if !instance.is_empty() => instance,
        _ if action == Action::MetaData || action == Action::Usage => "RESOURCE_ID".to_owned(),
        _ if std::env::var_os("OCF_RA_VERSION_MAJOR").is_some() => {
            print::error_line("ERROR: Need to tell us our resource instance name.");
            return ExitCode::WrongArguments.number();
        }
        _ => "default".to_owned(),
    };
    match action {
        Action::MetaData => {
            print::line(meta_data::xml(agent).trim_end());
            0
        }
        Action::Usage => {
            print::line(&format!(
                "usage: {called_as} (start|stop|status|monitor|validate-all|meta-data|usage)"
            ));
            0
        }
        _ => {
            let log = ScriptLog::from_environment(agent.name, &instance);
            let parameters = Parameters::from_environment(agent);
            (agent.run)(&Context { parameters, log, print: true }, action).number()
        }
    }
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
