//! `cl_status`, Debian's and ours, against either daemon in every state of it: the same words and exit
//! codes.

use ha_core::demo::host::{DAEMON, DAEMON_OUTPUT};
use ha_core::demo::world::HostKind::{Original, Ours};

use crate::clients::{without_heads, CL_STATUS, OUR_CL_STATUS, QUESTIONS};
use crate::common::pairs::{group, Pair, NODES};
use crate::pair::pair_with;

/// Beside those of a running pair.
const MORE: &[&str] = &[
    "",
    "-h",
    "-x",
    "nosuch",
    "-m rscstatus",
    "hbstatus -m",
    "hbstatus -m -v",
    "hbstatus -x",
    "listnodes -m -v",
    "listnodes -x",
    "listhblinks",
    "listhblinks nosuch",
    "listhblinks -m -v node1",
    "nodestatus",
    "nodestatus NODE2",
    "nodestatus -x node2",
    "nodeweight -m nosuch",
    "nodesite -m node2",
    "nodetype -m node2",
    "hblinkstatus node2",
    "hblinkstatus -m node2 eth1",
    "hblinkstatus nosuch eth1",
    "clientstatus node2",
    "clientstatus nosuch ipfail",
    "clientstatus node1 nosuch 3000",
    "rscstatus -m",
    "rscstatus -x",
    "hbparameter",
    "hbparameter -p",
    "hbparameter -m -p deadtime",
    "hbparameter -p hbversion",
    "hbparameter -p crm",
    "test -m",
];

/// Every question, with both tools, on both nodes.
#[track_caller]
fn the_same(pair: &Pair, state: &str) {
    for question in QUESTIONS.iter().chain(MORE) {
        for node in [0, 1] {
            let ask = |tool: &[&str]| {
                let words = tool.iter().copied().chain(question.split(' ').filter(|word| !word.is_empty()));
                let output = pair.host(node).run(&words.collect::<Vec<_>>()).expect("it runs");
                (output.code, output.stdout, without_heads(&output.stderr))
            };
            let (debian, ours) = (ask(CL_STATUS[node]), ask(OUR_CL_STATUS));
            assert_eq!(debian, ours, "{state}: cl_status {question} on {}", NODES[node]);
        }
    }
}

/// What both daemons say of their resources in this state.
#[track_caller]
fn resources(pair: &Pair, code: i32, text: &str) {
    for (node, tool) in CL_STATUS.into_iter().enumerate() {
        let output = pair.host(node).run(&[tool, &["rscstatus"]].concat()).expect("it runs");
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!((output.stdout + &output.stderr).contains(text), "{text:?} on {}", NODES[node]);
    }
}

#[test]
fn cl_status_says_the_same_in_every_state() {
    let Some(pair) = pair_with([Ours, Original], &["auto_failback off"], &[group(0)]) else { return };
    the_same(&pair, "stopped");

    // Nobody hears anybody, and the wait for that is long.
    let ha_cf = pair.ha_cf(&["auto_failback off"]);
    for host in pair.world.hosts() {
        let patient = ha_cf.replace("initdead 6", "initdead 600").replace("bcast eth0 eth1", "bcast eth1");
        host.write_file("/etc/ha.d/ha.cf", &patient).expect("ha.cf");
        pair.world.cut_silently(host.name(), "eth1").expect("cut");
        host.start_daemon().expect("daemon starts");
    }
    pair.wait("both have begun", || {
        (0..2).all(|node| pair.log(node).contains("Local status now set to: 'up'"))
    });
    the_same(&pair, "starting");
    for host in pair.world.hosts() {
        pair.world.heal(host.name(), "eth1").expect("heal");
    }
    pair.wait("both at rest", || pair.resource_status(0) == "local" && pair.resource_status(1) == "local");
    the_same(&pair, "running");
    for node in 0..2 {
        pair.host(node).stop_daemon().expect("stop");
    }

    // Without resources.
    pair.host(0).spawn(&[DAEMON, "-f", "-M"], DAEMON_OUTPUT).expect("it starts");
    pair.run(1, &[DAEMON, "-M"]);
    pair.wait("both active", || {
        (0..2).all(|node| {
            let ask = |about: &str| pair.host(node).run(&["cl_status", "nodestatus", about]);
            NODES.iter().all(|about| ask(about).is_ok_and(|output| output.stdout == "active\n"))
        })
    });
    the_same(&pair, "without resources");
    resources(&pair, 13, "REASON: Resource is managed by crm. Use crm tool to query resource");
}
