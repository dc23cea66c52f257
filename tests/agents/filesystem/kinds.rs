//! File systems of each kind come and go.

use std::fs;
use std::process::Command;

use super::world::{finish, in_namespace, Run, World};

fn said(code: i32, line: &str) -> Run {
    Run { code, stdout: format!("{line}\n") }
}

/// Start, stop and status, each twice, by the words of haresources.
fn comes_and_goes(world: &World, arguments: &[&str], kind: &str) {
    let call = |operation: &str| world.run(&[arguments, &[operation]].concat());
    let stopped = said(7, "INFO:  Resource is stopped");
    let success = said(0, "INFO:  Success");
    assert_eq!(call("status"), stopped);
    for _ in 0..2 {
        assert_eq!(call("start"), success, "{}", world.log());
        assert_eq!(call("status"), said(0, "INFO:  Running OK"));
        assert_eq!(world.mounted("data").map(|(kind, _)| kind).as_deref(), Some(kind));
    }
    fs::write(world.path("data/file"), "text").unwrap();
    for _ in 0..2 {
        assert_eq!(call("stop"), success, "{}", world.log());
        assert_eq!(call("status"), stopped);
        assert_eq!(world.mounted("data"), None);
    }
    let (device, data) =
        (arguments[0].trim_start_matches("-L").trim_start_matches("-U").trim_start(), world.text("data"));
    world.logged(&[
        &format!("INFO: Running start for {device} on {data}\n"),
        &format!("INFO: Filesystem {data} is already mounted.\n"),
        &format!("INFO: Running stop for {device} on {data}\n"),
        &format!("INFO: Trying to unmount {data}\n"),
        &format!("INFO: unmounted {data} successfully\n"),
    ]);
}

#[test]
fn ext4_xfs_and_btrfs_by_path() {
    in_namespace("filesystem::kinds::ext4_xfs_and_btrfs_by_path", |world| {
        for kind in ["ext4", "xfs", "btrfs"] {
            let Some(device) = world.new_device(kind) else { continue };
            comes_and_goes(world, &[&device, &world.text("data"), kind], kind);
            // The type is read from the device.
            comes_and_goes(world, &[&device, &world.text("data//"), "", "noatime"], kind);
        }
    });
}

#[test]
fn by_label_and_uuid() {
    in_namespace("filesystem::kinds::by_label_and_uuid", |world| {
        for kind in ["ext4", "xfs", "btrfs"] {
            // Loop devices of other tests are seen too.
            let label = format!("{}{}", &kind[..1], std::process::id());
            let Some(image) = world.image(kind, kind, &["-L", &label]) else { continue };
            let device = world.device(&image);
            let output = Command::new("blkid").args(["-p", "-o", "value", "-s", "UUID", &device]).output();
            let uuid = super::world::text(&output.expect("blkid").stdout).trim().to_owned();
            let data = world.text("data");
            comes_and_goes(world, &[&format!("-L{label}"), &data, kind], kind);
            comes_and_goes(world, &[&format!("LABEL={label}"), &data], kind);
            comes_and_goes(world, &[&format!("-U {uuid}"), &data, kind], kind);
            comes_and_goes(world, &[&format!("UUID={}", uuid.to_uppercase()), &data], kind);
        }
        world.expect(&["-Lno_such_label", &world.text("data"), "ext4", "start"], 1);
        world.logged(&["ERROR: no device has label no_such_label\n"]);
    });
}

