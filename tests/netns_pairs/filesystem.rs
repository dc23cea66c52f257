//! A group with an address and a file system on a disk that both nodes reach.

use std::process::{Command, Stdio};

use crate::acts::*;
use crate::common::pairs::{Pair, ADDRESSES, NODES};
use crate::common::skip;

/// A loop device, the disk that both nodes see.
struct SharedDisk {
    device: String,
    _directory: tempfile::TempDir,
}

impl SharedDisk {
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().expect("directory");
        let image = directory.path().join("disk");
        std::fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("image");
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status();
        if !made.is_ok_and(|status| status.success()) {
            skip::skip("no mkfs.ext4");
            return None;
        }
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().expect("losetup");
        if !output.status.success() {
            skip::skip_without_privilege("losetup finds no loop device");
            return None;
        }
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(Self { device, _directory: directory })
    }
}

impl Drop for SharedDisk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.device]).stderr(Stdio::null()).status();
    }
}

/// A process that does not hear SIGTERM holds the file system: the stop takes more than three seconds, ten
/// times the dead time, and nobody is thought dead; nothing is served on both nodes.
#[test]
fn a_busy_file_system_moves_and_no_beat_is_late() {
    let Some(disk) = SharedDisk::new() else { return };
    let words = format!("IPaddr2::{}/24/eth0 Filesystem::{}::/run/data::ext4", ADDRESSES[0], disk.device);
    let Some(pair) = Pair::new(&["auto_failback off"], &[format!("{} {words}", NODES[0])]) else { return };
    pair.allow(&["umount: /run/data: target is busy.", "Couldn't unmount /run/data; trying cleanup with"]);
    pair.start_both();
    let mounted = |node: usize| {
        let table = pair.host(node).read_file("/proc/self/mounts").unwrap_or_default();
        table.contains(" /run/data ext4 ")
    };
    let on = |node: usize| {
        pair.wait(&format!("the file system on {}", NODES[node]), || mounted(node));
        pair.wait("rest", || pair.resource_status(node) != "transition");
        pair.owned_by(0, NODES[node]);
        assert!(!mounted(1 - node), "{}", pair.log(1 - node));
    };
    on(0);
    pair.run(0, &["sh", "-c", "echo text >/run/data/file"]);
    let deaf = "trap '' TERM; cd /run/data; : >/run/ready; while :; do sleep 600; done";
    pair.host(0).spawn(&["sh", "-c", deaf], "/run/out").expect("it runs");
    pair.wait("the process in it", || running(&pair, "/run/ready")[0]);
    pair.mark();
    pair.command(0, "hb_standby", "all");
    on(1);
    assert_eq!(pair.run(1, &["cat", "/run/data/file"]), "text\n");
    assert_eq!(pair.times_logged(0, "trying cleanup with TERM"), 3, "{}", pair.log(0));
    assert!(pair.times_logged(0, "sending signal KILL to: ") > 0, "{}", pair.log(0));
    pair.logged(0, &["INFO: unmounted /run/data successfully"]);
    for node in 0..2 {
        for text in ["is dead", "Late heartbeat", "late heartbeat"] {
            assert_eq!(pair.times_logged(node, text), 0, "{text}: {}", pair.log(node));
        }
    }
    // A dead node leaves it mounted, as a disk does not know: the survivor takes it all the same.
    pair.mark();
    pair.world.crash(NODES[1]).expect("crash");
    pair.wait("the file system on node1", || mounted(0));
    assert_eq!(pair.run(0, &["cat", "/run/data/file"]), "text\n");
    pair.quiet();
}
