//! `hb_standby` and `hb_takeover`: usage texts of the original (resources spec 6), but with an
//! answer: the daemon says whether it will, and a stopped daemon is an error at once.

use std::path::Path;

use super::client::{Client, TIMEOUT_MS};
use super::codec;
use super::terminal::Terminal;
use crate::sys::fifo;
use crate::types::DONE_VARIABLE;
use crate::wire::message::Message;

/// Where the original's scripts write (messaging spec 7.1).
pub const FIFO_PATH: &str = "/var/lib/heartbeat/fifo";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Give resources away.
    Standby,
    /// Take resources.
    Takeover,
}

/// Runs the tool; the value is the exit code: 0 when the daemon took the request (for an original
/// daemon: when it was written), 1 else. `called_as` is shown in the usage.
pub fn run(
    verb: Verb,
    called_as: &str,
    words: &[String],
    socket: &Path,
    fifo: &Path,
    terminal: &mut Terminal<'_>,
) -> u8 {
    let word = match words {
        [] => "all",
        [only] => only.as_str(),
        _ => {
            terminal.say(&format!("{called_as}: too many arguments"));
            return usage(called_as, terminal);
        }
    };
    if !matches!(word, "all" | "foreign" | "local" | "failback") {
        if word != "--help" {
            terminal.say(&format!("{called_as}: wrong resources({word})."));
        }
        return usage(called_as, terminal);
    }
    // The original's rc.d/hb_takeover calls hb_standby, which the daemon has done by then.
    if std::env::var(DONE_VARIABLE).is_ok_and(|value| value == "yes") {
        return 0;
    }
    match ask(verb, word, socket, fifo) {
        Ok(()) => {
            if verb == Verb::Standby {
                let shown = if word == "failback" { "foreign" } else { word };
                terminal.log_plain(&format!("Going standby [{shown}]."));
            }
            0
        }
        Err(reason) => {
            terminal.complain(&format!("{called_as}: ERROR: {reason}"));
            1
        }
    }
}

/// `ha takeover --confirm`: tells the daemon that the other node is down, so that a takeover that waits
/// for that goes on. The value is the exit code: 0 when it does, 1 else.
pub fn confirm_takeover(socket: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let reply = Client::sign_on(socket, TIMEOUT_MS)
        .and_then(|mut client| client.request("ha-command", &[("command", "confirm-takeover")]))
        .map_err(|error| format!("{error}; nothing was changed"));
    let result = reply.and_then(|reply| match (reply.text("result"), reply.text("info")) {
        (Some("OK"), _) => Ok(()),
        (_, Some(reason)) => Err(reason.to_owned()),
        (_, None) => Err("the daemon does not know the request: is it an original heartbeat?".to_owned()),
    });
    match result {
        Ok(()) => {
            terminal.say("the takeover goes on: see ha status");
            0
        }
        Err(reason) => {
            terminal.complain(&format!("ha takeover: {reason}"));
            1
        }
    }
}

fn usage(called_as: &str, terminal: &mut Terminal<'_>) -> u8 {
    terminal.say("usage:");
    terminal.complain(&format!("{called_as} [all|foreign|local|failback]"));
    1
}

fn ask(verb: Verb, word: &str, socket: &Path, fifo: &Path) -> Result<(), String> {
    let command = match verb {
        Verb::Standby => "standby",
        Verb::Takeover => "takeover",
    };
    let reply = Client::sign_on(socket, TIMEOUT_MS)
        .and_then(|mut client| client.request("ha-command", &[("command", command), ("rsc_hold", word)]))
        .map_err(|error| format!("{error}; no resources were moved"))?;
    match (reply.text("result"), reply.text("info")) {
        (Some("OK"), _) => Ok(()),
        (_, Some(reason)) => Err(format!("heartbeat refuses {command} [{word}]: {reason}")),
        // no reason given: an original daemon, which does not know the request
        (_, None) => write_fifo(fifo, &fifo_message(verb, word))
            .map_err(|why| format!("{why}; no resources were moved")),
    }
}

fn fifo_message(verb: Verb, word: &str) -> Message {
    match (verb, word) {
        (Verb::Standby, "failback") => fifo_message(verb, "foreign"),
        (Verb::Standby, _) => Message::new("ask_resources").with("rsc_hold", word).with("info", "me"),
        // the original sends the word as it is, and the other node takes "failback" for "all"
        (Verb::Takeover, "failback") => fifo_message(verb, "local"),
        (Verb::Takeover, _) => Message::new("hb_takeover").with("rsc_hold", word),
    }
}

/// Writes in one piece and never waits for a reader. The error says why nothing of use was written.
pub(super) fn write_fifo(path: &Path, message: &Message) -> Result<(), String> {
    let mut text = codec::encode_api(message);
    text.pop();
    fifo::write_whole(path, &text).map_err(|what| format!("{}: {what}", path.display()))
}