#[test]
fn a_file_through_a_loop_device_that_goes_with_it() {
    in_namespace("filesystem::kinds::a_file_through_a_loop_device_that_goes_with_it", |world| {
        let Some(image) = world.image("ext4", "image", &[]) else { return };
        let image = image.display().to_string();
        let uses = || {
            let output = Command::new("losetup").args(["-j", &image]).output().unwrap();
            super::world::text(&output.stdout).lines().count()
        };
        comes_and_goes(world, &[&image, &world.text("data"), "ext4", "loop"], "ext4");
        super::wait_until("the loop device is gone", || uses() == 0);
        let arguments =
            |operation| [&image, &world.text("data"), "ext4", "loop,ro", operation].map(str::to_owned);
        let call = |operation| {
            let words = arguments(operation);
            world.expect(&words.each_ref().map(String::as_str), 0);
        };
        call("start");
        assert!(world.mounted("data").unwrap().1.starts_with("ro,"));
        assert_eq!(uses(), 1);
        call("stop");
        super::wait_until("the loop device is gone", || uses() == 0);
        // One that a killed start left without its end is used, and goes too.
        world.device(std::path::Path::new(&image));
        comes_and_goes(world, &[&image, &world.text("data"), "ext4", "loop"], "ext4");
        super::wait_until("the loop device is gone", || uses() == 0);
    });
}

#[test]
fn ext2_is_checked_first() {
    in_namespace("filesystem::kinds::ext2_is_checked_first", |world| {
        let Some(device) = world.new_device("ext2") else { return };
        let data = world.text("data");
        world.expect(&[&device, &data, "ext2", "start"], 0);
        world.logged(&[&format!("INFO: Starting filesystem check on {device}\n"), "clean"]);
        world.expect(&[&device, &data, "ext2", "stop"], 0);
        // Without a type it is checked too, with one that has a journal only when asked for.
        world.expect(&[&device, &data, "start"], 0);
        world.logged(&["Starting filesystem check"]);
        world.expect(&[&device, &data, "stop"], 0);
        let start = |check| finish(world.ocf(&device, &data, &[("OCF_RESKEY_run_fsck", check)], "start"));
        for check in ["no", "other", "force"] {
            let _ = fs::remove_file(world.path("log"));
            assert_eq!(start(check).code, 0);
            assert_eq!(world.log().contains("Starting filesystem check"), check != "no", "{}", world.log());
            world.expect(&[&device, &data, "stop"], 0);
        }
        assert!(world.mounted("data").is_none());
        // Something that fsck does not repair.
        let Some(broken) = world.image("ext2", "broken", &[]) else { return };
        let mut bytes = fs::read(&broken).unwrap();
        // Past the first block: superblock and group descriptors stay, the rest is gone.
        bytes[4096..1 << 20].fill(0x5a);
        // Its state says that there are errors.
        bytes[1024 + 0x3a] = 2;
        fs::write(&broken, bytes).unwrap();
        let device = world.device(&broken);
        let code = world.run(&[&device, &data, "ext2", "start"]).code;
        assert!(code == 1, "{code}\n{}", world.log());
        world.logged(&[&format!("ERROR: Couldn't successfully fsck filesystem for {device}\n")]);
    });
}

#[test]
fn a_directory_at_another_place() {
    in_namespace("filesystem::kinds::a_directory_at_another_place", |world| {
        fs::create_dir(world.path("source")).unwrap();
        let (source, data) = (world.text("source"), world.text("data"));
        for options in ["bind", "bind,ro"] {
            let call = |operation| world.expect(&[&source, &data, "none", options, operation], 0);
            call("start");
            let read_only = world.mounted("data").unwrap().1.starts_with("ro,");
            assert_eq!(read_only, options == "bind,ro");
            assert_eq!(fs::write(world.path("data/file"), "x").is_err(), read_only);
            fs::write(world.path("source/file"), "x").unwrap();
            assert!(world.path("data/file").exists());
            call("status");
            call("start");
            call("stop");
            assert!(world.mounted("data").is_none() && world.path("source/file").exists());
        }
        // A start that was killed between its two steps is completed by the next.
        world.expect(&[&source, &data, "none", "bind", "start"], 0);
        world.expect(&[&source, &data, "none", "bind,ro,noexec", "start"], 0);
        let options = world.mounted("data").unwrap().1;
        assert!(options.starts_with("ro,") && options.contains("noexec"), "{options}");
        world.expect(&[&source, &data, "none", "bind,ro,noexec", "stop"], 0);
    });
}

