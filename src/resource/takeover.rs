//! `mach_down` and `req_resource`: what scripts of `rc.d` call to take groups (resources spec 2.4,
//! 2.5). Our daemon takes groups itself; these serve a daemon of the original, and people.

use std::path::PathBuf;

use crate::sys::fifo;
use crate::types::DONE_VARIABLE;

use super::manager::Manager;
use super::script::{current_host, FIFO};
use super::script_log::ScriptLog;

/// `mach_down NODE`: starts every group of that node here and tells the daemon so. Exit code 0, but 1
/// when the daemon could not be told. Nothing is done for this node itself, for ping nodes, and where
/// the daemon has done it.
pub fn mach_down(called_as: &str, words: &[String]) -> u8 {
    let node = words.first().map(|word| word.to_lowercase()).unwrap_or_default();
    let log = ScriptLog::from_environment("mach_down", "default");
    if node.is_empty() || node == current_host() || variable("HA_info").contains("ping") {
        return 0;
    }
    if variable(DONE_VARIABLE) == "yes" {
        log.line(&format!("info: {called_as}: the daemon itself has taken over from node {node}"));
        return 0;
    }
    let manager = Manager::by_hand();
    for key in manager.keys_of(&node) {
        log.line(&format!("info: Taking over resource group {key}"));
        manager.take_by_hand(&key);
    }
    let mut code = 0;
    if variable("HA_NICEFAILBACK").eq_ignore_ascii_case("yes") {
        log.line(&format!("info: {called_as}: nice_failback: foreign resources acquired"));
        let claim = [("t", "resource"), ("rsc_hold", "foreign"), ("info", "mach_down")];
        code = tell(&log, &claim);
    }
    log.line(&format!("info: mach_down takeover complete for node {node}."));
    code
}

/// `req_resource KEY`: nothing when the resource is active here; else asks the daemon for its group.
/// Exit code 0, but 1 when the daemon could not be told.
pub fn req_resource(called_as: &str, words: &[String]) -> u8 {
    let Some(key) = words.first().filter(|key| !key.is_empty()) else { return 0 };
    if variable(DONE_VARIABLE) == "yes" || Manager::by_hand().is_active(key) {
        return 0;
    }
    let log = ScriptLog::from_environment("req_resource", "default");
    let (alone, nice) = (variable("HA_DONTASK"), variable("HA_NICEFAILBACK"));
    if !matches!(variable("HA_debug").as_str(), "" | "0") {
        log.line(&format!("debug: in {called_as} {}", words.join(" ")));
        log.line(&format!("debug: dont_ask: {alone} nice_failback: {nice}"));
    }
    let host = current_host();
    let granted =
        [("t", "ip-request-resp"), ("dest", &host), ("ipaddr", key), ("weown", "yes"), ("ok", "OK")];
    let request = [("t", "ip-request"), ("ipaddr", key.as_str())];
    tell(&log, if alone == "yes" || nice == "yes" { &granted } else { &request })
}

/// Gives a message to the daemon; the exit code says whether that went well.
fn tell(log: &ScriptLog, fields: &[(&str, &str)]) -> u8 {
    let path = Some(variable("HA_FIFO")).filter(|path| !path.is_empty());
    let path = PathBuf::from(path.unwrap_or_else(|| FIFO.to_owned()));
    let sent = match fields.iter().find(|(_, value)| value.contains(['\n', '\0'])) {
        Some((name, _)) => Err(format!("line break in {name}")),
        None => fifo::write_whole(&path, text_of(fields).as_bytes()),
    };
    match sent {
        Ok(()) => 0,
        Err(why) => {
            log.line(&format!("ERROR: {}: {why}; heartbeat was not told", path.display()));
            1
        }
    }
}

fn text_of(fields: &[(&str, &str)]) -> String {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    format!(">>>\n{lines}<<<\n")
}

/// Of the environment; empty when not set.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_fifos_form() {
        assert_eq!(
            text_of(&[("t", "ip-request"), ("ipaddr", "a::b")]),
            ">>>\nt=ip-request\nipaddr=a::b\n<<<\n"
        );
    }
}
