//! Answers to requests of API clients (messaging spec 7.4, 7.6), out of the status view alone.
//!
//! Pure: who asks, what is known and the request go in; replies and one effect come out. The order
//! of a reply's fields is the original's.

use serde::{Deserialize, Serialize};

use crate::cluster::view::{ClusterView, NodeView};
use crate::ipc::frame::BODY_MAX_BYTES;
use crate::types::ResourceSet;
use crate::wire::message::{Message, Value};

/// `t` of every request.
pub const REQUEST: &str = "hbapi-req";
/// `t` of every reply.
pub const RESPONSE: &str = "hbapi-resp";
/// Most bytes of a client's own name; longer ones are refused (messaging spec 7.6).
pub const CLIENT_NAME_MAX_BYTES: usize = 31;
/// The original's words for what is held where it manages nothing, whoever does.
const UNMANAGED: &str = "Resource is managed by crm. Use crm tool to query resource";
/// Known bits of `fmask`: kept, unchanged, dropped, duplicate, API call, protocol.
const FILTER_BITS: u32 = 0x3f;
/// The bit every client may set: kept messages.
pub const FILTER_KEPT: u32 = 0x01;
/// The bit for states that did not change.
pub const FILTER_UNCHANGED: u32 = 0x02;
/// The bit for messages that are not for this node, or not believed.
pub const FILTER_DROPPED: u32 = 0x04;
/// The bit for further copies of a message.
pub const FILTER_DUPLICATE: u32 = 0x08;
/// The bit for requests of other clients.
pub const FILTER_API_CALL: u32 = 0x10;
/// The bit for `NS_*` messages.
pub const FILTER_PROTOCOL: u32 = 0x20;

/// What the answers need beside the view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    /// Recorded directives with their values as typed: what `getparm` answers.
    pub recorded: Vec<(String, String)>,
    /// `deadtime`
    pub dead_time_ms: u64,
    /// `keepalive`
    pub keepalive_ms: u64,
    /// What `signon` says as `hbversion`, such as `3.0.6 (node: …)`.
    pub version_text: String,
    /// Syslog facility as the original counts it: already shifted, 0 for `none`, -1 when not given.
    pub log_facility: i32,
    /// The daemon's process.
    pub pid: u32,
    /// `apiauth` lines, defaults included; see [`default_api_auth`].
    pub api_auth: Vec<ApiAuth>,
    /// The group whose members may give commands: the socket directory's.
    pub command_gid: Option<u32>,
    /// Whether a peer's clients are asked for ([`Effect::AskPeer`]) or answered `offline` at once.
    pub ask_peers: bool,
    /// No resources are managed (`-M`): nobody can say what is held.
    pub unmanaged: bool,
}

/// One `apiauth` line: who may sign on under a name. Either list is enough.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiAuth {
    /// The client's name, `anon` for casual ones, `default` for names without a line.
    pub client: String,
    /// Users.
    pub uids: Vec<u32>,
    /// Groups; compared with the peer's effective group only.
    pub gids: Vec<u32>,
}

/// The original's entry for casual clients: root and group haclient. `haclient_gid` is `None` where
/// that group does not exist; then only root is left.
pub fn default_api_auth(haclient_gid: Option<u32>) -> Vec<ApiAuth> {
    vec![ApiAuth { client: "anon".into(), uids: vec![0], gids: haclient_gid.into_iter().collect() }]
}

/// Who sits at the other end, by the kernel's word (SO_PEERCRED).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process; `None` when it is in another process namespace.
    pub pid: Option<i32>,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// A client that signed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, or its process number as text when casual.
    pub id: String,
    /// Without a name of its own.
    pub casual: bool,
}

/// One client as the answers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// By the kernel.
    pub credentials: Credentials,
    /// By `signon`; `None` before.
    pub identity: Option<Identity>,
}

/// What a person asks for with hb_standby and hb_takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandRequest {
    /// This node gives the set away.
    Standby(ResourceSet),
    /// This node wants the set; from this node's viewpoint.
    Takeover(ResourceSet),
    /// Maintenance begins, for so many milliseconds.
    MaintenanceOn(u64),
    /// Maintenance ends.
    MaintenanceOff,
    /// A person knows that the other node is down: a takeover that waits goes on.
    ConfirmTakeover,
}

