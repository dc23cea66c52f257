//! portblock with real connections between hosts of namespaces, through iptables and through nft, and
//! beside Debian's.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{setns, CloneFlags};

use crate::beside::{Beside, Difference, Form, Whose};
use crate::inside::in_namespaces;

/// Long enough for a busy machine, and no longer than a refusal that does not come is waited for.
const UNANSWERED: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);
const PROBE: &str = "ip link add v0 type bridge && iptables -S && nft list tables";
const SERVICE: &str = "10.9.0.100";

/// A network namespace on the bridge of the test.
struct Host(Child);

impl Host {
    fn new(name: &str, address: &str) -> Self {
        let keeper = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let host = Self(keeper);
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let namespace = format!("/proc/{}/ns/net", host.0.id());
        wait_until(|| fs::read_link(&namespace).is_ok_and(|link| link != own));
        let pid = host.0.id().to_string();
        ip(&["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
        ip(&["link", "set", name, "master", "v0", "up"]);
        for words in [
            &["link", "set", "lo", "up"][..],
            &["link", "set", "eth0", "up"],
            &["addr", "add", address, "dev", "eth0"],
        ] {
            host.run("ip", words);
        }
        host
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.0.id().to_string(), "--net", program]).stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        let output = self.command(program).args(words).output().unwrap();
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The agent with parameters of the OCF form.
    fn agent(&self, state: &Path, action: &str, parameters: &[(&str, &str)]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_ha"));
        command.args(["portblock", action]).env("HA_RSCTMP", state).env("HA_LOGFILE", state.join("log"));
        command.env("OCF_RESOURCE_INSTANCE", format!("x_{}", parameters[2].1));
        command.envs(parameters.iter().map(|(name, value)| (format!("OCF_RESKEY_{name}"), value)));
        command
    }

    fn expect(&self, state: &Path, action: &str, parameters: &[(&str, &str)], code: i32) -> String {
        let output = self.agent(state, action, parameters).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{action} {parameters:?}: {text}{errors}");
        text
    }

    /// Does something in a thread that is in the host.
    fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let enter_and_work = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::spawn(enter_and_work).join().unwrap()
    }

    fn listen(&self, address: &str) -> TcpListener {
        let address = address.to_owned();
        self.inside(move || TcpListener::bind(address).unwrap())
    }

    fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(move || TcpStream::connect_timeout(&address, UNANSWERED))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "it did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn bridge() {
    ip(&["link", "add", "v0", "type", "bridge"]);
    ip(&["link", "set", "v0", "up"]);
}

