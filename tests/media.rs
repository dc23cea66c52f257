//! Media in network namespaces: two nodes with a cable between them, in one thread that goes from
//! one namespace to the other. Needs root and `ip`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use ha_core::config::settings::{MediumConfig, PingConfig, PingKind};
use ha_core::media::{MediaSet, Received, RECEIVE_BUFFER_BYTES};
use ha_core::types::{LogLevel, NodeName};
use nix::sched::{setns, unshare, CloneFlags};

#[path = "support/skip.rs"]
mod skip;

const LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 694;

/// Two namespaces; `eth1` of each is one end of a cable, likewise `eth2`.
struct World {
    nodes: [File; 2],
    now_ms: u64,
}

impl World {
    fn new() -> Option<Self> {
        let nodes = [namespace()?, namespace()?];
        let world = Self { nodes, now_ms: 1000 };
        for link in ["eth1", "eth2"] {
            world.make_link(link);
        }
        Some(world)
    }

    fn enter(&self, node: usize) {
        setns(&self.nodes[node], CloneFlags::CLONE_NEWNET).expect("root may change namespaces");
    }

    fn ip(&self, node: usize, arguments: &str) {
        self.enter(node);
        let done = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
        assert!(done.success(), "ip {arguments}");
    }

    /// A cable: 10.77.1.1 and .2 for eth1, 10.77.2.1 and .2 for eth2.
    fn make_link(&self, name: &str) {
        let number = &name[3..];
        self.enter(1);
        let mut holder = Command::new("sleep").arg("1000").spawn().unwrap();
        self.ip(0, &format!("link add {name} type veth peer name {name} netns {}", holder.id()));
        holder.kill().unwrap();
        holder.wait().unwrap();
        for node in 0..2 {
            self.ip(node, &format!("addr add 10.77.{number}.{}/24 brd + dev {name}", node + 1));
            self.ip(node, &format!("link set {name} up"));
        }
        self.ip(0, "link set lo up");
    }

    fn open(&self, node: usize, configs: &[MediumConfig]) -> MediaSet {
        self.enter(node);
        MediaSet::open(configs, PORT, self.now_ms).unwrap()
    }

    fn maintain(&mut self, node: usize, set: &mut MediaSet) {
        self.now_ms += 1000;
        self.enter(node);
        set.maintain(self.now_ms);
    }
}

/// A new namespace; the thread is in it afterwards.
fn namespace() -> Option<File> {
    unshare(CloneFlags::CLONE_NEWNET).ok()?;
    File::open(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid())).ok()
}

/// Runs a story in a thread and a runtime of its own, or says why not.
fn story(tell: impl AsyncFnOnce(World) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if !nix::unistd::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
            return skip::skip("needs root and the ip command");
        }
        let Some(world) = World::new() else {
            return skip::skip("no network namespaces here");
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(tell(world));
    });
    thread.join().unwrap();
}

fn bcast(device: &str) -> MediumConfig {
    MediumConfig::Broadcast { device: device.to_owned() }
}

fn ucast(device: &str, peer: &str) -> MediumConfig {
    MediumConfig::Unicast { device: device.to_owned(), peer: peer.parse().ok(), peer_text: peer.to_owned() }
}

fn mcast(device: &str, loop_back: bool) -> MediumConfig {
    let group = Ipv4Addr::new(225, 0, 0, 77);
    MediumConfig::Multicast { device: device.to_owned(), group, port: PORT, ttl: 1, loop_back }
}

/// The next datagram, as `link: text`.
async fn hear(set: &mut MediaSet) -> String {
    let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
    let received = tokio::time::timeout(LIMIT, set.receive(&mut buffer)).await.expect("nothing came");
    match &received {
        Received::Packet { link, .. } => {
            format!("{link}: {}", String::from_utf8_lossy(received.bytes(&buffer)))
        }
        Received::PingAnswer { node } => format!("{node} answers"),
    }
}

/// Sends `text` again and again until the other side hears it over `link`.
async fn until_heard(from: &mut MediaSet, to: &mut MediaSet, link: &str, text: &str) {
    let wanted = format!("{link}: {text}");
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        from.send(text.as_bytes(), 0);
        let heard =
            tokio::time::timeout(Duration::from_millis(100), async { while hear(to).await != wanted {} });
        if heard.await.is_ok() {
            return;
        }
    }
    panic!("{wanted:?} was never heard; events {:?} / {:?}", from.take_events(), to.take_events());
}

