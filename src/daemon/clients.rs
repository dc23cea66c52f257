//! What API clients ask of the daemon beyond plain questions: joining, leaving, messages to their
//! namesakes, questions about other nodes' clients (messaging spec 7.4).

use crate::cluster::event::{Command, Input, RequestId};
use crate::config::settings::HaCf;
use crate::ipc::requests::{ApiAuth, CommandRequest, FILTER_DROPPED, FILTER_DUPLICATE};
use crate::ipc::server::{ClientEvent, ClientId, Demand, Member};
use crate::types::LogLevel;
use crate::wire;
use crate::wire::message::Message;

use super::driver::{now, Driver};
use super::respawn::STOP_PATIENCE;

/// Requests of clients that may wait for the cluster's answer.
const REQUESTS_MAX: usize = 64;
/// Most bytes of a client's message as a datagram, with room for the control fields: UDP carries no
/// more than 65507.
const DATAGRAM_MAX_BYTES: usize = 65_507 - 1024;

impl Driver {
    /// News of the client socket.
    pub(super) fn client(&mut self, event: ClientEvent) {
        let (client, message) = match event {
            ClientEvent::Request { client, message } => (client, message),
            ClientEvent::Gone { client, member, reason, .. } => {
                // What it asked for goes on; nobody waits for the answer any more.
                self.requests.retain(|(_, waiting)| *waiting != client);
                if let Some(member) = member {
                    self.announce(&member, "leave", leave_reason(&reason));
                }
                return;
            }
        };
        let mut view = self.cluster.view(now());
        self.groups.add_to(&mut view);
        self.bad_packets.add_to(&mut view);
        match self.server.handle(client, &message, &view, &self.parameters) {
            Some(Demand::Command(request)) => self.command_of_client(client, request),
            Some(Demand::Joined { client, member, welcome }) => {
                self.announce(&member, "join", "signon");
                self.server.send(client, &welcome);
            }
            Some(Demand::ClusterMessage(message)) => self.message_of_client(message),
            Some(Demand::AskPeer { node, client, from }) => {
                let question = Message::new("query-cstatus")
                    .with("dest", &node)
                    .with("cn", &client)
                    .with("from_id", &from);
                self.feed(Input::LocalMessage(question));
            }
            None => {}
        }
    }

    /// Hands a message to the clients, and does what it asks of this daemon itself.
    pub(super) fn deliver(&mut self, message: &Message, unchanged: bool) {
        let own = message.text("src") == Some(self.local.as_str());
        match message.kind() {
            // A question to this daemon; no client gets it.
            "query-cstatus" => return self.answer_about_client(message),
            // Everything is released: what hangs on the cluster must not outlive it.
            "shutdone" if own => self.respawn.stop(STOP_PATIENCE),
            _ => {}
        }
        self.server.deliver(message, unchanged);
    }

    /// Clients may ask for the copies that come by other media (`setfilter`, messaging spec 7.4).
    pub(super) fn show_copy(&mut self, bytes: &[u8]) {
        if self.server.is_wanted(FILTER_DUPLICATE) {
            if let Ok(copy) = wire::decode_datagram(bytes, &self.keys) {
                self.server.deliver_for(&copy.message, FILTER_DUPLICATE);
            }
        }
    }

    /// What this node sends to another one it drops itself, and clients may ask for that.
    pub(super) fn show_own(&mut self, message: &Message) {
        let for_others = message.text("dest").is_some_and(|dest| dest != self.local.as_str());
        if for_others && self.server.is_wanted(FILTER_DROPPED) {
            self.server.deliver_for(message, FILTER_DROPPED);
        }
    }

    fn answer_about_client(&mut self, question: &Message) {
        let (Some(asker), Some(client), Some(from)) =
            (question.text("src"), question.text("cn"), question.text("from_id"))
        else {
            return;
        };
        let state = if self.server.online().contains(&client) { "online" } else { "offline" };
        let answer = Message::new("respond-cstatus")
            .with("dest", asker)
            .with("result", "OK")
            .with("cn", client)
            .with("to_id", from)
            .with("cs", state);
        self.feed(Input::LocalMessage(answer));
    }

    fn announce(&mut self, member: &Member, state: &str, reason: &str) {
        let message = member.announcement(state, self.local.as_str(), reason);
        self.feed(Input::LocalMessage(message));
    }

    /// A message that could not be sent must not take a number: the others would ask for it for ever.
    fn message_of_client(&mut self, message: Message) {
        let known = |dest: &str| self.cluster.view(now()).nodes.iter().any(|node| node.name == dest);
        let refusal = match message.text("dest") {
            Some(dest) if !known(dest) => Some(format!("there is no node {dest:?}")),
            _ => match wire::encode_datagram(&message, &self.keys, None, &self.format) {
                Ok(bytes) if bytes.len() > DATAGRAM_MAX_BYTES => {
                    Some(format!("{} bytes are too many for one packet", bytes.len()))
                }
                Ok(_) => None,
                Err(error) => Some(error.to_string()),
            },
        };
        match refusal {
            None => self.feed(Input::LocalMessage(message)),
            Some(reason) => {
                let kind: String = message.kind().chars().filter(|c| !c.is_control()).take(32).collect();
                let from = message.text("from_id").unwrap_or("");
                let text = format!("a {kind} message of client {from} was not sent: {reason}");
                self.log_refusal(&text);
            }
        }
    }

    fn log_refusal(&mut self, text: &str) {
        let verdict = self.refusals.check("message", crate::sys::time::monotonic_ms());
        if let Some(text) = verdict.apply(text) {
            self.logger.log(LogLevel::Error, &text);
        }
    }

    fn command_of_client(&mut self, client: ClientId, request: CommandRequest) {
        if self.requests.len() >= REQUESTS_MAX {
            self.server.finish_command(client, Err("too many requests are waiting; nothing was changed"));
            return;
        }
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.requests.push((id, client));
        let command = match request {
            CommandRequest::Standby(set) => Command::Standby(set),
            CommandRequest::Takeover(set) => Command::Takeover(set),
            CommandRequest::MaintenanceOn(for_ms) => Command::MaintenanceOn(for_ms),
            CommandRequest::MaintenanceOff => Command::MaintenanceOff,
            CommandRequest::ConfirmTakeover => Command::ConfirmTakeover,
        };
        self.feed(Input::Command { request: id, command });
    }
}

/// The original's word for why a client left.
fn leave_reason(reason: &str) -> &str {
    match reason {
        "signoff" | "EOF" | "badclient" => reason,
        reason if reason.starts_with("send failed") => "sendfail",
        _ => "noinput",
    }
}

/// `logfacility` as clients get it: shifted, 0 for `none`, -1 when the file does not say.
pub(super) fn log_facility(ha_cf: &HaCf) -> i32 {
    match ha_cf.log.facility {
        Some(facility) => i32::from(facility) << 3,
        None if ha_cf.parameter("logfacility").is_some() => 0,
        None => -1,
    }
}

/// The rules of ha.cf in the socket's form.
pub(super) fn api_auth(ha_cf: &HaCf) -> Vec<ApiAuth> {
    let rule = |rule: &crate::config::settings::ApiAuth| ApiAuth {
        client: rule.client.clone(),
        uids: rule.uids.clone(),
        gids: rule.gids.clone(),
    };
    ha_cf.api_auth.iter().map(rule).collect()
}
