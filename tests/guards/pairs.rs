//! Goal: with real daemons each guard lets one node at a time have the address, by asking both kernels,
//! when the pair is cut apart and when it is healed.
//! Method: two hosts in namespaces; what they share lies in a folder that both see.

use std::path::Path;
use std::time::{Duration, Instant};

use ha_core::demo::world::{World, SERVICE_ADDRESS};

use crate::common;

pub const LIMIT: Duration = Duration::from_secs(40);

/// A pair that runs with these lines of ha.cf, node1 with the address; `folder` is what both share.
pub fn pair(folder: &Path, lines: &[String], prepare: impl Fn(&World)) -> Option<World> {
    use ha_core::demo::world::HostKind;
    let world = common::pair(HostKind::Ours, HostKind::Ours)?;
    prepare(&world);
    let mut more = vec!["auto_failback off"];
    more.extend(lines.iter().map(String::as_str));
    common::start(&world, 100, 1500, &more).expect("start");
    assert!(folder.is_dir());
    common::wait_for(&world, "both nodes at rest", LIMIT, || is_settled(&world));
    Some(world)
}

pub fn shared() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    made.expect("a folder that both hosts see")
}

pub fn cut(world: &World, cables: &[&str]) {
    for cable in cables {
        world.cut_silently("node1", cable).expect("cut");
    }
}

pub fn heal(world: &World) {
    for cable in ["eth0", "eth1"] {
        world.heal("node1", cable).expect("heal");
    }
    common::wait_for(world, "one owner and rest after healing", LIMIT, || {
        is_settled(world) && owners(world).len() == 1
    });
}

/// As [`common::is_settled`], with ping nodes that answer.
fn is_settled(world: &World) -> bool {
    ["node1", "node2"].iter().all(|name| {
        let status = common::status(world, name);
        let view = &status["report"]["view"];
        let nodes = view["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let fine = |node: &serde_json::Value| node["status"] == "active" || node["status"] == "ping";
        view["transition"] == "" && view["resource_status"] != "transition" && nodes.iter().all(fine)
    })
}

/// By the kernels' own lists.
fn owners(world: &World) -> Vec<&str> {
    world.owners(SERVICE_ADDRESS).expect("owners")
}

/// Never two, all that time and until the condition holds.
pub fn never_two(world: &World, at_least: Duration, what: &str, until: impl Fn(&[&str]) -> bool) {
    let (start, end) = (Instant::now(), Instant::now() + at_least + LIMIT);
    loop {
        let owners = owners(world);
        assert!(owners.len() < 2, "two owners while {what}\n{}", common::logs(world));
        if start.elapsed() >= at_least && until(&owners) {
            return;
        }
        assert!(Instant::now() < end, "{what}: still {owners:?}\n{}", common::logs(world));
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn guard_of(world: &World, name: &str) -> String {
    common::status(world, name)["report"]["view"]["guards"].to_string()
}

#[test]
fn a_lease_on_a_shared_file() {
    let folder = shared();
    let file = folder.path().join("lease");
    let link = |world: &World, target: &Path| {
        for host in world.hosts() {
            let made = host.run(&["ln", "-sfn", target.to_str().expect("text"), "/lease"]).expect("ln");
            assert_eq!(made.code, Some(0), "{made:?}");
        }
    };
    let lines = ["lease /lease time=3s interval=300ms margin=300ms".replace("3s", "3")];
    let prepared = |world: &World| {
        link(world, &file);
        let path = file.to_str().expect("text");
        let init = ["/ha", "guard", "lease-init", path, "node1", "node2"];
        let made = world.hosts()[0].run(&init).expect("ha guard");
        assert_eq!(made.code, Some(0), "{made:?}");
    };
    let Some(world) = pair(folder.path(), &lines, prepared) else { return };
    for name in ["node1", "node2"] {
        assert!(guard_of(&world, name).contains("lease: held"), "{}", guard_of(&world, name));
    }
    let shown = world.hosts()[1].run(&["/ha", "guard", "lease-show", "/lease"]).expect("lease-show");
    assert!(shown.stdout.contains("node1: runs and holds something"), "{shown:?}");
    // A cut moves nothing: the other node's word goes on changing.
    cut(&world, &["eth0", "eth1"]);
    never_two(&world, Duration::from_secs(9), "the pair is apart", |owners| owners == ["node1"]);
    // Without the disk node1 gives up, then node2 takes.
    let gone = world.hosts()[0].run(&["rm", "/lease"]).expect("rm");
    assert_eq!(gone.code, Some(0));
    never_two(&world, Duration::ZERO, "node1 has lost the disk", |owners| owners == ["node2"]);
    link(&world, &file);
    heal(&world);
    never_two(&world, Duration::from_secs(2), "the pair is together again", |owners| owners == ["node2"]);
    // A host that is gone is taken over when its word has stood still.
    world.crash("node2").expect("crash");
    never_two(&world, Duration::ZERO, "node2 is dead", |owners| owners == ["node1"]);
}

/// A third party that is a file and a lock, with the contract of ha-guards(7).
const ARBITER: &str = r#"#!/bin/sh
[ -e /no-arbiter ] && exit 2
exec 9>>"TOKEN.lock"
flock 9
now=$(date +%s)
holder= since=0
[ -s "TOKEN" ] && read -r holder since <"TOKEN"
case $1 in
acquire) [ -z "$holder" ] || [ "$holder" = "$HA_NODE" ] || [ $((now - since)) -ge "$HA_ARBITER_TTL" ] || exit 1 ;;
renew) [ "$holder" = "$HA_NODE" ] || exit 1 ;;
release) [ "$holder" = "$HA_NODE" ] && rm "TOKEN"; exit 0 ;;
esac
echo "$HA_NODE $now" >"TOKEN"
"#;

