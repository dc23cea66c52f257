//! `ha status`: the cluster at a glance, for a tired person at night; `--json` for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::client::{Client, ClientError, TIMEOUT_MS};
use super::requests::StatusReport;
use super::terminal::Terminal;
use crate::cluster::view::{ClusterView, GroupView, LinkView, NodeView};
use crate::log::line::clean;

/// Exit code: all is well.
pub const WELL: u8 = 0;
/// Exit code: something needs a person.
pub const ATTENTION: u8 = 1;
/// Exit code: the daemon is not running or does not answer.
pub const NOT_RUNNING: u8 = 3;

/// Prints the state; the value is the exit code: 0 all is well, 1 something needs attention,
/// 3 no daemon.
pub fn run(as_json: bool, socket: &Path, terminal: &mut Terminal<'_>) -> u8 {
    let report = match fetch(socket) {
        Ok(report) => report,
        Err(error) => {
            if as_json {
                terminal.say(&json!({ "running": false, "error": error.to_string() }).to_string());
            } else {
                terminal.complain(&format!("ha status: {error}"));
            }
            return NOT_RUNNING;
        }
    };
    let worries = worries(&report.view);
    if as_json {
        let value = json!({ "running": true, "attention": worries, "report": report });
        terminal.say(&format!("{value:#}"));
    } else {
        let _ = write!(terminal.out, "{}", render(&report));
    }
    if worries.is_empty() {
        WELL
    } else {
        ATTENTION
    }
}

/// The daemon's whole picture; from an original daemon what it answers to the old questions.
///
/// # Errors
/// No daemon answers.
pub fn fetch(socket: &Path) -> Result<StatusReport, ClientError> {
    let mut client = Client::sign_on(socket, TIMEOUT_MS)?;
    let reply = client.request("ha-status", &[])?;
    match (reply.text("status"), reply.text("info")) {
        (Some(text), _) => {
            serde_json::from_str(text).map_err(|error| ClientError::Unreadable(error.to_string()))
        }
        (None, Some(reason)) => Err(ClientError::Refused(reason.to_owned())),
        (None, None) => from_original(&mut client),
    }
}

fn from_original(client: &mut Client) -> Result<StatusReport, ClientError> {
    let welcome = client.welcome().clone();
    let mut view = ClusterView {
        local: welcome.text("node").unwrap_or("").to_owned(),
        communication_up: true,
        ..ClusterView::default()
    };
    let reply = client.request("getrsc", &[])?;
    view.resource_status = reply.text("rsc_hold").unwrap_or("unknown").to_owned();
    for node in client.request_list("nodelist", &[])? {
        let text = |name: &str| node.text(name).unwrap_or("").to_owned();
        let mut known = NodeView {
            name: text("node"),
            status: text("st"),
            kind: text("nodetype"),
            ..NodeView::default()
        };
        for link in client.request_list("iflist", &[("node", &known.name)])? {
            if let (Some(name), Some(status)) = (link.text("ifname"), link.text("st")) {
                let (name, status) = (name.to_owned(), status.to_owned());
                known.links.push(LinkView { name, status, last_packet_age_ms: None });
            }
        }
        view.nodes.push(known);
    }
    Ok(StatusReport {
        version: welcome.text("hbversion").unwrap_or("unknown").to_owned(),
        program: String::new(),
        pid: 0,
        dead_time_ms: welcome.hex("deadtime").unwrap_or(0),
        keepalive_ms: welcome.hex("keepalive").unwrap_or(0),
        view,
    })
}

