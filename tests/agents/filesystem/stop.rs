//! Stops: who holds the file system is told and ended; what is mounted below goes first.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{finish, in_namespace, wait_gone, Holder};

#[test]
fn processes_that_hold_it_are_told_and_ended() {
    in_namespace("filesystem::stop::processes_that_hold_it_are_told_and_ended", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        let start = || world.expect(&[&device, &data, "ext4", "start"], 0);
        let stop = || world.expect(&[&device, &data, "ext4", "stop"], 0);
        start();
        let mut here = Holder::in_directory(&world.path("data"));
        // By an open file, by a mapped program, by a deleted file.
        fs::copy("/bin/sleep", world.path("data/sleep")).unwrap();
        let mut program = Command::new(world.path("data/sleep")).arg("600").spawn().unwrap();
        let mut open = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::from(fs::File::create(world.path("data/open")).unwrap()))
            .spawn()
            .unwrap();
        fs::remove_file(world.path("data/open")).unwrap();
        // One that has nothing to do with it, though its folder's name begins alike.
        fs::create_dir(world.path("data2")).unwrap();
        let mut other = Holder::in_directory(&world.path("data2"));
        let began = Instant::now();
        stop();
        assert!(began.elapsed() < Duration::from_secs(3), "TERM was not enough: {}", world.log());
        assert!(here.has_ended() && program.wait().is_ok() && open.wait().is_ok());
        assert!(!other.has_ended() && world.mounted("data").is_none());
        let log = world.log();
        assert_eq!(log.matches("INFO: sending signal TERM to: root ").count(), 3, "{log}");
        for text in [
            format!("ERROR: Couldn't unmount {data}; trying cleanup with TERM\n"),
            format!("  {} ", here.pid()),
            format!("{}/sleep 600\n", data),
            format!("INFO: unmounted {data} successfully\n"),
        ] {
            assert!(log.contains(&text), "{text} not in\n{log}");
        }
        // Three seconds of TERM, then KILL.
        let _ = fs::remove_file(world.path("log"));
        start();
        let deaf = Holder::deaf(&world.path("data"));
        let began = Instant::now();
        stop();
        assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
        wait_gone(deaf.pid());
        let log = world.log();
        assert_eq!(log.matches("trying cleanup with TERM").count(), 3, "{log}");
        assert_eq!(log.matches("trying cleanup with KILL").count(), 1, "{log}");
    });
}

#[test]
fn nobody_is_ended_where_that_is_not_wanted() {
    in_namespace("filesystem::stop::nobody_is_ended_where_that_is_not_wanted", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        world.expect(&[&device, &data, "ext4", "start"], 0);
        let mut holder = Holder::in_directory(&world.path("data"));
        let slow = [("OCF_RESKEY_fast_stop", "no"), ("OCF_RESKEY_CRM_meta_timeout", "2000")];
        let gentle = [slow[0], slow[1], ("OCF_RESKEY_force_unmount", "false")];
        let run = finish(world.ocf(&device, &data, &gentle, "stop"));
        assert_eq!(run.code, 1);
        assert!(!holder.has_ended() && world.mounted("data").is_some());
        let not_told =
            format!("INFO: No processes on {data} were signalled. force_unmount is set to 'false'\n");
        world.logged(&[&not_told, &format!("ERROR: Couldn't unmount {data}, giving up!\n")]);
        // Out of sight only when asked for.
        let lazy = [gentle[0], gentle[1], gentle[2], ("OCF_RESKEY_lazy_unmount", "yes")];
        assert_eq!(finish(world.ocf(&device, &data, &lazy, "stop")).code, 0, "{}", world.log());
        assert!(!holder.has_ended() && world.mounted("data").is_none());
        world.logged(&["is out of sight and still in use"]);
        // It is still open: another node must not have it yet.
        assert_eq!(finish(world.ocf(&device, &data, &slow, "stop")).code, 1, "{}", world.log());
        world.logged(&[&format!("ERROR: The file system on {device} is still in use by the kernel")]);
        drop(holder);
        assert_eq!(finish(world.ocf(&device, &data, &slow, "stop")).code, 0, "{}", world.log());
    });
}

