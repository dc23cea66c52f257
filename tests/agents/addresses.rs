//! Address agents, send_arp and the runner of groups against a real kernel, each test in a network
//! namespace of its own. Needs root or user namespaces, unshare(1) and ip(8).

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ha_core::net::arp::{self, ArpFields, Operation};
use ha_core::net::netlink::Netlink;
use ha_core::sys::packet::{Framing, PacketSocket};

use crate::inside::in_namespaces;
use crate::skip;

const ORIGINAL_SEND_ARP: &str = "/usr/libexec/heartbeat/send_arp";
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing more comes when nothing came for so long.
const SILENCE: Duration = Duration::from_millis(200);

#[test]
fn an_address_comes_and_goes_and_is_announced_at_once() {
    in_namespace("an_address_comes_and_goes_and_is_announced_at_once", |world| {
        let address = "192.168.77.5/24/v0:x";
        world.expect("IPaddr", &[address, "status"], 7, "INFO:  Resource is stopped\n");
        let wire = world.listen();
        world.expect("IPaddr", &[address, "start"], 0, "INFO:  Success\n");
        // Both were sent before start returned.
        for operation in [Operation::Request, Operation::Reply] {
            let frame = next_frame(&wire, SILENCE);
            assert_eq!(frame, Some(world.announcement(operation, [192, 168, 77, 5])));
        }
        let pid_file = world.state().join("send_arp-192.168.77.5");
        let announcer = fs::read_to_string(&pid_file).unwrap();
        assert!(announcer.parse::<u32>().unwrap() > 1, "{announcer}");
        assert!(world
            .addresses("v0")
            .contains("192.168.77.5/24 brd 192.168.77.255 scope global secondary v0:x"));
        world.expect("IPaddr", &[address, "start"], 0, "INFO:  Success\n");
        world.expect("IPaddr", &[address, "status"], 0, "INFO:  Running OK\n");
        world.expect("IPaddr", &["192.168.77.5", "status"], 0, "INFO:  Running OK\n");
        world.expect("IPaddr", &["192.168.77.5/25/v0", "status"], 7, "INFO:  Resource is stopped\n");
        world.expect("IPaddr", &["192.168.77.5/24/v1", "status"], 7, "INFO:  Resource is stopped\n");
        world.expect("IPaddr", &[address, "stop"], 0, "INFO:  Success\n");
        world.expect("IPaddr", &[address, "stop"], 0, "INFO:  Success\n");
        assert!(!world.addresses("v0").contains("192.168.77.5"));
        assert!(!pid_file.exists());
        wait_until("the announcer is gone", || !is_alive(&announcer));
        let log = world.log();
        for part in [
            "INFO: Adding inet address 192.168.77.5/24 with broadcast address 192.168.77.255 to device v0 (with label v0:x)\n",
            "INFO: Bringing device v0 up\n",
            "v0 192.168.77.5 auto not_used not_used\n",
            "INFO: killed previously running send_arp for 192.168.77.5\n",
            "INFO: IP status = ok, IP_CIP=\n",
            "INFO: IP status = no, IP_CIP=\n",
        ] {
            assert!(log.contains(part), "{part} not in {log}");
        }
    });
}

#[test]
fn interface_and_netmask_come_from_the_routes() {
    in_namespace("interface_and_netmask_come_from_the_routes", |world| {
        world.expect("IPaddr2", &["192.168.77.6", "start"], 0, "INFO:  Success\n");
        assert!(world.addresses("v0").contains("192.168.77.6/24 brd 192.168.77.255"));
        ip(&["link", "set", "v0", "down"]);
        world.expect("IPaddr2", &["192.168.77.6", "status"], 0, "INFO:  Running OK\n");
        world.expect("IPaddr2", &["192.168.77.6", "stop"], 0, "INFO:  Success\n");
        assert!(!world.addresses("v0").contains("192.168.77.6"));
        world.expect("IPaddr2", &["192.168.77.6", "start"], 1, "ERROR:  Generic error\n");
        assert!(world.log().contains("ERROR: Unable to find nic or netmask.\n"));
        world.expect("IPaddr2", &["10.9.8.7/30/v0/10.9.8.7", "start"], 0, "INFO:  Success\n");
        assert!(world.addresses("v0").contains("10.9.8.7/30 brd 10.9.8.7"));
        ip(&["route", "add", "default", "dev", "v0"]);
        world.expect("IPaddr", &["10.20.0.1", "start"], 1, "ERROR:  Generic error\n");
        assert!(world.log().contains("ERROR: Unable to find cidr_netmask.\n"));
        world.expect("IPaddr", &["10.20.0.1/255.255.0.0", "start"], 0, "INFO:  Success\n");
        assert!(world.addresses("v0").contains("10.20.0.1/16"));
    });
}

