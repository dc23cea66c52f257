//! db2, WAS, ICP, ServeRAID and ids: agents for products of their vendors. What they do needs the
//! product at hand, so the script of resource-agents does it where it is installed; where it is not, it
//! is said that it is missing, and nothing is reported as done (agents spec 2.7).

use std::path::Path;

use crate::config::script_class::ocf_directory;

use super::command::Program;
use super::heartbeat_class::AGENT_DIRECTORY;
use super::script::{is_executable_file, is_this_binary};
use super::{Action, Agent, Call, Context, ExitCode, Parameter, Timeouts, WrongArguments};

/// IBM DB2.
pub const DB2: Agent = Agent {
    name: "db2",
    summary: "IBM DB2 instance (through the installed script)",
    description: DESCRIPTION,
    usage: "usage: $0 db2-database-owner-id $ACTIONS",
    parameters: &[
        Parameter::string("instance", "Instance", "Owner of the instance.").required().unique(),
        Parameter::string("dblist", "Databases", "Databases to be managed; all when absent."),
        Parameter::string("admin", "Administrator", "No longer used by the script."),
        Parameter::string("dbpartitionnum", "Partition", "Number of the database partition.").or("0"),
    ],
    timeouts_s: Timeouts { start: 120, stop: 120, monitor: 60 },
    from_arguments: |arguments| match arguments {
        [instance] => Ok(Call::new(format!("db2_{instance}")).with("instance", instance)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

/// WebSphere Application Server.
pub const WAS: Agent = Agent {
    name: "WAS",
    summary: "WebSphere Application Server (through the installed script)",
    description: DESCRIPTION,
    usage: "For the single server edition of WAS:\n\
            usage: $0 [<WAS-configuration file>] $ACTIONS\n\n\
            For the advanced edition of WAS:\n\
            usage: $0 [<WAS-(snoop)-port-number>] $ACTIONS",
    parameters: &[
        Parameter::string("config", "Configuration", "File of the single server edition."),
        Parameter::integer("port", "Port", "Port of the snoop servlet, for the advanced edition."),
    ],
    timeouts_s: Timeouts { start: 300, stop: 300, monitor: 30 },
    from_arguments: |arguments| match arguments {
        [] => Ok(Call::new("WAS")),
        [file] if Path::new(file).is_file() => Ok(Call::new("WAS").with("config", file)),
        [port] if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Call::new("WAS").with("port", port)),
        [other] => Err(WrongArguments::saying(format!(
            "ERROR: {other} is neither a WAS configuration file nor a valid port number!"
        ))),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

/// ICP Vortex controllers.
pub const ICP: Agent = Agent {
    name: "ICP",
    summary: "Drive of an ICP Vortex controller (through the installed script)",
    description: DESCRIPTION,
    usage: "usage: $0 <ICP cluster drive ID> <device> $ACTIONS",
    parameters: &[
        Parameter::string("driveid", "Drive", "Number of the cluster drive.").required(),
        Parameter::string("device", "Device", "Its device.").required(),
    ],
    from_arguments: |arguments| match arguments {
        [drive, device] => {
            Ok(Call::new(format!("ICP_{drive}")).with("driveid", drive).with("device", device))
        }
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

/// IBM ServeRAID controllers.
pub const SERVE_RAID: Agent = Agent {
    name: "ServeRAID",
    summary: "Merge group of a ServeRAID controller (through the installed script)",
    description: DESCRIPTION,
    usage: "usage: $0 <serveraid#> <sharedmergegroup#> $ACTIONS",
    parameters: &[
        Parameter::integer("serveraid", "Adapter", "Number of the adapter, from 1.").required(),
        Parameter::integer("mergegroup", "Merge group", "Number of the shared group, 1 to 8.").required(),
    ],
    timeouts_s: Timeouts { start: 40, stop: 40, monitor: 20 },
    from_arguments: |arguments| match arguments {
        [adapter, group] => {
            Ok(Call::new(format!("ServeRAID_{adapter}")).with("serveraid", adapter).with("mergegroup", group))
        }
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

/// Informix Dynamic Server.
pub const IDS: Agent = Agent {
    name: "ids",
    summary: "Informix Dynamic Server (through the installed script)",
    description: DESCRIPTION,
    usage: "usage: $0 [<INFORMIXDIR> <INFORMIXSERVER> <ONCONFIG>] $ACTIONS",
    parameters: &[
        Parameter::string("informixdir", "Folder", "INFORMIXDIR; from the environment when absent."),
        Parameter::string("informixserver", "Server", "INFORMIXSERVER; from the environment when absent."),
        Parameter::string("onconfig", "Configuration", "ONCONFIG; from the environment when absent."),
        Parameter::string("dbname", "Database", "Database that monitor asks.").or("sysmaster"),
        Parameter::string("sqltestquery", "Query", "What it asks.").or("SELECT COUNT(*) FROM systables;"),
    ],
    timeouts_s: Timeouts { start: 120, stop: 120, monitor: 30 },
    from_arguments: |arguments| match arguments {
        [] => Ok(Call::new("ids_")),
        [directory, server, configuration] => Ok(Call::new(format!("ids_{server}"))
            .with("informixdir", directory)
            .with("informixserver", server)
            .with("onconfig", configuration)),
        _ => Err(WrongArguments::silent()),
    },
    run,
    ..Agent::BASE
};

const DESCRIPTION: &str =
    "The script of the package resource-agents does the work, and the vendor's product \
                           must be installed.";

/// There is no time limit: databases recover as long as they must.
fn run(context: &Context, action: Action) -> ExitCode {
    let name = context.agent.name;
    let path = ocf_directory().join("heartbeat").join(name);
    if !is_executable_file(&path) || is_this_binary(&path) {
        context.exit_reason(&format!(
            "{} is missing: {name} needs the script of the package resource-agents, and its vendor's product; \
             nothing was done",
            path.display()
        ));
        return ExitCode::NotInstalled;
    }
    // The name that the original's wrapper shows, double slash and all, is what the script logs.
    let shown = format!("{AGENT_DIRECTORY}{name}");
    let program = if is_executable_file(Path::new(&shown)) && path.starts_with("/usr/lib/ocf") {
        shown
    } else {
        path.display().to_string()
    };
    let root = ocf_directory().parent().map(|root| root.display().to_string()).unwrap_or_default();
    let mut command = Program::new(program).args([action.as_str()]);
    for parameter in context.agent.parameters {
        if let Some(value) = context.parameters.get(parameter.name) {
            command = command.env(&format!("OCF_RESKEY_{}", parameter.name), value);
        }
    }
    let command = command
        .env("OCF_ROOT", &root)
        .env("OCF_RA_VERSION_MAJOR", "1")
        .env("OCF_RA_VERSION_MINOR", "0")
        .env("OCF_TYPE", name)
        .env("OCF_RESOURCE_INSTANCE", &context.instance);
    match command.run() {
        Ok(finished) => {
            if !finished.stdout.trim_end().is_empty() {
                context.say(finished.stdout.trim_end());
            }
            if context.print && !finished.stderr.trim_end().is_empty() {
                crate::sys::print::error_line(finished.stderr.trim_end());
            }
            ExitCode::from_number(finished.code).unwrap_or_else(|| {
                context.log.error(&format!(
                    "{} {} ended with {}",
                    path.display(),
                    action.as_str(),
                    finished.code
                ));
                ExitCode::GenericError
            })
        }
        Err(error) => {
            context.log.error(&error.to_string());
            ExitCode::GenericError
        }
    }
}