fn texts(set: &mut MediaSet) -> Vec<String> {
    set.take_events().into_iter().map(|(level, text)| format!("{}: {text}", level.as_str())).collect()
}

async fn both_ways(world: World, configs: [Vec<MediumConfig>; 2]) {
    let mut a = world.open(0, &configs[0]);
    let mut b = world.open(1, &configs[1]);
    until_heard(&mut a, &mut b, "eth1", "from a").await;
    until_heard(&mut b, &mut a, "eth1", "from b").await;
}

#[test]
fn broadcast_carries_both_ways_and_hears_itself() {
    story(async |world| {
        let mut a = world.open(0, &[bcast("eth1")]);
        let mut b = world.open(1, &[bcast("eth1")]);
        assert_eq!(
            texts(&mut a),
            ["info: glib: UDP Broadcast heartbeat started on port 694 (694) interface eth1"]
        );
        until_heard(&mut a, &mut b, "eth1", "from a").await;
        assert_eq!(hear(&mut a).await, "eth1: from a");
        until_heard(&mut b, &mut a, "eth1", "from b").await;
        assert_eq!(
            a.close().pop(),
            Some((
                LogLevel::Info,
                "glib: UDP Broadcast heartbeat closed on port 694 interface eth1 - Status: 1".to_owned()
            ))
        );
    });
}

#[test]
fn multicast_carries_both_ways() {
    story(async |world| both_ways(world, [vec![mcast("eth1", false)], vec![mcast("eth1", false)]]).await);
}

#[test]
fn unicast_lines_of_one_interface_share_a_link() {
    story(async |world| {
        let both = [ucast("eth1", "10.77.1.1"), ucast("eth1", "10.77.1.2")];
        let mut a = world.open(0, &both);
        assert_eq!(a.links().len(), 1);
        let events = texts(&mut a);
        assert_eq!(
            events.last().unwrap(),
            "info: glib: ucast: started on port 694 interface eth1 to 10.77.1.2"
        );
        assert_eq!(events.len(), 14);
        // Its socket would take a share of the packets (SO_REUSEPORT).
        drop(a);
        both_ways(world, [both.to_vec(), both.to_vec()]).await;
    });
}

#[test]
fn several_media_at_once_tell_their_links_apart() {
    story(async |world| {
        let configs = [bcast("eth1"), mcast("eth2", false), ucast("eth2", "10.77.2.2"), mcast("eth1", false)];
        let mut a = world.open(0, &configs);
        let mut b = world.open(1, &configs);
        until_heard(&mut a, &mut b, "eth1", "warm").await;
        until_heard(&mut a, &mut b, "eth2", "warm").await;
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        assert_eq!(a.send(b"final", 0).sent, 4);
        let (mut links, end) = (Vec::new(), Instant::now() + LIMIT);
        while links.len() < 4 && Instant::now() < end {
            b.drain(&mut buffer, 100, |received, bytes| {
                if let Received::Packet { link, .. } = received {
                    if bytes == b"final" {
                        links.push(link.to_string());
                    }
                }
            });
        }
        links.sort();
        assert_eq!(links, ["eth1", "eth1", "eth2", "eth2"]);
    });
}

#[test]
fn late_device_is_reported_once_and_used_when_it_comes() {
    story(async |mut world| {
        world.ip(0, "link del eth1");
        for (config, missing) in [
            (bcast("eth1"), "ERROR: glib: Get broadcast for interface eth1 failed: No such device"),
            (ucast("eth1", "10.77.1.2"), "ERROR: glib: ucast: interface [eth1] does not exist"),
            (mcast("eth1", true), "ERROR: glib: mcast device [eth1] is invalid or not set up properly"),
        ] {
            let configs = [config];
            let (mut a, mut b) = (world.open(0, &configs), world.open(1, &configs));
            for _ in 0..5 {
                world.maintain(0, &mut a);
                assert_eq!(a.send(b"lost", 0).dropped, 1);
            }
            let events = texts(&mut a);
            assert_eq!(events[0], missing);
            assert_eq!(events.iter().filter(|text| *text == missing).count(), 1, "{events:?}");
            assert!(events[1].starts_with("CRIT: send_to_all_media: No working"), "{events:?}");
            world.make_link("eth1");
            world.maintain(0, &mut a);
            world.maintain(1, &mut b);
            assert!(texts(&mut a).iter().any(|text| text.contains("started")));
            if let MediumConfig::Unicast { .. } = configs[0] {
                until_heard(&mut a, &mut b, "eth1", "hello").await;
            } else {
                until_heard(&mut b, &mut a, "eth1", "hello").await;
            }
            assert_eq!(a.send(b"works", 0).dropped, 0);
            world.ip(0, "link del eth1");
        }
    });
}

