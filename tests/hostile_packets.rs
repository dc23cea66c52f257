//! A stranger on the heartbeat network of a running pair: damaged, forged, replayed and absurd
//! packets, a thousand of each. Goal: the pair is undisturbed, the packets are counted, log and memory
//! stay bounded. The stranger is a third host of the world; what it records and sends is done by this
//! same program, started there.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use ha_core::demo::host::LOG;
use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};
use ha_core::types::{AuthKey, AuthKeys, SigningMethod};
use ha_core::wire::message::{Message, Value};
use ha_core::wire::{decode_datagram, encode_datagram, WireFormat};

const NODES: [&str; 2] = ["node1", "node2"];
const SECOND_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 101);
/// Packets of each kind.
const COUNT: usize = 1000;
/// Least of them that must be counted: a busy machine may lose some before the daemon sees them.
const COUNTED_LEAST: u64 = 900;
const LOG_LINES_MAX: usize = 200;
const MEMORY_GROWTH_MAX_KB: u64 = 2048;
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
const RECORDING: &str = "/var/log/recording";
const END_OF_RECORDING: &str = "/var/log/end-of-recording";

/// One kind of hostile packets.
struct Flood {
    name: &'static str,
    packets: Vec<Vec<u8>>,
    /// How many of them the counters of the status must show at least.
    counted_least: u64,
}

#[test]
fn a_pair_is_undisturbed_by_hostile_packets() {
    let Some(world) = world() else { return };
    start(&world);
    let recorded = record_a_day_of_work(&world);
    let owners = owners(&world);
    let lines_before = NODES.map(|name| log_lines(&world, name).len());
    let memory_before = NODES.map(|name| resident_kb(&world, name));
    for flood in floods(&recorded) {
        send(&world, &flood);
    }
    common::wait_for(&world, "the pair is settled", SETTLE_LIMIT, || common::is_settled(&world));

    assert_eq!(self::owners(&world), owners, "addresses moved\n{}", common::logs(&world));
    for (index, name) in NODES.iter().enumerate() {
        let lines = &log_lines(&world, name)[lines_before[index]..];
        let told = lines.join("\n");
        for omen in
            ["is dead", "> deadtime", "returning after partition", "restart on node", "standby", "defect"]
        {
            assert!(!told.contains(omen), "{name} says `{omen}`\n{told}");
        }
        assert!(lines.len() < LOG_LINES_MAX, "{name}: {} lines\n{told}", lines.len());
        println!("{name}: {} log lines", lines.len());
        let grown = resident_kb(&world, name).saturating_sub(memory_before[index]);
        assert!(grown < MEMORY_GROWTH_MAX_KB, "{name} grew by {grown} KiB");
    }
    // It still works.
    let moved = world.host("node1").expect("node1").command("hb_standby", &["all"]).expect("hb_standby");
    assert_eq!(moved.code, Some(0), "{moved:?}");
    for address in [SERVICE_ADDRESS, SECOND_ADDRESS] {
        world.wait_owner(address, "node2", SETTLE_LIMIT).unwrap_or_else(|error| panic!("{error}"));
    }
}

fn world() -> Option<World> {
    let hosts = [("node1", HostKind::Ours), ("node2", HostKind::Ours), ("stranger", HostKind::Ours)];
    match World::new(common::binary(), &hosts) {
        Ok(world) => Some(world),
        Err(reason) => {
            common::skip::skip(&reason.to_string());
            None
        }
    }
}

fn start(world: &World) {
    let ha_cf = world.ha_cf(50, 600, &["auto_failback off"]).replace("node stranger\n", "");
    let haresources =
        format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\nnode2 IPaddr2::{SECOND_ADDRESS}/24/eth0\n");
    world.configure(&ha_cf, &haresources).expect("configuration");
    for name in NODES {
        world.host(name).expect("host").start_daemon().expect("daemon");
    }
    common::wait_for(world, "start of the pair", SETTLE_LIMIT, || common::is_settled(world));
}

