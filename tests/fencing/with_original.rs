//! The same device beside Heartbeat 3.0.6, on either side: messages on the wire as the original's.

use ha_core::demo::world::{HostKind, SERVICE_ADDRESS};

use crate::common;
use crate::device::Fenced;
use crate::PATIENCE;

/// `ours` survives and resets the original, or the other way round.
#[test]
fn each_kind_resets_the_other() {
    for kinds in [[HostKind::Original, HostKind::Ours], [HostKind::Ours, HostKind::Original]] {
        let more = ["auto_failback off", "stonith_delay 0"];
        let more = if kinds[1] == HostKind::Ours { &more[..] } else { &more[..1] };
        let Some(pair) = Fenced::new(kinds, &["good"], more) else { return };
        if kinds[0] == HostKind::Original {
            // It knows nothing of our directives.
            let node1 = pair.world.host("node1").expect("host");
            let ha_cf = node1.read_file("/etc/ha.d/ha.cf").expect("ha.cf").replace("stonith_delay 0\n", "");
            node1.write_file("/etc/ha.d/ha.cf", &ha_cf).expect("ha.cf");
        }
        pair.start_both();
        common::wait_for(&pair.world, "both are active", PATIENCE, || {
            let count = |name| pair.log(name).matches("remote resource transition completed.").count();
            count("node1") > 0 && count("node2") > 0
        });
        pair.world.crash("node1").expect("crash");
        pair.is_taken_after_the_reset();
        assert_eq!(pair.calls("node2"), ["node1 good"]);
        let log = pair.log("node2");
        for line in [
            "Checking status of STONITH device [power switch of the test",
            "WARN: node node1: is dead",
            "Resetting node node1 with [power switch of the test",
            "info: node node1 now reset.",
            "info: Managed STONITH node1 process ",
            " exited with return code 0.",
            "info: Resources being acquired from node1.",
        ] {
            assert!(log.contains(line), "{kinds:?}: {line}\n{log}");
        }
        pair.bring_back("node1");
        common::wait_for(&pair.world, "node1 is back", PATIENCE, || {
            pair.log("node2").contains("Status update for node node1: status active")
        });
        assert_eq!(pair.world.owners(SERVICE_ADDRESS).expect("owners"), ["node2"]);
    }
}
