//! File systems that do not do what they should: full, read-only, without an answer.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::fuse::Silent;
use super::world::{finish, in_namespace, Holder, World};

const LEVEL_20: (&str, &str) = ("OCF_CHECK_LEVEL", "20");
/// Three quarters of it are what an answer may take.
const SHORT: (&str, &str) = ("OCF_RESKEY_CRM_meta_timeout", "2000");
/// No agent may take longer here; its limits are a few seconds each.
const LIMIT: Duration = Duration::from_secs(40);

fn level_20(world: &World, device: &str, action: &str) -> i32 {
    finish(world.ocf(device, &world.text("data"), &[LEVEL_20, SHORT], action)).code
}

#[test]
fn levels_of_monitor() {
    in_namespace("filesystem::hang::levels_of_monitor", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        let level = |level| finish(world.ocf(&device, &data, &[("OCF_CHECK_LEVEL", level)], "monitor")).code;
        for depth in ["0", "10", "20"] {
            assert_eq!(level(depth), 7);
        }
        world.expect(&[&device, &data, "ext4", "start"], 0);
        for (depth, code) in [("0", 0), ("10", 0), ("20", 0), ("30", 6), ("x", 0)] {
            assert_eq!(level(depth), code, "{depth}\n{}", world.log());
        }
        world.logged(&["ERROR: unsupported monitor level 30\n"]);
        let node = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let status_file = world.path(&format!("data/.Filesystem_status/fs_{node}"));
        assert_eq!(fs::read(&status_file).unwrap()[..3], *b"fs\n");
        // A stop with that level takes the file away.
        assert_eq!(level_20(world, &device, "stop"), 0, "{}", world.log());
        world.expect(&[&device, &data, "ext4", "start"], 0);
        assert!(!status_file.exists());
        // Not on a block device.
        world.expect(&[&device, &data, "ext4", "stop"], 0);
        fs::create_dir(world.path("source")).unwrap();
        world.expect(&[&world.text("source"), &data, "none", "bind", "start"], 0);
        let more = [("OCF_RESKEY_fstype", "none"), ("OCF_RESKEY_options", "bind"), ("OCF_CHECK_LEVEL", "10")];
        assert_eq!(finish(world.ocf(&world.text("source"), &data, &more, "monitor")).code, 0);
        world.logged(&[&format!(
            "WARNING: {} is not a block device, monitor 10 is noop\n",
            world.text("source")
        )]);
    });
}

#[test]
fn a_full_disk() {
    in_namespace("filesystem::hang::a_full_disk", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        world.expect(&[&device, &world.text("data"), "ext4", "start"], 0);
        let filler = Command::new("dd")
            .args(["if=/dev/zero", &format!("of={}", world.text("data/filler")), "bs=64k"])
            .output()
            .unwrap();
        assert!(!filler.status.success());
        // What dd could not write in big pieces.
        let _ = Command::new("sh").args(["-c", &format!("yes >>{}", world.text("data/filler"))]).output();
        assert_eq!(level_20(world, &device, "monitor"), 1, "{}", world.log());
        world.logged(&["ERROR: Failed to write status file ", "No space left on device"]);
        assert_eq!(finish(world.ocf(&device, &world.text("data"), &[SHORT], "monitor")).code, 0);
        let holder = Holder::in_directory(&world.path("data"));
        assert_eq!(level_20(world, &device, "stop"), 0, "{}", world.log());
        super::world::wait_gone(holder.pid());
        assert!(world.mounted("data").is_none());
    });
}

#[test]
fn a_file_system_that_became_read_only() {
    in_namespace("filesystem::hang::a_file_system_that_became_read_only", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        world.expect(&[&device, &world.text("data"), "ext4", "start"], 0);
        assert_eq!(level_20(world, &device, "monitor"), 0);
        let remount = ["-o", "remount,ro", &world.text("data")];
        assert!(Command::new("mount").args(remount).status().unwrap().success());
        assert_eq!(level_20(world, &device, "monitor"), 1, "{}", world.log());
        world.logged(&["ERROR: Failed to write status file ", "Read-only file system"]);
        let holder = Holder::in_directory(&world.path("data"));
        assert_eq!(level_20(world, &device, "stop"), 0, "{}", world.log());
        world.logged(&["WARNING: Failed to remove status file "]);
        super::world::wait_gone(holder.pid());
        assert!(world.mounted("data").is_none());
    });
}

#[test]
fn a_server_that_never_answers() {
    in_namespace("filesystem::hang::a_server_that_never_answers", |world| {
        fs::create_dir(world.path("data")).unwrap();
        let data = world.text("data");
        let Some(_server) = Silent::mount(&world.path("data")) else { return };
        let began = Instant::now();
        let call = |operation: &str| world.run(&["server:dir", &data, "fuse", operation]).code;
        assert_eq!((call("status"), call("start"), call("monitor")), (0, 0, 0), "{}", world.log());
        let more = [("OCF_RESKEY_fstype", "fuse"), LEVEL_20, SHORT];
        assert_eq!(finish(world.ocf("server:dir", &data, &more, "monitor")).code, 1);
        world.logged(&["ERROR: Failed to write status file ", "no answer within 1.5 s"]);
        // Somebody waits in it whom no signal reaches, and whom /proc does not show.
        let mut stuck = Command::new("stat").arg(&data).spawn().unwrap();
        super::wait_until("it waits", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", stuck.id())).unwrap_or_default();
            stat.contains("(stat) D") || stat.contains("(stat) S")
        });
        let before_stop = Instant::now();
        assert_eq!(call("stop"), 0, "{}", world.log());
        assert!(before_stop.elapsed() < LIMIT && began.elapsed() < 2 * LIMIT);
        assert!(world.mounted("data").is_none());
        stuck.wait().unwrap();
        assert_eq!(call("stop"), 0);
    });
}

/// With a device behind it the kernel asks the server at the end of umount2(2) too, and waits.
#[test]
fn an_unmount_that_never_ends() {
    in_namespace("filesystem::hang::an_unmount_that_never_ends", |world| {
        fs::create_dir(world.path("data")).unwrap();
        let data = world.text("data");
        let Some(device) = world.new_device("ext4") else { return };
        let Some(server) = Silent::mount_as("fuseblk", &device, &world.path("data")) else { return };
        let began = Instant::now();
        let more = [("OCF_RESKEY_fstype", "fuseblk"), SHORT];
        assert_eq!(finish(world.ocf(&device, &data, &more, "stop")).code, 1, "{}", world.log());
        assert!(began.elapsed() < LIMIT);
        world.logged(&[
            &format!("ERROR: umount {data}: no answer within 1.5 s\n"),
            &format!("ERROR: Couldn't unmount {data}, giving up!\n"),
        ]);
        // It is out of sight now, and the kernel has not let go of the device: the other node must wait.
        let began = Instant::now();
        assert_eq!(finish(world.ocf(&device, &data, &more, "stop")).code, 1, "{}", world.log());
        assert!(began.elapsed() < LIMIT);
        world.logged(&[&format!(
            "ERROR: The file system on {device} is still in use by the kernel ({device}): "
        )]);
        assert_eq!(finish(world.ocf(&device, &data, &more, "monitor")).code, 7, "{}", world.log());
        drop(server);
        super::wait_until("the kernel lets go of it", || {
            finish(world.ocf(&device, &data, &more, "stop")).code == 0
        });
    });
}