/// The stranger listens while the pair does everything that makes packets.
fn record_a_day_of_work(world: &World) -> Vec<Vec<u8>> {
    let stranger = world.host("stranger").expect("stranger");
    stranger
        .spawn(&inside("inside_record").each_ref().map(String::as_str), "/var/log/recorder")
        .expect("recorder");
    common::wait_for(world, "the recorder hears", SETTLE_LIMIT, || {
        !stranger.read_file(RECORDING).unwrap_or_default().is_empty()
    });
    let settle =
        || common::wait_for(world, "the pair is settled", SETTLE_LIMIT, || common::is_settled(world));
    for name in NODES {
        // A graceful stop and a return make packets of an earlier generation.
        let host = world.host(name).expect("host");
        assert_eq!(host.stop_daemon().expect("stop").code, Some(0));
        host.start_daemon().expect("start");
        settle();
    }
    for (name, command, argument) in [
        ("node1", "hb_standby", "all"),
        ("node1", "hb_takeover", "all"),
        ("node2", "hb_takeover", "local"),
        ("node1", "hb_takeover", "local"),
    ] {
        let output = world.host(name).expect("host").command(command, &[argument]).expect("command");
        assert_eq!(output.code, Some(0), "{command} {argument}: {output:?}");
        settle();
    }
    lose_some(world);
    settle();
    stranger.write_file(END_OF_RECORDING, "").expect("end mark");
    let text = stranger.read_file(RECORDING).expect("recording");
    let packets: Vec<Vec<u8>> = text.lines().map(|line| from_hex(line).expect("hexadecimal")).collect();
    let kinds = by_kind(&packets);
    for kind in [
        "status",
        "resource",
        "ask_resources",
        "shutdone",
        "hb_takeover",
        "NS_rexmit",
        "NS_ackmsg",
        "reqnodes",
    ] {
        assert!(kinds.contains_key(kind), "no {kind} was recorded, only {:?}", kinds.keys());
    }
    packets
}