/// What has to happen beside the replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// The caller now has a name.
    SignOn(Identity),
    /// The caller leaves; no reply.
    SignOff,
    /// The caller's filter changes.
    Filter(u32),
    /// The signal sent to the caller with every message; 0 for none.
    Signal(i32),
    /// The caller's queue may hold so many messages; the server bounds it.
    QueueLength(usize),
    /// To be decided by the cluster, answered later with [`command_reply`].
    Command(CommandRequest),
    /// Ask another node about one of its clients; the answer is delivered as a message.
    AskPeer {
        /// The node.
        node: String,
        /// The client's name there.
        client: String,
    },
    /// A named client talks to its namesakes: `client_gen` and control fields are still missing.
    ClusterMessage(Message),
    /// The request is dropped without a reply; the text is for the log.
    Ignored(String),
    /// The caller is thrown out after the replies; the text is for the log.
    Remove(String),
}

/// Replies in order, and what else is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// To the caller.
    pub replies: Vec<Message>,
    /// Beside them.
    pub effect: Effect,
}

/// What `reqtype=ha-status` carries as JSON in the field `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// `hbversion` of the daemon.
    pub version: String,
    /// The program itself, `ha 0.1.0`; empty for an original daemon.
    #[serde(default)]
    pub program: String,
    /// The daemon's process.
    pub pid: u32,
    /// `deadtime`
    pub dead_time_ms: u64,
    /// `keepalive`
    pub keepalive_ms: u64,
    /// The picture.
    pub view: ClusterView,
}

/// Answers one request. `online` are the names of all signed-on clients.
pub fn answer(
    caller: &Caller,
    online: &[&str],
    view: &ClusterView,
    parameters: &Parameters,
    request: &Message,
) -> Answer {
    let kind = request.text("reqtype").unwrap_or("");
    let Some(identity) = &caller.identity else {
        if request.kind() == REQUEST && kind == "signon" {
            return sign_on(caller, online, view, parameters, request);
        }
        return effect(Effect::Ignored("request before signon".into()));
    };
    if request.kind() != REQUEST {
        return cluster_message(identity, request);
    }
    if !is_caller(identity, request) {
        return effect(Effect::Ignored("Client mismatch! (impersonation?)".into()));
    }
    match kind {
        "signoff" => effect(Effect::SignOff),
        "setfilter" => set_filter(caller, request),
        "setsignal" => set_signal(request),
        "set_sendqlen" => match request.decimal("sendqlen").and_then(|n| usize::try_from(n).ok()) {
            Some(length) if length > 0 => effect(Effect::QueueLength(length)),
            _ => effect(Effect::Ignored("set_sendqlen without a usable number".into())),
        },
        "clientstatus" => client_status(online, view, parameters, request),
        "ha-status" => status_report(view, parameters),
        "ha-command" => command(caller, parameters, request),
        _ => replies(look_up(kind, view, parameters, request)),
    }
}

/// The reply to a command once the cluster has decided: OK, or `badreq` with the reason.
pub fn command_reply(result: Result<(), &str>) -> Message {
    let reply = response("ha-command");
    match result {
        Ok(()) => reply.with("result", "OK"),
        Err(reason) => reply.with("result", "badreq").with("info", reason),
    }
}

