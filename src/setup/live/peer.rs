//! What the daemon that runs here has heard of the other node's files.

use std::path::Path;

use super::Live;
use crate::config::below_root;
use crate::config::diagnostic::{Place, Severity};
use crate::ipc::status::fetch;
use crate::ipc::SOCKET_PATH;

/// How the daemon says that the files differ.
const DIFFERS: &str = "haresources differs from the file on node ";

/// All remarks of the peer. No daemon, no remarks.
pub(super) fn look(live: &mut Live<'_>) {
    let socket = below_root(SOCKET_PATH);
    if !Path::new(&socket).exists() {
        return;
    }
    let Ok(report) = fetch(&socket) else { return };
    for alarm in &report.view.alarms {
        if let Some(node) = alarm.strip_prefix(DIFFERS) {
            let message = format!("the daemon says that the file on node {node} differs from this one");
            let help =
                "the same file on both, then `heartbeat -r` on both: the nodes disagree on who has what";
            live.resource(Severity::Error, &Place::file(), message, help);
        }
    }
}