/// Makes iptables and ip6tables absent, in this mount namespace: they are then no programs.
fn hide_iptables(directory: &Path) {
    let nothing = directory.join("nothing");
    fs::write(&nothing, "").unwrap();
    fs::set_permissions(&nothing, fs::Permissions::from_mode(0o644)).unwrap();
    for name in ["iptables", "ip6tables"] {
        // Both may be one file.
        let Some(found) = ha_core::resource::command::find(name) else { continue };
        let file = fs::canonicalize(found).unwrap();
        let output = Command::new("mount").arg("--bind").args([&nothing, &file]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(ha_core::resource::command::find(name).is_none());
    }
}

#[test]
fn ports_are_blocked_and_unblocked_with_iptables() {
    let test = "portblock::ports_are_blocked_and_unblocked_with_iptables";
    in_namespaces(test, &["--net", "--mount"], PROBE, || blocked_and_unblocked(false));
}

#[test]
fn ports_are_blocked_and_unblocked_with_nft() {
    let test = "portblock::ports_are_blocked_and_unblocked_with_nft";
    in_namespaces(test, &["--net", "--mount"], PROBE, || blocked_and_unblocked(true));
}

fn blocked_and_unblocked(without_iptables: bool) {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    if without_iptables {
        hide_iptables(state);
    }
    bridge();
    let (node, client) = (Host::new("h1", "10.9.0.1/24"), Host::new("h2", "10.9.0.2/24"));
    let _server = node.listen("10.9.0.1:8080");
    let _other = node.listen("10.9.0.1:8081");
    let answers = |address: &str| match client.connect(address) {
        Ok(_) => "accepted",
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => "refused",
        Err(error) if error.kind() == ErrorKind::TimedOut => "silent",
        Err(error) => panic!("{error}"),
    };
    let block = [("protocol", "tcp"), ("portno", "8080,8090:8099"), ("action", "block")];
    let unblock = [("protocol", "tcp"), ("portno", "8080,8090:8099"), ("action", "unblock")];
    let text = |what: &str, action: &str| {
        format!("portblock DROP rule for INPUT chain [tcp 8080,8090:8099 0.0.0.0/0 {action}] {what}\n")
    };
    assert_eq!(node.expect(state, "monitor", &block, 7), text("is inactive", "block"));
    assert_eq!(node.expect(state, "monitor", &unblock, 7), text("is inactive", "unblock"));
    assert_eq!(answers("10.9.0.1:8080"), "accepted");
    for _ in 0..2 {
        node.expect(state, "start", &block, 0);
        assert_eq!(answers("10.9.0.1:8080"), "silent");
    }
    assert_eq!(answers("10.9.0.1:8095"), "silent");
    assert_eq!(answers("10.9.0.1:8081"), "accepted");
    assert_eq!(answers("10.9.0.1:8100"), "refused");
    assert_eq!(node.expect(state, "status", &block, 0), text(" is running (OK)", "block"));
    assert_eq!(node.expect(state, "status", &unblock, 7), text("is inactive", "unblock"));
    for _ in 0..2 {
        node.expect(state, "start", &unblock, 0);
        assert_eq!(answers("10.9.0.1:8080"), "accepted");
    }
    assert_eq!(answers("10.9.0.1:8095"), "refused");
    let considered = text("considered to be running (OK)", "block");
    assert_eq!(node.expect(state, "monitor", &block, 0), considered);
    assert_eq!(node.expect(state, "monitor", &unblock, 0), text(" is running (OK)", "unblock"));
    node.expect(state, "stop", &unblock, 0);
    assert_eq!(answers("10.9.0.1:8080"), "silent");
    node.expect(state, "stop", &block, 0);
    node.expect(state, "stop", &block, 0);
    assert_eq!(answers("10.9.0.1:8080"), "accepted");
    assert_eq!(node.expect(state, "monitor", &block, 7), text("is inactive", "block"));

    one_address_both_ways(&node, &client, state);
    killed_anywhere(&node, state, &block);
    assert_eq!(answers("10.9.0.1:8080"), "accepted");
}

#[test]
fn ports_of_an_ipv6_address() {
    in_namespaces("portblock::ports_of_an_ipv6_address", &["--net", "--mount"], PROBE, || {
        let directory = tempfile::tempdir().unwrap();
        bridge();
        let (node, client) = (Host::new("h1", "10.9.0.1/24"), Host::new("h2", "10.9.0.2/24"));
        for (host, address) in [(&node, "fd09::1/64"), (&node, "fd09::3/64"), (&client, "fd09::2/64")] {
            host.run("ip", &["-6", "addr", "add", address, "dev", "eth0", "nodad"]);
        }
        let _servers = ["[fd09::1]:8080", "[fd09::3]:8080", "10.9.0.1:8080"].map(|it| node.listen(it));
        for filter in ["ip6tables", "nft"] {
            let state = directory.path().join(filter);
            fs::create_dir(&state).unwrap();
            if filter == "nft" {
                hide_iptables(directory.path());
            }
            dropped_and_passed(&node, &client, &state);
            reset_and_tickled(&node, &client, &state);
        }
    });
}

fn dropped_and_passed(node: &Host, client: &Host, state: &Path) {
    let answers = |address: &str| match client.connect(address) {
        Ok(_) => "accepted",
        Err(error) if error.kind() == ErrorKind::TimedOut => "silent",
        Err(error) => panic!("{error}"),
    };
    for direction in ["in", "out", "both"] {
        let block = [
            ("protocol", "tcp"),
            ("portno", "8080,8090:8099"),
            ("action", "block"),
            ("ip", "fd09::1"),
            ("direction", direction),
        ];
        for _ in 0..2 {
            node.expect(state, "start", &block, 0);
            node.expect(state, "monitor", &block, 0);
        }
        for (address, answer) in
            [("[fd09::1]:8080", "silent"), ("[fd09::3]:8080", "accepted"), ("10.9.0.1:8080", "accepted")]
        {
            assert_eq!(answers(address), answer, "{address} {direction}");
        }
        node.expect(state, "stop", &block, 0);
        node.expect(state, "monitor", &block, 7);
        assert_eq!(answers("[fd09::1]:8080"), "accepted", "{direction}");
    }
    let all = [("protocol", "tcp"), ("portno", "8080"), ("action", "block"), ("ip", "::/0")];
    node.expect(state, "start", &all, 0);
    assert_eq!((answers("[fd09::3]:8080"), answers("10.9.0.1:8080")), ("silent", "accepted"));
    node.expect(state, "stop", &all, 0);
    for wrong in ["fd09::1/129", "fd09::1/x", "fd09::g"] {
        let wrong = [("protocol", "tcp"), ("portno", "8080"), ("action", "block"), ("ip", wrong)];
        node.expect(state, "start", &wrong, 6);
    }
}

/// A client of the address hears at the next start that its connection is gone, and nothing of it is left
/// here after a stop.
fn reset_and_tickled(node: &Host, client: &Host, state: &Path) {
    let notes = state.join("notes");
    fs::create_dir(&notes).unwrap();
    let unblock = [
        ("protocol", "tcp"),
        ("portno", "8090"),
        ("action", "unblock"),
        ("ip", "fd09::1"),
        ("tickle_dir", notes.to_str().unwrap()),
        ("reset_local_on_unblock_stop", "yes"),
    ];
    let server = node.listen("[fd09::1]:8090");
    node.expect(state, "start", &unblock, 0);
    let connection = client.connect("[fd09::1]:8090").unwrap();
    let mut served = server.accept().unwrap().0;
    node.expect(state, "monitor", &unblock, 0);
    let peer = connection.local_addr().unwrap();
    let noted = fs::read_to_string(notes.join("fd09::1")).unwrap();
    assert!(noted.contains(&format!("fd09::1:8090\t{}:{}\n", peer.ip(), peer.port())), "{noted}");
    served.set_read_timeout(Some(PATIENCE)).unwrap();
    node.expect(state, "stop", &unblock, 0);
    assert_eq!(served.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // The server knows nothing of it any more: the client does after the next start.
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    node.expect(state, "start", &unblock, 0);
    assert_eq!((&connection).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    node.expect(state, "stop", &unblock, 0);
    let block = [("protocol", "tcp"), ("portno", "8090"), ("action", "block"), ("ip", "fd09::1")];
    node.expect(state, "stop", &block, 0);
}

/// Only packets of the address are dropped, and with `out` those that leave the port.
fn one_address_both_ways(node: &Host, client: &Host, state: &Path) {
    node.run("ip", &["addr", "add", "10.9.0.3/24", "dev", "eth0"]);
    let _server = node.listen("10.9.0.3:8080");
    for direction in ["in", "out", "both"] {
        let block = [
            ("protocol", "tcp"),
            ("portno", "8080"),
            ("action", "block"),
            ("ip", "10.9.0.3"),
            ("direction", direction),
        ];
        node.expect(state, "start", &block, 0);
        node.expect(state, "monitor", &block, 0);
        assert!(client.connect("10.9.0.3:8080").is_err(), "{direction}");
        assert!(client.connect("10.9.0.1:8080").is_ok(), "{direction}");
        node.expect(state, "stop", &block, 0);
        node.expect(state, "monitor", &block, 7);
        assert!(client.connect("10.9.0.3:8080").is_ok(), "{direction}");
    }
}

/// Killed at any moment, start and stop reach what is asked when they are run again.
fn killed_anywhere(node: &Host, state: &Path, parameters: &[(&str, &str)]) {
    for after_ms in [0, 2, 5, 10, 15, 20, 30, 40, 60] {
        for (action, code) in [("start", 0), ("stop", 7)] {
            let mut agent = node.agent(state, action, parameters).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(after_ms));
            let _ = agent.kill();
            agent.wait().unwrap();
            node.expect(state, action, parameters, 0);
            node.expect(state, "monitor", parameters, code);
        }
    }
}

/// An idle client of an address that moved hears nothing of it, unless it is tickled.
#[test]
fn clients_of_a_moved_address_are_made_to_come_back() {
    let test = "portblock::clients_of_a_moved_address_are_made_to_come_back";
    in_namespaces(test, &["--net", "--mount"], PROBE, || {
        let directory = tempfile::tempdir().unwrap();
        let notes = directory.path().join("notes");
        fs::create_dir(&notes).unwrap();
        let states = ["1", "2"].map(|name| directory.path().join(name));
        states.iter().for_each(|state| fs::create_dir(state).unwrap());
        bridge();
        let client = Host::new("h0", "10.9.0.9/24");
        let nodes = [Host::new("h1", "10.9.0.1/24"), Host::new("h2", "10.9.0.2/24")];
        let unblock = [
            ("protocol", "tcp"),
            ("portno", "8080"),
            ("action", "unblock"),
            ("ip", SERVICE),
            ("tickle_dir", notes.to_str().unwrap()),
            ("reset_local_on_unblock_stop", "yes"),
        ];
        nodes[0].run("ip", &["addr", "add", "10.9.0.100/24", "dev", "eth0"]);
        let server = nodes[0].listen("10.9.0.100:8080");
        nodes[0].expect(&states[0], "start", &unblock, 0);
        let mut connection = client.connect("10.9.0.100:8080").unwrap();
        let mut served = server.accept().unwrap().0;
        nodes[0].expect(&states[0], "monitor", &unblock, 0);
        let peer = connection.local_addr().unwrap();
        let noted = fs::read_to_string(notes.join(SERVICE)).unwrap();
        assert_eq!(noted, format!("10.9.0.100:8080\t{peer}\n"));

        // The node is cut off, the address comes up elsewhere with its service.
        ip(&["link", "set", "h1", "nomaster"]);
        nodes[1].run("ip", &["addr", "add", "10.9.0.100/24", "dev", "eth0"]);
        let _server = nodes[1].listen("10.9.0.100:8080");
        announce(&nodes[1]);
        connection.set_read_timeout(Some(UNANSWERED)).unwrap();
        let silence = connection.read(&mut [0]).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
        nodes[1].expect(&states[1], "start", &unblock, 0);
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(client.connect("10.9.0.100:8080").is_ok());

        // What the old node has left of the connection goes with the stop.
        served.set_read_timeout(Some(PATIENCE)).unwrap();
        nodes[0].expect(&states[0], "stop", &unblock, 0);
        assert_eq!(served.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let rules = nodes[0].run("iptables", &["-S"]);
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        assert!(rules.contains("DROP") && !rules.contains("REJECT"), "{rules}");
    });
}

/// As the address agent does it when it brings the address up.
fn announce(node: &Host) {
    node.run(
        env!("CARGO_BIN_EXE_ha"),
        &["send_arp", "-i", "10", "-r", "2", "eth0", SERVICE, "auto", "x", "x"],
    );
}

/// Why ours is not as Debian's.
const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "texts",
        why: "the CentOS 6 and 7 generation, which named the chain",
        debian: "portblock DROP rule [tcp 80,443 0.0.0.0/0 in",
        ours: "portblock DROP rule for INPUT chain [tcp 80,443 0.0.0.0/0",
    },
    Difference { name: "talk", why: "left from a search for errors", debian: "out: active: ", ours: "" },
    Difference { name: "talk", why: "once for each way", debian: "out: active: ", ours: "" },
];

#[test]
fn beside_debians() {
    in_namespaces("portblock::beside_debians", &["--net", "--mount"], PROBE, || {
        let Some(mut beside) = Beside::new("portblock", DIFFERENCES) else { return };
        // Debian 12's iptables calls the protocol by its number, which Debian 12's agent does not
        // understand. The versions before and after call it by its name.
        let shim = beside.directory.path().join("iptables");
        let text = "#!/bin/sh\ncase \"$*\" in *-L*) ;; *) exec /usr/sbin/iptables \"$@\" ;; esac\n\
             /usr/sbin/iptables \"$@\" | sed 's/^DROP       6   /DROP       tcp /'\n";
        fs::write(&shim, text).unwrap();
        fs::set_permissions(&shim, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", beside.directory.path().display(), std::env::var("PATH").unwrap());
        beside.environment.push(("PATH".to_owned(), path));
        beside.environment.push(("IPTABLES".to_owned(), shim.display().to_string()));
        let own_rules = [RefCell::new(saved()), RefCell::new(saved())];
        // Each has the packet filter for itself.
        let state = |whose: Whose| {
            let rules = saved();
            let mut lines: Vec<String> =
                rules.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect();
            lines.extend(beside.state_files(whose));
            let (mine, next) = if whose == Whose::Debian { (0, 1) } else { (1, 0) };
            own_rules[mine].replace(rules);
            restore(&own_rules[next].borrow());
            lines
        };
        for (action, operation) in [
            ("block", "status"),
            ("unblock", "status"),
            ("unblock", "stop"),
            ("block", "stop"),
            ("block", "start"),
            ("block", "start"),
            ("block", "status"),
            ("block", "monitor"),
            ("unblock", "status"),
            ("unblock", "start"),
            ("unblock", "start"),
            ("block", "status"),
            ("unblock", "status"),
            ("unblock", "stop"),
            ("unblock", "status"),
            ("block", "stop"),
            ("block", "stop"),
            ("block", "status"),
        ] {
            beside.same(Form::Class(&["tcp", "80,443", action, operation]), state);
        }
        assert_eq!(beside.same_lines(Form::Class(&["tcp", "80", "status"])), Some(1));
        assert_eq!(beside.same_lines(Form::Class(&["tcp", "80", "block", "fly"])), Some(1));
        assert_eq!(beside.same_lines(Form::Ocf("monitor", &[("protocol", "tcp")])), Some(6));
        let bad = [("protocol", "sctp"), ("portno", "80"), ("action", "block")];
        assert_eq!(beside.run(Whose::Debian, Form::Ocf("validate-all", &bad)).code, Some(6));
        assert_eq!(beside.run(Whose::Ours, Form::Ocf("validate-all", &bad)).code, Some(6));
        let both = [("protocol", "tcp"), ("portno", "22"), ("action", "block"), ("direction", "both")];
        for action in ["start", "monitor", "stop", "monitor"] {
            beside.same(Form::Ocf(action, &both), state);
        }
    });
}

fn saved() -> String {
    let output = Command::new("iptables-save").args(["-t", "filter"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    kept.join("\n") + "\n"
}

fn restore(rules: &str) {
    let empty = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";
    let rules = if rules.contains("*filter") { rules } else { empty };
    let mut child = Command::new("iptables-restore").stdin(Stdio::piped()).spawn().unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