#[test]
fn what_is_mounted_below_goes_first() {
    in_namespace("filesystem::stop::what_is_mounted_below_goes_first", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        world.expect(&[&device, &data, "ext4", "start"], 0);
        let mount =
            |arguments: &[&str]| assert!(Command::new("mount").args(arguments).status().unwrap().success());
        for below in ["data/a", "data/a b"] {
            fs::create_dir(world.path(below)).unwrap();
            mount(&["-t", "tmpfs", "tmpfs", &world.text(below)]);
        }
        fs::create_dir(world.path("data/a/deeper")).unwrap();
        mount(&["-t", "tmpfs", "tmpfs", &world.text("data/a/deeper")]);
        // A second layer on the same place, and the same device elsewhere.
        mount(&["-t", "tmpfs", "tmpfs", &world.text("data/a/deeper")]);
        fs::create_dir(world.path("twin")).unwrap();
        mount(&["--bind", &data, &world.text("twin")]);
        let holder = Holder::in_directory(&world.path("data/a/deeper"));
        let elsewhere = Holder::in_directory(&world.path("twin"));
        world.expect(&[&device, &data, "ext4", "stop"], 0);
        for point in ["data", "data/a", "data/a b", "data/a/deeper", "twin"] {
            assert!(world.mounted(point).is_none(), "{point}");
        }
        wait_gone(holder.pid());
        wait_gone(elsewhere.pid());
        let log = world.log();
        let order: Vec<usize> = ["data/a/deeper", "data/a b", "data/a", "twin", "data"]
            .iter()
            .map(|point| log.find(&format!("Trying to unmount {}\n", world.text(point))).expect(&log))
            .collect();
        assert!(
            order[0] < order[2] && order[1] < order[4] && order[2] < order[4] && order[3] < order[4],
            "{log}"
        );
        // A start does not hide what is mounted below.
        fs::create_dir_all(world.path("data/below")).unwrap();
        mount(&["-t", "tmpfs", "tmpfs", &world.text("data/below")]);
        world.expect(&[&device, &data, "ext4", "start"], 6);
        world.logged(&[&format!("ERROR: There is one or more mounts mounted under {data}.\n")]);
    });
}

#[test]
fn another_namespace_keeps_the_device() {
    in_namespace("filesystem::stop::another_namespace_keeps_the_device", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        world.expect(&[&device, &data, "ext4", "start"], 0);
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = keeper.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        let slow = [("OCF_RESKEY_fast_stop", "no"), ("OCF_RESKEY_CRM_meta_timeout", "1000")];
        assert_eq!(finish(world.ocf(&device, &data, &slow, "stop")).code, 1, "{}", world.log());
        world.logged(&["still in use by the kernel (/sys/fs/ext4/"]);
        assert!(world.mounted("data").is_none());
        keeper.kill().unwrap();
        keeper.wait().unwrap();
        world.expect(&[&device, &data, "ext4", "stop"], 0);
    });
}

#[test]
fn what_else_holds_it_is_told() {
    in_namespace("filesystem::stop::what_else_holds_it_is_told", |world| {
        let Some(device) = world.new_device("ext4") else { return };
        let data = world.text("data");
        world.expect(&[&device, &data, "ext4", "start"], 0);
        let inner = world.path("data/inner");
        fs::File::create(&inner).unwrap().set_len(1 << 20).unwrap();
        let loop_device = world.device(&inner);
        let slow = [("OCF_RESKEY_fast_stop", "no"), ("OCF_RESKEY_CRM_meta_timeout", "1000")];
        assert_eq!(finish(world.ocf(&device, &data, &slow, "stop")).code, 1, "{}", world.log());
        // The kernel keeps 63 bytes of the path.
        world.logged(&[&format!(" is in use as {loop_device}; unmount and detach it\n")]);
        assert!(Command::new("losetup").args(["-d", &loop_device]).status().unwrap().success());
        world.expect(&[&device, &data, "ext4", "stop"], 0);
    });
}
