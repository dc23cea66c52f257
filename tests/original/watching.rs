//! What a 3.0.6 sees when one of ours watches its resources: an ordinary standby. Maintenance, which it
//! would not keep, is refused.

use ha_core::demo::world::HostKind;

use crate::common::pairs::{group, SERVICE};
use crate::pair::pair_with;
use crate::scripts::write;

#[test]
fn a_service_that_dies_is_given_to_a_3_0_6_by_an_ordinary_standby() {
    let kinds = [HostKind::Ours, HostKind::Original];
    let groups = [format!("{} service", group(0)), group(1)];
    let Some(pair) = pair_with(kinds, &["auto_failback off"], &groups) else { return };
    for host in pair.world.hosts() {
        write(host, "/etc/ha.d/resource.d/service", SERVICE);
    }
    let monitor = "monitor service interval=200ms timeout=10s failures=2 restarts=1";
    let ha_cf = pair.ha_cf(&["auto_failback off", monitor]);
    pair.host(0).write_file("/etc/ha.d/ha.cf", &ha_cf).expect("ha.cf");
    pair.allow(&["does not work", "giving up", "giving them to the other node"]);
    pair.start_both();
    pair.settled("local", "local");
    let refused = pair.host(0).run(&["/ha", "maintenance", "on"]).expect("ha");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("3.0.6"), "{refused:?}");
    pair.run(0, &["rm", "/run/service"]);
    let runs = |node: usize| {
        pair.host(node).run(&["test", "-e", "/run/service"]).is_ok_and(|output| output.code == Some(0))
    };
    pair.wait("it is restarted in place", || runs(0));
    assert!(pair.is_owned_as(["local", "local"]));
    pair.run(0, &["touch", "/run/sick"]);
    pair.wait("the other node has it", || runs(1) && pair.is_owned_as(["none", "all"]));
    assert_eq!(pair.times_logged(1, "node1 wants to go standby [local]"), 1, "{}", pair.log(1));
    assert!(!runs(0));

    // One that has left is no reason to refuse, and one that comes meanwhile gets nothing.
    pair.run(0, &["rm", "/run/sick"]);
    pair.tell_to_stop(1);
    pair.wait("all here", || runs(0) && pair.is_owned_as(["all", ""]));
    let on = pair.host(0).run(&["/ha", "maintenance", "on", "--for", "1h"]).expect("ha");
    assert_eq!(on.code, Some(0), "{on:?}");
    pair.ended_well(1);
    pair.start(1);
    let warns = || {
        let status = pair.host(0).run(&["/ha", "status"]).expect("ha");
        status.stdout.contains("3.0.6, would take over all the same")
    };
    pair.wait("a warning", warns);
    pair.wait("the other node is at rest", || pair.resource_status(1) == "none");
    assert!(runs(0) && pair.is_owned_as(["all", "none"]));
    assert_eq!(pair.host(0).run(&["/ha", "maintenance", "off"]).expect("ha").code, Some(0));
    assert!(!warns());
}