#[test]
fn an_arbiter_chooses_one_side() {
    let folder = shared();
    let token = folder.path().join("token");
    let script = ARBITER.replace("TOKEN", token.to_str().expect("text"));
    let lines = ["arbiter /arbiter".to_owned()];
    let Some(world) = pair(folder.path(), &lines, |world| {
        for host in world.hosts() {
            host.write_file_with_mode("/arbiter", &script, 0o755).expect("arbiter");
        }
    }) else {
        return;
    };
    // node1 has no way to anybody: node2 is given the token, after node1 has let go.
    world.hosts()[0].write_file("/no-arbiter", "").expect("mark");
    cut(&world, &["eth0", "eth1"]);
    never_two(&world, Duration::ZERO, "node1 is cut off from everything", |owners| owners == ["node2"]);
    never_two(&world, Duration::from_secs(3), "node2 serves", |owners| owners == ["node2"]);
    assert!(std::fs::read_to_string(&token).expect("token").starts_with("node2 "));
    let removed = world.hosts()[0].run(&["rm", "/no-arbiter"]).expect("rm");
    assert_eq!(removed.code, Some(0));
    heal(&world);
    never_two(&world, Duration::from_secs(2), "the pair is together again", |owners| owners == ["node2"]);
    common::wait_for(&world, "the token is given back", LIMIT, || !token.exists());
}

#[test]
fn an_address_that_answers_is_not_taken() {
    let folder = shared();
    let lines = ["ask_before_take on wait=500ms then=stay".to_owned()];
    let Some(world) =
        common::pair(ha_core::demo::world::HostKind::Ours, ha_core::demo::world::HostKind::Ours)
    else {
        return;
    };
    assert!(folder.path().is_dir());
    let mut more = vec!["auto_failback off"];
    more.extend(lines.iter().map(String::as_str));
    // Heartbeats on one network only, clients on the other.
    let ha_cf = world.ha_cf(100, 1500, &more).replace("bcast eth0 eth1", "bcast eth1");
    let group = format!("node1 IPaddr2::{SERVICE_ADDRESS}/24/eth0 IPv6addr::2001:db8::5/64/eth0\n");
    world.configure(&ha_cf, &group).expect("configure");
    for host in world.hosts() {
        host.start_daemon().expect("daemon");
    }
    world.wait_owner(SERVICE_ADDRESS, "node1", LIMIT).expect("owner");
    common::wait_for(&world, "both nodes at rest", LIMIT, || common::is_settled(&world));
    cut(&world, &["eth1"]);
    never_two(&world, Duration::from_secs(8), "node1 still answers", |owners| owners == ["node1"]);
    let log = world.hosts()[1].read_file(ha_core::demo::host::LOG).expect("log");
    assert!(log.contains("not taken yet:") && log.contains("is in use on eth0"), "{log}");
    // Nobody answers any more: it is taken at once.
    world.crash("node1").expect("crash");
    never_two(&world, Duration::ZERO, "node1 is gone", |owners| owners == ["node2"]);
}

#[test]
fn who_reaches_no_ping_node_gives_up() {
    let folder = shared();
    let lines = ["ping 192.0.2.200".to_owned(), "ping_arbitration on".to_owned()];
    let Some(world) = pair(folder.path(), &lines, |_| {}) else { return };
    cut(&world, &["eth0", "eth1"]);
    let end = Instant::now() + LIMIT;
    // For a moment both may have it: as long as node1 takes to notice and to stop (ha-guards(7)).
    while owners(&world) != ["node2"] {
        assert!(Instant::now() < end, "{:?}\n{}", owners(&world), common::logs(&world));
        std::thread::sleep(Duration::from_millis(20));
    }
    never_two(&world, Duration::from_secs(3), "node1 is cut off", |owners| owners == ["node2"]);
    heal(&world);
    assert_eq!(owners(&world), ["node2"], "{}", common::logs(&world));
}

#[test]
fn who_cannot_cut_the_other_off_takes_nothing() {
    let folder = shared();
    let mark = folder.path().join("may");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = off ] && [ \"$2\" = node1 ] && [ \"$HA_NODE\" = node2 ] && [ -e {0} ] && echo \"$1 $2\" >{0}\n",
        mark.display()
    );
    let lines = ["resource_fence /cut timeout=5".to_owned()];
    let Some(world) = pair(folder.path(), &lines, |world| {
        for host in world.hosts() {
            host.write_file_with_mode("/cut", &script, 0o755).expect("program");
        }
    }) else {
        return;
    };
    world.crash("node1").expect("crash");
    let log = || world.hosts()[1].read_file(ha_core::demo::host::LOG).unwrap_or_default();
    common::wait_for(&world, "a failed try", LIMIT, || {
        log().contains("resource fencing of node node1 failed")
    });
    assert!(owners(&world).is_empty(), "nothing is taken");
    std::fs::write(&mark, "").expect("mark");
    never_two(&world, Duration::ZERO, "the program works again", |owners| owners == ["node2"]);
    assert_eq!(std::fs::read_to_string(&mark).expect("mark"), "off node1\n");
}
