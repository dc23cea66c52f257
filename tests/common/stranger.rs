//! A third host on the heartbeat network of a pair: it records and sends packets, by this same
//! program, started there.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use ha_core::demo::host::Host;
use ha_core::demo::world::{HostKind, World};
use ha_core::types::{AuthKey, AuthKeys, SigningMethod};

use crate::common;

const PORT: &str = "/var/log/port";
const RECORDING: &str = "/var/log/recording";
const END_OF_RECORDING: &str = "/var/log/end-of-recording";
/// Where [`listen_to_syslog`] leaves what came.
pub(crate) const SYSLOG: &str = "/var/log/from-syslog-socket";
/// A helper ends after this time at the latest.
const HELPER_LIMIT: Duration = Duration::from_secs(120);

/// node1, node2 and the stranger.
pub(crate) fn world() -> Option<World> {
    let hosts = [("node1", HostKind::Ours), ("node2", HostKind::Ours), ("stranger", HostKind::Ours)];
    match World::new(common::binary(), &hosts) {
        Ok(world) => Some(world),
        Err(reason) => {
            common::skip::skip(&reason.to_string());
            None
        }
    }
}

/// Key 1, sha1: what `World::configure` writes has the secret `demonstration`.
pub(crate) fn keys(secret: &str) -> AuthKeys {
    let key = AuthKey { method: SigningMethod::Sha1, secret: secret.as_bytes().to_vec() };
    AuthKeys { active: 1, keys: BTreeMap::from([(1, key)]) }
}

/// Records all broadcasts of the heartbeat network from now on.
pub(crate) fn record(world: &World, port: u16) {
    let stranger = world.host("stranger").expect("stranger");
    stranger.write_file(PORT, &port.to_string()).expect("write");
    start_inside(stranger, "stranger::inside_record");
    common::wait_for(world, "the recorder listens", Duration::from_secs(20), || {
        stranger.run(&["test", "-e", RECORDING]).expect("test").code == Some(0)
    });
}

/// Ends the recording.
pub(crate) fn recorded(world: &World) -> Vec<Vec<u8>> {
    let stranger = world.host("stranger").expect("stranger");
    stranger.write_file(END_OF_RECORDING, "").expect("end mark");
    let text = stranger.read_file(RECORDING).expect("recording");
    text.lines().map(|line| from_hex(line).expect("hexadecimal")).collect()
}

/// Broadcasts packets on the heartbeat network, a few thousand a second.
pub(crate) fn send(world: &World, packets: &[Vec<u8>]) {
    let input: String = packets.iter().map(|packet| to_hex(packet) + "\n").collect();
    let program = inside("stranger::inside_send");
    let words = program.each_ref().map(String::as_str);
    let stranger = world.host("stranger").expect("stranger");
    let output = stranger.run_with_input(&words, &input, Duration::from_secs(60)).expect("sender");
    let sent = format!("sent {} packets", packets.len());
    assert!(output.code == Some(0) && output.stdout.contains(&sent), "{output:?}");
}

/// Puts a listener behind `/dev/log` of a host.
pub(crate) fn listen_to_syslog(world: &World, host: &Host) {
    start_inside(host, "stranger::inside_syslog");
    common::wait_for(world, "the syslog socket", Duration::from_secs(20), || {
        host.run(&["test", "-S", "/dev/log"]).expect("test").code == Some(0)
    });
}

/// Starts one of the tests of this program in a host.
pub(crate) fn start_inside(host: &Host, test: &str) {
    let program = inside(test);
    host.spawn(&program.each_ref().map(String::as_str), "/var/log/helper").expect("helper");
}

/// The command line of this program, as a host sees it, that runs one of the tests below.
pub(crate) fn inside(test: &str) -> [String; 4] {
    let program = std::env::current_exe().expect("own path");
    let program = Path::new("/.machine").join(program.strip_prefix("/").expect("a full path"));
    [program.to_str().expect("text"), test, "--exact", "--nocapture"].map(str::to_owned)
}

/// Whether this process is in a host of a world.
pub(crate) fn is_inside() -> bool {
    Path::new("/.machine").exists()
}

/// Not a test: writes every packet of the heartbeat network as a line.
#[test]
fn inside_record() {
    if !is_inside() {
        return;
    }
    let port: u16 = std::fs::read_to_string(PORT).expect("port").parse().expect("a port");
    let socket = UdpSocket::bind(("198.51.100.255", port)).expect("socket");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    let mut file = std::fs::File::create(RECORDING).expect("file");
    let mut buffer = vec![0; 65536];
    let end = Instant::now() + HELPER_LIMIT;
    while Instant::now() < end && !Path::new(END_OF_RECORDING).exists() {
        if let Ok(length) = socket.recv(&mut buffer) {
            file.write_all((to_hex(&buffer[..length]) + "\n").as_bytes()).expect("write");
        }
    }
}

/// Not a test: sends the packets of standard input, a line each, to everybody.
#[test]
fn inside_send() {
    if !is_inside() {
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

/// Not a test: writes what comes to `/dev/log` as lines.
#[test]
fn inside_syslog() {
    if !is_inside() {
        return;
    }
    let socket = UnixDatagram::bind("/dev/log").expect("socket");
    let mut file = std::fs::File::create(SYSLOG).expect("file");
    let mut buffer = vec![0; 16384];
    let end = Instant::now() + HELPER_LIMIT;
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("timeout");
    while Instant::now() < end {
        if let Ok(length) = socket.recv(&mut buffer) {
            file.write_all(&buffer[..length]).expect("write");
            file.write_all(b"\n").expect("write");
        }
    }
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