/// The plain questions: everything that only reads.
fn look_up(kind: &str, view: &ClusterView, parameters: &Parameters, request: &Message) -> Vec<Message> {
    let node = || request.text("node").and_then(|name| find_node(view, name));
    let one = |name: &str, value: Option<&str>| match value {
        Some(value) => vec![response(kind).with(name, value).with("result", "OK")],
        None => vec![invalid(kind)],
    };
    match kind {
        "nodelist" => last_is_ok(
            kind,
            view.nodes.iter().map(|node| {
                response(kind).with("node", &node.name).with("nodetype", &node.kind).with("st", &node.status)
            }),
        ),
        "nodestatus" => one("st", node().map(|node| node.status.as_str())),
        "nodeweight" => one("weight", node().map(|node| node.weight.to_string()).as_deref()),
        "nodesite" => one("site", node().map(|node| node.site.as_str())),
        "nodetype" => one("nodetype", node().map(|node| node.kind.as_str())),
        // a node without links gets no reply at all from the original, and its client hangs
        "iflist" => last_is_ok(
            kind,
            node()
                .into_iter()
                .flat_map(|node| &node.links)
                .map(|link| response(kind).with("ifname", &link.name).with("st", &link.status)),
        ),
        "ifstatus" => one("st", link_status(node(), request)),
        "numnodes" => {
            let normal = view.nodes.iter().filter(|node| node.kind == "normal").count();
            one("numnodes", Some(&normal.to_string()))
        }
        "getparm" => vec![parameter(parameters, request)],
        "getrsc" if parameters.unmanaged => {
            vec![response(kind).with("result", "badreq").with("info", UNMANAGED)]
        }
        "getrsc" => one("rsc_hold", Some(&view.resource_status)),
        "getuuid" => vec![uuid_of(view, request)],
        "getnodename" => vec![name_of(view, request)],
        _ => vec![response(kind).with("result", "badreq")],
    }
}

fn sign_on(
    caller: &Caller,
    online: &[&str],
    view: &ClusterView,
    parameters: &Parameters,
    request: &Message,
) -> Answer {
    let mut reply = response("signon");
    let result = identify(caller, online, parameters, request);
    match &result {
        Ok(_) => reply.push_text("result", "OK"),
        Err(reason) => {
            reply.push_text("info", reason);
            reply.push_text("result", "badreq");
        }
    }
    let reply = reply
        .with("deadtime", &format!("{:x}", parameters.dead_time_ms))
        .with("keepalive", &format!("{:x}", parameters.keepalive_ms))
        .with("node", &view.local)
        .with("hbversion", &parameters.version_text)
        .with("pacemaker", "false")
        .with("logfacility", &parameters.log_facility.to_string());
    let effect = match result {
        Ok(identity) => Effect::SignOn(identity),
        Err(reason) => Effect::Remove(reason.to_owned()),
    };
    Answer { replies: vec![reply], effect }
}

/// Checks what a client says of itself against the kernel's word and `apiauth`; the error is the
/// reason as the original words it.
fn identify(
    caller: &Caller,
    online: &[&str],
    parameters: &Parameters,
    request: &Message,
) -> Result<Identity, &'static str> {
    let pid = request.decimal("pid").and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let pid = pid.ok_or("bad pid")?;
    let id = request.text("from_id").filter(|id| !id.is_empty());
    let pid_text = pid.to_string();
    let casual = id.is_none_or(|id| id == pid_text);
    let id = id.unwrap_or(&pid_text);
    if id.len() > CLIENT_NAME_MAX_BYTES || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("client failed authorization");
    }
    if online.contains(&id) {
        return Err("duplicate add request");
    }
    let real = caller.credentials;
    let claims = |field: &str, real: u32| request.decimal(field) == Some(u64::from(real));
    if !claims("uid", real.uid) || !claims("gid", real.gid) {
        return Err("incorrect/false credentials");
    }
    authorize(if casual { "anon" } else { id }, real, &parameters.api_auth)?;
    // unknown when the client lives in another process namespace
    if real.pid.is_some_and(|real| real > 0 && real != pid) {
        return Err("pid mismatch");
    }
    Ok(Identity { id: id.to_owned(), casual })
}

fn authorize(name: &str, real: Credentials, lines: &[ApiAuth]) -> Result<(), &'static str> {
    let find = |name: &str| lines.iter().find(|line| line.client == name);
    let line = match (find(name), name) {
        (Some(line), _) => line,
        (None, "anon") => return Err("apiauth anon missing"),
        (None, _) => find("default").ok_or("no default client auth")?,
    };
    let listed = line.uids.contains(&real.uid) || line.gids.contains(&real.gid);
    listed.then_some(()).ok_or("client failed authorization")
}

/// Later requests must carry the name given at signon.
fn is_caller(identity: &Identity, request: &Message) -> bool {
    let id = request.text("from_id").or(request.text("pid"));
    id.is_none_or(|id| id == identity.id)
}

