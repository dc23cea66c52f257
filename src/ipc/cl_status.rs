//! `cl_status`: texts and exit codes to the letter of the original (messaging spec 7.7).
//!
//! Works with our daemon and with the original 3.0.6.

use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{Client, ClientError, TIMEOUT_MS};
use super::requests::RESPONSE;
use super::terminal::Terminal;
use crate::log::line::clean;
use crate::sys::getopt::Options;
use crate::wire::message::Message;

const OK: u8 = 0;
const NORMAL_FAILURE: u8 = 1;
const PARAMETER_ERROR: u8 = 11;
const TIMEOUT: u8 = 12;
const UNKNOWN_ERROR: u8 = 13;

const USAGE: &str = "\
Usage: cl_status <sub-command> [<options>] [<parameters>]

Sub-commands:
clientstatus <node-name> <client-id> [<timeout>]
	Show the status of heartbeat clients.
hblinkstatus <node-name> <link-name>
	Show the status of a heartbeat link
hbstatus
	Indicate if heartbeat is running on the local system.
	Options:
		-v	verbose: also add \"listnodes -v\" output
listnodes [<option>]
	List the nodes in the cluster.
	Options:
		-p	list only 'ping' type nodes
		-n	list only 'normal' type nodes
		-v	verbose: also list type and status,
			then add \"listhblinks -v\" output
listhblinks <node-name>
	List the network interfaces used as hearbeat links.
	Options:
		-v	verbose: list link status as well
nodestatus <node-name>
	List the node status.
nodeweight <node-name>
	List the node weight.
nodesite <node-name>
	List the node site.
nodetype <node-name>
	List the nodes of a given type.
rscstatus
	Show the status of cluster resources.
hbparameter -p <parameter-name>
	Retrieve the value of a cluster parameter.
	As for the valid parameter names, please refer to the man page.";

/// What a sub-command works with.
struct Call<'c, 't> {
    client: Client,
    options: Options,
    human: bool,
    terminal: &'c mut Terminal<'t>,
}

type Outcome = Result<u8, ClientError>;