#[test]
fn deleted_and_recreated_device_works_again() {
    story(async |mut world| {
        let configs = [bcast("eth1"), mcast("eth1", false), bcast("eth2")];
        let (mut a, mut b) = (world.open(0, &configs), world.open(1, &configs));
        until_heard(&mut a, &mut b, "eth1", "before").await;
        for _ in 0..3 {
            world.ip(0, "link del eth1");
            assert_eq!(a.send(b"dropped", 0).dropped, 2);
            world.maintain(0, &mut a);
            world.maintain(1, &mut b);
            until_heard(&mut a, &mut b, "eth2", "other link goes on").await;
            world.make_link("eth1");
            world.maintain(0, &mut a);
            world.maintain(1, &mut b);
            until_heard(&mut a, &mut b, "eth1", "after").await;
            until_heard(&mut b, &mut a, "eth1", "after").await;
            assert_eq!(a.send(b"all", 0).sent, 3);
        }
    });
}

#[test]
fn renamed_device_and_changed_broadcast_address_are_followed() {
    story(async |mut world| {
        let configs = [bcast("eth1")];
        let (mut a, mut b) = (world.open(0, &configs), world.open(1, &configs));
        until_heard(&mut a, &mut b, "eth1", "before").await;
        world.ip(0, "addr flush dev eth1");
        world.ip(0, "addr add 192.168.9.1/28 brd + dev eth1");
        world.ip(0, "addr add 192.168.9.2/28 dev eth1");
        world.ip(1, "addr flush dev eth1");
        world.ip(1, "addr add 192.168.9.3/28 brd + dev eth1");
        world.maintain(0, &mut a);
        until_heard(&mut a, &mut b, "eth1", "new subnet").await;

        world.ip(0, "link set eth1 down");
        assert_eq!(a.send(b"down", 0).dropped, 1);
        world.ip(0, "link set eth1 name other");
        world.maintain(0, &mut a);
        assert_eq!(a.send(b"renamed", 0).dropped, 1);
        world.ip(0, "link set other name eth1");
        world.ip(0, "link set eth1 up");
        world.maintain(0, &mut a);
        until_heard(&mut a, &mut b, "eth1", "back").await;
        let events = texts(&mut a);
        assert!(
            events.contains(&"WARN: 2 messages discarded due to write errors on bcast eth1".to_owned()),
            "{events:?}"
        );
    });
}

#[test]
fn address_without_broadcast_address_still_reaches_the_wire() {
    story(async |world| {
        for node in 0..2 {
            world.ip(node, "addr flush dev eth1");
            world.ip(node, &format!("addr add 10.9.9.{}/32 dev eth1", node + 1));
        }
        both_ways(world, [vec![bcast("eth1")], vec![bcast("eth1")]]).await;
    });
}

#[test]
fn largest_datagram_passes_and_a_larger_one_is_refused() {
    story(async |world| {
        let configs = [ucast("eth1", "10.77.1.2"), ucast("eth1", "10.77.1.1")];
        let (mut a, mut b) = (world.open(0, &configs[..1]), world.open(1, &configs[1..]));
        until_heard(&mut a, &mut b, "eth1", "warm").await;
        let packet = vec![b'x'; 65_507];
        assert_eq!(a.send(&packet, 0).sent, 1);
        loop {
            let heard = hear(&mut b).await;
            if heard.len() == packet.len() + "eth1: ".len() {
                break;
            }
        }
        assert_eq!(a.send(&vec![b'x'; 65_508], 0).dropped, 1);
        let events = texts(&mut a);
        assert!(
            events.iter().any(|text| text.contains("cannot send packet(len=65508) on eth1")),
            "{events:?}"
        );
    });
}

