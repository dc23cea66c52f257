//! A service with data: MySQL on a DRBD volume, NFS. DRBD, the database and the kernel's NFS server are
//! stand-ins that note what they are told; the real ones are met in tests/machines. The volume
//! is a directory that Filesystem mounts elsewhere.

use crate::common::pairs::{Pair, ADDRESSES, NODES};
use crate::site::{order, pair, says, stand_in};

const VOLUME: &str = "/var/lib/heartbeat/volume";
const DATA: &str = "/var/lib/heartbeat/data";

/// drbdadm with one resource whose role is in a file, and a note of each change.
const DRBDADM: &str = "#!/bin/sh\nfile=/var/lib/heartbeat/role\nrole=$(cat $file 2>/dev/null || echo Secondary)\n\
case $1 in\nrole) echo $role/Unknown ;;\nprimary) [ $role = Primary ] || echo drbd primary >>/var/lib/heartbeat/order; echo Primary >$file ;;\n\
secondary) grep -q heartbeat/data /proc/mounts && exit 17; [ $role = Secondary ] || echo drbd secondary >>/var/lib/heartbeat/order; echo Secondary >$file ;;\nesac\n";

/// The daemons find the stand-in before the system's programs.
fn start_with_drbd(pair: &Pair) {
    for node in 0..2 {
        let host = pair.host(node);
        host.write_file(&format!("{VOLUME}/database"), "rows\n").expect("volume");
        host.write_file_with_mode("/etc/ha.d/bin/drbdadm", DRBDADM, 0o755).expect("drbdadm");
        let wrapper = "#!/bin/sh\nPATH=/etc/ha.d/bin:$PATH exec /ha drbddisk \"$@\"\n";
        host.write_file_with_mode("/etc/ha.d/resource.d/drbddisk", wrapper, 0o755).expect("wrapper");
    }
    pair.start_both();
}

fn holds_address(pair: &Pair, node: usize) {
    pair.wait(&format!("address on {}", NODES[node]), || {
        pair.world.owners(ADDRESSES[0]).is_ok_and(|owners| owners == [NODES[node]])
    });
}

#[test]
fn mysql_on_a_drbd_volume() {
    let resources = format!(
        "node1 drbddisk::r0 Filesystem::{VOLUME}::{DATA}::none::bind mysqld IPaddr2::{}/24/eth0",
        ADDRESSES[0]
    );
    let Some(pair) = pair(&["auto_failback off"], &resources) else { return };
    stand_in(&pair, "mysqld", &format!("{DATA}/database"));
    start_with_drbd(&pair);
    holds_address(&pair, 0);
    let up = ["drbd primary", "mysqld start"];
    assert_eq!(order(&pair, 0), up);
    says(&pair, 0, &["/etc/ha.d/resource.d/drbddisk", "r0", "status"], "running (Primary)");
    says(&pair, 1, &["/etc/ha.d/resource.d/drbddisk", "r0", "status"], "stopped (Secondary)");
    order(&pair, 1);
    pair.wait("end of all transitions", || {
        pair.resource_status(0) != "transition" && pair.resource_status(1) != "transition"
    });
    pair.command(0, "hb_standby", "all");
    holds_address(&pair, 1);
    assert_eq!(order(&pair, 0), ["mysqld stop", "drbd secondary"]);
    assert_eq!(order(&pair, 1), up);
    says(&pair, 0, &["/etc/ha.d/resource.d/drbddisk", "r0", "status"], "stopped (Secondary)");
    pair.world.crash(NODES[1]).expect("crash");
    holds_address(&pair, 0);
    assert_eq!(order(&pair, 0), up);
}

#[test]
fn nfs_with_its_state_on_the_volume() {
    let resources = format!(
        "node1 drbddisk::r0 Filesystem::{VOLUME}::{DATA}::none::bind nfslock nfs IPaddr2::{}/24/eth0",
        ADDRESSES[0]
    );
    let Some(pair) = pair(&["auto_failback on"], &resources) else { return };
    for name in ["nfslock", "nfs"] {
        stand_in(&pair, name, &format!("{DATA}/database"));
    }
    start_with_drbd(&pair);
    holds_address(&pair, 0);
    let up = ["drbd primary", "nfslock start", "nfs start"];
    assert_eq!(order(&pair, 0), up);
    order(&pair, 1);
    pair.world.crash(NODES[0]).expect("crash");
    holds_address(&pair, 1);
    assert_eq!(order(&pair, 1), up);
    // A machine that was off is secondary when it is back: DRBD starts so.
    pair.world.boot(NODES[0]).expect("boot");
    pair.run(0, &["sh", "-c", "cd /var/lib/heartbeat && rm -f role order *.active"]);
    pair.start(0);
    holds_address(&pair, 0);
    assert_eq!(order(&pair, 1), ["nfs stop", "nfslock stop", "drbd secondary"]);
    assert_eq!(order(&pair, 0), up);
}