/// What needs a person, one sentence each; empty when all is well.
pub fn worries(view: &ClusterView) -> Vec<String> {
    let mut worries = view.alarms.clone();
    if !view.communication_up {
        worries
            .push("communication is not up yet: no other node was heard and initdead has not passed".into());
    }
    for node in &view.nodes {
        let name = &node.name;
        let fine = matches!(node.status.as_str(), "active" | "up" | "ping" | "init");
        if node.kind == "ping" && !fine {
            worries.push(format!("ping node {name} does not answer"));
        } else if !fine {
            worries.push(format!("{name} is {}", node.status));
        } else if *name != view.local {
            // Whether a node hears itself depends on the medium and means nothing.
            let down = node.links.iter().filter(|link| link.status != "up");
            worries.extend(down.map(|link| format!("link {} to {name} is {}", link.name, link.status)));
        }
    }
    for group in &view.groups {
        let failed = group.resources.iter().filter(|resource| resource.state == "failed");
        worries.extend(failed.map(|resource| format!("resource {} has failed", resource.word)));
        let troubled = group.resources.iter().filter(|resource| !resource.trouble.is_empty());
        worries.extend(troubled.map(|resource| format!("{}: {}", resource.word, resource.trouble)));
        if group.holder.is_empty() && view.communication_up && !in_transition(view) {
            worries.push(format!("group {} is held by no node", group.key));
        }
    }
    worries
}

/// The page `ha status` prints. Pure.
pub fn render(report: &StatusReport) -> String {
    let view = &report.view;
    let mut page = headline(view);
    page.push('\n');
    let worries = worries(view);
    if worries.is_empty() {
        page.push_str(if in_transition(view) { "Nothing needs attention.\n" } else { "All is well.\n" });
    } else {
        page.push_str("NEEDS ATTENTION:\n");
        for worry in &worries {
            let _ = writeln!(page, "  * {}", clean(worry));
        }
    }
    page.push_str(&guards(report));
    section(&mut page, "Nodes", nodes(view));
    section(&mut page, "Links", links(view));
    section(&mut page, "Resource groups", groups(view));
    page.push('\n');
    page.push_str(&footer(report));
    page
}

/// What stands between the pair and two owners; an original daemon does not say.
fn guards(report: &StatusReport) -> String {
    let view = &report.view;
    let nodes = view.nodes.iter().filter(|node| node.kind != "ping").count();
    match view.guards.is_empty() {
        false => view.guards.iter().map(|guard| format!("Guard: {}\n", clean(guard))).collect(),
        true if nodes < 2 || report.program.is_empty() || view.resource_status == "none" => String::new(),
        true => "Guard: none stands between this pair and two owners when its links fail\n".to_owned(),
    }
}

fn in_transition(view: &ClusterView) -> bool {
    view.resource_status == "transition" || !view.transition.is_empty()
}

/// `node1 holds: local (its own groups)`, and what is under way.
fn headline(view: &ClusterView) -> String {
    let mut line = if view.resource_status == "transition" {
        format!("{} is in transition", view.local)
    } else {
        format!("{} holds: {}{}", view.local, view.resource_status, in_words(&view.resource_status))
    };
    if !view.transition.is_empty() {
        let _ = write!(line, "\nUnder way: {}", clean(&view.transition));
    }
    if view.resource_status == "transition" && !view.holding.is_empty() {
        let _ = write!(line, "\nClaimed until it is over: {}{}", view.holding, in_words(&view.holding));
    }
    line.push('\n');
    line
}

fn in_words(set: &str) -> &'static str {
    match set {
        "none" => " (no groups)",
        "local" => " (its own groups)",
        "foreign" => " (the other node's groups)",
        "all" => " (its own and the other node's groups)",
        _ => "",
    }
}

fn nodes(view: &ClusterView) -> Vec<Vec<String>> {
    let note = |node: &NodeView| {
        let mut notes = Vec::new();
        if node.name == view.local {
            notes.push("this node".to_owned());
        }
        if node.kind == "ping" {
            notes.push("ping node".to_owned());
        }
        if node.speaks_extensions == Some(false) {
            notes.push("an original heartbeat".to_owned());
        }
        notes.join(", ")
    };
    let claims = |node: &NodeView| match node.holding.as_str() {
        "" => String::new(),
        set => format!("claims {set}{}", in_words(set)),
    };
    view.nodes
        .iter()
        .map(|node| vec![node.name.clone(), node.status.clone(), claims(node), note(node)])
        .collect()
}

fn links(view: &ClusterView) -> Vec<Vec<String>> {
    let row = |node: &NodeView, link: &LinkView| {
        vec![node.name.clone(), link.name.clone(), link.status.clone(), age(link)]
    };
    view.nodes.iter().flat_map(|node| node.links.iter().map(move |link| row(node, link))).collect()
}

