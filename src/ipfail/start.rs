//! The way in: sign-on, what the daemon says of itself, the node list. Each refusal has the original's
//! lines and exit code.

use std::path::Path;

use super::decide::Settings;
use super::event::{Facts, Holding};
use super::program::{Program, EXIT_CONNECTION_LOST, EXIT_NEVER_AGAIN};
use crate::config::boolean;
use crate::ipc::client::{Client, ClientError};
use crate::log::Logger;
use crate::types::LogLevel;
use crate::wire::message::Message;

/// The name that both nodes' programs sign on with. `pingd` uses it too: a daemon passes messages on
/// between namesakes only, and lets this one in without a line in `ha.cf`.
const CLIENT: &str = "ipfail";
/// Longest wait for one answer of the daemon. The original waits for ever.
pub(super) const ANSWER_MS: u64 = 60_000;

const EXIT_SIGN_ON: u8 = 1;
const EXIT_FILTER: u8 = 8;
const EXIT_NODE_WALK: u8 = 9;
const EXIT_SIGNAL: u8 = 13;

/// Signs on and asks what `Settings` need. The error is the exit code; it has been logged.
pub(super) fn sign_on(program: &Program, socket: &Path, logger: &Logger) -> Result<(Client, Settings), u8> {
    let debug = |text: String| logger.log(LogLevel::Debug, &text);
    debug(format!("PID={}", std::process::id()));
    debug("Signing in with heartbeat".into());
    let mut client = connect(program, socket).map_err(|error| {
        let reason = match error {
            ClientError::NotRunning(_) => "hb_api_signon: Can't initiate connection to heartbeat".to_owned(),
            ClientError::Refused(reason) => reason,
            other => other.to_string(),
        };
        failed(logger, "Cannot sign on with heartbeat", &reason, EXIT_SIGN_ON)
    })?;
    let held =
        ask(&mut client, "getrsc", &[]).map_err(|error| lost(logger, "No managed resources", &error))?;
    if !is_ok(&held) || held.text("rsc_hold").is_none() {
        logger.log(LogLevel::Error, "No managed resources");
        return Err(EXIT_NEVER_AGAIN);
    }
    let node = client.welcome().text("node").unwrap_or_default().to_owned();
    debug(format!("[We are {node}]"));
    let auto_failback = auto_failback(&mut client, logger)?;
    debug("Setting message filter mode".into());
    must(&mut client, logger, "setfilter", ("fmask", "1"), "Cannot set filter mode", EXIT_FILTER)?;
    let keepalive_ms = client.welcome().hex("keepalive").unwrap_or(0);
    let dampening_ms = program.dampening_ms;
    Ok((client, Settings { node, auto_failback, keepalive_ms, dampening_ms }))
}

/// Logs every node as the original does; the error is the exit code.
pub(super) fn first_walk(
    client: &mut Client,
    program: &Program,
    node: &str,
    logger: &Logger,
) -> Result<Facts, u8> {
    let debug = |text: String| logger.log(LogLevel::Debug, &text);
    debug("Starting node walk".into());
    let list = node_list(client).map_err(|error| {
        let text = "Cannot start node walk";
        match error {
            WalkError::Refused(reason) => failed(logger, text, &reason, EXIT_NODE_WALK),
            WalkError::Lost(error) => lost(logger, text, &error),
        }
    })?;
    for entry in list.iter().rev() {
        debug(format!("Cluster node: {}: status: {}", entry.name, entry.status));
        if entry.kind == "normal" && entry.name != node {
            debug(format!("[They are {}]", entry.name));
        }
    }
    let pings: Vec<&str> =
        list.iter().filter(|entry| entry.kind == "ping").map(|entry| entry.name.as_str()).collect();
    let unknown: Vec<&str> =
        program.hosts.iter().map(String::as_str).filter(|host| !pings.contains(host)).collect();
    if !unknown.is_empty() {
        let text = format!(
            "Not ping nodes: {}. Name each in a line `ping` or `ping_group` of ha.cf; nothing was done",
            unknown.join(", ")
        );
        logger.log(LogLevel::Error, &text);
        return Err(EXIT_NEVER_AGAIN);
    }
    debug("Setting message signal".into());
    must(client, logger, "setsignal", ("signal", "0"), "Cannot set message signal", EXIT_SIGNAL)?;
    Ok(facts_of(&list, program, node))
}

/// A node as the daemon lists it.
pub(super) struct ListedNode {
    name: String,
    kind: String,
    status: String,
}

/// Why there is no list.
pub(super) enum WalkError {
    /// The daemon's answer.
    Refused(String),
    /// There was no answer.
    Lost(ClientError),
}

/// Asks for all nodes and ping nodes, in the order of `ha.cf`.
pub(super) fn node_list(client: &mut Client) -> Result<Vec<ListedNode>, WalkError> {
    client.allow_ms(ANSWER_MS);
    let replies = client.request_list("nodelist", &[]).map_err(WalkError::Lost)?;
    let mut list = Vec::new();
    for reply in &replies {
        match reply.text("result") {
            Some("OK" | "ok/more") => {}
            other => {
                let result = other.unwrap_or_default();
                return Err(WalkError::Refused(format!("Unexpected API result value: [{result}]")));
            }
        }
        let field = |name: &str| reply.text(name).unwrap_or_default().to_owned();
        list.push(ListedNode { name: field("node"), kind: field("nodetype"), status: field("st") });
    }
    Ok(list)
}