#[test]
fn secondaries_survive_their_primary() {
    in_namespace("secondaries_survive_their_primary", |world| {
        fs::write("/proc/sys/net/ipv4/conf/all/promote_secondaries", "0").unwrap();
        fs::write("/proc/sys/net/ipv4/conf/v0/promote_secondaries", "0").unwrap();
        world.expect("IPaddr", &["10.5.0.1/24/v0", "start"], 0, "INFO:  Success\n");
        ip(&["addr", "add", "10.5.0.2/24", "brd", "10.5.0.200", "dev", "v0", "label", "v0:two"]);
        ip(&["addr", "add", "10.5.0.3/24", "dev", "v0", "valid_lft", "1000", "preferred_lft", "500"]);
        ip(&["addr", "add", "10.5.0.4/25", "dev", "v0"]);
        world.expect("IPaddr", &["10.5.0.1/24/v0", "stop"], 0, "INFO:  Success\n");
        let left = world.addresses("v0");
        assert!(!left.contains("10.5.0.1/"), "{left}");
        assert!(left.contains("10.5.0.2/24 brd 10.5.0.200 scope global v0:two"), "{left}");
        assert!(left.contains("10.5.0.3/24") && left.contains("10.5.0.4/25"), "{left}");
        assert!(left.contains("valid_lft 1000sec") || left.contains("valid_lft 999sec"), "{left}");
    });
}

#[test]
fn a_loopback_address_makes_way_and_comes_back() {
    in_namespace("a_loopback_address_makes_way_and_comes_back", |world| {
        ip(&["addr", "add", "192.168.77.8/32", "dev", "lo"]);
        world.expect("IPaddr2", &["192.168.77.8", "status"], 7, "INFO:  Resource is stopped\n");
        world.expect("IPaddr2", &["192.168.77.8", "start"], 0, "INFO:  Success\n");
        assert!(!world.addresses("lo").contains("192.168.77.8"));
        let note = fs::read_to_string(world.state().join("192.168.77.8")).unwrap();
        assert_eq!(note.trim(), "192.168.77.8 32 255.255.255.255 lo");
        world.expect("IPaddr2", &["192.168.77.8", "stop"], 0, "INFO:  Success\n");
        assert!(world.addresses("lo").contains("192.168.77.8/32"));
        assert!(!world.state().join("192.168.77.8").exists());
        assert!(world.log().contains("INFO: Removing conflicting loopback lo.\n"));
        assert!(world
            .log()
            .contains("INFO: Restoring loopback IP Address 192.168.77.8 32 255.255.255.255 lo.\n"));
    });
}