/// THE TABLE of sub-commands: name, options, the word in its option error, what it does.
type SubCommand = (&'static str, &'static str, &'static str, fn(&mut Call<'_, '_>) -> Outcome);
const SUB_COMMANDS: &[SubCommand] = &[
    ("clientstatus", "m", "", client_status),
    ("hblinkstatus", "m", "", link_status),
    ("hbparameter", "mp:", "code ", parameter),
    ("listhblinks", "mv", "code ", list_links),
    ("listnodes", "mnpv", "code ", list_nodes),
    ("nodesite", "m", "", node_site),
    ("nodestatus", "m", "", node_status),
    ("nodetype", "m", "", node_type),
    ("nodeweight", "m", "", node_weight),
    ("rscstatus", "m", "", resource_status),
    ("test", "m", "", self_test),
];

/// Runs `cl_status` with the words behind its name; the value is the exit code: 0, 1 for "no" or
/// not running, 11 wrong use, 12 timeout, 13 anything else.
pub fn run(words: &[String], socket: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let (name, rest) = match words {
        [] => return usage(terminal),
        [only] if only == "-h" => return usage(terminal),
        [name, rest @ ..] => (name.as_str(), rest),
    };
    if name == "hbstatus" {
        return heartbeat_status(rest, socket, terminal);
    }
    let Some((_, accepted, code_word, action)) = SUB_COMMANDS.iter().find(|entry| entry.0 == name) else {
        terminal.log_error("cl_status", &format!("{name}: invalid sub-command."));
        return PARAMETER_ERROR;
    };
    let client = match Client::sign_on(socket, TIMEOUT_MS) {
        Ok(client) => client,
        Err(error) => {
            terminal.log_error("cl_status", "Cannot signon with heartbeat");
            terminal.log_error("cl_status", &format!("REASON: {}", sign_on_reason(&error)));
            return if matches!(error, ClientError::Timeout) { TIMEOUT } else { NORMAL_FAILURE };
        }
    };
    let options = Options::parse(name, rest, accepted);
    if let Some(error) = options.errors.first() {
        terminal.complain(error);
        terminal.log_error("cl_status", &format!("Error: getopt returnedcharacter {code_word}?."));
        return PARAMETER_ERROR;
    }
    let human = options.has('m');
    let outcome = action(&mut Call { client, options, human, terminal });
    outcome.unwrap_or_else(|error| failed(terminal, &error))
}

fn failed(terminal: &mut Terminal<'_>, error: &ClientError) -> u8 {
    terminal.log_error("cl_status", &error.to_string());
    if matches!(error, ClientError::Timeout) {
        TIMEOUT
    } else {
        UNKNOWN_ERROR
    }
}

fn usage(terminal: &mut Terminal<'_>) -> u8 {
    terminal.say(USAGE);
    OK
}

fn sign_on_reason(error: &ClientError) -> String {
    match error {
        ClientError::NotRunning(_) => "hb_api_signon: Can't initiate connection to heartbeat".into(),
        ClientError::Refused(reason) => reason.clone(),
        other => other.to_string(),
    }
}

/// The one sub-command that is content without a daemon, and with bad options.
fn heartbeat_status(words: &[String], socket: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let options = Options::parse("hbstatus", words, "mv");
    for error in &options.errors {
        terminal.complain(error);
    }
    let (human, verbose) = (options.has('m'), options.has('v'));
    let client = match Client::sign_on(socket, TIMEOUT_MS) {
        Ok(client) => client,
        Err(error) => {
            // whom the directory keeps out learns what the original tells: stopped
            let stopped = matches!(error, ClientError::NotRunning(_) | ClientError::NoPermission(_));
            terminal.say(if stopped {
                "Heartbeat is stopped on this machine."
            } else {
                "Heartbeat is apparently running on this machine, but refuses my connection"
            });
            if verbose {
                terminal.say(&format!("({})", sign_on_reason(&error)));
            }
            return match error {
                ClientError::NoPermission(_) => {
                    terminal.log_error("cl_status", &error.to_string());
                    NORMAL_FAILURE
                }
                ClientError::NotRunning(_) => NORMAL_FAILURE,
                ClientError::Timeout => TIMEOUT,
                _ => OK,
            };
        }
    };
    if !verbose {
        terminal.say("Heartbeat is running on this machine.");
        return OK;
    }
    let version = client.welcome().text("hbversion").unwrap_or("").to_owned();
    let manager = match client.welcome().text("pacemaker") {
        None | Some("false" | "off" | "no") => "haresources",
        Some(_) => "pacemaker",
    };
    if human {
        terminal.say(&format!("Heartbeat version {version}\nResources controlled by \"{manager}\""));
    } else {
        terminal.say(&format!("version:\t{version}\nmanaged by:\t\"{manager}\""));
    }
    let mut call = Call { client, options, human, terminal };
    match list_nodes(&mut call) {
        Ok(code) => code,
        Err(error) => failed(terminal, &error),
    }
}

impl Call<'_, '_> {
    /// Names and states come from peers, too: what could drive the terminal is escaped.
    fn say(&mut self, text: &str) {
        let lines: Vec<_> = text.split('\n').map(clean).collect();
        self.terminal.say(&lines.join("\n"));
    }

    /// `machine`, or with `-m` the other text.
    fn say_either(&mut self, machine: &str, human: impl FnOnce() -> String) {
        let line = if self.human { human() } else { machine.to_owned() };
        self.say(&line);
    }

    fn complain(&mut self, line: &str, code: u8) -> Outcome {
        self.terminal.complain(line);
        Ok(code)
    }

    fn log_failure(&mut self, text: &str, reason: &str, code: u8) -> Outcome {
        self.terminal.log_error("cl_status", text);
        self.terminal.log_error("cl_status", &format!("REASON: {reason}"));
        Ok(code)
    }

    /// A parameter by place; node names are lower case everywhere in the cluster.
    fn parameter(&self, place: usize) -> Option<String> {
        self.options.parameters.get(place).cloned()
    }

    fn node(&self) -> Option<String> {
        self.parameter(0).map(|node| node.to_ascii_lowercase())
    }

    /// One field of the reply to a question about a node; `None` when the daemon does not know it.
    fn ask_node(&mut self, kind: &str, node: &str, field: &str) -> Result<Option<String>, ClientError> {
        let reply = self.client.request(kind, &[("node", node)])?;
        Ok(answer(&reply, field))
    }
}

/// A reply's field when the request was fine.
fn answer(reply: &Message, field: &str) -> Option<String> {
    (reply.text("result") == Some("OK")).then(|| reply.text(field).map(str::to_owned))?
}

fn list_nodes(call: &mut Call<'_, '_>) -> Outcome {
    let mut replies = call.client.request_list("nodelist", &[])?;
    // the original's library puts each node before the ones it has
    replies.reverse();
    if call.human {
        call.say("The nodes are as follow:");
    }
    let only = match (call.options.has('n'), call.options.has('p')) {
        (true, false) => Some("normal"),
        (false, true) => Some("ping"),
        _ => None,
    };
    for reply in &replies {
        let field = |name: &str| reply.text(name).unwrap_or("");
        let (node, kind) = (field("node"), field("nodetype"));
        if node.is_empty() || only.is_some_and(|only| only != kind) {
            continue;
        }
        if call.options.has('v') {
            call.say(&format!("\n{node}\t{}\t(nodetype: {kind})", field("st")));
            print_links(call, node)?;
        } else {
            call.say(node);
        }
    }
    Ok(OK)
}

fn list_links(call: &mut Call<'_, '_>) -> Outcome {
    let Some(node) = call.node() else { return call.complain("No enough parameter.", PARAMETER_ERROR) };
    print_links(call, &node)
}

fn print_links(call: &mut Call<'_, '_>, node: &str) -> Outcome {
    let mut replies = call.client.request_list("iflist", &[("node", node)])?;
    replies.retain(|reply| reply.text("ifname").is_some());
    if replies.is_empty() {
        return call.log_failure("Cannot start heartbeat link interface walk.", "EINVAL", UNKNOWN_ERROR);
    }
    replies.reverse();
    if call.human {
        call.say("\tthis node has the following heartbeat links:");
    }
    for reply in &replies {
        let name = reply.text("ifname").unwrap_or("");
        match call.options.has('v') {
            true => call.say(&format!("\t{name}\t{}", reply.text("st").unwrap_or(""))),
            false => call.say(&format!("\t{name}")),
        }
    }
    Ok(OK)
}

fn node_status(call: &mut Call<'_, '_>) -> Outcome {
    let Some(node) = call.node() else { return call.complain("Not enough parameters.", PARAMETER_ERROR) };
    let Some(status) = call.ask_node("nodestatus", &node, "st")? else {
        return call.complain("Error. May be due to incorrect node name", PARAMETER_ERROR);
    };
    let shown = call.parameter(0).unwrap_or_default();
    call.say_either(&status, || format!("The cluster node {shown} is {status}"));
    Ok(if matches!(status.as_str(), "active" | "up" | "ping") { OK } else { NORMAL_FAILURE })
}

fn node_weight(call: &mut Call<'_, '_>) -> Outcome {
    let Some(node) = call.node() else { return call.complain("Not enough parameters.", PARAMETER_ERROR) };
    let Some(weight) = call.ask_node("nodeweight", &node, "weight")? else {
        return call.complain("Error. Maybe due to incorrect node name.", PARAMETER_ERROR);
    };
    let shown = call.parameter(0).unwrap_or_default();
    call.say_either(&weight, || format!("The weight of the cluster node {shown} is {weight}"));
    Ok(OK)
}

fn node_site(call: &mut Call<'_, '_>) -> Outcome {
    let Some(node) = call.node() else { return call.complain("Not enough parameters.", PARAMETER_ERROR) };
    let Some(site) = call.ask_node("nodesite", &node, "site")? else {
        return call.complain("Error. May be due to incorrect node name", PARAMETER_ERROR);
    };
    let shown = call.parameter(0).unwrap_or_default();
    call.say_either(&site, || format!("The site of the cluster node {shown} is {site}"));
    Ok(OK)
}

fn node_type(call: &mut Call<'_, '_>) -> Outcome {
    let Some(node) = call.node() else { return call.complain("No enough parameter.", PARAMETER_ERROR) };
    let Some(kind) = call.ask_node("nodetype", &node, "nodetype")? else {
        return call.complain("Error. May be due to incorrect node name", PARAMETER_ERROR);
    };
    let shown = call.parameter(0).unwrap_or_default();
    call.say_either(&kind, || format!("The node {shown}'s type: {kind}"));
    Ok(OK)
}

fn link_status(call: &mut Call<'_, '_>) -> Outcome {
    let (Some(node), Some(link)) = (call.node(), call.parameter(1)) else {
        return call.complain("No enough parameter.", PARAMETER_ERROR);
    };
    let reply = call.client.request("ifstatus", &[("node", &node), ("ifname", &link)])?;
    let Some(status) = answer(&reply, "st") else {
        return call.log_failure("Cannot get heartbeat link status", "", UNKNOWN_ERROR);
    };
    let shown = call.parameter(0).unwrap_or_default();
    call.say_either(&status, || format!("The node {shown}'s heartbeat link {link} is {status}"));
    Ok(if status == "up" { OK } else { NORMAL_FAILURE })
}

fn client_status(call: &mut Call<'_, '_>) -> Outcome {
    // As typed: the original's daemon does not know a node by another case.
    let (Some(node), Some(name)) = (call.parameter(0), call.parameter(1)) else {
        return call.complain("No enough parameter.", PARAMETER_ERROR);
    };
    let wait_ms = call.parameter(2).map_or(500, |text| leading_number(&text));
    match wait_for_client(&mut call.client, &node, &name, wait_ms)? {
        Some(state) => {
            call.say(&state);
            Ok(match state.as_str() {
                "online" => OK,
                "offline" => 1,
                "join" => 2,
                "leave" => 3,
                _ => UNKNOWN_ERROR,
            })
        }
        None => {
            let text = format!("Cannot get heartbeat client {name}'s status");
            call.log_failure(&text, "No timely response.", UNKNOWN_ERROR)
        }
    }
}

/// The digits a text begins with; 0, which does not wait at all, when there are none.
fn leading_number(text: &str) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(if end == 0 { 0 } else { u64::MAX })
}

