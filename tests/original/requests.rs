//! Single groups that change hands on request: `req_resource`, the scripts `ip-request`,
//! `ip-request-resp` and `local_giveip`, as with `auto_failback legacy` (resources spec 2.10).

use std::thread;
use std::time::{Duration, Instant};

use ha_core::demo::world::HostKind::{self, Original, Ours};

use crate::common::pairs::{group, Pair, ADDRESSES, NODES};
use crate::pair::{has_garbled_itself, kind_name, long, pair_with};
use crate::scripts::{call, noted, write, NOTE, ORIGINAL_RC};

/// The scripts of the original that take part, each behind one that notes the call.
const STOCK: [&str; 4] = ["status", "hb_takeover", "ip-request", "ip-request-resp"];
/// Runs before a group is given; the address of node2 is still here then.
const LOCAL_GIVEIP: &str = "#!/bin/sh\n{ echo \"=== ${0##*/} $*|$(pwd)|$(id -u)|$(umask)\"; env; \
    echo \"held=$(ip -4 addr show eth0 | grep -c 192.0.2.101/)\"; } >>/var/log/noted\n";
/// In which nothing may move.
const AT_REST: Duration = Duration::from_secs(3);

fn key(node: usize) -> String {
    group(node).split_once(' ').expect("a resource").1.to_owned()
}

/// A group goes home on request, is asked for again when it was stopped by hand, and stays where it is
/// when it need not be asked for.
fn play(kinds: [HostKind; 2], with_scripts: bool) {
    let Some(pair) = pair_with(kinds, &["auto_failback legacy"], &[group(0), group(1)]) else { return };
    println!("{} {}, scripts: {with_scripts}", kind_name(kinds[0]), kind_name(kinds[1]));
    let has_scripts = kinds.map(|kind| with_scripts || kind == Original);
    for node in [0, 1].into_iter().filter(|node| has_scripts[*node]) {
        install(&pair, node);
    }
    takes_all_alone(&pair);
    pair.start(1);
    owners(&pair, ["node1", "node2"]);
    if has_scripts[0] {
        let asked =
            [("HA_ipaddr", key(1)), ("HA_src", "node2".to_owned()), ("HA_t", "ip-request".to_owned())];
        let asked = asked.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (words, found) = call(&pair, 0, "local_giveip", &asked);
        assert!(words.starts_with("local_giveip ip-request|"), "{words}");
        assert_eq!(found["held"], "1", "it runs before the group is stopped");
        assert_eq!(noted(pair.host(0), "local_giveip").len(), 1);
        call(&pair, 0, "ip-request", &asked);
    }
    if has_scripts[1] {
        let (words, _) = answer(&pair, "yes", "node1");
        assert!(words.starts_with("ip-request-resp ip-request-resp|"), "{words}");
    }
    again(&pair, has_scripts);
    foreign(&pair);
}

/// Node1 starts alone. An original does so in two children at once, which may garble each other's words
/// in its FIFO; then a group stays down and it is started again.
fn takes_all_alone(pair: &Pair) {
    for _ in 0..5 {
        pair.mark();
        pair.start(0);
        let has_all = || pair.is_owned_as(["all", "none"]);
        pair.wait("everything on node1", || has_all() || has_garbled_itself(pair, 0));
        if !has_garbled_itself(pair, 0) {
            break;
        }
        println!("the original lost a request of its own; booted");
        pair.world.crash(NODES[0]).expect("crash");
        pair.world.boot(NODES[0]).expect("boot");
    }
    owners(pair, ["node1", "node1"]);
}

/// On request of node2, or of itself.
fn answer(pair: &Pair, owned: &str, from: &str) -> crate::scripts::Call {
    let key = key(1);
    let values =
        [("HA_dest", "node2"), ("HA_ipaddr", &key), ("HA_ok", "OK"), ("HA_weown", owned), ("HA_src", from)];
    call(pair, 1, "ip-request-resp", &values)
}

