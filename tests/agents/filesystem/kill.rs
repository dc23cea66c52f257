//! The agent is killed at any moment: the next start or stop reaches the asked state all the same.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::world::{in_namespace, World};

/// Moments at which it is killed.
const MOMENTS: u32 = 16;

/// Kills each operation at moments spread over the time that it takes, then repeats it.
fn killed(world: &World, arguments: &[&str]) {
    let words = |operation| [arguments, &[operation]].concat();
    let data = world.text("data");
    let took = ["start", "stop"].map(|operation| {
        let began = Instant::now();
        world.expect(&words(operation), 0);
        began.elapsed()
    });
    for moment in 0..MOMENTS {
        for (operation, took) in ["start", "stop"].into_iter().zip(took) {
            let mut command = world.agent(&words(operation));
            let mut agent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(took.min(Duration::from_secs(1)) * moment / (MOMENTS - 4));
            agent.kill().unwrap();
            agent.wait().unwrap();
            world.expect(&words(operation), 0);
            let mounted = super::world::mounted_at(&data);
            assert_eq!(mounted.is_some(), operation == "start", "{operation} {moment}\n{}", world.log());
            if arguments.last().is_some_and(|options| options.contains("ro")) {
                assert!(mounted.is_none_or(|(_, options)| options.starts_with("ro,")), "{}", world.log());
            }
        }
        let layers = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!layers.contains(&data), "{layers}");
    }
}

#[test]
fn with_a_device_a_file_and_a_directory() {
    in_namespace("filesystem::kill::with_a_device_a_file_and_a_directory", |world| {
        let data = world.text("data");
        let Some(device) = world.new_device("ext4") else { return };
        killed(world, &[&device, &data, "ext4"]);
        let Some(image) = world.image("ext4", "image", &[]) else { return };
        killed(world, &[&image.display().to_string(), &data, "ext4", "loop"]);
        std::fs::create_dir(world.path("source")).unwrap();
        killed(world, &[&world.text("source"), &data, "none", "bind,ro"]);
        let Some(device) = world.new_device("ext2") else { return };
        killed(world, &[&device, &data, "ext2"]);
    });
}

/// A check that goes on after its agent was killed is not disturbed: the next start and stop wait.
#[test]
fn a_check_outlives_its_agent() {
    in_namespace("filesystem::kill::a_check_outlives_its_agent", |world| {
        let Some(device) = world.new_device("ext2") else { return };
        let (data, notes) = (world.text("data"), world.path("notes"));
        std::fs::create_dir(world.path("bin")).unwrap();
        let script = format!("#!/bin/sh\necho begin >>{0}\nsleep 1\necho end >>{0}\n", notes.display());
        let program = world.path("bin/fsck.ext2");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", world.text("bin"), std::env::var("PATH").unwrap_or_default());
        let noted = || std::fs::read_to_string(&notes).unwrap_or_default();
        let kill_in_check = || {
            let _ = std::fs::remove_file(&notes);
            let mut command = world.agent(&[&device, &data, "ext2", "start"]);
            let mut agent = command.env("PATH", &path).stdout(Stdio::null()).spawn().unwrap();
            super::wait_until("the check runs", || noted() == "begin\n");
            agent.kill().unwrap();
            agent.wait().unwrap();
        };
        kill_in_check();
        let mut command = world.agent(&[&device, &data, "ext2", "start"]);
        command.env("PATH", &path);
        assert_eq!(super::world::finish(command).code, 0, "{}", world.log());
        assert_eq!(noted(), "begin\nend\nbegin\nend\n", "{}", world.log());
        world.expect(&[&device, &data, "ext2", "stop"], 0);
        // Whoever hears that the stop is done may give the disk to the other node.
        kill_in_check();
        world.expect(&[&device, &data, "ext2", "stop"], 0);
        assert_eq!(noted(), "begin\nend\n");
        assert!(world.mounted("data").is_none());
    });
}
