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
    no_beat_was_late(&pair);
    // A dead node leaves it mounted, as a disk does not know: the survivor takes it all the same.
    pair.mark();
    pair.world.crash(NODES[1]).expect("crash");
    pair.wait("the file system on node1", || mounted(0));
    assert_eq!(pair.run(0, &["cat", "/run/data/file"]), "text\n");
    pair.quiet();
}

fn no_beat_was_late(pair: &Pair) {
    for node in 0..2 {
        for text in ["is dead", "Late heartbeat", "late heartbeat"] {
            assert_eq!(pair.times_logged(node, text), 0, "{text}: {}", pair.log(node));
        }
    }
}

/// A full file system and one that became read-only are given like any other.
#[test]
fn a_full_and_a_read_only_file_system_move_and_no_beat_is_late() {
    let Some(disk) = SharedDisk::new() else { return };
    let words = format!("IPaddr2::{}/24/eth0 Filesystem::{}::/run/data::ext4", ADDRESSES[0], disk.device);
    let Some(pair) = Pair::new(&["auto_failback off"], &[format!("{} {words}", NODES[0])]) else { return };
    pair.start_both();
    let table = |node: usize| pair.host(node).read_file("/proc/self/mounts").unwrap_or_default();
    let on = |node: usize| {
        let there = || table(node).contains(" /run/data ext4 rw") && !table(1 - node).contains(" /run/data ");
        pair.wait(&format!("the file system on {}", NODES[node]), there);
        pair.wait("rest", || {
            (0..2).all(|node| !matches!(pair.resource_status(node).as_str(), "" | "transition"))
        });
        pair.owned_by(0, NODES[node]);
    };
    on(0);
    pair.mark();
    let fill = "dd if=/dev/zero of=/run/data/filler bs=64k 2>&1; yes >>/run/data/filler; df /run/data";
    assert!(pair.run(0, &["sh", "-c", fill]).contains(" 100% "));
    pair.command(0, "hb_standby", "all");
    on(1);
    pair.run(1, &["mount", "-o", "remount,ro", "/run/data"]);
    pair.command(1, "hb_standby", "all");
    on(0);
    pair.run(0, &["rm", "/run/data/filler"]);
    for node in 0..2 {
        assert_eq!(
            pair.times_logged(node, "INFO: unmounted /run/data successfully"),
            1,
            "{}",
            pair.log(node)
        );
    }
    no_beat_was_late(&pair);
    pair.quiet();
}

/// A FUSE server that greets the kernel and never answers again, in the place that is named.
const SILENT_SERVER: &str = r#"
sysopen(my $f, "/dev/fuse", 2) or die "/dev/fuse: $!";
my $options = "fd=" . fileno($f) . ",rootmode=40000,user_id=0,group_id=0,allow_other";
syscall(165, "silent", $ARGV[0], "fuse", 6, $options) == 0 or die "mount: $!";
sysread($f, my $request, 65536);
my $answer = pack("Ll a8 L8", 80, 0, substr($request, 8, 8), 7, 23, 65536, 0, 0x000c000c, 65536, 1, 0);
syswrite($f, $answer . "\0" x (80 - length $answer));
open(my $ready, ">", "/run/ready");
sleep 600;
"#;

/// Nobody can be reached by a signal who waits in it, and no monitor gets an answer.
#[test]
fn a_file_system_that_never_answers_is_given_and_no_beat_is_late() {
    if !std::path::Path::new("/dev/fuse").exists() || !cfg!(target_arch = "x86_64") {
        return skip::skip_without_privilege("no /dev/fuse here, or another machine's system calls");
    }
    let words = format!("IPaddr2::{}/24/eth0 Filesystem::silent::/run/data::fuse", ADDRESSES[0]);
    let Some(pair) = Pair::new(&["auto_failback off"], &[format!("{} {words}", NODES[0])]) else { return };
    pair.allow(&["umount: /run/data: target is busy.", "Couldn't unmount /run/data; trying cleanup with"]);
    for node in 0..2 {
        // Both have it, so that the other node has something to take.
        pair.run(node, &["mkdir", "/run/data"]);
        pair.host(node).spawn(&["perl", "-e", SILENT_SERVER, "/run/data"], "/run/out").expect("it runs");
    }
    pair.wait("both servers", || running(&pair, "/run/ready") == [true; 2]);
    pair.start_both();
    let settled = |node: usize| !matches!(pair.resource_status(node).as_str(), "" | "transition");
    pair.wait("a settled pair", || settled(0) && settled(1));
    pair.owned_by(0, NODES[0]);
    // A process waits in it for ever.
    let stuck = pair.host(0).spawn(&["stat", "/run/data/x"], "/run/out").expect("it runs");
    let table = |node: usize| pair.host(node).read_file("/proc/self/mounts").unwrap_or_default();
    assert!(table(0).contains(" /run/data fuse ") && table(1).contains(" /run/data fuse "));
    pair.mark();
    pair.command(0, "hb_standby", "all");
    pair.world.wait_owner(ADDRESSES[0], NODES[1], pair.patience).expect("the address moves");
    pair.wait("rest", || settled(0) && settled(1));
    assert!(!table(0).contains(" /run/data ") && table(1).contains(" /run/data fuse "));
    pair.logged(0, &["INFO: unmounted /run/data successfully"]);
    pair.wait("the end of the process in it", || {
        pair.host(0).ended(stuck).is_ok_and(|ended| ended.is_some())
    });
    no_beat_was_late(&pair);
    pair.quiet();
}