/// Each node misses some packets of the other, on both networks, and asks for them.
fn lose_some(world: &World) {
    for name in NODES {
        for _ in 0..3 {
            for interface in ["eth0", "eth1"] {
                world.cut_silently(name, interface).expect("cut");
            }
            std::thread::sleep(Duration::from_millis(150));
            for interface in ["eth0", "eth1"] {
                world.heal(name, interface).expect("heal");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn by_kind(packets: &[Vec<u8>]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for packet in packets {
        let message = decode_datagram(packet, &keys("demonstration")).expect("a packet of the pair").message;
        *kinds.entry(message.kind().to_owned()).or_insert(0) += 1;
    }
    kinds
}

// ---- the floods ------------------------------------------------------------------------------

fn floods(recorded: &[Vec<u8>]) -> Vec<Flood> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below.max(1) as u64) as usize
    };
    let some = |next: &mut dyn FnMut(usize) -> usize| recorded[next(recorded.len())].clone();
    let mut all = Vec::new();
    let mut add = |name, make: &mut dyn FnMut(usize) -> Vec<u8>| {
        let packets = (0..COUNT).map(make).collect();
        all.push(Flood { name, packets, counted_least: COUNTED_LEAST });
    };
    add("truncated", &mut |_| {
        let mut packet = some(&mut next);
        packet.truncate(next(packet.len() - 60));
        packet
    });
    add("oversized", &mut |_| {
        let mut packet = some(&mut next);
        packet.splice(4..4, std::iter::repeat_n(b'9', 2000 + next(6000)));
        packet
    });
    add("bit flipped", &mut |_| {
        let mut packet = some(&mut next);
        // What follows the signature is ignored, so stay in front of it.
        let position = next(packet.len() - 60);
        packet[position] ^= 1 << next(8);
        packet
    });
    add("wrongly signed", &mut |_| {
        let message = decode_datagram(&some(&mut next), &keys("demonstration")).expect("ours").message;
        signed(&message, "another key")
    });
    add("unsigned", &mut |_| {
        let mut packet = some(&mut next);
        let end = packet.windows(3).rposition(|three| three == b"%%%").expect("netstring framing");
        packet.truncate(end + 3);
        packet
    });
    add("garbage", &mut |_| (0..next(1400)).map(|_| next(256) as u8).collect());
    all.push(replayed(recorded));
    all.push(absurd(recorded));
    all
}

/// Recorded packets of both nodes once more, from another address: of every kind the same number,
/// from all generations.
fn replayed(recorded: &[Vec<u8>]) -> Flood {
    let mut kinds: BTreeMap<String, Vec<&Vec<u8>>> = BTreeMap::new();
    for packet in recorded {
        let message = decode_datagram(packet, &keys("demonstration")).expect("ours").message;
        kinds.entry(format!("{} {:?}", message.kind(), message.text("src"))).or_default().push(packet);
    }
    let each = COUNT / kinds.len() + 1;
    let mut packets = Vec::new();
    for of_kind in kinds.values() {
        packets.extend(of_kind.iter().cycle().take(each).map(|packet| (*packet).clone()));
    }
    // `NS_*` of the present generation have no number and are taken: what they ask for is bounded. A
    // node does not count its own packets.
    let numbered = |node: &str| {
        let of_node = kinds.keys().filter(|kind| !kind.starts_with("NS_") && kind.contains(node));
        of_node.count() * each
    };
    let least = numbered("node1").min(numbered("node2")) as u64;
    Flood { name: "replayed", packets, counted_least: least * 9 / 10 }
}

/// Signed with the right key, and nonsense.
fn absurd(recorded: &[Vec<u8>]) -> Flood {
    let newest = |node: &str, kind: &str| {
        recorded.iter().rev().find_map(|packet| {
            let message = decode_datagram(packet, &keys("demonstration")).ok()?.message;
            (message.text("src") == Some(node) && message.kind() == kind).then_some(message)
        })
    };
    let mut messages = Vec::new();
    for (node, other) in [("node1", "node2"), ("node2", "node1")] {
        let status = newest(node, "status").expect("a status");
        messages.extend(about_the_sender(&status));
        messages.extend(about_numbers(&status));
        let mut control = status.clone();
        for name in ["seq", "st", "dt"] {
            control.remove(name);
        }
        control.remove("srcuuid");
        messages.extend(unsequenced(&control, other));
        messages.extend(out_of_state(&status));
    }
    let packets =
        messages.iter().cycle().take(COUNT).map(|message| signed(message, "demonstration")).collect();
    // Half of them bear the receiver's own name, and some are taken and without effect.
    Flood { name: "absurd", packets, counted_least: COUNT as u64 / 4 }
}

fn with(message: &Message, name: &str, text: &str) -> Message {
    let mut changed = message.clone();
    changed.set_text(name, text);
    changed
}

fn about_the_sender(status: &Message) -> Vec<Message> {
    let mut messages: Vec<Message> =
        ["node3", "", "NODE1", "localhost", "../../etc/passwd", "node1 node2", &"n".repeat(5000)]
            .iter()
            .map(|name| with(status, "src", name))
            .collect();
    for name in ["src", "ts", "seq", "t", "hg", "srcuuid", "st", "dt", "ttl", "protocol"] {
        let mut missing = status.clone();
        missing.remove(name);
        messages.push(missing);
    }
    for uuid in [vec![], vec![0; 16], vec![7; 16], vec![7; 15], vec![7; 4000]] {
        let mut changed = status.clone();
        changed.set("srcuuid", Value::Binary(uuid));
        messages.push(changed);
    }
    messages
}

fn about_numbers(status: &Message) -> Vec<Message> {
    let mut messages = Vec::new();
    for number in [
        "0",
        "-1",
        "x",
        "",
        " ",
        "ffffffffffffffff",
        "fffffffffffffffe",
        "10000000000",
        "7fffffff",
        &"f".repeat(99),
    ] {
        messages.push(with(status, "seq", number));
    }
    for generation in ["0", "1", "-1", "x", ""] {
        messages.push(with(status, "hg", generation));
    }
    for ts in ["0", "x", "ffffffffffffffff", "1"] {
        messages.push(with(status, "ts", ts));
    }
    for dt in ["0", "1", "ffffffffffffffff", "x", "-1"] {
        messages.push(with(status, "dt", dt));
    }
    for st in ["dead", "init", "up", "", "nonsense", &"s".repeat(3000)] {
        messages.push(with(status, "st", st));
    }
    messages
}

/// Control messages carry no number, so each of these reaches the code that acts on it.
fn unsequenced(control: &Message, other: &str) -> Vec<Message> {
    let to_other = with(control, "dest", other);
    let mut messages = Vec::new();
    for number in ["ffffffffffffffff", "7fffffff", "0", "x", "-1", ""] {
        let ack = with(&with(&to_other, "t", "NS_ackmsg"), "ackseq", number);
        let nak = with(&with(&to_other, "t", "NS_nak_rexmit"), "firstseq", number);
        messages.extend([ack, nak]);
    }
    let rexmit = with(&to_other, "t", "NS_rexmit");
    for (first, last) in [
        ("1", "18446744073709551615"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551600", "18446744073709551615"),
        ("1", "1000000"),
        ("0", "0"),
        ("9", "3"),
        ("-5", "x"),
        ("", ""),
    ] {
        messages.push(with(&with(&rexmit, "firstseq", first), "lastseq", last));
    }
    messages.push(rexmit);
    messages.push(with(&to_other, "t", "NS_st"));
    messages.push(with(&to_other, "t", "NS_nonsense"));
    messages
}

/// With an old number: what would move resources if it were believed.
fn out_of_state(status: &Message) -> Vec<Message> {
    let old = with(status, "seq", "2");
    let mut messages = Vec::new();
    for kind in
        ["shutdone", "starting", "reqnodes", "repnodes", "harefuse", "ip-request", "you_are_dead", "stonith"]
    {
        messages.push(with(&old, "t", kind));
    }
    for set in ["all", "none", "local", "foreign", "", "everything"] {
        for info in ["me", "other", "done", "nonsense"] {
            messages.push(with(&with(&with(&old, "t", "ask_resources"), "rsc_hold", set), "info", info));
        }
        messages.push(with(&with(&old, "t", "hb_takeover"), "rsc_hold", set));
        for full in ["full", "other"] {
            let resource = with(&with(&old, "t", "resource"), "rsc_hold", set);
            messages.push(with(&with(&resource, "rtype", full), "isstable", "1"));
        }
    }
    messages
}

fn keys(secret: &str) -> AuthKeys {
    let key = AuthKey { method: SigningMethod::Sha1, secret: secret.as_bytes().to_vec() };
    AuthKeys { active: 1, keys: BTreeMap::from([(1, key)]) }
}

fn signed(message: &Message, secret: &str) -> Vec<u8> {
    encode_datagram(message, &keys(secret), None, &WireFormat::default()).expect("a packet")
}

// ---- what the pair says ----------------------------------------------------------------------

fn owners(world: &World) -> Vec<Vec<String>> {
    let of = |address| world.owners(address).expect("owners").into_iter().map(str::to_owned).collect();
    vec![of(SERVICE_ADDRESS), of(SECOND_ADDRESS)]
}

fn log_lines(world: &World, name: &str) -> Vec<String> {
    let log = world.host(name).expect("host").read_file(LOG).expect("log");
    log.lines().map(str::to_owned).collect()
}

fn resident_kb(world: &World, name: &str) -> u64 {
    common::daemon_of(world, name).expect("the daemon runs").resident_kb
}

fn counted(world: &World, name: &str) -> u64 {
    let status = common::status(world, name);
    let view = &status["report"]["view"];
    let count = |field: &str| view[field].as_u64().unwrap_or_else(|| panic!("no {field} in {status}"));
    count("dropped_packets") + count("repeated_packets")
}

/// Sends one flood and waits until both nodes have counted it.
fn send(world: &World, flood: &Flood) {
    let before = NODES.map(|name| counted(world, name));
    let input: String = flood.packets.iter().map(|packet| to_hex(packet) + "\n").collect();
    let stranger = world.host("stranger").expect("stranger");
    let program = inside("inside_send");
    let output = stranger
        .run_with_input(&program.each_ref().map(String::as_str), &input, Duration::from_secs(60))
        .expect("sender");
    let sent = format!("sent {} packets", flood.packets.len());
    assert!(output.code == Some(0) && output.stdout.contains(&sent), "{}: {output:?}", flood.name);
    for (name, before) in NODES.iter().zip(before) {
        let what = format!("{name} counts {} {} packets", flood.counted_least, flood.name);
        common::wait_for(world, &what, SETTLE_LIMIT, || counted(world, name) - before >= flood.counted_least);
        println!("{name}: {} of {} {}", counted(world, name) - before, flood.packets.len(), flood.name);
    }
}

// ---- inside of the stranger ------------------------------------------------------------------

/// The command line of this program, as a host sees it, that runs one of the tests below.
fn inside(test: &str) -> [String; 5] {
    let program = std::env::current_exe().expect("own path");
    let program = Path::new("/.machine").join(program.strip_prefix("/").expect("a full path"));
    [program.to_str().expect("text"), test, "--exact", "--ignored", "--nocapture"].map(str::to_owned)
}

/// Not a test: writes every packet of the heartbeat network as a line.
#[test]
#[ignore = "runs inside of a host of a_pair_is_undisturbed_by_hostile_packets"]
fn inside_record() {
    if !Path::new("/.machine").exists() {
        return;
    }
    let socket = UdpSocket::bind("198.51.100.255:694").expect("socket");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    let mut file = std::fs::File::create(RECORDING).expect("file");
    let mut buffer = vec![0; 65536];
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end && !Path::new(END_OF_RECORDING).exists() {
        if let Ok(length) = socket.recv(&mut buffer) {
            file.write_all((to_hex(&buffer[..length]) + "\n").as_bytes()).expect("write");
        }
    }
}

/// Not a test: sends the packets of standard input, a line each, to everybody.
#[test]
#[ignore = "runs inside of a host of a_pair_is_undisturbed_by_hostile_packets"]
fn inside_send() {
    if !Path::new("/.machine").exists() {
        return;
    }
    let socket = UdpSocket::bind("198.51.100.3:0").expect("socket");
    socket.set_broadcast(true).expect("broadcast");
    let mut sent = 0;
    for line in std::io::stdin().lock().lines() {
        let packet = from_hex(&line.expect("a line")).expect("hexadecimal");
        socket.send_to(&packet, "198.51.100.255:694").expect("send");
        sent += 1;
        std::thread::sleep(Duration::from_micros(200));
    }
    println!("sent {sent} packets");
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}