/// `req_resource` of a group that runs does nothing; of one that was stopped, whether or not the other
/// node is asked, it starts the group.
fn again(pair: &Pair, has_scripts: [bool; 2]) {
    let program = |name: &str| match pair.kinds[1] {
        Ours => vec!["/ha".to_owned(), name.to_owned()],
        _ => vec![format!("/usr/share/heartbeat/{name}")],
    };
    let ran = |variables: &[&str], name: &str, words: &[&str]| {
        let program = program(name);
        let environment = [&["env", "HA_CURHOST=node2", "HA_DIR=/etc/ha.d"], variables].concat();
        let argv: Vec<&str> = environment.into_iter().chain(program.iter().map(String::as_str)).collect();
        pair.run(1, &[&argv[..], words].concat());
    };
    let key = key(1);
    let answers = || noted(pair.host(1), "ip-request-resp").len();
    let before = answers();
    ran(&[], "req_resource", &[&key]);
    for dont_ask in [&[][..], &["HA_DONTASK=yes"]] {
        ran(&[], "ResourceManager", &["givegroup", &key]);
        assert!(pair.world.owners(ADDRESSES[1]).expect("addresses").is_empty());
        ran(dont_ask, "req_resource", &[&key]);
        owners(pair, ["node1", "node2"]);
    }
    if has_scripts[1] {
        answer(pair, "yes", "node2");
        pair.wait("answer for each group that was stopped", || answers() - before >= 2);
        assert_eq!(answers() - before, 2);
    }
    if pair.kinds[1] == Original && has_scripts[0] {
        // An original asks whoever is there. The other has nothing, and says so.
        answer(pair, "no", "node1");
        assert_eq!(noted(pair.host(0), "local_giveip").len(), 1);
    }
}

/// What is at home on the other node: originals move it, and nobody knows of it. Ours keep it.
fn foreign(pair: &Pair) {
    if pair.kinds[0] != Ours {
        return;
    }
    let key = key(0);
    let path = if pair.kinds[1] == Ours { "/ha req_resource" } else { "/usr/share/heartbeat/req_resource" };
    pair.run(1, &["sh", "-c", &format!("HA_CURHOST=node2 {path} {key}")]);
    let (node, line) = match pair.kinds[1] {
        Ours => (1, format!("resource request not followed: {key} is not held here: use hb_takeover")),
        _ => (0, format!("the other node's request for {key} request not followed: it is at home here")),
    };
    pair.logged(node, &[&line]);
    let end = Instant::now() + AT_REST;
    while Instant::now() < end {
        assert!(is_owned_by(pair, ["node1", "node2"]));
        thread::sleep(Duration::from_millis(50));
    }
}

fn is_owned_by(pair: &Pair, nodes: [&str; 2]) -> bool {
    (0..2).all(|home| pair.world.owners(ADDRESSES[home]).is_ok_and(|owners| owners == [nodes[home]]))
}

#[track_caller]
fn owners(pair: &Pair, nodes: [&str; 2]) {
    pair.wait(&format!("addresses on {nodes:?}"), || is_owned_by(pair, nodes));
}

/// Everything that runs in `rc.d` notes its call first.
fn install(pair: &Pair, node: usize) {
    let folders =
        format!("cp -rL {ORIGINAL_RC} /var/tmp/stock && rm -rf /etc/ha.d/rc.d && mkdir /etc/ha.d/rc.d");
    pair.run(node, &["sh", "-c", &folders]);
    for name in STOCK {
        write(pair.host(node), &format!("/etc/ha.d/rc.d/{name}"), NOTE);
    }
    write(pair.host(node), "/etc/ha.d/rc.d/local_giveip", LOCAL_GIVEIP);
    assert!(NODES.contains(&pair.host(node).name()));
}

#[test]
fn groups_are_asked_for_by_an_original() {
    play([Ours, Original], true);
}

#[test]
fn groups_are_asked_for_by_ours() {
    play([Original, Ours], true);
}

#[test]
fn groups_are_asked_for_without_scripts() {
    play([Ours, Ours], false);
}

#[test]
fn groups_are_asked_for_everywhere_else() {
    if !long() {
        return println!("left out: HA_LONG=1 runs it");
    }
    for kinds in [[Original, Original], [Ours, Ours]] {
        play(kinds, true);
    }
    for kinds in [[Ours, Original], [Original, Ours]] {
        play(kinds, false);
    }
}