fn age(link: &LinkView) -> String {
    match link.last_packet_age_ms {
        Some(ms) => format!("last beat {} ago", duration(ms)),
        None => String::new(),
    }
}

/// Milliseconds below a second, else seconds, minutes, hours, days; two units at most.
fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=9 => format!("{seconds}.{} s", ms % 1000 / 100),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min {} s", seconds / 60, seconds % 60),
        7200..=172_799 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

fn groups(view: &ClusterView) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for group in &view.groups {
        rows.push(vec![group.key.clone(), held_by(view, group), format!("home {}", group.node)]);
        for resource in &group.resources {
            let state = if resource.state.is_empty() { "unknown" } else { &resource.state };
            let parts = [&resource.watch, &resource.trouble].map(String::as_str);
            let watch = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
            rows.push(vec![format!("  {}", resource.word), state.to_owned(), watch]);
        }
    }
    rows
}

fn held_by(view: &ClusterView, group: &GroupView) -> String {
    match group.holder.as_str() {
        "" => "held by no node".to_owned(),
        holder if holder == view.local => format!("held here ({holder})"),
        holder => format!("held by {holder}"),
    }
}

fn footer(report: &StatusReport) -> String {
    let mut line = match report.program.as_str() {
        "" => format!("Heartbeat {}", report.version),
        // The long version text is for programs that compare it.
        program => {
            let compatible = report.version.split(' ').next().unwrap_or("");
            format!("{program} (as Heartbeat {compatible})")
        }
    };
    if report.pid != 0 {
        let _ = write!(line, ", process {}", report.pid);
    }
    let (keepalive, dead) = (duration(report.keepalive_ms), duration(report.dead_time_ms));
    let _ = writeln!(line, ", beat every {keepalive}, dead after {dead}");
    line
}

