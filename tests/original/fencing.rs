//! Goal: what a node says when it resets the other one is the same whoever says it, and either kind
//! understands the other's word.
//! Method: a link that works one way only. node2 does not hear node1 and resets it through a played power
//! switch that first does not know it, and node1, which runs on, hears that it was reset. A third host
//! records what is on the wire.

use std::path::Path;
use std::time::{Duration, Instant};

use ha_core::demo::host::{Host, LOG};
use ha_core::demo::world::{HostKind, Way, World, SERVICE_ADDRESS};
use ha_core::ipc::client::Client;
use ha_core::wire::decode_datagram;
use ha_core::wire::message::Message;

use crate::common::{self, wait_for};
use crate::loss::{at_rest, start};
use crate::messages::{cl_status, command, HA_CF, PATIENCE};
use crate::pair::{kind_name, long};
use crate::power_switch::{Fault, PASSWORD};
use crate::{stranger, switches};

/// A script of the administrator for this message, on either kind (resources spec 5.1).
const HOOK: &str = "#!/bin/sh\necho \"$HA_src: $HA_node $HA_result\" >> /var/log/heard\n";
const HEARD: &str = "/var/log/heard";
/// The fields of a `stonith` message of 3.0.6 in their order, without the signature behind them (messaging
/// spec 4.1, and packets recorded).
const FIELDS: [&str; 10] = ["t", "node", "result", "src", "srcuuid", "seq", "hg", "ts", "ld", "ttl"];

/// What a client on a node was given of this type, a line each, and how long it stays.
const SEEN: &str = "/var/log/fencing-seen";
const CLIENT_LIMIT_MS: u64 = 240_000;
const CLIENT_LIMIT: Duration = Duration::from_millis(CLIENT_LIMIT_MS);

/// Not a test: a client on either kind; of each `stonith` message the subject, the result, the sender and
/// all names of fields in their order.
#[test]
fn inside_client() {
    if !stranger::is_inside() {
        return;
    }
    let mut client = Client::sign_on(Path::new("/var/run/heartbeat/register"), 5000).expect("sign on");
    let end = Instant::now() + CLIENT_LIMIT;
    client.allow_ms(CLIENT_LIMIT_MS);
    let mut seen = String::new();
    std::fs::write(SEEN, &seen).expect("write");
    while let Ok(message) = client.next_message(end) {
        if message.kind() == "stonith" {
            let word = |name: &str| message.text(name).unwrap_or("-");
            let names = message.fields().iter().map(|field| field.name.as_str());
            // The original's clients get the signature of a packet too, ours what it stands for.
            let names: Vec<&str> = names.filter(|name| *name != "auth").collect();
            let told = format!("{} {} by {}", word("node"), word("result"), word("src"));
            let line = format!("{told}: {}\n", names.join(" "));
            // How often it is tried again is chance.
            if !seen.contains(&line) {
                seen.push_str(&line);
            }
            std::fs::write(SEEN, &seen).expect("write");
        }
    }
}

/// Clients on both nodes, which are ready.
fn start_clients(world: &World) {
    for host in &world.hosts()[..2] {
        stranger::start_inside(host, "fencing::inside_client");
        wait_for(world, "the client is signed on", PATIENCE, || {
            host.run(&["test", "-e", SEEN]).expect("test").code == Some(0)
        });
    }
}

fn seen(host: &Host) -> String {
    host.read_file(SEEN).unwrap_or_default()
}

/// What a story left.
#[derive(Debug)]
struct Traces {
    /// `stonith` messages of node2, each once.
    sent: Vec<Message>,
    /// Types that node2 sent, from the first attempt on, without beats.
    kinds: Vec<String>,
    /// What node1's script heard.
    heard: String,
    /// What clients of both nodes were given.
    clients: [String; 2],
    /// node2's lines about fencing, without times and numbers, sorted.
    lines: Vec<String>,
}

#[test]
fn a_reset_is_told_alike_and_heard_by_both_kinds() {
    let kinds = [[HostKind::Original, HostKind::Ours], [HostKind::Ours, HostKind::Original]];
    let mut told = Vec::new();
    for kinds in kinds {
        let Some(traces) = story(kinds) else { return };
        let who = kind_name(kinds[1]);
        for message in &traces.sent {
            let names: Vec<&str> = message.fields().iter().map(|field| field.name.as_str()).collect();
            assert_eq!(names, FIELDS, "{who}: {message:?}");
        }
        told.push(traces);
    }
    let [ours, original] = &told[..] else { panic!("two stories") };
    let words = |traces: &Traces| -> Vec<String> {
        let word = |message: &Message, name: &str| message.text(name).unwrap_or("-").to_owned();
        traces
            .sent
            .iter()
            .map(|sent| ["node", "result", "ttl"].map(|name| word(sent, name)).join(" "))
            .collect()
    };
    assert_eq!(words(ours), words(original));
    assert_eq!(ours.heard, original.heard);
    assert_eq!(ours.clients, original.clients);
    for result in ["badhost", "OK"] {
        let told = format!("node1 {result} by node2: ");
        assert!(ours.clients.iter().all(|seen| seen.contains(&told)), "{told}{:?}", ours.clients);
    }
    assert_eq!(ours.lines, original.lines);
    assert_eq!(ours.kinds, original.kinds);
}