/// The state comes as the reply, or as the other node's message.
fn wait_for_client(
    client: &mut Client,
    node: &str,
    name: &str,
    wait_ms: u64,
) -> Result<Option<String>, ClientError> {
    if wait_ms == 0 {
        return Ok(None);
    }
    let until = Instant::now() + Duration::from_millis(wait_ms.min(TIMEOUT_MS));
    client.post("clientstatus", &[("node", node), ("cn", name)])?;
    loop {
        let message = match client.next_message(until) {
            Ok(message) => message,
            Err(ClientError::Timeout) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_reply = message.kind() == RESPONSE && message.text("reqtype") == Some("clientstatus");
        let is_report = message.kind() == "respond-cstatus" && message.text("cn") == Some(name);
        if is_reply || is_report {
            return Ok(message.text("cs").map(str::to_owned));
        }
    }
}

fn resource_status(call: &mut Call<'_, '_>) -> Outcome {
    let reply = call.client.request("getrsc", &[])?;
    let Some(held) = answer(&reply, "rsc_hold") else {
        let reason = reply.text("info").unwrap_or("").to_owned();
        return call.log_failure("Cannot get cluster resource status", &reason, UNKNOWN_ERROR);
    };
    call.say_either(&held, || format!("This node is holding {held} resources."));
    Ok(OK)
}

fn parameter(call: &mut Call<'_, '_>) -> Outcome {
    let Some(name) = call.options.argument('p').map(str::to_owned) else {
        call.terminal.log_error("cl_status", "parameter name required");
        return Ok(PARAMETER_ERROR);
    };
    let reply = call.client.request("getparm", &[("pname", &name)])?;
    // The original's library knows this one from the start.
    let known = (name == "hbversion").then(|| call.client.welcome().text("hbversion")).flatten();
    let Some(value) = known.map(str::to_owned).or_else(|| answer(&reply, "pvalue")) else {
        return call.log_failure(&format!("Cannot get parameter {name}'s value"), "", NORMAL_FAILURE);
    };
    call.say_either(&value, || format!("Heartbeat parameter {name}'s value: {value}"));
    Ok(OK)
}

fn self_test(call: &mut Call<'_, '_>) -> Outcome {
    let reply = call.client.request("getrsc", &[])?;
    let welcome = call.client.welcome();
    let lines = [
        format!("Dead time: {}", welcome.hex("deadtime").unwrap_or(0)),
        format!(" keeplive time: {}", welcome.hex("keepalive").unwrap_or(0)),
        format!(" mynodeid: {}", welcome.text("node").unwrap_or("")),
        // What the C library prints of nothing.
        format!(" rsc: {}", reply.text("rsc_hold").unwrap_or("(null)")),
    ];
    call.say(&lines.join("\n"));
    Ok(OK)
}
