//! Ping nodes, ipfail and pingd of either kind on either side.

use std::time::{Duration, Instant};

use ha_core::demo::world::{HostKind, World, SERVICE_ADDRESS};

/// Longest wait for a condition; a cold start of the original takes ten seconds by itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// The client answers pings: it is the gateway.
const GATEWAY: &str = "client";

/// What each node runs as its ipfail.
const THEIRS: &str = "/usr/libexec/heartbeat/ipfail";
const OURS: &str = "/ha ipfail";

/// A pair with an address that prefers node1, one ping node, and these programs.
struct Gateway {
    world: World,
    programs: [&'static str; 2],
}

impl Gateway {
    /// Both nodes started, the address on node1, both programs signed on. `None`: skipped.
    fn start(kinds: [HostKind; 2], programs: [&'static str; 2], more: &[&str]) -> Option<Self> {
        let world = super::common::pair(kinds[0], kinds[1])?;
        let gateway = world.service_address(GATEWAY).expect("gateway");
        for (host, program) in world.hosts().iter().zip(programs) {
            let ping = [format!("ping {gateway}"), format!("respawn hacluster {program}")];
            let mut lines: Vec<&str> = vec!["deadping 1"];
            lines.extend(ping.iter().map(String::as_str));
            lines.extend(more);
            let ha_cf = world.ha_cf(200, 2000, &lines);
            host.write_file("/etc/ha.d/ha.cf", &ha_cf).expect("ha.cf");
            let groups = format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0\n");
            host.write_file("/etc/ha.d/haresources", &groups).expect("haresources");
            host.write_file_with_mode("/etc/ha.d/authkeys", "auth 1\n1 sha1 demonstration\n", 0o600)
                .expect("authkeys");
        }
        let pair = Self { world, programs };
        pair.world.hosts().iter().for_each(|host| host.start_daemon().expect("daemon starts"));
        pair.owned_by("node1");
        for of in ["node1", "node2"] {
            pair.wait(&format!("ipfail of {of}"), || pair.cl_status("node1", &["clientstatus", of, "ipfail"]) == "online");
        }
        Some(pair)
    }

    fn cl_status(&self, node: &str, words: &[&str]) -> String {
        let argv: Vec<&str> = ["/usr/bin/cl_status"].into_iter().chain(words.iter().copied()).collect();
        let output = self.world.host(node).expect("host").run(&argv).expect("cl_status runs");
        output.stdout.trim_end().to_owned()
    }

    #[track_caller]
    fn wait(&self, what: &str, condition: impl FnMut() -> bool) {
        super::common::wait_for(&self.world, what, PATIENCE, condition);
    }

    #[track_caller]
    fn owned_by(&self, node: &str) {
        if let Err(error) = self.world.wait_owner(SERVICE_ADDRESS, node, PATIENCE) {
            panic!("{error}\n{}", super::common::logs(&self.world));
        }
        let settled = || ["node1", "node2"].iter().all(|name| self.cl_status(name, &["rscstatus"]) != "transition");
        self.wait("end of the transition", settled);
    }

    /// Waits until a node sees the gateway so.
    #[track_caller]
    fn sees_gateway(&self, node: &str, status: &str) {
        let gateway = self.world.service_address(GATEWAY).expect("gateway").to_string();
        self.wait(&format!("{gateway} {status} on {node}"), || {
            self.cl_status(node, &["nodestatus", &gateway]) == status
        });
    }

    fn log(&self, node: &str) -> String {
        let host = self.world.host(node).expect("host");
        host.read_file("/var/log/ha-log").expect("log")
    }

    /// Waits for a line of the node's ipfail.
    #[track_caller]
    fn says(&self, node: &str, text: &str) {
        let said = |line: &str| line.contains(" ipfail: [") && line.contains(text);
        self.wait(&format!("{text:?} from ipfail of {node}"), || self.log(node).lines().any(said));
    }

    /// The address stays where it is for this long.
    #[track_caller]
    fn stays(&self, node: &str, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let owners = self.world.owners(SERVICE_ADDRESS).expect("owners");
            assert_eq!(owners, [node], "{:?}\n{}", self.programs, super::common::logs(&self.world));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The whole story: a loss on one side, its end, a loss on both sides.
    fn story(&self) {
        self.world.cut("node1", "eth0").expect("cut");
        self.owned_by("node2");
        self.says("node1", "Giving up because we were told that we have less ping nodes.");
        self.says("node1", "giveup() called (timeout worked)");
        self.says("node2", "Telling other node that we have more visible ping nodes.");
        self.world.heal("node1", "eth0").expect("heal");
        self.says("node1", "A ping node just came up.");
        self.sees_gateway("node1", "ping");
        self.world.cut(GATEWAY, "eth0").expect("cut");
        self.sees_gateway("node1", "dead");
        self.sees_gateway("node2", "dead");
        self.says("node2", "We are dead. :<");
        self.stays("node2", Duration::from_secs(3));
    }
}

#[test]
fn our_ipfail_and_theirs_on_their_daemons() {
    let kinds = [HostKind::Original, HostKind::Original];
    let Some(pair) = Gateway::start(kinds, [OURS, THEIRS], &["auto_failback off"]) else { return };
    pair.story();
}
