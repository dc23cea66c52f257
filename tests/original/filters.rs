//! What a client of the API gets that asks for more than what is kept: copies, and what is dropped; and
//! packets that are lost on purpose (`OnlyForTesting`).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ha_core::demo::host::DAEMON;
use ha_core::demo::world::HostKind::{Original, Ours};
use ha_core::ipc::client::Client;

use crate::common::pairs::{group, Pair, NODES};
use crate::common::wait_for;
use crate::pair::pair_with;
use crate::stranger::{is_inside, start_inside};

const PATIENCE: Duration = Duration::from_secs(60);
/// `fmask` for the client inside, and what it was given: a type, a sender and a receiver each line.
const MASK: &str = "/var/log/filter-mask";
const SEEN: &str = "/var/log/filter-seen";
/// The client's end.
const CLIENT_LIMIT: Duration = Duration::from_secs(20);

/// Not a test: a client with a filter.
#[test]
fn inside_client() {
    if !is_inside() {
        return;
    }
    let mask = std::fs::read_to_string(MASK).expect("mask");
    let mut client = Client::sign_on(Path::new("/var/run/heartbeat/register"), 5000).expect("sign on");
    let reply = client.request("setfilter", &[("fmask", &mask)]).expect("reply");
    assert_eq!(reply.text("result"), Some("OK"));
    let end = Instant::now() + CLIENT_LIMIT;
    let mut seen = BTreeSet::new();
    while let Ok(message) = client.next_message(end) {
        let word = |name: &str| message.text(name).unwrap_or("-").to_owned();
        if seen.insert([word("t"), word("src"), word("dest")].join(" ")) {
            let text: String = seen.iter().map(|line| format!("{line}\n")).collect();
            std::fs::write(SEEN, text).expect("write");
        }
    }
}

/// A client on that node with that filter is given at least these.
fn gets(pair: &Pair, node: usize, mask: &str, expected: &[String]) {
    let host = pair.host(node);
    host.write_file(MASK, mask).expect("mask");
    host.write_file(SEEN, "").expect("clean");
    start_inside(host, "filters::inside_client");
    let what = format!("{expected:?} for a client of {} with filter {mask}", NODES[node]);
    wait_for(&pair.world, &what, PATIENCE, || {
        let seen = host.read_file(SEEN).unwrap_or_default();
        expected.iter().all(|line| seen.lines().any(|seen| seen == line))
    });
}

#[test]
fn clients_see_copies_and_what_is_dropped() {
    let Some(pair) = pair_with([Ours, Original], &["auto_failback off"], &[group(0), group(1)]) else {
        return;
    };
    pair.start_both();
    pair.settled("local", "local");
    for node in 0..2 {
        let other = NODES[1 - node];
        let beats = NODES.map(|source| format!("status {source} -"));
        gets(&pair, node, "2", &beats);
        // Both media carry everything.
        gets(&pair, node, "8", &beats);
        gets(&pair, node, "4", &[format!("NS_ackmsg {} {other}", NODES[node])]);
    }
    losses(&pair);
}

/// A file of the original's own testers, read at SIGHUP: the same lines, and packets are missing.
fn losses(pair: &Pair) {
    for node in 0..2 {
        let (host, other) = (pair.host(node), NODES[1 - node]);
        pair.mark();
        host.write_file("/etc/ha.d/OnlyForTesting", "rcvloss=0.3\nxmitloss=0.2\n").expect("write");
        pair.run(node, &[DAEMON, "-r"]);
        pair.logged(
            node,
            &[
                "info: WARNING: Enabling Test Code",
                "info: Receive loss probability = 0.300",
                "info: Xmit loss probability = 0.200",
                "info: WARNING: Above Options Now Enabled.",
            ],
        );
        let lost = |node: usize, of: &str| pair.log(node).contains(&format!("lost packet(s) for [{of}]"));
        pair.wait("packets lost at both ends", || lost(node, other) && lost(1 - node, NODES[node]));
        pair.run(node, &["rm", "/etc/ha.d/OnlyForTesting"]);
        pair.run(node, &[DAEMON, "-r"]);
        pair.logged(node, &["info: Test Code Now disabled."]);
    }
    pair.settled("local", "local");
}