/// The other node, and the ping nodes that answer.
pub(super) fn facts_of(list: &[ListedNode], program: &Program, node: &str) -> Facts {
    let is_peer = |entry: &&ListedNode| entry.kind == "normal" && entry.name != node;
    let counts = |entry: &&ListedNode| {
        let wanted = program.hosts.is_empty() || program.hosts.contains(&entry.name);
        entry.kind == "ping" && entry.status == "ping" && wanted
    };
    Facts {
        peer: list.iter().find(is_peer).map(|entry| entry.name.clone()),
        reachable: Some(list.iter().filter(counts).map(|entry| entry.name.clone()).collect()),
        holding: None,
    }
}

/// What this node holds; `None` when the daemon does not say.
pub(super) fn holding(client: &mut Client) -> Result<Option<Holding>, ClientError> {
    let reply = ask(client, "getrsc", &[])?;
    Ok(reply.text("rsc_hold").filter(|_| is_ok(&reply)).and_then(Holding::new))
}

/// As the user of this process, or, where that is root and not let in, as the user whom the daemon
/// lets in by default: old configurations start `pingd` as root.
fn connect(program: &Program, socket: &Path) -> Result<Client, ClientError> {
    let result = Client::sign_on_as(socket, CLIENT, ANSWER_MS);
    let refused = matches!(result, Err(ClientError::Refused(_)));
    if refused && program.may_become.is_some_and(become_user) {
        return Client::sign_on_as(socket, CLIENT, ANSWER_MS);
    }
    result
}

/// Changes to that user for good, if this is root and there is such a user.
fn become_user(name: &str) -> bool {
    use nix::unistd::{geteuid, setgid, setgroups, setuid, User};
    if !geteuid().is_root() {
        return false;
    }
    let Ok(Some(user)) = User::from_name(name) else { return false };
    setgroups(&[user.gid]).and_then(|()| setgid(user.gid)).and_then(|()| setuid(user.uid)).is_ok()
}

fn auto_failback(client: &mut Client, logger: &Logger) -> Result<bool, u8> {
    let unset = "Couldn't get auto_failback setting.";
    let reply = ask(client, "getparm", &[("pname", "auto_failback")]);
    let reply = reply.map_err(|error| lost(logger, unset, &error))?;
    let Some(word) = reply.text("pvalue").filter(|_| is_ok(&reply)) else {
        logger.log(LogLevel::Error, unset);
        return Ok(false);
    };
    if word == "legacy" {
        logger.log(LogLevel::Error, "auto_failback set to incompatible legacy option.");
        return Err(EXIT_NEVER_AGAIN);
    }
    let Some(value) = boolean(word) else {
        // spelled so, with a blank in front, by the original
        logger.log(LogLevel::Error, &format!(" invalid auto_faiback value({word})"));
        return Err(EXIT_NEVER_AGAIN);
    };
    logger.log(LogLevel::Debug, &format!("auto_failback -> {} ({word})", u8::from(value)));
    Ok(value)
}

fn must(
    client: &mut Client,
    logger: &Logger,
    kind: &str,
    field: (&str, &str),
    text: &str,
    exit_code: u8,
) -> Result<(), u8> {
    let reply = ask(client, kind, &[field]).map_err(|error| lost(logger, text, &error))?;
    if is_ok(&reply) {
        return Ok(());
    }
    Err(failed(logger, text, reply.text("info").unwrap_or_default(), exit_code))
}

fn ask(client: &mut Client, kind: &str, fields: &[(&str, &str)]) -> Result<Message, ClientError> {
    client.allow_ms(ANSWER_MS);
    client.request(kind, fields)
}

fn is_ok(reply: &Message) -> bool {
    reply.text("result") == Some("OK")
}

/// Logs the two lines of a failure; the value is the exit code again.
fn failed(logger: &Logger, text: &str, reason: &str, exit_code: u8) -> u8 {
    logger.log(LogLevel::Error, text);
    logger.log(LogLevel::Error, &format!("REASON: {reason}"));
    exit_code
}

/// The same where the connection to the daemon is gone.
pub(super) fn lost(logger: &Logger, text: &str, error: &ClientError) -> u8 {
    failed(logger, text, &error.to_string(), EXIT_CONNECTION_LOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &[(&str, &str, &str)]) -> Vec<ListedNode> {
        let node = |(name, kind, status): &(&str, &str, &str)| ListedNode {
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            status: (*status).to_owned(),
        };
        rows.iter().map(node).collect()
    }

    #[test]
    fn peer_is_the_first_other_node_of_the_file() {
        let nodes = [
            ("gw", "ping", "ping"),
            ("zeta", "normal", "dead"),
            ("beta", "normal", "active"),
            ("alpha", "normal", "active"),
        ];
        let of = |node: &str| facts_of(&list(&nodes), &Program::default(), node).peer;
        assert_eq!(of("zeta").as_deref(), Some("beta"));
        assert_eq!(of("beta").as_deref(), Some("zeta"));
        assert_eq!(of("alpha").as_deref(), Some("zeta"));
        assert_eq!(facts_of(&list(&nodes[..2]), &Program::default(), "zeta").peer, None);
    }

    #[test]
    fn only_ping_nodes_that_answer_and_are_wanted_count() {
        let nodes = list(&[
            ("a", "normal", "ping"),
            ("gw1", "ping", "ping"),
            ("gw2", "ping", "dead"),
            ("group", "ping", "ping"),
        ]);
        let reachable = |hosts: &[&str]| {
            let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
            facts_of(&nodes, &Program { hosts, ..Program::default() }, "a").reachable.unwrap()
        };
        assert_eq!(reachable(&[]), ["gw1", "group"]);
        assert_eq!(reachable(&["group", "gw2"]), ["group"]);
    }
}
