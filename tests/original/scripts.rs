//! Scripts and commands of the original's installation with our daemon, and ours with the original's.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::demo::host::Host;
use ha_core::demo::world::HostKind;
use ha_core::demo::Output;

use crate::common::pairs::{group, Pair, NODES};
use crate::common::wait_for;
use crate::pair::pair_with;

const PATIENCE: Duration = Duration::from_secs(60);
/// The original's scripts as our hosts see them.
const ORIGINAL_PROGRAMS: &str = "/.machine/usr/share/heartbeat";
pub(crate) const ORIGINAL_RC: &str = "/.machine/etc/ha.d/rc.d";
/// Types for which the environment is written down.
const TYPES: [&str; 6] = ["status", "ifstat", "hb_takeover", "stonith", "backup", "ip-request-resp"];
/// What a script was called with and found, one `=== ` line before each; then the original's own
/// script of that name, where there is one.
pub(crate) const NOTE: &str =
    "#!/bin/sh\n{ echo \"=== ${0##*/} $*|$(pwd)|$(id -u)|$(umask)\"; env; } >>/var/log/noted\n\
                    [ ! -x /var/tmp/stock/${0##*/} ] || exec /var/tmp/stock/${0##*/} \"$@\"\n";
/// A resource that is a file, and notes the same.
const RESOURCE: &str = "#!/bin/sh\nfor operation; do :; done\n\
                        { echo \"=== ${0##*/} $*|$(pwd)|$(id -u)|$(umask)\"; env; } >>/var/log/noted\n\
                        case $operation in start) : >/var/tmp/$1;; stop) rm -f /var/tmp/$1;; \
                        status) [ -e /var/tmp/$1 ] && echo running || echo stopped;; esac\n";

/// One call: what it was called with, and its environment.
pub(crate) type Call = (String, BTreeMap<String, String>);

