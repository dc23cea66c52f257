//! A pair that serves, and its client.

use std::time::{Duration, Instant};

use ha_core::demo::host::Host;

use crate::common::pairs::{Pair, Times, ADDRESSES, NODES};
use ha_core::demo::world::HostKind;

/// Slow enough for a busy machine, quick enough for a test.
const TIMES: Times = Times { keepalive_ms: 100, dead_time_ms: 1000, init_dead_s: 3 };
const PATIENCE: Duration = Duration::from_secs(60);

/// Two configured nodes, nothing started. `None`: skipped.
pub(crate) fn pair(more: &[&str], haresources: &str) -> Option<Pair> {
    let mut pair = Pair::of([HostKind::Ours; 2], TIMES, more, &[haresources.to_owned()])?;
    pair.patience = PATIENCE;
    Some(pair)
}

/// What the client sees at the first address: the body of a page, or nothing.
pub(crate) fn page(pair: &Pair, place: &str) -> String {
    page_at(pair, &format!("http://{}/{place}", ADDRESSES[0]))
}

/// The same for any URL.
pub(crate) fn page_at(pair: &Pair, url: &str) -> String {
    let client: &Host = pair.world.host("client").expect("client");
    let words = ["wget", "-q", "-O-", "-T", "2", "-t", "1", url];
    client.run(&words).map(|output| output.stdout.trim_end().to_owned()).unwrap_or_default()
}

/// Waits until the client gets this node's page.
#[track_caller]
pub(crate) fn served_by(pair: &Pair, node: usize) {
    pair.wait(&format!("page of {}", NODES[node]), || page(pair, "") == NODES[node]);
}

/// Waits for a condition of a program's output on a node.
#[track_caller]
pub(crate) fn says(pair: &Pair, node: usize, words: &[&str], part: &str) {
    let said = || pair.host(node).run(words).is_ok_and(|output| output.stdout.contains(part));
    pair.wait(&format!("{part:?} from {words:?} on {}", NODES[node]), said);
}

/// Nothing of this happens for so long.
#[track_caller]
pub(crate) fn never(time: Duration, what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(!condition(), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A script of the administrator in resource.d that is active while a file is there, and notes what it did.
/// It starts and stops only where `needs`, a file of its data, is there.
pub(crate) fn stand_in(pair: &Pair, name: &str, needs: &str) {
    let text = script_that_needs(name, needs);
    for node in 0..2 {
        let path = format!("/etc/ha.d/resource.d/{name}");
        pair.host(node).write_file_with_mode(&path, &text, 0o755).expect("script");
    }
}

/// The same script, without data of its own.
pub(crate) fn script(name: &str) -> String {
    script_that_needs(name, "/")
}

fn script_that_needs(name: &str, needs: &str) -> String {
    format!(
        "#!/bin/sh\nfor operation; do :; done\nstate=/var/lib/heartbeat/{name}.active\n\
         case $operation in\nstart) [ -e {needs} ] || exit 1; : >$state ;;\n\
         stop) [ ! -e $state ] || [ -e {needs} ] || exit 1; rm -f $state ;;\n\
         status) [ -e $state ] && echo running || echo stopped; exit 0 ;;\nesac\n\
         echo {name} $operation >>/var/lib/heartbeat/order\n"
    )
}

/// Whether such a script is active on a host.
pub(crate) fn is_active(host: &Host, name: &str) -> bool {
    let file = format!("/var/lib/heartbeat/{name}.active");
    host.run(&["test", "-e", &file]).is_ok_and(|output| output.code == Some(0))
}

/// What the stand-ins of a node did since the last look.
pub(crate) fn order(pair: &Pair, node: usize) -> Vec<String> {
    let file = "/var/lib/heartbeat/order";
    let text = pair.host(node).read_file(file).unwrap_or_default();
    pair.host(node).write_file(file, "").expect("order");
    text.lines().map(str::to_owned).collect()
}