#[test]
fn pending_packets_are_drained_without_the_runtime() {
    story(async |world| {
        let mut a = world.open(0, &[bcast("eth1")]);
        let mut b = world.open(1, &[bcast("eth1")]);
        for number in 0..50 {
            a.send(format!("{number}").as_bytes(), 0);
        }
        // No await in between: only the kernel knows of these.
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        let mut heard = Vec::new();
        let end = Instant::now() + LIMIT;
        while heard.len() < 50 && Instant::now() < end {
            b.drain(&mut buffer, 7, |_, bytes| heard.push(String::from_utf8_lossy(bytes).into_owned()));
        }
        assert_eq!(heard, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    });
}

fn ping(kind: PingKind, name: &str, hosts: &[&str]) -> MediumConfig {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    MediumConfig::Ping(PingConfig { kind, name: NodeName::new(name).unwrap(), hosts, nodes_before: 0 })
}

/// Asks all ping nodes a few times; who answered within half a second.
async fn answering(set: &mut MediaSet) -> Vec<String> {
    let mut nodes = Vec::new();
    for number in 0..5 {
        set.ask_ping_nodes(|word, node| Some(format!("{word} {node} {number}").into_bytes()), 0);
        let hears = async {
            loop {
                nodes.push(hear(set).await);
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(100), hears).await;
    }
    nodes.sort();
    nodes.dedup();
    nodes
}

/// The neighbours have to find each other first.
async fn until_answering(world: &World, set: &mut MediaSet, expected: &[&str]) {
    world.enter(0);
    let end = Instant::now() + LIMIT;
    while answering(set).await != expected {
        assert!(Instant::now() < end, "never {expected:?}");
    }
}

#[test]
fn ping_nodes_answer_while_their_hosts_do() {
    story(async |world| {
        for node in 0..2 {
            world.ip(node, &format!("addr add fd77:1::{}/64 dev eth1 nodad", node + 1));
        }
        let configs = [
            bcast("eth1"),
            ping(PingKind::Host, "host", &["10.77.1.2:0"]),
            ping(PingKind::Host6, "host6", &["[fd77:1::2]:0"]),
            ping(PingKind::Group, "group", &["10.99.0.1:0", "10.77.2.2:0", "10.77.1.2:0"]),
            ping(PingKind::Host, "nobody", &["10.99.0.1:0"]),
        ];
        let mut a = world.open(0, &configs);
        let expected = ["group answers", "host answers", "host6 answers"];
        until_answering(&world, &mut a, &expected).await;
        assert!(!a.links().iter().any(|link| link.as_str() == "host"));
        // The group has another member on the other cable.
        world.ip(1, "link set eth1 down");
        assert_eq!(answering(&mut a).await, ["group answers"]);
        world.ip(1, "link set eth1 up");
        world.ip(1, "addr replace fd77:1::2/64 dev eth1 nodad");
        until_answering(&world, &mut a, &expected).await;
        let events = texts(&mut a);
        let started = events.iter().filter(|text| text.ends_with("heartbeat started.")).count();
        assert_eq!(started, 4, "{events:?}");
        assert!(
            events.iter().any(|text| text.starts_with("ERROR: write_child: write failure on ping nobody.")),
            "{events:?}"
        );
    });
}

/// What other programs on this host ask, and what strangers send, is nothing to us and wakes nobody.
#[test]
fn foreign_echoes_are_not_heard() {
    story(async |world| {
        let configs = [bcast("eth2"), ping(PingKind::Host, "host", &["10.77.1.2:0"])];
        let mut a = world.open(0, &configs);
        world.enter(0);
        let other =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(socket2::Protocol::ICMPV4))
                .unwrap();
        other.set_read_timeout(Some(LIMIT)).unwrap();
        let to: std::net::SocketAddr = "10.77.1.2:0".parse().unwrap();
        let own = (std::process::id() & 0xffff) as u16;
        // Requests of others: with another identifier, and with ours but a payload we did not send.
        for identifier in [own.wrapping_add(1), own] {
            let mut packet = vec![8, 0, 0, 0];
            packet.extend(identifier.to_be_bytes());
            packet.extend([0, 0, b'x', b'x']);
            let sum = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum::<u32>();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
            other.send_to(&packet, &to.into()).unwrap();
            // It was answered before we look.
            let mut buffer = [std::mem::MaybeUninit::uninit(); 200];
            other.recv(&mut buffer).unwrap();
        }
        let mut buffer = vec![0; RECEIVE_BUFFER_BYTES];
        assert_eq!(a.try_receive(&mut buffer), None);
        a.ask_ping_nodes(|_, _| Some(b"own".to_vec()), 0);
        assert_eq!(hear(&mut a).await, "host answers");
    });
}

fn mcast6(device: &str, group: &str) -> MediumConfig {
    let group = group.parse().unwrap();
    MediumConfig::Multicast6 { device: device.to_owned(), group, port: PORT, hops: 1, loop_back: false }
}

fn ucast6(device: &str, peer: &str) -> MediumConfig {
    MediumConfig::Unicast6 { device: device.to_owned(), peer: peer.parse().unwrap() }
}

/// Gives both ends of a cable addresses that are usable at once: fd77:N::1 and fe80::1, and ::2.
fn address6(world: &World, device: &str) {
    for node in 0..2 {
        let number = &device[3..];
        world.ip(node, &format!("addr add fd77:{number}::{}/64 dev {device} nodad", node + 1));
        world.ip(node, &format!("addr add fe80::{}/64 dev {device} nodad", node + 1));
    }
}

#[test]
fn multicast_over_ipv6_carries_both_ways() {
    story(async |world| {
        address6(&world, "eth1");
        both_ways(world, [vec![mcast6("eth1", "ff12::77")], vec![mcast6("eth1", "ff12::77")]]).await;
    });
    story(async |world| {
        address6(&world, "eth1");
        both_ways(world, [vec![mcast6("eth1", "ff15::77")], vec![mcast6("eth1", "ff15::77")]]).await;
    });
}

#[test]
fn unicast_over_ipv6_carries_both_ways() {
    for prefix in ["fd77:1::", "fe80::"] {
        story(async move |world| {
            address6(&world, "eth1");
            let [one, two] = [1, 2].map(|last| ucast6("eth1", &format!("{prefix}{last}")));
            both_ways(world, [vec![two], vec![one]]).await;
        });
    }
}

/// Media of both families and of the same port on one device and on two do not hear each other.
#[test]
fn families_and_devices_are_told_apart() {
    story(async |world| {
        address6(&world, "eth1");
        address6(&world, "eth2");
        let configs = [
            vec![
                bcast("eth1"),
                mcast6("eth1", "ff15::77"),
                ucast6("eth1", "fd77:1::2"),
                mcast6("eth2", "ff15::77"),
                ucast6("eth2", "fe80::2"),
            ],
            vec![
                bcast("eth1"),
                mcast6("eth1", "ff15::77"),
                ucast6("eth1", "fd77:1::1"),
                mcast6("eth2", "ff15::77"),
                ucast6("eth2", "fe80::1"),
            ],
        ];
        let (mut a, mut b) = (world.open(0, &configs[0]), world.open(1, &configs[1]));
        until_heard(&mut a, &mut b, "eth1", "warm").await;
        until_heard(&mut a, &mut b, "eth2", "warm").await;
        // A first packet may be lost while neighbours look for each other.
        let end = Instant::now() + LIMIT;
        for round in 0.. {
            assert!(Instant::now() < end, "never all of them");
            let text = format!("round {round}");
            assert_eq!(a.send(text.as_bytes(), 0).sent, 5);
            let mut links = Vec::new();
            let hears = async {
                loop {
                    let heard = hear(&mut b).await;
                    links.extend(heard.strip_suffix(&format!(": {text}")).map(str::to_owned));
                }
            };
            let _ = tokio::time::timeout(Duration::from_millis(300), hears).await;
            links.sort();
            assert!(links.len() <= 5, "{links:?}");
            if links == ["eth1", "eth1", "eth1", "eth2", "eth2"] {
                break;
            }
        }
    });
}

#[test]
fn recreated_device_is_used_again_over_ipv6() {
    story(async |mut world| {
        address6(&world, "eth1");
        let configs = [vec![mcast6("eth1", "ff12::77"), ucast6("eth1", "fe80::2"), bcast("eth2")]];
        let (mut a, mut b) = (world.open(0, &configs[0]), world.open(1, &configs[0]));
        until_heard(&mut a, &mut b, "eth1", "before").await;
        world.ip(0, "link del eth1");
        world.maintain(0, &mut a);
        world.maintain(1, &mut b);
        assert_eq!(a.send(b"dropped", 0).dropped, 2);
        world.make_link("eth1");
        address6(&world, "eth1");
        world.maintain(0, &mut a);
        world.maintain(1, &mut b);
        until_heard(&mut a, &mut b, "eth1", "after").await;
    });
}