/// node1 is cut off so that nobody hears it, and reset at the second attempt.
fn story(kinds: [HostKind; 2]) -> Option<Traces> {
    let world = fenced(kinds)?;
    let node = |place: usize| &world.hosts()[place];
    start(&world);
    stranger::record(&world, 694);
    if long() {
        goodbye_needs_no_reset(&world);
    }
    start_clients(&world);
    switches::set_fault(&world, 0, Fault::NotListed);
    let log_start = log_of(node(1)).len();
    world.cut_one_way("node1", "eth1", Way::From).expect("cut");
    let logs = |text: &str| log_of(node(1))[log_start..].contains(text);
    wait_for(&world, "a failed attempt", PATIENCE, || logs("STONITH of node1 failed.  Retrying..."));
    assert!(!world.owners(SERVICE_ADDRESS).expect("owners").contains(&"node2"), "taken unfenced");
    assert_eq!(switches::deeds(&world, 0), Vec::<String>::new());
    if long() {
        // It breaks off when it is told to switch. (Of a list that it cannot read the original makes a success.)
        switches::set_fault(&world, 0, Fault::HangsUp);
        let told = || seen(node(1)).contains("node1 bad by node2: ");
        wait_for(&world, "an attempt that goes wrong", 3 * PATIENCE, told);
    }
    switches::set_fault(&world, 0, Fault::None);
    wait_for(&world, "the takeover", PATIENCE, || {
        let owners = world.owners(SERVICE_ADDRESS).expect("owners");
        let done = !switches::deeds(&world, 0).is_empty();
        assert!(done || !owners.contains(&"node2"), "taken unfenced\n{}", common::logs(&world));
        owners.contains(&"node2")
    });
    assert_eq!(switches::deeds(&world, 0), ["reset 1"]);
    let heard = || node(0).read_file(HEARD).unwrap_or_default();
    wait_for(&world, "node1 hears of its reset", PATIENCE, || heard().lines().count() >= 2);
    if kinds[0] == HostKind::Ours {
        let line = "node node2 says that it has reset this node, which runs";
        wait_for(&world, "node1 doubts it", PATIENCE, || log_of(node(0)).contains(line));
        // Who is not heard and hears the other one claim its groups lets go.
        wait_for(&world, "node1 gives up", PATIENCE, || {
            world.owners(SERVICE_ADDRESS).is_ok_and(|owners| owners == ["node2"])
        });
    }
    wait_for(&world, "the takeover's end on the wire", PATIENCE, || logs("mach_down takeover complete"));
    let (sent, kinds_sent) = sent_by_node2(&world);
    Some(Traces {
        sent,
        kinds: kinds_sent,
        heard: heard(),
        clients: [0, 1].map(|place| seen(node(place))),
        lines: fencing_lines(&log_of(node(1))[log_start..]),
    })
}

/// Without a device either kind says so and takes over: first ours, which node1 hears, then the original,
/// cut off in turn.
#[test]
fn without_a_device_both_say_so_alike() {
    let kinds = [HostKind::Original, HostKind::Ours];
    let Some(pair) = crate::pair::pair(kinds, &["auto_failback off"]) else { return };
    pair.start_both();
    pair.settled("local", "local");
    let world = &pair.world;
    start_clients(world);
    let hosts = &world.hosts()[..2];
    for (cut, host) in [("node1", &hosts[1]), ("node2", &hosts[0])] {
        for device in ["eth0", "eth1"] {
            world.cut_one_way(cut, device, Way::From).expect("cut");
        }
        let told = format!("{cut} n_stnth by {}: ", host.name());
        wait_for(world, "the word of no device", PATIENCE, || seen(host).contains(&told));
        for line in ["WARN: No STONITH device configured.", "WARN: Shared disks are not protected."] {
            wait_for(world, line, PATIENCE, || log_of(host).contains(line));
        }
    }
    wait_for(world, "node1 hears node2", PATIENCE, || seen(&hosts[0]).contains("by node2"));
    let names = |host: usize, source: &str| {
        let text = seen(&hosts[host]);
        let line = text.lines().find(|line| line.contains(source)).map(str::to_owned);
        line.and_then(|line| Some(line.split_once(": ")?.1.to_owned()))
    };
    // What a client gets of its own node, and what comes over the network.
    assert_eq!(names(1, "by node2"), names(0, "by node1"));
    assert_eq!(names(0, "by node2"), names(0, "by node1"));
}