/// Messages that only a daemon may send: a client that could send them could stop or split the
/// cluster. The original sends them all.
const OF_DAEMONS: &[&str] = &[
    "status",
    "starting",
    "resource",
    "shutdone",
    "reqnodes",
    "repnodes",
    "addnode",
    "delnode",
    "setweight",
    "setsite",
    "ip-request-resp",
    "harefuse",
    "hbapi-clstat",
    "respond-cstatus",
    RESPONSE,
];

/// Anything but a request is a message for the client's namesakes on all nodes.
fn cluster_message(identity: &Identity, message: &Message) -> Answer {
    if identity.casual {
        return effect(Effect::Remove("badclient".into()));
    }
    let kind = message.kind();
    if kind.is_empty() {
        return effect(Effect::Ignored("api_process_request: bad message type".into()));
    }
    let answer_of_standby = kind == "ask_resources" && message.text("info") != Some("me");
    if OF_DAEMONS.contains(&kind) || kind.starts_with("NS_") || answer_of_standby {
        let kind: String = kind.chars().take(32).collect();
        return effect(Effect::Ignored(format!("only a daemon may send {kind:?}; the message was dropped")));
    }
    let mut message = message.clone();
    message.set_text("from_id", &identity.id);
    message.set_text("to_id", &identity.id);
    effect(Effect::ClusterMessage(message))
}

fn set_filter(caller: &Caller, request: &Message) -> Answer {
    let mask = request.hex("fmask").and_then(|mask| u32::try_from(mask).ok()).unwrap_or(0) & FILTER_BITS;
    if mask == 0 {
        return replies(vec![invalid("setfilter")]);
    }
    if mask != FILTER_KEPT && caller.credentials.uid != 0 {
        return replies(vec![response("setfilter").with("result", "badreq").with("info", "EPERM")]);
    }
    accepted("setfilter", Effect::Filter(mask))
}

fn set_signal(request: &Message) -> Answer {
    let Some(text) = request.text("signal") else {
        return replies(vec![response("setsignal").with("result", "badreq")]);
    };
    match text.parse::<i32>() {
        Ok(signal) if (0..=31).contains(&signal) && signal != 9 && signal != 19 => {
            accepted("setsignal", Effect::Signal(signal))
        }
        _ => replies(vec![invalid("setsignal")]),
    }
}

fn client_status(online: &[&str], view: &ClusterView, parameters: &Parameters, request: &Message) -> Answer {
    let node = request.text("node").and_then(|name| find_node(view, name));
    let (Some(node), Some(client)) = (node, request.text("cn")) else {
        return replies(vec![invalid("clientstatus")]);
    };
    let local = node.name == view.local;
    if !local && node.status == "active" && parameters.ask_peers {
        return effect(Effect::AskPeer { node: node.name.clone(), client: client.to_owned() });
    }
    let state = if local && online.contains(&client) { "online" } else { "offline" };
    let reply = response("clientstatus").with("subt", "respond-cstatus").with("cs", state);
    replies(vec![reply.with("result", "OK")])
}

fn status_report(view: &ClusterView, parameters: &Parameters) -> Answer {
    let report = StatusReport {
        version: parameters.version_text.clone(),
        program: concat!("ha ", env!("CARGO_PKG_VERSION")).to_owned(),
        pid: parameters.pid,
        dead_time_ms: parameters.dead_time_ms,
        keepalive_ms: parameters.keepalive_ms,
        view: view.clone(),
    };
    let reply = response("ha-status");
    replies(vec![match serde_json::to_string(&report) {
        Ok(json) if json.len() < BODY_MAX_BYTES - 256 => reply.with("status", &json).with("result", "OK"),
        Ok(_) => reply.with("result", "badreq").with("info", "the status is too long for one frame"),
        Err(error) => reply.with("result", "badreq").with("info", &error.to_string()),
    }])
}