/// The calls noted on a host whose first word is this.
pub(crate) fn noted(host: &Host, script: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in host.read_file("/var/log/noted").expect("the host is on").lines() {
        if let Some(call) = line.strip_prefix("=== ") {
            calls.push((call.to_owned(), BTreeMap::new()));
        } else if let (Some((_, variables)), Some((name, value))) = (calls.last_mut(), line.split_once('=')) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    calls.retain(|(call, _)| call.split([' ', '|']).next() == Some(script));
    calls
}

/// The call in which these variables have these values, once it has come.
#[track_caller]
pub(crate) fn call(pair: &Pair, node: usize, script: &str, values: &[(&str, &str)]) -> Call {
    let found = || {
        let fits = |(_, variables): &Call| {
            values.iter().all(|(name, value)| variables.get(*name).map(String::as_str) == Some(*value))
        };
        noted(pair.host(node), script).into_iter().rev().find(fits)
    };
    let what = format!("{script} with {values:?} on {}", NODES[node]);
    wait_for(&pair.world, &what, PATIENCE, || found().is_some());
    found().expect("it was there a moment ago")
}

/// Compares the two calls: where, by whom, and everything heartbeat puts into the environment. `but`
/// may differ.
#[track_caller]
fn same(original: &Call, ours: &Call, but: &[&str]) {
    assert_eq!(original.0, ours.0);
    // Of our own: where the programs are, and that the work is done.
    let extra = ["HA_NOARCHBIN", "HA_DONE_BY_DAEMON"];
    let relevant = |(_, variables): &Call| -> BTreeMap<String, String> {
        // But not what nodes of ours tell each other, where an original hands it on.
        let of_heartbeat = |name: &str| {
            let ours = name.starts_with("HA_ha");
            !ours && (name.starts_with("HA_") || name.starts_with("OCF_") || name == "LC_ALL")
        };
        variables
            .iter()
            .filter(|(name, _)| of_heartbeat(name))
            .filter(|(name, _)| !but.contains(&name.as_str()) && !extra.contains(&name.as_str()))
            // Differs by host; the folder's doubled slash comes and goes in the original.
            .map(|(name, value)| match name.as_str() {
                "HA_CURHOST" => (name.clone(), "here".to_owned()),
                "HA_DIR" => (name.clone(), value.trim_end_matches('/').to_owned()),
                _ => (name.clone(), value.replace("//", "/")),
            })
            .collect()
    };
    assert_eq!(relevant(original), relevant(ours), "{}", original.0);
}

#[track_caller]
pub(crate) fn write(host: &Host, path: &str, text: &str) {
    host.write_file_with_mode(path, text, 0o755).expect("the host takes files");
}

/// An original and one of ours, the same scripts on both; what the scripts find is the same in the same
/// situation. The original takes over with our `mach_down`.
#[test]
fn scripts_find_the_same_environment() {
    let groups = [group(0) + " keep::one::two", group(1) + " keep::three"];
    let Some(pair) = pair_with([HostKind::Original, HostKind::Ours], &["auto_failback off"], &groups) else {
        return;
    };
    let (original, ours) = (pair.host(0), pair.host(1));
    pair.run(0, &["sh", "-c", &format!("cp -r {ORIGINAL_RC} /var/tmp/stock && rm -f /etc/ha.d/rc.d/*")]);
    write(
        original,
        "/var/tmp/stock/status",
        "#!/bin/sh\n[ \"$HA_st\" != dead ] || exec /ha mach_down $HA_src\n",
    );
    for host in [original, ours] {
        for kind in TYPES {
            write(host, &format!("/etc/ha.d/rc.d/{kind}"), NOTE);
        }
        write(host, "/etc/ha.d/resource.d/keep", RESOURCE);
    }
    // The original's own ip-request-resp starts its groups, behind the one that notes.
    pair.start_both();
    pair.settled("local", "local");

    // A link comes up, a node becomes active.
    let up = [("HA_st", "up"), ("HA_ifname", "eth1")];
    let link = |node: usize| call(&pair, node, "ifstat", &[up[0], up[1], ("HA_node", NODES[1 - node])]);
    same(&link(0), &link(1), &["HA_node", "HA_OSTATUS"]);
    let active =
        |node: usize| call(&pair, node, "status", &[("HA_src", NODES[1 - node]), ("HA_st", "active")]);
    let numbers = ["HA_seq", "HA_hg", "HA_ts", "HA_ld", "HA_auth", "HA_dt"];
    same(&active(0), &active(1), &[&numbers[..], &["HA_src", "HA_OSTATUS"]].concat());

    // Each node grants itself its own groups.
    let granted = |node: usize| call(&pair, node, "ip-request-resp", &[("HA_dest", NODES[node])]);
    let own = ["HA_src", "HA_dest", "HA_ipaddr", "HA_ttl", "HA_FIFO"];
    same(&granted(0), &granted(1), &[&numbers[..], &own].concat());

    // A message of a script, from either side, to both: field for field, signature and all.
    for (node, word) in [(0, "first"), (1, "second")] {
        let message = format!(">>>\nt=backup\nstate={word} x=y\n<<<\n");
        let script = format!("printf '%s' '{message}' >>/var/lib/heartbeat/fifo");
        pair.run(node, &["sh", "-c", &script]);
        let state = format!("{word} x=y");
        let got = [0, 1].map(|at| call(&pair, at, "backup", &[("HA_state", &state)]));
        same(&got[0], &got[1], &[]);
        assert_eq!(got[1].1["HA_src"], NODES[node]);
    }

    // A request for resources: the scripts of both sides run, the resources move once.
    pair.command(1, "hb_takeover", "all");
    pair.settled("none", "all");
    let asked = [0, 1].map(|at| call(&pair, at, "hb_takeover", &[("HA_rsc_hold", "all")]));
    same(&asked[0], &asked[1], &["HA_FIFO"]);

    // Each dies once.
    pair.world.crash("node2").expect("crash");
    let original_death = call(&pair, 0, "status", &[("HA_st", "dead")]);
    let original_start = call(&pair, 0, "keep", &[("HA_st", "dead"), ("HA_src", "node2")]);
    pair.logged(0, &[" mach_down takeover complete.", " mach_down takeover complete for node node2."]);
    pair.settled("all", "");
    pair.world.boot("node2").expect("boot");
    pair.start(1);
    pair.settled("all", "none");
    pair.world.crash("node1").expect("crash");
    let our_death = call(&pair, 1, "status", &[("HA_st", "dead")]);
    let our_start = call(&pair, 1, "keep", &[("HA_st", "dead"), ("HA_src", "node1")]);
    same(&original_death, &our_death, &["HA_src", "HA_ts"]);
    let starts = [original_start, our_start].map(|(_, variables)| ("keep".to_owned(), variables));
    same(&starts[0], &starts[1], &["HA_src", "HA_ts"]);
}

/// The original's own shell programs and `rc.d` scripts, unchanged, on hosts of ours.
#[test]
fn the_originals_scripts_work_with_our_daemon() {
    let groups = [0, 1].map(|node| group(node).replace(" ", [" keep::one ", " keep::two "][node]));
    let kinds = [HostKind::Ours; 2];
    if !std::path::Path::new("/usr/share/heartbeat/mach_down").exists() {
        return crate::common::skip::skip_without_privilege("Debian's heartbeat is not installed");
    }
    let Some(pair) = pair_with(kinds, &["auto_failback off"], &groups) else { return };
    for node in [0, 1] {
        pair.run(node, &["sh", "-c", &format!("cp -r {ORIGINAL_RC} /etc/ha.d/")]);
        write(pair.host(node), "/etc/ha.d/resource.d/keep", RESOURCE);
        let told = format!("#!/bin/sh\n{ORIGINAL_RC}/status\necho \"$HA_src $HA_st\" >>/var/tmp/told\n");
        write(pair.host(node), "/etc/ha.d/rc.d/status", &told);
    }
    pair.start_both();
    pair.settled("local", "local");
    let program = |name: &str| format!("{ORIGINAL_PROGRAMS}/{name}");

    for (node, name, set, words) in [
        (0, "hb_standby", "all", ["none", "all"]),
        (0, "hb_takeover", "local", ["local", "local"]),
        (1, "hb_takeover", "foreign", ["none", "all"]),
        (1, "hb_standby", "foreign", ["local", "local"]),
    ] {
        pair.run(node, &[&program(name), set]);
        pair.settled(words[0], words[1]);
    }
    // Their hb_takeover script ran and asked for nothing a second time.
    for node in [0, 1] {
        assert_eq!(pair.times_logged(node, "Running /etc/ha.d//rc.d/hb_takeover"), 2, "{}", pair.log(node));
        assert_eq!(pair.times_logged(node, "WARN: standby message"), 0, "{}", pair.log(node));
        assert_eq!(pair.times_logged(node, "wants to go standby"), 4, "{}", pair.log(node));
    }

    messages_of_scripts(&pair);

    // Death: the administrator's script runs whole, with the original's takeover in it; the group is
    // taken once.
    pair.world.crash("node2").expect("crash");
    pair.settled("all", "");
    let told = || pair.run(0, &["cat", "/var/tmp/told"]);
    wait_for(&pair.world, "rc.d/status", PATIENCE, || told().contains("node2 dead\n"));
    assert_eq!(pair.times_logged(0, "Acquiring resource group: node2 "), 1, "{}", pair.log(0));
    assert_eq!(
        pair.times_logged(0, "info: Running /etc/ha.d/resource.d/keep two start"),
        1,
        "{}",
        pair.log(0)
    );

    // A stopped daemon keeps nobody waiting.
    pair.host(0).stop_daemon().expect("stop");
    pair.ended_well(0);
    let limit = Duration::from_secs(20);
    let asked = pair.host(0).run_with_input(&[&program("hb_standby")], "", limit).expect("it runs");
    assert_eq!(asked.code, Some(1), "{asked:?}");
    assert!(
        asked.stderr.contains("/var/lib/heartbeat/fifo is no FIFO: heartbeat does not run."),
        "{asked:?}"
    );
}

/// What else the original's programs tell the daemon of node1, of a pair where each holds its own.
fn messages_of_scripts(pair: &Pair) {
    let program = |name: &str| format!("{ORIGINAL_PROGRAMS}/{name}");
    pair.run(0, &[&program("hb_setweight"), "node2", "42"]);
    pair.run(1, &[&program("hb_setsite"), "node2", "cellar"]);
    for node in [0, 1] {
        let shows = |what: &str, value: &str| pair.run(node, &["cl_status", what, "node2"]) == value;
        wait_for(&pair.world, "weight", PATIENCE, || shows("nodeweight", "42\n"));
        wait_for(&pair.world, "site", PATIENCE, || shows("nodesite", "cellar\n"));
    }

    // What is not active of a held group is started; what is not held stays with the other node.
    pair.run(0, &["rm", "/var/tmp/one"]);
    pair.run(0, &["env", "HA_NICEFAILBACK=yes", "HA_CURHOST=node1", &program("req_resource"), "keep::one"]);
    wait_for(&pair.world, "group", PATIENCE, || pair.run(0, &["ls", "/var/tmp"]).contains("one\n"));
    pair.run(0, &["env", "HA_NICEFAILBACK=yes", "HA_CURHOST=node1", &program("req_resource"), "keep::two"]);
    pair.logged(0, &["resource request not followed: keep::two is not held here: use hb_takeover"]);

    // A takeover that did not happen is not believed.
    pair.allow(&["mach_down was called for a node that is not gone"]);
    let claim = ">>>\nt=resource\nrsc_hold=foreign\ninfo=mach_down\n<<<\n";
    let forged = ">>>\nt=shutdone\nst=dead\n<<<\n";
    pair.allow(&["shutdone message from a local program"]);
    for message in [claim, forged] {
        pair.run(0, &["sh", "-c", &format!("printf '%s' '{message}' >/var/lib/heartbeat/fifo")]);
    }
    pair.logged(0, &["shutdone message from a local program: only the daemon itself says that. Not sent"]);
    pair.settled("local", "local");
}

/// `ResourceManager` by hand, the original's and ours, on the same host with the same files: output and
/// exit codes.
#[test]
fn resource_manager_answers_as_the_original() {
    let groups = [
        "# the first\nNode1   keep::one::two \\\n  keep::more".to_owned(),
        "node2 keep::three keep::four".to_owned(),
    ];
    let Some(pair) = pair_with([HostKind::Original, HostKind::Ours], &[], &groups) else { return };
    let host = pair.host(0);
    write(host, "/etc/ha.d/resource.d/keep", RESOURCE);
    let run = |program: &[&str], words: &[&str]| -> Output {
        let environment = ["env", "HA_CURHOST=node1", "HA_LOGFILE=/dev/null", "HA_DEBUGLOG=/var/log/debug"];
        host.run(&[&environment[..], program, words].concat()).expect("it runs")
    };
    let calls: [&[&str]; 20] = [
        &["listkeys", "node1"],
        &["listkeys", "NODE2"],
        &["listkeys", ".*"],
        &["listkeys", "node3"],
        &["allkeys"],
        &["ourkeys"],
        &["otherkeys"],
        &["status", "keep::one::two"],
        &["takegroup", "keep::one::two"],
        &["status", "keep::one::two"],
        &["status", "keep::more"],
        &["statgroup", "keep::one::two"],
        &["verifyallidle"],
        &["givegroup", "keep::one::two"],
        &["status", "keep::more"],
        &["verifyallidle"],
        &["takegroup", "keep::nowhere"],
        &["givegroup", "keep::nowhere"],
        &[],
        &["fly"],
    ];
    for words in calls {
        let theirs = run(&["/usr/share/heartbeat/ResourceManager"], words);
        let ours = run(&["/ha", "ResourceManager"], words);
        assert_eq!(theirs.code, ours.code, "{words:?}: {theirs:?} {ours:?}");
        let shown = |output: &Output| {
            let named = output.stderr.replace("/usr/share/heartbeat/ResourceManager", "ResourceManager");
            (output.stdout.clone(), named)
        };
        assert_eq!(shown(&theirs), shown(&ours), "{words:?}");
    }
}