fn log_of(host: &Host) -> String {
    host.read_file(LOG).unwrap_or_default()
}

/// A world with a third host that listens, and a power switch.
fn fenced(kinds: [HostKind; 2]) -> Option<World> {
    let hosts = [("node1", kinds[0]), ("node2", kinds[1]), ("stranger", HostKind::Ours)];
    let world = match World::new(common::binary(), &hosts) {
        Ok(world) => world,
        Err(reason) => {
            common::skip::skip_without_privilege(&reason.to_string());
            return None;
        }
    };
    switches::start(&world, 0, "wti_nps");
    let device = format!("stonith_host * wti_nps {} {PASSWORD}", switches::ADDRESSES[0]);
    let ha_cf = world.ha_cf(200, 2000, &["auto_failback off", &device]);
    let ha_cf = ha_cf.replace("bcast eth0 eth1", "bcast eth1").replace("node stranger\n", "");
    let ha_cf = ha_cf.replace("initdead 4000ms", "initdead 6");
    world.configure(&ha_cf, &format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n")).expect("configure");
    for host in &world.hosts()[..2] {
        host.write_file_with_mode("/etc/ha.d/rc.d/stonith", HOOK, 0o755).expect("script");
        if host.kind() == HostKind::Ours {
            host.write_file(HA_CF, &ha_cf.replace("auto_failback", "stonith_delay 0\nauto_failback"))
                .expect("ha.cf");
        }
    }
    Some(world)
}

/// A node that leaves properly is not reset, and either kind says so when it counts as dead.
fn goodbye_needs_no_reset(world: &World) {
    let [node1, node2, _] = world.hosts() else { panic!("three hosts") };
    node1.stop_daemon().expect("stop");
    wait_for(world, "what is said of who left", PATIENCE, || {
        log_of(node2).contains("Dead node node1 gave up resources.")
    });
    assert_eq!(switches::deeds(world, 0), Vec::<String>::new());
    node1.start_daemon().expect("daemon");
    let holds = |host: &Host, words: &str| cl_status(host, &["rscstatus"]) == words;
    wait_for(world, "node2 has all, and node1 knows", PATIENCE, || {
        holds(node1, "none") && holds(node2, "all")
    });
    command(node2, "hb_standby", &["foreign"]);
    at_rest(world);
}

/// From the recording: what node2 said of fencing, and the types of all that it sent since its first attempt.
fn sent_by_node2(world: &World) -> (Vec<Message>, Vec<String>) {
    let keys = stranger::keys("demonstration");
    let packets = stranger::recorded(world);
    let messages = packets.iter().filter_map(|bytes| Some(decode_datagram(bytes, &keys).ok()?.message));
    let mut seen = std::collections::BTreeSet::new();
    let of_node2 = messages.filter(|message| message.text("src") == Some("node2"));
    let once = of_node2.filter(|message| message.text("seq").is_some_and(|seq| seen.insert(seq.to_owned())));
    let all: Vec<Message> = once.collect();
    let is_attempt = |message: &Message| message.text("result").is_some_and(|result| result != "unneeded");
    let since = all.iter().skip_while(|message| message.kind() != "stonith" || !is_attempt(message));
    let kinds = since.map(|message| message.kind().to_owned());
    let kinds = kinds.filter(|kind| kind != "status" && !kind.starts_with("NS_")).collect();
    (all.into_iter().filter(|message| message.kind() == "stonith").collect(), kinds)
}

/// The lines about fencing: level and text, without numbers of processes.
fn fencing_lines(log: &str) -> Vec<String> {
    let about = ["Resetting node", "now reset", "not reset", "cannot reset", "STONITH", "acquired from"];
    let lines = log.lines().filter(|line| about.iter().any(|word| line.contains(word)));
    let text = |line: &str| {
        let at = ["info: ", "WARN: ", "ERROR: "].iter().filter_map(|level| line.find(level)).min()?;
        let words: Vec<&str> = line[at..].split(' ').collect();
        let number = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
        Some(
            words
                .into_iter()
                .map(|word| if number(&word) { "N" } else { word })
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    let mut lines: Vec<String> = lines.filter_map(text).collect();
    // The original's child says the result before its end is seen, ours leaves both to the daemon.
    lines.sort_unstable();
    lines
}