fn command(caller: &Caller, parameters: &Parameters, request: &Message) -> Answer {
    let Credentials { uid, gid, .. } = caller.credentials;
    let refuse = |reason: &str| replies(vec![command_reply(Err(reason))]);
    if uid != 0 && parameters.command_gid != Some(gid) {
        return refuse("only root and the group of the socket's directory may give this command");
    }
    if request.text("command") == Some("maintenance") {
        let for_ms = request.decimal("for_ms");
        return effect(Effect::Command(
            for_ms.map_or(CommandRequest::MaintenanceOff, CommandRequest::MaintenanceOn),
        ));
    }
    if request.text("command") == Some("confirm-takeover") {
        return effect(Effect::Command(CommandRequest::ConfirmTakeover));
    }
    let set = match request.text("rsc_hold") {
        Some("all") => ResourceSet::ALL,
        Some("local") => ResourceSet::LOCAL,
        Some("foreign") => ResourceSet::FOREIGN,
        // everything goes home: giving away what is foreign, or wanting what is our own
        Some("failback") if request.text("command") == Some("takeover") => ResourceSet::LOCAL,
        Some("failback") => ResourceSet::FOREIGN,
        _ => return refuse("rsc_hold must be all, local, foreign or failback"),
    };
    match request.text("command") {
        Some("standby") => effect(Effect::Command(CommandRequest::Standby(set))),
        Some("takeover") => effect(Effect::Command(CommandRequest::Takeover(set))),
        _ => refuse("command must be standby, takeover or confirm-takeover"),
    }
}

fn parameter(parameters: &Parameters, request: &Message) -> Message {
    let Some(name) = request.text("pname") else { return invalid("getparm") };
    let recorded = parameters.recorded.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let value = recorded.or(match name {
        "crm" | "pacemaker" => Some("false"),
        "hbversion" => parameters.version_text.split(' ').next(),
        _ => None,
    });
    let reply = response("getparm");
    match value {
        Some(value) => reply.with("pvalue", value),
        None => reply,
    }
    .with("result", "OK")
}

fn uuid_of(view: &ClusterView, request: &Message) -> Message {
    let mut reply = response("getuuid");
    let Some(name) = request.text("queryname") else { return invalid("getuuid") };
    let uuid =
        find_node(view, name).and_then(|node| node.uuid.as_deref()?.parse::<crate::types::Uuid>().ok());
    if let Some(uuid) = uuid {
        reply.push("queryuuid", Value::Binary(uuid.0.to_vec()));
    }
    reply.with("result", "OK")
}

fn name_of(view: &ClusterView, request: &Message) -> Message {
    let Some(uuid) = request.uuid("queryuuid") else { return invalid("getnodename") };
    let text = uuid.to_string();
    let reply = response("getnodename");
    match view.nodes.iter().find(|node| node.uuid.as_deref() == Some(&text)) {
        Some(node) => reply.with("queryname", &node.name),
        None => reply,
    }
    .with("result", "OK")
}

fn link_status<'v>(node: Option<&'v NodeView>, request: &Message) -> Option<&'v str> {
    let name = request.text("ifname")?;
    node?.links.iter().find(|link| link.name == name).map(|link| link.status.as_str())
}

/// By name, ASCII case ignored as in the original.
fn find_node<'v>(view: &'v ClusterView, name: &str) -> Option<&'v NodeView> {
    view.nodes.iter().find(|node| node.name.eq_ignore_ascii_case(name))
}

/// All but the last reply say that more come. No replies at all: one that says EINVAL.
fn last_is_ok(kind: &str, items: impl Iterator<Item = Message>) -> Vec<Message> {
    let mut items: Vec<Message> = items.collect();
    let count = items.len();
    if count == 0 {
        return vec![invalid(kind)];
    }
    for (index, item) in items.iter_mut().enumerate() {
        item.push_text("result", if index + 1 == count { "OK" } else { "ok/more" });
    }
    items
}

fn response(kind: &str) -> Message {
    Message::new(RESPONSE).with("reqtype", kind)
}

fn invalid(kind: &str) -> Message {
    response(kind).with("result", "badreq").with("info", "EINVAL")
}

fn replies(replies: Vec<Message>) -> Answer {
    Answer { replies, effect: Effect::None }
}

fn effect(effect: Effect) -> Answer {
    Answer { replies: Vec::new(), effect }
}

fn accepted(kind: &str, effect: Effect) -> Answer {
    Answer { replies: vec![response(kind).with("result", "OK")], effect }
}

#[cfg(test)]
mod tests;