#[test]
fn options_reach_the_kernel() {
    in_namespace("filesystem::kinds::options_reach_the_kernel", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        let options = "defaults,noatime,nosuid,nodev,errors=remount-ro,_netdev,x-note=1";
        world.expect(&[&device, &data, "ext4", options, "start"], 0);
        let found = world.mounted("data").unwrap().1;
        for option in ["rw", "noatime", "nosuid", "nodev", "errors=remount-ro"] {
            assert!(found.split(',').any(|word| word == option), "{option} not in {found}");
        }
        world.expect(&[&device, &data, "stop"], 0);
        world.expect(&[&device, &data, "ext4", "no_such_option", "start"], 1);
        world.logged(&[&format!("ERROR: Couldn't mount filesystem {device} on {data}\n")]);
        world.expect(&[&device, &data, "ext4", "encryption=x", "start"], 6);
        world.expect(&[&device, &data, "no_such_type", "start"], 5);
        world.logged(&["ERROR: Couldn't find filesystem no_such_type in /proc/filesystems"]);
        world.expect(&["/dev/no such device", &data, "ext4", "start"], 5);
        world.logged(&["ERROR: Couldn't find device [/dev/no such device]. Expected /dev/??? to exist\n"]);
        world.expect(&["host:/export", &data, "smbfs", "start"], 5);
        world.expect(&[&device, "/", "ext4", "stop"], 6);
        assert!(world.mounted("data").is_none());
        // On what is no directory, and below a file.
        fs::write(world.path("file"), "").unwrap();
        world.expect(&[&device, &world.text("file/below"), "ext4", "start"], 5);
        world.logged(&["ERROR: Couldn't find directory  ["]);
    });
}

#[test]
fn the_mount_table_file_of_old_systems() {
    in_namespace("filesystem::kinds::the_mount_table_file_of_old_systems", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        fs::create_dir_all(world.path("root/etc")).unwrap();
        let mtab = world.path("root/etc/mtab");
        fs::write(&mtab, "/dev/sda1 / ext3 rw 0 0\n").unwrap();
        let data = world.text("da ta");
        let call = |operation| {
            let mut command = world.agent(&[&device, &data, "ext4", "noatime", operation]);
            command.env("HA_ROOT", world.path("root"));
            assert_eq!(finish(command).code, 0, "{}", world.log());
        };
        call("start");
        let line = format!("{device} {} ext4 noatime 0 0\n", data.replace(' ', "\\040"));
        assert_eq!(fs::read_to_string(&mtab).unwrap(), format!("/dev/sda1 / ext3 rw 0 0\n{line}"));
        call("status");
        call("stop");
        assert_eq!(fs::read_to_string(&mtab).unwrap(), "/dev/sda1 / ext3 rw 0 0\n");
        assert_eq!(world.log().matches("WARNING").count(), 0, "{}", world.log());
    });
}

#[test]
fn a_helper_of_the_system_gets_what_mount_gives_it() {
    in_namespace("filesystem::kinds::a_helper_of_the_system_gets_what_mount_gives_it", |world| {
        // A double of mount.fuse in the folder that mount(8) searches, which this namespace sees instead of
        // the system's.
        let helpers = world.path("helpers");
        fs::create_dir(&helpers).unwrap();
        let script = format!("#!/bin/sh\necho \"$@\" >>{}\necho no luck >&2\nexit 32\n", world.text("calls"));
        let program = helpers.join("mount.fuse");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(Command::new("mount").arg("--bind").arg(&helpers).arg("/sbin").status().unwrap().success());
        let data = world.text("data");
        let code = world.run(&["host:dir", &data, "fuse.other", "_netdev,allow_other,ro", "start"]).code;
        assert_eq!(code, 1, "{}", world.log());
        let calls = fs::read_to_string(world.path("calls")).unwrap();
        assert_eq!(calls, format!("host:dir {data} -o allow_other,ro -t fuse.other\n"));
        world.logged(&["exit code 32: no luck", "ERROR: Couldn't mount filesystem host:dir on "]);
    });
}