#[test]
fn wrong_calls_are_refused_as_the_original_does() {
    in_namespace("wrong_calls_are_refused_as_the_original_does", |world| {
        let usage = "usage: IPaddr <ip-address> (start|stop|status|usage|meta-data)\n";
        world.expect("IPaddr", &[], 1, usage);
        world.expect("IPaddr", &["start"], 1, usage);
        world.expect("IPaddr", &["1.2.3.4", "usage"], 1, usage);
        world.expect("IPaddr", &["a", "b", "start"], 1, usage);
        world.expect("IPaddr", &["1.2.3.4", "fly"], 1, &format!("ERROR: Unknown operation: fly\n{usage}"));
        world.expect("IPaddr", &["1.2.3.4", ""], 1, &format!("ERROR: No action specfied.\n{usage}"));
        let not_configured = "ERROR:  Program is not configured\n";
        for address in
            ["a", "192.168.77.5//v0", "192.168.77.5/24/none", "192.168.77.5/99", "1.2.3.4/8/v0/x", "::1"]
        {
            world.expect("IPaddr2", &[address, "start"], 6, not_configured);
        }
        world.expect("IPaddr2", &["192.168.77.5/24/v0:much_too_long_label", "start"], 6, not_configured);
        world.expect("IPaddr2", &["192.168.77.5/24/none", "stop"], 0, "INFO:  Success\n");
        world.expect("IPaddr2", &["a", "stop"], 0, "INFO:  Success\n");
        assert!(!world.addresses("v0").contains("192.168.77.5"));
    });
}