/// A title and aligned columns; nothing when there are no rows.
///
/// Names and states come from peers, too: what could drive the terminal is escaped.
fn section(page: &mut String, title: &str, mut rows: Vec<Vec<String>>) {
    for cell in rows.iter_mut().flatten() {
        *cell = clean(cell).into_owned();
    }
    if rows.is_empty() {
        return;
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let _ = writeln!(page, "\n{title}");
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  ");
        let _ = writeln!(page, "  {}", line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::view::ResourceView;

    fn node(name: &str, status: &str, holding: &str, links: &[(&str, &str, u64)]) -> NodeView {
        NodeView {
            name: name.into(),
            status: status.into(),
            kind: "normal".into(),
            weight: 100,
            holding: holding.into(),
            links: links
                .iter()
                .map(|(name, status, age)| LinkView {
                    name: (*name).into(),
                    status: (*status).into(),
                    last_packet_age_ms: Some(*age),
                })
                .collect(),
            ..NodeView::default()
        }
    }

    fn group(node: &str, set: &str, holder: &str, words: &[(&str, &str)]) -> GroupView {
        let resources = words
            .iter()
            .map(|(word, state)| ResourceView {
                word: (*word).into(),
                state: (*state).into(),
                ..ResourceView::default()
            })
            .collect();
        let key = words[0].0.into();
        GroupView { key, node: node.into(), set: set.into(), holder: holder.into(), resources }
    }

    fn healthy() -> StatusReport {
        let mut peer = node("node2", "active", "local", &[("eth1", "up", 62), ("eth0", "up", 1_230)]);
        peer.speaks_extensions = Some(false);
        StatusReport {
            version: "3.0.6".into(),
            program: String::new(),
            pid: 4711,
            dead_time_ms: 10_000,
            keepalive_ms: 500,
            view: ClusterView {
                local: "node1".into(),
                resource_status: "local".into(),
                holding: "local".into(),
                communication_up: true,
                nodes: vec![node("node1", "active", "local", &[("eth1", "up", 4), ("eth0", "up", 5)]), peer],
                groups: vec![
                    group(
                        "node1",
                        "local",
                        "node1",
                        &[("10.0.0.1/24/eth0", "running"), ("httpd", "running")],
                    ),
                    group("node2", "foreign", "node2", &[("10.0.0.2", "stopped")]),
                ],
                ..ClusterView::default()
            },
        }
    }

    #[test]
    fn what_guards_the_pair_is_shown() {
        let mut report = healthy();
        assert!(!render(&report).contains("Guard"), "an original says nothing of it");
        report.program = "ha 1".into();
        assert!(render(&report).contains("Guard: none stands between this pair and two owners"));
        report.view.guards = vec!["a \x1b[2Jperson".into()];
        let page = render(&report);
        assert!(page.contains("Guard: a ") && !page.contains('\x1b'), "{page}");
        assert!(!page.contains("none stands"));
    }

    #[test]
    fn a_healthy_pair() {
        assert_eq!(
            render(&healthy()),
            "\
node1 holds: local (its own groups)

All is well.

Nodes
  node1  active  claims local (its own groups)  this node
  node2  active  claims local (its own groups)  an original heartbeat

Links
  node1  eth1  up  last beat 4 ms ago
  node1  eth0  up  last beat 5 ms ago
  node2  eth1  up  last beat 62 ms ago
  node2  eth0  up  last beat 1.2 s ago

Resource groups
  10.0.0.1/24/eth0    held here (node1)  home node1
    10.0.0.1/24/eth0  running
    httpd             running
  10.0.0.2            held by node2      home node2
    10.0.0.2          stopped

Heartbeat 3.0.6, process 4711, beat every 500 ms, dead after 10 s
"
        );
    }

    #[test]
    fn a_dead_peer_and_a_failed_resource() {
        let mut report = healthy();
        let view = &mut report.view;
        view.resource_status = "all".into();
        view.nodes[1] =
            node("node2", "dead", "none", &[("eth1", "dead", 90_500_000), ("eth0", "dead", 130_000)]);
        view.groups[1].holder = "node1".into();
        view.groups[1].resources[0].state = "failed".into();
        view.alarms.push("no fencing is configured".into());
        let page = render(&report);
        assert!(page.starts_with(
            "\
node1 holds: all (its own and the other node's groups)

NEEDS ATTENTION:
  * no fencing is configured
  * node2 is dead
  * resource 10.0.0.2 has failed
"
        ));
        assert!(page.contains("  node2  eth1  dead  last beat 25 h 8 min ago\n"));
        assert!(page.contains("  node2  eth0  dead  last beat 2 min 10 s ago\n"));
    }

    #[test]
    fn a_watched_service_and_what_is_wrong_with_it() {
        let mut report = healthy();
        let resource = &mut report.view.groups[0].resources[1];
        resource.watch = "asked every 10 s".into();
        assert!(render(&report).contains("    httpd             running            asked every 10 s\n"));
        assert!(worries(&report.view).is_empty());
        report.view.groups[0].resources[1].trouble = "does not work (1 of 3)".into();
        assert_eq!(worries(&report.view), ["httpd: does not work (1 of 3)"]);
        assert!(render(&report).contains("  asked every 10 s: does not work (1 of 3)\n"));
    }

    #[test]
    fn what_a_peer_sends_cannot_drive_the_terminal() {
        let mut report = healthy();
        report.view.nodes[1].status = "\u{1b}[2Jdead\nAll is well.".into();
        let page = render(&report);
        assert!(!page.contains('\u{1b}'));
        assert!(!page.lines().any(|line| line == "All is well."));
    }

    #[test]
    fn a_lost_link_is_a_worry_though_the_node_lives() {
        let mut report = healthy();
        report.view.nodes[1].links[0].status = "dead".into();
        assert_eq!(worries(&report.view), ["link eth1 to node2 is dead"]);
    }

    #[test]
    fn a_handover_under_way() {
        let mut report = healthy();
        let view = &mut report.view;
        view.resource_status = "transition".into();
        view.transition = "giving local to node2".into();
        view.groups[0].holder = String::new();
        assert!(worries(view).is_empty());
        assert!(render(&report).starts_with(
            "\
node1 is in transition
Under way: giving local to node2
Claimed until it is over: local (its own groups)

Nothing needs attention.
"
        ));
    }

    #[test]
    fn a_group_nobody_holds_is_a_worry() {
        let mut report = healthy();
        report.view.groups[1].holder = String::new();
        assert_eq!(worries(&report.view), ["group 10.0.0.2 is held by no node"]);
    }
}