#[test]
fn the_ocf_form_takes_its_parameters_from_the_environment() {
    in_namespace("the_ocf_form_takes_its_parameters_from_the_environment", |world| {
        let run = |action: &str, more: &[(&str, &str)]| {
            let mut command = world.ha("IPaddr2", &[action]);
            command.env("OCF_RESOURCE_INSTANCE", "vip").env("OCF_RESKEY_ip", "192.168.77.9");
            command.env("OCF_RESKEY_cidr_netmask", "24").env("OCF_RESKEY_nic", "v0");
            let output = command.envs(more.iter().copied()).output().unwrap();
            (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
        };
        assert_eq!(run("monitor", &[]), (7, String::new()));
        assert_eq!(run("status", &[]), (7, "stopped\n".into()));
        assert_eq!(run("validate-all", &[]), (0, String::new()));
        assert_eq!(run("start", &[("OCF_RESKEY_iflabel", "ocf")]), (0, String::new()));
        assert!(world.addresses("v0").contains("v0:ocf"));
        assert_eq!(run("status", &[]), (0, "running\n".into()));
        assert_eq!(run("stop", &[]), (0, String::new()));
        assert_eq!(run("start", &[("OCF_RESKEY_unique_clone_address", "true")]).0, 6);
        assert_eq!(run("start", &[("OCF_RESKEY_arp_count", "0")]).0, 6);
        assert!(run("meta-data", &[]).1.contains("<parameter name=\"cidr_netmask\""));
        // Somebody else has it: asked first, found out, not started.
        ip(&["addr", "add", "192.168.77.9/32", "dev", "v1"]);
        assert_eq!(run("start", &[("OCF_RESKEY_run_arping", "true")]).0, 1);
        assert!(world.log().contains("ERROR: IPv4 address collision 192.168.77.9 [DAD]\n"));
        assert!(!world.addresses("v0").contains("192.168.77.9"));
        let duplicate = |address| world.run("send_arp", &["-D", "-q", "-c", "1", "-I", "v0", address]);
        assert_eq!(duplicate("192.168.77.9").status.code(), Some(1));
        assert_eq!(duplicate("192.168.77.10").status.code(), Some(0));
    });
}

#[test]
fn send_arp_sends_what_the_original_sends() {
    in_namespace("send_arp_sends_what_the_original_sends", |world| {
        let wire = world.listen();
        let pid_file = world.state().join("own-pid");
        let arguments =
            ["-i", "2", "-r", "2", "-p", pid_file.to_str().unwrap(), "v0", "192.168.99.1", "auto", "x", "y"];
        let output = world.run("send_arp", &arguments);
        assert!(output.status.success(), "{output:?}");
        let ours: Vec<_> = std::iter::from_fn(|| next_frame(&wire, SILENCE)).collect();
        let pair = [Operation::Request, Operation::Reply].map(|it| world.announcement(it, [192, 168, 99, 1]));
        assert_eq!(ours, [pair.clone(), pair].concat());
        assert!(!pid_file.exists());
        let with_hardware = world.run("send_arp", &["v0", "192.168.99.1", "02aabbccddee", "x", "y"]);
        assert!(with_hardware.status.success());
        let own: Vec<_> = std::iter::from_fn(|| next_frame(&wire, SILENCE)).collect();
        assert_eq!(own[1][22..28], [2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee]);
        for (arguments, code) in [
            (&["-p", "relative", "v0", "192.168.99.1", "auto", "x", "y"][..], 1),
            (&["none", "192.168.99.1", "auto", "x", "y"], 1),
            (&["v0", "not an address", "auto", "x", "y"], 1),
            (&["v0", "192.168.99.1"], 1),
            (&["-z"], 1),
            (&["lo", "192.168.99.1", "auto", "x", "y"], 0),
        ] {
            assert_eq!(world.run("send_arp", arguments).status.code(), Some(code), "{arguments:?}");
        }
        if !Path::new(ORIGINAL_SEND_ARP).exists() {
            // The original is for comparison, and not what every build machine has.
            return skip::skip_without_privilege(&format!(
                "no original to compare with: {ORIGINAL_SEND_ARP}"
            ));
        }
        drop(wire);
        let wire = world.listen();
        let status = Command::new(ORIGINAL_SEND_ARP).args(arguments).stdin(Stdio::null()).status().unwrap();
        assert!(status.success());
        let theirs: Vec<_> = std::iter::from_fn(|| next_frame(&wire, SILENCE)).collect();
        assert_eq!(ours, theirs);
    });
}

#[test]
fn groups_start_in_order_and_a_failing_start_stops_the_whole_group() {
    in_namespace("groups_start_in_order_and_a_failing_start_stops_the_whole_group", |world| {
        world.script("a", "echo a $* >>$HA_DIR/calls; [ $2 = status ] && cat $HA_DIR/a.$1 2>/dev/null; case $2 in start) echo running >$HA_DIR/a.$1;; stop) rm -f $HA_DIR/a.$1;; esac; exit 0");
        world.script("bad", "echo bad $* >>$HA_DIR/calls; [ $1 = start ] && exit 5; exit 0");
        world.haresources("node1 a::1 192.168.77.20/24/v0 a::2\nnode2 a::3 bad a::4\nnode1 a::5\n");
        let output = world.run("ResourceManager", &["job", "acquire", "all"]);
        assert_eq!(
            text(&output.stdout),
            "group a::1 begin\nresource a::1 0 a::1 active\n\
             resource a::1 1 192.168.77.20/24/v0 active\nresource a::1 2 a::2 active\ngroup a::1 done\n\
             group a::3 begin\nresource a::3 0 a::3 active\nresource a::3 1 bad failed\n\
             resource a::3 2 a::4 inactive\nresource a::3 1 bad inactive\nresource a::3 0 a::3 inactive\n\
             group a::3 start-failed\ngroup a::5 begin\nresource a::5 0 a::5 active\ngroup a::5 done\n\
             outcome start-failed=foreign stop-failed=none\n"
        );
        assert_eq!(
            fs::read_to_string(world.directory.join("calls")).unwrap(),
            "a 1 status\na 1 start\na 2 status\na 2 start\na 3 status\na 3 start\nbad status\nbad start\n\
             a 4 stop\nbad stop\na 3 stop\na 5 status\na 5 start\n"
        );
        let directory = world.directory.join("resource.d").display().to_string();
        let lines = world.manager_lines();
        let foreign =
            lines.iter().position(|line| line == "info: Acquiring resource group: node2 a::3 bad a::4");
        let expected = [
            format!("info: Running {directory}/a 3 start"),
            format!("info: Running {directory}/bad  start"),
            format!("ERROR: Return code 5 from {directory}/bad"),
            "CRIT: Giving up resources due to failure of bad".to_owned(),
            "info: Releasing resource group: node2 a::3 bad a::4".to_owned(),
            format!("info: Running {directory}/a 4 stop"),
            format!("info: Running {directory}/bad  stop"),
            format!("info: Running {directory}/a 3 stop"),
        ];
        assert_eq!(lines[foreign.unwrap() + 1..][..expected.len()], expected);
        let output = world.run("ResourceManager", &["job", "announce", "local"]);
        assert!(text(&output.stdout).contains("resource a::1 1 192.168.77.20/24/v0 active\n"));
        let output = world.run("ResourceManager", &["job", "release-active", "all"]);
        assert!(text(&output.stdout).contains("group a::3 begin\ngroup a::3 done\n"));
        assert!(text(&output.stdout).ends_with("outcome start-failed=none stop-failed=none\n"));
        assert!(!world.addresses("v0").contains("192.168.77.20"));
    });
}

#[test]
fn a_stop_that_fails_is_tried_again_and_reported() {
    in_namespace("a_stop_that_fails_is_tried_again_and_reported", |world| {
        world.script("stuck", "[ $1 = status ] && echo stuck is running; [ $1 != stop ]");
        world.script("sloppy", "[ $1 = status ] && echo sloppy is stopped, not running; [ $1 != stop ]");
        world.haresources("node1 stuck missing\nnode2 sloppy\n");
        let release = |set| {
            let mut command = world.ha("ResourceManager", &["job", "release", set]);
            command.env("HA_STOPRETRYMAX", "1").output().unwrap()
        };
        let output = release("local");
        assert_eq!(
            text(&output.stdout),
            "group stuck begin\nresource stuck 1 missing inactive\nresource stuck 0 stuck failed\n\
             group stuck stop-failed\noutcome start-failed=none stop-failed=local\n"
        );
        assert!(output.status.success());
        let lines = world.manager_lines().join("\n");
        assert!(lines.contains("ERROR: Cannot locate resource script missing"));
        assert_eq!(lines.matches("info: Retrying failed stop operation [stuck]").count(), 1);
        assert!(lines.ends_with(
            "CRIT: Resource STOP failure. Reboot required!\nCRIT: Killing heartbeat ungracefully!"
        ));
        let output = release("foreign");
        assert!(
            text(&output.stdout).ends_with("group sloppy done\noutcome start-failed=none stop-failed=none\n")
        );
        assert!(world.manager_lines().join("\n").ends_with(
            "ERROR: Resource script for sloppy probably not LSB-compliant.\n\
             WARN: it (sloppy) MUST succeed on a stop when already stopped\n\
             WARN: Machine reboot narrowly avoided!"
        ));
    });
}

#[test]
fn resource_manager_by_hand() {
    in_namespace("resource_manager_by_hand", |world| {
        world.script("svc", "[ $1 = status ] && echo OK; exit 0");
        world.script("idle", "exit 0");
        world.haresources("# comment\nNode1 192.168.77.30/24/v0 \\\n svc # more\nnode2 idle svc\n");
        let prints = |arguments: &[&str]| text(&world.run("ResourceManager", arguments).stdout);
        let code = |arguments: &[&str]| world.run("ResourceManager", arguments).status.code().unwrap();
        assert_eq!(prints(&["listkeys", "NODE1"]), "192.168.77.30/24/v0\n");
        assert_eq!(prints(&["listkeys", ".*"]), "192.168.77.30/24/v0\nidle\n");
        assert_eq!(prints(&["allkeys"]), "192.168.77.30/24/v0\nidle\n");
        assert_eq!(prints(&["ourkeys"]), "192.168.77.30/24/v0 svc \n");
        assert_eq!(prints(&["otherkeys"]), "idle svc \n");
        assert_eq!((code(&["status", "svc"]), code(&["status", "idle"])), (0, 3));
        assert_eq!(code(&["verifyallidle"]), 0);
        assert_eq!(code(&["takegroup", "192.168.77.30/24/v0"]), 0);
        assert_eq!(code(&["verifyallidle"]), 1);
        assert!(world.addresses("v0").contains("192.168.77.30/24"));
        assert_eq!(code(&["givegroup", "192.168.77.30/24/v0"]), 0);
        assert!(!world.addresses("v0").contains("192.168.77.30"));
        assert_eq!((code(&["takegroup", "none"]), code(&["takegroup", "svc"])), (0, 1));
        assert!(world.log().contains("match svc; nothing was done"));
        let usage = world.run("ResourceManager", &["fly"]);
        assert_eq!(usage.status.code(), Some(1));
        assert_eq!(
            text(&usage.stderr),
            "usage: ResourceManager listkeys machine | takegroup key | givegroup key|status resource\n\n"
        );
        fs::remove_file(world.directory.join("haresources")).unwrap();
        let output = world.run("ResourceManager", &["job", "release", "all"]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    });
}

/// A network namespace with the pair v0 and v1, and directories of its own.
struct World {
    directory: PathBuf,
}

impl World {
    fn ha(&self, applet: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ha"));
        command.arg(applet).args(arguments).stdin(Stdio::null());
        command.env_remove("HA_LOGFACILITY").env_remove("HA_LOGTAG").env_remove("HA_RESOURCEDIR");
        command.env("HA_DIR", &self.directory).env("HA_RSCTMP", self.state()).env("HA_CURHOST", "node1");
        let log = self.directory.join("log");
        command.env("HA_LOGFILE", &log).env("HA_DEBUGLOG", log);
        command
    }

    fn run(&self, applet: &str, arguments: &[&str]) -> Output {
        self.ha(applet, arguments).output().unwrap()
    }

    fn expect(&self, applet: &str, arguments: &[&str], code: i32, stdout: &str) {
        let output = self.run(applet, arguments);
        let found = (output.status.code(), text(&output.stdout));
        assert_eq!(found, (Some(code), stdout.to_owned()), "{applet} {arguments:?}\n{}", self.log());
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// What ResourceManager itself logged, without tag and date.
    fn manager_lines(&self) -> Vec<String> {
        let log = self.log();
        let own = log.lines().filter(|line| line.starts_with("ResourceManager(default)["));
        own.filter_map(|line| line.split_once('\t')?.1.get(20..).map(str::to_owned)).collect()
    }

    fn haresources(&self, text: &str) {
        fs::write(self.directory.join("haresources"), text).unwrap();
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.directory.join("resource.d").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn addresses(&self, interface: &str) -> String {
        text(&ip(&["-4", "addr", "show", "dev", interface]).stdout)
    }

    /// Hears ARP at the other end of the pair.
    fn listen(&self) -> PacketSocket {
        let link = Netlink::open().unwrap().link("v1").unwrap().unwrap();
        PacketSocket::open(Framing::Frame, link.index, arp::ETHERTYPE_ARP).unwrap()
    }

    fn announcement(&self, operation: Operation, address: [u8; 4]) -> Vec<u8> {
        let link = Netlink::open().unwrap().link("v0").unwrap().unwrap();
        let own = arp::ethernet_address(&link.address).unwrap();
        let address = Ipv4Addr::from(address);
        let target = if operation == Operation::Request { [0; 6] } else { own };
        arp::frame(
            operation,
            &ArpFields {
                link_source: own,
                link_destination: [0xff; 6],
                sender: own,
                sender_address: address,
                target,
                target_address: address,
            },
        )
    }
}

/// The next frame that came from the other end.
fn next_frame(wire: &PacketSocket, timeout: Duration) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    loop {
        let received = wire.receive(&mut buffer, timeout).unwrap()?;
        if !received.outgoing {
            return Some(buffer[..received.length].to_vec());
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ip(arguments: &[&str]) -> Output {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", text(&output.stderr));
    output
}

/// Neither gone nor a zombie that nobody reaped yet.
fn is_alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Runs the test `name` again in a child with a network namespace of its own, and `body` there.
fn in_namespace(name: &str, body: impl FnOnce(&World)) {
    let probe = "ip link add v0 type veth peer name v1";
    in_namespaces(&format!("addresses::{name}"), &["--net"], probe, || {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("resource.d")).unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", "v0", "type", "veth", "peer", "name", "v1"]);
        ip(&["link", "set", "v0", "up"]);
        ip(&["link", "set", "v1", "up"]);
        ip(&["addr", "add", "192.168.77.1/24", "brd", "+", "dev", "v0"]);
        body(&World { directory: directory.path().to_owned() });
    });
}
